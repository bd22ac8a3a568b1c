"""Repairs of stored documents, so that :mod:`campaign_model.converter` accepts them.

Older services wrote them. A stored step may lack every field except its channel, and may have the
number of another position. A stored template may lack its settings. :func:`repaired` corrects
this and reports each repair. It does not touch other faults.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from campaign_model._json import fault_in
from campaign_model.campaign import Repair
from campaign_model.steps import STEP_FIELDS, Step

__all__ = ["STEP_DEFAULTS", "repaired"]

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
    elif kind == "campaign_template" and type(document) is dict:
        document = dict(document)
        if "steps" in document:
            document["steps"] = _repaired_steps(document["steps"], "/steps", repairs)
        if "generation_config" not in document:
            document["generation_config"] = {}
            repairs.append(_defaulted("/generation_config", "generation_config", {}))
    return document, repairs


def _repaired_steps(steps: Any, path: str, repairs: list[Repair]) -> Any:
    if type(steps) is not list:
        return steps
    return [_repaired_step(step, index, path, repairs) for index, step in enumerate(steps)]


def _repaired_step(step: Any, index: int, path: str, repairs: list[Repair]) -> Any:
    """Correct the position of a step and add its missing fields, if it has a channel."""
    if type(step) is not dict or type(step.get("channel")) is not str:
        return step
    path, place, position = f"{path}/{index}", f"steps[{index}]", index + 1
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
