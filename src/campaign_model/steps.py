"""Steps, their sequence, and the message slots that a sequence calls for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, overload
from uuid import UUID, uuid5

import attrs

from campaign_model._json import EMPTY, JsonObject, digest, fault_in, json_object, text_fault
from campaign_model.errors import InvalidDocument, Violation, short_repr
from campaign_model.vocabulary import CHANNEL_PATTERN, MAX_IDENTIFIER, Condition

__all__ = [
    "KEY_PATTERN",
    "MAX_DAY_OFFSET",
    "MAX_LABEL",
    "MAX_STEPS",
    "MAX_VARIANTS",
    "MESSAGE_NAMESPACE",
    "STEP_DEPTH",
    "STEP_FIELDS",
    "MessageSlot",
    "SequenceDiff",
    "Step",
    "StepSequence",
    "effective_key",
    "sequence_faults",
]

MAX_STEPS = 20
MAX_LABEL = 200
MAX_VARIANTS = 3
MAX_DAY_OFFSET = 365
KEY_PATTERN = rf"[A-Za-z0-9_-]{{1,{MAX_IDENTIFIER}}}"
"""What a step's key looks like; the whole key has to match."""

STEP_FIELDS = (
    "step",
    "channel",
    "label",
    "enabled",
    "needs_pdf",
    "variant_count",
    "key",
    "day_offset",
    "condition",
    "config",
)
"""The members of a step on the wire, in the order they are written. All others are ``extra``."""

STEP_DEPTH = 2
"""How deep a step is nested in a campaign template, the largest document it may stand in."""

MESSAGE_NAMESPACE = UUID("6b1f6a0e-3c55-4d0b-9a58-0f2b7d1c9e47")
"""Namespace of message ids, UUIDv5 of ``{campaign_contact_id}/{step_key}/{variant}/{revision}``."""

_is_channel = re.compile(CHANNEL_PATTERN).fullmatch
_is_key = re.compile(KEY_PATTERN).fullmatch


_CONDITIONS = {str(condition): condition for condition in Condition}


def _condition(value: Any) -> Any:
    return _CONDITIONS.get(value, value) if isinstance(value, str) else value


def _storable(value: Any, depth: int) -> bool:
    return type(value) is JsonObject and (not value or fault_in(value, depth) is None)


_MEANINGS = {
    "channel": f"a channel's name: lower-case letters, digits and _, at most {MAX_IDENTIFIER}",
    "label": f"text of 1 to {MAX_LABEL} characters",
    "enabled": "true or false",
    "needs_pdf": "true or false",
    "variant_count": f"a whole number from 1 to {MAX_VARIANTS}",
    "key": f"1 to {MAX_IDENTIFIER} letters, digits, _ or -",
    "day_offset": f"a whole number of days from 0 to {MAX_DAY_OFFSET}",
    "condition": f"one of {', '.join(Condition)}",
    "config": "a JSON object fit for a database",
    "extra": "a JSON object, fit for a database, of fields that a step does not have",
}


def _wrong_fields(step: Any) -> list[str]:
    # Written out, and not a table of rules: every step of every document that is read comes here.
    wrong = []
    channel, label, key, days = step.channel, step.label, step.key, step.day_offset
    if type(channel) is not str or _is_channel(channel) is None:
        wrong.append("channel")
    if type(label) is not str or not 0 < len(label) <= MAX_LABEL or text_fault(label) is not None:
        wrong.append("label")
    if type(step.enabled) is not bool:
        wrong.append("enabled")
    if type(step.needs_pdf) is not bool:
        wrong.append("needs_pdf")
    if type(step.variant_count) is not int or not 1 <= step.variant_count <= MAX_VARIANTS:
        wrong.append("variant_count")
    if key is not None and (type(key) is not str or _is_key(key) is None):
        wrong.append("key")
    if days is not None and (type(days) is not int or not 0 <= days <= MAX_DAY_OFFSET):
        wrong.append("day_offset")
    if step.condition is not None and type(step.condition) is not Condition:
        wrong.append("condition")
    if step.config is not None and not _storable(step.config, STEP_DEPTH + 1):
        wrong.append("config")
    if step.extra is not EMPTY and (
        not _storable(step.extra, STEP_DEPTH) or not step.extra.keys().isdisjoint(STEP_FIELDS)
    ):
        wrong.append("extra")
    return wrong


