"""Value types of generation: claims, outcomes, the answers to them, and progress.

A worker gets a :class:`ClaimBatch` of :class:`Claim`, reports an :data:`Outcome` for each claim and
gets a :class:`Recorded` for each. The token of a claim, never a clock, decides whether the worker
still owns the contact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

import attrs
from attrs.converters import optional

from campaign_model._answer import Answer
from campaign_model._json import JsonObject
from campaign_model._values import (
    checked_instance,
    checked_number,
    gaps,
    is_id,
    money,
    plain_amount,
    text,
    utc,
)
from campaign_model.campaign import Repair
from campaign_model.errors import InvalidArgument, short_repr
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import ContactStatus
from campaign_model.steps import StepSequence

MAX_DURATION = timedelta(days=365)
"""The longest lease, and the longest ``retry_after``."""

MAX_ERROR = 500
"""The most characters of a failure's code and of its message."""


def check_lease(lease: timedelta) -> None:
    """Raise :class:`InvalidArgument` for a lease of no time or of more than ``MAX_DURATION``."""
    if not timedelta(0) < checked_instance(lease, timedelta, "lease") <= MAX_DURATION:
        message = f"a lease is longer than zero and at most {MAX_DURATION}, not {lease}"
        raise InvalidArgument("lease", message)


def _reserved(value: Any) -> Decimal:
    return plain_amount(money(value))


@attrs.frozen
class Claim:
    """The right of one worker to generate, or to export, one contact until ``expires_at``.

    ``id`` is the campaign contact's id. The worker owns the contact while ``token`` is in its row.
    ``attempts`` is the number of claims of the contact, this one included. ``revision`` is part of
    every message id. ``steps_fingerprint`` belongs to the steps at the time of the claim.
    ``reserved`` is the money set aside for the contact.
    """

    id: UUID = attrs.field(validator=is_id)
    campaign_id: UUID = attrs.field(validator=is_id)
    contact_id: UUID = attrs.field(validator=is_id)
    token: UUID = attrs.field(validator=is_id)
    expires_at: datetime = attrs.field(converter=utc)
    attempts: int
    revision: int
    steps_fingerprint: str
    reserved: Decimal = attrs.field(default=Decimal(0), converter=_reserved)

    def __hash__(self) -> int:
        # Python takes long to hash all fields, and few claims have the same id.
        return hash(self.id.int)


def campaign_of(claims: Iterable[Claim]) -> UUID:
    """Return the campaign of the claims. Raise :class:`InvalidArgument` unless it is one."""
    campaign_ids: set[UUID] = {
        checked_instance(claim, Claim, "a claim").campaign_id for claim in claims
    }
    if len(campaign_ids) != 1:
        raise InvalidArgument("claims", "one call takes the claims of one campaign")
    return campaign_ids.pop()


class StopReason(StrEnum):
    """Why a claim got fewer contacts than its ``limit``."""

    NOT_GENERATING = "not_generating"
    DRAINED = "drained"
    LEASES_PENDING = "leases_pending"
    BUDGET = "budget"
    NOT_EXPORTED = "not_exported"


def _is_rank(_instance: object, attribute: Any, value: Any) -> None:
    checked_number(value, -(2**63), 2**63 - 1, attribute.name)


@attrs.frozen
class Cursor:
    """The rank at which a worker's next claim continues."""

    rank: int = attrs.field(default=-(2**63), validator=_is_rank)


@attrs.frozen
class ClaimBatch:
    """The answer of ``claim``.

    ``stop`` is ``None`` if the claim got ``limit`` contacts. At ``retry_at`` another claim may get
    more, because the first lease expires or the first pause ends. ``at`` is the time of the answer,
    by the same clock. Pass ``cursor`` to the next claim. Generate from ``steps`` and
    ``generation_config``.
    """

    claims: tuple[Claim, ...]
    stop: StopReason | None
    retry_at: datetime | None = attrs.field(converter=optional(utc))
    at: datetime = attrs.field(converter=utc)
    cursor: Cursor
    steps: StepSequence
    generation_config: GenerationConfig


@attrs.frozen
class Generated:
    """All of the contact's messages exist. ``cost=None`` means that the cost is unknown."""

    cost: Decimal | None = attrs.field(converter=optional(money))


def _error_code(value: Any) -> str:
    return text(value, "code")[:MAX_ERROR]


def _error_message(value: Any) -> str:
    return text(value, "message")[:MAX_ERROR]


@attrs.frozen
class Failed:
    """The contact's messages cannot be generated. ``code`` is stable, ``message`` is for people.

    Both are cut to 500 characters. The contact's row keeps them, so put no message, no key and no
    URL in them.
    """

    code: str = attrs.field(converter=_error_code)
    message: str = attrs.field(converter=_error_message)
    cost: Decimal | None = attrs.field(converter=optional(money))


