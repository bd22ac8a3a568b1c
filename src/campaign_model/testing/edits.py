"""Edits of a sequence of steps as data, and a check of the result of each edit.

``strategies.edits()`` draws edits. A service that edits steps through its own interface makes each
drawn edit there, reads the steps back and calls :func:`check`.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from campaign_model._json import JsonObject
from campaign_model.steps import Step, StepSequence

__all__ = ["Edit", "Edits", "Insert", "Move", "Remove", "Update", "apply", "check"]


@attrs.frozen
class Update:
    """Change some fields of the step at ``index`` (from 0), but not its key."""

    index: int
    changes: JsonObject


@attrs.frozen
class Move:
    """Move the step at ``index`` (from 0) to ``position`` (from 1)."""

    index: int
    position: int


@attrs.frozen
class Insert:
    """Insert a step, with or without a key, at ``position`` (from 1)."""

    position: int
    step: Step


@attrs.frozen
class Remove:
    """Remove the step at ``index`` (from 0)."""

    index: int


Edit = Update | Move | Insert | Remove


@attrs.frozen
class Edits:
    """A sequence of steps, and edits that can be made of it one after the other."""

    start: StepSequence
    edits: tuple[Edit, ...]

    def stages(self) -> Iterator[tuple[StepSequence, Edit, StepSequence]]:
        """Yield each edit with the sequence before it and the sequence after it."""
        before = self.start
        for edit in self.edits:
            after = apply(edit, before)
            yield before, edit, after
            before = after


def apply(edit: Edit, steps: StepSequence) -> StepSequence:
    """Make the edit and return the new sequence."""
    match edit:
        case Update(index, changes):
            return steps.update(steps.keys[index], **changes)
        case Move(index, position):
            return steps.move(steps.keys[index], position)
        case Insert(position, step):
            return steps.insert(position, step)
        case Remove(index):
            return steps.remove(steps.keys[index])


def _without_key_and_day(step: Step) -> Step:
    return attrs.evolve(step, key=None, day_offset=None)


def check(before: StepSequence, edit: Edit, after: StepSequence) -> None:
    """Raise ``AssertionError`` unless the edit turns ``before`` into ``after``.

    The rules: after the first edit every step has a key of its own, and no later edit changes the
    key, so that messages always refer to the same step. Day offsets stay at their positions when
    steps move. Steps that the edit does not name do not change; a disabled step stays disabled.
    """
    # 1. Compute the expected keys, days and other fields, one list for each.
    keys: list[str | None] = [*before.keys]
    days = [step.day_offset for step in before]
    steps = [_without_key_and_day(step) for step in before]
    match edit:
        case Update(index, changes):
            changed = attrs.evolve(before[index], **changes)
            days[index], steps[index] = changed.day_offset, _without_key_and_day(changed)
        case Move(index, position):
            keys.insert(position - 1, keys.pop(index))
            steps.insert(position - 1, steps.pop(index))
        case Insert(position, step):
            keys.insert(position - 1, step.key)
            days.insert(position - 1, step.day_offset)
            steps.insert(position - 1, _without_key_and_day(step))
        case Remove(index):
            del keys[index], days[index], steps[index]
    # 2. If an inserted step has no key, any new key is right.
    keys_after = [step.key for step in after]
    if None in keys and len(keys_after) == len(keys):
        new_key = keys_after[keys.index(None)]
        assert new_key not in before.keys, f"the new step has the key of another step: {new_key!r}"
        keys[keys.index(None)] = new_key
    # 3. Compare.
    days_after = [step.day_offset for step in after]
    steps_after = [_without_key_and_day(step) for step in after]
    assert keys_after == keys, f"the step keys are {keys_after}, but must be {keys}"
    assert days_after == days, f"the day offsets are {days_after}, but must be {days}"
    assert steps_after == steps, f"the steps are {steps_after}, but must be {steps}"
