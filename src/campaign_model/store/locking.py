"""Locks: what every method of the store locks, and in which order.

The *gate* of a campaign is an advisory lock. Each call that locks a campaign takes the gate first,
then the lock of the campaign's row. Both locks are shared, or both are exclusive, except as said
below. The gate is needed because PostgreSQL grants a shared row lock even if another transaction
already waits for the exclusive one. Without the gate, a cancel would wait until the last contact is
finished. At the gate, calls wait in the order in which they arrive.

Locks are taken in one order everywhere, so that no two transactions wait for each other:

1. the campaign: its gate, then its row; then, for an assignment that looks at other campaigns,
   an advisory lock of the tenant;
2. campaign contacts, by id;
3. claims of erased contacts, by id;
4. totals;
5. last, the rows that the host writes in the same transaction.

Who locks the campaign, and how:

* *Shared*: ``claim``, ``renew``, ``checkpoint``, ``record`` and ``release`` of a generating
  campaign, and ``campaigns.get(..., lock="share")``. Many of these calls can hold the lock at once.
  While one holds it, no other transaction can change the campaign's status or content.
* *Exclusive row lock behind the shared gate*: the same calls if the campaign is not generating (an
  outcome that comes so late changes the legacy columns of the campaign row), and all calls of
  ``store.export``. These calls take the exclusive row lock from the start, because two calls that
  hold the shared row lock would wait for each other if both asked for the exclusive one. One case
  is left: while a call waits for the shared row lock, another transaction changes the status. Then
  the call holds the shared row lock of a campaign that is not generating. It asks for the exclusive
  one without waiting. If the database refuses (SQLSTATE 55P03), ``transact`` tries again.
* *Exclusive*: every change of the campaign's status or content, every other change of its contacts,
  and ``exportable``. Only one transaction can hold this lock, so it may lock the campaign's
  contacts and totals in any order. ``erase`` locks several campaigns, in the order of their ids.
* Methods that only read lock nothing.

A claim may lock contacts, and the claims of erased contacts, after totals: it skips rows that are
locked (``SKIP LOCKED``), so it never waits for them and cannot take part in a deadlock over them.
Only the first claim of a run that has a budget may wait for contacts (a run is one generation of
the campaign). It locks the contacts that other claims hold, by id and before totals.

A transaction of the host may call several methods. It keeps this order if

* it does not change a campaign's status or content, or record late results, after a call that
  locked the campaign shared,
* it calls ``record`` or ``release`` at most once for each campaign,
* it calls methods for several campaigns in the order of the campaigns' ids,
* it calls ``assign`` with ``skip_active`` or ``cooldown`` at most once, after all methods for other
  campaigns, and
* it changes messages only after it has locked the campaign. ``record``, ``erase`` (in its function
  ``delete_messages``) and ``campaigns.get(..., lock=True)`` lock the campaign.

Otherwise two transactions may wait for each other until the database ends one of them. ``transact``
then runs that one again.

On SQLite the transaction itself, ``BEGIN IMMEDIATE``, is the lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from campaign_model._values import checked_id
from campaign_model.claims import Claim
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Permission, check_permission
from campaign_model.store.scope import Scope
from campaign_model.store.statements import CampaignRow, HeldContact, Statements
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


def lock_assignments(scope: Scope, campaign_id: UUID) -> None:
    """Wait until no other assignment of the tenant runs that looks at other campaigns.

    The caller has locked this campaign. The next statement sees what other assignments have added.
    """
    if scope.on_postgresql:
        key = blake2b(scope.tenant_id.bytes, digest_size=8, person=b"campaign_assign")
        lock = sa.func.pg_advisory_xact_lock(int.from_bytes(key.digest(), signed=True))
        scope.connection.execute(sa.select(lock).where(scope.of_campaign(campaigns, campaign_id)))


def campaign_parameters(scope: Scope, campaign_id: UUID) -> dict[str, Any]:
    """Return the parameters by which a statement locks the campaign."""
    return {
        "tenant": scope.tenant_id,
        "campaign": campaign_id,
        "gate": gate_key(scope.tenant_id, campaign_id),
        "now": scope.time_of_clock(),
    }


def lock_claimed(
    scope: Scope,
    statements: Statements,
    campaign_id: UUID,
    claims: Iterable[Claim],
    *,
    exclusively: bool = False,
) -> tuple[CampaignRow, dict[UUID, HeldContact]]:
    """Lock the campaign, then the contacts of the claims by id, and return both.

    The lock of a generating campaign is shared, unless ``exclusively`` is true. The lock of any
    other campaign is exclusive. A contact that no longer exists is missing in the result. Raise
    :class:`NotFound` if the campaign does not exist.
    """
    ids = sorted(claim.id for claim in claims)
    parameters = campaign_parameters(scope, campaign_id) | {"ids": ids}
    return statements.lock_claimed(scope, parameters, exclusively=exclusively)


def read_campaign(
    scope: Scope, campaign_id: UUID, *, lock: bool | Literal["share"] = False
) -> sa.Row[Any]:
    """Return the campaign row, and in ``now`` the time. With ``lock``, lock the row.

    The lock is exclusive, or shared for ``"share"``. Raise :class:`NotFound` if the tenant has no
    such campaign.
    """
    is_it = scope.of_campaign(campaigns, campaign_id)
    now = scope.time_of_clock()
    time = database_clock() if now is None else sa.literal(now, UtcDateTime())
    select = sa.select(campaigns, time.label("now")).where(is_it)
    if lock:
        is_shared = lock == "share"
        if scope.on_postgresql:
            # A statement of its own: the next one sees what was committed while this one waited.
            # Another tenant's campaign has no row here, so its gate stays untouched.
            lock_gate = (
                sa.func.pg_advisory_xact_lock_shared if is_shared else sa.func.pg_advisory_xact_lock
            )
            gate = lock_gate(gate_key(scope.tenant_id, campaign_id))
            scope.connection.execute(sa.select(gate).where(is_it))
        # FOR SHARE, or FOR NO KEY UPDATE.
        select = select.with_for_update(read=is_shared, key_share=not is_shared)
    row = scope.connection.execute(select).one_or_none()
    if row is None:
        raise NotFound("campaign", (campaign_id,))
    return row


def lock_campaign(scope: Scope, campaign_id: UUID, permission: Permission) -> sa.Row[Any]:
    """Lock the campaign exclusively for a change that needs ``permission``; return its row.

    Raise :class:`NotFound` if the tenant has no such campaign, and :class:`TransitionNotAllowed`
    if its status forbids the change.
    """
    row = read_campaign(scope, campaign_id, lock=True)
    check_permission(permission, read_status(row.status))
    return row
