"""Tasks of a service, for a worker that has only outbound HTTPS."""

__all__ = ["ServiceSource"]

import random
import time
from pathlib import Path
from typing import Any

import yaml

from detopt import usecases
from detopt.errors import CheckpointError, ConfigError, DetoptError, NotFoundError
from detopt.optional import require
from detopt.runtime.config import path_options
from detopt.runtime.sources import STUDY, is_input
from detopt.runtime.storage import Lease, digest_of
from detopt.runtime.storage.encoding import plain
from detopt.service.addresses import check_url

PATIENCE = 600.0  # s; how long a service may be away
NOTICE = 5.0  # s; to give a task back
LONGEST_WAIT = 10.0  # s between two trials
TIMEOUT = 60.0  # s; for a trial
SHORTEST = 1.0  # s; idem, where little time is left
AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}  # may pass
PROGRAMS = ("program", "command", "image")  # options that say what to run


class ServiceSource:
    """Tasks of a service.

    Args:
        url: `https://HOST:PORT`, or `http://` on this machine.
        token: The right to do tasks of a run.
        authority: File of the certificate to trust; None for those of the system.
        allow_code: Whether to run code that the service sends: a use case in a file, or a program.
        patience: How long to try where the service is away [s].

    Raises:
        ConfigError: The address is unprotected, or the certificate's file is missing.
        MissingExtraError: `httpx` is not installed.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        authority: Path | None = None,
        allow_code: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        self.url = check_url(url)
        self.allow_code = allow_code
        self.patience = patience
        if not token or not token.isascii() or not token.isprintable():
            raise ConfigError("The token is empty, or no token of `detopt token`.")
        self._httpx = require("httpx", extra="service", purpose="Working for a service")
        if authority is not None and not authority.is_file():
            raise ConfigError(f"The file {authority} does not exist.")
        verify: Any = True
        if authority is not None:
            import ssl

            try:
                verify = ssl.create_default_context(cafile=str(authority))
            except OSError as error:
                raise ConfigError(f"{authority} holds no certificate in PEM: {error}.") from error
        self._client = self._httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            verify=verify,
            timeout=TIMEOUT,
            follow_redirects=False,
        )

    def claim(self, worker: str, lease_s: float) -> list[Lease]:
        """At most one task."""
        found = self._post("/v1/claim", "leases", worker=worker, lease_s=lease_s)
        return [Lease(**lease) for lease in found]

    def renew(self, lease: Lease, lease_s: float) -> bool:
        """Keep a lease for longer [s]; False if it is lost."""
        found = self._post(
            f"/v1/tasks/{lease.task_id}/renew",
            "held",
            lease_s / 3,
            fence=lease.fence,
            lease_s=lease_s,
        )
        return bool(found)

    def payload(self, lease: Lease) -> bytes:
        """What is to be done."""
        return self._blob(lease.payload)

    def finish(self, lease: Lease, data: bytes) -> str:
        """Hand in an answer."""
        path = f"/v1/tasks/{lease.task_id}/answer/{digest_of(data)}"
        found = self._request("PUT", path, params={"fence": lease.fence}, content=data)
        return str(self._read(found, "answer"))

    def fail(self, lease: Lease, error: str, *, final: bool = False) -> None:
        """Say why there is no answer."""
        path = f"/v1/tasks/{lease.task_id}/fail"
        self._post(path, fence=lease.fence, error=plain(error[:10_000]), final=final)

    def release(self, lease: Lease) -> None:
        """Give a task back unfinished."""
        self._post(f"/v1/tasks/{lease.task_id}/release", None, NOTICE, fence=lease.fence)

    def inputs(self, run_id: str) -> dict[str, bytes]:  # noqa: ARG002 (the token says which)
        """The study of the run and its input files, by name.

        Raises:
            ConfigError: They would run code that was not allowed, or read files of this machine.
        """
        found = self._request("GET", "/v1/inputs", params={"code": self.allow_code})
        files = dict(self._read(found, "files"))
        wrong = [name for name in files if not is_input(name)]
        if wrong or STUDY not in files:
            raise CheckpointError(f"The service sent no study: {wrong or list(files)}.")
        if not self.allow_code and self._read(found, "needs_code"):
            raise ConfigError(_needs("a use case in a file"))
        data = {name: self._blob(digest) for name, digest in files.items()}
        if not self.allow_code:
            _refuse_code(data[STUDY])
        return data

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def _blob(self, digest: str) -> bytes:
        found = self._request("GET", f"/v1/blobs/{digest}", params={"code": self.allow_code})
        data: bytes = found.content
        if digest_of(data) != digest:
            raise CheckpointError(f"The bytes {digest} were damaged on their way.")
        return data

    def _post(
        self, path: str, name: str | None = None, patience: float | None = None, **body: Any
    ) -> Any:
        """What the answer says under a name, or None where nothing is asked."""
        found = self._request("POST", path, patience, json=body)
        return None if name is None else self._read(found, name)

    def _read(self, response: Any, name: str) -> Any:
        try:
            return response.json()[name]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.url} answers, but not as a service of detopt does. Compare the address "
                "with that of `detopt serve`."
            ) from error

    def _request(
        self, method: str, path: str, patience: float | None = None, **options: Any
    ) -> Any:
        """The response, when there is one.

        Raises:
            DetoptError: The service refuses, or was away for too long.
        """
        limit = self.patience if patience is None else patience
        give_up, wait = time.monotonic() + limit, 0.1
        while True:
            try:
                timeout = min(TIMEOUT, max(SHORTEST, give_up - time.monotonic()))
                response = self._client.request(method, path, timeout=timeout, **options)
                if response.status_code not in AGAIN:
                    return self._granted(response)
                problem = f"{response.status_code} {_error(response)}"
            except self._httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                if "CERTIFICATE_VERIFY_FAILED" in problem:
                    raise ConfigError(
                        f"{self.url} shows a certificate that is not trusted: {problem}. Give "
                        "the certificate's file with --authority."
                    ) from error
            if time.monotonic() + wait > give_up:
                raise CheckpointError(f"{self.url} did not answer for {limit:g} s: {problem}")
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT)

    def _granted(self, response: Any) -> Any:
        if response.status_code == 401:
            raise DetoptError(f"{self.url} does not know this token, or not any more.")
        if response.is_success:
            return response
        raise CheckpointError(f"{self.url} refuses: {response.status_code} {_error(response)}")


def _error(response: Any) -> str:
    try:
        return str(response.json().get("error", response.reason_phrase))
    except (ValueError, AttributeError):
        return str(response.reason_phrase)


def _needs(what: str) -> str:
    return (
        f"This study runs {what}, which the service sends. If you trust whoever runs it, say "
        "--allow-code."
    )


def _refuse_code(study: bytes) -> None:
    """Refuse a study that runs programs, or reads files that did not come with it."""
    try:
        data = yaml.safe_load(study)
        name, options = str(data["use_case"]), dict(data.get("options") or {})
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"The service sent no study: {error!r}.") from error
    if name not in usecases.names():
        raise NotFoundError(f"The use case `{name}` is not installed here.")
    if any(options.get(key) is not None for key in PROGRAMS):
        raise ConfigError(_needs("a program"))
    for key in path_options(name):
        if options.get(key) is not None and not is_input(str(options[key])):
            raise ConfigError(_needs(f"on the file {options[key]!r} of this machine"))
