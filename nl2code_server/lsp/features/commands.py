"""`workspace/executeCommand`: accept and reject, generate and compare, explain and status."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from textwrap import shorten
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams

from ... import __version__
from ...config import Settings
from ...endpoint import runtime
from ...errors import Nl2CodeError
from ...lang import Edit
from ...lang.document import Snapshot
from ...suggest import Outcome, Suggestion
from ...suggest.explain import explain
from ...suggest.verdict import verdict
from ...suggest.warn import told
from .. import workspace
from ..anchor import drift, moved_instruction
from ..convert import to_workspace_edit
from ..generate import NothingToApply, agreed, apply, make, offer
from ..offers import Offer
from ..progress import CancelledByUser
from ..server import NoAnswer, Server

Result = dict[str, Any]
Command = Callable[..., Awaitable[Result]]

_ALTERNATIVES = 3
_CHOICE_SECONDS = 600.0
_APPLY_SECONDS = 60.0
_ARRIVAL_SECONDS = 1.0
_LONGEST_CAUSE = 200
_TYPES: dict[str, type] = {"str": str, "int": int, "bool": bool}


def _command(run: Command) -> Command:
    """Check the arguments that the client sent; end with the request."""

    async def command(ls: Server, *arguments: Any) -> Result:
        _end_with_its_request(ls)
        return await run(ls, *_checked(run, arguments))

    return command


@_command
async def accept(ls: Server, suggestion_id: str, whole: bool = False) -> Result:
    """The client has put a suggestion into the file: log it, and make the edits that ghost text cannot hold.

    `whole` says that there are none to make, because the client has made all of them.
    """
    found = ls.session.offers.get(suggestion_id)
    if found is None:
        return {"accepted": False, "reason": _unknown(suggestion_id)}
    ls.session.event("accepted", found)
    return {"accepted": True, "followUp": "none" if whole else await _follow_up(ls, found)}


@_command
async def reject(ls: Server, suggestion_id: str, cause: str = "") -> Result:
    """The user does not want a suggestion; with the cause `dismissed`, has closed it without a word about it."""
    found = ls.session.offers.get(suggestion_id)
    if found is None:
        return {"rejected": False, "reason": _unknown(suggestion_id)}
    if cause == "dismissed":
        ls.session.event("dismissed", found)
    else:
        ls.session.event("rejected", found, cause=cause[:_LONGEST_CAUSE] or "explicit")
    return {"rejected": True}


@_command
async def generate(ls: Server, uri: str, line: int, fresh: bool = False) -> Result:
    """Generate the code for the instruction at a line (from 0) and put it into the file."""
    try:
        outcome = await make(ls, uri, line, surface="command", fresh=fresh)
        await agreed(ls, outcome.suggestions[0])
        made = offer(ls, uri, outcome, outcome.suggestions[0])
        await apply(ls, made)
    except CancelledByUser as error:
        return {"applied": False, "reason": str(error)}
    except Nl2CodeError as error:
        ls.warn(f"nl2code: {error}")
        return {"applied": False, "reason": str(error)}
    return {"applied": True, "suggestionId": made.suggestion.id, "status": made.suggestion.status}


@_command
async def alternatives(ls: Server, uri: str = "", line: int = -1) -> Result:
    """Make several suggestions, let the user choose where the client can ask, and return them all.

    Without a place it is the instruction that was asked about last.
    """
    try:
        if not uri:
            uri, line = _last_place(ls)
        outcome = await make(ls, uri, line, surface="command", candidates=_ALTERNATIVES)
        for suggestion in outcome.suggestions:
            offer(ls, uri, outcome, suggestion)
        chosen = await _choose(ls, outcome)
        if chosen is not None:
            await apply(ls, offer(ls, uri, outcome, chosen))
    except CancelledByUser as error:
        return {"alternatives": [], "reason": str(error)}
    except Nl2CodeError as error:
        ls.warn(f"nl2code: {error}")
        return {"alternatives": [], "reason": str(error)}
    listed = [_as_json(suggestion) for suggestion in outcome.suggestions]
    return {"alternatives": listed, "applied": chosen.id if chosen else None}


@_command
async def explain_last(ls: Server) -> Result:
    """Tell the last decision from end to end."""
    trace = ls.session.last_trace()
    if trace is None:
        return {"text": "Nothing has been asked in this session.", "trace": None}
    return {"text": explain(trace), "trace": asdict(trace)}


@_command
async def status(ls: Server, uri: str = "") -> Result:
    """Tell how things stand and, for a document, which text of it the server has."""
    report, settings = ls.session.board.report, ls.session.settings
    told: Result = {
        "state": report.state.value,
        "busy": report.busy,
        "reason": report.text,
        "message": report.message,
        "fix": report.fix,
        "endpoint": settings.endpoint or "local model host",
        "host": _host(settings),
        "model": settings.model,
        "mode": settings.mode,
        "client": ls.session.client.label,
        "version": __version__,
        "ahead": asdict(ls.session.suggester.ahead) if ls.session.suggester else None,
    }
    if uri:
        document = workspace.document(ls, uri)
        digest = hashlib.sha256(workspace.own(document).source).hexdigest()
        told |= {"documentVersion": document.version, "sha256": digest}
    return told


def _host(settings: Settings) -> Result | None:
    """Return the local host that answers this session, if one is needed and runs."""
    if settings.endpoint:
        return None
    record = runtime.read(runtime.key(settings.engine, settings.model, settings.device))
    return {"pid": record.pid, "engine": record.engine, "model": record.model} if record else None


def _checked(run: Command, arguments: Sequence[Any]) -> Sequence[Any]:
    """Return the arguments of a command if they fit its signature."""
    parameters = list(inspect.signature(run).parameters.values())[1:]
    required = [one for one in parameters if one.default is inspect.Parameter.empty]
    fits = len(required) <= len(arguments) <= len(parameters) and all(
        type(value) is _TYPES[one.annotation] for one, value in zip(parameters, arguments, strict=False)
    )
    if not fits:
        wanted = ", ".join(str(one) for one in parameters)
        raise JsonRpcInvalidParams(f"the arguments of {run.__name__} are [{wanted}]")
    return arguments


def _end_with_its_request(ls: Server) -> None:
    """Cancel this command when the client takes its request back, which pygls does not do."""
    task = asyncio.current_task()
    request = ls.protocol._request_futures.get(ls.protocol.msg_id or "")
    if request is not None and task is not None:
        request.add_done_callback(lambda future: future.cancelled() and task.cancel())


def _unknown(suggestion_id: str) -> str:
    return f"this session has not offered {suggestion_id!r}, or too long ago"


async def _follow_up(ls: Server, found: Offer) -> str:
    """Make the edits that belong to an accepted suggestion beyond the text that the client has put in."""
    edits, found.follow_up = found.follow_up, ()
    if not edits or found.inserted is None:
        return "none"
    if not ls.session.client.apply_edit:
        return "not applied: the editor does not let the server edit"
    after = found.snapshot.edited([found.inserted])
    arrived = await _arrived(ls, found.uri, after, found.inserted, edits)
    if arrived is None:
        return "not applied: the code is not in the file, or was edited already"
    edit = to_workspace_edit(arrived[0], arrived[1], ls.session.client)
    params = lsp.ApplyWorkspaceEditParams(edit=edit, label="nl2code: complete the suggestion")
    try:
        result = await ls.ask(lsp.WORKSPACE_APPLY_EDIT, params, seconds=_APPLY_SECONDS)
    except NoAnswer as error:
        return f"not applied: {error}"
    return "applied" if result.applied else f"not applied: {result.failure_reason or 'no reason given'}"


async def _arrived(
    ls: Server, uri: str, after: Snapshot, inserted: Edit, edits: Sequence[Edit]
) -> tuple[Snapshot, Sequence[Edit]] | None:
    """Wait until the accepted text is in the document: some clients send the command before the change."""
    rows = range(inserted.start[0], inserted.start[0] + len(inserted.text.splitlines()))
    deadline = asyncio.get_running_loop().time() + _ARRIVAL_SECONDS
    while (document := workspace.find(ls.workspace, uri)) is not None:
        snapshot = document.snapshot()
        if (fitted := drift(after, snapshot).edits(edits, intact=rows)) is not None:
            return snapshot, fitted
        if asyncio.get_running_loop().time() > deadline:
            return None
        await asyncio.sleep(0.02)
    return None


def _last_place(ls: Server) -> tuple[str, int]:
    """Return where the instruction that was asked about last is now."""
    if not ls.session.decisions:
        raise NothingToApply("Nothing has been asked in this session")
    job = next(reversed(ls.session.decisions.values())).job
    snapshot = workspace.document(ls, job.snapshot.uri).snapshot()
    found = moved_instruction(job.instruction, job.snapshot, snapshot)
    if found is None:
        raise NothingToApply("The instruction that was asked about last has changed")
    return job.snapshot.uri, found.start_row - snapshot.origin


async def _choose(ls: Server, outcome: Outcome) -> Suggestion | None:
    """Let the user choose, if there is a choice and a way to ask."""
    if not ls.session.client.asks or not ls.session.client.apply_edit:
        return None
    titles = {
        f"{number}. {shorten(' '.join(one.code.split()), 90)} ({verdict(one)})": one
        for number, one in enumerate(outcome.suggestions, start=1)
    }
    params = lsp.ShowMessageRequestParams(
        type=lsp.MessageType.Info,
        message=f"nl2code: which code for “{outcome.suggestions[0].instruction.text}”?",
        actions=[lsp.MessageActionItem(title=title) for title in titles],
    )
    try:
        answer = await ls.ask(lsp.WINDOW_SHOW_MESSAGE_REQUEST, params, seconds=_CHOICE_SECONDS)
    except NoAnswer:
        return None
    return titles.get(answer.title) if answer is not None else None


def _as_json(suggestion: Suggestion) -> Result:
    return {
        "id": suggestion.id,
        "text": suggestion.code,
        "status": suggestion.status,
        "verdict": verdict(suggestion),
        "examples": [asdict(run) for run in suggestion.examples],
        "imports": list(suggestion.imports),
        "warnings": list(told(suggestion)),
    }
