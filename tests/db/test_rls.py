"""Row-level security: installed and removed, complete on every table, known to operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.db.adoption.tolerance import TOLERATED_WRITES_TABLE
from campaign_model.db.rls import TABLES
from support import servers
from support.row_security import HOST_TABLES, SecuredDatabase, secured_database, table_names
from support.tenants import new_tenant

NEWEST = servers.available()[-1]


@pytest.fixture(params=servers.postgresql())
def secured(
    request: pytest.FixtureRequest, schema: Callable[[str], str]
) -> Iterator[SecuredDatabase]:
    """A database with every table of the library, all of them secured."""
    with secured_database(schema(request.param)) as database:
        yield database


@pytest.fixture
def newest_secured(schema: Callable[[str], str]) -> Iterator[SecuredDatabase]:
    with secured_database(schema(NEWEST)) as database:
        yield database


def read_policies(engine: sa.Engine) -> list[Any]:
    """Return everything that the catalog says about row-level security."""
    with engine.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT relname, relrowsecurity, relforcerowsecurity, pg_policy.*, "
            "pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) "
            "FROM pg_class LEFT JOIN pg_policy ON polrelid = pg_class.oid "
            "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' "
            "ORDER BY relname, polname"
        )
        return [tuple(row) for row in rows]


def execute(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_every_table_of_the_library_is_secured_and_no_table_of_the_host(
    secured: SecuredDatabase,
) -> None:
    with secured.superuser.begin() as connection:
        tables = {*table_names(connection)} - {*HOST_TABLES}
    security = db.read_row_security(secured.service)
    assert {table.table for table in security.tables} == tables == TABLES
    assert security.is_complete
    assert all(table.policies for table in security.tables)
    unsecured = {row[0] for row in read_policies(secured.superuser) if not any(row[1:3])}
    assert unsecured == {*HOST_TABLES}


def test_installing_and_removing_are_idempotent(secured: SecuredDatabase) -> None:
    owner = secured.owner
    installed = read_policies(owner)
    assert db.install_row_security(owner) == ()
    removal = db.remove_row_security(owner, dry_run=True)
    assert read_policies(owner) == installed
    assert db.remove_row_security(owner) == removal != ()
    assert db.remove_row_security(owner) == ()
    assert not any(any(row[1:3]) or row[4] for row in read_policies(owner))
    security = db.read_row_security(owner)
    assert not any(table.policies for table in security.tables)
    assert all(len(table.missing) >= 3 for table in security.tables)
    db.install_row_security(owner)
    assert db.read_row_security(owner).is_complete


DAMAGES = {
    "ALTER TABLE campaigns DISABLE ROW LEVEL SECURITY": "is not enabled",
    "ALTER TABLE campaigns NO FORCE ROW LEVEL SECURITY": "is not forced",
    "DROP POLICY campaign_model_tenant ON campaigns": "there is no policy campaign_model_tenant",
    "ALTER POLICY campaign_model_tenant ON campaigns USING (true)": "is not as this version",
    "ALTER POLICY campaign_model_tenant ON campaigns WITH CHECK (true)": "is not as this version",
    "ALTER POLICY campaign_model_tenant ON campaigns TO pg_monitor": "is not as this version",
    "CREATE POLICY campaign_model_old ON campaigns USING (true)": "is not as this version",
    "CREATE POLICY everything ON campaigns USING (true)": "everything is not the library's",
    # A restrictive policy only hides more rows.
    "CREATE POLICY less ON campaigns AS RESTRICTIVE USING (is_active)": None,
}


def test_the_status_finds_every_damage_and_another_install_repairs_it(
    newest_secured: SecuredDatabase,
) -> None:
    owner = newest_secured.owner
    for damage, sentence in DAMAGES.items():
        execute(owner, damage)
        missing = [line for one in db.read_row_security(owner).tables for line in one.missing]
        assert len(missing) == (sentence is not None), damage
        assert sentence is None or sentence in missing[0], damage
        db.install_row_security(owner)
        is_of_host = "CREATE POLICY everything" in damage
        assert db.read_row_security(owner).is_complete is not is_of_host, damage
        if is_of_host:
            execute(owner, "DROP POLICY everything ON campaigns")
    # A policy of the host stays, and so does row-level security of its table.
    db.remove_row_security(owner)
    (left,) = {row[:3] for row in read_policies(owner) if row[1]}
    assert left == ("campaigns", True, True)


def test_no_other_command_changes_or_misreads_the_policies(secured: SecuredDatabase) -> None:
    operator = secured.operator
    assert db.verify(operator).shape == "expanded"  # It has the table of tolerated writes.
    installed = read_policies(operator)
    db.init(operator)
    db.adopt(operator)
    assert read_policies(operator) == installed
    db.enforce(operator)
    assert (db.verify(operator).shape, db.verify(operator).pending) == ("current", ())
    assert read_policies(operator) == [row for row in installed if row[0] != TOLERATED_WRITES_TABLE]
    execute(operator, "DROP TABLE campaign_outbox CASCADE")
    with operator.begin() as connection:
        db.create_outbox(connection)
    assert db.read_row_security(operator).is_complete


OPERATIONS: dict[str, Callable[[sa.Engine], object]] = {
    "generating": db.generating,
    "take_moves": lambda engine: _in_transaction(engine, db.take_moves),
    "remove_tenant": lambda engine: _in_transaction(
        engine, lambda connection: db.remove_tenant(connection, uuid4())
    ),
    "sync_presets": lambda engine: _in_transaction(engine, db.sync_presets),
    "init": db.init,
    "verify": db.verify,
    "adopt": lambda engine: db.adopt(engine, dry_run=True),
    "enforce": lambda engine: db.enforce(engine, dry_run=True),
}


def _in_transaction(engine: sa.Engine, work: Callable[[sa.Connection], object]) -> object:
    with engine.begin() as connection:
        return work(connection)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_across_tenants_refuses_a_role_that_sees_some_rows_only(
    newest_secured: SecuredDatabase, name: str
) -> None:
    run = OPERATIONS[name]
    new_tenant(newest_secured.service).campaign("generating")
    with pytest.raises(db.SetupError, match="row-level security") as refused:
        run(newest_secured.owner)
    if name == "init":  # It is refused before a revision runs.
        assert db.VERSION_TABLE in str(refused.value)
    answers = [run(engine) for engine in (newest_secured.operator, newest_secured.superuser)]
    if name == "generating":
        assert [len(answer) for answer in answers if isinstance(answer, tuple)] == [1, 1]