def _has_a_gap(_instance: object, attribute: Any, value: tuple[str, ...]) -> None:
    if not value:
        name = attribute.name
        raise InvalidArgument(name, f"{name} names at least one field that the contact lacks")


@attrs.frozen
class NotReady:
    """The contact lacks fields that its messages need. ``gaps`` names them."""

    gaps: tuple[str, ...] = attrs.field(converter=gaps, validator=_has_a_gap)
    cost: Decimal | None = attrs.field(default=Decimal(0), converter=optional(money))


def _is_pause(_instance: object, attribute: Any, value: Any) -> None:
    name = attribute.name
    if not timedelta(0) <= checked_instance(value, timedelta, name) <= MAX_DURATION:
        message = f"{name} is from zero to {MAX_DURATION}, not {short_repr(value)}"
        raise InvalidArgument(name, message)


@attrs.frozen
class Unfinished:
    """The worker gives the contact back. It can be claimed again after ``retry_after``.

    ``run_worker`` and ``run_worker_async`` replace a ``retry_after`` of zero by a short pause.
    """

    retry_after: timedelta = attrs.field(default=timedelta(0), validator=_is_pause)
    cost: Decimal | None = attrs.field(default=Decimal(0), converter=optional(money))


Outcome = Generated | Failed | NotReady | Unfinished


class Recorded(StrEnum):
    """The answer to one reported outcome.

    * ``applied``: the contact has its new status.
    * ``already``: this claim was recorded before; nothing changed.
    * ``requeued``: the steps changed; the cost is booked and the contact waits again.
    * ``excluded``: the contact stays excluded; the cost is booked.
    * ``booked``: the lease was lost; only the cost is booked.
    * ``skipped``: the lease was lost; nothing is booked.
    """

    APPLIED = "applied"
    ALREADY = "already"
    REQUEUED = "requeued"
    EXCLUDED = "excluded"
    BOOKED = "booked"
    SKIPPED = "skipped"


@attrs.frozen
class Renewal:
    """The answer of ``renew``: the new expiry, the ids of lost claims, and if the run is over.

    ``lost`` has the ids of campaign contacts. ``cancelled`` is true if the campaign is no longer
    generating.
    """

    expires_at: datetime = attrs.field(converter=utc)
    lost: tuple[UUID, ...]
    cancelled: bool


def _count_every_status(counts: Mapping[ContactStatus, int]) -> Mapping[ContactStatus, int]:
    counts_by_status: Any = JsonObject({status: counts.get(status, 0) for status in ContactStatus})
    return cast("Mapping[ContactStatus, int]", counts_by_status)


@attrs.frozen
class Progress(Answer):
    """How far a campaign's generation is.

    ``by_status`` has a number of contacts for every status. ``spent``, ``reserved`` and ``budget``
    are money. ``unknown_costs`` is the number of outcomes without a cost. ``per_second`` is the
    rate of finished contacts since the run began, and ``seconds_left`` is the time for the rest at
    that rate. Both are ``None`` while they are unknown, and ``seconds_left`` is ``None`` after the
    generation was completed. ``exported`` is the number of contacts whose messages were exported.

    ``repairs`` names what another program has written so that it cannot be read: times and sums as
    in :class:`~campaign_model.campaign.CampaignSummary`, and settings (``unreadable``). ``budget``
    is ``None`` if the settings cannot be read.
    """

    by_status: Mapping[ContactStatus, int] = attrs.field(converter=_count_every_status)
    spent: Decimal = attrs.field(converter=plain_amount)
    reserved: Decimal = attrs.field(converter=plain_amount)
    unknown_costs: int
    budget: Decimal | None = attrs.field(converter=optional(plain_amount))
    per_second: float | None = None
    seconds_left: float | None = None
    exported: int = 0
    repairs: tuple[Repair, ...] = attrs.field(default=(), eq=False)

    @property
    def assigned(self) -> int:
        """The number of contacts in the campaign, excluded ones included."""
        return sum(self.by_status.values())

    @property
    def total(self) -> int:
        """The number of contacts in the campaign that are not excluded."""
        return self.assigned - self.by_status[ContactStatus.EXCLUDED]


@attrs.frozen
class Estimate(Answer):
    """What the rest of a campaign needs: contacts to generate, their messages, and money.

    ``cost`` uses the average cost of finished contacts. It is ``None`` before the first known cost.
    """

    contacts: int
    messages: int
    cost: Decimal | None = attrs.field(converter=optional(plain_amount))
