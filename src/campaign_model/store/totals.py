"""The counts and costs of a campaign, kept as deltas in a few rows and exact in their sum.

Every change of a contact's status or cost moves its delta here in the same transaction. Workers
of a campaign without a budget each use one of several shard rows; with a budget all use shard 0,
which one conditional update can then hold to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from campaign_model._values import exactly
from campaign_model.lifecycle import CLAIMABLE, ContactStatus
from campaign_model.store.prepared import Prepared
from campaign_model.store.scope import Scope
from campaign_model.store.tables import (
    COUNTED,
    ZERO,
    campaign_totals,
    campaigns,
    is_generating,
    written_out,
)
from campaign_model.store.types import Money

__all__ = [
    "Totals",
    "add",
    "adding",
    "addition",
    "fold",
    "found",
    "from_row",
    "gist",
    "given",
    "joined",
    "moved",
    "of",
    "peek",
    "read",
    "reserve",
    "settle",
    "settled",
    "settled_sums",
    "sums",
]

_ZERO = Decimal(0)
_AMOUNTS = ("cost", "unknown_costs", "erased_cost", "erased_unknown_costs", "reserved")


@attrs.define
class Totals:
    """Counts by status, and money; as an absolute sum or as a signed delta."""

    counts: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(COUNTED, 0))
    """By :class:`ContactStatus`."""
    cost: Decimal = _ZERO
    unknown_costs: int = 0
    erased_cost: Decimal = _ZERO
    erased_unknown_costs: int = 0
    reserved: Decimal = _ZERO
    unit_reserve: Decimal = _ZERO

    def move(self, source: str, target: str, number: int = 1) -> None:
        """Count ``number`` contacts over from one status to another."""
        self.counts[source] -= number
        self.counts[target] += number

    @property
    def total(self) -> int:
        """Contacts that are not excluded."""
        return sum(self.counts.values()) - self.counts[ContactStatus.EXCLUDED]

    @property
    @exactly()
    def spent(self) -> Decimal:
        """Everything booked, erased contacts' costs included."""
        return self.cost + self.erased_cost

    @property
    def unknown(self) -> int:
        """Outcomes whose cost nobody knew, erased contacts' included."""
        return self.unknown_costs + self.erased_unknown_costs

    @property
    def finished(self) -> int:
        """Contacts with an outcome."""
        return self.counts[ContactStatus.GENERATED] + self.counts[ContactStatus.FAILED]

    @property
    def waiting(self) -> int:
        """Contacts that can be claimed, at once or when their pause is over."""
        return sum(self.counts[status] for status in CLAIMABLE)

    @property
    def left(self) -> int:
        """Contacts that are still to get their messages."""
        return self.waiting + self.counts[ContactStatus.GENERATING]

    @property
    def any_left(self) -> bool:
        """Whether there may be contacts to get messages, even where totals miss somebody's rows.

        Then what was claimed of them was counted away from those that wait, and both are not zero.
        """
        return any(self.counts[status] for status in (*CLAIMABLE, ContactStatus.GENERATING))

    def changes(self) -> bool:
        """Whether there is anything in it, as a delta."""
        return any(self.counts.values()) or any(getattr(self, name) for name in _AMOUNTS)

    def values(self) -> dict[str, Any]:
        """The sums (all but ``unit_reserve``, which is no sum) as columns of campaign_totals."""
        return {status.value: self.counts[status] for status in COUNTED} | {
            name: getattr(self, name) for name in _AMOUNTS
        }


def sums() -> list[sa.ColumnElement[Any]]:
    """The columns of a campaign's totals, summed over its shards; all zero without a row."""
    table = campaign_totals.c
    names = (*(status.value for status in COUNTED), *_AMOUNTS)
    summed = [_sum(table[name]).label(name) for name in names]
    return [*summed, sa.func.coalesce(sa.func.max(table.unit_reserve), ZERO).label("unit_reserve")]


def gist() -> list[sa.ColumnElement[Any]]:
    """Sums of a campaign's counts by status, and what is spent, unknown and reserved in it."""
    table = campaign_totals.c
    counts = [_sum(table[status.value]) for status in COUNTED]
    return [*counts, _sum(_SPENT), _sum(_UNKNOWN), _sum(table.reserved)]


