"""The explanation of refused documents: every violation, in words for the person who wrote it.

:func:`violations` applies the published JSON Schema (:func:`document_schema`), and then the rules
between steps, which JSON Schema cannot express. A document has violations if and only if the
converter or :mod:`campaign_model.forms` refuses it.

A document within the limits of size can still have thousands of violations with long pointers. So
the places of all violations are collected, but only the first 100 get a pointer and a message, and
a pointer has at most 1,000 characters.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from operator import ge, le
from pathlib import Path
from types import NoneType
from typing import Any, cast

from campaign_model._json import (
    EMPTY,
    Fault,
    RepeatedMembers,
    Tokens,
    digest,
    faults_in,
    pointer_to,
    text_fault,
)
from campaign_model.campaign import CampaignTemplate
from campaign_model.errors import MAX_VIOLATIONS, InvalidArgument, Violation, short_repr
from campaign_model.fields import meaning, quoted
from campaign_model.forms import PARTS, Previous, is_unchanged
from campaign_model.steps import MAX_STEPS, StepSequence, sequence_faults
from campaign_model.vocabulary import STANDARD, Vocabulary

# --- The published schemas -----------------------------------------------------------------------


def schema_directory() -> Traversable:
    """Return the directory of the published schemas."""
    packaged = files("campaign_model") / "schemas"
    # In a source tree, and in an editable install of it, the schemas are beside src/.
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "schemas"


def load_schema(name: str) -> dict[str, Any]:
    """Return the newest version of a published JSON Schema, such as ``template_config.submitted``.

    The result is fresh JSON. Raises :class:`InvalidArgument` for an unknown name.
    """
    file_name = re.compile(rf"{re.escape(name)}\.([0-9]+)\.schema\.json").fullmatch
    versions = {
        int(match[1]): file
        for file in schema_directory().iterdir()
        if (match := file_name(file.name))
    }
    if not versions:
        raise InvalidArgument("name", f"no schema has the name {short_repr(name)}")
    return cast("dict[str, Any]", json.loads(versions[max(versions)].read_text(encoding="utf-8")))


def document_schema(
    kind: str, form: str = "submitted", vocabulary: Vocabulary = STANDARD
) -> dict[str, Any]:
    """Return the JSON Schema of a kind of document, with the words of ``vocabulary``.

    ``form`` is ``submitted`` or ``stored``. The schemas that it refers to are in its ``$defs``.
    A schema with other words than the published one gets another ``$id``.
    """
    schema = load_schema(f"{kind}.{form}")
    if form == "submitted" and vocabulary != STANDARD:
        channels = [channel.name for channel in vocabulary.channels]
        schema["$id"] += f":{digest([channels, vocabulary.tones])[:16]}"
        if kind == "template_config":
            schema["items"]["properties"]["channel"]["enum"] = channels
        elif kind == "generation_config":
            schema["properties"]["tone"]["enum"] = list(vocabulary.tones)
    if kind == "campaign_template":
        schema["$defs"] = {part: document_schema(part, form, vocabulary) for part in PARTS}
        for part, name in PARTS.items():
            if form == "submitted":  # A stored part has the published id: its words are free.
                schema["properties"][name]["$ref"] = schema["$defs"][part]["$id"]
            # The whole schema has it, and a part of a schema needs none.
            del schema["$defs"][part]["$schema"]
    return schema


def whole_schema(
    kind: str, form: str = "submitted", vocabulary: Vocabulary = STANDARD
) -> dict[str, Any]:
    """Return :func:`document_schema` without references: each is replaced by what it refers to."""
    schema = document_schema(kind, form, vocabulary)
    parts = {part["$id"]: part for part in schema.pop("$defs", {}).values()}
    return cast("dict[str, Any]", _without_references(schema, parts))


def answer_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of what a service answers, such as ``Campaign``, in one piece.

    It is the part ``name`` of ``schemas/answers.json``, without references. Raises
    :class:`InvalidArgument` for an unknown name.
    """
    text = (schema_directory() / "answers.json").read_text(encoding="utf-8")
    parts = json.loads(text)["$defs"]
    if name not in parts:
        raise InvalidArgument("name", f"no answer has the name {short_repr(name)}", (*parts,))

    references = {f"#/$defs/{part}": schema for part, schema in parts.items()}
    return cast("dict[str, Any]", _without_references(parts[name], references))


