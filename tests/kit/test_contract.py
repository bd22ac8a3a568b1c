"""The store contract as a service runs it: by a role of its own, past a pooler, and on SQLite.

On the oldest PostgreSQL it runs in an adopted database, in test_adopt_after.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.db.checks import checks
from campaign_model.lifecycle import Status
from campaign_model.store.tables import metadata
from campaign_model.testing.contract.test_refusals import BAD
from campaign_model.testing.contract.test_session import PRIVILEGES
from campaign_model.testing.sample_campaigns import Tenant, add_minimal_contacts, add_minimal_tenant
from support import contract
from support.pooler import pooled

HOST = db.HostTables()
READ = dict.fromkeys([*metadata.tables, HOST.tenants, HOST.owners, HOST.contacts], "SELECT")
SERVICE = PRIVILEGES | {HOST.contacts: "SELECT, INSERT, DELETE", HOST.owners: "SELECT"}
SERVICE |= {HOST.tenants: "SELECT, INSERT, DELETE"}
ONLY_SHIPPED = {"campaign_templates": 3}


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = db.prepare_engine(sa.create_engine(url))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def as_role(url: str, privileges: dict[str, str]) -> str:
    """The URL for a new role that may do just this."""
    name = f"service_{uuid4().hex}"
    with connected(url) as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} LOGIN"))
        for table, some in privileges.items():
            connection.execute(sa.text(f"GRANT {some} ON {table} TO {name}"))
    return sa.make_url(url).set(username=name).render_as_string()


def rows(url: str) -> dict[str, int]:
    """How many rows there are, in the tables that have any."""
    with connected(url) as connection:
        numbers = {
            table: connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table)))
            for table in READ
        }
    return {table: number for table, number in numbers.items() if number}


def populate(url: str) -> None:
    """A tenant with a campaign in every status."""
    engine = db.prepare_engine(sa.create_engine(url))
    with engine.begin() as connection:
        tenant_id = add_minimal_tenant(connection, HOST)
        ids = add_minimal_contacts(connection, HOST, tenant_id, 4)
    tenant = Tenant(engine, tenant_id, lambda number: ids[:number])
    for status in Status:
        tenant.campaign(status, contacts=4, failed=1)
    engine.dispose()


def test_it_passes_on_sqlite_and_leaves_nothing_behind(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    url = schema("sqlite")
    done = contract.run(tmp_path, url)
    assert done.returncode == 0, done.stdout
    assert rows(url) == ONLY_SHIPPED


def test_it_passes_past_a_pooler_for_a_role_that_may_do_no_more_than_the_store_does(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    url = schema("postgresql-18")
    service = tmp_path / "service"
    service.mkdir()
    # The path of a socket has to be a short one.
    with (
        tempfile.TemporaryDirectory() as sockets,
        pooled(as_role(url, SERVICE), Path(sockets)) as pool,
    ):
        test = "test_session::test_statements_that_come_again_and_again_go_on_working"
        done = contract.run(service, pool, tests=(test,))
        assert contract.failures(done.stdout)["FAILED"] == {test.rpartition("::")[2]}, done.stdout
        (service / "conftest.py").write_text(
            "import sqlalchemy as sa\n"
            "def pytest_campaign_model_engine(url):\n"
            "    return sa.create_engine(url, connect_args={'prepare_threshold': None})\n"
        )
        done = contract.run(service, pool)
    assert done.returncode == 0, done.stdout
    # It may not even delete its own rows, and says so.
    assert "permission denied" in done.stdout
    (deletes,) = re.findall(r"run\n((?:\s*DELETE FROM .*;\n)+)", done.stdout)
    left = rows(url)
    assert left.keys() >= {"campaigns", "campaign_history", "contacts", "tenants"}
    with connected(url) as connection:
        connection.execute(sa.text(deletes))
    assert rows(url) == ONLY_SHIPPED | {name: left[name] for name in ("contacts", "tenants")}


def test_it_names_the_rights_that_a_role_lacks(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    lacking = SERVICE | {"campaign_totals": "SELECT, INSERT, UPDATE", "owners": "INSERT"}
    url = as_role(schema("postgresql-18"), lacking)
    done = contract.run(tmp_path, url, tests=("test_session",))
    assert contract.failures(done.stdout)["FAILED"] >= {"test_the_role_may_do_what_the_store_does"}
    assert re.search(
        r"^GRANT DELETE ON campaign_totals TO \"service_\w+\";$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^GRANT SELECT ON owners TO \"service_\w+\";$", done.stdout, re.MULTILINE)


# A service's own tables.

OWN_TABLES = """
CREATE TABLE customers (id CHAR(36) PRIMARY KEY, title TEXT NOT NULL);
CREATE TABLE people (id CHAR(36) PRIMARY KEY, tenant_id CHAR(36) NOT NULL REFERENCES customers (id),
    email TEXT NOT NULL, UNIQUE (tenant_id, id));
