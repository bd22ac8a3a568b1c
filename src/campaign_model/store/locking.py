"""Locks: what every method of the store locks, and in which order.

Locks are taken in one order everywhere, so that no two transactions wait for each other:

1. the campaign: its gate, then its row;
2. campaign contacts, by id;
3. claims of erased contacts, by id;
4. totals;
5. last, the rows that the host writes in the same transaction.

Who locks the campaign, and how:

* *Shared*: ``claim``, ``renew``, ``checkpoint``, ``record`` and ``release`` of a generating
  campaign. Many of these calls can hold the lock at once. While one holds it, no other transaction
  can change the campaign's status or content. A claim never waits for a contact, or for the claim
  of an erased one, that is locked (``SKIP LOCKED``), so it cannot take part in a deadlock over
  them. Therefore a claim may lock them after totals. Only the first claim of a run with a budget
  may wait for contacts: it locks those in flight by id, before totals.
* *Late results and export*: the same calls lock a campaign that is not generating exclusively, and
  so do those of ``store.export``. A late result changes the legacy columns of the campaign row. The
  calls take the exclusive lock from the start: two calls that first lock the row shared, and then
  exclusively, would wait for each other. A call that waits for the shared lock while a move commits
  holds it afterwards. Such a call does not wait for the exclusive lock: the database refuses it at
  once (SQLSTATE 55P03), and ``transact`` tries again. Exports never ask for the shared lock of the
  row. The gate stays shared. No call waits for it while holding the lock.
* *Exclusive*: every change of the campaign's status or content, every other change of its contacts,
  and ``exportable``. Only one transaction can hold this lock, so it may lock the campaign's
  contacts and totals in any order. ``erase`` locks several campaigns, in the order of their ids.
* Methods that only read lock nothing.

A transaction of the host may call several methods. It keeps this order if

* it does not change a campaign's status or content, or record late results, after a call that
  locked the campaign shared,
* it calls ``record`` or ``release`` at most once for each campaign,
* it calls methods for several campaigns in the order of the campaigns' ids, and
* it changes messages only after it has locked the campaign. ``record``, ``erase`` (in its function
  ``delete_messages``) and ``campaigns.get(..., lock=True)`` lock the campaign.

Otherwise two transactions may wait for each other until the database ends one of them. ``transact``
then runs that one again.

The gate is an advisory lock that each of these calls takes before the row lock. PostgreSQL grants
a shared row lock even if another transaction already waits for the exclusive one. Without the
gate, a cancel would wait until the last contact is finished. At the gate, calls wait in the order
in which they arrive.

On SQLite the transaction itself, ``BEGIN IMMEDIATE``, is the lock.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model._values import checked_id
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Permission, check_permission
from campaign_model.store.scope import Scope
from campaign_model.store.tables import campaigns
from campaign_model.store.types import UtcDateTime, database_clock, read_status


def gate_key(tenant_id: UUID, campaign_id: UUID) -> int:
    """Return the number of the campaign's advisory lock, a hash of tenant and campaign.

    A hash with a namespace of its own: no choice of ids gives the number of another tenant's
    campaign, or of an advisory lock that the host uses.
    """
    ids = tenant_id.bytes + checked_id(campaign_id, "campaign_id").bytes
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
    check_permission(permission, read_status(row.status))
    return row
