"""Value types of contacts: :class:`CampaignContact`, and the answers of ``store.contacts``."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import attrs

from campaign_model._values import money, optional_utc, utc
from campaign_model.lifecycle import ContactStatus

__all__ = ["Assigned", "CampaignContact", "Changed", "Overlap", "Removed"]


@attrs.frozen
class CampaignContact:
    """One contact's place in one campaign: readiness, generation status, cost and error.

    ``enrichment_gaps`` names the missing fields. It is ``None`` until the gaps are known and ``()``
    if nothing is missing. Contacts with a higher ``priority`` are generated first. ``cost`` is the
    amount booked so far, and ``unknown_costs`` is the number of outcomes without a cost.
    ``revision`` grows when the contact is generated again on purpose or under other steps.
    ``stale`` is true if the contact was generated from steps with another fingerprint than the
    campaign's present steps.
    """

    id: UUID
    campaign_id: UUID
    contact_id: UUID
    status: ContactStatus
    enrichment_gaps: tuple[str, ...] | None
    priority: int
    attempts: int
    revision: int
    cost: Decimal = attrs.field(converter=money)
    unknown_costs: int
    error_code: str | None
    error: str | None
    stale: bool
    lease_expires_at: datetime | None = attrs.field(converter=optional_utc)
    retry_at: datetime | None = attrs.field(converter=optional_utc)
    added_at: datetime = attrs.field(converter=utc)
    generated_at: datetime | None = attrs.field(converter=optional_utc)


@attrs.frozen
class Assigned:
    """The answer of ``assign``.

    ``added`` and ``already_there`` are numbers of contacts. ``unknown`` has the ids that are no
    contact of this tenant; they were left out.
    """

    added: int
    already_there: int
    unknown: tuple[UUID, ...]


@attrs.frozen
class Removed:
    """The answer of ``remove``.

    ``removed`` is the number of deleted campaign contacts. ``kept`` has the ids of contacts that
    were excluded instead, because they were claimed before or messages refer to them.
    """

    removed: int
    kept: tuple[UUID, ...]


@attrs.frozen
class Changed:
    """The answer of a change of several contacts.

    ``changed`` is the number of changed contacts. ``skipped`` has the ids of contacts that are not
    in the campaign, or whose status does not allow the change.
    """

    changed: int
    skipped: tuple[UUID, ...]


@attrs.frozen
class Overlap:
    """A contact of one campaign that is also in another campaign, and its last activity there."""

    contact_id: UUID
    campaign_id: UUID
    campaign_name: str
    status: ContactStatus
    last_activity_at: datetime = attrs.field(converter=utc)
