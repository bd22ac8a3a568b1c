"""Budgets: a claim reserves money before it takes contacts.

Invariant: the spent and the reserved money of a campaign together are at most its budget, unless
contacts cost more than was reserved for them.

**One row.** While a campaign has a budget, every call changes shard 0 of its totals. One UPDATE of
this row decides whether a reservation fits (:func:`reserve_budget`).

**A budget that appears during a run.** Without a budget, the calls of workers change all shards.

1. A legacy writer that writes a budget into the campaign row waits for the shared locks of the
   calls that are open.
2. Every later call locks the row, reads the budget and changes shard 0 only. So the other shards do
   not change any more. The condition of the UPDATE counts the money in them too.
3. Contacts that workers hold at that moment have no reservation. The first claim with the budget
   reserves money for them too.

If the budget is changed, or removed and written again, the same steps follow. While there is no
budget, an outcome may end an earlier reservation, and any shard may get this change. So the
condition counts the reserved money of the other shards too, which may be negative.

**The end of a reservation.** A reservation ends with the outcome of its claim. A contact that is
excluded in flight keeps its reservation in its row. The reservation of a contact that is erased in
flight is kept in ``campaign_erased_claims``. If the lease of such a contact expires before an
outcome is recorded, the next claim that finds no room in the budget frees the reservation.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa

from campaign_model._values import exact_money
from campaign_model.claims import Claim
from campaign_model.lifecycle import ContactStatus
from campaign_model.store.connection import insert_into
from campaign_model.store.scope import Scope
from campaign_model.store.tables import campaign_contacts, campaign_erased_claims, campaign_totals
from campaign_model.store.totals import Totals, add_to_totals
from campaign_model.store.types import Money, is_one_of, total_of

_T = campaign_totals.c
_NOTHING = sa.literal(Decimal(0), Money())


@exact_money()
def reserve_budget(
    scope: Scope, campaign_id: UUID, budget: Decimal, each: Decimal, wanted: int, now: datetime
) -> tuple[int, datetime | None]:
    """Reserve ``each`` for up to ``wanted`` claims; return the number that the budget has room for.

    If that is fewer than wanted, also return when the next lease of an excluded or erased contact
    expires, so that its reservation can be freed; None if there is no such contact. ``each`` is the
    amount for one claim, and ``now`` the time of the call. ``unit_reserve`` in the totals is zero
    until the first claim of a run with a budget.
    """
    shard = sa.and_(scope.of_campaign(campaign_totals, campaign_id), _T.shard == 0)
    used = _T.cost + _T.erased_cost + _T.reserved + _used_in_other_shards(scope, campaign_id)

    def reserve(number: int, *conditions: sa.ColumnElement[bool]) -> bool:
        updated = scope.connection.execute(
            sa.update(campaign_totals)
            .where(shard, *conditions)
            .values(reserved=_T.reserved + _amount(each * number), unit_reserve=_amount(each))
        )
        return updated.rowcount > 0

    # 1. Reserve for all claims, if the budget has room and this is not the first claim.
    if each:
        wanted = min(wanted, int(budget // each))
    fits = used + _amount(each * wanted) <= _amount(budget)
    if reserve(wanted, fits, _T.unit_reserve > _NOTHING):
        return wanted, None
    # 2. Reserve money for claimed contacts that have no reservation. Free the reservations that no
    # worker holds any more.
    if not scope.connection.scalar(sa.select(_T.unit_reserve).where(shard)):
        _reserve_in_flight(scope, campaign_id, each)
    next_expiry = _free_expired_reservations(scope, campaign_id, now)
    # 3. Lock the row, and reserve for as many claims as the budget has room for. A campaign of a
    # legacy writer has no row yet.
    place = {"tenant_id": scope.tenant_id, "campaign_id": campaign_id, "shard": 0}
    scope.connection.execute(
        insert_into(scope.connection, campaign_totals).values(place).on_conflict_do_nothing()
    )
    select_used = sa.select(sa.type_coerce(used, Money())).where(shard)
    left = budget - scope.connection.scalars(select_used.with_for_update(key_share=True)).one()
    granted = min(wanted, int(left // each)) if each and left > 0 else 0
    reserve(granted)
    return granted, next_expiry


def end_erased_claim(scope: Scope, claim: Claim) -> Decimal | None:
    """Delete the row of the claim of an erased contact, and return the money that it reserved.

    Return None if there is no such row: the cost of this claim was booked before, or the claim no
    longer held the contact when the contact was erased.
    """
    erased_claim = campaign_erased_claims.c
    return scope.connection.execute(
        sa.delete(campaign_erased_claims)
        .where(
            scope.of_campaign(campaign_erased_claims, claim.campaign_id),
            erased_claim.campaign_contact_id == claim.id,
            erased_claim.token == claim.token,
        )
        .returning(erased_claim.reserved)
    ).scalar_one_or_none()


def _used_in_other_shards(scope: Scope, campaign_id: UUID) -> sa.ColumnElement[Decimal]:
    """Build the sum of the spent and reserved money of all shards but 0.

    These shards changed while the campaign had no budget.
    """
    other = campaign_totals.alias("other")
    used = other.c.cost + other.c.erased_cost + other.c.reserved
    return (
        sa.select(total_of(used, type_=Money()))
        .where(scope.of_campaign(other, campaign_id), other.c.shard != 0)
        .scalar_subquery()
    )


def _reserve_in_flight(scope: Scope, campaign_id: UUID, each: Decimal) -> None:
    """Reserve ``each`` for every contact that was claimed while the campaign had no budget.

    A claim skips locked contacts, but this function waits for them. So it locks the contacts in the
    order of their ids, and two such transactions do not deadlock.
    """
    contact = campaign_contacts.c
    ids = scope.connection.scalars(
        sa.select(contact.id)
        .where(
            scope.of_campaign(campaign_contacts, campaign_id),
            contact.status == ContactStatus.GENERATING.value,
            contact.reserved == _NOTHING,
        )
        .order_by(contact.id)
        .with_for_update(key_share=True)
    ).all()
    scope.connection.execute(
        sa.update(campaign_contacts)
        .where(scope.of_tenant(campaign_contacts), is_one_of(contact.id, ids))
        .values(reserved=_amount(each))
    )
    add_to_totals(scope, campaign_id, Totals(reserved=each * len(ids)))


@exact_money()
def _free_expired_reservations(scope: Scope, campaign_id: UUID, now: datetime) -> datetime | None:
    """Free the reservations of excluded and erased contacts whose lease has expired.

    Return when the next lease of such a contact expires, or None. An outcome that is recorded later
    still books its cost. The table of contacts is read only if the campaign has excluded contacts.

    A row that another transaction has locked is skipped, because that transaction ends the
    reservation itself or extends the lease. The answer is then ``now``, so that the claim is tried
    again soon.
    """
    excluded_number = sa.select(sa.func.sum(_T.excluded)).where(
        scope.of_campaign(campaign_totals, campaign_id)
    )
    is_excluded = sa.and_(
        excluded_number.scalar_subquery() > 0,
        campaign_contacts.c.status == ContactStatus.EXCLUDED.value,
    )
    freed = Totals()
    expiries: list[datetime] = []
    for table, id_, condition in (
        (campaign_contacts, campaign_contacts.c.id, is_excluded),
        (campaign_erased_claims, campaign_erased_claims.c.campaign_contact_id, sa.true()),
    ):
        lease_expires_at = table.c.lease_expires_at
        reserving = sa.and_(scope.of_campaign(table, campaign_id), table.c.reserved > _NOTHING)
        rows = scope.connection.execute(
            sa.select(id_, lease_expires_at).where(reserving, condition)
        ).all()
        expiries += [expiry for _, expiry in rows if expiry is not None and expiry > now]
        expired_ids = [id_ for id_, expiry in rows if expiry is None or expiry <= now]
        if not expired_ids:
            continue
        # Look again: a worker may have ended the reservation or renewed the lease.
        is_expired = sa.or_(lease_expires_at.is_(None), lease_expires_at <= now)
        locked = scope.connection.execute(
            sa.select(id_.label("id"), table.c.reserved)
            .where(reserving, is_one_of(id_, expired_ids), is_expired)
            .with_for_update(skip_locked=True, key_share=True)
        ).all()
        scope.connection.execute(
            sa.update(table)
            .where(scope.of_tenant(table), is_one_of(id_, [row.id for row in locked]))
            .values(reserved=_NOTHING)
        )
        freed.reserved -= sum(row.reserved for row in locked)
        if len(locked) < len(expired_ids):
            expiries.append(now)
    add_to_totals(scope, campaign_id, freed)
    return min(expiries, default=None)


def _amount(value: Decimal) -> sa.BindParameter[Decimal]:
    return sa.literal(value, Money())
