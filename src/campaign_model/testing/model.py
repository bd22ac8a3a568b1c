"""The model of the store: what the store promises, in dictionaries and without SQL.

Each method of :class:`Model` stands for the store's method of the same name. It changes the model
as the store must change the database, returns what the store must return, and raises what the store
must raise. The model uses the tables of the lifecycle. If store and model differ, one of them is
wrong.

The store may choose ids, tokens, and the order of contacts whose leases expire at the same moment.
A method of the model that depends on such a choice gets the store's answer as ``chosen``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs

from campaign_model import lifecycle
from campaign_model.campaign import Assigned, Campaign, Changed, HistoryEntry, Removed
from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Cursor,
    Outcome,
    Progress,
    Recorded,
    Renewal,
    StopReason,
    Unfinished,
)
from campaign_model.errors import Conflict, LeaseLost, NotFound
from campaign_model.guards import nothing_in_flight
from campaign_model.lifecycle import (
    PERMISSIONS,
    Action,
    ActionState,
    ContactAction,
    ContactStatus,
    Facts,
    Permission,
)
from campaign_model.store.assignment import POSITIONS
from campaign_model.store.generation import OnLost
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.model_state import (
    FRESH_START,
    NO_CLAIM,
    ZERO,
    ModelCampaign,
    ModelContact,
    permissions_needed,
)

__all__ = ["Model"]


@attrs.define
class Model:
    """The campaigns of one tenant. ``host_contacts`` are the contacts that the host has.

    ``concurrent`` means that another transaction is open during the next calls. A claim may then
    skip contacts that the other transaction has locked.
    """

    clock: FrozenClock
    host_contacts: frozenset[UUID] = frozenset()
    actor: str | None = None
    campaigns: dict[UUID, ModelCampaign] = attrs.field(factory=dict)
    concurrent: bool = False

    def copy(self) -> Model:
        """Return a model that changes independently of this one."""
        campaigns = {
            id_: attrs.evolve(
                state, contacts=dict(state.contacts), erased_claims=dict(state.erased_claims)
            )
            for id_, state in self.campaigns.items()
        }
        return attrs.evolve(self, campaigns=campaigns)

    def learn_row_ids(self, stored_campaigns: Mapping[UUID, ModelCampaign]) -> None:
        """Copy the ids of new contact rows, which the store chose, from the stored campaigns."""
        for id_ in self.campaigns.keys() & stored_campaigns.keys():
            contacts, stored = self.campaigns[id_].contacts, stored_campaigns[id_].contacts
            for contact_id, contact in contacts.items():
                if contact.row_id is None and contact_id in stored:
                    contacts[contact_id] = attrs.evolve(contact, row_id=stored[contact_id].row_id)

    def state_of(self, id: UUID) -> ModelCampaign:
        """Return the state of a campaign. Raises :class:`NotFound`."""
        if id not in self.campaigns:
            raise NotFound("campaign", (id,))
        return self.campaigns[id]

    def held(self, claims: Iterable[Claim]) -> list[Claim]:
        """Return the claims that hold their contact: the contact has the token of the claim."""
        return [
            claim
            for claim in claims
            if claim.campaign_id in self.campaigns
            and (contact := self.campaigns[claim.campaign_id].contact_of(claim)) is not None
            and contact.token == claim.token
        ]

    def _permitted(self, id: UUID, permission: Permission) -> ModelCampaign:
        """Return the state of a campaign whose status grants the permission."""
        state = self.state_of(id)
        lifecycle.check_permission(permission, state.campaign.status)
        return state

    # store.campaigns

    def add(self, campaign: Campaign) -> Campaign:
        """Add a new draft."""
        if campaign.id in self.campaigns:
            raise Conflict("already_exists", "")
        now = self.clock.now
        campaign = attrs.evolve(campaign, created_at=now, updated_at=now)
        self.campaigns[campaign.id] = ModelCampaign(campaign)
        return campaign

    def save(self, campaign: Campaign) -> Campaign:
        """Change the content if the version is current and the status permits the change."""
        state = self.state_of(campaign.id)
        stored = state.campaign
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
        for permission in permissions_needed(stored, changed):
            lifecycle.check_permission(permission, stored.status)
        if changed != stored:
            state.campaign = attrs.evolve(
                changed, version=stored.version + 1, updated_at=self.clock.now
            )
        return state.campaign

    def apply(
        self,
        id: UUID,
        action: Action,
        *,
        version: int | None = None,
        reason: str | None = None,
        **options: Any,
    ) -> Campaign:
        """Apply an action, if the table and its guards allow it, and add a history entry.

        ``options`` are those of ``campaigns.actions``.
        """
        state = self.state_of(id)
        campaign, now = state.campaign, self.clock.now
        if version not in (None, campaign.version):
            raise Conflict("stale_version", "")
        transition = lifecycle.apply(campaign.status, action, self.facts(id, **options))
        if nothing_in_flight in transition.guards:
            # No lease is valid now. Contacts with an expired lease wait again.
            state.move_contacts(state.expired_ids(now), ContactAction.RELEASE, **NO_CLAIM)
        times: dict[str, Any] = {}
        if action is Action.START_GENERATION:
            times = {"generation_started_at": now, "generation_completed_at": None}
        if action is Action.COMPLETE_GENERATION:
            times = {"generation_completed_at": now}
        state.campaign = attrs.evolve(
            campaign,
            status=transition.target,
            is_active=campaign.is_active and not transition.deletes,
            version=campaign.version + 1,
            updated_at=now,
            **times,
        )
        state.history += (
            HistoryEntry(
                at=now,
                action=action,
                source=transition.source,
                target=transition.target,
                version=state.campaign.version,
                actor=self.actor,
                reason=reason,
            ),
        )
        state.last_reserve = ZERO
        state.refresh_legacy_columns()
        return state.campaign

    def get(self, id: UUID) -> Campaign:
        """Return the campaign."""
        return self.state_of(id).campaign

    def clone(self, id: UUID, *, chosen: Campaign) -> Campaign:
        """Add a draft with the same content, a new name and no contacts."""
        state = self.state_of(id)
        state.clone_count += 1
        copy = "copy" if state.clone_count == 1 else f"copy {state.clone_count}"
        original = state.campaign
        return self.add(
            Campaign(
                id=chosen.id,
                name=f"{original.name} ({copy})",
                steps=original.steps,
                generation_config=original.generation_config,
                description=original.description,
                owner_id=original.owner_id,
                template_id=original.template_id,
            )
        )

    def facts(self, id: UUID, **options: Any) -> Facts:
        """Return the facts: the counts that the guards of actions check.

        ``options`` are those of ``campaigns.actions``.
        """
        return self.state_of(id).facts(self.clock.now, **options)

    def actions(self, id: UUID, **options: Any) -> tuple[ActionState, ...]:
        """Return every action, and for each refused action the reason."""
        facts = self.facts(id, **options)
        return lifecycle.actions(self.state_of(id).campaign.status, facts)

    # store.contacts

    def assign(self, id: UUID, contacts: Iterable[UUID | tuple[UUID, int]]) -> Assigned:
        """Add contacts with their priorities. Of a repeated contact, the first priority counts."""
        state = self._permitted(id, Permission.ASSIGN_CONTACTS)
        priorities: dict[UUID, int] = {}
        for contact in contacts:
            contact_id, priority = (contact, 0) if isinstance(contact, UUID) else contact
            priorities.setdefault(contact_id, priority)
        known = [contact_id for contact_id in priorities if contact_id in self.host_contacts]
        new = [contact_id for contact_id in known if contact_id not in state.contacts]
        for position, (contact_id, priority) in enumerate(priorities.items(), state.next_position):
            if contact_id in new:
                rank = position - priority * POSITIONS
                state.contacts[contact_id] = ModelContact(rank, self.clock.now)
        if new:
            state.next_position += len(priorities)
        state.refresh_legacy_columns()
        unknown = tuple(contact_id for contact_id in priorities if contact_id not in known)
        return Assigned(len(new), len(known) - len(new), unknown)

    def remove(self, id: UUID, ids: Iterable[UUID]) -> Removed:
        """Remove contacts. A contact that was ever claimed stays and becomes excluded."""
        state = self._permitted(id, Permission.REMOVE_CONTACTS)
        present = [contact_id for contact_id in dict.fromkeys(ids) if contact_id in state.contacts]
        kept = [contact_id for contact_id in present if state.contacts[contact_id].ever_claimed]
        for contact_id in present:
            if contact_id not in kept:
                del state.contacts[contact_id]
        state.move_contacts(kept, ContactAction.EXCLUDE)
        return Removed(len(present) - len(kept), tuple(kept))

    def exclude(self, id: UUID, ids: Iterable[UUID]) -> Changed:
        """Take contacts out of generation and export, even if a worker holds them.

        The money that is reserved for a contact stays reserved while a worker holds the contact.
        """
        state = self._permitted(id, Permission.EXCLUDE_CONTACTS)
        return state.move_contacts(ids, ContactAction.EXCLUDE)

    def include(self, id: UUID, ids: Iterable[UUID]) -> Changed:
        """Bring excluded contacts back, but not those that are in flight."""
        state = self._permitted(id, Permission.INCLUDE_CONTACTS)
        named = {*ids}
        in_flight = named & state.in_flight_ids(self.clock.now)
        changed = state.move_contacts(named - in_flight, ContactAction.INCLUDE, **FRESH_START)
        return Changed(changed.changed, (*changed.skipped, *in_flight))

    def set_readiness(self, id: UUID, gaps: Mapping[UUID, tuple[str, ...]]) -> Changed:
        """Write the gaps of contacts."""
        state = self._permitted(id, Permission.SET_READINESS)
        skipped: list[UUID] = []
        for contact_id, missing in gaps.items():
            action = ContactAction.MARK_NEEDED if missing else ContactAction.MARK_OK
            skipped += state.move_contacts([contact_id], action, gaps=missing).skipped
        state.refresh_legacy_columns()
        return Changed(len(gaps) - len(skipped), tuple(skipped))

    def erase(self, ids: Iterable[UUID]) -> int:
        """Delete contacts from every campaign. Their costs stay.

        A worker that held an erased contact can still report the cost of its claim, once. Until
        then, what is reserved for the contact stays reserved.
        """
        contact_ids = {*ids}
        return sum(state.erase(contact_ids) for state in self.campaigns.values())

    def exportable(self, id: UUID) -> list[UUID]:
        """Return the ids of the contacts to export, in the order of generation."""
        state = self._permitted(id, Permission.LIST_EXPORTABLE)
        return [contact_id for contact_id, _ in state.by_rank(ContactStatus.GENERATED)]

    # store.generation

    def claim(
        self,
        id: UUID,
        limit: int,
        lease: timedelta,
        *,
        reserve: Decimal,
        cursor: Cursor,
        max_attempts: int,
        chosen: tuple[ClaimBatch, frozenset[UUID], frozenset[UUID]],
    ) -> tuple[ClaimBatch, frozenset[UUID], frozenset[UUID]]:
        """Claim waiting contacts as far as the budget goes, then contacts with expired leases.

        If it gets fewer than ``limit`` contacts, it fails the contacts that have no attempts left.
        Return the batch, the ids of all contacts that failed for this reason, and those of excluded
        contacts for which nothing is reserved. ``chosen`` is the store's answer in the same form.
        From it the model takes ids and tokens, and the order of contacts whose leases expired at
        the same moment.
        """
        state = self.state_of(id)
        batch, exhausted_ids, unreserved_excluded_ids = chosen
        now, campaign = self.clock.now, state.campaign
        chosen_claims = {claim.contact_id: claim for claim in batch.claims}
        amount = ZERO

        def make_claim(contact_id: UUID, contact: ModelContact) -> Claim:
            if contact_id not in chosen_claims:
                raise AssertionError(f"the store did not claim contact {contact_id}")
            is_takeover = contact.status is ContactStatus.GENERATING
            return attrs.evolve(
                chosen_claims[contact_id],
                campaign_id=id,
                expires_at=now + lease,
                attempts=contact.attempts + 1,
                revision=contact.revision,
                steps_fingerprint=campaign.steps.fingerprint,
                reserved=contact.reserved if is_takeover else amount,
            )

        claims: list[Claim] = []
        stop: StopReason | None = StopReason.NOT_GENERATING
        retry_at: datetime | None = None
        if campaign.status in PERMISSIONS[Permission.CLAIM]:
            # 1. Claim waiting contacts: first those from the cursor on, then those before it.
            waiting, expired = state.claimable_ids(now, cursor), state.expired_ids(now)
            if self.concurrent:
                # The store may have skipped locked contacts: expect only those that it claimed.
                waiting = [contact_id for contact_id in waiting if contact_id in chosen_claims]
                expired = [contact_id for contact_id in expired if contact_id in chosen_claims]
            granted, amount, freed_at = state.reserve(
                limit, reserve, now, unreserved_excluded_ids if self.concurrent else None
            )
            claims = state.claim_contacts(waiting, granted, max_attempts, make_claim)
            short_of_money = len(claims) == granted
            # 2. Take over contacts whose leases expired, the earliest first. Of those that expired
            #    at the same moment, prefer the contacts that the store claimed.
            expired.sort(
                key=lambda one: (state.contacts[one].lease_expires_at, one not in chosen_claims)
            )
            takeovers = state.claim_contacts(expired, limit - len(claims), max_attempts, make_claim)
            store_order = [*chosen_claims]
            claims += sorted(takeovers, key=lambda claim: store_order.index(claim.contact_id))
            # 3. If the batch is short, fail the contacts without attempts left and say why.
            stop = None
            if len(claims) < limit:
                state.fail_exhausted(now, max_attempts, exhausted_ids if self.concurrent else None)
                stop, retry_at = state.stop_reason(short_of_money=short_of_money, freed_at=freed_at)
                if self.concurrent:
                    stop, retry_at = batch.stop, batch.retry_at
        expected = attrs.evolve(
            batch,
            claims=tuple(claims),
            stop=stop,
            retry_at=retry_at,
            at=now,
            steps=campaign.steps,
            generation_config=campaign.generation_config,
        )
        return expected, state.exhausted_ids, state.unreserved_excluded_ids

    def renew(self, claims: Iterable[Claim], lease: timedelta) -> Renewal:
        """Extend the leases of claims that hold their contact. Name those to stop working on."""
        claims = tuple(claims)
        state = self.state_of(claims[0].campaign_id)
        expires_at = self.clock.now + lease
        working = set()
        for claim in self.held(claims):
            contact = attrs.evolve(state.contacts[claim.contact_id], lease_expires_at=expires_at)
            state.contacts[claim.contact_id] = contact
            if contact.status is ContactStatus.GENERATING:
                working.add(claim.id)
        lost = [claim.id for claim in claims if claim.id not in working]
        cancelled = state.campaign.status not in PERMISSIONS[Permission.CLAIM]
        return Renewal(expires_at, tuple(lost), cancelled)

    def checkpoint(
        self, claim: Claim, cost: Decimal | None, *, call_id: UUID | None = None
    ) -> Recorded:
        """Book the cost of a paid call, and reduce the contact's reservation by it.

        ``cost`` is None if it is unknown. A call whose id the contact remembers changes nothing.
        Raise :class:`LeaseLost` if the claim does not hold the contact any more, or if the contact
        was erased or removed.
        """
        state = self.state_of(claim.campaign_id)
        contact = state.contact_of(claim)
        # A contact remembers the ids of paid calls among the reported tokens, as the store does.
        if contact is not None and call_id in contact.reported_tokens:
            return Recorded.ALREADY
        if contact is None or contact.token != claim.token:
            raise LeaseLost((claim.id,))
        state.contacts[claim.contact_id] = attrs.evolve(
            contact.with_cost(call_id, cost), reserved=max(ZERO, contact.reserved - (cost or 0))
        )
        state.refresh_legacy_columns_unless_generating()
        return Recorded.APPLIED

    def record(
        self, outcomes: Mapping[Claim, Outcome], *, on_lost: OnLost = "raise"
    ) -> dict[Claim, Recorded]:
        """Record the outcomes of claims, or raise :class:`LeaseLost` and change nothing.

        An outcome counts if the contact has the token of its claim. ``on_lost`` says what to do
        with the outcomes of lost claims: raise, skip them, or book only their cost.
        """
        state = self.state_of(next(iter(outcomes)).campaign_id)
        now, fingerprint = self.clock.now, state.campaign.steps.fingerprint
        answers: dict[Claim, Recorded] = {}
        # 1. Outcomes of contacts that exist.
        lost = []
        for claim, outcome in outcomes.items():
            contact = state.contact_of(claim)
            if contact is not None and contact.token == claim.token:
                contact, answers[claim] = contact.after_outcome(claim, outcome, now, fingerprint)
            elif contact is not None and claim.token in contact.reported_tokens:
                answers[claim] = Recorded.ALREADY
            elif contact is not None and on_lost == "book":
                contact = contact.with_cost(claim.token, outcome.cost)
                answers[claim] = Recorded.BOOKED
            else:
                lost.append(claim)
            if contact is not None:
                state.contacts[claim.contact_id] = contact
        if lost and on_lost == "raise":
            raise LeaseLost(tuple(claim.id for claim in lost))
        # 2. Lost claims. A claim of an erased contact can report its cost once.
        for claim in lost:
            answers[claim] = Recorded.SKIPPED
            if on_lost == "book" and (claim.id, claim.token) in state.erased_claims:
                answers[claim] = Recorded.BOOKED
                del state.erased_claims[claim.id, claim.token]
                state.erased_cost += outcomes[claim].cost or 0
                state.erased_unknown_costs += 1 if outcomes[claim].cost is None else 0
        state.refresh_legacy_columns_unless_generating()
        return answers

    def release(self, claims: Iterable[Claim]) -> dict[Claim, Recorded]:
        """Give claimed contacts back unfinished."""
        return self.record(dict.fromkeys(claims, Unfinished()), on_lost="skip")

    def retry_failed(self, id: UUID, ids: Iterable[UUID] | None = None) -> Changed:
        """Put failed contacts back to wait: all of them, or those in ``ids``."""
        state = self._permitted(id, Permission.RETRY_FAILED)
        if ids is None:
            ids = [contact_id for contact_id, _ in state.by_rank(ContactStatus.FAILED)]
        return state.move_contacts(ids, ContactAction.RETRY, **FRESH_START)

    def regenerate(
        self, id: UUID, ids: Iterable[UUID] | None = None, *, only_stale: bool = False
    ) -> Changed:
        """Put generated contacts back to wait with a new revision: all, or those in ``ids``."""
        state = self._permitted(id, Permission.REGENERATE)
        eligible = {
            contact_id: attrs.evolve(contact, revision=contact.revision + 1, fingerprint=None)
            for contact_id, contact in state.by_rank(ContactStatus.GENERATED)
            if not (only_stale and contact.fingerprint == state.campaign.steps.fingerprint)
        }
        named = tuple(dict.fromkeys(eligible if ids is None else ids))
        requeued = {one: eligible[one] for one in named if one in eligible}
        state.contacts |= requeued
        state.move_contacts(requeued, ContactAction.REGENERATE, **FRESH_START)
        return Changed(len(requeued), tuple(one for one in named if one not in requeued))

    def progress(self, id: UUID) -> Progress:
        """Return the progress of a campaign, without its speed."""
        state = self.state_of(id)
        return Progress(
            by_status={status: state.count(status) for status in ContactStatus},
            spent=state.spent,
            reserved=state.reserved,
            unknown_costs=state.unknown_costs,
            budget=state.campaign.generation_config.budget,
        )
