"""Edits of a sequence of steps as data, and what each of them has to come to.

``strategies.edits()`` draws them. A service that edits steps over its own interface makes each of
them there, reads the steps back, and asks :func:`check` whether it did what it should.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from campaign_model._json import JsonObject
from campaign_model.steps import Step, StepSequence

__all__ = ["Edit", "Edits", "Insert", "Move", "Remove", "Update", "apply", "check"]


@attrs.frozen
class Update:
    """Other values for some fields of the step at ``index`` (from 0). None of them is its key."""

    index: int
    changes: JsonObject


@attrs.frozen
class Move:
    """The step at ``index`` (from 0) goes to ``position`` (from 1)."""

    index: int
    position: int


@attrs.frozen
class Insert:
    """A new step at ``position`` (from 1), with a key of its own or without one."""

    position: int
    step: Step


@attrs.frozen
class Remove:
    """The step at ``index`` (from 0) goes."""

    index: int


Edit = Update | Move | Insert | Remove


@attrs.frozen
class Edits:
    """A sequence to begin with, and edits that can be made one after the other."""

    start: StepSequence
    edits: tuple[Edit, ...]

    def stages(self) -> Iterator[tuple[StepSequence, Edit, StepSequence]]:
        """Each edit with the sequence before it and the one after it."""
        before = self.start
        for edit in self.edits:
            after = apply(edit, before)
            yield before, edit, after
            before = after


def apply(edit: Edit, steps: StepSequence) -> StepSequence:
    """``steps`` after the edit."""
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
    """Raise ``AssertionError`` unless ``after`` is all that the edit makes of ``before``.

    Every step has a key of its own from the first edit on, and keeps it: a message that refers to
    it always finds the same step. Days stay at their positions when steps move. A step that the
    edit does not name is what it was, switched off if it was switched off.
    """
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
    found = [step.key for step in after]
    if None in keys and len(found) == len(keys):
        new = found[keys.index(None)]
        assert new not in before.keys, f"the new step has the key of another one: {new!r}"
        keys[keys.index(None)] = new
    assert found == keys, f"the keys are {found}, not {keys}"
    assert [step.day_offset for step in after] == days, f"the days are not {days}"
    assert [_without_key_and_day(step) for step in after] == steps, f"the steps are not {steps}"
