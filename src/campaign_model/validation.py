"""The explanation of refused documents: every violation, in words for the person who wrote it.

:func:`violations` runs the published JSON Schema (:func:`document_schema`) with jsonschema, and
then the rules between steps, which JSON Schema cannot express. A document has violations if and
only if the converter or :mod:`campaign_model.forms` refuses it.

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

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

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
            # With a $schema of its own, jsonschema would validate the part with its own class.
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


def _belongs_to_another_program(tokens: Tokens, previous: Previous) -> str | None:
    """Return the message for an unknown field that ``previous`` has elsewhere or otherwise."""
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
    return None


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


# --- A jsonschema validator with exact types and our own messages --------------------------------
# jsonschema accepts 1.0 as an integer. It also puts the whole value into its messages: that may be
# very long, and Python cannot print some integers. So every keyword has a function of ours. Its
# errors have the code of the violation as their ``validator``.


def _exactly(*python_types: type) -> Callable[[object, Any], bool]:
    return lambda _checker, value: type(value) in python_types


_TYPES = Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "array": _exactly(list),
        "boolean": _exactly(bool),
        "integer": _exactly(int),
        "object": _exactly(dict, RepeatedMembers),
        "string": _exactly(str),
    }
)


def _limit(
    code: str, json_type: str, holds: Callable[[Any, Any], bool], units: str = ""
) -> Callable[[Any, Any, Any, Any], Iterator[ValidationError]]:
    """Make the validator of a keyword, such as ``maxLength``, that limits values of a JSON type.

    A value must pass ``holds(value, limit)``. The message has the length of the value in ``units``,
    or without ``units`` the value itself.
    """

    def validate(validator: Any, limit: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(value, json_type) and not holds(value, limit):
            description = f"has {len(value)} {units}" if units else _is_what(value)
            yield ValidationError(f"{description}; it must be {meaning(schema)}", validator=code)

    return validate


def _matches(text: str, pattern: str) -> bool:
    # In Python, unlike in ECMAScript, $ also matches before a line break at the end.
    return re.search(re.sub(r"\$\Z", r"\\Z", pattern), text) is not None


def _type(
    validator: Any, json_types: str | list[str], value: Any, schema: Any
) -> Iterator[ValidationError]:
    allowed = [json_types] if isinstance(json_types, str) else json_types
    if not any(validator.is_type(value, json_type) for json_type in allowed):
        message = f"{_is_what(value)}; it must be {meaning(schema)}"
        yield ValidationError(message, validator="wrong_type")


def _required(
    validator: Any, names: list[str], value: Any, schema: Any
) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        for name in names:
            if name not in value:
                message = f"is missing; it must be {meaning(schema['properties'][name])}"
                yield ValidationError(message, path=[name], validator="required")


def _additional_properties(
    validator: Any, allowed: object, value: Any, schema: Any
) -> Iterator[ValidationError]:
    if not allowed and validator.is_type(value, "object"):
        for name in value:
            if not isinstance(name, str) or name in schema["properties"]:
                continue
            is_own = "patternProperties" in schema and name.startswith("x_")
            # A name that is no valid text is a fault of its object, and has no pointer.
            if not is_own and text_fault(name) is None:
                yield ValidationError("", path=[name], validator="unknown_field")


def _items(validator: Any, step_schema: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "array") and len(value) <= schema.get("maxItems", len(value)):
        for index, item in enumerate(value):
            yield from validator.descend(item, step_schema, path=index)


def _any_of(
    validator: Any, schemas: list[Any], value: Any, _schema: Any
) -> Iterator[ValidationError]:
    """Validate with the first of two schemas. The other one lists what is written for no value."""
    if value not in schemas[1].get("enum", [None]):
        yield from validator.descend(value, schemas[0])


_Validator: Any = cast("Any", extend)(
    Draft202012Validator,
    {
        "additionalProperties": _additional_properties,
        "anyOf": _any_of,
        "enum": _limit("unknown_value", "string", lambda word, words: word in words),
        "items": _items,
        "maxItems": _limit("too_many_items", "array", lambda items, n: len(items) <= n, "steps"),
        "maxLength": _limit("too_long", "string", lambda text, n: len(text) <= n, "characters"),
        "maximum": _limit("too_large", "integer", le),
        "minItems": _limit("too_few_items", "array", lambda items, n: len(items) >= n, "steps"),
        "minLength": _limit("too_short", "string", lambda text, n: len(text) >= n, "characters"),
        "minimum": _limit("too_small", "integer", ge),
        "pattern": _limit("bad_pattern", "string", _matches),
        # The schemas allow any value in these members; additionalProperties looks at their names.
        "patternProperties": lambda *_: (),
        "required": _required,
        "type": _type,
    },
    type_checker=_TYPES,
)


@lru_cache(maxsize=64)
def _validator(kind: str, form: str, vocabulary: Vocabulary) -> Any:
    if form == "answer":
        return _Validator(answer_schema(kind) | {"description": f"an object: a {kind}"})
    return _Validator(document_schema(kind, form, vocabulary))


# --- All violations ------------------------------------------------------------------------------

_RESTRICTED = {"unknown_field", "unknown_value", "too_few_items"}
"""The codes of restricted parts (:mod:`campaign_model.forms`)."""

_CONSEQUENCES = {"wrong_type", "unknown_value", "bad_pattern", "too_small", "too_large"}
"""Violations of the schema that say nothing new about a value that is not valid JSON."""

_LONGEST_POINTER = 1_000

_Found = tuple[Tokens, str, str | Callable[[], str]]
"""A fault whose message may be written later."""


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
    for error in _validator(kind, form, vocabulary).iter_errors(document):
        tokens, code = tuple(error.absolute_path), error.validator
        if code in _CONSEQUENCES and tokens in not_json:
            continue
        if code in _RESTRICTED and is_unchanged(code, tokens, document, previous):
            continue
        faults.append((tokens, code, partial(_explain, error, tokens, previous)))

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


def _explain(error: Any, tokens: Tokens, previous: Previous) -> str:
    """Return the message of an error of jsonschema.

    ``tokens`` are the path of the faulty value in the document. ``previous`` is the campaign's
    present document: a field that is in it too was written by another program, and the message says
    so.
    """
    name, schema = str(tokens[-1]) if tokens else "", error.schema
    if error.validator == "unknown_value":
        words = [word for word in schema["enum"] if word is not None]
        return _not_known(error.instance, name, words)
    if error.validator == "unknown_field":
        fields = [field for field in schema["properties"] if field != "$schema"]
        return _belongs_to_another_program(tokens, previous) or _not_known(
            name, "field", fields, x_allowed="patternProperties" in schema
        )
    return str(error.message)


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