@attrs.frozen
class Step:
    """One message to send (or script to call by) within a sequence.

    ``channel`` is a name the codec's vocabulary may or may not know. ``variant_count`` messages
    (1 to 3) are written for it. ``key`` identifies the step for ever; messages refer to it.
    ``day_offset`` counts days after the contact's day 0. ``config`` is free: the step's own tone,
    subject, length. ``extra`` keeps fields that others wrote. ``None`` means that the field is
    not written at all. Raises :class:`InvalidDocument` naming every field that is wrong.
    """

    channel: str
    label: str
    enabled: bool = True
    needs_pdf: bool = False
    variant_count: int = 1
    key: str | None = None
    day_offset: int | None = None
    condition: Condition | None = attrs.field(default=None, converter=_condition)
    config: JsonObject | None = attrs.field(default=None, converter=json_object)
    extra: JsonObject = attrs.field(default=EMPTY, converter=json_object)

    def __attrs_post_init__(self) -> None:
        wrong = _wrong_fields(self)
        if wrong:
            raise InvalidDocument(
                "step",
                tuple(
                    Violation(
                        f"/{name}",
                        "invalid_value",
                        f"step.{name}: {short_repr(getattr(self, name))} is not {_MEANINGS[name]}",
                    )
                    for name in wrong
                ),
            )


@attrs.frozen
class MessageSlot:
    """One message that a contact is to get: this step, this variant (``a``, ``b`` or ``c``)."""

    step_key: str
    position: int
    channel: str
    variant: str

    def message_id(self, campaign_contact_id: UUID, revision: int) -> UUID:
        """The id of this slot's message, the same however often it is asked for.

        An engine that crashes and repeats inserts the same id again, so that a doubled message
        cannot exist. ``revision`` is the campaign contact's.
        """
        return uuid5(
            MESSAGE_NAMESPACE, f"{campaign_contact_id}/{self.step_key}/{self.variant}/{revision}"
        )


