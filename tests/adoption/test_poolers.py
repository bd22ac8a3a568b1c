"""Adoption past a pooler in transaction mode, and adoptions that wait for each other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.db import setup
from campaign_model.db.adoption.session import PSQL_SESSION_CHECK
from support.adoption import EXTENDED, DatabaseState, LegacyDatabases
from support.interruption import open_other_connection
from support.legacy_rows import sample_rows
from support.pooler import pooled
from support.psql import read_psql

NewDatabase = Callable[..., str]

SESSION_STATE = """
SELECT
    current_setting('row_security'), current_setting('statement_timeout'),
    current_setting('lock_timeout'), current_setting('datestyle'),
    (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors),
    (
        SELECT count(*)
        FROM pg_locks
        JOIN pg_database ON pg_database.oid = pg_locks.database
        WHERE locktype = 'advisory' AND datname = current_database()
    ),
    (SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema())
"""
CLEAN = ("on", "0", "0", "ISO, MDY", 0, 0, 0, 0)


@contextmanager
def pooled_engine(engine: sa.Engine, *, takes_turns: bool = False) -> Iterator[sa.Engine]:
    """Open an engine whose connections go through a pooler with two idle server connections."""
    url = engine.url.render_as_string(hide_password=False)
    with (
        # The path of a socket must be short.
        tempfile.TemporaryDirectory() as sockets,
        pooled(url, Path(sockets), takes_turns=takes_turns) as pool_url,
    ):
        pool = sa.create_engine(pool_url, connect_args={"prepare_threshold": None})
        read_sessions(pool)
        try:
            yield pool
        finally:
            pool.dispose()


def read_sessions(engine: sa.Engine) -> set[tuple[object, ...]]:
    """Read the state of two server connections."""
    with engine.connect() as first, engine.connect() as second:
        rows = [connection.exec_driver_sql(SESSION_STATE).one() for connection in (first, second)]
        return {tuple(row) for row in rows}


@pytest.mark.parametrize("takes_turns", [False, True], ids=["last", "turns"])
def test_past_a_pooler_in_transaction_mode_an_adoption_refuses_and_leaves_nothing(
    legacies: LegacyDatabases, *, takes_turns: bool
) -> None:
    with (
        legacies.database(EXTENDED, sample_rows) as engine,
        pooled_engine(engine, takes_turns=takes_turns) as pool,
    ):
        before = DatabaseState.read(engine)
        for dry_run in (False, True):
            with pytest.raises(db.SetupError, match="pooler in transaction mode"):
                db.adopt(pool, dry_run=dry_run)
        script = db.sql(pool)
        assert script == db.sql(engine)
        code, _, message = read_psql(legacies, pool, script)
        assert (code, "pooler in transaction mode" in message) == (3, True)
        assert read_sessions(pool) == {CLEAN}
        assert DatabaseState.read(engine) == before
        # What needs no session of its own works.
        assert db.verify(pool) == db.verify(engine)


def test_init_works_past_a_pooler(legacies: LegacyDatabases, new_database: NewDatabase) -> None:
    direct = sa.create_engine(new_database(legacies.engine_name))
    with pooled_engine(direct) as pool:
        db.init(pool, with_host_tables=True)
        assert read_sessions(pool) == {CLEAN}
    assert db.verify(direct).shape == "current"
    direct.dispose()


def test_the_script_keeps_the_role_and_the_search_path(newest: LegacyDatabases) -> None:
    """The script connects again to find a pooler."""
    with newest.database(EXTENDED) as engine:
        show = "SELECT current_setting('role'), current_setting('search_path');"
        _, settings, _ = read_psql(
            newest,
            engine,
            f"{PSQL_SESSION_CHECK}\n{show}",
            *("-c", "SET ROLE pg_monitor", "-c", "SET search_path = public, pg_catalog"),
        )
        assert settings.strip() == "pg_monitor|public, pg_catalog"


def test_a_command_names_who_holds_the_setup_lock_and_gives_up(
    legacies: LegacyDatabases,
    new_database: NewDatabase,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(setup, "_LONGEST_WAIT_SECONDS", 0)
    engine = sa.create_engine(new_database(legacies.engine_name))
    script = db.sql()
    with open_other_connection(engine) as holder:
        holder.execute("SET application_name = 'nightly migration'")
        holder.execute("SELECT pg_advisory_lock(%s)", [setup.SETUP_LOCK])
        name = f"process {holder.info.backend_pid} (nightly migration, connected since 20"
        for call in (partial(db.init, with_host_tables=True), db.adopt):
            caplog.clear()
            with pytest.raises(db.SetupError) as caught:
                call(engine)
            assert name in str(caught.value)
            assert str(caught.value).endswith("run this command again")
            assert [name in record.getMessage() for record in caplog.records] == [True]
        code, _, message = read_psql(legacies, engine, script)
        assert (code, name in message) == (3, True)
    assert db.init(engine, with_host_tables=True).inserted
    engine.dispose()
