"""The worker loop's statements: what both engines offer, with which parameters and results.

``postgresql.py`` and ``sqlite.py`` have the names of :class:`Statements`. Parameters mean the
same in every statement of both:

* ``tenant``, ``campaign``: the campaign; ``gate``: the number of its advisory lock;
* ``now``: the time of a test's clock, or None for the database's;
* ``expected_status``, ``template_config``, ``generation_config``: the campaign row as the caller
  last read it. ``claim`` and ``record`` change nothing if the row has other values now;
* ``shard``: the row of totals that the call changes;
* ``token``, ``lease`` or ``lease_expires_at``, ``reserve``, ``fingerprint``: what goes into claimed
  contacts;
* ``max_attempts``: contacts that were claimed this often are not claimed again;
* ``first_rank``: the rank from which on to look for contacts that wait; None for the low-water mark
  (the rank below which every contact is finished);
* ``number``: how many contacts to claim at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, Required, TypedDict
from uuid import UUID
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from campaign_model.lifecycle import CLAIMABLE, ContactStatus, resting_status
from campaign_model.store.scope import Scope
from campaign_model.store.tables import LOWEST_RANK, campaign_contacts, campaign_totals
from campaign_model.store.types import Array, JsonText, Money, UtcDateTime, Uuid

ATTEMPTS_EXHAUSTED = "attempts_exhausted"
"""Error code of a contact that was claimed ``max_attempts`` times without an outcome."""

ATTEMPTS_EXHAUSTED_MESSAGE = "claimed again and again, but no worker finished it"

MAX_REPORTED_TOKENS = 100
"""How many tokens of claims and ids of paid calls a contact keeps, to recognise a repeated one.

That is far more than are ever needed.
"""

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

# Find when a claim may get more contacts: when the first lease expires, and when the first contact
# that waits is due. Also find whether any contact was claimed too often to be claimed again.
# (SELECT :campaign) hides the value from PostgreSQL's planner (see postgresql.py).
NEXT_CHANCE = f"""
SELECT min(lease_expires_at) FILTER (WHERE status = '{GENERATING}') AS next_expiry,
       min(coalesce(retry_at, :soon)) FILTER (WHERE status IN ({WAITING})) AS next_try,
       count(*) FILTER (
           WHERE attempts >= :max_attempts
             AND (status <> '{GENERATING}' OR lease_expires_at <= :now)
       ) > 0 AS any_exhausted
FROM campaign_contacts
WHERE tenant_id = :tenant
  AND campaign_id = (SELECT :campaign)
  AND status IN ({WAITING}, '{GENERATING}')
  AND rank >= {LOW_WATERMARK}
