"""Claims and records as somebody would write them for one campaign, with nothing but psycopg.

The same statements as the library's, with the same locks, the same constraints and the same shards
of totals; without a library's checks, errors, engines and other outcomes.
"""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid4

import psycopg

from campaign_model import recover_template_config

LEASE = timedelta(minutes=5)
COST = Decimal("0.00144")
SHARDS = 8
END = 2**63 - 1

_KNOWN = """
WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(%(gate)s)),
held AS MATERIALIZED (
    SELECT status, template_config::text AS steps, generation_config::text AS config
    FROM gate, campaigns
    WHERE tenant_id = %(tenant)s AND id = %(campaign)s FOR SHARE OF campaigns
),
known AS MATERIALIZED (
    SELECT *, encode(sha256(convert_to(steps || config, 'UTF8')), 'hex') AS digest,
        clock_timestamp() AS now
    FROM held
)
"""
_MAY = "(SELECT digest = %(digest)s AND status = 'generating' FROM known)"
_OTHER = "SELECT now, CASE WHEN digest != %(digest)s THEN digest END, steps"


def _adding(names: str, values: str, rows: str) -> str:
    place = "tenant_id, campaign_id, shard"
    added = ", ".join(
        f"{name} = campaign_totals.{name} + excluded.{name}" for name in names.split()
    )
    return f"""
counted AS (
    INSERT INTO campaign_totals ({place}, {", ".join(names.split())})
    SELECT %(tenant)s, %(campaign)s, %(shard)s, {values} FROM {rows} HAVING count(*) > 0
    ON CONFLICT ({place}) DO UPDATE SET {added}
)
"""  # noqa: S608 - our own names


_MOVED = _adding(
    "pending enrichment_ok generating failed reserved",
    """-count(*) FILTER (WHERE was = 'pending'), -count(*) FILTER (WHERE was = 'enrichment_ok'),
    count(*) FILTER (WHERE status = 'generating'), count(*) FILTER (WHERE status = 'failed'),
    -coalesce(sum(had) FILTER (WHERE status != 'generating'), 0)""",
    "taken",
)
CLAIM = f"""
{_KNOWN},
picked AS (
    SELECT id, status AS was, reserved AS had, attempts >= 5 AS spent FROM campaign_contacts
    WHERE {_MAY} AND tenant_id = %(tenant)s AND campaign_id = %(campaign)s
        AND status IN ('pending', 'enrichment_ok')
        AND rank >= %(first)s AND rank < %(end)s
        AND (retry_at IS NULL OR retry_at <= (SELECT now FROM known))
    ORDER BY rank LIMIT %(number)s FOR NO KEY UPDATE SKIP LOCKED
),
taken AS (
    UPDATE campaign_contacts c SET
        status = CASE WHEN spent THEN 'failed' ELSE 'generating' END,
        attempts = attempts + CASE WHEN spent THEN 0 ELSE 1 END,
        revision = CASE
            WHEN steps_fingerprint != %(fingerprint)s THEN revision + 1 ELSE revision
        END,
        steps_fingerprint = %(fingerprint)s,
        claim_token = CASE WHEN NOT spent THEN %(token)s::uuid END,
        lease_expires_at = CASE WHEN NOT spent THEN (SELECT now + %(lease)s FROM known) END,
        claimed_at = (SELECT now FROM known), retry_at = NULL,
        reserved = CASE WHEN spent THEN 0 WHEN status = 'generating' THEN reserved ELSE 0 END,
        error_code = CASE WHEN spent THEN 'attempts_exhausted' END,
        error = CASE WHEN spent THEN 'claimed again and again' END
    FROM picked WHERE c.id = picked.id
    RETURNING c.id, contact_id, status, attempts, revision, rank, c.reserved, was, had
),
{_MOVED}
{_OTHER}, taken.* FROM known LEFT JOIN taken ON true
"""  # noqa: S608 - our own names
_DONE = _adding(
    "generating generated cost unknown_costs reserved",
    """-count(*), count(*), coalesce(sum(cost), 0), count(*) - count(cost),
    -(SELECT sum(reserved) FROM below)""",
    "written",
)
RECORD = f"""
{_KNOWN},
sent AS MATERIALIZED (SELECT * FROM unnest(%(ids)s::uuid[], %(costs)s::numeric[]) AS s (id, cost)),
below AS MATERIALIZED (
    SELECT id, status, claim_token, reported_tokens, reserved
    FROM campaign_contacts c
    WHERE (SELECT count(*) FROM held) > 0
        AND CASE WHEN tenant_id = %(tenant)s THEN true ELSE false END
        AND CASE WHEN campaign_id = %(campaign)s THEN true ELSE false END
        AND id = ANY (ARRAY(SELECT id FROM sent))
    ORDER BY id FOR NO KEY UPDATE OF c
),
theirs AS MATERIALIZED (
    SELECT count(*) = %(number)s AS every FROM below
    WHERE {_MAY} AND status = 'generating' AND claim_token = %(token)s
        AND jsonb_array_length(reported_tokens) < 100
),
written AS (
    UPDATE campaign_contacts c SET
        status = 'generated', claim_token = NULL, lease_expires_at = NULL,
        reported_tokens = reported_tokens || to_jsonb(%(token)s::text),
        generation_cost = generation_cost + coalesce(cost, 0),
        unknown_costs = unknown_costs + CASE WHEN cost IS NULL THEN 1 ELSE 0 END,
        reserved = 0, steps_fingerprint = %(fingerprint)s, error_code = NULL, error = NULL,
        generated_at = (SELECT now FROM known)
    FROM sent
    WHERE (SELECT every FROM theirs)
        AND CASE WHEN tenant_id = %(tenant)s THEN true ELSE false END
        AND CASE WHEN campaign_id = %(campaign)s THEN true ELSE false END
        AND c.id = sent.id
    RETURNING cost
),
{_DONE}
{_OTHER}, (SELECT every FROM theirs) FROM known
"""  # noqa: S608 - our own names

