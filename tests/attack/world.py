"""Two tenants with the same kinds of rows: the attacker, and the victim whose rows are watched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.campaign import Campaign, CampaignTemplate, Page
from campaign_model.claims import Claim
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import metadata
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from support.tenants import HOST, contact_rows, execute, message_values, new_owner, new_tenant

LIBRARY_TABLES = tuple(metadata.sorted_tables)
TENANT_TABLES = (*LIBRARY_TABLES, HOST.owners, HOST.contacts, HOST.messages)
"""All tables with a column ``tenant_id``."""

CLOCK = FrozenClock()
"""The time of every call, so that two calls have equal answers."""


@attrs.frozen
class Belongings:
    """What a tenant has. ``ids`` has the ids of its rows by the kind of row."""

    tenant: Tenant
    ids: Mapping[str, tuple[UUID, ...]]
    campaigns: tuple[Campaign, ...]
    templates: tuple[CampaignTemplate, ...]
    claims: tuple[Claim, ...]
    export_claims: tuple[Claim, ...]
    cursors: tuple[str, ...]

    @property
    def all_ids(self) -> frozenset[UUID]:
        """Every id and token in the tenant's rows."""
        return frozenset(id_ for ids in self.ids.values() for id_ in ids)


def make_belongings(engine: sa.Engine, word: str) -> Belongings:
    """Make a tenant with campaigns in every status and every kind of row. Texts contain ``word``.

    Some claims are held, some have expired, and one is that of an erased contact.
    """
    tenant = new_tenant(engine)
    contacts = tenant.contacts(5)
    owner_id = new_owner(tenant)
    template = tenant.transact(
        lambda store: store.templates.add(CampaignTemplate(f"Template {word}", STEPS))
    )
    fields: dict[str, Any] = {
        "owner_id": owner_id,
        "template_id": template.id,
        "name": f"Campaign {word}",
    }
    for status in Status:
        failed = status not in {Status.DRAFT, Status.READY}
        tenant.campaign(status, contacts=contacts[:4], failed=failed, **fields)
    running = tenant.campaign("generating", contacts=contacts, **fields)
    exported = tenant.campaign("exported", contacts=contacts, **fields)
    deleted = tenant.campaign(contacts=contacts[:1], **fields)
    tenant.apply(deleted.id, Action.DELETE)
    CLOCK.forward(-2 * LEASE)
    expired = tenant.claim(running.id, 1, clock=CLOCK)
    CLOCK.forward(2 * LEASE)
    held = tenant.claim(running.id, 3, clock=CLOCK, lease=timedelta(days=1))
    tenant.transact(lambda store: store.contacts.erase([held[-1].contact_id]))
    export_claims = tenant.transact(
        lambda store: store.export.claim(exported.id, 2, LEASE).claims, clock=CLOCK
    )
    for campaign in (running, exported):
        for row in contact_rows(tenant, campaign.id).values():
            values = message_values(tenant.id, row) | {"body": f"Message {word}"}
            values |= {"revision": row.revision, "step_key": "s1", "variant": "A"}
            execute(tenant, sa.insert(HOST.messages).values(values))
    return tenant.transact(
        lambda store: read_belongings(store, tenant, (*expired, *held), export_claims)
    )


def read_belongings(
    store: CampaignStore,
    tenant: Tenant,
    claims: tuple[Claim, ...],
    export_claims: tuple[Claim, ...],
) -> Belongings:
    """Read what the tenant has."""
    ids: dict[str, tuple[UUID, ...]] = {"tenant": (tenant.id,), "token": ()}
    for table in TENANT_TABLES:
        rows = store.connection.execute(sa.select(table).where(table.c.tenant_id == tenant.id))
        for row in rows.mappings():
            if "id" in row:
                ids[table.name] = (*ids.get(table.name, ()), row["id"])
            ids["token"] += tuple(
                row[name] for name in ("claim_token", "token") if row.get(name) is not None
            )
    pages: list[Page[Any]] = [
        store.campaigns.list(limit=2, deleted=True),
        *(store.contacts.list(id_, limit=1) for id_ in ids["campaigns"]),
    ]
    return Belongings(
        tenant,
        ids,
        tuple(store.campaigns.get(id_) for id_ in ids["campaigns"]),
        tuple(each for each in store.templates.list() if not each.is_system),
        claims,
        export_claims,
        tuple(page.next for page in pages if page.next),
    )
