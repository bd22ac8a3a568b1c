"""Sample campaigns in any status, made with the store's own methods.

:func:`make_campaign` makes a campaign in a store. The fixture ``campaign_factory`` returns a
:class:`CampaignFactory`, the fixture ``campaign_tenant`` a :class:`Tenant`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model.campaign import Campaign, CampaignContact
from campaign_model.claims import Claim, Failed, Generated, Outcome, Progress, Recorded
from campaign_model.db import HostTables, MinimalHost
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action, ReviewTally, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.store.connection import Clock, database_time
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.totals_check import find_wrong_totals

__all__ = [
    "CENT",
    "LEASE",
    "STEPS",
    "CampaignFactory",
    "Tenant",
    "add_minimal_contacts",
    "add_minimal_tenant",
    "make_campaign",
]

Result = TypeVar("Result")

CENT = Decimal("0.01")
LEASE = timedelta(minutes=5)
STEPS = StepSequence(
    (
        Step("linkedin_connect", "Invite", day_offset=0),
        Step("email", "E-mail 1", day_offset=2, variant_count=2),
        Step("email", "E-mail 2", enabled=False, day_offset=5),
    )
)
"""Three steps: an enabled one, an enabled one with two variants, and a disabled one."""

_TO_GENERATING = (Action.MARK_READY, Action.START_GENERATION)
_FROM_DRAFT: dict[Status, tuple[Action, ...]] = {
    Status.DRAFT: (),
    Status.READY: (Action.MARK_READY,),
    Status.GENERATING: _TO_GENERATING,
}
"""The actions from draft to the statuses that need no generated contact."""

_TO_EXPORTED = (Action.COMPLETE_GENERATION, Action.APPROVE, Action.EXPORT)
_FROM_GENERATING: dict[Status, tuple[Action, ...]] = {
    Status.DRAFT: (Action.CANCEL_GENERATION, Action.RETURN_TO_DRAFT),
    Status.READY: (Action.CANCEL_GENERATION,),
    Status.GENERATING: (),
    Status.REVIEW: (Action.COMPLETE_GENERATION,),
    Status.APPROVED: (Action.COMPLETE_GENERATION, Action.APPROVE),
    Status.EXPORTED: _TO_EXPORTED,
    Status.ARCHIVED: (*_TO_EXPORTED, Action.ARCHIVE),
}
"""The actions from generating to every status."""

_minimal_host = cache(MinimalHost)


def make_campaign(
    store: CampaignStore,
    contacts: Iterable[UUID],
    status: Status | str = Status.DRAFT,
    *,
    generated: int | None = None,
    failed: int = 0,
    cost: Decimal = CENT,
    budget: Decimal | None = None,
    steps: StepSequence = STEPS,
    **fields: Any,
) -> Campaign:
    """Add a campaign, assign the host's ``contacts`` to it and move it to ``status``.

    ``failed`` is the number of contacts that fail, ``generated`` the number of contacts that get
    their messages, and ``cost`` the cost of each of these contacts. If ``generated`` is ``None``,
    no contact gets messages in draft, ready and generating; in later statuses all contacts that do
    not fail get them. The status ``archived`` means an exported campaign that was archived, not a
    deleted draft. ``fields`` are other fields of :class:`Campaign`, such as ``name``. Raises
    ``ValueError`` if there are fewer contacts than ``generated`` and ``failed`` need, and the
    errors of the store.
    """
    # 1. Check the numbers.
    status, ids = Status(status), [*contacts]
    if generated is None:
        generated = 0 if status in _FROM_DRAFT else len(ids) - failed
    if min(generated, failed) < 0 or generated + failed > len(ids):
        raise ValueError(
            f"cannot have {generated} generated and {failed} failed contacts of {len(ids)} contacts"
        )
    # 2. Add a draft with contacts. If no contact needs an outcome, only move it.
    campaign = store.campaigns.add(
        Campaign(
            **{
                "name": "Campaign",
                "steps": steps,
                "generation_config": GenerationConfig(tone="casual", budget=budget),
                **fields,
            }
        )
    )
    store.contacts.assign(campaign.id, ids)
    if not generated and not failed and status in _FROM_DRAFT:
        return _apply(store, campaign, _FROM_DRAFT[status])
    # 3. Generate, and move the campaign on from generating.
    _apply(store, campaign, _TO_GENERATING)
    if generated + failed:
        batch = store.generation.claim(campaign.id, generated + failed, LEASE, reserve=cost)
        failure = Failed("test_failure", "failed because a test wanted it to", cost)
        store.generation.record(
            {
                claim: failure if index < failed else Generated(cost)
                for index, claim in enumerate(batch.claims)
            }
        )
    actions = _FROM_GENERATING[status]
    if Action.COMPLETE_GENERATION in actions and generated + failed < len(ids):
        # Generation with waiting contacts cannot be completed, so cancel it instead.
        _, *later_actions = actions
        actions = (Action.CANCEL_GENERATION, Action.SUBMIT_FOR_REVIEW, *later_actions)
    return _apply(store, campaign, actions)


def _apply(store: CampaignStore, campaign: Campaign, actions: Iterable[Action]) -> Campaign:
    """Apply the actions one after the other and return the campaign."""
    for action in actions:
        review = ReviewTally(approved=1, rejected=0, undecided=0)
        store.campaigns.apply(campaign.id, action, review=review, allow_partial=True)
    return store.campaigns.get(campaign.id)


def add_minimal_tenant(connection: sa.Connection, host: HostTables) -> UUID:
    """Add a tenant to the library's minimal host tables and return its id."""
    tenant_id = uuid4()
    connection.execute(
        sa.insert(_minimal_host(host).tenants).values(id=tenant_id, name=f"Tenant {tenant_id}")
    )
    return tenant_id


