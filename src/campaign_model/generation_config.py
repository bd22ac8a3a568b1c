"""The settings of a campaign's generation (``generation_config``), and their merge for one step."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs

from campaign_model._json import EMPTY, JsonObject, json_object
from campaign_model._values import MONEY_DECIMALS, MONEY_LIMIT, MONEY_PATTERN, is_money, money
from campaign_model.fields import DocumentFields
from campaign_model.steps import MAX_VARIANTS, Step

MAX_INSTRUCTIONS = 10_000
MAX_TONE_TEXT = 200
"""The most characters of a tone. The tones of a vocabulary are shorter; other services describe a
tone in a sentence."""

LANGUAGE_PATTERN = r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}"
"""The shape of a language tag (BCP 47), such as ``en`` or ``pt-BR``; the whole tag must match."""


def _budget(value: Decimal | int | None) -> Any:
    return money(value) if value is not None and is_money(value) else value


@attrs.frozen
class GenerationConfig:
    """How to generate a campaign's messages, and the most that they may cost.

    ``budget`` is in the host's currency; on the wire it is a decimal string.
    ``default_variant_count`` is the number of variants that an editor gives a new step.
    ``extra`` keeps the unknown fields of a stored document. A document does not contain a field
    that is ``None``. Raises :class:`InvalidDocument` naming every wrong field.
    """

    tone: str | None = attrs.field(
        default=None, metadata={"minLength": 1, "maxLength": MAX_TONE_TEXT}
    )
    language: str | None = attrs.field(
        default=None,
        metadata={
            "description": "a language tag such as en or pt-BR: 2 to 8 letters, then at most "
            "three parts of 1 to 8 letters or digits, each after a -",
            "pattern": f"^{LANGUAGE_PATTERN}$",
        },
    )
    custom_instructions: str | None = attrs.field(
        default=None, metadata={"maxLength": MAX_INSTRUCTIONS}
    )
    default_variant_count: int | None = attrs.field(
        default=None, metadata={"minimum": 1, "maximum": MAX_VARIANTS}
    )
    budget: Decimal | None = attrs.field(
        default=None,
        converter=_budget,
        metadata={
            "description": f'an amount in quotes and plain digits such as "25.00", below '
            f"{MONEY_LIMIT} and with at most {MONEY_DECIMALS} decimals",
            "pattern": f"^{MONEY_PATTERN}$",
        },
    )
    extra: JsonObject = attrs.field(default=EMPTY, converter=json_object)

    def __attrs_post_init__(self) -> None:
        GENERATION_FIELDS.check(self)


GENERATION_FIELDS = DocumentFields(GenerationConfig, "generation_config", depth=1)


def effective_config(
    generation_config: GenerationConfig, step: Step, override: Mapping[str, Any] | None = None
) -> JsonObject:
    """Merge the settings that an engine uses for one step.

    The step's ``config`` takes precedence over the campaign's settings, and ``override`` over
    both. The result has neither budget nor default variant count: they do not describe a message.
    """
    settings = {
        name: value
        for name in ("tone", "language", "custom_instructions")
        if (value := getattr(generation_config, name)) is not None
    }
    return JsonObject(
        {**settings, **generation_config.extra, **(step.config or EMPTY), **(override or EMPTY)}
    )
