"""The messages of the demo's campaign: reviewing them, counting decisions and adding up costs."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli.demo.host_tables import TENANT
from campaign_model.lifecycle import ReviewTally

__all__ = [
    "APPROVED",
    "ChannelCosts",
    "belongs_to_campaign",
    "count_decisions",
    "load_channel_costs",
    "review_all_but_one",
]

APPROVED = "approved"
_REJECTED = "rejected"


@attrs.frozen
class ChannelCosts:
    """A campaign's messages in one channel: how many, how many are approved, and their cost."""

    channel: str
    messages: int
    approved: int
    cost: Decimal


def belongs_to_campaign(host: db.MinimalHost, campaign_id: UUID) -> sa.ColumnElement[bool]:
    """Build the condition that selects the messages of a campaign."""
    columns = host.messages.c
    return sa.and_(columns.tenant_id == TENANT, columns.campaign_id == campaign_id)


def review_all_but_one(connection: sa.Connection, host: db.MinimalHost, campaign_id: UUID) -> None:
    """Reject the message with the lowest id and approve all others, in place of a reviewer."""
    in_campaign = belongs_to_campaign(host, campaign_id)
    lowest_id = connection.scalars(
        sa.select(host.messages.c.id).where(in_campaign).order_by(host.messages.c.id).limit(1)
    ).one()
    decision = sa.case((host.messages.c.id == lowest_id, _REJECTED), else_=APPROVED)
    connection.execute(sa.update(host.messages).where(in_campaign).values(status=decision))


def count_decisions(
    connection: sa.Connection, host: db.MinimalHost, campaign_id: UUID
) -> ReviewTally:
    """Count the approved, rejected and undecided messages of a campaign."""
    rows = connection.execute(
        sa.select(host.messages.c.status, sa.func.count().label("number"))
        .where(belongs_to_campaign(host, campaign_id))
        .group_by(host.messages.c.status)
    )
    counts = {row.status: row.number for row in rows}
    approved, rejected = counts.pop(APPROVED, 0), counts.pop(_REJECTED, 0)
    return ReviewTally(approved, rejected, undecided=sum(counts.values()))


def load_channel_costs(
    connection: sa.Connection, host: db.MinimalHost, campaign_id: UUID
) -> tuple[ChannelCosts, ...]:
    """Load the counts and the cost of a campaign's messages, one entry per channel."""
    rows = connection.execute(
        sa.select(
            host.messages.c.channel,
            sa.func.count(),
            sa.func.sum(sa.case((host.messages.c.status == APPROVED, 1), else_=0)),
            sa.func.sum(host.messages.c.generation_cost),
        )
        .where(belongs_to_campaign(host, campaign_id))
        .group_by(host.messages.c.channel)
        .order_by(sa.func.min(host.messages.c.sequence_step))
    )
    return tuple(ChannelCosts(*row) for row in rows)
