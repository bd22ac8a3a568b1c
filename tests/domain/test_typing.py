"""What type checkers know. ``nox -s types`` checks this module with mypy.

An unused ``type: ignore`` is an error, so each of them says that mypy finds the mistake.
"""

from __future__ import annotations

from decimal import Decimal
from inspect import signature
from typing import Any, assert_type, get_args
from uuid import uuid4

import attrs
import pytest

from campaign_model import (
    STANDARD,
    Action,
    Campaign,
    CampaignSummary,
    CampaignTemplate,
    Codec,
    Condition,
    Generated,
    GenerationConfig,
    InvalidDocument,
    JsonObject,
    MessageSlot,
    Page,
    Recorded,
    SequenceDiff,
    Step,
    StepSequence,
    dump_template_config,
    parse_generation_config,
    parse_template_config,
    presets,
)
from campaign_model.campaign import CampaignFields
from campaign_model.claims import Claim, ClaimBatch
from campaign_model.steps import ConditionName, StepChanges
from campaign_model.store import CampaignStore, StoreOptions, transact
from campaign_model.testing.sample_campaigns import LEASE, Tenant
from campaign_model.worker import run_export, run_worker

STEPS = StepSequence([Step("email", "First", config={"length": 1}, condition="always")])

DOCUMENT = dump_template_config(STEPS)


def test_values_have_exact_types() -> None:
    assert_type(STEPS, StepSequence)
    assert_type(STEPS[0], Step)
    assert_type(STEPS[:1], tuple[Step, ...])
    assert_type(STEPS[0].condition, Condition | None)
    assert_type(STEPS[0].config, JsonObject | None)
    assert_type(STEPS.update("s1", label="Second", config={"length": 2}), StepSequence)
    assert_type(STEPS.diff(STEPS), SequenceDiff)
    assert_type(STEPS.slots(), tuple[MessageSlot, ...])
    assert_type(GenerationConfig(budget=25).budget, Decimal | None)
    assert_type(Codec(vocabulary=STANDARD).parse_template_config(DOCUMENT), StepSequence)
    assert_type(parse_template_config(DOCUMENT), StepSequence)
    assert_type(parse_generation_config("{}"), GenerationConfig)
    (template, *_) = presets.load()
    assert_type(template, CampaignTemplate)
    assert_type(Campaign.from_template(template, "Spring", description="A"), Campaign)


def test_the_store_answers_exact_types(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=1)

    def work(store: CampaignStore) -> Page[CampaignSummary]:
        assert_type(store.campaigns.get(campaign.id), Campaign)
        batch = assert_type(store.generation.claim(campaign.id, 1, LEASE), ClaimBatch)
        outcomes = dict.fromkeys(batch.claims, Generated(Decimal(1)))
        assert_type(store.generation.record(outcomes), dict[Claim, Recorded])
        assert_type(store.campaigns.apply(campaign.id, Action.COMPLETE_GENERATION), Campaign)
        return assert_type(store.campaigns.list(), Page[CampaignSummary])

    assert assert_type(tenant.transact(work), Page[CampaignSummary]).items


def test_type_checkers_find_wrong_fields() -> None:
    with pytest.raises(InvalidDocument):
        Step("email", "First", condition="nonsense")  # type: ignore[arg-type]
    with pytest.raises(InvalidDocument):
        Step("email", "First", config=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Step("email", lable="First")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        STEPS.update("s1", lable="First")  # type: ignore[call-arg]
    with pytest.raises(InvalidDocument):
        STEPS.update("s1", condition="nonsense")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        StepSequence(["email"])  # type: ignore[list-item]
    with pytest.raises(InvalidDocument):
        GenerationConfig(budget=0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Generated(cost=0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Campaign.from_template(presets.load()[0], "Spring", lable="x")  # type: ignore[call-arg]


def test_type_checkers_find_wrong_options(tenant: Tenant) -> None:
    def work(store: CampaignStore) -> None: ...

    with pytest.raises(TypeError):
        transact(tenant.engine, tenant.id, work, attemps=3)  # type: ignore[call-arg]
    arguments = (tenant.engine, tenant.id, uuid4(), print)
    with pytest.raises(TypeError):
        run_worker(*arguments, coded=Codec())  # type: ignore[arg-type, call-arg]
    with pytest.raises(TypeError):
        run_export(*arguments, coded=Codec())  # type: ignore[call-arg]


def field_names(cls: type[attrs.AttrsInstance]) -> set[str]:
    return {attribute.name for attribute in attrs.fields(cls)}


def test_the_typed_keywords_are_the_fields_of_the_values() -> None:
    assert StepChanges.__annotations__.keys() == field_names(Step) - {"key"}
    assert CampaignFields.__annotations__.keys() == field_names(Campaign) - {"name"}
    options = signature(CampaignStore).parameters.keys()
    assert {"connection", "tenant_id", "actor", *StoreOptions.__annotations__} == {*options}
    assert get_args(ConditionName) == tuple(Condition)


def test_a_campaign_from_a_template_takes_every_field() -> None:
    fields: dict[str, Any] = {"id": uuid4(), "description": "A", "is_active": False}
    campaign = Campaign.from_template(presets.load()[0], "Spring", **fields)
    assert {name: getattr(campaign, name) for name in fields} == fields
