"""Who is in a campaign: assignment, readiness, exclusion, erasure and the list to export."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model._values import exactly
from campaign_model._values import gaps as checked_gaps
from campaign_model.campaign import Page
from campaign_model.campaign_contact import Assigned, CampaignContact, Changed, Overlap, Removed
from campaign_model.errors import Conflict
from campaign_model.lifecycle import Action, ContactAction, ContactStatus, Permission, Status
from campaign_model.steps import StepSequence
from campaign_model.store import arrays, totals
from campaign_model.store.floor import forget
from campaign_model.store.scope import (
    Scope,
    checked_ids,
    chunks,
    insert_into,
    refused_by_database,
)
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaigns,
    host_contacts,
)
from campaign_model.store.types import (
    Array,
    JsonText,
    Money,
    UtcDateTime,
    Uuid,
    any_of,
    array_length,
    checked_id,
)

__all__ = ["MAX_PRIORITY", "POSITIONS", "Contacts", "move_contacts", "move_named", "settle"]

POSITIONS = 1 << 40
"""A rank is minus the priority, times this, plus the position in the order of assignment."""

MAX_PRIORITY = (1 << 22) - 1
"""Priorities go from minus this to this. With the position they make one ascending rank."""

_EXPORT_PAGE = 1000
_LARGEST_PAGE = 10_000
_TABLE = campaign_contacts
_COLUMNS = _TABLE.c


def _assigning(*, to_empty: bool) -> sa.TextClause:
    """For PostgreSQL: of contacts that are in the campaign already nothing is said, or an error.

    The arrays come sorted, so that every index is walked from one end to the other. To expect
    nobody takes a tenth less time: to look first means another walk, and more to log.
    """
    otherwise = "" if to_empty else "ON CONFLICT (tenant_id, campaign_id, contact_id) DO NOTHING"
    return sa.text(
        f"""
        INSERT INTO campaign_contacts
            (id, tenant_id, campaign_id, contact_id, rank, status, added_at)
        SELECT new.id, :tenant_id, :campaign_id, new.contact_id, new.rank, :status, :added_at
        FROM unnest(
            CAST(:ids AS uuid[]), CAST(:contact_ids AS uuid[]), CAST(:ranks AS bigint[])
        ) AS new (id, contact_id, rank)
        {otherwise}
        """  # noqa: S608 - our own words
    ).bindparams(
        sa.bindparam("tenant_id", type_=Uuid),
        sa.bindparam("campaign_id", type_=Uuid),
        sa.bindparam("status", type_=sa.Text),
        sa.bindparam("added_at", type_=UtcDateTime),
    )


_ASSIGN = _assigning(to_empty=False)
_ASSIGN_TO_EMPTY = _assigning(to_empty=True)
_ASSIGN_CHUNK = 50_000

# What the seventh and the ninth byte of a random UUID say: of version 4, in the usual layout.
_VERSION = bytes(0x40 | byte & 0x0F for byte in range(256))
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))


def contact_from_row(row: sa.Row[Any], steps: StepSequence) -> CampaignContact:
    """The campaign contact in a row; ``steps`` are the campaign's present ones."""
    gaps = row.enrichment_gaps
    return CampaignContact(
        id=row.id,
        campaign_id=row.campaign_id,
        contact_id=row.contact_id,
        status=ContactStatus(row.status),
        enrichment_gaps=None if gaps is None else tuple(json.loads(gaps)),
        priority=-(row.rank // POSITIONS),
        attempts=row.attempts,
        revision=row.revision,
        cost=row.generation_cost,
        unknown_costs=row.unknown_costs,
        error_code=row.error_code,
        error=row.error,
        stale=(
            row.status == ContactStatus.GENERATED and row.steps_fingerprint != steps.fingerprint
        ),
        lease_expires_at=row.lease_expires_at,
        retry_at=row.retry_at,
        added_at=row.added_at,
        generated_at=row.generated_at,
    )


def _in(ids: Iterable[UUID]) -> sa.ColumnElement[bool]:
    return any_of(_COLUMNS.contact_id, sa.literal(list(ids), Array(Uuid)))


def _within(scope: Scope, campaign_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(scope.of_tenant(_TABLE), _COLUMNS.campaign_id == campaign_id)


def _resting() -> sa.ColumnElement[str]:
    """:func:`lifecycle.resting_status` of the row's gaps, in SQL."""
    unknown, none, some = (lifecycle.resting_status(gaps) for gaps in (None, (), ("gap",)))
    return sa.case(
        (_COLUMNS.enrichment_gaps.is_(None), unknown.value),
        (array_length(_COLUMNS.enrichment_gaps) == 0, none.value),
        else_=some.value,
    )


_NOTHING = sa.literal(Decimal(0), Money())
_WAITING_AGAIN: dict[str, Any] = {
    "claim_token": None,
    "lease_expires_at": None,
    "retry_at": None,
    "attempts": 0,
    "error_code": None,
    "error": None,
}
"""What a contact that goes back to waiting leaves behind; a late result finds its token gone."""

_CHANGES: dict[ContactAction, dict[str, Any]] = {
    ContactAction.RETRY: _WAITING_AGAIN,
    ContactAction.INCLUDE: _WAITING_AGAIN,
    # The fingerprint goes too: a claim under other steps would count the revision up once more.
    ContactAction.REGENERATE: _WAITING_AGAIN
    | {"revision": _COLUMNS.revision + 1, "steps_fingerprint": None},
    # The worker may never report: what was reserved for it is free again at once.
    ContactAction.EXCLUDE: {"reserved": _NOTHING},
    ContactAction.RELEASE: {"reserved": _NOTHING, "claim_token": None, "lease_expires_at": None},
}


@exactly()
def move_contacts(
    scope: Scope,
    campaign_id: UUID,
    action: ContactAction,
    which: sa.ColumnElement[bool],
    changes: dict[str, Any] | None = None,
) -> int:
    """Apply ``action`` to the contacts that ``which`` selects and whose status knows it; how many.

    Only under the campaign's exclusive lock, which keeps every other writer of these rows away
    between the count and the update.
    """
    lines = {
        line.source: _resting() if line.target is None else sa.literal(line.target.value)
        for line in lifecycle.CONTACT_TRANSITIONS
        if line.action is action
    }
    moving = sa.and_(_within(scope, campaign_id), _COLUMNS.status.in_([*lines]), which)
    status = sa.case(
        *((_COLUMNS.status == source.value, target) for source, target in lines.items())
    )
    delta = totals.Totals()
    number = 0
    for source, target, count, reserved in scope.connection.execute(
        sa.select(
            _COLUMNS.status, status.label("target"), sa.func.count(), sa.func.sum(_COLUMNS.reserved)
        )
        .where(moving)
        .group_by(_COLUMNS.status, sa.text("target"))
    ):
        number += count
        delta.move(ContactStatus(source), ContactStatus(target), count)
        if "reserved" in _CHANGES.get(action, {}):
            delta.reserved -= reserved
    if number:
        scope.connection.execute(
            sa.update(_TABLE)
            .where(moving)
            .values(status=status, **_CHANGES.get(action, {}), **(changes or {}))
        )
        totals.add(scope, campaign_id, delta, shard=0)
    return number


def settle(scope: Scope, campaign_id: UUID) -> None:
    """Bring up to date what follows from a change under the campaign's exclusive lock."""
    forget(scope, campaign_id)
    totals.settle(scope, campaign_id, totals.read(scope, campaign_id))


class Contacts:
    """``store.contacts``. Contacts are named by their own ids, not by those of their rows here."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def assign(
        self, campaign_id: UUID, contacts: Iterable[UUID | tuple[UUID, int]] | sa.Select[Any]
    ) -> Assigned:
        """Put any number of contacts into a campaign, in the order in which they are given.

        ``contacts`` are ids, pairs of id and priority (higher is generated first; 0 without), or
        a ``Select`` of one of the two; of an iterator, few are held at a time. Contacts that are
        in the campaign already stay as they are.
        Raises :class:`NotFound`, :class:`TransitionNotAllowed` and, for a priority beyond
        ``MAX_PRIORITY``, ``ValueError``.
        """
        scope = self._scope
        row = scope.lock_for(Permission.ASSIGN_CONTACTS, campaign_id)
        if isinstance(contacts, sa.Select):
            contacts = self._selected(contacts)
        now = scope.time_of(row)
        position: int = row.next_position
        added = 0
        empty = position == 0
        there: set[UUID] = set()
        unknown: dict[UUID, None] = {}
        with scope.connection.begin_nested():
            for batch in _batches(contacts, position):
                position += len(batch.ranks)
                number, missing = self._insert(campaign_id, batch, now, empty=empty)
                added += number
                unknown |= dict.fromkeys(missing)
                if number + len(missing) < len(batch.ranks):
                    empty = False
                    there |= self._there_before(campaign_id, batch.ranks, row.next_position, now)
        if added:
            delta = totals.Totals()
            delta.counts[lifecycle.resting_status(None)] += added
            totals.add(scope, campaign_id, delta, shard=0)
            scope.connection.execute(
                sa.update(campaigns)
                .where(scope.of_tenant(campaigns), campaigns.c.id == campaign_id)
                .values(next_position=position)
            )
            settle(scope, campaign_id)
        return Assigned(added, len(there), tuple(unknown))

    def remove(self, campaign_id: UUID, contact_ids: Iterable[UUID]) -> Removed:
        """Take contacts out of a campaign.

        Those ever claimed for generation, or that messages refer to, are kept, excluded and
        reported. Raises :class:`NotFound` and :class:`TransitionNotAllowed`.
        """
        scope = self._scope
        scope.lock_for(Permission.REMOVE_CONTACTS, campaign_id)
        removed = 0
        kept: list[UUID] = []
        for chunk in chunks(checked_ids(contact_ids)):
            candidates = scope.connection.scalars(
                sa.select(_COLUMNS.contact_id).where(_within(scope, campaign_id), _in(chunk))
            ).all()
            gone = set(self._delete(campaign_id, chunk))
            removed += len(gone)
            left = [one for one in candidates if one not in gone]
            move_contacts(scope, campaign_id, ContactAction.EXCLUDE, _in(left))
            kept += left
        settle(scope, campaign_id)
        return Removed(removed, tuple(kept))

    def exclude(self, campaign_id: UUID, contact_ids: Iterable[UUID]) -> Changed:
        """Take contacts out of generation and export, but keep their rows and costs.

        A contact in flight is excluded too: its result will be booked and not exported. Raises
        :class:`NotFound` and :class:`TransitionNotAllowed`.
        """
        self._scope.lock_for(Permission.EXCLUDE_CONTACTS, campaign_id)
        return self._move(campaign_id, ContactAction.EXCLUDE, contact_ids)

    def include(self, campaign_id: UUID, contact_ids: Iterable[UUID]) -> Changed:
        """Bring excluded contacts back, to wait by their readiness. Raises like :meth:`exclude`."""
        self._scope.lock_for(Permission.INCLUDE_CONTACTS, campaign_id)
        return self._move(campaign_id, ContactAction.INCLUDE, contact_ids)

    def set_readiness(self, campaign_id: UUID, gaps: Mapping[UUID, Iterable[str]]) -> Changed:
        """Say of each contact which fields it lacks; none means that it is ready.

        For contacts that are past waiting it is noted for the day they come back. Raises
        :class:`NotFound`, :class:`TransitionNotAllowed`, and ``ValueError`` for empty names.
        """
        self._scope.lock_for(Permission.SET_READINESS, campaign_id)
        by_gaps: dict[tuple[str, ...], list[UUID]] = {}
        checked_ids(gaps)
        for contact_id, missing in gaps.items():
            by_gaps.setdefault(checked_gaps(missing), []).append(contact_id)
        changed = 0
        skipped: list[UUID] = []
        for missing, contact_ids in by_gaps.items():
            action = ContactAction.MARK_NEEDED if missing else ContactAction.MARK_OK
            noted = {"enrichment_gaps": sa.literal(json.dumps(missing), JsonText())}
            done = move_named(self._scope, campaign_id, action, contact_ids, changes=noted)
            changed += done.changed
            skipped += done.skipped
        settle(self._scope, campaign_id)
        return Changed(changed, tuple(skipped))

    def erase(
        self,
        contact_ids: Iterable[UUID],
        *,
        delete_messages: Callable[[sa.Connection], object] | None = None,
    ) -> int:
        """Delete contacts from every campaign of the tenant, whatever its status, for privacy.

        What was spent on them stays in the campaigns' cost. Returns the number of rows. Their
        messages have to go first: ``delete_messages`` is given the connection once the campaigns
        are locked, when no worker writes another one. Raises :class:`Conflict`
        (``still_referred_to``) while any refers to them, and then nothing is erased. A contact in
        flight leaves its claim behind, without a name, so that what its worker spent is booked
        once, with ``record(..., on_lost="book")``.
        """
        scope = self._scope
        contact_chunks = [*chunks(checked_ids(contact_ids))]
        involved: set[UUID] = set()
        for chunk in contact_chunks:
            involved |= set(
                scope.connection.scalars(
                    sa.select(_COLUMNS.campaign_id)
                    .where(scope.of_tenant(_TABLE), _in(chunk))
                    .distinct()
                )
            )
        erased = 0
        with refused_by_database(scope.connection) as refusal:
            for campaign_id in sorted(involved):
                scope.campaign_row(campaign_id, "exclusive")
            if delete_messages is not None:
                delete_messages(scope.connection)
            for campaign_id in sorted(involved):
                for chunk in contact_chunks:
                    erased += self._erase(campaign_id, chunk)
                settle(scope, campaign_id)
        if refusal.missing:
            raise Conflict(
                "still_referred_to",
                "messages still refer to these contacts; delete them in the same transaction, "
                "with delete_messages=",
            )
        return erased

    def list(
        self,
        campaign_id: UUID,
        *,
        status: ContactStatus | None = None,
        limit: int = 500,
        after: str | None = None,
    ) -> Page[CampaignContact]:
        """The contacts of a campaign in the order of generation, by pages of ``limit``.

        ``after`` is the ``next`` of the page before. Raises :class:`NotFound`, and ``ValueError``
        for a bad ``limit`` or ``after``.
        """
        if type(limit) is not int or not 1 <= limit <= _LARGEST_PAGE:
            raise ValueError(f"limit is a whole number from 1 to {_LARGEST_PAGE}, not {limit!r}")
        steps = self._scope.steps(self._scope.campaign_row(campaign_id))
        return self._page(campaign_id, steps, status, limit, after)

    def exportable(self, campaign_id: UUID) -> Iterator[CampaignContact]:
        """Every contact whose messages may be sent: the only list an exporter uses.

        These are the generated ones of an approved (or already exported) campaign, and never an
        excluded one. Of the host's messages, send those whose ids the campaign's slots give for
        the contact's present revision; others are of earlier generations. The campaign is locked,
        and the pages are read as they are asked for: go through them, and apply ``export``, in
        the same transaction. Raises :class:`NotFound` and :class:`TransitionNotAllowed`, at once.
        """
        row = self._scope.campaign_row(campaign_id, "exclusive")
        lifecycle.check_permission(Permission.LIST_EXPORTABLE, Status(row.status))
        return self._every(campaign_id, self._scope.steps(row), ContactStatus.GENERATED)

    def overlaps(self, campaign_id: UUID) -> tuple[Overlap, ...]:
        """Which contacts of this campaign are in another live one, most recently active first.

        Excluded rows and archived campaigns do not count. Raises :class:`NotFound`.
        """
        scope = self._scope
        scope.campaign_row(campaign_id)
        mine, theirs = _TABLE.alias("mine"), _TABLE.alias("theirs")
        active = sa.func.coalesce(
            theirs.c.generated_at, theirs.c.claimed_at, theirs.c.added_at, type_=UtcDateTime()
        ).label("last_activity_at")
        rows = scope.connection.execute(
            sa.select(
                theirs.c.contact_id, theirs.c.campaign_id, campaigns.c.name, theirs.c.status, active
            )
            .join_from(
                mine,
                theirs,
                sa.and_(
                    theirs.c.tenant_id == mine.c.tenant_id,
                    theirs.c.contact_id == mine.c.contact_id,
                    theirs.c.campaign_id != mine.c.campaign_id,
                ),
            )
            .join(
                campaigns,
                sa.and_(
                    campaigns.c.tenant_id == theirs.c.tenant_id,
                    campaigns.c.id == theirs.c.campaign_id,
                ),
            )
            .where(
                scope.of_tenant(mine),
                mine.c.campaign_id == campaign_id,
                mine.c.status != ContactStatus.EXCLUDED.value,
                theirs.c.status != ContactStatus.EXCLUDED.value,
                campaigns.c.status != lifecycle.target(Action.ARCHIVE).value,
            )
            .order_by(active.desc(), theirs.c.id)
        )
        return tuple(
            Overlap(row.contact_id, row.campaign_id, row.name, ContactStatus(row.status), row[4])
            for row in rows
        )

    def _selected(self, contacts: sa.Select[Any]) -> Iterable[UUID | tuple[UUID, int]]:
        rows: Iterable[Any] = self._scope.connection.execute(contacts)
        if not self._scope.on_postgresql:
            # SQLite reads on while rows are added: those might be among what it finds.
            rows = [*rows]
        return (one[0] if len(one) == 1 else (one[0], one[1]) for one in rows)

    def _there_before(
        self, campaign_id: UUID, contact_ids: Iterable[UUID], position: int, now: datetime
    ) -> set[UUID]:
        """Those of the contacts that this assignment, from ``position`` at ``now``, found there."""
        added_here = sa.and_(
            _COLUMNS.rank.bitwise_and(POSITIONS - 1) >= position, _COLUMNS.added_at == now
        )
        return set(
            self._scope.connection.scalars(
                sa.select(_COLUMNS.contact_id).where(
                    _within(self._scope, campaign_id), _in(contact_ids), sa.not_(added_here)
                )
            )
        )

    def _insert(
        self, campaign_id: UUID, batch: _Batch, now: datetime, *, empty: bool
    ) -> tuple[int, tuple[UUID, ...]]:
        """Insert rows; the number added, and the contacts that the tenant does not have.

        Where the campaign is believed to be ``empty``, it is tried so first.
        """
        scope = self._scope
        ranks, known = batch.ranks, batch
        missing: tuple[UUID, ...] = ()
        while known.ranks:
            with refused_by_database(scope.connection) as refusal:
                return self._insert_known(campaign_id, known, now, empty=empty), missing
            if empty and refusal.taken:
                empty = False
                continue
            table = host_contacts(scope.host)
            present = scope.connection.scalars(
                sa.select(table.c.id).where(
                    scope.of_tenant(table),
                    any_of(table.c.id, sa.literal(list(known.ranks), Array(Uuid))),
                )
            ).all()
            if len(present) == len(known.ranks):
                # None is missing, or it came this moment, or a key of the host's refused: once
                # more, and no further.
                with scope.connection.begin_nested():
                    return self._insert_known(campaign_id, known, now, empty=False), missing
            known = _in_order({one: ranks[one] for one in present})
            missing = tuple(ranks.keys() - known.ranks)
        return 0, tuple(ranks)

    def _insert_known(self, campaign_id: UUID, batch: _Batch, now: datetime, *, empty: bool) -> int:
        connection = self._scope.connection
        fixed = {
            "tenant_id": self._scope.tenant_id,
            "campaign_id": campaign_id,
            "status": lifecycle.resting_status(None).value,
            "added_at": now,
        }
        if self._scope.on_postgresql:
            columns = {
                "ids": arrays.uuids(connection, batch.ids),
                "contact_ids": arrays.uuids(connection, batch.contact_ids),
                "ranks": arrays.integers(connection, batch.in_order),
            }
            statement = _ASSIGN_TO_EMPTY if empty else _ASSIGN
            return connection.execute(statement, fixed | columns).rowcount
        return connection.execute(
            insert_into(connection, _TABLE).on_conflict_do_nothing(
                index_elements=["tenant_id", "campaign_id", "contact_id"]
            ),
            [
                fixed | {"id": UUID(bytes=id_), "contact_id": UUID(bytes=contact_id), "rank": rank}
                for id_, contact_id, rank in zip(
                    batch.ids, batch.contact_ids, batch.in_order, strict=True
                )
            ],
        ).rowcount

    def _delete(self, campaign_id: UUID, contact_ids: Sequence[UUID]) -> tuple[UUID, ...]:
        """Delete the rows that were never claimed and that nothing refers to; whose they were."""
        scope = self._scope
        with refused_by_database(scope.connection) as refusal:
            rows = scope.connection.execute(
                sa.delete(_TABLE)
                .where(_within(scope, campaign_id), _in(contact_ids), _COLUMNS.claimed_at.is_(None))
                .returning(_COLUMNS.contact_id, _COLUMNS.status)
            ).all()
            delta = totals.Totals()
            for _, status in rows:
                delta.counts[ContactStatus(status)] -= 1
            totals.add(scope, campaign_id, delta, shard=0)
            return tuple(contact_id for contact_id, _ in rows)
        assert refusal.missing
        if len(contact_ids) == 1:
            return ()
        middle = len(contact_ids) // 2
        return self._delete(campaign_id, contact_ids[:middle]) + self._delete(
            campaign_id, contact_ids[middle:]
        )

    @exactly()
    def _erase(self, campaign_id: UUID, contact_ids: Sequence[UUID]) -> int:
        scope = self._scope
        rows = scope.connection.execute(
            sa.delete(_TABLE)
            .where(_within(scope, campaign_id), _in(contact_ids))
            .returning(
                _COLUMNS.id,
                _COLUMNS.claim_token,
                _COLUMNS.status,
                _COLUMNS.generation_cost,
                _COLUMNS.unknown_costs,
                _COLUMNS.reserved,
            )
        ).all()
        delta = totals.Totals()
        in_flight = []
        for id_, token, status, cost, unknown, reserved in rows:
            if token is not None:
                in_flight.append({"campaign_contact_id": id_, "token": token})
            delta.counts[ContactStatus(status)] -= 1
            delta.cost -= cost
            delta.erased_cost += cost
            delta.unknown_costs -= unknown
            delta.erased_unknown_costs += unknown
            delta.reserved -= reserved
        totals.add(scope, campaign_id, delta, shard=0)
        if in_flight:
            fixed = {"tenant_id": scope.tenant_id, "campaign_id": campaign_id}
            scope.connection.execute(
                sa.insert(campaign_erased_claims), [fixed | claim for claim in in_flight]
            )
        return len(rows)

    def _move(
        self, campaign_id: UUID, action: ContactAction, contact_ids: Iterable[UUID]
    ) -> Changed:
        changed = move_named(self._scope, campaign_id, action, contact_ids)
        settle(self._scope, campaign_id)
        return changed

    def _page(
        self,
        campaign_id: UUID,
        steps: StepSequence,
        status: ContactStatus | None,
        limit: int,
        after: str | None,
    ) -> Page[CampaignContact]:
        query = sa.select(_TABLE).where(_within(self._scope, campaign_id))
        if status is not None:
            query = query.where(_COLUMNS.status == ContactStatus(status).value)
        if after is not None:
            rank, id_ = _read_cursor(after)
            query = query.where(
                sa.or_(_COLUMNS.rank > rank, sa.and_(_COLUMNS.rank == rank, _COLUMNS.id > id_))
            )
        rows = self._scope.connection.execute(
            query.order_by(_COLUMNS.rank, _COLUMNS.id).limit(limit + 1)
        ).all()
        found = tuple(contact_from_row(row, steps) for row in rows[:limit])
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(found, None if last is None else f"{last.rank}:{last.id}")

    def _every(
        self, campaign_id: UUID, steps: StepSequence, status: ContactStatus
    ) -> Iterator[CampaignContact]:
        after = None
        while True:
            page = self._page(campaign_id, steps, status, _EXPORT_PAGE, after)
            yield from page.items
            if page.next is None:
                return
            after = page.next


def move_named(
    scope: Scope,
    campaign_id: UUID,
    action: ContactAction,
    contact_ids: Iterable[UUID],
    which: sa.ColumnElement[bool] | None = None,
    changes: dict[str, Any] | None = None,
) -> Changed:
    """:func:`move_contacts` for contacts named by id, with those it did not apply to."""
    if which is None:
        which = sa.true()
    knowing = [line.source.value for line in lifecycle.CONTACT_TRANSITIONS if line.action is action]
    changed = 0
    skipped: list[UUID] = []
    for chunk in chunks(checked_ids(contact_ids)):
        able = set(
            scope.connection.scalars(
                sa.select(_COLUMNS.contact_id).where(
                    _within(scope, campaign_id), _COLUMNS.status.in_(knowing), _in(chunk), which
                )
            )
        )
        changed += move_contacts(scope, campaign_id, action, sa.and_(_in(chunk), which), changes)
        skipped += [one for one in chunk if one not in able]
    return Changed(changed, tuple(skipped))


class _Batch(NamedTuple):
    """Contacts to insert with their ranks, and the same as columns, sorted by contact."""

    ranks: dict[UUID, int]
    ids: list[bytes]
    contact_ids: list[bytes]
    in_order: list[int]


def _batch(contacts: Iterable[UUID | tuple[UUID, int]], position: int) -> _Batch:
    return _in_order(_ranks(contacts, position))


def _in_order(ranks: dict[UUID, int]) -> _Batch:
    ordered = sorted(ranks, key=attrgetter("int"))
    columns = [one.bytes for one in ordered], [ranks[one] for one in ordered]
    return _Batch(ranks, _new_ids(len(ordered)), *columns)


def _batches(contacts: Iterable[UUID | tuple[UUID, int]], position: int) -> Iterator[_Batch]:
    """The contacts with their ranks, from ``position`` on.

    While the database takes one batch in, a thread sorts the next.
    """
    ready: _Batch | None = None
    with ThreadPoolExecutor(max_workers=1) as thread:
        for chunk in chunks(contacts, _ASSIGN_CHUNK):
            position += 0 if ready is None else len(ready.ranks)
            later = thread.submit(_batch, chunk, position)
            if ready is not None:
                yield ready
            ready = later.result()
    if ready is not None:
        yield ready


def _ranks(contacts: Iterable[UUID | tuple[UUID, int]], position: int) -> dict[UUID, int]:
    """Each contact's rank, in the order given, from ``position`` on; the first mention counts."""
    priorities: dict[UUID, int] = {}
    for contact in contacts:
        contact_id, priority = contact if isinstance(contact, tuple) else (contact, 0)
        if type(priority) is not int or not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
            raise ValueError(
                f"a priority is a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}, "
                f"not {priority!r}"
            )
        priorities.setdefault(checked_id(contact_id), priority)
    return {
        contact_id: place - priority * POSITIONS
        for place, (contact_id, priority) in enumerate(priorities.items(), position)
    }


def _new_ids(number: int) -> list[bytes]:
    """Random ids (of version 4) as bytes, in order: an index takes them in from end to end."""
    drawn = bytearray(os.urandom(16 * number))
    drawn[6::16] = drawn[6::16].translate(_VERSION)
    drawn[8::16] = drawn[8::16].translate(_VARIANT)
    return sorted(bytes(drawn[at : at + 16]) for at in range(0, len(drawn), 16))


def _read_cursor(cursor: str) -> tuple[int, UUID]:
    try:
        rank, id_ = cursor.split(":")
        position = int(rank), UUID(id_)
    except ValueError as error:
        raise _no_cursor(cursor) from error
    if abs(position[0]) >= (MAX_PRIORITY + 1) * POSITIONS:
        raise _no_cursor(cursor)
    return position


def _no_cursor(cursor: str) -> ValueError:
    return ValueError(f"after= is not the next of a page: {cursor!r}")
