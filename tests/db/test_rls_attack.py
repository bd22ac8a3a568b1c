"""Raw SQL of one tenant against the rows of another, under row-level security.

The attacks are made for every table of the catalog. The attacker has every privilege on the tables,
so that nothing but the policies is in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import CampaignTemplate
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore
from campaign_model.store.connection import sqlstate
from campaign_model.store.tables import campaign_templates
from campaign_model.store.tenant_setting import TENANT_SETTING
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant, make_campaign
from support import servers
from support.row_security import SecuredDatabase, secured_database
from support.tenants import new_tenant

DUPLICATE = "23505"
REFUSED = "42501"
"""The policy refused a new row."""

NO_TENANT = {None: {"42704", "22P02"}, "": {"22P02"}, "garbage": {"22P02"}}
"""Settings that name no tenant, and the errors of PostgreSQL for them.

A session that had a tenant in an earlier transaction has an empty setting afterwards.
"""


@attrs.frozen
class Scene:
    """Two tenants with rows in every table, and the attacker's engine."""

    database: SecuredDatabase
    tables: dict[str, sa.Table]
    mine: UUID
    theirs: UUID

    @contextmanager
    def attack(self, tenant: object) -> Iterator[sa.Connection]:
        """Open a transaction of the attacker with this setting. Roll it back at the end."""
        with self.database.service.connect() as connection, connection.begin() as transaction:
            if tenant is not None:
                connection.exec_driver_sql(f"SET LOCAL {TENANT_SETTING} = '{tenant}'")
            yield connection
            transaction.rollback()

    def rows_of(self, table: sa.Table, tenant: UUID) -> list[dict[str, Any]]:
        """Return the rows of a tenant, as a superuser sees them."""
        with self.database.superuser.begin() as connection:
            query = sa.select(table).where(table.c.tenant_id == tenant)
            return [dict(row) for row in connection.execute(query).mappings()]


@pytest.fixture(scope="module", params=servers.postgresql())
def scene(
    request: pytest.FixtureRequest,
    databases: servers.Databases,
    template_url: Callable[[str], str],
) -> Iterator[Scene]:
    url = databases.create(request.param, template_url(request.param))
    with secured_database(url) as secured:
        tenants = [new_tenant(secured.service) for _ in range(2)]
        for tenant in tenants:
            add_rows(tenant)
        with secured.superuser.begin() as connection:
            catalog = sa.MetaData()
            catalog.reflect(connection)
            names = {one.table for one in db.read_row_security(connection).tables}
            tables = {name: catalog.tables[name] for name in names}
            for name in names:
                connection.exec_driver_sql(f"GRANT ALL ON {name} TO {secured.service_role}")
            connection.exec_driver_sql(
                "INSERT INTO campaign_tolerated_writes (table_name, broken) VALUES ('x', '{y}')"
            )
            connection.exec_driver_sql(
                "INSERT INTO campaign_quarantine (table_name, row_id, column_name, kind, value) "
                "VALUES ('campaigns', 'x', 'name', 'x', '1')"
            )
        yield Scene(secured, tables, tenants[0].id, tenants[1].id)
    databases.drop(url)


def add_rows(tenant: Tenant) -> None:
    """Add rows of a tenant to every table that has rows of tenants."""

    def work(store: CampaignStore) -> None:
        campaign = make_campaign(store, tenant.contacts(3), "generating", generated=1)
        (claim,) = store.generation.claim(campaign.id, 1, LEASE).claims
        store.contacts.erase([claim.contact_id])
        store.templates.add(CampaignTemplate("Own", STEPS))
        store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)

    tenant.transact(work)


def tenant_tables(scene: Scene) -> list[sa.Table]:
    tables = [table for table in scene.tables.values() if "tenant_id" in table.c]
    assert len(tables) == len(scene.tables) - 3
    return tables


def refusal(connection: sa.Connection, statement: sa.Executable) -> str | None:
    """Return the SQLSTATE with which the database refuses the statement, or None."""
    savepoint = connection.begin_nested()
    try:
        connection.execute(statement)
    except sa.exc.DBAPIError as error:
        return sqlstate(error)
    finally:
        savepoint.rollback()
    return None


def fresh(table: sa.Table, row: dict[str, Any], **values: Any) -> sa.Executable:
    """Build the INSERT of a copy of a row that no key refuses because of the row."""
    new_id = {"id": uuid4()} if "id" in table.c else {}
    numbers = {name: 77 for name in ("shard", "version", "number") if name in table.c}
    others: dict[str, Any] = {"name": "x"} if table.name == "campaign_templates" else {}
    if table.name == "campaign_erased_claims":
        others["campaign_contact_id"] = uuid4()
    # None in a JSON column would be the JSON null.
    given = {name: value for name, value in row.items() if value is not None}
    return sa.insert(table).values(given | new_id | numbers | others | values)


def test_a_tenant_neither_reads_counts_nor_locks_rows_of_another(scene: Scene) -> None:
    for table in tenant_tables(scene):
        own, theirs = scene.rows_of(table, scene.mine), scene.rows_of(table, scene.theirs)
        assert own, table.name
        assert theirs, table.name
        is_theirs = table.c.tenant_id == scene.theirs
        with scene.attack(scene.mine) as connection:
            assert connection.execute(sa.select(table).where(is_theirs)).all() == []
            system = table.c.tenant_id.is_not(None)
            count = sa.select(sa.func.count()).select_from(table).where(system)
            assert connection.scalar(count) == len(own), table.name
            # No condition of the attacker's is evaluated for rows of another tenant.
            leak = sa.select(table).where(
                sa.text("1 / (CASE tenant_id WHEN :id THEN 0 ELSE 1 END) = 1")
            )
            connection.execute(leak.params(id=scene.theirs))
            locked = connection.execute(sa.select(table).where(system).with_for_update()).all()
            assert len(locked) == len(own), table.name
            with scene.database.superuser.begin() as other:
                lock = sa.select(table).where(is_theirs).with_for_update(nowait=True)
                assert len(other.execute(lock).all()) == len(theirs), table.name


