"""Campaign rows: how a campaign is read from its row, and what an edit may write into it.

Another program may have written the row. Then it may have documents that need repairs, times that
Python does not have, or documents that cannot be read at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any

import attrs
import sqlalchemy as sa

from campaign_model.campaign import UNREADABLE, Campaign, Repair
from campaign_model.errors import Conflict, InvalidDocument, short_repr
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Permission
from campaign_model.steps import StepSequence
from campaign_model.store.scope import Scope
from campaign_model.store.tables import Value, value_from_row
from campaign_model.store.types import FIRST_MOMENT, LARGEST_SQLITE_AMOUNT, LAST_MOMENT, read_status
from campaign_model.wire import Codec

UNKNOWN_STATUS = "unknown_status"
"""The code for a row with a status that the library does not know."""

# Fields that `save` refuses to change. Actions change some of them, and the others never change.
MOVED_BY_APPLY = (
    "status",
    "is_active",
    "template_id",
    "created_at",
    "generation_started_at",
    "generation_completed_at",
)

_TIMES = ("created_at", "updated_at", "generation_started_at", "generation_completed_at")


def campaign_from_row(row: sa.Row[Any], codec: Codec) -> Campaign:
    """Make a campaign from its row. Repair its documents where they need it."""
    steps = codec.recover_template_config(row.template_config)
    config = codec.recover_generation_config(row.generation_config)
    return value_from_row(
        Campaign,
        row,
        steps=steps.value,
        generation_config=config.value,
        status=read_status(row.status),
        repairs=(
            *steps.repairs,
            *config.repairs,
            *repairs_of_status(row.status),
            *repairs_of_times({name: getattr(row, name) for name in _TIMES}),
        ),
    )


def repairs_of_times(times: Mapping[str, datetime | None]) -> Iterator[Repair]:
    """Yield a repair for each time, by its column, that Python does not have."""
    for name, time in times.items():
        if time in (FIRST_MOMENT, LAST_MOMENT):
            yield Repair("", "time_out_of_range", f"{name} is no time in the years 1 to 9999")


def repairs_of_status(word: str) -> Iterator[Repair]:
    """Yield a repair for a status that the library does not know."""
    if read_status(word) != word:
        message = f"another program has written the status {short_repr(word)}; it reads as archived"
        yield Repair("", UNKNOWN_STATUS, message)


def repairs_of_sum(scope: Scope, cost: Decimal) -> Iterator[Repair]:
    """Yield a repair for a sum of costs that SQLite cannot hold."""
    if cost >= LARGEST_SQLITE_AMOUNT and not scope.on_postgresql:
        yield Repair("", "sum_out_of_range", "the costs add up to more than SQLite can hold")


def unreadable_value(value_type: type[Value], row: sa.Row[Any], error: InvalidDocument) -> Value:
    """Make a campaign or template from a row whose documents, name or description cannot be read.

    The value has no steps, and its name if that can be read. A repair with the code
    :data:`~campaign_model.campaign.UNREADABLE` says why.
    """
    fields: dict[str, Any] = {
        "steps": StepSequence(),
        "generation_config": GenerationConfig(),
        "repairs": (Repair("", UNREADABLE, str(error)),),
    }
    if value_type is Campaign:
        fields["status"] = read_status(row.status)
        fields["repairs"] += (*repairs_of_status(row.status),)
    try:
        return value_from_row(value_type, row, **fields)
    except InvalidDocument:
        fields |= {"name": f"unreadable {row.id}", "description": None}
        return value_from_row(value_type, row, **fields)


def campaign_content(campaign: Campaign, codec: Codec) -> dict[str, Any]:
    """Return the columns of the campaign row that ``save`` may change."""
    return {
        "name": campaign.name,
        "description": campaign.description,
        "owner_id": campaign.owner_id,
        "template_config": json.dumps(codec.dump_template_config(campaign.steps)),
        "generation_config": json.dumps(codec.dump_generation_config(campaign.generation_config)),
    }


def permissions_for(before: Campaign, after: Campaign) -> tuple[Permission, ...]:
    """Return the permissions that the edit from ``before`` to ``after`` needs."""
    needed = []
    details = attrgetter("name", "description", "owner_id")
    if details(before) != details(after):
        needed.append(Permission.EDIT_DETAILS)
    if before.steps != after.steps:
        needed.append(Permission.EDIT_STEPS)
    if before.generation_config != after.generation_config:
        raised = _only_raises_budget(before.generation_config, after.generation_config)
        needed.append(Permission.RAISE_BUDGET if raised else Permission.EDIT_CONFIG)
    return tuple(needed)


def _only_raises_budget(before: GenerationConfig, after: GenerationConfig) -> bool:
    """Return True if ``after`` differs from ``before`` only in a higher budget."""
    if before.budget is None or after.budget is None or after.budget <= before.budget:
        return False
    return attrs.evolve(before, budget=after.budget) == after


def stale(present: Campaign, version: int) -> Conflict:
    """Make the error for a caller whose ``version`` is not the campaign's present version."""
    return Conflict(
        "stale_version",
        f"the campaign {present.name!r} was changed since you loaded it: you have version "
        f"{short_repr(version)}, the present version is {present.version}; load it again",
    )