CREATE TABLE staff (id CHAR(36) PRIMARY KEY, tenant_id CHAR(36) NOT NULL, UNIQUE (tenant_id, id));
"""


def test_a_service_makes_the_rows_of_its_own_tables(
    new_database: Callable[[str], str], tmp_path: Path
) -> None:
    url = new_database("sqlite")
    with connected(url) as connection:
        for statement in OWN_TABLES.strip().split(";\n"):
            connection.exec_driver_sql(statement)
    engine = sa.create_engine(url)
    db.init(engine, host=db.HostTables(tenants="customers", owners="staff", contacts="people"))
    engine.dispose()
    conftest = tmp_path / "conftest.py"
    guide = contract.documented("from uuid import uuid4")

    conftest.write_text(guide.partition("def pytest_campaign_model_host_rows")[0])
    done = contract.run(tmp_path, url)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    for line in (
        "def pytest_campaign_model_host_rows(connection, host, contacts):",
        "customers has no column name.",
        "customers.title has to be filled.",
        "people.email has to be filled.",
    ):
        assert line in done.stdout

    conftest.write_text(guide)
    done = contract.run(tmp_path, url, tests=("test_schema", "test_contacts"))
    assert done.returncode == 0, done.stdout
    with connected(url) as connection:
        for table in ("people", "customers", "campaigns"):
            assert connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table))) == 0


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "needs a database: pytest -p campaign_model.testing.plugin --pyargs"),
        ("somewhere", "a URL looks like postgresql+psycopg://user@host/name"),
        ("sqlite://", "needs a database that several connections share; name a file"),
        ("postgresql+psycopg://nobody@/none?host=/nowhere", "cannot be reached"),
    ],
)
def test_a_database_that_will_not_do_is_told_once(
    url: str | None, reason: str, tmp_path: Path
) -> None:
    done = contract.run(tmp_path, url, tests=("test_values",))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert (done.stdout + done.stderr).count(reason) == 1


# Databases that keep less than the library's own migrations make them keep.

DAMAGES = {
    "DROP TABLE campaign_erased_claims": "there is no table campaign_erased_claims",
    "ALTER TABLE campaigns DROP COLUMN clone_count": "campaigns.clone_count is missing",
    "ALTER TABLE campaign_contacts ALTER generation_cost TYPE numeric(10, 4)": (
        "campaign_contacts.generation_cost is NUMERIC(10, 4), and has to be NUMERIC"
    ),
    "ALTER TABLE campaign_history ALTER at TYPE timestamp": (
        "campaign_history.at is TIMESTAMP WITHOUT TIME ZONE, and has to be TIMESTAMP WITH TIME ZONE"
    ),
    "ALTER TABLE campaigns ALTER status DROP NOT NULL": "campaigns.status has to be NOT NULL",
    "ALTER TABLE campaigns ALTER owner_id SET NOT NULL": "campaigns.owner_id has to allow NULL",
    "ALTER TABLE campaign_totals ALTER cost DROP DEFAULT": (
        "campaign_totals.cost has to have a default"
    ),
    "ALTER TABLE campaign_contacts "
    "DROP CONSTRAINT uq_campaign_contacts_campaign_id_contact_id_tenant_id": (
        "campaign_contacts lacks UNIQUE (tenant_id, campaign_id, contact_id)"
    ),
    "ALTER TABLE campaign_totals DROP CONSTRAINT pk_campaign_totals": (
        "campaign_totals lacks PRIMARY KEY (tenant_id, campaign_id, shard)"
    ),
    "ALTER TABLE campaign_contacts DROP CONSTRAINT fk_campaign_contacts_tenant_id_contact_id": (
        "campaign_contacts lacks FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts "
        "(tenant_id, id)"
    ),
    "ALTER TABLE campaign_history DROP CONSTRAINT fk_campaign_history_tenant_id_campaign_id, "
    "ADD FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id) "
    "ON DELETE CASCADE": "must not be ON DELETE CASCADE",
    "DROP INDEX ix_campaign_contacts_rank": (
        "campaign_contacts lacks INDEX (tenant_id, campaign_id, rank)"
    ),
    "DROP INDEX ix_campaigns_running; CREATE INDEX ON campaigns (tenant_id, id) "
    "WHERE status = 'ready'": ("campaigns lacks INDEX (tenant_id, id) WHERE status = 'generating'"),
    "ALTER TABLE campaigns DROP CONSTRAINT ck_campaigns_is_active": (
        "campaigns.is_active has no CHECK"
    ),
    "ALTER TABLE campaign_contacts DROP CONSTRAINT ck_campaign_contacts_status, "
    "ADD CONSTRAINT ck_campaign_contacts_status CHECK (status <> '') NOT VALID": (
        "campaign_contacts: constraint ck_campaign_contacts_status is not validated"
    ),
    "ALTER TABLE campaign_templates DISABLE TRIGGER ALL": "is disabled",
}
"""What a migration may have done or left out -> what the contract says of it."""


def test_it_names_everything_that_the_schema_lacks(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    url = schema("postgresql-18")
    with connected(url) as connection:
        for damage in DAMAGES:
            connection.execute(sa.text(damage))
    done = contract.run(tmp_path, url, "--campaign-model-read-only", tests=("test_schema",))
    assert [told for told in DAMAGES.values() if told not in done.stdout] == []
    lines = re.findall(
        r"^(?:there is no|campaigns|campaign_\w+)\b[^-].*", done.stdout, re.MULTILINE
    )
    assert [line for line in lines if not any(told in line for told in DAMAGES.values())] == []


def test_it_tries_every_check_of_the_schema() -> None:
    for dialect in ("postgresql", "sqlite"):
        expected = {table: {*columns} for table, columns in checks(dialect).items() if columns}
        assert {table.name: {*columns} for table, columns in BAD.items()} == expected


# What only reads.

SPOILS = """
UPDATE campaigns SET status = 'sending' WHERE status = 'draft';
UPDATE campaigns SET template_config =
    '[{"channel": "email", "day_offset": 5}, {"channel": "email", "day_offset": 1}]'
    WHERE status = 'ready';
