"""Hypothesis strategies for JSON documents. Each function returns a strategy.

``kind`` is template_config, generation_config or campaign_template; ``form`` is ``submitted``
(what callers send) or ``stored`` (what databases hold). Other words raise ``KeyError``. Every
document drawn is fresh: it may be changed freely.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model._json import MAX_DEPTH, pointer_to
from campaign_model._values import MONEY_LIMIT
from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.generation_config import GENERATION_FIELDS, MAX_INSTRUCTIONS
from campaign_model.steps import (
    MAX_DAY_OFFSET,
    MAX_LABEL,
    MAX_STEPS,
    MAX_VARIANTS,
    STEP_FIELDS,
    effective_key,
)
from campaign_model.testing import _parts
from campaign_model.vocabulary import MAX_TONE, STANDARD, Vocabulary

__all__ = [
    "KINDS",
    "NAMES",
    "STRANGE",
    "Invalid",
    "any_document",
    "changed",
    "invalid",
    "legacy",
    "valid",
]

Documents = SearchStrategy[Any]


_FORMS = ("submitted", "stored")


def _words(form: str, vocabulary: Vocabulary) -> Vocabulary | None:
    return dict(zip(_FORMS, (vocabulary, None), strict=True))[form]


def _template_config(words: Vocabulary | None, min_size: int = 0) -> Documents:
    # A caller sends a step at least; a database may hold none.
    least = min_size if words is None else 1
    drawn = _parts.steps(words, least, 4, filled=True)
    return drawn if words is None else _parts.made(_numbered, drawn)


def _numbered(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"step": 0} | step | {"step": index + 1} for index, step in enumerate(steps)]


def _campaign_template(words: Vocabulary | None, min_size: int = 0) -> Documents:
    required = {
        "id": _parts.ids.map(str),
        "name": _parts.names("Three e-mails", MAX_NAME),
        "steps": _template_config(words, min_size),
    }
    config = {"generation_config": _parts.settings(words)}
    optional = {"description": _parts.descriptions}
    if words is None:
        return _parts.objects(required, optional | config)
    return _parts.objects(required | config, optional)


_VALID: dict[str, Callable[..., Documents]] = {
    "template_config": _template_config,
    "generation_config": lambda words, _min_size=0: _parts.settings(words),
    "campaign_template": _campaign_template,
}

KINDS = tuple(_VALID)
"""The kinds of document."""


def valid(
    kind: str, form: str = "submitted", *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[Any]:
    """Documents in order.

    Submitted ones speak the words of ``vocabulary`` and have fields of their own that begin with
    ``x_``. Stored ones may also lack what has a default, count their steps wrongly, and have
    channels, tones and fields that nobody knows. Now and then there are 20 steps.
    """
    return _VALID[kind](_words(form, vocabulary))


def legacy(kind: str) -> SearchStrategy[Any]:
    """Documents as services before this library stored them: a column's JSON value.

    They are stored ones, as they are or as JSON text within a JSON string, once or twice. What
    :func:`~campaign_model.recover_template_config` reads is their text: ``json.dumps(document)``.
    """
    return _parts.made(_encoded, st.sampled_from([0, 0, 1, 2]), valid(kind, "stored"))


def _encoded(times: int, document: Any) -> Any:
    for _ in range(times):
        document = json.dumps(document)
    return document


class Invalid(NamedTuple):
    """A document with one fault, and that fault: a JSON Pointer to it and its stable code.

    ``document`` is JSON text where no JSON value has the fault, and a JSON value otherwise.
    """

    document: Any
    path: str
    code: str


class _Fault(NamedTuple):
    """What makes of a document in order, and of a number to choose by, a document and a path."""

    code: str
    put: Callable[[Any, int], tuple[Any, str]]


_WRONG_TYPES: dict[type, tuple[Any, ...]] = {
    bool: (None, 0, "true", []),
    dict: (None, 5, "{}", []),
    int: (None, True, 1.0, "1", {}),
    list: (None, 5, True, {}),
    str: (None, 5, False, ["email"]),
}

_MARK = "a member that stands twice"
"""Longer than any name drawn, so that it stands nowhere else in a document's text."""


def _set(name: str, code: str, *values: Any, within: str = "") -> list[_Fault]:
    """Faults of an object whose member ``name`` is one of ``values``, or has it ``within``."""

    def put(value: Any) -> Callable[[Any, int], tuple[Any, str]]:
        return lambda members, _pick: (
            members | {name: copy.deepcopy(value)},
            pointer_to([name]) + within,
        )

    return [_Fault(code, put(value)) for value in values]


