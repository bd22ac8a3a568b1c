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
from operator import attrgetter
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model._values import EXACT, MONEY_DECIMALS, exactly, money, utc
from campaign_model.campaign_contact import Changed
from campaign_model.claims import (
    MAX_DURATION,
    Claim,
    ClaimBatch,
    Cursor,
    Estimate,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Progress,
    Recorded,
    Renewal,
    StopReason,
    Unfinished,
)
from campaign_model.errors import LeaseLost, join_words
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import ContactAction, ContactStatus, Permission, Status
from campaign_model.store import arrays, totals
from campaign_model.store.contacts import move_contacts, move_named, settle
from campaign_model.store.documents import UNREAD, Documents, read, read_before
from campaign_model.store.floor import STRIDE, lift
from campaign_model.store.progress import progress
from campaign_model.store.scope import Scope, Shared
from campaign_model.store.statements import (
    ATTEMPTS_EXHAUSTED,
    CLAIM_EXPIRED,
    CLAIM_FRESH,
    CLAIMED_ROWS,
    LOCK_CLAIMED,
    LOCKED,
    RECORD_GENERATED,
    REMEMBERED,
    RENEW,
    SOONEST,
    WRITE_BACK,
    WRITE_ONE_BACK,
    ClaimStatements,
)
from campaign_model.store.tables import campaign_contacts, campaign_erased_claims
from campaign_model.store.types import JsonText, Uuid, checked_id, read_json

__all__ = ["ATTEMPTS_EXHAUSTED", "MAX_ATTEMPTS", "MAX_CLAIM", "Generation", "OnLost"]

MAX_ATTEMPTS = 5
"""A contact claimed this often without an outcome fails instead of being claimed again."""

OnLost = Literal["raise", "skip", "book"]
_ON_LOST = get_args(OnLost)

MAX_CLAIM = 10_000
"""The most contacts that one claim takes."""

_BUSY_PAUSE = timedelta(seconds=1)
_ZERO = Decimal(0)
_COLUMNS = campaign_contacts.c
_CLAIM_STATUS = ContactStatus.GENERATING
_START = Cursor()


