"""Commands in sessions that may not do everything: read-only, on a standby, without privileges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from campaign_model import db
from support import servers
from support.adoption import BARE, EXTENDED, DatabaseState, LegacyDatabases, adopt, execute
from support.legacy_rows import sample_rows

NewDatabase = Callable[..., str]


@contextmanager
def open_engine(url: str | sa.URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def set_default(engine: sa.Engine, name: str, value: str) -> None:
    """Change the default of a setting for the new sessions of a database."""
    execute(engine, f"ALTER DATABASE {engine.url.database} SET {name} = {value}")
    engine.dispose()


def test_in_a_read_only_session_verify_and_the_dry_run_work(legacies: LegacyDatabases) -> None:
    with legacies.database(EXTENDED, sample_rows) as engine:
        verdict, script = db.verify(engine), db.sql(engine)
        expected = adopt(engine, dry_run=True)
        before = DatabaseState.read(engine)
        set_default(engine, "default_transaction_read_only", "on")
        assert (db.verify(engine), db.sql(engine)) == (verdict, script)
        assert adopt(engine, dry_run=True) == expected
        for call in (db.adopt, db.init):
            with pytest.raises(db.SetupError, match="this session is read-only"):
                call(engine)
        # The connection was given back as it was.
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
        assert DatabaseState.read(engine) == before


def test_on_a_standby_every_command_says_that_it_needs_the_primary(
    legacies: LegacyDatabases, new_database: NewDatabase
) -> None:
    url = new_database(legacies.engine_name)
    with open_engine(url) as primary:
        db.init(primary, with_host_tables=True)
    with servers.standby(url) as standby_url, open_engine(standby_url) as standby:
        verdict = db.verify(standby)
        assert verdict.shape == "unknown"
        (sentence,) = verdict.pending
        assert sentence.startswith("this server is a standby")
        for call in (db.adopt, db.sql, lambda engine: db.adopt(engine, dry_run=True)):
            with pytest.raises(db.SetupError) as caught:
                call(standby)
            assert str(caught.value) == sentence
        with pytest.raises(db.SetupError, match="read-only"):
            db.init(standby)
