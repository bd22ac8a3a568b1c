"""What is generating, across tenants: for the operator of a pool of workers."""

from __future__ import annotations

from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.lifecycle import ContactStatus
from campaign_model.store.tables import campaigns, is_running
from campaign_model.store.totals import Totals, join_totals, sum_columns

__all__ = ["Generating", "generating"]


@attrs.frozen
class Generating:
    """A campaign that has use for a worker.

    ``waiting`` contacts can be claimed, at once or when their pause is over; ``in_flight`` ones
    are with workers, and can be claimed when a lease runs out. Where there is neither, the worker
    that was to complete the campaign's generation is gone, and the next one will.
    """

    tenant_id: UUID
    campaign_id: UUID
    waiting: int
    in_flight: int


_RUNNING = (
    join_totals(sa.select(campaigns.c.tenant_id, campaigns.c.id, *sum_columns()), campaigns)
    .where(is_running)
    .group_by(campaigns.c.tenant_id, campaigns.c.id)
    .order_by(campaigns.c.generation_started_at, campaigns.c.id)
)


def generating(engine: sa.Engine) -> tuple[Generating, ...]:
    """Every campaign that is generating, of every tenant, the longest running first.

    For whoever runs workers for all tenants: it reads past them, as the owner of the schema.
    Where row-level security is on, its role has to be one that bypasses it.
    """
    with engine.begin() as connection:
        rows = connection.execute(_RUNNING).mappings().all()
    found = []
    for row in rows:
        total = Totals.from_columns(row)
        in_flight = total.counts[ContactStatus.GENERATING]
        found.append(Generating(row["tenant_id"], row["id"], total.waiting, in_flight))
    return tuple(found)
