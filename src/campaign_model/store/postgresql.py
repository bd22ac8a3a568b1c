"""The worker loop's statements for PostgreSQL.

:mod:`campaign_model.store.statements` says what each function does and what the parameters mean.
``generation.py`` describes the protocol, ``locking.py`` the order of locks.

The CTEs of a statement take their locks in that order: the gate (an advisory lock), the campaign
row, contacts, totals. Each CTE reads from the one before it, so PostgreSQL cannot execute them in
another order. ``is_expected`` says whether the campaign row still has the values that the caller
last read.

A statement also adds the change of the totals to the row ``shard`` of ``campaign_totals``. If that
row does not exist yet, the statement returns the change in the column ``uncounted``, as JSON, and
``add_to_totals`` adds it.

The statements keep the rules of a database that is sharded by tenant (decision 44), except
``_CLAIM``, which is only sent to a database that is not sharded.

PostgreSQL should plan a statement once for all values. It plans each execution anew as long as
plans for the values at hand look cheaper. For a campaign that the statistics do not contain yet,
these plans always look cheaper, and planning takes as long as the execution. So a query that
searches the contacts of a campaign hides from the planner which campaign it is, at which rank it
starts and where it ends: the planner cannot see a value in a subquery, such as
``(SELECT :campaign)``. Each subquery takes about two microseconds of every execution. A query that
finds its rows by a key has the same plan for every value, so it hides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.errors import NotFound
from campaign_model.lifecycle import Status
from campaign_model.store.postgresql_locks import (
    LOCKED_CAMPAIGN,
    LOCKED_GENERATING,
    LOCKED_NOT_GENERATING,
    LOCKED_WITHOUT_WAIT,
)
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
    execute_as_driver_sql,
    is_sharded,
    statement,
)
from campaign_model.store.tables import LOWEST_RANK
from campaign_model.store.totals import Totals, add_to_totals
from campaign_model.store.types import json_parameter, read_json

# Claim the first contacts that wait, by rank.
#
# Whatever the statistics say about other campaigns, the plan must walk along the index of ranks
# and end after :number contacts. "CASE ... IS NOT NULL" hides from the planner which contacts can
# be claimed: if it expects few, it sorts all contacts of the campaign. "= ANY (ARRAY(...))" hides
# how many are claimed: if it expects many, it reads the whole table to join them.
#
# The tenant is hidden too: if the statistics contain few tenants, PostgreSQL expects fewer rows for
# a new tenant, and plans each execution anew. A sharded database finds the server by the tenant, so
# it gets the statement with the plain tenant (_CLAIM_SHARDED).
CLAIM = f"""
{LOCKED_CAMPAIGN},
expected AS (
    SELECT status = :expected_status
               AND template_config = :template_config
               AND generation_config = :generation_config AS is_expected,
           now + :lease AS lease_expires_at
    FROM campaign
),
waiting AS (
    SELECT id, status
    FROM campaign_contacts
    WHERE tenant_id = (SELECT :tenant)
      AND campaign_id = (SELECT :campaign)
      AND (SELECT is_expected FROM expected)
      AND rank >= coalesce((SELECT CAST(:first_rank AS bigint)), {LOW_WATERMARK})
      AND CASE
              WHEN status IN ({WAITING})
               AND attempts < :max_attempts
               AND (retry_at IS NULL OR retry_at <= (SELECT now FROM campaign))
              THEN true
          END IS NOT NULL
    ORDER BY rank
    LIMIT (SELECT :number)
    FOR NO KEY UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE campaign_contacts
    SET status = '{GENERATING}',
        attempts = attempts + 1,
        revision = revision + CASE WHEN steps_fingerprint <> :fingerprint THEN 1 ELSE 0 END,
        steps_fingerprint = :fingerprint,
        claim_token = :token,
        claimed_at = (SELECT now FROM campaign),
        lease_expires_at = (SELECT lease_expires_at FROM expected),
        retry_at = NULL,
        reserved = :reserve,
        error_code = NULL,
        error = NULL
    WHERE tenant_id = :tenant
      AND id = ANY (ARRAY(SELECT id FROM waiting))
    RETURNING id, contact_id, attempts, revision, rank
),
moved AS (
    SELECT -count(*) FILTER (WHERE status = '{NOT_CHECKED}') AS pending,
           -count(*) FILTER (WHERE status = '{READY}') AS enrichment_ok,
           count(*) AS generating
    FROM waiting
    HAVING count(*) > 0
),
counted AS (
    UPDATE campaign_totals AS totals
    SET pending = totals.pending + moved.pending,
        enrichment_ok = totals.enrichment_ok + moved.enrichment_ok,
        generating = totals.generating + moved.generating
    FROM moved
    WHERE tenant_id = :tenant
      AND campaign_id = :campaign
      AND shard = :shard
    RETURNING 1
)
SELECT now,
       CASE WHEN NOT is_expected THEN CAST(row_to_json(campaign) AS text) END AS changed_campaign,
       (
           SELECT CAST(row_to_json(moved) AS text)
           FROM moved
           WHERE NOT EXISTS (SELECT FROM counted)
       ) AS uncounted,
       id, contact_id, attempts, revision, rank
