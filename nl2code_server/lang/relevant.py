"""Which names of the project's other modules an instruction needs: those it speaks of, those imported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from .document import Snapshot
from .imports import imports
from .signatures import Symbol, symbols
from .similar import features

# How much it is worth to be seen, the highest first.
_SPOKEN_OF, _IMPORTED, _USED_BY_IMPORTED, _ALLUDED, _OF_MODULE = 100, 60, 50, 40, 20
_MOST_ALLUDED = 6
_MOST_WORDS = 30


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the project that the file does not import, and those of its names that an instruction speaks of."""

    name: str
    """As an import statement in this file would have it."""
    names: tuple[str, ...]
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Piece:
    """One name of a module with its worth."""

    worth: int
    module: str
    symbol: Symbol


def spoken_of(instruction: str, names: Iterable[str]) -> set[str]:
    """Return the names that a text means as names: written like an identifier, called, quoted or with a module."""
    found = set(re.findall(r"[A-Za-z_]\w*", instruction)).intersection(names)
    return {name for name in found if _looks_like_a_name(name, instruction)}


def alluded(instruction: str, by_words: Mapping[frozenset[str], Sequence[str]]) -> list[str]:
    """Return the names all of whose words a text has (`Order` for `orders`), those of most words first."""
    words = sorted(features(instruction))[:_MOST_WORDS]
    found: list[str] = []
    for count in (3, 2, 1):
        for some in combinations(words, count) if count < 3 or len(words) <= 16 else ():
            found += by_words.get(frozenset(some), ())
    return found[:_MOST_ALLUDED]


def pieces(
    snapshot: Snapshot, instruction: str, modules: Mapping[str, Snapshot], others: Sequence[Module]
) -> list[Piece]:
    """Return what the model should see of the project, worth most first."""
    asked = features(instruction)
    found: dict[tuple[str, str], Piece] = {}

    def add(worth: int, module: str, symbol: Symbol) -> None:
        key = (module, symbol.name)
        if key not in found or found[key].worth < worth:
            found[key] = Piece(worth, module, symbol)

    wanted = _imported_names(snapshot, modules)
    for name, members in wanted.items():
        known = _with_reexports(name, modules)
        named = spoken_of(instruction, known) | (members & known.keys())
        for symbol in known.values():
            if symbol.name in named:
                add(_SPOKEN_OF if symbol.name in instruction else _IMPORTED, name, symbol)
                for used in symbol.uses & known.keys() - named:
                    if known[used].kind == "class":
                        add(_USED_BY_IMPORTED, name, known[used])
            elif features(symbol.name) & asked:
                add(_ALLUDED if features(symbol.name) <= asked else _OF_MODULE, name, symbol)
            elif "\n" in symbol.text and symbol.kind == "constant" and features(symbol.text) & asked:
                add(_ALLUDED, name, symbol)  # the tables of a database
            elif "*" in members:
                add(_OF_MODULE, name, symbol)
    for module in others:
        known = {symbol.name: symbol for symbol in symbols(module.snapshot)}
        exact = spoken_of(instruction, module.names)
        for one in module.names:
            if one in known and not any(key[1] == one for key in found):
                add(_SPOKEN_OF if one in exact else _ALLUDED, module.name, known[one])
    return sorted(found.values(), key=lambda piece: -piece.worth)


def within(chosen: Iterable[Piece], budget: int) -> list[tuple[Piece, str]]:
    """Return the pieces that fit into `budget` characters, each with its text: in full, else on one line."""
    taken = []
    modules: set[str] = set()
    for piece in chosen:
        title = 0 if piece.module in modules else len(piece.module) + 3
        for text in (piece.symbol.text, piece.symbol.brief):
            if len(text) + 1 + title <= budget:
                taken.append((piece, text))
                modules.add(piece.module)
                budget -= len(text) + 1 + title
                break
    return taken


def rendered(taken: Sequence[tuple[Piece, str]]) -> str:
    """Return pieces as Python, module by module, in the order of their definition."""
    order = list(dict.fromkeys(piece.module for piece, _ in taken))
    parts = []
    for module in sorted(order):
        texts = sorted(
            ((p.symbol.row, text) for p, text in taken if p.module == module), key=lambda one: one[0]
        )
        parts.append("\n".join([f"# {module}", *(text for _, text in texts)]))
    return "\n".join(parts)


def _imported_names(snapshot: Snapshot, modules: Mapping[str, Snapshot]) -> dict[str, set[str]]:
    """Return, by module of the project, the names that a file takes from it; `*` where it takes the module."""
    found: dict[str, set[str]] = {}
    for one in imports(snapshot):
        joint = "" if one.module.endswith(".") else "."
        for member, _ in one.names:
            if (inner := f"{one.module}{joint}{member}") in modules:
                found.setdefault(inner, set()).add("*")
            elif one.module in modules:
                found.setdefault(one.module, set()).add(member)
        if not one.names and one.module in modules:
            found.setdefault(one.module, set()).add("*")
    return found


def _with_reexports(name: str, modules: Mapping[str, Snapshot]) -> dict[str, Symbol]:
    """Return a module's names, those included that it takes from another module of the project: one step, no more."""
    module = modules[name]
    known = {symbol.name: symbol for symbol in symbols(module)}
    for one in imports(module):
        source = _provider(name, one.module, modules)
        if source is None or not one.names:
            continue
        theirs = {symbol.name: symbol for symbol in symbols(source)}
        for member, bound in one.names:
            if member in theirs and bound == member:
                known.setdefault(member, theirs[member])
    return known


def _provider(name: str, written: str, modules: Mapping[str, Snapshot]) -> Snapshot | None:
    if not written.startswith("."):
        return modules.get(written)
    last = written.lstrip(".")
    # A package's own module goes by its absolute name; only its end is certain.
    fits = [key for key in modules if last and (key == last or key.endswith(f".{last}")) and key != name]
    return modules[fits[0]] if len(fits) == 1 else None


def _looks_like_a_name(name: str, text: str) -> bool:
    if "_" in name.strip("_") or any(letter.isupper() for letter in name) or any(map(str.isdigit, name)):
        return True
    return bool(re.search(rf"[`'\"]{name}[`'\"]|\b{name}\(|\.{name}\b", text))
