"""Adoptions that are killed, raced, and written into while they run."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from campaign_model import db
from campaign_model.testing.parallel import wait_until
from support.adoption import (
    POSTGRESQL,
    SERVICE,
    AdoptionRun,
    LegacyDatabases,
    adopt,
    read_rows,
    read_with_store,
)
from support.interruption import (
    WriteDetector,
    kill_index_builds,
    kill_repeatedly,
    observe_statements,
    open_other_connection,
    read_result,
    read_undisturbed_result,
)
from support.legacy_rows import make_id, sample_rows

TENANT = make_id("tenants", 1)


def test_an_adoption_that_is_killed_repeatedly_ends_like_an_undisturbed_one(
    legacies: LegacyDatabases,
) -> None:
    """For a kill at every statement: ``pytest tests/benchmarks/every_statement.py``."""
    strides = dict(zip(POSTGRESQL, (23, 21), strict=False))
    assert kill_repeatedly(legacies, SERVICE, strides[legacies.engine_name]) > 4


def test_an_index_whose_build_was_killed_is_built_again(legacies: LegacyDatabases) -> None:
    """One kind of index on each engine. All on all: ``tests/benchmarks/every_statement.py``."""
    kind = "UNIQUE INDEX" if legacies.engine_name == POSTGRESQL[0] else "INDEX"
    assert len(kill_index_builds(legacies, SERVICE, f"CREATE {kind} CONCURRENTLY")) >= 3


def test_two_adoptions_at_once_leave_what_one_leaves(newest: LegacyDatabases) -> None:
    expected = read_undisturbed_result(newest, SERVICE)
    with newest.database(SERVICE, sample_rows) as engine:
        barrier = threading.Barrier(2)

        def adopt_at_once(_number: int) -> AdoptionRun:
            barrier.wait()
            return adopt(engine)

        with ThreadPoolExecutor(2) as pool:
            runs = [*pool.map(adopt_at_once, range(2))]
        assert sorted(bool(run.findings) for run in runs) == [False, True]
        assert read_result(engine) == expected


LOCK_NOT_AVAILABLE, CHECK_VIOLATION, NOT_NULL_VIOLATION = "55P03", "23514", "23502"

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


def write_like_a_legacy_service(
    connection: psycopg.Connection, kind: str, number: int
) -> str | None:
    """Write one row. Return the SQLSTATE if the database refused it."""
    try:
        connection.execute(LEGACY_WRITES[kind], [TENANT, make_id("campaigns", number)])
    except psycopg.Error as error:
        return error.sqlstate
    return None


def test_legacy_writers_can_write_before_every_statement(oldest: LegacyDatabases) -> None:
    outcomes: dict[str, set[str | None]] = {kind: set() for kind in LEGACY_WRITES}
    inserted_campaigns: dict[str, str] = {}
    is_validated = False
    statement_timeouts: set[str] = set()
    detector = WriteDetector()
    with (
        oldest.database(SERVICE, sample_rows) as engine,
        open_other_connection(engine) as service,
    ):
        service.execute("SET lock_timeout = 10")
        numbers = itertools.count(10_000)

        def attempt(kind: str, number: int) -> None:
            outcome = write_like_a_legacy_service(service, kind, number)
            outcomes[kind].add(outcome)
            if outcome is None and kind in {"bare", "junk"}:
                inserted_campaigns[make_id("campaigns", number)] = kind

        def write_beside(driver: Any, statement: str) -> None:
            if not detector.is_write(statement):
                return
            statement_timeouts.update(driver.execute("SHOW statement_timeout").fetchone())
            number = next(numbers)
            attempt("bare", number)
            attempt("change", number)
            attempt("message", number)
            if not is_validated:
                attempt("contact", number)
            attempt("junk", next(numbers))

        def follow_progress(step: str, done: int, total: int) -> None:
            nonlocal is_validated
            # After this step, contacts are counted for the last time.
            is_validated = is_validated or (step == "checks" and done == total)

        before = read_rows(engine)
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
                f"ALTER DATABASE {engine.url.database} SET statement_timeout = '1min'"
            )
        engine.dispose()
        with observe_statements(engine, write_beside):
            db.adopt(engine, enforce=True, on_progress=follow_progress)

        # The adoption has no statement timeout, and leaves its connection as it was.
        assert statement_timeouts == {"0"}
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1min"
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0"
            assert connection.exec_driver_sql("SHOW row_security").scalar() == "on"

        # A writer of valid rows may wait for a lock, but is never refused.
        assert outcomes.pop("junk") <= {
            None,
            LOCK_NOT_AVAILABLE,
            CHECK_VIOLATION,
            NOT_NULL_VIOLATION,
        }
        assert all(seen <= {None, LOCK_NOT_AVAILABLE} for seen in outcomes.values())
        assert all(None in seen for seen in outcomes.values())

        # Every row that was inserted is there, and was repaired.
        assert len(inserted_campaigns) > 50
        assert {*inserted_campaigns.values()} == {"bare", "junk"}
        after = read_rows(engine)
        assert after["campaigns"].keys() == before["campaigns"].keys() | inserted_campaigns.keys()
        for campaign_id, kind in inserted_campaigns.items():
            row = after["campaigns"][campaign_id]
            assert (row["name"], row["status"]) == (kind.title(), "draft")
            steps = json.loads(str(row["template_config"]))
            assert [step["channel"] for step in steps] == (["email"] if kind == "junk" else [])
        assert read_with_store(engine).keys() == after["campaigns"].keys()
        assert (db.verify(engine).shape, adopt(engine).findings) == ("current", ())


def test_a_long_reader_delays_the_adoption_but_no_writer(legacies: LegacyDatabases) -> None:
    with (
        legacies.database(SERVICE, sample_rows) as engine,
        open_other_connection(engine) as reader,
        open_other_connection(engine) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        with reader.transaction():
            reader.execute("SELECT name, status, total_contacts FROM campaigns").fetchall()
            adoption = pool.submit(db.adopt, engine, enforce=True)
            for number in range(10_000, 10_003):
                wait_until(lambda: is_lock_awaited(writer), "the adoption waits for the reader")
                # The writer queues behind the adoption, which soon gives up its place.
                assert write_like_a_legacy_service(writer, "bare", number) is None
            assert not adoption.done()
        assert adoption.result().shape == "extended"
        assert db.verify(engine).shape == "current"


def is_lock_awaited(connection: psycopg.Connection) -> bool:
    """Return True if any session of this database waits for a lock."""
    row = connection.execute(
        """
        SELECT count(*)
        FROM pg_locks
        WHERE NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
    ).fetchone()
    return row is not None and row[0] > 0
