"""What generation says to the database: claims, reports, and what to wait for.

On PostgreSQL a claim or an ordinary report is one statement. Its parts are done in the order in
which they read from each other: the campaign's row is shared first, then contacts are locked, then
written, then totals. It goes on to contacts only if it finds the documents that were known before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model.lifecycle import ContactAction, ContactStatus, Permission, Status
from campaign_model.store import totals
from campaign_model.store.floor import floor_unless, of_campaign, undone
from campaign_model.store.prepared import Prepared
from campaign_model.store.scope import (
    all_of,
    is_known,
    known,
    locked_below,
    shared_and_below,
    shared_unless,
)
from campaign_model.store.tables import (
    ZERO,
    campaign_contacts,
    is_claimable,
    is_generating,
    written_out,
)
from campaign_model.store.types import (
    Array,
    Money,
    UtcDateTime,
    Uuid,
    any_held,
    has,
    unseen,
)

__all__ = [
    "ATTEMPTS_EXHAUSTED",
    "CLAIMED_ROWS",
    "CLAIM_EXPIRED",
    "CLAIM_FRESH",
    "LOCKED",
    "LOCK_CLAIMED",
    "RECORD_GENERATED",
    "REMEMBERED",
    "RENEW",
    "SOONEST",
    "WRITE_BACK",
    "WRITE_ONE_BACK",
    "ClaimStatements",
]

ATTEMPTS_EXHAUSTED = "attempts_exhausted"
"""Error code of a contact that failed because no worker ever came to an end with it."""

REMEMBERED = 100
"""Reports remembered per contact: far more than anybody may still come to repeat."""


_TABLE = campaign_contacts
_COLUMNS = _TABLE.c
_SHORT: Any = _TABLE.alias("c")
"""In long statements: psycopg keeps those of up to 4,096 characters ready."""

_CLAIM_STATUS = ContactStatus.GENERATING
_FAIL_STATUS = ContactStatus.FAILED


def _param(name: str, type_: Any) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=type_)


def _theirs(contacts: sa.FromClause) -> sa.ColumnElement[bool]:
    """Of rows that are found by their ids."""
    return sa.and_(
        has(contacts.c.tenant_id, _param("tenant", Uuid)),
        has(contacts.c.campaign_id, _param("campaign", Uuid)),
    )


_ONE: sa.ColumnElement[Any] = sa.literal_column("1")
_RESULT = ("id", "contact_id", "status", "attempts", "revision", "rank", "reserved")


def _claimed(contacts: sa.FromClause, exhausted: Any, now: Any, expires_at: Any) -> dict[str, Any]:
    def unless_exhausted(value: Any, otherwise: Any = None) -> sa.ColumnElement[Any]:
        if otherwise is None:
            return sa.case((sa.not_(exhausted), value))
        return sa.case((exhausted, otherwise), else_=value)

    column = contacts.c
    return {
        "status": unless_exhausted(written_out(_CLAIM_STATUS), written_out(_FAIL_STATUS)),
        "attempts": column.attempts + unless_exhausted(_ONE, ZERO),
        "revision": sa.case(
            # Not of a contact never claimed: there the fingerprint is NULL, and this not true.
            (column.steps_fingerprint != _param("fingerprint", sa.Text), column.revision + _ONE),
            else_=column.revision,
        ),
        "steps_fingerprint": _param("fingerprint", sa.Text),
        "claim_token": unless_exhausted(_param("token", Uuid)),
        "lease_expires_at": unless_exhausted(expires_at),
        "claimed_at": now,
        "retry_at": sa.null(),
        "reserved": unless_exhausted(
            sa.case((is_generating(contacts), column.reserved), else_=_param("reserve", Money)),
            ZERO,
        ),
        "error_code": sa.case((exhausted, written_out(ATTEMPTS_EXHAUSTED))),
        "error": sa.case(
            (exhausted, written_out("claimed again and again, but no worker ever finished it"))
        ),
    }


def _picking(contacts: sa.FromClause, now: Any, *, fresh: bool) -> sa.Select[Any]:
    column = contacts.c
    due = sa.or_(column.retry_at.is_(None), column.retry_at <= now)
    before = column.rank < unseen(_param("end_rank", sa.BigInteger))
    which, order = (
        (sa.and_(is_claimable(contacts), before, due), column.rank)
        if fresh
        else (
            sa.and_(is_generating(contacts), column.lease_expires_at <= now),
            column.lease_expires_at,
        )
    )
    return (
        sa.select(column.id, column.status.label("was"), column.reserved.label("had"))
        .where(of_campaign(contacts), which)
        .where(column.rank >= floor_unless(unseen(_param("first_rank", sa.BigInteger))))
        .order_by(order)
        .limit(unseen(_param("number", sa.Integer)))
    )


def _exhausted(contacts: sa.FromClause) -> sa.ColumnElement[bool]:
    return contacts.c.attempts >= _param("most_attempts", sa.BigInteger)


class ClaimStatements(NamedTuple):
    """One statement for PostgreSQL, with the campaign's lock and the totals; two for SQLite.

    (SQLite's RETURNING shows only the updated table, and its transaction is alone anyway.) The
    one has a row for each contact, or one without: the campaign, as ``Shared``, then what the
    contact is now, and last ``was``, its status from before.
    """

    together: Prepared
    picking: sa.Select[Any]
    alone: Any


def _claim_statements(*, fresh: bool) -> ClaimStatements:
    now = _of_known(known.c.now)
    picked = (
        _picking(_SHORT, now, fresh=fresh)
        .add_columns(_exhausted(_SHORT).label("spent"))
        .where(_MAY)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("picked")
    )
    until = _of_known(known.c.now + _param("lease", sa.Interval))
    taken = (
        sa.update(_SHORT)
        .where(_SHORT.c.id == picked.c.id, has(_SHORT.c.tenant_id, _param("tenant", Uuid)))
        .values(**_claimed(_SHORT, picked.c.spent, now, until))
        .returning(*(_SHORT.c[name] for name in _RESULT), picked.c.was, picked.c.had)
        .cte("taken")
    )
    sources = lifecycle.CLAIMABLE if fresh else {_CLAIM_STATUS}
    moves = totals.moved(taken, sources, {_CLAIM_STATUS, _FAIL_STATUS})
    counted = totals.adding(moves).cte("counted")
    together = (
        sa.select(*shared_unless(is_known), *(taken.c[name] for name in (*_RESULT, "was")))
        .join_from(known, taken, sa.true(), isouter=True)
        .add_cte(counted)
    )
    plain_now, plain_until = _param("now", UtcDateTime), _param("expires_at", UtcDateTime)
    alone = (
        sa.update(_TABLE)
        .where(_theirs(_TABLE), any_held(_COLUMNS.id, _param("ids", Array(Uuid))))
        .values(**_claimed(_TABLE, _exhausted(_TABLE), plain_now, plain_until))
        .returning(*(_COLUMNS[name] for name in _RESULT))
    )
    return ClaimStatements(Prepared(together), _picking(_TABLE, plain_now, fresh=fresh), alone)


def _of_known(value: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    return sa.select(value).select_from(known).scalar_subquery()


_CLAIMING = [written_out(one) for one in Status if one in lifecycle.PERMISSIONS[Permission.CLAIM]]
_MAY = _of_known(sa.and_(is_known, known.c.status.in_(_CLAIMING)))
"""Whether one goes on to the contacts."""

CLAIM_FRESH = _claim_statements(fresh=True)
CLAIM_EXPIRED = _claim_statements(fresh=False)

_REPORTED_ON = (
    "status",
    "claim_token",
    "reported_tokens",
    "enrichment_gaps",
    "generation_cost",
    "unknown_costs",
    "reserved",
    "attempts",
    "steps_fingerprint",
    "generated_at",
    "error_code",
    "error",
    "lease_expires_at",
    "retry_at",
)
"""What a report or a checkpoint may change: locked and read first, then written back whole."""

LOCKED = ("id", *_REPORTED_ON)


def _claimed_rows(contacts: sa.FromClause) -> sa.Select[Any]:
    return (
        sa.select(*(contacts.c[name] for name in LOCKED))
        .where(_theirs(contacts), any_held(contacts.c.id, _param("ids", Array(Uuid))))
        .order_by(contacts.c.id)
    )


CLAIMED_ROWS = _claimed_rows(_TABLE)
LOCK_CLAIMED = shared_and_below(CLAIMED_ROWS)

SOONEST = sa.select(
    sa.func.min(_COLUMNS.lease_expires_at, type_=UtcDateTime()).filter(is_generating(_TABLE)),
    sa.func.min(
        sa.func.coalesce(_COLUMNS.retry_at, _param("soon", UtcDateTime)), type_=UtcDateTime()
    ).filter(is_claimable(_TABLE)),
).where(undone)

RENEW = (
    sa.update(_TABLE)
    .where(_theirs(_TABLE), any_held(_COLUMNS.id, _param("ids", Array(Uuid))))
    .values(lease_expires_at=_param("until", UtcDateTime))
)


def _write_back() -> Prepared:
    """All rows, as one JSON value, and the totals."""
    sent = (
        sa.func.json_to_recordset(sa.cast(_param("rows", sa.Text), sa.JSON))
        .table_valued(*(sa.column(name, _COLUMNS[name].type) for name in LOCKED))
        .render_derived("sent", with_types=True)
    )
    new = sa.select(*sent.c).cte("new")
    written = (
        sa.update(_TABLE)
        # Looked up by their ids first: of JSON PostgreSQL expects so many rows that it would
        # rather read the whole of a small table.
        .where(
            _theirs(_TABLE),
            _COLUMNS.id == sa.any_(sa.func.array(sa.select(new.c.id).scalar_subquery())),
        )
        .where(_COLUMNS.id == new.c.id)
        .values({name: new.c[name] for name in _REPORTED_ON})
        .returning(_COLUMNS.id)
        .cte("written")
    )
    # Counted, they are all written before the shard is locked: it is held for less.
    number = sa.select(sa.func.count()).select_from(written).scalar_subquery()
    changed = _param("changed", sa.Boolean)
    return Prepared(totals.adding(totals.given().where(changed, number >= ZERO)))


WRITE_BACK = _write_back()
WRITE_ONE_BACK = (
    sa.update(_TABLE)
    .where(_theirs(_TABLE), _COLUMNS.id == _param("new_id", Uuid))
    .values({name: _param(f"new_{name}", _COLUMNS[name].type) for name in _REPORTED_ON})
)


_SENT: dict[str, Any] = {"id": Uuid(), "token": Uuid(), "cost": Money()}


def _record_generated() -> Prepared:
    """All are generated and theirs still, and are written; or nothing is, and they are given."""
    sent = sa.select(
        sa.func.unnest(
            unseen(_param("ids", Array(Uuid))),
            unseen(_param("tokens", Array(Uuid))),
            unseen(_param("costs", Array(Money))),
        )
        .table_valued(*(sa.column(name, type_) for name, type_ in _SENT.items()))
        .render_derived("given")
    ).cte("sent")
    claims = sa.select(sent.c.id, sent.c.token)
    below = locked_below(_claimed_rows(_SHORT))
    theirs = (
        sa.select((sa.func.count() == _param("number", sa.BigInteger)).label("all"))
        .where(
            # In a CASE, it is looked up, and not compared with each: of arrays ten are expected.
            sa.case((sa.tuple_(below.c.id, below.c.claim_token).in_(claims), sa.true())),
            is_generating(below),
            sa.func.jsonb_array_length(below.c.reported_tokens)
            < sa.literal_column(str(REMEMBERED)),
            _MAY,
        )
        .cte("theirs")
    )
    done = sa.select(theirs.c["all"]).scalar_subquery()
    status = lifecycle.apply_contact(_CLAIM_STATUS, ContactAction.SUCCEED, None)
    assert status is not None
    written = (
        sa.update(_SHORT)
        .where(done, _theirs(_SHORT), _SHORT.c.id == sent.c.id)
        .values(
            status=written_out(status),
            claim_token=sa.null(),
            reported_tokens=_SHORT.c.reported_tokens.op("||")(
                sa.func.to_jsonb(sa.cast(sent.c.token, sa.Text))
            ),
            generation_cost=_SHORT.c.generation_cost + sa.func.coalesce(sent.c.cost, ZERO),
            unknown_costs=_SHORT.c.unknown_costs
            + sa.case((sent.c.cost.is_(None), _ONE), else_=ZERO),
            reserved=ZERO,
            steps_fingerprint=_param("fingerprint", sa.Text),
            generated_at=_of_known(known.c.now),
            error_code=sa.null(),
            error=sa.null(),
            lease_expires_at=sa.null(),
        )
        .returning(sent.c.cost)
        .cte("written")
    )
    number = sa.func.count()
    freed = sa.select(sa.func.sum(below.c.reserved)).scalar_subquery()
    counted = totals.adding(
        totals.found(
            {
                _CLAIM_STATUS: -number,
                status: number,
                "cost": sa.func.coalesce(sa.func.sum(written.c.cost), ZERO),
                "unknown_costs": number - sa.func.count(written.c.cost),
                "reserved": -freed,
            }
        )
    ).cte("counted")
    every = theirs.c["all"]
    rows = sa.case((sa.not_(every), sa.cast(all_of(below), sa.Text)))
    return Prepared(
        sa.select(*shared_unless(every), rows).join_from(known, theirs, sa.true()).add_cte(counted)
    )


RECORD_GENERATED = _record_generated()
"""An ordinary report: what ``_settled`` in store.generation makes of each contact, in SQL."""
