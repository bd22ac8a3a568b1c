"""What a command that fails prints, its exit code, and what it keeps to itself."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model._logs import setup_log
from campaign_model.cli import console, database
from campaign_model.cli.console import UserError, hide_passwords
from campaign_model.cli.database import make_engine
from campaign_model.cli.export_file import open_output
from support.commands import Command

TENANT = ("--tenant", str(uuid4()))
UNREACHABLE = ("--url", "postgresql://user:geheim@localhost:1/name", *TENANT)


@pytest.fixture
def at_database(command: Command, tmp_path: Path) -> tuple[str, ...]:
    """The options that name a new database and a tenant."""
    at_url = ("--url", f"sqlite:///{tmp_path / 'file.db'}")
    assert command("db", "init", *at_url, "--with-host-tables").code == 0
    return (*at_url, *TENANT)


def error_of(answer: Any) -> dict[str, Any]:
    """Return the JSON object on standard error, the only line there."""
    assert answer.err.count("\n") == 1, answer.err
    error: dict[str, Any] = json.loads(answer.err)
    return error


# Exit codes, and errors as JSON


def test_each_kind_of_failure_has_its_exit_code_and_its_error_as_json(
    command: Command, at_database: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_url: object) -> None:
        raise ZeroDivisionError("a bug")

    campaign_id = uuid4()
    show = ("campaigns", "show", campaign_id, *at_database)
    cases: list[tuple[tuple[object, ...], int, str, str]] = [
        (("campaigns", "list", "--frob"), 2, "usage_error", "--frob"),
        (("campaigns", "list", *TENANT, "--url", "x"), 2, "usage_error", "--url must look like"),
        (show, 2, "not_found", str(campaign_id)),
        (("campaigns", "list", *UNREACHABLE), 3, "database_unavailable", "cannot open"),
    ]
    for arguments, code, name, word in cases:
        command(*arguments).assert_error(code, word)
        answer = command(*arguments, "--json")
        assert (answer.code, answer.out) == (code, "")
        error = error_of(answer)
        assert error["code"] == name
        assert word in error["message"]
    assert error_of(command(*show, "--json"))["ids"] == [str(campaign_id)]

    monkeypatch.setattr(database, "parse_url", fail)
    answer = command("campaigns", "list", *at_database)
    assert answer.code == 70
    assert answer.err.startswith("Traceback")
    assert answer.err.splitlines()[-1] == (
        "campaign-model: this is a bug of campaign-model: ZeroDivisionError: a bug"
    )
    error = error_of(command("campaigns", "list", *at_database, "--json"))
    assert error["code"] == "internal_error"
    assert "ZeroDivisionError" in error["traceback"]


def test_a_wrong_option_is_followed_by_the_command_that_prints_help(command: Command) -> None:
    for arguments, path in (
        (("frob",), "campaign-model"),
        (("db", "frob"), "campaign-model db"),
        (("db", "adopt", "--frob"), "campaign-model db adopt"),
    ):
        answer = command(*arguments)
        answer.assert_usage_error("frob")
        assert answer.err.splitlines()[1] == f"Try  {path} --help"


def test_warnings_are_lines_of_json_too(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn_and_fail(_url: object) -> None:
        setup_log.warning("another process holds the lock")
        raise UserError("no more")

    monkeypatch.setattr(database, "parse_url", warn_and_fail)
    listing = ("campaigns", "list", "--url", "x", *TENANT)
    prefix = "campaign-model: "
    assert command(*listing).err == f"{prefix}another process holds the lock\n{prefix}no more\n"
    lines = command(*listing, "--json").err.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"code": "warning", "message": "another process holds the lock"},
        {"code": "usage_error", "message": "no more"},
    ]


def test_a_full_disk_is_no_bug(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("campaign_model.cli.app.print_json", fail)
    command("schema", "template_config").assert_usage_error("No space left on device")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("connection refused\n\tIs it running?", "connection refused; Is it running?"),
        ("all failed:\n- one\n- two\n", "all failed: - one; - two"),
        ("one  sentence", "one sentence"),
        ("", ""),
    ],
)
def test_the_lines_of_a_message_stay_sentences(
    capsys: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    console.print_error(text)
    assert capsys.readouterr().err == f"campaign-model: {line}\n"


# Passwords


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user:geheim@host/name",
        "postgresql+psycopg://user:geheim@host/name?sslmode=require",
        "postgresql://user:ge@heim@host/name",
        "postgresql://user:ge/heim:geheim@[::1]:5432/name",
        "postgresql://:geheim@host/name",
        "postgresql://user:%67eheim@host/name",
        "postgresql://host/name?user=me&password=geheim",
        "postgresql://host/name?password=geheim&sslmode=require",
        "postgresql://host/name?sslpassword=geheim",
        "host=h user=u password=geheim dbname=d",
        "host=h password = 'ge heim \\' geheim' dbname=d",
        'host=h PASSWORD="geheim" dbname=d',
        "PGPASSWORD=geheim psql",
        """host=h password='ge"heim' dbname="d" """,
    ],
)
def test_no_form_of_a_password_is_printed(
    command: Command, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert "heim" not in hide_passwords(f"cannot open {text}: no")
    console.print_error(text)
    console.print_error(text, as_json=True)
    assert "heim" not in capsys.readouterr().err
    for arguments in (
        ("campaigns", "list", *TENANT, "--url", text),
        ("campaigns", "list", text),
        ("validate", text),
        (text,),
    ):
        for answer in (command(*arguments), command(*arguments, "--json")):
            assert answer.code in {2, 3}
            assert "heim" not in answer.out + answer.err


def test_the_text_after_a_password_stays() -> None:
    text = "cannot open postgresql://h/d?password=ge:heim: it is closed"
    assert hide_passwords(text) == "cannot open postgresql://h/d?password=***: it is closed"


@pytest.mark.parametrize(
    "text",
    [
        "--password-file must be a file",
        "see https://example.org/a: it says why",
        "cannot open postgresql://user@host/name: no password supplied",
        "password authentication failed for user 'me'",
    ],
)
def test_text_without_a_password_is_printed_as_it_is(text: str) -> None:
    assert hide_passwords(text) == text


def test_errors_of_statements_have_no_parameters(tmp_path: Path) -> None:
    engine = make_engine(sa.make_url(f"sqlite:///{tmp_path / 'file.db'}"))
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as caught:
        connection.execute(sa.text("SELECT missing FROM nowhere WHERE x = :x"), {"x": "ada@x.org"})
    engine.dispose()
    assert "ada@x.org" not in str(caught.value)


# Files that commands write


def test_an_output_file_is_readable_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for text in ("first, and long", "second"):
        with open_output(path, "w") as file:
            file.write(text)
        assert path.read_text() == text
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)


def test_a_file_whose_permissions_cannot_be_changed_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "out.jsonl"
    path.write_text("of another user")
    monkeypatch.setattr("os.fchmod", fail)
    with pytest.raises(PermissionError):
        open_output(path, "w")
    assert path.read_text() == "of another user"


def make_symlink(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("kept")
    path.symlink_to(target)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (make_symlink, "symbolic link"),
        (lambda path: path.symlink_to(path.with_name("nowhere")), "symbolic link"),
        (os.mkfifo, "a FIFO"),
        (make_socket, "socket"),
        (Path.mkdir, "a directory"),
    ],
    ids=["link", "dangling", "fifo", "socket", "directory"],
)
def test_an_output_file_that_is_no_regular_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], word: str
) -> None:
    path = tmp_path / "out"
    make(path)
    before = {each: each.lstat() for each in tmp_path.iterdir()}
    with pytest.raises(UserError, match=word):
        open_output(path, "w")
    # Also if it takes the place of a file after the check.
    monkeypatch.setattr("campaign_model.cli.export_file.check_output_path", lambda _path: None)
    with pytest.raises(UserError, match="cannot write"):
        open_output(path, "w")
    assert {each: each.lstat() for each in tmp_path.iterdir()} == before


def test_a_device_is_refused_as_an_output_file(monkeypatch: pytest.MonkeyPatch) -> None:
    _, terminal = os.openpty()
    path = Path(os.ttyname(terminal))
    before = path.stat()
    with pytest.raises(UserError, match="a device"):
        open_output(path, "w")
    monkeypatch.setattr("campaign_model.cli.export_file.check_output_path", lambda _path: None)
    with pytest.raises(UserError, match="not a regular file"):
        open_output(path, "w")
    assert path.stat() == before
