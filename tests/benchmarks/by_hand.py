"""Claim contacts and record outcomes with psycopg alone.

The statements are the library's, sent on a connection that plans each statement once. So this code
keeps the same promises for a success: the tenant (also as the setting of the transaction, for
row-level security), leases and tokens, totals, the cost, the revision of a contact, the history of
reports, expired leases, and the low-water mark. It lacks the checks of
arguments, the errors, other databases, other outcomes, budgets, and the second attempts.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid4

import psycopg

from campaign_model import recover_template_config
from campaign_model.store import postgresql, postgresql_locks
from campaign_model.store.locking import gate_key
from campaign_model.store.scope import SHARDS
from campaign_model.store.tenant_setting import TENANT_SETTING

LEASE = timedelta(minutes=5)
COST = Decimal("0.00144")


def _driver_sql(sql: str) -> str:
    # This connection makes one plan for all values, so no value is hidden from the planner.
    sql = re.sub(r"\(SELECT (:[a-z_]+|CAST\(:[a-z_]+ AS bigint\))\)", r"\1", sql)
    return re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", " ".join(sql.split()))


Contact = tuple[UUID, UUID, int, int, int]
"""A claimed contact: its id, the host's contact id, attempts, revision, rank."""

CLAIM = _driver_sql(postgresql.CLAIM)
TAKE_OVER = _driver_sql(postgresql.TAKE_OVER)
RAISE_LOW_WATERMARK = _driver_sql(postgresql.raise_low_watermark.text)
RECORD = _driver_sql(postgresql_locks.LOCKED_GENERATING + postgresql.RECORD)

_documents: dict[UUID, tuple[str, str, str]] = {}
"""Both documents of a campaign as last read, and the fingerprint of its steps."""


def connect(url: str) -> psycopg.Connection:
    """Connect so that a statement is planned once, and not each time for its values."""
    options = "-c plan_cache_mode=force_generic_plan"
    return psycopg.connect(url, autocommit=True, options=options)


@contextmanager
def transaction(connection: psycopg.Connection, tenant_id: UUID) -> Iterator[None]:
    """Begin with the setting of the tenant in the same message; commit, or roll back."""
    connection.execute(f"BEGIN; SET LOCAL {TENANT_SETTING} = '{tenant_id}'")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


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
) -> tuple[list[Contact], UUID, int | None]:
    """Return the claimed contacts, the token they were claimed by, and where to continue."""
    token = uuid4()
    claimed: list[Contact] = []
    with transaction(connection, tenant_id):
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
            now, changed_campaign, uncounted, *_ = rows[0]
            if changed_campaign is not None:
                campaign = json.loads(changed_campaign)
                steps, config = campaign["template_config"], campaign["generation_config"]
                fingerprint = recover_template_config(steps).value.fingerprint
                _documents[campaign_id] = steps, config, fingerprint
                continue
            _check_counted(uncounted)
            claimed += [row[3:] for row in rows if row[3] is not None]
            first_ranks.pop(0)
        if first_rank is None or any(rank % 1024 == 0 for *_, rank in claimed):
            connection.execute(RAISE_LOW_WATERMARK, values)
        if len(claimed) < batch:
            values |= {"now": now, "lease_expires_at": now + LEASE, "number": batch - len(claimed)}
            claimed += [row[:5] for row in connection.execute(TAKE_OVER, values)]
    claimed.sort(key=itemgetter(4))
    return claimed, token, claimed[-1][4] + 1 if claimed else None


def _check_counted(uncounted: str | None) -> None:
    if uncounted is not None:
        raise RuntimeError("a row of totals is missing")


def record(
    connection: psycopg.Connection,
    tenant_id: UUID,
    campaign_id: UUID,
    contacts: list[Contact],
    token: UUID,
) -> None:
    """Record all contacts as generated at the same cost, or raise."""
    outcome = {
        "token": str(token),
        "status": "generated",
        "attempts": 0,
        "cost": str(COST),
        "unknown_costs": 0,
    }
    outcomes = json.dumps([{"id": str(contact[0]), **outcome} for contact in contacts])
    with transaction(connection, tenant_id):
        values = _parameters(tenant_id, campaign_id) | {
            "outcomes": outcomes,
            "number": len(contacts),
        }
        row = connection.execute(RECORD, values).fetchone()
        if row is None:
            raise RuntimeError("a lease was lost")
        _check_counted(row[0])


def drain(connection: psycopg.Connection, tenant_id: UUID, campaign_id: UUID, batch: int) -> None:
    """Claim and record until nothing is left."""
    first_rank = None
    while True:
        contacts, token, first_rank = claim(connection, tenant_id, campaign_id, batch, first_rank)
        if not contacts:
            return
        record(connection, tenant_id, campaign_id, contacts, token)
