"""Generate on a user's word, for a code action or a command: with a progress bar, for the text as it is then."""

from __future__ import annotations

from lsprotocol import types as lsp

from ..errors import Nl2CodeError
from ..lang.document import Snapshot
from ..lang.instruction import Instruction, Mode, at
from ..suggest import Job, Outcome, Suggestion
from ..suggest.verdict import verdict
from ..suggest.warn import risks
from . import workspace
from .anchor import moved
from .convert import to_workspace_edit
from .offers import Offer
from .preload import parsed
from .progress import progress_bar
from .server import Server

_APPLY_SECONDS = 60.0
_CONSENT_SECONDS = 300.0
_YES, _NO = "Put it in", "Leave it"


class NothingToApply(Nl2CodeError):
    """There is no code for the instruction, or it does not fit any more."""


def instruction_at(ls: Server, snapshot: Snapshot, line: int) -> Instruction:
    """Return the instruction at a line for a user who points at it."""
    mode: Mode = ls.session.settings.mode  # type: ignore[assignment]
    found = at(snapshot, line + snapshot.origin, mode, attention="invoked")
    if found is None:
        raise NothingToApply(f"There is no comment or stub at line {line + 1} that asks for code")
    if not found.fires:
        raise NothingToApply(f"This comment is not taken for a request: it {found.reason}")
    return found


async def make(
    ls: Server, uri: str, line: int, *, surface: str, fresh: bool = False, candidates: int = 1
) -> Outcome:
    """Make suggestions for the instruction at a line, at least one of them."""
    snapshot = await parsed(workspace.document(ls, uri).snapshot())
    job = Job(
        snapshot,
        instruction_at(ls, snapshot, line),
        candidates=max(candidates, ls.session.settings.candidates),
        surface=surface,
        trigger="invoked",
        fresh=fresh,
    )
    async with progress_bar(ls, "nl2code: generating") as bar:
        outcome = await ls.session.suggest(job, bar.report)
    if not outcome.suggestions:
        raise NothingToApply(f"Nothing to offer: {outcome.reason}")
    return outcome


def offer(ls: Server, uri: str, outcome: Outcome, suggestion: Suggestion) -> Offer:
    """Offer a suggestion for the text as it is now."""
    document = workspace.document(ls, uri)
    snapshot = document.snapshot()
    fitted = moved(suggestion, outcome.snapshot, snapshot, comment=ls.session.settings.comment)
    if fitted is None:
        raise NothingToApply("The place of the code was edited meanwhile")
    made = ls.session.offers.put(Offer(fitted, uri, snapshot))
    ls.session.event("offered", made)
    return made


async def agreed(ls: Server, suggestion: Suggestion) -> None:
    """Show what is risky about code that is about to be put in; raise `NothingToApply` if it is not wanted then.

    An editor that cannot ask shows a warning. Ask before `offer`: the text may change meanwhile.
    """
    careful = risks(suggestion)
    if not careful:
        return
    if not ls.session.client.asks:
        ls.warn(f"nl2code: look at this code before you run it: {careful}")
        return
    params = lsp.ShowMessageRequestParams(
        type=lsp.MessageType.Warning,
        message=f"nl2code: look at this code first: {careful}",
        actions=[lsp.MessageActionItem(title=_YES), lsp.MessageActionItem(title=_NO)],
    )
    answer = await ls.ask(lsp.WINDOW_SHOW_MESSAGE_REQUEST, params, seconds=_CONSENT_SECONDS)
    if answer is None or answer.title != _YES:
        raise NothingToApply(f"It was not put in: {careful}")


async def apply(ls: Server, made: Offer) -> None:
    """Have the client put an offer into the file, which accepts it."""
    if not ls.session.client.apply_edit:
        raise NothingToApply("This editor does not let the server edit")
    edit = to_workspace_edit(made.snapshot, made.suggestion.edits, ls.session.client)
    params = lsp.ApplyWorkspaceEditParams(edit=edit, label="nl2code: generate")
    result = await ls.ask(lsp.WORKSPACE_APPLY_EDIT, params, seconds=_APPLY_SECONDS)
    if not result.applied:
        raise NothingToApply(
            f"The editor did not apply the edit: {result.failure_reason or 'no reason given'}"
        )
    ls.session.event("accepted", made)
    if made.suggestion.status == "failed":
        ls.warn(f"nl2code: {verdict(made.suggestion)}")