"""  # noqa: S608 - our own names

_TYPES: dict[str, Any] = {
    **{column.name: column.type for column in (*campaign_totals.c, *campaign_contacts.c)},
    **dict.fromkeys(("tenant", "campaign", "token", "call_id"), Uuid()),
    **dict.fromkeys(("now", "soon", "next_expiry", "next_try"), UtcDateTime()),
    **dict.fromkeys(("gate", "max_attempts", "number"), sa.BigInteger()),
    **dict.fromkeys(("first_rank", "first_unclaimed"), sa.BigInteger()),
    **dict.fromkeys(("expected_status", "fingerprint", "outcomes"), sa.Text()),
    **dict.fromkeys(("template_config", "generation_config"), sa.Text()),
    **dict.fromkeys(("new_ids", "contact_ids", "ranks", "contacts"), sa.Text()),
    "lease": sa.Interval(),
    "reserve": Money(),
    "ids": Array(Uuid),
    "gaps": JsonText(),
}
"""The type of every parameter and result column, by its name."""

Parameters = Mapping[str, Any]

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


_IS_SHARDED = sa.text("SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL")
_sharded: WeakKeyDictionary[sa.Dialect, bool] = WeakKeyDictionary()
"""What :func:`is_sharded` has found out, by the dialect of an engine."""


def is_sharded(connection: sa.Connection) -> bool:
    """Return True if the server is a Citus cluster.

    The first call for an engine asks the server. The answer is kept as long as the engine exists.
    """
    answer = _sharded.get(connection.dialect)
    if answer is None:
        answer = _sharded[connection.dialect] = bool(connection.scalar(_IS_SHARDED))
    return answer


def execute_as_driver_sql(scope: Scope, statement: Any, parameters: Parameters) -> Any:
    """Execute a statement on PostgreSQL as text of the driver, with values that the driver takes.

    This takes SQLAlchemy half as long as ``Connection.execute``, because it converts no value. The
    driver's types are right without a conversion: ``UUID``, ``Decimal``, and times with a zone.
    """
    connection = scope.connection
    sql, names = _driver_sql(statement, connection.dialect)
    values = parameters if names is None else tuple(parameters[name] for name in names)
    return connection.exec_driver_sql(sql, values)


@lru_cache(maxsize=1024)  # Each engine has a few entries, and a service may have many engines.
def _driver_sql(statement: Any, dialect: sa.Dialect) -> tuple[str, list[str] | None]:
    """Return the text in the notation of the driver, and the order of positional parameters."""
    compiled = statement.compile(dialect=dialect)
    return str(compiled), compiled.positiontup


class CampaignRow(NamedTuple):
    """The campaign as a statement locked it; the documents are JSON text."""

    status: str
    now: datetime
    template_config: str
    generation_config: str


class ClaimedContact(NamedTuple):
    """A contact that was claimed."""

    id: UUID
    contact_id: UUID
    attempts: int
    revision: int
    rank: int
    reserved: Decimal


class ClaimResult(NamedTuple):
    """What ``claim`` did, at the time ``now``.

    ``changed_campaign`` is None if the claim was made. It is the campaign row if this row differs
    from what the caller last read; then nothing was claimed.
    """

    now: datetime
    contacts: Sequence[ClaimedContact] = ()
    changed_campaign: CampaignRow | None = None


class HeldContact(NamedTuple):
    """A locked contact: the claim that holds it, and the money that is reserved for it.

    ``claim_token`` is the token of that claim, or None. ``reported_tokens`` is a JSON array in
    text: the tokens of the claims whose outcomes have been recorded. The token of the claim that
    exported the contact stays in ``claim_token``.
    """

    id: UUID
    status: str
    claim_token: UUID | None
    reported_tokens: str
    reserved: Decimal
    exported_at: datetime | None


class OutcomeRow(TypedDict, total=False):
    """What an outcome changes in the contact that its claim holds.

    ``status`` is missing for a contact that waits again; its gaps then decide its status. ``gaps``
    is missing if the outcome says nothing about them. ``attempts`` is added to the contact's.
    """

    id: Required[UUID]
    token: Required[UUID]
    cost: Required[Decimal]
    unknown_costs: Required[int]
    attempts: Required[int]
    status: ContactStatus
    retry_after: timedelta
    gaps: tuple[str, ...]
    error_code: str
    error: str


class Statements(Protocol):
    """The names of ``postgresql.py`` and ``sqlite.py``: functions, and statements to execute.

    ``claim`` and ``lock_claimed`` raise :class:`NotFound` if the tenant has no such campaign.
    """

    def claim(self, scope: Scope, parameters: Parameters) -> ClaimResult:
        """Lock the campaign, and claim the first contacts that wait, by rank."""

    def take_over(self, scope: Scope, parameters: Parameters) -> Sequence[ClaimedContact]:
        """Claim the contacts whose lease expired first. The caller has locked the campaign."""

    def lock_claimed(
        self, scope: Scope, parameters: Parameters, *, exclusively: bool = False
    ) -> tuple[CampaignRow, dict[UUID, HeldContact]]:
        """Lock the campaign, then its contacts ``ids`` in the order of their ids.

        Lock the campaign exclusively if the caller says so, or if it is not generating: a late
        result changes its row. Return the campaign row, and the contacts that exist by their ids.
        """

    def record(self, scope: Scope, parameters: Parameters, outcomes: Sequence[OutcomeRow]) -> bool:
        """Lock the campaign and the contacts of ``outcomes``; write all outcomes, or nothing.

        Return False, with nothing written, if the campaign does not exist or is not as expected, or
        if any contact has another token or is not generating. A campaign that has another status
        is not locked. ``outcomes`` name each contact once.
        """

    def fail_exhausted(self, scope: Scope, parameters: Parameters) -> Sequence[sa.Row[Any]]:
        """Fail the contacts that were claimed too often, unless a worker holds them.

        Return the ``status`` and the reservation (``reserved``) that each of them had.
        """

    # What these statements do is said above their SQL.
    book_cost: sa.TextClause
    book_call: sa.TextClause
    renew: sa.TextClause
    find_next_chance: sa.TextClause
    raise_low_watermark: sa.TextClause
