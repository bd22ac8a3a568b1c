"""Tenants for the tests, and functions that read or write the rows of one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Claim, Generated
from campaign_model.store.tables import campaign_contacts, campaigns
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant, add_minimal_tenant

HOST = db.MinimalHost(db.HostTables())

_LONG_AGO = FrozenClock()


def new_tenant(engine: sa.Engine) -> Tenant:
    """Add a tenant to the minimal host tables."""
    with engine.begin() as connection:
        tenant_id = add_minimal_tenant(connection, db.HostTables())

    def add_contacts(number: int) -> list[UUID]:
        ids = [uuid4() for _ in range(number)]
        rows = [
            {"id": id_, "tenant_id": tenant_id, "first_name": f"Contact {index}"}
            for index, id_ in enumerate(ids)
        ]
        if rows:
            with engine.begin() as connection:
                connection.execute(sa.insert(HOST.contacts), rows)
        return ids

    return Tenant(engine, tenant_id, add_contacts)


def drop_checks(engine: sa.Engine) -> None:
    """Let the engine write what CHECKs refuse, as services do between two steps of an adoption."""
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def ignore_checks(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA ignore_check_constraints = ON")

        engine.dispose()
        return
    with engine.begin() as connection:
        select_checks = """
            SELECT CAST(CAST(conrelid AS regclass) AS text), conname
            FROM pg_constraint
            WHERE contype = 'c' AND connamespace = CAST(current_schema() AS regnamespace)
        """
        for table, name in connection.exec_driver_sql(select_checks).all():
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")


def new_owner(tenant: Tenant) -> UUID:
    """Add an owner of campaigns to the minimal host tables."""
    owner_id = uuid4()
    execute(tenant, sa.insert(HOST.owners).values(id=owner_id, tenant_id=tenant.id, name="owner"))
    return owner_id


def message_values(tenant_id: UUID, contact: Claim | sa.Row[Any]) -> dict[str, Any]:
    """Return the row of a message of the host for a claim or a row of campaign_contacts."""
    return {
        "id": uuid4(),
        "tenant_id": tenant_id,
        "campaign_id": contact.campaign_id,
        "campaign_contact_id": contact.id,
        "contact_id": contact.contact_id,
        "channel": "email",
        "body": "Hello",
    }


def new_message(tenant: Tenant, contact: Claim | sa.Row[Any]) -> UUID:
    """Add a message of the host for a claim or a row of campaign_contacts."""
    values = message_values(tenant.id, contact)
    execute(tenant, sa.insert(HOST.messages).values(values))
    return UUID(str(values["id"]))


def execute(tenant: Tenant, statement: sa.Executable) -> None:
    """Execute a statement in a transaction of its own, as a program without the library does."""
    with tenant.engine.begin() as connection:
        connection.execute(statement)


def update_row(tenant: Tenant, table: sa.Table, id: UUID, **values: Any) -> None:
    """Update the row with this id, as a program without the library does."""
    execute(tenant, sa.update(table).where(table.c.id == id).values(**values))


def contact_rows(tenant: Tenant, campaign_id: UUID) -> dict[UUID, sa.Row[Any]]:
    """Return the rows of campaign_contacts by contact id, in the order of generation."""
    query = (
        sa.select(campaign_contacts)
        .where(
            campaign_contacts.c.tenant_id == tenant.id,
            campaign_contacts.c.campaign_id == campaign_id,
        )
        .order_by(campaign_contacts.c.rank)
    )
    with tenant.engine.begin() as connection:
        return {row.contact_id: row for row in connection.execute(query)}


def campaign_row(tenant: Tenant, campaign_id: UUID) -> sa.Row[Any]:
    """Return the row of campaigns."""
    with tenant.engine.begin() as connection:
        return connection.execute(sa.select(campaigns).where(campaigns.c.id == campaign_id)).one()


def legacy_columns(tenant: Tenant, campaign_id: UUID) -> tuple[int, int, Decimal]:
    """Return total_contacts, generated_count and generation_cost of the campaign's row."""
    row = campaign_row(tenant, campaign_id)
    return row.total_contacts, row.generated_count, row.generation_cost


def generate_all(tenant: Tenant, campaign_id: UUID, cost: Decimal = CENT) -> None:
    """Claim every contact and record it as generated."""
    claims = tenant.claim(campaign_id, 10_000, reserve=cost)
    tenant.record(dict.fromkeys(claims, Generated(cost)))


def claim_long_ago(tenant: Tenant, campaign_id: UUID, limit: int = 100) -> tuple[Claim, ...]:
    """Claim as a worker did long ago. The leases have expired by now."""
    _LONG_AGO.forward(2 * LEASE)
    return tenant.claim(campaign_id, limit, clock=_LONG_AGO)
