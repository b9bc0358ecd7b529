"""What a chat request may say, and how what it may not is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nl2code_model.host.api import BadRequest, parse_chat
from nl2code_model.host.engine import Message

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def parse(**fields: Any) -> Any:
    return parse_chat(json.dumps({**ASK, **fields}).encode(), "m")


def refused(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    return caught.value


def test_defaults_are_openais() -> None:
    chat = parse()
    assert chat.generation.messages == (Message("user", "hi"),)
    assert (chat.generation.temperature, chat.generation.top_p, chat.generation.n) == (1.0, 1.0, 1)
    assert not chat.stream
    assert not chat.generation.logprobs


def test_every_field_reaches_the_generation() -> None:
    chat = parse(
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        seed=3,
        stop=["a", "b"],
        n=2,
        logprobs=True,
    )
    made = chat.generation
    assert (made.max_tokens, made.temperature, made.top_p, made.seed, made.stop, made.n) == (
        7,
        0.5,
        0.9,
        3,
        ("a", "b"),
        2,
    )
    assert made.logprobs
    assert chat.stream
    assert chat.include_usage


def test_a_trailing_assistant_message_is_the_prefill() -> None:
    made = parse(messages=[*ASK["messages"], {"role": "assistant", "content": "```python\n"}]).generation
    assert made.prefill == "```python\n"
    assert made.messages == (Message("user", "hi"),)


def test_content_may_come_in_text_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parse(messages=[{"role": "user", "content": parts}]).generation.messages[0].content == "ab"


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "a\\ud800b"}]}'
    assert parse_chat(body, "m").generation.messages[0].content == "a\ufffdb"


def test_null_means_not_given() -> None:
    assert parse(seed=None, stop=None, max_tokens=None).generation.seed is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b"NaN"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_chat(body, "m")


@pytest.mark.parametrize("field", ["model", "messages"])
def test_required_fields(field: str) -> None:
    assert refused(**{field: None}).param == field


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("temprature", 1, "unknown_parameter"),
        ("grammar", "root ::= x", "unknown_parameter"),
        ("n_discard", -1, "unknown_parameter"),
        ("model", "other", "model_not_found"),
        ("model", 1, "invalid_type"),
        ("messages", [], "invalid_type"),
        ("messages", "hi", "invalid_type"),
        ("messages", [1], "invalid_type"),
        ("temperature", "hot", "invalid_type"),
        ("temperature", True, "invalid_type"),
        ("temperature", -1, "invalid_value"),
        ("temperature", 2.1, "invalid_value"),
        ("temperature", 1e400, "invalid_type"),
        ("top_p", 0, "invalid_value"),
        ("max_tokens", 0, "invalid_value"),
        ("max_tokens", 1.5, "invalid_type"),
        ("n", 0, "invalid_value"),
        ("n", 17, "invalid_value"),
        ("seed", 2**63, "invalid_value"),
        ("stop", "", "invalid_type"),
        ("stop", [""], "invalid_type"),
        ("stop", [1], "invalid_type"),
        ("stop", ["x"] * 17, "invalid_value"),
        ("stream", "yes", "invalid_type"),
        ("logprobs", 1, "invalid_type"),
        ("top_logprobs", 5, "invalid_value"),
        ("frequency_penalty", 0.5, "invalid_value"),
        ("stream_options", {"include_obfuscation": True}, "invalid_value"),
        ("stream_options", {"include_usage": 1}, "invalid_type"),
    ],
)
def test_what_is_not_understood_is_refused(field: str, value: Any, code: str) -> None:
    error = refused(**{field: value})
    assert error.param.startswith(field)
    assert error.code == code


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x"}, "messages[0].role"),
        ({"role": ["user"], "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": 1}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content"),
        ({"role": "user", "content": "x", "name": "n"}, "messages[0].name"),
        ({"role": "assistant", "content": "x"}, "messages"),
    ],
)
def test_messages_are_checked(message: dict[str, Any], param: str) -> None:
    assert refused(messages=[message]).param == param


def test_two_limits_are_one_too_many() -> None:
    assert refused(max_tokens=1, max_completion_tokens=1).param == "max_completion_tokens"
