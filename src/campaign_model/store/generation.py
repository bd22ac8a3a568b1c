"""Generation: contacts claimed under a lease, outcomes recorded once, money held to the budget.

No transaction is open while messages are written. A claim leaves a token on the contact's row;
whoever holds the row's present token owns the contact, whatever any clock says. Every method but
``retry_failed`` and ``regenerate`` shares the campaign's row lock: workers run side by side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model._values import MONEY_DECIMALS, exactly, money
from campaign_model.contacts import Changed
from campaign_model.errors import LeaseLost
from campaign_model.generation import (
    LONGEST,
    Claim,
    ClaimBatch,
    Cursor,
    Estimate,
    Failed,
    Generated,
    GenerationConfig,
    NotReady,
    Outcome,
    Progress,
    Recorded,
    Renewal,
    StopReason,
    Unfinished,
)
from campaign_model.lifecycle import ContactAction, ContactStatus, Permission, Status
from campaign_model.store import totals
from campaign_model.store.contacts import move_contacts, move_named, settle
from campaign_model.store.prepared import Prepared
from campaign_model.store.progress import progress
from campaign_model.store.scope import Scope, shared_and_below
from campaign_model.store.tables import (
    ZERO,
    campaign_contacts,
    campaign_erased_claims,
    is_claimable,
    is_generating,
    written_out,
)
from campaign_model.store.types import (
    Array,
    JsonText,
    Money,
    UtcDateTime,
    Uuid,
    any_held,
    checked_id,
    has,
)

__all__ = ["ATTEMPTS_EXHAUSTED", "MAX_ATTEMPTS", "MAX_CLAIM", "Generation", "OnLost"]

MAX_ATTEMPTS = 5
"""A contact claimed this often without an outcome fails instead of being claimed again."""

ATTEMPTS_EXHAUSTED = "attempts_exhausted"
"""Error code of a contact that failed because no worker ever came to an end with it."""

OnLost = Literal["raise", "skip", "book"]

MAX_CLAIM = 10_000
"""The most contacts that one claim takes."""

_REMEMBERED = 100
"""Reports remembered per contact, to know a repeated one; attempts end long before."""

_BUSY_PAUSE = timedelta(seconds=1)
_ZERO = Decimal(0)
_TABLE = campaign_contacts
_COLUMNS = _TABLE.c
_CLAIM_STATUS = ContactStatus.GENERATING
_FAIL_STATUS = ContactStatus.FAILED


def _param(name: str, type_: Any) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=type_)


_OF_CAMPAIGN = sa.and_(
    _COLUMNS.tenant_id == _param("tenant", Uuid), _COLUMNS.campaign_id == _param("campaign", Uuid)
)

_THEIRS = sa.and_(
    has(_COLUMNS.tenant_id, _param("tenant", Uuid)),
    has(_COLUMNS.campaign_id, _param("campaign", Uuid)),
)
"""Of rows that are found by their ids."""

_WINDOW = sa.and_(
    _COLUMNS.rank >= _param("first_rank", sa.BigInteger),
    _COLUMNS.rank < _param("end_rank", sa.BigInteger),
)
_FRESH = (
    sa.and_(
        is_claimable,
        _WINDOW,
        sa.or_(_COLUMNS.retry_at.is_(None), _COLUMNS.retry_at <= _param("now", UtcDateTime)),
    ),
    _COLUMNS.rank,
)
_EXPIRED = (
    sa.and_(
        is_generating,
        _WINDOW,
        _COLUMNS.lease_expires_at <= _param("now", UtcDateTime),
    ),
    _COLUMNS.lease_expires_at,
)

_exhausted = _COLUMNS.attempts >= _param("most_attempts", sa.BigInteger)


def _unless_exhausted(value: Any, otherwise: Any) -> sa.ColumnElement[Any]:
    return sa.case((_exhausted, otherwise), else_=value)


_ONE: sa.ColumnElement[Any] = sa.literal_column("1")
_CLAIMED: dict[str, Any] = {
    "status": _unless_exhausted(written_out(_CLAIM_STATUS), written_out(_FAIL_STATUS)),
    "attempts": _COLUMNS.attempts + _unless_exhausted(_ONE, ZERO),
    "revision": sa.case(
        # Not of a contact never claimed: there the fingerprint is NULL, and this not true.
        (_COLUMNS.steps_fingerprint != _param("fingerprint", sa.Text), _COLUMNS.revision + _ONE),
        else_=_COLUMNS.revision,
    ),
    "steps_fingerprint": _param("fingerprint", sa.Text),
    "claim_token": _unless_exhausted(_param("token", Uuid), sa.null()),
    "lease_expires_at": _unless_exhausted(_param("expires_at", UtcDateTime), sa.null()),
    "claimed_at": _param("now", UtcDateTime),
    "retry_at": sa.null(),
    "reserved": _unless_exhausted(
        sa.case((is_generating, _COLUMNS.reserved), else_=_param("reserve", Money)), ZERO
    ),
    "error_code": _unless_exhausted(sa.null(), written_out(ATTEMPTS_EXHAUSTED)),
    "error": _unless_exhausted(
        sa.null(), written_out("claimed again and again, but no worker ever finished it")
    ),
}

_CLAIM_RESULT = (
    _COLUMNS.id,
    _COLUMNS.contact_id,
    _COLUMNS.status,
    _COLUMNS.attempts,
    _COLUMNS.revision,
    _COLUMNS.rank,
    _COLUMNS.reserved,
)


def _claim_statements(
    which: tuple[sa.ColumnElement[bool], Any],
) -> tuple[Prepared, sa.Select[Any], sa.UpdateBase]:
    """One statement for PostgreSQL, totals and all; a select and an update for SQLite.

    (SQLite's RETURNING shows only the updated table, and its transaction is alone anyway.)
    """
    condition, order = which
    picking = (
        sa.select(
            _COLUMNS.id,
            _COLUMNS.status.label("was"),
            _COLUMNS.reserved.label("had"),
        )
        .where(_OF_CAMPAIGN, condition)
        .order_by(order)
        .limit(_param("number", sa.Integer))
    )
    picked = picking.with_for_update(skip_locked=True, key_share=True).cte("picked")
    changed = (
        sa.update(_TABLE)
        .where(_COLUMNS.id == picked.c.id, _THEIRS)
        .values(**_CLAIMED)
        .returning(*_CLAIM_RESULT, picked.c.was, picked.c.had)
        .cte("changed")
    )
    statuses = lifecycle.CLAIMABLE | {_CLAIM_STATUS, _FAIL_STATUS}
    counted = totals.adding(totals.moved(changed, statuses)).cte("counted")
    together = sa.select(changed).add_cte(counted)
    alone = (
        sa.update(_TABLE)
        .where(_THEIRS, any_held(_COLUMNS.id, _param("ids", Array(Uuid))))
        .values(**_CLAIMED)
        .returning(*_CLAIM_RESULT)
    )
    return Prepared(together), picking, alone


_CLAIM_FRESH = _claim_statements(_FRESH)
_CLAIM_EXPIRED = _claim_statements(_EXPIRED)

_REPORTED_ON = (
    "status",
    "claim_token",
    "reported_tokens",
    "enrichment_gaps",
    "generation_cost",
    "unknown_costs",
    "reserved",
    "attempts",
    "steps_fingerprint",
    "generated_at",
    "error_code",
    "error",
    "lease_expires_at",
    "retry_at",
)
"""What a report or a checkpoint may change: locked and read first, then written back whole."""

_LOCKED = ("id", *_REPORTED_ON)

_CLAIMED_ROWS = (
    sa.select(*(_COLUMNS[name] for name in _LOCKED))
    .where(_THEIRS, any_held(_COLUMNS.id, _param("ids", Array(Uuid))))
    .order_by(_COLUMNS.id)
)
_LOCK_CLAIMED = shared_and_below(_CLAIMED_ROWS)

_RENEW = (
    sa.update(_TABLE)
    .where(_THEIRS, any_held(_COLUMNS.id, _param("ids", Array(Uuid))))
    .values(lease_expires_at=_param("until", UtcDateTime))
)


def _write_back() -> Prepared:
    """All rows, as one JSON value, and the totals."""
    sent = (
        sa.func.json_to_recordset(sa.cast(_param("rows", sa.Text), sa.JSON))
        .table_valued(*(sa.column(name, _COLUMNS[name].type) for name in _LOCKED))
        .render_derived("sent", with_types=True)
    )
    new = sa.select(*sent.c).cte("new")
    written = (
        sa.update(_TABLE)
        # Looked up by their ids first: of JSON PostgreSQL expects so many rows that it would
        # rather read the whole of a small table.
        .where(
            _THEIRS, _COLUMNS.id == sa.any_(sa.func.array(sa.select(new.c.id).scalar_subquery()))
        )
        .where(_COLUMNS.id == new.c.id)
        .values({name: new.c[name] for name in _REPORTED_ON})
        .returning(_COLUMNS.id)
        .cte("written")
    )
    # Counted, they are all written before the shard is locked: it is held for less.
    number = sa.select(sa.func.count()).select_from(written).scalar_subquery()
    changed = _param("changed", sa.Boolean)
    return Prepared(totals.adding(totals.given().where(changed, number >= ZERO)))


_WRITE_BACK = _write_back()
_WRITE_ONE_BACK = (
    sa.update(_TABLE)
    .where(_THEIRS, _COLUMNS.id == _param("new_id", Uuid))
    .values({name: _param(f"new_{name}", _COLUMNS[name].type) for name in _REPORTED_ON})
)


class Generation:
    """``store.generation``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @exactly()
    def claim(
        self,
        campaign_id: UUID,
        limit: int,
        lease: timedelta,
        *,
        reserve: Decimal | None = None,
        cursor: Cursor | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> ClaimBatch:
        """Take up to ``limit`` contacts to write messages for, until ``lease`` runs out.

        Contacts come by priority, then in the order of assignment; those whose lease ran out come
        after the rest. ``reserve`` is what one contact may cost: with a budget it is required,
        and no claim goes beyond it. Pass the ``cursor`` of your last batch to go on from there.
        A contact that was claimed ``max_attempts`` times without an outcome fails instead. One
        that was claimed before under other steps gets a new revision: its messages are others.
        Raises :class:`NotFound` and ``ValueError``; fewer claims than asked for come with the
        reason, never with an error.
        """
        if type(limit) is not int or not 1 <= limit <= MAX_CLAIM:
            raise ValueError(f"a claim is of 1 to {MAX_CLAIM} contacts, not {limit!r}")
        if type(max_attempts) is not int or not 1 <= max_attempts <= MAX_CLAIM:
            raise ValueError(f"max_attempts is from 1 to {MAX_CLAIM}, not {max_attempts!r}")
        _check_lease(lease)
        scope = self._scope
        row = scope.campaign_row(campaign_id, "shared")
        steps = scope.steps(row)
        config = scope.config(row)
        cursor = cursor or Cursor()
        now = scope.time_of(row)
        if not _may_claim(row):
            return ClaimBatch((), StopReason.NOT_GENERATING, None, now, cursor, steps, config)
        each, granted = self._grant(campaign_id, config, reserve, limit)
        shard = self._shard(row, config)
        picked = _Picked(
            scope, campaign_id, shard, steps.fingerprint, now, lease, each, max_attempts
        )
        if granted:
            picked.take(_CLAIM_FRESH, granted, cursor.rank, _END)
        if len(picked.claims) < granted and cursor.rank > Cursor().rank:
            picked.take(_CLAIM_FRESH, granted, Cursor().rank, cursor.rank)
        picked.delta.reserved -= each * (granted - len(picked.claims))
        short_of_money = len(picked.claims) == granted < limit
        if len(picked.claims) < limit:
            # A contact taken over keeps what was reserved for it.
            picked.take(_CLAIM_EXPIRED, limit, Cursor().rank, _END)
        totals.add(scope, campaign_id, picked.delta, shard)
        stop, retry_at = None, None
        if len(picked.claims) < limit:
            stop, retry_at = self._why_short(campaign_id, now, short_of_money=short_of_money)
        cursor = Cursor(picked.last_rank + 1) if picked.last_rank is not None else Cursor()
        return ClaimBatch(tuple(picked.claims), stop, retry_at, now, cursor, steps, config)

    def renew(self, claims: Iterable[Claim], lease: timedelta) -> Renewal:
        """Extend the leases of one campaign's claims, counted from now.

        ``lost`` are those to stop working on: taken over, released, erased or excluded. Raises
        :class:`NotFound`, and ``ValueError`` for claims of several campaigns or of none.
        """
        _check_lease(lease)
        scope = self._scope
        claims = tuple(claims)
        campaign_id = _campaign_of(claims)
        # Locked in the order of ids, as record does: two calls about the same contacts never cross.
        row, locked = self._locked(campaign_id, [claim.id for claim in claims])
        held = {
            claim.id: locked[str(claim.id)]["status"] == _CLAIM_STATUS
            for claim in claims
            if _holds(claim, locked.get(str(claim.id)))
        }
        expires_at = scope.now() + lease
        if held:
            scope.connection.execute(_RENEW, self._these(campaign_id, held) | {"until": expires_at})
        lost = tuple(claim.id for claim in claims if not held.get(claim.id))
        return Renewal(expires_at, lost, cancelled=not _may_claim(row))

    @exactly()
    def checkpoint(self, claim: Claim, cost: Decimal | None) -> None:
        """Book a paid call while the work on a contact goes on.

        Write the message it paid for in the same transaction, under its own id: a death later on
        loses neither, and a repeated call fails on the message instead of booking twice.
        ``None`` says that the cost is unknown. Raises :class:`NotFound` and :class:`LeaseLost`.
        """
        scope = self._scope
        amount = _ZERO if cost is None else money(cost)
        row, locked = self._locked(claim.campaign_id, [claim.id])
        held = locked.get(str(claim.id))
        if held is None or not _holds(claim, held):
            raise LeaseLost((claim.id,))
        freed = min(held["reserved"], amount)
        delta = totals.Totals(cost=amount, unknown_costs=int(cost is None), reserved=-freed)
        self._write_back(
            claim.campaign_id,
            [
                held
                | {
                    "generation_cost": held["generation_cost"] + amount,
                    "unknown_costs": held["unknown_costs"] + delta.unknown_costs,
                    "reserved": held["reserved"] - freed,
                }
            ],
            delta,
            self._shard(row, scope.config(row)),
        )

    @exactly()
    def record(
        self, outcomes: Mapping[Claim, Outcome], *, on_lost: OnLost = "raise"
    ) -> dict[Claim, Recorded]:
        """Report what became of claimed contacts: all of it or, when this raises, nothing.

        The token decides. An outcome recorded before answers ``already``. One whose lease was
        lost raises :class:`LeaseLost` with every such id; with ``on_lost="skip"`` it is left out,
        with ``"book"`` its cost is booked and its result dropped. A result that arrives after a
        cancel counts; if the steps changed meanwhile it is booked and the contact queued again.
        Raises :class:`NotFound`, ``ValueError`` for claims of several campaigns and ``TypeError``
        for what is no outcome.
        """
        scope = self._scope
        if not outcomes:
            return {}
        for outcome in outcomes.values():
            if type(outcome) not in _ACTION_OF:
                raise TypeError(f"not an outcome: {outcome!r}")
        campaign_id = _campaign_of(outcomes)
        row, held = self._locked(campaign_id, [claim.id for claim in outcomes])
        steps = scope.steps(row)
        now = scope.time_of(row)
        delta = totals.Totals()
        answers: dict[Claim, Recorded] = {}
        lost: list[Claim] = []
        writes: dict[str, Mapping[str, Any]] = {}
        for claim, outcome in outcomes.items():
            id_ = str(claim.id)
            present = held.get(id_)
            if present is None:
                lost.append(claim)
                continue
            if _holds(claim, present):
                same_steps = claim.steps_fingerprint == steps.fingerprint
                write, answers[claim] = _settled(present, claim, outcome, now, welcome=same_steps)
            elif str(claim.token) in present["reported_tokens"]:
                answers[claim] = Recorded.ALREADY
                continue
            elif on_lost == "book":
                write, answers[claim] = _booked(present, claim, outcome.cost), Recorded.BOOKED
            else:
                lost.append(claim)
                continue
            # The next claim on the same contact, perhaps an older one, finds it so.
            held[id_] = writes[id_] = present | write
            _count(delta, present, held[id_])
        if lost and on_lost == "raise":
            raise LeaseLost(tuple(claim.id for claim in lost))
        for claim in sorted(lost, key=lambda claim: claim.id):
            answers[claim] = Recorded.SKIPPED
            if on_lost == "book" and self._take_erased(claim):
                answers[claim] = Recorded.BOOKED
                cost = outcomes[claim].cost
                delta.erased_cost += cost or _ZERO
                delta.erased_unknown_costs += int(cost is None)
        shard = self._shard(row, scope.config(row))
        self._write_back(campaign_id, writes.values(), delta, shard)
        return answers

    def release(self, claims: Iterable[Claim]) -> dict[Claim, Recorded]:
        """Give contacts back unfinished, to be claimed again at once; lost ones are skipped."""
        return self.record(dict.fromkeys(claims, Unfinished()), on_lost="skip")

    def retry_failed(self, campaign_id: UUID, contact_ids: Iterable[UUID] | None = None) -> Changed:
        """Put failed contacts, all or the given ones, back to wait; their costs stay booked.

        Raises :class:`NotFound` and :class:`TransitionNotAllowed`.
        """
        self._scope.lock_for(Permission.RETRY_FAILED, campaign_id)
        return self._requeue(campaign_id, ContactAction.RETRY, contact_ids, sa.true())

    def regenerate(
        self,
        campaign_id: UUID,
        contact_ids: Iterable[UUID] | None = None,
        *,
        only_stale: bool = False,
    ) -> Changed:
        """Have messages written anew for generated contacts: all, or the given ones.

        ``only_stale`` means those generated from other steps than the present ones. Their
        revision grows, so that the new messages get ids of their own; costs stay booked.

        Raises :class:`NotFound` and :class:`TransitionNotAllowed`.
        """
        row = self._scope.lock_for(Permission.REGENERATE, campaign_id)
        which: sa.ColumnElement[bool] = sa.true()
        if only_stale:
            steps = self._scope.steps(row)
            which = _COLUMNS.steps_fingerprint.is_distinct_from(steps.fingerprint)
        return self._requeue(campaign_id, ContactAction.REGENERATE, contact_ids, which)

    def progress(self, campaign_id: UUID) -> Progress:
        """How far the campaign is, in one query whose cost does not depend on its size.

        Raises :class:`NotFound`.
        """
        return progress(self._scope, campaign_id)

    @exactly()
    def estimate(self, campaign_id: UUID) -> Estimate:
        """What the contacts that still wait would take, at the average cost so far.

        Raises :class:`NotFound`.
        """
        row = self._scope.campaign_row(campaign_id)
        steps = self._scope.steps(row)
        total = totals.peek(self._scope, campaign_id)
        left = total.left
        known = total.finished - total.unknown_costs
        return Estimate(
            contacts=left,
            messages=left * len(steps.slots()),
            cost=_rounded(total.cost * left / known) if known > 0 else None,
        )

    def _shard(self, row: sa.Row[Any], config: GenerationConfig) -> int:
        """The row of totals for what this call changes: only a running campaign has them all."""
        spread = config.budget is None and _may_claim(row)
        return self._scope.shard if spread else 0

    def _grant(
        self, campaign_id: UUID, config: GenerationConfig, reserve: Decimal | None, limit: int
    ) -> tuple[Decimal, int]:
        """What each claim sets aside, and for how many of them the budget has room."""
        if config.budget is None:
            return _ZERO, limit
        if reserve is None:
            raise ValueError(
                "this campaign has a budget: say with reserve= what one contact may cost"
            )
        each = money(reserve)
        return each, totals.reserve(self._scope, campaign_id, config.budget, each, limit)

    def _why_short(
        self, campaign_id: UUID, now: datetime, *, short_of_money: bool
    ) -> tuple[StopReason, datetime | None]:
        """Why there was not more to claim, and when there may be."""
        scope = self._scope
        within = sa.and_(scope.of_tenant(_TABLE), _COLUMNS.campaign_id == campaign_id)
        next_expiry = scope.connection.scalar(
            sa.select(sa.func.min(_COLUMNS.lease_expires_at, type_=UtcDateTime())).where(
                within, is_generating
            )
        )
        waiting = sa.and_(within, is_claimable)
        next_try = None
        if short_of_money and scope.connection.scalar(sa.select(sa.exists().where(waiting))):
            if next_expiry is None:
                return StopReason.BUDGET, None
        else:
            next_try = scope.connection.scalar(
                sa.select(
                    sa.func.min(
                        sa.func.coalesce(_COLUMNS.retry_at, sa.literal(now + _BUSY_PAUSE)),
                        type_=UtcDateTime(),
                    )
                ).where(waiting)
            )
        moments = [moment for moment in (next_expiry, next_try) if moment is not None]
        if not moments:
            return StopReason.DRAINED, None
        soonest = min(moments)
        # What is due already and was not claimed is locked by somebody right now.
        return StopReason.LEASES_PENDING, soonest if soonest > now else now + _BUSY_PAUSE

    def _these(self, campaign_id: UUID, ids: Iterable[UUID]) -> dict[str, Any]:
        return {
            "tenant": self._scope.tenant_id,
            "campaign": campaign_id,
            "ids": sorted(map(checked_id, ids)),
        }

    def _locked(
        self, campaign_id: UUID, ids: Iterable[UUID]
    ) -> tuple[sa.Row[Any], dict[str, dict[str, Any]]]:
        """The campaign's row, shared, and of its contacts those, to write them back: as JSON."""
        scope = self._scope
        these = self._these(campaign_id, ids)
        if scope.connection.dialect.name == "postgresql":
            campaign, rows = scope.campaign_and_rows(campaign_id, _LOCK_CLAIMED, these)
        else:
            campaign = scope.campaign_row(campaign_id, "shared")
            found = scope.connection.execute(_CLAIMED_ROWS, these).mappings()
            rows = [_with_json(dict(row), json.loads, str) for row in found]
        return campaign, {row["id"]: row for row in rows}

    def _write_back(
        self,
        campaign_id: UUID,
        rows: Collection[Mapping[str, Any]],
        delta: totals.Totals,
        shard: int,
    ) -> None:
        """Write rows that :meth:`_locked` read, and what that changes in the totals."""
        connection = self._scope.connection
        if rows and connection.dialect.name == "postgresql":
            values = totals.addition(self._scope, campaign_id, delta, shard)
            values |= {"changed": delta.changes(), "rows": _encode([*rows])}
            _WRITE_BACK.execute(connection, values)
            return
        if rows:
            place = {"tenant": self._scope.tenant_id, "campaign": campaign_id}
            plain = [_with_json(row, json.dumps, UUID) for row in rows]
            new = [place | {f"new_{name}": row[name] for name in _LOCKED} for row in plain]
            connection.execute(_WRITE_ONE_BACK, new)
        totals.add(self._scope, campaign_id, delta, shard)

    def _take_erased(self, claim: Claim) -> bool:
        """Whether the claim was out when its contact was erased, and nobody reported on it yet."""
        table = campaign_erased_claims
        gone = self._scope.connection.execute(
            sa.delete(table).where(
                self._scope.of_tenant(table),
                table.c.campaign_id == claim.campaign_id,
                table.c.campaign_contact_id == claim.id,
                table.c.token == claim.token,
            )
        )
        return gone.rowcount > 0

    def _requeue(
        self,
        campaign_id: UUID,
        action: ContactAction,
        contact_ids: Iterable[UUID] | None,
        which: sa.ColumnElement[bool],
    ) -> Changed:
        if contact_ids is None:
            changed = Changed(move_contacts(self._scope, campaign_id, action, which), ())
        else:
            changed = move_named(self._scope, campaign_id, action, contact_ids, which)
        settle(self._scope, campaign_id)
        return changed


_END = 2**63 - 1


class _PickedRow(NamedTuple):
    """A row that was claimed, and its status and reservation from before."""

    id: UUID
    contact_id: UUID
    status: str
    attempts: int
    revision: int
    rank: int
    reserved: Decimal
    was: str
    had: Decimal


@attrs.define
class _Picked:
    """The claims made so far in one call, and what is still to be changed in the totals."""

    scope: Scope
    campaign_id: UUID
    shard: int
    fingerprint: str
    now: datetime
    lease: timedelta
    reserve: Decimal
    max_attempts: int
    token: UUID = attrs.field(factory=uuid4)
    claims: list[Claim] = attrs.field(factory=list)
    delta: totals.Totals = attrs.field(factory=totals.Totals)
    last_rank: int | None = None

    def take(self, statements: Any, upto: int, first_rank: int, end_rank: int) -> None:
        """Claim until there are ``upto`` claims or nothing more to find."""
        while (number := upto - len(self.claims)) > 0:
            rows = self._pick(
                statements,
                {"number": number, "first_rank": first_rank, "end_rank": end_rank},
            )
            for row in sorted(rows, key=lambda row: row.rank):
                self._note(row)
            if len(rows) < number:
                return

    def _note(self, row: _PickedRow) -> None:
        if row.status != _CLAIM_STATUS:
            return
        if row.was != _CLAIM_STATUS:
            self.last_rank = row.rank
        self.claims.append(
            Claim(
                id=row.id,
                campaign_id=self.campaign_id,
                contact_id=row.contact_id,
                token=self.token,
                expires_at=self.now + self.lease,
                attempts=row.attempts,
                revision=row.revision,
                steps_fingerprint=self.fingerprint,
                reserved=row.reserved,
            )
        )

    def _pick(self, statements: Any, window: dict[str, int]) -> list[_PickedRow]:
        together, picking, alone = statements
        connection = self.scope.connection
        where = {"tenant": self.scope.tenant_id, "campaign": self.campaign_id, "now": self.now}
        values = {
            "token": self.token,
            "expires_at": self.now + self.lease,
            "reserve": self.reserve,
            "fingerprint": self.fingerprint,
            "most_attempts": self.max_attempts,
        }
        if connection.dialect.name == "postgresql":
            shard = {"shard": self.shard}
            rows = together.execute(connection, where | window | values | shard).all()
            return [_PickedRow._make(row) for row in rows]
        found = connection.execute(picking, where | window)
        before = {row.id: (row.was, row.had) for row in found}
        changed = connection.execute(alone, where | values | {"ids": list(before)})
        picked = [_PickedRow._make((*row, *before[row.id])) for row in changed]
        for row in picked:
            self.delta.move(row.was, row.status)
            if row.status != _CLAIM_STATUS:
                self.delta.reserved -= row.had
        return picked


def _may_claim(row: sa.Row[Any]) -> bool:
    return Status(row.status) in lifecycle.PERMISSIONS[Permission.CLAIM]


def _check_lease(lease: timedelta) -> None:
    if not timedelta(0) < lease <= LONGEST:
        raise ValueError(f"a lease is longer than zero and at most {LONGEST}, not {lease}")


def _campaign_of(claims: Iterable[Claim]) -> UUID:
    campaigns_named = {claim.campaign_id for claim in claims}
    if len(campaigns_named) != 1:
        raise ValueError("one call takes the claims of one campaign")
    return campaigns_named.pop()


_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode
_DOCUMENTS = [name for name in _LOCKED if isinstance(_COLUMNS[name].type, JsonText)]
_IDS = [name for name in _LOCKED if isinstance(_COLUMNS[name].type, Uuid)]


def _with_json(
    row: Mapping[str, Any], document: Callable[[Any], Any], id: Callable[[Any], Any]
) -> dict[str, Any]:
    """SQLite's row as PostgreSQL's JSON has it, or back again."""
    changes = dict.fromkeys(_DOCUMENTS, document) | dict.fromkeys(_IDS, id)
    changed = {name: changes[name](row[name]) for name in changes if row[name] is not None}
    return {**row, **changed}


def _holds(claim: Claim, row: Mapping[str, Any] | None) -> bool:
    """Whether the row's present token is the claim's."""
    return row is not None and row["claim_token"] == str(claim.token)


def _booked(present: Mapping[str, Any], claim: Claim, cost: Decimal | None) -> dict[str, Any]:
    # The tokens of the claims that reported on this contact, oldest first.
    tokens = [*present["reported_tokens"], str(claim.token)][-_REMEMBERED:]
    write: dict[str, Any] = {"reported_tokens": tokens}
    if cost is None:
        return write | {"unknown_costs": present["unknown_costs"] + 1}
    return write | {"generation_cost": present["generation_cost"] + cost}


_ACTION_OF: dict[type[Outcome], ContactAction] = {
    Generated: ContactAction.SUCCEED,
    Failed: ContactAction.FAIL,
    NotReady: ContactAction.RELEASE,
    Unfinished: ContactAction.RELEASE,
}


def _settled(
    present: Mapping[str, Any],
    claim: Claim,
    outcome: Outcome,
    now: datetime,
    *,
    welcome: bool,
) -> tuple[dict[str, Any], Recorded]:
    """What an outcome makes of a row whose present token is the claim's, and how it is called.

    A success that is not ``welcome`` is booked, and the contact waits again.
    """
    action = _ACTION_OF[type(outcome)]
    answer = Recorded.APPLIED
    if action is ContactAction.SUCCEED and not welcome:
        action, answer = ContactAction.RELEASE, Recorded.REQUEUED
    write = _booked(present, claim, outcome.cost) | {
        "claim_token": None,
        "lease_expires_at": None,
        "reserved": _ZERO,
        "error_code": None,
        "error": None,
    }
    gaps = present["enrichment_gaps"]
    if isinstance(outcome, NotReady):
        write["enrichment_gaps"] = gaps = outcome.gaps
    source = ContactStatus(present["status"])
    known = None if gaps is None else tuple(gaps)
    status = lifecycle.apply_contact(source, action, known)
    assert status is not None, f"a row in {source} holds a claim's token"
    write["status"] = status.value
    if status is source:
        return write, Recorded.EXCLUDED
    match action:
        case ContactAction.SUCCEED:
            write |= {"generated_at": now, "steps_fingerprint": claim.steps_fingerprint}
        case ContactAction.FAIL:
            assert isinstance(outcome, Failed)
            write |= {"error_code": outcome.code, "error": outcome.message}
        case ContactAction.RELEASE:
            if not (isinstance(outcome, Unfinished) and outcome.cost != 0):
                # It came back in order, and not to be paid for again and again for ever: this
                # claim does not count towards the cap.
                write["attempts"] = present["attempts"] - 1
            if isinstance(outcome, Unfinished) and outcome.retry_after:
                write["retry_at"] = now + outcome.retry_after
    return write, answer


def _count(delta: totals.Totals, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    delta.move(before["status"], after["status"])
    delta.cost += after["generation_cost"] - before["generation_cost"]
    delta.unknown_costs += after["unknown_costs"] - before["unknown_costs"]
    delta.reserved += after["reserved"] - before["reserved"]


def _rounded(amount: Decimal) -> Decimal:
    """An estimate is no booking: it may be rounded to the decimals that money has."""
    return amount.quantize(Decimal(1).scaleb(-MONEY_DECIMALS))
