"""Locks: what every method of the store locks, and in which order.

Locks are taken in one order everywhere, so that no two transactions wait for each other:

1. the campaign: its gate, then its row;
2. campaign contacts, by id;
3. claims of erased contacts, by id;
4. totals;
5. last, the rows that the host writes in the same transaction.

Who locks the campaign, and how:

* *Shared*: ``claim``, ``renew``, ``checkpoint``, ``record`` and ``release``. They run side by
  side, and none of them commits into a campaign that was moved meanwhile. A claim waits for no
  contact (``SKIP LOCKED``), so a claim alone may lock contacts after totals.
* *Exclusive*: every move, every edit, every other change of the contacts, and ``exportable``.
  The caller is alone below the campaign row and may lock what is there in any order. ``erase``
  locks several campaigns, by id.
* Methods that only read lock nothing.

A host's transaction that calls several methods keeps this order if it (a) does not move or edit a
campaign after a call that locked it shared, (b) reports on a campaign once, (c) names several
campaigns in the order of their ids, and (d) changes no message before the campaign is locked: by
a report, in ``erase(..., delete_messages=)``, or by ``campaigns.get(..., lock=True)``. Otherwise
two transactions may wait for each other until the database ends one; ``transact`` retries it.

The gate is an advisory lock that every locker of a campaign takes first. PostgreSQL grants a
shared row lock past a waiting exclusive one, so without the gate a cancel would wait until the
last contact is done. At the gate, lockers queue in the order in which they come.

On SQLite the transaction itself, ``BEGIN IMMEDIATE``, is the lock.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.errors import NotFound
from campaign_model.lifecycle import Permission, Status, check_permission
from campaign_model.store.scope import Scope
from campaign_model.store.tables import campaigns
from campaign_model.store.types import UtcDateTime, checked_id, database_clock

__all__ = [
    "campaign_parameters",
    "gate_key",
    "lock_campaign",
    "read_campaign",
]


def gate_key(tenant_id: UUID, campaign_id: UUID) -> int:
    """Return the number of the campaign's advisory lock, a hash of tenant and campaign.

    A hash with a namespace of its own: no choice of ids gives the number of another tenant's
    campaign, or of an advisory lock that the host uses.
    """
    ids = tenant_id.bytes + checked_id(campaign_id).bytes
    key = blake2b(ids, digest_size=8, person=b"campaign_model")
    return int.from_bytes(key.digest(), signed=True)


def campaign_parameters(scope: Scope, campaign_id: UUID) -> dict[str, Any]:
    """Return the parameters by which a statement locks the campaign."""
    return {
        "tenant": scope.tenant_id,
        "campaign": campaign_id,
        "gate": gate_key(scope.tenant_id, campaign_id),
        "now": scope.time_of_clock(),
    }


def read_campaign(scope: Scope, campaign_id: UUID, *, lock: bool = False) -> sa.Row[Any]:
    """Return the campaign row, and in ``now`` the time. With ``lock``, lock the row exclusively.

    Raise :class:`NotFound` if the tenant has no such campaign.
    """
    is_it = scope.of_campaign(campaigns, campaign_id)
    now = scope.time_of_clock()
    time = database_clock() if now is None else sa.literal(now, UtcDateTime())
    select = sa.select(campaigns, time.label("now")).where(is_it)
    if lock:
        select = select.with_for_update(key_share=True)
    if lock and scope.on_postgresql:
        # A statement of its own: the next one sees what was committed while this one waited.
        # Another tenant's campaign has no row here, so its gate stays untouched.
        gate = sa.func.pg_advisory_xact_lock(gate_key(scope.tenant_id, campaign_id))
        scope.connection.execute(sa.select(gate).where(is_it))
    row = scope.connection.execute(select).one_or_none()
    if row is None:
        raise NotFound("campaign", (campaign_id,))
    return row


def lock_campaign(scope: Scope, campaign_id: UUID, permission: Permission) -> sa.Row[Any]:
    """Lock the campaign exclusively for a change that needs ``permission``; return its row.

    Raise :class:`NotFound`, and :class:`TransitionNotAllowed` where the status forbids the change.
    """
    row = read_campaign(scope, campaign_id, lock=True)
    check_permission(permission, Status(row.status))
    return row