def _wrong_types(types: dict[str, type]) -> list[_Fault]:
    return [
        fault
        for name, python_type in types.items()
        for fault in _set(name, "wrong_type", *_WRONG_TYPES[python_type])
    ]


def _required(*names: str) -> list[_Fault]:
    def put(name: str) -> Callable[[Any, int], tuple[Any, str]]:
        return lambda members, _pick: (
            {one: value for one, value in members.items() if one != name},
            f"/{name}",
        )

    return [_Fault("required", put(name)) for name in names]


def _unknown_fields(*names: str) -> list[_Fault]:
    return [fault for name in names for fault in _set(name, "unknown_field", 1)]


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def _doubled(name: str, value: Any) -> _Fault:
    """A member that stands twice, once :func:`_finished` made text of it."""

    def put(members: Any, _pick: int) -> tuple[Any, str]:
        members = {name: value} | members
        return members | {_MARK + name: members[name]}, f"/{name}"

    return _Fault("duplicate_member", put)


def _finished(document: Any) -> Any:
    text = json.dumps(document)
    return text.replace(_MARK, "") if _MARK in text else document


def _unkept(depth: int) -> list[_Fault]:
    """What no database keeps and no JSON reader reads alike, in an object at that depth."""
    return [
        *_set("x_own", "invalid_text", ["a\0"], ["\ud800"], within="/0"),
        *_set("x_own", "invalid_text", {"a\0": 1}, {"\ud800": 1}),
        *_set("x_own", "not_json", float("nan"), float("inf"), -float("inf")),
        *_set("x_own", "number_too_large", 10**400, -(10**309)),
        *_set("x_own", "number_too_precise", 2**53 + 1, -(2**53) - 1),
        *_set("x_own", "too_deep", _nested(MAX_DEPTH), within="/0" * (MAX_DEPTH + 1 - depth)),
    ]


def _step_faults(words: Vocabulary | None) -> list[_Fault]:
    of_form: list[_Fault] = (
        [
            *_required("channel"),
            *_set("channel", "bad_pattern", "Fax", "", "2_fax", "a" * 41, "fax\n"),
            *_set("step", "too_small", 0, -1),
        ]
        if words is None
        else [
            *_required("step", "channel", "label", "enabled", "needs_pdf", "variant_count"),
            *_set(
                "channel",
                "unknown_value",
                *_unlike(["emial", "Email", "", "email\n"], (one.name for one in words.channels)),
            ),
            *_set("step", "wrong_position", 0, -1, MAX_STEPS + 1),
            *_unknown_fields("lable", "owner", "X_own", "", "a/b~c"),
        ]
    )
    return [
        *_set("label", "too_short", ""),
        *_set("label", "too_long", "x" * (MAX_LABEL + 1)),
        *_set("variant_count", "too_small", 0, -1),
        *_set("variant_count", "too_large", MAX_VARIANTS + 1, 2**53),
        *_set("day_offset", "too_small", -1),
        *_set("day_offset", "too_large", MAX_DAY_OFFSET + 1),
        *_set("key", "bad_pattern", "first mail", "", "k" * 41, "intro\n", "é"),
        *_set("condition", "unknown_value", "never", "Always", "", "always\n"),
        *_set("label", "invalid_text", "a\0", "a\ud800"),
        _doubled("channel", "email"),
        *of_form,
        *_wrong_types(
            {
                **dict.fromkeys(("channel", "label", "key", "condition"), str),
                **dict.fromkeys(("step", "variant_count", "day_offset"), int),
                **dict.fromkeys(("enabled", "needs_pdf"), bool),
                "config": dict,
            }
        ),
        *_unkept(depth=3),
    ]


def _unlike(near: list[str], known: Iterable[str]) -> list[str]:
    return [word for word in near if word not in {*known}]


def _in_a_step(fault: _Fault) -> _Fault:
    def put(steps: Any, pick: int) -> tuple[Any, str]:
        index = pick % len(steps)
        step, path = fault.put(steps[index], pick)
        return [*steps[:index], step, *steps[index + 1 :]], f"/{index}{path}"

    return _Fault(fault.code, put)


def _grown(steps: list[Any], size: int) -> list[Any]:
    """At least ``size`` steps, the last of them again without a key and a day."""
    again = {name: value for name, value in steps[-1].items() if name not in {"key", "day_offset"}}
    grown = steps + [copy.deepcopy(again) for _ in range(size - len(steps))]
    return _numbered(grown)


def _with_a_double_key(steps: Any, _pick: int) -> tuple[Any, str]:
    steps = _grown(steps, 2)
    last = len(steps) - 1
    steps[last]["key"] = effective_key(steps[0].get("key"), 0)
    return steps, f"/{last}/key"


