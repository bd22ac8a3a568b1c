"""State of the model: its campaigns and their contacts, as plain values.

:class:`ModelCampaign` stands for a row of ``campaigns`` with its history and totals.
:class:`ModelContact` stands for a row of ``campaign_contacts``. The model computes totals from its
contacts, so they are always the sums of the contacts.
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
from campaign_model.lifecycle import (
    CLAIMABLE,
    PERMISSIONS,
    ContactAction,
    ContactStatus,
    Facts,
    Permission,
)
from campaign_model.store.statements import ATTEMPTS_EXHAUSTED

__all__ = ["FRESH_START", "NO_CLAIM", "ZERO", "ModelCampaign", "ModelContact", "permissions_needed"]

ZERO = Decimal(0)

NO_CLAIM: dict[str, Any] = {"token": None, "lease_expires_at": None, "reserved": ZERO}
"""Changes to a contact when no claim holds it any more."""

FRESH_START: dict[str, Any] = NO_CLAIM | {
    "retry_at": None,
    "attempts": 0,
    "error_code": None,
    "error": None,
}
"""Changes to a contact that is put back to wait. Its costs and reported tokens stay."""

_ACTION_OF: Mapping[type[Outcome], ContactAction] = {
    Generated: ContactAction.SUCCEED,
    Failed: ContactAction.FAIL,
    NotReady: ContactAction.RELEASE,
    Unfinished: ContactAction.RELEASE,
}


@attrs.frozen
class ModelContact:
    """One contact in one campaign. Every method returns a changed copy.

    ``row_id`` is ``None`` until the model learns it from the store. ``error`` is ``None`` for
    contacts that failed at the cap on attempts, because the store chooses the text of that error.
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

    def with_cost(self, token: UUID | None, cost: Decimal | None) -> ModelContact:
        """Book a cost, and remember the token or id with which it was reported, if it has one."""
        return attrs.evolve(
            self,
            cost=self.cost + (cost or 0),
            unknown_costs=self.unknown_costs + (1 if cost is None else 0),
            reported_tokens=self.reported_tokens
            if token is None
            else self.reported_tokens | {token},
        )

    def with_steps(self, fingerprint: str) -> ModelContact:
        """Prepare the contact for a claim under the steps with this fingerprint.

        If its last claim was made under other steps, the contact gets a new revision.
        """
        revision = self.revision
        if self.fingerprint not in (None, fingerprint):
            revision += 1
        return attrs.evolve(self, fingerprint=fingerprint, revision=revision, retry_at=None)

    def with_claim(self, claim: Claim) -> ModelContact:
        """Let the claim hold the contact. Its id is that of the contact's row."""
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

    def as_exhausted(self) -> ModelContact:
        """Fail the contact because it reached the cap on attempts."""
        return attrs.evolve(
            self,
            **NO_CLAIM,
            status=ContactStatus.FAILED,
            retry_at=None,
            error_code=ATTEMPTS_EXHAUSTED,
        )

    def after_outcome(
        self, claim: Claim, outcome: Outcome, now: datetime, fingerprint: str
    ) -> tuple[ModelContact, Recorded]:
        """Apply an outcome of the claim that holds the contact. Return the store's answer as well.

        ``fingerprint`` is that of the campaign's present steps.
        """
        # 1. A success under other steps than the present ones is requeued: the contact waits again.
        steps_changed = claim.steps_fingerprint != fingerprint
        action, answer = _ACTION_OF[type(outcome)], Recorded.APPLIED
        if action is ContactAction.SUCCEED and steps_changed:
            action, answer = ContactAction.RELEASE, Recorded.REQUEUED
        gaps = outcome.gaps if isinstance(outcome, NotReady) else self.gaps
        status = lifecycle.apply_contact(self.status, action, gaps)
        assert status is not None, f"a contact in status {self.status} is held by a claim"
        # 2. Book the cost and end the claim. By the table, an excluded contact stays excluded.
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
        # 3. Set the fields that depend on the kind of outcome. Claims that end without a result
        #    for the present steps do not count as attempts, except unfinished ones with a cost.
        changes: dict[str, Any]
        match outcome:
            case Generated() if not steps_changed:
                changes = {"generated_at": now, "fingerprint": claim.steps_fingerprint}
            case Failed():
                changes = {"error_code": outcome.code, "error": outcome.message}
            case Unfinished(pause, cost):
                counts = cost is None or cost > 0  # None is an unknown cost.
                changes = {
                    "attempts": self.attempts if counts else self.attempts - 1,
                    "retry_at": now + pause if pause else None,
                }
            case _:
                # Not ready, or generated under other steps.
                changes = {"attempts": self.attempts - 1}
        return attrs.evolve(contact, **changes), answer


