"""The demo as a user runs it: one campaign from template to export, on every engine."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa
from rich.console import Console

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.cli import demo, main
from campaign_model.cli.contacts_csv import Contact
from campaign_model.cli.demo import next_commands, run_demo, walkthrough, workers
from campaign_model.cli.demo.contacts import TENANT, read_contacts
from campaign_model.cli.demo.messages import CampaignMessages, compose_message
from campaign_model.cli.export_file import export_messages
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.steps import Step
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_contacts, campaigns
from support import servers
from support.tenants import HOST

MESSAGES = HOST.messages.c
LEASE = timedelta(seconds=1)
"""Lease of the killed worker: shorter than the demo's own, to save time."""


@attrs.frozen
class TwoRuns:
    """Two runs of the demo on one database: the output and the export file of each."""

    engine: sa.Engine
    printed: tuple[str, ...]
    exports: tuple[Path, ...]

    def rows(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(statement)]


def run(*arguments: object) -> str:
    """Run the demo and return what it printed."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["demo", *map(str, arguments)]) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def runs(
    engine_name: str, databases: servers.Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoRuns]:
    """The demo, run twice on a new database."""
    url = databases.create(engine_name)
    directory = tmp_path_factory.mktemp("demo")
    exports = (directory / "first.jsonl", directory / "second.jsonl")
    # Users write the URL without the driver.
    user_url = url.replace("postgresql+psycopg:", "postgresql:")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "SHORT_LEASE", LEASE)
        printed = tuple(run("--url", user_url, "--out", export) for export in exports)
    engine = db.prepare_engine(sa.create_engine(url))
    yield TwoRuns(engine, printed, exports)
    engine.dispose()
    databases.drop(url)


def test_two_runs_export_two_campaigns(runs: TwoRuns) -> None:
    for printed in runs.printed:
        assert "The campaign is exported." in printed.splitlines()
    rows = runs.rows(sa.select(campaigns.c.status, campaigns.c.tenant_id))
    assert rows == [(Status.EXPORTED, TENANT)] * 2


def test_a_second_run_uses_the_contacts_of_the_first(runs: TwoRuns) -> None:
    assert runs.rows(sa.select(sa.func.count()).select_from(HOST.contacts)) == [(40,)]
    assigned = sa.select(sa.func.count()).select_from(campaign_contacts)
    assert runs.rows(assigned.group_by(campaign_contacts.c.campaign_id)) == [(40,), (40,)]


def test_contacts_without_an_address_get_no_messages(runs: TwoRuns) -> None:
    statuses = runs.rows(
        sa.select(campaign_contacts.c.status, HOST.contacts.c.id)
        .join(HOST.contacts, HOST.contacts.c.id == campaign_contacts.c.contact_id)
        .where(HOST.contacts.c.email_address.is_(None) | HOST.contacts.c.linkedin_url.is_(None))
    )
    assert len(statuses) == 2 * 8
    assert {status for status, _ in statuses} == {ContactStatus.ENRICHMENT_NEEDED}
    assert "40 from sample_contacts.csv: 32 ready, 8 not ready" in runs.printed[0]
    with_messages = runs.rows(sa.select(MESSAGES.contact_id).distinct())
    assert not {contact for (contact,) in with_messages} & {contact for _, contact in statuses}


def test_a_killed_worker_loses_no_message_and_no_contact(runs: TwoRuns) -> None:
    for printed in runs.printed:
        ((names, spent),) = re.findall(
            r"worker-1 was killed while it wrote to (.*); the (.*) that it had spent", printed
        )
        unfinished = set(names.split(", "))
        assert set(re.findall(r"worker-[234] took over (.*) when", printed)) == unfinished
        assert Decimal(spent) > 0
    attempts = runs.rows(
        sa.select(campaign_contacts.c.attempts, sa.func.count())
        .where(campaign_contacts.c.status == ContactStatus.GENERATED)
        .group_by(campaign_contacts.c.attempts)
        .order_by(campaign_contacts.c.attempts)
    )
    assert {number for number, _ in attempts} >= {1, 2}
    # Exactly six messages for each of 32 contacts.
    assert runs.rows(
        sa.select(sa.func.count()).select_from(HOST.messages).group_by(MESSAGES.campaign_id)
    ) == [(192,), (192,)]


def test_the_cost_of_a_campaign_is_the_exact_sum_of_its_messages(runs: TwoRuns) -> None:
    total = sa.func.sum(MESSAGES.generation_cost)
    by_campaign = dict(
        runs.rows(sa.select(MESSAGES.campaign_id, total).group_by(MESSAGES.campaign_id))
    )
    assert dict(runs.rows(sa.select(campaigns.c.id, campaigns.c.generation_cost))) == by_campaign
    for cost in by_campaign.values():
        assert cost > 0
        assert any(f"cost is {cost.normalize():f}," in printed for printed in runs.printed)


def test_the_export_file_holds_the_approved_messages(runs: TwoRuns) -> None:
    for export in runs.exports:
        lines = [json.loads(line) for line in export.read_text().splitlines()]
        (campaign_id,) = {line["campaign_id"] for line in lines}
        approved = runs.rows(
            sa.select(MESSAGES.id, MESSAGES.body, HOST.contacts.c.email_address)
            .join(HOST.contacts, HOST.contacts.c.id == MESSAGES.contact_id)
            .where(MESSAGES.campaign_id == UUID(campaign_id))
            .where(MESSAGES.status == "approved")
        )
        exported = [
            (UUID(line["message_id"]), line["body"], line["contact"]["email_address"])
            for line in lines
        ]
        assert sorted(exported) == sorted(approved)
        assert len(lines) == 191


def test_the_printed_history_names_the_actor_of_every_move(runs: TwoRuns) -> None:
    history = runs.printed[1].partition("History")[2]
    moves = [line.split()[2:] for line in history.splitlines() if line[:2] == "20"]
    assert [(who.partition("-")[0], action) for who, action, _, _ in moves] == [
        ("demo", "mark_ready"),
        ("demo", "start_generation"),
        ("worker", "complete_generation"),
        ("reviewer", "approve"),
        ("exporter", "export"),
    ]


def test_output_to_a_pipe_is_plain_text(runs: TwoRuns) -> None:
    for printed in runs.printed:
        assert "\x1b" not in printed
        assert "\r" not in printed
        assert "32/32 contacts" in printed
        assert "approval was refused: 192 message(s)" in printed


def test_every_generated_contact_is_marked_as_exported(runs: TwoRuns) -> None:
    exported = campaign_contacts.c.exported_at.is_not(None)
    statuses = runs.rows(sa.select(campaign_contacts.c.status, exported).distinct())
    assert {*statuses} == {
        (ContactStatus.GENERATED, True),
        (ContactStatus.ENRICHMENT_NEEDED, False),
    }


def test_the_demo_shows_its_tenant_and_a_message_of_each_channel(runs: TwoRuns) -> None:
    for printed in runs.printed:
        assert f"Tenant      {TENANT}" in printed
        shown = re.findall(
            r"^Message +(\w+) to (.*)\n +(?:Email \d.*\n +)?Dear (.*),", printed, re.MULTILINE
        )
        assert {channel for channel, _, _ in shown} == {
            *("email", "linkedin_connect", "linkedin_message")
        }
        assert all(name.startswith(first_name) for _, name, first_name in shown)
        assert len(shown) == 3


def test_the_demo_ends_with_commands_that_can_be_pasted(
    runs: TwoRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    (campaign_id,) = {
        json.loads(line)["campaign_id"] for line in runs.exports[0].read_text().splitlines()
    }
    show, list_contacts = (shlex.split(line) for line in runs.printed[0].splitlines()[-2:])
    for words in (show, list_contacts):
        assert words[0] == "campaign-model"
        assert main(words[1:]) == 0
    printed = capsys.readouterr().out
    assert f"Id          {campaign_id}" in printed
    assert printed.count("lacks ") == 8


def test_a_contact_that_is_pushed_again_gets_the_same_messages(
    runs: TwoRuns, tmp_path: Path
) -> None:
    with runs.engine.begin() as connection:
        store = CampaignStore(connection, TENANT)
        campaign_id = store.campaigns.list().items[0].id
        is_of_campaign = campaign_contacts.c.campaign_id == campaign_id
        again = sa.update(campaign_contacts).where(is_of_campaign).values(exported_at=None)
        connection.execute(again)
    contacts, _ = read_contacts(files(demo) / "sample_contacts.csv", ())
    messages = CampaignMessages(HOST.messages, campaign_id, contacts)
    lines, report = export_messages(
        *(runs.engine, TENANT, campaign_id, HOST.messages, messages.load_contact),
        *(tmp_path / "again.jsonl", "x"),
    )
    assert (lines, report.exported) == (191, 32)
    exported = (tmp_path / "again.jsonl").read_text()
    assert exported in {export.read_text() for export in runs.exports}


def test_the_demo_fails_if_the_cost_is_not_the_sum_of_the_messages(runs: TwoRuns) -> None:
    with runs.engine.begin() as connection:
        store = CampaignStore(connection, TENANT)
        campaign = store.campaigns.list().items[0]
        connection.execute(
            sa.update(HOST.messages)
            .where(MESSAGES.campaign_id == campaign.id)
            .values(generation_cost=Decimal("0.001"))
        )
    out = io.StringIO()
    messages = CampaignMessages(HOST.messages, campaign.id, {})
    terminal = Console(file=out, width=1000)
    assert walkthrough.Walkthrough(terminal, runs.engine, messages).print_summary() == 1
    assert f"its messages cost {Decimal('0.001') * 192:f}".rstrip("0") in out.getvalue()


# Tests that do not depend on the engine run on SQLite only.


@pytest.fixture
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a short lease."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "SHORT_LEASE", LEASE)
    return tmp_path


def test_one_contact_in_a_file_of_the_user_is_enough(empty_directory: Path) -> None:
    (empty_directory / "mine.csv").write_text(
        "First name;Surname;Company;Email\n"
        "Ada;{0.__class__};[red]Engines %s;ada@example.com\n"
        "Ada;Twice;Engines;ADA@example.com\n"
        "Bob;Unready;Engines;\n"
    )
    printed = run("--contacts", "mine.csv", "--template", "email 3-STEP")
    assert (
        "2 from mine.csv: 1 ready, 1 not ready (1 without email_address); ignored 1 repeated"
        in printed
    )
    assert re.search(r"worker-[234] took over Ada \{0.__class__\}", printed)
    assert "The campaign is exported." in printed.splitlines()
    assert (empty_directory / "campaign-model-demo.db").exists()
    (export,) = empty_directory.glob("campaign-model-demo-*.jsonl")
    lines = [json.loads(line) for line in export.read_text().splitlines()]
    assert len(lines) == 4
    assert "[red]Engines %s" in lines[0]["body"]


def test_a_terminal_shows_a_bar_and_no_line_wider_than_80_columns(empty_directory: Path) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, markup=False, highlight=False)
    exit_code = run_demo(
        terminal,
        "sqlite:///terminal.db",
        contacts_path=None,
        template_name=None,
        out=empty_directory / "out.jsonl",
    )
    assert exit_code == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in shown
    assert "32/32 contacts" in shown
    shown, _, commands = shown.partition("Look at the campaign")
    assert all(len(part) <= 80 for line in shown.splitlines() for part in line.split("\r"))
    assert len(commands.splitlines()) == 3  # The terminal wraps them, so that they can be pasted.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"first_name,company,email,linkedin\n", "no contacts"),
        (b"name,mail\nAda,a@example.com\n", "no column first_name, company, linkedin_url, email"),
        (b"first_name,company,email\nAda,X,a@example.com\n", "no column linkedin_url"),
        (b"first_name,company,email,e-mail,linkedin\nAda,X,a,b,c\n", "two columns"),
        (b"first_name,company,email,linkedin\nAda,X,a@b,l,more\n", "line 2: 5 cells"),
        (b'first_name,company,email,linkedin\nAda,"X,a@example.com,\n', "unexpected end"),
        (
            b"first_name,company,email,linkedin\nAda,X,,\n",
            "no contact in contacts.csv has every field",
        ),
        (b"first_name,company,email,linkedin\nAda,X\0,a@example.com,l\n", "NUL"),
        ("first_name,company\nZoë,X\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_an_unusable_contacts_file_is_a_usage_error_and_creates_nothing(
    empty_directory: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, words: str
) -> None:
    if content is not None:
        (empty_directory / "contacts.csv").write_bytes(content)
    assert main(["demo", "--contacts", "contacts.csv"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert {path.name for path in empty_directory.iterdir()} <= {"contacts.csv"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--template", "Nothing"), "choose one of 'LinkedIn + Email Sequence'"),
        (("--out", "."), "it is a directory"),
        (("--out", "none/x.jsonl"), "directory none does not exist"),
    ],
)
def test_a_wrong_option_is_a_usage_error_and_creates_nothing(
    empty_directory: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    assert main(["demo", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert list(empty_directory.iterdir()) == []


@pytest.mark.parametrize(
    "table",
    [
        "contacts (id text, tenant_id text)",
        "tenants (id text, name text, slug text NOT NULL)",
    ],
)
def test_the_demo_refuses_a_database_with_host_tables_of_another_shape(
    engine_name: str,
    new_database: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    table: str,
) -> None:
    url = new_database(engine_name)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {table}")
    assert main(["demo", "--url", url]) == 2
    assert "use an empty database" in capsys.readouterr().err
    assert sa.inspect(engine).get_table_names() == [table.partition(" ")[0]]
    engine.dispose()


def test_the_demo_refuses_a_database_with_a_legacy_campaigns_table(
    empty_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = sa.create_engine("sqlite:///old.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE campaigns (id text)")
    assert main(["demo", "--url", "sqlite:///old.db"]) == 2
    assert "not made by this library" in capsys.readouterr().err
    assert sa.inspect(engine).get_table_names() == ["campaigns"]
    engine.dispose()
    assert {path.name for path in empty_directory.glob("*.jsonl")} == set()


def test_the_demo_fails_if_the_first_worker_is_not_killed(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "_work_and_kill_itself", print)
    assert main(["demo", "--url", f"sqlite:///{empty_directory / 'alive.db'}"]) == 70
    assert "exited with 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("interrupted_function", "status", "generated"),
    [("finish_generation", "generating", r"\d"), ("export_messages", "approved", "32")],
)
def test_an_interrupted_demo_prints_the_command_that_continues_it(
    empty_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    interrupted_function: str,
    status: str,
    generated: str,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(walkthrough, interrupted_function, interrupt)
        assert main(["demo", "--out", "my out.jsonl"]) == 130
    out, err = capsys.readouterr()
    assert re.search(f"interrupted; the campaign stays {status}, with {generated} of 40", err)
    words = shlex.split(out.splitlines()[-1])
    again = words[words.index("demo") :]
    assert main(again) == 0
    printed = capsys.readouterr().out
    assert "The campaign is exported." in printed
    assert len((empty_directory / "my out.jsonl").read_text().splitlines()) == 191
    # A third time, nothing is left to do.
    assert main(again) == 0
    assert len((empty_directory / "my out.jsonl").read_text().splitlines()) == 191


def test_a_demo_cannot_continue_any_campaign(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{empty_directory / 'other.db'}"
    engine = db.prepare_engine(sa.create_engine(url))
    db.init(engine, with_host_tables=True)
    campaign = Campaign("Other")
    with engine.begin() as connection:
        connection.execute(sa.insert(HOST.tenants).values(id=TENANT, name="Demo"))
        CampaignStore(connection, TENANT).campaigns.add(campaign)
    engine.dispose()
    for id_, reason in ((campaign.id, "the campaign is draft"), (uuid4(), "found no campaign")):
        assert main(["demo", "--url", url, "--continue", str(id_)]) == 2
        printed = capsys.readouterr()
        assert (printed.out, reason in printed.err) == ("", True)
    monkeypatch.chdir(empty_directory)
    assert main(["demo", "--continue", str(campaign.id)]) == 2
    assert "no database file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///my file.db", "'sqlite:///my file.db'"),
        ("postgresql://ada@host/name", "postgresql://ada@host/name"),
        ("postgresql://ada:secret@host/name", '"$CAMPAIGN_MODEL_URL"'),
        ("postgresql://ada@host/name?password=secret", '"$CAMPAIGN_MODEL_URL"'),
    ],
)
def test_a_command_to_paste_contains_no_password(url: str, shown: str) -> None:
    command = next_commands.compose_command(sa.make_url(url), "demo")
    assert command == f"campaign-model demo --url {shown}"
    screen = io.StringIO()
    next_commands.print_commands(Console(file=screen, width=20), "Continue", command)
    assert ("stands for" in screen.getvalue()) is ("secret" in url)
    assert command in screen.getvalue()


def test_a_command_to_paste_calls_the_program_as_the_user_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(called: str) -> str:
        monkeypatch.setattr(sys, "argv", [called])
        return next_commands.compose_command(sa.make_url("sqlite://"), "x").partition(" x")[0]

    monkeypatch.chdir(tmp_path)
    script = tmp_path / "my bin" / "campaign-model"
    script.parent.mkdir()
    script.touch(0o700)
    monkeypatch.setenv("PATH", "/nowhere")
    assert program("my bin/campaign-model") == "'my bin/campaign-model'"
    monkeypatch.setenv("PATH", str(script.parent))
    assert program(str(script)) == "campaign-model"
    assert program("campaign_model/__main__.py") == f"{sys.executable} -m campaign_model"


def test_the_error_of_a_worker_ends_the_demo(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(workers, "run_worker", fail)
    assert main(["demo", "--url", f"sqlite:///{empty_directory / 'failing.db'}"]) == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_campaign_whose_export_file_cannot_be_written_is_not_exported(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_file = os.open

    def fail_to_write(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if Path(path).name == "out.jsonl":
            raise OSError(28, "No space left on device")
        return open_file(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", fail_to_write)
    assert main(["demo", "--out", "out.jsonl"]) == 2
    assert "cannot write out.jsonl: No space left on device" in capsys.readouterr().err
    engine = sa.create_engine(f"sqlite:///{empty_directory / 'campaign-model-demo.db'}")
    with engine.connect() as connection:
        assert connection.scalars(sa.select(campaigns.c.status)).all() == [Status.APPROVED]
    engine.dispose()


@pytest.mark.usefixtures("empty_directory")
def test_an_export_file_that_becomes_full_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    assert main(["demo", "--out", "out.jsonl"]) == 2
    err = capsys.readouterr().err
    assert "cannot write out.jsonl: No space left on device; 32 contacts are not exported" in err


CONTACT = Contact("Ada", company="X" * 400)


@pytest.mark.parametrize(
    ("channel", "has_subject", "max_length"),
    [("linkedin_connect", False, 300), ("email", True, 5000), ("pigeon", False, 1000)],
)
def test_a_message_fits_the_limits_of_its_channel(
    channel: str,
    has_subject: bool,  # noqa: FBT001 - a parameter of the test
    max_length: int,
) -> None:
    config = GenerationConfig(tone="casual")
    subject, body = compose_message(CONTACT, Step(channel, "Hello"), "a", config)
    assert (subject is not None) is has_subject
    assert body.startswith("Hi Ada,")
    assert len(body) <= max_length


def test_tone_and_variant_change_the_message() -> None:
    step = Step("email", "Hello")
    bodies = {
        compose_message(CONTACT, step, variant, GenerationConfig(tone=tone))[1]
        for variant in "abc"
        for tone in (None, "formal", "professional", "casual")
    }
    assert len(bodies) == 12
