"""The cattrs converter between JSON documents and values.

``CONVERTER.structure(document, cls)`` makes a value from a decoded document, and
``CONVERTER.unstructure(value)`` writes a value as fresh JSON. cattrs generates the code from the
annotations of the value types. The hooks of this module say how each type looks in JSON. The
document is within the limits of size that :func:`campaign_model._json.decode` checks.

A hook accepts exactly one JSON type and coerces nothing. Every required field must be present,
and steps must be numbered from 1. Unknown members of steps and settings become ``extra``. The
member ``$schema`` of settings and templates is for editors, and is not kept.
``structure`` raises one of ``REFUSALS`` for any other document, without a message:
:mod:`campaign_model.validation` says what is wrong.
"""

# No "from __future__ import annotations": cattrs reads the annotations of hooks when they are made.

import re
from collections.abc import Callable
from decimal import Decimal
from types import NoneType
from typing import Any, get_args
from uuid import UUID

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from campaign_model._json import JsonObject, fault_in, freeze_object, text_fault, thaw
from campaign_model._values import MONEY_PATTERN, money_text
from campaign_model.campaign import CampaignTemplate
from campaign_model.errors import InvalidDocument
from campaign_model.fields import DocumentFields
from campaign_model.generation_config import GENERATION_FIELDS, GenerationConfig
from campaign_model.steps import STEP_FIELDS, Step, StepSequence
from campaign_model.vocabulary import Condition

REFUSALS = (InvalidDocument, KeyError, TypeError, ValueError)
"""What ``CONVERTER.structure`` raises: for a wrong value, a missing field, or a wrong shape."""

UUID_PATTERN = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
"""The shape of an id in a document; the whole text must match."""

CONVERTER = Converter(detailed_validation=False)  # Without detailed errors it is faster.

# --- Single values -------------------------------------------------------------------------------


def _exactly(json_type: type) -> Callable[[Any, Any], Any]:
    """Return a hook that accepts one JSON type. The value type converts and checks the value."""

    def structure(value: Any, _type: Any) -> Any:
        if type(value) is not json_type:
            raise TypeError
        return value

    return structure


def _text(pattern: str, make: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    """Return a hook that accepts text of the shape ``pattern``, and converts it with ``make``."""
    matches = re.compile(pattern).fullmatch

    def structure(value: Any, _type: Any) -> Any:
        if type(value) is not str or matches(value) is None:
            raise ValueError
        return make(value)

    return structure


def _structure_object(value: Any, _type: Any) -> Any:
    if type(value) is not dict:
        raise TypeError
    return freeze_object(value)  # The decoder has checked the size of the whole document.


_STRUCTURE_HOOKS: dict[type, Callable[[Any, Any], Any]] = {
    bool: _exactly(bool),
    int: _exactly(int),
    str: _exactly(str),
    Condition: _exactly(str),
    JsonObject: _structure_object,
    Decimal: _text(MONEY_PATTERN, Decimal),
    UUID: _text(UUID_PATTERN, UUID),
}
for _type, _hook in _STRUCTURE_HOOKS.items():
    CONVERTER.register_structure_hook(_type, _hook)
# "type | None" has the hook of the type: null is refused. None means that the field is absent.
CONVERTER.register_structure_hook_factory(
    lambda annotation: NoneType in get_args(annotation),
    lambda annotation: _STRUCTURE_HOOKS[get_args(annotation)[0]],
)
CONVERTER.register_unstructure_hook(Condition, str)
CONVERTER.register_unstructure_hook(JsonObject, thaw)
CONVERTER.register_unstructure_hook(Decimal, money_text)
CONVERTER.register_unstructure_hook(UUID, str)

# --- Steps and settings: objects that keep unknown members in "extra" ----------------------------


def _register_hooks(
    cls: type[attrs.AttrsInstance], fields: DocumentFields
) -> tuple[Callable[[Any, Any], Any], Callable[[Any], dict[str, Any]]]:
    """Generate, register and return the hooks of a value type with the attribute ``extra``."""
    names, required = frozenset(fields), frozenset(fields.required)
    make = make_dict_structure_fn(cls, CONVERTER)
    omit_none: dict[str, Any] = {
        name: override(omit_if_default=True) for name in names - fields.required
    }
    write = make_dict_unstructure_fn(cls, CONVERTER, extra=override(omit=True), **omit_none)

    def structure(document: Any, _type: Any) -> Any:
        if type(document) is not dict:
            raise TypeError
        if not required <= document.keys():
            raise KeyError
        if names.issuperset(document):
            return make(document, cls)
        extra = {name: value for name, value in document.items() if name not in names}
        if cls is GenerationConfig and fault_in(extra.pop("$schema", None), depth=2) is not None:
            raise ValueError
        return make({**document, "extra": extra}, cls)

    def unstructure(value: Any) -> dict[str, Any]:
        return {**write(value), **thaw(value.extra)}

    CONVERTER.register_structure_hook(cls, structure)
    CONVERTER.register_unstructure_hook(cls, unstructure)
    return structure, unstructure


_structure_step, _unstructure_step = _register_hooks(Step, STEP_FIELDS)
_register_hooks(GenerationConfig, GENERATION_FIELDS)

# --- Sequences: arrays whose steps are numbered from 1 -------------------------------------------


def _structure_steps(documents: Any, _type: Any) -> StepSequence:
    if type(documents) is not list:
        raise TypeError
    steps = []
    for index, document in enumerate(documents):
        steps.append(_structure_step(document, Step))
        position = document["step"]
        if type(position) is not int or position != index + 1:
            raise ValueError
    return StepSequence(steps)


def _unstructure_steps(steps: StepSequence) -> list[dict[str, Any]]:
    return [{"step": index + 1, **_unstructure_step(step)} for index, step in enumerate(steps)]


CONVERTER.register_structure_hook(StepSequence, _structure_steps)
CONVERTER.register_unstructure_hook(StepSequence, _unstructure_steps)


# --- Templates: objects without unknown members --------------------------------------------------

TEMPLATE_FIELDS: dict[str, type] = {
    "id": UUID,
    "name": str,
    "description": str,
    "steps": StepSequence,
    "generation_config": GenerationConfig,
}
"""The fields of a template document in the order of writing. A database has more columns."""

TEMPLATE_REQUIRED = TEMPLATE_FIELDS.keys() - {"description"}


def _structure_template(document: Any, _type: Any) -> CampaignTemplate:
    if type(document) is not dict:
        raise TypeError
    address = document.get("$schema", "")
    if type(address) is not str or text_fault(address) is not None:
        raise ValueError
    members = document.keys() - {"$schema"}
    if not TEMPLATE_REQUIRED <= members <= TEMPLATE_FIELDS.keys():
        raise ValueError
    fields: dict[str, Any] = {
        name: CONVERTER.structure(document[name], TEMPLATE_FIELDS[name]) for name in members
    }
    return CampaignTemplate(**fields)


def _unstructure_template(template: CampaignTemplate) -> dict[str, Any]:
    return {
        name: CONVERTER.unstructure(value)
        for name in TEMPLATE_FIELDS
        if (value := getattr(template, name)) is not None
    }


CONVERTER.register_structure_hook(CampaignTemplate, _structure_template)
CONVERTER.register_unstructure_hook(CampaignTemplate, _unstructure_template)
