"""Run the SQL of an adoption with psql."""

from __future__ import annotations

import subprocess
from pathlib import Path

import sqlalchemy as sa

from campaign_model import db
from support import catalogs, servers
from support.adoption import DatabaseState, LegacyDatabases, normalize_times


def run_psql(legacies: LegacyDatabases, engine: sa.Engine, sql: str, directory: Path) -> str:
    """Run ``sql`` with psql, and return what it wrote on standard error."""
    programs = legacies.databases.directory / legacies.engine_name / "bin"
    file = directory / "adoption.sql"
    file.write_text(sql)
    url = servers.plain(engine.url)
    process = subprocess.run(
        [programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    return process.stderr


def assert_same_after_sync(engine: sa.Engine, expected: DatabaseState) -> None:
    """Sync the system templates, and compare the schema and the rows."""
    with engine.begin() as connection:
        db.sync_presets(connection)
    state = DatabaseState.read(engine)
    differences = catalogs.compare_catalogs(expected.catalog, state.catalog)
    assert differences == catalogs.Changes({}, {}, {})
    assert normalize_times(state.rows) == normalize_times(expected.rows)
