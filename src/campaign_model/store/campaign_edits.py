"""Edits of a campaign: the permissions that they need, and the fields that no edit changes."""

from __future__ import annotations

from operator import attrgetter

import attrs

from campaign_model.campaign import Campaign
from campaign_model.errors import Conflict, short_repr
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Permission

# Fields that `save` refuses to change. Actions change some of them, and the others never change.
MOVED_BY_APPLY = (
    "status",
    "is_active",
    "template_id",
    "created_at",
    "generation_started_at",
    "generation_completed_at",
)


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
    """Make the error for a caller who has another version than the present one."""
    return Conflict(
        "stale_version",
        f"the campaign {present.name!r} was changed since you loaded it: you have version "
        f"{short_repr(version)}, the present version is {present.version}; load it again",
    )
