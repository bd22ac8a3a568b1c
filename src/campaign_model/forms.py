"""What sets the submitted form of a document apart from the stored form.

A *restricted part* is a channel or tone that the vocabulary does not know, an unknown field whose
name does not begin with ``x_``, or the absence of all steps. A stored document may have it. A
submitted document may have it only if it is unchanged from ``previous``, the value that the
caller got before. It is unchanged if the step with the same key had the same word or field.
:func:`restricted_parts` finds the restricted parts. :func:`is_unchanged` tells whether one of them
is unchanged. Parsing, the explanation of refusals and the store's ``save`` share both functions.

A stored step may lack every field except its channel, and may have the number of another position.
A stored template may lack its settings. A field that may be absent may also be null, as most ORMs
write a field without a value, or ``""``, as forms write it. The texts in ``SHORTENED`` may have any
length. Other services wrote such documents. :func:`repaired` corrects this and reports each repair.
It does not touch other faults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from campaign_model._json import EMPTY, Tokens, fault_in, same_member, text_fault
from campaign_model.campaign import CampaignTemplate, Repair
from campaign_model.fields import Schema
from campaign_model.generation_config import GENERATION_FIELDS, GenerationConfig
from campaign_model.steps import STEP_FIELDS, Step, StepSequence, effective_key
from campaign_model.vocabulary import Vocabulary

Previous = StepSequence | GenerationConfig | CampaignTemplate | None

PARTS = {"template_config": "steps", "generation_config": "generation_config"}
"""The kinds of document within a campaign template, and the field of each."""


def restricted_parts(value: Any, vocabulary: Vocabulary) -> Iterator[tuple[str, Tokens]]:
    """Yield the code and the place of every restricted part as a violation of a new document."""
    if isinstance(value, CampaignTemplate):
        for field in PARTS.values():
            for code, tokens in restricted_parts(getattr(value, field), vocabulary):
                yield code, (field, *tokens)
    elif isinstance(value, StepSequence):
        if not value:
            yield "too_few_items", ()
        channels = {channel.name for channel in vocabulary.channels}
        for index, step in enumerate(value):
            if step.channel not in channels:
                yield "unknown_value", (index, "channel")
            for name in step.extra:
                if not name.startswith("x_"):
                    yield "unknown_field", (index, name)
    else:  # a GenerationConfig
        if value.tone is not None and value.tone not in vocabulary.tones:
            yield "unknown_value", ("tone",)
        for name in value.extra:
            if not name.startswith("x_"):
                yield "unknown_field", (name,)


def is_unchanged(code: str, tokens: Tokens, document: Any, previous: Previous) -> bool:
    """Return True if ``previous`` has the same restricted part as ``document`` at this place."""
    if previous is None:
        return False
    if code == "too_few_items":
        return not (previous.steps if isinstance(previous, CampaignTemplate) else previous)
    before: Any = previous
    *parents, name = tokens
    for token in parents:
        document = document[token]
        if isinstance(token, str):
            before = getattr(before, token)
        else:
            key = effective_key(document.get("key"), token)
            before = before.by_key(key) if key in before.keys else None
    if code == "unknown_value":
        return bool(getattr(before, str(name), None) == document[name])
    return same_member(getattr(before, "extra", EMPTY), str(name), document[name])


SHORTENED = ("label", "tone")
"""Texts that a stored document may have in any length. A value has only their beginning."""

_OPTIONAL_STEP_FIELDS = {name: schema for name, schema in STEP_FIELDS.items() if name != "channel"}
_MAY_BE_EMPTY: Schema = {"type": "string"}

STEP_DEFAULTS = {
    name: attribute.default
    for name, attribute in attrs.fields_dict(Step).items()
    if name in STEP_FIELDS.required and attribute.default is not attrs.NOTHING
}
"""The required fields of a step that have a default, and their defaults."""


def repaired(kind: str, document: Any) -> tuple[Any, list[Repair]]:
    """Return the document with every repair made, and the repairs. The argument is not changed."""
    repairs: list[Repair] = []
    if kind == "template_config":
        document = _repaired_steps(document, "", repairs)
    elif kind == "generation_config":
        document = _repaired_settings(document, "", repairs)
    elif type(document) is dict:
        # Null means that one of these members is absent. ``""`` does not: a description may be
        # empty, and ``""`` in place of settings is a fault.
        members = dict.fromkeys(("description", "generation_config"), _MAY_BE_EMPTY)
        document = _repaired_members(document, members, "", "", repairs)
        if "steps" in document:
            document["steps"] = _repaired_steps(document["steps"], "/steps", repairs)
        if "generation_config" not in document:
            document["generation_config"] = {}
            repairs.append(_defaulted("/generation_config", "generation_config", {}))
        settings = document["generation_config"]
        document["generation_config"] = _repaired_settings(settings, "/generation_config", repairs)
    return document, repairs


def _repaired_settings(settings: Any, path: str, repairs: list[Repair]) -> Any:
    if type(settings) is not dict:
        return settings
    return _repaired_members(settings, GENERATION_FIELDS, path, "generation_config.", repairs)


def allows_empty(schema: Schema) -> bool:
    """Return True if ``""`` is a value of a field, and not a way to write that it is absent."""
    has_rule = schema.get("minLength", 0) > 0 or "pattern" in schema or "enum" in schema
    return schema["type"] == "string" and not has_rule


def _repaired_members(
    members: dict[str, Any],
    fields: Mapping[str, Schema],
    path: str,
    message_prefix: str,
    repairs: list[Repair],
) -> dict[str, Any]:
    """Return the members, without null and empty values of ``fields``, and with shortened texts.

    Append a repair to ``repairs`` for each change. ``path`` is the JSON Pointer of the members, and
    ``message_prefix`` begins each message.
    """
    repaired_members = dict(members)
    for name, schema in fields.items():
        value = members.get(name)
        code = None
        if name in members and (value is None or (value == "" and not allows_empty(schema))):
            code = "null_removed" if value is None else "empty_removed"
            message = f"was {json.dumps(value)}; it is absent now"
            del repaired_members[name]
        elif (
            name in SHORTENED
            and isinstance(value, str)
            and len(value) > schema["maxLength"]
            and text_fault(value) is None
        ):
            code, limit = "shortened", schema["maxLength"]
            message = f"had {len(value):,} characters; it has the first {limit} now"
            repaired_members[name] = value[:limit]
        if code is not None:
            repairs.append(Repair(f"{path}/{name}", code, f"{message_prefix}{name}: {message}"))
    return repaired_members


def _repaired_steps(steps: Any, path: str, repairs: list[Repair]) -> Any:
    if type(steps) is not list:
        return steps
    return [_repaired_step(step, index, path, repairs) for index, step in enumerate(steps)]


def _repaired_step(step: Any, index: int, path: str, repairs: list[Repair]) -> Any:
    """Correct a step that has a channel: its position, its empty and its missing fields."""
    if type(step) is not dict or type(step.get("channel")) is not str:
        return step
    path, place, position = f"{path}/{index}", f"steps[{index}]", index + 1
    step = _repaired_members(step, _OPTIONAL_STEP_FIELDS, path, f"{place}.", repairs)
    number = step.get("step")
    if type(number) is int and number >= 1 and number != position and fault_in(number) is None:
        message = f"{place}.step: was {number}; it is {position} now, by its position"
        repairs.append(Repair(f"{path}/step", "renumbered", message))
        step = {**step, "step": position}
    # A missing label becomes the name of the channel: "Linkedin connect".
    label = step["channel"].replace("_", " ").capitalize()
    defaults = {"step": position, "label": label, **STEP_DEFAULTS}
    missing = {name: value for name, value in defaults.items() if name not in step}
    repairs += (
        _defaulted(f"{path}/{name}", f"{place}.{name}", value) for name, value in missing.items()
    )
    return {**step, **missing}


def _defaulted(path: str, place: str, value: Any) -> Repair:
    return Repair(path, "defaulted", f"{place}: was missing; it is {json.dumps(value)} now")
