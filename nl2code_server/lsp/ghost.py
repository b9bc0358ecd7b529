"""A suggestion as ghost text: whether it can be shown at the cursor, and the item that shows it."""

from __future__ import annotations

from dataclasses import dataclass

from lsprotocol import types as lsp

from ..lang import Edit, Point
from ..lang.document import Document, Snapshot
from ..lang.instruction import Instruction
from ..lang.names import insert_imports
from ..lang.placement import place
from ..lang.splice import Inline, inline
from ..suggest import Job, Outcome, Suggestion
from ..suggest.verdict import verdict
from .anchor import behind, drift, moved
from .convert import to_range
from .offers import Offer
from .server import Server
from .workspace import find


def fits(snapshot: Snapshot, instruction: Instruction, cursor: Point) -> bool:
    """Tell whether code for an instruction could be shown at the cursor."""
    return inline(snapshot, instruction, place(snapshot, instruction), "pass", cursor) is not None


async def items(
    ls: Server, document: Document, job: Job, cursor: Point, *, seconds: float
) -> list[lsp.InlineCompletionItem]:
    """Make suggestions and return the items that show them in the text as it is then."""
    outcome = await ls.session.suggest_within(job, seconds)
    return [_item(ls, one) for one in shown(ls, document, outcome, job, cursor)] if outcome else []


@dataclass(frozen=True, slots=True)
class Shown:
    """A suggestion fitted to the present text and to the cursor there."""

    suggestion: Suggestion
    snapshot: Snapshot
    cursor: Point
    change: Inline
    imports: tuple[Edit, ...]
    """What else it puts into the text, in the points of the text as it is."""


def shown(ls: Server, document: Document, outcome: Outcome, job: Job, cursor: Point) -> list[Shown]:
    """Return those suggestions that can be shown in the text as it is now, for a cursor in the text of the job."""
    if find(ls.workspace, document.uri) is not document:
        return []  # closed meanwhile, perhaps opened anew
    fitted = [
        _fitted(ls, document, job.snapshot, suggestion, cursor)
        for suggestion in outcome.suggestions
        if job.trigger == "invoked" or suggestion.status != "failed"
    ]
    return [one for one in fitted if one is not None]


def _fitted(
    ls: Server, document: Document, asked: Snapshot, suggestion: Suggestion, cursor: Point
) -> Shown | None:
    comment = ls.session.settings.comment
    snapshot = document.snapshot()
    at = drift(asked, snapshot).point(cursor) if snapshot is not asked else cursor
    fitted = moved(suggestion, asked, snapshot, comment=comment)
    if at is None or fitted is None:
        return None
    change = inline(snapshot, fitted.instruction, fitted.placement, fitted.code, at, comment=comment)
    if change is None:
        return None
    return Shown(fitted, snapshot, at, change, insert_imports(snapshot, fitted.imports))


def _item(ls: Server, one: Shown) -> lsp.InlineCompletionItem:
    edit = one.change.edit
    follow_up = (*behind(one.imports, edit), *one.change.follow_up)
    offer = Offer(one.suggestion, one.snapshot.uri, one.snapshot, edit, follow_up)
    ls.session.event("offered", ls.session.offers.put(offer))
    return lsp.InlineCompletionItem(
        insert_text=edit.text,
        range=to_range(one.snapshot, edit.start, edit.end),
        command=accepts(one.suggestion),
    )


def accepts(suggestion: Suggestion) -> lsp.Command:
    """Return the command that tells that a suggestion was taken."""
    return lsp.Command(
        title=f"Accept ({verdict(suggestion)})", command="nl2code.accept", arguments=[suggestion.id]
    )
