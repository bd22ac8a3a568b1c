"""What the contract's tests do again and again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.campaign_contact import CampaignContact
from campaign_model.claims import Claim, Outcome, Progress, Recorded
from campaign_model.lifecycle import Action
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.contract.totals import disagreements
from campaign_model.testing.sample_campaigns import Tenant

__all__ = [
    "CENT",
    "LEASE",
    "apply",
    "check_totals",
    "claim",
    "contacts",
    "on_postgresql",
    "on_sqlite",
    "overwrite",
    "progress",
    "record",
]

on_postgresql = pytest.mark.usefixtures("postgresql")
on_sqlite = pytest.mark.usefixtures("sqlite")

CENT = Decimal("0.01")
LEASE = timedelta(minutes=5)


def claim(
    tenant: Tenant,
    campaign_id: UUID,
    limit: int = 100,
    *,
    clock: FrozenClock | None = None,
    **options: Any,
) -> tuple[Claim, ...]:
    """Claims made in a transaction of their own."""
    return tenant.transact(
        lambda store: store.generation.claim(campaign_id, limit, LEASE, **options),
        **_by(clock),
    ).claims


def _by(clock: FrozenClock | None) -> dict[str, FrozenClock]:
    """The option of a store that goes by this clock, or by the database's."""
    return {"clock": clock} if clock else {}


def record(tenant: Tenant, *outcomes: tuple[Claim, Outcome], **options: Any) -> list[Recorded]:
    """What was said of each outcome, reported in one transaction."""
    answers = tenant.transact(lambda store: store.generation.record(dict(outcomes), **options))
    return [answers[claim] for claim, _ in outcomes]


def apply(
    tenant: Tenant,
    campaign_id: UUID,
    *actions: Action,
    clock: FrozenClock | None = None,
    **options: Any,
) -> Campaign:
    """The campaign after these actions, each in a transaction of its own."""
    campaigns = [
        tenant.transact(
            lambda store: store.campaigns.apply(campaign_id, action, **options),  # noqa: B023
            **_by(clock),
        )
        for action in actions
    ]
    return campaigns[-1]


def contacts(tenant: Tenant, campaign_id: UUID) -> dict[UUID, CampaignContact]:
    """The contacts of a campaign, by the host's ids, in the order of generation."""
    page = tenant.transact(lambda store: store.contacts.list(campaign_id))
    return {contact.contact_id: contact for contact in page.items}


def progress(tenant: Tenant, campaign_id: UUID) -> Progress:
    """How far the campaign is."""
    return tenant.transact(lambda store: store.generation.progress(campaign_id))


def check_totals(tenant: Tenant, campaign_id: UUID) -> None:
    """The totals say what the contacts say."""
    with tenant.engine.connect() as connection:
        found = [*disagreements(connection, [tenant.id], [campaign_id])]
    assert not found


def overwrite(tenant: Tenant, table: sa.Table, id: UUID, **values: Any) -> None:
    """Write into a row of ours as a program that knows nothing of the library."""
    with tenant.engine.begin() as connection:
        connection.execute(
            sa.update(table).where(table.c.tenant_id == tenant.id, table.c.id == id).values(values)
        )
