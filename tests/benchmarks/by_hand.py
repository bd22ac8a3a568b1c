"""Claims and records of one campaign as one would write them with nothing but psycopg.

The same SQL as the library's, on a connection that plans each statement once. Without the
library's checks, errors, engines and other outcomes.
"""

from __future__ import annotations

import json
import random
import re
from datetime import timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid4

import psycopg

from campaign_model import recover_template_config
from campaign_model.store import postgresql
from campaign_model.store.locking import gate_key
from campaign_model.store.scope import SHARDS

LEASE = timedelta(minutes=5)
COST = Decimal("0.00144")


def _driver_sql(sql: str) -> str:
    return re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", " ".join(sql.split()))


CLAIM = _driver_sql(postgresql.CLAIM)
RECORD = _driver_sql(postgresql.RECORD)

_documents: dict[UUID, tuple[str, str, str]] = {}
"""Both documents of a campaign as last read, and the fingerprint of its steps."""


def connect(url: str) -> psycopg.Connection:
    """A connection on which a statement is planned once, and not each time for its values."""
    return psycopg.connect(url, options="-c plan_cache_mode=force_generic_plan")


def _parameters(tenant_id: UUID, campaign_id: UUID) -> dict[str, Any]:
    steps, config, fingerprint = _documents.get(campaign_id, ("", "", ""))
    return {
        "tenant": tenant_id,
        "campaign": campaign_id,
        "gate": gate_key(tenant_id, campaign_id),
        "now": None,
        "expected_status": "generating",
        "template_config": steps,
        "generation_config": config,
        "fingerprint": fingerprint,
        "shard": random.randrange(SHARDS),
    }


def claim(
    connection: psycopg.Connection,
    tenant_id: UUID,
    campaign_id: UUID,
    batch: int,
    first_rank: int | None,
) -> tuple[list[UUID], UUID, int | None]:
    """Return the claimed contacts, the token they were claimed by, and where to continue."""
    token = uuid4()
    claimed: list[Any] = []
    with connection.transaction():
        first_ranks = [None] if first_rank is None else [first_rank, None]
        while first_ranks and len(claimed) < batch:
            values = _parameters(tenant_id, campaign_id) | {
                "token": token,
                "lease": LEASE,
                "reserve": 0,
                "max_attempts": 5,
                "number": batch - len(claimed),
                "first_rank": first_ranks[0],
            }
            rows = connection.execute(CLAIM, values).fetchall()
            _, _, steps, config, _, *_ = rows[0]
            if steps is not None:
                fingerprint = recover_template_config(steps).value.fingerprint
                _documents[campaign_id] = steps, config, fingerprint
                continue
            claimed += [row[5:] for row in rows if row[5] is not None]
            first_ranks.pop(0)
    claimed.sort(key=itemgetter(4))
    return [row[0] for row in claimed], token, claimed[-1][4] + 1 if claimed else None


def record(
    connection: psycopg.Connection,
    tenant_id: UUID,
    campaign_id: UUID,
    ids: list[UUID],
    token: UUID,
) -> None:
    """Record all as generated at the same cost, or raise."""
    outcome = {
        "token": str(token),
        "status": "generated",
        "attempts": 0,
        "cost": str(COST),
        "unknown_costs": 0,
    }
    outcomes = json.dumps([{"id": str(id_), **outcome} for id_ in ids])
    with connection.transaction():
        values = _parameters(tenant_id, campaign_id) | {"outcomes": outcomes, "number": len(ids)}
        row = connection.execute(RECORD, values).fetchone()
        if row is None or not row[0]:
            raise RuntimeError("a lease was lost")


def drain(connection: psycopg.Connection, tenant_id: UUID, campaign_id: UUID, batch: int) -> None:
    """Claim and record until nothing is left."""
    first_rank = None
    while True:
        ids, token, first_rank = claim(connection, tenant_id, campaign_id, batch, first_rank)
        if not ids:
            return
        record(connection, tenant_id, campaign_id, ids, token)
