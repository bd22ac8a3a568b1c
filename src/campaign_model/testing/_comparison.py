"""What is compared: answers, and all that the database holds of one tenant's campaigns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.campaign import HistoryEntry
from campaign_model.errors import CampaignModelError
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store.assignment import POSITIONS
from campaign_model.store.campaigns import campaign_from_row
from campaign_model.store.scope import SHARDS
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaign_history,
    campaign_totals,
    campaigns,
)
from campaign_model.store.totals import Totals, sum_columns
from campaign_model.testing.kept import Contact, Kept
from campaign_model.wire import Codec

__all__ = ["check_same", "stored"]

_UNORDERED = frozenset({"ids", "kept", "lost", "skipped", "unknown"})
"""Ids in answers and errors: they come in no particular order."""


_TOTALS = (
    sa.select(campaign_totals.c.campaign_id, sa.func.count().label("shards"), *sum_columns())
    .where(campaign_totals.c.tenant_id == sa.bindparam("tenant"))
    .group_by(campaign_totals.c.campaign_id)
)


def check_same(found: Any, expected: Any, what: str) -> None:
    """Raise ``AssertionError`` with a line for every part in which store and model differ."""
    if found != expected:
        lines = [*_differences(found, expected, what)]
        if lines:
            raise AssertionError("\n".join(lines))


def _differences(found: Any, expected: Any, path: str) -> Iterator[str]:
    found, expected = _parts(found), _parts(expected)
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for name in {**found, **expected}:
            yield from _differences(
                found.get(name, "nothing"), expected.get(name, "nothing"), f"{path}, {name}"
            )
    elif found != expected:
        yield f"{path}: the store has {found!r}, the model {expected!r}"


def _parts(value: Any) -> Any:
    """A value by its parts. Of an error, all but the sentence for people."""
    if isinstance(value, tuple):
        return dict(enumerate(value))
    if isinstance(value, CampaignModelError):
        named = {name: part for name, part in value.to_dict().items() if name != "message"}
    elif attrs.has(type(value)):
        fields = [field.name for field in attrs.fields(type(value)) if field.eq]
        named = {name: getattr(value, name) for name in fields}
    else:
        return value
    return {"type": type(value).__name__} | {
        name: frozenset(part) if name in _UNORDERED else part for name, part in named.items()
    }


def stored(connection: sa.Connection, tenant_id: UUID, codec: Codec) -> dict[UUID, Kept]:
    """What the database holds of every campaign of the tenant, in the model's terms.

    Raises ``AssertionError`` where the totals are not the sums of the contacts' rows.
    """

    def rows(table: sa.Table) -> sa.CursorResult[Any]:
        return connection.execute(sa.select(table).where(table.c.tenant_id == tenant_id))

    found = {
        row.id: Kept(
            campaign_from_row(row, codec),
            settled=(row.total_contacts, row.generated_count, row.generation_cost),
            next_position=row.next_position,
            clones=row.clone_count,
        )
        for row in rows(campaigns)
    }
    for row in rows(campaign_contacts):
        found[row.campaign_id].contacts[row.contact_id] = _contact(row)
    for row in rows(campaign_erased_claims):
        found[row.campaign_id].erased_claims |= {(row.campaign_contact_id, row.token)}
    for row in sorted(rows(campaign_history), key=lambda row: row.version):
        found[row.campaign_id].history += (
            HistoryEntry(
                row.at,
                Action(row.action),
                Status(row.source),
                Status(row.target),
                row.version,
                row.actor,
                row.reason,
            ),
        )
    sums = {
        row["campaign_id"]: row
        for row in connection.execute(_TOTALS, {"tenant": tenant_id}).mappings()
    }
    for id_, kept in found.items():
        total = Totals.from_columns(sums[id_]) if id_ in sums else Totals()
        kept.least_reserve = total.unit_reserve
        kept.erased_cost = total.erased_cost
        kept.erased_unknown_costs = total.erased_unknown_costs
        check_same(total, _sums(kept), f"totals of campaign {id_}, and the sums of its rows")
        if id_ in sums and sums[id_]["shards"] > SHARDS:
            raise AssertionError(f"campaign {id_} has {sums[id_]['shards']} rows of totals")
    return found


def _sums(kept: Kept) -> Totals:
    contacts = kept.contacts.values()
    return Totals(
        counts={status: kept.number(status) for status in ContactStatus},
        cost=sum((one.cost for one in contacts), Decimal(0)),
        unknown_costs=sum(one.unknown_costs for one in contacts),
        erased_cost=kept.erased_cost,
        erased_unknown_costs=kept.erased_unknown_costs,
        reserved=kept.reserved,
        unit_reserve=kept.least_reserve,
    )


def _contact(row: sa.Row[Any]) -> Contact:
    gaps = row.enrichment_gaps
    return Contact(
        place=divmod(row.rank, POSITIONS),
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
        cost=row.generation_cost,
        unknown_costs=row.unknown_costs,
        reserved=row.reserved,
        reported=frozenset(UUID(token) for token in json.loads(row.reported_tokens)),
    )
