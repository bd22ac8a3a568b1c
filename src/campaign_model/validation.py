"""What is wrong with a document, all of it, in words for the person who wrote it.

Documents that are in order never come here: the types accept them. This explains the others.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, cast

import attrs
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from campaign_model._json import EMPTY, Fault, canonical, pointer_to, same_member
from campaign_model.campaign import CampaignTemplate
from campaign_model.errors import Violation, shown
from campaign_model.generation import GenerationConfig
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
        schema["$id"] += f":{hashlib.sha256(canonical(words).encode()).hexdigest()[:16]}"
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


def _pattern(
    validator: Any, pattern: str, value: Any, _schema: object
) -> Iterator[ValidationError]:
    # In Python, unlike ECMAScript, $ also matches before a line break at the end.
    exact = re.sub(r"\$\Z", r"\\Z", pattern)
    if validator.is_type(value, "string") and not re.search(exact, value):
        yield ValidationError("")


def _enum(
    validator: Any, words: list[str], value: Any, _schema: object
) -> Iterator[ValidationError]:
    # Anything but text is the fault of its type already.
    if validator.is_type(value, "string") and value not in words:
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
        "additionalProperties": _additional_properties,
        "enum": _enum,
        "pattern": _pattern,
        # The schemas let anything stand in such members, and additionalProperties asks for them.
        "patternProperties": lambda *_: (),
        "required": _required,
    },
    type_checker=_TYPES,
)


@cache
def _validator(kind: str, form: str, vocabulary: Vocabulary) -> Any:
    return _Validator(document_schema(kind, form, vocabulary))


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(repr(word) for word in words)


def _suggestion(word: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(word[:100].lower(), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else None


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
        case "integer" if "minimum" in schema:
            return f"a whole number, {_limits(schema)}"
        case "integer":
            return "a whole number"
        case "boolean":
            return "true or false"
        case _:
            return "an object"


def _is_what(value: Any) -> str:
    match value:
        case None:
            return "is empty (null)"
        case bool() | int() | float():
            return f"is {shown(value).lower()}"
        case str():
            return f"is the text {shown(value)}"
        case list():
            return "is a list"
        case dict():
            return "is an object"
        case _:
            return f"is a {type(value).__name__}"


_KEYWORDS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "type": ("wrong_type", _is_what),
    "required": ("required", lambda _value: "is missing"),
    "pattern": ("bad_pattern", _is_what),
    "minLength": ("too_short", lambda text: f"has {len(text)} characters"),
    "maxLength": ("too_long", lambda text: f"has {len(text)} characters"),
    "minimum": ("too_small", _is_what),
    "maximum": ("too_large", _is_what),
    "minItems": ("too_few_items", lambda items: f"has {len(items)}"),
    "maxItems": ("too_many_items", lambda items: f"has {len(items)}"),
}
"""For each keyword whose messages are alike: its code, and how what was found is put."""


def _code_and_message(error: ValidationError, place: str) -> tuple[str, str]:
    keyword, value = str(error.validator), cast("Any", error.instance)
    schema = cast("dict[str, Any]", error.schema)
    tokens = error.absolute_path
    if keyword == "enum":
        known = cast("list[str]", error.validator_value)
        more = _suggestion(value, known) or f"; known are {_quoted(known)}"
        return "unknown_value", f"{place}: {shown(value)} is not a known {tokens[-1]}{more}"
    if keyword == "additionalProperties":
        name, known = str(tokens[-1]), list(schema["properties"])
        own = "; fields of your own begin with x_" if "patternProperties" in schema else ""
        more = _suggestion(name, known) or f"; known are {_quoted(known)}{own}"
        return "unknown_field", f"{place}: {shown(name)} is not a known field{more}"
    code, found = _KEYWORDS[keyword]
    if keyword == "required":
        schema = schema["properties"][tokens[-1]]
    return code, f"{place}: {found(value)}; it has to be {_wanted(schema)}"


def _place(kind: str, tokens: _Tokens) -> str:
    """Where a value stands, the same for a document alone and within a campaign template."""
    place = ""
    for token in (_PARTS[kind], *tokens) if kind in _PARTS else tokens:
        if isinstance(token, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,80}", token):
            place += f".{token}" if place else token
        else:
            place += f"[{shown(token)}]"
    return place or kind


def _tokens(document: Any, pointer: str) -> _Tokens:
    tokens: list[str | int] = []
    for escaped in pointer.split("/")[1:]:
        name = escaped.replace("~1", "/").replace("~0", "~")
        tokens.append(int(name) if isinstance(document, list | tuple) else name)
        document = _member(document, tokens[-1])
    return tuple(tokens)


def _member(value: Any, token: str | int) -> Any:
    return value.get(token) if isinstance(value, Mapping) else value[token]


def _order(document: Any, tokens: _Tokens) -> tuple[int, ...]:
    """Sorts by place in the document; what is missing comes after what is there."""
    order = []
    for token in tokens:
        if isinstance(document, Mapping):
            names = list(document)
            order.append(names.index(token) if token in document else len(names))
        else:
            order.append(cast("int", token))
        document = _member(document, token)
    return tuple(order)


def _came_back(document: Any, tokens: _Tokens, previous: Any) -> bool:
    """Whether an unknown field stands in ``previous`` as it does here, in the same step."""
    *parents, name = tokens
    for token in parents:
        document = document[token]
        if isinstance(previous, CampaignTemplate):
            previous = getattr(previous, str(token))
        elif isinstance(previous, StepSequence):
            key = effective_key(document.get("key"), cast("int", token))
            previous = previous.by_key(key) if key in previous.keys else None
    return same_member(getattr(previous, "extra", EMPTY), str(name), document[name])


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
    its schema. Unknown fields may stand in a submitted document as they stand in ``previous``.
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
        if code == "unknown_field" and _came_back(document, tokens, previous):
            continue
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
    return tuple(sorted(found, key=lambda one: _order(document, _tokens(document, one.path))))
