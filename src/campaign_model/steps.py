"""Steps, sequences of steps, and the message slots of a sequence.

A :class:`StepSequence` is edited by methods that return a new sequence. The invariant is that a
step keeps its key through every edit, because messages refer to it. ``MessageSlot.message_id`` is
the same UUID however often it is computed, so a repeated insert cannot double a message.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypedDict, Unpack, overload
from uuid import UUID, uuid5

import attrs

from campaign_model._answer import Answer
from campaign_model._json import EMPTY, Fault, JsonObject, digest, json_object, pointer_to
from campaign_model._values import checked_id, checked_instance, checked_number
from campaign_model.errors import (
    InvalidArgument,
    InvalidDocument,
    Violation,
    join_words,
    short_repr,
)
from campaign_model.fields import DocumentFields
from campaign_model.vocabulary import (
    CHANNEL_LIMITS,
    MAX_IDENTIFIER,
    STANDARD,
    Condition,
    Vocabulary,
)

MAX_STEPS = 20
MAX_LABEL = 200
MAX_VARIANTS = 3
MAX_DAY_OFFSET = 365
KEY_PATTERN = rf"[A-Za-z0-9_-]{{1,{MAX_IDENTIFIER}}}"
"""The shape of a step's key; the whole key must match."""

MESSAGE_NAMESPACE = UUID("6b1f6a0e-3c55-4d0b-9a58-0f2b7d1c9e47")
"""Namespace of message ids, UUIDv5 of ``{campaign_contact_id}/{step_key}/{variant}/{revision}``."""

_CONDITIONS = {str(condition): condition for condition in Condition}


ConditionName = Literal["always", "no_response", "opened_not_replied"]
"""A :class:`Condition` as text."""


def _condition(value: Condition | ConditionName | None) -> Any:
    return _CONDITIONS.get(value, value) if isinstance(value, str) else value


class StepChanges(TypedDict, total=False):
    """The fields of a step that :meth:`StepSequence.update` can change."""

    channel: str
    label: str
    enabled: bool
    needs_pdf: bool
    variant_count: int
    day_offset: int | None
    condition: Condition | ConditionName | None
    config: Mapping[str, Any] | None
    extra: Mapping[str, Any]


@attrs.frozen
class Step:
    """One message to send, or one call script, within a sequence.

    ``channel`` need not be known to any vocabulary. ``variant_count`` is the number of messages
    to generate. ``key`` is the identity of the step for ever; messages refer to it.
    ``day_offset`` counts days from the contact's day 0. ``config`` is free: the step's own tone,
    subject, length. ``extra`` keeps the unknown fields of a stored document. A document does not
    contain a field that is ``None``. Raises :class:`InvalidDocument` naming every wrong field.
    """

    channel: str = attrs.field(metadata=CHANNEL_LIMITS)
    label: str = attrs.field(metadata={"minLength": 1, "maxLength": MAX_LABEL})
    enabled: bool = True
    needs_pdf: bool = False
    variant_count: int = attrs.field(default=1, metadata={"minimum": 1, "maximum": MAX_VARIANTS})
    key: str | None = attrs.field(
        default=None,
        metadata={
            "description": f"1 to {MAX_IDENTIFIER} characters out of a-z, A-Z, 0-9, _ and -",
            "pattern": f"^{KEY_PATTERN}$",
        },
    )
    day_offset: int | None = attrs.field(
        default=None, metadata={"minimum": 0, "maximum": MAX_DAY_OFFSET}
    )
    condition: Condition | None = attrs.field(default=None, converter=_condition)
    config: JsonObject | None = attrs.field(default=None, converter=json_object)
    extra: JsonObject = attrs.field(default=EMPTY, converter=json_object)

    def __attrs_post_init__(self) -> None:
        STEP_FIELDS.check(self)


# In a document, the field "step" is the position, counted from 1. A sequence implies it.
STEP_FIELDS = DocumentFields(Step, "step", depth=2, step={"type": "integer", "minimum": 1})


