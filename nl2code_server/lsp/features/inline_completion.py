"""`textDocument/inlineCompletion`: the suggestion as ghost text at the end of the instruction, or below it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from ...lang.document import Snapshot
from .. import workspace
from ..preload import parsed
from ..server import Server

if TYPE_CHECKING:
    from ...lang.instruction import Attention, Mode

LIMIT = 15.0
"""Seconds that a request may stay open."""
PAUSE = 0.075
"""Seconds that a request nobody asked for waits: most are taken back at the next keystroke."""

# What stands on the last line of a comment or stub, or above the empty place below it: a comment mark, the end of a
# docstring or of a head, a placeholder.
_ENDS_INSTRUCTION = re.compile(rb"""[#'":]|\.\.\.|\bpass\b|NotImplemented""")


async def inline_completion(ls: Server, params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList:
    """Answer with suggestions, or with nothing where nothing is asked for."""
    session = ls.session
    document = workspace.find(ls.workspace, params.text_document.uri)
    if document is None or session.settings.surface == "popup":
        return lsp.InlineCompletionList(items=[])
    snapshot = document.snapshot()
    cursor = snapshot.to_point(params.position.line, params.position.character)
    if not may_ask(snapshot, cursor[0]):
        return lsp.InlineCompletionList(items=[])

    # Most requests end above, at typing; only the others pay for a syntax tree and for what makes suggestions.
    await session.preload.finding()
    await parsed(snapshot)
    from ...lang.instruction import at
    from ...suggest import Job
    from .. import ghost

    invoked = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    attention: Attention = "invoked" if invoked else "cursor"
    mode: Mode = session.settings.mode  # type: ignore[assignment]
    found = at(snapshot, cursor[0], mode, attention=attention)
    if found is None or not found.fires or not ghost.fits(snapshot, found, cursor):
        return lsp.InlineCompletionList(items=[])
    if not invoked and (snapshot.uri, found.text) not in session.decisions:
        await asyncio.sleep(PAUSE)
    job = Job(
        snapshot,
        found,
        candidates=session.settings.candidates,
        surface="inline",
        trigger="invoked" if invoked else "automatic",
    )
    return lsp.InlineCompletionList(items=await ghost.items(ls, document, job, cursor, seconds=LIMIT))


def may_ask(snapshot: Snapshot, row: int) -> bool:
    """Tell, from one line, whether an instruction can end at a row or above it with blank lines between."""
    while row > 0 and not snapshot.lines[row].strip():
        row -= 1
    return _ENDS_INSTRUCTION.search(snapshot.lines[row]) is not None
