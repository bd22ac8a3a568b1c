"""The model of the store: what the store promises, in dictionaries and without SQL.

Each method of :class:`Model` stands for the store's method of the same name. It changes the model
as the store must change the database, returns what the store must return, and raises what the store
must raise. Rules come from the tables of the lifecycle. Where store and model differ, one of them
is wrong.

The store chooses ids, tokens and the order of equal contacts. Methods that need these choices get
the store's answer as ``chosen``.
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
from campaign_model.testing._store_internals import POSITIONS, OnLost
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

    ``concurrent`` says that other transactions run beside the next calls. A claim may then skip
    contacts that it would get alone.
    """

    clock: FrozenClock
    host_contacts: frozenset[UUID] = frozenset()
    actor: str | None = None
    campaigns: dict[UUID, ModelCampaign] = attrs.field(factory=dict)
    concurrent: bool = False

    def copy(self) -> Model:
        """Return a model that changes independently of this one."""
        campaigns = {
            id_: attrs.evolve(campaign, contacts=dict(campaign.contacts))
            for id_, campaign in self.campaigns.items()
        }
        return attrs.evolve(self, campaigns=campaigns)

    def learn_row_ids(self, stored_campaigns: Mapping[UUID, ModelCampaign]) -> None:
        """Take the ids of contact rows from the stored campaigns."""
        for id_ in self.campaigns.keys() & stored_campaigns.keys():
            contacts, stored = self.campaigns[id_].contacts, stored_campaigns[id_].contacts
            for contact_id in contacts.keys() & stored.keys():
                if contacts[contact_id].row_id is None:
                    contacts[contact_id] = attrs.evolve(
                        contacts[contact_id], row_id=stored[contact_id].row_id
                    )

    def state_of(self, id: UUID) -> ModelCampaign:
        """Return the state of a campaign. Raises :class:`NotFound`."""
        if id not in self.campaigns:
            raise NotFound("campaign", (id,))
        return self.campaigns[id]

    def held(self, claims: Iterable[Claim]) -> list[Claim]:
        """Return the claims that still hold their contact."""
        return [
            claim
            for claim in claims
            if claim.campaign_id in self.campaigns
            and (contact := self.campaigns[claim.campaign_id].contact_of(claim)) is not None
            and contact.token == claim.token
        ]

    def _permitted(self, id: UUID, permission: Permission) -> ModelCampaign:
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
        review: ReviewTally | None = None,
        allow_empty: bool = False,
        reason: str | None = None,
    ) -> Campaign:
        """Move the campaign as the table and its guards allow, and add a history entry."""
        state = self.state_of(id)
        campaign, now = state.campaign, self.clock.now
        if version not in (None, campaign.version):
            raise Conflict("stale_version", "")
        facts = self.facts(id, review=review, allow_empty=allow_empty)
        line = lifecycle.apply(campaign.status, action, facts)
        if lifecycle.nothing_in_flight in line.guards:
            # The contacts of dead workers wait again.
            state.move_contacts(state.expired_ids(now), ContactAction.RELEASE, **NO_CLAIM)
        times: dict[str, Any] = {}
        if action is Action.START_GENERATION:
            times = {"generation_started_at": now, "generation_completed_at": None}
        if action is Action.COMPLETE_GENERATION:
            times = {"generation_completed_at": now}
        state.campaign = attrs.evolve(
            campaign,
            status=line.target,
            is_active=campaign.is_active and not line.deletes,
            version=campaign.version + 1,
            updated_at=now,
            **times,
        )
        state.history += (
            HistoryEntry(
                now, action, line.source, line.target, state.campaign.version, self.actor, reason
            ),
        )
        state.smallest_reserve = ZERO
        state.refresh_legacy_columns()
        return state.campaign

    def get(self, id: UUID) -> Campaign:
        """Return the campaign."""
        return self.state_of(id).campaign

    def clone(self, id: UUID, *, chosen: Campaign) -> Campaign:
        """Add a draft with the same content, a name of its own and no contacts."""
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

    def facts(
        self, id: UUID, *, review: ReviewTally | None = None, allow_empty: bool = False
    ) -> Facts:
        """Return the facts that the guards look at."""
        state = self.state_of(id)
        expired = len(state.expired_ids(self.clock.now))
        budget = state.campaign.generation_config.budget
        return Facts(
            enabled_steps=len(state.campaign.steps.enabled),
            contacts=len(state.contacts) - state.count(ContactStatus.EXCLUDED),
            claimable=state.count(*CLAIMABLE) + expired,
            in_flight=state.count(ContactStatus.GENERATING) - expired,
            generated=state.count(ContactStatus.GENERATED),
            budget_exhausted=(
                budget is not None
                and state.spent + state.reserved + state.smallest_reserve > budget
            ),
            review=review,
            allow_empty=allow_empty,
        )

    def actions(
        self, id: UUID, *, review: ReviewTally | None = None, allow_empty: bool = False
    ) -> tuple[ActionState, ...]:
        """Return every action, with the reason if it is not allowed."""
        facts = self.facts(id, review=review, allow_empty=allow_empty)
        return lifecycle.actions(self.state_of(id).campaign.status, facts)

    # store.contacts

    def assign(self, id: UUID, contacts: Iterable[UUID | tuple[UUID, int]]) -> Assigned:
        """Add contacts with their priorities. The first mention of a contact counts."""
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
        """Remove contacts. Those that were ever claimed stay and are excluded."""
        state = self._permitted(id, Permission.REMOVE_CONTACTS)
        present = [contact_id for contact_id in dict.fromkeys(ids) if contact_id in state.contacts]
        kept = [contact_id for contact_id in present if state.contacts[contact_id].ever_claimed]
        for contact_id in present:
            if contact_id not in kept:
                del state.contacts[contact_id]
        state.move_contacts(kept, ContactAction.EXCLUDE, reserved=ZERO)
        return Removed(len(present) - len(kept), tuple(kept))

    def exclude(self, id: UUID, ids: Iterable[UUID]) -> Changed:
        """Take contacts out of generation and export, in flight or not."""
        state = self._permitted(id, Permission.EXCLUDE_CONTACTS)
        return state.move_contacts(ids, ContactAction.EXCLUDE, reserved=ZERO)

    def include(self, id: UUID, ids: Iterable[UUID]) -> Changed:
        """Bring excluded contacts back. A worker that held one of them has lost it."""
        state = self._permitted(id, Permission.INCLUDE_CONTACTS)
        return state.move_contacts(ids, ContactAction.INCLUDE, **FRESH_START)

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

        A claim that was out can still report its cost once.
        """
        erased = 0
        for state in self.campaigns.values():
            deleted = [
                state.contacts.pop(contact_id)
                for contact_id in set(ids)
                if contact_id in state.contacts
            ]
            for contact in deleted:
                state.erased_cost += contact.cost
                state.erased_unknown_costs += contact.unknown_costs
                if contact.row_id is not None and contact.token is not None:
                    state.erased_claims |= {(contact.row_id, contact.token)}
            if deleted:
                state.refresh_legacy_columns()
            erased += len(deleted)
        return erased

    def exportable(self, id: UUID) -> list[UUID]:
        """Return the contacts to export, in order."""
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
        chosen: tuple[ClaimBatch, frozenset[UUID]],
    ) -> tuple[ClaimBatch, frozenset[UUID]]:
        """Claim waiting contacts as far as the budget goes, then contacts with expired leases.

        A claim that comes up short fails the contacts that are out of attempts. Return the batch
        and all contacts that failed for this reason. ``chosen`` is the
        store's answer of the same form: where several leases expired at the same moment, the store
        chooses among their contacts.
        """
        state = self.state_of(id)
        batch, exhausted_ids = chosen
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
            # 1. Waiting contacts, from the cursor on and then from the start.
            waiting, expired = state.claimable_ids(now, cursor), state.expired_ids(now)
            if self.concurrent:
                waiting, expired = (
                    [one for one in ids if one in chosen_claims] for ids in (waiting, expired)
                )
            granted, amount = state.reserve(limit, reserve)
            claims = state.claim_contacts(waiting, granted, max_attempts, make_claim)
            short_of_money = len(claims) == granted
            # 2. Contacts with expired leases, the earliest first, in the order the store chose.
            expired.sort(key=lambda one: one not in chosen_claims)
            expired.sort(key=lambda one: state.contacts[one].lease_expires_at or now)
            claims += sorted(
                state.claim_contacts(expired, limit - len(claims), max_attempts, make_claim),
                key=lambda claim: list(chosen_claims).index(claim.contact_id),
            )
            # 3. In a short batch: the contacts that are out of attempts, and the reason.
            stop = None
            if len(claims) < limit:
                state.fail_exhausted(now, max_attempts, exhausted_ids if self.concurrent else None)
                stop, retry_at = state.stop_reason(short_of_money=short_of_money)
                if self.concurrent:
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
        return expected, state.exhausted_ids

    def renew(self, claims: Iterable[Claim], lease: timedelta) -> Renewal:
        """Extend the leases of claims that are still held; name those to stop working on."""
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

    def checkpoint(self, claim: Claim, cost: Decimal | None) -> None:
        """Book the cost of a paid call for a held contact and reduce its reservation by it."""
        state = self.state_of(claim.campaign_id)
        contact = state.contact_of(claim)
        if contact is None or contact.token != claim.token:
            raise LeaseLost((claim.id,))
        state.contacts[claim.contact_id] = attrs.evolve(
            contact,
            cost=contact.cost + (cost or 0),
            unknown_costs=contact.unknown_costs + (cost is None),
            reserved=max(ZERO, contact.reserved - (cost or 0)),
        )

    def record(
        self, outcomes: Mapping[Claim, Outcome], *, on_lost: OnLost = "raise"
    ) -> dict[Claim, Recorded]:
        """Record the outcomes of claims. The claim whose token the contact has decides."""
        state = self.state_of(next(iter(outcomes)).campaign_id)
        fingerprint = state.campaign.steps.fingerprint
        answers: dict[Claim, Recorded] = {}
        lost = []
        for claim, outcome in outcomes.items():
            contact = state.contact_of(claim)
            if contact is not None and contact.token == claim.token:
                contact, answers[claim] = contact.after_outcome(
                    claim,
                    outcome,
                    self.clock.now,
                    steps_unchanged=claim.steps_fingerprint == fingerprint,
                )
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
        for claim in lost:
            answers[claim] = Recorded.SKIPPED
            if on_lost == "book" and (claim.id, claim.token) in state.erased_claims:
                answers[claim] = Recorded.BOOKED
                state.erased_claims -= {(claim.id, claim.token)}
                state.erased_cost += outcomes[claim].cost or 0
                state.erased_unknown_costs += outcomes[claim].cost is None
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
        """Return the progress, without the rate."""
        state = self.state_of(id)
        return Progress(
            by_status={status: state.count(status) for status in ContactStatus},
            spent=state.spent,
            reserved=state.reserved,
            unknown_costs=state.unknown_costs,
            budget=state.campaign.generation_config.budget,
        )
