from __future__ import annotations

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


def answer(url: str, *statements: str) -> object:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None


def test_each_engine_answers_with_its_major_version(engine_name: str, database_url: str) -> None:
    dialect, _, major = engine_name.partition("-")
    assert str(answer(database_url, VERSION[dialect])).startswith(f"{major or '3'}.")


def test_a_database_is_copied_from_a_template(
    engine_name: str, new_database: Callable[..., str]
) -> None:
    template = new_database(engine_name)
    answer(template, "CREATE TABLE t (n integer)", "INSERT INTO t VALUES (1)")
    copy = new_database(engine_name, template)
    answer(copy, "INSERT INTO t VALUES (2)")
    assert answer(template, "SELECT sum(n) FROM t") == 1
    assert answer(copy, "SELECT sum(n) FROM t") == 3


def test_an_engine_is_missing_only_with_a_word_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "system_postgresql", lambda _major: None)
    assert servers.describe() == (
        "campaign_model engines: sqlite, postgresql-18 (no system PostgreSQL 15 found)"
    )


def test_they_are_in_memory_only_where_that_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not servers._will_do(tmp_path / "none")
    monkeypatch.setattr(servers, "ROOM", 0)
    assert servers._will_do(tmp_path)
    monkeypatch.setattr(servers, "ROOM", 2**80)
    assert not servers._will_do(tmp_path)


KILLED = """
import os, signal
from support import servers
directory, close = servers.open_directory()
servers.Databases(directory).create("postgresql-18")
print(directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_test_run_leaves_no_server_and_no_file() -> None:
    # The janitor holds the output open, so it has done its work when this returns. It removes the
    # directory only when the server has stopped.
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
