"""The JSON Schemas for tools: each complete in itself, with titles, defaults and examples.

The published schema of a campaign_template refers to those of its parts by their ids, which many
editors, validators and generators of code cannot resolve. :func:`bundled_schema` returns one schema
without references. It accepts the same documents as the published schema.
"""

from __future__ import annotations

from typing import Any, cast

from campaign_model.forms import STEP_DEFAULTS
from campaign_model.validation import schema_directory, whole_schema
from campaign_model.vocabulary import STANDARD, Vocabulary

_EXAMPLES: dict[str, Any] = {
    "id": "7d1a3b52-94c6-4f0e-8d2b-6f1e0c9a7b34",
    "name": "Introduction by e-mail",
    "description": "One e-mail for each contact.",
    "step": 1,
    "channel": "email",
    "label": "Introduction",
    "enabled": True,
    "needs_pdf": False,
    "variant_count": 2,
    "key": "introduction",
    "day_offset": 3,
    "condition": "no_response",
    "config": {"max_length": 300},
    "tone": "friendly",
    "language": "pt-BR",
    "custom_instructions": "Mention our office in Lisbon.",
    "default_variant_count": 2,
    "budget": "25.00",
}
"""A value of each field. For a word that a vocabulary does not know, its first word is used."""


def bundled_schema(
    kind: str, form: str = "submitted", vocabulary: Vocabulary = STANDARD
) -> dict[str, Any]:
    """Return the JSON Schema of a kind of document without references to other schemas.

    Arguments and errors are those of :func:`campaign_model.validation.document_schema`. The ``$id``
    ends in ``:bundle``.
    """
    schema = whole_schema(kind, form, vocabulary)
    schema["$id"] += ":bundle"
    _annotate(schema, form, kind)
    schema["examples"] = [_example(schema)]
    return schema


def typescript() -> str:
    """Return the TypeScript types of documents, answers and the lifecycle (a ``.d.ts`` file)."""
    return (schema_directory() / "campaign-model.d.ts").read_text(encoding="utf-8")


def _annotate(schema: dict[str, Any], form: str, name: str) -> None:
    """Give titles to objects, lists and enumerations, and defaults and examples to known fields.

    ``name`` is that of the field whose value ``schema`` describes. The only lists are lists of
    steps. The title belongs to the value. A default and an example belong to the field, which may
    have no value.
    """
    value_schema = _schema_of_a_value(schema)
    for member_name, member in value_schema.get("properties", {}).items():
        _annotate(member, form, member_name)
    if "items" in value_schema:
        _annotate(value_schema["items"], form, "step")
    if {"enum", "items", "properties"} & value_schema.keys():
        title = name.replace("_", " ")
        value_schema["title"] = (f"stored {title}" if form == "stored" else title).capitalize()
    if name in STEP_DEFAULTS:
        schema["default"] = STEP_DEFAULTS[name]
    if name in _EXAMPLES and "items" not in value_schema and "properties" not in value_schema:
        example = _EXAMPLES[name]
        words = value_schema.get("enum", [example])
        schema["examples"] = [example if example in words else words[0]]


def _example(schema: dict[str, Any]) -> Any:
    """Return a whole document, made of the examples of its fields."""
    value_schema = _schema_of_a_value(schema)
    if "items" in value_schema:
        return [_example(value_schema["items"])]
    if "properties" in value_schema:
        members = value_schema["properties"].items()
        return {name: _example(member) for name, member in members if name != "$schema"}
    return schema["examples"][0]


def _schema_of_a_value(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a schema for a value. A stored field may also have no value."""
    return cast("dict[str, Any]", schema["anyOf"][0]) if "anyOf" in schema else schema
