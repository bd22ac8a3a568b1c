"""Campaigns in any status, brought there through the store's own door."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Failed, Generated
from campaign_model.db import HostTables, MinimalHost
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action, ReviewTally, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.testing.clock import FrozenClock

__all__ = [
    "STEPS",
    "CampaignFactory",
    "Tenant",
    "add_minimal_contacts",
    "add_minimal_tenant",
    "make_campaign",
]

Result = TypeVar("Result")

STEPS = StepSequence(
    (
        Step("linkedin_connect", "Invite", day_offset=0),
        Step("email", "E-mail 1", day_offset=2, variant_count=2),
        Step("email", "E-mail 2", enabled=False, day_offset=5),
    )
)
"""Two enabled steps, of which one has two variants, and one that is switched off."""

_minimal = cache(MinimalHost)
_CENT = Decimal("0.01")
_LEASE = timedelta(minutes=5)
_SECOND = timedelta(seconds=1)

_TO_GENERATING = (Action.MARK_READY, Action.START_GENERATION)
_UNSTARTED: dict[Status, tuple[Action, ...]] = {
    Status.DRAFT: (),
    Status.READY: (Action.MARK_READY,),
    Status.GENERATING: _TO_GENERATING,
}
_STARTED: dict[Status, tuple[Action, ...]] = {
    Status.DRAFT: (Action.CANCEL_GENERATION, Action.RETURN_TO_DRAFT),
    Status.READY: (Action.CANCEL_GENERATION,),
    Status.GENERATING: (),
    Status.REVIEW: (Action.COMPLETE_GENERATION,),
    Status.APPROVED: (Action.COMPLETE_GENERATION, Action.APPROVE),
    Status.EXPORTED: (Action.COMPLETE_GENERATION, Action.APPROVE, Action.EXPORT),
    Status.ARCHIVED: (
        *(Action.COMPLETE_GENERATION, Action.APPROVE, Action.EXPORT),
        Action.ARCHIVE,
    ),
}
"""How to go on from generating."""


def make_campaign(
    store: CampaignStore,
    contacts: Iterable[UUID],
    status: Status | str = Status.DRAFT,
    *,
    generated: int | None = None,
    failed: int = 0,
    cost: Decimal = _CENT,
    budget: Decimal | None = None,
    steps: StepSequence = STEPS,
    **fields: Any,
) -> Campaign:
    """Add a campaign, assign the host's ``contacts`` to it and bring it to ``status``.

    Of the contacts ``failed`` fail and ``generated`` get their messages, each at ``cost``; without
    ``generated`` none does in draft, ready and generating, and all others do in later statuses.
    ``archived`` is an exported campaign that was archived, not a deleted draft. ``fields`` are
    other fields of :class:`Campaign`, such as ``name``. Raises ``ValueError`` for more contacts
    than there are, and what the store raises.
    """
    status, ids = Status(status), [*contacts]
    if generated is None:
        generated = 0 if status in _UNSTARTED else len(ids) - failed
    if min(generated, failed) < 0 or generated + failed > len(ids):
        raise ValueError(f"{generated} generated and {failed} failed of {len(ids)} contacts")
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
    if not generated and not failed and status in _UNSTARTED:
        return _apply(store, campaign, _UNSTARTED[status])
    _apply(store, campaign, _TO_GENERATING)
    if generated + failed:
        claims = store.generation.claim(campaign.id, generated + failed, _LEASE, reserve=cost)
        failure = Failed("test_failure", "failed because a test wanted it to", cost)
        store.generation.record(
            {
                claim: failure if index < failed else Generated(cost)
                for index, claim in enumerate(claims.claims)
            }
        )
    way = _STARTED[status]
    if Action.COMPLETE_GENERATION in way and generated + failed < len(ids):
        way = (Action.CANCEL_GENERATION, Action.SUBMIT_FOR_REVIEW, *way[1:])
    return _apply(store, campaign, way)


def _apply(store: CampaignStore, campaign: Campaign, actions: Iterable[Action]) -> Campaign:
    for action in actions:
        review = ReviewTally(approved=1, rejected=0, undecided=0)
        store.campaigns.apply(campaign.id, action, review=review)
    return store.campaigns.get(campaign.id)


def add_minimal_tenant(connection: sa.Connection, host: HostTables) -> UUID:
    """The id of a new tenant in the library's minimal host tables."""
    tenant_id = uuid4()
    connection.execute(
        sa.insert(_minimal(host).tenants).values(id=tenant_id, name=f"Tenant {tenant_id}")
    )
    return tenant_id


def add_minimal_contacts(
    connection: sa.Connection, host: HostTables, tenant_id: UUID, number: int
) -> list[UUID]:
    """Ids of new contacts in the library's minimal host tables."""
    rows = [{"id": uuid4(), "tenant_id": tenant_id} for _ in range(number)]
    if rows:
        connection.execute(sa.insert(_minimal(host).contacts), rows)
    return [row["id"] for row in rows]


@attrs.frozen
class Tenant:
    """One tenant in one database, for tests whose code opens transactions of its own.

    ``contacts(number)`` gives ids of that many contacts of the host.
    """

    engine: sa.Engine
    id: UUID
    contacts: Callable[[int], list[UUID]] = attrs.field(repr=False)
    host: HostTables = attrs.field(factory=HostTables)

    def transact(self, work: Callable[[CampaignStore], Result], **options: Any) -> Result:
        """Run ``work(store)`` in a transaction of its own; ``options`` as for ``transact``."""
        return transact(self.engine, self.id, work, **{"host": self.host, **options})

    def campaign(
        self,
        status: Status | str = Status.DRAFT,
        *,
        contacts: int | Iterable[UUID] = 3,
        **options: Any,
    ) -> Campaign:
        """A campaign with contacts, by number or by id; ``options`` as for `make_campaign`."""
        ids = self.contacts(contacts) if isinstance(contacts, int) else contacts
        return self.transact(lambda store: make_campaign(store, ids, status, **options))


@attrs.frozen
class CampaignFactory:
    """Makes campaigns, and contacts for them, in ``campaign_store``."""

    store: CampaignStore
    clock: FrozenClock

    def __call__(
        self,
        status: Status | str = Status.DRAFT,
        *,
        contacts: int | Iterable[UUID] = 3,
        **options: Any,
    ) -> Campaign:
        """A campaign in ``status``; ``contacts`` by number or by id, and see `make_campaign`.

        The clock goes on by a second, so that lists show campaigns in the order of their making.
        """
        ids = self.contacts(contacts) if isinstance(contacts, int) else contacts
        self.clock.forward(_SECOND)
        return make_campaign(self.store, ids, status, **options)

    def contacts(self, number: int) -> list[UUID]:
        """Ids of new contacts of the host."""
        return add_minimal_contacts(
            self.store.connection, HostTables(), self.store.tenant_id, number
        )