def settled_sums() -> list[sa.Label[Any]]:
    """What :func:`settled` gives, as it is at this moment, and ``unknown_costs``."""
    table = campaign_totals.c
    counted = [table[one.value] for one in COUNTED if one is not ContactStatus.EXCLUDED]
    return [
        sa.cast(_sum(sum(counted[1:], counted[0])), sa.BigInteger).label("total_contacts"),
        sa.cast(_sum(table[ContactStatus.GENERATED.value]), sa.BigInteger).label("generated_count"),
        _sum(_SPENT).label("generation_cost"),
        sa.cast(_sum(_UNKNOWN), sa.BigInteger).label("unknown_costs"),
    ]


_SPENT = campaign_totals.c.cost + campaign_totals.c.erased_cost
_UNKNOWN = campaign_totals.c.unknown_costs + campaign_totals.c.erased_unknown_costs


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(column), ZERO)


def joined(query: sa.Select[Any], campaigns: sa.FromClause) -> sa.Select[Any]:
    """``query`` with the shards of each campaign in ``campaigns``, if it has any."""
    return query.join(campaign_totals, _shards_of(campaigns), isouter=True)


def of(query: sa.Select[Any], campaigns: sa.FromClause) -> sa.Select[Any]:
    """``query`` on the shards of one of ``campaigns``, which somebody else selects."""
    return query.where(_shards_of(campaigns)).correlate(campaigns)


