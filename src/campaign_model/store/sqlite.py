"""The worker loop's statements for SQLite.

:mod:`campaign_model.store.statements` says what each function does and what the parameters mean;
``postgresql.py`` has the same functions. On SQLite, only one transaction can write at a time
(``BEGIN IMMEDIATE``). So nothing is locked here, and what a function reads cannot change before the
function writes.

An amount of money is an integer here. SQLite turns a sum of more than 64 bits into a float, and a
CHECK would refuse it: a paid outcome could not be recorded. So ``CAST(... AS INTEGER)`` turns the
float into the largest integer. A reader can see that this is no real cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model._values import exact_money
from campaign_model.errors import NotFound
from campaign_model.store.scope import Scope
from campaign_model.store.statements import (
    ATTEMPTS_EXHAUSTED,
    ATTEMPTS_EXHAUSTED_MESSAGE,
    FAILED,
    GENERATED,
    GENERATING,
    LOW_WATERMARK,
    MAX_REPORTED_TOKENS,
    NEXT_CHANCE,
    NOT_CHECKED,
    NOT_READY,
    READY,
    WAITING,
    CampaignRow,
    ClaimedContact,
    ClaimResult,
    HeldContact,
    OutcomeRow,
    Parameters,
    statement,
)
from campaign_model.store.tables import LOWEST_RANK
from campaign_model.store.totals import Totals, add_to_totals
from campaign_model.store.types import Money, UtcDateTime, json_parameter

# Read the campaign row, and the time.
CAMPAIGN = """
SELECT status AS campaign_status,
       coalesce(:now, strftime('%Y-%m-%d %H:%M:%f000', 'now')) AS now,
       template_config,
       generation_config
FROM campaigns
WHERE tenant_id = :tenant
  AND id = :campaign
"""

# Find the first contacts that wait, by rank.
FIND_WAITING = f"""
SELECT id, status
FROM campaign_contacts
WHERE tenant_id = :tenant
  AND campaign_id = :campaign
  AND status IN ({WAITING})
  AND attempts < :max_attempts
  AND (retry_at IS NULL OR retry_at <= :now)
  AND rank >= coalesce(:first_rank, {LOW_WATERMARK})
ORDER BY rank
LIMIT :number
"""

# Find the contacts whose lease expired first.
FIND_EXPIRED = f"""
SELECT id
FROM campaign_contacts
WHERE tenant_id = :tenant
  AND campaign_id = :campaign
  AND status = '{GENERATING}'
  AND attempts < :max_attempts
  AND lease_expires_at <= :now
  AND rank >= {LOW_WATERMARK}
ORDER BY lease_expires_at
LIMIT :number
"""

# Claim the contacts of :ids. A contact that is taken over keeps its reservation.
CLAIM = f"""
UPDATE campaign_contacts
SET status = '{GENERATING}',
    attempts = attempts + 1,
    revision = revision + CASE WHEN steps_fingerprint <> :fingerprint THEN 1 ELSE 0 END,
    steps_fingerprint = :fingerprint,
    claim_token = :token,
    claimed_at = :now,
    lease_expires_at = :lease_expires_at,
    retry_at = NULL,
    reserved = CASE WHEN status = '{GENERATING}' THEN reserved ELSE :reserve END,
    error_code = NULL,
    error = NULL
WHERE tenant_id = :tenant
  AND id IN (SELECT value FROM json_each(:ids))
RETURNING id, contact_id, attempts, revision, rank, reserved
"""

# Read contacts by id, to see which claims still hold them.
CLAIMED = """
SELECT id, status, claim_token, reported_tokens, reserved, exported_at
FROM campaign_contacts
WHERE tenant_id = :tenant
  AND campaign_id = :campaign
  AND id IN (SELECT value FROM json_each(:ids))
"""

# The tokens that a contact remembers, with room for one more.
REMEMBERED_TOKENS = f"""
CASE WHEN json_array_length(reported_tokens) < {MAX_REPORTED_TOKENS} THEN reported_tokens
     ELSE json_remove(reported_tokens, '$[0]') END
"""

# Write the outcomes of claims that still hold their contacts.
RECORD = f"""
UPDATE campaign_contacts AS contact
SET status = CASE
        WHEN outcome.status IS NOT NULL THEN outcome.status
        WHEN coalesce(outcome.gaps, enrichment_gaps) IS NULL THEN '{NOT_CHECKED}'
        WHEN json_array_length(coalesce(outcome.gaps, enrichment_gaps)) = 0 THEN '{READY}'
        ELSE '{NOT_READY}'
    END,
    claim_token = NULL,
    lease_expires_at = NULL,
    retry_at = outcome.retry_at,
    attempts = contact.attempts + outcome.attempts,
    reported_tokens = json_insert({REMEMBERED_TOKENS}, '$[#]', outcome.token),
    enrichment_gaps = coalesce(outcome.gaps, enrichment_gaps),
    generation_cost = CAST(generation_cost + outcome.cost AS INTEGER),
    unknown_costs = contact.unknown_costs + outcome.unknown_costs,
    reserved = 0,
    error_code = outcome.error_code,
    error = outcome.error,
    generated_at = CASE WHEN outcome.status = '{GENERATED}' THEN :now ELSE generated_at END
