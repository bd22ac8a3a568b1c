"""Claims and records as somebody would write them for one campaign, with nothing but psycopg.

The same statements as the library's, with the same locks, the same constraints and the same shards
of totals; without a library's checks, errors, engines and other outcomes.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg

from campaign_model import recover_template_config

LEASE = timedelta(minutes=5)
COST = Decimal("0.00144")
SHARDS = 8

HELD = """
WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(%(gate)s)),
held AS MATERIALIZED (
    SELECT status, template_config::text, generation_config::text FROM gate, campaigns
    WHERE tenant_id = %(tenant)s AND id = %(campaign)s FOR SHARE OF campaigns
)
SELECT *, clock_timestamp() FROM held
"""
CLAIM = """
WITH picked AS (
    SELECT id, status AS was, reserved AS had FROM campaign_contacts
    WHERE tenant_id = %(tenant)s AND campaign_id = %(campaign)s
        AND status IN ('pending', 'enrichment_ok')
        AND rank >= %(first)s AND rank < %(end)s
        AND (retry_at IS NULL OR retry_at <= %(now)s)
    ORDER BY rank LIMIT %(number)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE campaign_contacts c SET
    status = CASE WHEN attempts >= 5 THEN 'failed' ELSE 'generating' END,
    attempts = CASE WHEN attempts >= 5 THEN attempts ELSE attempts + 1 END,
    revision = CASE WHEN steps_fingerprint != %(fingerprint)s THEN revision + 1 ELSE revision END,
    steps_fingerprint = %(fingerprint)s,
    claim_token = CASE WHEN attempts >= 5 THEN NULL ELSE %(token)s::uuid END,
    lease_expires_at = CASE WHEN attempts >= 5 THEN NULL ELSE %(until)s::timestamptz END,
    claimed_at = %(now)s, retry_at = NULL,
    reserved = CASE WHEN attempts >= 5 THEN 0 WHEN status = 'generating' THEN reserved ELSE 0 END,
    error_code = CASE WHEN attempts >= 5 THEN 'attempts_exhausted' END,
    error = CASE WHEN attempts >= 5 THEN 'claimed again and again' END
FROM picked
WHERE c.id = picked.id AND (c.tenant_id = %(tenant)s) IS TRUE
    AND (c.campaign_id = %(campaign)s) IS TRUE
RETURNING c.id, contact_id, status, attempts, revision, rank, c.reserved, was, had
"""
LOCK = """
SELECT id, status, claim_token, reported_tokens::text, enrichment_gaps::text, generation_cost,
    unknown_costs, reserved, attempts, steps_fingerprint, generated_at, error_code, error,
    lease_expires_at, retry_at
FROM campaign_contacts
WHERE (tenant_id = %(tenant)s) IS TRUE AND (campaign_id = %(campaign)s) IS TRUE
    AND id = ANY (%(ids)s)
ORDER BY id FOR NO KEY UPDATE
"""
WRITE = """
UPDATE campaign_contacts c SET
    status = w.status, claim_token = w.claim_token, reported_tokens = w.reported_tokens::jsonb,
    enrichment_gaps = w.enrichment_gaps::jsonb, generation_cost = w.generation_cost,
    unknown_costs = w.unknown_costs, reserved = w.reserved, attempts = w.attempts,
    steps_fingerprint = w.steps_fingerprint, generated_at = w.generated_at,
    error_code = w.error_code, error = w.error, lease_expires_at = w.lease_expires_at,
    retry_at = w.retry_at
FROM unnest(
    %s::text[], %s::uuid[], %s::text[], %s::text[], %s::numeric[], %s::bigint[], %s::numeric[],
    %s::bigint[], %s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::timestamptz[],
    %s::timestamptz[], %s::uuid[]
) AS w (
    status, claim_token, reported_tokens, enrichment_gaps, generation_cost, unknown_costs, reserved,
    attempts, steps_fingerprint, generated_at, error_code, error, lease_expires_at, retry_at, id
)
WHERE (tenant_id = %s) IS TRUE AND (campaign_id = %s) IS TRUE AND c.id = w.id
"""
COUNTED = (
    *("pending", "enrichment_ok", "enrichment_needed", "generating", "generated", "failed"),
    *("excluded", "cost", "unknown_costs", "erased_cost", "erased_unknown_costs", "reserved"),
)
TOTALS = f"""
INSERT INTO campaign_totals (tenant_id, campaign_id, shard, {", ".join(COUNTED)})
VALUES (%(tenant)s, %(campaign)s, %(shard)s, {", ".join(f"%({name})s" for name in COUNTED)})
ON CONFLICT (tenant_id, campaign_id, shard) DO UPDATE SET
    {", ".join(f"{name} = campaign_totals.{name} + excluded.{name}" for name in COUNTED)}
"""  # noqa: S608 - our own names
NOTHING = dict.fromkeys(COUNTED, 0)
END = 2**63 - 1

_fingerprints: dict[str, str] = {}


def _held(connection: psycopg.Connection, place: dict[str, Any]) -> tuple[str, str, datetime]:
    gate = int.from_bytes(place["campaign"].bytes[-8:], signed=True)
    row = connection.execute(HELD, place | {"gate": gate}).fetchone()
    assert row is not None
    status, steps, _config, now = row
    if steps not in _fingerprints:
        _fingerprints[steps] = recover_template_config(steps).value.fingerprint
    return status, _fingerprints[steps], now


def claim(
    connection: psycopg.Connection, place: dict[str, Any], batch: int, first: int
) -> tuple[list[Any], UUID, int]:
    """The claimed rows, the token they were claimed by, and where to go on from."""
    token = uuid4()
    with connection.transaction():
        status, fingerprint, now = _held(connection, place)
        if status != "generating":
            return [], token, first
        found: list[Any] = []
        windows = [(first, END), (-END, first)] if first != -END else [(first, END)]
        for low, high in windows:
            values = {
                "first": low,
                "end": high,
                "number": batch - len(found),
                "now": now,
                "until": now + LEASE,
                "fingerprint": fingerprint,
                "token": token,
            }
            found += connection.execute(CLAIM, place | values).fetchall()
            if len(found) == batch:
                break
        if found:
            delta = NOTHING | {"generating": len(found)}
            for row in found:
                delta[row[7]] -= 1
            shard = random.randrange(SHARDS)
            connection.execute(TOTALS, place | delta | {"shard": shard})
    found.sort(key=lambda row: row[5])
    return found, token, found[-1][5] + 1 if found else -END


def record(
    connection: psycopg.Connection, place: dict[str, Any], ids: list[UUID], token: UUID
) -> None:
    """All generated at the same cost, or an error."""
    with connection.transaction():
        _, fingerprint, now = _held(connection, place)
        rows = connection.execute(LOCK, place | {"ids": sorted(ids)}).fetchall()
        writes = []
        for row in rows:
            if row[1] != "generating" or row[2] != token or row[9] != fingerprint:
                raise RuntimeError(f"lost {row[0]}")
            tokens = json.dumps([*json.loads(row[3]), str(token)])
            writes.append(
                (
                    *("generated", None, tokens, row[4], row[5] + COST, row[6], Decimal(0), row[8]),
                    *(fingerprint, now.astimezone(UTC), None, None, None, row[14], row[0]),
                )
            )
        if len(writes) != len(ids):
            raise RuntimeError("lost")
        arrays = [[*column] for column in zip(*writes, strict=True)]
        connection.execute(WRITE, [*arrays, place["tenant"], place["campaign"]])
        delta = NOTHING | {
            "generating": -len(writes),
            "generated": len(writes),
            "cost": COST * len(writes),
        }
        shard = random.randrange(SHARDS)
        connection.execute(TOTALS, place | delta | {"shard": shard})


def drain(connection: psycopg.Connection, tenant_id: UUID, campaign_id: UUID, batch: int) -> None:
    """Claim and record until nothing is left."""
    place = {"tenant": tenant_id, "campaign": campaign_id}
    first = -END
    while True:
        rows, token, first = claim(connection, place, batch, first)
        if not rows:
            return
        record(connection, place, [row[0] for row in rows], token)
