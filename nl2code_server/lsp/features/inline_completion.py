"""`textDocument/inlineCompletion`: the suggestion as ghost text at the end of the instruction, or below it."""

from __future__ import annotations

import asyncio

from lsprotocol import types as lsp

from ...lang.instruction import Attention, Mode, at
from .. import workspace
from ..server import Server

LIMIT = 15.0
"""Seconds that a request may stay open."""
_PAUSE = 0.075
"""Seconds that a request nobody asked for waits: most are taken back at the next keystroke."""


async def inline_completion(ls: Server, params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList:
    """Answer with suggestions, or with nothing where nothing is asked for."""
    session = ls.session
    document = workspace.find(ls.workspace, params.text_document.uri)
    if document is None or session.settings.surface == "popup":
        return lsp.InlineCompletionList(items=[])
    snapshot = document.snapshot()
    invoked = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    cursor = snapshot.to_point(params.position.line, params.position.character)
    attention: Attention = "invoked" if invoked else "cursor"
    mode: Mode = session.settings.mode  # type: ignore[assignment]
    found = at(snapshot, cursor[0], mode, attention=attention)
    if found is None or not found.fires:
        return lsp.InlineCompletionList(items=[])

    # Most requests end above; only the others pay for loading all that makes suggestions.
    from ...suggest import Job
    from .. import ghost

    if not ghost.fits(snapshot, found, cursor):
        return lsp.InlineCompletionList(items=[])
    if not invoked and (snapshot.uri, found.text) not in session.decisions:
        await asyncio.sleep(_PAUSE)
    job = Job(
        snapshot,
        found,
        candidates=session.settings.candidates,
        surface="inline",
        trigger="invoked" if invoked else "automatic",
    )
    return lsp.InlineCompletionList(items=await ghost.items(ls, document, job, cursor, seconds=LIMIT))
