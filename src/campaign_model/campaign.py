"""Campaigns, their history, and the templates they are made from."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID, uuid4

import attrs

from campaign_model._json import fault_in
from campaign_model._values import optional_utc, utc
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action, Status
from campaign_model.steps import StepSequence

__all__ = [
    "ADOPTED",
    "MAX_DESCRIPTION",
    "MAX_NAME",
    "Campaign",
    "CampaignSummary",
    "CampaignTemplate",
    "HistoryEntry",
    "Page",
    "Repair",
]

Item = TypeVar("Item")

MAX_NAME = 500
MAX_DESCRIPTION = 10_000


@attrs.frozen
class Repair:
    """Something a stored document needed before it could be read. ``path`` is a JSON Pointer."""

    path: str
    code: str
    message: str


def _check_words(document: str, name: Any, description: Any) -> None:
    faults = []
    if not (type(name) is str and name.strip() and len(name) <= MAX_NAME) or fault_in(name):
        faults.append(
            Violation(
                "/name", "invalid_value", f"{document}.name: a name has 1 to {MAX_NAME} characters"
            )
        )
    if description is not None and (
        type(description) is not str or len(description) > MAX_DESCRIPTION or fault_in(description)
    ):
        faults.append(
            Violation(
                "/description",
                "invalid_value",
                f"{document}.description: text of at most {MAX_DESCRIPTION} characters",
            )
        )
    if faults:
        raise InvalidDocument(document, tuple(faults))


@attrs.frozen
class CampaignTemplate:
    """Steps and settings to start campaigns from.

    A system template belongs to no tenant, is seen by all and changed by none. ``version``
    grows with every change. Raises :class:`InvalidDocument` for a bad name or description.
    """

    name: str
    steps: StepSequence
    generation_config: GenerationConfig = GenerationConfig()
    description: str | None = None
    id: UUID = attrs.field(factory=uuid4)
    is_system: bool = False
    version: int = 1
    created_at: datetime | None = attrs.field(default=None, converter=optional_utc)
    updated_at: datetime | None = attrs.field(default=None, converter=optional_utc)
    repairs: tuple[Repair, ...] = attrs.field(default=(), eq=False)

    def __attrs_post_init__(self) -> None:
        _check_words("campaign_template", self.name, self.description)

    @classmethod
    def from_campaign(cls, campaign: Campaign, name: str) -> CampaignTemplate:
        """A new template with the campaign's steps and settings, all but its budget."""
        return cls(
            name=name,
            steps=campaign.steps,
            generation_config=attrs.evolve(campaign.generation_config, budget=None),
            description=campaign.description,
        )


@attrs.frozen
class Campaign:
    """An outreach to many contacts by the same steps.

    ``id`` is made by the caller (or here), so that a repeated ``add`` is noticed. ``status``
    changes only through ``CampaignStore.campaigns.apply``. ``is_active`` is false only for a
    deleted draft. ``template_id`` tells where the steps were copied from. ``version`` grows with
    every edit and move. ``repairs`` lists what the stored documents needed to be readable.
    Raises :class:`InvalidDocument` for a bad name or description.
    """

    name: str
    steps: StepSequence = StepSequence()
    generation_config: GenerationConfig = GenerationConfig()
    description: str | None = None
    owner_id: UUID | None = None
    template_id: UUID | None = None
    id: UUID = attrs.field(factory=uuid4)
    status: Status = attrs.field(default=Status.DRAFT, converter=Status)
    is_active: bool = True
    version: int = 1
    created_at: datetime | None = attrs.field(default=None, converter=optional_utc)
    updated_at: datetime | None = attrs.field(default=None, converter=optional_utc)
    generation_started_at: datetime | None = attrs.field(default=None, converter=optional_utc)
    generation_completed_at: datetime | None = attrs.field(default=None, converter=optional_utc)
    repairs: tuple[Repair, ...] = attrs.field(default=(), eq=False)

    def __attrs_post_init__(self) -> None:
        _check_words("campaign", self.name, self.description)

    @classmethod
    def from_template(cls, template: CampaignTemplate, name: str, **fields: Any) -> Campaign:
        """A new draft with a copy of the template's steps and settings.

        Later changes of the template do not reach it. ``fields`` are other fields of the campaign.
        """
        return cls(
            name=name,
            **{
                "steps": template.steps,
                "generation_config": template.generation_config,
                "description": template.description,
                "template_id": template.id,
                **fields,
            },
        )


@attrs.frozen
class CampaignSummary:
    """A line of a list of campaigns: no steps, but the totals.

    ``total_contacts`` leaves out excluded ones; ``generated_count`` of them have their messages;
    ``generation_cost`` is exact but for ``unknown_costs`` outcomes whose cost nobody knew.
    """

    id: UUID
    name: str
    status: Status = attrs.field(converter=Status)
    is_active: bool
    owner_id: UUID | None
    template_id: UUID | None
    total_contacts: int
    generated_count: int
    generation_cost: Decimal
    unknown_costs: int
    version: int
    created_at: datetime = attrs.field(converter=utc)
    updated_at: datetime = attrs.field(converter=utc)


@attrs.frozen
class Page(Generic[Item]):
    """Some of a list, and where the next page begins (``None`` after the last)."""

    items: tuple[Item, ...]
    next: str | None


ADOPTED: Literal["adopted"] = "adopted"
"""What a history begins with that goes on from before this library: no action of the lifecycle."""


@attrs.frozen
class HistoryEntry:
    """One move of a campaign: who did what, when, why.

    A campaign that was :data:`ADOPTED` begins with an entry that led nowhere: ``at`` is when it
    was last changed before, and ``reason`` a JSON object of what adoption found and put right.
    """

    at: datetime = attrs.field(converter=utc)
    action: Action | Literal["adopted"]
    source: Status
    target: Status
    version: int
    actor: str | None
    reason: str | None
