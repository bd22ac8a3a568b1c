"""Refusing channels and tones that nobody knows before they reach the database.

A type cannot do this: which words are real is the codec's knowledge. Words that stand in the row
already are left alone, so that a campaign with an old channel can still be renamed.
"""

from __future__ import annotations

from campaign_model.errors import InvalidDocument, Violation
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence
from campaign_model.wire import Codec

__all__ = ["check"]


def check(
    codec: Codec,
    steps: StepSequence,
    config: GenerationConfig,
    known: tuple[StepSequence | None, GenerationConfig | None] = (None, None),
) -> None:
    """Raise :class:`InvalidDocument` for a channel or tone that nobody knows.

    Known are those of the codec's vocabulary and those in ``known``, what the row held before.
    """
    old_steps, old_config = known
    channels = {channel.name for channel in codec.vocabulary.channels}
    channels |= {step.channel for step in old_steps or ()}
    strange = [f"/{i}/channel" for i, step in enumerate(steps) if step.channel not in channels]
    if strange:
        _refuse(codec, "template_config", codec.dump_template_config(steps), strange)
    tones = {None, *codec.vocabulary.tones, old_config.tone if old_config else None}
    if config.tone not in tones:
        _refuse(codec, "generation_config", codec.dump_generation_config(config), ["/tone"])


def _refuse(codec: Codec, name: str, document: object, paths: list[str]) -> None:
    faults: tuple[Violation, ...] = tuple(
        fault for fault in codec.violations(document, name) if fault.path in paths
    )
    raise InvalidDocument(name, faults)
