"""What is wrong with a document, all of it, in words for the person who wrote it.

Documents that are in order never come here: the types accept them. This explains the others.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from operator import ge, le
from pathlib import Path
from types import NoneType
from typing import Any, cast

import attrs
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from campaign_model._json import EMPTY, Fault, digest, pointer_to, same_member
from campaign_model.campaign import CampaignTemplate
from campaign_model.errors import Violation, join_words, short_repr
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence, effective_key, sequence_faults
from campaign_model.vocabulary import STANDARD, Vocabulary

__all__ = ["document_schema", "load_schema", "violations"]

_PARTS = {"template_config": "steps", "generation_config": "generation_config"}
"""The documents that stand in a campaign template, and by which name."""

_Tokens = tuple[str | int, ...]


def _schemas() -> Traversable:
    packaged = files("campaign_model") / "schemas"
    # In a source tree, and in an editable install of it, they stand beside src/.
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "schemas"


@cache
def _schema_text(name: str) -> str:
    versions = {
        int(found[1]): file
        for file in _schemas().iterdir()
        if (found := re.fullmatch(rf"{re.escape(name)}\.([0-9]+)\.schema\.json", file.name))
    }
    if not versions:
        raise FileNotFoundError(f"no schema is called {name}")
    return versions[max(versions)].read_text(encoding="utf-8")


def load_schema(name: str) -> dict[str, Any]:
    """The newest version of a published JSON Schema, such as ``template_config.submitted``.

    It is fresh JSON. Raises ``FileNotFoundError`` for a name that has none.
    """
    return cast("dict[str, Any]", json.loads(_schema_text(name)))


def document_schema(
    kind: str, form: str = "submitted", vocabulary: Vocabulary = STANDARD
) -> dict[str, Any]:
    """The JSON Schema of a kind of document, in one piece, with the vocabulary's own words.

    ``form`` is ``submitted`` or ``stored``. The schemas it refers to stand in its ``$defs``. With
    another vocabulary a schema says something else than the published one of its ``$id``, and
    gets another ``$id``.
    """
    schema = load_schema(f"{kind}.{form}")
    if form == "submitted" and vocabulary != STANDARD:
        words = [[channel.name for channel in vocabulary.channels], vocabulary.tones]
        schema["$id"] += f":{digest(words)[:16]}"
        if kind == "template_config":
            schema["items"]["properties"]["channel"]["enum"] = words[0]
        elif kind == "generation_config":
            schema["properties"]["tone"]["enum"] = list(vocabulary.tones)
    if kind == "campaign_template":
        schema["$defs"] = {part: document_schema(part, form, vocabulary) for part in _PARTS}
        for part, name in _PARTS.items():
            schema["properties"][name]["$ref"] = schema["$defs"][part]["$id"]
            # By a $schema of its own, jsonschema would judge the part with its own validator.
            del schema["$defs"][part]["$schema"]
    return schema


def _exactly(python_type: type) -> Callable[[object, Any], bool]:
    return lambda _checker, value: type(value) is python_type


# jsonschema takes 1.0 for an integer, and subclasses for what they derive from; the types do not.
_TYPES = Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "array": _exactly(list),
        "boolean": _exactly(bool),
        "integer": _exactly(int),
        "object": _exactly(dict),
        "string": _exactly(str),
    }
)


def _matches(text: str, pattern: str) -> bool:
    # In Python, unlike ECMAScript, $ also matches before a line break at the end.
    return re.search(re.sub(r"\$\Z", r"\\Z", pattern), text) is not None


# By keyword: the type that it judges, all others being the fault of their type already, and how.
_RULES: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "enum": ("string", lambda word, words: word in words),
    "pattern": ("string", _matches),
    "minLength": ("string", lambda text, least: len(text) >= least),
    "maxLength": ("string", lambda text, most: len(text) <= most),
    "minimum": ("integer", ge),
    "maximum": ("integer", le),
    "minItems": ("array", lambda items, least: len(items) >= least),
    "maxItems": ("array", lambda items, most: len(items) <= most),
}


def _by_rule(type_: str, holds: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    # jsonschema would write out all that it found, however large, and some integers cannot be.
    def judge(
        validator: Any, wanted: Any, value: Any, _schema: object
    ) -> Iterator[ValidationError]:
        if validator.is_type(value, type_) and not holds(value, wanted):
            yield ValidationError("")

    return judge


def _type(validator: Any, wanted: str, value: Any, _schema: object) -> Iterator[ValidationError]:
    if not validator.is_type(value, wanted):
        yield ValidationError("")


def _required(
    validator: Any, names: list[str], value: Any, _schema: object
) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        yield from (ValidationError("", path=[name]) for name in names if name not in value)


def _additional_properties(
    validator: Any, _false: object, value: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        own = tuple(schema.get("patternProperties", ()))
        for name in value:
            if name in schema["properties"] or not isinstance(name, str):
                continue
            if not any(re.search(one, name) for one in own):
                yield ValidationError("", path=[name])


_Validator: Any = cast("Any", extend)(
    Draft202012Validator,
    {
        **{keyword: _by_rule(*rule) for keyword, rule in _RULES.items()},
        "additionalProperties": _additional_properties,
        # The schemas let anything stand in such members, and additionalProperties asks for them.
        "patternProperties": lambda *_: (),
        "required": _required,
        "type": _type,
    },
    type_checker=_TYPES,
)


@cache
def _validator(kind: str, form: str, vocabulary: Vocabulary) -> Any:
    return _Validator(document_schema(kind, form, vocabulary))


def _quoted(words: Iterable[str]) -> str:
    return join_words([repr(word) for word in words])


def _unknown(word: str, what: str, known: Collection[str], *, own: bool = False) -> str:
    """That nobody knows ``word``, what may have been meant, and all that is known."""
    near = difflib.get_close_matches(word[:100].lower(), known, n=1)
    if own and re.match(r"[Xx][-_]", word):
        near = [f"x_{word[2:]}"]
    meant = f" (did you mean {short_repr(near[0])}?)" if near else ""
    more = "; fields of your own begin with x_" if own else ""
    return f"{short_repr(word)} is not a known {what}{meant}; known are {_quoted(known)}{more}"


def _limits(schema: dict[str, Any]) -> str:
    low = next(
        (schema[word] for word in ("minimum", "minLength", "minItems") if word in schema), None
    )
    high = next(
        (schema[word] for word in ("maximum", "maxLength", "maxItems") if word in schema), None
    )
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if high is None else f"at most {high}"


def _wanted(schema: dict[str, Any]) -> str:
    if "description" in schema:
        return cast("str", schema["description"])
    if "enum" in schema:
        return f"one of {_quoted(schema['enum'])}"
    match schema["type"]:
        case "array":
            return f"a list of {_limits(schema)} steps"
        case "string":
            return f"text of {_limits(schema)} characters"
        case "integer":
            return f"a whole number, {_limits(schema)}"
        case "boolean":
            return "true or false"
        case _:
            return "an object"


_FOUND: dict[type, Callable[[Any], str]] = {
    NoneType: lambda _null: "is empty (null)",
    bool: lambda value: f"is {value}".lower(),
    int: lambda number: f"is {short_repr(number)}",
    float: lambda number: f"is {number}" + " (with a decimal point)" * number.is_integer(),
    str: lambda text: f"is the text {short_repr(text)}",
    list: lambda _list: "is a list",
    dict: lambda _object: "is an object",
}


def _is_what(value: Any) -> str:
    found = _FOUND.get(type(value))
    return found(value) if found else f"is of the type {type(value).__name__}"


_KEYWORDS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "type": ("wrong_type", _is_what),
    "required": ("required", lambda _value: "is missing"),
    "pattern": ("bad_pattern", _is_what),
    "minLength": ("too_short", lambda text: f"has {len(text)} characters"),
    "maxLength": ("too_long", lambda text: f"has {len(text)} characters"),
    "minimum": ("too_small", _is_what),
    "maximum": ("too_large", _is_what),
    "minItems": ("too_few_items", lambda items: f"has {len(items)} steps"),
    "maxItems": ("too_many_items", lambda items: f"has {len(items)} steps"),
}
"""For each keyword whose messages are alike: its code, and how what was found is put."""


def _code_and_message(error: ValidationError, place: str) -> tuple[str, str]:
    keyword, value = str(error.validator), cast("Any", error.instance)
    schema = cast("dict[str, Any]", error.schema)
    tokens = error.absolute_path
    if keyword == "enum":
        known = cast("list[str]", error.validator_value)
        return "unknown_value", f"{place}: {_unknown(value, str(tokens[-1]), known)}"
    if keyword == "additionalProperties":
        own = "patternProperties" in schema
        told = _unknown(str(tokens[-1]), "field", schema["properties"], own=own)
        return "unknown_field", f"{place}: {told}"
    code, found = _KEYWORDS[keyword]
    if keyword == "required":
        schema = schema["properties"][tokens[-1]]
    return code, f"{place}: {found(value)}; it has to be {_wanted(schema)}"


def _place(kind: str, tokens: _Tokens) -> str:
    """Where a value stands, the same for a document alone and within a campaign template."""
    if kind in _PARTS:
        tokens = (_PARTS[kind], *tokens)
    words = [
        f".{token}"
        if isinstance(token, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,80}", token)
        else f"[{short_repr(token)}]"
        for token in tokens
    ]
    if len(words) > 8:
        words[5:-2] = ["..."]
    return "".join(words).removeprefix(".") or kind


def _tokens(document: Any, pointer: str) -> _Tokens:
    tokens: list[str | int] = []
    for escaped in pointer.split("/")[1:]:
        name = escaped.replace("~1", "/").replace("~0", "~")
        tokens.append(int(name) if isinstance(document, list | tuple) else name)
        document = _member(document, tokens[-1])
    return tuple(tokens)


def _member(value: Any, token: str | int) -> Any:
    return value.get(token) if isinstance(value, Mapping) else value[token]


def _in_order(document: Any, found: list[Violation]) -> tuple[Violation, ...]:
    """Sorted by place in the document; what is missing comes after what is there."""
    ranks: dict[int, dict[Any, int]] = {}

    def order(one: Violation) -> tuple[int, ...]:
        places, value = [], document
        for token in _tokens(document, one.path):
            if isinstance(value, Mapping):
                if id(value) not in ranks:
                    ranks[id(value)] = {name: rank for rank, name in enumerate(value)}
                places.append(ranks[id(value)].get(token, len(value)))
            else:
                places.append(cast("int", token))
            value = _member(value, token)
        return tuple(places)

    return tuple(sorted(found, key=order))


def _came_back(code: str, document: Any, tokens: _Tokens, previous: Any) -> bool:
    """Whether a fault is no news: ``previous`` has it as it is here, in the same step."""
    if code == "too_few_items":
        return not (previous.steps if isinstance(previous, CampaignTemplate) else previous)
    *parents, name = tokens
    for token in parents:
        document = document[token]
        if isinstance(previous, CampaignTemplate):
            previous = getattr(previous, str(token))
        elif isinstance(previous, StepSequence):
            key = effective_key(document.get("key"), cast("int", token))
            previous = previous.by_key(key) if key in previous.keys else None
    if code == "unknown_value":
        return bool(getattr(previous, str(name), None) == document[name])
    return same_member(getattr(previous, "extra", EMPTY), str(name), document[name])


def _owned(tokens: _Tokens, previous: Any) -> str | None:
    """What to say of an unknown field of a name that ``previous`` has, though not like this."""
    *parents, name = tokens
    if isinstance(previous, CampaignTemplate) and parents:
        previous = getattr(previous, str(parents[0]))
    if isinstance(previous, StepSequence):
        with_it = " or ".join(
            repr(key)
            for key, step in zip(previous.keys, previous.steps, strict=True)
            if name in step.extra
        )
        if with_it:
            return (
                f"belongs to another program and to the step with the key {with_it}; "
                "it has to come back as it was, in a step with that key"
            )
    elif name in getattr(previous, "extra", EMPTY):
        return "belongs to another program; it has to come back as it was"
    return None


_COMES_BACK = {"unknown_field", "unknown_value", "too_few_items"}
"""What a submitted document may have all the same, if it was given out with it."""

_CONSEQUENCES = {"wrong_type", "unknown_value", "bad_pattern", "too_small", "too_large"}
"""What a schema may also say of a value that is no JSON, and what adds nothing to that."""


def _sequence_violations(
    steps: list[Any], form: str, faulty: Callable[[str], bool]
) -> Iterator[Violation]:
    """What is wrong between the steps, judged by as much of each as is well formed."""

    def column(name: str, instead: Callable[[int], Any]) -> list[Any]:
        return [
            step.get(name)
            if isinstance(step, dict) and not faulty(f"/{index}/{name}")
            else instead(index)
            for index, step in enumerate(steps)
        ]

    return sequence_faults(
        # A key has no spaces, so these are nobody's doubles.
        column("key", lambda index: f" {index}"),
        column("day_offset", lambda _index: None),
        column("step", lambda index: index + 1) if form == "submitted" else None,
    )


def violations(
    document: Any,
    faults: Iterable[Fault],
    kind: str,
    form: str = "submitted",
    *,
    vocabulary: Vocabulary = STANDARD,
    previous: StepSequence | GenerationConfig | CampaignTemplate | None = None,
) -> tuple[Violation, ...]:
    """Every fault of ``document``, in the document's order.

    ``faults`` are those that :mod:`campaign_model._json` found in it. ``kind`` and ``form`` name
    its schema. What only stored documents may have, a submitted one may have as ``previous`` has
    it.
    """
    found = [
        Violation(pointer, code, f"{_place(kind, _tokens(document, pointer))}: {message}")
        for pointer, code, message in faults
    ]
    unreadable = {fault.path for fault in found if fault.code != "duplicate_member"}
    for error in _validator(kind, form, vocabulary).iter_errors(document):
        tokens = tuple(error.absolute_path)
        pointer = pointer_to(tokens)
        code, message = _code_and_message(error, _place(kind, tokens))
        if code in _CONSEQUENCES and pointer in unreadable:
            continue
        if previous is not None and code in _COMES_BACK:
            if _came_back(code, document, tokens, previous):
                continue
            if code == "unknown_field" and (owned := _owned(tokens, previous)) is not None:
                message = f"{_place(kind, tokens)}: {owned}"
        found.append(Violation(pointer, code, message))

    steps, at = document, ""
    if kind == "campaign_template":
        steps, at = document.get("steps") if isinstance(document, dict) else None, "/steps"
    if kind != "generation_config" and isinstance(steps, list):
        bad = {fault.path for fault in found if fault.code != "duplicate_member"}
        found += [
            attrs.evolve(fault, path=at + fault.path)
            for fault in _sequence_violations(steps, form, lambda path: at + path in bad)
        ]
    return _in_order(document, found)
