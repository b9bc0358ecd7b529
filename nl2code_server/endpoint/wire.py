"""What goes over the wire: the body of a request, and what the chunks of its answer mean. Does no I/O."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from . import ChatRequest, Delta, Usage


class Malformed(Exception):
    """What an endpoint sent is not the protocol; the text completes "it sent"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What a kind of server makes of the plain API; quirks.toml says what each field means."""

    prefill: str
    n: bool
    logprobs: bool
    seed: bool
    stop: int
    max_tokens: str
    owned_by: list[str] = field(default_factory=list)
    server: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@cache
def quirks() -> Mapping[str, Quirks]:
    """Return what is known of each kind of server, by its name."""
    text = (files(__package__) / "quirks.toml").read_text(encoding="utf-8")
    return {name: Quirks(**entry) for name, entry in tomllib.loads(text).items()}


def server_kind(owned_by: str, server_header: str, host: str) -> str:
    """Name the kind of server that introduces itself like this."""
    for name, entry in quirks().items():
        by_header = any(server_header.lower().startswith(start) for start in entry.server)
        if owned_by in entry.owned_by or host in entry.hosts or by_header:
            return name
    return "unknown"


def request_body(request: ChatRequest, quirk: Quirks, model: str) -> bytes:
    """Render a request, nothing left to the server's defaults."""
    messages: list[Mapping[str, Any]] = list(request.messages)
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": request.temperature,
        "top_p": request.top_p,
        quirk.max_tokens: request.max_tokens,
        **quirk.extra,
    }
    if request.prefill and quirk.prefill:
        messages.append({"role": "assistant", "content": request.prefill})
        if quirk.prefill == "flags":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    if request.seed is not None and quirk.seed:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop[: quirk.stop])
    if request.n > 1:
        body["n"] = request.n
    if request.logprobs and quirk.logprobs:
        body["logprobs"] = True
    # A lone surrogate is no text to UTF-8: "?" takes its place.
    return json.dumps(body, ensure_ascii=False).encode(errors="replace")


def parse(text: str) -> Any:
    """Read JSON that an endpoint sent."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("something that is not JSON") from None


def models_in(value: Any) -> list[dict[str, Any]]:
    """Return the entries of a list of models."""
    listed = value.get("data") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise Malformed("a list of models without data")
    return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def usage_in(chunk: dict[str, Any]) -> Usage | None:
    """Return what a generation cost, if this chunk tells."""
    told = chunk.get("usage")
    if not isinstance(told, dict):
        return None
    details = told.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if cached is None and isinstance(timings := chunk.get("timings"), dict):
        cached = timings.get("cache_n")  # llama.cpp
    counts = (told.get("prompt_tokens"), told.get("completion_tokens"), cached)
    return Usage(*(count if isinstance(count, int) else 0 for count in counts))


def deltas_in(chunk: dict[str, Any], n: int) -> list[Delta]:
    """Return the pieces of text, and the ends of answers, that a chunk holds."""
    choices = chunk.get("choices", [] if "usage" in chunk else None)
    if not isinstance(choices, list):
        raise Malformed("a chunk without choices")
    deltas = []
    for choice in choices:
        piece = choice.get("delta") if isinstance(choice, dict) else None
        index = choice.get("index", 0) if isinstance(choice, dict) else None
        if not isinstance(piece, dict) or not isinstance(index, int) or not 0 <= index < n:
            raise Malformed("a choice without delta, or with an index that was not asked for")
        text, reason = piece.get("content"), choice.get("finish_reason")
        if isinstance(text, str) and text:
            logprob, tokens = _logprob(choice.get("logprobs"))
            deltas.append(Delta(index, _well_formed(text), logprob, tokens, reason or ""))
        elif reason:
            deltas.append(Delta(index, "", None, 0, str(reason)))
    return deltas


def error_in(value: Any) -> tuple[str, int] | None:
    """Return the message and the status of an error object, in any of the shapes that servers give it."""
    if not isinstance(value, dict):
        return None
    told = value.get("error", value.get("detail"))
    if told is None and value.get("object") == "error":
        told = value
    if told is None:
        return None
    if isinstance(told, dict):
        code = told.get("code")
        return str(told.get("message") or told), code if isinstance(code, int) else 0
    return str(told), 0


def _logprob(told: Any) -> tuple[float | None, int]:
    """Return the sum over the tokens of a piece, and how many they are; a piece is one token unless it is told."""
    tokens = told.get("content") if isinstance(told, dict) else None
    if not isinstance(tokens, list) or not tokens:
        return None, 1
    told_each = [token.get("logprob") for token in tokens if isinstance(token, dict)]
    values = [value for value in told_each if isinstance(value, (int, float))]
    return float(sum(values)) if len(values) == len(tokens) else None, len(tokens)


def _well_formed(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can say and no file can hold."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


class Echo:
    """Takes a repetition of the prefill off the start of an answer; some servers send it, most do not."""

    def __init__(self, prefill: str) -> None:
        self._left = prefill
        self._held: Delta | None = None

    def strip(self, delta: Delta) -> Delta | None:
        """Return what to show of a piece; None while it could still be a repetition."""
        if not self._left:
            return delta
        held = _join(self._held, delta)
        if held.text.startswith(self._left):
            text = held.text.removeprefix(self._left)
        elif self._left.startswith(held.text) and not delta.finish_reason:
            self._held = held
            return None
        else:
            text = held.text
        self._left, self._held = "", None
        return replace(held, text=text) if text or held.finish_reason else None


def _join(first: Delta | None, second: Delta) -> Delta:
    if first is None:
        return second
    known = [piece.logprob for piece in (first, second) if piece.logprob is not None]
    return replace(
        second,
        text=first.text + second.text,
        logprob=sum(known) if known else None,
        tokens=first.tokens + second.tokens,
    )
