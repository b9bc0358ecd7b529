"""A suggestion as ghost text: whether it can be shown at the cursor, and the item that shows it."""

from __future__ import annotations

from lsprotocol import types as lsp

from ..lang import Point
from ..lang.document import Document, Snapshot
from ..lang.instruction import Instruction
from ..lang.names import insert_imports
from ..lang.placement import place
from ..lang.splice import inline
from ..suggest import Job, Suggestion
from .anchor import behind, drift, moved
from .convert import to_range, verdict
from .offers import Offer
from .server import Server


def fits(snapshot: Snapshot, instruction: Instruction, cursor: Point) -> bool:
    """Tell whether code for an instruction could be shown at the cursor."""
    return inline(snapshot, instruction, place(snapshot, instruction), "pass", cursor) is not None


async def items(
    ls: Server, document: Document, job: Job, cursor: Point, *, seconds: float
) -> list[lsp.InlineCompletionItem]:
    """Make suggestions and return the items that show them in the text as it is then."""
    outcome = await ls.session.suggest_within(job, seconds)
    if outcome is None:
        return []
    shown = [
        _item(ls, document, job.snapshot, suggestion, cursor)
        for suggestion in outcome.suggestions
        if job.trigger == "invoked" or suggestion.status != "failed"
    ]
    return [item for item in shown if item is not None]


def _item(
    ls: Server, document: Document, asked: Snapshot, suggestion: Suggestion, cursor: Point
) -> lsp.InlineCompletionItem | None:
    comment = ls.session.settings.comment
    snapshot = document.snapshot()
    at = drift(asked, snapshot).point(cursor) if snapshot is not asked else cursor
    fitted = moved(suggestion, asked, snapshot, comment=comment)
    if at is None or fitted is None:
        return None
    shown = inline(snapshot, fitted.instruction, fitted.placement, fitted.code, at, comment=comment)
    if shown is None:
        return None
    imports = behind(insert_imports(snapshot, fitted.imports), shown.edit)
    offer = Offer(fitted, snapshot.uri, snapshot, shown.edit, (*imports, *shown.follow_up))
    ls.session.event("offered", ls.session.offers.put(offer))
    return lsp.InlineCompletionItem(
        insert_text=shown.edit.text,
        range=to_range(snapshot, shown.edit.start, shown.edit.end),
        command=lsp.Command(
            title=f"Accept ({verdict(fitted)})", command="nl2code.accept", arguments=[fitted.id]
        ),
    )
