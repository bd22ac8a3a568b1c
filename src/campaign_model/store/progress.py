"""Progress of a campaign's generation, read from its totals in one query of constant cost."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.claims import Progress
from campaign_model.errors import NotFound
from campaign_model.store.connection import database_time
from campaign_model.store.scope import Scope
from campaign_model.store.tables import COUNTED, campaigns
from campaign_model.store.totals import Totals, join_totals, sum_columns
from campaign_model.store.types import (
    Money,
    Uuid,
    checked_id,
    database_clock,
    json_array,
    read_json,
)

__all__ = ["load_progress"]

_SUMS = sum_columns()

# The row comes as one JSON value: describing a column of a result takes SQLAlchemy longer than
# reading what is in it, and this query has twenty.
_QUERY = (
    join_totals(
        sa.select(
            json_array(
                sa.cast(campaigns.c.generation_config, sa.TEXT),
                campaigns.c.generation_started_at,
                campaigns.c.generation_completed_at,
                campaigns.c.finished_before_start,
                database_clock(),
                *(column.element for column in _SUMS),
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
_MONEY_COLUMNS = {column.name for column in _SUMS if isinstance(column.type, Money)}


def load_progress(scope: Scope, campaign_id: UUID) -> Progress:
    """Return how far the campaign is. Raise :class:`NotFound`."""
    text = scope.connection.scalar(
        _QUERY, {"tenant": scope.tenant_id, "campaign": checked_id(campaign_id)}
    )
    if text is None:
        raise NotFound("campaign", (campaign_id,))
    config, started, completed, finished_before_start, now, *sums = read_json(text)
    columns = {
        column.name: _amount(value, scope) if column.name in _MONEY_COLUMNS else value
        for column, value in zip(_SUMS, sums, strict=True)
    }
    total = Totals.from_columns(columns)
    per_second = None
    if started is not None:
        uses_own_clock = completed is None and scope.clock is not database_time
        until = scope.now() if uses_own_clock else _moment(completed or now)
        seconds = (until - _moment(started)).total_seconds()
        finished = total.finished - finished_before_start
        per_second = finished / seconds if seconds > 0 and finished > 0 else None
    return Progress(
        by_status={status: total.counts[status] for status in COUNTED},
        spent=total.spent,
        reserved=total.reserved,
        unknown_costs=total.unknown,
        budget=scope.codec.recover_generation_config(config).value.budget,
        per_second=per_second,
        seconds_left=total.unfinished / per_second if per_second else None,
    )


def _amount(number: int | Decimal, scope: Scope) -> Any:
    return Money().process_result_value(Decimal(number), scope.connection.dialect)


def _moment(text: str) -> datetime:
    """Read a time. PostgreSQL writes its zone; SQLite keeps only UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