@attrs.frozen
class SequenceDiff:
    """What happened to the steps between two sequences, by key.

    ``moved`` are those that changed places among the steps common to both.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[str, ...]


_BY_PLACE = ", and one without a key goes by s and its place"


def sequence_faults(
    keys: Sequence[str | None],
    day_offsets: Sequence[int | None],
    positions: Sequence[int] | None = None,
) -> Iterator[Violation]:
    """The rules between steps, which JSON Schema cannot say.

    Positions (when given) count 1 to n in order; effective keys are unique; day offsets never
    decrease. The i-th entries belong to the i-th step; pointers start at the array of steps.
    """
    for index, position in enumerate(positions or ()):
        if position != index + 1:
            yield Violation(
                f"/{index}/step",
                "wrong_position",
                f"steps[{index}].step: {short_repr(position)} should be {index + 1}; "
                "steps count from 1 in order",
            )
    seen: dict[str, int] = {}
    for index, own_key in enumerate(keys):
        key = effective_key(own_key, index)
        first = seen.setdefault(key, index)
        if first != index:
            by_place = "" if own_key is not None and keys[first] is not None else _BY_PLACE
            yield Violation(
                f"/{index}/key",
                "duplicate_key",
                f"steps[{index}].key: {key!r} is already the key of steps[{first}]; "
                f"every step needs its own{by_place}",
            )
    latest = 0
    for index, day in enumerate(day_offsets):
        if day is None:
            continue
        if day < latest:
            yield Violation(
                f"/{index}/day_offset",
                "decreasing_day_offset",
                f"steps[{index}].day_offset: day {day} comes before day {latest} of an earlier "
                "step; a later step cannot go out earlier",
            )
        latest = max(latest, day)


def effective_key(key: str | None, index: int) -> str:
    """The key of the step at ``index``, which without one of its own goes by its position."""
    return key if key is not None else f"s{index + 1}"


def _new_key() -> str:
    return f"k{os.urandom(8).hex()}"


def _steps(value: Any) -> tuple[Step, ...]:
    return tuple(value)


@attrs.frozen
class StepSequence(Sequence[Step]):
    """The steps of a campaign in order, at most 20.

    Position is the order; editing returns a new sequence. A step without a key has the effective
    key ``s{position}``; the first edit gives every step its key for good, so that moving one does
    not rename the others. Day offsets belong to positions, not to steps. Raises
    :class:`InvalidDocument` for a sequence that breaks :func:`sequence_faults`.
    """

    steps: tuple[Step, ...] = attrs.field(default=(), converter=_steps)

    def __attrs_post_init__(self) -> None:
        faults = tuple(
            sequence_faults(
                [step.key for step in self.steps], [step.day_offset for step in self.steps]
            )
        )
        if len(self.steps) > MAX_STEPS:
            faults += (
                Violation(
                    "",
                    "too_many_items",
                    f"steps: {len(self.steps)} steps are more than the {MAX_STEPS} allowed",
                ),
            )
        if faults:
            raise InvalidDocument("template_config", faults)

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

    def __reduce__(self) -> tuple[type[StepSequence], tuple[tuple[Step, ...]]]:
        return StepSequence, (self.steps,)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The effective key of every step, in order."""
        return tuple(effective_key(step.key, index) for index, step in enumerate(self.steps))

    @property
    def enabled(self) -> tuple[Step, ...]:
        """The steps that are switched on, in order."""
        return tuple(step for step in self.steps if step.enabled)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what these steps would generate: their enabled steps, whole.

        Equal however defaults and keys were spelled; different once a contact's messages would
        differ. Disabled steps do not count.
        """
        enabled = [
            attrs.asdict(step, recurse=False)
            | {
                "key": key,
                "condition": step.condition or Condition.ALWAYS,
                "config": step.config or EMPTY,
            }
            for key, step in zip(self.keys, self.steps, strict=True)
            if step.enabled
        ]
        return digest(enabled)

    def by_key(self, key: str) -> Step:
        """The step with that effective key. Raises ``KeyError``."""
        return self.steps[self._index(key)]

    def update(self, key: str, /, **changes: Any) -> StepSequence:
        """With ``changes`` made to the fields of one step, whose key never changes.

        Raises ``KeyError`` for a key that no step has.
        """
        if "key" in changes:
            raise ValueError("a step's key never changes: messages refer to it")
        index = self._index(key)
        stamped = self._stamped()
        stamped[index] = attrs.evolve(stamped[index], **changes)
        return StepSequence(stamped)

    def move(self, key: str, position: int) -> StepSequence:
        """With one step moved to ``position`` (1 to n); the day offsets stay where they are.

        Raises ``KeyError`` for the key and ``IndexError`` for the position.
        """
        if not 1 <= position <= len(self.steps):
            raise IndexError(f"position {position} is not within 1 to {len(self.steps)}")
        index = self._index(key)
        stamped = self._stamped()
        days = [step.day_offset for step in stamped]
        stamped.insert(position - 1, stamped.pop(index))
        return StepSequence(
            attrs.evolve(step, day_offset=day) for step, day in zip(stamped, days, strict=True)
        )

    def insert(self, position: int, step: Step) -> StepSequence:
        """With ``step`` put at ``position`` (1 to n + 1); a step without a key gets a new one.

        Raises ``IndexError`` for the position.
        """
        if not 1 <= position <= len(self.steps) + 1:
            raise IndexError(f"position {position} is not within 1 to {len(self.steps) + 1}")
        stamped = self._stamped()
        if step.key is None:
            step = attrs.evolve(step, key=_new_key())
        stamped.insert(position - 1, step)
        return StepSequence(stamped)

    def remove(self, key: str) -> StepSequence:
        """Without the step of that key. Raises ``KeyError``."""
        index = self._index(key)
        stamped = self._stamped()
        del stamped[index]
        return StepSequence(stamped)

    def succeeding(self, previous: StepSequence) -> StepSequence:
        """These steps as an edit of ``previous``, every one with its key for good.

        A step without a key is the one that stood at its place without a key, if there was one;
        otherwise it is a new step and gets a new key, so that it never takes over the messages of
        a step that was removed. Equal steps stay as they are.
        """
        if self == previous:
            return previous
        known = [step.key is None for step in previous.steps]
        edited = list(self.steps)
        for index, step in enumerate(self.steps):
            if step.key is None:
                same = index < len(known) and known[index]
                key = effective_key(None, index) if same else _new_key()
                edited[index] = attrs.evolve(step, key=key)
        return StepSequence(edited)

    def diff(self, other: StepSequence) -> SequenceDiff:
        """What leads from this sequence to ``other``."""
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
                now for was, now in zip(common_before, common_after, strict=True) if was != now
            ),
        )

    def slots(self) -> tuple[MessageSlot, ...]:
        """Every message a contact gets: enabled steps in order, each with its variants."""
        return tuple(
            MessageSlot(key, index + 1, step.channel, variant)
            for index, (key, step) in enumerate(zip(self.keys, self.steps, strict=True))
            if step.enabled
            for variant in "abc"[: step.variant_count]
        )

    def _index(self, key: str) -> int:
        try:
            return self.keys.index(key)
        except ValueError:
            raise KeyError(key) from None

    def _stamped(self) -> list[Step]:
        return [
            attrs.evolve(step, key=key) for key, step in zip(self.keys, self.steps, strict=True)
        ]
