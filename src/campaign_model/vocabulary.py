"""The words of documents: channels, conditions and tones, and the limits of each channel.

Conditions are fixed. A :class:`Vocabulary` holds the channels and tones that a service knows.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import attrs

from campaign_model._json import text_fault
from campaign_model.errors import InvalidArgument, short_repr

MAX_IDENTIFIER = 40
"""The most characters of a channel's name, and of a step's key."""

CHANNEL_PATTERN = rf"[a-z][a-z0-9_]{{0,{MAX_IDENTIFIER - 1}}}"
"""The shape of a channel's name, known or not; the whole name must match."""

CHANNEL_LIMITS = {
    "description": "a channel's name: a letter a-z, then a-z, 0-9 or _, "
    f"at most {MAX_IDENTIFIER} characters",
    "pattern": f"^{CHANNEL_PATTERN}$",
}
"""The keywords of JSON Schema for a channel's name."""

MAX_TONE = 40
"""The most characters of a tone's name."""


class Condition(StrEnum):
    """When to send a step, depending on what the contact did before."""

    ALWAYS = "always"
    NO_RESPONSE = "no_response"
    OPENED_NOT_REPLIED = "opened_not_replied"


def _is_channel_name(_instance: object, attribute: Any, value: Any) -> None:
    if type(value) is not str or not re.fullmatch(CHANNEL_PATTERN, value):
        message = f"{attribute.name} is {CHANNEL_LIMITS['description']}, not {short_repr(value)}"
        raise InvalidArgument(attribute.name, message)


@attrs.frozen
class Channel:
    """A way to reach a contact.

    ``max_length`` is the most characters of a message body, ``None`` for no limit. ``requires``
    names the fields that a contact must have, such as ``email_address``.
    Raises :class:`InvalidArgument` for a name that does not match :data:`CHANNEL_PATTERN`.
    """

    name: str = attrs.field(validator=_is_channel_name)
    max_length: int | None = None
    has_subject: bool = False
    requires: tuple[str, ...] = ()


def _channel_values(_instance: object, _attribute: object, channels: tuple[Any, ...]) -> None:
    if not {Channel}.issuperset(map(type, channels)):
        raise TypeError("the channels of a vocabulary are values of the type Channel")


def _unique_names(_instance: object, attribute: Any, words: tuple[Any, ...]) -> None:
    names = [word.name if isinstance(word, Channel) else word for word in words]
    if not names or len(set(names)) < len(names):
        message = f"a vocabulary needs {attribute.name}, each only once, not {short_repr(names)}"
        raise InvalidArgument(attribute.name, message)


def _tone_names(_instance: object, attribute: Any, tones: tuple[str, ...]) -> None:
    for tone in tones:
        if not (type(tone) is str and 0 < len(tone) <= MAX_TONE) or text_fault(tone):
            message = f"a tone's name is text of 1 to {MAX_TONE} characters, not {short_repr(tone)}"
            raise InvalidArgument(attribute.name, message)


@attrs.frozen
class Vocabulary:
    """The channels and tones that a service knows. Immutable; there is no global registry.

    Raises :class:`InvalidArgument` if there are no channels or no tones, if two have the same name,
    and for a tone that is not text of 1 to 40 characters. Raises ``TypeError`` for other channels
    than values of the type :class:`Channel`.
    """

    channels: tuple[Channel, ...] = attrs.field(validator=[_channel_values, _unique_names])
    tones: tuple[str, ...] = attrs.field(validator=[_tone_names, _unique_names])

    def with_channel(self, channel: Channel) -> Vocabulary:
        """Return a vocabulary with ``channel`` added, or replacing the one of the same name."""
        others = tuple(known for known in self.channels if known.name != channel.name)
        return attrs.evolve(self, channels=(*others, channel))

    def with_tone(self, tone: str) -> Vocabulary:
        """Return a vocabulary with ``tone`` added."""
        return attrs.evolve(self, tones=tuple(dict.fromkeys((*self.tones, tone))))

    def channel(self, name: str) -> Channel | None:
        """Return the channel of that name, or ``None`` if this vocabulary does not know it."""
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
