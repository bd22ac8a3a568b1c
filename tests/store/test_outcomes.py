"""Every outcome in every situation that a claim can be in, compared with the model.

A situation is what happened to the claims before their outcomes are recorded: the lease expired,
the contacts were excluded, another worker took over. In each situation every kind of outcome is
recorded with every ``on_lost``, one by one and all in one call, and then recorded again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import attrs
import pytest

from campaign_model.campaign import Campaign
from campaign_model.claims import (
    Claim,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Recorded,
    Unfinished,
)
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore
from campaign_model.store.generation import OnLost
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS, Tenant
from support.machines import SteppedMachine, stepped_machine

ON_LOST: tuple[OnLost, ...] = ("raise", "skip", "book")
OUTCOMES: tuple[Outcome, ...] = (
    Generated(Decimal("0.00144")),
    Generated(None),
    Failed("refused", "the language model refused", Decimal("0.2")),
    Failed("refused", "the cost of the refusal is unknown", None),
    NotReady(("email", "phone"), CENT),
    NotReady(("email",), None),
    Unfinished(cost=Decimal("0.3")),
    Unfinished(timedelta(minutes=2), None),
)
COMBINATIONS = [*itertools.product(OUTCOMES, ON_LOST)]
NUMBER = len(COMBINATIONS)

Situation = Callable[[SteppedMachine], None]


@contextmanager
def machine_with_claims(tenant: Tenant) -> Iterator[SteppedMachine]:
    """A machine with one claimed contact for each combination of outcome and ``on_lost``."""
    config = GenerationConfig(budget=Decimal(50))
    with stepped_machine(tenant, NUMBER) as machine:
        machine.both("campaigns.add", Campaign("Campaign", STEPS, config))
        machine.both("contacts.assign", machine.campaign_id(0), machine.contact_ids)
        apply(machine, Action.MARK_READY, Action.START_GENERATION)
        claim_all(machine)
        yield machine


def apply(machine: SteppedMachine, *actions: Action) -> None:
    for action in actions:
        machine.both("campaigns.apply", machine.campaign_id(0), action)


def claim_all(machine: SteppedMachine, max_attempts: int = 5) -> list[Claim]:
    """Claim as another worker, and return the new claims."""
    before = len(machine.claims)
    machine.claim(0, NUMBER, reserve=CENT / 2, max_attempts=max_attempts)
    return machine.claims[before:]


def record_all(machine: SteppedMachine, claims: list[Claim], outcome: Outcome) -> None:
    machine.both("generation.record", dict.fromkeys(claims, outcome), on_lost="book")


# Situations in which the claim still holds the contact.


def in_time(machine: SteppedMachine) -> None:
    pass


def expired(machine: SteppedMachine) -> None:
    machine.time_passes(2 * LEASE)


def checkpointed(machine: SteppedMachine) -> None:
    for claim in machine.claims:
        machine.both("generation.checkpoint", claim, Decimal("0.004"))


def cancelled(machine: SteppedMachine) -> None:
    apply(machine, Action.CANCEL_GENERATION)


def started_again(machine: SteppedMachine) -> None:
    apply(machine, Action.CANCEL_GENERATION, Action.START_GENERATION)


def steps_changed(machine: SteppedMachine) -> None:
    cancelled(machine)
    campaign = machine.model.get(machine.campaign_id(0))
    steps = campaign.steps.update("s1", label="Another invitation")
    machine.both("campaigns.save", attrs.evolve(campaign, steps=steps))
    apply(machine, Action.START_GENERATION)


def excluded(machine: SteppedMachine) -> None:
    machine.both("contacts.exclude", machine.campaign_id(0), machine.contact_ids)


def excluded_after_a_cancel(machine: SteppedMachine) -> None:
    cancelled(machine)
    excluded(machine)


def excluded_before_a_review(machine: SteppedMachine) -> None:
    record_all(machine, machine.claims[:1], Generated(CENT))
    machine.both("contacts.exclude", machine.campaign_id(0), machine.contact_ids[1:])
    expired(machine)
    apply(machine, Action.CANCEL_GENERATION, Action.SUBMIT_FOR_REVIEW)


# Situations in which the outcome was recorded before.


def generated(machine: SteppedMachine) -> None:
    record_all(machine, machine.claims, Generated(CENT))


def failed(machine: SteppedMachine) -> None:
    record_all(machine, machine.claims, Failed("no", "no", CENT))


def excluded_and_recorded(machine: SteppedMachine) -> None:
    excluded(machine)
    generated(machine)


def released(machine: SteppedMachine) -> None:
    machine.both("generation.release", machine.claims)


def failed_and_retried(machine: SteppedMachine) -> None:
    failed(machine)
    machine.both("generation.retry_failed", machine.campaign_id(0))


def generated_and_requeued(machine: SteppedMachine) -> None:
    generated(machine)
    machine.both("generation.regenerate", machine.campaign_id(0))


def released_and_claimed_again(machine: SteppedMachine) -> None:
    released(machine)
    claim_all(machine)


def released_and_generated_by_another(machine: SteppedMachine) -> None:
    released(machine)
    record_all(machine, claim_all(machine), Generated(CENT))


def lost_and_booked(machine: SteppedMachine) -> None:
    claims = [*machine.claims]
    taken_over(machine)
    record_all(machine, claims, Unfinished(cost=CENT))


def generated_twice_since(machine: SteppedMachine) -> None:
    for _ in range(2):
        generated_and_requeued(machine)
        record_all(machine, claim_all(machine), Generated(CENT))


def lost_by_two_workers(machine: SteppedMachine) -> None:
    lost_and_booked(machine)
    expired(machine)
    second_takeover = claim_all(machine)
    expired(machine)
    record_all(machine, claim_all(machine), Generated(CENT))
    record_all(machine, second_takeover, Generated(CENT))


# Situations in which the claim has lost the contact.


def taken_over(machine: SteppedMachine) -> None:
    expired(machine)
    assert len(claim_all(machine)) == NUMBER


def taken_over_and_generated(machine: SteppedMachine) -> None:
    expired(machine)
    record_all(machine, claim_all(machine), Generated(CENT))


def taken_over_and_released(machine: SteppedMachine) -> None:
    expired(machine)
    machine.both("generation.release", claim_all(machine))


def failed_at_the_cap(machine: SteppedMachine) -> None:
    expired(machine)
    assert claim_all(machine, max_attempts=1) == []


def excluded_and_included(machine: SteppedMachine) -> None:
    excluded_after_a_cancel(machine)
    expired(machine)
    machine.both("contacts.include", machine.campaign_id(0), machine.contact_ids)


def released_by_a_review(machine: SteppedMachine) -> None:
    expired(machine)
    (claim, *_) = claim_all(machine)
    record_all(machine, [claim], Generated(CENT))
    expired(machine)
    apply(machine, Action.CANCEL_GENERATION, Action.SUBMIT_FOR_REVIEW)


def erased(machine: SteppedMachine) -> None:
    machine.both("contacts.erase", machine.contact_ids)


HELD: tuple[Situation, ...] = (
    *(in_time, expired, checkpointed, cancelled, started_again, steps_changed),
    *(excluded, excluded_after_a_cancel),
)
RECORDED: tuple[Situation, ...] = (
    *(generated, failed, excluded_and_recorded, released, failed_and_retried),
    *(generated_and_requeued, released_and_claimed_again, released_and_generated_by_another),
    *(lost_and_booked, generated_twice_since, lost_by_two_workers),
)
LOST: tuple[Situation, ...] = (
    *(taken_over, taken_over_and_generated, taken_over_and_released, failed_at_the_cap),
    *(excluded_and_included, released_by_a_review, erased),
)


def name_of(situation: Situation) -> str:
    return str(getattr(situation, "__name__", ""))


def record_every_outcome(machine: SteppedMachine, claims: list[Claim]) -> set[Recorded]:
    """Record every outcome with every ``on_lost``, and return the answers of the store.

    1. All claims in one call, which is rolled back.
    2. One claim in each call.
    3. Every claim again, with every ``on_lost``, and a checkpoint.
    """
    answers: set[Recorded] = set()

    def record(outcomes: dict[Claim, Outcome], on_lost: OnLost) -> None:
        def on_store(store: CampaignStore) -> dict[Claim, Recorded]:
            answer = store.generation.record(outcomes, on_lost=on_lost)
            answers.update(answer.values())
            return answer

        machine.call(
            on_store,
            lambda model, _: model.record(outcomes, on_lost=on_lost),
            name="generation.record",
        )

    pairs = [*zip(claims, COMBINATIONS, strict=True)]
    for on_lost in ON_LOST:
        outcomes = {claim: outcome for claim, (outcome, _) in pairs}
        machine.try_out(lambda: record(outcomes, on_lost))  # noqa: B023
    for claim, (outcome, on_lost) in pairs:
        record({claim: outcome}, on_lost)
    machine.check_database()
    for claim, (outcome, _) in pairs:
        for on_lost in ON_LOST:
            record({claim: outcome}, on_lost)
        machine.both("generation.checkpoint", claim, CENT)
    machine.check_database()
    return answers


@pytest.mark.parametrize("situation", [*HELD, excluded_before_a_review], ids=name_of)
def test_a_claim_with_the_token_records_every_outcome(tenant: Tenant, situation: Situation) -> None:
    with machine_with_claims(tenant) as machine:
        claims = [*machine.claims]
        situation(machine)
        answers = record_every_outcome(machine, claims)
    assert not answers & {Recorded.SKIPPED, Recorded.BOOKED}


@pytest.mark.parametrize("situation", RECORDED, ids=name_of)
def test_failure_28_a_repeated_outcome_is_recognized_and_changes_nothing(
    tenant: Tenant, situation: Situation
) -> None:
    with machine_with_claims(tenant) as machine:
        claims = [*machine.claims]
        situation(machine)
        before = machine.model.campaigns
        answers = record_every_outcome(machine, claims)
        assert machine.model.campaigns == before
    assert answers == {Recorded.ALREADY}


@pytest.mark.parametrize("situation", LOST, ids=name_of)
def test_a_lost_claim_records_nothing_but_its_cost(tenant: Tenant, situation: Situation) -> None:
    with machine_with_claims(tenant) as machine:
        claims = [*machine.claims]
        situation(machine)
        answers = record_every_outcome(machine, claims)
    assert not answers & {Recorded.APPLIED, Recorded.REQUEUED, Recorded.EXCLUDED}
