"""Repairs of stored documents, so that :mod:`campaign_model.converter` can read them.

Databases hold documents of older services. A stored step may lack every field but its channel,
and may have the number of another position; a stored template may lack its settings.
:func:`repaired` fills in what is missing and reports each repair. It leaves everything that it
cannot repair as it is, for the converter to refuse.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from campaign_model._json import fault_in
from campaign_model.campaign import Repair
from campaign_model.steps import STEP_FIELDS, Step

__all__ = ["repaired"]

_DEFAULTS = {
    name: attribute.default
    for name, attribute in attrs.fields_dict(Step).items()
    if name in STEP_FIELDS.required
}


def repaired(kind: str, document: Any) -> tuple[Any, list[Repair]]:
    """Return the document with every repair made, and the repairs. Leaves the argument alone."""
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
    position = index + 1
    if type(step) is not dict or type(step.get("channel")) is not str:
        return step
    number = step.get("step")
    if number == position and step.keys() >= STEP_FIELDS.required:
        return step
    place, path, step = f"steps[{index}]", f"{path}/{index}", dict(step)
    if "step" not in step:
        repairs.append(_defaulted(f"{path}/step", f"{place}.step", position))
        step["step"] = position
    elif type(number) is int and number >= 1 and number != position and fault_in(number) is None:
        message = f"{place}.step: was {number}; it is {position} now, by its position"
        repairs.append(Repair(f"{path}/step", "renumbered", message))
        step["step"] = position
    for name, default in _DEFAULTS.items():
        if name not in step:
            # A missing label becomes the channel's name: "Linkedin connect".
            step[name] = (
                step["channel"].replace("_", " ").capitalize() if name == "label" else default
            )
            repairs.append(_defaulted(f"{path}/{name}", f"{place}.{name}", step[name]))
    return step


def _defaulted(path: str, place: str, value: Any) -> Repair:
    return Repair(path, "defaulted", f"{place}: was missing; it is {json.dumps(value)} now")