FROM campaign
CROSS JOIN expected
LEFT JOIN claimed ON true
"""

# Take over contacts whose lease has expired. The campaign is locked already.
TAKE_OVER = f"""
WITH expired AS (
    SELECT id
    FROM campaign_contacts
    WHERE tenant_id = :tenant
      AND campaign_id = (SELECT :campaign)
      AND status = '{GENERATING}'
      AND attempts < :max_attempts
      AND lease_expires_at <= :now
      AND rank >= {LOW_WATERMARK}
    ORDER BY lease_expires_at
    LIMIT (SELECT :number)
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE campaign_contacts
SET attempts = attempts + 1,
    revision = revision + CASE WHEN steps_fingerprint <> :fingerprint THEN 1 ELSE 0 END,
    steps_fingerprint = :fingerprint,
    claim_token = :token,
    claimed_at = :now,
    lease_expires_at = :lease_expires_at
WHERE tenant_id = :tenant
  AND id = ANY (ARRAY(SELECT id FROM expired))
RETURNING id, contact_id, attempts, revision, rank, reserved
"""

# Lock contacts by id, to see which claims still hold them. The text continues LOCKED_GENERATING,
# LOCKED_NOT_GENERATING or LOCKED_WITHOUT_WAIT.
LOCK_CLAIMED = """
, held AS (
    SELECT id, campaign_id, status, claim_token, reported_tokens, reserved, exported_at
    FROM campaign_contacts
    WHERE tenant_id = :tenant
      AND id = ANY (ARRAY(SELECT unnest(:ids)))
      AND EXISTS (SELECT FROM campaign)
    ORDER BY id
    FOR NO KEY UPDATE
)
SELECT campaign.status AS campaign_status, now, template_config, generation_config,
       id, held.status, claim_token, CAST(reported_tokens AS text) AS reported_tokens, reserved,
       exported_at
FROM campaign
LEFT JOIN held ON held.campaign_id = :campaign
"""

# The tokens that a contact remembers, with room for one more.
REMEMBERED_TOKENS = f"""
CASE WHEN jsonb_array_length(reported_tokens) < {MAX_REPORTED_TOKENS} THEN reported_tokens
     ELSE reported_tokens - 0 END
"""

# Write the outcomes of claims if every one of them still holds its contact, and return one row.
# Otherwise write nothing, and return no row. The text continues LOCKED_GENERATING or
# LOCKED_NOT_GENERATING.
RECORD = f"""
, outcome AS (
    SELECT *
    FROM json_to_recordset(CAST(:outcomes AS json)) AS outcome (
        id uuid,
        token uuid,
        status text,
        attempts bigint,
        retry_after interval,
        gaps jsonb,
        cost numeric,
        unknown_costs bigint,
        error_code text,
        error text
    )
),
contact AS (
    SELECT id, campaign_id, status, claim_token, reserved, enrichment_gaps
    FROM campaign_contacts
    WHERE tenant_id = :tenant
      AND id = ANY (ARRAY(SELECT id FROM outcome))
      AND (
          SELECT status = :expected_status
             AND template_config = :template_config
             AND generation_config = :generation_config
          FROM campaign
      )
    ORDER BY id
    FOR NO KEY UPDATE
),
held AS (
    SELECT outcome.*,
           now,
           now + retry_after AS retry_at,
           to_jsonb(CAST(token AS text)) AS reported,
           coalesce(gaps, enrichment_gaps) AS gaps_after,
           reserved AS reserved_before
    FROM contact
    JOIN outcome ON outcome.id = contact.id AND token = claim_token
    CROSS JOIN campaign
    WHERE campaign_id = :campaign
      AND contact.status = '{GENERATING}'
),
written AS (
    UPDATE campaign_contacts AS contact
    SET status = CASE
            WHEN held.status IS NOT NULL THEN held.status
            WHEN gaps_after IS NULL THEN '{NOT_CHECKED}'
            WHEN gaps_after = '[]' THEN '{READY}'
            ELSE '{NOT_READY}'
        END,
        claim_token = NULL,
        lease_expires_at = NULL,
        retry_at = held.retry_at,
        attempts = contact.attempts + held.attempts,
        reported_tokens = {REMEMBERED_TOKENS} || reported,
        enrichment_gaps = gaps_after,
        generation_cost = generation_cost + held.cost,
        unknown_costs = contact.unknown_costs + held.unknown_costs,
        reserved = 0,
        error_code = held.error_code,
        error = held.error,
        generated_at = CASE WHEN held.status = '{GENERATED}' THEN now ELSE generated_at END
    FROM held
    WHERE contact.tenant_id = :tenant
      AND contact.id = held.id
      AND (SELECT count(*) FROM held) = :number
    RETURNING contact.status, reserved_before, cost, held.unknown_costs
),
moved AS (
    SELECT count(*) FILTER (WHERE status = '{NOT_CHECKED}') AS pending,
           count(*) FILTER (WHERE status = '{READY}') AS enrichment_ok,
           count(*) FILTER (WHERE status = '{NOT_READY}') AS enrichment_needed,
           -count(*) AS generating,
           count(*) FILTER (WHERE status = '{GENERATED}') AS generated,
           count(*) FILTER (WHERE status = '{FAILED}') AS failed,
           sum(cost) AS cost,
           sum(unknown_costs) AS unknown_costs,
           -sum(reserved_before) AS reserved
    FROM written
    HAVING count(*) > 0
),
counted AS (
    UPDATE campaign_totals AS totals
    SET pending = totals.pending + moved.pending,
        enrichment_ok = totals.enrichment_ok + moved.enrichment_ok,
        enrichment_needed = totals.enrichment_needed + moved.enrichment_needed,
        generating = totals.generating + moved.generating,
        generated = totals.generated + moved.generated,
        failed = totals.failed + moved.failed,
        cost = totals.cost + moved.cost,
        unknown_costs = totals.unknown_costs + moved.unknown_costs,
        reserved = totals.reserved + moved.reserved
    FROM moved
    WHERE tenant_id = :tenant
      AND campaign_id = :campaign
      AND shard = :shard
    RETURNING 1
)
SELECT CASE WHEN NOT EXISTS (SELECT FROM counted) THEN CAST(row_to_json(moved) AS text) END
           AS uncounted
FROM moved
"""

# Book the cost of a claim whose result does not count, and end the claim if it still holds.
book_cost: Any = statement(f"""
UPDATE campaign_contacts
SET generation_cost = generation_cost + :cost,
    unknown_costs = unknown_costs + :unknown_costs,
    reported_tokens = {REMEMBERED_TOKENS} || CAST('"' || CAST(:token AS text) || '"' AS jsonb),
    enrichment_gaps = coalesce(CAST(:gaps AS jsonb), enrichment_gaps),
    claim_token = nullif(claim_token, :token),
    lease_expires_at = CASE WHEN claim_token <> :token THEN lease_expires_at END,
    reserved = CASE WHEN claim_token <> :token THEN reserved ELSE 0 END
WHERE tenant_id = :tenant
  AND id = :id
""")

# Book the cost of a paid call of a claim that holds, and remember the call if it has an id.
book_call: Any = statement(f"""
UPDATE campaign_contacts
SET generation_cost = generation_cost + :cost,
    unknown_costs = unknown_costs + :unknown_costs,
    reserved = greatest(reserved - :cost, 0),
    reported_tokens = CASE WHEN :call_id IS NULL THEN reported_tokens
        ELSE {REMEMBERED_TOKENS} || CAST('"' || CAST(:call_id AS text) || '"' AS jsonb) END
WHERE tenant_id = :tenant
  AND id = :id
""")

# Extend the leases of locked contacts.
renew: Any = statement("""
UPDATE campaign_contacts
SET lease_expires_at = :lease_expires_at
WHERE tenant_id = :tenant
  AND id = ANY (ARRAY(SELECT unnest(:ids)))
""")

# Fail the contacts that no worker holds and that may not be claimed again.
FAIL_EXHAUSTED = f"""
WITH exhausted AS (
    SELECT id, status, reserved
    FROM campaign_contacts
    WHERE tenant_id = :tenant
      AND campaign_id = (SELECT :campaign)
      AND attempts >= :max_attempts
      AND (status IN ({WAITING}) OR (status = '{GENERATING}' AND lease_expires_at <= :now))
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE campaign_contacts AS contact
SET status = '{FAILED}',
    claim_token = NULL,
    lease_expires_at = NULL,
    retry_at = NULL,
    reserved = 0,
    error_code = '{ATTEMPTS_EXHAUSTED}',
    error = '{ATTEMPTS_EXHAUSTED_MESSAGE}'
FROM exhausted
WHERE contact.tenant_id = :tenant
  AND contact.id = exhausted.id
RETURNING exhausted.status, exhausted.reserved
"""

# Read the id of this transaction, if it has one, on the server that has the campaign.
_TRANSACTION_ID = statement("""
SELECT pg_current_xact_id_if_assigned()
FROM campaigns
WHERE tenant_id = :tenant
  AND id = :campaign
""")

# Raise the low-water mark to the rank of the first unfinished contact, unless another transaction
# has locked the row of totals. The CASE has the same purpose as in CLAIM.
raise_low_watermark: Any = statement(f"""
WITH first_unfinished AS MATERIALIZED (
    SELECT rank
    FROM campaign_contacts
    WHERE tenant_id = :tenant
      AND campaign_id = (SELECT :campaign)
      AND CASE WHEN status IN ({WAITING}, '{GENERATING}') THEN true END IS NOT NULL
      AND rank >= {LOW_WATERMARK}
    ORDER BY rank
    LIMIT 1
),
own_shard AS (
    SELECT shard
    FROM campaign_totals
    WHERE tenant_id = :tenant
      AND campaign_id = :campaign
      AND shard = :shard
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE campaign_totals AS totals
SET low_watermark = rank
FROM first_unfinished
CROSS JOIN own_shard
WHERE tenant_id = :tenant
  AND campaign_id = :campaign
  AND totals.shard = own_shard.shard
  AND rank > coalesce(low_watermark, {LOWEST_RANK})
""")

_CAMPAIGN_COLUMNS = ("campaign_status", "now", "template_config", "generation_config")
_CLAIM = statement(CLAIM)
_CLAIM_SHARDED = statement(CLAIM.replace("(SELECT :tenant)", ":tenant"))
_TAKE_OVER = statement(TAKE_OVER, *ClaimedContact._fields)
_LOCK_CLAIMED_GENERATING, _LOCK_CLAIMED_EXCLUSIVELY, _LOCK_CLAIMED_WITHOUT_WAIT = (
    statement(locked + LOCK_CLAIMED, *_CAMPAIGN_COLUMNS, *HeldContact._fields)
    for locked in (LOCKED_GENERATING, LOCKED_NOT_GENERATING, LOCKED_WITHOUT_WAIT)
)
_RECORD_GENERATING = statement(LOCKED_GENERATING + RECORD)
_RECORD_NOT_GENERATING = statement(LOCKED_NOT_GENERATING + RECORD)
find_next_chance: Any = statement(NEXT_CHANCE, "next_expiry", "next_try", "any_exhausted")
_FAIL_EXHAUSTED = statement(FAIL_EXHAUSTED, "status", "reserved")


def claim(scope: Scope, parameters: Parameters) -> ClaimResult:
    """Claim the first contacts that wait, by rank, if the campaign row is as last read.

    Each row of the statement has ``now``, ``changed_campaign``, ``uncounted``, and the columns of
    one claimed contact, which are NULL if no contact was claimed.
    """
    claim_waiting = _CLAIM_SHARDED if is_sharded(scope.connection) else _CLAIM
    rows = execute_as_driver_sql(scope, claim_waiting, parameters).all()
    if not rows:
        raise NotFound("campaign", (parameters["campaign"],))
    now, changed_campaign, uncounted, first_contact, *_ = rows[0]
    if changed_campaign is not None:
        campaign = CampaignRow(**json.loads(changed_campaign) | {"now": now})
        return ClaimResult(now, changed_campaign=campaign)
    _add_uncounted(scope, parameters, uncounted)
    if first_contact is None:
        return ClaimResult(now)
    reserved = parameters["reserve"]
    contacts = [
        ClaimedContact(id_, contact_id, attempts, revision, rank, reserved)
        for _, _, _, id_, contact_id, attempts, revision, rank in rows
    ]
    return ClaimResult(now, contacts)


def take_over(scope: Scope, parameters: Parameters) -> Sequence[ClaimedContact]:
    return [*map(ClaimedContact._make, scope.connection.execute(_TAKE_OVER, parameters))]


def lock_claimed(
    scope: Scope, parameters: Parameters, *, exclusively: bool = False
) -> tuple[CampaignRow, dict[UUID, HeldContact]]:
    # Each row has the columns of the campaign and of one locked contact, NULL if there is none.
    rows: Sequence[Any] = ()
    if not exclusively:
        rows = scope.connection.execute(_LOCK_CLAIMED_GENERATING, parameters).all()
    if not rows:
        # If this transaction holds the shared lock of the row, waiting for the exclusive lock could
        # be a deadlock. A transaction that has locked a row has an id.
        may_hold_lock = not exclusively and scope.connection.scalar(_TRANSACTION_ID, parameters)
        lock = _LOCK_CLAIMED_WITHOUT_WAIT if may_hold_lock else _LOCK_CLAIMED_EXCLUSIVELY
        rows = scope.connection.execute(lock, parameters).all()
        if not rows:
            raise NotFound("campaign", (parameters["campaign"],))
    contacts = [HeldContact._make(row[4:]) for row in rows if row.id is not None]
    return CampaignRow._make(rows[0][:4]), {contact.id: contact for contact in contacts}


def record(scope: Scope, parameters: Parameters, outcomes: Sequence[OutcomeRow]) -> bool:
    outcome_parameters = {"outcomes": json_parameter(outcomes), "number": len(outcomes)}
    is_generating = parameters["expected_status"] == Status.GENERATING
    record_all = _RECORD_GENERATING if is_generating else _RECORD_NOT_GENERATING
    row = execute_as_driver_sql(scope, record_all, {**parameters, **outcome_parameters}).first()
    if row is None:
        return False
    _add_uncounted(scope, parameters, row.uncounted)
    return True


def fail_exhausted(scope: Scope, parameters: Parameters) -> Sequence[sa.Row[Any]]:
    return scope.connection.execute(_FAIL_EXHAUSTED, parameters).all()


def _add_uncounted(scope: Scope, parameters: Parameters, uncounted: str | None) -> None:
    """Add ``uncounted``, the change of the totals that a statement could not add itself, if any."""
    if uncounted is not None:
        delta = Totals.from_columns(read_json(uncounted))
        add_to_totals(scope, parameters["campaign"], delta, shard=parameters["shard"])
