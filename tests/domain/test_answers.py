"""The JSON form of answers: ``to_dict``, the encoder, converters and schemas agree."""

from __future__ import annotations

import copy
import inspect
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, get_args, get_type_hints
from uuid import UUID

import attrs
import pytest
from cattrs import Converter
from cattrs.preconf.json import make_converter as make_json_converter
from cattrs.preconf.orjson import make_converter as make_orjson_converter
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from campaign_model import (
    STANDARD,
    Campaign,
    CampaignModelError,
    CampaignSummary,
    CampaignTemplate,
    Channel,
    Claim,
    ClaimBatch,
    Codec,
    Conflict,
    Cursor,
    GenerationConfig,
    InvalidArgument,
    InvalidDocument,
    JsonObject,
    Page,
    Progress,
    Renewal,
    Status,
    Step,
    StepSequence,
    json_ready,
)
from campaign_model._json import canonical
from campaign_model._values import plain_amount
from campaign_model.answers import CLASSES, ERRORS, PAGES, name_of
from campaign_model.store import CampaignStore
from campaign_model.testing import strategies
from campaign_model.validation import answer_schema
from support.paths import DOCS, SCHEMAS
from support.sample_answers import SAMPLES

CODEC = Codec()
TYPES: tuple[Any, ...] = (*CLASSES, *PAGES, *ERRORS.values())
JSON_CONVERTER = CODEC.register_hooks(make_json_converter())
ORJSON_CONVERTER = CODEC.register_hooks(make_orjson_converter())
DEFINITIONS = json.loads((SCHEMAS / "answers.json").read_text(encoding="utf-8"))


def type_of(value: Any) -> Any:
    return Page[type(value.items[0])] if isinstance(value, Page) else type(value)  # type: ignore[misc]


def schema_errors(name: str, document: Any) -> list[str]:
    """Return what a reader of the published file finds in a document."""
    schema = {**DEFINITIONS, "$ref": f"#/$defs/{name}"}
    return [error.message for error in Draft202012Validator(schema).iter_errors(document)]


def check(value: Any, type_: Any) -> None:
    """Check that everything agrees on the JSON form of a value."""
    document = value.to_dict()
    text = json.dumps(document)
    assert json.dumps(json.loads(text)) == text
    assert json.loads(text) == document
    assert json.dumps(value, default=json_ready) == text
    assert schema_errors(name_of(type_), document) == []
    assert CODEC.converter.unstructure(value) == document
    again = CODEC.converter.structure(json.loads(text), type_)
    assert again.to_dict() == document
    assert type(again) is type(value)
    if not isinstance(value, CampaignModelError):  # An error is equal only to itself.
        assert again == value
    assert JSON_CONVERTER.dumps(value) == text
    assert JSON_CONVERTER.loads(text, type_).to_dict() == document


@given(
    st.sampled_from(TYPES).flatmap(
        lambda type_: st.tuples(strategies.of_type(type_), st.just(type_))
    )
)
def test_every_reader_and_writer_agrees_on_every_answer(drawn: tuple[Any, Any]) -> None:
    check(*drawn)


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_every_sample_has_the_form_on_which_all_agree(value: Any) -> None:
    check(value, type_of(value))
    # Drawn values can have larger numbers than orjson writes.
    written = ORJSON_CONVERTER.dumps(value)
    assert json.loads(written) == value.to_dict()
    assert ORJSON_CONVERTER.loads(written, type_of(value)).to_dict() == value.to_dict()


def test_there_is_a_sample_of_every_answer() -> None:
    assert {type_of(value) for value in SAMPLES} == {*TYPES} - {PAGES[1]}
    assert {*DEFINITIONS["$defs"]} == {name_of(type_) for type_ in TYPES} | {
        *("CampaignModelError", "GenerationConfig", "Step", "StepSequence")
    }


WORKERS_OWN = {Claim, ClaimBatch, Cursor, Renewal}
"""What the store answers to a worker, which sends it to no other program."""


