"""Channels, conditions and tones: the words a document may use, and each channel's limits."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import attrs

from campaign_model._json import fault_in

__all__ = [
    "CHANNEL_PATTERN",
    "MAX_IDENTIFIER",
    "MAX_TONE",
    "STANDARD",
    "Channel",
    "Condition",
    "Vocabulary",
]

MAX_IDENTIFIER = 40
"""Characters of a channel's name, and of a step's key."""

CHANNEL_PATTERN = rf"[a-z][a-z0-9_]{{0,{MAX_IDENTIFIER - 1}}}"
"""What any channel's name looks like, known or not; the whole name has to match."""

MAX_TONE = 40
"""Characters of a tone's name."""


class Condition(StrEnum):
    """When a step goes out, given what the contact did so far."""

    ALWAYS = "always"
    NO_RESPONSE = "no_response"
    OPENED_NOT_REPLIED = "opened_not_replied"


def _channel_name(_instance: object, _attribute: object, name: str) -> None:
    if not re.fullmatch(CHANNEL_PATTERN, name):
        raise ValueError(
            f"a channel's name is lower-case letters, digits and _, at most {MAX_IDENTIFIER}: "
            f"not {name!r}"
        )


@attrs.frozen
class Channel:
    """A way to reach a contact.

    ``max_length`` counts characters of the message body, ``None`` for no limit; ``requires``
    names the contact's fields without which nothing can be sent, such as ``email_address``.
    Raises ``ValueError`` for a name that breaks :data:`CHANNEL_PATTERN`.
    """

    name: str = attrs.field(validator=_channel_name)
    max_length: int | None = None
    has_subject: bool = False
    requires: tuple[str, ...] = ()


def _some_of_each_name(_instance: object, attribute: Any, words: tuple[Any, ...]) -> None:
    names = [word.name if isinstance(word, Channel) else word for word in words]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a vocabulary needs {attribute.name}, each of them once: {names}")


def _tone_names(_instance: object, _attribute: object, tones: tuple[str, ...]) -> None:
    for tone in tones:
        if not (type(tone) is str and 0 < len(tone) <= MAX_TONE) or fault_in(tone):
            raise ValueError(f"a tone's name is text of 1 to {MAX_TONE} characters, not {tone!r}")


@attrs.frozen
class Vocabulary:
    """The channels and tones a service knows. Immutable; there is no global registry.

    Raises ``ValueError`` for none of them, for two of one name, and for a tone that is no text of
    1 to 40 characters.
    """

    channels: tuple[Channel, ...] = attrs.field(validator=_some_of_each_name)
    tones: tuple[str, ...] = attrs.field(validator=[_tone_names, _some_of_each_name])

    def with_channel(self, channel: Channel) -> Vocabulary:
        """This vocabulary with ``channel`` added, or put in the place of its namesake."""
        others = tuple(known for known in self.channels if known.name != channel.name)
        return attrs.evolve(self, channels=(*others, channel))

    def with_tone(self, tone: str) -> Vocabulary:
        """This vocabulary with ``tone`` added."""
        return attrs.evolve(self, tones=tuple(dict.fromkeys((*self.tones, tone))))

    def channel(self, name: str) -> Channel | None:
        """The channel of that name, or ``None`` if this vocabulary does not know it."""
        return next((channel for channel in self.channels if channel.name == name), None)


STANDARD = Vocabulary(
    channels=(
        Channel("linkedin_connect", max_length=300, requires=("linkedin_url",)),
        Channel("linkedin_message", max_length=2000, requires=("linkedin_url",)),
        Channel("email", max_length=5000, has_subject=True, requires=("email_address",)),
        Channel("call_script", max_length=2000, requires=("phone",)),
    ),
    tones=(
        "professional",
        "casual",
        "friendly",
        "formal",
        "conversational",
        "enthusiastic",
        "direct",
    ),
)
"""The channels and tones of the default codec."""