def _with_a_day_before(steps: Any, pick: int) -> tuple[Any, str]:
    steps = _grown(steps, 2)
    last = len(steps) - 1
    day = max(1, *(step.get("day_offset", 0) for step in steps[:last]))
    steps[last - 1]["day_offset"] = day
    steps[last]["day_offset"] = pick % day
    return steps, f"/{last}/day_offset"


def _instead(code: str, *values: Any) -> list[_Fault]:
    def put(value: Any) -> Callable[[Any, int], tuple[Any, str]]:
        return lambda _document, _pick: (copy.deepcopy(value), "")

    return [_Fault(code, put(value)) for value in values]


def _template_config_faults(words: Vocabulary | None) -> list[_Fault]:
    not_steps = _instead("wrong_type", None, 5, "email", [])
    return [
        *map(_in_a_step, [*_step_faults(words), *not_steps]),
        _Fault("duplicate_key", _with_a_double_key),
        _Fault("decreasing_day_offset", _with_a_day_before),
        *([] if words is None else _instead("too_few_items", [])),
        _Fault("too_many_items", lambda steps, _pick: (_grown(steps, MAX_STEPS + 1), "")),
        *_instead("wrong_type", *_WRONG_TYPES[list]),
    ]


def _generation_config_faults(words: Vocabulary | None) -> list[_Fault]:
    of_form: list[_Fault] = (
        [*_set("tone", "too_short", ""), *_set("tone", "too_long", "t" * (MAX_TONE + 1))]
        if words is None
        else [
            *_set("tone", "unknown_value", *_unlike(["cassual", "Casual", ""], words.tones)),
            *_unknown_fields("temperature", "Tone", "X_own", ""),
        ]
    )
    return [
        *_set("language", "bad_pattern", "English!", "e", "en_US", "en\n", ""),
        *_set("custom_instructions", "too_long", "i" * (MAX_INSTRUCTIONS + 1)),
        *_set("default_variant_count", "too_small", 0),
        *_set("default_variant_count", "too_large", MAX_VARIANTS + 1),
        *_set("budget", "bad_pattern", "-1", "1e3", "01", "1.0000000001", "25,00", "", "NaN"),
        *_set("budget", "bad_pattern", str(MONEY_LIMIT)),
        *_set("custom_instructions", "invalid_text", "a\0", "a\ud800"),
        _doubled("language", "en"),
        *of_form,
        *_wrong_types(
            {
                **dict.fromkeys(("tone", "language", "custom_instructions", "budget"), str),
                "default_variant_count": int,
            }
        ),
        *_unkept(depth=2),
        *_instead("wrong_type", *_WRONG_TYPES[list][:-1], []),
    ]


def _in_member(name: str, faults: list[_Fault]) -> list[_Fault]:
    def within(fault: _Fault) -> _Fault:
        def put(members: Any, pick: int) -> tuple[Any, str]:
            member, path = fault.put(members.get(name, {}), pick)
            return members | {name: member}, f"/{name}{path}"

        return _Fault(fault.code, put)

    return [within(fault) for fault in faults]


def _campaign_template_faults(words: Vocabulary | None) -> list[_Fault]:
    return [
        *_set("name", "bad_pattern", "", " ", "\u2003\n"),
        *_set("name", "too_long", "n" * (MAX_NAME + 1)),
        *_set("description", "too_long", "d" * (MAX_DESCRIPTION + 1)),
        *_set("id", "bad_pattern", "", "first", "A0000000-0000-0000-0000-000000000001"),
        *_set("id", "bad_pattern", "a0000000000000000000000000000001"),
        *_set("name", "invalid_text", "a\0", "a\ud800"),
        _doubled("name", "Three e-mails"),
        *_required("id", "name", "steps", *([] if words is None else ["generation_config"])),
        *_unknown_fields("x_own", "version", "Name", ""),
        *_wrong_types(dict.fromkeys(("id", "name", "description"), str)),
        *_in_member("steps", _template_config_faults(words)),
        *_in_member("generation_config", _generation_config_faults(words)),
        *_instead("wrong_type", *_WRONG_TYPES[list][:-1], []),
    ]


_FAULTS = {
    "template_config": _template_config_faults,
    "generation_config": _generation_config_faults,
    "campaign_template": _campaign_template_faults,
}


def _of_the_whole_text() -> list[_Fault]:
    return [
        _Fault("not_json", lambda document, _pick: (json.dumps(document)[:-1], "")),
        *_instead("too_deep", "[" * 100_000),
    ]


