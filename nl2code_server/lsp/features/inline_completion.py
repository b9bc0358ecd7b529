"""`textDocument/inlineCompletion`: the suggestion as ghost text at the end of the instruction, or below it."""

from __future__ import annotations

import asyncio

from lsprotocol import types as lsp

from ...lang import Point
from ...lang.document import Document, Snapshot
from ...lang.instruction import Attention, Instruction, Mode, at
from ...lang.names import insert_imports
from ...lang.placement import place
from ...lang.splice import inline
from ...suggest import Job, Suggestion
from .. import workspace
from ..anchor import behind, drift, moved
from ..convert import to_range, verdict
from ..offers import Offer
from ..server import Server

LIMIT = 15.0
"""Seconds that a request may stay open."""
_PAUSE = 0.075
"""Seconds that a request nobody asked for waits: most are taken back at the next keystroke."""


def register(server: Server) -> None:
    """Add the feature."""
    server.feature(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, lsp.InlineCompletionOptions())(inline_completion)


async def inline_completion(ls: Server, params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList:
    """Answer with suggestions, or with nothing where nothing is asked for."""
    document = workspace.document(ls, params.text_document.uri)
    snapshot = document.snapshot()
    session = ls.session
    invoked = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    cursor = snapshot.to_point(params.position.line, params.position.character)
    attention: Attention = "invoked" if invoked else "cursor"
    instruction = _instruction(snapshot, cursor, session.settings.mode, attention)  # type: ignore[arg-type]
    if instruction is None or session.settings.surface == "popup":
        return lsp.InlineCompletionList(items=[])
    if not invoked and (snapshot.uri, instruction.text) not in session.decisions:
        await asyncio.sleep(_PAUSE)
    job = Job(
        snapshot,
        instruction,
        candidates=session.settings.candidates,
        surface="inline",
        trigger="invoked" if invoked else "automatic",
    )
    outcome = await session.suggest_within(job, LIMIT)
    if outcome is None:
        return lsp.InlineCompletionList(items=[])
    items = [
        item
        for suggestion in outcome.suggestions
        if (invoked or suggestion.status != "failed")
        and (item := _item(ls, document, snapshot, suggestion, cursor)) is not None
    ]
    return lsp.InlineCompletionList(items=items)


def _instruction(snapshot: Snapshot, cursor: Point, mode: Mode, attention: Attention) -> Instruction | None:
    """Return the request at the cursor, if its code could be shown there."""
    found = at(snapshot, cursor[0], mode, attention=attention)
    if found is None or not found.fires:
        return None
    return found if inline(snapshot, found, place(snapshot, found), "pass", cursor) else None


def _item(
    ls: Server, document: Document, asked: Snapshot, suggestion: Suggestion, cursor: Point
) -> lsp.InlineCompletionItem | None:
    """Convert a suggestion, fitted to the text as it is by now."""
    comment = ls.session.settings.comment
    snapshot = document.snapshot()
    place_now = drift(asked, snapshot).point(cursor) if snapshot is not asked else cursor
    fitted = moved(suggestion, asked, snapshot, comment=comment)
    if place_now is None or fitted is None:
        return None
    shown = inline(snapshot, fitted.instruction, fitted.placement, fitted.code, place_now, comment=comment)
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