_read: dict[UUID, tuple[str, str]] = {}


def _before(place: dict[str, Any]) -> dict[str, Any]:
    """What is known of the campaign: its documents' digest, and the fingerprint of its steps."""
    digest, fingerprint = _read.get(place["campaign"], ("", ""))
    gate = int.from_bytes(place["campaign"].bytes[-8:], signed=True)
    return place | {"gate": gate, "digest": digest, "fingerprint": fingerprint}


def connect(url: str) -> psycopg.Connection:
    """A connection on which a statement is planned once, and not each time for its values."""
    return psycopg.connect(url, options="-c plan_cache_mode=force_generic_plan")


def claim(
    connection: psycopg.Connection, place: dict[str, Any], batch: int, first: int
) -> tuple[list[Any], UUID, int]:
    """The claimed rows, the token they were claimed by, and where to go on from."""
    token = uuid4()
    found: list[Any] = []
    shard = random.randrange(SHARDS)
    with connection.transaction():
        windows = [(first, END), (-END, first)] if first != -END else [(first, END)]
        while windows:
            values = _before(place) | {
                "first": windows[0][0],
                "end": windows[0][1],
                "number": batch - len(found),
                "lease": LEASE,
                "token": token,
                "shard": shard,
            }
            rows = connection.execute(CLAIM, values).fetchall()
            _now, digest, steps = rows[0][:3]
            if digest is not None:
                _read[place["campaign"]] = digest, recover_template_config(steps).value.fingerprint
                continue
            found += [row[3:] for row in rows if row[3] is not None]
            if len(found) == batch:
                break
            windows.pop(0)
    found.sort(key=itemgetter(5))
    return found, token, found[-1][5] + 1 if found else -END


def record(
    connection: psycopg.Connection, place: dict[str, Any], ids: list[UUID], token: UUID
) -> None:
    """All generated at the same cost, or an error."""
    with connection.transaction():
        values = _before(place) | {
            "ids": sorted(ids),
            "costs": [COST] * len(ids),
            "number": len(ids),
            "token": token,
            "shard": random.randrange(SHARDS),
        }
        row = connection.execute(RECORD, values).fetchone()
        if row is None or not row[3]:
            raise RuntimeError("lost")


def drain(connection: psycopg.Connection, tenant_id: UUID, campaign_id: UUID, batch: int) -> None:
    """Claim and record until nothing is left."""
    place = {"tenant": tenant_id, "campaign": campaign_id}
    first = -END
    while True:
        rows, token, first = claim(connection, place, batch, first)
        if not rows:
            return
        record(connection, place, [row[0] for row in rows], token)
