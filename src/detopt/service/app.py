"""The REST API of a store's tasks; `docs/run/service.md` lists it.

A token goes with every request as `Authorization: Bearer TOKEN`. It is for one run, so that no
request names one. All bodies are JSON, but answers and blobs are plain bytes.
"""

__all__ = ["MOST_BYTES", "make_app", "serve"]

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from detopt.errors import CheckpointError, DetoptError
from detopt.optional import require
from detopt.runtime.storage import Store, Token, Tokens
from detopt.runtime.storage.encoding import plain
from detopt.runtime.votes import RATE
from detopt.service.addresses import check_served
from detopt.service.referee import Referee, Refusal

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_BYTES = 64 * 2**20  # of an answer
MOST_JSON = 256 * 2**10  # of other requests
MOST_CONNECTIONS = 2_000
DIGEST = r"^[0-9a-f]{64}$"
SCHEME = "bearer "


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Claim(_Body):
    worker: str = Field(max_length=200)
    lease_s: float = Field(gt=0, le=3600)


class _Renewal(_Body):
    fence: int = Field(ge=1, lt=2**31)
    lease_s: float = Field(gt=0, le=3600)


class _Failure(_Body):
    fence: int = Field(ge=1, lt=2**31)
    error: str = Field(max_length=100_000)
    final: bool = False


class _Release(_Body):
    fence: int = Field(ge=1, lt=2**31)


def make_app(store: Store, rate: float = RATE, most_bytes: int = MOST_BYTES) -> "FastAPI":
    """The service of a store.

    Args:
        store: Where the tasks are.
        rate: Share of the answers that are done again, under the trust `sample`.
        most_bytes: Size of the largest answer.

    Raises:
        MissingExtraError: `fastapi` is not installed.
    """
    require("fastapi", extra="service", purpose="Serving tasks")
    import fastapi

    app = fastapi.FastAPI(title="detopt", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_Limited, most_bytes=most_bytes)
    own = fastapi.Depends(_holder(Tokens(store.database)))
    referee = Referee(store, rate)
    _answer_errors(app)
    _serve_leases(app, referee, own)
    _serve_answers(app, referee, own)
    _serve_inputs(app, referee, own)
    return app


def _holder(tokens: Tokens) -> Callable[..., Token]:
    """What finds the token of a request."""
    import fastapi

    def holder(request: fastapi.Request) -> Token:
        given = request.headers.get("authorization", "")
        found = tokens.find(given[len(SCHEME) :]) if given.lower().startswith(SCHEME) else None
        if found is None:
            raise Refusal(401, "This needs a token that holds. Ask for one.")
        return found

    return holder


def _digest_path() -> Any:
    """A digest in the path of a request; one for each parameter, since it takes its name."""
    import fastapi

    return fastapi.Path(pattern=DIGEST)


