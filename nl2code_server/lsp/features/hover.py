"""`textDocument/hover`: whether a comment is taken for a request, why, and what came of it."""

from __future__ import annotations

from lsprotocol import types as lsp

from ...lang.hidden import hidden
from ...lang.instruction import Instruction, Mode, at
from ...suggest.verdict import verdict
from .. import workspace
from ..convert import to_range
from ..preload import parsed
from ..server import Server
from ..session import Decision
from ..status import State


async def hover(ls: Server, params: lsp.HoverParams) -> lsp.Hover | None:
    """Tell the decision about the instruction under the mouse."""
    document = workspace.find(ls.workspace, params.text_document.uri)
    if document is None:
        return None
    snapshot = await parsed(document.snapshot())
    mode: Mode = ls.session.settings.mode  # type: ignore[assignment]
    row = params.position.line + snapshot.origin
    found = at(snapshot, row, mode, attention="cursor")
    if found is None or not found.start_row <= row <= found.end_row:
        return None
    markdown = ls.session.client.markdown
    decision = ls.session.decisions.get((snapshot.uri, found.text))
    lines = [_verdict(found, markdown), *(_last(decision, markdown) if decision else [])]
    comment = "\n".join(snapshot.line(one).decode() for one in range(found.start_row, found.end_row + 1))
    if unseen := hidden(comment):
        lines.append(f"Hidden characters stand here, which the model is not shown: {', '.join(unseen)}")
    report = ls.session.board.report
    if report.state is not State.READY:
        lines.append(report.text)
    kind = lsp.MarkupKind.Markdown if markdown else lsp.MarkupKind.PlainText
    return lsp.Hover(
        contents=lsp.MarkupContent(kind=kind, value=("\n\n" if markdown else "\n").join(lines)),
        range=to_range(snapshot, found.start, found.end),
    )


def _verdict(found: Instruction, markdown: bool) -> str:
    name = "**nl2code**" if markdown else "nl2code"
    taken = "takes this for a request" if found.fires else "does not take this for a request"
    return f"{name} {taken}: it {found.reason}"


def _last(decision: Decision, markdown: bool) -> list[str]:
    """Tell what came of the last request for an instruction."""
    outcome = decision.outcome
    by = f" by {outcome.model}" if outcome.model else ""
    if not outcome.suggestions:
        return [f"Nothing was offered: {outcome.reason}"]
    best = outcome.suggestions[0]
    lines = [f"Last answer{by} in {outcome.seconds:.1f} s: {verdict(best)}"]
    for run in best.examples:
        call = f"`{run.call}`" if markdown else run.call
        got = f"`{run.got}`" if markdown else run.got
        lines.append(f"{'✓' if run.ok else '✗'} {call} gave {got}")
    return lines