class Generation:
    """``store.generation``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

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
        and no claim goes beyond it. Pass the ``cursor`` of your last batch to go on from there;
        without one, a claim begins at the first contact that is not done.
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
        cursor = cursor or _START
        first = None if cursor.rank == _START.rank else cursor.rank
        picked = _Picked(scope, campaign_id, lease, max_attempts)
        taken = picked.begin(limit, first)
        documents, now = picked.documents, picked.now
        if not _may_claim(picked.status):
            return ClaimBatch(
                (), StopReason.NOT_GENERATING, None, now, cursor, documents.steps, documents.config
            )
        each, granted = self._grant(campaign_id, documents.config, reserve, limit)
        picked.reserve = each
        if not taken:
            picked.take(CLAIM_FRESH, granted, first, _END)
        short = len(picked.claims) < limit
        anybody = not short or totals.peek(scope, campaign_id).any_left
        if first is None or (short and anybody) or picked.lifts:
            lift(scope, campaign_id, picked.shard)
        if anybody and len(picked.claims) < granted:
            picked.take(CLAIM_FRESH, granted, None, _END if first is None else first)
        if each:
            unused = EXACT.multiply(each, len(picked.claims) - granted)
            totals.add(scope, campaign_id, totals.Totals(reserved=unused), picked.shard)
        short_of_money = len(picked.claims) == granted < limit
        if anybody:
            # A contact taken over keeps what was reserved for it.
            picked.take(CLAIM_EXPIRED, limit, None, _END)
        stop, retry_at = None, None
        if not anybody:
            stop = StopReason.DRAINED
        elif len(picked.claims) < limit:
            stop, retry_at = self._why_short(campaign_id, now, short_of_money=short_of_money)
        cursor = Cursor(picked.last_rank + 1) if picked.last_rank is not None else _START
        claims = tuple(picked.claims)
        return ClaimBatch(claims, stop, retry_at, now, cursor, documents.steps, documents.config)

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
            scope.connection.execute(RENEW, self._these(campaign_id, held) | {"until": expires_at})
        lost = tuple(claim.id for claim in claims if not held.get(claim.id))
        return Renewal(expires_at, lost, cancelled=not _may_claim(row.status))

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
            _shard(scope, row.status, scope.config(row)),
        )

    def record(
        self, outcomes: Mapping[Claim, Outcome], *, on_lost: OnLost = "raise"
    ) -> dict[Claim, Recorded]:
        """Report what became of claimed contacts: all of it or, when this raises, nothing.

        The token decides. An outcome recorded before answers ``already``. One whose lease was
        lost raises :class:`LeaseLost` with every such id; with ``on_lost="skip"`` it is left out,
        with ``"book"`` its cost is booked and its result dropped. A result that arrives after a
        cancel counts; if the steps changed meanwhile it is booked and the contact queued again.
        The answers come in the order of ``outcomes``.
        Raises :class:`NotFound`, ``ValueError`` for claims of several campaigns or another
        ``on_lost``, and ``TypeError`` for what is no outcome.
        """
        if on_lost not in _ON_LOST:
            raise ValueError(f"on_lost is one of {join_words(_ON_LOST)}, not {on_lost!r}")
        scope = self._scope
        if not outcomes:
            return {}
        kinds = {*map(type, outcomes.values())}
        if not kinds <= _ACTION_OF.keys():
            odd = next(one for one in outcomes.values() if type(one) not in _ACTION_OF)
            raise TypeError(f"not an outcome: {odd!r}")
        campaign_id = _campaign_of(outcomes)
        campaign: Shared | sa.Row[Any]
        if scope.on_postgresql and kinds == {Generated}:
            campaign, held = self._record_generated(campaign_id, outcomes)
            if held is None:
                return dict.fromkeys(outcomes, Recorded.APPLIED)
            documents, now = read(scope, campaign_id, campaign), utc(campaign.now)
        else:
            campaign, held = self._locked(campaign_id, [claim.id for claim in outcomes])
            documents = Documents(scope.steps(campaign), scope.config(campaign))
            now = scope.time_of(campaign)
        return self._record_each(outcomes, held, documents, now, campaign.status, on_lost=on_lost)

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
        soon = now + _BUSY_PAUSE
        next_expiry, next_try = scope.connection.execute(
            SOONEST, scope.place(campaign_id) | {"soon": soon}
        ).one()
        if short_of_money and next_try is not None:
            if next_expiry is None:
                return StopReason.BUDGET, None
            next_try = None
        moments = [moment for moment in (next_expiry, next_try) if moment is not None]
        if not moments:
            return StopReason.DRAINED, None
        soonest = min(moments)
        # What is due already and was not claimed is locked by somebody right now.
        return StopReason.LEASES_PENDING, soonest if soonest > now else soon

    def _these(self, campaign_id: UUID, ids: Iterable[UUID]) -> dict[str, Any]:
        return self._scope.place(campaign_id) | {"ids": sorted(map(checked_id, ids))}

    def _locked(
        self, campaign_id: UUID, ids: Iterable[UUID]
    ) -> tuple[Shared | sa.Row[Any], dict[str, dict[str, Any]]]:
        """The campaign's row, shared, and of its contacts those, to write them back: as JSON."""
        scope = self._scope
        these = self._these(campaign_id, ids)
        if scope.on_postgresql:
            ((*row, below),) = scope.sharing(campaign_id, LOCK_CLAIMED, these)
            return Shared(*row), _by_id(below)
        campaign = scope.campaign_row(campaign_id)
        found = scope.connection.execute(CLAIMED_ROWS, these).mappings()
        rows = [_with_json(dict(row), json.loads, str) for row in found]
        return campaign, {row["id"]: row for row in rows}

    def _record_generated(
        self, campaign_id: UUID, outcomes: Mapping[Claim, Outcome]
    ) -> tuple[Shared, dict[str, dict[str, Any]] | None]:
        """Write them all, if each is as ordinary as can be; or lock them, and give the rows."""
        scope = self._scope
        documents = read_before(campaign_id) or UNREAD
        fingerprint = documents.steps.fingerprint
        ids = [checked_id(claim.id).bytes for claim in outcomes]
        tokens = [checked_id(claim.token).bytes for claim in outcomes]
        ordinary = len({*ids}) == len(ids) and all(
            claim.steps_fingerprint == fingerprint for claim in outcomes
        )
        connection = scope.connection
        values = {
            "ids": arrays.uuids(connection, ids),
            "tokens": arrays.uuids(connection, tokens),
            "costs": arrays.numbers(connection, [one.cost for one in outcomes.values()]),
            "number": len(outcomes),
            "now": scope.fixed_time(),
            "digest": documents.digest if ordinary else UNREAD.digest,
            "fingerprint": fingerprint,
            "shard": _spread(scope, documents.config),
        }
        ((*row, rows),) = scope.sharing(campaign_id, RECORD_GENERATED, values)
        campaign = Shared(*row)
        return campaign, None if campaign.template_config is None else _by_id(rows)

    @exactly()
    def _record_each(
        self,
        outcomes: Mapping[Claim, Outcome],
        held: dict[str, dict[str, Any]],
        documents: Documents,
        now: datetime,
        status: str,
        *,
        on_lost: OnLost,
    ) -> dict[Claim, Recorded]:
        """One after the other, by the rows that are ``held``, under the campaign's shared lock."""
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
                same_steps = claim.steps_fingerprint == documents.steps.fingerprint
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
        shard = _shard(self._scope, status, documents.config)
        self._write_back(_campaign_of(outcomes), writes.values(), delta, shard)
        return {claim: answers[claim] for claim in outcomes}

    def _write_back(
        self,
        campaign_id: UUID,
        rows: Collection[Mapping[str, Any]],
        delta: totals.Totals,
        shard: int,
    ) -> None:
        """Write rows that :meth:`_locked` read, and what that changes in the totals."""
        connection = self._scope.connection
        if rows and self._scope.on_postgresql:
            values = totals.addition(self._scope, campaign_id, delta, shard)
            values |= {"changed": delta.changes(), "rows": _encode([*rows])}
            WRITE_BACK.execute(connection, values)
            return
        if rows:
            place = self._scope.place(campaign_id)
            plain = [_with_json(row, json.dumps, UUID) for row in rows]
            new = [place | {f"new_{name}": row[name] for name in LOCKED} for row in plain]
            connection.execute(WRITE_ONE_BACK, new)
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
_WIDTH = len(Shared._fields)


