"""Facts: the counts that the lifecycle's guards look at, read from the database.

A guard is a condition of an action, such as "no contact is in flight". The guards themselves are
pure functions (:mod:`campaign_model.guards`).
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import sqlalchemy as sa

from campaign_model._values import checked_instance, exact_money
from campaign_model.campaign import Campaign
from campaign_model.guards import nothing_stale
from campaign_model.lifecycle import TRANSITIONS, Action, ContactStatus, Facts, ReviewTally
from campaign_model.store.scope import Scope
from campaign_model.store.tables import LOWEST_RANK, campaign_contacts, campaign_totals
from campaign_model.store.totals import Totals

Review = ReviewTally | Callable[[sa.Connection], ReviewTally]


def has_expired_lease(scope: Scope, campaign_id: UUID) -> sa.ColumnElement[bool]:
    """Build the condition that a contact is generating and its lease has expired.

    It is false for a contact that was excluded while a worker held it: its status is excluded, and
    the worker may still report its outcome.
    """
    contact = campaign_contacts.c
    low_watermark = sa.select(sa.func.max(campaign_totals.c.low_watermark)).where(
        scope.of_campaign(campaign_totals, campaign_id)
    )
    return sa.and_(
        scope.of_campaign(campaign_contacts, campaign_id),
        contact.status == ContactStatus.GENERATING,
        contact.lease_expires_at <= scope.now(),
        contact.rank >= sa.func.coalesce(low_watermark.scalar_subquery(), LOWEST_RANK),
    )


def _count_stale(scope: Scope, campaign: Campaign) -> int:
    """Count the generated contacts whose messages do not come from the present steps."""
    contact = campaign_contacts.c
    return scope.connection.execute(
        sa.select(sa.func.count()).where(
            scope.of_campaign(campaign_contacts, campaign.id),
            contact.status == ContactStatus.GENERATED,
            contact.steps_fingerprint.is_distinct_from(campaign.steps.fingerprint),
        )
    ).scalar_one()


@exact_money()
def gather_facts(
    scope: Scope,
    campaign: Campaign,
    total: Totals,
    action: Action | None,
    *,
    review: Review | None,
    allow_empty: bool,
    allow_partial: bool,
) -> Facts:
    """Gather the facts: the counts that the guards of an action look at.

    Without ``action``, gather them for the guards of all actions. ``total`` are the campaign's
    totals. ``review``, ``allow_empty`` and ``allow_partial`` come from the caller of ``apply`` or
    ``actions``. If the caller holds the campaign's exclusive lock, the facts stay true until the
    transaction ends; otherwise they may change at any time.
    """
    generating = total.counts[ContactStatus.GENERATING]
    expired = 0
    if generating:
        expired = scope.connection.execute(
            sa.select(sa.func.count()).where(has_expired_lease(scope, campaign.id))
        ).scalar_one()
    # No total counts stale contacts: only an approval pays for reading the contacts.
    stale = 0
    if not allow_partial and any(
        nothing_stale in line.guards
        for line in TRANSITIONS
        if line.source is campaign.status and action in (None, line.action)
    ):
        stale = _count_stale(scope, campaign)
    # The budget is exhausted if what the last claim asked to reserve for one contact
    # (`unit_reserve`) does not fit beside the money that is spent and reserved.
    budget = campaign.generation_config.budget
    budget_exhausted = (
        budget is not None and total.spent + total.reserved + total.unit_reserve > budget
    )
    # A host that counts its messages passes a function, which is called now: under the lock.
    tally = review(scope.connection) if callable(review) else review
    if tally is not None:
        checked_instance(tally, ReviewTally, "the review tally")
    return Facts(
        enabled_steps=len(campaign.steps.enabled),
        contacts=total.not_excluded,
        claimable=total.waiting + expired,
        in_flight=generating - expired,
        generated=total.counts[ContactStatus.GENERATED],
        stale=stale,
        budget_exhausted=budget_exhausted,
        review=tally,
        allow_empty=allow_empty,
        allow_partial=allow_partial,
    )
