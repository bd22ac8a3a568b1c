"""Totals: the counts and costs of a campaign, kept as sums so that no query counts contacts.

Invariant: summed over its rows ("shards"), ``campaign_totals`` says what the campaign's contacts
say: how many have each status, how many were exported, what was booked and what is reserved for
them. Whatever changes one of these changes the totals in the same transaction, by a signed delta.

* A running campaign has :data:`~campaign_model.store.scope.SHARDS` rows, and each call of a worker
  adds its delta to one of them, so that workers do not wait for each other.
* With a budget all workers use shard 0. One conditional UPDATE of that row then decides whether a
  reservation fits (:mod:`campaign_model.store.budget`), whatever other claims do at the same
  moment.
* A change of the campaign's status, under the exclusive lock, puts the sum into shard 0
  (:func:`replace_totals`) and copies it to the campaign's legacy columns.
* Costs of erased contacts stay, in columns of their own.

Writers that know nothing of totals make them wrong; :mod:`campaign_model.store.recount` corrects
them.

``low_watermark`` is a column of the same rows: every contact with a lower rank is finished. A claim
may raise the mark under the campaign's shared lock. Under this lock only generating contacts go
back to wait, and the mark never passes a generating contact. Under the exclusive lock other
contacts may go back to wait too, so every change under this lock resets the mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Self
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._values import checked_id, exact_money
from campaign_model.campaign import UNREADABLE, Repair
from campaign_model.claims import Progress
from campaign_model.errors import InvalidDocument, NotFound
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import (
    CLAIMABLE,
    PERMISSIONS,
    ContactStatus,
    Permission,
)
from campaign_model.store.campaign_rows import repairs_of_sum, repairs_of_times
from campaign_model.store.connection import insert_into
from campaign_model.store.scope import Scope
from campaign_model.store.statements import statement
from campaign_model.store.tables import campaign_totals, campaigns
from campaign_model.store.types import (
    Money,
    UtcDateTime,
    Uuid,
    database_clock,
    read_json,
    readable_time,
    total_of,
)

_ZERO = Decimal(0)
_AMOUNTS = (
    *("exported", "cost", "erased_cost", "reserved"),
    *("unknown_costs", "erased_unknown_costs"),
)
_T = campaign_totals.c


@attrs.define
class Totals:
    """Counts of contacts by status, and money: the sums of a campaign, or a change of them.

    A change (*delta*) may be negative. ``unit_reserve`` is what the last claim of the run asked to
    reserve for one contact; a delta does not use it. ``unleased`` is the number of
    contacts that are generating without a lease; only a recount knows it.
    """

    counts: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(ContactStatus, 0))
    exported: int = attrs.field(default=0, converter=int)
    cost: Decimal = attrs.field(default=_ZERO, converter=Decimal)
    unknown_costs: int = attrs.field(default=0, converter=int)
    erased_cost: Decimal = attrs.field(default=_ZERO, converter=Decimal)
    erased_unknown_costs: int = attrs.field(default=0, converter=int)
    reserved: Decimal = attrs.field(default=_ZERO, converter=Decimal)
    unit_reserve: Decimal = _ZERO
    unleased: int = 0

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any] | sa.RowMapping) -> Self:
        """Make totals from columns of ``campaign_totals``. A missing column counts as zero."""
        counts: dict[str, int] = {
            status: int(columns.get(status.value, 0)) for status in ContactStatus
        }
        names = (*_AMOUNTS, "unit_reserve")
        return cls(counts, **{name: columns[name] for name in names if name in columns})

    def columns(self) -> dict[str, Any]:
        """Return the counts and amounts as columns of ``campaign_totals``."""
        counts = {status.value: self.counts[status] for status in ContactStatus}
        return counts | {name: getattr(self, name) for name in _AMOUNTS}

    def move(self, source: str, target: str, number: int = 1) -> None:
        """Change the counts for ``number`` contacts whose status changes from source to target."""
        self.counts[source] -= number
        self.counts[target] += number

    @property
    def not_excluded(self) -> int:
        """The number of contacts that are not excluded."""
        return sum(self.counts.values()) - self.counts[ContactStatus.EXCLUDED]

    @property
    @exact_money()
    def spent(self) -> Decimal:
        """The money that was spent, including the costs of erased contacts."""
        return self.cost + self.erased_cost

    @property
    def unknown(self) -> int:
        """The number of unknown costs, including those of erased contacts."""
        return self.unknown_costs + self.erased_unknown_costs

    @property
    def finished(self) -> int:
        """The number of contacts with an outcome."""
        return self.counts[ContactStatus.GENERATED] + self.counts[ContactStatus.FAILED]

    @property
    def unexported(self) -> int:
        """The number of contacts that have messages and were not exported."""
        return self.counts[ContactStatus.GENERATED] - self.exported

    @property
    def waiting(self) -> int:
        """The number of contacts that can be claimed, at once or after a pause."""
        return sum(self.counts[status] for status in CLAIMABLE)

    @property
    def unfinished(self) -> int:
        """The number of contacts whose messages are still to be generated."""
        return self.waiting + self.counts[ContactStatus.GENERATING]

    @property
    def may_have_unfinished(self) -> bool:
        """Whether the counts say that a contact is unfinished.

        The totals do not count the contacts that a legacy writer has inserted. If a worker claims
        such a contact, one is nevertheless subtracted from the number of waiting contacts. So a
        count may be negative, and the sum of the counts may be zero by chance: each is tested.
        """
        return any(self.counts[status] != 0 for status in (*CLAIMABLE, ContactStatus.GENERATING))


_COUNTED_COLUMNS = ", ".join(Totals().columns())
_COUNTED_VALUES = ", ".join(f":{name}" for name in Totals().columns())
_SUM = "campaign_totals.{name} + excluded.{name}"
# SQLite makes a float of a sum of more than 64 bits. The cast makes it the largest integer.
_SUM_ON_SQLITE = f"CAST({_SUM} AS INTEGER)"
_COUNTED_SUMS, _COUNTED_SUMS_ON_SQLITE = (
    ", ".join(f"{name} = {total.format(name=name)}" for name in Totals().columns())
    for total in (_SUM, _SUM_ON_SQLITE)
)

# Add a delta to a shard, which need not exist yet.
ADD = f"""
INSERT INTO campaign_totals (tenant_id, campaign_id, shard, {_COUNTED_COLUMNS})
VALUES (:tenant_id, :campaign_id, :shard, {_COUNTED_VALUES})
ON CONFLICT (tenant_id, campaign_id, shard) DO UPDATE
SET
"""  # noqa: S608 - our own names

_ADD = statement(ADD + _COUNTED_SUMS)
_ADD_ON_SQLITE = statement(ADD + _COUNTED_SUMS_ON_SQLITE)
_NO_CHANGE = Totals().columns()


def add_to_totals(scope: Scope, campaign_id: UUID, delta: Totals, *, shard: int = 0) -> None:
    """Add a delta to one shard, which need not exist yet."""
    columns = delta.columns()
    if columns != _NO_CHANGE:
        place = {"tenant_id": scope.tenant_id, "campaign_id": campaign_id, "shard": shard}
        add = _ADD if scope.on_postgresql else _ADD_ON_SQLITE
        scope.connection.execute(add, place | columns)


def choose_shard(scope: Scope, status: str, config: GenerationConfig) -> int:
    """Return the number of the row of totals (shard) that a worker's call changes.

    ``status`` and ``config`` are those of the campaign. Only a running campaign without a budget
    has more than one shard in use.
    """
    is_running = status in PERMISSIONS[Permission.CLAIM]
    return scope.shard if is_running and config.budget is None else 0


@exact_money()
def load_totals(scope: Scope, campaign_id: UUID) -> Totals:
    """Return the campaign's present totals. Lock nothing."""
    row = scope.connection.execute(
        sa.select(*sum_columns()).where(scope.of_campaign(campaign_totals, campaign_id))
    )
    return Totals.from_columns(row.mappings().one())


