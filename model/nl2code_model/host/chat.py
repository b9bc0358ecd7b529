"""A chat as a model's prompt. What a user wrote stays text: it never becomes a token that steers the model."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from .engine import ChatNotSupported, Message

Piece = int | str
"""A part of a prompt: a token, or text that is tokenised as text."""

START, END = "<|im_start|>", "<|im_end|>"


def render_chatml(
    messages: Sequence[Message], prefill: str, *, start: int, end: int, system: str = ""
) -> list[Piece]:
    """Render a chat in the ChatML form; `system` stands in where the chat has no system message."""
    if system and messages[0].role != "system":
        messages = [Message("system", system), *messages]
    pieces: list[Piece] = []
    for message in messages:
        pieces += [start, f"{message.role}\n{message.content}", end, "\n"]
    return [*pieces, start, f"assistant\n{prefill}"]


def render_plain(messages: Sequence[Message], *, system: bool) -> str:
    """Render a chat as plain text, for models that know no roles; with or without its system messages."""
    return "\n\n".join(message.content for message in messages if system or message.role != "system")


def break_up(pieces: Iterable[Piece], tokens: Iterable[str]) -> list[Piece]:
    """Cut text inside each of `tokens`, which the tokenizer would take for more than text."""
    tokens = [token for token in tokens if len(token) > 1]
    broken: list[Piece] = []
    for piece in pieces:
        broken += _cut(piece, tokens) if isinstance(piece, str) else [piece]
    return broken


def _cut(text: str, tokens: Sequence[str]) -> list[Piece]:
    cuts = set()
    for token in tokens:
        at = text.find(token)
        while at >= 0:
            cuts.add(at + 1)
            at = text.find(token, at + 1)
    ends = [*sorted(cuts), len(text)]
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


class Marked:
    """A chat whose texts are replaced by marks, so that they can be found again in what a template made of it."""

    def __init__(self, messages: Sequence[Message], prefill: str) -> None:
        nonce = secrets.token_hex(8)
        answer = [Message("assistant", prefill)] if prefill else []
        self._texts = {f"[{nonce}:{n}]": message.content for n, message in enumerate([*messages, *answer])}
        self.messages = [
            Message(message.role, mark)
            for message, mark in zip([*messages, *answer], self._texts, strict=True)
        ]

    def split(self, rendered: str) -> list[tuple[str, bool]]:
        """Return the rendered prompt in parts, each with whether it is a user's text and not the template's."""
        parts: list[tuple[str, bool]] = []
        for mark, text in self._texts.items():
            before, found, rendered = rendered.partition(mark)
            if not found:
                raise ChatNotSupported(
                    "the model's chat template leaves out a message", "send fewer roles, or use another model"
                )
            parts += [(before, False), (text, True)]
        parts.append((rendered, False))
        return [part for part in parts if part[0]]
