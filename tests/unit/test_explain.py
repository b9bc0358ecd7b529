"""The story of a decision as Markdown: what anybody wrote stands in it as code."""

from __future__ import annotations

from nl2code_server.lang.validate import Check
from nl2code_server.suggest import ExampleRun, Trace
from nl2code_server.suggest.explain import explain

PICTURE = "![x](https://example.org/x.png) `` <img src=https://example.org/y.png>"


def test_no_text_of_others_is_markup() -> None:
    trace = Trace(PICTURE, "comment", "asks for code")
    trace.prompt = f"~~~\n{PICTURE}"
    trace.raw = [PICTURE]
    trace.checks = [[Check("names", False, PICTURE)]]
    trace.examples = [[ExampleRun(f"f({PICTURE!r})", "1", PICTURE, False)]]
    lines = explain(trace).splitlines()
    assert f"- **instruction** (comment): ``` {PICTURE} ```" in lines
    assert f"- FAILED names ``` {PICTURE} ```" in lines
    fence = ""
    for line in lines:
        if line.startswith("~~~"):
            fence = "" if line == fence else fence or line
        elif PICTURE in line and not fence:
            assert f"``` {PICTURE} ```" in line or f"``` f({PICTURE!r}) ```" in line
