"""The feedback store: one SQLite file that several servers, the command line and tuning read and write at once.

Every transaction is short; readers page through, so that a slow one holds up nobody.
"""

# ruff: noqa: S608  (the names and conditions put into queries are this module's own)

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from . import convert, keys
from .database import (
    Damaged,
    connect,
    explained,
    is_damage,
    is_gone,
    private_file,
    transaction,
    unusable,
)
from .events import CandidateRow, EventRow, RequestRow
from .rows import AnyRow, decode, insert
from .tracker import CHECKPOINTS

Group = Literal["kind", "model", "surface", "day"]
T = TypeVar("T")

_PAGE = 200  # rows read in one transaction
_TRIES = 3  # of work that finds the file damaged or gone


class Refused(NamedTuple):
    """A row that does not fit what the store holds, and why."""

    row: AnyRow
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """A request with all that came of it."""

    request: RequestRow
    candidates: list[CandidateRow]
    events: list[EventRow]


@dataclass(frozen=True, slots=True)
class Logged:
    """An event, with what it happened to."""

    event: EventRow
    instruction: str
    text: str
    kind: str
    model: str
    surface: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An accepted suggestion that is still to be looked after."""

    accepted: EventRow
    file_id: str
    text: str
    done: list[str]
    """Checkpoints that it has passed."""


@dataclass(slots=True)
class Tally:
    """How many requests there were, and to how many suggestions each event happened."""

    requests: int = 0
    offered: int = 0
    shown: int = 0
    accepted: int = 0
    partially_accepted: int = 0
    rejected: int = 0
    dismissed: int = 0
    ignored: int = 0
    superseded: int = 0
    edited: int = 0

    @property
    def acceptance_rate(self) -> float | None:
        """Accepted whole, of those offered: few clients tell what was seen."""
        return self.accepted / self.offered if self.offered else None


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge took away."""

    requests: int
    suggestions: int
    events: int
    files: int = 0
    """Damaged stores that had been set aside."""


