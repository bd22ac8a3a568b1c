"""Generation: contacts are claimed under a lease, outcomes are recorded once, budgets hold.

Theory of operation
===================

No transaction is open while messages are generated. A worker repeats two short transactions: one
claims contacts, the other one records their outcomes. In between, the worker renews its leases and
books the cost of paid calls (adds it to the contact's cost and to the campaign's totals).

**Claim.** 1. Lock the campaign shared; it must be generating. 2. If the campaign has a budget,
reserve money for as many contacts as the budget has room for. 3. Take contacts that wait, by rank
(the order of generation), from the worker's cursor on (the rank after its last claimed contact). If
these are too few, search a second time, from the low-water mark on (the rank below which every
contact is finished). 4. Take over contacts whose lease has expired. 5. Write a new token into each
contact, and count it as generating.
*Invariant: the token in the contact's row decides which worker owns the contact. No clock does.*

**Record.** 1. Lock the campaign shared, then the contacts by id. 2. An outcome counts if its
claim's token is in the contact's row. Then its cost is booked, the token is moved to the reported
tokens, and the contact gets its next status. 3. If the token is one of the reported tokens, the
answer is ``already``. In any other case the claim is lost. 4. A success is requeued (the contact
waits again, the cost is booked) if the campaign has other steps now than the claim: its messages
would be out of date. 5. Write all outcomes, or nothing.
*Invariant: every outcome is booked exactly once, however often it is recorded.*

In the usual case, one statement claims the contacts, and one statement records the outcomes. Each
of them compares the campaign row with what this process last read
(:mod:`campaign_model.store.claiming`), and changes nothing if the row differs.
:mod:`campaign_model.store.locking` says which method takes which lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Literal, get_args
from uuid import UUID

from campaign_model._values import (
    MONEY_DECIMALS,
    checked_id,
    checked_instance,
    checked_number,
    exact_money,
    money,
)
from campaign_model.campaign import Changed
from campaign_model.claims import (
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
    Unfinished,
    campaign_of,
    check_lease,
)
from campaign_model.errors import InvalidArgument, LeaseLost, join_words, short_repr
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import ContactAction, ContactStatus, Permission, Status, is_permitted
from campaign_model.store import postgresql, sqlite
from campaign_model.store.budget import end_erased_claim
from campaign_model.store.claiming import (
    MAX_CLAIM,
    CampaignDocuments,
    ClaimCall,
    check_claim,
    documents_last_read,
    read_documents_for_outcomes,
)
from campaign_model.store.contact_moves import move_contacts
from campaign_model.store.locking import lock_campaign, lock_claimed, read_campaign
from campaign_model.store.scope import Scope
from campaign_model.store.statements import CampaignRow, HeldContact, OutcomeRow, Statements
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.totals import (
    Totals,
    add_to_totals,
    choose_shard,
    load_progress,
    load_totals,
    write_legacy_columns,
)
from campaign_model.store.types import read_status

MAX_ATTEMPTS = 5
"""A contact claimed this often without an outcome fails instead of being claimed again."""

OnLost = Literal["raise", "skip", "book"]
_ON_LOST = get_args(OnLost)
_OUTCOMES = get_args(Outcome)

_ZERO = Decimal(0)
_CONTACT = campaign_contacts.c


class Generation:
    """``store.generation``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._statements: Statements = postgresql if scope.on_postgresql else sqlite

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
        """Claim up to ``limit`` contacts, to generate their messages before ``lease`` runs out.

        Contacts come by priority, then in the order of assignment. Contacts whose lease has expired
        come last. If there are fewer contacts than ``limit``, the batch says why; that is no error.

        * ``reserve``: what one contact may cost. A campaign with a budget needs it, and a claim
          gets only as many contacts as the budget has room for.
        * ``cursor``: the cursor of your last batch, to continue after it. Without a cursor, the
          search begins at the first unfinished contact.
        * ``max_attempts``: a contact that was claimed this often without an outcome fails and is
          not claimed again.

        If the steps have changed since a contact was last claimed, the contact gets a new revision,
        so that its new messages have other ids. Raises :class:`NotFound`, and
        :class:`InvalidArgument` for a number, lease or reserve that cannot be used.
        """
        cursor = check_claim(campaign_id, limit, lease, cursor)
        checked_number(max_attempts, 1, MAX_CLAIM, "max_attempts")
        if reserve is not None:
            reserve = money(reserve, "reserve")
        call = ClaimCall(self._scope, self._statements, campaign_id, limit, lease, max_attempts)
        return call.run(reserve, cursor)

    def renew(self, claims: Iterable[Claim], lease: timedelta) -> Renewal:
        """Let the leases of one campaign's claims end ``lease`` after now.

        The answer names the ``lost`` claims, whose contacts were taken over, released, erased or
        excluded: stop working on them. It also says whether the run was cancelled. Raises
        :class:`NotFound`, and :class:`InvalidArgument` for claims of several campaigns or of none.
        """
        check_lease(lease)
        scope = self._scope
        claims = tuple(claims)
        campaign_row, contacts = lock_claimed(scope, self._statements, campaign_of(claims), claims)
        held = {claim.id for claim in claims if _holds(claim, contacts.get(claim.id))}
        lost_ids = tuple(
            claim.id
            for claim in claims
            if claim.id not in held or contacts[claim.id].status != ContactStatus.GENERATING
        )
        expires_at = campaign_row.now + lease
        if held:
            scope.connection.execute(
                self._statements.renew,
                {"tenant": scope.tenant_id, "ids": held, "lease_expires_at": expires_at},
            )
        is_running = is_permitted(Permission.CLAIM, read_status(campaign_row.status))
        return Renewal(expires_at, lost_ids, cancelled=not is_running)

    @exact_money()
    def checkpoint(
        self, claim: Claim, cost: Decimal | None, *, call_id: UUID | None = None
    ) -> Recorded:
        """Book the cost of a paid call before the contact is finished. ``None``: an unknown cost.

        Write the message that the call paid for in the same transaction, under its message id. If
        the worker dies later, neither the message nor its cost is lost. If the message is written a
        second time, its id exists already, so that the transaction fails and books nothing.

        ``call_id`` makes the checkpoint idempotent: choose a random one for each paid call, and
        pass it again if the answer to the COMMIT was lost. Returns ``APPLIED``, or ``ALREADY`` if
        this call was booked before. Then nothing changes, even if the lease was lost in between,
        and the message exists. A contact remembers its last 100 calls and outcomes.

        Raises :class:`NotFound` and :class:`LeaseLost`.
        """
        scope = self._scope
        checked_instance(claim, Claim, "claim")
        amount = _ZERO if cost is None else money(cost)
        unknown_costs = int(cost is None)
        if call_id is not None:
            checked_id(call_id, "call_id")
        campaign_row, contacts = lock_claimed(scope, self._statements, claim.campaign_id, (claim,))
        contact = contacts.get(claim.id)
        if call_id is not None and _has_reported(call_id, contact):
            return Recorded.ALREADY
        if contact is None or not _holds(claim, contact):
            raise LeaseLost((claim.id,))
        parameters = {
            "tenant": scope.tenant_id,
            "id": claim.id,
            "call_id": call_id,
            "cost": amount,
            "unknown_costs": unknown_costs,
        }
        scope.connection.execute(self._statements.book_call, parameters)
        freed = min(contact.reserved, amount)
        delta = Totals(cost=amount, unknown_costs=unknown_costs, reserved=-freed)
        documents = read_documents_for_outcomes(scope, claim.campaign_id, campaign_row)
        self._add_to_totals(claim.campaign_id, campaign_row, documents.config, delta)
        return Recorded.APPLIED

    def record(
        self, outcomes: Mapping[Claim, Outcome], *, on_lost: OnLost = "raise"
    ) -> dict[Claim, Recorded]:
        """Record the outcomes of claims of one campaign, and return an answer for each claim.

        Write all outcomes or, if this call raises, none. The answers have the order of
        ``outcomes``. For an outcome that was recorded before, the answer is ``already``. An outcome
        also counts if the run was cancelled, or if the campaign's documents cannot be read any
        more. If a contact was generated from steps that have changed since, its cost is booked and
        the contact waits again.

        A claim is lost if its contact was taken over, released or erased. ``on_lost`` says what
        happens then: ``raise`` raises :class:`LeaseLost` with the ids of all lost claims, ``skip``
        ignores their outcomes, and ``book`` books only the costs.

        Raises :class:`NotFound`, :class:`InvalidArgument` for claims of several campaigns or
        another ``on_lost``, and ``TypeError`` for a value that is no outcome.
        """
        if on_lost not in _ON_LOST:
            message = f"on_lost is one of {join_words(_ON_LOST)}, not {short_repr(on_lost)}"
            raise InvalidArgument("on_lost", message, _ON_LOST)
        for outcome in checked_instance(outcomes, Mapping, "outcomes").values():
            if type(outcome) not in _OUTCOMES:
                raise TypeError(f"not an outcome: {short_repr(outcome)}")
        if not outcomes:
            return {}
        campaign_id = campaign_of(outcomes)

        # 1. The usual case, in one statement: the campaign is generating and what this process
        #    last read, and every claim still holds its contact.
        documents = documents_last_read.get(campaign_id)
        if documents is not None:
            answers = self._record_if_all_held(campaign_id, outcomes, documents, Status.GENERATING)
            if answers is not None:
                return answers

        # 2. Otherwise lock campaign and contacts, and sort the claims by what they still hold.
        campaign_row, contacts = lock_claimed(self._scope, self._statements, campaign_id, outcomes)
        documents = read_documents_for_outcomes(self._scope, campaign_id, campaign_row)
        answers = {}
        held: dict[Claim, Outcome] = {}
        excluded: list[Claim] = []
        lost: list[Claim] = []
        ended: set[tuple[UUID, UUID]] = set()
        for claim, outcome in outcomes.items():
            contact = contacts.get(claim.id)
            if (claim.id, claim.token) in ended or _has_reported(claim.token, contact):
                answers[claim] = Recorded.ALREADY
            elif contact is None or not _holds(claim, contact):
                lost.append(claim)
            else:
                ended.add((claim.id, claim.token))
                if contact.status == ContactStatus.EXCLUDED:
                    excluded.append(claim)
                else:
                    held[claim] = outcome
        if lost and on_lost == "raise":
            raise LeaseLost(tuple(claim.id for claim in lost))

        # 3. Book the costs of the claims that no longer hold their contacts, or whose contacts are
        #    excluded.
        delta = Totals()
        for claim in excluded:
            self._book_cost(claim, contacts[claim.id], outcomes[claim], delta)
            answers[claim] = Recorded.EXCLUDED
        for claim in sorted(lost, key=lambda claim: claim.id):
            is_booked = on_lost == "book" and self._book_cost(
                claim, contacts.get(claim.id), outcomes[claim], delta
            )
            answers[claim] = Recorded.BOOKED if is_booked else Recorded.SKIPPED

        # 4. Record the outcomes of claims that hold their contacts; last, because it locks totals.
        if held:
            recorded = self._record_if_all_held(
                campaign_id, held, documents, read_status(campaign_row.status)
            )
            assert recorded is not None, "campaign and contacts are locked"
            answers |= recorded
        self._add_to_totals(campaign_id, campaign_row, documents.config, delta)
        return {claim: answers[claim] for claim in outcomes}

    def release(self, claims: Iterable[Claim]) -> dict[Claim, Recorded]:
        """Give contacts back unfinished, so that they can be claimed again. Skip lost claims.

        Return an answer for each claim, as :meth:`record` does.
        """
        return self.record(dict.fromkeys(claims, Unfinished()), on_lost="skip")

    def retry_failed(self, campaign_id: UUID, contact_ids: Iterable[UUID] | None = None) -> Changed:
        """Let failed contacts wait again: those of ``contact_ids``, or all. Costs stay booked.

        Raises :class:`NotFound` and :class:`TransitionNotAllowed`.
        """
        lock_campaign(self._scope, campaign_id, Permission.RETRY_FAILED)
        return move_contacts(self._scope, campaign_id, ContactAction.RETRY, contact_ids)

    def regenerate(
        self,
        campaign_id: UUID,
        contact_ids: Iterable[UUID] | None = None,
        *,
        only_stale: bool = False,
    ) -> Changed:
        """Let generated contacts wait for new messages: those of ``contact_ids``, or all.

        ``only_stale`` selects the contacts whose messages were generated from other steps than the
        present ones. The revision of each contact grows, so that the new messages get other ids
        than the old ones. Costs stay booked. Raises :class:`NotFound` and
        :class:`TransitionNotAllowed`.
        """
        campaign_row = lock_campaign(self._scope, campaign_id, Permission.REGENERATE)
        is_stale = None
        if only_stale:
            steps = self._scope.steps(campaign_row)
            is_stale = _CONTACT.steps_fingerprint.is_distinct_from(steps.fingerprint)
        return move_contacts(
            self._scope, campaign_id, ContactAction.REGENERATE, contact_ids, is_stale
        )

    def progress(self, campaign_id: UUID) -> Progress:
        """Return how far the campaign is, in one query whose cost does not depend on its size.

        Raises :class:`NotFound`.
        """
        return load_progress(self._scope, campaign_id)

    @exact_money()
    def estimate(self, campaign_id: UUID) -> Estimate:
        """Estimate how many messages the unfinished contacts need, and what they will cost.

        The cost is the average cost of the finished contacts so far, times the number of unfinished
        ones; it is None if no cost is known yet. Raises :class:`NotFound`.
        """
        campaign_row = read_campaign(self._scope, campaign_id)
        steps = self._scope.steps(campaign_row)
        total = load_totals(self._scope, campaign_id)
        with_known_cost = total.finished - total.unknown_costs
        cost = None
        if with_known_cost > 0:
            average = total.cost * total.unfinished / with_known_cost
            cost = average.quantize(Decimal(1).scaleb(-MONEY_DECIMALS))
        messages = total.unfinished * len(steps.slots())
        return Estimate(contacts=total.unfinished, messages=messages, cost=cost)

    def _add_to_totals(
        self, campaign_id: UUID, row: CampaignRow, config: GenerationConfig, delta: Totals
    ) -> None:
        """Add a delta to the totals.

        While a campaign is generating, its legacy columns are not updated. A result that comes
        later updates them here: then the campaign row is locked exclusively, so no other call
        changes these columns at the same time.
        """
        scope = self._scope
        shard = choose_shard(scope, row.status, config)
        add_to_totals(scope, campaign_id, delta, shard=shard)
        if not is_permitted(Permission.CLAIM, read_status(row.status)):
            write_legacy_columns(scope, campaign_id, load_totals(scope, campaign_id))

    def _record_if_all_held(
        self,
        campaign_id: UUID,
        outcomes: Mapping[Claim, Outcome],
        documents: CampaignDocuments,
        status: Status,
    ) -> dict[Claim, Recorded] | None:
        """Record all outcomes and return the answers, if every claim still holds its contact.

        Return None, with nothing written, if a claim does not, if a contact was excluded or has two
        outcomes, or if the campaign has other ``documents`` or another ``status``.
        """
        # If the documents cannot be read, they do not tell whether the steps have changed. The
        # worker has paid for the success, so the library records it.
        fingerprint = documents.steps.fingerprint if documents.are_readable else None
        answers, rows = {}, {}
        for claim, outcome in outcomes.items():
            requeue = (
                isinstance(outcome, Generated)
                and fingerprint is not None
                and claim.steps_fingerprint != fingerprint
            )
            answers[claim] = Recorded.REQUEUED if requeue else Recorded.APPLIED
            rows[claim.id] = _outcome_row(claim, outcome, requeue=requeue)
        if len(rows) < len(outcomes):
            return None
        parameters = documents.parameters(self._scope, campaign_id, status)
        is_recorded = self._statements.record(self._scope, parameters, [*rows.values()])
        return answers if is_recorded else None

    @exact_money()
    def _book_cost(
        self, claim: Claim, contact: HeldContact | None, outcome: Outcome, delta: Totals
    ) -> bool:
        """Book the cost of a claim whose outcome does not count: excluded, or lost.

        ``contact`` is the locked contact, or None if it was erased. Add the change to ``delta``, a
        change of the totals. Return False if the cost cannot be booked: the contact was erased, and
        the cost was booked before.
        """
        scope = self._scope
        amount, unknown_costs = outcome.cost or _ZERO, int(outcome.cost is None)
        if contact is None:
            # The contact was erased. Its claim was kept, to be booked once.
            reserved = end_erased_claim(scope, claim)
            if reserved is None:
                return False
            delta.erased_cost += amount
            delta.erased_unknown_costs += unknown_costs
            delta.reserved -= reserved
            return True
        is_holding = _holds(claim, contact)
        gaps = json.dumps(outcome.gaps) if is_holding and isinstance(outcome, NotReady) else None
        parameters = {
            "tenant": scope.tenant_id,
            "id": claim.id,
            "token": claim.token,
            "cost": amount,
            "unknown_costs": unknown_costs,
            "gaps": gaps,
        }
        scope.connection.execute(self._statements.book_cost, parameters)
        delta.cost += amount
        delta.unknown_costs += unknown_costs
        if is_holding:
            delta.reserved -= contact.reserved
        return True


