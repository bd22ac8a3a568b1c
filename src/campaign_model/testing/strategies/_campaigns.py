"""Strategies of settings, templates, campaigns and their history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model import lifecycle
from campaign_model._json import JsonObject
from campaign_model.campaign import (
    ADOPTED,
    MAX_NAME,
    Campaign,
    CampaignSummary,
    CampaignTemplate,
    HistoryEntry,
)
from campaign_model.generation_config import GENERATION_FIELDS, GenerationConfig
from campaign_model.lifecycle import Status
from campaign_model.testing import _parts
from campaign_model.testing._parts import built
from campaign_model.testing.strategies._basic import (
    CAMPAIGN_NAMES,
    COUNTS,
    SHORT_TEXTS,
    after,
    amounts,
    ids,
    moments,
    optional,
)
from campaign_model.testing.strategies._steps import step_sequences
from campaign_model.vocabulary import STANDARD, Vocabulary

__all__ = [
    "campaign_summaries",
    "campaign_templates",
    "campaigns",
    "drafts",
    "generation_configs",
    "history_entries",
    "new_templates",
]


def _config(members: dict[str, Any]) -> GenerationConfig:
    known = {name: value for name, value in members.items() if name in GENERATION_FIELDS}
    extra = {name: value for name, value in members.items() if name not in GENERATION_FIELDS}
    if "budget" in known:
        known["budget"] = Decimal(known["budget"])
    return GenerationConfig(**known, extra=JsonObject(extra))


def generation_configs(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[GenerationConfig]:
    """Draw settings with any fields present, with and without unknown fields (``x_``)."""
    return built(_config, _parts.settings(vocabulary))


def _contents(vocabulary: Vocabulary) -> dict[str, SearchStrategy[Any]]:
    return {
        "id": ids(),
        "steps": step_sequences(max_size=3, vocabulary=vocabulary),
        "generation_config": generation_configs(vocabulary=vocabulary),
        "description": optional(_parts.descriptions),
    }


def new_templates(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[CampaignTemplate]:
    """Draw templates of a tenant, as you pass them to ``store.templates.add``."""
    return st.builds(
        CampaignTemplate, name=_parts.names("Three e-mails", MAX_NAME), **_contents(vocabulary)
    )


def campaign_templates(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[CampaignTemplate]:
    """Draw templates as the store returns them: system templates and templates of tenants."""
    return built(
        lambda template, is_system, row: attrs.evolve(template, is_system=is_system, **row),
        new_templates(vocabulary=vocabulary),
        st.booleans(),
        _row_fields(),
    )


def _row_fields() -> SearchStrategy[dict[str, Any]]:
    """Draw the fields that the store sets: version and times."""
    return st.builds(
        lambda version, created, since: {
            "version": version,
            "created_at": created,
            "updated_at": created + since,
        },
        st.integers(1, 1000),
        moments(),
        after(),
    )


def drafts(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Campaign]:
    """Draw campaigns without an owner, as you pass them to ``store.campaigns.add``."""
    return st.builds(Campaign, name=CAMPAIGN_NAMES, **_contents(vocabulary))


def campaigns(
    statuses: Iterable[Status] = Status, *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[Campaign]:
    """Draw campaigns as the store returns them, in any of the ``statuses``.

    An archived campaign is a deleted draft or was exported. A campaign that has started generation
    has the time of the start.
    """
    return _stored(drafts(vocabulary=vocabulary), statuses)


def _stored(
    drafts: SearchStrategy[Campaign], statuses: Iterable[Status] = Status
) -> SearchStrategy[Campaign]:
    return built(
        _campaign,
        status=st.sampled_from([*statuses]),
        deleted=st.booleans(),
        run=optional(st.tuples(after(), optional(after()))),
        row=_row_fields(),
        draft=drafts,
        owner_id=optional(ids()),
        template_id=optional(ids()),
    )


def _campaign(
    *,
    status: Status,
    deleted: bool,
    run: tuple[timedelta, timedelta | None] | None,
    row: dict[str, Any],
    draft: Campaign,
    **references: Any,
) -> Campaign:
    """Make a campaign whose fields are consistent with its status.

    ``run`` is when its generation started after its creation, and how long it took.
    """
    active = not (deleted and status is Status.ARCHIVED)
    if active and status not in {Status.DRAFT, Status.READY}:
        run = run or (timedelta(0), None)
    started = completed = None
    if run is not None:
        delay, duration = run
        started = row["created_at"] + delay
        if duration is not None and status is not Status.GENERATING:
            completed = started + duration
    return attrs.evolve(
        draft,
        status=status,
        is_active=active,
        generation_started_at=started,
        generation_completed_at=completed,
        **row,
        **references,
    )


def campaign_summaries() -> SearchStrategy[CampaignSummary]:
    """Draw the items of a list of campaigns, in every status."""
    return built(
        _summary,
        _stored(st.builds(Campaign, id=ids(), name=CAMPAIGN_NAMES)),
        COUNTS,
        COUNTS,
        amounts(),
        COUNTS,
    )


def _summary(
    campaign: Campaign, generated: int, others: int, cost: Decimal, unknown: int
) -> CampaignSummary:
    shared_fields = {
        name: getattr(campaign, name)
        for name in attrs.fields_dict(CampaignSummary)
        if name in attrs.fields_dict(Campaign)
    }
    return CampaignSummary(
        total_contacts=generated + others,
        generated_count=generated,
        generation_cost=cost,
        unknown_costs=unknown,
        **shared_fields,
    )


def history_entries() -> SearchStrategy[HistoryEntry]:
    """Draw moves of the lifecycle's table, and adoptions, which change no status."""
    moves = [(line.action, line.source, line.target) for line in lifecycle.TRANSITIONS]
    adoptions = [(ADOPTED, status, status) for status in (Status.DRAFT, Status.EXPORTED)]
    return built(
        lambda move, **fields: HistoryEntry(
            action=move[0], source=move[1], target=move[2], **fields
        ),
        st.sampled_from([*moves, *adoptions]),
        at=moments(),
        version=st.integers(1, 1000),
        actor=optional(SHORT_TEXTS),
        reason=optional(SHORT_TEXTS),
    )
