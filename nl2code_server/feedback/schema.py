"""The tables of the feedback store, by schema version."""

from __future__ import annotations

APPLICATION_ID = 0x6E6C3263
"""`nl2c` in the file's header: tells a feedback store from any other SQLite database."""

TABLES = ("requests", "candidates", "events")
"""Those that are referred to come first."""

_VERSION_1 = (
    """
    CREATE TABLE requests (
        request_id TEXT PRIMARY KEY,
        time REAL NOT NULL,
        session_id TEXT NOT NULL,
        surface TEXT NOT NULL,
        "trigger" TEXT NOT NULL,
        client TEXT NOT NULL,
        instruction TEXT NOT NULL,
        kind TEXT NOT NULL,
        file_id TEXT NOT NULL,
        project_id TEXT NOT NULL,
        language TEXT NOT NULL,
        prompt_version INTEGER NOT NULL,
        prompt_hash TEXT NOT NULL,
        messages TEXT NOT NULL,  -- JSON
        template_hash TEXT NOT NULL,
        model TEXT NOT NULL,
        adapter TEXT NOT NULL,
        engine TEXT NOT NULL,
        temperature REAL NOT NULL,
        top_p REAL NOT NULL,
        seed INTEGER,
        max_tokens INTEGER NOT NULL,
        n INTEGER NOT NULL,
        context TEXT NOT NULL,  -- JSON
        seconds REAL NOT NULL,
        first_token_seconds REAL NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE candidates (
        candidate_id TEXT PRIMARY KEY,
        request_id TEXT NOT NULL REFERENCES requests ON DELETE CASCADE,
        choice_index INTEGER NOT NULL,
        rank INTEGER NOT NULL,
        n_candidates INTEGER NOT NULL,
        order_propensity REAL NOT NULL,
        raw TEXT NOT NULL,
        text TEXT NOT NULL,
        status TEXT NOT NULL,
        verdicts TEXT NOT NULL,  -- JSON
        examples TEXT NOT NULL,  -- JSON
        logprob_sum REAL,
        n_tokens INTEGER NOT NULL,
        temperature REAL NOT NULL,
        seed INTEGER,
        finish_reason TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        -- What makes it this event and no other, so that one told twice is kept once.
        identity TEXT NOT NULL UNIQUE,
        event TEXT NOT NULL,
        suggestion_id TEXT NOT NULL REFERENCES candidates ON DELETE CASCADE,
        request_id TEXT NOT NULL REFERENCES requests ON DELETE CASCADE,
        source TEXT NOT NULL,
        time REAL NOT NULL,
        cause TEXT NOT NULL,
        visible_ms INTEGER,
        accepted_length INTEGER,
        kept_ratio REAL,
        checkpoint TEXT NOT NULL,
        final_text TEXT,
        data TEXT NOT NULL  -- JSON
    )
    """,
    "CREATE INDEX requests_time ON requests (time)",
    "CREATE INDEX requests_project ON requests (project_id)",
    "CREATE INDEX candidates_request ON candidates (request_id)",
    "CREATE INDEX events_time ON events (time, id)",
    "CREATE INDEX events_suggestion ON events (suggestion_id)",
    "CREATE INDEX events_request ON events (request_id)",
)

_VERSION_2 = (
    "ALTER TABLE candidates ADD COLUMN origin TEXT NOT NULL DEFAULT 'greedy'",
    "UPDATE candidates SET origin = 'sample' WHERE temperature > 0",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2)
"""`MIGRATIONS[n]` takes a store from version n to n + 1. Those that were released never change."""
