"""What a worker claims, what it reports, and how far a campaign's generation is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

import attrs

from campaign_model._json import JsonObject
from campaign_model._values import gaps, money, optional_money, optional_utc, text, utc
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import ContactStatus
from campaign_model.steps import StepSequence

__all__ = [
    "LONGEST",
    "Claim",
    "ClaimBatch",
    "Cursor",
    "Estimate",
    "Failed",
    "Generated",
    "NotReady",
    "Outcome",
    "Progress",
    "Recorded",
    "Renewal",
    "StopReason",
    "Unfinished",
]

LONGEST = timedelta(days=365)
"""No lease and no pause is longer than this."""


@attrs.frozen(cache_hash=True)
class Claim:
    """The right of one worker to write one contact's messages until ``expires_at``.

    ``id`` is the campaign contact. ``token`` decides who owns it, never the clock. ``attempts``
    counts this claim; ``revision`` goes into message ids; ``steps_fingerprint`` is that of the
    steps the claim was made under; ``reserved`` is the money set aside for it.
    """

    id: UUID
    campaign_id: UUID
    contact_id: UUID
    token: UUID
    expires_at: datetime = attrs.field(converter=utc)
    attempts: int
    revision: int
    steps_fingerprint: str
    reserved: Decimal = attrs.field(default=Decimal(0), converter=money)


class StopReason(StrEnum):
    """Why a claim got nothing, or fewer contacts than it asked for."""

    NOT_GENERATING = "not_generating"
    DRAINED = "drained"
    LEASES_PENDING = "leases_pending"
    BUDGET = "budget"


@attrs.frozen
class Cursor:
    """Where a worker's next claim continues: a place in the campaign's order of contacts."""

    rank: int = attrs.field(
        default=-(2**63),
        validator=[
            attrs.validators.instance_of(int),
            attrs.validators.ge(-(2**63)),
            attrs.validators.lt(2**63),
        ],
    )


@attrs.frozen
class ClaimBatch:
    """What a claim got.

    ``stop`` is ``None`` when all of ``limit`` was claimed. ``retry_at`` is when claiming again
    may get more: when the first lease of another worker runs out or a pause ends; ``at`` is the
    time it was when this was said, by the same clock. Pass ``cursor`` to the next claim.
    ``steps`` and ``generation_config`` are those to generate by.
    """

    claims: tuple[Claim, ...]
    stop: StopReason | None
    retry_at: datetime | None = attrs.field(converter=optional_utc)
    at: datetime = attrs.field(converter=utc)
    cursor: Cursor
    steps: StepSequence
    generation_config: GenerationConfig


@attrs.frozen
class Generated:
    """All of the contact's messages exist. ``cost=None`` says that the cost is unknown."""

    cost: Decimal | None = attrs.field(converter=optional_money)


@attrs.frozen
class Failed:
    """The contact's messages cannot be written: a stable ``code`` and a ``message`` for people."""

    code: str = attrs.field(converter=text)
    message: str = attrs.field(converter=text)
    cost: Decimal | None = attrs.field(converter=optional_money)


def _some_gaps(value: Any) -> tuple[str, ...]:
    found = gaps(value)
    if not found:
        raise ValueError("a contact that is not ready has at least one gap")
    return found


@attrs.frozen
class NotReady:
    """The contact lacks what the messages need: ``gaps`` names the missing fields."""

    gaps: tuple[str, ...] = attrs.field(converter=_some_gaps)
    cost: Decimal | None = attrs.field(default=Decimal(0), converter=optional_money)


@attrs.frozen
class Unfinished:
    """Not done, and not the contact's fault: give it back, to be claimed after ``retry_after``."""

    retry_after: timedelta = attrs.field(
        default=timedelta(0),
        validator=[attrs.validators.ge(timedelta(0)), attrs.validators.le(LONGEST)],
    )
    cost: Decimal | None = attrs.field(default=Decimal(0), converter=optional_money)


Outcome = Generated | Failed | NotReady | Unfinished


class Recorded(StrEnum):
    """What became of one reported outcome."""

    APPLIED = "applied"
    ALREADY = "already"
    REQUEUED = "requeued"
    EXCLUDED = "excluded"
    BOOKED = "booked"
    SKIPPED = "skipped"


@attrs.frozen
class Renewal:
    """The answer to a renewal: the new expiry, the ids lost meanwhile, and whether to stop."""

    expires_at: datetime = attrs.field(converter=utc)
    lost: tuple[UUID, ...]
    cancelled: bool


_STATUSES = tuple(ContactStatus)


def _by_status(counts: Mapping[ContactStatus, int]) -> Mapping[ContactStatus, int]:
    frozen: Any = JsonObject({status: counts.get(status, 0) for status in _STATUSES})
    return cast("Mapping[ContactStatus, int]", frozen)


@attrs.frozen
class Progress:
    """How far a campaign's generation is.

    ``by_status`` has every status, and adds up to the contacts assigned. ``spent`` and
    ``reserved`` are money; ``unknown_costs`` counts outcomes whose cost nobody knew;
    ``per_second`` is the rate of finished contacts since the run began and ``seconds_left`` what
    the rest would take at that rate, ``None`` while unknown.
    """

    by_status: Mapping[ContactStatus, int] = attrs.field(converter=_by_status)
    spent: Decimal
    reserved: Decimal
    unknown_costs: int
    budget: Decimal | None
    per_second: float | None = None
    seconds_left: float | None = None

    @property
    def assigned(self) -> int:
        """Every contact in the campaign, excluded ones too."""
        return sum(self.by_status.values())

    @property
    def total(self) -> int:
        """The contacts of the campaign that are not excluded."""
        return self.assigned - self.by_status[ContactStatus.EXCLUDED]


@attrs.frozen
class Estimate:
    """What the rest of a campaign would take: contacts to go, messages, and money.

    Money at the average cost per finished contact so far, ``None`` before the first known cost.
    """

    contacts: int
    messages: int
    cost: Decimal | None
