"""Value types of campaigns: campaigns, templates, summaries, history, and campaign contacts.

All are immutable. A campaign copies the steps and settings of its template, so that a later change
of the template does not reach it.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack
from uuid import UUID, uuid4

import attrs
from attrs.converters import optional

from campaign_model._answer import Answer
from campaign_model._json import text_fault
from campaign_model._values import checked_word, is_id, is_instance_of, plain_amount, utc
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.steps import StepSequence

Item = TypeVar("Item")

MAX_NAME = 500
MAX_DESCRIPTION = 10_000
MAX_ACTOR = 500
MAX_REASON = 10_000
"""The most characters of a campaign's name and description, and of an entry of its history."""


@attrs.frozen
class Repair(Answer):
    """A change that was needed to read a stored document or row. ``path`` is a JSON Pointer."""

    path: str
    code: str
    message: str


UNREADABLE = "unreadable"
"""The code of the repair of a campaign or template that has no steps: they cannot be read."""


def is_unreadable(value: Campaign | CampaignTemplate) -> bool:
    """Tell whether the documents in the row of a campaign or template cannot be read."""
    return any(repair.code == UNREADABLE for repair in value.repairs)


def _check_fields(document: str, value: Campaign | CampaignTemplate) -> None:
    """Check the texts that users choose. ``document`` is the kind, for errors.

    Raise :class:`InvalidDocument` with every fault of the name and the description.
    """
    name: Any = value.name
    description: Any = value.description
    rules = {}
    if not (type(name) is str and name.strip() and len(name) <= MAX_NAME) or text_fault(name):
        rules["name"] = f"text of 1 to {MAX_NAME} characters that is not blank"
    if description is not None and (
        type(description) is not str
        or len(description) > MAX_DESCRIPTION
        or text_fault(description)
    ):
        rules["description"] = f"text of at most {MAX_DESCRIPTION} characters"
    if rules:
        violations = (
            Violation(f"/{field}", "invalid_value", f"{document}.{field}: must be {rule}")
            for field, rule in rules.items()
        )
        raise InvalidDocument(document, tuple(violations))


def _status(value: Status | str) -> Status:
    return checked_word(Status, value, "status")


_is_optional_id = attrs.validators.optional(is_id)
_is_sequence = is_instance_of(StepSequence)
_is_config = is_instance_of(GenerationConfig)


@attrs.frozen
class CampaignTemplate(Answer):
    """Steps and settings to start campaigns from.

    A system template has no tenant: every tenant sees it and no tenant can change it. ``version``
    grows with every change. Raises :class:`InvalidDocument` for an invalid name or description,
    :class:`InvalidArgument` for text that is no id, and ``TypeError`` for an id, steps or settings
    of another type.
    """

    name: str
    steps: StepSequence = attrs.field(validator=_is_sequence)
    generation_config: GenerationConfig = attrs.field(
        default=GenerationConfig(), validator=_is_config
    )
    description: str | None = None
    id: UUID = attrs.field(factory=uuid4, validator=is_id)
    is_system: bool = False
    version: int = 1
    created_at: datetime | None = attrs.field(default=None, converter=optional(utc))
    updated_at: datetime | None = attrs.field(default=None, converter=optional(utc))
    repairs: tuple[Repair, ...] = attrs.field(default=(), eq=False)

    def __attrs_post_init__(self) -> None:
        _check_fields("campaign_template", self)

    @classmethod
    def from_campaign(cls, campaign: Campaign, name: str) -> CampaignTemplate:
        """Make a new template with the campaign's steps and settings, but without its budget."""
        return cls(
            name=name,
            steps=campaign.steps,
            generation_config=attrs.evolve(campaign.generation_config, budget=None),
            description=campaign.description,
        )


class CampaignFields(TypedDict, total=False):
    """The fields of a campaign that :meth:`Campaign.from_template` accepts."""

    steps: StepSequence
    generation_config: GenerationConfig
    description: str | None
    owner_id: UUID | None
    template_id: UUID | None
    id: UUID
    status: Status | str
    is_active: bool
    version: int
    created_at: datetime | None
    updated_at: datetime | None
    generation_started_at: datetime | None
    generation_completed_at: datetime | None
    repairs: tuple[Repair, ...]


