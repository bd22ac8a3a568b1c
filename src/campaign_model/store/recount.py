"""Recounts: totals are corrected after writers that know nothing of them.

Legacy services insert, update and delete campaign contacts with plain SQL. Afterwards the totals
differ from the contacts. Invariant: no such difference outlives a change of the campaign's status.

1. ``apply`` holds the campaign's exclusive lock, so no worker writes. It counts the contacts in one
   query (:func:`recount_totals`), which takes about half a second for a million contacts.
2. It adds the difference to the totals and logs it as a warning.
3. Its guards check the counted numbers, and not the totals.

The other calls under the exclusive lock do the same for a small campaign (:data:`SMALL_CAMPAIGN`).
In a large campaign they add their deltas and leave the count to the next ``apply``: a service that
notes the readiness of a million contacts one by one would otherwise read a million contacts for
each of them. Workers never count.
"""

from __future__ import annotations

from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._logs import store_log
from campaign_model._values import exact_money
from campaign_model.store.scope import Scope
from campaign_model.store.statements import GENERATING
from campaign_model.store.tables import campaign_contacts, campaign_erased_claims
from campaign_model.store.totals import (
    Totals,
    add_to_totals,
    lock_totals,
    reset_low_watermark,
    write_legacy_columns,
)
from campaign_model.store.types import Money, read_contact_status, total_of

SMALL_CAMPAIGN = 10_000
"""Every call under the exclusive lock counts up to this many contacts, in about 5 ms."""

_CONTACT = campaign_contacts.c
_IS_UNLEASED = sa.and_(
    _CONTACT.status == GENERATING.value,
    _CONTACT.lease_expires_at.is_(None),
)


def is_small(total: Totals) -> bool:
    """Tell whether a campaign with these totals is small: counting its contacts costs little."""
    return sum(total.counts.values()) <= SMALL_CAMPAIGN


@exact_money()
def count_contacts(scope: Scope, campaign_id: UUID, kept: Totals) -> Totals:
    """Count the campaign's contacts, and what is reserved for those that were erased in flight.

    What the rows do not say comes from the ``kept`` totals. One query reads every contact: it takes
    about half a second for a million.
    """
    rows = scope.connection.execute(
        sa.select(
            _CONTACT.status,
            sa.func.count().label("contacts"),
            sa.func.count(_CONTACT.exported_at).label("exported"),
            total_of(_CONTACT.generation_cost, type_=Money()).label("cost"),
            total_of(_CONTACT.unknown_costs, type_=sa.BigInteger()).label("unknown_costs"),
            total_of(_CONTACT.reserved, type_=Money()).label("reserved"),
            sa.func.count().filter(_IS_UNLEASED).label("unleased"),
        )
        .where(scope.of_campaign(campaign_contacts, campaign_id))
        .group_by(_CONTACT.status)
    ).all()
    counts = Totals().counts
    for row in rows:
        counts[read_contact_status(row.status)] += row.contacts
    erased_claim = campaign_erased_claims.c
    erased_reservations = scope.connection.execute(
        sa.select(total_of(erased_claim.reserved, type_=Money())).where(
            scope.of_campaign(campaign_erased_claims, campaign_id)
        )
    ).scalar_one()
    return attrs.evolve(
        kept,
        counts=counts,
        exported=sum(row.exported for row in rows),
        cost=sum(row.cost for row in rows),
        unknown_costs=sum(row.unknown_costs for row in rows),
        reserved=sum((row.reserved for row in rows), erased_reservations),
        unleased=sum(row.unleased for row in rows),
    )


def recount_totals(scope: Scope, campaign_id: UUID) -> Totals:
    """Count the contacts, correct the totals and return them. Reset the low-water mark.

    Let contacts that a legacy writer left generating without a lease have one that has expired:
    the next claim takes them over. Otherwise no worker would claim them, and the campaign could not
    be completed. Call this under the exclusive lock.
    """
    reset_low_watermark(scope, campaign_id)
    total = _correct_totals(scope, campaign_id, lock_totals(scope, campaign_id))
    if total.unleased:
        scope.connection.execute(
            sa.update(campaign_contacts)
            .where(scope.of_campaign(campaign_contacts, campaign_id), _IS_UNLEASED)
            .values(lease_expires_at=scope.now())
        )
    return total


@exact_money()
def _correct_totals(scope: Scope, campaign_id: UUID, kept: Totals) -> Totals:
    """Add to the ``kept`` totals what they lack, and return what the contacts say.

    Log the difference: a legacy writer has changed contacts.
    """
    counted = count_contacts(scope, campaign_id, kept)
    before = kept.columns()
    difference = {
        name: value - before[name]
        for name, value in counted.columns().items()
        if value != before[name]
    }
    if difference:
        store_log.warning(
            "corrected the totals of campaign %s: %s",
            campaign_id,
            ", ".join(f"{name} {value:+}" for name, value in difference.items()),
            extra={
                "tenant_id": str(scope.tenant_id),
                "campaign_id": str(campaign_id),
                "difference": {name: str(value) for name, value in difference.items()},
            },
        )
        add_to_totals(scope, campaign_id, Totals.from_columns(difference))
    return counted


def refresh_campaign(scope: Scope, campaign_id: UUID) -> None:
    """Reset the low-water mark and write the legacy columns, after a change of contacts.

    Count the contacts of a small campaign.
    """
    reset_low_watermark(scope, campaign_id)
    total = lock_totals(scope, campaign_id)
    if is_small(total):
        total = _correct_totals(scope, campaign_id, total)
    write_legacy_columns(scope, campaign_id, total)