@exact_money()
def lock_totals(scope: Scope, campaign_id: UUID) -> Totals:
    """Lock the campaign's totals and return their sum. The caller holds the exclusive lock.

    Under that lock, no other transaction can change the totals. Their rows are locked nevertheless,
    for callers whose transaction is REPEATABLE READ: if the rows have changed since its snapshot,
    the database then reports a conflict instead of returning the old values.
    """
    rows = scope.connection.execute(
        sa.select(campaign_totals)
        .where(scope.of_campaign(campaign_totals, campaign_id))
        .order_by(_T.shard)
        .with_for_update(key_share=True)
    ).mappings()
    shards = [Totals.from_columns(row) for row in rows]
    return Totals(
        {status: sum(shard.counts[status] for shard in shards) for status in ContactStatus},
        **{name: sum(getattr(shard, name) for shard in shards) for name in _AMOUNTS},
        unit_reserve=max((shard.unit_reserve for shard in shards), default=_ZERO),
    )


def reset_low_watermark(scope: Scope, campaign_id: UUID) -> None:
    """Let the next claim search from the first contact. Call it under the exclusive lock."""
    scope.connection.execute(
        sa.update(campaign_totals)
        .where(scope.of_campaign(campaign_totals, campaign_id), _T.low_watermark.is_not(None))
        .values(low_watermark=None)
    )


