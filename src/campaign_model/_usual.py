"""Steps of a document that leaves nothing to do, read in one pass.

What :class:`Step` and :class:`StepSequence` ask of their fields is asked here once more, because
this is twice as fast. Tests hold the two equal: what is accepted here is what they would make of
it. All the rest is left to them, what is not in order as well as what is only rare.
"""

from __future__ import annotations

import re
from typing import Any

from campaign_model._json import EMPTY, flat_object, text_fault
from campaign_model.steps import (
    KEY_PATTERN,
    MAX_DAY_OFFSET,
    MAX_LABEL,
    MAX_STEPS,
    MAX_VARIANTS,
    STEP_FIELDS,
    Step,
    StepSequence,
    effective_key,
)
from campaign_model.vocabulary import CHANNEL_PATTERN, Condition

__all__ = ["usual_steps"]

_is_channel = re.compile(CHANNEL_PATTERN).fullmatch
_is_key = re.compile(KEY_PATTERN).fullmatch
_CONDITIONS: dict[str | None, Condition | None] = {
    None: None,
    **{str(one): one for one in Condition},
}
_FIELDS = len(STEP_FIELDS)
_new, _set = object.__new__, object.__setattr__


def usual_steps(document: Any) -> StepSequence | None:
    """The steps of a stored template_config that needs no repair, or ``None`` for a closer look.

    Usual are known fields alone, and in a step's config no objects, arrays or fractions.
    """
    if type(document) is not list or len(document) > MAX_STEPS:
        return None
    steps: list[Step] = []
    keys: set[str] = set()
    latest = 0
    for index, members in enumerate(document):
        if type(members) is not dict:
            return None
        number, channel, label, enabled, needs_pdf, variants, key, day, condition, config = map(
            members.get, STEP_FIELDS
        )
        if not (
            type(number) is int
            and number == index + 1
            and type(channel) is str
            and _is_channel(channel)
            and type(label) is str
            and 0 < len(label) <= MAX_LABEL
            and text_fault(label) is None
            and type(enabled) is bool
            and type(needs_pdf) is bool
            and type(variants) is int
            and 1 <= variants <= MAX_VARIANTS
            and (key is None or (type(key) is str and _is_key(key)))
            and (day is None or (type(day) is int and latest <= day <= MAX_DAY_OFFSET))
            and (condition is None or (type(condition) is str and condition in _CONDITIONS))
            and (config is None or type(config) is dict)
            # No others, and none that is null.
            and len(members) == _FIELDS - (key, day, condition, config).count(None)
        ):
            return None
        if config is not None and (config := flat_object(config)) is None:
            return None
        step = _new(Step)
        _set(step, "channel", channel)
        _set(step, "label", label)
        _set(step, "enabled", enabled)
        _set(step, "needs_pdf", needs_pdf)
        _set(step, "variant_count", variants)
        _set(step, "key", key)
        _set(step, "day_offset", day)
        _set(step, "condition", _CONDITIONS[condition])
        _set(step, "config", config)
        _set(step, "extra", EMPTY)
        steps.append(step)
        keys.add(effective_key(key, index))
        latest = day or latest
    if len(keys) < len(steps):
        return None
    sequence = _new(StepSequence)
    _set(sequence, "steps", tuple(steps))
    return sequence
