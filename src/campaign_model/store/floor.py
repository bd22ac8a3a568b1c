"""From which rank on a campaign's contacts are to be looked at: all before it are done.

No index knows a contact's status, so that writing one touches none. A claim goes on from a cursor;
what does not have one would walk past every contact already done. It begins at the floor: none of a
lower rank waits or is generating. Under the shared lock only what is generating comes back to wait,
so the floor may be raised; every change under the exclusive lock forgets it. Any of the shards of
totals may have it, and the highest one holds.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.store.scope import Scope
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_totals,
    is_claimable,
    is_generating,
)
from campaign_model.store.types import Uuid, unseen

__all__ = ["STRIDE", "floor_unless", "forget", "lift", "of_campaign", "undone"]


def of_campaign(table: Any) -> sa.ColumnElement[bool]:
    """Its rows of the campaign that the parameters ``tenant`` and ``campaign`` name."""
    return sa.and_(
        table.c.tenant_id == unseen(sa.bindparam("tenant", type_=Uuid)),
        table.c.campaign_id == unseen(sa.bindparam("campaign", type_=Uuid)),
    )


STRIDE = 1024
"""Whoever claims the contact at a multiple of this raises the floor: at the end of a campaign
everybody looks once more from the beginning, and should not walk much further than this. Where
none is claimed at one multiple, one will be at the next."""

_LOWEST: sa.ColumnElement[int] = sa.literal_column("-9223372036854775807", sa.BigInteger)
_marks = campaign_totals.alias("marks")
_floor = sa.select(sa.func.max(_marks.c.done_below)).where(of_campaign(_marks)).scalar_subquery()


def floor_unless(*ranks: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """The first of ``ranks`` that is not NULL, or the floor; see :func:`of_campaign`."""
    return sa.func.coalesce(*ranks, _floor, _LOWEST)


undone = sa.and_(
    of_campaign(campaign_contacts),
    campaign_contacts.c.rank >= floor_unless(),
    sa.or_(is_claimable(campaign_contacts), is_generating(campaign_contacts)),
)
"""Which contacts wait or are generating."""

_first = (
    sa.select(campaign_contacts.c.rank)
    .where(undone)
    .order_by(campaign_contacts.c.rank)
    .limit(1)
    .cte("first")
)
_rank = sa.select(_first.c.rank).scalar_subquery()
_own = (
    sa.select(_marks.c.shard)
    .where(of_campaign(_marks), _marks.c.shard == sa.bindparam("own"))
    .with_for_update(skip_locked=True, key_share=True)
)
_LIFT = (
    sa.update(campaign_totals)
    .where(
        of_campaign(campaign_totals),
        # Never waited for: the next one will do.
        campaign_totals.c.shard.in_(_own),
        _rank > sa.func.coalesce(campaign_totals.c.done_below, _LOWEST),
    )
    .values(done_below=_rank)
)
_FORGET = (
    sa.update(campaign_totals)
    .where(of_campaign(campaign_totals), campaign_totals.c.done_below.is_not(None))
    .values(done_below=None)
)


def lift(scope: Scope, campaign_id: UUID, shard: int) -> None:
    """Raise the floor to the first contact that is not done. Under the campaign's shared lock."""
    scope.connection.execute(_LIFT, scope.place(campaign_id) | {"own": shard})


def forget(scope: Scope, campaign_id: UUID) -> None:
    """For whoever may have put contacts back to wait, under the campaign's exclusive lock."""
    scope.connection.execute(_FORGET, scope.place(campaign_id))
