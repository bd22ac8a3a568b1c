"""The parts of a document that the submitted form restricts.

A *restricted part* is a channel or tone that the vocabulary does not know, an unknown field whose
name does not begin with ``x_``, or the absence of all steps. A stored document may have it. A
submitted document may have it only if it is unchanged from ``previous``, the value that the
caller was given before: then the step with the same key has the same word or field.

:func:`restricted_parts` finds these parts, :func:`is_unchanged` judges each of them. Parsing, the
explanation of refusals and the store's ``save`` share both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from campaign_model._json import EMPTY, Tokens, same_member
from campaign_model.campaign import CampaignTemplate
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence, effective_key
from campaign_model.vocabulary import Vocabulary

__all__ = ["PARTS", "Previous", "is_unchanged", "restricted_parts"]

Previous = StepSequence | GenerationConfig | CampaignTemplate | None

PARTS = {"template_config": "steps", "generation_config": "generation_config"}
"""The kinds of document within a campaign template, and the field of each."""


def restricted_parts(value: Any, vocabulary: Vocabulary) -> Iterator[tuple[str, Tokens]]:
    """Yield the code of its violation and the place of every restricted part of ``value``."""
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
    else:
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
