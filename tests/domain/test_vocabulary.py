"""The words of a codec: open, but each of them usable."""

from __future__ import annotations

import importlib.metadata

import pytest

import campaign_model
from campaign_model.vocabulary import MAX_TONE, STANDARD, Channel, Vocabulary


def test_a_word_is_added_to_a_copy() -> None:
    more = STANDARD.with_channel(Channel("fax", max_length=10)).with_tone("terse")
    assert more.channel("fax") == Channel("fax", max_length=10)
    assert more.tones[-1] == "terse"
    assert STANDARD.channel("fax") is None
    assert "terse" not in STANDARD.tones


def test_a_namesake_takes_the_place_of_what_was_known() -> None:
    more = STANDARD.with_channel(Channel("email", max_length=10)).with_tone("casual")
    assert more.channel("email") == Channel("email", max_length=10)
    assert len(more.channels) == len(STANDARD.channels)
    assert more.tones == STANDARD.tones


@pytest.mark.parametrize("name", ["", "Fax", "1fax", "a b", "a" * 41, "fax\n", "fäx"])
def test_a_channel_s_name_fits_every_database(name: str) -> None:
    with pytest.raises(ValueError, match="channel's name"):
        Channel(name)


@pytest.mark.parametrize("tone", ["", "t" * (MAX_TONE + 1), "a\0", "\ud800", 5])
def test_a_tone_is_text_of_some_length(tone: str) -> None:
    with pytest.raises(ValueError, match="tone's name"):
        STANDARD.with_tone(tone)


def test_a_vocabulary_has_words_and_each_of_them_once() -> None:
    fax = Channel("fax")
    for channels, tones in (
        ((), ("terse",)),
        ((fax,), ()),
        ((fax, Channel("fax", max_length=1)), ("terse",)),
        ((fax,), ("terse", "terse")),
    ):
        with pytest.raises(ValueError, match="each of them once"):
            Vocabulary(channels, tones)


def test_the_package_knows_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"campaign-model": "1.2.3"}.__getitem__)
    assert campaign_model.__version__ == "1.2.3"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        campaign_model.nothing  # type: ignore[attr-defined]  # noqa: B018
