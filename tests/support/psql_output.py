"""psql, to run the scripts of ``db sql``."""

from __future__ import annotations

import subprocess

import sqlalchemy as sa

from support import servers
from support.adoption import LegacyDatabases


def read_psql(
    legacies: LegacyDatabases, engine: sa.Engine, sql: str, *options: str
) -> tuple[int, str, str]:
    """Run psql with ``sql`` on standard input; return its exit code and what it wrote."""
    psql = legacies.databases.directory / legacies.engine_name / "bin" / "psql"
    done = subprocess.run(
        [psql, "-XqAt", "-d", servers.plain(engine.url), *options, "-f", "-"],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr
