"""Strategies of vocabularies, steps and edits of steps."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model._json import EMPTY, JsonObject
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
from campaign_model.testing._parts import built
from campaign_model.testing.edits import Edit, Edits, Insert, Move, Remove, Update
from campaign_model.testing.strategies._basic import FIELDS, SHORT_TEXTS, optional, tuples_of
from campaign_model.vocabulary import MAX_TONE, STANDARD, Channel, Condition, Vocabulary

__all__ = ["channels", "edits", "message_slots", "step_sequences", "steps", "vocabularies"]


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


def _step(members: dict[str, Any]) -> Step:
    known = {name: value for name, value in members.items() if name in STEP_FIELDS}
    extra = {name: value for name, value in members.items() if name not in STEP_FIELDS}
    return Step(**known, extra=JsonObject(extra) if extra else EMPTY)


def _sequence(members_of_steps: list[dict[str, Any]]) -> StepSequence:
    return StepSequence(map(_step, members_of_steps))


def steps(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Step]:
    """Draw steps on the vocabulary's channels, without key and day offset.

    They are enabled or disabled, with 1 to 3 variants, labels of 1 to 200 characters, any condition
    or none, and with or without settings and unknown fields (``x_``).
    """
    return built(_step, _parts.step(vocabulary))


def step_sequences(
    min_size: int = 0, max_size: int = 5, *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[StepSequence]:
    """Draw sequences of :func:`steps`, with and without keys, on days 0 to 365 or on none.

    Sometimes the keys are in reverse order, as after moves. ``max_size=20`` often draws 20 steps,
    which Hypothesis alone would hardly do.
    """
    filled = max_size == MAX_STEPS
    return built(_sequence, _parts.steps(vocabulary, min_size, max_size, filled=filled))


def message_slots() -> SearchStrategy[MessageSlot]:
    """Draw messages of up to 20 steps with up to three variants."""
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
    """Draw a sequence and at most ``max_size`` edits that can be made one after the other.

    ``drawn.stages()`` makes them; :func:`campaign_model.testing.edits.check` checks each result.
    """
    channel = {"channel": st.sampled_from(_parts.channel_names(vocabulary))}
    one_change = [st.fixed_dictionaries({name: _CHANGES[name]}) for name in _CHANGES]
    # The first alternative, no change at all, is the simplest.
    changes = st.one_of(built(dict), *one_change, _parts.objects(channel, _CHANGES))
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
    """Turn the requests into edits, without those that the sequence has no room for by then."""
    days = [step.day_offset for step in start]
    edits: list[Edit] = []
    for number, (kind, detail, pick) in enumerate(requests):
        if kind is Insert and len(days) < MAX_STEPS:
            step, day = detail
            index = pick // 2 % (len(days) + 1)
            days.insert(index, _day_between(days[:index], days[index:], day))
            key = f"new-{number}" if pick % 2 else None
            edits.append(Insert(index + 1, attrs.evolve(step, key=key, day_offset=days[index])))
        elif kind is not Insert and days:
            index = pick % len(days)
            if kind is Update:
                changes = dict(detail)
                if "day_offset" in changes:
                    days[index] = _day_between(
                        days[:index], days[index + 1 :], changes["day_offset"]
                    )
                    changes["day_offset"] = days[index]
                edits.append(Update(index, JsonObject(changes)))
            elif kind is Move:
                edits.append(Move(index, detail % len(days) + 1))
            else:
                edits.append(Remove(index))
                del days[index]
    return Edits(start, tuple(edits))


def _day_between(before: list[int | None], after: list[int | None], pick: int | None) -> int | None:
    """Choose a day offset between those ``before`` and those ``after``, or ``None``."""
    if pick is None:
        return None
    first = max((day for day in before if day is not None), default=0)
    last = min((day for day in after if day is not None), default=MAX_DAY_OFFSET)
    return first + pick % (last - first + 1)
