"""A contact within a campaign, and what the store says of changes to the set of them."""

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

    ``enrichment_gaps`` is ``None`` while nobody has looked, ``()`` when nothing is missing.
    ``priority`` is larger for contacts to be generated first. ``cost`` is what was booked so far
    and ``unknown_costs`` how many outcomes came without a cost. ``revision`` grows only when the
    contact is generated again on purpose. ``stale`` says that it was generated from other steps.
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
    """What an assignment did.

    ``added`` and ``already_there`` are numbers of contacts; ``unknown`` are ids of contacts that
    this tenant does not have: they were left out.
    """

    added: int
    already_there: int
    unknown: tuple[UUID, ...]


@attrs.frozen
class Removed:
    """What a removal did: how many left, and who was ``kept``.

    Those are excluded instead, because messages were generated for them or refer to them.
    """

    removed: int
    kept: tuple[UUID, ...]


@attrs.frozen
class Changed:
    """How many contacts a change touched, and the ``skipped`` ids it did not apply to.

    Those are not in the campaign, or in a status that has no such move.
    """

    changed: int
    skipped: tuple[UUID, ...]


@attrs.frozen
class Overlap:
    """A contact of this campaign that is also in another one, and when something happened there."""

    contact_id: UUID
    campaign_id: UUID
    campaign_name: str
    status: ContactStatus
    last_activity_at: datetime = attrs.field(converter=utc)