@attrs.frozen
class MessageSlot(Answer):
    """One message that a contact is to get: a step and a variant (``a``, ``b`` or ``c``)."""

    step_key: str
    position: int
    channel: str
    variant: str

    def message_id(self, campaign_contact_id: UUID, revision: int) -> UUID:
        """Return the id of this slot's message. ``revision`` is that of the campaign contact.

        An engine that crashes and repeats its work inserts the same id again. Raises
        :class:`InvalidArgument` and ``TypeError`` for an id that is no UUID.
        """
        contact_id = checked_id(campaign_contact_id, "campaign_contact_id")
        return uuid5(MESSAGE_NAMESPACE, f"{contact_id}/{self.step_key}/{self.variant}/{revision}")


@attrs.frozen
class SequenceDiff(Answer):
    """The keys of the steps that differ between two sequences.

    ``moved`` are the steps of both sequences whose order changed.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[str, ...]


_KEY_BY_POSITION = "; a step without a key has the key s and its position"


def sequence_faults(
    keys: Sequence[str | None],
    day_offsets: Sequence[int | None],
    positions: Sequence[int] | None = None,
) -> list[Fault]:
    """List what breaks the rules between steps, which JSON Schema cannot express.

    Positions (if given) count from 1 in order; effective keys are unique; day offsets never
    decrease. The i-th entries belong to the i-th step. Places start at the array of steps.
    """
    faults: list[Fault] = []
    for index, position in enumerate(positions or ()):
        if position != index + 1:
            message = f"{short_repr(position)} must be {index + 1}; steps count from 1 in order"
            faults.append(((index, "step"), "wrong_position", message))
    first_indexes: dict[str, int] = {}
    for index, own_key in enumerate(keys):
        key = effective_key(own_key, index)
        first = first_indexes.setdefault(key, index)
        if first != index:
            hint = "" if own_key is not None and keys[first] is not None else _KEY_BY_POSITION
            message = f"{key!r} is already the key of steps[{first}]; use another key{hint}"
            faults.append(((index, "key"), "duplicate_key", message))
    latest_day = 0
    for index, day in enumerate(day_offsets):
        if day is None:
            continue
        if day < latest_day:
            message = f"day {day} is before day {latest_day} of an earlier step; use a later day"
            faults.append(((index, "day_offset"), "decreasing_day_offset", message))
        latest_day = max(latest_day, day)
    return faults


def effective_key(key: str | None, index: int) -> str:
    """Return the key of the step at ``index``; without a key of its own it is ``s{position}``."""
    return key if key is not None else f"s{index + 1}"


def match_keys(
    own_keys: Sequence[str | None],
    channels: Sequence[Any],
    steps: Sequence[Step | None],
    previous: StepSequence,
) -> list[str | None]:
    """Return the key of each step as an edit of ``previous``; ``None`` for a new step.

    The i-th entries belong to the i-th step. ``steps`` has ``None`` for a step that cannot be read.
    A step with a key of its own keeps it. The others are matched with the remaining steps of
    ``previous``: by equal content, by content that is equal except for the day offset, which
    belongs to the position, and then by place and channel. No step of ``previous`` is matched
    twice.
    """
    keys = list(own_keys)
    open_indexes = [index for index, key in enumerate(keys) if key is None]
    free = {key: index for index, key in enumerate(previous.keys) if key not in keys}

    def match(new: int, key: str) -> None:
        keys[new] = key
        open_indexes.remove(new)
        del free[key]

    def match_contents(*, with_day: bool) -> None:
        new = [
            (index, _content_digest(step, with_day=with_day))
            for index in open_indexes
            if (step := steps[index]) is not None
        ]
        old = [
            (key, _content_digest(previous[index], with_day=with_day))
            for key, index in free.items()
        ]
        # 1. From both ends: the steps before and after an edit, so that of several steps with the
        #    same content each keeps its own key.
        for end in (0, -1):
            while new and old and new[end][1] == old[end][1]:
                match(new.pop(end)[0], old.pop(end)[0])
        # 2. The steps that were moved, in order.
        for index, content in new:
            key = next((key for key, other in old if other == content and key in free), None)
            if key is not None:
                match(index, key)

    match_contents(with_day=True)
    match_contents(with_day=False)
    for key, index in list(free.items()):
        if index in open_indexes and channels[index] == previous[index].channel:
            match(index, key)
    return keys


def _content_digest(step: Step, *, with_day: bool) -> str:
    """Return a digest of the fields of a step except its key, with every default written out."""
    return digest(_with_defaults(step) | {"key": None} | ({} if with_day else {"day_offset": None}))


def _with_defaults(step: Step) -> dict[str, Any]:
    """Return the fields of a step, with the defaults that a document may leave out."""
    return attrs.asdict(step, recurse=False) | {
        "condition": step.condition or Condition.ALWAYS,
        "config": step.config or EMPTY,
    }


def new_key() -> str:
    """Return a random key for a new step."""
    return f"k{os.urandom(8).hex()}"


def _steps(value: Iterable[Step]) -> tuple[Step, ...]:
    steps = tuple(value)
    if not {Step}.issuperset(map(type, steps)):
        raise TypeError("a StepSequence consists of values of the type Step")
    return steps


@attrs.frozen
class StepSequence(Sequence[Step]):
    """The steps of a campaign or template in order, at most 20.

    A step without a key has the effective key ``s{position}``. The first edit writes the effective
    keys into all steps, so that moving a step does not rename others. Day offsets belong to
    positions, not to steps. Raises :class:`InvalidDocument` with every :func:`sequence_faults`, or
    only for too many steps, and ``TypeError`` for anything that is not a step.
    """

    steps: tuple[Step, ...] = attrs.field(default=(), converter=_steps)

    def __attrs_post_init__(self) -> None:
        if len(self.steps) > MAX_STEPS:
            message = f"steps: has {len(self.steps)} steps; at most {MAX_STEPS} are allowed"
            violation = Violation("", "too_many_items", message)
            raise InvalidDocument("template_config", (violation,))
        faults = sequence_faults(
            [step.key for step in self.steps], [step.day_offset for step in self.steps]
        )
        if faults:
            violations = (
                Violation(pointer_to(tokens), code, f"steps[{tokens[0]}].{tokens[1]}: {message}")
                for tokens, code, message in faults
            )
            raise InvalidDocument("template_config", tuple(violations))

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Step, ...]: ...
    def __getitem__(self, index: int | slice) -> Step | tuple[Step, ...]:
        return self.steps[index]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The effective keys of all steps, in order."""
        return tuple(effective_key(step.key, index) for index, step in enumerate(self.steps))

    @property
    def enabled(self) -> tuple[Step, ...]:
        """The enabled steps, in order."""
        return tuple(step for step in self.steps if step.enabled)

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of the enabled steps, with every field.

        It is equal whether keys and defaults are written out or not. It differs if any message
        could differ. Disabled steps do not count.
        """
        enabled = [
            _with_defaults(step) | {"key": key}
            for key, step in zip(self.keys, self.steps, strict=True)
            if step.enabled
        ]
        return digest(enabled)

    def by_key(self, key: str) -> Step:
        """Return the step with that effective key. Raises :class:`InvalidArgument`."""
        return self.steps[self._index(key)]

    def update(self, key: str, /, **changes: Unpack[StepChanges]) -> StepSequence:
        """Return a sequence with changed fields of one step.

        Raises :class:`InvalidArgument` for an unknown key and for a change of the key itself, and
        ``TypeError`` for an unknown field.
        """
        if "key" in changes:
            raise InvalidArgument("key", "a step's key never changes: messages refer to it")
        index = self._index(key)
        steps = self._with_keys()
        steps[index] = attrs.evolve(steps[index], **changes)
        return StepSequence(steps)

    def move(self, key: str, position: int) -> StepSequence:
        """Return a sequence with one step moved to ``position`` (1 to n).

        Day offsets stay at their positions. Raises :class:`InvalidArgument` for an unknown key and
        for a position outside the sequence.
        """
        index = self._index(key)
        checked_number(position, 1, len(self.steps), "position")
        steps = self._with_keys()
        days = [step.day_offset for step in steps]
        steps.insert(position - 1, steps.pop(index))
        return StepSequence(
            attrs.evolve(step, day_offset=day) for step, day in zip(steps, days, strict=True)
        )

    def insert(self, position: int, step: Step) -> StepSequence:
        """Return a sequence with ``step`` inserted at ``position`` (1 to n + 1).

        A step without a key gets a new one. Raises :class:`InvalidArgument` for another position.
        """
        checked_number(position, 1, len(self.steps) + 1, "position")
        checked_instance(step, Step, "step")
        steps = self._with_keys()
        if step.key is None:
            step = attrs.evolve(step, key=new_key())
        steps.insert(position - 1, step)
        return StepSequence(steps)

    def remove(self, key: str) -> StepSequence:
        """Return a sequence without the step of that key. Raises :class:`InvalidArgument`."""
        index = self._index(key)
        steps = self._with_keys()
        del steps[index]
        return StepSequence(steps)

    def succeeding(self, previous: StepSequence) -> StepSequence:
        """Return these steps as an edit of ``previous``, each with a key of its own.

        A step without a key gets the key of the step in ``previous`` that it matches (see
        :func:`match_keys`). If it matches none, it is a new step and gets a new key. A sequence
        equal to ``previous`` is returned unchanged.
        """
        if self == previous:
            return previous
        own_keys = [step.key for step in self.steps]
        keys = match_keys(own_keys, [step.channel for step in self.steps], self.steps, previous)
        return StepSequence(
            attrs.evolve(step, key=key or new_key())
            for step, key in zip(self.steps, keys, strict=True)
        )

    def diff(self, other: StepSequence) -> SequenceDiff:
        """Return the differences between this sequence and a later one, ``other``."""
        before = dict(zip(self.keys, self.steps, strict=True))
        after = dict(zip(other.keys, other.steps, strict=True))
        common_before = [key for key in before if key in after]
        common_after = [key for key in after if key in before]
        return SequenceDiff(
            added=tuple(key for key in after if key not in before),
            removed=tuple(key for key in before if key not in after),
            changed=tuple(
                key
                for key in common_after
                if attrs.evolve(before[key], key=None) != attrs.evolve(after[key], key=None)
            ),
            moved=tuple(
                new for old, new in zip(common_before, common_after, strict=True) if old != new
            ),
        )

    def slots(self) -> tuple[MessageSlot, ...]:
        """Return the messages that a contact gets: each variant of each enabled step, in order."""
        return tuple(
            MessageSlot(key, index + 1, step.channel, variant)
            for index, (key, step) in enumerate(zip(self.keys, self.steps, strict=True))
            if step.enabled
            for variant in "abc"[: step.variant_count]
        )

    def required_fields(self, vocabulary: Vocabulary = STANDARD) -> tuple[str, ...]:
        """Return the fields that a contact needs for the messages of the enabled steps.

        These are the fields that the channels of the steps require, each once, in the order of the
        steps. A channel that ``vocabulary`` does not know requires nothing.
        """
        channels = (vocabulary.channel(step.channel) for step in self.enabled)
        fields = (field for channel in channels if channel for field in channel.requires)
        return tuple(dict.fromkeys(fields))

    def _index(self, key: str) -> int:
        try:
            return self.keys.index(key)
        except ValueError:
            message = f"no step has the key {short_repr(key)}, only: {join_words(self.keys)}"
            raise InvalidArgument("key", message, self.keys) from None

    def _with_keys(self) -> list[Step]:
        """Return the steps, each with its effective key written into it."""
        return [
            attrs.evolve(step, key=key) for key, step in zip(self.keys, self.steps, strict=True)
        ]
