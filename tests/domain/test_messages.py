"""The messages of violations: they name the place, the value and what is allowed, and are short."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from campaign_model._json import MAX_DEPTH
from campaign_model.errors import InvalidDocument
from campaign_model.steps import StepSequence
from campaign_model.vocabulary import STANDARD, Channel, Vocabulary
from campaign_model.wire import DEFAULT, Codec
from support.corpus import Fixture, fixtures, published, violations
from support.paths import SCHEMAS
from support.sample_documents import a_step, a_template

LONGEST_MESSAGE = 1000


def shortened(value: Any) -> str:
    return repr(value)[:77]


def description(value: Any) -> str:
    """Return the words for a value of the wrong type."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return shortened(value)


def allowed(part: dict[str, Any]) -> list[str]:
    """Return what a message must name of the schema of its place."""
    if "description" in part:
        return [part["description"]]
    json_type = part["type"] if isinstance(part["type"], str) else part["type"][0]
    words = {"boolean": ["true", "false"], "object": ["an object"]}.get(json_type, [])
    limits = [str(value) for word, value in part.items() if word.startswith(("min", "max"))]
    return [*limits, *words_of(part), *words]


def words_of(part: dict[str, Any]) -> list[str]:
    """Return the words that a schema allows, without null."""
    return [word for word in part.get("enum", ()) if word is not None]


# What the message of each code names, given the value and the schema of its place.
Names = Callable[[Any, dict[str, Any]], list[str]]
NAMES: dict[str, Names] = {
    "wrong_type": lambda value, part: [description(value), *allowed(part)],
    "required": lambda _, part: ["is missing", *allowed(part)],
    "unknown_value": lambda value, part: [shortened(value), *words_of(part)],
    "bad_pattern": lambda value, part: [shortened(value), *allowed(part)],
    "too_short": lambda value, part: [f"{len(value)} characters", *allowed(part)],
    "too_long": lambda value, part: [f"{len(value)} characters", *allowed(part)],
    "too_small": lambda value, part: [str(value), *allowed(part)],
    "too_large": lambda value, part: [str(value), *allowed(part)],
    "too_few_items": lambda value, part: [f"{len(value)} steps", *allowed(part)],
    "too_many_items": lambda value, part: [f"{len(value)} steps", *allowed(part)],
    "unknown_field": lambda _, part: [*(part["properties"].keys() - {"$schema"})],
    "wrong_position": lambda value, _: [str(value), "from 1 in order"],
    "duplicate_key": lambda value, _: [repr(value) if value else "'s", "use another key"],
    "decreasing_day_offset": lambda value, _: [f"day {value}", "use a later day"],
    "duplicate_member": lambda *_: ["more than once", "keep only one"],
    "invalid_text": lambda *_: ["contains", "remove it"],
    "not_json": lambda *_: ["JSON"],
    "number_too_large": lambda *_: ["larger than any double", "smaller number, or text"],
    "number_too_precise": lambda value, _: [str(value), "fewer digits, or text"],
    "too_deep": lambda *_: [f"deeper than {MAX_DEPTH} levels"],
}


def resolved(document: Any, path: str) -> Any:
    for token in path.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document.get(name)
    return document


