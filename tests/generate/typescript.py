"""The TypeScript types for front ends: documents, answers, and the lifecycle."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

import attrs

from campaign_model import fields, lifecycle
from campaign_model.answers import CLASSES, ERRORS, properties
from campaign_model.campaign import Item, Page, SkipReason
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import Step
from campaign_model.validation import load_schema
from campaign_model.vocabulary import Condition
from generate import answers

_WIDTH = 100
_FORMS = {"submitted": "as callers send it", "stored": "as databases contain it"}
_TYPES = {
    "Decimal": "string",
    "UUID": "string",
    "bool": "boolean",
    "boolean": "boolean",
    "datetime": "string",
    "float": "number",
    "int": "number",
    "integer": "number",
    "null": "null",
    "None": "null",
    "object": "Record<string, unknown>",
    "str": "string",
    "string": "string",
}
"""The TypeScript names of types of Python and JSON Schema, where they differ."""

_HEADER = """\
// Written by `nox -s generate` from the JSON Schemas and the lifecycle; do not edit.
//
// Comments say what types cannot express: limits and patterns. The JSON Schemas beside this file
// have them too.
"""

_LIFECYCLE = """\
/** lifecycle.json: the lifecycles of campaigns and of the contacts in them. */
export type Lifecycle = {
  /** Ends in a digest of all other members: copies with the same id are equal. */
  id: string;
  statuses: Status[];
  actions: Action[];
  transitions: Transition[];
  /** What each guard requires. Only the service knows whether it holds. */
  guards: Record<Guard, string>;
  /** The statuses in which each change is allowed. */
  permissions: Record<Permission, Status[]>;
  contact_statuses: ContactStatus[];
  contact_actions: ContactAction[];
  contact_transitions: ContactTransition[];
  /** The statuses in which a contact can be claimed without waiting for a lease to expire. */
  claimable: ContactStatus[];
  /** The target of a transition without one, by the contact's gaps. */
  resting_status: Record<"gaps_unknown" | "no_gaps" | "some_gaps", ContactStatus>;
};
"""


def typescript() -> str:
    """Return the text of the file."""
    enums: tuple[type[StrEnum], ...] = (
        lifecycle.Status,
        lifecycle.Action,
        lifecycle.Permission,
        lifecycle.ContactStatus,
        lifecycle.ContactAction,
        SkipReason,
    )
    return "\n".join(
        (
            _HEADER,
            *(_comment(answers.about(enum)) + _union(enum.__name__, enum) for enum in enums),
            _comment("The name of a condition on a move.")
            + _union("Guard", lifecycle.to_dict()["guards"]),
            *map(_class, (lifecycle.Transition, lifecycle.ContactTransition)),
            _LIFECYCLE,
            *_documents(),
            *_answers(),
        )
    )


def _documents() -> Iterator[str]:
    """Yield the types of documents and of their words."""
    steps, settings, template = (
        {form: load_schema(f"{kind}.{form}") for form in _FORMS}
        for kind in ("template_config", "generation_config", "campaign_template")
    )
    yield _comment(answers.about(Condition)) + _union("Condition", Condition)
    for name, schema in (("channel", steps["submitted"]["items"]), ("tone", settings["submitted"])):
        words = schema["properties"][name]["enum"]
        yield (
            _comment(f"The {name}s of the standard vocabulary; a service may know others.")
            + _union(_camel(name), words)
        )
    for form, meaning in _FORMS.items():
        whole = _camel(form)
        yield _object(f"{whole}Step", f"A step {meaning}.", steps[form]["items"])
        yield (
            _comment(f"template_config {meaning}: {fields.meaning(steps[form])}.")
            + f"export type {whole}TemplateConfig = {whole}Step[];\n"
        )
        for kind, schema in (("generation_config", settings), ("campaign_template", template)):
            yield _object(whole + _camel(kind), f"{kind} {meaning}.", schema[form])


def _object(name: str, meaning: str, schema: dict[str, Any]) -> str:
    """Return the type of the JSON objects that a schema describes."""
    lines, required = [], schema.get("required", ())
    for field, member in schema["properties"].items():
        described = member["anyOf"][0] if "anyOf" in member else member
        if {"integer", "string"} & {*_json_types(described)} and "enum" not in described:
            text = fields.meaning(described)
            lines.append(_comment(f"{text[0].upper()}{text[1:]}."))
        lines.append(f"{field}{'' if field in required else '?'}: {_type(field, member)};\n")
    if "patternProperties" in schema:
        lines += [_comment("Fields of your own."), "[own: `x_${string}`]: unknown;\n"]
    elif schema.get("additionalProperties", True):
        lines += [_comment("Unknown fields: keep them."), "[other: string]: unknown;\n"]
    return _fields(name, meaning, lines)


def _type(field: str, schema: dict[str, Any]) -> str:
    if schema.get("$ref", "").startswith("#"):
        return str(schema["$ref"].rpartition("/")[2])
    if "$ref" in schema:
        _, _, kind, form, _ = schema["$ref"].split(":")
        return _camel(form) + _camel(kind)
    if "" in schema.get("enum", ()):
        return '"" | null'  # What is written for no value.
    if "anyOf" in schema:
        types = [_type(field, one) for one in schema["anyOf"]]
        return "string | null" if types[0] == "string" else " | ".join(types)
    first, *others = (_TYPES[json_type] for json_type in _json_types(schema))
    return " | ".join([_camel(field) if "enum" in schema else first, *others])


def _json_types(schema: dict[str, Any]) -> list[str]:
    """Return the types that a schema allows: none if it refers to other schemas."""
    json_types = schema.get("type", [])
    return [json_types] if isinstance(json_types, str) else json_types


def _answers() -> Iterator[str]:
    """Yield the types of what a service answers."""
    parts = answers.schema()["$defs"]
    for cls in (Step, GenerationConfig):
        yield _object(cls.__name__, parts[cls.__name__]["description"], parts[cls.__name__])
    yield _comment(parts["StepSequence"]["description"]) + "export type StepSequence = Step[];\n"
    yield from map(_class, CLASSES)
    yield _class(Page, f"Page<{Item.__name__}>")
    for code, error in ERRORS.items():
        yield _class(error, code=f'"{code}"', message="string")
    names = "".join(f"\n  | {error.__name__}" for error in ERRORS.values())
    description = _comment(parts["CampaignModelError"]["description"])
    yield f"{description}export type CampaignModelError ={names};\n"


def _class(cls: type[attrs.AttrsInstance], name: str = "", **members: str) -> str:
    """Return the type of a class whose instances become JSON objects.

    The members of an object are ``members``, the fields and the properties.
    """
    annotations = inspect.get_annotations(cls)
    members |= {field.name: _words(annotations[field.name]) for field in attrs.fields(cls)}
    for property_ in properties(cls):
        members[property_] = _words(vars(cls)[property_].fget.__annotations__["return"])
    lines = [f"{member}: {words};\n" for member, words in members.items()]
    return _fields(name or cls.__name__, answers.about(cls), lines)


def _words(annotation: str) -> str:
    """Return an annotation of Python in TypeScript."""
    annotation = re.sub(r"tuple\[(\w+), \.\.\.\]", r"\1[]", annotation)
    annotation = re.sub(r"Mapping\[(\w+), (\w+)\]", r"Record<\1, \2>", annotation)
    annotation = re.sub(r"Literal\['(\w+)'\]", r'"\1"', annotation)
    return re.sub(r"\w+", lambda word: _TYPES.get(word[0], word[0]), annotation)


def _fields(name: str, meaning: str, lines: Iterable[str]) -> str:
    # Not an interface: its values could not be assigned to a type with unknown fields.
    body = textwrap.indent("".join(lines), "  ")
    return f"{_comment(meaning)}export type {name} = {{\n{body}}};\n"


def _union(name: str, words: Iterable[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    line = f"export type {name} = {' | '.join(quoted)};\n"
    if len(line) <= _WIDTH:
        return line
    return f"export type {name} =\n" + "\n".join(f"  | {word}" for word in quoted) + ";\n"


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH - len(" *  "), break_on_hyphens=False)
    return f"/** {text} */\n" if len(lines) == 1 else "\n * ".join(("/**", *lines)) + "\n */\n"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
