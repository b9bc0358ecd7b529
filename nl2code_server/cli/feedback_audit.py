"""`nl2code feedback audit`: what would leave this machine, word for word, and what is taken out before."""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from .. import config
from ..config import Settings
from ..errors import Nl2CodeError
from ..feedback.anonymise import anonymous_rows
from ..feedback.log import database
from ..feedback.redact import redact_all
from ..feedback.store import Record, Store


def audit(
    id: Annotated[str, typer.Argument(help="Request or suggestion; the last request without it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what would leave this machine, and what is taken out of it before.

    Two things can leave: the prompt, if an endpoint on another machine is configured, and what you export. Both are
    shown for one logged request as they would leave, with what each placeholder stands for. Nothing is sent.
    """
    settings = config.load().settings
    path = database(settings)
    if not path.exists():
        raise Nl2CodeError("The feedback log is empty", "Ask for some code first")
    with Store(path) as store:
        record = store.record(id)
    if record is None:
        raise Nl2CodeError(
            f"The feedback log holds {f'no request or suggestion {id}' if id else 'no request yet'}",
            "See `nl2code feedback list`",
        )
    found = audited(record, settings, own_words())
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _print(found)


def own_words() -> Collection[str]:
    """Return the words that name this user and this machine."""
    words = {socket.gethostname(), socket.gethostname().partition(".")[0], Path.home().name}
    with suppress(OSError, KeyError):  # an account without a name
        words.add(getpass.getuser())
    return words - {"", "root", "localhost", "user"}


def audited(record: Record, settings: Settings, own: Collection[str]) -> dict[str, Any]:
    """Return what would leave of a record: to the endpoint, and in an anonymised export."""
    host = urlsplit(settings.endpoint).hostname or ""
    leaves = bool(settings.endpoint) and not config.is_loopback(host)
    messages = record.request.messages
    known: dict[str, str] = {}
    sent = redact_all(messages, known) if settings.redact else messages
    rows, replaced = anonymous_rows(record.request, record.candidates, record.events, own)
    return {
        "request_id": record.request.request_id,
        "prompt": {
            "to": settings.endpoint or "the model host on this machine",
            "leaves": leaves,
            "redact": settings.redact,
            "messages": sent,
            "bytes": sum(len(message.get("content", "").encode()) for message in sent),
            "taken_out": _placeholders(sent),
        },
        "export": {"record": rows, "replaced": replaced},
    }


def _placeholders(messages: list[dict[str, str]]) -> dict[str, int]:
    """Count the placeholders of secrets in a prompt: those taken out before it was logged, and now."""
    text = "\n".join(message.get("content", "") for message in messages)
    return dict(Counter(re.findall(r"<SECRET:[a-z0-9-]+>", text)))


def _print(found: dict[str, Any]) -> None:
    prompt, export = found["prompt"], found["export"]
    typer.echo(f"request {found['request_id']}")
    goes = "leaves this machine" if prompt["leaves"] else "stays on this machine"
    typer.echo(f"\nThe prompt goes to {prompt['to']}: it {goes} ({prompt['bytes']} bytes).")
    if prompt["leaves"] and not prompt["redact"]:
        typer.secho("Secrets are not taken out of it: redact is false.", fg="red")
    if not prompt["messages"]:
        typer.echo("It was not logged: feedback is no-code.")
    for message in prompt["messages"]:
        typer.echo(f"\n[{message.get('role', '')}]\n{_plain(message.get('content', ''))}")
    for placeholder, count in prompt["taken_out"].items():
        typer.echo(f"taken out: {placeholder} ({count} times)")
    typer.echo("\nAn export with --anonymise would hold, of this request:\n")
    typer.echo(_plain(json.dumps(export["record"], ensure_ascii=False, indent=2)))
    typer.echo("\nreplaced in it:" if export["replaced"] else "\nNothing was replaced in it.")
    for placeholder, text in export["replaced"].items():
        typer.echo(f"  {placeholder}  {_plain(text)}")


def _plain(text: str) -> str:
    """Keep a terminal from obeying logged text."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
