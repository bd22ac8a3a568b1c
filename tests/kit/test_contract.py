"""The store contract as a service runs it: with its own role and driver, and through a pooler.

The tests of adoption run the contract in an adopted database on the oldest PostgreSQL.
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
from campaign_model.db.grants import list_privileges
from campaign_model.lifecycle import Status
from campaign_model.store.tables import metadata
from campaign_model.testing.contract import test_refusals
from campaign_model.testing.contract.test_refusals import BAD
from campaign_model.testing.sample_campaigns import Tenant, add_minimal_contacts, add_minimal_tenant
from support import contract, servers
from support.pooler import pooled

HOST = db.HostTables()
READ_RIGHTS = dict.fromkeys([*metadata.tables, HOST.tenants, HOST.owners, HOST.contacts], "SELECT")
SERVICE_RIGHTS = list_privileges(HOST) | dict.fromkeys(
    (HOST.contacts, HOST.tenants), "SELECT, INSERT, DELETE"
)
ONLY_SYSTEM_TEMPLATES = {"campaign_templates": 3}


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = db.prepare_engine(sa.create_engine(url))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def as_role(url: str, privileges: dict[str, str]) -> str:
    """Make a role with these rights only, and return the URL for it."""
    name = f"service_{uuid4().hex}"
    with connected(url) as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} LOGIN"))
        for table, some in privileges.items():
            connection.execute(sa.text(f"GRANT {some} ON {table} TO {name}"))
    return sa.make_url(url).set(username=name).render_as_string()


def row_counts(url: str) -> dict[str, int]:
    """Count the rows of every table that has any."""
    with connected(url) as connection:
        numbers = {
            table: connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table)))
            for table in READ_RIGHTS
        }
    return {table: number for table, number in numbers.items() if number}


def populate(url: str) -> None:
    """Make a tenant with a campaign in every status."""
    engine = db.prepare_engine(sa.create_engine(url))
    with engine.begin() as connection:
        tenant_id = add_minimal_tenant(connection, HOST)
        ids = add_minimal_contacts(connection, HOST, tenant_id, 4)
    tenant = Tenant(engine, tenant_id, lambda number: ids[:number])
    for status in Status:
        tenant.campaign(status, contacts=4, failed=1)
    engine.dispose()


@pytest.mark.parametrize("driver", ["pysqlite", pytest.param("aiosqlite", marks=pytest.mark.long)])
def test_the_contract_passes_on_sqlite_and_removes_its_rows(
    schema: Callable[[str], str], tmp_path: Path, driver: str
) -> None:
    url = schema("sqlite")
    given = sa.make_url(url).set(drivername=f"sqlite+{driver}").render_as_string()
    done = contract.run(tmp_path, given, measure=driver == "pysqlite")
    assert done.returncode == 0, done.stdout
    assert row_counts(url) == ONLY_SYSTEM_TEMPLATES


MODULES = sorted(path.stem for path in Path(test_refusals.__file__).parent.glob("test_*.py"))


# With asyncpg, the contract takes twice as long, so it runs in two parts.
@pytest.mark.long
@pytest.mark.parametrize("server", servers.postgresql())
@pytest.mark.parametrize(
    ("driver", "modules"),
    [("psycopg2", MODULES), ("asyncpg", MODULES[::2]), ("asyncpg", MODULES[1::2])],
    ids=["psycopg2", "asyncpg-1", "asyncpg-2"],
)
def test_the_contract_passes_with_other_drivers(
    schema: Callable[[str], str], tmp_path: Path, server: str, driver: str, modules: list[str]
) -> None:
    url = sa.make_url(schema(server)).set(drivername=f"postgresql+{driver}")
    # The same lines run with psycopg.
    done = contract.run(tmp_path, url.render_as_string(), tests=tuple(modules), measure=False)
    assert done.returncode == 0, done.stdout
    plain_url = url.set(drivername="postgresql+psycopg").render_as_string()
    assert row_counts(plain_url) == ONLY_SYSTEM_TEMPLATES


@pytest.mark.long
def test_the_contract_passes_through_a_pooler_with_the_rights_of_the_store(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    url = schema("postgresql-18")
    service = tmp_path / "service"
    service.mkdir()
    # The path of a socket must be short.
    with (
        tempfile.TemporaryDirectory() as sockets,
        pooled(as_role(url, SERVICE_RIGHTS), Path(sockets)) as pool,
    ):
        test = "test_session::test_prepared_statements_survive_a_change_of_server"
        done = contract.run(service, pool, tests=(test,))
        assert contract.failures(done.stdout)["FAILED"] == {test.rpartition("::")[2]}, done.stdout
        (service / "conftest.py").write_text(
            "import sqlalchemy as sa\n"
            "def pytest_campaign_model_engine(url):\n"
            "    return sa.create_engine(url, connect_args={'prepare_threshold': None})\n"
        )
        done = contract.run(service, pool)
    assert done.returncode == 0, done.stdout
    # The role may not delete the contract's rows, so the contract prints the SQL for it.
    assert "permission denied" in done.stdout
    (deletes,) = re.findall(r"run\n((?:\s*DELETE FROM .*;\n)+)", done.stdout)
    left = row_counts(url)
    assert left.keys() >= {"campaigns", "campaign_history", "contacts", "tenants"}
    with connected(url) as connection:
        connection.execute(sa.text(deletes))
    assert row_counts(url) == ONLY_SYSTEM_TEMPLATES | {
        name: left[name] for name in ("contacts", "tenants")
    }


def test_the_printed_sql_deletes_the_rows_on_sqlite(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    url = schema("sqlite")
    with connected(url) as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER kept BEFORE DELETE ON tenants BEGIN SELECT RAISE(ABORT, 'kept'); END"
        )
    test = "test_contacts::test_a_contact_assigned_twice_has_one_row"
    done = contract.run(tmp_path, url, tests=(test,))
    assert "deleting them failed (kept)" in done.stdout
    assert row_counts(url).keys() >= {"campaigns", "campaign_contacts"}
    with connected(url) as connection:
        for delete in re.findall(r"DELETE FROM .*;", done.stdout):
            connection.exec_driver_sql(delete)
    assert row_counts(url).keys() == {*ONLY_SYSTEM_TEMPLATES, "contacts", "tenants"}


def test_the_contract_names_missing_rights(schema: Callable[[str], str], tmp_path: Path) -> None:
    rights = SERVICE_RIGHTS | {"campaign_totals": "SELECT, INSERT, UPDATE", "owners": "INSERT"}
    url = as_role(schema("postgresql-18"), rights)
    done = contract.run(tmp_path, url, tests=("test_session",))
    assert contract.failures(done.stdout)["FAILED"] >= {
        "test_the_role_has_the_rights_that_the_store_needs"
    }
    assert re.search(
        r"^GRANT DELETE ON campaign_totals TO \"service_\w+\";$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^GRANT SELECT ON owners TO \"service_\w+\";$", done.stdout, re.MULTILINE)


# A service's own tables.

OWN_TABLES = """
CREATE TABLE customers (id CHAR(32) PRIMARY KEY, title TEXT NOT NULL);
CREATE TABLE people (id CHAR(32) PRIMARY KEY, tenant_id CHAR(32) NOT NULL REFERENCES customers (id),
    email TEXT NOT NULL, UNIQUE (tenant_id, id));