def _answer_errors(app: "FastAPI") -> None:
    """Refusals and a store that is away become answers, all of one form."""
    import fastapi
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @app.exception_handler(Refusal)
    def refused(_: fastapi.Request, error: Refusal) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        return JSONResponse({"error": str(error)}, error.status, headers)

    @app.exception_handler(CheckpointError)
    def away(_: fastapi.Request, __: CheckpointError) -> JSONResponse:
        return JSONResponse({"error": "The store cannot be used now. Try again."}, 503)

    @app.exception_handler(DetoptError)
    def unable(_: fastapi.Request, error: DetoptError) -> JSONResponse:
        text = f"The machine of the service cannot check answers of this study: {error}"
        return JSONResponse({"error": plain(text)}, 501)

    @app.exception_handler(RequestValidationError)
    def wrong(_: fastapi.Request, error: RequestValidationError) -> JSONResponse:
        said = [f"`{'.'.join(map(str, one['loc']))}`: {one['msg']}" for one in error.errors()]
        return JSONResponse({"error": plain("; ".join(said))}, 422)

    @app.exception_handler(HTTPException)
    def other(_: fastapi.Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _serve_leases(app: "FastAPI", referee: Referee, own: Any) -> None:
    """Taking tasks, keeping them and giving them back."""

    @app.get("/v1/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/claim")
    def claim(body: _Claim, token: Token = own) -> dict[str, Any]:
        leases = referee.claim(token, body.worker, body.lease_s)
        return {"leases": [dataclasses.asdict(lease) for lease in leases]}

    @app.post("/v1/tasks/{name}/renew")
    def renew(body: _Renewal, name: str = _digest_path(), token: Token = own) -> dict[str, bool]:
        return {"held": referee.renew(token, name, body.fence, body.lease_s)}

    @app.post("/v1/tasks/{name}/release")
    def release(body: _Release, name: str = _digest_path(), token: Token = own) -> dict[str, str]:
        referee.release(token, name, body.fence)
        return {}


def _serve_answers(app: "FastAPI", referee: Referee, own: Any) -> None:
    """Handing in answers, or why there is none."""
    import fastapi
    from fastapi.concurrency import run_in_threadpool

    @app.post("/v1/tasks/{name}/fail")
    def fail(body: _Failure, name: str = _digest_path(), token: Token = own) -> dict[str, str]:
        referee.fail(token, name, body.fence, body.error, body.final)
        return {}

    @app.put("/v1/tasks/{name}/answer/{digest}")
    async def finish(
        request: fastapi.Request,
        name: str = _digest_path(),
        digest: str = _digest_path(),
        fence: int = fastapi.Query(ge=1, lt=2**31),
        token: Token = own,
    ) -> dict[str, str]:
        data = await request.body()
        answer = await run_in_threadpool(referee.finish, token, name, fence, data, digest)
        return {"answer": answer}


def _serve_inputs(app: "FastAPI", referee: Referee, own: Any) -> None:
    """The files of a run, and stored bytes."""
    from fastapi.responses import Response

    @app.get("/v1/inputs")
    def inputs(code: bool = False, token: Token = own) -> dict[str, Any]:
        files, left_out = referee.inputs(token, code=code)
        return {"files": files, "needs_code": left_out}

    @app.get("/v1/blobs/{digest}")
    def blob(digest: str = _digest_path(), code: bool = False, token: Token = own) -> Response:
        data = referee.blob(token, digest, code=code)
        return Response(data, media_type="application/octet-stream")


class _Limited:
    """Stops reading a request that is too large, before it fills the memory.

    Args:
        app: What answers.
        most_bytes: Size of the largest answer of a worker.
    """

    def __init__(self, app: Any, most_bytes: int) -> None:
        self._app, self._most_bytes = app, most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        is_answer = scope.get("method") == "PUT"
        limit, n_bytes = self._most_bytes if is_answer else MOST_JSON, 0
        from starlette.exceptions import HTTPException  # which reading a body lets through

        async def limited() -> Any:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > limit:
                raise HTTPException(413, f"A request like this may have {limit} bytes.")
            return message

        await self._app(scope, limited, send)


def serve(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 8443,
    certificate: Path | None = None,
    key: Path | None = None,
    rate: float = RATE,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve a store's tasks until a signal.

    Args:
        store: Where the tasks are.
        host: Address on which to listen.
        port: Port on which to listen.
        certificate: File of the TLS certificate; needed elsewhere than on this machine.
        key: File of its key.
        rate: See `make_app`.
        ready: Told the address.

    Raises:
        ConfigError: This place needs a certificate.
        MissingExtraError: `fastapi` or `uvicorn` is not installed.
    """
    check_served(host, certificate, key)
    uvicorn = require("uvicorn", extra="service", purpose="Serving tasks")
    app = make_app(store, rate)
    named = f"[{host}]" if ":" in host else host  # IPv6
    ready(f"{'http' if certificate is None else 'https'}://{named}:{port}")
    uvicorn.run(
        app,
        host=host,
        port=port,
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if key is None else str(key),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
    )
