"""Pages of campaigns with their totals: statements built once for each set of filters."""

from __future__ import annotations

import base64
from collections.abc import Collection
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.campaign import CampaignSummary, Page
from campaign_model.lifecycle import Status
from campaign_model.store import totals
from campaign_model.store.scope import Scope
from campaign_model.store.tables import campaigns
from campaign_model.store.types import Array, UtcDateTime, Uuid, any_of

__all__ = ["page"]

_TABLE = campaigns.c
_MOMENT = sa.TIMESTAMP(timezone=True)
_PLACE = (_TABLE.created_at, _TABLE.id)

_FILTERS: dict[str, sa.ColumnElement[bool]] = {
    "status": any_of(_TABLE.status, sa.bindparam("status", type_=Array(sa.Text))),
    "owner_id": _TABLE.owner_id == sa.bindparam("owner_id", type_=Uuid),
    "template_id": _TABLE.template_id == sa.bindparam("template_id", type_=Uuid),
    # As one value, of which an index knows where it begins.
    "after": sa.tuple_(*_PLACE)
    < sa.tuple_(sa.bindparam("moment", type_=UtcDateTime), sa.bindparam("last", type_=Uuid)),
}


def page(
    scope: Scope,
    *,
    status: Collection[Status] | None,
    owner_id: UUID | None,
    template_id: UUID | None,
    deleted: bool,
    limit: int,
    after: str | None,
) -> Page[CampaignSummary]:
    """As :meth:`Campaigns.list`."""
    if type(limit) is not int or not 1 <= limit <= 500:
        raise ValueError(f"limit is a whole number from 1 to 500, not {limit!r}")
    given: dict[str, Any] = {"owner_id": owner_id, "template_id": template_id}
    if status is not None:
        one_or_more = (status,) if isinstance(status, str) else status
        given["status"] = [Status(one).value for one in one_or_more]
    if after is not None:
        given["after"] = after
        given["moment"], given["last"] = _read_cursor(after)
    filters = frozenset(name for name in _FILTERS if given.get(name) is not None)
    rows = scope.connection.execute(
        _statement(scope.connection.dialect.name, filters, limit + 1, deleted=deleted),
        given | {"tenant": scope.tenant_id},
    ).all()
    found = tuple([CampaignSummary(*row) for row in rows[:limit]])
    return Page(found, _cursor(found[-1]) if len(rows) > limit else None)


@lru_cache(maxsize=256)
def _statement(
    dialect: str, filters: frozenset[str], limit: int, *, deleted: bool
) -> sa.Select[Any]:
    """The rows of a page, with the fields of a summary as their columns."""
    # Written out: PostgreSQL would plan each time anew for a limit that it does not know.
    number: sa.ColumnElement[int] = sa.literal_column(str(limit), sa.Integer)
    wanted = [_TABLE.tenant_id == sa.bindparam("tenant", type_=Uuid)]
    wanted += [condition for name, condition in _FILTERS.items() if name in filters]
    if not deleted:
        wanted.append(_TABLE.is_active)
    summed = {column.name: column for column in totals.settled_sums()}
    names = [field.name for field in attrs.fields(CampaignSummary)]
    found = (
        sa.select(_TABLE.tenant_id, *(_TABLE[name] for name in names if name not in summed))
        .where(*wanted)
        .order_by(*(column.desc() for column in _PLACE))
        .limit(number)
        .subquery()
    )
    order = (found.c.created_at.desc(), found.c.id.desc())
    if dialect == "postgresql":
        # Each campaign's few rows are summed as they are met: nothing is sorted to be grouped.
        sums = totals.of(sa.select(*summed.values()), found).lateral()
        columns = [sums.c[name] if name in summed else found.c[name] for name in names]
        # A summary sees to the time zone itself.
        plain = [
            sa.type_coerce(one, _MOMENT if isinstance(one.type, UtcDateTime) else one.type)
            for one in columns
        ]
        return sa.select(*plain).join_from(found, sums, sa.true()).order_by(*order)
    columns = [summed[name] if name in summed else found.c[name] for name in names]
    return totals.joined(sa.select(*columns), found).group_by(*found.c).order_by(*order)


def _cursor(last: CampaignSummary) -> str:
    text = f"{last.created_at.isoformat()} {last.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        moment, id_ = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(id_)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"after= is not the next of a page: {cursor!r}") from error