CREATE TABLE staff (id CHAR(32) PRIMARY KEY, tenant_id CHAR(32) NOT NULL, UNIQUE (tenant_id, id));
"""


def test_a_service_with_own_tables_makes_its_host_rows(
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
        "customers.title needs a value.",
        "people.email needs a value.",
    ):
        assert line in done.stdout

    conftest.write_text(guide)
    test = "test_contacts::test_a_contact_assigned_twice_has_one_row"
    done = contract.run(tmp_path, url, tests=("test_schema", test))
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
def test_an_unusable_database_is_reported_once(
    url: str | None, reason: str, tmp_path: Path
) -> None:
    done = contract.run(tmp_path, url, tests=("test_values",))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert (done.stdout + done.stderr).count(reason) == 1


# Schemas that lack something.

DAMAGES = {
    "DROP TABLE campaign_erased_claims": "there is no table campaign_erased_claims",
    "ALTER TABLE campaigns DROP COLUMN clone_count": "campaigns.clone_count is missing",
    "ALTER TABLE campaign_contacts ALTER generation_cost TYPE numeric(10, 4)": (
        "campaign_contacts.generation_cost is NUMERIC(10, 4), but must be NUMERIC"
    ),
    "ALTER TABLE campaign_history ALTER at TYPE timestamp": (
        "campaign_history.at is TIMESTAMP WITHOUT TIME ZONE, but must be TIMESTAMP WITH TIME ZONE"
    ),
    "ALTER TABLE campaigns ALTER status DROP NOT NULL": "campaigns.status must be NOT NULL",
    "ALTER TABLE campaigns ALTER owner_id SET NOT NULL": "campaigns.owner_id must allow NULL",
    "ALTER TABLE campaign_totals ALTER cost DROP DEFAULT": (
        "campaign_totals.cost must have a default"
    ),
    "ALTER TABLE campaign_contacts "
    "DROP CONSTRAINT uq_campaign_contacts_contact_id_campaign_id_tenant_id": (
        "campaign_contacts lacks UNIQUE (contact_id, campaign_id, tenant_id)"
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
        "campaign_contacts lacks INDEX (campaign_id, rank, tenant_id)"
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
"""Faults of a migration, and what the contract says about each."""


def test_the_contract_names_every_fault_of_the_schema(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    url = schema("postgresql-18")
    with connected(url) as connection:
        for damage in DAMAGES:
            connection.execute(sa.text(damage))
    done = contract.run(tmp_path, url, "--campaign-model-read-only", tests=("test_schema",))
    assert [message for message in DAMAGES.values() if message not in done.stdout] == []
    lines = re.findall(
        r"^(?:there is no|campaigns|campaign_\w+)\b[^-].*", done.stdout, re.MULTILINE
    )
    unexpected = [line for line in lines if not any(one in line for one in DAMAGES.values())]
    assert unexpected == []


def test_the_contract_tries_every_check_of_the_schema() -> None:
    for dialect in ("postgresql", "sqlite"):
        expected = {table: {*columns} for table, columns in checks(dialect).items() if columns}
        tried = {
            table.name: {name for name, values in bad.items() if values.get(dialect)}
            for table, bad in BAD.items()
        }
        assert tried == expected


# The read-only form.

FAULTS = """
UPDATE campaigns SET status = 'sending' WHERE status = 'draft';
UPDATE campaigns SET template_config =
    '[{"channel": "email", "x": 9007199254740993}]'
    WHERE status = 'ready';
