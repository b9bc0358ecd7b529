"""Values as a reader sees them. What was logged may hold anything: no character may hide or turn the line around."""

from __future__ import annotations

import unicodedata
from datetime import datetime

NONE = "–"
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(text: object, longest: int = 0) -> str:
    """Write characters that do not show, or that steer the direction of text, as their numbers."""
    shown = "".join(
        f"⟨U+{ord(one):04X}⟩" if unicodedata.category(one) in _INVISIBLE and one not in "\n\t" else one
        for one in str(text)
    )
    return f"{shown[: longest - 1]}…" if longest and len(shown) > longest else shown


def percent(share: float | None) -> str:
    """Return a share."""
    return NONE if share is None else f"{share:.0%}"


def span(pair: tuple[float, float] | None) -> str:
    """Return an interval of shares."""
    return "" if pair is None else f"{pair[0]:.0%} to {pair[1]:.0%}"


def number(value: float | None) -> str:
    """Return a count."""
    return NONE if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """Return a duration, with as many digits as matter."""
    if value is None:
        return NONE
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def signed(value: float | None) -> str:
    """Return a difference of shares, in points."""
    return NONE if value is None else f"{value * 100:+.1f}"


def moment(time: float | None, form: str = "%d %b %Y, %H:%M") -> str:
    """Return a moment in local time. A clock may have said anything."""
    try:
        return NONE if time is None else datetime.fromtimestamp(time).strftime(form)
    except (ValueError, OverflowError, OSError):
        return NONE
