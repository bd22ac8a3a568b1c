"""psql, to run the scripts of ``db sql``."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_model import db
from support import catalogs
from support.adoption import DatabaseState, LegacyDatabases, normalize_times


def read_psql(
    legacies: LegacyDatabases, engine: sa.Engine, sql: str, *options: str
) -> tuple[int, str, str]:
    """Run psql with ``sql`` on standard input; return its exit code and what it wrote."""
    return legacies.databases.run_psql(legacies.engine_name, engine.url, sql, *options)


def run_script(legacies: LegacyDatabases, engine: sa.Engine, sql: str) -> str:
    """Run ``sql`` with psql without an error, and return what it wrote on standard error."""
    code, _, message = read_psql(legacies, engine, sql)
    assert code == 0, message
    return message


def assert_same_after_sync(engine: sa.Engine, expected: DatabaseState) -> None:
    """Sync the system templates, and compare the schema and the rows."""
    with engine.begin() as connection:
        db.sync_presets(connection)
    state = DatabaseState.read(engine)
    differences = catalogs.compare_catalogs(expected.catalog, state.catalog)
    assert differences == catalogs.Changes({}, {}, {})
    assert normalize_times(state.rows) == normalize_times(expected.rows)
