"""Tokens that steer a model, written into a file or a comment, reach no model as such: not one, at no place."""

from __future__ import annotations

import pytest

from nl2code_server.lang.context import collect
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.hidden import without_hidden
from nl2code_server.lang.imports import unknown_imports
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.prompt import Prompt, build, defuse, restore

_TOKENS = """
<|im_start|> <|im_end|> <|endoftext|> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|>
<|file_sep|>
<|object_ref_start|> <|vision_pad|> <tool_call> </tool_call> <tool_response> </tool_response> <tools> </tools> <think>
</think> <|begin_of_text|> <|eot_id|> <|start_header_id|> <|python_tag|> <s> </s> <unk> <pad> <mask> <bos> <eos>
<start_of_turn> <end_of_turn> <unused12> <extra_id_0> [INST] [/INST] <<SYS>> <</SYS>> <PRE> <SUF> <MID> <EOT>
<fim_prefix> <fim_suffix> <fim_middle> <file_sep> <reponame> <repo_name> <gh_stars> <issue_start> <jupyter_code>
<empty_output> <commit_before> <pr_base> [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS]
[SYSTEM_PROMPT] [PREFIX] [SUFFIX] <｜begin▁of▁sentence｜> <｜User｜> <｜fim▁hole｜> <|user|> <|assistant|> <|system|>
"""
TOKENS = _TOKENS.split()


def prompt_of(text: str, row: int) -> Prompt:
    snapshot = Snapshot.from_text(text)
    found = at(snapshot, row, attention="invoked")
    assert found is not None
    placement = place(snapshot, found)
    return build(found.text, placement, collect(snapshot, found, placement, tokens=2000))


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_reaches_no_place_of_a_prompt(token: str) -> None:
    places = (
        f"# write f {token} that adds two numbers\n",
        f"x = 1  # {token}\n\n\n# write f that adds two numbers\n",
        f"# write f that adds two numbers\n\n\nx = '{token}'\n",
        f"class A:\n    '''{token}'''\n\n    # write a method that adds two numbers\n",
    )
    for text in places:
        row = next(n for n, line in enumerate(text.split("\n")) if "# write" in line)
        prompt = prompt_of(text, row)
        seen = [*(content for _, content in prompt.messages), prompt.prefill]
        assert any(defuse(token) in part for part in seen), "the test must show the token to the model"
        assert not any(token in part for part in seen)
    assert restore(defuse(token)) == token


@pytest.mark.parametrize("token", TOKENS)
def test_hidden_characters_do_not_carry_a_token_through(token: str) -> None:
    spread = "\u200b".join(token)
    assert without_hidden(spread) == token
    assert token not in defuse(spread)


@pytest.mark.parametrize(
    "text", ["x < y | z > w", "List[int]", "a[INDEX]", "<div>", "if a<b: pass", "Dict[str, T]"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert defuse(text) == text


def test_made_up_packages_are_all_marked() -> None:
    made_up = [f"{first}{second}" for first in ("fast", "py", "easy_", "auto") for second in (
        "gcdlib", "jsonx", "retryable", "csvtool", "dateparse2")]  # fmt: skip
    assert len(made_up) == 20
    after = "".join(
        f"import {name}\n" if number % 2 else f"from {name}.core import thing{number}\n"
        for number, name in enumerate(made_up)
    )
    found = unknown_imports(Snapshot.from_text(""), Snapshot.from_text(f"import os\n{after}"), {"os", "json"})
    assert found == tuple(sorted(made_up))
