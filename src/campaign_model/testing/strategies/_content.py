"""Strategies of simple values, vocabularies, steps, settings, templates and campaigns."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

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
from campaign_model.steps import (
    MAX_DAY_OFFSET,
    MAX_STEPS,
    MAX_VARIANTS,
    STEP_FIELDS,
    MessageSlot,
    Step,
    StepSequence,
)
from campaign_model.testing import _parts
from campaign_model.testing._parts import built, json_values, texts
from campaign_model.testing.edits import Edit, Edits, Insert, Move, Remove, Update
from campaign_model.vocabulary import MAX_TONE, STANDARD, Channel, Condition, Vocabulary

Value = TypeVar("Value")


def json_objects() -> SearchStrategy[JsonObject]:
    """Draw small frozen JSON objects with members of :func:`json_values`."""
    return built(JsonObject, _parts.members(json_values()))


def ids() -> SearchStrategy[UUID]:
    """Draw ids that shrink to a simple id. Those of ``st.uuids`` do not."""
    return _parts.ids


def amounts() -> SearchStrategy[Decimal]:
    """Draw money: 0, whole, with cents, with up to nine decimals, and just below the limit."""
    return _parts.amounts.map(Decimal)


_NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
_YEAR = timedelta(days=365) // timedelta(microseconds=1)


def moments() -> SearchStrategy[datetime]:
    """Draw UTC times with microseconds, within some decades of 2026."""
    return built(lambda since: _NEW_YEAR + since, after(-20 * _YEAR))


def after(least: int = 0) -> SearchStrategy[timedelta]:
    """Draw durations from ``least`` microseconds to 70 years."""
    return st.integers(least, 70 * _YEAR).map(lambda number: timedelta(microseconds=number))


def optional(strategy: SearchStrategy[Value]) -> SearchStrategy[Value | None]:
    """Draw ``None`` or a value."""
    return st.one_of(st.none(), strategy)


def tuples_of(
    strategy: SearchStrategy[Value], min_size: int = 0, max_size: int = 3
) -> SearchStrategy[tuple[Value, ...]]:
    """Draw tuples of different values."""
    return st.lists(strategy, min_size=min_size, max_size=max_size, unique=True).map(tuple)


SHORT_TEXTS = texts(min_size=1)
COUNTS = st.one_of(st.just(0), st.integers(1, 1000))
CAMPAIGN_NAMES = _parts.names("Spring", MAX_NAME)
FIELDS = st.sampled_from(["email_address", "linkedin_url", "phone"])
"""Fields of contacts, for gaps and for what channels require."""


# Vocabularies and steps.


def channels() -> SearchStrategy[Channel]:
    """Draw channels with any name, limit and requirements."""
    return st.builds(
        Channel,
        name=st.one_of(
            st.sampled_from(_parts.channel_names(None)),
            st.text("az09_", max_size=39).map(lambda rest: f"c{rest}"),
        ),
        max_length=optional(st.integers(1, 5000)),
        has_subject=st.booleans(),
        requires=tuples_of(FIELDS),
    )


def vocabularies() -> SearchStrategy[Vocabulary]:
    """Draw the standard vocabulary, and vocabularies with other channels and tones."""
    tones = st.one_of(st.sampled_from(["casual", "t" * MAX_TONE]), SHORT_TEXTS)
    return st.one_of(
        st.just(STANDARD),
        st.builds(
            Vocabulary,
            channels=st.lists(
                channels(), min_size=1, max_size=2, unique_by=lambda channel: channel.name
            ).map(tuple),
            tones=tuples_of(tones, min_size=1),
        ),
    )


def _known_and_extra(members: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """Return the arguments of a value: the members that are ``fields``, and ``extra``."""
    known = {name: value for name, value in members.items() if name in fields}
    extra = {name: value for name, value in members.items() if name not in fields}
    return known | {"extra": JsonObject(extra)}


def _step(members: dict[str, Any]) -> Step:
    """Make a step of the members of its document."""
    return Step(**_known_and_extra(members, STEP_FIELDS))


def _sequence(members_of_steps: list[dict[str, Any]]) -> StepSequence:
    return StepSequence(map(_step, members_of_steps))


def steps(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Step]:
    """Draw steps on the vocabulary's channels, without key and day offset.

    A drawn step is enabled or disabled and has 1 to 3 variants, a label of 1 to 200 characters, any
    condition or none, and perhaps settings and fields of the service (``x_``).
    """
    return built(_step, _parts.step(vocabulary))


def step_sequences(
    min_size: int = 0, max_size: int = 5, *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[StepSequence]:
    """Draw sequences of :func:`steps`, with and without keys, on days 0 to 365 or on none.

    Sometimes the keys are in reverse order, as after moves. With ``max_size=20`` the strategy often
    draws 20 steps, which ``st.lists`` would hardly ever do.
    """
    filled = max_size == MAX_STEPS
    return built(_sequence, _parts.steps(vocabulary, min_size, max_size, filled=filled))


def message_slots() -> SearchStrategy[MessageSlot]:
    """Draw message slots of any variant at positions 1 to 20."""
    return st.builds(
        MessageSlot,
        step_key=st.sampled_from(["s1", "s20", "step-2", "k" * 40]),
        position=st.integers(1, MAX_STEPS),
        channel=st.sampled_from(_parts.channel_names(STANDARD)),
        variant=st.sampled_from("abc"),
    )


_CHANGES: dict[str, SearchStrategy[Any]] = {
    "label": _parts.labels,
    "enabled": st.booleans(),
    "variant_count": st.integers(1, MAX_VARIANTS),
    "day_offset": optional(_parts.picks),
    "condition": optional(st.sampled_from([*map(str, Condition)])),
    "config": optional(_parts.members(SHORT_TEXTS)),
}


def edits(max_size: int = 5, *, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Edits]:
    """Draw a sequence of steps and up to ``max_size`` edits that can follow one another.

    ``drawn.stages()`` makes the edits; :func:`campaign_model.testing.edits.check` checks the result
    of each.
    """
    channel = {"channel": st.sampled_from(_parts.channel_names(vocabulary))}
    one_change = [st.fixed_dictionaries({name: _CHANGES[name]}) for name in _CHANGES]
    # The first alternative, an update without changes, is the simplest.
    changes = st.one_of(built(dict), *one_change, _parts.objects(channel, _CHANGES))
    # Each request is the kind of an edit, its details, and a number: see _possible_edits.
    requests = st.one_of(
        st.tuples(st.just(Update), changes, _parts.picks),
        st.tuples(st.just(Move), _parts.picks, _parts.picks),
        st.tuples(
            st.just(Insert),
            st.tuples(steps(vocabulary=vocabulary), optional(_parts.picks)),
            _parts.picks,
        ),
        st.tuples(st.just(Remove), st.none(), _parts.picks),
    )
    start = built(_sequence, _parts.steps(vocabulary, 0, 5, filled=True))
    return built(_possible_edits, st.lists(requests, min_size=1, max_size=max_size), start)


def _possible_edits(requests: list[tuple[type, Any, int]], start: StepSequence) -> Edits:
    """Turn the requests into edits of ``start``. Leave out requests that are not possible.

    A request is a kind of edit, its details, and a number ``pick``, which chooses the step that the
    edit changes, moves or removes, or the place of a new step. The details of each kind are

    * ``Insert``: the step, and a number that chooses its day offset (None: no day offset),
    * ``Update``: the changes, in which ``day_offset`` is such a number too,
    * ``Move``: a number that chooses the new position,
    * ``Remove``: None.

    An insertion is possible in a sequence of fewer than 20 steps, other edits in a sequence that is
    not empty. Day offsets must not decrease, so ``days`` has those of the sequence after each edit.
    """
    days = [step.day_offset for step in start]
    edits: list[Edit] = []
    for number, (kind, details, pick) in enumerate(requests):
        if kind is Insert and len(days) < MAX_STEPS:
            step, day = details
            place, has_key = divmod(pick, 2)
            index = place % (len(days) + 1)
            days.insert(index, _choose_day_between(days[:index], days[index:], day))
            step = attrs.evolve(
                step, key=f"new-{number}" if has_key else None, day_offset=days[index]
            )
            edits.append(Insert(position=index + 1, step=step))
        elif kind is not Insert and days:
            index = pick % len(days)
            if kind is Update:
                changes = dict(details)
                if "day_offset" in changes:
                    days[index] = _choose_day_between(
                        days[:index], days[index + 1 :], changes["day_offset"]
                    )
                    changes["day_offset"] = days[index]
                edits.append(Update(index, JsonObject(changes)))
            elif kind is Move:
                # Day offsets stay at their positions when steps move, so ``days`` does not change.
                edits.append(Move(index, position=details % len(days) + 1))
            else:
                edits.append(Remove(index))
                del days[index]
    return Edits(start, tuple(edits))


def _choose_day_between(
    before: list[int | None], after: list[int | None], pick: int | None
) -> int | None:
    """Choose a day offset by ``pick``: not less than those before, not more than those after.

    Without a ``pick``, return ``None``.
    """
    if pick is None:
        return None
    first = max((day for day in before if day is not None), default=0)
    last = min((day for day in after if day is not None), default=MAX_DAY_OFFSET)
    return first + pick % (last - first + 1)


# Settings, templates and campaigns.


def _config(members: dict[str, Any]) -> GenerationConfig:
    """Make settings of the members of their document."""
    arguments = _known_and_extra(members, GENERATION_FIELDS)
    if "budget" in arguments:
        arguments["budget"] = Decimal(arguments["budget"])
    return GenerationConfig(**arguments)


def generation_configs(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[GenerationConfig]:
    """Draw settings with any of the fields, with and without fields of the service (``x_``)."""
    return built(_config, _parts.settings(vocabulary))


def _contents(vocabulary: Vocabulary) -> dict[str, SearchStrategy[Any]]:
    """Return strategies for the fields that campaigns and templates share, except the name."""
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
    """Draw the fields that the store sets in every row: version and times."""
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

    An archived campaign is a deleted draft, or was exported before. A campaign whose generation has
    started has the time of the start.
    """
    return _stored(drafts(vocabulary=vocabulary), statuses)