def _without_references(schema: Any, parts: Mapping[str, Any]) -> Any:
    """Replace each reference by the part that it names. Members beside the reference stay."""
    if isinstance(schema, list):
        return [_without_references(member, parts) for member in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        own = {name: schema[name] for name in schema if name != "$ref"}
        part = {name: value for name, value in parts[schema["$ref"]].items() if name != "$id"}
        schema = own | part | own
    return {name: _without_references(member, parts) for name, member in schema.items()}


# --- Words for messages --------------------------------------------------------------------------

_DESCRIPTIONS: dict[type, Callable[[Any], str]] = {
    NoneType: lambda _null: "is empty (null)",
    bool: lambda value: f"is {value}".lower(),
    int: lambda number: f"is {short_repr(number)}",
    float: lambda number: f"is {number}" + " (with a decimal point)" * number.is_integer(),
    str: lambda text: f"is the text {short_repr(text)}",
    list: lambda _list: "is a list",
    dict: lambda _object: "is an object",
    RepeatedMembers: lambda _object: "is an object",
}


def _is_what(value: Any) -> str:
    describe = _DESCRIPTIONS.get(type(value))
    return describe(value) if describe else f"is of the type {type(value).__name__}"


def _not_known(word: str, noun: str, known: Collection[str], *, x_allowed: bool = False) -> str:
    """Return the message for an unknown word: a known word that is like it, and all known words."""
    similar = difflib.get_close_matches(word[:100].lower(), known, n=1)
    if x_allowed and re.match(r"[Xx][-_]", word):
        similar = [f"x_{word[2:]}"]
    hint = f" (did you mean {short_repr(similar[0])}?)" if similar else ""
    own = ", or a name that begins with x_" if x_allowed else ""
    return f"{short_repr(word)} is not a known {noun}{hint}; use one of {quoted(known)}{own}"


def _place(kind: str, tokens: Tokens) -> str:
    """Return the words for a place, the same for a document alone and in a campaign template."""
    if kind in PARTS:
        tokens = (PARTS[kind], *tokens)
    words = [
        f".{token}"
        if isinstance(token, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,80}", token)
        else f"[{short_repr(token)}]"
        for token in tokens
    ]
    if len(words) > 8:
        words[5:-2] = ["..."]
    return "".join(words).removeprefix(".") or kind


# --- The rules of a schema -----------------------------------------------------------------------
# Types are exact: 1.0 is no integer. A message shows no whole value, which may be very long.

_TYPES: dict[str, set[type]] = {
    "array": {list},
    "boolean": {bool},
    "integer": {int},
    "null": {NoneType},
    "number": {int, float},
    "object": {dict, RepeatedMembers},
    "string": {str},
}
"""The Python types of each JSON type."""


def _matches(text: str, pattern: str) -> bool:
    # In Python, unlike in ECMAScript, $ also matches before a line break at the end.
    return re.search(re.sub(r"\$\Z", r"\\Z", pattern), text) is not None


_LIMITS: dict[str, tuple[str, type, Callable[[Any, Any], bool], str]] = {
    "maximum": ("too_large", int, le, ""),
    "maxItems": ("too_many_items", list, lambda items, most: len(items) <= most, "steps"),
    "maxLength": ("too_long", str, lambda text, most: len(text) <= most, "characters"),
    "minimum": ("too_small", int, ge, ""),
    "minItems": ("too_few_items", list, lambda items, least: len(items) >= least, "steps"),
    "minLength": ("too_short", str, lambda text, least: len(text) >= least, "characters"),
    "pattern": ("bad_pattern", str, _matches, ""),
}
"""Keywords that limit a value: the code of the violation, the type of the value, the test of the
limit, and what the message counts. If it counts nothing, it shows the value."""

_Found = tuple[Tokens, str, str | Callable[[], str]]
"""A fault whose message may be written later."""


def _broken_rules(value: Any, schema: Any, place: Tokens, previous: Previous) -> Iterator[_Found]:
    """Yield every rule of a schema without references that the value at ``place`` breaks."""
    if "anyOf" in schema:
        # The first schema is that of a value. The second one lists what is written for no value.
        if value not in schema["anyOf"][1].get("enum", [None]):
            yield from _broken_rules(value, schema["anyOf"][0], place, previous)
        return
    # 1. The type of the value.
    json_types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if not any(type(value) in _TYPES[json_type] for json_type in json_types):
        yield place, "wrong_type", f"{_is_what(value)}; it must be {meaning(schema)}"
        return
    # 2. Its limits.
    for keyword, (code, limited_type, holds, units) in _LIMITS.items():
        is_limited = keyword in schema and type(value) is limited_type
        if is_limited and not holds(value, schema[keyword]):
            description = f"has {len(value)} {units}" if units else _is_what(value)
            yield place, code, f"{description}; it must be {meaning(schema)}"
    if isinstance(value, str) and value not in schema.get("enum", [value]):
        words = [word for word in schema["enum"] if word is not None]
        yield place, "unknown_value", partial(_not_known, value, str(place[-1]), words)
    # 3. Its parts.
    if isinstance(value, list) and len(value) <= schema.get("maxItems", len(value)):
        for index, item in enumerate(value):
            yield from _broken_rules(item, schema["items"], (*place, index), previous)
    if isinstance(value, dict):
        yield from _broken_rules_of_members(value, schema, place, previous)


def _broken_rules_of_members(
    members: dict[Any, Any], schema: Any, place: Tokens, previous: Previous
) -> Iterator[_Found]:
    """Yield every rule of a schema that the members of an object break."""
    fields = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in members:
            message = f"is missing; it must be {meaning(fields[name])}"
            yield (*place, name), "required", message
    for name, value in members.items():
        if name in fields:
            yield from _broken_rules(value, fields[name], (*place, name), previous)
        elif isinstance(name, str) and not schema.get("additionalProperties", True):
            is_own = "patternProperties" in schema and name.startswith("x_")
            # A name that is no valid text is a fault of its object, and has no pointer.
            if not is_own and text_fault(name) is None:
                explain = partial(_explain_unknown_field, (*place, name), schema, previous)
                yield (*place, name), "unknown_field", explain


def _explain_unknown_field(tokens: Tokens, schema: Any, previous: Previous) -> str:
    """Return the message for an unknown field.

    If ``previous``, the present document, has the field elsewhere or with another value, then
    another program has written it.
    """
    *parents, name = tokens
    owner: Any = previous
    if isinstance(owner, CampaignTemplate) and parents:
        owner = getattr(owner, str(parents[0]))
    if isinstance(owner, StepSequence):
        steps = zip(owner.keys, owner, strict=True)
        keys = " or ".join(repr(key) for key, step in steps if name in step.extra)
        if keys:
            return (
                f"belongs to another program and to the step with the key {keys}; "
                "send it back unchanged, in a step with that key"
            )
    elif name in getattr(owner, "extra", EMPTY):
        return "belongs to another program; send it back unchanged"
    fields = [field for field in schema["properties"] if field != "$schema"]
    return _not_known(str(name), "field", fields, x_allowed="patternProperties" in schema)


@lru_cache(maxsize=64)
def _schema(kind: str, form: str, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the schema that :func:`violations` names by its arguments, without references."""
    if form == "answer":
        return answer_schema(kind) | {"description": f"an object: a {kind}"}
    return whole_schema(kind, form, vocabulary)


# --- All violations ------------------------------------------------------------------------------

_RESTRICTED = {"unknown_field", "unknown_value", "too_few_items"}
"""The codes of restricted parts (:mod:`campaign_model.forms`)."""

_CONSEQUENCES = {"wrong_type", "unknown_value", "bad_pattern", "too_small", "too_large"}
"""Violations of the schema that say nothing new about a value that is not valid JSON."""

_LONGEST_POINTER = 1_000


def violations(
    kind: str,
    form: str,
    document: Any,
    text_faults: Iterable[Fault],
    vocabulary: Vocabulary = STANDARD,
    previous: Previous = None,
) -> tuple[Violation, ...]:
    """List the violations of ``document`` in document order, at most 100, and count the others.

    ``kind`` and ``form`` name the schema. The form ``answer`` is that of :func:`answer_schema`.
    ``text_faults`` are those of the document's text.
    Restricted parts that are unchanged from ``previous`` are no violations.
    """
    # 1. What is no JSON. A part is nested one level deep in a campaign template.
    faults: list[_Found] = [*text_faults, *faults_in(document, depth=1 if kind in PARTS else 0)]

    # 2. The rules of the schema.
    not_json = _places(faults)
    for fault in _broken_rules(document, _schema(kind, form, vocabulary), (), previous):
        tokens, code, _ = fault
        if code in _CONSEQUENCES and tokens in not_json:
            continue
        if code in _RESTRICTED and is_unchanged(code, tokens, document, previous):
            continue
        faults.append(fault)

    # 3. The rules between steps. Of too many steps, nothing else is said.
    path: Tokens = () if kind in PARTS else ("steps",)
    steps: Any = document
    if path:
        steps = document.get("steps") if isinstance(document, dict) else None
    if kind != "generation_config" and isinstance(steps, list):
        if len(steps) <= MAX_STEPS:
            faults += _sequence_faults(steps, path, form, _places(faults))
        else:
            faults = [
                fault for fault in faults if fault[0] == path or fault[0][: len(path)] != path
            ]

    # 4. The first of them, in words.
    faults.sort(key=_document_order(document))
    listed = [
        Violation(
            _pointer(tokens),
            code,
            f"{_place(kind, tokens)}: {message if isinstance(message, str) else message()}",
        )
        for tokens, code, message in faults[:MAX_VIOLATIONS]
    ]
    if len(faults) > MAX_VIOLATIONS:
        message = f"and {len(faults) - MAX_VIOLATIONS:,} more violations"
        listed.append(Violation("", "more_violations", f"{_place(kind, ())}: {message}"))
    return tuple(listed)


def _pointer(tokens: Tokens) -> str:
    """Return the pointer to a place, or to the nearest place around it if that is too long."""
    pointer = ""
    for token in tokens:
        longer = pointer + pointer_to([token])
        if len(longer) > _LONGEST_POINTER:
            break
        pointer = longer
    return pointer


def _places(faults: Iterable[_Found]) -> set[Tokens]:
    """Return the places of wrong values. A value that the text repeats need not be wrong."""
    return {tokens for tokens, code, _ in faults if code != "duplicate_member"}


def _sequence_faults(
    steps: list[Any], path: Tokens, form: str, wrong: Collection[Tokens]
) -> Iterator[Fault]:
    """Apply the rules between steps to every member that is well formed by itself."""

    def member(index: int, name: str, substitute: Any) -> Any:
        is_wrong = not isinstance(steps[index], dict) or (*path, index, name) in wrong
        value = substitute if is_wrong else steps[index].get(name)
        return None if value == "" else value  # The field is absent.

    indexes = range(len(steps))
    faults = sequence_faults(
        # No key has a space, so a substitute is never a duplicate.
        [member(index, "key", f" {index}") for index in indexes],
        [member(index, "day_offset", None) for index in indexes],
        [member(index, "step", index + 1) for index in indexes] if form == "submitted" else None,
    )
    return (((*path, *tokens), code, message) for tokens, code, message in faults)


def _document_order(document: Any) -> Callable[[_Found], tuple[int, ...]]:
    """Return a sort key by place in the document. Missing members come after those present."""
    ranks_by_object: dict[int, dict[Any, int]] = {}

    def order(fault: _Found) -> tuple[int, ...]:
        places, value = [], document
        for token in fault[0]:
            if isinstance(value, Mapping):
                if id(value) not in ranks_by_object:
                    ranks_by_object[id(value)] = {name: rank for rank, name in enumerate(value)}
                places.append(ranks_by_object[id(value)].get(token, len(value)))
                value = value.get(token)
            else:
                places.append(cast("int", token))
                value = value[token]
        return tuple(places)

    return order
