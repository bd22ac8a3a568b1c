"""Adoptions that are killed, raced, and written into while they are at it."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from adoption.test_rows import read_everything
from campaign_model import db
from support import servers
from support.adoption import POSTGRESQL, Legacies, Run, State, adopt, contents, settled
from support.legacy import Shape
from support.legacy_data import sample, uid
from support.parallel import until

SERVICE = Shape(extended=True, service=True)
TENANT = uid("tenants", 1)


def outcome(engine: sa.Engine) -> State:
    """All that an adoption leaves, but for the present and new ids."""
    state = State.of(engine)
    return State(state.catalog, settled(state.contents))


@contextmanager
def beside(engine: sa.Engine) -> Iterator[psycopg.Connection]:
    """A connection of somebody else's, on which every statement is a transaction."""
    url = servers.plain(engine.url)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@contextmanager
def watched(engine: sa.Engine, look: Callable[[Any, str], None]) -> Iterator[None]:
    """Call ``look(driver's connection, statement)`` before every statement."""

    def listener(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        look(cursor.connection, statement)

    sa.event.listen(engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", listener)


def kill(engine: sa.Engine, driver: Any) -> None:
    """End a connection from outside, and wait until it has ended."""
    with beside(engine) as other:
        other.execute("SELECT pg_terminate_backend(%s, 20000)", [driver.info.backend_pid])


WRITES = re.compile(
    r"\s*(ALTER|CREATE TABLE|CREATE (UNIQUE )?INDEX CONCURRENTLY|DROP|UPDATE|INSERT|DELETE)\b"
)


class WriteDetector:
    """Tells whether a statement changes anything that stays after its transaction."""

    def __init__(self) -> None:
        self.makes_temporary_tables = False

    def is_write(self, statement: str) -> bool:
        """Return True for a write. Needs every statement, in order."""
        if "SET LOCAL search_path = pg_temp" in statement:
            # The next CREATE statements make temporary tables, to see how the server spells them.
            self.makes_temporary_tables = True
        elif not statement.startswith("CREATE"):
            self.makes_temporary_tables = False
        if re.match(r"\s*WITH", statement):
            return re.search(r"\b(UPDATE|INSERT|DELETE)\b", statement) is not None
        return (
            WRITES.match(statement) is not None
            and "pg_temp" not in statement
            and not self.makes_temporary_tables
        )


def adopt_until(engine: sa.Engine, number: int, *, writing: bool) -> bool:
    """Adopt, and be killed at the statement of that number; whether it came so far.

    With ``writing``, only statements are counted that follow one that writes.
    """
    seen = 0
    wrote = False
    detector = WriteDetector()

    def look(driver: Any, statement: str) -> None:
        nonlocal seen, wrote
        seen += wrote if writing else 1
        wrote = detector.is_write(statement)
        if seen == number:
            seen += 1
            kill(engine, driver)

    with watched(engine, look):
        try:
            db.adopt(engine)
        except sa.exc.DBAPIError:
            if seen <= number:
                raise
            return True
    return False


def kill_again_and_again(legacies: Legacies, shape: Shape, stride: int) -> int:
    """Adopt, with a kill after every ``stride`` writes; how many there were.

    Holds what comes out against an adoption that nobody killed.
    """
    with legacies.database(shape, sample) as engine:
        adopt(engine)
        wanted = outcome(engine)
    with legacies.database(shape, sample) as engine:
        before: State | None = None
        kills, further = 0, 0
        while adopt_until(engine, stride + further, writing=True):
            kills += 1
            # What was in a transaction is gone: the next one has to come further to get anywhere.
            now = State.of(engine)
            further = 2 * further + 1 if now == before else 0
            before = now
        assert outcome(engine) == wanted
    return kills


def test_killed_again_and_again_it_ends_as_if_it_never_was(legacies: Legacies) -> None:
    """At every statement: ``pytest tests/benchmarks/every_statement.py``."""
    strides = dict(zip(POSTGRESQL, (13, 11), strict=False))
    assert kill_again_and_again(legacies, SERVICE, strides[legacies.engine_name]) > 4


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[None]:
    """A transaction that sees what it saw first: who builds an index waits for its end."""
    with beside(engine) as other, other.transaction():
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1 FROM pg_class LIMIT 1")
        yield


def kill_while_building(legacies: Legacies, shape: Shape, pattern: str) -> set[str]:
    """Adopt, with a kill in the middle of each statement that matches; those statements.

    Holds what comes out against an adoption that nobody killed.
    """
    built: set[str] = set()
    with legacies.database(shape, sample) as engine:
        adopt(engine)
        wanted = outcome(engine)
    with legacies.database(shape, sample) as engine, ExitStack() as held:

        def look(_driver: Any, statement: str) -> None:
            if re.match(pattern, statement):
                begun.append(statement)
                if statement not in built:
                    held.enter_context(snapshot(engine))

        def is_held() -> bool:
            return bool(begun) and begun[-1] not in built

        with ThreadPoolExecutor(1) as pool, watched(engine, look), beside(engine) as other:
            while True:
                begun: list[str] = []
                adoption = pool.submit(db.adopt, engine)
                waits = wait_for_snapshot(other, adoption, is_held)
                if waits is None:
                    break
                assert other.execute(INVALID).fetchall(), begun
                other.execute("SELECT pg_terminate_backend(%s, 20000)", [waits])
                held.close()
                with pytest.raises(sa.exc.DBAPIError):
                    adoption.result()
                built.add(begun[-1])
        assert outcome(engine) == wanted
    return built


def test_killed_while_it_builds_an_index_it_builds_it_anew(legacies: Legacies) -> None:
    """One kind on each engine; both on both: ``pytest tests/benchmarks/every_statement.py``."""
    unique = legacies.engine_name == POSTGRESQL[0]
    kind = "UNIQUE INDEX" if unique else "INDEX"
    assert len(kill_while_building(legacies, SERVICE, f"CREATE {kind} CONCURRENTLY")) > 3


INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
WAITS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'virtualxid'
"""


def wait_for_snapshot(
    other: psycopg.Connection, adoption: Future[Any], is_held: Callable[[], bool]
) -> int | None:
    """The process of an adoption that waits for our snapshot; ``None`` once it is done.

    While the snapshot isn't held, somebody else's may be waited for, and not for long.
    """
    found: list[tuple[int]] = []

    def looked() -> bool:
        found[:] = other.execute(WAITS).fetchall() if is_held() else []
        return bool(found) or adoption.done()

    until(looked, "the adoption waits for the snapshot, or is done")
    return found[0][0] if found else adoption.result() and None


# Others at work.


def test_two_adoptions_at_once_leave_what_one_does(newest: Legacies) -> None:
    with newest.database(SERVICE, sample) as engine:
        adopt(engine)
        wanted = outcome(engine)
    with newest.database(SERVICE, sample) as engine:
        barrier = threading.Barrier(2)

        def work(_number: int) -> Run:
            barrier.wait()
            return adopt(engine)

        with ThreadPoolExecutor(2) as pool:
            runs = [*pool.map(work, range(2))]
        assert sorted(bool(run.findings) for run in runs) == [False, True]
        assert outcome(engine) == wanted


LOCKED, BY_CHECK, BY_NOT_NULL = "55P03", "23514", "23502"

LEGACY_WRITES = {
    "bare": "INSERT INTO campaigns (tenant_id, id, name) VALUES (%s, %s, 'Bare')",
    "junk": """INSERT INTO campaigns (tenant_id, id, name, status, template_config)
        VALUES (%s, %s, 'Junk', NULL, '"[{\\"channel\\": \\"email\\"}]"')""",
    "message": "INSERT INTO messages (tenant_id, id, body) VALUES (%s, %s, 'Hello')",
    "change": "UPDATE campaigns SET language = 'nl' WHERE tenant_id = %s AND id = %s",
    "contact": """INSERT INTO campaign_contacts
            (tenant_id, id, campaign_id, contact_id, status, generation_cost)
        SELECT campaign.tenant_id, campaign.id, campaign.id, contact.id, 'generated', 0.0144
        FROM campaigns AS campaign, contacts AS contact
        WHERE campaign.tenant_id = %s AND campaign.id = %s
            AND contact.tenant_id = campaign.tenant_id LIMIT 1""",
}


def write(connection: psycopg.Connection, kind: str, number: int) -> str | None:
    """Write as a legacy service does; why it could not, as an SQLSTATE."""
    try:
        connection.execute(LEGACY_WRITES[kind], [TENANT, uid("campaigns", number)])
    except psycopg.Error as error:
        return error.sqlstate
    return None


def test_legacy_writers_go_on_at_every_statement(oldest: Legacies) -> None:
    said: dict[str, set[str | None]] = {kind: set() for kind in LEGACY_WRITES}
    written: dict[str, str] = {}
    counted = False
    timeouts: set[str] = set()
    detector = WriteDetector()
    with oldest.database(SERVICE, sample) as engine, beside(engine) as service:
        service.execute("SET lock_timeout = 10")
        numbers = itertools.count(10_000)

        def attempt(kind: str, number: int) -> None:
            refused = write(service, kind, number)
            said[kind].add(refused)
            if refused is None and kind in {"bare", "junk"}:
                written[uid("campaigns", number)] = kind

        def look(driver: Any, statement: str) -> None:
            if not detector.is_write(statement):
                return
            timeouts.update(driver.execute("SHOW statement_timeout").fetchone())
            number = next(numbers)
            attempt("bare", number)
            attempt("change", number)
            attempt("message", number)
            if not counted:
                attempt("contact", number)
            attempt("junk", next(numbers))

        def follow(what: str, done: int, total: int) -> None:
            nonlocal counted
            # Contacts are counted one last time after that.
            counted = counted or (what == "checks" and done == total)

        before = contents(engine)
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
                f"ALTER DATABASE {engine.url.database} SET statement_timeout = '1min'"
            )
        engine.dispose()
        with watched(engine, look):
            db.adopt(engine, on_progress=follow)
        # It takes as long as it takes, and leaves its connection as it was.
        assert timeouts == {"0"}
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1min"
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0"
            assert connection.exec_driver_sql("SHOW row_security").scalar() == "on"
        # Whoever writes no junk is at most kept waiting.
        assert said.pop("junk") <= {None, LOCKED, BY_CHECK, BY_NOT_NULL}
        assert all(outcomes <= {None, LOCKED} for outcomes in said.values())
        assert all(None in outcomes for outcomes in said.values())
        assert len(written) > 50
        assert {*written.values()} == {"bare", "junk"}
        after = contents(engine)
        assert after["campaigns"].keys() == before["campaigns"].keys() | written.keys()
        for id_, kind in written.items():
            row = after["campaigns"][id_]
            assert (row["name"], row["status"]) == (kind.title(), "draft")
            steps = json.loads(str(row["template_config"]))
            assert [step["channel"] for step in steps] == (["email"] if kind == "junk" else [])
        assert read_everything(engine).keys() == after["campaigns"].keys()
        assert (db.verify(engine).shape, adopt(engine).findings) == ("current", ())


def test_a_long_reader_delays_the_adoption_and_nobody_else(legacies: Legacies) -> None:
    with (
        legacies.database(SERVICE, sample) as engine,
        beside(engine) as reader,
        beside(engine) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        with reader.transaction():
            reader.execute("SELECT name, status, total_contacts FROM campaigns").fetchall()
            adoption = pool.submit(db.adopt, engine)
            for number in range(10_000, 10_003):
                until(lambda: waits_for_lock(writer), "the adoption waits for the reader")
                # Behind the adoption in the queue, which gives its place up in time.
                assert write(writer, "bare", number) is None
            assert not adoption.done()
        assert adoption.result().shape == "extended"
        assert db.verify(engine).shape == "current"


def waits_for_lock(connection: psycopg.Connection) -> bool:
    query = """SELECT count(*) FROM pg_locks WHERE NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    row = connection.execute(query).fetchone()
    return row is not None and row[0] > 0
