"""The language server's command line. Nothing is imported here that the first answer does not need."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from . import __version__
from .errors import Nl2CodeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one editor over stdio, or any number over TCP; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _serve(options)
    except Nl2CodeError as error:
        print(f"nl2code-server: {error}", file=sys.stderr)
        return 2


def _serve(options: argparse.Namespace) -> int:
    from .lsp import faststart

    faststart.begin()

    from . import config
    from .lsp.server import make_server
    from .lsp.transport import run_stdio, run_tcp

    flags = {"log_file": options.log_file, "log_level": options.log_level}
    settings = config.load(flags=flags).settings
    _log_to(settings.log_file, settings.log_level)
    if options.tcp:
        return run_tcp(lambda: make_server(flags), *options.tcp)
    return run_stdio(make_server(flags))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nl2code-server",
        description="Language server that turns instruction comments into Python. Editors start it.",
    )
    parser.add_argument(
        "--stdio", action="store_true", help="talk over standard input and output (the default)"
    )
    parser.add_argument(
        "--tcp", metavar="HOST:PORT", type=_address, help="listen here for any number of editors"
    )
    parser.add_argument("--log-file", metavar="FILE", help="log there instead of to stderr")
    parser.add_argument("--log-level", choices=("error", "warning", "info", "debug"))
    parser.add_argument("--version", action="version", version=f"nl2code-server {__version__}")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _log_to(file: str, level: str) -> None:
    """Log to a file or to stderr; stdout belongs to the wire."""
    try:
        handler = logging.FileHandler(file, encoding="utf-8") if file else logging.StreamHandler()
    except OSError as error:
        raise Nl2CodeError(f"cannot log to {file}: {error.strerror}", "choose another --log-file") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    # These log addresses and messages of their own at levels that are of no use here.
    for name in ("asyncio", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
