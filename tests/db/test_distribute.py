"""``db distribute``: the keys that its SQL makes on PostgreSQL without Citus, and who accepts them.

Without Citus, the tests leave out the calls of its functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from campaign_model import cli, db
from campaign_model.db.distribute import TENANT
from support import contract
from support.adoption import POSTGRESQL
from support.servers import plain

ForeignKey = tuple[str, tuple[str, ...], str, tuple[str, ...]]
"""The table, its columns, the table that it refers to, and the columns there."""


def run_sql(url: str, sql: str) -> None:
    with psycopg.connect(plain(url), autocommit=True) as connection:
        connection.execute(sql.encode())


def without_citus(sql: str) -> str:
    lines = sql.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("SELECT create_"))


def read_keys(url: str) -> tuple[dict[str, list[list[Any]]], set[ForeignKey]]:
    """Return the columns of unique indexes by table, and the foreign keys."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    inspector = sa.inspect(engine)
    unique: dict[str, list[list[Any]]] = {}
    foreign: set[ForeignKey] = set()
    for table in inspector.get_table_names():
        indexes = [
            index["column_names"] for index in inspector.get_indexes(table) if index["unique"]
        ]
        unique[table] = [inspector.get_pk_constraint(table)["constrained_columns"], *indexes]
        for key in inspector.get_foreign_keys(table):
            columns, referred = tuple(key["constrained_columns"]), tuple(key["referred_columns"])
            foreign.add((table, columns, key["referred_table"], referred))
    return unique, foreign


@pytest.fixture(params=POSTGRESQL)
def swapped_url(request: pytest.FixtureRequest, schema: Callable[[str], str]) -> str:
    """Make a database with the keys of a distributed one."""
    url = schema(request.param)
    run_sql(url, without_citus(db.distribute_sql()))
    return url


def test_every_key_of_a_tenants_table_ends_with_the_tenant(
    swapped_url: str, schema: Callable[[str], str]
) -> None:
    unique, foreign = read_keys(swapped_url)
    # No table is forgotten: each is distributed, or copied to every node.
    calls = re.findall(r"SELECT create_(reference|distributed)_table\('(\w+)'", db.distribute_sql())
    assert {*unique} == {table for _, table in calls}
    distributed = {table for kind, table in calls if kind == "distributed"}
    for table in distributed:
        for key in unique[table]:
            is_own = table in db.TABLES
            assert key[-1] == TENANT if is_own else TENANT in key, (table, key)
    # Each foreign key is there again.
    _, before = read_keys(schema(POSTGRESQL[-1]))
    assert foreign == before
    for table, columns, other, referred in foreign:
        if other in distributed:
            assert table in distributed
            assert columns.index(TENANT) == referred.index(TENANT)


def test_every_constraint_is_changed_by_a_statement_of_its_own() -> None:
    changes = [line for line in db.distribute_sql().splitlines() if line.startswith("ALTER TABLE")]
    assert len(changes) > 30
    assert all(line.count(" CONSTRAINT ") == 1 for line in changes)


def test_the_names_of_host_tables_are_used() -> None:
    host = db.HostTables("Customers", "staff", "people")
    sql = db.distribute_sql(host=host, messages="mails")
    assert """SELECT create_reference_table('"Customers"');""" in sql
    assert 'REFERENCES "Customers" (id);' in sql
    for name in ("staff", "people", "mails"):
        assert f"ALTER TABLE {name} ADD CONSTRAINT {name}_pkey PRIMARY KEY (id, tenant_id);" in sql
        assert f"SELECT create_distributed_table('{name}', 'tenant_id'," in sql


def test_verify_compares_a_distributed_database_with_its_own_keys(swapped_url: str) -> None:
    engine = sa.create_engine(swapped_url, poolclass=sa.NullPool)
    assert db.verify(engine) == db.Verdict("current", (), ())
    run_sql(
        swapped_url,
        "ALTER TABLE campaign_history DROP CONSTRAINT"
        " uq_campaign_history_campaign_id_version_tenant_id",
    )
    verdict = db.verify(engine)
    assert verdict.shape == "changed"
    assert "(campaign_id, version, tenant_id)" in verdict.pending[0]


def test_verify_says_what_citus_distributes_and_what_not(
    swapped_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # The catalog of Citus, as far as the library reads it.
    run_sql(
        swapped_url,
        """CREATE TABLE pg_dist_partition AS
        SELECT oid AS logicalrelid FROM pg_class
        WHERE relname LIKE 'campaign%' AND relname <> 'campaign_history' AND relkind = 'r'""",
    )
    verdict = db.verify(sa.create_engine(swapped_url, poolclass=sa.NullPool))
    assert verdict.distributed
    assert verdict.shape == "current"
    (pending,) = verdict.pending
    assert pending.startswith("SELECT create_distributed_table('campaign_history', 'tenant_id',")
    assert cli.main(["db", "verify", "--url", swapped_url]) == 1
    output = capsys.readouterr().out
    assert "over the nodes of a Citus cluster" in output
    assert "create_distributed_table('campaign_history'" in output


@pytest.mark.long
def test_the_store_contract_passes_with_these_keys(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    url = schema(POSTGRESQL[-1])
    run_sql(url, without_citus(db.distribute_sql()))
    # The same lines run with the usual keys.
    done = contract.run(tmp_path, url, measure=False)
    assert done.returncode == 0, done.stdout


def test_the_command_prints_the_sql_and_does_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    host = ["--tenants", "customers", "--owners", "staff", "--contacts", "people"]
    assert cli.main(["db", "distribute", "--print", *host, "--messages", "mails"]) == 0
    expected = db.HostTables("customers", "staff", "people")
    assert capsys.readouterr().out == db.distribute_sql(host=expected, messages="mails")
    assert cli.main(["db", "distribute"]) == 2
    assert "Missing option '--print'" in capsys.readouterr().err