def test_a_tenant_neither_changes_deletes_nor_adds_rows_of_another(scene: Scene) -> None:
    for table in tenant_tables(scene):
        (own, *_), before = scene.rows_of(table, scene.mine), scene.rows_of(table, scene.theirs)
        is_theirs = table.c.tenant_id == scene.theirs
        with scene.attack(scene.mine) as connection:
            for statement in (
                sa.update(table).where(is_theirs).values(tenant_id=scene.mine),
                sa.update(table).where(is_theirs).values(tenant_id=table.c.tenant_id),
                sa.delete(table).where(is_theirs),
            ):
                assert connection.execute(statement).rowcount == 0, table.name
            for tenant in (scene.theirs, uuid4()):
                give_away = sa.update(table).where(table.c.tenant_id == scene.mine)
                assert refusal(connection, give_away.values(tenant_id=tenant)) == REFUSED
                assert refusal(connection, fresh(table, before[0], tenant_id=tenant)) == REFUSED
            # The tenant's own row is accepted, or a key refuses the second one.
            assert refusal(connection, fresh(table, own)) in (None, DUPLICATE), table.name
        assert scene.rows_of(table, scene.theirs) == before, table.name


@pytest.mark.parametrize("setting", NO_TENANT)
def test_without_a_tenant_nothing_is_read_or_written(scene: Scene, setting: str | None) -> None:
    errors = NO_TENANT[setting]
    for table in tenant_tables(scene):
        (row, *_) = scene.rows_of(table, scene.theirs)
        before = scene.rows_of(table, scene.theirs)
        with scene.attack(setting) as connection:
            for statement in (
                sa.select(table),
                sa.select(sa.func.count()).select_from(table),
                sa.select(table).with_for_update(),
                sa.update(table).values(tenant_id=table.c.tenant_id),
                sa.delete(table),
                fresh(table, row),
            ):
                assert refusal(connection, statement) in errors, (table.name, str(statement))
        assert scene.rows_of(table, scene.theirs) == before


def test_system_templates_are_read_by_every_tenant_and_written_by_none(scene: Scene) -> None:
    table = campaign_templates
    is_system = table.c.tenant_id.is_(None)
    read = sa.select(table).where(is_system)
    with scene.database.superuser.begin() as connection:
        before = connection.execute(read).all()
    assert before
    for setting, errors in NO_TENANT.items():
        with scene.attack(setting) as connection:
            assert refusal(connection, read) in errors
    for tenant in (scene.mine, scene.theirs):
        with scene.attack(tenant) as connection:
            assert {*connection.execute(read)} == {*before}
            assert connection.execute(read.with_for_update()).all() == []
            for values in ({"name": "mine"}, {"tenant_id": tenant, "is_system": False}):
                update = sa.update(table).where(is_system).values(**values)
                assert connection.execute(update).rowcount == 0
            assert connection.execute(sa.delete(table).where(is_system)).rowcount == 0
            row = {**before[0]._mapping}
            assert refusal(connection, fresh(table, row)) == REFUSED
            upsert = sa.text(
                "INSERT INTO campaign_templates (id, tenant_id, name) VALUES (:id, :tenant, 'x') "
                "ON CONFLICT (id) DO UPDATE SET tenant_id = excluded.tenant_id, is_system = false"
            ).bindparams(id=row["id"], tenant=tenant)
            assert refusal(connection, upsert) == REFUSED


def test_tables_without_a_tenant_show_only_the_version(scene: Scene) -> None:
    with scene.attack(scene.mine) as connection:
        for name in ("campaign_quarantine", "campaign_tolerated_writes", db.VERSION_TABLE):
            table = scene.tables[name]
            rows = connection.execute(sa.select(table)).all()
            assert len(rows) == (name == db.VERSION_TABLE), name
            assert connection.execute(sa.delete(table)).rowcount == 0
        version = sa.insert(scene.tables[db.VERSION_TABLE]).values(version_num="x")
        assert refusal(connection, version) == REFUSED
        quarantined = sa.text(
            "INSERT INTO campaign_quarantine (table_name, row_id, column_name, kind, value) "
            "VALUES ('campaigns', 'x', 'name', 'x', '1')"
        )
        assert refusal(connection, quarantined) == REFUSED
        # A trigger of tolerated writes counts for every tenant.
        count = sa.text(
            "INSERT INTO campaign_tolerated_writes (table_name, broken) VALUES ('x', '{y}')"
        )
        assert refusal(connection, count) is None


def test_what_a_key_can_still_tell(scene: Scene) -> None:
    """PostgreSQL compares a new key with all rows of the table. Policies hide none of them from it.

    A foreign key answers the same for a row of another tenant and for no row: each of them contains
    the tenant. A primary key tells whether a guessed id exists.
    """
    contacts = scene.tables["campaign_contacts"]
    (own, *_) = scene.rows_of(contacts, scene.mine)
    (theirs, *_) = scene.rows_of(contacts, scene.theirs)
    with scene.attack(scene.mine) as connection:
        for column in ("campaign_id", "contact_id"):
            probes = [
                refusal(connection, fresh(contacts, own, **{column: value}))
                for value in (theirs[column], uuid4())
            ]
            assert probes == ["23503", "23503"], column
        free = {"campaign_id": own["campaign_id"], "contact_id": own["contact_id"]}
        assert refusal(connection, fresh(contacts, own, id=theirs["id"], **free)) == DUPLICATE
