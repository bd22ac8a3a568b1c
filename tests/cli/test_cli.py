"""What the command answers, to people and to programs, and to mistakes of both."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa
from rich.console import Console

from campaign_model import db, lifecycle, presets, wire
from campaign_model.campaign import Campaign
from campaign_model.cli import console, main
from campaign_model.cli.contacts_csv import Person, read_contacts
from campaign_model.cli.document_files import Kind
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore, transact
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.validation import document_schema
from support.paths import SCHEMAS
from support.tenants import new_owner, new_tenant

TENANT = "d3300000-0000-4000-8000-000000000001"

FIVE_FAULTS = """
[
  {"step": 1, "channel": "emial", "label": "Hello", "enabled": true, "needs_pdf": false,
   "variant_count": 7},
  {"step": 3, "channel": "email", "label": "", "enabled": "yes", "needs_pdf": false,
   "variant_count": 1}
]
"""
FIVE = [
    ("/0/channel", "unknown_value"),
    ("/0/variant_count", "too_large"),
    ("/1/step", "wrong_position"),
    ("/1/label", "too_short"),
    ("/1/enabled", "wrong_type"),
]


@attrs.frozen
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def is_mistake(self, *words: str) -> None:
        """One line that says what is wrong, and nothing else."""
        assert self.code == 2, self
        assert self.err.startswith("campaign-model: ")
        assert self.err.count("\n") == 1, self.err
        assert self.err.isprintable() or self.err[:-1].isprintable()
        for word in words:
            assert word in self.err


Command = Callable[..., Answer]


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Runs the command in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return run


def unchanged(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


# Documents


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_validate_lists_every_fault_for_people(
    command: Command, tmp_path: Path, source: str
) -> None:
    (tmp_path / "steps.json").write_text(FIVE_FAULTS)
    if source == "file":
        answer = command("validate", "steps.json")
    else:
        answer = command("validate", "-", stdin=FIVE_FAULTS.encode())
    assert answer.code == 1
    title, header, *lines = answer.out.rstrip().splitlines()
    file = "steps.json" if source == "file" else "standard input"
    assert title.rstrip() == f"{file}: 5 faults as a template_config"
    assert header.split() == ["location", "code", "message"]
    assert [tuple(line.split()[:2]) for line in lines] == FIVE
    assert "did you mean 'email'?" in lines[0]


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_validate_lists_every_fault_for_programs(
    command: Command, tmp_path: Path, source: str
) -> None:
    (tmp_path / "steps.json").write_text(FIVE_FAULTS)
    if source == "file":
        answer = command("validate", "--json", "steps.json")
    else:
        answer = command("validate", "-", "--json", stdin=FIVE_FAULTS.encode())
    assert answer.code == 1
    assert [(fault["path"], fault["code"]) for fault in answer.json] == FIVE
    assert all(fault.keys() == {"path", "code", "message"} for fault in answer.json)


def test_faults_in_several_files_name_theirs(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(FIVE_FAULTS)
    (tmp_path / "empty.json").write_text("[]")
    answer = command("validate", "bad.json", "empty.json", "--json")
    assert answer.code == 1
    assert [fault["file"] for fault in answer.json] == ["bad.json"] * 5 + ["empty.json"]


def test_a_sound_document_has_no_faults(command: Command, tmp_path: Path) -> None:
    steps = wire.dump_template_config(presets.load()[0].steps)
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    assert command("validate", "steps.json") == Answer(
        0, "steps.json: no faults as a template_config\n", ""
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
def test_a_document_is_what_it_looks_like(command: Command, text: str, kind: Kind) -> None:
    assert f" as a {kind}" in command("validate", "-", stdin=text.encode()).out


def test_a_document_is_what_it_is_called(command: Command) -> None:
    answer = command("validate", "-", "--document", "generation_config", stdin=b"[]")
    assert answer.code == 1
    assert answer.out.splitlines()[2].split()[:2] == ["(whole)", "wrong_type"]


def test_the_stored_form_is_open(command: Command, tmp_path: Path) -> None:
    (tmp_path / "stored.json").write_text('[{"channel": "linkedin", "label": "x", "mine": 1}]')
    assert command("validate", "stored.json").code == 1
    assert command("validate", "--stored", "stored.json").code == 0


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe[]"])
def test_what_is_no_json_is_a_fault(command: Command, content: bytes) -> None:
    answer = command("validate", "-", "--json", stdin=content)
    assert answer.code == 1
    assert [(fault["path"], fault["code"]) for fault in answer.json] == [("", "not_json")]


def test_a_file_that_cannot_be_read_is_a_mistake(command: Command, tmp_path: Path) -> None:
    command("validate", "missing.json").is_mistake("missing.json", "No such file")
    command("validate", tmp_path).is_mistake("Is a directory")
    (tmp_path / "bad.json").write_text(FIVE_FAULTS)
    answer = command("validate", "missing.json", "bad.json", "--json")
    answer.is_mistake("missing.json")
    assert len(answer.json) == 5


def test_the_kinds_of_document_are_those_of_the_codec() -> None:
    assert list(Kind) == list(wire._READERS)


def test_schemas_are_listed_and_printed(command: Command) -> None:
    assert command("schema").out.split() == list(Kind)
    for kind in Kind:
        assert command("schema", kind).json == document_schema(kind)
        assert command("schema", kind, "--stored").json == document_schema(kind, "stored")
    command("schema", "nothing").is_mistake("nothing", "template_config")


# The lifecycle


def test_the_lifecycle_for_programs_is_the_published_one(command: Command) -> None:
    published = SCHEMAS / "lifecycle.json"
    assert command("lifecycle", "--json").out == published.read_text(encoding="utf-8")


def test_the_lifecycle_for_people_has_every_word(command: Command) -> None:
    words = set(command("lifecycle").out.replace(",", " ").split())
    expected = {
        *lifecycle.Status,
        *lifecycle.Action,
        *lifecycle.Permission,
        *lifecycle.ContactStatus,
        *lifecycle.ContactAction,
        *(guard.__name__ for line in lifecycle.TRANSITIONS for guard in line.guards),
    }
    assert expected <= words


# Databases


@pytest.fixture
def url(engine_name: str, new_database: Callable[..., str]) -> str:
    return new_database(engine_name)


def with_campaign(url: str) -> tuple[Tenant, Campaign]:
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

        def work(store: CampaignStore) -> Campaign:
            store.campaigns.add(campaign)
            store.contacts.assign(campaign.id, ids)
            return store.campaigns.apply(campaign.id, Action.MARK_READY)

        ids = tenant.contacts(3)
        return tenant, tenant.transact(work, actor="somebody")
    finally:
        engine.dispose()


def test_init_builds_a_schema_once(command: Command, url: str, engine_name: str) -> None:
    if engine_name == "sqlite":  # Without a file there are no tables of a host either.
        command("db", "init", "--url", url).is_mistake("no database file")
        Path(sa.make_url(url).database or "").touch()
    command("db", "init", "--url", url).is_mistake("tenants, owners, contacts")
    first = command("db", "init", "--url", url, "--with-host-tables", "--json")
    assert first.code == 0
    assert len(first.json["inserted"]) == 3
    second = command("db", "init", "--url", url)
    assert second.code == 0
    assert second.out.count("unchanged") == 3


def test_init_takes_the_hosts_own_names(command: Command, url: str) -> None:
    named = ("--tenants", "firms", "--owners", "people", "--contacts", "leads")
    assert command("db", "init", "--url", url, "--with-host-tables", *named).code == 0
    engine = sa.create_engine(url)
    assert {"firms", "people", "leads", "campaigns"} <= set(sa.inspect(engine).get_table_names())
    engine.dispose()


def test_templates_are_listed_and_synced(command: Command, url: str) -> None:
    command("db", "init", "--url", url, "--with-host-tables")
    listed = command("templates", "list", "--url", url, "--tenant", TENANT, "--json").json
    assert {template["name"] for template in listed} == {one.name for one in presets.load()}
    people = command("templates", "list", "--url", url, "--tenant", TENANT)
    assert all(template["id"] in people.out for template in listed)
    assert command("templates", "sync", "--url", url, "--json").json == {
        "inserted": [],
        "updated": [],
        "unchanged": [one.name for one in presets.load()],
        "edited": [],
    }


def test_campaigns_are_listed_by_pages(
    command: Command, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, first = with_campaign(url)
    here = ("--url", url, "--tenant", tenant.id)
    engine = db.prepare_engine(sa.create_engine(url))
    second = transact(engine, tenant.id, lambda store: store.campaigns.clone(first.id))
    engine.dispose()

    page = command("campaigns", "list", *here, "--limit", 1, "--json").json
    assert [UUID(item["id"]) for item in page["items"]] == [second.id]
    rest = command("campaigns", "list", *here, "--after", page["next"], "--json").json
    assert [UUID(item["id"]) for item in rest["items"]] == [first.id]
    assert rest["next"] is None
    assert rest["items"][0]["total_contacts"] == 3
    assert rest["items"][0]["generation_cost"] == "0"
    ready = command("campaigns", "list", *here, "--status", "ready", "--json").json
    assert [item["status"] for item in ready["items"]] == ["ready"]
    for_people = command("campaigns", "list", *here, "--limit", 1).out
    assert str(second.id) in for_people
    assert "created" in for_people
    assert f"--after {page['next']}" in for_people
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    lines = command("campaigns", "list", *here).out.splitlines()
    assert sum(str(one.id) in line for one in (first, second) for line in lines) == 2
    assert not any("created" in line for line in lines)
    command("campaigns", "list", *here, "--after", "x").is_mistake("'x'")
    command("campaigns", "list", *here, "--status", "redy").is_mistake("'redy'", "'ready'")
    command("campaigns", "list", *here, "--limit", 501).is_mistake("--limit")
    assert command("campaigns", "list", "--url", url, "--tenant", uuid4(), "--json").json == {
        "items": [],
        "next": None,
    }


def test_a_campaign_is_shown_whole(command: Command, url: str) -> None:
    tenant, campaign = with_campaign(url)
    here = ("--url", url, "--tenant", tenant.id)
    shown = command("campaigns", "show", campaign.id, *here, "--json").json
    assert shown["campaign"]["steps"] == wire.dump_template_config(STEPS)
    assert shown["campaign"]["generation_config"] == {"budget": "1"}
    assert shown["progress"]["by_status"]["pending"] == 3
    possible = {action["action"]: action for action in shown["actions"]}
    assert possible["start_generation"]["allowed"]
    assert possible["submit_for_review"]["error"]["unmet"][0]["guard"] == "something_generated"
    assert not possible["approve"]["allowed"]
    assert [(entry["action"], entry["actor"]) for entry in shown["history"]] == [
        ("mark_ready", "somebody")
    ]

    for_people = command("campaigns", "show", campaign.id, *here).out
    assert "[bold]Spring[/bold]" in for_people
    assert "\x1b" not in for_people
    assert "no: no contact has messages yet" in for_people
    assert "somebody" in for_people
    command("campaigns", "show", uuid4(), *here).is_mistake("no campaign")
    command("campaigns", "show", "7", *here).is_mistake("UUID")


def test_what_a_campaign_needed_to_be_read_is_told(command: Command, url: str) -> None:
    tenant, campaign = with_campaign(url)
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
    shown = command("campaigns", "show", campaign.id, "--url", url, "--tenant", tenant.id).out
    assert "archived, deleted" in shown
    assert "steps[0].label: was missing" in shown


def test_a_database_without_our_schema_is_a_mistake(
    command: Command, url: str, engine_name: str
) -> None:
    if engine_name == "sqlite":
        Path(sa.make_url(url).database or "").touch()
    for words in (("campaigns", "list"), ("templates", "list")):
        answer = command(*words, "--url", url, "--tenant", TENANT)
        answer.is_mistake("no campaign tables", "campaign-model db init")
    command("templates", "sync", "--url", url).is_mistake("no campaign tables")
    engine = sa.create_engine(url)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_the_url_may_stand_in_the_environment(
    command: Command, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("db", "init", "--url", url, "--with-host-tables")
    monkeypatch.setenv("CAMPAIGN_MODEL_URL", url)
    monkeypatch.setenv("CAMPAIGN_MODEL_TENANT", TENANT)
    assert command("campaigns", "list").code == 0


def test_a_database_that_lets_nobody_write_says_so(
    command: Command, url: str, engine_name: str
) -> None:
    if engine_name == "sqlite":
        command("db", "init", "--url", url, "--with-host-tables")
        closed = f"sqlite:///file:{sa.make_url(url).database}?mode=ro&uri=true"
        answer = command("demo", "--url", closed)
        answer.is_mistake("the database says: attempt to write a readonly database")
        return
    role = f"reader_{uuid4().hex}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
    answer = command(
        "db", "init", "--with-host-tables", "--url", sa.make_url(url).set(username=role)
    )
    answer.is_mistake("the database says: permission denied")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP ROLE {role}")
    engine.dispose()


def test_a_fault_of_ours_is_not_hidden(command: Command, url: str) -> None:
    command("db", "init", "--url", url, "--with-host-tables")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE campaign_totals")
    engine.dispose()
    with pytest.raises(sa.exc.DBAPIError, match="campaign_totals"):
        command("campaigns", "list", "--url", url, "--tenant", TENANT)


# Mistakes


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("nonsense", "--url"),
        ("mysql://host/name", "postgresql://"),
        ("postgresql+psycopg2://host/name", "postgresql://"),
        ("postgresql://localhost:1/name", "cannot open"),
        ("postgresql://user:hidden@localhost:1/name", "user:***@"),
        ("postgresql://localhost:1/name?connect_timeout=1", "cannot open"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///none/name.db", "unable to open"),
        ("sqlite:///text.db", "not a database"),
    ],
)
def test_a_wrong_url_is_a_mistake(command: Command, tmp_path: Path, url: str, word: str) -> None:
    (tmp_path / "text.db").write_text("This is no database.")
    before = unchanged(tmp_path)
    for words in (("demo",), ("db", "init", "--with-host-tables")):
        answer = command(*words, "--url", url)
        answer.is_mistake(word)
        assert answer.out == ""
        assert "hidden" not in answer.err
    assert unchanged(tmp_path) == before


def test_a_missing_driver_names_its_extra(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    answer = command("demo", "--url", "postgresql://localhost/name")
    answer.is_mistake("pip install 'campaign-model[postgres]'")


def test_a_driver_that_misses_something_itself_is_not_hidden(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("no more", name="something")

    monkeypatch.setattr(sa, "create_engine", fail)
    with pytest.raises(ModuleNotFoundError, match="no more"):
        command("demo", "--url", "postgresql://localhost/name")


def test_an_answer_of_the_database_that_nobody_expects_is_not_hidden(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sa.exc.ProgrammingError("SELECT", {}, Exception("what?"))

    monkeypatch.setattr(sa.Engine, "connect", fail)
    with pytest.raises(sa.exc.ProgrammingError):
        command("db", "init", "--with-host-tables", "--url", "sqlite:///new.db")


@pytest.mark.parametrize("extra", ["typer", "rich"])
def test_without_its_extra_the_command_names_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, "campaign_model.cli.app", raising=False)
    monkeypatch.delitem(sys.modules, "campaign_model.cli.console", raising=False)
    monkeypatch.setitem(sys.modules, extra, None)
    command("demo").is_mistake("pip install 'campaign-model[cli]'")


def test_a_module_of_ours_that_is_missing_is_not_hidden(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "campaign_model.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        command("demo")


def test_the_version_is_the_packages(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"campaign-model": "1.2.3"}.get)
    assert command("--version") == Answer(0, "campaign-model 1.2.3\n", "")


def test_help_is_shown_to_those_who_ask_for_nothing(command: Command) -> None:
    answer = command()
    assert (answer.code, answer.err) == (2, "")
    assert "demo" in answer.out
    assert command("--help").code == 0
    command("frobnicate").is_mistake("frobnicate")
    command("validate").is_mistake("FILE")
    command("campaigns", "list", "--tenant", "x", "--url", "sqlite://").is_mistake("--tenant")


def test_the_module_runs_like_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "campaign_model.cli", "schema"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == list(Kind)


# Pieces


def test_a_table_in_a_terminal_breaks_only_its_last_column() -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=40, color_system=None)
    console.print_table(terminal, ("id", "text"), [("a" * 20, "word " * 10)], title="Title")
    lines = screen.getvalue().splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert sum("a" * 20 in line for line in lines) == 1


@pytest.mark.parametrize(
    ("text", "people", "repeated"),
    [
        ("first_name,company\nAda,X\n", [Person("Ada", company="X")], 0),
        (
            "First Name;Organisation;E-Mail\nAda;X;a@example.com\n",
            [Person("Ada", company="X", email_address="a@example.com")],
            0,
        ),
        (
            "\ufefffirst_name\tcompany\tLinkedIn\nAda\tX\thttps://example.com/ada\n",
            [Person("Ada", company="X", linkedin_url="https://example.com/ada")],
            0,
        ),
        ("first_name,company,mine\r\n Ada , X ,1\r\n\r\n,,\r\n", [Person("Ada", company="X")], 0),
        ('first_name,company\nAda,"X, Y\nand Z"\n', [Person("Ada", company="X, Y\nand Z")], 0),
        (
            "first_name,company,email\nAda,X,a@example.com\nA.,X,A@example.com\n",
            [Person("Ada", company="X", email_address="a@example.com")],
            1,
        ),
        ("first_name,company\nAda,X\nada,x\nAda\n", [Person("Ada", company="X"), Person("Ada")], 1),
    ],
)
def test_contacts_are_read_as_people_keep_them(
    tmp_path: Path, text: str, people: list[Person], repeated: int
) -> None:
    file = tmp_path / "contacts.csv"
    file.write_bytes(text.encode())
    found = read_contacts(file, ("first_name", "company"), UUID(TENANT))
    assert list(found.people.values()) == people
    assert found.repeated == repeated
    again = read_contacts(file, ("first_name", "company"), UUID(TENANT))
    assert again == found


def test_money_and_moments_for_people() -> None:
    assert console.amount(0 * Decimal(1)) == "0.00"
    assert console.amount(Decimal("1.230000000")) == "1.23"
    assert console.amount(Decimal("0.000000001")) == "0.000000001"
    assert console.moment(None) == ""
