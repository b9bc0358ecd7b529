"""Prompts in which a user's text stays text, stop strings across pieces, and slots that keep what they can."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nl2code_model.host.chat import Marked, break_up, render_chatml
from nl2code_model.host.engine import ChatNotSupported, Counts, Message
from nl2code_model.host.slots import Slots, common_prefix
from nl2code_model.host.stops import StopFilter
from nl2code_model.host.warmth import Warmth

START, END = 1, 2


def test_chatml_puts_tokens_only_where_the_form_has_them() -> None:
    chat = [Message("system", "s"), Message("user", "u <|im_end|>")]
    assert render_chatml(chat, "```", start=START, end=END) == [
        *(START, "system\ns", END, "\n"),
        *(START, "user\nu <|im_end|>", END, "\n"),
        *(START, "assistant\n```"),
    ]


def test_the_makers_system_message_stands_in_for_a_missing_one() -> None:
    assert (
        render_chatml([Message("user", "u")], "", start=START, end=END, system="be kind")[1]
        == "system\nbe kind"
    )
    own = [Message("system", "mine"), Message("user", "u")]
    assert render_chatml(own, "", start=START, end=END, system="be kind")[1] == "system\nmine"


def test_tokens_in_text_are_cut_apart() -> None:
    assert break_up([START, "a <tool_call> b<tool_call>"], ["<tool_call>"]) == [
        START,
        "a <",
        "tool_call> b<",
        "tool_call>",
    ]


@given(st.lists(st.sampled_from(["<t>", "</t>", "<", "t>", "x", "<<t>"])).map("".join))
def test_cutting_loses_nothing_and_leaves_no_token(text: str) -> None:
    pieces = [piece for piece in break_up([text], ["<t>", "</t>"]) if isinstance(piece, str)]
    assert "".join(pieces) == text
    assert not any(token in piece for piece in pieces for token in ("<t>", "</t>"))


def test_a_templates_own_text_is_told_from_the_users() -> None:
    marked = Marked([Message("system", "[INST]"), Message("user", "hello")], "sure")
    rendered = "<s>" + "".join(f"<{m.role}>{m.content}" for m in marked.messages)
    assert marked.split(rendered + "\n") == [
        *(("<s><system>", False), ("[INST]", True)),
        *(("<user>", False), ("hello", True)),
        *(("<assistant>", False), ("sure", True), ("\n", False)),
    ]


def test_a_template_that_drops_a_message_is_refused() -> None:
    marked = Marked([Message("system", "s"), Message("user", "u")], "")
    with pytest.raises(ChatNotSupported):
        marked.split(f"<user>{marked.messages[1].content}")


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3).map(tuple),
    st.lists(st.integers(0, 30)),
)
def test_stop_strings_are_found_however_the_text_is_cut(
    text: str, stop: tuple[str, ...], cuts: list[int]
) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    seen, stream = "", StopFilter(stop)
    for begin, end in pairwise(edges):
        seen += stream.feed(text[begin:end])
        if stream.found:
            break
    else:
        seen += stream.rest()
    first = [at for at in map(text.find, stop) if at >= 0]
    if not first:
        assert seen == text
    else:
        # The stop string that is complete first ends the text, wherever it starts.
        assert stream.found
        ends = min(text.find(s) + len(s) for s in stop if s in text)
        assert text.startswith(seen)
        assert len(seen) < ends


def test_a_slot_is_chosen_by_what_it_holds() -> None:
    slots = Slots(2, 10_000)
    system = list(range(300))
    one, two = system + [1] * 1000, system + [2] * 1000
    first, held = slots.choose(one)
    assert held == 0
    slots.hold(first, one)
    second, _ = slots.choose(two)
    assert second != first, "the same system message is no reason to forget the other file"
    slots.hold(second, two)
    assert slots.choose([*one, 5]) == (first, 1300)
    assert slots.choose([*two[:1200], 5]) == (second, 1200)
    slots.forget()
    assert slots.choose(one)[1] == 0


def test_a_slot_that_had_to_make_room_is_taken_for_empty() -> None:
    slots = Slots(2, 1000)
    one, two = [1] * 600, [2] * 600
    first, _ = slots.choose(one)
    slots.hold(first, one)
    second, _ = slots.choose(two)
    slots.hold(second, two)
    assert slots.choose(one) == (first, 0)
    slots.hold(first, one)
    assert slots.choose([1] * 700) == (first, 600)


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_prefix(a: list[int], b: list[int]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


def test_slots_are_numbered_as_the_engine_does() -> None:
    slots = Slots(2, 10_000, first=3)
    assert {slots.choose([1, 2])[0], slots.choose([3, 4])[0]} == {3, 4}
    slots.hold(4, [3, 4, 5])
    assert slots.choose([3, 4, 6]) == (4, 2)
    slots.forget()
    assert slots.choose([3, 4, 6])[1] == 0


def test_what_was_warmed_counts_as_used_once() -> None:
    counts = Counts()
    warmth = Warmth(counts)
    warmth.warmed([1, 2, 3, 4, 5], 1)
    assert (counts.warmed_tokens, counts.warmed_tokens_used) == (4, 0)
    warmth.asked([9, 9], 0)
    assert counts.warmed_tokens_used == 0
    warmth.asked([1, 2, 3, 7], 3)  # finds 2 and 3; 1 was there before
    assert counts.warmed_tokens_used == 2
    warmth.asked([1, 2, 3, 4, 5, 6], 5)
    assert counts.warmed_tokens_used == 4
    warmth.asked([1, 2, 3, 4, 5, 6], 5)
    assert counts.warmed_tokens_used == 4


def test_what_the_engine_has_dropped_was_of_no_use() -> None:
    counts = Counts()
    warmth = Warmth(counts)
    warmth.warmed([1, 2, 3], 0)
    warmth.asked([1, 2, 3, 4], 0)
    assert counts.warmed_tokens_used == 0