@attrs.frozen
class Campaign(Answer):
    """An outreach to many contacts with the same sequence of steps.

    ``id`` is chosen before ``add``, so that a repeated ``add`` fails instead of making a second
    campaign. ``status`` changes only through ``CampaignStore.campaigns.apply``. ``is_active`` is
    false only for a deleted draft. ``template_id`` records the template that the steps were copied
    from. ``version`` grows with every edit and move. ``repairs`` lists the changes that were needed
    to read the stored documents.

    Raises :class:`InvalidDocument` for an invalid name or description, :class:`InvalidArgument` for
    text that is no id and for an unknown status, and ``TypeError`` for an id, steps or settings of
    another type.
    """

    name: str
    steps: StepSequence = attrs.field(default=StepSequence(), validator=_is_sequence)
    generation_config: GenerationConfig = attrs.field(
        default=GenerationConfig(), validator=_is_config
    )
    description: str | None = None
    owner_id: UUID | None = attrs.field(default=None, validator=_is_optional_id)
    template_id: UUID | None = attrs.field(default=None, validator=_is_optional_id)
    id: UUID = attrs.field(factory=uuid4, validator=is_id)
    status: Status = attrs.field(default=Status.DRAFT, converter=_status)
    is_active: bool = True
    version: int = 1
    created_at: datetime | None = attrs.field(default=None, converter=optional(utc))
    updated_at: datetime | None = attrs.field(default=None, converter=optional(utc))
    generation_started_at: datetime | None = attrs.field(default=None, converter=optional(utc))
    generation_completed_at: datetime | None = attrs.field(default=None, converter=optional(utc))
    repairs: tuple[Repair, ...] = attrs.field(default=(), eq=False)

    def __attrs_post_init__(self) -> None:
        _check_fields("campaign", self)

    @classmethod
    def from_template(
        cls, template: CampaignTemplate, name: str, **fields: Unpack[CampaignFields]
    ) -> Campaign:
        """Make a new draft with the steps, settings and description of the template.

        ``fields`` are fields of the campaign; they replace those of the template. Raises
        :class:`InvalidDocument` for a template that ``templates.list`` has reported as unreadable.
        """
        if is_unreadable(template):
            violation = Violation("", UNREADABLE, "the documents of the template cannot be read")
            raise InvalidDocument("campaign_template", (violation,))
        copied: CampaignFields = {
            "steps": template.steps,
            "generation_config": template.generation_config,
            "description": template.description,
            "template_id": template.id,
        }
        return cls(name=name, **(copied | fields))


@attrs.frozen
class CampaignSummary(Answer):
    """One line of a list of campaigns: the totals, without the steps.

    ``total_contacts`` leaves out excluded contacts. ``generated_count`` is the number of contacts
    that have their messages. ``generation_cost`` is exact, but leaves out the costs of
    ``unknown_costs`` outcomes. ``repairs`` names values of another program that could not be read:
    a status (``unknown_status``, read as archived), times (``time_out_of_range``), and costs that
    add up to more than the database can hold (``sum_out_of_range``).
    """

    id: UUID
    name: str
    status: Status = attrs.field(converter=Status)
    is_active: bool
    owner_id: UUID | None
    template_id: UUID | None
    total_contacts: int
    generated_count: int
    generation_cost: Decimal = attrs.field(converter=plain_amount)
    unknown_costs: int
    version: int
    created_at: datetime = attrs.field(converter=utc)
    updated_at: datetime = attrs.field(converter=utc)
    repairs: tuple[Repair, ...] = attrs.field(default=(), eq=False)


@attrs.frozen
class Page(Answer, Generic[Item]):
    """One page of a list.

    To get the next page, pass ``next`` as the argument ``after``. On the last page, ``next`` is
    ``None``.
    """

    items: tuple[Item, ...]
    next: str | None