class Store:
    """The open store. Use it in the thread that opened it.

    One that is encrypted is opened with its key, whoever opens it; with `encrypt`, one that is not becomes so.
    """

    def __init__(self, path: Path, *, encrypt: bool = False) -> None:
        self.path = path
        self.notice = ""
        """What the user should know about the opening, such as a damaged file that was set aside."""
        self._encrypt = encrypt
        self._seen = (0, "")  # inode of the open file, and name of its key
        self._connection = self._open()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing --------------------------------------------------------------------------------------------------

    def add(self, rows: Iterable[AnyRow]) -> list[Refused]:
        """Write rows in one transaction; those already there stay as they are. Return those that do not fit."""
        rows = list(rows)

        def write(connection: sqlite3.Connection) -> list[Refused]:
            with transaction(connection):
                reasons = ((row, insert(connection, row)) for row in rows)
                return [Refused(row, reason) for row, reason in reasons if reason]

        return self._run(write)

    def merge(
        self, rows: Callable[[], Iterable[AnyRow]], unfit: Callable[[str], Exception]
    ) -> tuple[int, ...]:
        """Write rows in one transaction, all of them or none, and raise what `unfit` makes of the reason.

        Return how many requests, suggestions and events were new.
        """

        def write(connection: sqlite3.Connection) -> tuple[int, ...]:
            with transaction(connection):
                before = _counts(connection)
                for row in rows():
                    if reason := insert(connection, row):
                        raise unfit(reason)
                return tuple(now - was for was, now in zip(before, _counts(connection), strict=True))

        return self._run(write)

    def purge(self, *, before: float | None = None, project: str = "", suggestion: str = "") -> Purged:
        """Delete what is older than `before`, of one project or one suggestion, and all of it if nothing is named.

        The bytes are overwritten, and the file is rebuilt without them.
        """
        everything = before is None and not project and not suggestion

        def delete(connection: sqlite3.Connection) -> Purged:
            with transaction(connection):
                counts = _counts(connection)
                if suggestion:
                    _delete_suggestion(connection, suggestion)
                else:
                    connection.execute(
                        "DELETE FROM requests WHERE (:before IS NULL OR time < :before) "
                        "AND (:project = '' OR project_id = :project)",
                        {"before": before, "project": project},
                    )
                left = _counts(connection)
            if left != counts or everything:
                connection.execute("VACUUM")
            return Purged(*(was - now for was, now in zip(counts, left, strict=True)))

        purged = self._run(delete)
        if not everything:
            return purged
        aside = self.set_aside_files()
        for file in aside:
            file.unlink(missing_ok=True)
        return Purged(purged.requests, purged.suggestions, purged.events, len(aside))

    def set_aside_files(self) -> list[Path]:
        """Return the damaged stores that were set aside here."""
        return sorted(self.path.parent.glob(f"{self.path.name}.damaged-*"))

    def integrity(self) -> str:
        """Return `ok`, or the first thing that is wrong with the file. Reads all of it."""
        return str(self._rows("PRAGMA integrity_check(1)", ())[0][0])

    # --- reading --------------------------------------------------------------------------------------------------

    def events(
        self,
        *,
        kinds: Sequence[str] = (),
        since: float | None = None,
        suggestion: str = "",
        project: str = "",
        limit: int = 0,
    ) -> Iterator[Logged]:
        """Yield events, of one project if it is named, oldest first; `limit` keeps the newest."""
        conditions: list[str] = ["1"]
        values: list[object] = []
        if kinds:
            conditions.append(f"e.event IN ({','.join('?' * len(kinds))})")
            values += list(kinds)
        if since is not None:
            conditions.append("e.time >= ?")
            values.append(since)
        if suggestion:
            conditions.append("e.suggestion_id = ?")
            values.append(suggestion)
        if project:
            conditions.append("r.project_id = ?")
            values.append(project)
        query = (
            "SELECT e.*, r.instruction, c.text, r.kind, r.model, r.surface FROM events e "
            "JOIN requests r USING (request_id) JOIN candidates c ON c.candidate_id = e.suggestion_id "
            f"WHERE {' AND '.join(conditions)}"
        )
        if limit:
            newest = self._rows(f"{query} ORDER BY e.time DESC, e.id DESC LIMIT ?", (*values, limit))
            yield from map(_logged, reversed(newest))
            return
        last: tuple[float, int] = (float("-inf"), -1)
        while page := self._rows(
            f"{query} AND (e.time, e.id) > (?, ?) ORDER BY e.time, e.id LIMIT ?", (*values, *last, _PAGE)
        ):
            yield from map(_logged, page)
            last = (page[-1]["time"], page[-1]["id"])

    def records(self, *, since: float | None = None) -> Iterator[Record]:
        """Yield requests, oldest first, each with its candidates and events."""
        last: tuple[float, str] = (float("-inf") if since is None else since, "")
        query = "SELECT * FROM requests WHERE (time, request_id) > (?, ?) ORDER BY time, request_id LIMIT ?"
        while page := self._rows(query, (*last, _PAGE)):
            for row in page:
                yield self._record(row)
            last = (page[-1]["time"], page[-1]["request_id"])

    def record(self, key: str = "") -> Record | None:
        """Return the request with this id or with a suggestion of this id; the newest request without one."""
        query = "SELECT * FROM requests ORDER BY time DESC, request_id DESC LIMIT 1"
        if key:
            query = """
                SELECT * FROM requests WHERE request_id = :key
                OR request_id = (SELECT request_id FROM candidates WHERE candidate_id = :key)
            """
        rows = self._rows(query, {"key": key} if key else ())
        return self._record(rows[0]) if rows else None

    def _record(self, row: sqlite3.Row) -> Record:
        key = (row["request_id"],)
        candidates = self._rows("SELECT * FROM candidates WHERE request_id = ? ORDER BY choice_index", key)
        events = self._rows("SELECT * FROM events WHERE request_id = ? ORDER BY time, id", key)
        return Record(
            decode(RequestRow, row),
            [decode(CandidateRow, candidate) for candidate in candidates],
            [decode(EventRow, event) for event in events],
        )

    def unfinished(self, since: float) -> list[Unfinished]:
        """Return what was accepted since then and has no last measurement: its server may have been killed."""
        rows = self._rows(
            "SELECT e.*, r.file_id, c.text, (SELECT group_concat(k.checkpoint) FROM events k "
            "WHERE k.suggestion_id = e.suggestion_id AND k.event = 'kept') AS done FROM events e "
            "JOIN requests r USING (request_id) JOIN candidates c ON c.candidate_id = e.suggestion_id "
            "WHERE e.event = 'accepted' AND e.time >= ? ORDER BY e.time, e.id",
            (since,),
        )
        found = [
            Unfinished(decode(EventRow, row), row["file_id"], row["text"], (row["done"] or "").split(","))
            for row in rows
        ]
        return [one for one in found if set(CHECKPOINTS) - set(one.done)]

    def stats(self, by: Group | None = None, *, since: float | None = None) -> dict[str, Tally]:
        """Count requests and events, in groups, or all under the empty name."""
        group = {
            None: "''",
            "kind": "r.kind",
            "model": "r.model || CASE r.adapter WHEN '' THEN '' ELSE '+' || r.adapter END",
            "surface": "r.surface",
            "day": "date(r.time, 'unixepoch', 'localtime')",
        }[by]
        tallies: dict[str, Tally] = {} if by else {"": Tally()}
        start = float("-inf") if since is None else since
        for row in self._rows(
            f"SELECT {group} AS name, count(*) AS n FROM requests r WHERE r.time >= ? GROUP BY 1 ORDER BY 1",
            (start,),
        ):
            tallies[row["name"]] = Tally(requests=row["n"])
        for row in self._rows(
            f"SELECT {group} AS name, e.event, count(DISTINCT e.suggestion_id) AS n FROM events e "
            "JOIN requests r USING (request_id) WHERE r.time >= ? GROUP BY 1, 2",
            (start,),
        ):
            if hasattr(tally := tallies.setdefault(row["name"], Tally()), row["event"]):
                setattr(tally, row["event"], row["n"])
        return tallies

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Ask several questions about one state of the store."""

        def within(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

        return self._run(within)

    def _rows(self, query: str, values: Sequence[object] | Mapping[str, object]) -> list[sqlite3.Row]:
        return self._run(lambda connection: connection.execute(query, values).fetchall())

    # --- opening --------------------------------------------------------------------------------------------------

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work on the file that is at the path, which may be another than before.

        Where it is found damaged, it is opened and checked anew, and set aside if that finds or changes nothing.
        """
        for attempt in range(_TRIES):
            try:
                with self._at_its_path():
                    return work(self._connection)
            except self._connection.Error as error:
                if attempt == _TRIES - 1 or not (
                    is_damage(error) or is_gone(error, self.path, self._seen[0])
                ):
                    raise explained(error, self.path) from error
            self._connection.close()
            self._connection = self._open(damaged=attempt > 0)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _at_its_path(self) -> Iterator[None]:
        """Keep others from putting another file in place of the open one, and open that if they have.

        A connection to a file that is elsewhere by now would take the new one's journal for its own.
        """
        with ExitStack() as stack:
            self._lock(stack, shared=True)
            while self._seen != self._there():
                stack.close()
                self._connection.close()
                self._connection = self._open()
                self._lock(stack, shared=True)
            yield

    def _lock(self, stack: ExitStack, *, shared: bool) -> None:
        """Share the store's lock as who uses the file, or hold it alone as who exchanges it."""
        try:
            stack.enter_context(convert.turn(self.path, shared=shared))
        except OSError as error:  # includes TimeoutError
            raise unusable(self.path, error.strerror or str(error)) from error

    def _open(self, *, damaged: bool = False) -> sqlite3.Connection:
        try:
            private_file(self.path)
            connection = self._found(damaged=damaged)
            if not self._encrypt or self._seen[1]:
                return connection
            connection.close()
            convert.encrypt(self.path)
            return self._found()
        except Damaged as error:
            raise unusable(self.path, str(error)) from error
        except OSError as error:
            raise unusable(self.path, error.strerror or str(error)) from error

    def _found(self, *, damaged: bool = False) -> sqlite3.Connection:
        """Connect to the store as it is; set aside what is damaged."""
        with suppress(Damaged), ExitStack() as stack:
            self._lock(stack, shared=True)
            if not damaged and not convert.unfinished(self.path):
                return self._connect()
        with ExitStack() as stack:
            self._lock(stack, shared=False)
            convert.clear(self.path)
            # Another process may have been here first: then the path names another file already.
            if damaged and self.path.exists() and self._seen == self._there():
                self._set_aside()
            with suppress(Damaged):
                return self._connect()
            self._set_aside()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        key = keys.store_key(self.path)
        private_file(self.path)
        self._seen = self._there()
        return connect(self.path, key)

    def _there(self) -> tuple[int, str]:
        try:
            return self.path.stat().st_ino, keys.key_name(self.path)
        except FileNotFoundError:
            return 0, ""

    def _set_aside(self) -> None:
        if keys.marker(self.path).exists() and _is_plain(self.path):
            # Somebody was about to encrypt it, or had just decrypted it, and was killed.
            keys.marker(self.path).unlink()
            return
        stamp = time.strftime("%Y%m%d-%H%M%S")
        target = self.path.with_name(f"{self.path.name}.damaged-{stamp}-{os.urandom(2).hex()}")
        self.path.rename(target)
        for suffix in ("-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(f"{target}{suffix}")
        self.notice = f"The feedback store was damaged; it was set aside as {target.name} and a new one begun"


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _delete_suggestion(connection: sqlite3.Connection, suggestion: str) -> None:
    """Delete a suggestion, and its request when no other suggestion of it is left."""
    owner = connection.execute(
        "SELECT request_id FROM candidates WHERE candidate_id = ?", (suggestion,)
    ).fetchone()
    if owner is None:
        return
    connection.execute("DELETE FROM candidates WHERE candidate_id = ?", (suggestion,))
    connection.execute(
        "DELETE FROM requests WHERE request_id = ? AND NOT EXISTS "
        "(SELECT 1 FROM candidates c WHERE c.request_id = requests.request_id)",
        (owner[0],),
    )


def _counts(connection: sqlite3.Connection) -> tuple[int, ...]:
    query = "SELECT (SELECT count(*) FROM requests), (SELECT count(*) FROM candidates), (SELECT count(*) FROM events)"
    return tuple(connection.execute(query).fetchone())


def _logged(row: sqlite3.Row) -> Logged:
    event = decode(EventRow, row)
    return Logged(event, row["instruction"], row["text"], row["kind"], row["model"], row["surface"])
