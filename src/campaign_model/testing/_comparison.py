"""Compare the store with the model.

:func:`load_campaigns` reads everything that the database has of a tenant's campaigns, and returns
it as the model's values. :func:`check_same` names every part in which two values differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.campaign import HistoryEntry
from campaign_model.errors import CampaignModelError
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store.campaign_rows import campaign_from_row
from campaign_model.store.scope import SHARDS
from campaign_model.store.statements import ATTEMPTS_EXHAUSTED
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaign_history,
    campaign_totals,
    campaigns,
)
from campaign_model.testing.model_state import ModelCampaign, ModelContact
from campaign_model.testing.totals_check import find_wrong_totals
from campaign_model.wire import Codec

_UNORDERED = frozenset({"ids", "kept", "lost", "skipped", "unknown"})
"""Fields of answers and errors that list ids in no particular order."""

_MISSING = "nothing"
"""Shown for a part that only one of the two values has."""


def check_same(store_value: Any, model_value: Any, what: str) -> None:
    """Raise ``AssertionError`` with one line for every part in which store and model differ."""
    if store_value == model_value:
        return
    lines = [*_differences(store_value, model_value, what)]
    if lines:
        raise AssertionError("\n".join(lines))


def _differences(store_value: Any, model_value: Any, path: str) -> Iterator[str]:
    """Yield one line for every part in which the values differ. ``path`` names the values."""
    store_parts, model_parts = _parts(store_value), _parts(model_value)
    if not (isinstance(store_parts, Mapping) and isinstance(model_parts, Mapping)):
        if store_parts != model_parts:
            yield f"{path}: the store has {store_parts!r}, the model has {model_parts!r}"
        return
    for name in {**store_parts, **model_parts}:
        yield from _differences(
            store_parts.get(name, _MISSING),
            model_parts.get(name, _MISSING),
            f"{path}.{name}" if isinstance(name, str) else f"{path}[{name}]",
        )


def _parts(value: Any) -> Any:
    """Return the named parts of a value, or the value itself if it has none.

    The message of an error is not a part: its wording is free.
    """
    if isinstance(value, tuple):
        return dict(enumerate(value))
    if isinstance(value, CampaignModelError):
        parts = {name: part for name, part in value.to_dict().items() if name != "message"}
    elif attrs.has(type(value)):
        names = [field.name for field in attrs.fields(type(value)) if field.eq]
        parts = {name: getattr(value, name) for name in names}
    else:
        return value
    return {"type": type(value).__name__} | {
        name: frozenset(part) if name in _UNORDERED else part for name, part in parts.items()
    }


def load_campaigns(
    connection: sa.Connection, tenant_id: UUID, codec: Codec
) -> dict[UUID, ModelCampaign]:
    """Read all campaigns of the tenant from the database and return them as the model's values.

    Raises ``AssertionError`` if the totals of a campaign are not the sums of its contacts.
    """

    def rows(table: sa.Table) -> sa.CursorResult[Any]:
        return connection.execute(sa.select(table).where(table.c.tenant_id == tenant_id))

    # 1. Campaigns, with their contacts, erased claims and history.
    states = {
        row.id: ModelCampaign(
            campaign_from_row(row, codec),
            legacy_columns=(row.total_contacts, row.generated_count, row.generation_cost),
            next_position=row.next_position,
            clone_count=row.clone_count,
        )
        for row in rows(campaigns)
    }
    for row in rows(campaign_contacts):
        states[row.campaign_id].contacts[row.contact_id] = _contact_from_row(row)
    for row in rows(campaign_erased_claims):
        kept = (row.reserved, row.lease_expires_at)
        states[row.campaign_id].erased_claims[row.campaign_contact_id, row.token] = kept
    for row in sorted(rows(campaign_history), key=lambda row: row.version):
        states[row.campaign_id].history += (
            HistoryEntry(
                at=row.at,
                action=Action(row.action),
                source=Status(row.source),
                target=Status(row.target),
                version=row.version,
                actor=row.actor,
                reason=row.reason,
            ),
        )
    # 2. The totals that the model has too. The others must be the sums of the contacts.
    shards = dict.fromkeys(states, 0)
    for row in rows(campaign_totals):
        state = states[row.campaign_id]
        state.last_reserve = max(state.last_reserve, row.unit_reserve)
        state.erased_cost += row.erased_cost
        state.erased_unknown_costs += row.erased_unknown_costs
        shards[row.campaign_id] += 1
    wrong_totals = find_wrong_totals(connection, [tenant_id], [*states])
    wrong_totals += [
        f"campaign {campaign_id} has {number} rows of totals, more than {SHARDS}"
        for campaign_id, number in shards.items()
        if number > SHARDS
    ]
    if wrong_totals:
        raise AssertionError("\n".join(wrong_totals))
    return states


def _contact_from_row(row: sa.Row[Any]) -> ModelContact:
    gaps = row.enrichment_gaps
    return ModelContact(
        rank=row.rank,
        added_at=row.added_at,
        status=ContactStatus(row.status),
        gaps=None if gaps is None else tuple(json.loads(gaps)),
        row_id=row.id,
        ever_claimed=row.claimed_at is not None,
        token=row.claim_token,
        lease_expires_at=row.lease_expires_at,
        retry_at=row.retry_at,
        attempts=row.attempts,
        revision=row.revision,
        fingerprint=row.steps_fingerprint,
        generated_at=row.generated_at,
        error_code=row.error_code,
        error=None if row.error_code == ATTEMPTS_EXHAUSTED else row.error,
        cost=row.generation_cost,
        unknown_costs=row.unknown_costs,
        reserved=row.reserved,
        reported_tokens=frozenset(UUID(token) for token in json.loads(row.reported_tokens)),
    )