class _PickedRow(NamedTuple):
    """A row that was claimed, and its status from before."""

    id: UUID
    contact_id: UUID
    status: str
    attempts: int
    revision: int
    rank: int
    reserved: Decimal
    was: str


@attrs.define
class _Picked:
    """The claims made so far in one call."""

    scope: Scope
    campaign_id: UUID
    lease: timedelta
    max_attempts: int
    reserve: Decimal = _ZERO
    token: UUID = attrs.field(factory=uuid4)
    claims: list[Claim] = attrs.field(factory=list)
    last_rank: int | None = None
    lifts: bool = False
    status: str = ""
    documents: Documents = attrs.field(init=False)
    now: datetime = attrs.field(init=False)

    @property
    def shard(self) -> int:
        """The row of totals for what this call changes."""
        return _shard(self.scope, self.status, self.documents.config)

    def begin(self, limit: int, first_rank: int | None) -> bool:
        """Share the campaign; whether this has taken already what is fresh from ``first_rank`` on.

        It has if the campaign's documents are those that were read before, with no budget.
        """
        scope = self.scope
        if not scope.on_postgresql:
            found = scope.campaign_row(self.campaign_id)
            self.status, self.now = found.status, scope.time_of(found)
            self.documents = Documents(scope.steps(found), scope.config(found))
            return False
        before = read_before(self.campaign_id)
        if before is None or before.config.budget is not None:
            before = UNREAD
        window = {"number": limit, "first_rank": first_rank, "end_rank": _END}
        row, rows = self._together(CLAIM_FRESH, window, before, scope.fixed_time())
        self.status, self.now = row.status, utc(row.now)
        if row.template_config is not None:
            self.documents = read(scope, self.campaign_id, row)
            return False
        self.documents = before
        self._note(rows)
        return len(rows) < limit

    def take(
        self, statements: ClaimStatements, upto: int, first_rank: int | None, end_rank: int
    ) -> None:
        """Claim until there are ``upto`` claims or nothing more to find.

        ``first_rank`` is where to begin, if not at the floor.
        """
        while (number := upto - len(self.claims)) > 0:
            window = {"number": number, "first_rank": first_rank, "end_rank": end_rank}
            if self.scope.on_postgresql:
                _, rows = self._together(statements, window, self.documents, self.now)
            else:
                rows = self._alone(statements, window)
            self._note(rows)
            if len(rows) < number:
                return

    def _note(self, rows: list[_PickedRow]) -> None:
        """Count as claimed what was taken, in order."""
        rows.sort(key=_rank)
        expires_at = self.now + self.lease
        fingerprint = self.documents.steps.fingerprint
        # The names of _PickedRow, once for all: there are as many rows as a batch has contacts.
        for id_, contact_id, status, attempts, revision, rank, reserved, was in rows:
            if status != _CLAIM_STATUS:
                continue
            if was != _CLAIM_STATUS:
                self.last_rank = rank
                self.lifts |= rank % STRIDE == 0
            self.claims.append(
                Claim(
                    id_,
                    self.campaign_id,
                    contact_id,
                    self.token,
                    expires_at,
                    attempts,
                    revision,
                    fingerprint,
                    reserved,
                )
            )

    def _values(self, documents: Documents) -> dict[str, Any]:
        return self.scope.place(self.campaign_id) | {
            "token": self.token,
            "reserve": self.reserve,
            "fingerprint": documents.steps.fingerprint,
            "most_attempts": self.max_attempts,
        }

    def _together(
        self,
        statements: ClaimStatements,
        window: dict[str, int | None],
        documents: Documents,
        now: datetime | None,
    ) -> tuple[Shared, list[_PickedRow]]:
        values = self._values(documents) | window
        values |= {
            "now": now,
            "lease": self.lease,
            "digest": documents.digest,
            "shard": _spread(self.scope, documents.config),
        }
        rows = self.scope.sharing(self.campaign_id, statements.together, values)
        campaign = Shared(*rows[0][:_WIDTH])
        picked = [_PickedRow._make(row[_WIDTH:]) for row in rows if row[_WIDTH] is not None]
        return campaign, picked

    @exactly()
    def _alone(
        self, statements: ClaimStatements, window: dict[str, int | None]
    ) -> list[_PickedRow]:
        connection = self.scope.connection
        values = self._values(self.documents)
        values |= {"now": self.now, "expires_at": self.now + self.lease}
        found = connection.execute(statements.picking, values | window)
        before = {row.id: row for row in found}
        changed = connection.execute(statements.alone, values | {"ids": list(before)})
        picked = [_PickedRow._make((*row, before[row.id].was)) for row in changed]
        delta = totals.Totals()
        for row in picked:
            delta.move(row.was, row.status)
            if row.status != _CLAIM_STATUS:
                delta.reserved -= before[row.id].had
        totals.add(self.scope, self.campaign_id, delta, self.shard)
        return picked