ADOPTED: Literal["adopted"] = "adopted"
"""The ``action`` of the first history entry of a campaign that adoption brought to the schema."""


@attrs.frozen
class HistoryEntry(Answer):
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


@attrs.frozen
class Move(Answer):
    """A change of a campaign's status, as ``db.take_moves`` returns it to a consumer.

    ``id`` is the id of the history entry: a receiver recognises by it a move that it gets again.
    ``version`` is the campaign's version after the move, and grows with each move of a campaign.
    """

    id: UUID
    tenant_id: UUID
    campaign_id: UUID
    version: int
    action: Action
    source: Status
    target: Status
    actor: str | None
    reason: str | None
    at: datetime = attrs.field(converter=utc)


@attrs.frozen
class CampaignContact(Answer):
    """One contact's place in one campaign: readiness, generation status, cost and error.

    ``enrichment_gaps`` names the missing fields. It is ``None`` until the gaps are known and ``()``
    if nothing is missing. Contacts with a higher ``priority`` are generated first. ``cost`` is the
    sum booked so far, which may exceed the limit of one amount. ``unknown_costs`` is the number of
    outcomes without a cost. ``revision`` grows when the contact is generated again on purpose or
    under other steps. ``stale`` is true if the contact was generated from steps with another
    fingerprint than the campaign's present steps. ``exported_at`` is when an exporter recorded that
    it has pushed the contact's messages. If another program has written a status that the library
    does not know, the contact reads as excluded, with the ``error_code`` ``unknown_status``.
    """

    id: UUID
    campaign_id: UUID
    contact_id: UUID
    status: ContactStatus
    enrichment_gaps: tuple[str, ...] | None
    priority: int
    attempts: int
    revision: int
    cost: Decimal = attrs.field(converter=plain_amount)
    unknown_costs: int
    error_code: str | None
    error: str | None
    stale: bool
    lease_expires_at: datetime | None = attrs.field(converter=optional(utc))
    retry_at: datetime | None = attrs.field(converter=optional(utc))
    added_at: datetime = attrs.field(converter=utc)
    generated_at: datetime | None = attrs.field(converter=optional(utc))
    exported_at: datetime | None = attrs.field(converter=optional(utc))


@attrs.frozen
class Assigned(Answer):
    """The answer of ``assign``.

    ``added`` and ``already_there`` are numbers of contacts. ``unknown`` has the ids that are no
    contact of this tenant, in the given order; they were left out. So were those in ``skipped``,
    because of another campaign.
    """

    added: int
    already_there: int
    unknown: tuple[UUID, ...]
    skipped: tuple[Skipped, ...] = ()


class SkipReason(StrEnum):
    """Why ``assign`` left a contact out: it is in an active campaign, or in its cooldown."""

    ACTIVE_CAMPAIGN = "active_campaign"
    COOLDOWN = "cooldown"


@attrs.frozen
class Skipped(Answer):
    """A contact that ``assign`` left out, and the other campaign that is the reason.

    ``last_activity_at`` is when the contact was last exported, generated, claimed or assigned
    there.
    """

    contact_id: UUID
    reason: SkipReason
    campaign_id: UUID
    campaign_name: str
    last_activity_at: datetime = attrs.field(converter=utc)


@attrs.frozen
class Removed(Answer):
    """The answer of ``remove``.

    ``removed`` is the number of deleted campaign contacts. ``kept`` has the ids of contacts that
    were excluded instead, because they were claimed before or messages refer to them.
    """

    removed: int
    kept: tuple[UUID, ...]


@attrs.frozen
class Changed(Answer):
    """The answer of a change of several contacts.

    ``changed`` is the number of changed contacts. ``skipped`` has the ids of contacts that are not
    in the campaign, or whose status does not allow the change.
    """

    changed: int
    skipped: tuple[UUID, ...]


@attrs.frozen
class Overlap(Answer):
    """A contact of one campaign that is also in another campaign, and its last activity there."""

    contact_id: UUID
    campaign_id: UUID
    campaign_name: str
    status: ContactStatus
    last_activity_at: datetime = attrs.field(converter=utc)