def _shards_of(campaigns: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(
        campaign_totals.c.tenant_id == campaigns.c.tenant_id,
        campaign_totals.c.campaign_id == campaigns.c.id,
    )


def from_row(row: sa.RowMapping) -> Totals:
    """The totals in a row with the columns of :func:`sums`."""
    return Totals(
        {status: int(row[status.value]) for status in COUNTED},
        row["cost"],
        int(row["unknown_costs"]),
        row["erased_cost"],
        int(row["erased_unknown_costs"]),
        row["reserved"],
        row["unit_reserve"],
    )


_PLACE = {"tenant_id": "tenant", "campaign_id": "campaign", "shard": "shard"}
_GIVEN: dict[str, sa.BindParameter[Any]] = {
    column: sa.bindparam(name, type_=campaign_totals.c[column].type)
    for column, name in (_PLACE | {name: name for name in Totals().values()}).items()
}


def _adding(insert: Any, new: sa.Select[Any] | None = None) -> Any:
    names = [*_GIVEN] if new is None else [column.name for column in new.selected_columns]
    statement = insert(campaign_totals)
    statement = statement.values(_GIVEN) if new is None else statement.from_select(names, new)
    table = campaign_totals.c
    return statement.on_conflict_do_update(
        index_elements=[*_PLACE],
        set_={name: table[name] + statement.excluded[name] for name in names if name not in _PLACE},
    )


_ADDING = Prepared(_adding(postgresql.insert))
_ADDING_ON_SQLITE = _adding(sqlite.insert)


def adding(new: sa.Select[Any]) -> Any:
    """For PostgreSQL: add what is ``new`` to a shard, in the same statement that found it out."""
    return _adding(postgresql.insert, new)


def given() -> sa.Select[Any]:
    """For :func:`adding`: the values of :func:`addition`."""
    return sa.select(*(value.label(name) for name, value in _GIVEN.items()))


def moved(
    rows: sa.FromClause, sources: Collection[ContactStatus], targets: Collection[ContactStatus]
) -> sa.Select[Any]:
    """For :func:`adding`: that ``rows``, if any, went from the status ``was`` to ``status``.

    Of one that is not generating now it frees what it ``had`` reserved. ``sources`` and
    ``targets`` are those that there can be.
    """
    changes: dict[str, sa.ColumnElement[Any]] = {}
    for one in COUNTED:
        if one in targets:
            changes[one.value] = _number(rows.c.status == written_out(one))
        if one in sources:
            went = _number(rows.c.was == written_out(one))
            changes[one.value] = changes[one.value] - went if one in targets else -went
    freed = sa.func.sum(rows.c.had).filter(sa.not_(is_generating(rows)))
    return found(changes | {"reserved": -sa.func.coalesce(freed, ZERO)})


def found(columns: Mapping[str, sa.ColumnElement[Any]]) -> sa.Select[Any]:
    """For :func:`adding`: what these come to of the rows that they are of, if there are any."""
    place = {name: _GIVEN[name] for name in _PLACE}
    summed = [value.label(name) for name, value in {**place, **columns}.items()]
    return sa.select(*summed).having(sa.func.count() > ZERO)


def _number(which: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count().filter(which)


def addition(scope: Scope, campaign_id: UUID, delta: Totals, shard: int) -> dict[str, Any]:
    """The values that one shard gets added."""
    return scope.place(campaign_id) | {"shard": shard} | delta.values()


def add(scope: Scope, campaign_id: UUID, delta: Totals, shard: int) -> None:
    """Add a delta to one shard, which need not exist yet."""
    if not delta.changes():
        return
    values = addition(scope, campaign_id, delta, shard)
    if scope.on_postgresql:
        _ADDING.execute(scope.connection, values)
    else:
        scope.connection.execute(_ADDING_ON_SQLITE, values)


def _of(scope: Scope, campaign_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(scope.of_tenant(campaign_totals), campaign_totals.c.campaign_id == campaign_id)


@exactly()
def peek(scope: Scope, campaign_id: UUID) -> Totals:
    """The present totals for somebody who only looks: nothing is locked."""
    row = scope.connection.execute(sa.select(*sums()).where(_of(scope, campaign_id)))
    return from_row(row.mappings().one())


@exactly()
def read(scope: Scope, campaign_id: UUID) -> Totals:
    """The present totals. Under the campaign's exclusive lock nobody else can change them.

    The rows are locked as well: under an isolation level with one snapshot for the whole
    transaction the database then notices totals that changed since, instead of showing old ones.
    """
    locked = (
        sa.select(campaign_totals)
        .where(_of(scope, campaign_id))
        .order_by(campaign_totals.c.shard)
        .with_for_update(key_share=True)
    )
    total = Totals()
    for row in scope.connection.execute(locked).mappings():
        for status in COUNTED:
            total.counts[status] += row[status.value]
        for name in _AMOUNTS:
            setattr(total, name, getattr(total, name) + row[name])
        total.unit_reserve = max(total.unit_reserve, row["unit_reserve"])
    return total


def fold(scope: Scope, campaign_id: UUID, total: Totals, *, shards: int) -> None:
    """Put the whole sum into shard 0, beside empty ones. Only under the exclusive lock.

    A campaign that workers are on has all shards, so that they only ever change rows: of a new one
    :func:`read` could not notice, under one snapshot, that it has come.
    """
    scope.connection.execute(sa.delete(campaign_totals).where(_of(scope, campaign_id)))
    place = {"tenant_id": scope.tenant_id, "campaign_id": campaign_id}
    nothing = Totals().values()
    scope.connection.execute(
        sa.insert(campaign_totals),
        [
            place | {"shard": shard} | (nothing if shard else total.values())
            for shard in range(shards)
        ],
    )


def settle(scope: Scope, campaign_id: UUID, total: Totals) -> None:
    """Bring the columns that legacy readers look at up to date with ``total``."""
    scope.connection.execute(
        sa.update(campaigns)
        .where(scope.of_tenant(campaigns), campaigns.c.id == campaign_id)
        .values(**settled(total))
    )


def settled(total: Totals) -> dict[str, Any]:
    """Values of the columns that legacy readers look at."""
    return {
        "total_contacts": total.total,
        "generated_count": total.counts[ContactStatus.GENERATED],
        "generation_cost": total.spent,
    }


@exactly()
def reserve(scope: Scope, campaign_id: UUID, budget: Decimal, each: Decimal, wanted: int) -> int:
    """Set ``each`` aside for up to ``wanted`` claims, as far as the budget goes; how many.

    One conditional update decides, whatever other claimers do at the same moment.
    """
    table = campaign_totals
    shard = sa.and_(_of(scope, campaign_id), table.c.shard == 0)
    used = table.c.cost + table.c.erased_cost + table.c.reserved

    def amount(value: Decimal) -> sa.BindParameter[Decimal]:
        return sa.literal(value, Money())

    least = sa.case(
        (
            sa.or_(table.c.unit_reserve == amount(_ZERO), table.c.unit_reserve > amount(each)),
            amount(each),
        ),
        else_=table.c.unit_reserve,
    )
    if each:
        wanted = min(wanted, int(budget // each))
    taken = scope.connection.execute(
        sa.update(table)
        .where(shard, used + amount(each * wanted) <= amount(budget))
        .values(reserved=table.c.reserved + amount(each * wanted), unit_reserve=least)
    )
    if taken.rowcount:
        return wanted
    row = scope.connection.execute(
        sa.select(table).where(shard).with_for_update(key_share=True)
    ).one()
    left = budget - (row.cost + row.erased_cost + row.reserved)
    granted = min(wanted, int(left // each)) if each and left > 0 else 0
    scope.connection.execute(
        sa.update(table)
        .where(shard)
        .values(reserved=table.c.reserved + amount(each * granted), unit_reserve=least)
    )
    return granted
