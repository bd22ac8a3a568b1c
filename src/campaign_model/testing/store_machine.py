"""The store as a state machine: any calls in any order, held against the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from campaign_model.campaign import Campaign
from campaign_model.claims import (
    Claim,
    ClaimBatch,
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
from campaign_model.store.generation import ATTEMPTS_EXHAUSTED, OnLost
from campaign_model.testing.model import Model
from campaign_model.testing.side_by_side import LEASE, IsAStrangers, IsLate, SideBySide

__all__ = ["StoreMachine"]

_CENT = Decimal("0.01")
_STEPS = StepSequence(
    (
        Step("linkedin_connect", "Invite", key="invite", extra={"theirs": [1, None]}),
        Step("email", "E-mail", key="email", enabled=False, variant_count=2),
    )
)
_OUTCOMES: tuple[Outcome, ...] = (
    Generated(_CENT),
    Generated(2 * _CENT),
    Generated(None),
    Failed("no_answer", "The model said nothing", _CENT),
    NotReady(("phone",)),
    Unfinished(),
    Unfinished(timedelta(minutes=1), _CENT),
)


def _switched(campaign: Campaign, key: str) -> Campaign:
    step = campaign.steps.by_key(key)
    return attrs.evolve(campaign, steps=campaign.steps.update(key, enabled=not step.enabled))


def _configured(campaign: Campaign, **changes: Any) -> Campaign:
    config = attrs.evolve(campaign.generation_config, **changes)
    return attrs.evolve(campaign, generation_config=config)


_EDITS: Mapping[str, Callable[[Campaign], Campaign]] = {
    "nothing": lambda campaign: campaign,
    "name": lambda campaign: attrs.evolve(campaign, name=campaign.name.swapcase()),
    "invite": lambda campaign: _switched(campaign, "invite"),
    "email": lambda campaign: _switched(campaign, "email"),
    "order": lambda campaign: attrs.evolve(campaign, steps=campaign.steps.move("email", 1)),
    "tone": lambda campaign: _configured(campaign, tone="casual", extra={"theirs": {"a": 1.5}}),
    "budget": lambda campaign: _configured(
        campaign, budget=2 * _CENT + (campaign.generation_config.budget or 0)
    ),
}

_Look = tuple[Callable[[CampaignStore, UUID], Any], Callable[[Model, UUID], Any]]

_LOOKS: Mapping[str, _Look] = {
    "get": (lambda store, id_: store.campaigns.get(id_), lambda model, id_: model.get(id_)),
    "history": (
        lambda store, id_: store.campaigns.history(id_),
        lambda model, id_: model.kept(id_).history,
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
            one.id: (
                one.status,
                one.total_contacts,
                one.generated_count,
                one.generation_cost,
                one.unknown_costs,
            )
            for one in store.campaigns.list(deleted=True).items
        },
        lambda model, _: {
            id_: (
                model.get(id_).status,
                model.progress(id_).total,
                kept.number(ContactStatus.GENERATED),
                kept.spent,
                model.progress(id_).unknown_costs,
            )
            for id_, kept in model.campaigns.items()
        },
    ),
    "contacts": (
        lambda store, id_: [one.contact_id for one in store.contacts.list(id_).items],
        lambda model, id_: [one for one, _ in model.kept(id_).in_order(*ContactStatus)],
    ),
    "exportable": (
        lambda store, id_: [one.contact_id for one in store.contacts.exportable(id_)],
        lambda model, id_: model.exportable(id_),
    ),
}

_ROAD: Mapping[Status, Action] = {
    Status.DRAFT: Action.MARK_READY,
    Status.READY: Action.START_GENERATION,
    Status.GENERATING: Action.COMPLETE_GENERATION,
    Status.REVIEW: Action.APPROVE,
    Status.APPROVED: Action.EXPORT,
}

_places = st.sampled_from([0, 0, 0, 1, 2])
_backs = st.sampled_from([0, 0, 1, 2, 3, 5, 8])
_people = st.lists(st.integers(0, 4), min_size=1, max_size=2)
_budgets = st.sampled_from([None, 2 * _CENT, 5 * _CENT])
_tallies = st.sampled_from([None, ReviewTally(1, 0, 0), ReviewTally(0, 1, 0), ReviewTally(1, 0, 1)])


class StoreMachine(SideBySide):
    """The store, and whatever befalls it, held against a model that goes by the tables.

    A rule makes a call of the store and the same call of the model: the answers have to be the
    same, and then all that the database holds. Claims that were lost long ago are reported on,
    campaigns that were read long ago are saved, clicks come twice, and to any call may happen
    what :class:`SideBySide` knows: a rollback, a death, somebody else in between.

    Say with :meth:`on`, or as attributes of a subclass, where it runs: an ``engine`` (PostgreSQL,
    or SQLite in a file), a ``tenant_id``, four ``contact_ids`` of that tenant and, if need be,
    further ``options`` of ``CampaignStore``. It commits, and after every example it deletes the
    campaigns of the tenant: give it a tenant of its own. It refuses one that has campaigns.

    What is drawn never depends on what the store did: a rule that finds nothing to do does
    nothing. So an example means the same whenever it is run again.

    Add rules and invariants of your own: :meth:`both` and :meth:`call` make calls, ``model`` is
    what the store has to hold, ``reading()`` a connection to look.
    """

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[Claim] = []
        """Every claim that a worker was ever given, though it may be lost since."""

    def campaign_id(self, place: int, status: Status | None = None) -> UUID:
        """Some campaign, in that status if there is one."""
        ids = list(self.model.campaigns)
        preferred = [one for one in ids if self.model.get(one).status is status] or ids
        return preferred[place % len(preferred)]

    def contact(self, place: int) -> UUID:
        """Some contact, known to the tenant or not."""
        return self.contact_ids[place] if place < len(self.contact_ids) else UUID(int=place)

    def people(self, places: Sequence[int]) -> list[UUID]:
        """Some contacts."""
        return [self.contact(place) for place in places]

    @initialize(budget=_budgets, moves=st.sampled_from([2, 2, 2, 1, 0]), claims=st.integers(0, 3))
    def there_is_a_campaign(self, budget: Decimal | None, moves: int, claims: int) -> None:
        """With contacts, and perhaps on its way already."""
        self.add(budget)
        self.assign(0, [0, 1, 2, 3], 0)
        for _ in range(moves):
            self.go_on(0)
        if claims:
            self.claim(0, claims, LEASE, _CENT, 5)

    @precondition(lambda self: len(self.model.campaigns) < 2)
    @precondition(lambda self: not isinstance(self._next, IsAStrangers))  # There is no such tenant.
    @rule(budget=_budgets)
    def add(self, budget: Decimal | None) -> None:
        """A new draft."""
        config = GenerationConfig(budget=budget)
        self.both("campaigns.add", Campaign("Campaign", _STEPS, config))

    @precondition(lambda self: len(self.model.campaigns) < 3)
    @rule(place=_places)
    def clone(self, place: int) -> None:
        """A copy."""
        id_ = self.campaign_id(place)
        self.call(
            lambda store: store.campaigns.clone(id_),
            lambda model, chose: model.clone(id_, chose=chose),
        )

    @rule(back=_backs, edit=st.sampled_from(list(_EDITS)))
    def save(self, back: int, edit: str) -> None:
        """Somebody saves what was read before, which may be stale."""
        campaign = self.seen[-1 - back % len(self.seen)]
        self.both("campaigns.save", _EDITS[edit](campaign))

    @rule(place=_places)
    def go_on(self, place: int) -> None:
        """A campaign takes the next step of the road to its export."""
        id_ = self.campaign_id(place)
        action = _ROAD.get(self.model.get(id_).status, Action.ARCHIVE)
        self.both("campaigns.apply", id_, action, review=ReviewTally(1, 0, 0))

    @rule(back=_backs, which=st.integers(0, 2), review=_tallies, careful=st.booleans())
    def apply(self, back: int, which: int, review: ReviewTally | None, *, careful: bool) -> None:
        """Somebody clicks on a button of an old page, perhaps."""
        seen = self.seen[-1 - back % len(self.seen)]
        lines = [line.action for line in TRANSITIONS if line.source is seen.status] or [*Action]
        self.both(
            "campaigns.apply",
            seen.id,
            lines[which % len(lines)],
            version=seen.version if careful else None,
            review=review,
            allow_empty=careful,
            reason="a click",
        )

    @precondition(lambda self: not isinstance(self._next, IsLate))  # Nothing is locked for it.
    @rule(place=_places, what=st.sampled_from(list(_LOOKS)))
    def look(self, place: int, what: str) -> None:
        """Somebody only reads."""
        id_ = self.campaign_id(place)
        of_store, of_model = _LOOKS[what]
        self.call(lambda store: of_store(store, id_), lambda model, _: of_model(model, id_))

    # Contacts.

    @rule(place=_places, who=_people, priority=st.integers(-1, 1))
    def assign(self, place: int, who: list[int], priority: int) -> None:
        """Contacts come."""
        contacts = [(one, priority) for one in self.people(who)]
        self.both("contacts.assign", self.campaign_id(place), contacts)

    @rule(
        place=_places,
        who=_people,
        call=st.sampled_from(["exclude", "exclude", "include", "remove"]),
    )
    def sort_out(self, place: int, who: list[int], call: str) -> None:
        """Contacts are not to be written to, though a worker may be at it; or they are, again."""
        self.both(f"contacts.{call}", self.campaign_id(place), self.people(who))

    @rule(place=_places, who=_people, gaps=st.sampled_from([(), (), ("phone",)]))
    def set_readiness(self, place: int, who: list[int], gaps: tuple[str, ...]) -> None:
        """It is known what contacts lack."""
        known = dict.fromkeys(self.people(who), gaps)
        self.both("contacts.set_readiness", self.campaign_id(place), known)

    @rule(who=st.sampled_from([0, 1, 4]))  # Some stay, or soon there were nobody to claim.
    def erase(self, who: int) -> None:
        """A contact is forgotten everywhere."""
        self.both("contacts.erase", [self.contact(who)])

    # Generation.

    @rule(
        place=_places,
        limit=st.integers(1, 3),
        lease=st.sampled_from([LEASE, 2 * LEASE]),
        reserve=st.sampled_from([_CENT, _CENT / 2]),
        max_attempts=st.sampled_from([5, 2]),
    )
    def claim(
        self, place: int, limit: int, lease: timedelta, reserve: Decimal, max_attempts: int
    ) -> None:
        """A worker comes."""
        id_ = self.campaign_id(place, Status.GENERATING)
        options: dict[str, Any] = {"reserve": reserve, "max_attempts": max_attempts}

        def of_store(store: CampaignStore) -> tuple[ClaimBatch, frozenset[UUID]]:
            batch = store.generation.claim(id_, limit, lease, **options)
            self.claims += batch.claims
            failed = store.contacts.list(id_, status=ContactStatus.FAILED).items
            given_up = (one for one in failed if one.error_code == ATTEMPTS_EXHAUSTED)
            return batch, frozenset(one.contact_id for one in given_up)

        self.call(
            of_store,
            lambda model, chose: model.claim(id_, limit, lease, **options, chose=chose),
        )

    @rule(place=_places, limit=st.integers(1, 3))
    def take_over(self, place: int, limit: int) -> None:
        """All workers die, and later another one comes."""
        self.time_passes(2 * LEASE)
        self.claim(place, limit, LEASE, _CENT, 2)

    def claims_from(self, backs: Iterable[int]) -> list[Claim]:
        """Claims given out some time ago, if there were any, in the campaign of the first."""
        claims = [self.claims[-1 - back % len(self.claims)] for back in backs if self.claims]
        return [one for one in claims if one.campaign_id == claims[0].campaign_id]

    @rule(place=_places, outcome=st.sampled_from(_OUTCOMES))
    def record(self, place: int, outcome: Outcome) -> None:
        """A worker reports on what it holds."""
        held = self.model.held(self.claims)
        if held:
            self.both("generation.record", {held[place % len(held)]: outcome})

    @rule(
        outcomes=st.dictionaries(_backs, st.sampled_from(_OUTCOMES), min_size=1, max_size=3),
        on_lost=st.sampled_from(["raise", "skip", "book"]),
    )
    def record_any(self, outcomes: dict[int, Outcome], on_lost: OnLost) -> None:
        """A worker reports: in time or not, once or again."""
        report = dict(zip(self.claims_from(outcomes), outcomes.values(), strict=False))
        if report:
            self.both("generation.record", report, on_lost=on_lost)

    @rule(back=_backs, cost=st.sampled_from([_CENT / 2, None, 2 * _CENT]))
    def checkpoint(self, back: int, cost: Decimal | None) -> None:
        """A worker has paid, and goes on."""
        for claim in self.claims_from([back]):
            self.both("generation.checkpoint", claim, cost)

    @rule(backs=st.lists(_backs, min_size=1, max_size=3))
    def renew(self, backs: list[int]) -> None:
        """A worker takes long."""
        claims = self.claims_from(backs)
        if claims:
            self.both("generation.renew", claims, LEASE)

    @rule(place=_places, who=st.none() | _people)
    def retry_failed(self, place: int, who: list[int] | None) -> None:
        """Failed contacts get another chance."""
        ids = None if who is None else self.people(who)
        self.both("generation.retry_failed", self.campaign_id(place), ids)

    @rule(place=_places, who=st.none() | _people, only_stale=st.booleans())
    def regenerate(self, place: int, who: list[int] | None, *, only_stale: bool) -> None:
        """Generated contacts are to get other messages."""
        ids = None if who is None else self.people(who)
        self.both("generation.regenerate", self.campaign_id(place), ids, only_stale=only_stale)