def add_minimal_contacts(
    connection: sa.Connection, host: HostTables, tenant_id: UUID, number: int
) -> list[UUID]:
    """Add contacts to the library's minimal host tables and return their ids."""
    rows = [{"id": uuid4(), "tenant_id": tenant_id} for _ in range(number)]
    if rows:
        connection.execute(sa.insert(_minimal_host(host).contacts), rows)
    return [row["id"] for row in rows]


@attrs.frozen
class Tenant:
    """One tenant in one database, for tests of code that opens its own transactions.

    ``contacts(number)`` returns the ids of this many contacts in the host's table. The fixture
    ``campaign_tenant`` adds new contacts at every call. Every method runs in a transaction of its
    own. Its argument ``clock`` replaces the database's clock for this call.
    """

    engine: sa.Engine
    id: UUID
    contacts: Callable[[int], list[UUID]] = attrs.field(repr=False)
    host: HostTables = attrs.field(factory=HostTables)

    def transact(self, work: Callable[[CampaignStore], Result], **options: Any) -> Result:
        """Run ``work(store)``, commit and return its answer.

        ``options`` are those of :func:`campaign_model.store.transact`.
        """
        return transact(self.engine, self.id, work, **{"host": self.host, **options})

    def campaign(
        self,
        status: Status | str = Status.DRAFT,
        *,
        contacts: int | Iterable[UUID] = 3,
        **options: Any,
    ) -> Campaign:
        """Make a campaign with a number of contacts, or with the contacts of these ids.

        ``options`` are those of :func:`make_campaign`.
        """
        ids = self.contacts(contacts) if isinstance(contacts, int) else contacts
        return self.transact(lambda store: make_campaign(store, ids, status, **options))

    def apply(
        self, campaign_id: UUID, *actions: Action, clock: Clock = database_time, **options: Any
    ) -> Campaign:
        """Apply the actions, each in a transaction of its own, and return the campaign.

        ``options`` are those of ``campaigns.apply``.
        """

        def apply_one(action: Action) -> Campaign:
            return self.transact(
                lambda store: store.campaigns.apply(campaign_id, action, **options), clock=clock
            )

        campaigns = [apply_one(action) for action in actions]
        if campaigns:
            return campaigns[-1]
        return self.transact(lambda store: store.campaigns.get(campaign_id))

    def claim(
        self,
        campaign_id: UUID,
        limit: int = 100,
        lease: timedelta = LEASE,
        *,
        clock: Clock = database_time,
        **options: Any,
    ) -> tuple[Claim, ...]:
        """Claim contacts and return the claims. ``options`` are those of ``generation.claim``."""
        batch = self.transact(
            lambda store: store.generation.claim(campaign_id, limit, lease, **options), clock=clock
        )
        return batch.claims

    def record(
        self, outcomes: Mapping[Claim, Outcome], *, clock: Clock = database_time, **options: Any
    ) -> dict[Claim, Recorded]:
        """Record outcomes, return the answers. ``options`` are those of ``generation.record``."""
        return self.transact(
            lambda store: store.generation.record(outcomes, **options), clock=clock
        )

    def progress(self, campaign_id: UUID) -> Progress:
        """Return the progress of a campaign."""
        return self.transact(lambda store: store.generation.progress(campaign_id))

    def campaign_contacts(self, campaign_id: UUID) -> dict[UUID, CampaignContact]:
        """Return at most 500 contacts of a campaign by contact id, in the order of generation."""
        page = self.transact(lambda store: store.contacts.list(campaign_id))
        return {contact.contact_id: contact for contact in page.items}

    def check_totals(self, campaign_id: UUID) -> None:
        """Raise ``AssertionError`` if the totals of a campaign are not the sums of its contacts."""
        with self.engine.connect() as connection:
            CampaignStore(connection, self.id)  # It sets the tenant for row-level security.
            wrong_totals = find_wrong_totals(connection, [self.id], [campaign_id])
        assert not wrong_totals, "\n".join(wrong_totals)


@attrs.frozen
class CampaignFactory:
    """Makes campaigns and contacts in ``campaign_store``."""

    store: CampaignStore
    clock: FrozenClock

    def __call__(
        self,
        status: Status | str = Status.DRAFT,
        *,
        contacts: int | Iterable[UUID] = 3,
        **options: Any,
    ) -> Campaign:
        """Make a campaign with a number of contacts, or with the contacts of these ids.

        ``options`` are those of :func:`make_campaign`. The clock first goes forward by a second,
        because lists order campaigns by time.
        """
        ids = self.contacts(contacts) if isinstance(contacts, int) else contacts
        self.clock.forward(timedelta(seconds=1))
        return make_campaign(self.store, ids, status, **options)

    def contacts(self, number: int) -> list[UUID]:
        """Add contacts to the host's table and return their ids."""
        return add_minimal_contacts(
            self.store.connection, HostTables(), self.store.tenant_id, number
        )
