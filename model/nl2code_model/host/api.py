"""The wire of the host: chat-completion requests checked strictly, answers and errors in OpenAI's shapes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engine import Chunk, Generation, Message, Usage

MAX_CHOICES = 16
MAX_STOPS = 16
DEFAULT_MAX_TOKENS = 512
ROLES = ("system", "user", "assistant")


class BadRequest(Exception):
    """A request that is not served: `param` is the field at fault, `code` OpenAI's word for it."""

    def __init__(self, message: str, param: str = "", code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Chat:
    """A checked request: what to generate, and how to send it."""

    generation: Generation
    stream: bool
    include_usage: bool


def parse_chat(body: bytes, model: str) -> Chat:
    """Check a request's body; raise `BadRequest` for anything that is not understood or not supported."""
    fields = _object(body)
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if name not in _CHECKS:
            raise BadRequest(f"unknown field {name!r}", name, "unknown_parameter")
    for name in ("model", "messages"):
        if name not in given:
            raise BadRequest(f"{name!r} is required", name, "missing_required_parameter")
    values = {name: _CHECKS[name](value, name) for name, value in given.items()}
    if values["model"] != model:
        raise BadRequest(
            f"the model {values['model']!r} is not served here; {model!r} is", "model", "model_not_found"
        )
    if "max_tokens" in values and "max_completion_tokens" in values:
        raise BadRequest("give max_tokens or max_completion_tokens", "max_completion_tokens")
    messages, prefill = _prefill(values["messages"])
    generation = Generation(
        messages=messages,
        prefill=prefill,
        max_tokens=values.get("max_tokens", values.get("max_completion_tokens", DEFAULT_MAX_TOKENS)),
        temperature=values.get("temperature", 1.0),
        top_p=values.get("top_p", 1.0),
        seed=values.get("seed"),
        stop=values.get("stop", ()),
        n=values.get("n", 1),
        logprobs=values.get("logprobs", False),
    )
    return Chat(generation, values.get("stream", False), values.get("stream_options", False))


def parse_adapter(body: bytes) -> tuple[str, Path | None]:
    """Check a request to change the adapter: its name and the full path of its folder; both empty for none."""
    fields = _object(body)
    for name in fields:
        if name not in ("name", "folder"):
            raise BadRequest(f"unknown field {name!r}", name, "unknown_parameter")
    name, folder = (_string(fields.get(field, ""), field) for field in ("name", "folder"))
    if bool(name) != bool(folder):
        raise BadRequest("name and folder are given together, or neither", "folder")
    if folder and not Path(folder).is_absolute():
        raise BadRequest("folder must be a full path", "folder")
    return name, Path(folder) if folder else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise BadRequest("the body is not a JSON object", code="invalid_json")
    return fields


def _prefill(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """Take the start of the answer, a trailing assistant message, off the chat."""
    if messages[-1].role != "assistant":
        return messages, ""
    if len(messages) == 1:
        raise BadRequest("there is nothing before the assistant's message", "messages")
    return messages[:-1], messages[-1].content


# --- checks of single fields ---


def _number(low: float, high: float) -> Callable[[Any, str], float]:
    def check(value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadRequest(f"{name} must be a number", name, "invalid_type")
        if not low <= value <= high:
            raise BadRequest(f"{name} must be from {low:g} to {high:g}, not {value:g}", name)
        return float(value)

    return check


def _integer(low: int, high: int) -> Callable[[Any, str], int]:
    def check(value: Any, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadRequest(f"{name} must be an integer", name, "invalid_type")
        if not low <= value <= high:
            raise BadRequest(f"{name} must be from {low} to {high}", name)
        return value

    return check


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false", name, "invalid_type")
    return value


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a string", name, "invalid_type")
    # JSON can carry half a surrogate pair; no tokenizer can.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _stop(value: Any, name: str) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(text, str) and text for text in strings):
        raise BadRequest(f"{name} must be a string or a list of strings, none empty", name, "invalid_type")
    if len(strings) > MAX_STOPS:
        raise BadRequest(f"{name} takes at most {MAX_STOPS} strings", name)
    return tuple(strings)


def _stream_options(value: Any, name: str) -> bool:
    if not isinstance(value, dict) or value.keys() - {"include_usage"}:
        raise BadRequest(f"{name} takes include_usage alone", name)
    return _flag(value.get("include_usage", False), f"{name}.include_usage")


def _messages(value: Any, name: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise BadRequest(f"{name} must be a list of at least one message", name, "invalid_type")
    return tuple(_message(item, f"{name}[{number}]") for number, item in enumerate(value))


def _message(value: Any, name: str) -> Message:
    if not isinstance(value, dict):
        raise BadRequest(f"{name} must be an object", name, "invalid_type")
    if unknown := sorted(value.keys() - {"role", "content"}):
        raise BadRequest(
            f"unknown field {unknown[0]!r} in {name}", f"{name}.{unknown[0]}", "unknown_parameter"
        )
    role = value.get("role")
    if role not in ROLES:
        raise BadRequest(f"{name}.role must be one of {', '.join(ROLES)}", f"{name}.role")
    return Message(role, _content(value.get("content"), f"{name}.content"))


def _content(value: Any, name: str) -> str:
    """Take a string, or the list of text parts that some clients send."""
    if not isinstance(value, list):
        return _string(value, name)
    if not all(
        isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"
        for part in value
    ):
        raise BadRequest(f"{name} may hold text parts alone", name)
    return "".join(_string(part["text"], name) for part in value)


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "model": _string,
    "messages": _messages,
    "stream": _flag,
    "stream_options": _stream_options,
    "max_tokens": _integer(1, 1 << 20),
    "max_completion_tokens": _integer(1, 1 << 20),
    "temperature": _number(0, 2),
    "top_p": _number(1e-6, 1),
    "seed": _integer(-(2**63), 2**63 - 1),
    "stop": _stop,
    "n": _integer(1, MAX_CHOICES),
    "logprobs": _flag,
    # Accepted from clients that send the defaults of what is not supported.
    "top_logprobs": _integer(0, 0),
    "frequency_penalty": _number(0, 0),
    "presence_penalty": _number(0, 0),
    "user": _string,
}


# --- answers ---


def chunk_body(head: dict[str, Any], chunk: Chunk) -> dict[str, Any]:
    """Render one piece of a streamed answer."""
    choice = {
        "index": chunk.index,
        "delta": {"content": chunk.text} if chunk.text or not chunk.finish_reason else {},
        "logprobs": _logprobs(chunk),
        "finish_reason": chunk.finish_reason or None,
    }
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}


def usage_body(head: dict[str, Any], usage: Usage) -> dict[str, Any]:
    """Render the last piece of a streamed answer, where it was asked for."""
    return {**head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(usage)}


def completion_body(head: dict[str, Any], chunks: list[Chunk], usage: Usage) -> dict[str, Any]:
    """Render a whole answer. The content is the continuation alone, with a prefill as without."""
    choices = []
    for index in sorted({chunk.index for chunk in chunks}):
        own = [chunk for chunk in chunks if chunk.index == index]
        entries = [entry for chunk in own if (logprobs := _logprobs(chunk)) for entry in logprobs["content"]]
        choices.append(
            {
                "index": index,
                "message": {"role": "assistant", "content": "".join(chunk.text for chunk in own)},
                "logprobs": {"content": entries} if entries else None,
                "finish_reason": own[-1].finish_reason,
            }
        )
    return {**head, "object": "chat.completion", "choices": choices, "usage": _usage(usage)}


def error_body(message: str, kind: str, param: str = "", code: str = "", **more: int) -> dict[str, Any]:
    """Render an error."""
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code or None, **more}}


def _logprobs(chunk: Chunk) -> dict[str, Any] | None:
    """Render log-probabilities: one entry for a piece, which may be of several tokens."""
    if chunk.logprob is None:
        return None
    encoded = list(chunk.text.encode())
    return {
        "content": [{"token": chunk.text, "logprob": chunk.logprob, "bytes": encoded, "top_logprobs": []}]
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
