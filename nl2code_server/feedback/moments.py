"""Moments as people name them: a date, a date with a time, or an age."""

from __future__ import annotations

import re
import time
from datetime import datetime

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}  # s


def moment(text: str) -> float:
    """Return seconds since the epoch; raise ValueError that says what there is to say."""
    if age := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return time.time() - int(age[1]) * _UNITS[age[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{text!r} is no date; say 2026-11-23, 2026-11-23T18:00 or 7d") from error
