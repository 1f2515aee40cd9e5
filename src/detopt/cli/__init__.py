"""The command `detopt`: parse, call, print."""

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    from detopt.cli.app import run_app

    code = run_app(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        sys.exit(code)
    return code
