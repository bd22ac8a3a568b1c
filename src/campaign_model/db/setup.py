"""What ``init`` and ``adopt`` share: the error that they raise, and their lock.

The lock lets only one of them run at a time on a database. It is an advisory lock of PostgreSQL,
held for a transaction (``init``) or for a session (``adopt``, which commits many transactions).
SQLite needs none: its transactions that write already run one at a time.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

SETUP_LOCK = 0x63616D706169676E
"""The key of the advisory lock."""

_RETRY_SECONDS = 0.05


class SetupError(Exception):
    """The command cannot work on this database. The message says what to do."""


def lock_setup(connection: sa.Connection, *, for_session: bool = False) -> None:
    """Wait until no other ``init`` or ``adopt`` runs on this database, and take the lock.

    The lock ends with the transaction, or ``for_session`` with the connection, unless it is
    released before.

    The wait is a loop, because a statement that blocks on the lock keeps its snapshot. The adoption
    that holds the lock would wait for that snapshot in ``CREATE INDEX CONCURRENTLY``: a deadlock.
    """
    if connection.dialect.name != "postgresql":
        return
    function = "pg_try_advisory_lock" if for_session else "pg_try_advisory_xact_lock"
    while not connection.exec_driver_sql(f"SELECT {function}({SETUP_LOCK})").scalar_one():
        time.sleep(_RETRY_SECONDS)
