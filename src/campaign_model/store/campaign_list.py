"""The list of campaigns with their present totals, one page after another, and their number.

``next`` of a page contains the key of its last campaign (creation time and id). The following page
begins after this key (*keyset pagination*), so that reading it takes no longer than the first page.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._values import checked_id, checked_number, checked_word, optional_text, text
from campaign_model.campaign import MAX_NAME, CampaignSummary, Page
from campaign_model.errors import InvalidArgument, short_repr
from campaign_model.lifecycle import Status
from campaign_model.store.campaign_rows import repairs_of_status, repairs_of_sum, repairs_of_times
from campaign_model.store.scope import Scope
from campaign_model.store.tables import campaign_totals, campaigns
from campaign_model.store.totals import is_shard_of, join_totals, summary_columns
from campaign_model.store.types import Array, UtcDateTime, Uuid, any_of, read_status, readable_time

_CAMPAIGN = campaigns.c
_PAGE_KEY = (_CAMPAIGN.created_at, _CAMPAIGN.id)
_MAX_PAGE = 500

_LAST = sa.bindparam("last", type_=Uuid)
_last_campaign = campaigns.alias("last_campaign")

# The creation time in the row of the page's last campaign. Python may not have this time; then the
# time that the cursor contains is another one.
_moment_of_last = sa.func.coalesce(
    sa.select(_last_campaign.c.created_at)
    .where(
        _last_campaign.c.tenant_id == sa.bindparam("tenant", type_=Uuid),
        _last_campaign.c.id == _LAST,
    )
    .scalar_subquery(),
    sa.bindparam("moment", type_=UtcDateTime),
    type_=UtcDateTime(),
)

_FILTERS: dict[str, sa.ColumnElement[bool]] = {
    "status": any_of(_CAMPAIGN.status, sa.bindparam("status", type_=Array(sa.Text))),
    "owner_id": _CAMPAIGN.owner_id == sa.bindparam("owner_id", type_=Uuid),
    "template_id": _CAMPAIGN.template_id == sa.bindparam("template_id", type_=Uuid),
    # Not the backslash: if PostgreSQL's standard_conforming_strings is off, '\\' is no whole text.
    "search": _CAMPAIGN.name.ilike(sa.bindparam("search"), escape="/"),
    # Campaigns after the page before. PostgreSQL finds the first one in the index for a comparison
    # of whole keys (a, b) < (c, d), but not for a < c OR (a = c AND b < d).
    "after": sa.tuple_(*_PAGE_KEY) < sa.tuple_(_moment_of_last, _LAST),
}


def list_campaigns(
    scope: Scope, filters: Mapping[str, Any], *, deleted: bool, limit: int, after: str | None
) -> Page[CampaignSummary]:
    """Return a page of campaigns, as :meth:`Campaigns.list` does.

    ``filters`` are ``status``, ``owner_id``, ``template_id`` and ``search``; None selects all
    campaigns.
    """
    checked_number(limit, 1, _MAX_PAGE, "limit")
    parameters = _filter_parameters(filters)
    if after is not None:
        parameters["after"] = after
        parameters["moment"], parameters["last"] = _parse_cursor(after)
    names = frozenset(name for name in _FILTERS if parameters.get(name) is not None)
    # One more than the page holds, to see whether there is another page.
    query = _query(scope.connection.dialect.name, names, limit + 1, deleted=deleted)
    rows = scope.connection.execute(query, parameters | {"tenant": scope.tenant_id}).all()
    summaries = tuple([_summary(scope, row) for row in rows[:limit]])
    if len(rows) <= limit:
        return Page(summaries, None)
    position = f"{summaries[-1].created_at.isoformat()} {summaries[-1].id}"
    return Page(summaries, base64.urlsafe_b64encode(position.encode()).decode())


def count_campaigns(
    scope: Scope, filters: Mapping[str, Any], *, deleted: bool
) -> dict[Status, int]:
    """Count the campaigns in each status, as :meth:`Campaigns.count_by_status` describes."""
    parameters = _filter_parameters(filters)
    names = frozenset(name for name in _FILTERS if parameters.get(name) is not None)
    query = _count_query(names, deleted=deleted)
    counts = dict.fromkeys(Status, 0)
    for status, number in scope.connection.execute(query, parameters | {"tenant": scope.tenant_id}):
        counts[read_status(status)] += number
    return counts


def _filter_parameters(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the filters. Raise :class:`InvalidArgument` for a bad one."""
    parameters = dict(filters)
    status = filters.get("status")
    if status is not None:
        statuses = (status,) if isinstance(status, str) else status
        parameters["status"] = [checked_word(Status, word, "status").value for word in statuses]
    for name in ("owner_id", "template_id"):
        if filters[name] is not None:
            checked_id(filters[name], name)
    search = optional_text(filters["search"], "search", MAX_NAME)
    if search is not None:
        for sign in "/%_":
            search = search.replace(sign, f"/{sign}")
        parameters["search"] = f"%{search}%"
    return parameters


