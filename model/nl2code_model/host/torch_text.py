"""Chats as the model's tokens, and its tokens as text. What a user wrote stays text, whatever it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import chat
from .engine import ChatNotSupported, Generation

DECODED_BEFORE = 8
"""Tokens of the prompt that an answer's first token is decoded with: some tokenizers drop a leading space."""
BROKEN = "\ufffd"
LONGEST_CHARACTER = 8
"""Tokens after which bytes that make up no character are shown as broken."""
LONGEST_TEMPLATE = 1 << 16
"""Characters that a chat template may add to a chat."""


class Text:
    """A tokenizer, and the form that its model wants a chat in. For one thread: a tokenizer has modes."""

    def __init__(self, tokenizer: Any, *, system: str, encoder_decoder: bool) -> None:
        self.tokenizer = tokenizer.backend_tokenizer
        self._library = tokenizer
        self._system = system
        self._encoder_decoder = encoder_decoder
        added = self.tokenizer.get_added_tokens_decoder()
        self._taken_for_more = [token.content for token in added.values() if not token.special]
        self._control = frozenset(added) - {tokenizer.unk_token_id}
        special = {token.content: number for number, token in added.items() if token.special}
        template = tokenizer.chat_template
        self._has_template = bool(template) and not encoder_decoder
        self._chatml = None
        if self._has_template and {chat.START, chat.END} <= special.keys() and chat.START in str(template):
            self._chatml = (special[chat.START], special[chat.END])
        self._before, self._after = self._frame()

    def prompt(self, generation: Generation) -> list[int]:
        """Return the tokens that a chat comes to; for an encoder, those it reads."""
        if self._chatml:
            start, end = self._chatml
            pieces = chat.render_chatml(
                generation.messages, generation.prefill, start=start, end=end, system=self._system
            )
            return self._encode(pieces)
        if self._has_template:
            return self._by_template(generation)
        if self._encoder_decoder:
            text = chat.render_plain(generation.messages, system=False)
            return [*self._before, *self._encode([text]), *self._after]
        text = chat.render_plain(generation.messages, system=True) + "\n\n" + generation.prefill
        return [*self._before, *self._encode([text])]

    def text_tokens(self, text: str) -> list[int]:
        """Return the tokens of a text that continues another."""
        return self._encode([text]) if text else []

    def answer(self, before: Sequence[int]) -> Answer:
        """Return a decoder for an answer that follows these tokens."""
        return Answer(self.tokenizer, before[-DECODED_BEFORE:])

    def _by_template(self, generation: Generation) -> list[int]:
        """Let the model's template render the chat around marks, then put the texts in their places."""
        from jinja2 import TemplateError

        marked = chat.Marked(generation.messages, generation.prefill)
        messages = [{"role": message.role, "content": message.content} for message in marked.messages]
        try:
            rendered = self._library.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=not generation.prefill,
                continue_final_message=bool(generation.prefill),
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise ChatNotSupported(
                f"the model's chat template does not take this chat: {error}", "send fewer roles"
            ) from error
        if len(rendered) > LONGEST_TEMPLATE:
            raise ChatNotSupported(
                "the model's chat template adds more than a prompt can hold", "use another model"
            )
        prompt: list[int] = []
        for text, plain in marked.split(rendered):
            prompt += self._encode([text]) if plain else self._tokens(text, special=True)
        return prompt

    def _encode(self, pieces: Sequence[chat.Piece]) -> list[int]:
        tokens: list[int] = []
        for piece in chat.break_up(pieces, self._taken_for_more):
            tokens += self._tokens(piece, special=False) if isinstance(piece, str) else [piece]
        return tokens

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        self.tokenizer.encode_special_tokens = not special
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not special and not self._control.isdisjoint(tokens):
            raise ChatNotSupported(
                "the model's tokenizer takes a part of the text for a control token", "use another model"
            )
        return tokens

    def _frame(self) -> tuple[list[int], list[int]]:
        """Return the tokens that this tokenizer puts around a plain text."""
        encoded = self.tokenizer.encode("a", add_special_tokens=True)
        mask = encoded.special_tokens_mask
        first = mask.index(0) if 0 in mask else 0
        last = len(mask) - mask[::-1].index(0) if 0 in mask else 0
        return encoded.ids[:first], encoded.ids[last:]


class Answer:
    """Text of an answer, token by token; a character that takes several tokens comes with its last."""

    def __init__(self, tokenizer: Any, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before)
        self._from = 0
        """Where decoding starts: some tokens early, as the first token of a text may lose its space."""
        self._shown = len(before)

    def feed(self, token: int) -> str:
        """Take a token and return the text that it completes."""
        self._tokens.append(token)
        text = self._pending()
        if text.endswith(BROKEN) and len(self._tokens) - self._shown < LONGEST_CHARACTER:
            return ""
        self._from, self._shown = self._shown, len(self._tokens)
        return text

    def rest(self) -> str:
        """Return what can still be shown once nothing more follows."""
        return self._pending().rstrip(BROKEN)

    def _pending(self) -> str:
        both, shown = (
            str(self._tokenizer.decode(self._tokens[self._from : end], skip_special_tokens=True))
            for end in (len(self._tokens), self._shown)
        )
        return both[len(shown) :]
