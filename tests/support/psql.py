"""Run the SQL of an adoption with psql."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from campaign_model import db
from support import catalogs
from support.adoption import DatabaseState, LegacyDatabases, normalize_times


def run_psql(legacies: LegacyDatabases, engine: sa.Engine, sql: str, directory: Path) -> str:
    """Run ``sql`` with psql, and return what it wrote on standard error."""
    file = directory / "adoption.sql"
    file.write_text(sql)
    return legacies.databases.run_psql(legacies.engine_name, engine.url, file)


def assert_same_after_sync(engine: sa.Engine, expected: DatabaseState) -> None:
    """Sync the system templates, and compare the schema and the rows."""
    with engine.begin() as connection:
        db.sync_presets(connection)
    state = DatabaseState.read(engine)
    differences = catalogs.compare_catalogs(expected.catalog, state.catalog)
    assert differences == catalogs.Changes({}, {}, {})
    assert normalize_times(state.rows) == normalize_times(expected.rows)
