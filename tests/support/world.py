"""A tenant with contacts, and the steps that most store tests begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.claims import Claim, Generated
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.steps import StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.store.tables import campaign_contacts, campaign_totals, campaigns
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import STEPS, make_campaign

Result = TypeVar("Result")

LEASE = timedelta(minutes=5)
HOST = db.MinimalHost(db.HostTables())


class World:
    """One tenant on one engine; rows of other tenants in the same database are none of its own."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.tenant_id = uuid4()
        self.owner_id = uuid4()
        self._long_ago = FrozenClock()
        with engine.begin() as connection:
            connection.execute(sa.insert(HOST.tenants).values(id=self.tenant_id, name="tenant"))
            connection.execute(
                sa.insert(HOST.owners).values(
                    id=self.owner_id, tenant_id=self.tenant_id, name="owner"
                )
            )

    def transact(self, work: Callable[[CampaignStore], Result], **options: Any) -> Result:
        """Run ``work(store)`` in a transaction of its own."""
        return transact(self.engine, self.tenant_id, work, **options)

    def contacts(self, number: int) -> list[UUID]:
        """Ids of new contacts of the host."""
        ids = [uuid4() for _ in range(number)]
        if ids:
            with self.engine.begin() as connection:
                connection.execute(
                    sa.insert(HOST.contacts),
                    [
                        {"id": one, "tenant_id": self.tenant_id, "first_name": f"Contact {index}"}
                        for index, one in enumerate(ids)
                    ],
                )
        return ids

    def campaign(
        self,
        contacts: int | Sequence[UUID] = 3,
        status: Status = Status.DRAFT,
        *,
        steps: StepSequence = STEPS,
        budget: Decimal | None = None,
    ) -> Campaign:
        """A campaign with contacts, moved on to any status.

        On the way to review every contact is generated at a cost of 0.01.
        """
        ids = self.contacts(contacts) if isinstance(contacts, int) else contacts

        return self.transact(
            lambda store: make_campaign(store, ids, status, steps=steps, budget=budget)
        )

    def apply(self, campaign_id: UUID, action: Action, **options: Any) -> Campaign:
        """Apply one action in a transaction of its own."""
        return self.transact(lambda store: store.campaigns.apply(campaign_id, action, **options))

    def claim(
        self,
        campaign_id: UUID,
        limit: int = 100,
        lease: timedelta = LEASE,
        *,
        clock: FrozenClock | None = None,
        **options: Any,
    ) -> tuple[Claim, ...]:
        """Claim in a transaction of its own."""
        return self.transact(
            lambda store: store.generation.claim(campaign_id, limit, lease, **options),
            **({"clock": clock} if clock else {}),
        ).claims

    def claim_overdue(self, campaign_id: UUID, limit: int = 100) -> tuple[Claim, ...]:
        """Claim as somebody did long ago, whose leases have run out by now."""
        self._long_ago.forward(2 * LEASE)
        return self.claim(campaign_id, limit, clock=self._long_ago)

    def generate(self, campaign_id: UUID, cost: str = "0.01") -> None:
        """Claim everything and record it as generated."""
        claims = self.claim(campaign_id, 10_000, reserve=Decimal(cost))
        outcome = Generated(Decimal(cost))
        self.transact(lambda store: store.generation.record(dict.fromkeys(claims, outcome)))

    def rows(self, campaign_id: UUID) -> dict[UUID, sa.Row[Any]]:
        """The campaign's junction rows by contact, straight from the table and in its order."""
        query = (
            sa.select(campaign_contacts)
            .where(
                campaign_contacts.c.tenant_id == self.tenant_id,
                campaign_contacts.c.campaign_id == campaign_id,
            )
            .order_by(campaign_contacts.c.rank)
        )
        with self.engine.begin() as connection:
            return {row.contact_id: row for row in connection.execute(query)}

    def check(self, campaign_id: UUID) -> None:
        """Hold totals against the junction: counts, cost, unknown costs and reservations."""
        rows = self.rows(campaign_id).values()
        with self.engine.begin() as connection:
            shards = connection.execute(
                sa.select(campaign_totals).where(
                    campaign_totals.c.tenant_id == self.tenant_id,
                    campaign_totals.c.campaign_id == campaign_id,
                )
            ).all()
        for status in ContactStatus:
            counted = sum(getattr(shard, status.value) for shard in shards)
            assert counted == sum(row.status == status for row in rows), status
        for column, total in (
            ("generation_cost", "cost"),
            ("unknown_costs", "unknown_costs"),
            ("reserved", "reserved"),
        ):
            summed = sum(getattr(shard, total) for shard in shards)
            assert summed == sum(getattr(row, column) for row in rows), column

    def legacy(self, campaign_id: UUID) -> tuple[int, int, Decimal]:
        """What a legacy reader sees: total_contacts, generated_count, generation_cost."""
        with self.engine.begin() as connection:
            row = connection.execute(
                sa.select(
                    campaigns.c.total_contacts,
                    campaigns.c.generated_count,
                    campaigns.c.generation_cost,
                ).where(campaigns.c.id == campaign_id)
            ).one()
        return row.total_contacts, row.generated_count, row.generation_cost