def _stored(
    drafts: SearchStrategy[Campaign], statuses: Iterable[Status] = Status
) -> SearchStrategy[Campaign]:
    """Draw campaigns as the store returns them, with the content of ``drafts``."""
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

    ``run`` has two durations: from the creation of the campaign to the start of its generation, and
    from there to the end of the generation. The second one is ``None`` if the generation has not
    ended. ``run`` itself is ``None`` if the generation has never started.

    ``deleted`` matters for an archived campaign only: it says that the campaign is a deleted draft
    and was not exported.
    """
    is_active = not (deleted and status is Status.ARCHIVED)
    # A draft (also a deleted one) and a ready campaign may never have been generated. Every other
    # status can be reached only after the start of a run.
    may_be_without_run = not is_active or status in {Status.DRAFT, Status.READY}
    if run is None and not may_be_without_run:
        run = (timedelta(0), None)
    started = completed = None
    if run is not None:
        delay, duration = run
        started = row["created_at"] + delay
        # The run of a generating campaign has not ended, whatever was drawn.
        if duration is not None and status is not Status.GENERATING:
            completed = started + duration
    return attrs.evolve(
        draft,
        status=status,
        is_active=is_active,
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
    """Make a list entry of a campaign with ``generated`` contacts and ``others``."""
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
    """Draw entries for all status changes of the lifecycle's table, and for adoptions.

    The entry for the adoption of a legacy campaign changes no status.
    """
    status_changes = [(one.action, one.source, one.target) for one in lifecycle.TRANSITIONS]
    adoptions = [(ADOPTED, status, status) for status in (Status.DRAFT, Status.EXPORTED)]
    return built(
        lambda change, **fields: HistoryEntry(
            action=change[0], source=change[1], target=change[2], **fields
        ),
        st.sampled_from([*status_changes, *adoptions]),
        at=moments(),
        version=st.integers(1, 1000),
        actor=optional(SHORT_TEXTS),
        reason=optional(SHORT_TEXTS),
    )
