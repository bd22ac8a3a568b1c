"""Check the invariant of totals: the totals of a campaign are the sums of its contacts.

Progress, budgets and the legacy columns are read from ``campaign_totals`` alone, so they are right
only while the totals are. :func:`find_wrong_totals` compares counts by status, exported contacts,
booked cost, unknown costs and reservations. A contact that was erased in flight leaves its
reservation in ``campaign_erased_claims``. The cost of erased contacts cannot be compared, because
no row has it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.lifecycle import ContactStatus
from campaign_model.store.tables import campaign_contacts, campaign_erased_claims, campaign_totals

__all__ = ["find_wrong_totals"]

_STATUSES = [status.value for status in ContactStatus]
_OTHER_STATUSES = [status for status in _STATUSES if status != ContactStatus.EXCLUDED]
_CONTACT_COLUMNS = {
    "cost": "generation_cost",
    "unknown_costs": "unknown_costs",
    "reserved": "reserved",
}
"""Maps each amount in ``campaign_totals`` to the column of ``campaign_contacts`` that it sums."""

_COMPARED = (*_STATUSES, "exported", *_CONTACT_COLUMNS)


def _sums(table: sa.Table, columns: Mapping[str, sa.ColumnElement[Any]]) -> sa.Select[Any]:
    """Return the query for the sums of these columns in each campaign."""
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
_SUMS_OF_TOTALS = _sums(campaign_totals, {name: campaign_totals.c[name] for name in _COMPARED})
_SUMS_OF_CONTACTS = _sums(
    campaign_contacts,
    {
        **{status: sa.case((_CONTACTS.status == status, 1), else_=0) for status in _STATUSES},
        # The store reads an unknown status as excluded.
        "excluded": sa.case((_CONTACTS.status.in_(_OTHER_STATUSES), 0), else_=1),
        "exported": sa.case((_CONTACTS.exported_at.is_not(None), 1), else_=0),
        **{name: _CONTACTS[column] for name, column in _CONTACT_COLUMNS.items()},
    },
)
_ERASED_RESERVATIONS = _sums(
    campaign_erased_claims, {"reserved": campaign_erased_claims.c.reserved}
)


def find_wrong_totals(
    connection: sa.Connection, tenant_ids: Collection[UUID], campaign_ids: Collection[UUID]
) -> list[str]:
    """Return one sentence for each total of these campaigns that is not the sum of its contacts.

    The function reads totals and contacts in several statements. If other transactions write at the
    same time, use an isolation level with one snapshot for all statements, such as REPEATABLE READ.
    """
    parameters = {"tenants": [*tenant_ids], "campaigns": [*campaign_ids]}

    def sums(query: sa.Select[Any]) -> dict[UUID, Mapping[Any, Any]]:
        rows = connection.execute(query, parameters).mappings()
        return {row["campaign_id"]: row for row in rows}

    totals, contacts = sums(_SUMS_OF_TOTALS), sums(_SUMS_OF_CONTACTS)
    erased = sums(_ERASED_RESERVATIONS)
    # A campaign without rows in one of the tables has sums of zero there.
    zeros = dict.fromkeys(_COMPARED, 0)
    faults = []
    for campaign_id in sorted(totals.keys() | contacts.keys() | erased.keys()):
        total = totals.get(campaign_id, zeros)
        counted = dict(contacts.get(campaign_id, zeros))
        if campaign_id in erased:
            counted["reserved"] += erased[campaign_id]["reserved"]
        faults += [
            f"campaign {campaign_id}: {name} is {total[name]} in campaign_totals, "
            f"but {counted[name]} in campaign_contacts"
            for name in _COMPARED
            if total[name] != counted[name]
        ]
    return faults
