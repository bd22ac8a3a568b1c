"""Vocabularies: channels and tones can be added, and every word is usable."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest

import campaign_model
from campaign_model.vocabulary import MAX_TONE, STANDARD, Channel, Vocabulary

SMS = Channel("sms", max_length=160, requires=("phone",))


def test_the_standard_channels_and_their_limits() -> None:
    assert [
        (channel.name, channel.max_length, channel.has_subject, channel.requires)
        for channel in STANDARD.channels
    ] == [
        ("linkedin_connect", 300, False, ("linkedin_url",)),
        ("linkedin_message", 2000, False, ("linkedin_url",)),
        ("email", 5000, True, ("email_address",)),
        ("call_script", 2000, False, ("phone",)),
    ]
    assert {"professional", "casual"} <= set(STANDARD.tones)


def test_a_word_is_added_to_a_new_vocabulary() -> None:
    before = Vocabulary(STANDARD.channels, STANDARD.tones)
    more = STANDARD.with_channel(SMS).with_tone("terse")
    assert more.channel("sms") == SMS
    assert more.channels == (*STANDARD.channels, SMS)
    assert more.tones == (*STANDARD.tones, "terse")
    assert before == STANDARD
    assert STANDARD.channel("sms") is None


def test_a_word_replaces_the_known_word_of_the_same_name() -> None:
    email = Channel("email", max_length=None, has_subject=True)
    more = STANDARD.with_channel(email)
    assert more.channel("email") == email
    assert len(more.channels) == len(STANDARD.channels)
    assert STANDARD.with_tone("casual") == STANDARD


@pytest.mark.parametrize(
    "name", ["", "Sms", "e-mail", "2sms", "_a", "a b", "a" * 41, "sms\n", "smś"]
)
def test_a_channel_with_a_name_of_another_shape_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name is a channel's name: a letter a-z"):
        Channel(name)
    assert Channel("a" * 40).name == "a" * 40


@pytest.mark.parametrize("tone", ["", "t" * (MAX_TONE + 1), "a\0", "\ud800", 5])
def test_a_tone_that_is_not_text_of_1_to_40_characters_is_refused(tone: str) -> None:
    with pytest.raises(ValueError, match="tone's name"):
        STANDARD.with_tone(tone)
    assert STANDARD.with_tone("t" * MAX_TONE).tones[-1] == "t" * MAX_TONE


@pytest.mark.parametrize(
    ("channels", "tones"),
    [
        pytest.param((), ("casual",), id="no-channel"),
        pytest.param((SMS, Channel("sms", 1)), ("casual",), id="channel-twice"),
        pytest.param((SMS,), (), id="no-tone"),
        pytest.param((SMS,), ("casual", "casual"), id="tone-twice"),
    ],
)
def test_a_vocabulary_without_words_or_with_a_word_twice_is_refused(
    channels: Any, tones: Any
) -> None:
    with pytest.raises(ValueError, match="each only once"):
        Vocabulary(channels, tones)


def test_the_package_knows_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"campaign-model": "1.2.3"}.__getitem__)
    assert campaign_model.__version__ == "1.2.3"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        campaign_model.nothing  # type: ignore[attr-defined]  # noqa: B018
