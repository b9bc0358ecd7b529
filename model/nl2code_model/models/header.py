"""What the header of a GGUF file says, read with every size checked against the file's end first."""

from __future__ import annotations

import mmap
import struct
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nl2code_server.errors import ModelFileError

MAX_ENTRIES = 1 << 16
MAX_TENSORS = 1 << 17
MAX_NESTING = 2
DEFAULT_ALIGNMENT = 32  # bytes

CONTROL, USER_DEFINED = 3, 4  # tokenizer.ggml.token_type

# GGUF value types: struct codes of the fixed-size ones
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
_CUT = "it is cut short, or its header lies about sizes"


@dataclass(frozen=True, slots=True)
class Header:
    """The few facts that the host needs about a model file."""

    architecture: str
    context: int
    """Longest context that the model was trained for; 0 where the file does not say."""
    chat_template: str
    control_tokens: dict[str, int]
    """Tokens that steer the model. A tokenizer told to take text as text leaves these alone …"""
    user_defined_tokens: dict[str, int]
    """… and still maps these."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies in a file, and in what form."""

    name: str
    shape: tuple[int, ...]
    """Rows first, as numpy has it."""
    kind: int
    """GGML's number for the form of its values."""
    offset: int
    """Bytes from the first tensor's."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a file's header says. Strings in arrays are bytes."""

    values: dict[str, Any]
    tensors: list[Tensor]
    data: int
    """Bytes from the start of the file to the first tensor."""


def read_header(path: Path, file: BinaryIO | None = None) -> Header:
    """Read a GGUF file's header, or raise `ModelFileError` saying what is wrong with it.

    `file` is the file where it is open already: what is read is then what that descriptor names.
    """
    return _header(read_contents(path, file).values)


def read_contents(path: Path, file: BinaryIO | None = None) -> Contents:
    """Read all of a GGUF file's header, or raise `ModelFileError` saying what is wrong with it."""
    try:
        with (
            nullcontext(file) if file else path.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            contents = _Reader(data).contents()
        if not isinstance(contents.values.get("general.architecture"), str):
            raise ValueError("it does not say its architecture")
        return contents
    except (OSError, ValueError, struct.error, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(
            f"{path} is not a model file that can be used: {error}",
            "download it again, or choose another model",
        ) from error


def _header(values: dict[str, Any]) -> Header:
    architecture = values["general.architecture"]
    tokens, kinds = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.token_type")
    by_kind: dict[int, dict[str, int]] = {CONTROL: {}, USER_DEFINED: {}}
    if isinstance(tokens, list) and isinstance(kinds, tuple):
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=False)):
            if kind in by_kind and isinstance(token, bytes):
                by_kind[kind][token.decode("utf-8", "replace")] = number
    context = values.get(f"{architecture}.context_length", 0)
    template = values.get("tokenizer.chat_template", "")
    return Header(
        architecture=architecture,
        context=context if isinstance(context, int) else 0,
        chat_template=template if isinstance(template, str) else "",
        control_tokens=by_kind[CONTROL],
        user_defined_tokens=by_kind[USER_DEFINED],
    )


class _Reader:
    """A position in a file's bytes that never passes their end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.end = len(data)
        self.at = 0

    def contents(self) -> Contents:
        if self.take(4) != b"GGUF":
            raise ValueError("it does not start like a GGUF file")
        (version,) = self.unpack("I")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version} is not supported")
        tensors, entries = self.unpack("QQ")
        if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
            raise ValueError(f"it claims {tensors} tensors and {entries} entries")
        values = {}
        for _ in range(entries):
            name = self.string().decode()
            (kind,) = self.unpack("I")
            value = self.value(kind)
            values[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        found = [self.tensor() for _ in range(tensors)]
        if found and max(tensor.offset for tensor in found) >= self.end - self.at:
            raise ValueError("it is cut short: a tensor lies beyond the end of the file")
        alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"it claims an alignment of {alignment}")
        return Contents(values, found, -(-self.at // alignment) * alignment)

    def tensor(self) -> Tensor:
        name = self.string().decode()
        (dimensions,) = self.unpack("I")
        if dimensions > 4:
            raise ValueError(f"it has a tensor of {dimensions} dimensions")
        *shape, kind, offset = self.unpack(f"{dimensions}QIQ")
        return Tensor(name, tuple(reversed(shape)), kind, offset)

    def value(self, kind: int, nesting: int = 0) -> Any:
        if kind in _SCALARS:
            return self.unpack(_SCALARS[kind])[0]
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or nesting >= MAX_NESTING:
            raise ValueError(f"it has a value of unknown type {kind}")
        item, count = self.unpack("IQ")
        if item in _SCALARS:
            return self.unpack(f"{self.fits(count, struct.calcsize(_SCALARS[item]))}{_SCALARS[item]}")
        if item == _STRING:
            return self.strings(count)
        return [self.value(item, nesting + 1) for _ in range(self.fits(count, 8))]

    def strings(self, count: int) -> list[bytes]:
        """Read a vocabulary: hundreds of thousands of strings, hence the flat loop."""
        items, at, end, data = [], self.at, self.end, self.data
        for _ in range(self.fits(count, 8)):
            (length,) = _LENGTH.unpack_from(data, at)
            start = at + 8
            at = start + length
            if at > end:
                raise ValueError(_CUT)
            items.append(data[start:at])
        self.at = at
        return items

    def string(self) -> bytes:
        (length,) = self.unpack("Q")
        return self.take(length)

    def unpack(self, code: str) -> tuple[Any, ...]:
        code = "<" + code
        return struct.unpack(code, self.take(struct.calcsize(code)))

    def take(self, count: int) -> bytes:
        self.fits(count, 1)
        self.at += count
        return self.data[self.at - count : self.at]

    def fits(self, count: int, size: int) -> int:
        """Return `count` if so many items of at least `size` bytes can follow."""
        if count * size > self.end - self.at:
            raise ValueError(_CUT)
        return count
