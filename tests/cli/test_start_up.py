"""How a command starts: fast, with help, and with shell completion."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from campaign_model.cli.app import app
from support.commands import Command

SLOW = {"alembic", "cattrs", "jsonschema", "psycopg", "rich", "sqlalchemy"}
"""Packages that no help needs."""

RUN_AND_LIST_MODULES = """
import sys
from campaign_model.cli import main
code = main(sys.argv[1:])
sys.stderr.write(" ".join({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def iter_commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Iterate over every command and group, with the words that call it."""
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from iter_commands(each, *path, name)


COMMANDS = dict(iter_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_that_fits_60_columns(
    command: Command, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    answer = command(*path, "-h")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(" ".join(("Usage: campaign-model", *path)))
    assert answer.out == command(*path, "--help").out
    assert all(len(line) <= 60 for line in answer.out.splitlines()), answer.out
    for each in getattr(COMMANDS[path], "commands", {}).values():  # No sentence is cut.
        assert each.get_short_help_str(1000) in " ".join(answer.out.split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("db", "--help"), ("campaigns", "list", "-h")]
)
def test_help_and_version_load_no_slow_package(arguments: tuple[str, ...]) -> None:
    completed = subprocess.run(
        [sys.executable, "-c", RUN_AND_LIST_MODULES, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    assert completed.stdout
    assert not SLOW.intersection(completed.stderr.split())


def test_completion_names_commands_and_loads_no_slow_package() -> None:
    """Bash calls the command with these variables when the user presses the tabulator key."""
    variables = {
        "_CAMPAIGN_MODEL_COMPLETE": "complete_bash",
        "COMP_WORDS": "campaign-model campaigns ",
        "COMP_CWORD": "2",
    }
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n"
        "from campaign_model.cli import main\n"
        "main([])"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    assert {"list", "show"} <= {*completed.stdout.split()}
    assert not SLOW.intersection(completed.stderr.split())


def test_show_completion_prints_a_script(
    monkeypatch: pytest.MonkeyPatch, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    with pytest.raises(SystemExit) as ended:
        command("--show-completion")
    assert ended.value.code == 0
    assert "_CAMPAIGN_MODEL_COMPLETE=complete_bash" in capsys.readouterr().out
