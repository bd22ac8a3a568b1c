"""The totals of campaigns, held against the contacts that they count."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

import sqlalchemy as sa

from campaign_model.lifecycle import ContactStatus
from campaign_model.store.tables import campaign_contacts, campaign_totals
from campaign_model.store.totals import Totals, sum_columns
from campaign_model.store.types import Array, Uuid, any_of

__all__ = ["disagreements"]

_COMPARED = ("cost", "unknown_costs", "reserved")


def disagreements(
    connection: sa.Connection, tenant_ids: Collection[UUID], campaign_ids: Collection[UUID]
) -> Iterator[str]:
    """Where totals and contacts of these campaigns say different things, seen at one moment."""

    def these(table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.and_(
            any_of(table.c.tenant_id, sa.literal([*tenant_ids], Array(Uuid))),
            any_of(table.c.campaign_id, sa.literal([*campaign_ids], Array(Uuid))),
        )

    counted: dict[UUID, Totals] = {}
    contacts = campaign_contacts.c
    for row in connection.execute(
        sa.select(
            contacts.campaign_id,
            contacts.status,
            sa.func.count().label("number"),
            sa.func.sum(contacts.generation_cost).label("cost"),
            sa.func.sum(contacts.unknown_costs).label("unknown_costs"),
            sa.func.sum(contacts.reserved).label("reserved"),
        )
        .where(these(campaign_contacts))
        .group_by(contacts.campaign_id, contacts.status)
    ):
        total = counted.setdefault(row.campaign_id, Totals())
        total.counts[ContactStatus(row.status)] = row.number
        total.cost += row.cost
        total.unknown_costs += int(row.unknown_costs)
        total.reserved += row.reserved
    stored = {
        row["campaign_id"]: Totals.from_columns(row)
        for row in connection.execute(
            sa.select(campaign_totals.c.campaign_id, *sum_columns())
            .where(these(campaign_totals))
            .group_by(campaign_totals.c.campaign_id)
        ).mappings()
    }
    for campaign_id in sorted(counted.keys() | stored.keys()):
        said = stored.get(campaign_id, Totals())
        true = counted.get(campaign_id, Totals())
        for name, one, other in [
            *((status.value, said.counts[status], true.counts[status]) for status in ContactStatus),
            *((name, getattr(said, name), getattr(true, name)) for name in _COMPARED),
        ]:
            if one != other:
                yield (
                    f"campaign {campaign_id}: {name} is {one} in its totals and {other} by its "
                    "contacts"
                )
