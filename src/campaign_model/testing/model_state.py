"""State of the model: its campaigns and their contacts, as plain values.

:class:`ModelCampaign` stands for a row of ``campaigns`` with its history and totals,
:class:`ModelContact` for a row of ``campaign_contacts``. Totals are computed from the contacts, so
that they cannot differ from them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs

from campaign_model import lifecycle
from campaign_model.campaign import Campaign, Changed, HistoryEntry
from campaign_model.claims import (
    Claim,
    Cursor,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import CLAIMABLE, ContactAction, ContactStatus, Permission
from campaign_model.testing._store_internals import ATTEMPTS_EXHAUSTED

__all__ = [
    "FRESH_START",
    "NO_CLAIM",
    "ZERO",
    "ModelCampaign",
    "ModelContact",
    "permissions_needed",
]

ZERO = Decimal(0)

NO_CLAIM: dict[str, Any] = {"token": None, "lease_expires_at": None, "reserved": ZERO}
"""Fields of a contact that no claim holds."""

FRESH_START: dict[str, Any] = NO_CLAIM | {
    "retry_at": None,
    "attempts": 0,
    "error_code": None,
    "error": None,
}
"""Fields of a contact that was put back to wait. Its costs and reported tokens stay."""

_ACTION_OF: Mapping[type[Outcome], ContactAction] = {
    Generated: ContactAction.SUCCEED,
    Failed: ContactAction.FAIL,
    NotReady: ContactAction.RELEASE,
    Unfinished: ContactAction.RELEASE,
}


@attrs.frozen
class ModelContact:
    """One contact in one campaign.

    ``row_id`` is ``None`` until the model learns it from the store. ``error`` is ``None`` for
    contacts that failed at the cap on attempts: the store words that error.
    """

    rank: int
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
    error: str | None = None
    cost: Decimal = ZERO
    unknown_costs: int = 0
    reserved: Decimal = ZERO
    reported_tokens: frozenset[UUID] = frozenset()

    def with_cost(self, token: UUID, cost: Decimal | None) -> ModelContact:
        """Book the cost that the claim with this token reported."""
        return attrs.evolve(
            self,
            cost=self.cost + (cost or 0),
            unknown_costs=self.unknown_costs + (cost is None),
            reported_tokens=self.reported_tokens | {token},
        )

    def under_steps(self, fingerprint: str) -> ModelContact:
        """Prepare the contact for a claim. Other steps than last time give a new revision."""
        steps_changed = self.fingerprint not in (None, fingerprint)
        return attrs.evolve(
            self, fingerprint=fingerprint, revision=self.revision + steps_changed, retry_at=None
        )

    def held_by(self, claim: Claim) -> ModelContact:
        """Give the contact to a claim."""
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
            error=None,
        )

    def out_of_attempts(self) -> ModelContact:
        """Fail the contact because it reached the cap on attempts."""
        return attrs.evolve(
            self,
            **NO_CLAIM,
            status=ContactStatus.FAILED,
            retry_at=None,
            error_code=ATTEMPTS_EXHAUSTED,
        )

    def after_outcome(
        self, claim: Claim, outcome: Outcome, now: datetime, *, steps_unchanged: bool
    ) -> tuple[ModelContact, Recorded]:
        """Apply the outcome of the claim that holds the contact. Return the answer as well."""
        action, answer = _ACTION_OF[type(outcome)], Recorded.APPLIED
        if action is ContactAction.SUCCEED and not steps_unchanged:
            action, answer = ContactAction.RELEASE, Recorded.REQUEUED
        gaps = outcome.gaps if isinstance(outcome, NotReady) else self.gaps
        status = lifecycle.apply_contact(self.status, action, gaps)
        assert status is not None, f"a contact in status {self.status} is held by a claim"
        contact = attrs.evolve(
            self.with_cost(claim.token, outcome.cost),
            **NO_CLAIM,
            status=status,
            gaps=gaps,
            error_code=None,
            error=None,
        )
        if self.status is ContactStatus.EXCLUDED:
            return contact, Recorded.EXCLUDED
        changes: dict[str, Any]
        match outcome:
            case Generated() if steps_unchanged:
                changes = {"generated_at": now, "fingerprint": claim.steps_fingerprint}
            case Failed():
                changes = {"error_code": outcome.code, "error": outcome.message}
            case Unfinished(pause, cost):
                # A claim that cost nothing does not count towards the cap on attempts.
                changes = {
                    "attempts": self.attempts - (cost == 0),
                    "retry_at": now + pause if pause else None,
                }
            case _:
                changes = {"attempts": self.attempts - 1}
        return attrs.evolve(contact, **changes), answer


@attrs.define
class ModelCampaign:
    """A campaign with its contacts, its history and what erased contacts leave behind.

    ``legacy_columns`` are the number of contacts, the number of generated ones and the cost on the
    campaign's row. ``smallest_reserve`` is the smallest amount that a claim wanted to reserve.
    ``erased_claims`` are the row ids and tokens of claims that were out when their contact was
    erased.
    """

    campaign: Campaign
    contacts: dict[UUID, ModelContact] = attrs.field(factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    legacy_columns: tuple[int, int, Decimal] = (0, 0, ZERO)
    next_position: int = 0
    clone_count: int = 0
    smallest_reserve: Decimal = ZERO
    erased_cost: Decimal = ZERO
    erased_unknown_costs: int = 0
    erased_claims: frozenset[tuple[UUID, UUID]] = frozenset()

    def count(self, *statuses: ContactStatus) -> int:
        """Count the contacts in these statuses."""
        return sum(contact.status in statuses for contact in self.contacts.values())

    @property
    def spent(self) -> Decimal:
        """Everything booked, erased contacts included."""
        return self.erased_cost + sum(contact.cost for contact in self.contacts.values())

    @property
    def unknown_costs(self) -> int:
        """The number of unknown costs, erased contacts included."""
        return self.erased_unknown_costs + sum(
            contact.unknown_costs for contact in self.contacts.values()
        )

    @property
    def reserved(self) -> Decimal:
        """The sum of the reservations of contacts in flight."""
        return sum((contact.reserved for contact in self.contacts.values()), ZERO)

    def by_rank(self, *statuses: ContactStatus) -> Iterator[tuple[UUID, ModelContact]]:
        """Yield the contacts in these statuses, in the order of generation."""
        for contact_id, contact in sorted(self.contacts.items(), key=lambda item: item[1].rank):
            if contact.status in statuses:
                yield contact_id, contact

    def claimable_ids(self, now: datetime, cursor: Cursor) -> list[UUID]:
        """List the contacts that wait and are not paused, those from the cursor on first."""
        contacts = [
            (contact.rank < cursor.rank, contact_id)
            for contact_id, contact in self.by_rank(*CLAIMABLE)
            if contact.retry_at is None or contact.retry_at <= now
        ]
        contacts.sort(key=lambda pair: pair[0])
        return [contact_id for _, contact_id in contacts]

    def expired_ids(self, now: datetime) -> list[UUID]:
        """List the contacts in generation whose lease has expired."""
        return [
            contact_id
            for contact_id, contact in self.by_rank(ContactStatus.GENERATING)
            if contact.lease_expires_at is not None and contact.lease_expires_at <= now
        ]

    def reserve(self, limit: int, amount: Decimal) -> tuple[int, Decimal]:
        """Return how many claims the budget allows and what each of them reserves."""
        budget = self.campaign.generation_config.budget
        if budget is None:
            return limit, ZERO
        self.smallest_reserve = min(self.smallest_reserve or amount, amount)
        left = budget - self.spent - self.reserved
        return min(limit, max(0, int(left // amount))), amount

    def claim_contacts(
        self,
        contact_ids: Iterable[UUID],
        number: int,
        max_attempts: int,
        make_claim: Callable[[UUID, ModelContact], Claim],
    ) -> list[Claim]:
        """Claim the first ``number`` of the contacts that are not out of attempts."""
        claims: list[Claim] = []
        for contact_id in contact_ids:
            if len(claims) == number:
                break
            contact = self.contacts[contact_id].under_steps(self.campaign.steps.fingerprint)
            if contact.attempts < max_attempts:
                claims.append(make_claim(contact_id, contact))
                self.contacts[contact_id] = contact.held_by(claims[-1])
        return claims

    def fail_exhausted(
        self, now: datetime, max_attempts: int, among: Collection[UUID] | None
    ) -> None:
        """Fail the contacts that no worker holds and that were claimed too often.

        ``among`` limits them to the contacts that the store found free of other transactions.
        """
        waiting = [id_ for id_, _ in self.by_rank(*CLAIMABLE)]
        for contact_id in (*waiting, *self.expired_ids(now)):
            contact = self.contacts[contact_id]
            if contact.attempts >= max_attempts and (among is None or contact_id in among):
                self.contacts[contact_id] = contact.out_of_attempts()

    def stop_reason(self, *, short_of_money: bool) -> tuple[StopReason, datetime | None]:
        """Tell why a claim got fewer contacts than it asked for, and when to try again."""
        leases = [contact.lease_expires_at for _, contact in self.by_rank(ContactStatus.GENERATING)]
        pauses = [contact.retry_at for _, contact in self.by_rank(*CLAIMABLE)]
        moments = [
            moment
            for moment in (*leases, *([] if short_of_money else pauses))
            if moment is not None
        ]
        if moments:
            return StopReason.LEASES_PENDING, min(moments)
        return (StopReason.BUDGET if pauses else StopReason.DRAINED), None

    @property
    def exhausted_ids(self) -> frozenset[UUID]:
        """The contacts that failed at the cap on attempts."""
        return frozenset(
            contact_id
            for contact_id, contact in self.by_rank(ContactStatus.FAILED)
            if contact.error_code == ATTEMPTS_EXHAUSTED
        )

    def contact_of(self, claim: Claim) -> ModelContact | None:
        """Return the contact of a claim, or ``None`` if it was erased or removed since."""
        contact = self.contacts.get(claim.contact_id)
        return contact if contact is not None and contact.row_id == claim.id else None

    def refresh_legacy_columns(self) -> None:
        """Bring the columns that legacy readers use up to date."""
        total = len(self.contacts) - self.count(ContactStatus.EXCLUDED)
        self.legacy_columns = (total, self.count(ContactStatus.GENERATED), self.spent)

    def move_contacts(self, ids: Iterable[UUID], action: ContactAction, **changes: Any) -> Changed:
        """Apply the action and the changes to every contact whose status allows the action."""
        skipped = []
        contact_ids = tuple(dict.fromkeys(ids))
        for contact_id in contact_ids:
            contact, target = self.contacts.get(contact_id), None
            if contact is not None:
                gaps = changes.get("gaps", contact.gaps)
                target = lifecycle.apply_contact(contact.status, action, gaps)
            if contact is None or target is None:
                skipped.append(contact_id)
            else:
                self.contacts[contact_id] = attrs.evolve(contact, status=target, **changes)
        self.refresh_legacy_columns()
        return Changed(len(contact_ids) - len(skipped), tuple(skipped))


def permissions_needed(before: Campaign, after: Campaign) -> Iterator[Permission]:
    """Return the permissions that a change of content needs."""
    details = ("name", "description", "owner_id")
    if any(getattr(before, name) != getattr(after, name) for name in details):
        yield Permission.EDIT_DETAILS
    if before.steps != after.steps:
        yield Permission.EDIT_STEPS
    if before.generation_config != after.generation_config:
        raises = _only_raises_budget(before.generation_config, after.generation_config)
        yield Permission.RAISE_BUDGET if raises else Permission.EDIT_CONFIG


def _only_raises_budget(before: GenerationConfig, after: GenerationConfig) -> bool:
    if before.budget is None or after.budget is None:
        return False
    return before.budget < after.budget and after == attrs.evolve(before, budget=after.budget)
