"""What the submitted form refuses although a stored document may have it.

These are channels and tones that the vocabulary does not know, unknown fields whose names do not
begin with ``x_``, and a document without steps. There is one exception: a caller may send back
what it was given before. ``previous`` is that value, and a word or field *came back* if it stands
unchanged in the same step (the one with the same key) of ``previous``.

:func:`novelties` finds these things in a value, :func:`came_back` judges each of them. Parsing,
the explanation of refusals and the store's ``save`` share both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from campaign_model._json import EMPTY, Tokens, same_member
from campaign_model.campaign import CampaignTemplate
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence, effective_key
from campaign_model.vocabulary import Vocabulary

__all__ = ["PARTS", "Novelty", "Previous", "came_back", "novelties"]

Novelty = tuple[str, Tokens]
"""The code of a violation, and its place."""

Previous = StepSequence | GenerationConfig | CampaignTemplate | None

PARTS = {"template_config": "steps", "generation_config": "generation_config"}
"""The kinds of document within a campaign template, and the attribute of each."""


def novelties(value: Any, vocabulary: Vocabulary) -> Iterator[Novelty]:
    """Yield everything in ``value`` that a submitted document may have only if it came back."""
    if isinstance(value, CampaignTemplate):
        for part in PARTS.values():
            for code, tokens in novelties(getattr(value, part), vocabulary):
                yield code, (part, *tokens)
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


def came_back(novelty: Novelty, document: Any, previous: Previous) -> bool:
    """Return True if ``previous`` has the same at the same place, in the step with the same key."""
    code, tokens = novelty
    if previous is None:
        return False
    if code == "too_few_items":
        return not (previous.steps if isinstance(previous, CampaignTemplate) else previous)
    before: Any = previous
    *parents, name = tokens
    for token in parents:
        document = document[token]
        if isinstance(before, CampaignTemplate):
            before = getattr(before, str(token))
        elif isinstance(before, StepSequence):
            assert isinstance(token, int)
            key = effective_key(document.get("key"), token)
            before = before.by_key(key) if key in before.keys else None
    if code == "unknown_value":
        return bool(getattr(before, str(name), None) == document[name])
    return same_member(getattr(before, "extra", EMPTY), str(name), document[name])