def replace_totals(scope: Scope, campaign_id: UUID, total: Totals, *, shards: int) -> None:
    """Replace the campaign's ``shards`` rows of totals: shard 0 gets the sum, the others zeros.

    The caller holds the exclusive lock. A running campaign gets all of its shards here, so that
    workers only update existing rows: a REPEATABLE READ transaction would not see rows that were
    inserted after its snapshot.
    """
    # 1. Insert the rows that are missing.
    of_campaign = scope.of_campaign(campaign_totals, campaign_id)
    place = {"tenant_id": scope.tenant_id, "campaign_id": campaign_id}
    scope.connection.execute(
        insert_into(scope.connection, campaign_totals).on_conflict_do_nothing(),
        [place | {"shard": shard} for shard in range(shards)],
    )
    # 2. Move the sum into shard 0. The transition guard lets only empty rows be deleted.
    types = {name: _T[name].type for name in _NO_CHANGE}
    values = {
        name: sa.case(
            (_T.shard == 0, sa.literal(value, types[name])), else_=sa.literal(0, types[name])
        )
        for name, value in total.columns().items()
    }
    scope.connection.execute(
        sa.update(campaign_totals)
        .where(of_campaign)
        .values(**values, unit_reserve=sa.literal(_ZERO, Money()), low_watermark=None)
    )
    # 3. Delete the other rows of a run that has ended.
    scope.connection.execute(sa.delete(campaign_totals).where(of_campaign, _T.shard >= shards))


def write_legacy_columns(scope: Scope, campaign_id: UUID, total: Totals) -> None:
    """Copy the totals into the legacy columns of the campaign row, unless they are equal.

    An UPDATE of equal values is not harmless: a host's trigger may set ``updated_at`` with every
    UPDATE, and a user who edits the campaign would have to load it again. The caller holds the
    exclusive lock of the row.
    """
    columns = legacy_columns(total)
    is_outdated = sa.or_(
        *(campaigns.c[name].is_distinct_from(value) for name, value in columns.items())
    )
    scope.connection.execute(
        sa.update(campaigns)
        .where(scope.of_campaign(campaigns, campaign_id), is_outdated)
        .values(columns)
    )


def legacy_columns(total: Totals) -> dict[str, Any]:
    """Return the totals as columns of the campaign row, for programs that read only this row."""
    return {
        "total_contacts": total.not_excluded,
        "generated_count": total.counts[ContactStatus.GENERATED],
        "generation_cost": total.spent,
    }


# Totals in queries of the store and of the database's owner.


def sum_columns() -> list[sa.Label[Any]]:
    """Return every column of the totals, summed over the shards; zero without a row.

    ``unit_reserve`` is no sum: it is the largest of the shards.
    """
    names = (*(status.value for status in ContactStatus), *_AMOUNTS)
    return [
        *(_sum(_T[name]).label(name) for name in names),
        sa.func.coalesce(sa.func.max(_T.unit_reserve), sa.literal(_ZERO, Money())).label(
            "unit_reserve"
        ),
    ]


def summary_columns() -> list[sa.Label[Any]]:
    """Return what a campaign's summary shows: the live legacy columns, and ``unknown_costs``."""
    counted = [_T[status.value] for status in ContactStatus if status is not ContactStatus.EXCLUDED]
    return [
        sa.cast(_sum(sum(counted[1:], counted[0])), sa.BigInteger).label("total_contacts"),
        sa.cast(_sum(_T[ContactStatus.GENERATED.value]), sa.BigInteger).label("generated_count"),
        _sum(_T.cost + _T.erased_cost).label("generation_cost"),
        sa.cast(_sum(_T.unknown_costs + _T.erased_unknown_costs), sa.BigInteger).label(
            "unknown_costs"
        ),
    ]


