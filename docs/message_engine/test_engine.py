"""The engine's tests, with nothing but the public test kit."""

from __future__ import annotations

import itertools
import json
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
from engine import MESSAGES, in_form
from trial import PRICE, REACHABLE, Model, Trial, be_busy, leave_blank, refuse, write, write_at

settings.register_profile(
    "engine",
    max_examples=20,
    deadline=None,
    # Every example makes a campaign of its own: one database does for all of a test.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("engine")

LEASE = timedelta(minutes=5)
CHANNELS = {channel.name: channel for channel in STANDARD.channels}


def check(trial: Trial) -> None:
    """Whoever is done has each message of the present steps, once; what was paid is booked."""
    slots, messages, progress = trial.campaign.steps.slots(), trial.messages, trial.progress
    valid = {row.id for row in messages if row.status != "withdrawn"}
    for one in trial.contacts:
        wanted = {slot.message_id(one.id, one.revision) for slot in slots}
        assert (wanted <= valid) == (one.status is ContactStatus.GENERATED)
        valid -= wanted
    assert not valid
    assert progress.spent == PRICE * (len(messages) + trial.failures["empty_reply"])
    assert progress.unknown_costs == trial.failures["model_error"]


sequences = strategies.step_sequences(1, 2).filter(lambda steps: bool(steps.enabled))
scripts = st.lists(st.sampled_from([write, leave_blank, be_busy, refuse]), max_size=6)


@given(strategies.channels(), st.lists(strategies.texts()).map(lambda some: "\n".join(some * 500)))
def test_a_reply_takes_the_form_of_its_channel(channel: Channel, text: str) -> None:
    subject, body = in_form(channel, text)
    assert (subject is not None) == channel.has_subject
    assert body in text
    assert len(body) <= (channel.max_length or len(text))


@given(sequences)
def test_every_enabled_step_gets_its_messages(campaign_tenant: Tenant, steps: StepSequence) -> None:
    trial, model = Trial(campaign_tenant, steps, contacts=2), Model()
    trial.run(model)
    check(trial)
    assert trial.campaign.status is Status.REVIEW
    assert len(trial.messages) == 2 * sum(step.variant_count for step in steps.enabled)
    for message in trial.messages:
        channel = CHANNELS[steps.by_key(message.step_key).channel]
        assert message.channel == channel.name
        assert len(message.body) <= (channel.max_length or 0)
    config = trial.campaign.generation_config
    assert all(one.settings == effective_config(config, one.step) for one in model.prompts)


@given(documents.valid("template_config", "stored"))
def test_what_older_services_stored_is_no_surprise(campaign_tenant: Tenant, document: Any) -> None:
    steps = recover_template_config(json.dumps(document)).value
    assume(steps.enabled)
    trial = Trial(campaign_tenant, STEPS)
    with campaign_tenant.engine.begin() as connection:
        statement = sa.text("UPDATE campaigns SET template_config = :document WHERE id = :id")
        id_ = sa.bindparam("id", trial.id, MESSAGES.c.id.type)
        connection.execute(statement.bindparams(id_), {"document": json.dumps(document)})
    trial.run(Model())
    check(trial)
    strange = {step.channel for step in steps.enabled} - CHANNELS.keys()
    assert trial.failures == {"unknown_channel" if strange else None: 1}


@given(strategies.step_sequences(3, 4), st.sets(st.sampled_from(sorted(REACHABLE)), min_size=1))
def test_nothing_is_paid_for_whom_a_step_cannot_reach(
    campaign_tenant: Tenant, steps: StepSequence, lacking: set[str]
) -> None:
    assume(steps.enabled)
    trial, model = Trial(campaign_tenant, steps, lacking=lacking), Model()
    trial.run(model)
    check(trial)
    gaps = {field for step in steps.enabled for field in CHANNELS[step.channel].requires} & lacking
    assert {*(trial.contacts[0].enrichment_gaps or ())} == gaps
    assert (model.prompts == []) == bool(gaps)


@given(sequences, scripts)
def test_whatever_the_model_does_is_told_and_booked(
    campaign_tenant: Tenant, steps: StepSequence, script: list[Callable[[], str]]
) -> None:
    trial, model = Trial(campaign_tenant, steps, contacts=2), Model(script)
    trial.run(model)
    check(trial)
    played = script[: len(model.prompts)]
    assert trial.failures["empty_reply"] == played.count(leave_blank)
    assert trial.failures["model_error"] == played.count(refuse)


@given(sequences, sequences, st.integers(0, 6))
def test_it_may_be_cancelled_edited_and_started_again(
    campaign_tenant: Tenant, steps: StepSequence, others: StepSequence, calls: int
) -> None:
    trial = Trial(campaign_tenant, steps, contacts=2)

    def cancel() -> str:
        trial.apply(Action.CANCEL_GENERATION)
        return write()

    trial.run(Model([*[write] * calls, cancel]))
    if trial.campaign.status is Status.REVIEW:  # It came to its end first.
        trial.apply(Action.REQUEST_CHANGES)
    edited, new = attrs.evolve(trial.campaign, steps=others), trial.people(1)
    trial.transact(lambda store: store.campaigns.save(edited))
    trial.transact(lambda store: store.contacts.assign(trial.id, new))
    trial.transact(lambda store: store.generation.regenerate(trial.id, only_stale=True))
    trial.apply(Action.START_GENERATION)
    trial.run(Model())
    check(trial)
    assert trial.progress.by_status[ContactStatus.GENERATED] == 3


@given(st.lists(st.integers(0, 90), max_size=3))
def test_it_may_die_at_any_moment(campaign_tenant: Tenant, deaths: list[int]) -> None:
    trial, clock = Trial(campaign_tenant, STEPS, contacts=2), FrozenClock()
    calls = 0
    for at in deaths:
        with dying(campaign_tenant.engine, at) as moment:
            model = Model(itertools.repeat(write_at(moment)))
            trial.run(model, clock=clock, lease=LEASE)
        calls += len(model.prompts)
        clock.forward(LEASE)
    model = Model()
    trial.run(model, clock=clock, lease=LEASE)
    check(trial)
    assert trial.progress.by_status[ContactStatus.GENERATED] == 2
    assert calls + len(model.prompts) <= len(trial.messages) + len(deaths)