def schema_at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the schema of the value at ``path``, or ``{}`` if there is none."""
    for token in path.split("/")[1:]:
        members = schema.get("properties", {})
        schema = schema.get("items", {}) if token.isdigit() else members.get(token, {})
        schema = schema["anyOf"][0] if "anyOf" in schema else schema
        schema = published()[schema["$ref"]] if "$ref" in schema else schema
    return schema


@pytest.mark.parametrize("fixture", fixtures("invalid"), ids=lambda fixture: fixture.name)
def test_a_message_names_the_place_the_value_and_what_is_allowed(fixture: Fixture) -> None:
    schema = published()[fixture.schema]
    for violation in violations(fixture, fixture.text) if fixture.is_in_use else ():
        place, _, text = violation.message.partition(": ")
        parent, _, token = violation.path.rpartition("/")
        if violation.path in ("", "/steps", "/generation_config"):
            name = token or fixture.kind
            assert place == {"template_config": "steps"}.get(name, name)
        else:
            assert place.endswith(f"[{token}]" if token.isdigit() else (f"{token}", "']")), place
        try:
            value = resolved(fixture.document, violation.path)
        except ValueError:
            value = None
        part = schema_at(schema, parent if violation.code == "unknown_field" else violation.path)
        for word in NAMES[violation.code](value, part):
            assert word in text, violation
        if violation.code == "unknown_field":
            assert repr(violation.path.split("/")[-1].replace("~1", "/").replace("~0", "~")) in text
        assert violation.message.isprintable()
        assert len(violation.message) < LONGEST_MESSAGE


def test_every_code_has_a_fixture_and_a_line_in_the_readme() -> None:
    assert {code for fixture in fixtures("invalid") for _, code in fixture.violations} == set(NAMES)
    readme = (SCHEMAS / "README.md").read_text(encoding="utf-8")
    lines = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `")]
    # Fixtures of these codes would be very large.
    of_size = {"too_many_members", "too_many_bytes", "more_violations"}
    assert set(re.findall(r"`(\w+)`", " ".join(lines))) == set(NAMES) | of_size


MEANT: dict[str, dict[str, tuple[str, ...]]] = {
    "channel": {
        "email": ("emial", "Email", "e-mail", "email "),
        "linkedin_connect": ("linkedin-connect", "linkedin connect", "LinkedInConnect"),
        "linkedin_message": ("linkedin_mesage", "linkedin-message"),
        "call_script": ("callscript", "call-script", "CALL_SCRIPT"),
    },
    "condition": {
        "always": ("allways", "ALWAYS"),
        "no_response": ("no response", "No-Response", "noresponse"),
        "opened_not_replied": ("opened-not-replied", "opened_no_reply"),
    },
    "tone": {
        "professional": ("proffesional",),
        "casual": ("Casual",),
        "friendly": ("freindly",),
        "enthusiastic": ("enthousiastic",),
    },
    "field": {
        "step": ("stepp", "Step"),
        "channel": ("chanel",),
        "label": ("Label", "lable", "labels"),
        "enabled": ("enable", "isEnabled"),
        "needs_pdf": ("needsPdf", "need_pdf"),
        "variant_count": ("variants", "variantCount", "variant-count"),
        "key": ("keys",),
        "day_offset": ("day-offset", "dayOffset", "offset"),
        "condition": ("conditions",),
        "config": ("configs",),
        "x_crm": ("x-crm", "X_crm"),
    },
}


@pytest.mark.parametrize(
    ("what", "meant", "word"),
    [
        (what, meant, word)
        for what, words in MEANT.items()
        for meant, misspelt in words.items()
        for word in misspelt
    ],
)
def test_the_message_for_a_misspelt_word_suggests_the_right_one(
    what: str, meant: str, word: str
) -> None:
    if what == "tone":
        (fault,) = DEFAULT.violations({"tone": word}, "generation_config")
    else:
        change: dict[str, Any] = {word: 1} if what == "field" else {what: word}
        (fault,) = DEFAULT.violations([a_step(**change)])
    assert f" is not a known {what} (did you mean '{meant}'?); use one of " in fault.message


@pytest.mark.parametrize("word", ["sms", "", "zzz", "\u2603" * 200])
def test_the_message_for_a_word_unlike_any_known_one_lists_all_known_words(word: str) -> None:
    (fault,) = DEFAULT.violations([a_step(channel=word)])
    assert "did you mean" not in fault.message
    assert all(repr(channel.name) in fault.message for channel in STANDARD.channels)


LONG = "z" * 1_000_000


def test_a_message_about_a_large_value_is_short() -> None:
    large: list[dict[str, Any]] = [
        *({name: LONG} for name in ("step", "channel", "label", "enabled", "key", "condition")),
        {LONG: 1},
        {f"x_{LONG}": "\0"},
        {f"x_{LONG}\0": 1},
        {"config": {LONG: {LONG: ["\ud800"]}}},
        {"step": 2**1000},
        {"day_offset": 10**5000},
        {"config": {"n": 2**1000 + 1}},
    ]
    for change in large:
        (fault,) = DEFAULT.violations([a_step(**change)])
        assert len(fault.message) < LONGEST_MESSAGE, list(change)


def test_a_message_about_a_deep_value_is_short() -> None:
    deep: Any = "\0"
    for _ in range(MAX_DEPTH - 4):
        deep = {"n" * 80: deep}
    (fault,) = DEFAULT.violations([a_step(config=deep)])
    assert fault.code == "invalid_text"
    assert len(fault.message) < LONGEST_MESSAGE


def test_an_error_with_many_violations_has_a_short_text() -> None:
    document = [a_step(**{f"field_{number}": 1 for number in range(5000)})]
    with pytest.raises(InvalidDocument) as refused:
        DEFAULT.parse_template_config(json.dumps(document))
    assert len(refused.value.violations) == 101
    assert len(str(refused.value)) < 20 * LONGEST_MESSAGE
    assert str(refused.value).endswith("; and 80 more; steps: and 4,900 more violations")


def test_a_message_that_lists_many_known_words_is_short() -> None:
    channels = tuple(Channel(f"channel_{number}") for number in range(5000))
    codec = Codec(Vocabulary(channels, STANDARD.tones))
    (fault,) = codec.violations([a_step(channel="fax")])
    assert fault.message.endswith("'channel_19', and 4980 more")


class TestFieldsOfAnotherProgram:
    """Messages for unknown fields that a browser was given and did not send back unchanged."""

    previous = DEFAULT.recover_template_config(
        [a_step(1), a_step(2, note=1), a_step(3, key="last", note=1)]
    ).value

    def message(self, steps: list[dict[str, Any]], previous: StepSequence) -> str:
        (fault,) = DEFAULT.violations(steps, previous=previous)
        (within,) = DEFAULT.violations(
            a_template(steps=steps),
            "campaign_template",
            previous=DEFAULT.recover_campaign_template(
                a_template(steps=DEFAULT.dump_template_config(previous))
            ).value,
        )
        assert (within.path, within.message) == (f"/steps{fault.path}", fault.message)
        return fault.message

    def test_the_message_for_a_step_moved_without_its_key_names_the_key(self) -> None:
        assert self.message([a_step(1, note=1), a_step(2)], self.previous) == (
            "steps[0].note: belongs to another program and to the step with the key "
            "'s2' or 'last'; send it back unchanged, in a step with that key"
        )

    def test_the_message_for_a_changed_field_says_to_send_it_back_unchanged(self) -> None:
        assert "send it back unchanged" in self.message(
            [a_step(1), a_step(2, note=2)], self.previous
        )

    def test_the_message_for_a_new_unknown_field_lists_the_known_fields(self) -> None:
        assert "use one of" in self.message([a_step(1, note2=2)], self.previous)

    def test_the_message_for_a_changed_setting_says_to_send_it_back_unchanged(self) -> None:
        previous = DEFAULT.recover_generation_config({"model": 1}).value
        (fault,) = DEFAULT.violations({"model": 2}, "generation_config", previous=previous)
        assert fault.message == (
            "generation_config.model: belongs to another program; send it back unchanged"
        )
