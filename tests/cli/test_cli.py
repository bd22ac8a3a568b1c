"""The command line: output for people and programs, exit codes and usage errors."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from rich.console import Console

from campaign_model import db, lifecycle, presets, wire
from campaign_model.bundles import typescript
from campaign_model.campaign import Campaign
from campaign_model.cli import console
from campaign_model.cli.document_files import Kind
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore, transact
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.validation import document_schema
from generate import BUNDLES
from support.commands import Answer, Command
from support.paths import SCHEMAS
from support.tenants import new_owner, new_tenant
from support.transactions import on_newest_postgresql

TENANT = "d3300000-0000-4000-8000-000000000001"

INVALID_STEPS = """
[
  {"step": 1, "channel": "emial", "label": "Hello", "enabled": true, "needs_pdf": false,
   "variant_count": 7},
  {"step": 3, "channel": "email", "label": "", "enabled": "yes", "needs_pdf": false,
   "variant_count": 1}
]
"""
VIOLATIONS = [
    ("/0/channel", "unknown_value"),
    ("/0/variant_count", "too_large"),
    ("/1/step", "wrong_position"),
    ("/1/label", "too_short"),
    ("/1/enabled", "wrong_type"),
]


def snapshot(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


# Documents


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_validate_prints_a_table_of_violations(
    command: Command, tmp_path: Path, source: str
) -> None:
    (tmp_path / "steps.json").write_text(INVALID_STEPS)
    if source == "file":
        answer = command("validate", "steps.json")
    else:
        answer = command("validate", "-", stdin=INVALID_STEPS.encode())
    assert answer.code == 1
    title, header, *lines = answer.out.rstrip().splitlines()
    file = "steps.json" if source == "file" else "standard input"
    assert title.rstrip() == f"{file}: 5 violations (as template_config)"
    assert header.split() == ["line:col", "location", "code", "message"]
    assert [tuple(line.split()[1:3]) for line in lines] == VIOLATIONS
    assert "did you mean 'email'?" in lines[0]


def test_a_valid_document_has_no_violations(command: Command, tmp_path: Path) -> None:
    steps = wire.dump_template_config(presets.load()[0].steps)
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    assert command("validate", "steps.json") == Answer(
        0, "steps.json: no violations (as template_config)\n", ""
    )
    assert command("validate", "--json", "steps.json") == Answer(0, "[]\n", "")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[]", Kind.TEMPLATE_CONFIG),
        ('"text"', Kind.TEMPLATE_CONFIG),
        ("{", Kind.TEMPLATE_CONFIG),
        ("[" * 100_000, Kind.TEMPLATE_CONFIG),
        ("{}", Kind.GENERATION_CONFIG),
        ('{"tone": "casual"}', Kind.GENERATION_CONFIG),
        ('{"name": "N"}', Kind.CAMPAIGN_TEMPLATE),
        ('{"steps": []}', Kind.CAMPAIGN_TEMPLATE),
    ],
)
def test_validate_guesses_the_kind_from_the_shape(command: Command, text: str, kind: Kind) -> None:
    assert f"(as {kind})" in command("validate", "-", stdin=text.encode()).out


def test_the_option_document_overrides_the_guessed_kind(command: Command) -> None:
    answer = command("validate", "-", "--document", "generation_config", stdin=b"[]")
    assert answer.code == 1
    assert answer.out.splitlines()[2].split()[1:3] == ["(document)", "wrong_type"]


def test_the_stored_form_allows_unknown_fields_and_channels(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "stored.json").write_text('[{"channel": "linkedin", "label": "x", "mine": 1}]')
    assert command("validate", "stored.json").code == 1
    assert command("validate", "--stored", "stored.json").code == 0


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe[]"])
def test_text_that_is_not_json_is_a_violation(command: Command, content: bytes) -> None:
    answer = command("validate", "-", "--json", stdin=content)
    assert answer.code == 1
    assert [(violation["path"], violation["code"]) for violation in answer.json] == [
        ("", "not_json")
    ]


def test_validate_reports_an_unreadable_file_and_checks_the_others(
    command: Command, tmp_path: Path
) -> None:
    command("validate", "missing.json").assert_usage_error("missing.json", "No such file")
    command("validate", tmp_path).assert_usage_error("Is a directory")
    (tmp_path / "bad.json").write_text(INVALID_STEPS)
    answer = command("validate", "missing.json", "bad.json")
    answer.assert_usage_error("missing.json")
    assert "5 violations" in answer.out


def test_the_command_knows_every_kind_of_document_of_the_codec() -> None:
    assert list(Kind) == list(wire.KINDS.values())


def test_schema_lists_the_kinds_or_prints_one_schema(command: Command) -> None:
    assert command("schema").out.split() == list(Kind)
    for kind in Kind:
        assert command("schema", kind).json == document_schema(kind)
        assert command("schema", kind, "--stored").json == document_schema(kind, "stored")
    command("schema", "nothing").assert_usage_error("nothing", "template_config")


def test_schema_prints_bundles_and_the_typescript_types(command: Command) -> None:
    for name in BUNDLES:
        kind, _, form = name.partition(".")
        options = ("--stored",) if form == "stored" else ()
        published = (SCHEMAS / "bundles" / f"{name}.schema.json").read_text(encoding="utf-8")
        assert command("schema", kind, "--bundle", *options).out == published
    types = command("schema", "--typescript").out
    assert types == typescript() == (SCHEMAS / "campaign-model.d.ts").read_text(encoding="utf-8")
    assert "export type SubmittedCampaignTemplate = {" in types


# The lifecycle


def test_lifecycle_as_json_equals_the_published_file(command: Command) -> None:
    published = SCHEMAS / "lifecycle.json"
    assert command("lifecycle", "--json").out == published.read_text(encoding="utf-8")


def test_the_lifecycle_tables_name_every_status_action_guard_and_permission(
    command: Command,
) -> None:
    printed_words = set(command("lifecycle").out.replace(",", " ").split())
    expected = {
        *lifecycle.Status,
        *lifecycle.Action,
        *lifecycle.Permission,
        *lifecycle.ContactStatus,
        *lifecycle.ContactAction,
        *(guard.name for transition in lifecycle.TRANSITIONS for guard in transition.guards),
    }
    assert expected <= printed_words


# Databases


@pytest.fixture
def url(engine_name: str, new_database: Callable[..., str]) -> str:
    return new_database(engine_name)


def create_campaign(url: str) -> tuple[Tenant, Campaign]:
    """Create the schema and a ready campaign with three contacts and hostile text in its name."""
    engine = sa.create_engine(url)
    try:
        db.init(engine, with_host_tables=True)
        tenant = new_tenant(engine)
        campaign = Campaign(
            "[bold]Spring[/bold] \x1b[31m",
            STEPS,
            GenerationConfig(budget=Decimal(1)),
            description="First",
            owner_id=new_owner(tenant),
        )

        def add_and_mark_ready(store: CampaignStore) -> Campaign:
            store.campaigns.add(campaign)
            store.contacts.assign(campaign.id, contact_ids)
            return store.campaigns.apply(campaign.id, Action.MARK_READY)

        contact_ids = tenant.contacts(3)
        return tenant, tenant.transact(add_and_mark_ready, actor="ada")
    finally:
        engine.dispose()


def test_init_needs_host_tables_and_can_run_again(
    command: Command, url: str, engine_name: str
) -> None:
    if engine_name == "sqlite":  # Without --with-host-tables, init does not create a file.
        command("db", "init", "--url", url).assert_usage_error("no database file")
        Path(sa.make_url(url).database or "").touch()
    command("db", "init", "--url", url).assert_usage_error("tenants, owners, contacts")
    first = command("db", "init", "--url", url, "--with-host-tables", "--json")
    assert first.code == 0
    assert len(first.json["inserted"]) == 3
    second = command("db", "init", "--url", url)
    assert second.code == 0
    assert second.out.count("unchanged") == 3


def test_init_accepts_the_names_of_the_host_tables(command: Command, url: str) -> None:
    table_names = ("--tenants", "firms", "--owners", "people", "--contacts", "leads")
    init = ("db", "init", "--url", url, "--with-host-tables", *table_names)
    command(*init, "--owners", "firms").assert_usage_error("--owners", "another table than tenants")
    assert command(*init).code == 0
    engine = sa.create_engine(url)
    assert {"firms", "people", "leads", "campaigns"} <= set(sa.inspect(engine).get_table_names())
    engine.dispose()


def test_templates_list_and_sync_show_every_preset(command: Command, url: str) -> None:
    command("db", "init", "--url", url, "--with-host-tables")
    listed = command("templates", "list", "--url", url, "--tenant", TENANT, "--json").json
    assert {template["name"] for template in listed} == {preset.name for preset in presets.load()}
    table = command("templates", "list", "--url", url, "--tenant", TENANT).out
    assert all(template["id"] in table for template in listed)
    assert command("templates", "sync", "--url", url, "--json").json == {
        "inserted": [],
        "updated": [],
        "unchanged": [preset.name for preset in presets.load()],
        "edited": [],
    }


def test_campaigns_list_shows_pages_filters_and_fits_the_terminal(
    command: Command, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, first = create_campaign(url)
    connection_options = ("--url", url, "--tenant", tenant.id)
    engine = db.prepare_engine(sa.create_engine(url))
    second = transact(engine, tenant.id, lambda store: store.campaigns.clone(first.id))
    engine.dispose()

    page = command("campaigns", "list", *connection_options, "--limit", 1, "--json").json
    assert [UUID(item["id"]) for item in page["items"]] == [second.id]
    last_page = command(
        "campaigns", "list", *connection_options, "--after", page["next"], "--json"
    ).json
    assert [UUID(item["id"]) for item in last_page["items"]] == [first.id]
    assert last_page["next"] is None
    assert last_page["items"][0]["total_contacts"] == 3
    assert last_page["items"][0]["generation_cost"] == "0"
    ready = command("campaigns", "list", *connection_options, "--status", "ready", "--json").json
    assert [item["status"] for item in ready["items"]] == ["ready"]
    table = command("campaigns", "list", *connection_options, "--limit", 1).out
    assert str(second.id) in table
    assert "created" in table
    assert f"--after {page['next']}" in table
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich then writes as to a terminal.
    monkeypatch.setenv("COLUMNS", "80")
    lines = command("campaigns", "list", *connection_options).out.splitlines()
    assert sum(str(campaign.id) in line for campaign in (first, second) for line in lines) == 2
    assert not any("created" in line for line in lines)
    command("campaigns", "list", *connection_options, "--after", "x").assert_usage_error(
        "--after is", "'x'"
    )
    command("campaigns", "list", *connection_options, "--status", "redy").assert_usage_error(
        ": 'redy' is not one of", "'ready'"
    )
    command("campaigns", "list", *connection_options, "--limit", 501).assert_usage_error("--limit")
    assert command("campaigns", "list", "--url", url, "--tenant", uuid4(), "--json").json == {
        "items": [],
        "next": None,
    }
    no_campaigns = command("campaigns", "list", "--url", url, "--tenant", uuid4()).out
    assert no_campaigns == "Found no campaigns.\n"


def test_campaigns_show_prints_actions_history_and_no_control_characters(
    command: Command, url: str
) -> None:
    tenant, campaign = create_campaign(url)
    connection_options = ("--url", url, "--tenant", tenant.id)
    shown = command("campaigns", "show", campaign.id, *connection_options, "--json").json
    assert shown["campaign"]["steps"] == wire.dump_template_config(STEPS)
    assert shown["campaign"]["generation_config"] == {"budget": "1"}
    assert shown["progress"]["by_status"]["pending"] == 3
    actions = {action["action"]: action for action in shown["actions"]}
    assert actions["start_generation"]["allowed"]
    assert actions["submit_for_review"]["error"]["unmet"][0]["guard"] == "something_generated"
    assert not actions["approve"]["allowed"]
    assert [(entry["action"], entry["actor"]) for entry in shown["history"]] == [
        ("mark_ready", "ada")
    ]

    printed = command("campaigns", "show", campaign.id, *connection_options).out
    assert "[bold]Spring[/bold]" in printed
    assert "\x1b" not in printed
    assert "no: no contact has messages yet" in printed
    assert "ada" in printed
    command("campaigns", "show", uuid4(), *connection_options).assert_usage_error("no campaign")
    command("campaigns", "show", "7", *connection_options).assert_usage_error("UUID")


def test_campaigns_show_prints_the_repairs_of_stored_documents(command: Command, url: str) -> None:
    tenant, campaign = create_campaign(url)
    engine = db.prepare_engine(sa.create_engine(url))
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE campaigns SET template_config = :steps, is_active = :no, "
                "status = 'archived'"
            ),
            {"steps": '[{"step": 1, "channel": "email"}]', "no": False},
        )
    engine.dispose()
    printed = command("campaigns", "show", campaign.id, "--url", url, "--tenant", tenant.id).out
    assert "archived (deleted)" in printed
    assert "steps[0].label: was missing" in printed


def test_a_database_without_the_schema_is_a_usage_error_and_stays_empty(
    command: Command, url: str, engine_name: str
) -> None:
    if engine_name == "sqlite":
        Path(sa.make_url(url).database or "").touch()
    for subcommand in (("campaigns", "list"), ("templates", "list")):
        answer = command(*subcommand, "--url", url, "--tenant", TENANT)
        answer.assert_usage_error("no campaign tables", "campaign-model db init")
    command("templates", "sync", "--url", url).assert_usage_error("no campaign tables")
    engine = sa.create_engine(url)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_url_and_tenant_can_come_from_the_environment(
    command: Command, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("db", "init", "--url", url, "--with-host-tables")
    monkeypatch.setenv("CAMPAIGN_MODEL_URL", url)
    monkeypatch.setenv("CAMPAIGN_MODEL_TENANT", TENANT)
    assert command("campaigns", "list").code == 0


@on_newest_postgresql
def test_settings_of_the_session_are_right_or_a_usage_error(command: Command, url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        name = sa.make_url(url).database
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET client_encoding = LATIN1')
    init = ("db", "init", "--with-host-tables", "--url")
    for setting, value, option in (
        ("client_encoding", "SQL_ASCII", "client_encoding=SQL_ASCII"),
        ("DateStyle", "German", "options=-c%20DateStyle=German"),
    ):
        answer = command(*init, f"{url}&{option}")
        answer.assert_usage_error(f"the {setting} of this connection is {value}")
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    # The command and the worker process of the demo set the encoding unless the URL does.
    assert command("demo", "--url", url).code == 0


def test_a_read_only_database_is_a_usage_error(
    command: Command, url: str, engine_name: str
) -> None:
    if engine_name == "sqlite":
        command("db", "init", "--url", url, "--with-host-tables")
        read_only = f"sqlite:///file:{sa.make_url(url).database}?mode=ro&uri=true"
        answer = command("demo", "--url", read_only)
        answer.assert_usage_error("database error: attempt to write a readonly database")
        return
    role = f"reader_{uuid4().hex}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
    answer = command(
        "db", "init", "--with-host-tables", "--url", sa.make_url(url).set(username=role)
    )
    answer.assert_usage_error("this role cannot create tables: GRANT CREATE ON SCHEMA public")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP ROLE {role}")
    engine.dispose()


def test_the_error_of_a_locked_sqlite_file_says_what_to_do(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'file.db'}"
    command("db", "init", "--url", url, "--with-host-tables")
    monkeypatch.setattr("campaign_model.db.engine._BUSY_MILLISECONDS", 0)
    with closing(sqlite3.connect(tmp_path / "file.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        answer = command("campaigns", "list", "--url", url, "--tenant", TENANT)
    answer.assert_error(3, "the SQLite file is locked", "run this transaction again")


def test_the_last_line_after_a_bug_says_what_the_database_said(command: Command, url: str) -> None:
    command("db", "init", "--url", url, "--with-host-tables")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE campaign_totals")
    engine.dispose()
    answer = command("campaigns", "list", "--url", url, "--tenant", TENANT)
    assert answer.code == 70
    traceback, last_line = answer.err.rsplit("\ncampaign-model: ", 1)
    assert traceback.startswith("Traceback")
    assert last_line.startswith("this is a bug of campaign-model: database error: ")
    assert "campaign_totals" in last_line


# Usage errors


@pytest.mark.parametrize(
    ("code", "url", "word"),
    [
        (2, "nonsense", "--url"),
        (2, "mysql://host/name", "postgresql://"),
        (2, "postgresql://host:port/name", "postgresql://"),
        (2, "postgresql://user:hidden@host:port/name", "postgresql://"),
        (2, "postgresql://localhost:1/name?nonsense=1", "nonsense"),
        (2, "postgresql://localhost:1/name?connect_timeout=soon", "soon"),
        (2, "postgresql://localhost:1/half\udcff", "postgresql://"),
        (2, "sqlite:///new.db?timeout=soon", "wrong form"),
        (2, "postgresql+psycopg2://host/name", "postgresql://"),
        (3, "postgresql://localhost:1/name", "cannot open"),
        (3, "postgresql://user:hidden@localhost:1/name", "user:***@"),
        (3, "postgresql://localhost:1/name?connect_timeout=1", "cannot open"),
        (2, "sqlite://", "in memory"),
        (2, "sqlite:///:memory:", "in memory"),
        (3, "sqlite:///none/name.db", "unable to open"),
        (2, "sqlite:///text.db", "not a database"),
    ],
)
def test_a_wrong_url_is_one_line_and_creates_nothing(
    command: Command, tmp_path: Path, code: int, url: str, word: str
) -> None:
    (tmp_path / "text.db").write_text("This is no database.")
    before = snapshot(tmp_path)
    for subcommand in (("demo",), ("db", "init", "--with-host-tables")):
        answer = command(*subcommand, "--url", url)
        answer.assert_error(code, word)
        assert answer.out == ""
        assert "hidden" not in answer.err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("campaigns", "list", "--after", ""),
        ("campaigns", "list", "--after", "\udcff"),
        ("campaigns", "list", "--limit", "0"),
        ("campaigns", "list", "--limit", "9" * 5000),
        ("campaigns", "list", "--status", "\udcff"),
        ("campaigns", "list", "--tenant", "\udcff"),
        ("campaigns", "show", "me"),
        ("campaigns", "watch", "me"),
        ("campaigns", "watch", "--interval", "0"),
        ("campaigns", "cancel", TENANT, "--reason", ""),
        ("campaigns", "retry-failed", TENANT, "--contact", "me"),
        ("campaigns", "export", TENANT, "--out", "half\udcff"),
        ("campaigns", "export", TENANT, "--out", "x", "--messages", ""),
        ("contacts", "list", TENANT, "--after", "x"),
        ("contacts", "import", "none\udcff.csv"),
        ("contacts", "import", "none.csv", "--map", "half\udcff=phone"),
        ("tenants", "list", "--tenants", "half\udcff"),
        ("db", "doctor", "--tenants", ""),
        ("db", "init", "--with-host-tables", "--tenants", ""),
        ("db", "init", "--with-host-tables", "--contacts", "half\udcff"),
        ("schema", "half\udcff"),
        ("validate", "none\udcff.json"),
        ("demo", "--template", "half\udcff"),
        ("demo", "--contacts", "none\udcff.csv"),
    ],
    ids=ascii,
)
def test_a_malformed_argument_is_a_usage_error(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    url = f"sqlite:///{tmp_path / 'file.db'}"
    command("db", "init", "--url", url, "--with-host-tables")
    monkeypatch.setenv("CAMPAIGN_MODEL_URL", url)
    monkeypatch.setenv("CAMPAIGN_MODEL_TENANT", TENANT)
    command(*arguments).assert_usage_error()


def test_a_missing_driver_is_a_usage_error_that_names_the_extra(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    answer = command("demo", "--url", "postgresql://localhost/name")
    answer.assert_usage_error("pip install 'campaign-model[postgres]'")


def test_a_missing_module_of_the_driver_itself_is_a_bug(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("no more", name="something")

    monkeypatch.setattr(sa, "create_engine", fail)
    answer = command("demo", "--url", "postgresql://localhost/name")
    assert answer.code == 70
    assert "no more" in answer.err


def test_an_unexpected_error_while_connecting_is_a_bug(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sa.exc.ProgrammingError("SELECT", {}, Exception("what?"))

    monkeypatch.setattr(sa.Engine, "connect", fail)
    assert command("db", "init", "--with-host-tables", "--url", "sqlite:///new.db").code == 70


@pytest.mark.parametrize("extra", ["typer", "rich"])
def test_the_command_without_its_extra_names_the_extra(
    command: Command, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    for name in [*sys.modules]:
        if name.startswith("campaign_model.cli.") or name.partition(".")[0] == extra:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, extra, None)
    command("demo").assert_usage_error("pip install 'campaign-model[cli]'")


def test_a_missing_module_of_the_package_is_raised(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "campaign_model.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        command("demo")


def test_version_prints_the_version_of_the_package(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"campaign-model": "1.2.3"}.get)
    assert command("--version") == Answer(0, "campaign-model 1.2.3\n", "")


def test_no_arguments_print_the_help_and_wrong_ones_are_usage_errors(command: Command) -> None:
    answer = command()
    assert (answer.code, answer.err) == (2, "")
    assert "demo" in answer.out
    assert command("--help").code == 0
    command("frobnicate").assert_usage_error("frobnicate")
    command("validate").assert_usage_error("FILE")
    command("campaigns", "list", "--tenant", "x", "--url", "sqlite://").assert_usage_error(
        "--tenant"
    )


def test_the_package_runs_as_a_module() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "campaign_model", "schema"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert completed.stdout.split() == list(Kind)


# Printing


@pytest.mark.parametrize("width", [40, 60, 79, 80, 140])
@pytest.mark.parametrize(
    "texts", [("a" * 30, "b" * 12, "word " * 8), ("a", "b", "c")], ids=["long", "short"]
)
def test_a_table_that_does_not_fit_becomes_one_block_of_lines_per_row(
    width: int, texts: tuple[str, ...]
) -> None:
    rows = [texts, ("", *texts[1:])]
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=width, color_system=None)
    console.print_table(terminal, ("id", "name", "text"), rows, title="Title")
    printed = screen.getvalue()
    lines = printed.splitlines()
    assert lines[0].rstrip() == "Title"
    assert all(len(line) <= width for line in lines)
    for character in "abwrd":
        assert printed.count(character) >= sum(
            text.count(character) for row in rows for text in row
        )
    is_table = lines[1].split() == ["id", "name", "text"]
    assert is_table is (width >= 80 or len(texts[0]) == 1)
    if not is_table:
        assert lines[1].split() == ["id", texts[0]]
        assert [line.split()[0] for line in lines[1:] if line.strip()].count("name") == 2
        assert "" in [line.strip() for line in lines[1:-1]]


def test_a_table_with_a_title_and_no_rows_is_left_out() -> None:
    screen = io.StringIO()
    console.print_table(Console(file=screen), ("id", "name"), [], title="Title")
    assert screen.getvalue() == ""
    console.print_table(Console(file=screen), ("id", "name"), [])
    assert screen.getvalue().split() == ["id", "name"]


def test_amounts_are_exact_and_an_unknown_time_is_empty() -> None:
    assert console.format_amount(Decimal(0)) == "0.00"
    assert console.format_amount(Decimal("1.230000000")) == "1.23"
    assert console.format_amount(Decimal("0.000000001")) == "0.000000001"
    assert console.format_value(None) == ""
