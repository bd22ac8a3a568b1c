"""The JSON form of what a service answers: ``to_dict`` of values, and the encoder for anything.

:mod:`campaign_model.answers` has the converter that does the work. It loads cattrs, so this module
imports it only when a value is converted.
"""

from __future__ import annotations

from typing import Any


class Answer:
    """Base class of the values that a service answers with."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the value as a JSON-ready ``dict``, in the shape that docs/json.md describes.

        Ids and times become text, and amounts the shortest decimal text, such as ``"0.00432"``.
        """
        document: dict[str, Any] = json_ready(self)
        return document


def json_ready(value: Any) -> Any:
    """Return ``value`` as JSON: ``dict``, ``list``, ``str``, numbers, booleans and ``None``.

    Accepts the values and errors of this library, ids, times, amounts, enumerations, other attrs
    classes, and lists and dicts of all these. Raises ``TypeError`` for anything else. So it fits
    ``json.dumps(value, default=json_ready)``.
    """
    from campaign_model.answers import ANSWERS  # noqa: PLC0415 - loads cattrs

    return ANSWERS.unstructure(value)
