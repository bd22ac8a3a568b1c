"""The store as a state machine: Hypothesis makes any calls in any order, and the model checks them.

:class:`StoreMachine` tests the store's promises to one tenant, on any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from campaign_model.campaign import Campaign, CampaignSummary
from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Cursor,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Unfinished,
)
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import TRANSITIONS, Action, ContactStatus, ReviewTally, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.generation import OnLost
from campaign_model.store.statements import ATTEMPTS_EXHAUSTED
from campaign_model.store.tables import campaign_contacts
from campaign_model.testing.comparison_machine import ComparisonMachine
from campaign_model.testing.interference import OtherTenant, Overlap
from campaign_model.testing.model import Model
from campaign_model.testing.model_state import ModelCampaign
from campaign_model.testing.sample_campaigns import CENT, LEASE

__all__ = ["StoreMachine"]

_STEPS = StepSequence(
    (
        Step("linkedin_connect", "Invite", key="invite", extra={"theirs": [1, None]}),
        Step("email", "E-mail", key="email", enabled=False, variant_count=2),
    )
)
_OUTCOMES: tuple[Outcome, ...] = (
    Generated(CENT),
    Generated(2 * CENT),
    Generated(None),
    Failed("no_answer", "The language model gave no answer", CENT),
    NotReady(("phone",)),
    Unfinished(),
    Unfinished(timedelta(minutes=1), CENT),
)


def _toggle_step(campaign: Campaign, key: str) -> Campaign:
    step = campaign.steps.by_key(key)
    return attrs.evolve(campaign, steps=campaign.steps.update(key, enabled=not step.enabled))


def _change_config(campaign: Campaign, **changes: Any) -> Campaign:
    config = attrs.evolve(campaign.generation_config, **changes)
    return attrs.evolve(campaign, generation_config=config)


_EDITS: Mapping[str, Callable[[Campaign], Campaign]] = {
    "nothing": lambda campaign: campaign,
    "name": lambda campaign: attrs.evolve(campaign, name=campaign.name.swapcase()),
    "invite": lambda campaign: _toggle_step(campaign, "invite"),
    "email": lambda campaign: _toggle_step(campaign, "email"),
    "order": lambda campaign: attrs.evolve(campaign, steps=campaign.steps.move("email", 1)),
    "tone": lambda campaign: _change_config(campaign, tone="casual", extra={"theirs": {"a": 1.5}}),
    "budget": lambda campaign: _change_config(
        campaign, budget=2 * CENT + (campaign.generation_config.budget or 0)
    ),
}


def _summary(campaign: CampaignSummary) -> tuple[Any, ...]:
    """Return the fields of a list entry that the model knows."""
    return (
        campaign.status,
        campaign.total_contacts,
        campaign.generated_count,
        campaign.generation_cost,
        campaign.unknown_costs,
    )


def _model_summary(state: ModelCampaign) -> tuple[Any, ...]:
    """Return the same fields, computed by the model."""
    total = len(state.contacts) - state.count(ContactStatus.EXCLUDED)
    generated = state.count(ContactStatus.GENERATED)
    return (state.campaign.status, total, generated, state.spent, state.unknown_costs)


_Read = tuple[Callable[[CampaignStore, UUID], Any], Callable[[Model, UUID], Any]]

_READS: Mapping[str, _Read] = {
    "get": (lambda store, id_: store.campaigns.get(id_), lambda model, id_: model.get(id_)),
    "history": (
        lambda store, id_: store.campaigns.history(id_),
        lambda model, id_: model.state_of(id_).history,
    ),
    "actions": (
        lambda store, id_: store.campaigns.actions(id_),
        lambda model, id_: model.actions(id_),
    ),
    "progress": (
        lambda store, id_: attrs.evolve(
            store.generation.progress(id_), per_second=None, seconds_left=None
        ),
        lambda model, id_: model.progress(id_),
    ),
    "list": (
        lambda store, _: {
            campaign.id: _summary(campaign) for campaign in store.campaigns.list(deleted=True).items
        },
        lambda model, _: {id_: _model_summary(state) for id_, state in model.campaigns.items()},
    ),
    "contacts": (
        lambda store, id_: [contact.contact_id for contact in store.contacts.list(id_).items],
        lambda model, id_: [one for one, _ in model.state_of(id_).by_rank(*ContactStatus)],
    ),
    "exportable": (
        lambda store, id_: [contact.contact_id for contact in store.contacts.exportable(id_)],
        lambda model, id_: model.exportable(id_),
    ),
}
"""Methods that only read: how to call the store's method, and how to get the model's answer."""

_NEXT_ACTION: Mapping[Status, Action] = {
    Status.DRAFT: Action.MARK_READY,
    Status.READY: Action.START_GENERATION,
    Status.GENERATING: Action.COMPLETE_GENERATION,
    Status.REVIEW: Action.APPROVE,
    Status.APPROVED: Action.EXPORT,
}

_indexes = st.sampled_from([0, 0, 0, 1, 2])
_ages = st.sampled_from([0, 0, 1, 2, 3, 5, 8])
_contacts = st.lists(st.integers(0, 4), min_size=1, max_size=2)
_budgets = st.sampled_from([None, 2 * CENT, 5 * CENT])
_tallies = st.sampled_from([None, ReviewTally(1, 0, 0), ReviewTally(0, 1, 0), ReviewTally(1, 0, 1)])


class StoreMachine(ComparisonMachine):
    """Any calls of the store in any order, compared with the model.

    A rule makes one call of the store and the same call of the model. The two answers must be
    equal, and the database must have the campaigns that the model has. The calls include those
    that go wrong in practice: workers record outcomes of claims that they lost long ago, users save
    campaigns that they loaded long ago, and any call may crash, overlap with other calls or come
    from another tenant (see :mod:`campaign_model.testing.interference`).

    :meth:`on` (or attributes of a subclass) says where the machine runs: an ``engine`` (PostgreSQL,
    or SQLite in a file), a ``tenant_id``, four ``contact_ids`` of that tenant, and further
    ``options`` of ``CampaignStore``. The machine commits, and after every example it deletes the
    campaigns of the tenant. Give it a tenant of its own: it refuses one that has campaigns.

    What Hypothesis draws never depends on what the store did: a rule that finds nothing to do does
    nothing. Therefore a failing example fails in the same way when Hypothesis repeats it.

    Add rules and invariants in a subclass: :meth:`both` and :meth:`call` make calls, ``model`` is
    what the store must contain, ``reading()`` opens a connection for your own queries.

    Rules choose objects by drawn numbers. ``index`` counts campaigns from the first one. ``age``
    counts backwards from the latest claim, cursor or returned campaign, which has age 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[Claim] = []
        """Every claim that a worker ever got, oldest first, including lost ones."""
        self.cursors: list[Cursor] = []
        """The cursor of every batch, oldest first."""

    def campaign_id(self, index: int, status: Status | None = None) -> UUID:
        """Choose a campaign: one in ``status`` if there is any, otherwise any campaign."""
        ids = list(self.model.campaigns)
        in_status = [id_ for id_ in ids if self.model.get(id_).status is status]
        candidates = in_status or ids
        return candidates[index % len(candidates)]

    def contact(self, index: int) -> UUID:
        """Choose one of the tenant's contacts. An index beyond their number gives an unknown id."""
        return self.contact_ids[index] if index < len(self.contact_ids) else UUID(int=index)

    def earlier_claims(self, ages: Iterable[int]) -> list[Claim]:
        """Choose the claims with these ages. Keep only those of the first one's campaign."""
        claims = [self.claims[-1 - age % len(self.claims)] for age in ages if self.claims]
        return [claim for claim in claims if claim.campaign_id == claims[0].campaign_id]

    # Campaigns.

    @initialize(budget=_budgets, moves=st.sampled_from([2, 2, 2, 1, 0]), claims=st.integers(0, 3))
    def set_up_campaign(self, budget: Decimal | None, moves: int, claims: int) -> None:
        """Add a campaign with four contacts, advance its status, and claim some contacts."""
        self.add_campaign(budget)
        self.assign(0, [0, 1, 2, 3], 0)
        for _ in range(moves):
            self.move_on(0)
        if claims:
            self.claim(0, claims)

    @precondition(lambda self: len(self.model.campaigns) < 2)
    # A foreign key refuses a campaign of a tenant that does not exist.
    @precondition(lambda self: not isinstance(self._interference, OtherTenant))
    @rule(budget=_budgets)
    def add_campaign(self, budget: Decimal | None) -> None:
        """Add a draft."""
        config = GenerationConfig(budget=budget)
        self.both("campaigns.add", Campaign("Campaign", _STEPS, config))

    @precondition(lambda self: len(self.model.campaigns) < 3)
    @rule(index=_indexes)
    def clone(self, index: int) -> None:
        """Clone a campaign."""
        id_ = self.campaign_id(index)
        self.call(
            lambda store: store.campaigns.clone(id_),
            lambda model, chosen: model.clone(id_, chosen=chosen),
            name="campaigns.clone",
        )

    @rule(age=_ages, edit=st.sampled_from(list(_EDITS)))
    def save(self, age: int, edit: str) -> None:
        """Edit and save a campaign that was loaded some time ago. It may be stale."""
        campaign = self.returned_campaigns[-1 - age % len(self.returned_campaigns)]
        self.both("campaigns.save", _EDITS[edit](campaign))

    @rule(index=_indexes)
    def move_on(self, index: int) -> None:
        """Move a campaign to the next status on its way to export."""
        id_ = self.campaign_id(index)
        action = _NEXT_ACTION.get(self.model.get(id_).status, Action.ARCHIVE)
        review = ReviewTally(1, 0, 0)
        self.both("campaigns.apply", id_, action, review=review, allow_partial=True)

    @rule(
        age=_ages,
        action=st.integers(0, 2),
        review=_tallies,
        careful=st.booleans(),
        partial=st.booleans(),
    )
    def apply(
        self, age: int, action: int, review: ReviewTally | None, *, careful: bool, partial: bool
    ) -> None:
        """Apply an action that was allowed when the campaign was loaded some time ago.

        A ``careful`` call passes the version of that campaign.
        """
        campaign = self.returned_campaigns[-1 - age % len(self.returned_campaigns)]
        actions = [one.action for one in TRANSITIONS if one.source is campaign.status] or [*Action]
        self.both(
            "campaigns.apply",
            campaign.id,
            actions[action % len(actions)],
            version=campaign.version if careful else None,
            review=review,
            allow_empty=careful,
            allow_partial=partial,
            reason="a click",
        )

    # A call that only reads never waits for a lock, so it takes no part in an overlap.
    @precondition(lambda self: not isinstance(self._interference, Overlap))
    @rule(index=_indexes, method=st.sampled_from(list(_READS)))
    def read(self, index: int, method: str) -> None:
        """Call a method that only reads."""
        id_ = self.campaign_id(index)
        on_store, on_model = _READS[method]
        self.call(
            lambda store: on_store(store, id_), lambda model, _: on_model(model, id_), name=method
        )

    # Contacts.

    @rule(index=_indexes, contacts=_contacts, priority=st.integers(-1, 1))
    def assign(self, index: int, contacts: list[int], priority: int) -> None:
        """Assign contacts to a campaign."""
        pairs = [(self.contact(number), priority) for number in contacts]
        self.both("contacts.assign", self.campaign_id(index), pairs)

    @rule(
        index=_indexes,
        contacts=_contacts,
        method=st.sampled_from(["exclude", "exclude", "include", "remove"]),
    )
    def change_contacts(self, index: int, contacts: list[int], method: str) -> None:
        """Exclude, include or remove contacts, even if a worker holds them."""
        ids = [self.contact(number) for number in contacts]
        self.both(f"contacts.{method}", self.campaign_id(index), ids)

    @rule(index=_indexes, contacts=_contacts, gaps=st.sampled_from([(), (), ("phone",)]))
    def set_readiness(self, index: int, contacts: list[int], gaps: tuple[str, ...]) -> None:
        """Write the gaps of contacts."""
        by_contact = dict.fromkeys([self.contact(number) for number in contacts], gaps)
        self.both("contacts.set_readiness", self.campaign_id(index), by_contact)

    # Two contacts are never erased, so that contacts to claim remain.
    @rule(contact=st.sampled_from([0, 1, 4]))
    def erase(self, contact: int) -> None:
        """Erase a contact from every campaign."""
        self.both("contacts.erase", [self.contact(contact)])

    # Generation.

    @rule(
        index=_indexes,
        limit=st.integers(1, 3),
        lease=st.sampled_from([LEASE, 2 * LEASE]),
        reserve=st.sampled_from([CENT, CENT / 2]),
        max_attempts=st.sampled_from([5, 2]),
        cursor_age=st.none() | _ages,
    )
    def claim(
        self,
        index: int,
        limit: int,
        lease: timedelta = LEASE,
        reserve: Decimal = CENT,
        max_attempts: int = 5,
        cursor_age: int | None = None,
    ) -> None:
        """Claim contacts: from the start, or from the cursor of an earlier batch."""
        id_ = self.campaign_id(index, Status.GENERATING)
        cursor = Cursor()
        if self.cursors and cursor_age is not None:
            cursor = self.cursors[-1 - cursor_age % len(self.cursors)]
        options: dict[str, Any] = {
            "reserve": reserve,
            "max_attempts": max_attempts,
            "cursor": cursor,
        }

        def claim_and_look(
            store: CampaignStore,
        ) -> tuple[ClaimBatch, frozenset[UUID], frozenset[UUID]]:
            """Claim, and see which contacts the claim has failed and which reservations it ended.

            Return the batch, the ids of the contacts that failed without an attempt left, and the
            ids of excluded contacts without a reservation, which no method of the store shows.
            """
            batch = store.generation.claim(id_, limit, lease, **options)
            self.claims += batch.claims
            self.cursors.append(batch.cursor)
            failed = store.contacts.list(id_, status=ContactStatus.FAILED).items
            exhausted = (one for one in failed if one.error_code == ATTEMPTS_EXHAUSTED)
            unreserved = store.connection.scalars(
                sa.select(campaign_contacts.c.contact_id).where(
                    campaign_contacts.c.tenant_id == store.tenant_id,
                    campaign_contacts.c.campaign_id == id_,
                    campaign_contacts.c.status == ContactStatus.EXCLUDED.value,
                    campaign_contacts.c.reserved == 0,
                )
            )
            return (
                batch,
                frozenset(contact.contact_id for contact in exhausted),
                frozenset(unreserved),
            )

        self.call(
            claim_and_look,
            lambda model, chosen: model.claim(id_, limit, lease, **options, chosen=chosen),
            name="generation.claim",
        )

    @rule(index=_indexes, limit=st.integers(1, 3))
    def take_over(self, index: int, limit: int) -> None:
        """Let all leases expire, then claim."""
        self.time_passes(2 * LEASE)
        self.claim(index, limit, max_attempts=2)

    @rule(index=_indexes, outcome=st.sampled_from(_OUTCOMES))
    def record_held(self, index: int, outcome: Outcome) -> None:
        """Record an outcome of a claim that still holds its contact."""
        held = self.model.held(self.claims)
        if held:
            self.both("generation.record", {held[index % len(held)]: outcome})

    @rule(
        outcomes=st.dictionaries(_ages, st.sampled_from(_OUTCOMES), min_size=1, max_size=3),
        on_lost=st.sampled_from(["raise", "skip", "book"]),
    )
    def record(self, outcomes: dict[int, Outcome], on_lost: OnLost) -> None:
        """Record outcomes of claims that may be lost or may already have an outcome."""
        claims = self.earlier_claims(outcomes)
        if claims:
            by_claim = dict(zip(claims, outcomes.values(), strict=False))
            self.both("generation.record", by_claim, on_lost=on_lost)

    @rule(
        age=_ages,
        cost=st.sampled_from([CENT / 2, None, 2 * CENT]),
        call=st.none() | st.integers(1, 3),
    )
    def checkpoint(self, age: int, cost: Decimal | None, call: int | None = None) -> None:
        """Book the cost of a paid call for a claim that may be lost, perhaps once more."""
        call_id = None if call is None else UUID(int=call)
        for claim in self.earlier_claims([age]):
            self.both("generation.checkpoint", claim, cost, call_id=call_id)

    @rule(ages=st.lists(_ages, min_size=1, max_size=3))
    def renew(self, ages: list[int]) -> None:
        """Renew the leases of claims that may be lost."""
        claims = self.earlier_claims(ages)
        if claims:
            self.both("generation.renew", claims, LEASE)

    @rule(ages=st.lists(_ages, min_size=1, max_size=3))
    def release(self, ages: list[int]) -> None:
        """Give back claims that may be lost."""
        claims = self.earlier_claims(ages)
        if claims:
            self.both("generation.release", claims)

    @rule(index=_indexes, contacts=st.none() | _contacts)
    def retry_failed(self, index: int, contacts: list[int] | None) -> None:
        """Put failed contacts back to wait: all, or some."""
        ids = None if contacts is None else [self.contact(number) for number in contacts]
        self.both("generation.retry_failed", self.campaign_id(index), ids)

    @rule(index=_indexes, contacts=st.none() | _contacts, only_stale=st.booleans())
    def regenerate(self, index: int, contacts: list[int] | None, *, only_stale: bool) -> None:
        """Put generated contacts back to wait with a new revision: all, or some."""
        ids = None if contacts is None else [self.contact(number) for number in contacts]
        self.both("generation.regenerate", self.campaign_id(index), ids, only_stale=only_stale)
