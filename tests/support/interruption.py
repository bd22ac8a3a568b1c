"""Adoptions that are killed or observed: helpers of ``adoption/test_interrupted.py``.

``adopt_until_killed`` kills an adoption at one statement, ``kill_repeatedly`` after every few
writes, and ``kill_index_builds`` in the middle of building each index. The last two compare the
result with an adoption that was not killed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.testing.parallel import wait_until
from support import servers
from support.adoption import DatabaseState, LegacyDatabases, adopt, normalize_times
from support.legacy import Shape
from support.legacy_rows import sample_rows

_WRITE = re.compile(
    r"\s*(ALTER|CREATE TABLE|CREATE (UNIQUE )?INDEX CONCURRENTLY|DROP|UPDATE|INSERT|DELETE)\b"
)


class WriteDetector:
    """Tells whether a statement changes anything that stays after its transaction."""

    def __init__(self) -> None:
        self.creates_temporary_tables = False

    def is_write(self, statement: str) -> bool:
        """Return True for a write. Call it with every statement, in order."""
        if "SET LOCAL search_path = pg_temp" in statement:
            # The next statements create temporary tables, to see how the server spells them.
            self.creates_temporary_tables = True
        elif not statement.startswith("CREATE"):
            self.creates_temporary_tables = False
        if re.match(r"\s*WITH", statement):
            return re.search(r"\b(UPDATE|INSERT|DELETE)\b", statement) is not None
        return (
            _WRITE.match(statement) is not None
            and "pg_temp" not in statement
            and not self.creates_temporary_tables
        )


@contextmanager
def open_other_connection(engine: sa.Engine) -> Iterator[psycopg.Connection]:
    """Open a connection of another program, on which every statement is a transaction."""
    with psycopg.connect(servers.plain(engine.url), autocommit=True) as connection:
        yield connection


@contextmanager
def observe_statements(
    engine: sa.Engine | type[sa.Engine], observer: Callable[[Any, str], None]
) -> Iterator[None]:
    """Call ``observer(driver's connection, statement)`` before every statement.

    The class ``sa.Engine`` stands for every engine.
    """

    def listener(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        observer(cursor.connection, statement)

    sa.event.listen(engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", listener)


def read_result(engine: sa.Engine) -> DatabaseState:
    """Read what an adoption leaves, in a form in which two adoptions are equal."""
    state = DatabaseState.read(engine)
    return DatabaseState(state.catalog, normalize_times(state.rows))


def read_undisturbed_result(legacies: LegacyDatabases, shape: Shape) -> DatabaseState:
    """Adopt a database without disturbing the adoption, and read the result."""
    with legacies.database(shape, sample_rows) as engine:
        adopt(engine)
        return read_result(engine)


def adopt_in_two_steps(engine: sa.Engine) -> None:
    """Expand and enforce. A step that is done changes nothing."""
    db.adopt(engine)
    db.enforce(engine)


def adopt_until_killed(engine: sa.Engine, number: int, *, after_writes: bool) -> bool:
    """Adopt, and kill the connection at the statement of that number.

    With ``after_writes``, count only the statements that follow a write. Return False if the
    adoption ended before.
    """
    count = 0
    last_was_write = False
    detector = WriteDetector()

    def kill_in_time(driver: Any, statement: str) -> None:
        nonlocal count, last_was_write
        count += last_was_write if after_writes else 1
        last_was_write = detector.is_write(statement)
        if count == number:
            count += 1
            with open_other_connection(engine) as other:
                other.execute("SELECT pg_terminate_backend(%s, 20000)", [driver.info.backend_pid])

    with observe_statements(engine, kill_in_time):
        try:
            adopt_in_two_steps(engine)
        except sa.exc.DBAPIError:
            if count <= number:
                raise
            return True
    return False


def kill_repeatedly(legacies: LegacyDatabases, shape: Shape, stride: int) -> int:
    """Adopt, and kill the adoption after every ``stride`` writes. Return the number of kills."""
    expected = read_undisturbed_result(legacies, shape)
    with legacies.database(shape, sample_rows) as engine:
        state_at_last_kill: DatabaseState | None = None
        kills, more_writes = 0, 0
        while adopt_until_killed(engine, stride + more_writes, after_writes=True):
            kills += 1
            # A kill rolls back its transaction. If nothing is left of the last attempt, the next
            # one must come further.
            state = DatabaseState.read(engine)
            more_writes = 2 * more_writes + 1 if state == state_at_last_kill else 0
            state_at_last_kill = state
        assert read_result(engine) == expected
    return kills


_SELECT_INVALID_INDEXES = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
_SELECT_WAITING_FOR_SNAPSHOT = """
SELECT pid
FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'virtualxid'
"""


def kill_index_builds(legacies: LegacyDatabases, shape: Shape, pattern: str) -> set[str]:
    """Adopt, and kill the adoption in the middle of each statement that matches ``pattern``.

    An open snapshot of another program makes the statement wait for the kill. Return the
    statements.
    """
    expected = read_undisturbed_result(legacies, shape)
    killed: set[str] = set()
    with legacies.database(shape, sample_rows) as engine, ExitStack() as snapshots:

        def hold_snapshot(_driver: Any, statement: str) -> None:
            if re.match(pattern, statement):
                started.append(statement)
                if statement not in killed:
                    snapshots.enter_context(_open_snapshot(engine))

        def holds_snapshot() -> bool:
            return bool(started) and started[-1] not in killed

        with (
            ThreadPoolExecutor(1) as pool,
            observe_statements(engine, hold_snapshot),
            open_other_connection(engine) as other,
        ):
            while True:
                started: list[str] = []
                adoption = pool.submit(adopt_in_two_steps, engine)
                pid = _wait_for_build(other, adoption, holds_snapshot)
                if pid is None:
                    break
                assert other.execute(_SELECT_INVALID_INDEXES).fetchall(), started
                other.execute("SELECT pg_terminate_backend(%s, 20000)", [pid])
                snapshots.close()
                with pytest.raises(sa.exc.DBAPIError):
                    adoption.result()
                killed.add(started[-1])
        assert read_result(engine) == expected
    return killed


@contextmanager
def _open_snapshot(engine: sa.Engine) -> Iterator[None]:
    """Open a transaction with a snapshot. CREATE INDEX CONCURRENTLY waits until it ends."""
    with open_other_connection(engine) as other, other.transaction():
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1 FROM pg_class LIMIT 1")
        yield


def _wait_for_build(
    other: psycopg.Connection, adoption: Future[Any], holds_snapshot: Callable[[], bool]
) -> int | None:
    """Return the process that waits for the snapshot, or ``None`` once the adoption is done."""
    pids: list[tuple[int]] = []

    def is_waiting_or_done() -> bool:
        # While the snapshot is not open, an adoption may wait for others, but not for long.
        pids[:] = other.execute(_SELECT_WAITING_FOR_SNAPSHOT).fetchall() if holds_snapshot() else []
        return bool(pids) or adoption.done()

    wait_until(is_waiting_or_done, "the adoption waits for the snapshot, or is done")
    if pids:
        return pids[0][0]
    adoption.result()
    return None
