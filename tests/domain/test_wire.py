"""Reading and writing documents; and that a document is refused exactly if it has violations."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_model import clear_caches, validation, wire
from campaign_model._json import MAX_DEPTH, JsonObject, canonical, decode
from campaign_model.campaign import Campaign, CampaignTemplate, Repair
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.generation_config import GENERATION_FIELDS, GenerationConfig
from campaign_model.steps import STEP_FIELDS, Step, StepSequence
from campaign_model.testing.documents import KINDS, any_document, changed, valid
from campaign_model.testing.strategies import json_objects, step_sequences
from campaign_model.vocabulary import STANDARD, Channel, Condition
from campaign_model.wire import DEFAULT, Codec, Recovered
from support.paths import DOCS
from support.sample_documents import a_step, a_template, keeps_every_field
from support.strategies import copies

PARSE: dict[str, Callable[..., Any]] = {
    "template_config": DEFAULT.parse_template_config,
    "generation_config": DEFAULT.parse_generation_config,
    "campaign_template": DEFAULT.parse_campaign_template,
}
RECOVER: dict[str, Callable[[Any], Recovered[Any]]] = {
    "template_config": DEFAULT.recover_template_config,
    "generation_config": DEFAULT.recover_generation_config,
    "campaign_template": DEFAULT.recover_campaign_template,
}
DUMP: dict[str, Callable[[Any], Any]] = {
    "template_config": DEFAULT.dump_template_config,
    "generation_config": DEFAULT.dump_generation_config,
    "campaign_template": DEFAULT.dump_campaign_template,
}
FAX = Codec(STANDARD.with_channel(Channel("fax")).with_tone("terse"))

every_kind = pytest.mark.parametrize("kind", KINDS)


def refusal(read: Callable[..., Any], document: Any, **options: Any) -> tuple[Violation, ...]:
    """Return the violations that ``read`` refuses a document for; none if it accepts it."""
    try:
        read(document, **options)
    except InvalidDocument as error:
        return error.violations
    return ()


def codes(read: Callable[..., Any], document: Any, **options: Any) -> list[tuple[str, str]]:
    return [(fault.path, fault.code) for fault in refusal(read, document, **options)]


@every_kind
@settings(max_examples=50)
@given(data=st.data())
def test_a_submitted_document_is_refused_exactly_for_its_violations(
    kind: str, data: st.DataObject
) -> None:
    document = data.draw(any_document(kind))
    text = json.dumps(document)
    assert refusal(PARSE[kind], text) == DEFAULT.violations(text, kind)
    if not isinstance(document, str):
        assert refusal(PARSE[kind], document) == DEFAULT.violations(document, kind)


@every_kind
@settings(max_examples=50)
@given(data=st.data())
def test_a_stored_document_is_refused_exactly_for_its_violations(
    kind: str, data: st.DataObject
) -> None:
    document = data.draw(any_document(kind))
    text = json.dumps(document)
    if data.draw(st.booleans()):
        text = json.dumps(text)
    assert refusal(RECOVER[kind], text) == DEFAULT.stored_violations(text, kind)
    if not isinstance(document, str):
        assert refusal(RECOVER[kind], document) == DEFAULT.stored_violations(document, kind)


@every_kind
@settings(max_examples=50)
@given(data=st.data())
def test_a_document_sent_back_by_a_caller_is_refused_exactly_for_its_violations(
    kind: str, data: st.DataObject
) -> None:
    stored = data.draw(valid(kind, "stored"))
    previous = RECOVER[kind](stored).value
    document = data.draw(st.just(DUMP[kind](previous)) | changed(st.just(DUMP[kind](previous))))
    if not isinstance(document, str):
        assert refusal(PARSE[kind], document, previous=previous) == DEFAULT.violations(
            document, kind, previous=previous
        )


@every_kind
@settings(max_examples=50)
@given(data=st.data())
def test_dumping_a_parsed_value_gives_the_document(kind: str, data: st.DataObject) -> None:
    document = data.draw(valid(kind, "submitted"))
    before = copy.deepcopy(document)
    value = PARSE[kind](document)
    assert canonical(DUMP[kind](value)) == canonical(document)
    assert document == before
    assert PARSE[kind](json.dumps(document)) == value
    assert hash(PARSE[kind](DUMP[kind](value))) == hash(value)
    assert RECOVER[kind](document) == Recovered(value, ())


@every_kind
@settings(max_examples=50)
@given(data=st.data())
def test_dumping_a_recovered_value_loses_no_field(kind: str, data: st.DataObject) -> None:
    document = data.draw(valid(kind, "stored"))
    recovered = RECOVER[kind](json.dumps(document))
    dumped = DUMP[kind](recovered.value)
    assert keeps_every_field(document, dumped)
    assert (canonical(document) == canonical(dumped)) == (recovered.repairs == ())
    assert RECOVER[kind](dumped) == Recovered(recovered.value, ())


ODD: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 4, 6, 7, 8, 365, 366, 1.0, 2.0, 2**53, 2**53 + 1),
    *("", "x", "X", "s1", "s2", "k", "always", Condition.ALWAYS, "email", "e-mail", "email\n"),
    *("a" * 40, "a" * 41, "a" * 200, "a" * 201, "\u00e9", "\0", "\ud800"),
    *([], [1], {}, JsonObject(), {"a": 1, "b": "b", "c": None, "d": False}, {"a": {}}, {"a": []}),
    *({"a": 1.0}, {"a": 2**53 + 1}, {"a": -(2**53) - 1}, {"a": "\0"}, {"\ud800": 1}, {1: 1}),
]


@pytest.mark.parametrize("field", [*STEP_FIELDS, "x_other"])
def test_an_odd_value_in_any_step_is_refused_exactly_if_it_has_violations(field: str) -> None:
    others = {"key": "k", "day_offset": 7, "condition": "no_response", "config": {"tone": "casual"}}
    steps = [a_step(1, **others), a_step(2), a_step(3, **others | {"key": "l"})]
    assert DEFAULT.parse_template_config(steps)
    for index in range(3):
        for odd in ODD:
            document = copy.deepcopy(steps)
            document[index][field] = odd
            assert refusal(PARSE["template_config"], document) == DEFAULT.violations(document), odd
        document = copy.deepcopy(steps)
        document[index].pop(field, None)
        assert refusal(PARSE["template_config"], document) == DEFAULT.violations(document)


def test_a_value_does_not_change_when_its_document_is_changed() -> None:
    config = {"tone": "casual"}
    steps = RECOVER["template_config"]([a_step(config=config)]).value
    config["tone"] = "formal"
    assert steps[0].config == JsonObject({"tone": "casual"})


@given(step_sequences())
def test_any_steps_can_be_dumped_and_recovered(sequence: StepSequence) -> None:
    dumped = DEFAULT.dump_template_config(sequence)
    assert DEFAULT.recover_template_config(json.dumps(dumped)) == Recovered(sequence, ())


@given(
    st.builds(
        GenerationConfig,
        tone=st.sampled_from([None, "casual", "gruff"]),
        language=st.sampled_from([None, "de-CH"]),
        budget=st.none()
        | st.decimals(0, 999_999_999, places=9)
        | st.sampled_from(
            [Decimal(text) for text in ("-0", "0E+5", "1E+3", "1E-9", "2.50000000000", "0E-20")]
        ),
        extra=json_objects(),
    )
)
def test_any_settings_can_be_dumped_and_recovered(config: GenerationConfig) -> None:
    dumped = DEFAULT.dump_generation_config(config)
    assert DEFAULT.recover_generation_config(json.dumps(dumped)) == Recovered(config, ())


def test_a_dumped_document_is_plain_json_that_may_be_changed() -> None:
    value = DEFAULT.parse_campaign_template(
        a_template(steps=[a_step(condition="always", config={"a": [{}]}, x_b={"c": [1]})])
    )
    first, second = (DEFAULT.dump_campaign_template(value) for _ in range(2))
    assert type(first["steps"][0]["condition"]) is str
    first["steps"][0]["config"]["a"].append(1)
    first["steps"][0]["x_b"]["c"].append(1)
    first["generation_config"]["x_new"] = 1
    assert DEFAULT.dump_campaign_template(value) == second


# Values that a reader with coercion would accept.
LAX_STEPS: dict[str, list[Any]] = {
    "step": ["1", 1.0, True, None, [1]],
    "variant_count": ["2", 2.0, True, None],
    "day_offset": ["3", 3.0, False, None],
    "enabled": ["true", 1, 0, "", None],
    "needs_pdf": ["false", 0, None, []],
    "label": [5, None, ["a"], True],
    "key": [5, None, "", "a\n"],
    "channel": [5, None, "Email", "email ", "email\n"],
    "condition": [None, "", "Always", 0],
    "config": [None, [], "", "{}", 0, False],
}
LAX_SETTINGS: dict[str, list[Any]] = {
    "default_variant_count": ["1", 1.0, True, None],
    "budget": [
        5,
        5.0,
        "5.",
        ".5",
        "05",
        "-1",
        "1e3",
        "5\n",
        "",
        "1000000000",
        "0.0000000001",
        None,
    ],
    "tone": [5, None, ""],
    "language": [5, None, "", "en\n", "e", "en_US"],
    "custom_instructions": [5, None, []],
}


def is_repaired(read: Callable[..., Any], name: str, value: Any) -> bool:
    """Return True for null and "" in a stored document, which are read as absent."""
    is_empty = value is None or value == ""
    return is_empty and name != "channel" and read.__name__.startswith("recover")


def test_no_value_is_coerced() -> None:
    for name, values in LAX_STEPS.items():
        for value in values:
            text = json.dumps([{**a_step(), name: value}])
            for read in (DEFAULT.parse_template_config, DEFAULT.recover_template_config):
                if is_repaired(read, name, value):
                    continue
                assert [path for path, _ in codes(read, text)] == [f"/0/{name}"], (name, value)
    for name, values in LAX_SETTINGS.items():
        for value in values:
            text = json.dumps({name: value})
            for read_ in (DEFAULT.parse_generation_config, DEFAULT.recover_generation_config):
                if is_repaired(read_, name, value):
                    continue
                assert [path for path, _ in codes(read_, text)] == [f"/{name}"], (name, value)


def test_only_a_list_is_a_sequence_of_steps() -> None:
    strange: list[Any] = ["", {}, set(), (), None, 0, Campaign(name="x"), {"steps": []}]
    for value in strange:
        assert len(refusal(DEFAULT.parse_template_config, value)) == 1, value
        assert len(refusal(DEFAULT.recover_template_config, value)) == 1, value


@every_kind
def test_bytes_are_an_error_of_the_programmer_and_no_violation_of_the_document(kind: str) -> None:
    for source in (b"[]", b"\xff", bytearray(b"{}"), memoryview(b"{}")):
        for read in (
            PARSE[kind],
            RECOVER[kind],
            partial(DEFAULT.violations, name=kind),
            partial(DEFAULT.stored_violations, name=kind),
        ):
            with pytest.raises(TypeError, match="a document is JSON text"):
                read(source)


def test_failure_11_json_that_is_not_a_list_of_steps_is_refused() -> None:
    for text in (
        *("", "null", "5", "true", '"x"', "{}", "[]", "[null]", "[[]]", "[{}]", "[1]", "nope"),
        *('[{"step": 1}', '[{"channel": "email"}]', "[" * 5000, json.dumps([a_step()]) + "x"),
    ):
        with pytest.raises(InvalidDocument):
            DEFAULT.parse_template_config(text)
    for text in (
        "",
        "null",
        "5",
        "true",
        '"x"',
        "{}",
        "[null]",
        "[[]]",
        "[{}]",
        '[{"channel": 5}]',
    ):
        with pytest.raises(InvalidDocument):
            DEFAULT.recover_template_config(text)


def test_failure_21_a_fourth_variant_an_unknown_channel_or_tone_is_refused_on_arrival() -> None:
    assert codes(DEFAULT.parse_template_config, [a_step(variant_count=4)]) == [
        ("/0/variant_count", "too_large")
    ]
    assert codes(DEFAULT.parse_template_config, [a_step(channel="fax")]) == [
        ("/0/channel", "unknown_value")
    ]
    assert codes(DEFAULT.parse_generation_config, {"tone": "terse"}) == [("/tone", "unknown_value")]
    assert codes(
        DEFAULT.parse_campaign_template,
        a_template(
            steps=[a_step(variant_count=4, channel="fax")], generation_config={"tone": "terse"}
        ),
    ) == [
        ("/steps/0/channel", "unknown_value"),
        ("/steps/0/variant_count", "too_large"),
        ("/generation_config/tone", "unknown_value"),
    ]


def test_failure_20_disabled_steps_stay_disabled_through_every_round_trip() -> None:
    template = DEFAULT.parse_campaign_template(a_template())
    assert [step.enabled for step in template.steps] == [True, False]
    campaign = Campaign.from_template(template, "Autumn")
    again = CampaignTemplate.from_campaign(campaign, "Autumn, as a template")
    saved = json.dumps(DEFAULT.dump_campaign_template(again))
    assert DEFAULT.parse_campaign_template(saved).steps == template.steps
    stored = json.dumps(DEFAULT.dump_template_config(campaign.steps))
    assert DEFAULT.recover_template_config(stored).value == template.steps
    # An edit of another step does not enable them either.
    edited = template.steps.update("s1", label="Hello").move("s2", 1)
    written = DEFAULT.dump_template_config(edited)
    assert [(step["key"], step["enabled"]) for step in written] == [("s2", False), ("s1", True)]


def test_a_stored_step_needs_only_a_channel() -> None:
    recovered = DEFAULT.recover_template_config('[{"channel": "linkedin_connect"}]')
    assert recovered.value == StepSequence([Step("linkedin_connect", "Linkedin connect")])
    assert [(repair.path, repair.code, repair.message) for repair in recovered.repairs] == [
        ("/0/step", "defaulted", "steps[0].step: was missing; it is 1 now"),
        ("/0/label", "defaulted", 'steps[0].label: was missing; it is "Linkedin connect" now'),
        ("/0/enabled", "defaulted", "steps[0].enabled: was missing; it is true now"),
        ("/0/needs_pdf", "defaulted", "steps[0].needs_pdf: was missing; it is false now"),
        ("/0/variant_count", "defaulted", "steps[0].variant_count: was missing; it is 1 now"),
    ]


def test_stored_steps_are_renumbered_by_their_position() -> None:
    document = [a_step(7, channel="fax", colour="red"), a_step(2)]
    recovered = DEFAULT.recover_template_config(document)
    assert recovered.repairs == (
        Repair("/0/step", "renumbered", "steps[0].step: was 7; it is 1 now, by its position"),
    )
    assert DEFAULT.dump_template_config(recovered.value) == [
        {**document[0], "step": 1},
        document[1],
    ]
    for number in (0, -1, 2**53 + 1):
        assert refusal(DEFAULT.recover_template_config, [a_step(number)])


@pytest.mark.parametrize(("empty", "code"), [(None, "null_removed"), ("", "empty_removed")])
def test_empty_members_of_stored_documents_are_absent_and_reported(empty: Any, code: str) -> None:
    """Most ORMs write a field without a value as null, and forms write it as ""."""
    members = dict.fromkeys((name for name in STEP_FIELDS if name != "channel"), empty)
    document = [{"channel": "email", **members, "owner": empty}]
    recovered = DEFAULT.recover_template_config(document)
    assert recovered.value == StepSequence([Step("email", "Email", extra={"owner": empty})])
    words = json.dumps(empty)
    assert recovered.repairs[: len(members)] == tuple(
        Repair(f"/0/{name}", code, f"steps[0].{name}: was {words}; it is absent now")
        for name in members
    )
    assert {repair.code for repair in recovered.repairs[len(members) :]} == {"defaulted"}
    config = DEFAULT.recover_generation_config(dict.fromkeys(GENERATION_FIELDS, empty))
    # No instructions are a value.
    instructions = {"custom_instructions"} if empty == "" else set()
    assert config.value == GenerationConfig(**dict.fromkeys(instructions, empty))
    assert {(repair.path, repair.code) for repair in config.repairs} == {
        (f"/{name}", code) for name in GENERATION_FIELDS.keys() - instructions
    }
    assert codes(DEFAULT.recover_template_config, [{"channel": empty}]) == [
        ("/0/channel", "wrong_type" if empty is None else "bad_pattern")
    ]


@pytest.mark.parametrize("length", [200, 201, 5000])
def test_long_words_of_stored_documents_are_shortened_and_reported(length: int) -> None:
    """Other services have no limits, and a label or a tone is for people."""
    document = [{"channel": "email", "label": "é" * length}]
    steps = DEFAULT.recover_template_config(document)
    settings = DEFAULT.recover_generation_config({"tone": "é" * length})
    assert (steps.value[0].label, settings.value.tone) == ("é" * 200, "é" * 200)
    repairs = [
        repair for repair in (*steps.repairs, *settings.repairs) if repair.code == "shortened"
    ]
    assert [(repair.path, repair.message) for repair in repairs] == (
        []
        if length == 200
        else [
            ("/0/label", f"steps[0].label: had {length:,} characters; it has the first 200 now"),
            (
                "/tone",
                f"generation_config.tone: had {length:,} characters; it has the first 200 now",
            ),
        ]
    )
    # A text that no database can store is refused, also if the fault is in its end.
    for bad in ("\0", "\ud800"):
        assert codes(DEFAULT.recover_generation_config, {"tone": "é" * length + bad}) == [
            ("/tone", "invalid_text")
        ]


def test_null_members_of_stored_documents_are_absent() -> None:
    nulls = dict.fromkeys(name for name in STEP_FIELDS if name != "channel")
    document = [{"channel": "email", **nulls, "owner": None}]
    recovered = DEFAULT.recover_template_config(document)
    assert DEFAULT.recover_template_config(DEFAULT.dump_template_config(recovered.value)) == (
        Recovered(recovered.value, ())
    )
    config = DEFAULT.recover_generation_config({**dict.fromkeys(GENERATION_FIELDS), "model": None})
    assert config.value == GenerationConfig(extra={"model": None})
    assert [(repair.path, repair.code) for repair in config.repairs] == [
        (f"/{name}", "null_removed") for name in GENERATION_FIELDS
    ]
    template = a_template(generation_config=None, description=None)
    assert [
        (repair.path, repair.code) for repair in DEFAULT.recover_campaign_template(template).repairs
    ] == [
        ("/description", "null_removed"),
        ("/generation_config", "null_removed"),
        ("/generation_config", "defaulted"),
    ]
    template["generation_config"] = {"tone": None}
    del template["description"]
    (repair,) = DEFAULT.recover_campaign_template(template).repairs
    assert (repair.path, repair.code) == ("/generation_config/tone", "null_removed")
    for name in ("id", "name", "steps"):
        assert codes(DEFAULT.recover_campaign_template, a_template(**{name: None})) == [
            (f"/{name}", "wrong_type")
        ]
    assert codes(DEFAULT.recover_template_config, [{"channel": None}]) == [
        ("/0/channel", "wrong_type")
    ]


@every_kind
def test_json_text_within_json_strings_is_recovered_but_not_parsed(kind: str) -> None:
    document: Any = {
        "template_config": [a_step()],
        "generation_config": {"tone": "casual"},
        "campaign_template": a_template(),
    }[kind]
    once = json.dumps(json.dumps(document))
    for text in (once, json.dumps(once)):
        assert RECOVER[kind](text) == Recovered(
            PARSE[kind](document),
            (Repair("", "double_encoded", f"{kind}: was JSON text within a JSON string"),),
        )
        assert codes(PARSE[kind], text) == [("", "wrong_type")]
    # The pointer of a violation begins at the inner document.
    bad = json.dumps('[{"channel": "email", "channel": "email", "key": "a b"}]')
    assert codes(DEFAULT.recover_template_config, bad) == [
        ("/0/channel", "duplicate_member"),
        ("/0/key", "bad_pattern"),
    ]


def test_a_recovered_template_reports_its_repairs() -> None:
    document = a_template(steps=[a_step(3)], description="Calm")
    del document["generation_config"]
    recovered = DEFAULT.recover_campaign_template(document)
    assert [(repair.path, repair.code) for repair in recovered.repairs] == [
        ("/steps/0/step", "renumbered"),
        ("/generation_config", "defaulted"),
    ]
    assert recovered.value.repairs == recovered.repairs
    assert recovered.value.generation_config == GenerationConfig()
    assert recovered.value.description == "Calm"


@pytest.mark.parametrize("form", ["submitted", "stored"])
def test_a_template_with_unknown_or_missing_fields_is_refused(form: str) -> None:
    read = (
        DEFAULT.parse_campaign_template
        if form == "submitted"
        else DEFAULT.recover_campaign_template
    )
    for name in ("x_color", "owner"):
        document = a_template(**{name: 1})
        assert codes(read, document) == [(f"/{name}", "unknown_field")]
    for missing in ("id", "name", "steps"):
        document = a_template()
        del document[missing]
        assert codes(read, document) == [(f"/{missing}", "required")]


class TestPrevious:
    """A browser may send back unknown fields and words that it was given, and no others."""

    stored = json.dumps(
        [
            {"channel": "email", "label": "One", "owner": {"id": 1}, "x_own": 1},
            a_step(2, key="two", note=[1, {"a": True}]),
            a_step(3),
        ]
    )
    previous = DEFAULT.recover_template_config(stored).value

    def sent_to_the_browser(self) -> list[dict[str, Any]]:
        return DEFAULT.dump_template_config(self.previous)

    def codes(self, document: Any) -> list[tuple[str, str]]:
        return codes(DEFAULT.parse_template_config, document, previous=self.previous)

    def test_an_unchanged_document_is_accepted(self) -> None:
        for source in (self.sent_to_the_browser(), json.dumps(self.sent_to_the_browser())):
            assert DEFAULT.parse_template_config(source, previous=self.previous) == self.previous
            # Without ``previous`` the same text is still refused, despite the cache.
            assert codes(DEFAULT.parse_template_config, source) == [
                ("/0/owner", "unknown_field"),
                ("/1/note", "unknown_field"),
            ]

    def test_known_and_x_fields_may_change_and_unknown_ones_may_go(self) -> None:
        document = self.sent_to_the_browser()
        document[0] |= {"label": "New", "x_own": 2, "x_more": None}
        del document[1]["note"]
        value = DEFAULT.parse_template_config(document, previous=self.previous)
        assert value[0].extra == JsonObject({"owner": {"id": 1}, "x_own": 2, "x_more": None})
        assert value[1].extra == JsonObject()

    def test_the_spelling_of_a_number_may_change(self) -> None:
        document = self.sent_to_the_browser()
        document[0]["owner"] = {"id": 1.0}
        assert self.codes(document) == []

    @pytest.mark.parametrize("owner", [{"id": 2}, {"id": True}, {}, None, {"id": 1, "b": 2}])
    def test_a_changed_unknown_field_is_refused(self, owner: Any) -> None:
        document = self.sent_to_the_browser()
        document[0]["owner"] = owner
        assert self.codes(document) == [("/0/owner", "unknown_field")]

    def test_an_unknown_field_in_another_step_is_refused(self) -> None:
        document = self.sent_to_the_browser()
        document[2]["note"] = document[1].pop("note")
        assert self.codes(document) == [("/2/note", "unknown_field")]

    def test_a_moved_step_keeps_its_unknown_fields_with_and_without_its_key(self) -> None:
        first, second, third = self.sent_to_the_browser()
        document = [{**second, "step": 1}, {**first, "step": 2, "key": "s1"}, third]
        assert self.codes(document) == []
        del document[1]["key"]
        assert self.codes(document) == []
        value = DEFAULT.parse_template_config(document, previous=self.previous)
        assert value.keys == ("two", "s1", "s3")
        # Moved and edited, it is another step: a new one, or the one that was at its new place.
        document[1]["label"] = "Edited"
        assert self.codes(document) == [("/1/owner", "unknown_field")]
        # A key of its own says which step it is, whatever its content.
        document[1]["key"] = "s3"
        del document[2]
        assert self.codes(document) == [("/1/owner", "unknown_field")]

    def test_a_key_is_not_given_twice(self) -> None:
        first, _, third = self.sent_to_the_browser()
        # The first step would be s1 by its place, but the last one says that it is s1.
        document = [{**third, "step": 1}, {**first, "step": 2, "key": "s1"}]
        value = DEFAULT.parse_template_config(document, previous=self.previous)
        assert value.keys == ("s3", "s1")
        document = [a_step(channel="call_script"), a_step(2, key="s1")]
        value = DEFAULT.parse_template_config(document, previous=self.previous)
        assert value.keys[0] not in (*self.previous.keys, "s1")
        assert value.keys[1] == "s1"

    @pytest.mark.parametrize("key", [None, "", 5, [], "a b"])
    def test_a_bad_key_is_refused_and_matched_with_nothing(self, key: Any) -> None:
        document = self.sent_to_the_browser()
        document[2]["key"] = key
        ((path, _),) = self.codes(document)
        assert path == "/2/key"

    def test_a_refused_document_is_explained_by_the_same_match(self) -> None:
        first, second, third = self.sent_to_the_browser()
        document = [{**second, "step": 1}, {**first, "step": 2}, {**third, "label": ""}, 5]
        assert self.codes(document) == [("/2/label", "too_short"), ("/3", "wrong_type")]
        too_many = [a_step(index + 1) for index in range(21)]
        assert self.codes(too_many) == [("", "too_many_items")]

    def test_an_unknown_channel_or_tone_may_come_back_only_in_the_same_place(self) -> None:
        previous = DEFAULT.recover_template_config([a_step(channel="fax"), a_step(2)]).value
        assert (
            DEFAULT.parse_template_config(DEFAULT.dump_template_config(previous), previous=previous)
            == previous
        )
        for channel, place in (("telex", 0), ("fax", 1)):
            document = DEFAULT.dump_template_config(previous)
            document[place]["channel"] = channel
            assert codes(DEFAULT.parse_template_config, document, previous=previous) == [
                (f"/{place}/channel", "unknown_value")
            ]
        terse = DEFAULT.recover_generation_config({"tone": "terse"}).value
        assert DEFAULT.parse_generation_config({"tone": "terse"}, previous=terse) == terse
        assert codes(DEFAULT.parse_generation_config, {"tone": "curt"}, previous=terse) == [
            ("/tone", "unknown_value")
        ]

    def test_no_steps_may_come_back_only_if_there_were_none(self) -> None:
        for previous in (StepSequence(), self.previous):
            found = codes(DEFAULT.parse_template_config, [], previous=previous)
            assert found == ([("", "too_few_items")] if previous else [])

    def test_an_unknown_setting_may_come_back_unchanged(self) -> None:
        previous = DEFAULT.recover_generation_config({"tone": "casual", "model": {"v": 1}}).value
        good = {"tone": "direct", "model": {"v": 1}}
        value = DEFAULT.parse_generation_config(good, previous=previous)
        assert (value.tone, value.extra) == ("direct", JsonObject({"model": {"v": 1}}))
        for bad in ({"model": {"v": 2}}, {"model2": {"v": 1}}):
            assert [
                code for _, code in codes(DEFAULT.parse_generation_config, bad, previous=previous)
            ] == ["unknown_field"]

    def test_the_same_rules_apply_within_a_template(self) -> None:
        document = a_template(
            steps=json.loads(self.stored), generation_config={"tone": "casual", "model": 1}
        )
        previous = DEFAULT.recover_campaign_template(document).value
        dumped = DEFAULT.dump_campaign_template(previous)
        assert DEFAULT.parse_campaign_template(dumped, previous=previous) == previous
        dumped["x"] = 1
        dumped["generation_config"]["model"] = 2
        assert codes(DEFAULT.parse_campaign_template, dumped, previous=previous) == [
            ("/generation_config/model", "unknown_field"),
            ("/x", "unknown_field"),
        ]


class TestCache:
    def test_equal_text_gives_the_same_object(self) -> None:
        text = json.dumps([a_step(label="cached")])
        other = "".join(list(text))
        assert other is not text
        assert DEFAULT.parse_template_config(other) is DEFAULT.parse_template_config(text)
        assert DEFAULT.recover_template_config(other) is DEFAULT.recover_template_config(text)

    def test_each_kind_and_each_codec_has_its_own_entry_for_a_text(self) -> None:
        assert DEFAULT.parse_generation_config("{}") == GenerationConfig()
        assert refusal(DEFAULT.parse_campaign_template, "{}")
        fax = json.dumps([a_step(channel="fax")])
        assert FAX.parse_template_config(fax)[0].channel == "fax"
        assert refusal(DEFAULT.parse_template_config, fax)

    @pytest.mark.parametrize("form", ["parse", "recover"])
    def test_the_cache_is_bounded_in_bytes(self, form: str) -> None:
        codec = Codec()
        steps = getattr(codec, f"{form}_template_config")
        settings = getattr(codec, f"{form}_generation_config")
        text = json.dumps([a_step(x_long="x" * wire._LONGEST_CACHED_TEXT)])
        assert steps(text) is not steps(text)
        first = settings("{}")
        caches = codec._submitted_caches if form == "parse" else wire._stored_caches
        cache = caches[GenerationConfig]
        for number in range(wire._CACHED_BYTES // 10_000 + 1):
            settings(f'{{"x_n": {number}, "custom_instructions": "{"i" * 10_000}"}}')
            assert cache.size <= wire._CACHED_BYTES
        assert cache.size > wire._CACHED_BYTES - 11_000
        assert settings("{}") is not first

    def test_all_caches_can_be_cleared(self) -> None:
        text = json.dumps([a_step()])
        codec = Codec()
        reads: list[Callable[[str], Any]] = [
            DEFAULT.parse_template_config,
            codec.parse_template_config,
            codec.recover_template_config,
        ]
        before = [read(text) for read in reads]
        clear_caches()
        for read, value in zip(reads, before, strict=True):
            assert read(text) == value
            assert read(text) is not value


@pytest.mark.parametrize("text", ["[{}]", '[{"a": 1, "a": 2}]', "[1e400]", "nonsense", "[" * 5000])
def test_a_refused_text_is_decoded_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def recording_decode(text: str, *limits: int) -> Any:
        decoded.append(text)
        return decode(text, *limits)

    monkeypatch.setattr(wire, "decode", recording_decode)
    for read in (DEFAULT.parse_template_config, DEFAULT.recover_template_config):
        decoded.clear()
        assert refusal(read, text)
        assert decoded == [text]


class TestCheckWords:
    """The check of the store: a type accepts any channel and tone, a codec only known ones."""

    template = DEFAULT.parse_campaign_template(a_template())

    def refusal(
        self, value: CampaignTemplate, previous: CampaignTemplate | None = None
    ) -> list[tuple[str, str, str]]:
        try:
            DEFAULT.check_words(value, previous)
        except InvalidDocument as error:
            return [(error.document, fault.path, fault.code) for fault in error.violations]
        return []

    def test_known_words_and_unknown_fields_are_accepted(self) -> None:
        owned = self.template.steps.update("s1", extra={"owner": 1})
        assert self.refusal(attrs.evolve(self.template, steps=owned)) == []
        assert self.refusal(attrs.evolve(self.template, steps=StepSequence())) == []

    def test_unknown_words_are_refused(self) -> None:
        steps = self.template.steps.update("s2", channel="fax", extra={"owner": 1})
        assert self.refusal(attrs.evolve(self.template, steps=steps)) == [
            ("template_config", "/1/channel", "unknown_value")
        ]
        terse = attrs.evolve(self.template, generation_config=GenerationConfig(tone="terse"))
        assert self.refusal(terse) == [("generation_config", "/tone", "unknown_value")]
        FAX.check_words(terse)

    def test_a_word_may_come_back_only_in_the_same_place(self) -> None:
        steps = self.template.steps.update("s2", channel="fax")
        previous = attrs.evolve(
            self.template, steps=steps, generation_config=GenerationConfig(tone="terse")
        )
        assert self.refusal(attrs.evolve(previous, name="Renamed"), previous) == []
        moved = attrs.evolve(previous, steps=steps.move("s2", 1))
        assert self.refusal(moved, previous) == []
        copied = attrs.evolve(previous, steps=steps.update("s1", channel="fax"))
        assert self.refusal(copied, previous) == [
            ("template_config", "/0/channel", "unknown_value")
        ]


class TestCodec:
    def test_codecs_are_equal_by_vocabulary_and_immutable(self) -> None:
        assert Codec() == DEFAULT != FAX
        assert {Codec(): 1}[DEFAULT] == 1
        FAX.parse_template_config(json.dumps([a_step(channel="fax")]))
        assert all(copied == FAX for copied in copies(FAX))
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            FAX.vocabulary = STANDARD  # type: ignore[misc]

    def test_the_words_of_its_vocabulary_are_known(self) -> None:
        document = a_template(
            steps=[a_step(channel="fax")], generation_config={"tone": "terse", "x_a": 1}
        )
        value = FAX.parse_campaign_template(document)
        assert FAX.dump_campaign_template(value) == document
        assert FAX.violations(document, "campaign_template") == ()
        assert len(DEFAULT.violations(document, "campaign_template")) == 2

    @every_kind
    def test_its_schema_has_the_words_of_its_vocabulary(self, kind: str) -> None:
        text = json.dumps(FAX.schema(kind))
        assert ('"fax"' in text) == (kind != "generation_config")
        assert ('"terse"' in text) == (kind != "template_config")
        assert '"fax"' not in json.dumps(DEFAULT.schema(kind))
        assert FAX.schema(kind)["$id"] != DEFAULT.schema(kind)["$id"]
        FAX.schema(kind).clear()
        assert FAX.schema(kind)

    def test_its_converter_reads_and_writes_our_types_within_other_classes(self) -> None:
        @attrs.frozen
        class Draft:
            title: str
            steps: StepSequence
            config: GenerationConfig
            template: CampaignTemplate
            first: Step

        document = {
            "title": "Draft",
            "steps": [a_step(x_a=[1])],
            "config": {"budget": "1.50"},
            "template": a_template(),
            "first": a_step(condition="always"),
        }
        draft = FAX.converter.structure(document, Draft)
        assert draft.steps == StepSequence(
            [Step("email", "Email 1", extra=JsonObject({"x_a": (1,)}))]
        )
        written = FAX.converter.unstructure(draft)
        assert written == {**document, "template": draft.template.to_dict()}
        assert FAX.converter.structure(written, Draft) == draft
        for name, bad in (
            ("steps", json.dumps(document["steps"])),
            ("steps", "[]"),
            ("config", "{}"),
            ("config", {"budget": 1.5}),
            ("first", a_step(2)),
        ):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - cattrs wraps what a hook raises
                FAX.converter.structure({**document, name: bad}, Draft)
            assert caught.group_contains(InvalidDocument), name

    def test_the_functions_of_the_module_are_methods_of_the_default_codec(self) -> None:
        assert wire.parse_template_config([a_step()])
        bad = [a_step(channel="fax")]
        assert tuple(wire.iter_violations(bad)) == DEFAULT.violations(bad)
        assert tuple(wire.iter_stored_violations([{}])) == DEFAULT.stored_violations([{}])


def test_a_refusal_without_violations_is_an_error_of_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validation, "violations", lambda *_, **__: ())
    with pytest.raises(RuntimeError, match="template_config"):
        DEFAULT.parse_template_config([])


def test_depth_counts_from_the_root_of_a_template() -> None:
    def nested(levels: int) -> Any:
        value: Any = []
        for _ in range(levels):
            value = [value]
        return value

    # Levels: the template, its steps, the step, its config, and the value as the fifth.
    deepest = nested(MAX_DEPTH - 4)
    for config in ({"config": {"a": deepest}}, {"x_a": [deepest]}):
        good = a_template(steps=[a_step(**config)])
        DEFAULT.parse_campaign_template(json.dumps(good))
        DEFAULT.parse_template_config(json.dumps(good["steps"]))
    for config in ({"config": {"a": [deepest]}}, {"x_a": [[deepest]]}):
        bad = a_template(steps=[a_step(**config)])
        for read, document in (
            (DEFAULT.parse_campaign_template, bad),
            (DEFAULT.parse_template_config, bad["steps"]),
        ):
            assert [code for _, code in codes(read, document)] == ["too_deep"]
    settings_ = {"x_a": [[[deepest]]]}
    assert not refusal(DEFAULT.parse_generation_config, settings_["x_a"] and {"x_a": [[deepest]]})
    assert [code for _, code in codes(DEFAULT.parse_generation_config, settings_)] == ["too_deep"]


def test_the_example_in_the_guide_runs() -> None:
    guide = (DOCS / "documents.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - our own documentation
    assert names["codec"].vocabulary.channel("sms")


VALID_ONLY = """
import sys
from campaign_model import Codec, parse_template_config, recover_template_config
parse_template_config(sys.argv[1])
recover_template_config(sys.argv[1])
print("jsonschema" in sys.modules)
"""


def test_reading_a_valid_document_does_not_load_jsonschema() -> None:
    run = subprocess.run(
        [sys.executable, "-c", VALID_ONLY, json.dumps([a_step()])],
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "False"
