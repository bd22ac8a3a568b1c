"""Moves of contacts by the lifecycle's table, many at once, under the campaign's exclusive lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model._values import exactly
from campaign_model.campaign import Changed
from campaign_model.lifecycle import ContactAction
from campaign_model.store.connection import checked_ids, chunks
from campaign_model.store.recount import refresh_campaign
from campaign_model.store.scope import Scope
from campaign_model.store.statements import NOT_CHECKED, NOT_READY, READY
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.totals import Totals, add_to_totals
from campaign_model.store.types import Array, Money, Uuid, any_of

__all__ = ["has_contact_id", "move_contacts"]

_CONTACT = campaign_contacts.c
_NOTHING = sa.literal(Decimal(0), Money())

_SENT_BACK: dict[str, Any] = {
    "claim_token": None,
    "lease_expires_at": None,
    "retry_at": None,
    "attempts": 0,
    "error_code": None,
    "error": None,
}
"""A contact that is sent back to wait forgets these. A late result finds its token gone."""

_CHANGES: Mapping[ContactAction, dict[str, Any]] = {
    ContactAction.RETRY: _SENT_BACK,
    ContactAction.INCLUDE: _SENT_BACK,
    # Without its fingerprint, the next claim does not count the revision up once more.
    ContactAction.REGENERATE: _SENT_BACK
    | {"revision": _CONTACT.revision + 1, "steps_fingerprint": None},
    # The worker may never report, so its reservation is free again at once.
    ContactAction.EXCLUDE: {"reserved": _NOTHING},
    ContactAction.RELEASE: {"reserved": _NOTHING, "claim_token": None, "lease_expires_at": None},
}
"""What an action changes besides the status."""


def has_contact_id(contact_ids: Iterable[UUID]) -> sa.ColumnElement[bool]:
    """Build the condition that a campaign contact is one of these contacts of the host."""
    return any_of(_CONTACT.contact_id, sa.literal([*contact_ids], Array(Uuid)))


def move_contacts(
    scope: Scope,
    campaign_id: UUID,
    action: ContactAction,
    contact_ids: Iterable[UUID] | None = None,
    condition: sa.ColumnElement[bool] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Changed:
    """Apply ``action`` to contacts, all or the given ones, whose status allows it.

    They must also meet ``condition``, if there is one. ``changes`` are further columns to write.
    Name the given contacts that it did not apply to. Call it under the exclusive lock, which keeps
    other writers away between the statements.
    """
    sources = [line.source for line in lifecycle.CONTACT_TRANSITIONS if line.action is action]
    movable = sa.and_(
        scope.of_campaign(campaign_contacts, campaign_id),
        _CONTACT.status.in_([source.value for source in sources]),
        sa.true() if condition is None else condition,
    )
    columns = {**_CHANGES.get(action, {}), **(changes or {})}
    changed = 0
    skipped: list[UUID] = []
    if contact_ids is None:
        changed = _move(scope, campaign_id, action, movable, columns)
    else:
        for chunk in chunks(checked_ids(contact_ids)):
            moving = sa.and_(movable, has_contact_id(chunk))
            moved = set(scope.connection.scalars(sa.select(_CONTACT.contact_id).where(moving)))
            changed += _move(scope, campaign_id, action, moving, columns)
            skipped += [contact_id for contact_id in chunk if contact_id not in moved]
    refresh_campaign(scope, campaign_id)
    return Changed(changed, tuple(skipped))


@exactly()
def _move(
    scope: Scope,
    campaign_id: UUID,
    action: ContactAction,
    moving: sa.ColumnElement[bool],
    columns: Mapping[str, Any],
) -> int:
    """Apply ``action`` to the contacts that meet ``moving``; return their number."""
    target = sa.case(
        *(
            (
                _CONTACT.status == line.source.value,
                _resting_status(scope) if line.target is None else sa.literal(line.target.value),
            )
            for line in lifecycle.CONTACT_TRANSITIONS
            if line.action is action
        )
    )
    # 1. Count them, for the totals.
    delta = Totals()
    number = 0
    for source, goal, count, reserved in scope.connection.execute(
        sa.select(
            _CONTACT.status, target.label("target"), sa.func.count(), sa.func.sum(_CONTACT.reserved)
        )
        .where(moving)
        .group_by(_CONTACT.status, sa.text("target"))
    ):
        number += count
        delta.move(source, goal, count)
        if "reserved" in columns:
            delta.reserved -= reserved
    # 2. Move them.
    if number:
        scope.connection.execute(
            sa.update(campaign_contacts).where(moving).values(status=target, **columns)
        )
        add_to_totals(scope, campaign_id, delta)
    return number


def _resting_status(scope: Scope) -> sa.ColumnElement[str]:
    """Build :func:`lifecycle.resting_status` of the row's gaps in SQL."""
    length = sa.func.jsonb_array_length if scope.on_postgresql else sa.func.json_array_length
    return sa.case(
        (_CONTACT.enrichment_gaps.is_(None), NOT_CHECKED.value),
        (length(_CONTACT.enrichment_gaps) == 0, READY.value),
        else_=NOT_READY.value,
    )
