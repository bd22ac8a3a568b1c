"""Value types of campaigns: :class:`Campaign`, :class:`CampaignTemplate`, summaries, history.

All are immutable. A campaign copies the steps and settings of its template, so that a later change
of the template does not reach it.
"""

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
    """A change that was needed to read a stored document. ``path`` is a JSON Pointer."""

    path: str
    code: str
    message: str


def _check_name_and_description(document: str, name: Any, description: Any) -> None:
    """Raise :class:`InvalidDocument` with every fault of the two. ``document`` is the kind."""
    violations = []
    if not (type(name) is str and name.strip() and len(name) <= MAX_NAME) or fault_in(name):
        violations.append(
            Violation(
                "/name",
                "invalid_value",
                f"{document}.name: must be text of 1 to {MAX_NAME} characters that is not blank",
            )
        )
    if description is not None and (
        type(description) is not str or len(description) > MAX_DESCRIPTION or fault_in(description)
    ):
        violations.append(
            Violation(
                "/description",
                "invalid_value",
                f"{document}.description: must be text of at most {MAX_DESCRIPTION} characters",
            )
        )
    if violations:
        raise InvalidDocument(document, tuple(violations))


@attrs.frozen
class CampaignTemplate:
    """Steps and settings to start campaigns from.

    A system template has no tenant: every tenant sees it and no tenant can change it. ``version``
    grows with every change. Raises :class:`InvalidDocument` for an invalid name or description.
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
        _check_name_and_description("campaign_template", self.name, self.description)

    @classmethod
    def from_campaign(cls, campaign: Campaign, name: str) -> CampaignTemplate:
        """Make a new template with the campaign's steps and settings, but without its budget."""
        return cls(
            name=name,
            steps=campaign.steps,
            generation_config=attrs.evolve(campaign.generation_config, budget=None),
            description=campaign.description,
        )


@attrs.frozen
class Campaign:
    """An outreach to many contacts with the same sequence of steps.

    ``id`` is chosen before ``add``, so that a repeated ``add`` fails instead of making a second
    campaign. ``status`` changes only through ``CampaignStore.campaigns.apply``. ``is_active`` is
    false only for a deleted draft. ``template_id`` records the template that the steps were copied
    from. ``version`` grows with every edit and move. ``repairs`` lists the changes that were needed
    to read the stored documents.

    Raises :class:`InvalidDocument` for an invalid name or description.
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
        _check_name_and_description("campaign", self.name, self.description)

    @classmethod
    def from_template(cls, template: CampaignTemplate, name: str, **fields: Any) -> Campaign:
        """Make a new draft with a copy of the template's steps and settings.

        ``fields`` are other fields of the campaign.
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
    """One line of a list of campaigns: the totals, without the steps.

    ``total_contacts`` leaves out excluded contacts. ``generated_count`` is the number of contacts
    that have their messages. ``generation_cost`` is exact, but leaves out the costs of
    ``unknown_costs`` outcomes.
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
    """One page of a list. Pass ``next`` as ``after`` for the next page; ``None``: no more."""

    items: tuple[Item, ...]
    next: str | None


ADOPTED: Literal["adopted"] = "adopted"
"""The ``action`` of the first history entry of a campaign that adoption brought to the schema."""


@attrs.frozen
class HistoryEntry:
    """One move of a campaign: who made it, when and why.

    The history of an adopted campaign begins with an entry whose ``action`` is :data:`ADOPTED`. It
    is no move: ``at`` is the time of the last change before adoption, and ``reason`` is a JSON
    object with the findings of adoption.
    """

    at: datetime = attrs.field(converter=utc)
    action: Action | Literal["adopted"]
    source: Status
    target: Status
    version: int
    actor: str | None
    reason: str | None
