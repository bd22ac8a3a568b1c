"""Assignment: put any number of contacts into a campaign.

An assignment gives each contact its rank: the order of generation within the campaign, ascending.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model._values import checked_id, checked_instance, checked_number
from campaign_model.campaign import Assigned, Skipped, SkipReason
from campaign_model.errors import InvalidArgument, short_repr
from campaign_model.lifecycle import Action, ContactStatus, Permission, resting_status, target
from campaign_model.store.connection import chunks, savepoint
from campaign_model.store.locking import lock_assignments, lock_campaign
from campaign_model.store.recount import refresh_campaign
from campaign_model.store.scope import Scope
from campaign_model.store.statements import statement
from campaign_model.store.tables import campaign_contacts, campaigns, host_table
from campaign_model.store.totals import Totals, add_to_totals
from campaign_model.store.types import FIRST_MOMENT, UtcDateTime, is_one_of, json_parameter

POSITIONS = 1 << 40
"""More positions than a campaign has. A rank is ``position - priority * POSITIONS``."""

MAX_PRIORITY = (1 << 22) - 1
"""A priority is between minus this number and this number, so that a rank fits into 64 bits."""

_CHUNK = 50_000
"""The most contacts that one INSERT writes."""

_CONTACT = campaign_contacts.c

# Insert contacts on PostgreSQL. The order fills the index of contacts from one end to the other.
# CASE hides the arrays from the planner: it would read all of their elements, only to count them.
INSERT = """
INSERT INTO campaign_contacts
    (id, tenant_id, campaign_id, contact_id, rank, status, added_at)
SELECT new.id, campaigns.tenant_id, campaigns.id, new.contact_id, new.rank, :status, :added_at
FROM campaigns
CROSS JOIN LATERAL unnest(
    CAST(CASE WHEN campaigns.id IS NOT NULL THEN :new_ids END AS uuid[]),
    CAST(CASE WHEN campaigns.id IS NOT NULL THEN :contact_ids END AS uuid[]),
    CAST(CASE WHEN campaigns.id IS NOT NULL THEN :ranks END AS bigint[])
) AS new (id, contact_id, rank)
WHERE campaigns.tenant_id = :tenant_id
  AND campaigns.id = :campaign_id
ORDER BY new.contact_id
"""

_INSERT = statement(INSERT)

# The same, without the contacts that the campaign already has. It takes a tenth longer.
_INSERT_MISSING = statement(f"""
{INSERT}
ON CONFLICT (contact_id, campaign_id, tenant_id) DO NOTHING
""")

# The same on SQLite. Each element of the JSON array has an id, the id of a contact, and its rank.
_INSERT_ON_SQLITE = statement("""
INSERT INTO campaign_contacts
    (id, tenant_id, campaign_id, contact_id, rank, status, added_at)
SELECT json_extract(value, '$[0]'), :tenant_id, :campaign_id, json_extract(value, '$[1]'),
       json_extract(value, '$[2]'), :status, :added_at
