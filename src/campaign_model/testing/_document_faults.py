"""The faults that a document can have, as data.

:func:`document_faults` lists the faults by code. Each :class:`Fault` has a function that puts the
fault into a valid document.

A function with the argument ``vocabulary`` lists the faults of the submitted form with these words,
or of the stored form if ``vocabulary`` is ``None``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, NamedTuple

from campaign_model._json import MAX_DEPTH, pointer_to
from campaign_model._values import MONEY_LIMIT
from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.generation_config import MAX_INSTRUCTIONS
from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS, MAX_VARIANTS, effective_key
from campaign_model.testing._parts import numbered
from campaign_model.vocabulary import Vocabulary


class Fault(NamedTuple):
    """A fault that can be put into a valid document.

    ``put(document, pick)`` returns the document with the fault, and the path to the fault. ``pick``
    is any number; it chooses the place of the fault.
    """

    code: str
    put: Callable[[Any, int], tuple[Any, str]]


# Each begins with null.
_WRONG_TYPES: dict[type, tuple[Any, ...]] = {
    bool: (None, 0, "true", []),
    dict: (None, 5, "{}", []),
    int: (None, True, 1.0, "1", {}),
    list: (None, 5, True, {}),
    str: (None, 5, False, ["email"]),
}

_DUPLICATE_MARK = "a member that stands twice"
"""Marks the name of a second member with the same name, because a dict cannot have both.

