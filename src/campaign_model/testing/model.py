"""The model: what the store promises, in dictionaries and without a line of SQL.

A method is the store's call of the same name. It changes the model as the store has to change the
database, returns what the store has to answer and raises what the store has to raise, going by the
tables of the lifecycle. Where the two disagree, one of them is wrong.

Ids, tokens and the order of equals are the store's choice: ``claim`` is shown what it chose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs

from campaign_model import lifecycle
from campaign_model.campaign import Campaign, HistoryEntry
from campaign_model.campaign_contact import Assigned, Changed, Removed
from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Outcome,
    Progress,
    Recorded,
    Renewal,
    StopReason,
)
from campaign_model.errors import Conflict, LeaseLost, NotFound
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import (
    CLAIMABLE,
    PERMISSIONS,
    Action,
    ActionState,
    ContactAction,
    ContactStatus,
    Facts,
    Permission,
    ReviewTally,
)
from campaign_model.store.generation import OnLost
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.kept import FORGOTTEN, NOBODYS, ZERO, Contact, Kept

__all__ = ["Model"]


@attrs.define
class Model:
    """The campaigns of one tenant, which has these ``host_contacts``.

    ``crowded`` says that other transactions ran beside the calls that follow: a claim may then
    have passed over contacts that it would have got alone.
    """

    clock: FrozenClock
    host_contacts: frozenset[UUID] = frozenset()
    actor: str | None = None
    campaigns: dict[UUID, Kept] = attrs.field(factory=dict)
    crowded: bool = False

    def copy(self) -> Model:
        """A model that changes on its own."""
        campaigns = {
            id_: attrs.evolve(kept, contacts=dict(kept.contacts))
            for id_, kept in self.campaigns.items()
        }
        return attrs.evolve(self, campaigns=campaigns)

    def learn_ids(self, campaigns: Mapping[UUID, Kept]) -> None:
        """Take over the ids of rows from what is stored."""
        for id_ in self.campaigns.keys() & campaigns.keys():
            contacts, stored = self.campaigns[id_].contacts, campaigns[id_].contacts
            for contact_id in contacts.keys() & stored.keys():
                if contacts[contact_id].row_id is None:
                    contacts[contact_id] = attrs.evolve(
                        contacts[contact_id], row_id=stored[contact_id].row_id
                    )

    def kept(self, id: UUID) -> Kept:
        """The campaign with that id. Raises :class:`NotFound`."""
        if id not in self.campaigns:
            raise NotFound("campaign", (id,))
        return self.campaigns[id]

    def held(self, claims: Iterable[Claim]) -> list[Claim]:
        """Those of the claims that still hold their contact."""
        return [
            claim
            for claim in claims
            if claim.campaign_id in self.campaigns
            and (contact := self.campaigns[claim.campaign_id].of(claim)) is not None
            and contact.token == claim.token
        ]

    def _permitted(self, id: UUID, permission: Permission) -> Kept:
        kept = self.kept(id)
        lifecycle.check_permission(permission, kept.campaign.status)
        return kept

    # store.campaigns

    def add(self, campaign: Campaign) -> Campaign:
        """Keep a new draft."""
        if campaign.id in self.campaigns:
            raise Conflict("already_exists", "")
        now = self.clock.now
        campaign = attrs.evolve(campaign, created_at=now, updated_at=now)
        self.campaigns[campaign.id] = Kept(campaign)
        return campaign

    def save(self, campaign: Campaign) -> Campaign:
        """Change the content, if nobody else has meanwhile and the status permits it."""
        kept = self.kept(campaign.id)
        stored = kept.campaign
        if (campaign.version, campaign.updated_at) != (stored.version, stored.updated_at):
            raise Conflict("stale_version", "")
        changed = attrs.evolve(
            stored,
            name=campaign.name,
            description=campaign.description,
            owner_id=campaign.owner_id,
            steps=campaign.steps,
            generation_config=campaign.generation_config,
        )
        if changed != campaign:
            raise Conflict("read_only", "")
        for permission in _needed(stored, changed):
            lifecycle.check_permission(permission, stored.status)
        if changed != stored:
            kept.campaign = attrs.evolve(
                changed, version=stored.version + 1, updated_at=self.clock.now
            )
        return kept.campaign

    def apply(
        self,
        id: UUID,
        action: Action,
        *,
        version: int | None = None,
        review: ReviewTally | None = None,
        allow_empty: bool = False,
        reason: str | None = None,
    ) -> Campaign:
        """Move the campaign as the table and its guards allow, and remember it."""
        kept = self.kept(id)
        campaign, now = kept.campaign, self.clock.now
        if version not in (None, campaign.version):
            raise Conflict("stale_version", "")
        facts = self.facts(id, review=review, allow_empty=allow_empty)
        line = lifecycle.apply(campaign.status, action, facts)
        if lifecycle.nothing_in_flight in line.guards:
            # What dead workers left behind waits again.
            kept.move(kept.expired(now), ContactAction.RELEASE, **NOBODYS)
        times: dict[str, Any] = {}
        if action is Action.START_GENERATION:
            times = {"generation_started_at": now, "generation_completed_at": None}
        if action is Action.COMPLETE_GENERATION:
            times = {"generation_completed_at": now}
        kept.campaign = attrs.evolve(
            campaign,
            status=line.target,
            is_active=campaign.is_active and not line.deletes,
            version=campaign.version + 1,
            updated_at=now,
            **times,
        )
        kept.history += (
            HistoryEntry(
                now, action, line.source, line.target, kept.campaign.version, self.actor, reason
            ),
        )
        kept.least_reserve = ZERO
        kept.settle()
        return kept.campaign

    def get(self, id: UUID) -> Campaign:
        """As it is now."""
        return self.kept(id).campaign

    def clone(self, id: UUID, *, chose: Campaign) -> Campaign:
        """A new draft with the same content under a name of its own, and nobody in it."""
        kept = self.kept(id)
        kept.clones += 1
        copy = "copy" if kept.clones == 1 else f"copy {kept.clones}"
        original = kept.campaign
        return self.add(
            Campaign(
                id=chose.id,
                name=f"{original.name} ({copy})",
                steps=original.steps,
                generation_config=original.generation_config,
                description=original.description,
                owner_id=original.owner_id,
                template_id=original.template_id,
            )
        )

    def facts(
        self, id: UUID, *, review: ReviewTally | None = None, allow_empty: bool = False
    ) -> Facts:
        """What the guards look at."""
        kept = self.kept(id)
        expired = len(kept.expired(self.clock.now))
        budget = kept.campaign.generation_config.budget
        return Facts(
            enabled_steps=len(kept.campaign.steps.enabled),
            contacts=len(kept.contacts) - kept.number(ContactStatus.EXCLUDED),
            claimable=kept.number(*CLAIMABLE) + expired,
            in_flight=kept.number(ContactStatus.GENERATING) - expired,
            generated=kept.number(ContactStatus.GENERATED),
            budget_exhausted=(
                budget is not None and kept.spent + kept.reserved + kept.least_reserve > budget
            ),
            review=review,
            allow_empty=allow_empty,
        )

    def actions(self, id: UUID) -> tuple[ActionState, ...]:
        """Every action, and why not."""
        return lifecycle.actions(self.kept(id).campaign.status, self.facts(id))

    # store.contacts

    def assign(self, id: UUID, contacts: Iterable[tuple[UUID, int]]) -> Assigned:
        """Put contacts with their priorities in; the first mention of a contact counts."""
        kept = self._permitted(id, Permission.ASSIGN_CONTACTS)
        priorities: dict[UUID, int] = {}
        for contact_id, priority in contacts:
            priorities.setdefault(contact_id, priority)
        known = [one for one in priorities if one in self.host_contacts]
        new = [one for one in known if one not in kept.contacts]
        for position, (contact_id, priority) in enumerate(priorities.items(), kept.next_position):
            if contact_id in new:
                kept.contacts[contact_id] = Contact((-priority, position), self.clock.now)
        if new:
            kept.next_position += len(priorities)
            kept.settle()
        unknown = tuple(one for one in priorities if one not in known)
        return Assigned(len(new), len(known) - len(new), unknown)

    def remove(self, id: UUID, ids: Iterable[UUID]) -> Removed:
        """Take contacts out; those ever claimed stay, excluded."""
        kept = self._permitted(id, Permission.REMOVE_CONTACTS)
        there = [one for one in dict.fromkeys(ids) if one in kept.contacts]
        ever_claimed = [one for one in there if kept.contacts[one].ever_claimed]
        for contact_id in there:
            if contact_id not in ever_claimed:
                del kept.contacts[contact_id]
        kept.move(ever_claimed, ContactAction.EXCLUDE, reserved=ZERO)
        return Removed(len(there) - len(ever_claimed), tuple(ever_claimed))

    def exclude(self, id: UUID, ids: Iterable[UUID]) -> Changed:
        """Take contacts out of generation and export, in flight or not."""
        kept = self._permitted(id, Permission.EXCLUDE_CONTACTS)
        return kept.move(ids, ContactAction.EXCLUDE, reserved=ZERO)

    def include(self, id: UUID, ids: Iterable[UUID]) -> Changed:
        """Bring excluded contacts back. Who worked on them has lost them."""
        kept = self._permitted(id, Permission.INCLUDE_CONTACTS)
        return kept.move(ids, ContactAction.INCLUDE, **FORGOTTEN)

    def set_readiness(self, id: UUID, gaps: Mapping[UUID, tuple[str, ...]]) -> Changed:
        """Note who lacks what."""
        kept = self._permitted(id, Permission.SET_READINESS)
        skipped: list[UUID] = []
        for contact_id, missing in gaps.items():
            action = ContactAction.MARK_NEEDED if missing else ContactAction.MARK_OK
            skipped += kept.move([contact_id], action, gaps=missing, settle=False).skipped
        kept.settle()
        return Changed(len(gaps) - len(skipped), tuple(skipped))

    def erase(self, ids: Iterable[UUID]) -> int:
        """Forget contacts in every campaign. What they cost stays, and may still come in once."""
        erased = 0
        for kept in self.campaigns.values():
            gone = [kept.contacts.pop(one) for one in set(ids) if one in kept.contacts]
            for contact in gone:
                kept.erased_cost += contact.cost
                kept.erased_unknown_costs += contact.unknown_costs
                if contact.row_id is not None and contact.token is not None:
                    kept.erased_claims |= {(contact.row_id, contact.token)}
            if gone:
                kept.settle()
            erased += len(gone)
        return erased

    def exportable(self, id: UUID) -> list[UUID]:
        """Who is to be sent messages, in order."""
        kept = self._permitted(id, Permission.LIST_EXPORTABLE)
        return [contact_id for contact_id, _ in kept.in_order(ContactStatus.GENERATED)]

    # store.generation

    def claim(
        self,
        id: UUID,
        limit: int,
        lease: timedelta,
        *,
        reserve: Decimal,
        max_attempts: int,
        chose: tuple[ClaimBatch, frozenset[UUID]],
    ) -> tuple[ClaimBatch, frozenset[UUID]]:
        """Waiting contacts in order, as far as the budget goes, then those whose lease ran out.

        Answers with the batch and with everybody who has failed for being claimed too often.
        ``chose`` is the same of the store, who takes any of leases that ran out at one moment.
        """
        kept = self.kept(id)
        batch, given_up = chose
        now, campaign = self.clock.now, kept.campaign
        chosen = {claim.contact_id: claim for claim in batch.claims}
        each = ZERO

        def claim(contact_id: UUID, contact: Contact) -> Claim:
            if contact_id not in chosen:
                raise AssertionError(f"contact {contact_id} was passed over")
            takeover = contact.status is ContactStatus.GENERATING
            return attrs.evolve(
                chosen[contact_id],
                campaign_id=id,
                expires_at=now + lease,
                attempts=contact.attempts + 1,
                revision=contact.revision,
                steps_fingerprint=campaign.steps.fingerprint,
                reserved=contact.reserved if takeover else each,
            )

        claims: list[Claim] = []
        stop: StopReason | None = StopReason.NOT_GENERATING
        retry_at: datetime | None = None
        if campaign.status in PERMISSIONS[Permission.CLAIM]:
            fresh, expired = kept.waiting(now), kept.expired(now)
            if self.crowded:
                fresh, expired = (
                    [one for one in some if one in chosen or one in given_up]
                    for some in (fresh, expired)
                )
            granted, each = kept.grant(limit, reserve)
            claims = kept.take(fresh, granted, max_attempts, claim)
            short_of_money = len(claims) == granted
            expired.sort(key=lambda one: (one not in given_up, one not in chosen))
            expired.sort(key=lambda one: kept.contacts[one].lease_expires_at or now)
            claims += sorted(
                kept.take(expired, limit - len(claims), max_attempts, claim),
                key=lambda claim: list(chosen).index(claim.contact_id),
            )
            stop = None
            if len(claims) < limit:
                kept.give_up(now, max_attempts)
                stop, retry_at = kept.why_short(of_money=short_of_money)
                if self.crowded:
                    stop, retry_at = batch.stop, batch.retry_at
        expected = ClaimBatch(
            claims=tuple(claims),
            stop=stop,
            retry_at=retry_at,
            at=now,
            cursor=batch.cursor,
            steps=campaign.steps,
            generation_config=campaign.generation_config,
        )
        return expected, kept.exhausted

    def renew(self, claims: Iterable[Claim], lease: timedelta) -> Renewal:
        """Extend the leases of those still held; tell whom to stop working on."""
        claims = tuple(claims)
        kept = self.kept(claims[0].campaign_id)
        until = self.clock.now + lease
        working = set()
        for claim in self.held(claims):
            contact = attrs.evolve(kept.contacts[claim.contact_id], lease_expires_at=until)
            kept.contacts[claim.contact_id] = contact
            if contact.status is ContactStatus.GENERATING:
                working.add(claim.id)
        lost = [claim.id for claim in claims if claim.id not in working]
        cancelled = kept.campaign.status not in PERMISSIONS[Permission.CLAIM]
        return Renewal(until, tuple(lost), cancelled)

    def checkpoint(self, claim: Claim, cost: Decimal | None) -> None:
        """Book a paid call of a contact that is still held; its reservation shrinks by as much."""
        kept = self.kept(claim.campaign_id)
        contact = kept.of(claim)
        if contact is None or contact.token != claim.token:
            raise LeaseLost((claim.id,))
        kept.contacts[claim.contact_id] = attrs.evolve(
            contact,
            cost=contact.cost + (cost or 0),
            unknown_costs=contact.unknown_costs + (cost is None),
            reserved=max(ZERO, contact.reserved - (cost or 0)),
        )

    def record(
        self, outcomes: Mapping[Claim, Outcome], *, on_lost: OnLost = "raise"
    ) -> dict[Claim, Recorded]:
        """What became of claimed contacts, each told once, by whoever holds the token."""
        kept = self.kept(next(iter(outcomes)).campaign_id)
        fingerprint = kept.campaign.steps.fingerprint
        answers: dict[Claim, Recorded] = {}
        lost = []
        for claim, outcome in outcomes.items():
            contact = kept.of(claim)
            if contact is not None and contact.token == claim.token:
                same_steps = claim.steps_fingerprint == fingerprint
                contact, answers[claim] = contact.reported_on(
                    claim, outcome, self.clock.now, same_steps=same_steps
                )
            elif contact is not None and claim.token in contact.reported:
                answers[claim] = Recorded.ALREADY
            elif contact is not None and on_lost == "book":
                contact, answers[claim] = (
                    contact.booked(claim.token, outcome.cost),
                    Recorded.BOOKED,
                )
            else:
                lost.append(claim)
            if contact is not None:
                kept.contacts[claim.contact_id] = contact
        if lost and on_lost == "raise":
            raise LeaseLost(tuple(claim.id for claim in lost))
        for claim in lost:
            answers[claim] = Recorded.SKIPPED
            if on_lost == "book" and (claim.id, claim.token) in kept.erased_claims:
                answers[claim] = Recorded.BOOKED
                kept.erased_claims -= {(claim.id, claim.token)}
                kept.erased_cost += outcomes[claim].cost or 0
                kept.erased_unknown_costs += outcomes[claim].cost is None
        return answers

    def retry_failed(self, id: UUID, ids: Iterable[UUID] | None = None) -> Changed:
        """Have failed contacts, all or these, wait again."""
        kept = self._permitted(id, Permission.RETRY_FAILED)
        if ids is None:
            ids = [one for one, _ in kept.in_order(ContactStatus.FAILED)]
        return kept.move(ids, ContactAction.RETRY, **FORGOTTEN)

    def regenerate(
        self, id: UUID, ids: Iterable[UUID] | None = None, *, only_stale: bool = False
    ) -> Changed:
        """Have generated contacts, all or these, wait for new messages under new ids."""
        kept = self._permitted(id, Permission.REGENERATE)
        fitting = {
            contact_id: attrs.evolve(contact, revision=contact.revision + 1, fingerprint=None)
            for contact_id, contact in kept.in_order(ContactStatus.GENERATED)
            if not (only_stale and contact.fingerprint == kept.campaign.steps.fingerprint)
        }
        named = tuple(dict.fromkeys(fitting if ids is None else ids))
        chosen = {contact_id: fitting[contact_id] for contact_id in named if contact_id in fitting}
        kept.contacts |= chosen
        kept.move(chosen, ContactAction.REGENERATE, **FORGOTTEN)
        return Changed(len(chosen), tuple(one for one in named if one not in chosen))

    def progress(self, id: UUID) -> Progress:
        """How far it is, but for the rate."""
        kept = self.kept(id)
        return Progress(
            by_status={status: kept.number(status) for status in ContactStatus},
            spent=kept.spent,
            reserved=kept.reserved,
            unknown_costs=kept.erased_unknown_costs
            + sum(one.unknown_costs for one in kept.contacts.values()),
            budget=kept.campaign.generation_config.budget,
        )


def _needed(before: Campaign, after: Campaign) -> Iterator[Permission]:
    """What a change of content needs."""
    details = ("name", "description", "owner_id")
    if any(getattr(before, name) != getattr(after, name) for name in details):
        yield Permission.EDIT_DETAILS
    if before.steps != after.steps:
        yield Permission.EDIT_STEPS
    if before.generation_config != after.generation_config:
        raised = _raises_budget(before.generation_config, after.generation_config)
        yield Permission.RAISE_BUDGET if raised else Permission.EDIT_CONFIG


def _raises_budget(before: GenerationConfig, after: GenerationConfig) -> bool:
    if before.budget is None or after.budget is None:
        return False
    return before.budget < after.budget and after == attrs.evolve(before, budget=after.budget)
