"""How far a campaign is, asked for again and again while workers run: one statement, built once."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.claims import Progress
from campaign_model.errors import NotFound
from campaign_model.store import totals
from campaign_model.store.scope import Scope, database_time
from campaign_model.store.tables import COUNTED, campaigns
from campaign_model.store.types import (
    Money,
    Uuid,
    checked_id,
    database_clock,
    json_array,
    read_json,
)

__all__ = ["progress"]

# As one value: a column costs more on its way through the driver than what is in it.
_STATEMENT = (
    totals.joined(
        sa.select(
            json_array(
                sa.cast(campaigns.c.generation_config, sa.TEXT),
                campaigns.c.generation_started_at,
                campaigns.c.generation_completed_at,
                campaigns.c.finished_before_start,
                database_clock(),
                *totals.gist(),
            )
        ),
        campaigns,
    )
    .where(
        campaigns.c.tenant_id == sa.bindparam("tenant", type_=Uuid),
        campaigns.c.id == sa.bindparam("campaign", type_=Uuid),
    )
    .group_by(campaigns.c.tenant_id, campaigns.c.id)
)
_MONEY = Money()


def progress(scope: Scope, campaign_id: UUID) -> Progress:
    """How far the campaign is. Raises :class:`NotFound`."""
    found = scope.connection.scalar(_STATEMENT, scope.place(checked_id(campaign_id)))
    if found is None:
        raise NotFound("campaign", (campaign_id,))
    config, started, completed, finished_before, now, *counts, spent, unknown, reserved = read_json(
        found
    )
    total = totals.Totals(dict(zip(COUNTED, counts, strict=True)))
    rate = None
    if started is not None:
        own_time = completed is None and scope.clock is not database_time
        until = scope.now() if own_time else _moment(completed or now)
        seconds = (until - _moment(started)).total_seconds()
        finished = total.finished - finished_before
        rate = finished / seconds if seconds > 0 and finished > 0 else None
    return Progress(
        by_status={status: total.counts[status] for status in COUNTED},
        spent=_money(spent, scope),
        reserved=_money(reserved, scope),
        unknown_costs=unknown,
        budget=scope.codec.recover_generation_config(config).value.budget,
        per_second=rate,
        seconds_left=total.left / rate if rate else None,
    )


def _money(number: int | Decimal, scope: Scope) -> Any:
    return _MONEY.process_result_value(Decimal(number), scope.connection.dialect)


def _moment(text: str) -> datetime:
    """A time in UTC: PostgreSQL says its zone, SQLite keeps no other."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
