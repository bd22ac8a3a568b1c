"""What the model keeps of a campaign and of everybody in it, in place of rows and totals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs

from campaign_model import lifecycle
from campaign_model.campaign import Campaign, HistoryEntry
from campaign_model.campaign_contact import Changed
from campaign_model.claims import (
    Claim,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.lifecycle import CLAIMABLE, ContactAction, ContactStatus
from campaign_model.store.generation import ATTEMPTS_EXHAUSTED

__all__ = ["FORGOTTEN", "NOBODYS", "ZERO", "Contact", "Kept"]

ZERO = Decimal(0)

_ACTIONS: Mapping[type[Outcome], ContactAction] = {
    Generated: ContactAction.SUCCEED,
    Failed: ContactAction.FAIL,
    NotReady: ContactAction.RELEASE,
    Unfinished: ContactAction.RELEASE,
}
NOBODYS: dict[str, Any] = {"token": None, "lease_expires_at": None, "reserved": ZERO}
"""Of a contact that no worker holds any more."""

FORGOTTEN: dict[str, Any] = {
    "token": None,
    "lease_expires_at": None,
    "retry_at": None,
    "attempts": 0,
    "error_code": None,
}
"""Of a contact that was sent back to wait: its costs and reports stay."""


@attrs.frozen
class Contact:
    """One contact in one campaign. ``row_id`` is ``None`` until it is learned from the store.

    ``place`` is its place in the order of generation: minus its priority, then its position.
    """

    place: tuple[int, int]
    added_at: datetime
    status: ContactStatus = ContactStatus.PENDING
    gaps: tuple[str, ...] | None = None
    row_id: UUID | None = None
    ever_claimed: bool = False
    token: UUID | None = None
    lease_expires_at: datetime | None = None
    retry_at: datetime | None = None
    attempts: int = 0
    revision: int = 0
    fingerprint: str | None = None
    generated_at: datetime | None = None
    error_code: str | None = None
    cost: Decimal = ZERO
    unknown_costs: int = 0
    reserved: Decimal = ZERO
    reported: frozenset[UUID] = frozenset()

    def booked(self, token: UUID, cost: Decimal | None) -> Contact:
        """With the cost that the claim of this token reported."""
        return attrs.evolve(
            self,
            cost=self.cost + (cost or 0),
            unknown_costs=self.unknown_costs + (cost is None),
            reported=self.reported | {token},
        )

    def under(self, fingerprint: str) -> Contact:
        """As somebody comes to claim it: other steps than last time make other messages."""
        anew = self.fingerprint not in (None, fingerprint)
        return attrs.evolve(
            self, fingerprint=fingerprint, revision=self.revision + anew, retry_at=None
        )

    def claimed(self, claim: Claim) -> Contact:
        """In the hands of this claim."""
        return attrs.evolve(
            self,
            status=ContactStatus.GENERATING,
            row_id=claim.id,
            ever_claimed=True,
            token=claim.token,
            lease_expires_at=claim.expires_at,
            attempts=claim.attempts,
            reserved=claim.reserved,
            error_code=None,
        )

    def given_up(self) -> Contact:
        """Failed, because no worker ever came to an end with it."""
        return attrs.evolve(
            self,
            **NOBODYS,
            status=ContactStatus.FAILED,
            retry_at=None,
            error_code=ATTEMPTS_EXHAUSTED,
        )

    def reported_on(
        self, claim: Claim, outcome: Outcome, now: datetime, *, same_steps: bool
    ) -> tuple[Contact, Recorded]:
        """What the outcome of the claim that holds it makes of it, and how that is called."""
        action, answer = _ACTIONS[type(outcome)], Recorded.APPLIED
        if action is ContactAction.SUCCEED and not same_steps:
            action, answer = ContactAction.RELEASE, Recorded.REQUEUED
        gaps = outcome.gaps if isinstance(outcome, NotReady) else self.gaps
        status = lifecycle.apply_contact(self.status, action, gaps)
        assert status is not None, f"a contact that is {self.status} is held by a claim"
        contact = attrs.evolve(
            self.booked(claim.token, outcome.cost),
            **NOBODYS,
            status=status,
            gaps=gaps,
            error_code=None,
        )
        if self.status is ContactStatus.EXCLUDED:
            return contact, Recorded.EXCLUDED
        changes: dict[str, Any]
        match outcome:
            case Generated() if same_steps:
                changes = {"generated_at": now, "fingerprint": claim.steps_fingerprint}
            case Failed():
                changes = {"error_code": outcome.code}
            case Unfinished(pause, cost):
                # Given back for nothing does not count towards the cap; what was paid for does.
                changes = {
                    "attempts": self.attempts - (cost == 0),
                    "retry_at": now + pause if pause else None,
                }
            case _:
                changes = {"attempts": self.attempts - 1}
        return attrs.evolve(contact, **changes), answer


@attrs.define
class Kept:
    """A campaign, who is in it, and what the erased ones leave behind.

    ``settled`` is what legacy readers see: contacts, generated ones, cost.
    """

    campaign: Campaign
    contacts: dict[UUID, Contact] = attrs.field(factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    settled: tuple[int, int, Decimal] = (0, 0, ZERO)
    next_position: int = 0
    clones: int = 0
    least_reserve: Decimal = ZERO
    erased_cost: Decimal = ZERO
    erased_unknown_costs: int = 0
    erased_claims: frozenset[tuple[UUID, UUID]] = frozenset()

    def number(self, *statuses: ContactStatus) -> int:
        """How many contacts are in one of these."""
        return sum(one.status in statuses for one in self.contacts.values())

    @property
    def spent(self) -> Decimal:
        """Everything booked, for erased contacts as well."""
        return self.erased_cost + sum(one.cost for one in self.contacts.values())

    @property
    def reserved(self) -> Decimal:
        """What is set aside for contacts in flight."""
        return sum((one.reserved for one in self.contacts.values()), ZERO)

    def in_order(self, *statuses: ContactStatus) -> Iterator[tuple[UUID, Contact]]:
        """The contacts in these statuses, as they come in generation."""
        for contact_id, one in sorted(self.contacts.items(), key=lambda item: item[1].place):
            if one.status in statuses:
                yield contact_id, one

    def waiting(self, now: datetime) -> list[UUID]:
        """Who can be claimed at once, best first."""
        return [
            contact_id
            for contact_id, one in self.in_order(*CLAIMABLE)
            if one.retry_at is None or one.retry_at <= now
        ]

    def expired(self, now: datetime) -> list[UUID]:
        """Whose worker let the lease run out."""
        return [
            contact_id
            for contact_id, one in self.in_order(ContactStatus.GENERATING)
            if one.lease_expires_at is not None and one.lease_expires_at <= now
        ]

    def grant(self, limit: int, reserve: Decimal) -> tuple[int, Decimal]:
        """For how many claims there is money, and what each sets aside."""
        budget = self.campaign.generation_config.budget
        if budget is None:
            return limit, ZERO
        self.least_reserve = min(self.least_reserve or reserve, reserve)
        left = budget - self.spent - self.reserved
        return min(limit, max(0, int(left // reserve))), reserve

    def take(
        self,
        contact_ids: Iterable[UUID],
        number: int,
        max_attempts: int,
        claim: Callable[[UUID, Contact], Claim],
    ) -> list[Claim]:
        """Claim the first ``number`` of these that were not claimed too often before."""
        claims: list[Claim] = []
        for contact_id in contact_ids:
            if len(claims) == number:
                break
            contact = self.contacts[contact_id].under(self.campaign.steps.fingerprint)
            if contact.attempts < max_attempts:
                claims.append(claim(contact_id, contact))
                self.contacts[contact_id] = contact.claimed(claims[-1])
        return claims

    def give_up(self, now: datetime, max_attempts: int) -> None:
        """Fail those that no worker holds and that were claimed too often."""
        expired = self.expired(now)
        for contact_id, one in self.contacts.items():
            waits = one.status in CLAIMABLE and one.status is not ContactStatus.GENERATING
            if one.attempts >= max_attempts and (waits or contact_id in expired):
                self.contacts[contact_id] = one.given_up()

    def why_short(self, *, of_money: bool) -> tuple[StopReason, datetime | None]:
        """Why a claim got fewer contacts than it asked for, and when to come again."""
        leases = [one.lease_expires_at for _, one in self.in_order(ContactStatus.GENERATING)]
        pauses = [one.retry_at for _, one in self.in_order(*CLAIMABLE)]
        moments = [one for one in (*leases, *([] if of_money else pauses)) if one is not None]
        if moments:
            return StopReason.LEASES_PENDING, min(moments)
        return (StopReason.BUDGET if pauses else StopReason.DRAINED), None

    @property
    def exhausted(self) -> frozenset[UUID]:
        """Who failed for being claimed too often."""
        return frozenset(
            contact_id
            for contact_id, one in self.in_order(ContactStatus.FAILED)
            if one.error_code == ATTEMPTS_EXHAUSTED
        )

    def of(self, claim: Claim) -> Contact | None:
        """The contact of a claim, unless it was erased since."""
        contact = self.contacts.get(claim.contact_id)
        return contact if contact is not None and contact.row_id == claim.id else None

    def settle(self) -> None:
        """Bring up to date what legacy readers see."""
        total = len(self.contacts) - self.number(ContactStatus.EXCLUDED)
        self.settled = (total, self.number(ContactStatus.GENERATED), self.spent)

    def move(
        self, ids: Iterable[UUID], action: ContactAction, *, settle: bool = True, **changes: Any
    ) -> Changed:
        """Move those contacts whose status knows the action, and settle."""
        skipped = []
        wanted = tuple(dict.fromkeys(ids))
        for contact_id in wanted:
            contact, target = self.contacts.get(contact_id), None
            if contact is not None:
                gaps = changes.get("gaps", contact.gaps)
                target = lifecycle.apply_contact(contact.status, action, gaps)
            if contact is None or target is None:
                skipped.append(contact_id)
            else:
                self.contacts[contact_id] = attrs.evolve(contact, status=target, **changes)
        if settle:
            self.settle()
        return Changed(len(wanted) - len(skipped), tuple(skipped))
