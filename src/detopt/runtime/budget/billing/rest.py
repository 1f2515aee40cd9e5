"""Requests to the REST interface of a provider, with a bearer token from the environment."""

__all__ = ["TOKEN", "post"]

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from detopt.errors import ConfigError

TOKEN = "DETOPT_BILLING_TOKEN"  # name of the variable; the token itself is kept nowhere
TIMEOUT = 30.0  # s
MOST_BYTES = 4 * 2**20
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
HINTS = {
    401: f"The token in {TOKEN} does not hold (any more). Get a new one.",
    403: "The token may not read bills. Ask for the right to.",
    404: "There is no such place: compare project, table or scope.",
    429: "It was asked too often. Try again later.",
}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """A token goes nowhere else."""


def post(url: str, body: Any, provider: str) -> Any:
    """The JSON document that a provider answers.

    Args:
        url: Where to ask; `https`, or this machine.
        body: What to ask, as JSON.
        provider: Its name, for messages.

    Raises:
        ConfigError: There is no token, the URL is not safe, or the provider refuses.
    """
    token = os.environ.get(TOKEN)
    if not token:
        raise ConfigError(f"Asking {provider} for a bill needs an access token in {TOKEN}.")
    if any(not "!" <= letter <= "~" for letter in token):
        raise ConfigError(f"The token in {TOKEN} has letters that no token has.")
    place = urlsplit(url)
    if place.scheme != "https" and not (place.scheme == "http" and place.hostname in LOOPBACK):
        raise ConfigError(f"The bill of {provider} is only asked for by https, got {url}.")
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT) as answer:
            return json.loads(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        hint = HINTS.get(error.code, "")
        error.close()
        raise ConfigError(
            f"{provider} refuses to tell its bill: {error.code} {error.reason}. {hint}".rstrip()
        ) from None  # the cause holds the request
    except (OSError, HTTPException) as error:
        raise ConfigError(f"{provider} cannot be reached: {error}.") from None
    except ValueError as error:
        raise ConfigError(f"{provider} answers no JSON: {error}.") from None
