from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from support import servers
from support.paths import TESTS

VERSION = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version"}


def run_sql(url: str, *statements: str) -> object:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None


def test_each_engine_has_its_major_version(engine_name: str, database_url: str) -> None:
    dialect, _, major = engine_name.partition("-")
    assert str(run_sql(database_url, VERSION[dialect])).startswith(f"{major or '3'}.")


def test_a_database_is_copied_from_a_template(
    engine_name: str, new_database: Callable[..., str]
) -> None:
    template = new_database(engine_name)
    run_sql(template, "CREATE TABLE t (n integer)", "INSERT INTO t VALUES (1)")
    copy = new_database(engine_name, template)
    run_sql(copy, "INSERT INTO t VALUES (2)")
    assert run_sql(template, "SELECT sum(n) FROM t") == 1
    assert run_sql(copy, "SELECT sum(n) FROM t") == 3


def test_a_missing_engine_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "system_postgresql", lambda _major: None)
    assert servers.describe() == (
        "campaign_model engines: sqlite, postgresql-18 (no system PostgreSQL 15 found)"
    )


def test_files_are_in_memory_only_if_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not servers._has_room(tmp_path / "none")
    monkeypatch.setattr(servers, "ROOM", 0)
    assert servers._has_room(tmp_path)
    monkeypatch.setattr(servers, "ROOM", 2**80)
    assert not servers._has_room(tmp_path)


KILLED = """
import os, signal
from support import servers
with servers.open_directory() as directory:
    servers.Databases(directory).create("postgresql-18")
    print(directory, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_test_run_leaves_no_server_and_no_file() -> None:
    # The cleanup process inherits the output, so run() returns after the cleanup. The directory is
    # removed after the server has stopped.
    run = subprocess.run(
        [sys.executable, "-c", KILLED],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL
    directory = Path(run.stdout.strip())
    assert directory.name.startswith("campaign-model-")
    assert not directory.exists()


def test_the_tests_run_on_the_server_of_a_url(
    new_database: Callable[..., str], tmp_path: Path
) -> None:
    url = new_database("postgresql-18")
    of_server = f"--campaign-model-url={url}"
    options = ["-p", "no:cacheprovider", "-p", "no:cov", "-o", "addopts="]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "store/test_tables.py", "-v", of_server],
        cwd=TESTS,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "postgresql-18 is PostgreSQL 18" in done.stdout
    # No test runs on another engine, and no database is left.
    assert "[postgresql-18" in done.stdout
    assert "[sqlite" not in done.stdout
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'campaign_model_%%'"
    assert run_sql(url, left) == 0
