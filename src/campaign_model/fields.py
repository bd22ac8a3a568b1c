"""The fields of documents. Each is described once, where its value type declares it.

``Step`` and ``GenerationConfig`` describe a field by

- its annotation: the type (``_SCHEMAS`` gives the JSON type of each Python type); a submitted
  document may omit the field only if it may be ``None``;
- its ``metadata``: the limits, as keywords of JSON Schema.

:class:`DocumentFields` turns these descriptions into the check that every instance passes, and
into the JSON Schemas that :mod:`campaign_model.db.checks` writes as CHECK constraints.
:func:`meaning` puts a schema into words, for errors. Tests compare the schemas with the published
ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from types import NoneType
from typing import Any, get_args

import attrs

from campaign_model._json import EMPTY, JsonObject, fault_in, text_fault
from campaign_model._values import MONEY_DECIMALS, MONEY_LIMIT, is_money
from campaign_model.errors import InvalidDocument, Violation, join_words, short_repr
from campaign_model.vocabulary import Condition

Schema = Mapping[str, Any]
"""The keywords of one JSON Schema."""

_SCHEMAS: dict[type, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    JsonObject: {"type": "object"},
    Decimal: {"type": "string"},
    Condition: {"type": "string", "enum": [word.value for word in Condition]},
}

_STORABLE_OBJECT = "a JSON object that a database can store"
_PYTHON_MEANINGS: dict[type, str] = {
    JsonObject: _STORABLE_OBJECT,
    Decimal: f"a Decimal from 0 to below {MONEY_LIMIT} with at most {MONEY_DECIMALS} decimals",
}
"""What a Python value must be, in words, where the words for its JSON value do not fit."""


class DocumentFields(dict[str, Schema]):
    """The JSON Schema of each field of a stored document, by name, in the order of writing.

    The fields are the attributes of the value type ``cls``, and those of ``also``, which have no
    attribute. The attribute ``extra`` is not a field: it keeps the unknown members of a document.
    ``required`` names the fields that a submitted document must have. Errors call a value
    ``document``. ``depth`` is how deep it is nested in a campaign template, the largest document.
    """

    def __init__(
        self, cls: type[attrs.AttrsInstance], document: str, depth: int, **also: Schema
    ) -> None:
        super().__init__(also)
        self.required: set[str] = {*also}
        self._document = document
        # Of each attribute: its name, type, if it may be None, the test of its limits, its meaning.
        self._checks: list[tuple[str, type, bool, Callable[[Any], Any] | None, str]] = []
        for attribute in attrs.fields(attrs.resolve_types(cls)):
            if attribute.name == "extra":
                continue
            name, types = attribute.name, get_args(attribute.type) or (attribute.type,)
            python_type, may_be_none = types[0], NoneType in types
            schema = self[name] = {**_SCHEMAS[python_type], **attribute.metadata}
            if not may_be_none:
                self.required.add(name)
            is_within_limits = _limits_check(python_type, schema, depth + 1)
            words = _PYTHON_MEANINGS.get(python_type) or meaning(schema)
            self._checks.append((name, python_type, may_be_none, is_within_limits, words))

        def allows_extra(extra: JsonObject) -> bool:
            return extra is EMPTY or (
                fault_in(extra, depth) is None and extra.keys().isdisjoint(self)
            )

        words = f"{_STORABLE_OBJECT}, without known fields"
        self._checks.append(("extra", JsonObject, False, allows_extra, words))

    def check(self, instance: Any) -> None:
        """Raise :class:`InvalidDocument` naming every field of ``instance`` with a wrong value."""
        violations = []
        for name, python_type, may_be_none, is_within_limits, words in self._checks:
            value = getattr(instance, name)
            if type(value) is python_type:
                if is_within_limits is None or is_within_limits(value):
                    continue
            elif value is None and may_be_none:
                continue
            message = f"{self._document}.{name}: {short_repr(value)} is not {words}"
            violations.append(Violation(f"/{name}", "invalid_value", message))
        if violations:
            raise InvalidDocument(self._document, tuple(violations))


def _limits_check(python_type: type, schema: Schema, depth: int) -> Callable[[Any], Any] | None:
    """Return the test that a value of the right type is within the limits of ``schema``."""
    if python_type is str and "pattern" in schema:
        return re.compile(schema["pattern"]).fullmatch
    if python_type is str:
        shortest, longest = schema.get("minLength", 0), schema["maxLength"]
        return lambda text: shortest <= len(text) <= longest and text_fault(text) is None
    if python_type is int:
        return range(schema["minimum"], schema["maximum"] + 1).__contains__
    if python_type is JsonObject:
        return lambda members: fault_in(members, depth) is None
    return is_money if python_type is Decimal else None


def meaning(schema: Schema) -> str:
    """Say in words what a value must be, such as "text of 1 to 200 characters"."""
    if "description" in schema:
        return str(schema["description"])
    if "enum" in schema:
        return f"one of {quoted(word for word in schema['enum'] if word is not None)}"
    # In the stored form, a field may also be null. Say only what a useful value is.
    json_type = schema["type"]
    match json_type if isinstance(json_type, str) else json_type[0]:
        case "array":
            return f"a list of {_limits(schema)} steps"
        case "string":
            return f"text of {_limits(schema)} characters"
        case "integer":
            return f"a whole number, {_limits(schema)}"
        case "number":
            return "a number"
        case "boolean":
            return "true or false"
        case _:
            return "an object"


def _limits(schema: Schema) -> str:
    """Say how large a value may be, such as "1 to 200". ``schema`` has at least one limit."""
    least, most = (
        next((schema[word] for word in words if word in schema), None)
        for words in (("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems"))
    )
    if least is not None and most is not None:
        return f"{least} to {most}"
    return f"at least {least}" if most is None else f"at most {most}"


def quoted(words: Iterable[str]) -> str:
    """List the words in quotes, as part of a sentence; very many are shortened."""
    return join_words([repr(word) for word in words])