FROM (
    SELECT json_extract(value, '$.id') AS id,
           json_extract(value, '$.token') AS token,
           json_extract(value, '$.status') AS status,
           json_extract(value, '$.attempts') AS attempts,
           json_extract(value, '$.retry_at') AS retry_at,
           json_extract(value, '$.gaps') AS gaps,
           json_extract(value, '$.cost') AS cost,
           json_extract(value, '$.unknown_costs') AS unknown_costs,
           json_extract(value, '$.error_code') AS error_code,
           json_extract(value, '$.error') AS error
    FROM json_each(:outcomes)
) AS outcome
WHERE contact.tenant_id = :tenant
  AND contact.id = outcome.id
RETURNING id, status
"""

# Book the cost of a claim whose result does not count, and end the claim if it still holds.
book_cost: Any = statement(f"""
UPDATE campaign_contacts
SET generation_cost = CAST(generation_cost + :cost AS INTEGER),
    unknown_costs = unknown_costs + :unknown_costs,
    reported_tokens = json_insert({REMEMBERED_TOKENS}, '$[#]', :token),
    enrichment_gaps = coalesce(:gaps, enrichment_gaps),
    claim_token = nullif(claim_token, :token),
    lease_expires_at = CASE WHEN claim_token <> :token THEN lease_expires_at END,
    reserved = CASE WHEN claim_token <> :token THEN reserved ELSE 0 END
WHERE tenant_id = :tenant
  AND id = :id
""")

# Book the cost of a paid call of a claim that holds, and remember the call if it has an id.
book_call: Any = statement(f"""
UPDATE campaign_contacts
SET generation_cost = CAST(generation_cost + :cost AS INTEGER),
    unknown_costs = unknown_costs + :unknown_costs,
    reserved = max(reserved - :cost, 0),
    reported_tokens = CASE
        WHEN :call_id IS NULL THEN reported_tokens
        ELSE json_insert({REMEMBERED_TOKENS}, '$[#]', :call_id)
    END
WHERE tenant_id = :tenant
  AND id = :id
""")

# Extend the leases of contacts.
renew: Any = statement("""
UPDATE campaign_contacts
SET lease_expires_at = :lease_expires_at
WHERE tenant_id = :tenant
  AND id IN (SELECT value FROM json_each(:ids))
""")

# Find the contacts that no worker holds and that may not be claimed again.
EXHAUSTED = f"""
SELECT id, status, reserved
FROM campaign_contacts
WHERE tenant_id = :tenant
  AND campaign_id = :campaign
  AND attempts >= :max_attempts
  AND (
      status IN ({WAITING})
      OR (status = '{GENERATING}' AND lease_expires_at <= :now)
  )
"""

# Fail the contacts of :ids.
_FAIL_EXHAUSTED = statement(f"""
UPDATE campaign_contacts
SET status = '{FAILED}',
    claim_token = NULL,
    lease_expires_at = NULL,
    retry_at = NULL,
    reserved = 0,
    error_code = '{ATTEMPTS_EXHAUSTED}',
    error = '{ATTEMPTS_EXHAUSTED_MESSAGE}'
WHERE tenant_id = :tenant
  AND id IN (SELECT value FROM json_each(:ids))
""")

# Raise the low-water mark to the rank of the first unfinished contact.
raise_low_watermark: Any = statement(f"""
UPDATE campaign_totals
SET low_watermark = first_unfinished.rank
FROM (
    SELECT rank
    FROM campaign_contacts
    WHERE tenant_id = :tenant
      AND campaign_id = :campaign
      AND status IN ({WAITING}, '{GENERATING}')
      AND rank >= {LOW_WATERMARK}
    ORDER BY rank
    LIMIT 1
) AS first_unfinished
WHERE tenant_id = :tenant
  AND campaign_id = :campaign
  AND shard = :shard
  AND first_unfinished.rank > coalesce(low_watermark, {LOWEST_RANK})
