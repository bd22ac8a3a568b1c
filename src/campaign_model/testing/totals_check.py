"""Check the invariant of totals: the totals of a campaign are the sums of its contacts.

Progress, budgets and the legacy columns are read from ``campaign_totals`` alone, so they are right
only while this holds. Counts by status, booked cost, unknown costs and reservations are compared.
What erased contacts have cost stands in the totals alone and cannot be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.lifecycle import ContactStatus
from campaign_model.store.tables import campaign_contacts, campaign_totals

__all__ = ["find_wrong_totals"]

_STATUSES = [status.value for status in ContactStatus]
_CONTACT_COLUMNS = {
    "cost": "generation_cost",
    "unknown_costs": "unknown_costs",
    "reserved": "reserved",
}
"""Amounts: the column of ``campaign_totals`` and the column of ``campaign_contacts``."""

_NAMES = (*_STATUSES, *_CONTACT_COLUMNS)


def _sums(table: sa.Table, columns: Mapping[str, sa.ColumnElement[Any]]) -> sa.Select[Any]:
    """Sum the columns over the rows of each campaign."""
    return (
        sa.select(
            table.c.campaign_id,
            *(sa.func.sum(column).label(name) for name, column in columns.items()),
        )
        .where(
            table.c.tenant_id.in_(sa.bindparam("tenants", expanding=True)),
            table.c.campaign_id.in_(sa.bindparam("campaigns", expanding=True)),
        )
        .group_by(table.c.campaign_id)
    )


_CONTACTS = campaign_contacts.c
_SUMS_OF_TOTALS = _sums(campaign_totals, {name: campaign_totals.c[name] for name in _NAMES})
_SUMS_OF_CONTACTS = _sums(
    campaign_contacts,
    {
        **{status: sa.case((_CONTACTS.status == status, 1), else_=0) for status in _STATUSES},
        **{name: _CONTACTS[column] for name, column in _CONTACT_COLUMNS.items()},
    },
)


def find_wrong_totals(
    connection: sa.Connection, tenant_ids: Collection[UUID], campaign_ids: Collection[UUID]
) -> list[str]:
    """Return one sentence for each total of these campaigns that differs from its contacts.

    Where other transactions write at the same time, call it under an isolation level with one
    snapshot for all statements.
    """
    parameters = {"tenants": [*tenant_ids], "campaigns": [*campaign_ids]}

    def sums(query: sa.Select[Any]) -> dict[UUID, Mapping[Any, Any]]:
        rows = connection.execute(query, parameters).mappings()
        return {row["campaign_id"]: row for row in rows}

    totals, contacts = sums(_SUMS_OF_TOTALS), sums(_SUMS_OF_CONTACTS)
    # A campaign without rows in one of the tables has sums of zero there.
    zeros = dict.fromkeys(_NAMES, 0)
    return [
        f"campaign {campaign_id}: {name} is {total[name]} in campaign_totals, "
        f"but {counted[name]} in campaign_contacts"
        for campaign_id in sorted(totals.keys() | contacts.keys())
        for total, counted in [(totals.get(campaign_id, zeros), contacts.get(campaign_id, zeros))]
        for name in _NAMES
        if total[name] != counted[name]
    ]