UPDATE campaign_totals SET generated = generated + 1 WHERE shard = 0 AND campaign_id IN
    (SELECT id FROM campaigns WHERE status = 'exported');
UPDATE campaign_contacts SET status = 'generating' WHERE status = 'generated' AND campaign_id IN
    (SELECT id FROM campaigns WHERE status = 'approved');
INSERT INTO tenants (id, name) VALUES ('00000000-0000-0000-0000-000000000007', 'another');
UPDATE contacts SET tenant_id = '00000000-0000-0000-0000-000000000007';
"""


def spoil(url: str) -> None:
    """Write what the constraints would refuse, and what they cannot."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(sa.make_url(url).database))) as connection:
            connection.executescript("PRAGMA ignore_check_constraints = ON;" + SPOILS)
        return
    with connected(url) as connection:
        connection.execute(sa.text("ALTER TABLE campaigns DROP CONSTRAINT ck_campaigns_status"))
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.exec_driver_sql(SPOILS)


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql-18"])
def test_the_read_only_form_finds_what_constraints_cannot(
    schema: Callable[[str], str], tmp_path: Path, engine_name: str
) -> None:
    url = schema(engine_name)
    populate(url)
    before = rows(url)
    reading = url if engine_name == "sqlite" else as_role(url, READ)
    if engine_name == "sqlite":
        file = Path(str(sa.make_url(url).database))
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        content = file.read_bytes()
    done = contract.run(tmp_path, reading, "--campaign-model-read-only")
    assert done.returncode == 0, done.stdout
    if engine_name == "sqlite":
        assert file.read_bytes() == content
    assert rows(url) == before

    spoil(url)
    done = contract.run(tmp_path, reading, "--campaign-model-read-only", tests=("test_data",))
    failed = contract.failures(done.stdout)
    assert failed == {
        "FAILED": {
            "test_every_status_is_known",
            "test_every_document_can_be_read",
            "test_totals_say_what_the_contacts_say",
            "test_no_row_joins_two_tenants",
            "test_nothing_is_held_by_a_worker_that_is_gone",
        },
        "ERROR": set(),
    }
    assert "(looked at 7 of 7 campaigns)" in done.stdout
