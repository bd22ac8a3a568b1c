"""``db.remove_tenant``: everything of one tenant is deleted, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import CampaignTemplate
from campaign_model.db.adoption.legacy_database import CREATE_QUARANTINE
from campaign_model.errors import Conflict, NotFound
from campaign_model.lifecycle import Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import metadata
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from support.tenants import HOST, contact_rows, new_message, new_tenant
from support.transactions import all_rows, on_postgresql, run_while_open


def fill(tenant: Tenant) -> None:
    """Add rows to every table of the library."""
    for status in Status:
        tenant.campaign(status, contacts=3)
    running = tenant.campaign("generating", contacts=3)
    claims = tenant.claim(running.id, 2)
    tenant.transact(lambda store: store.contacts.erase([claims[0].contact_id]))
    tenant.transact(lambda store: store.templates.add(CampaignTemplate("Own", STEPS)))


def rows_of(tenant: Tenant) -> dict[str, list[str]]:
    with tenant.engine.begin() as connection:
        return all_rows(connection, tenant.id)


def remove(tenant: Tenant, **options: Callable[[sa.Connection], object]) -> db.RemovedTenant:
    with tenant.engine.begin() as connection:
        return db.remove_tenant(connection, tenant.id, **options)


def test_every_row_of_the_tenant_is_deleted_and_no_other_one(tenant: Tenant) -> None:
    other, empty = new_tenant(tenant.engine), new_tenant(tenant.engine)
    fill(tenant)
    fill(other)
    others = rows_of(other)
    assert all(rows_of(tenant)[name] for name in metadata.tables)
    assert remove(tenant) == db.RemovedTenant(campaigns=8, contacts=23, templates=1)
    # Only the system templates are left, which every tenant sees.
    assert rows_of(tenant) == rows_of(empty)
    assert rows_of(other) == others
    assert remove(tenant) == db.RemovedTenant(0, 0, 0)
    with tenant.engine.begin() as connection:
        connection.execute(sa.delete(HOST.contacts).where(HOST.contacts.c.tenant_id == tenant.id))
        connection.execute(sa.delete(HOST.tenants).where(HOST.tenants.c.id == tenant.id))


def test_a_message_that_refers_to_a_contact_keeps_everything(tenant: Tenant) -> None:
    fill(tenant)
    campaign = tenant.campaign("review", contacts=1)
    (contact,) = contact_rows(tenant, campaign.id).values()
    new_message(tenant, contact)
    before = rows_of(tenant)
    with tenant.engine.begin() as connection:
        with pytest.raises(Conflict) as caught:
            db.remove_tenant(connection, tenant.id)
        assert caught.value.reason == "still_referred_to"
        assert all_rows(connection, tenant.id) == before
    messages = HOST.messages
    removed = remove(
        tenant,
        delete_messages=lambda connection: connection.execute(
            sa.delete(messages).where(messages.c.tenant_id == tenant.id)
        ),
    )
    assert (removed.campaigns, removed.contacts) == (9, 24)


@on_postgresql
def test_a_worker_that_meets_the_removal_writes_nothing_and_gets_not_found(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=3)
    claims = tenant.claim(campaign.id, 1)

    def remove_all(store: CampaignStore) -> db.RemovedTenant:
        return db.remove_tenant(store.connection, tenant.id)

    answers = run_while_open(
        tenant,
        first=remove_all,
        others=[
            lambda store: store.generation.claim(campaign.id, 1, LEASE),
            lambda store: store.generation.renew(claims, LEASE),
        ],
    )
    assert [type(answer) for answer in answers] == [NotFound, NotFound]


@on_postgresql
def test_the_quarantine_of_an_adoption_is_emptied_too(
    engine_name: str, schema: Callable[[str], str]
) -> None:
    engine = sa.create_engine(schema(engine_name))
    tenant, other = new_tenant(engine), new_tenant(engine)
    ids = {one.id: one.campaign().id for one in (tenant, other)}
    rows = [
        (str(row_id), value)
        for one in (tenant, other)
        for row_id, value in (
            (ids[one.id], json.dumps("a personal name")),
            (uuid4(), json.dumps({"tenant_id": str(one.id), "note": "a whole row"})),
        )
    ]
    with engine.begin() as connection:
        connection.exec_driver_sql(CREATE_QUARANTINE)
        for row_id, value in rows:
            connection.execute(
                sa.text(
                    "INSERT INTO campaign_quarantine (table_name, row_id, value, kind)"
                    " VALUES ('campaigns', :row_id, CAST(:value AS jsonb), 'test')"
                ),
                {"row_id": row_id, "value": value},
            )
        db.remove_tenant(connection, tenant.id)
        left = connection.scalars(sa.text("SELECT row_id FROM campaign_quarantine")).all()
    assert {*left} == {row_id for row_id, _ in rows[2:]}
    engine.dispose()