:func:`finished` removes the mark from the JSON text. No drawn name contains the mark: it is longer
than any of them.
"""


def _set(name: str, code: str, *values: Any, within: str = "") -> list[Fault]:
    """Return one fault for each of ``values``, in which the member ``name`` has this value.

    ``within`` is the path from the member to the fault.
    """

    def put(value: Any) -> Callable[[Any, int], tuple[Any, str]]:
        return lambda members, _pick: (
            members | {name: copy.deepcopy(value)},
            pointer_to([name]) + within,
        )

    return [Fault(code, put(value)) for value in values]


def _wrong_types(types: dict[str, type], *, null: bool = True) -> list[Fault]:
    """Return faults in which a member has a value of another type than its own in ``types``.

    ``null`` includes null. In a stored document, a member that may be absent may also be null.
    """
    return [
        fault
        for name, python_type in types.items()
        for fault in _set(name, "wrong_type", *_WRONG_TYPES[python_type][not null :])
    ]


def _required(*names: str) -> list[Fault]:
    """Return one fault for each of ``names``: the member is missing."""

    def put(name: str) -> Callable[[Any, int], tuple[Any, str]]:
        return lambda members, _pick: (
            {other: value for other, value in members.items() if other != name},
            f"/{name}",
        )

    return [Fault("required", put(name)) for name in names]


def _unknown_fields(*names: str) -> list[Fault]:
    return [fault for name in names for fault in _set(name, "unknown_field", 1)]


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def _duplicate_member(name: str, value: Any) -> Fault:
    """Return the fault that the member ``name`` stands twice. If it is missing, add it first.

    Only JSON text can have this fault: :func:`finished` turns the document into text.
    """

    def put(members: Any, _pick: int) -> tuple[Any, str]:
        members = {name: value} | members
        return members | {_DUPLICATE_MARK + name: members[name]}, f"/{name}"

    return Fault("duplicate_member", put)


def finished(document: Any) -> Any:
    """Return the document; if it has a duplicate member, return it as JSON text."""
    text = json.dumps(document)
    return text.replace(_DUPLICATE_MARK, "") if _DUPLICATE_MARK in text else document


def _not_storable(depth: int) -> list[Fault]:
    """Return faults of values that databases or JSON readers change or refuse.

    They are put into an object at this depth of the document.
    """
    return [
        *_set("x_own", "invalid_text", ["a\0"], ["\ud800"], within="/0"),
        *_set("x_own", "invalid_text", {"a\0": 1}, {"\ud800": 1}),
        *_set("x_own", "not_json", float("nan"), float("inf"), -float("inf")),
        *_set("x_own", "number_too_large", 10**400, -(10**309)),
        *_set("x_own", "number_too_precise", 2**53 + 1, -(2**53) - 1),
        *_set("x_own", "too_deep", _nested(MAX_DEPTH), within="/0" * (MAX_DEPTH + 1 - depth)),
    ]


def _step_faults(vocabulary: Vocabulary | None) -> list[Fault]:
    """Return the faults that a single step can have."""
    empty = [] if vocabulary is None else [""]  # In a stored document, it is an absent member.
    faults_of_submitted: list[Fault] = (
        [
            *_required("channel"),
            *_set("channel", "bad_pattern", "Fax", "", "2_fax", "a" * 41, "fax\n"),
            *_set("step", "too_small", 0, -1),
        ]
        if vocabulary is None
        else [
            *_required("step", "channel", "label", "enabled", "needs_pdf", "variant_count"),
            *_set(
                "channel",
                "unknown_value",
                *_unknown(
                    ["emial", "Email", "", "email\n"],
                    (channel.name for channel in vocabulary.channels),
                ),
            ),
            *_set("step", "wrong_position", 0, -1, MAX_STEPS + 1),
            *_unknown_fields("lable", "owner", "X_own", "", "a/b~c"),
        ]
    )
    too_long = [] if vocabulary is None else ["x" * (MAX_LABEL + 1)]
    return [
        *_set("label", "too_short", *empty),
        *_set("label", "too_long", *too_long),
        *_set("variant_count", "too_small", 0, -1),
        *_set("variant_count", "too_large", MAX_VARIANTS + 1, 2**53),
        *_set("day_offset", "too_small", -1),
        *_set("day_offset", "too_large", MAX_DAY_OFFSET + 1),
        *_set("key", "bad_pattern", "first mail", *empty, "k" * 41, "intro\n", "é"),
        *_set("condition", "unknown_value", "never", "Always", *empty, "always\n"),
        *_set("label", "invalid_text", "a\0", "a\ud800"),
        _duplicate_member("channel", "email"),
        *faults_of_submitted,
        *_wrong_types({"channel": str}),
        *_wrong_types(
            {
                **dict.fromkeys(("label", "key", "condition"), str),
                **dict.fromkeys(("step", "variant_count", "day_offset"), int),
                **dict.fromkeys(("enabled", "needs_pdf"), bool),
                "config": dict,
            },
            null=vocabulary is not None,
        ),
        *_not_storable(depth=3),
    ]


def _unknown(near_misses: list[str], known: Iterable[str]) -> list[str]:
    known_words = {*known}
    return [word for word in near_misses if word not in known_words]


def _in_a_step(fault: Fault) -> Fault:
    """Return the fault of a step as a fault of a sequence, in one of its steps."""

    def put(steps: Any, pick: int) -> tuple[Any, str]:
        index = pick % len(steps)
        step, path = fault.put(steps[index], pick)
        return [*steps[:index], step, *steps[index + 1 :]], f"/{index}{path}"

    return Fault(fault.code, put)


def _extended(steps: list[Any], size: int) -> list[Any]:
    """Repeat the last step, without its key and day, until there are ``size`` steps."""
    last = {name: value for name, value in steps[-1].items() if name not in {"key", "day_offset"}}
    return numbered(steps + [copy.deepcopy(last) for _ in range(size - len(steps))])


def _put_duplicate_key(steps: Any, _pick: int) -> tuple[Any, str]:
    """Give the last step the effective key of the first step."""
    steps = _extended(steps, 2)
    last = len(steps) - 1
    steps[last]["key"] = effective_key(steps[0].get("key"), 0)
    return steps, f"/{last}/key"


def _put_decreasing_day(steps: Any, pick: int) -> tuple[Any, str]:
    """Give the last step an earlier day than the step before it."""
    steps = _extended(steps, 2)
    last = len(steps) - 1
    day = max(1, *(step.get("day_offset", 0) for step in steps[:last]))
    steps[last - 1]["day_offset"] = day
    steps[last]["day_offset"] = pick % day
    return steps, f"/{last}/day_offset"


def _replaced(code: str, *values: Any) -> list[Fault]:
    """Return one fault for each of ``values``: the whole document is this value."""

    def put(value: Any) -> Callable[[Any, int], tuple[Any, str]]:
        return lambda _document, _pick: (copy.deepcopy(value), "")

    return [Fault(code, put(value)) for value in values]


def _template_config_faults(vocabulary: Vocabulary | None) -> list[Fault]:
    not_steps = _replaced("wrong_type", None, 5, "email", [])
    return [
        *map(_in_a_step, [*_step_faults(vocabulary), *not_steps]),
        Fault("duplicate_key", _put_duplicate_key),
        Fault("decreasing_day_offset", _put_decreasing_day),
        *([] if vocabulary is None else _replaced("too_few_items", [])),
        Fault("too_many_items", lambda steps, _pick: (_extended(steps, MAX_STEPS + 1), "")),
        *_replaced("wrong_type", *_WRONG_TYPES[list]),
    ]


def _generation_config_faults(vocabulary: Vocabulary | None) -> list[Fault]:
    """Return the faults that generation settings can have."""
    empty = [] if vocabulary is None else [""]  # In a stored document, it is an absent member.
    faults_of_submitted: list[Fault] = (
        []
        if vocabulary is None
        else [
            *_set("tone", "unknown_value", *_unknown(["cassual", "Casual", ""], vocabulary.tones)),
            *_unknown_fields("temperature", "Tone", "X_own", ""),
        ]
    )
    return [
        *_set("language", "bad_pattern", "English!", "e", "en_US", "en\n", *empty),
        *_set("custom_instructions", "too_long", "i" * (MAX_INSTRUCTIONS + 1)),
        *_set("default_variant_count", "too_small", 0),
        *_set("default_variant_count", "too_large", MAX_VARIANTS + 1),
        *_set("budget", "bad_pattern", "-1", "1e3", "01", "1.0000000001", "25,00", *empty, "NaN"),
        *_set("budget", "bad_pattern", str(MONEY_LIMIT)),
        *_set("custom_instructions", "invalid_text", "a\0", "a\ud800"),
        _duplicate_member("language", "en"),
        *faults_of_submitted,
        *_wrong_types(
            {
                **dict.fromkeys(("tone", "language", "custom_instructions", "budget"), str),
                "default_variant_count": int,
            },
            null=vocabulary is not None,
        ),
        *_not_storable(depth=2),
        *_replaced("wrong_type", 5, True, []),
    ]


def _in_member(name: str, faults: list[Fault]) -> list[Fault]:
    """Return the faults of a document as faults of an object that has it as the member ``name``."""

    def within(fault: Fault) -> Fault:
        def put(members: Any, pick: int) -> tuple[Any, str]:
            member, path = fault.put(members.get(name) or {}, pick)
            return members | {name: member}, f"/{name}{path}"

        return Fault(fault.code, put)

    return [within(fault) for fault in faults]


def _campaign_template_faults(vocabulary: Vocabulary | None) -> list[Fault]:
    """Return the faults of a template: its own, and those of its steps and settings in it."""
    return [
        *_set("name", "bad_pattern", "", " ", "\u2003\n"),
        *_set("name", "too_long", "n" * (MAX_NAME + 1)),
        *_set("description", "too_long", "d" * (MAX_DESCRIPTION + 1)),
        *_set("id", "bad_pattern", "", "first", "A0000000-0000-0000-0000-000000000001"),
        *_set("id", "bad_pattern", "a0000000000000000000000000000001"),
        *_set("name", "invalid_text", "a\0", "a\ud800"),
        _duplicate_member("name", "Three e-mails"),
        # A stored template may lack its settings.
        *_required("id", "name", "steps", *([] if vocabulary is None else ["generation_config"])),
        *_unknown_fields("x_own", "version", "Name", ""),
        *_wrong_types(dict.fromkeys(("id", "name"), str)),
        *_wrong_types({"description": str}, null=vocabulary is not None),
        *([] if vocabulary is None else _set("generation_config", "wrong_type", None)),
        *_in_member("steps", _template_config_faults(vocabulary)),
        *_in_member("generation_config", _generation_config_faults(vocabulary)),
        *_replaced("wrong_type", *_WRONG_TYPES[list][:-1], []),
    ]


_FAULTS = {
    "template_config": _template_config_faults,
    "generation_config": lambda vocabulary: [
        *_generation_config_faults(vocabulary),
        *_replaced("wrong_type", None),
    ],
    "campaign_template": _campaign_template_faults,
}


def document_faults(kind: str, vocabulary: Vocabulary | None) -> dict[str, list[Fault]]:
    """Return every way to make a document of this kind invalid, by the code of the violation.

    Documents that are too large are left out.
    """
    faults = [
        *_FAULTS[kind](vocabulary),
        Fault("not_json", lambda document, _pick: (json.dumps(document)[:-1], "")),
        *_replaced("too_deep", "[" * 100_000),
    ]
    by_code = groupby(sorted(faults, key=lambda fault: fault.code), key=lambda fault: fault.code)
    return {code: list(group) for code, group in by_code}
