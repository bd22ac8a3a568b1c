"""The library's values as types of pydantic fields."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

import campaign_model
from campaign_model import STANDARD, Channel, Codec, InvalidDocument, parse_template_config
from campaign_model import pydantic as types
from campaign_model.answers import CLASSES, ERRORS, PAGES, name_of
from campaign_model.pydantic import (
    Campaign,
    CampaignModelError,
    CampaignSummary,
    CampaignTemplate,
    GenerationConfig,
    JsonForm,
    Page,
    Progress,
    Step,
    StepSequence,
)
from campaign_model.testing import documents, strategies
from support.sample_answers import SAMPLES
from support.sample_documents import a_step, a_template


class Everything(BaseModel):
    model_config = ConfigDict(strict=True)

    steps: StepSequence
    settings: GenerationConfig | None = None
    first: Step | None = None
    campaign: Campaign | None = None
    page: Page[CampaignSummary] | None = None
    progress: list[Progress] = []


SAMPLES_BY_TYPE: dict[type, Any] = {type(value): value for value in SAMPLES}
CAMPAIGN = SAMPLES_BY_TYPE[campaign_model.Campaign]
PAGE = SAMPLES_BY_TYPE[campaign_model.Page]
PROGRESS = SAMPLES_BY_TYPE[campaign_model.Progress]
DOCUMENT: dict[str, Any] = {
    "steps": [a_step(1), a_step(2, x_own=[1])],
    "settings": {"budget": "1.50"},
    "first": a_step(condition="always"),
    "campaign": CAMPAIGN.to_dict(),
    "page": PAGE.to_dict(),
    "progress": [PROGRESS.to_dict()],
}


def test_fields_are_read_from_json_and_written_as_the_same_json() -> None:
    for read in (
        Everything.model_validate(DOCUMENT),
        Everything.model_validate_json(json.dumps(DOCUMENT)),
    ):
        assert read.steps == parse_template_config(DOCUMENT["steps"])
        assert read.settings == campaign_model.GenerationConfig(budget=Decimal("1.50"))
        assert (read.campaign, read.page, read.progress) == (CAMPAIGN, PAGE, [PROGRESS])
        assert read.model_dump(mode="json") == DOCUMENT
        assert json.loads(read.model_dump_json()) == DOCUMENT
        assert read.model_dump()["steps"] is read.steps
        again = Everything(**{name: getattr(read, name) for name in DOCUMENT})
        assert again.steps is read.steps
        assert again == read


def errors_of(document: Any) -> list[tuple[Any, ...]]:
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate(document)
    assert json.loads(caught.value.json())
    errors = [dict(error) for error in caught.value.errors()]
    return [(error["loc"], error["type"], error["msg"], error["input"]) for error in errors]


def test_each_violation_is_an_error_with_its_place_its_code_and_our_sentence() -> None:
    bad_steps = [a_step(1, channel="fax", label="{braces}" * 50), a_step(2, **{"a/~b": 1}), "x"]
    with pytest.raises(InvalidDocument) as caught:
        parse_template_config(bad_steps)
    places = [(0, "channel"), (0, "label"), (1, "a/~b"), (2,)]
    values = ["fax", "{braces}" * 50, 1, "x"]
    assert errors_of({**DOCUMENT, "steps": bad_steps}) == [
        (("steps", *place), violation.code, violation.message, value)
        for place, violation, value in zip(places, caught.value.violations, values, strict=True)
    ]
    ((place, code, _, value),) = errors_of(
        {**DOCUMENT, "campaign": {**CAMPAIGN.to_dict(), "status": "paused"}}
    )
    assert (place, code, value) == (("campaign", "status"), "unknown_value", "paused")
    ((place, code, _, value),) = errors_of({**DOCUMENT, "steps": {}})
    assert (place, code, value) == (("steps",), "wrong_type", {})
    missing = [dict(PROGRESS.to_dict()) for _ in range(2)]
    del missing[1]["spent"]
    ((place, code, _, value),) = errors_of({**DOCUMENT, "progress": missing})
    assert (place, code, value) == (("progress", 1, "spent"), "required", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", json.dumps(DOCUMENT["steps"])),
        ("steps", []),
        ("settings", {"budget": 1.5}),
        ("first", a_step(2)),
        ("campaign", {"name": "Spring"}),
        ("campaign", CAMPAIGN.steps),
        ("page", campaign_model.Page((CAMPAIGN,), None)),
        ("page", {**PAGE.to_dict(), "more": True}),
        ("progress", [{**PROGRESS.to_dict(), "spent": 1}]),
    ],
)
def test_no_other_shape_or_type_is_accepted(name: str, value: Any) -> None:
    assert errors_of({**DOCUMENT, name: value})


TYPES_OF_DOCUMENTS = {
    "template_config": StepSequence,
    "generation_config": GenerationConfig,
    "campaign_template": CampaignTemplate,
}


@given(
    st.sampled_from(documents.KINDS).flatmap(
        lambda kind: st.tuples(documents.invalid(kind), st.just(kind))
    )
)
def test_a_field_refuses_a_document_for_the_violation_that_it_has(
    drawn: tuple[documents.Invalid, str],
) -> None:
    invalid, kind = drawn
    with pytest.raises(ValidationError) as caught:
        TypeAdapter[Any](TYPES_OF_DOCUMENTS[kind]).validate_python(invalid.document)
    if not isinstance(invalid.document, str):  # Within a larger document, text is no JSON text.
        assert invalid.code in {error["type"] for error in caught.value.errors()}


def test_a_codec_of_your_own_knows_its_channels() -> None:
    codec = Codec(STANDARD.with_channel(Channel("fax")))
    fax = TypeAdapter[Any](Annotated[campaign_model.StepSequence, JsonForm(codec)])
    steps = [a_step(channel="fax")]
    assert fax.dump_python(fax.validate_python(steps), mode="json") == steps
    with pytest.raises(ValidationError, match="'fax' is not a known channel"):
        TypeAdapter[Any](StepSequence).validate_python(steps)
    words = fax.json_schema()["items"]["properties"]["channel"]["enum"]
    assert words[-1] == "fax"


def test_errors_are_types_too() -> None:
    adapter = TypeAdapter[Any](CampaignModelError)
    error = campaign_model.Conflict("stale_version", "load it again")
    assert adapter.validate_python(error) is error
    assert adapter.dump_python(error, mode="json") == error.to_dict()
    assert adapter.validate_python(error.to_dict()).to_dict() == error.to_dict()


# --- JSON Schemas --------------------------------------------------------------------------------


def test_there_is_a_type_for_every_answer_and_document() -> None:
    internal = {"Unmet", *(cls.__name__ for cls in ERRORS.values())}
    expected = {cls.__name__ for cls in CLASSES} - internal
    expected |= {"Page", "CampaignModelError", "GenerationConfig", "JsonForm", "Step"}
    assert {*types.__all__} == expected | {"StepSequence"}
    for name in {*types.__all__} - {"JsonForm"}:
        annotated = getattr(types, name)
        assert getattr(annotated.__origin__, "__name__", "") == name
        assert JsonForm() in annotated.__metadata__


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_json_schema_of_a_model_has_our_types_by_name(mode: Any) -> None:
    schema = Everything.model_json_schema(mode=mode)
    Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    assert "urn:" not in text
    assert (
        {*re.findall(r'"\$ref": "#/\$defs/(\w+)"', text)}
        == {*schema["$defs"]}
        == {
            *("Campaign", "CampaignSummaryPage", "GenerationConfig", "Progress", "Step"),
            "StepSequence",
        }
    )
    assert list(Draft202012Validator(schema).iter_errors(DOCUMENT)) == []
    for name, value in (("steps", [{}]), ("campaign", {}), ("page", {"items": 1})):
        assert list(Draft202012Validator(schema).iter_errors({**DOCUMENT, name: value}))


def test_a_template_is_accepted_in_both_forms_and_so_says_its_schema() -> None:
    adapter = TypeAdapter[Any](CampaignTemplate)
    schema = adapter.json_schema()
    assert "urn:" not in json.dumps(schema)
    template = adapter.validate_python(a_template())
    for document in (a_template(), template.to_dict()):
        assert adapter.validate_python(document) == template
        assert list(Draft202012Validator(schema).iter_errors(document)) == []
    assert list(Draft202012Validator(schema).iter_errors({**a_template(), "b": 1}))


@given(st.sampled_from((*CLASSES, *PAGES)).flatmap(strategies.of_type))
def test_every_answer_is_written_as_by_to_dict(value: Any) -> None:
    annotated: Any = Annotated[type(value), JsonForm()]
    adapter: TypeAdapter[Any] = TypeAdapter(annotated)
    assert adapter.dump_python(value, mode="json") == value.to_dict()
    assert name_of(type(value)) == type(value).__name__