FROM json_each(:contacts)
WHERE true
ON CONFLICT (contact_id, campaign_id, tenant_id) DO NOTHING
""")


def assign_contacts(
    scope: Scope,
    campaign_id: UUID,
    contacts: Iterable[UUID | tuple[UUID, int]] | sa.Select[Any],
    *,
    skip_active: bool,
    cooldown: timedelta | None,
) -> Assigned:
    """Put contacts into a campaign, as :meth:`Contacts.assign` describes."""
    if cooldown is not None and checked_instance(cooldown, timedelta, "cooldown") < timedelta(0):
        raise InvalidArgument("cooldown", f"cooldown is at least zero, not {cooldown}")
    campaign_row = lock_campaign(scope, campaign_id, Permission.ASSIGN_CONTACTS)
    if isinstance(contacts, sa.Select):
        rows: Iterable[Any] = scope.connection.execute(contacts)
        if not scope.on_postgresql:
            # SQLite would execute the Select while rows are inserted, and might return these rows.
            rows = [*rows]
        contacts = (row[0] if len(row) == 1 else (row[0], row[1]) for row in rows)
    position: int = campaign_row.next_position
    added = 0
    already_there: set[UUID] = set()
    unknown: dict[UUID, None] = {}
    skipped: dict[UUID, Skipped] = {}
    may_skip = skip_active or cooldown is not None
    if may_skip:
        lock_assignments(scope, campaign_id)
    with scope.connection.begin_nested():
        for chunk in chunks(contacts, _CHUNK):
            ranks = _ranks(chunk, position)
            position += len(ranks)
            if may_skip:
                found = _find_skipped(
                    scope, campaign_row, ranks, skip_active=skip_active, cooldown=cooldown
                )
                skipped |= found
                ranks = {id_: rank for id_, rank in ranks.items() if id_ not in found}
            number, missing = _insert(scope, campaign_row, ranks)
            added += number
            unknown |= dict.fromkeys(missing)
            if number + len(missing) < len(ranks):
                already_there |= _assigned_before(scope, campaign_row, ranks)
    if added:
        delta = Totals()
        delta.counts[resting_status(None)] += added
        add_to_totals(scope, campaign_id, delta)
        scope.connection.execute(
            sa.update(campaigns)
            .where(scope.of_campaign(campaigns, campaign_id))
            .values(next_position=position)
        )
    refresh_campaign(scope, campaign_id)
    return Assigned(added, len(already_there), tuple(unknown), tuple(skipped.values()))


def is_active_in(contact: sa.FromClause) -> sa.ColumnElement[bool]:
    """Build the condition that a contact is in an active campaign.

    Excluded contacts and archived campaigns do not count. ``contact`` is joined with ``campaigns``.
    """
    return sa.and_(
        contact.c.status != ContactStatus.EXCLUDED.value,
        campaigns.c.status != target(Action.ARCHIVE).value,
    )


def last_activity_in(contact: sa.FromClause) -> sa.ColumnElement[Any]:
    """Return when a contact was last exported, generated, claimed or assigned in its campaign."""
    names = ("exported_at", "generated_at", "claimed_at", "added_at")
    times = [contact.c[name] for name in names]
    return sa.func.coalesce(*times, type_=UtcDateTime()).label("last_activity_at")


def _find_skipped(
    scope: Scope,
    campaign_row: sa.Row[Any],
    contact_ids: Iterable[UUID],
    *,
    skip_active: bool,
    cooldown: timedelta | None,
) -> dict[UUID, Skipped]:
    """Return the contacts that must not be assigned, by their ids.

    Of several reasons, an active campaign comes first, and then the latest activity. Contacts that
    are in the campaign already are none of them.
    """
    # In a CTE of their own, the contacts are found by their ids. Otherwise SQLite looks for each of
    # them in every campaign of the tenant.
    theirs = (
        sa.select(campaign_contacts)
        .where(scope.of_tenant(campaign_contacts), is_one_of(_CONTACT.contact_id, contact_ids))
        .cte("theirs")
        .prefix_with("MATERIALIZED")
    )
    mine = campaign_contacts.alias("mine")
    is_active = is_active_in(theirs) if skip_active else sa.false()
    is_cooling: sa.ColumnElement[bool] = sa.false()
    if cooldown is not None:
        last_message = sa.func.coalesce(theirs.c.exported_at, theirs.c.generated_at)
        # A cooldown of more than two thousand years would begin before the times of Python.
        since = campaign_row.now - min(cooldown, campaign_row.now - FIRST_MOMENT)
        is_cooling = last_message > sa.literal(since, UtcDateTime())
    last_activity, reason = last_activity_in(theirs), is_active.label("is_active")
    rows = scope.connection.execute(
        sa.select(
            theirs.c.contact_id, theirs.c.campaign_id, campaigns.c.name, last_activity, reason
        )
        .where(
            theirs.c.campaign_id != campaign_row.id,
            scope.of_tenant(campaigns),
            campaigns.c.id == theirs.c.campaign_id,
            sa.or_(is_active, is_cooling),
            ~sa.exists().where(
                scope.of_campaign(mine, campaign_row.id), mine.c.contact_id == theirs.c.contact_id
            ),
        )
        .order_by(reason.desc(), last_activity.desc(), theirs.c.id)
    )
    skipped: dict[UUID, Skipped] = {}
    for contact_id, campaign_id, name, at, has_active in rows:
        word = SkipReason.ACTIVE_CAMPAIGN if has_active else SkipReason.COOLDOWN
        skipped.setdefault(contact_id, Skipped(contact_id, word, campaign_id, name, at))
    return skipped


def _ranks(contacts: Iterable[Any], position: int) -> dict[UUID, int]:
    """Return the rank of each contact. The first contact gets ``position``, the next one the next.

    If a contact occurs several times, its first place counts. Raise :class:`InvalidArgument` for
    a priority out of range.
    """
    priorities: dict[UUID, int] = {}
    for contact in contacts:
        contact_id, priority = contact, 0
        if isinstance(contact, tuple):
            if len(contact) != 2:
                message = f"a contact is an id or an id and a priority, not {short_repr(contact)}"
                raise InvalidArgument("contacts", message)
            contact_id, priority = contact
            checked_number(priority, -MAX_PRIORITY, MAX_PRIORITY, "priority")
        priorities.setdefault(checked_id(contact_id, "contacts"), priority)
    return {
        contact_id: place - priority * POSITIONS
        for place, (contact_id, priority) in enumerate(priorities.items(), position)
    }


def _insert(
    scope: Scope, campaign_row: sa.Row[Any], ranks: dict[UUID, int]
) -> tuple[int, tuple[UUID, ...]]:
    """Insert contacts with their ranks.

    Return the number of contacts that were not in the campaign before, and the ids of the contacts
    that the tenant does not have, in the given order.
    """
    number = 0
    known = ranks
    # Only a legacy writer can have put contacts into a campaign that has never had an assignment.
    may_have_some = campaign_row.next_position > 0
    while known:
        with savepoint(scope.connection, catch_unique=True) as refusal:
            number = _insert_known(scope, campaign_row, known, may_have_some=may_have_some)
        if not (refusal.foreign_key_violated or refusal.unique_key_violated):
            break
        may_have_some = True
        # A key has refused the INSERT: leave out the contacts that the tenant does not have.
        table = host_table(scope.host.contacts)
        present = scope.connection.scalars(
            sa.select(table.c.id).where(scope.of_tenant(table), is_one_of(table.c.id, known))
        ).all()
        if len(present) == len(known):
            # The tenant has all of them. The campaign may have one of them, the host may have
            # inserted one since the refusal, or a key that the host has added refuses the rows. Try
            # a second time, without catching the database's error.
            number = _insert_known(scope, campaign_row, known, may_have_some=True)
            break
        known = {contact_id: ranks[contact_id] for contact_id in present}
    return number, tuple(contact_id for contact_id in ranks if contact_id not in known)


def _insert_known(
    scope: Scope, campaign_row: sa.Row[Any], ranks: dict[UUID, int], *, may_have_some: bool
) -> int:
    """Insert contacts that the campaign does not have yet; return their number.

    ``may_have_some`` says that the campaign may have some of them. If it is false and the campaign
    has one nevertheless, a unique key refuses all. A contact that the tenant does not have violates
    a foreign key.
    """
    new_ids = _random_ids(len(ranks))
    if scope.on_postgresql:
        insert = _INSERT_MISSING if may_have_some else _INSERT
        contacts = {
            "new_ids": _array_literal(new_ids),
            "contact_ids": _array_literal(ranks),
            "ranks": _array_literal(ranks.values()),
        }
    else:
        insert = _INSERT_ON_SQLITE
        contacts = {"contacts": json_parameter([*zip(new_ids, ranks, ranks.values(), strict=True)])}
    parameters = {
        "tenant_id": scope.tenant_id,
        "campaign_id": campaign_row.id,
        "status": resting_status(None).value,
        "added_at": campaign_row.now,
        **contacts,
    }
    return scope.connection.execute(insert, parameters).rowcount


def _random_ids(number: int) -> Iterator[str]:
    """Yield random ids as text. ``uuid4`` takes ten times as long, which is felt at 100,000."""
    digits = secrets.token_hex(16 * number)
    return (digits[start : start + 32] for start in range(0, len(digits), 32))


def _array_literal(values: Iterable[UUID | int | str]) -> str:
    """Write an array in PostgreSQL's notation, several times as fast as a driver does."""
    return f"{{{','.join(map(str, values))}}}"


def _assigned_before(
    scope: Scope, campaign_row: sa.Row[Any], contact_ids: Iterable[UUID]
) -> set[UUID]:
    """Return those of the contacts that were in the campaign before this assignment began."""
    # The low bits of a rank are the contact's position; the high bits are its priority. This
    # assignment gives positions from `next_position` on. A legacy writer may have given the same
    # positions, but not at the same time.
    assigned_now = sa.and_(
        _CONTACT.rank.bitwise_and(POSITIONS - 1) >= campaign_row.next_position,
        _CONTACT.added_at == campaign_row.now,
    )
    return set(
        scope.connection.scalars(
            sa.select(_CONTACT.contact_id).where(
                scope.of_campaign(campaign_contacts, campaign_row.id),
                is_one_of(_CONTACT.contact_id, contact_ids),
                sa.not_(assigned_now),
            )
        )
    )