def _summary(scope: Scope, row: Any) -> CampaignSummary:
    """Make a summary of a row, and report values that another program has written."""
    id_, name, status, *others = row
    summary = CampaignSummary(id_, name, read_status(status), *others)
    times = {"created_at": summary.created_at, "updated_at": summary.updated_at}
    repairs = (
        *repairs_of_status(status),
        *repairs_of_times(times),
        *repairs_of_sum(scope, summary.generation_cost),
    )
    return attrs.evolve(summary, repairs=repairs) if repairs else summary


@lru_cache(maxsize=256)
def _query(dialect: str, filters: frozenset[str], limit: int, *, deleted: bool) -> sa.Select[Any]:
    """Build the query of a page, whose columns are the fields of a summary.

    ``filters`` are the keys of ``_FILTERS`` whose conditions apply. ``deleted`` includes deleted
    drafts.
    """
    sums = {column.name: column for column in summary_columns()}
    fields = [field.name for field in attrs.fields(CampaignSummary) if field.name != "repairs"]
    # 1. The campaigns of the page. The limit is a literal and no parameter: PostgreSQL would make a
    #    new plan for each execution with a limit that it does not know.
    page = (
        sa.select(_CAMPAIGN.tenant_id, *(_CAMPAIGN[name] for name in fields if name not in sums))
        .where(*_conditions(filters, deleted=deleted))
        .order_by(*(column.desc() for column in _PAGE_KEY))
        .limit(sa.literal_column(str(limit), sa.Integer))
        .subquery()
    )
    order = (page.c.created_at.desc(), page.c.id.desc())
    # 2. Their totals.
    if dialect != "postgresql":
        columns = [sums[name] if name in sums else page.c[name] for name in fields]
        return join_totals(sa.select(*columns), page).group_by(*page.c).order_by(*order)
    # With LATERAL, PostgreSQL adds up the few rows of totals (shards) of one campaign after
    # another. With GROUP BY it would sort all of them first.
    total = (
        sa.select(*sums.values())
        .where(campaign_totals.c.tenant_id == sa.bindparam("tenant", type_=Uuid), is_shard_of(page))
        .correlate(page)
        .lateral()
    )
    columns = [total.c[name] if name in sums else page.c[name] for name in fields]
    # CampaignSummary converts times to UTC itself, so they come as the driver gives them.
    plain = [
        sa.type_coerce(readable_time(column), sa.TIMESTAMP(timezone=True))
        if isinstance(column.type, UtcDateTime)
        else column
        for column in columns
    ]
    return sa.select(*plain).join_from(page, total, sa.true()).order_by(*order)


@lru_cache(maxsize=256)
def _count_query(filters: frozenset[str], *, deleted: bool) -> sa.Select[Any]:
    """Build the query of the number of campaigns in each status."""
    return (
        sa.select(_CAMPAIGN.status, sa.func.count())
        .where(*_conditions(filters, deleted=deleted))
        .group_by(_CAMPAIGN.status)
    )


def _conditions(filters: frozenset[str], *, deleted: bool) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a query. The arguments are those of :func:`_query`."""
    conditions = [_CAMPAIGN.tenant_id == sa.bindparam("tenant", type_=Uuid)]
    conditions += [condition for name, condition in _FILTERS.items() if name in filters]
    if not deleted:
        conditions.append(_CAMPAIGN.is_active)
    return conditions


def _parse_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the creation time and the id in ``cursor``: those of the last campaign of a page.

    Raise :class:`InvalidArgument` for anything else.
    """
    try:
        moment, id_ = base64.urlsafe_b64decode(text(cursor, "after").encode()).decode().split(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(id_)
    except (ValueError, OverflowError) as error:
        message = f"after is the `next` of an earlier page, not {short_repr(cursor)}"
        raise InvalidArgument("after", message) from error
