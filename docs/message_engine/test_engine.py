"""The tests of the engine, written with the public test kit only.

Most tests are properties: Hypothesis draws campaigns, documents and misbehaviour of the language
model, and ``check_promises`` says what must be true in the end.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import sqlalchemy as sa
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from campaign_model import (
    STANDARD,
    Action,
    Channel,
    ContactStatus,
    Status,
    StepSequence,
    effective_config,
    recover_template_config,
)
from campaign_model.testing import documents, strategies
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.death import dying
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from engine import MESSAGES, format_reply
from scenario import (
    ADDRESSES,
    PRICE,
    Scenario,
    ScriptedModel,
    be_busy,
    refuse,
    write,
    write_nothing,
    write_or_die,
)

settings.register_profile(
    "engine",
    max_examples=20,
    deadline=None,
    # Every example makes its own campaign, so all examples of a test can share one database.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("engine")

LEASE = timedelta(minutes=5)
CHANNELS = {channel.name: channel for channel in STANDARD.channels}


def check_promises(scenario: Scenario) -> None:
    """Check the engine's promises, whatever happened before.

    1. Each generated contact has every message of the present steps, and no other contact has.
    2. No message is left over, except withdrawn ones.
    3. The booked cost is what the language model was paid for.
    """
    slots = scenario.campaign.steps.slots()
    messages, progress = scenario.messages, scenario.progress
    unexplained_ids = {row.id for row in messages if row.status != "withdrawn"}
    for contact in scenario.campaign_contacts:
        expected_ids = {slot.message_id(contact.id, contact.revision) for slot in slots}
        has_all_messages = expected_ids <= unexplained_ids
        assert has_all_messages == (contact.status is ContactStatus.GENERATED)
        unexplained_ids -= expected_ids
    assert not unexplained_ids
    assert progress.spent == PRICE * (len(messages) + scenario.error_codes["empty_reply"])
    assert progress.unknown_costs == scenario.error_codes["model_error"]


step_sequences = strategies.step_sequences(1, 2).filter(lambda steps: bool(steps.enabled))
scripts = st.lists(st.sampled_from([write, write_nothing, be_busy, refuse]), max_size=6)
long_texts = st.lists(strategies.texts()).map(lambda texts: "\n".join(texts * 500))


@given(strategies.channels(), long_texts)
def test_a_reply_is_formatted_for_its_channel(channel: Channel, text: str) -> None:
    subject, body = format_reply(channel, text)
    assert (subject is not None) == channel.has_subject
    assert body in text
    assert len(body) <= (channel.max_length or len(text))


@given(step_sequences)
def test_every_enabled_step_gets_its_messages(campaign_tenant: Tenant, steps: StepSequence) -> None:
    scenario, model = Scenario(campaign_tenant, steps, contacts=2), ScriptedModel()
    scenario.run(model)
    check_promises(scenario)
    assert scenario.campaign.status is Status.REVIEW
    assert len(scenario.messages) == 2 * sum(step.variant_count for step in steps.enabled)
    for message in scenario.messages:
        channel = CHANNELS[steps.by_key(message.step_key).channel]
        assert message.channel == channel.name
        assert len(message.body) <= (channel.max_length or 0)
    config = scenario.campaign.generation_config
    for prompt in model.prompts:
        assert prompt.settings == effective_config(config, prompt.step)


@given(documents.valid("template_config", "stored"))
def test_steps_stored_by_older_services_work(campaign_tenant: Tenant, document: Any) -> None:
    steps = recover_template_config(json.dumps(document)).value
    assume(steps.enabled)
    scenario = Scenario(campaign_tenant, STEPS)
    with campaign_tenant.engine.begin() as connection:
        update = sa.text("UPDATE campaigns SET template_config = :document WHERE id = :id")
        campaign_id = sa.bindparam("id", scenario.campaign_id, MESSAGES.c.id.type)
        connection.execute(update.bindparams(campaign_id), {"document": json.dumps(document)})
    scenario.run(ScriptedModel())
    check_promises(scenario)
    unknown_channels = {step.channel for step in steps.enabled} - CHANNELS.keys()
    assert scenario.error_codes == {"unknown_channel" if unknown_channels else None: 1}


@given(strategies.step_sequences(3, 4), st.sets(st.sampled_from(sorted(ADDRESSES)), min_size=1))
def test_no_message_is_paid_for_a_contact_without_an_address(
    campaign_tenant: Tenant, steps: StepSequence, missing: set[str]
) -> None:
    assume(steps.enabled)
    scenario, model = Scenario(campaign_tenant, steps, missing=missing), ScriptedModel()
    scenario.run(model)
    check_promises(scenario)
    required = {field for step in steps.enabled for field in CHANNELS[step.channel].requires}
    gaps = required & missing
    assert {*(scenario.campaign_contacts[0].enrichment_gaps or ())} == gaps
    assert (model.prompts == []) == bool(gaps)


@given(step_sequences, scripts)
def test_every_failure_of_the_model_is_recorded_with_its_cost(
    campaign_tenant: Tenant, steps: StepSequence, script: list[Callable[[], str]]
) -> None:
    scenario, model = Scenario(campaign_tenant, steps, contacts=2), ScriptedModel(script)
    scenario.run(model)
    check_promises(scenario)
    performed = script[: len(model.prompts)]
    assert scenario.error_codes["empty_reply"] == performed.count(write_nothing)
    assert scenario.error_codes["model_error"] == performed.count(refuse)


@given(step_sequences, step_sequences, st.integers(0, 6))
def test_a_campaign_can_be_cancelled_edited_and_restarted(
    campaign_tenant: Tenant, steps: StepSequence, new_steps: StepSequence, calls_before_cancel: int
) -> None:
    scenario = Scenario(campaign_tenant, steps, contacts=2)

    def cancel_and_write() -> str:
        scenario.apply(Action.CANCEL_GENERATION)
        return write()

    scenario.run(ScriptedModel([*[write] * calls_before_cancel, cancel_and_write]))
    if scenario.campaign.status is Status.REVIEW:  # The generation ended before the cancel.
        scenario.apply(Action.REQUEST_CHANGES)
    edited, contact_ids = attrs.evolve(scenario.campaign, steps=new_steps), scenario.add_contacts(1)
    scenario.transact(lambda store: store.campaigns.save(edited))
    scenario.transact(lambda store: store.contacts.assign(scenario.campaign_id, contact_ids))
    scenario.transact(
        lambda store: store.generation.regenerate(scenario.campaign_id, only_stale=True)
    )
    scenario.apply(Action.START_GENERATION)
    scenario.run(ScriptedModel())
    check_promises(scenario)
    assert scenario.progress.by_status[ContactStatus.GENERATED] == 3


@given(st.lists(st.integers(0, 90), max_size=3))
def test_a_worker_can_die_at_any_moment(campaign_tenant: Tenant, deaths: list[int]) -> None:
    scenario, clock = Scenario(campaign_tenant, STEPS, contacts=2), FrozenClock()
    calls = 0
    for moment in deaths:
        with dying(campaign_tenant.engine, moment) as may_die:
            model = ScriptedModel(itertools.repeat(write_or_die(may_die)))
            scenario.run(model, clock=clock, lease=LEASE)
        calls += len(model.prompts)
        clock.forward(LEASE)  # Now the next worker may take over.
    model = ScriptedModel()
    scenario.run(model, clock=clock, lease=LEASE)
    check_promises(scenario)
    assert scenario.progress.by_status[ContactStatus.GENERATED] == 2
    # Each death wastes at most one call.
    assert calls + len(model.prompts) <= len(scenario.messages) + len(deaths)


@settings(max_examples=10)
@given(st.integers(0, 6), st.lists(st.integers(0, 40), max_size=3))
def test_an_exporter_can_die_at_any_moment(
    campaign_tenant: Tenant, rejected: int, deaths: list[int]
) -> None:
    scenario, clock = Scenario(campaign_tenant, STEPS, contacts=2), FrozenClock()
    scenario.run(ScriptedModel())
    scenario.approve(rejected)
    sent: Counter[Any] = Counter()

    for moment in deaths:
        with dying(campaign_tenant.engine, moment) as may_die:

            def send(message: Any) -> None:
                may_die()
                sent[message.id] += 1

            scenario.export(send, clock=clock, lease=LEASE)
        clock.forward(LEASE)  # Now the next exporter may take over.
    scenario.export(lambda message: sent.update([message.id]), clock=clock, lease=LEASE)
    # Every approved message is sent, and each death repeats at most the messages of one contact.
    assert sent.keys() == {row.id for row in scenario.messages if row.status == "approved"}
    repeated = sum(number - 1 for number in sent.values())
    assert repeated <= len(deaths) * len(STEPS.slots())
    assert scenario.progress.exported == 2