@attrs.define
class ModelCampaign:
    """A campaign with its contacts, its history and what erased contacts leave behind.

    ``legacy_columns`` are three columns of the campaign's row: the number of contacts, the number
    of generated contacts, and the cost. ``next_position`` orders contacts of the same priority by
    assignment. ``last_reserve`` is the amount per contact that the last claim wanted to reserve
    since the last change of status. ``erased_claims`` are the claims that held their contact when
    it was erased, by the contact's row id and the claim's token: each with what is reserved for it,
    and the end of its lease.
    """

    campaign: Campaign
    contacts: dict[UUID, ModelContact] = attrs.field(factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    legacy_columns: tuple[int, int, Decimal] = (0, 0, ZERO)
    next_position: int = 0
    clone_count: int = 0
    last_reserve: Decimal = ZERO
    erased_cost: Decimal = ZERO
    erased_unknown_costs: int = 0
    erased_claims: dict[tuple[UUID, UUID], tuple[Decimal, datetime | None]] = attrs.field(
        factory=dict
    )

    def count(self, *statuses: ContactStatus) -> int:
        """Count the contacts in these statuses."""
        return sum(1 for contact in self.contacts.values() if contact.status in statuses)

    @property
    def spent(self) -> Decimal:
        """The cost of all contacts, erased contacts included."""
        return self.erased_cost + sum(contact.cost for contact in self.contacts.values())

    @property
    def unknown_costs(self) -> int:
        """The number of unknown costs of all contacts, erased contacts included."""
        return self.erased_unknown_costs + sum(
            contact.unknown_costs for contact in self.contacts.values()
        )

    @property
    def reserved(self) -> Decimal:
        """The sum of the reservations of contacts, erased contacts included."""
        erased = sum((reserved for reserved, _ in self.erased_claims.values()), ZERO)
        return sum((contact.reserved for contact in self.contacts.values()), erased)

    def facts(self, now: datetime, **options: Any) -> Facts:
        """Count what the guards of actions check. ``options`` are the other fields."""
        expired = len(self.expired_ids(now))
        budget = self.campaign.generation_config.budget
        return Facts(
            enabled_steps=len(self.campaign.steps.enabled),
            contacts=len(self.contacts) - self.count(ContactStatus.EXCLUDED),
            claimable=self.count(*CLAIMABLE) + expired,
            in_flight=self.count(ContactStatus.GENERATING) - expired,
            generated=self.count(ContactStatus.GENERATED),
            stale=sum(
                contact.fingerprint != self.campaign.steps.fingerprint
                for _, contact in self.by_rank(ContactStatus.GENERATED)
            ),
            budget_exhausted=(
                budget is not None and self.spent + self.reserved + self.last_reserve > budget
            ),
            **options,
        )

    def by_rank(self, *statuses: ContactStatus) -> Iterator[tuple[UUID, ModelContact]]:
        """Yield the contacts in these statuses, in the order of generation."""
        for contact_id, contact in sorted(self.contacts.items(), key=lambda item: item[1].rank):
            if contact.status in statuses:
                yield contact_id, contact

    def claimable_ids(self, now: datetime, cursor: Cursor) -> list[UUID]:
        """List the waiting contacts without a pause: first those from the cursor's rank on."""
        from_cursor: list[UUID] = []
        before_cursor: list[UUID] = []
        for contact_id, contact in self.by_rank(*CLAIMABLE):
            if contact.retry_at is None or contact.retry_at <= now:
                ids = from_cursor if contact.rank >= cursor.rank else before_cursor
                ids.append(contact_id)
        return from_cursor + before_cursor

    def expired_ids(self, now: datetime) -> list[UUID]:
        """List the contacts in status generating whose lease has expired."""
        return [
            contact_id
            for contact_id, contact in self.by_rank(ContactStatus.GENERATING)
            if contact.lease_expires_at is not None and contact.lease_expires_at <= now
        ]

    def in_flight_ids(self, now: datetime) -> frozenset[UUID]:
        """Return the contacts that a worker holds under a valid lease, excluded or not."""
        return frozenset(
            contact_id
            for contact_id, contact in self.contacts.items()
            if contact.token is not None
            and contact.lease_expires_at is not None
            and contact.lease_expires_at > now
        )

    def reserve(
        self, limit: int, amount: Decimal, now: datetime, among: Collection[UUID] | None
    ) -> tuple[int, Decimal, datetime | None]:
        """Return how many of ``limit`` claims the budget allows, and what each of them reserves.

        ``amount`` is what the worker wants to reserve for each. Without a budget nothing is
        reserved. The first claim since a change of status reserves the amount also for contacts
        that were claimed before, without a budget. It frees the reservations of excluded and erased
        contacts whose lease has expired, and so does a claim that does not fit. The third part of
        the answer is when the next such lease expires.

        If another transaction is open, the store may skip contacts that it has locked. Then
        ``among`` are the excluded contacts for which the store has nothing reserved.
        """
        budget = self.campaign.generation_config.budget
        if budget is None:
            return limit, ZERO, None
        is_first = not self.last_reserve
        self.last_reserve = amount
        wanted, freed_at = min(limit, int(budget // amount)), None
        if is_first:
            for contact_id, contact in self.by_rank(ContactStatus.GENERATING):
                if not contact.reserved:
                    self.contacts[contact_id] = attrs.evolve(contact, reserved=amount)
        if is_first or self.spent + self.reserved + wanted * amount > budget:
            freed_at = self._free_expired_reservations(now, among)
        left = budget - self.spent - self.reserved
        return min(wanted, max(0, int(left // amount))), amount, freed_at

    def _free_expired_reservations(
        self, now: datetime, among: Collection[UUID] | None
    ) -> datetime | None:
        expiries: list[datetime] = []
        for contact_id, contact in self.by_rank(ContactStatus.EXCLUDED):
            expiry = contact.lease_expires_at
            if contact.reserved and expiry is not None and expiry > now:
                expiries.append(expiry)
            elif among is None or contact_id in among:
                self.contacts[contact_id] = attrs.evolve(contact, reserved=ZERO)
        for key, (reserved, expiry) in self.erased_claims.items():
            if reserved and expiry is not None and expiry > now:
                expiries.append(expiry)
            else:
                self.erased_claims[key] = (ZERO, expiry)
        return min(expiries, default=None)

    def claim_contacts(
        self,
        contact_ids: Iterable[UUID],
        number: int,
        max_attempts: int,
        make_claim: Callable[[UUID, ModelContact], Claim],
    ) -> list[Claim]:
        """Claim the first ``number`` of the contacts that have attempts left; return the claims.

        Each contact is prepared for the present steps first: if they have changed since its last
        claim, its claim has a new revision. ``make_claim`` returns the claim of a contact.
        """
        claims: list[Claim] = []
        for contact_id in contact_ids:
            if len(claims) == number:
                break
            contact = self.contacts[contact_id].with_steps(self.campaign.steps.fingerprint)
            if contact.attempts < max_attempts:
                claims.append(make_claim(contact_id, contact))
                self.contacts[contact_id] = contact.with_claim(claims[-1])
        return claims

    def fail_exhausted(
        self, now: datetime, max_attempts: int, among: Collection[UUID] | None
    ) -> None:
        """Fail the contacts that no worker holds and that were claimed ``max_attempts`` times.

        ``None`` for ``among`` means all of them. If another transaction is open, the store may skip
        contacts that it has locked. Then ``among`` are the contacts that the store failed.
        """
        waiting = [id_ for id_, _ in self.by_rank(*CLAIMABLE)]
        for contact_id in (*waiting, *self.expired_ids(now)):
            contact = self.contacts[contact_id]
            if contact.attempts >= max_attempts and (among is None or contact_id in among):
                self.contacts[contact_id] = contact.as_exhausted()

    def stop_reason(
        self, *, short_of_money: bool, freed_at: datetime | None
    ) -> tuple[StopReason, datetime | None]:
        """Return why a claim got fewer contacts than it asked for, and when to try again.

        ``short_of_money``: the budget, and not the number of waiting contacts, limited the claim.
        ``freed_at`` is when an excluded or erased contact frees its reservation.
        """
        leases = [contact.lease_expires_at for _, contact in self.by_rank(ContactStatus.GENERATING)]
        pauses = [contact.retry_at for _, contact in self.by_rank(*CLAIMABLE)]
        has_waiting = bool(pauses)
        # If money is short, the end of a pause allows no claim. The end of a lease does: a takeover
        # keeps the reservation, and an outcome may cost less than was reserved.
        candidates = leases + pauses
        if short_of_money:
            candidates = [*leases, freed_at] if has_waiting else leases
        moments = [moment for moment in candidates if moment is not None]
        if moments:
            return StopReason.LEASES_PENDING, min(moments)
        return (StopReason.BUDGET if has_waiting else StopReason.DRAINED), None

    def erase(self, ids: Collection[UUID]) -> int:
        """Delete contacts, and return how many there were.

        Their costs stay in the totals. Their claims stay too, because a worker may still report
        what it has spent.
        """
        deleted = [self.contacts.pop(id_) for id_ in ids if id_ in self.contacts]
        for contact in deleted:
            self.erased_cost += contact.cost
            self.erased_unknown_costs += contact.unknown_costs
            if contact.row_id is not None and contact.token is not None:
                reservation = (contact.reserved, contact.lease_expires_at)
                self.erased_claims[contact.row_id, contact.token] = reservation
        if deleted:
            self.refresh_legacy_columns()
        return len(deleted)

    @property
    def exhausted_ids(self) -> frozenset[UUID]:
        """The contacts that failed at the cap on attempts."""
        return frozenset(
            contact_id
            for contact_id, contact in self.by_rank(ContactStatus.FAILED)
            if contact.error_code == ATTEMPTS_EXHAUSTED
        )

    @property
    def unreserved_excluded_ids(self) -> frozenset[UUID]:
        """The excluded contacts for which nothing is reserved."""
        return frozenset(
            contact_id
            for contact_id, contact in self.by_rank(ContactStatus.EXCLUDED)
            if not contact.reserved
        )

    def contact_of(self, claim: Claim) -> ModelContact | None:
        """Return the contact of a claim, or ``None`` if it was erased or removed since then."""
        contact = self.contacts.get(claim.contact_id)
        return contact if contact is not None and contact.row_id == claim.id else None

    def refresh_legacy_columns(self) -> None:
        """Write the present numbers into ``legacy_columns``."""
        total = len(self.contacts) - self.count(ContactStatus.EXCLUDED)
        self.legacy_columns = (total, self.count(ContactStatus.GENERATED), self.spent)

    def refresh_legacy_columns_unless_generating(self) -> None:
        """Write the present numbers into ``legacy_columns``, unless the campaign is generating."""
        if self.campaign.status not in PERMISSIONS[Permission.CLAIM]:
            self.refresh_legacy_columns()

    def move_contacts(self, ids: Iterable[UUID], action: ContactAction, **changes: Any) -> Changed:
        """Apply the action and the changes to every contact whose status allows the action.

        Contacts whose status does not allow it, and ids of no contact, are ``skipped``.
        """
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
    """Yield the permissions that this change of a campaign's content needs."""
    details = ("name", "description", "owner_id")
    if any(getattr(before, name) != getattr(after, name) for name in details):
        yield Permission.EDIT_DETAILS
    if before.steps != after.steps:
        yield Permission.EDIT_STEPS
    if before.generation_config != after.generation_config:
        raises_budget = _only_raises_budget(before.generation_config, after.generation_config)
        yield Permission.RAISE_BUDGET if raises_budget else Permission.EDIT_CONFIG


def _only_raises_budget(before: GenerationConfig, after: GenerationConfig) -> bool:
    """Return ``True`` if both have a budget, the second one's is higher, and all else is equal."""
    if before.budget is None or after.budget is None:
        return False
    return before.budget < after.budget and after == attrs.evolve(before, budget=after.budget)
