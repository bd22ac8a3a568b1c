"""The JSON Schema of the values that a service answers with."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs

from campaign_model import fields, json_ready
from campaign_model._json import digest
from campaign_model.answers import CLASSES, ERRORS, PAGES, name_of, properties
from campaign_model.campaign import MAX_DESCRIPTION, Campaign, CampaignTemplate, Page
from campaign_model.converter import UUID_PATTERN
from campaign_model.fields import DocumentFields
from campaign_model.generation_config import GENERATION_FIELDS, GenerationConfig
from campaign_model.steps import MAX_STEPS, STEP_FIELDS, Step, StepSequence
from campaign_model.validation import load_schema
from support.sample_answers import SAMPLES

Schema = dict[str, Any]

SCALARS: dict[Any, Schema] = {
    bool: {"description": "true or false", "type": "boolean"},
    float: {"description": "a number", "type": "number"},
    int: {"description": "a whole number", "type": "integer"},
    str: {"description": "text", "type": "string"},
    Decimal: {
        "description": "an amount as the shortest decimal text, such as "
        '"0.00432", "12" or "0", in the currency of the service',
        "type": "string",
        "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$",
    },
    UUID: {
        "description": "a UUID in lower case with dashes",
        "type": "string",
        "pattern": f"^{UUID_PATTERN}$",
    },
    datetime: {
        "description": "a time in UTC, such as 2026-01-31T09:30:00+00:00, "
        "with six decimals of a second unless they are zeros",
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{6})?\\+00:00$",
    },
}
DOCUMENTS: dict[type, tuple[str, str]] = {
    Step: ("a step", "A step as dump_template_config writes it. Other members are your own."),
    StepSequence: (
        f"a list of at most {MAX_STEPS} steps",
        "The steps as dump_template_config writes them, numbered from 1.",
    ),
    GenerationConfig: (
        "an object of settings",
        "The settings as dump_generation_config writes them. Other members are your own.",
    ),
}
"""Parts of documents: what a value is, as a noun, and the description of the type."""


def schema() -> Schema:
    """Return the content of ``schemas/answers.json``."""
    parts = {
        **{cls.__name__: _class(cls) for cls in CLASSES},
        **{name_of(page): _page(page) for page in PAGES},
        **{cls.__name__: _error(cls) for cls in ERRORS.values()},
        "CampaignModelError": {
            "title": "CampaignModelError",
            "description": "Any error of the library. The code tells which.",
            "anyOf": [_reference(cls.__name__) for cls in ERRORS.values()],
        },
        "Step": _document(Step, STEP_FIELDS),
        "StepSequence": {
            "title": "StepSequence",
            "description": DOCUMENTS[StepSequence][1],
            "type": "array",
            "maxItems": MAX_STEPS,
            "items": _of(Step),
        },
        "GenerationConfig": _document(GenerationConfig, GENERATION_FIELDS),
    }
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answers of campaign_model",
        "description": "What to_dict() and json_ready() return: one part of $defs for each type.",
        "$defs": dict(sorted(parts.items())),
    }
    return {"$id": f"urn:campaign-model:answers:1:{digest(content)[:16]}", **content}


def text() -> str:
    """Return the text of ``schemas/answers.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def about(cls: type) -> str:
    """Return the docstring of a class for readers of JSON: one paragraph, without markup.

    What the class raises is left out.
    """
    words, _, _ = " ".join((inspect.getdoc(cls) or "").split()).partition(" Raises ")
    words = words.replace("``()``", "``[]``").replace("``", "`")
    words = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", words)
    return re.sub(r"\bNone\b", "null", words)


def examples() -> str:
    """Return an example of every answer, for docs/json.md."""
    parts = []
    for value in SAMPLES:
        json_text = json.dumps(json_ready(value), indent=2, ensure_ascii=False)
        parts += [f"### {type(value).__name__}", about(type(value)), f"```json\n{json_text}\n```"]
    return "\n\n".join(parts)


def _object(name: str, description: str, members: dict[str, Schema]) -> Schema:
    return {
        "title": name,
        "description": description,
        "type": "object",
        "required": [*members],
        "properties": members,
        "additionalProperties": False,
    }


def _class(cls: type[attrs.AttrsInstance]) -> Schema:
    """Return the schema of a value: all attributes and properties are members."""
    members = {field.name: _of(field.type) for field in attrs.fields(attrs.resolve_types(cls))}
    for name in properties(cls):
        members[name] = _of(get_type_hints(vars(cls)[name].fget)["return"])
    if cls in (Campaign, CampaignTemplate):
        stored = load_schema("campaign_template.stored")["properties"]
        members["name"] = stored["name"]
        members["description"] |= {"maxLength": MAX_DESCRIPTION}
    return _object(cls.__name__, about(cls), members)


def _page(annotation: Any) -> Schema:
    (item,) = get_args(annotation)
    items = {"description": f"a list of {item.__name__}", "type": "array", "items": _of(item)}
    members = {"items": items, "next": _of(str | None)}
    return _object(name_of(annotation), about(Page), members)


def _error(cls: type[Any]) -> Schema:
    members = {
        "code": {**_of(str), "enum": [cls.code]},
        "message": _of(str),
        **{field.name: _of(field.type) for field in attrs.fields(attrs.resolve_types(cls))},
    }
    return _object(cls.__name__, about(cls), members)


def _document(cls: type, document_fields: DocumentFields) -> Schema:
    """Return the schema of an object that may have members of other programs."""
    members = {
        name: {"description": fields.meaning(schema), **schema}
        for name, schema in document_fields.items()
    }
    required = [name for name in members if name in document_fields.required]
    whole = _object(cls.__name__, DOCUMENTS[cls][1], members)
    return {**whole, "required": required, "additionalProperties": True}


def _reference(name: str, noun: str | None = None) -> Schema:
    """Refer to a part. ``noun`` says in an error what the value must be."""
    return {"$ref": f"#/$defs/{name}", "description": noun or f"an object: a {name}"}


def _of(annotation: Any) -> Schema:
    """Return the schema of a value of a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in SCALARS:
        return SCALARS[annotation]
    if annotation in DOCUMENTS:
        return _reference(annotation.__name__, DOCUMENTS[annotation][0])
    if NoneType in arguments:
        (type_,) = {*arguments} - {NoneType}
        return _nullable(_of(type_))
    if origin is tuple:
        return {"description": "a list", "type": "array", "items": _of(arguments[0])}
    if origin is Mapping:
        key, value = arguments
        members = {word.value: _of(value) for word in key}
        whole = _object("", f"an object with each {key.__name__}", members)
        del whole["title"]
        return whole
    if attrs.has(annotation):
        return _reference(annotation.__name__)
    # An enumeration, or one and single words.
    words = [*arguments] if origin is Literal else []
    for type_ in arguments if origin is Union else (annotation,):
        words += get_args(type_) if get_origin(type_) is Literal else [word.value for word in type_]
    return {"description": f"one of {fields.quoted(words)}", "type": "string", "enum": words}


def _nullable(schema: Schema) -> Schema:
    # Not a list of types, which some programs that read OpenAPI do not know.
    return {"description": f"{schema['description']}, or null", "anyOf": [schema, {"type": "null"}]}
