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
from campaign_model.lifecycle import ContactAction, ContactStatus
from campaign_model.store.connection import checked_ids, chunks
from campaign_model.store.scope import Scope
from campaign_model.store.statements import NOT_CHECKED, NOT_READY, READY
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.totals import (
    Totals,
    add_to_totals,
    lock_totals,
    refresh_legacy_columns,
    reset_low_watermark,
)
from campaign_model.store.types import Array, Money, Uuid, any_of, array_length

__all__ = ["has_contact_id", "is_in_campaign", "move_all", "move_named", "refresh_campaign"]

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


def is_in_campaign(scope: Scope, campaign_id: UUID) -> sa.ColumnElement[bool]:
    """Build the condition that a campaign contact belongs to the campaign."""
    return sa.and_(scope.of_tenant(campaign_contacts), _CONTACT.campaign_id == campaign_id)


def has_contact_id(contact_ids: Iterable[UUID]) -> sa.ColumnElement[bool]:
    """Build the condition that a campaign contact is one of these contacts of the host."""
    return any_of(_CONTACT.contact_id, sa.literal([*contact_ids], Array(Uuid)))


@exactly()
def move_all(
    scope: Scope,
    campaign_id: UUID,
    action: ContactAction,
    condition: sa.ColumnElement[bool],
    changes: Mapping[str, Any] | None = None,
) -> int:
    """Apply ``action`` to every contact that meets ``condition`` and whose status allows it.

    ``changes`` are further columns to write. Return the number of contacts. The campaign's
    exclusive lock keeps other writers away between the count and the update.
    """
    transitions = [line for line in lifecycle.CONTACT_TRANSITIONS if line.action is action]
    target = sa.case(
        *(
            (
                _CONTACT.status == line.source.value,
                _resting_status() if line.target is None else sa.literal(line.target.value),
            )
            for line in transitions
        )
    )
    moving = sa.and_(
        is_in_campaign(scope, campaign_id),
        _CONTACT.status.in_([line.source.value for line in transitions]),
        condition,
    )
    columns = {**_CHANGES.get(action, {}), **(changes or {})}
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
        delta.move(ContactStatus(source), ContactStatus(goal), count)
        if "reserved" in columns:
            delta.reserved -= reserved
    # 2. Move them.
    if number:
        scope.connection.execute(
            sa.update(campaign_contacts).where(moving).values(status=target, **columns)
        )
        add_to_totals(scope.connection, scope.tenant_id, campaign_id, 0, delta)
    return number


def move_named(
    scope: Scope,
    campaign_id: UUID,
    action: ContactAction,
    contact_ids: Iterable[UUID],
    condition: sa.ColumnElement[bool] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Changed:
    """Do as :func:`move_all` for the contacts of these ids; name those it did not apply to."""
    if condition is None:
        condition = sa.true()
    sources = [line.source for line in lifecycle.CONTACT_TRANSITIONS if line.action is action]
    changed = 0
    skipped: list[UUID] = []
    for chunk in chunks(checked_ids(contact_ids)):
        movable = set(
            scope.connection.scalars(
                sa.select(_CONTACT.contact_id).where(
                    is_in_campaign(scope, campaign_id),
                    _CONTACT.status.in_([source.value for source in sources]),
                    has_contact_id(chunk),
                    condition,
                )
            )
        )
        skipped += [contact_id for contact_id in chunk if contact_id not in movable]
        chosen = sa.and_(has_contact_id(chunk), condition)
        changed += move_all(scope, campaign_id, action, chosen, changes)
    return Changed(changed, tuple(skipped))


def refresh_campaign(scope: Scope, campaign_id: UUID) -> None:
    """Bring low-water mark and legacy columns up to date after a change of contacts."""
    reset_low_watermark(scope, campaign_id)
    refresh_legacy_columns(scope, campaign_id, lock_totals(scope, campaign_id))


def _resting_status() -> sa.ColumnElement[str]:
    """Build :func:`lifecycle.resting_status` of the row's gaps in SQL."""
    return sa.case(
        (_CONTACT.enrichment_gaps.is_(None), NOT_CHECKED.value),
        (array_length(_CONTACT.enrichment_gaps) == 0, READY.value),
        else_=NOT_READY.value,
    )
