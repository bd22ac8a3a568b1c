"""The settings of a campaign's generation, and what an engine goes by for one step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import attrs

from campaign_model._json import EMPTY, JsonObject, fault_in, json_object
from campaign_model._values import MONEY_DECIMALS, MONEY_LIMIT, money
from campaign_model.errors import InvalidDocument, Violation, short_repr
from campaign_model.steps import MAX_VARIANTS, Step
from campaign_model.vocabulary import MAX_TONE

__all__ = [
    "GENERATION_DEPTH",
    "GENERATION_FIELDS",
    "LANGUAGE_PATTERN",
    "MAX_INSTRUCTIONS",
    "GenerationConfig",
    "effective_config",
]

MAX_INSTRUCTIONS = 10_000

LANGUAGE_PATTERN = r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}"
"""A language tag in the shape of BCP 47, such as ``en`` or ``pt-BR``; the whole tag matches."""

GENERATION_FIELDS = ("tone", "language", "custom_instructions", "default_variant_count", "budget")
"""The members of generation_config on the wire, in the order they are written."""

GENERATION_DEPTH = 1
"""How deep generation_config is nested in a campaign template."""

_is_language = re.compile(LANGUAGE_PATTERN).fullmatch


def _text(value: Any, longest: int) -> bool:
    return type(value) is str and 0 < len(value) <= longest and fault_in(value) is None


def _is_money(value: Any) -> bool:
    try:
        money(value)
    except (TypeError, ValueError):
        return False
    return True


def _budget(value: Any) -> Any:
    return money(value) if _is_money(value) else value


_FIELD_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "tone",
        lambda value: value is None or _text(value, MAX_TONE),
        f"text of 1 to {MAX_TONE} characters",
    ),
    (
        "language",
        lambda value: value is None or (type(value) is str and _is_language(value) is not None),
        "a language tag such as en or pt-BR",
    ),
    (
        "custom_instructions",
        lambda value: value is None or value == "" or _text(value, MAX_INSTRUCTIONS),
        f"text of at most {MAX_INSTRUCTIONS} characters",
    ),
    (
        "default_variant_count",
        lambda value: value is None or (type(value) is int and 1 <= value <= MAX_VARIANTS),
        f"a whole number from 1 to {MAX_VARIANTS}",
    ),
    (
        "budget",
        lambda value: value is None or _is_money(value),
        f"a Decimal from 0 to less than {MONEY_LIMIT} with at most {MONEY_DECIMALS} decimals",
    ),
    (
        "extra",
        lambda value: (
            type(value) is JsonObject
            and fault_in(value, GENERATION_DEPTH) is None
            and value.keys().isdisjoint(GENERATION_FIELDS)
        ),
        "a JSON object, fit for a database, of fields that generation_config does not have",
    ),
)


@attrs.frozen
class GenerationConfig:
    """How a campaign's messages are to be written, and for how much money.

    ``budget`` is the most that may be spent, in the currency the host counts in; on the wire it
    is a decimal string. ``default_variant_count`` is what an editor gives a new step. ``None``
    means that the field is not written at all; ``extra`` keeps fields that others wrote.
    Raises :class:`InvalidDocument` naming every field that is wrong.
    """

    tone: str | None = None
    language: str | None = None
    custom_instructions: str | None = None
    default_variant_count: int | None = None
    budget: Decimal | None = attrs.field(default=None, converter=_budget)
    extra: JsonObject = attrs.field(default=EMPTY, converter=json_object)

    def __attrs_post_init__(self) -> None:
        faults = tuple(
            Violation(
                f"/{name}",
                "invalid_value",
                f"generation_config.{name}: {short_repr(getattr(self, name))} is not {meaning}",
            )
            for name, holds, meaning in _FIELD_RULES
            if not holds(getattr(self, name))
        )
        if faults:
            raise InvalidDocument("generation_config", faults)


def effective_config(
    generation_config: GenerationConfig, step: Step, override: Mapping[str, Any] | None = None
) -> JsonObject:
    """What an engine is to go by when it writes one step.

    The campaign's settings, then the step's own, then ``override``, each laid over the one before.
    Budget and default variant count are not part of it: they say nothing about a message.
    """
    settings = {
        name: value
        for name in ("tone", "language", "custom_instructions")
        if (value := getattr(generation_config, name)) is not None
    }
    return JsonObject(
        {**settings, **generation_config.extra, **(step.config or EMPTY), **(override or EMPTY)}
    )