def classes_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and attrs.has(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from classes_in(argument)


def test_every_value_that_a_method_of_the_store_returns_has_a_json_form() -> None:
    returned = {
        cls
        for part in get_type_hints(CampaignStore).values()
        for name, method in inspect.getmembers(part, inspect.isfunction)
        if not name.startswith("_")
        for cls in classes_in(get_type_hints(method)["return"])
    }
    assert Campaign in returned
    assert returned - {*CLASSES, Page, StepSequence, GenerationConfig} == WORKERS_OWN - {Cursor}


# --- What the converter refuses ------------------------------------------------------------------


def places_in(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value within a document."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for token, value in entries:
        yield (*path, token)
        if isinstance(value, dict | list):
            yield from places_in(value, (*path, token))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a document with another value at a place; ``...`` removes the member."""
    document = copy.deepcopy(document)
    parent = document
    for token in path[:-1]:
        parent = parent[token]
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return document


WRONG: tuple[Any, ...] = (..., None, True, 7, 1.5, "", "x", "2026-01-31", "1.50", [], [1], {})


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_a_document_is_refused_unless_it_is_exactly_what_to_dict_returns(value: Any) -> None:
    document, type_ = value.to_dict(), type_of(value)
    others = [
        *(changed(document, path, wrong) for path in places_in(document) for wrong in WRONG),
        {**document, "another": 1},
    ]
    refusals = []
    for other in others:
        try:
            read = CODEC.converter.structure(other, type_)
        except InvalidDocument as error:
            refusals.append(error)
        else:
            assert canonical(read.to_dict()) == canonical(other)
    assert len(refusals) > len(document)
    assert all(error.violations and json.dumps(error.to_dict()) for error in refusals)


@pytest.mark.parametrize("type_", TYPES, ids=name_of)
def test_another_shape_is_refused_with_violations(type_: Any) -> None:
    # Without the members of its own, this is a submitted campaign_template.
    name = "campaign_template" if type_ is CampaignTemplate else name_of(type_)
    documents: tuple[Any, ...] = (None, 1, "x", [], {}, [{}])
    for document in documents:
        with pytest.raises(InvalidDocument) as caught:
            CODEC.converter.structure(document, type_)
        assert caught.value.document == name
        assert caught.value.violations


CAMPAIGN = Campaign("Spring", StepSequence([Step("email", "Hello", key="a")])).to_dict()


@pytest.mark.parametrize(
    ("path", "value", "violation"),
    [
        (("id",), ..., ("/id", "required", "id: is missing; it must be a UUID")),
        (("status",), "drafty", ("/status", "unknown_value", "did you mean 'draft'?")),
        (("version",), "1", ("/version", "wrong_type", "version: is the text '1'")),
        (("name",), " ", ("/name", "bad_pattern", "name: is the text ' '")),
        (("steps", 0, "label"), "", ("/steps/0/label", "too_short", "steps[0].label")),
        (("steps", 0, "channel"), None, ("/steps/0/channel", "wrong_type", "is empty (null)")),
        (("steps",), [*CAMPAIGN["steps"]] * 2, ("/steps/1/key", "duplicate_key", "key")),
        (("generation_config", "budget"), 5, ("/generation_config/budget", "wrong_type", "is 5")),
        (("created_at",), "2026-01-31", ("/created_at", "bad_pattern", "a time in UTC")),
        (("colour",), "red", ("/colour", "unknown_field", "'colour' is not a known field")),
        (("repairs",), [{}], ("/repairs/0/path", "required", "repairs[0].path: is missing")),
        (("created_at",), "2026-13-31T09:30:00+00:00", ("", "invalid_value", "not exactly what")),
    ],
)
def test_a_refusal_names_the_place_the_code_and_the_reason(
    path: tuple[Any, ...], value: Any, violation: tuple[str, str, str]
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        CODEC.converter.structure(changed(CAMPAIGN, path, value), Campaign)
    first = caught.value.violations[0]
    assert (first.path, first.code) == violation[:2]
    assert violation[2] in first.message


def test_a_refusal_of_an_answer_does_not_blame_the_fields_of_other_programs() -> None:
    steps = StepSequence([Step("email", "Hello", extra=JsonObject({"crm": 7}))])
    settings = GenerationConfig(extra=JsonObject({"crm": 7}))
    document = Campaign("Spring", steps, settings).to_dict() | {"version": "one"}
    with pytest.raises(InvalidDocument) as caught:
        CODEC.converter.structure(document, Campaign)
    assert [violation.path for violation in caught.value.violations] == ["/version"]


def test_an_answer_keeps_the_words_and_fields_of_other_programs() -> None:
    campaign = Campaign(
        "Spring",
        StepSequence([Step("fax", "Hello", extra=JsonObject({"crm": {"id": 7}}))]),
        GenerationConfig(tone="rude", extra=JsonObject({"crm": [1]})),
    )
    assert CODEC.converter.structure(campaign.to_dict(), Campaign) == campaign
    with pytest.raises(InvalidDocument, match="fax"):
        CODEC.converter.structure(campaign.to_dict()["steps"], StepSequence)
    fax = Codec(STANDARD.with_channel(Channel("fax")))
    assert fax.converter.structure(
        [{**CAMPAIGN["steps"][0], "channel": "fax"}], StepSequence
    ) == StepSequence([Step("fax", "Hello", key="a")])


def test_a_template_is_read_from_its_answer_and_from_a_submitted_document() -> None:
    template = CampaignTemplate("Spring", StepSequence([Step("email", "Hello", key="a")]))
    for document in (template.to_dict(), CODEC.dump_campaign_template(template)):
        assert CODEC.converter.structure(document, CampaignTemplate) == template


def test_any_error_is_read_by_its_code() -> None:
    error = Conflict("stale_version", "load it again")
    again = CODEC.converter.structure(error.to_dict(), CampaignModelError)
    assert type(again) is Conflict
    assert again.to_dict() == error.to_dict()
    for document in ({}, {"code": "unheard_of"}, {**error.to_dict(), "code": "not_found"}):
        with pytest.raises(InvalidDocument):
            CODEC.converter.structure(document, CampaignModelError)


def test_values_within_your_own_classes_are_read_and_written() -> None:
    @attrs.frozen
    class Overview:
        page: Page[CampaignSummary]
        progress: Progress | None
        error: Conflict

    summaries = tuple(value for value in SAMPLES if isinstance(value, CampaignSummary))
    progress = next(value for value in SAMPLES if isinstance(value, Progress))
    overview = Overview(Page(summaries, None), progress, Conflict("read_only", "no"))
    for converter in (CODEC.converter, CODEC.register_hooks(Converter()), JSON_CONVERTER):
        document = converter.unstructure(overview)
        assert document == {
            "page": overview.page.to_dict(),
            "progress": progress.to_dict(),
            "error": overview.error.to_dict(),
        }
        again = converter.structure(document, Overview)
        assert (again.page, again.progress) == (overview.page, overview.progress)


# --- The encoder, amounts, the schemas -----------------------------------------------------------

BILLIONTH = Decimal("1E-9")


def test_the_encoder_writes_values_within_containers_and_refuses_everything_else() -> None:
    id_ = UUID(int=7)
    value = {Status.DRAFT: (id_, {Decimal("0E-9")}), id_: [Decimal("1E+2"), None, 1.5, True]}
    assert json_ready(value) == {"draft": [str(id_), ["0"]], str(id_): ["100", None, 1.5, True]}
    for unknown in (object(), b"bytes", 1j):
        with pytest.raises(TypeError, match="JSON has no"):
            json_ready([unknown])
        with pytest.raises(TypeError, match="JSON has no"):
            json.dumps([unknown], default=json_ready)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.004320000", "0.00432"),
        ("0E-9", "0"),
        ("-0.00", "0"),
        ("100", "100"),
        ("1E+2", "100"),
        ("-1.50", "-1.5"),
        ("0.000000001", "0.000000001"),
        ("9223372036.854775807", "9223372036.854775807"),
        (f"{10**80}.5000", f"{10**80}.5"),
    ],
)
def test_an_amount_prints_as_people_write_it(amount: str, text: str) -> None:
    plain = plain_amount(Decimal(amount))
    assert json_ready(plain) == text
    # Python itself prints an amount below a millionth with an exponent.
    assert f"{plain:f}" == text if plain == BILLIONTH else str(plain) == text
    assert plain == Decimal(amount)


def test_the_schema_of_an_answer_is_in_one_piece_and_valid() -> None:
    for name in DEFINITIONS["$defs"]:
        schema = answer_schema(name)
        Draft202012Validator.check_schema(schema)
        assert {"title", "description"} <= schema.keys()
        assert "$ref" not in json.dumps(schema)
        for member in schema.get("properties", {}).values():
            assert member["description"]
    Draft202012Validator.check_schema(DEFINITIONS)
    with pytest.raises(InvalidArgument, match="no answer has the name 'campaign'"):
        answer_schema("campaign")


def test_the_blocks_of_the_page_run() -> None:
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(block, names)  # noqa: S102 - our own documentation
    assert json.loads(names["body"])["campaigns"][0]["name"] == "Spring"