UPDATE campaign_totals SET generated = generated + 1 WHERE shard = 0 AND campaign_id IN
    (SELECT id FROM campaigns WHERE status = 'exported');
UPDATE campaign_contacts SET status = 'generating' WHERE status = 'generated' AND campaign_id IN
    (SELECT id FROM campaigns WHERE status = 'approved');
INSERT INTO tenants (id, name) VALUES ('00000000-0000-0000-0000-000000000007', 'another');
UPDATE contacts SET tenant_id = '00000000-0000-0000-0000-000000000007';
"""


def write_faults(url: str) -> None:
    """Write rows that constraints refuse, and rows that no constraint can refuse."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(sa.make_url(url).database))) as connection:
            connection.executescript("PRAGMA ignore_check_constraints = ON;" + FAULTS)
        return
    with connected(url) as connection:
        for table, check in (("campaigns", "status"), ("campaign_contacts", "claim")):
            drop_check = f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_{check}"
            connection.execute(sa.text(drop_check))
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.exec_driver_sql(FAULTS)


@pytest.mark.parametrize(
    "engine_name", ["sqlite", pytest.param("postgresql-18", marks=pytest.mark.long)]
)
def test_the_read_only_form_finds_faults_that_constraints_cannot(
    schema: Callable[[str], str], tmp_path: Path, engine_name: str
) -> None:
    url = schema(engine_name)
    populate(url)
    before = row_counts(url)
    reading = url if engine_name == "sqlite" else as_role(url, READ_RIGHTS)
    if engine_name == "sqlite":
        file = Path(str(sa.make_url(url).database))
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        content = file.read_bytes()
    done = contract.run(tmp_path, reading, "--campaign-model-read-only")
    assert done.returncode == 0, done.stdout
    if engine_name == "sqlite":
        assert file.read_bytes() == content
    assert row_counts(url) == before

    write_faults(url)
    done = contract.run(tmp_path, reading, "--campaign-model-read-only", tests=("test_data",))
    failed = contract.failures(done.stdout)
    assert failed == {
        "FAILED": {
            "test_every_status_is_known",
            "test_every_document_can_be_read",
            "test_totals_are_the_sums_of_contacts",
            "test_no_row_joins_two_tenants",
            "test_no_contact_waits_for_a_worker_that_is_gone",
        },
        "ERROR": set(),
    }
    assert "(read 7 of 7 campaigns)" in done.stdout