_rank = attrgetter("rank")


def _may_claim(status: str) -> bool:
    return Status(status) in lifecycle.PERMISSIONS[Permission.CLAIM]


def _shard(scope: Scope, status: str, config: GenerationConfig) -> int:
    """The row of totals for what a call changes: only a running campaign has them all."""
    return _spread(scope, config) if _may_claim(status) else 0


def _spread(scope: Scope, config: GenerationConfig) -> int:
    """The same for a running campaign."""
    return scope.shard if config.budget is None else 0


def _check_lease(lease: timedelta) -> None:
    if not timedelta(0) < lease <= MAX_DURATION:
        raise ValueError(f"a lease is longer than zero and at most {MAX_DURATION}, not {lease}")


def _campaign_of(claims: Iterable[Claim]) -> UUID:
    campaigns_named = {claim.campaign_id for claim in claims}
    if len(campaigns_named) != 1:
        raise ValueError("one call takes the claims of one campaign")
    return campaigns_named.pop()


_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode
_DOCUMENTS = [name for name in LOCKED if isinstance(_COLUMNS[name].type, JsonText)]
_IDS = [name for name in LOCKED if isinstance(_COLUMNS[name].type, Uuid)]


def _with_json(
    row: Mapping[str, Any], document: Callable[[Any], Any], id: Callable[[Any], Any]
) -> dict[str, Any]:
    """SQLite's row as PostgreSQL's JSON has it, or back again."""
    changes = dict.fromkeys(_DOCUMENTS, document) | dict.fromkeys(_IDS, id)
    changed = {name: changes[name](row[name]) for name in changes if row[name] is not None}
    return {**row, **changed}


def _by_id(rows: str | None) -> dict[str, dict[str, Any]]:
    """Rows that came as JSON, if any did."""
    return {row["id"]: row for row in read_json(rows or "[]")}


def _holds(claim: Claim, row: Mapping[str, Any] | None) -> bool:
    """Whether the row's present token is the claim's."""
    return row is not None and row["claim_token"] == str(claim.token)


def _booked(present: Mapping[str, Any], claim: Claim, cost: Decimal | None) -> dict[str, Any]:
    # The tokens of the claims that reported on this contact, oldest first.
    tokens = [*present["reported_tokens"], str(claim.token)][-REMEMBERED:]
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
