"""The worker loop's statements: what both engines offer, with which parameters and results.

``postgresql.py`` and ``sqlite.py`` have the functions of :class:`Statements`. Parameters mean the
same in every statement of both:

* ``tenant``, ``campaign``: the campaign; ``gate``: the number of its advisory lock;
* ``now``: the time of a test's clock, or None for the database's;
* ``expected_status``, ``template_config``, ``generation_config``: the campaign row as the caller
  last read it. A claim or a record changes nothing if the row says something else now;
* ``shard``: the row of totals that the call changes;
* ``token``, ``lease``, ``reserve``, ``fingerprint``: what goes into claimed contacts;
* ``max_attempts``: contacts that were claimed this often are not claimed again;
* ``first_rank`` (None for the low-water mark), ``end_rank``: between which ranks to look for
  contacts that wait; ``number``: how many of them to claim at most;
* ``takeover_limit``: how many contacts to claim in all, those with expired leases included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import sqlalchemy as sa

from campaign_model.lifecycle import CLAIMABLE, ContactStatus, resting_status
from campaign_model.store.tables import LOWEST_RANK, campaign_contacts, campaign_totals
from campaign_model.store.types import Array, JsonText, Money, UtcDateTime, Uuid

__all__ = [
    "ATTEMPTS_EXHAUSTED",
    "ATTEMPTS_EXHAUSTED_MESSAGE",
    "FAILED",
    "GENERATED",
    "GENERATING",
    "LOW_WATERMARK",
    "MAX_REPORTED_TOKENS",
    "NOT_CHECKED",
    "NOT_READY",
    "READY",
    "WAITING",
    "CampaignRow",
    "ClaimResult",
    "ClaimedContact",
    "HeldContact",
    "NextChance",
    "OutcomeRow",
    "Parameters",
    "Statements",
    "plan_once",
    "statement",
]

ATTEMPTS_EXHAUSTED = "attempts_exhausted"
"""Error code of a contact that was claimed ``max_attempts`` times without an outcome."""

ATTEMPTS_EXHAUSTED_MESSAGE = "claimed again and again, but no worker finished it"

MAX_REPORTED_TOKENS = 100
"""Tokens remembered per contact, to recognise a repeated report: far more than are ever needed."""

# The lifecycle's words, as SQL needs them.
WAITING = ", ".join(f"'{status}'" for status in ContactStatus if status in CLAIMABLE)
GENERATING = ContactStatus.GENERATING
GENERATED = ContactStatus.GENERATED
FAILED = ContactStatus.FAILED
NOT_CHECKED, READY, NOT_READY = map(resting_status, (None, (), ("a gap",)))

# The rank below which every contact is finished.
LOW_WATERMARK = f"""
coalesce(
    (
        SELECT max(low_watermark)
        FROM campaign_totals
        WHERE tenant_id = :tenant
          AND campaign_id = :campaign
    ),
    {LOWEST_RANK}
)
"""  # noqa: S608 - our own names

_TYPES: dict[str, Any] = {
    **{column.name: column.type for column in (*campaign_totals.c, *campaign_contacts.c)},
    "tenant": Uuid(),
    "campaign": Uuid(),
    "gate": sa.BigInteger(),
    "now": UtcDateTime(),
    "expected_status": sa.Text(),
    "template_config": sa.Text(),
    "generation_config": sa.Text(),
    "token": Uuid(),
    "lease": sa.Interval(),
    "reserve": Money(),
    "fingerprint": sa.Text(),
    "max_attempts": sa.BigInteger(),
    "first_rank": sa.BigInteger(),
    "end_rank": sa.BigInteger(),
    "number": sa.BigInteger(),
    "takeover_limit": sa.BigInteger(),
    "ids": Array(Uuid),
    "outcomes": sa.Text(),
    "cost": Money(),
    "gaps": JsonText(),
    "soon": UtcDateTime(),
    "next_expiry": UtcDateTime(),
    "next_try": UtcDateTime(),
}
"""The type of every parameter and result column, by its name."""

_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


def statement(sql: str, *columns: str) -> Any:
    """Make a statement of SQL text whose parameters and ``columns`` have the types above.

    White space is collapsed: psycopg keeps the parsed form of texts of up to 4,096 characters.
    """
    names = {*_PARAMETER.findall(sql)}
    text = sa.text(" ".join(sql.split()))
    text = text.bindparams(*(sa.bindparam(name, type_=_TYPES[name]) for name in sorted(names)))
    if not columns:
        return text
    return text.columns(*(sa.column(name, _TYPES.get(name)) for name in columns))


def plan_once(sql: str) -> str:
    """Put every parameter into a subquery, ``(SELECT :name)``, so that PostgreSQL plans once.

    PostgreSQL plans a prepared statement anew as long as plans for the values at hand look cheaper
    than one plan for all values. For tenants and campaigns that its statistics do not know yet
    they always do, and planning takes as long as execution. A subquery hides the value: both plans
    are the same, and the first one is kept.
    """
    return _PARAMETER.sub(r"(SELECT :\1)", sql)


class CampaignRow(NamedTuple):
    """The campaign as a statement locked it; the documents are JSON text."""

    status: str
    now: datetime
    template_config: str
    generation_config: str


class ClaimedContact(NamedTuple):
    """A contact that was claimed. A takeover is of one whose lease had expired."""

    id: UUID
    contact_id: UUID
    attempts: int
    revision: int
    rank: int
    reserved: Decimal
    is_takeover: bool


class ClaimResult(NamedTuple):
    """What a claim found and took.

    ``campaign`` is None if the campaign is as expected, and otherwise its row: then nothing was
    claimed. ``now`` is the time of the claim.
    """

    campaign: CampaignRow | None
    now: datetime
    contacts: Sequence[ClaimedContact]


class HeldContact(NamedTuple):
    """A locked contact: who holds it, which claims reported on it, and what is reserved.

    ``reported_tokens`` is a JSON array in text.
    """

    id: UUID
    status: str
    claim_token: UUID | None
    reported_tokens: str
    reserved: Decimal


class OutcomeRow(NamedTuple):
    """What an outcome changes in the contact that its claim holds.

    ``status`` is None for a contact that goes back to wait; its gaps then decide where. ``gaps``
    is None if the outcome says nothing about them. ``attempts`` is added to the contact's.
    """

    id: UUID
    token: UUID
    status: str | None
    attempts: int
    retry_after: timedelta | None
    gaps: tuple[str, ...] | None
    cost: Decimal
    unknown_costs: int
    error_code: str | None
    error: str | None


class NextChance(NamedTuple):
    """When a claim may get more: when the first lease expires, and when the first pause ends.

    ``any_exhausted`` says whether a contact was claimed too often to be claimed again.
    """

    next_expiry: datetime | None
    next_try: datetime | None
    any_exhausted: bool


Parameters = Mapping[str, Any]


class Statements(Protocol):
    """The functions of ``postgresql.py`` and ``sqlite.py``.

    ``claim``, ``lock_claimed`` and ``record`` return None if the tenant has no such campaign.
    """

    def claim(self, connection: sa.Connection, parameters: Parameters) -> ClaimResult | None:
        """Lock the campaign; claim contacts that wait, by rank, then those with expired leases."""

    def lock_claimed(
        self, connection: sa.Connection, parameters: Parameters
    ) -> tuple[CampaignRow, dict[UUID, HeldContact]] | None:
        """Lock the campaign, then its contacts ``ids`` in the order of their ids."""

    def record(
        self, connection: sa.Connection, parameters: Parameters, outcomes: Sequence[OutcomeRow]
    ) -> bool | None:
        """Lock the campaign and the contacts of ``outcomes``; write all outcomes, or nothing.

        Return False, with nothing written, if the campaign is not as expected, or if any contact
        has another token or is not generating. ``outcomes`` name each contact once.
        """

    def book_cost(self, connection: sa.Connection, parameters: Parameters) -> None:
        """Add ``cost``, ``unknown_costs`` and ``gaps``, reported by ``token``, to contact ``id``.

        End the claim if the contact still has its token, and change nothing else.
        """

    def renew(self, connection: sa.Connection, parameters: Parameters) -> None:
        """Set ``lease_expires_at`` of the locked contacts ``ids``."""

    def find_next_chance(self, connection: sa.Connection, parameters: Parameters) -> NextChance:
        """Look when the first contact can be claimed. One without a pause is due at ``soon``."""

    def fail_exhausted(
        self, connection: sa.Connection, parameters: Parameters
    ) -> Sequence[tuple[str, Decimal]]:
        """Fail the contacts that were claimed too often, unless a worker holds them.

        Return the status and the reservation that each of them had.
        """

    def raise_low_watermark(self, connection: sa.Connection, parameters: Parameters) -> None:
        """Raise the low-water mark to the first unfinished contact, unless the shard is locked."""
