"""`textDocument/completion`: suggestions in a popup, for editors without ghost text."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from .. import workspace
from ..convert import part
from ..offers import Offer
from ..preload import parsed
from ..server import Server
from .inline_completion import PAUSE, may_ask

if TYPE_CHECKING:
    from ...lang.instruction import Mode

WAIT = 0.3
"""Seconds until the answer: an editor may ask several servers and show nothing until the last has answered."""


async def completion(ls: Server, params: lsp.CompletionParams) -> lsp.CompletionList:
    """Answer with the suggestions that are ready; the others are made meanwhile, for the next time that it asks."""
    session = ls.session
    document = workspace.find(ls.workspace, params.text_document.uri)
    nothing = lsp.CompletionList(is_incomplete=False, items=[])
    if document is None or not session.pops_up:
        return nothing
    snapshot = document.snapshot()
    cursor = snapshot.to_point(params.position.line, params.position.character)
    if not may_ask(snapshot, cursor[0]):
        return nothing

    await session.preload.finding()
    await parsed(snapshot)
    from ...lang.instruction import at
    from ...suggest import Job
    from .. import ghost, popup

    mode: Mode = session.settings.mode  # type: ignore[assignment]
    found = at(snapshot, cursor[0], mode, attention="cursor")
    if found is None or not found.fires or not ghost.fits(snapshot, found, cursor):
        return nothing
    if (snapshot.uri, found.text) not in session.decisions:
        await asyncio.sleep(PAUSE)
    job = Job(snapshot, found, candidates=session.settings.candidates, surface="popup")
    outcome = await session.suggest_within(job, WAIT)
    items: list[lsp.CompletionItem] = []
    for one in ghost.shown(ls, document, outcome, job, cursor) if outcome else []:
        made = popup.item(one, session.client, len(items))
        if made is not None:
            offer = Offer(one.suggestion, one.snapshot.uri, one.snapshot)
            session.event("offered", session.offers.put(offer))
            items.append(made)
    # Whatever is typed next changes the instruction, and with it the answer.
    return lsp.CompletionList(is_incomplete=True, items=items)


async def resolve(ls: Server, item: lsp.CompletionItem) -> lsp.CompletionItem:
    """Add the preview: the user has come to this item."""
    from .. import popup

    suggestion_id = part(item.data, "id")
    found = ls.session.offers.get(suggestion_id) if isinstance(suggestion_id, str) else None
    if found is not None:
        ls.session.event("shown", found)
        item.documentation = popup.preview(found.suggestion.code, ls.session.client)
    return item