def _outcome_row(claim: Claim, outcome: Outcome, *, requeue: bool) -> OutcomeRow:
    """Return what an outcome changes in the contact that its claim holds.

    With ``requeue``, the contact of a success waits again, as after a release.
    """
    row: OutcomeRow = {
        "id": claim.id,
        "token": claim.token,
        "cost": outcome.cost or _ZERO,
        "unknown_costs": int(outcome.cost is None),
        "attempts": 0,
    }
    if isinstance(outcome, Generated) and not requeue:
        row["status"] = ContactStatus.GENERATED
    elif isinstance(outcome, Failed):
        row["status"] = ContactStatus.FAILED
        row |= {"error_code": outcome.code, "error": outcome.message}
    elif isinstance(outcome, Unfinished):
        if outcome.retry_after:
            row["retry_after"] = outcome.retry_after
        # A contact that was given back for nothing does not use up an attempt. One that was paid
        # for does, so that it is not paid for again and again.
        if outcome.cost == 0:
            row["attempts"] = -1
    else:
        row["attempts"] = -1
        if isinstance(outcome, NotReady):
            row["gaps"] = outcome.gaps
    return row


def _holds(claim: Claim, contact: HeldContact | None) -> bool:
    """Tell whether a claim holds its contact. A generated contact may be held by an exporter."""
    return (
        contact is not None
        and contact.claim_token == claim.token
        and contact.status != ContactStatus.GENERATED
    )


def _has_reported(token: UUID, contact: HeldContact | None) -> bool:
    """Tell whether the contact remembers the token of a claim, or the id of a paid call."""
    if contact is None:
        return False
    tokens = json.loads(contact.reported_tokens)
    # PostgreSQL writes the token with dashes, SQLite without.
    return str(token) in tokens or token.hex in tokens
