"""`nl2code explain`: the last decision, or any logged one, from end to end."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from .. import config
from ..errors import Nl2CodeError
from ..feedback.log import database
from ..feedback.store import Store
from ..suggest.explain import explain as told
from ..suggest.explain import logged_trace


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    id: Annotated[str, typer.Argument(help="Request or suggestion; the last request without it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the story as JSON.")] = False,
) -> None:
    """Tell a decision from end to end.

    Why the comment was taken for a request, what the model was shown and said, which checks and examples ran,
    and what became of it. The ids are those of `nl2code feedback list`.
    """
    settings = config.load().settings
    with Store(database(settings)) as store:
        record = store.record(id)
    if record is None:
        known = f"no request or suggestion {id}" if id else "no request yet"
        raise Nl2CodeError(f"The feedback log holds {known}", "See `nl2code feedback list`")
    trace = logged_trace(record)
    if as_json:
        print(json.dumps({"request_id": record.request.request_id, **asdict(trace)}, ensure_ascii=False))
    else:
        Console().print(Markdown(told(trace)))
