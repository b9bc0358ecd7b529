"""`textDocument/codeAction`: generate, try again, show alternatives.

Clients that ask for an action's edit once it is picked (VS Code, Neovim) get it from `codeAction/resolve`: they show
that they wait, can stop waiting, and apply it as an edit of their own. The others (eglot 1.9, ALE) run the action's
command, and the server applies the edit. An action that is resolved all the same works either way.
"""

from __future__ import annotations

from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams, JsonRpcRequestCancelled

from ...errors import Nl2CodeError
from ...lang.instruction import Attention, Mode, at
from ...suggest.verdict import verdict
from .. import workspace
from ..convert import part, to_workspace_edit
from ..generate import agreed, make, offer
from ..preload import parsed
from ..progress import CancelledByUser
from ..server import Server

_KIND = lsp.CodeActionKind.RefactorRewrite
_REQUEST_FAILED = -32803


async def code_action(ls: Server, params: lsp.CodeActionParams) -> list[lsp.CodeAction | lsp.Command]:
    """Return what can be done about the instruction at the cursor."""
    document = workspace.find(ls.workspace, params.text_document.uri)
    only = params.context.only
    if document is None or (only and not any(kind == _KIND or _KIND.startswith(f"{kind}.") for kind in only)):
        return []
    snapshot = await parsed(document.snapshot())
    mode: Mode = ls.session.settings.mode  # type: ignore[assignment]
    unasked = params.context.trigger_kind == lsp.CodeActionTriggerKind.Automatic
    attention: Attention = "cursor" if unasked else "invoked"
    found = at(snapshot, params.range.start.line + snapshot.origin, mode, attention=attention)
    if found is None or not found.fires:
        return []
    place = (snapshot.uri, found.start_row - snapshot.origin)
    generate = "nl2code.generate"
    decision = ls.session.decisions.get((snapshot.uri, found.text))
    if decision is None:
        return [_action(ls, "Generate code for this comment", generate, *place, False)]
    made = decision.outcome.suggestions
    known = "Generate code for this comment" + (f" ({verdict(made[0])})" if made else "")
    return [
        _action(ls, known, generate, *place, False),
        _action(ls, "Try again", generate, *place, True),
        _action(ls, "Show alternatives", "nl2code.alternatives", *place),
    ]


async def resolve(ls: Server, action: lsp.CodeAction) -> lsp.CodeAction:
    """Add the edit, and the command that tells that it was made."""
    data = action.data
    if data is None:
        return action
    uri, line, fresh = _parts(data)
    try:
        outcome = await make(ls, uri, line, surface="action", fresh=fresh)
        await agreed(ls, outcome.suggestions[0])
        made = offer(ls, uri, outcome, outcome.suggestions[0])
    except CancelledByUser as error:
        raise JsonRpcRequestCancelled(str(error)) from None
    except Nl2CodeError as error:
        raise JsonRpcException(str(error), _REQUEST_FAILED) from None
    if made.suggestion.status == "failed":
        ls.warn(f"nl2code: {verdict(made.suggestion)}")
    action.edit = to_workspace_edit(made.snapshot, made.suggestion.edits, ls.session.client)
    action.command = lsp.Command(
        title="Accept", command="nl2code.accept", arguments=[made.suggestion.id, True]
    )
    return action


def _action(ls: Server, title: str, command: str, *arguments: Any) -> lsp.CodeAction | lsp.Command:
    full = f"nl2code: {title}"
    run = lsp.Command(title=full, command=command, arguments=list(arguments))
    if not ls.session.client.action_literals:
        return run
    action = lsp.CodeAction(title=full, kind=_KIND)
    if command == "nl2code.generate":
        action.data = dict(zip(("uri", "line", "fresh"), arguments, strict=True))
    if action.data is None or not ls.session.client.action_edits:
        action.command = run
    return action


def _parts(data: Any) -> tuple[str, int, bool]:
    uri, line, fresh = (part(data, name) for name in ("uri", "line", "fresh"))
    if not isinstance(uri, str) or type(line) is not int or type(fresh) is not bool:
        raise JsonRpcInvalidParams("the action's data is not from this server")
    return uri, line, fresh
