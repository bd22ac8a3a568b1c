"""Claims and records as somebody would write them for one campaign, with nothing but psycopg.

The same statements as the library's, with the same locks, the same constraints and the same shards
of totals; without a library's checks, errors, engines and other outcomes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg

from campaign_model import recover_template_config

LEASE = timedelta(minutes=5)
COST = Decimal("0.00144")
SHARDS = 8

_SHARED = """
WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(%(gate)s)),
held AS MATERIALIZED (
    SELECT status, template_config, generation_config FROM gate, campaigns
    WHERE tenant_id = %(tenant)s AND id = %(campaign)s FOR SHARE OF campaigns
)
"""
_CAMPAIGN = "SELECT status, template_config::text, generation_config::text, clock_timestamp()"
HELD = f"{_SHARED} {_CAMPAIGN} FROM held"
LOCK = f"""
{_SHARED},
below AS MATERIALIZED (
    SELECT id, status, claim_token, reported_tokens, enrichment_gaps, generation_cost,
        unknown_costs, reserved, attempts, steps_fingerprint, generated_at, error_code, error,
        lease_expires_at, retry_at
    FROM campaign_contacts c
    WHERE (SELECT count(*) FROM held) > 0
        AND CASE WHEN tenant_id = %(tenant)s THEN true ELSE false END
        AND CASE WHEN campaign_id = %(campaign)s THEN true ELSE false END
        AND id = ANY (ARRAY(SELECT unnest(%(ids)s::uuid[])))
    ORDER BY id FOR NO KEY UPDATE OF c
)
{_CAMPAIGN}, (SELECT json_agg(below)::text FROM below) FROM held
"""  # noqa: S608 - our own names
MOVED = ("pending", "enrichment_ok", "generating", "failed")
COUNTED = (
    *("pending", "enrichment_ok", "enrichment_needed", "generating", "generated", "failed"),
    *("excluded", "cost", "unknown_costs", "erased_cost", "erased_unknown_costs", "reserved"),
)
_PLACE = "tenant_id, campaign_id, shard"


def _added(names: Iterable[str]) -> str:
    added = ", ".join(f"{name} = campaign_totals.{name} + excluded.{name}" for name in names)
    return f"ON CONFLICT ({_PLACE}) DO UPDATE SET {added}"


_moves = ", ".join(
    f"count(*) FILTER (WHERE status = '{one}') - count(*) FILTER (WHERE was = '{one}')"
    for one in MOVED
)
CLAIM = f"""
WITH picked AS (
    SELECT id, status AS was, reserved AS had FROM campaign_contacts
    WHERE tenant_id = %(tenant)s AND campaign_id = %(campaign)s
        AND status IN ('pending', 'enrichment_ok')
        AND rank >= %(first)s AND rank < %(end)s
        AND (retry_at IS NULL OR retry_at <= %(now)s)
    ORDER BY rank LIMIT %(number)s FOR NO KEY UPDATE SKIP LOCKED
),
changed AS (
    UPDATE campaign_contacts c SET
        status = CASE WHEN attempts >= 5 THEN 'failed' ELSE 'generating' END,
        attempts = CASE WHEN attempts >= 5 THEN attempts ELSE attempts + 1 END,
        revision = CASE
            WHEN steps_fingerprint != %(fingerprint)s THEN revision + 1 ELSE revision
        END,
        steps_fingerprint = %(fingerprint)s,
        claim_token = CASE WHEN attempts >= 5 THEN NULL ELSE %(token)s::uuid END,
        lease_expires_at = CASE WHEN attempts >= 5 THEN NULL ELSE %(until)s::timestamptz END,
        claimed_at = %(now)s, retry_at = NULL,
        reserved = CASE
            WHEN attempts >= 5 THEN 0 WHEN status = 'generating' THEN reserved ELSE 0
        END,
        error_code = CASE WHEN attempts >= 5 THEN 'attempts_exhausted' END,
        error = CASE WHEN attempts >= 5 THEN 'claimed again and again' END
    FROM picked
    WHERE c.id = picked.id AND CASE WHEN c.tenant_id = %(tenant)s THEN true ELSE false END
        AND CASE WHEN c.campaign_id = %(campaign)s THEN true ELSE false END
    RETURNING c.id, contact_id, status, attempts, revision, rank, c.reserved, was, had
),
counted AS (
    INSERT INTO campaign_totals ({_PLACE}, {", ".join(MOVED)}, reserved)
    SELECT %(tenant)s, %(campaign)s, %(shard)s,
        {_moves},
        -coalesce(sum(had) FILTER (WHERE status != 'generating'), 0)
    FROM changed HAVING count(*) > 0
    {_added((*MOVED, "reserved"))}
)
SELECT * FROM changed
"""  # noqa: S608 - our own names
WRITE = f"""
WITH new AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS sent (
        id uuid, status text, claim_token uuid, reported_tokens jsonb, enrichment_gaps jsonb,
        generation_cost numeric, unknown_costs bigint, reserved numeric, attempts bigint,
        steps_fingerprint text, generated_at timestamptz, error_code text, error text,
        lease_expires_at timestamptz, retry_at timestamptz
    )
),
written AS (
    UPDATE campaign_contacts c SET
        status = new.status, claim_token = new.claim_token,
        reported_tokens = new.reported_tokens, enrichment_gaps = new.enrichment_gaps,
        generation_cost = new.generation_cost, unknown_costs = new.unknown_costs,
        reserved = new.reserved, attempts = new.attempts,
        steps_fingerprint = new.steps_fingerprint, generated_at = new.generated_at,
        error_code = new.error_code, error = new.error, lease_expires_at = new.lease_expires_at,
        retry_at = new.retry_at
    FROM new
    WHERE CASE WHEN tenant_id = %(tenant)s THEN true ELSE false END
        AND CASE WHEN campaign_id = %(campaign)s THEN true ELSE false END
        AND c.id = ANY (ARRAY(SELECT id FROM new)) AND c.id = new.id
    RETURNING c.id
)
INSERT INTO campaign_totals ({_PLACE}, {", ".join(COUNTED)})
SELECT %(tenant)s, %(campaign)s, %(shard)s, {", ".join(f"%({name})s" for name in COUNTED)}
WHERE (SELECT count(*) FROM written) >= 0
{_added(COUNTED)}
"""  # noqa: S608 - our own names
NOTHING = dict.fromkeys(COUNTED, 0)
END = 2**63 - 1

_fingerprints: dict[str, str] = {}
_read = json.JSONDecoder(parse_float=Decimal).decode
_write = json.JSONEncoder(default=str).encode


def _gate(place: dict[str, Any]) -> dict[str, Any]:
    return place | {"gate": int.from_bytes(place["campaign"].bytes[-8:], signed=True)}


def _fingerprint(steps: str) -> str:
    if steps not in _fingerprints:
        _fingerprints[steps] = recover_template_config(steps).value.fingerprint
    return _fingerprints[steps]


def claim(
    connection: psycopg.Connection, place: dict[str, Any], batch: int, first: int
) -> tuple[list[Any], UUID, int]:
    """The claimed rows, the token they were claimed by, and where to go on from."""
    token = uuid4()
    with connection.transaction():
        held = connection.execute(HELD, _gate(place)).fetchone()
        assert held is not None
        status, steps, _config, now = held
        if status != "generating":
            return [], token, first
        found: list[Any] = []
        shard = random.randrange(SHARDS)
        windows = [(first, END), (-END, first)] if first != -END else [(first, END)]
        for low, high in windows:
            values = {
                "first": low,
                "end": high,
                "number": batch - len(found),
                "now": now,
                "until": now + LEASE,
                "fingerprint": _fingerprint(steps),
                "token": token,
                "shard": shard,
            }
            found += connection.execute(CLAIM, place | values).fetchall()
            if len(found) == batch:
                break
    found.sort(key=lambda row: row[5])
    return found, token, found[-1][5] + 1 if found else -END


def record(
    connection: psycopg.Connection, place: dict[str, Any], ids: list[UUID], token: UUID
) -> None:
    """All generated at the same cost, or an error."""
    with connection.transaction():
        locking = _gate(place) | {"ids": sorted(ids)}
        held = connection.execute(LOCK, locking).fetchone()
        assert held is not None
        _, steps, _, now, below = held
        fingerprint = _fingerprint(steps)
        writes = _read(below or "[]")
        for new in writes:
            if (
                new["status"] != "generating"
                or new["claim_token"] != str(token)
                or new["steps_fingerprint"] != fingerprint
            ):
                raise RuntimeError(f"lost {new['id']}")
            new["status"] = "generated"
            new["claim_token"] = new["lease_expires_at"] = None
            new["error_code"] = new["error"] = None
            new["reported_tokens"].append(str(token))
            new["generation_cost"] += COST
            new["reserved"] = 0
            new["generated_at"] = now
        if len(writes) != len(ids):
            raise RuntimeError("lost")
        values = {
            "rows": _write(writes),
            "shard": random.randrange(SHARDS),
            "generating": -len(writes),
            "generated": len(writes),
            "cost": COST * len(writes),
        }
        connection.execute(WRITE, place | NOTHING | values)


def drain(connection: psycopg.Connection, tenant_id: UUID, campaign_id: UUID, batch: int) -> None:
    """Claim and record until nothing is left."""
    place = {"tenant": tenant_id, "campaign": campaign_id}
    first = -END
    while True:
        rows, token, first = claim(connection, place, batch, first)
        if not rows:
            return
        record(connection, place, [row[0] for row in rows], token)