def _faults(kind: str, words: Vocabulary | None) -> dict[str, list[_Fault]]:
    """Every fault that a document of this kind may have, by its code."""
    found = [*_FAULTS[kind](words), *_of_the_whole_text()]
    by_code = groupby(sorted(found, key=lambda fault: fault.code), key=lambda fault: fault.code)
    return {code: list(faults) for code, faults in by_code}


def invalid(
    kind: str, form: str = "submitted", *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[Invalid]:
    """Documents in order but for one fault, and the only violation that there is of them.

    Every code that a document of this kind and form may be refused by is drawn as often as any
    other, the ones that only text can have (a member that stands twice, no JSON at all) too.
    """
    words = _words(form, vocabulary)
    faults = [*_faults(kind, words).values()]

    def faulty(which: int, where: int, document: Any, last: int) -> Invalid:
        of_code = faults[(which + where + last) % len(faults)]
        code, put = of_code[which % len(of_code)]
        document, path = put(document, where)
        return Invalid(_finished(document), path, code)

    # By the sum of several choices: Hypothesis often varies an example in one place only.
    return _parts.made(faulty, _parts.picks, _parts.picks, _VALID[kind](words, 1), _parts.picks)


# What a member may be replaced by: near misses of every type and limit.
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, 4, -1, 1.0, 0.5, 20, 21, 365, 366, 2**53, 2**53 + 1, 10**400),
    *("", "5", "1", "true", " ", "\n", "x", "email", "emial", "EMAIL", "email\n", "a b", "s2", "é"),
    *("always", "no response", "casual", "cassual", "en", "en\n", "e", "en_US", "1.5", "-1", "1e3"),
    *("01", "1.0000000001", "1000000000", "9" * 400, "NaN", "\0", "\ud800", "[]", "{}", "null"),
    *("k" * 40, "k" * 41, "l" * 200, "l" * 201, "n" * 500, "n" * 501, "i" * 10_000, "i" * 10_001),
    *("a0000000-0000-0000-0000-000000000001", "A0000000-0000-0000-0000-000000000001"),
    *([], {}, [[]], [{}], {"x_a": 1}, {"step": 1}, {"channel": "email"}),
    *(float("nan"), float("inf")),
)
"""Near misses of every type and limit."""

NAMES = (
    *STEP_FIELDS,
    *GENERATION_FIELDS,
    *("id", "name", "description", "steps", "generation_config", "x_", "X_", "lable", "\0"),
)
"""Names of members, and near misses of them."""

_strange = st.one_of(
    st.sampled_from(range(len(STRANGE))).map(lambda index: copy.deepcopy(STRANGE[index])),
    _parts.json_values(),
)
_strange_names = st.one_of(st.sampled_from(NAMES), _parts.texts())
_changes = st.sampled_from(["replace", "replace", "remove", "add", "double", "move"])
_times = st.sampled_from([1, 2, 25])


def _places_in(document: Any) -> list[tuple[Any, Any]]:
    """Where something stands within ``document``, outermost first: in what, and by which token."""
    found: list[tuple[Any, Any]] = []
    queue = [document]
    for value in queue:
        within = [*value] if isinstance(value, dict) else range(len(value))
        found += ((value, token) for token in within)
        queue += (value[token] for token in within if isinstance(value[token], dict | list))
    return found


@st.composite
def _changed(draw: st.DrawFn, documents: SearchStrategy[Any]) -> Any:
    document = draw(documents)
    found = _places_in(document) if isinstance(document, dict | list) else []
    if not found:
        return draw(_strange)
    parent, token = found[draw(_parts.picks) % len(found)]
    change = draw(_changes)
    if change == "replace":
        parent[token] = draw(_strange)
    elif change == "remove":
        del parent[token]
    elif isinstance(parent, dict):
        parent[draw(_strange_names)] = draw(_strange)
    elif change == "double":
        parent += copy.deepcopy([parent[token]] * draw(_times))
    else:
        parent.insert(0, parent.pop(token))
    return document


def changed(documents: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """``documents`` with one thing replaced, taken out, put in, said twice or moved.

    Some of them are in order still; most are not, in a way that nobody foresaw.
    """
    return _changed(documents)


def any_document(kind: str, *, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Any]:
    """Anything at all: documents in order, one or two changes away from it, and noise."""
    submitted, stored = (valid(kind, form, vocabulary=vocabulary) for form in _FORMS)
    return st.one_of(
        submitted,
        stored,
        changed(submitted),
        changed(stored),
        changed(changed(submitted | stored)),
        _strange,
    )
