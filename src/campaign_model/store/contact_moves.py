"""Change the status of many contacts at once, as the lifecycle's transition table allows.

The caller holds the campaign's exclusive lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model._values import exact_money
from campaign_model.campaign import Changed
from campaign_model.lifecycle import ContactAction
from campaign_model.store.connection import checked_ids, chunks
from campaign_model.store.recount import refresh_campaign
from campaign_model.store.scope import Scope
from campaign_model.store.statements import NOT_CHECKED, NOT_READY, READY
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.totals import Totals, add_to_totals
from campaign_model.store.types import Money, is_one_of, total_of

_CONTACT = campaign_contacts.c
_NOTHING = sa.literal(Decimal(0), Money())

_SENT_BACK: dict[str, Any] = {
    "claim_token": None,
    "lease_expires_at": None,
    "retry_at": None,
    "attempts": 0,
    "exported_at": None,
    "error_code": None,
    "error": None,
}
"""The columns that are reset when a contact is sent back to wait.

Without the token, the outcome of an earlier claim is not applied any more.
"""

_CHANGES: Mapping[ContactAction, dict[str, Any]] = {
    ContactAction.RETRY: _SENT_BACK,
    # The lease of an included contact has expired, so its reservation ends.
    ContactAction.INCLUDE: _SENT_BACK | {"reserved": _NOTHING},
    # The next claim compares the fingerprint of the steps. Without one, it does not increase the
    # revision a second time.
    ContactAction.REGENERATE: _SENT_BACK
    | {"revision": _CONTACT.revision + 1, "steps_fingerprint": None},
    ContactAction.RELEASE: {"reserved": _NOTHING, "claim_token": None, "lease_expires_at": None},
}
"""What an action changes besides the status.

An exclusion changes nothing else: a worker that holds the contact still spends what is reserved.
"""


def move_contacts(
    scope: Scope,
    campaign_id: UUID,
    action: ContactAction,
    contact_ids: Iterable[UUID] | None = None,
    condition: sa.ColumnElement[bool] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Changed:
    """Apply ``action`` to the contacts whose status allows it.

    ``contact_ids`` restricts the action to these contacts of the host, ``condition`` to contacts
    that meet it. ``changes`` are further columns to write. The answer counts the changed contacts,
    and names those of ``contact_ids`` that were not changed. The caller holds the exclusive lock,
    so that no other transaction changes contacts between the statements.
    """
    targets = {
        line.source.value: _resting_status(scope) if line.target is None else line.target.value
        for line in lifecycle.CONTACT_TRANSITIONS
        if line.action is action
    }
    movable = sa.and_(
        scope.of_campaign(campaign_contacts, campaign_id),
        _CONTACT.status.in_(targets),
        sa.true() if condition is None else condition,
    )
    columns = {
        **_CHANGES.get(action, {}),
        **(changes or {}),
        "status": sa.case(targets, value=_CONTACT.status),
    }
    changed = 0
    skipped: list[UUID] = []
    if contact_ids is None:
        changed = _move(scope, campaign_id, movable, columns)
    else:
        for chunk in chunks(checked_ids(contact_ids)):
            moving = sa.and_(movable, is_one_of(_CONTACT.contact_id, chunk))
            moved = set(scope.connection.scalars(sa.select(_CONTACT.contact_id).where(moving)))
            changed += _move(scope, campaign_id, moving, columns)
            skipped += [contact_id for contact_id in chunk if contact_id not in moved]
    refresh_campaign(scope, campaign_id)
    return Changed(changed, tuple(skipped))


@exact_money()
def _move(
    scope: Scope, campaign_id: UUID, moving: sa.ColumnElement[bool], columns: Mapping[str, Any]
) -> int:
    """Write ``columns``, among them the new status, into the contacts that meet ``moving``.

    Add the change to the totals, and return the number of contacts.
    """
    # 1. Count the contacts by their status before and after, for the totals.
    delta = Totals()
    number = 0
    for source, goal, count, reserved, exported in scope.connection.execute(
        sa.select(
            _CONTACT.status,
            columns["status"].label("target"),
            sa.func.count(),
            total_of(_CONTACT.reserved, type_=Money()),
            sa.func.count(_CONTACT.exported_at),
        )
        .where(moving)
        .group_by(_CONTACT.status, sa.text("target"))
    ):
        number += count
        delta.move(source, goal, count)
        if "reserved" in columns:
            delta.reserved -= reserved
        if "exported_at" in columns:
            delta.exported -= exported
    # 2. Change the contacts.
    if number:
        scope.connection.execute(sa.update(campaign_contacts).where(moving).values(columns))
        add_to_totals(scope, campaign_id, delta)
    return number


def _resting_status(scope: Scope) -> sa.ColumnElement[str]:
    """Build the SQL of :func:`lifecycle.resting_status`: the status in which a contact waits."""
    length = sa.func.jsonb_array_length if scope.on_postgresql else sa.func.json_array_length
    return sa.case(
        (_CONTACT.enrichment_gaps.is_(None), NOT_CHECKED.value),
        (length(_CONTACT.enrichment_gaps) == 0, READY.value),
        else_=NOT_READY.value,
    )