""")

_CAMPAIGN = statement(CAMPAIGN, "campaign_status", "now", "template_config", "generation_config")
_FIND_WAITING = statement(FIND_WAITING, "id", "status")
_FIND_EXPIRED = statement(FIND_EXPIRED, "id")
_CLAIM = statement(CLAIM, *ClaimedContact._fields)
_CLAIMED = statement(CLAIMED, *HeldContact._fields)
_RECORD = statement(RECORD, "id", "status")
find_next_chance: Any = statement(NEXT_CHANCE, "next_expiry", "next_try", "any_exhausted")
_EXHAUSTED = statement(EXHAUSTED, "id", "status", "reserved")


def claim(scope: Scope, parameters: Parameters) -> ClaimResult:
    """Claim the first contacts that wait, by rank, if the campaign row is as last read."""
    campaign = _read_campaign(scope, parameters)
    if not _is_as_last_read(campaign, parameters):
        return ClaimResult(campaign.now, changed_campaign=campaign)
    now = campaign.now
    waiting = scope.connection.execute(_FIND_WAITING, {**parameters, "now": now}).all()
    delta = Totals()
    for row in waiting:
        delta.move(row.status, GENERATING)
    add_to_totals(scope, parameters["campaign"], delta, shard=parameters["shard"])
    lease_expires_at = now + parameters["lease"]
    times = {"now": now, "lease_expires_at": lease_expires_at}
    return ClaimResult(now, _claim_each(scope, {**parameters, **times}, waiting))


def take_over(scope: Scope, parameters: Parameters) -> Sequence[ClaimedContact]:
    expired = scope.connection.execute(_FIND_EXPIRED, parameters).all()
    return _claim_each(scope, parameters, expired)


def _claim_each(
    scope: Scope, parameters: Parameters, rows: Sequence[sa.Row[Any]]
) -> Sequence[ClaimedContact]:
    """Claim the contacts of ``rows``, and return them as they are now."""
    ids = [row.id for row in rows]
    claimed = scope.connection.execute(_CLAIM, {**parameters, "ids": ids})
    return [ClaimedContact._make(row) for row in claimed]


def lock_claimed(
    scope: Scope,
    parameters: Parameters,
    *,
    exclusively: bool = False,  # noqa: ARG001 - the transaction is the lock
) -> tuple[CampaignRow, dict[UUID, HeldContact]]:
    campaign = _read_campaign(scope, parameters)
    contacts = [HeldContact._make(row) for row in scope.connection.execute(_CLAIMED, parameters)]
    return campaign, {contact.id: contact for contact in contacts}


def record(scope: Scope, parameters: Parameters, outcomes: Sequence[OutcomeRow]) -> bool:
    ids = [outcome["id"] for outcome in outcomes]
    campaign, contacts = lock_claimed(scope, {**parameters, "ids": ids})
    if not _is_as_last_read(campaign, parameters) or any(
        outcome["id"] not in contacts
        or contacts[outcome["id"]].claim_token != outcome["token"]
        or contacts[outcome["id"]].status != GENERATING
        for outcome in outcomes
    ):
        return False
    now = campaign.now
    dialect = scope.connection.dialect
    documents = []
    for outcome in outcomes:
        cost = Money().process_bind_param(outcome["cost"], dialect)
        document: dict[str, Any] = {**outcome, "cost": cost}
        if "retry_after" in outcome:
            retry_at = now + outcome["retry_after"]
            document["retry_at"] = UtcDateTime().process_bind_param(retry_at, dialect)
        documents.append(document)
    written = scope.connection.execute(
        _RECORD, {**parameters, "now": now, "outcomes": json_parameter(documents)}
    ).all()
    delta = Totals()
    for row in written:
        delta.move(contacts[row.id].status, row.status)
    with exact_money():
        for outcome in outcomes:
            delta.cost += outcome["cost"]
            delta.unknown_costs += outcome["unknown_costs"]
            delta.reserved -= contacts[outcome["id"]].reserved
    add_to_totals(scope, parameters["campaign"], delta, shard=parameters["shard"])
    return True


def fail_exhausted(scope: Scope, parameters: Parameters) -> Sequence[sa.Row[Any]]:
    exhausted = scope.connection.execute(_EXHAUSTED, parameters).all()
    ids = [row.id for row in exhausted]
    scope.connection.execute(_FAIL_EXHAUSTED, {**parameters, "ids": ids})
    return exhausted


def _read_campaign(scope: Scope, parameters: Parameters) -> CampaignRow:
    row = scope.connection.execute(_CAMPAIGN, parameters).one_or_none()
    if row is None:
        raise NotFound("campaign", (parameters["campaign"],))
    return CampaignRow._make(row)


def _is_as_last_read(campaign: CampaignRow, parameters: Parameters) -> bool:
    """Return True if status and documents of the campaign are those in ``parameters``."""
    return bool(
        campaign.status == parameters["expected_status"]
        and campaign.template_config == parameters["template_config"]
        and campaign.generation_config == parameters["generation_config"]
    )