def join_totals(
    query: sa.Select[Any],
    campaign_rows: sa.FromClause,
    *conditions: sa.ColumnElement[bool],
) -> sa.Select[Any]:
    """Join the shards of each of ``campaign_rows``, if it has any, to ``query``.

    ``conditions`` are further ones that a row of totals must meet.
    """
    return query.join(
        campaign_totals, sa.and_(is_shard_of(campaign_rows), *conditions), isouter=True
    )


def is_shard_of(campaign_rows: sa.FromClause) -> sa.ColumnElement[bool]:
    """Build the condition that a row of totals belongs to one of ``campaign_rows``."""
    return sa.and_(_T.tenant_id == campaign_rows.c.tenant_id, _T.campaign_id == campaign_rows.c.id)


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return total_of(column, type_=column.type)


_SUMS = sum_columns()


@cache
def _progress_query(*, on_postgresql: bool) -> sa.Select[Any]:
    """Build the query of one campaign's progress.

    The row comes as one JSON value, because SQLAlchemy takes longer to describe a column of a
    result than to read its value, and this query would have about twenty columns.
    """
    make_array = sa.func.json_build_array if on_postgresql else sa.func.json_array
    array = make_array(
        sa.cast(campaigns.c.generation_config, sa.TEXT),
        readable_time(campaigns.c.generation_started_at),
        readable_time(campaigns.c.generation_completed_at),
        campaigns.c.finished_before_start,
        database_clock(),
        *(column.element for column in _SUMS),
    )
    tenant = sa.bindparam("tenant", type_=Uuid)
    return (
        join_totals(sa.select(sa.cast(array, sa.TEXT)), campaigns, _T.tenant_id == tenant)
        .where(
            campaigns.c.tenant_id == tenant,
            campaigns.c.id == sa.bindparam("campaign", type_=Uuid),
        )
        .group_by(campaigns.c.tenant_id, campaigns.c.id)
    )


def load_progress(scope: Scope, campaign_id: UUID) -> Progress:
    """Return how far the campaign is, in one query. Raise :class:`NotFound`.

    The query takes the same time however many contacts the campaign has.
    """
    parameters = {"tenant": scope.tenant_id, "campaign": checked_id(campaign_id, "campaign_id")}
    query = _progress_query(on_postgresql=scope.on_postgresql)
    text = scope.connection.scalar(query, parameters)
    if text is None:
        raise NotFound("campaign", (campaign_id,))
    config, started_text, completed_text, finished_before_start, now, *sums = read_json(text)
    dialect, time, money = scope.connection.dialect, UtcDateTime(), Money()
    columns = {
        column.name: money.process_result_value(value, dialect)
        if isinstance(column.type, Money)
        else value
        for column, value in zip(_SUMS, sums, strict=True)
    }
    total = Totals.from_columns(columns)
    budget, repairs = None, []
    try:
        budget = scope.codec.recover_generation_config(config).value.budget
    except InvalidDocument as error:
        repairs.append(Repair("", UNREADABLE, str(error)))
    started = time.process_result_value(started_text, dialect)
    completed = time.process_result_value(completed_text, dialect)
    times = {"generation_started_at": started, "generation_completed_at": completed}
    repairs += (*repairs_of_times(times), *repairs_of_sum(scope, total.spent))
    per_second = None
    if started is not None:
        until = completed or scope.time_of_clock() or time.process_result_value(now, dialect)
        assert until is not None, "the database has a clock"
        seconds = (until - started).total_seconds()
        finished = total.finished - finished_before_start
        per_second = finished / seconds if seconds > 0 and finished > 0 else None
    return Progress(
        by_status={status: total.counts[status] for status in ContactStatus},
        spent=total.spent,
        reserved=total.reserved,
        unknown_costs=total.unknown,
        budget=budget,
        per_second=per_second,
        seconds_left=total.unfinished / per_second if per_second and not completed else None,
        exported=total.exported,
        repairs=tuple(repairs),
    )
