"""Every call in every status of a campaign, compared with the model.

A campaign with contacts in every status is put into each status by SQL. Each call is made there,
and rolled back. The model goes by the tables of the lifecycle, so these tests show that the store
follows the tables for every status, action and permission.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from uuid import uuid4

import attrs
import pytest

from campaign_model.campaign import Campaign
from campaign_model.claims import Failed, Generated, NotReady
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.steps import StepSequence
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS, Tenant
from support.machines import SteppedMachine, stepped_machine

CONFIG = GenerationConfig(tone="casual", budget=Decimal(1))
TALLIES = (None, ReviewTally(2, 1, 0), ReviewTally(0, 3, 0), ReviewTally(2, 0, 1))


@contextmanager
def generating_machine(
    tenant: Tenant, contacts: int, config: GenerationConfig = CONFIG
) -> Iterator[SteppedMachine]:
    """A machine with a generating campaign, and two contacts more than the campaign has."""
    with stepped_machine(tenant, contacts + 2, actor="ann") as machine:
        machine.both("campaigns.add", Campaign("Campaign", STEPS, config))
        if contacts:
            ids = machine.contact_ids[:contacts]
            machine.both("contacts.assign", machine.campaign_id(0), ids)
            machine.move_on(0)
            machine.move_on(0)
        yield machine


def move_contacts_into_every_status(machine: SteppedMachine) -> None:
    """Put the campaign's eight contacts into every status, with and without costs."""
    id_ = machine.campaign_id(0)
    machine.claim(0, 1)
    machine.time_passes(2 * LEASE)
    machine.claim(0, 4)
    expired, in_flight, generated, failed, excluded = machine.claims
    machine.checkpoint(1, CENT)
    machine.both(
        "generation.record",
        {generated: Generated(CENT), failed: Failed("code", "message", None)},
    )
    machine.both("contacts.exclude", id_, [excluded.contact_id])
    ready, lacking = machine.contact_ids[5:7]
    machine.both("contacts.set_readiness", id_, {ready: (), lacking: ("phone",)})
    assert expired.contact_id != in_flight.contact_id
    statuses = {contact.status for contact in machine.model.state_of(id_).contacts.values()}
    assert statuses == {*ContactStatus}


def check_in_every_status(
    machine: SteppedMachine, calls: Callable[[SteppedMachine, Status], Iterator[Callable[[], Any]]]
) -> None:
    """Make the calls in every status of the first campaign, and roll each of them back."""
    for status in Status:
        machine.set_status(status)
        for call in calls(machine, status):
            machine.try_out(call)
        machine.check_database()


# Moves.


def half_generated(machine: SteppedMachine) -> None:
    machine.claim(0, 1)
    machine.time_passes(2 * LEASE)
    machine.claim(0, 3)
    machine.both("generation.record", {machine.claims[-1]: Generated(CENT)})


def all_generated(machine: SteppedMachine) -> None:
    machine.claim(0, 4)
    machine.both("generation.record", dict.fromkeys(machine.claims, Generated(CENT)))


def out_of_money(machine: SteppedMachine) -> None:
    machine.claim(0, 2)
    machine.both("generation.record", dict.fromkeys(machine.claims, Generated(Decimal("0.0249"))))
    machine.claim(0, 1)
    assert machine.model.facts(machine.campaign_id(0)).budget_exhausted


def some_stale(machine: SteppedMachine) -> None:
    id_ = machine.campaign_id(0)
    machine.claim(0, 2)
    machine.both("generation.record", dict.fromkeys(machine.claims, Generated(CENT)))
    machine.set_status(Status.READY)
    campaign = machine.model.get(id_)
    steps = campaign.steps.update("s1", label="Other")
    machine.both("campaigns.save", attrs.evolve(campaign, steps=steps))
    machine.set_status(Status.GENERATING)
    machine.claim(0, 2)
    machine.both("generation.record", dict.fromkeys(machine.claims[2:], Generated(CENT)))
    assert machine.model.facts(id_).stale == 2


SHAPES: dict[str, tuple[int, Callable[[SteppedMachine], None] | None]] = {
    "no contacts": (0, None),
    "all waiting": (4, None),
    "half generated": (4, half_generated),
    "all generated": (4, all_generated),
    "out of money": (4, out_of_money),
    "some stale": (4, some_stale),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_action_in_every_status_follows_the_table(tenant: Tenant, shape: str) -> None:
    contacts, prepare = SHAPES[shape]
    budget = attrs.evolve(CONFIG, budget=5 * CENT)

    def calls(machine: SteppedMachine, status: Status) -> Iterator[Callable[[], Any]]:
        id_ = machine.campaign_id(0)
        yield lambda: machine.both("campaigns.actions", id_)
        for action in Action:
            yield lambda: machine.both("campaigns.apply", id_, action, reason="why")  # noqa: B023
        if status is Status.REVIEW:
            for review, empty, partial in itertools.product(TALLIES, (False, True), (False, True)):
                options: dict[str, Any] = {
                    "review": review,
                    "allow_empty": empty,
                    "allow_partial": partial,
                }
                yield lambda: machine.both("campaigns.actions", id_, **options)  # noqa: B023
                yield lambda: machine.both(
                    "campaigns.apply",
                    id_,
                    Action.APPROVE,
                    **options,  # noqa: B023
                )

    with generating_machine(tenant, contacts, budget) as machine:
        if prepare is not None:
            prepare(machine)
        check_in_every_status(machine, calls)


# Content.

OTHER_STEPS = {
    "reordered": STEPS.move("s1", 3),
    "disabled": STEPS.update("s1", enabled=False),
    "with keys": STEPS.move("s1", 1),
    "none": StepSequence(),
}
OTHER_CONFIGS = {
    "tone": attrs.evolve(CONFIG, tone="direct"),
    "higher budget": attrs.evolve(CONFIG, budget=Decimal("1.000000001")),
    "lower budget": attrs.evolve(CONFIG, budget=Decimal("0.5")),
    "no budget": attrs.evolve(CONFIG, budget=None),
    "higher budget and tone": attrs.evolve(CONFIG, tone="direct", budget=Decimal(2)),
    "higher budget and extra": attrs.evolve(CONFIG, budget=Decimal(2), extra={"x_a": 1}),
}
EDITS: tuple[dict[str, Any], ...] = (
    {},
    {"name": "Other"},
    {"description": "Other"},
    {"name": "Other", "steps": StepSequence()},
    {"name": "Other", "generation_config": OTHER_CONFIGS["higher budget"]},
    *({"steps": steps} for steps in OTHER_STEPS.values()),
    *({"generation_config": config} for config in OTHER_CONFIGS.values()),
)


@pytest.mark.parametrize("config", [CONFIG, GenerationConfig()], ids=["budget", "no budget"])
def test_every_edit_in_every_status_follows_the_permissions(
    tenant: Tenant, config: GenerationConfig
) -> None:
    def calls(machine: SteppedMachine, _status: Status) -> Iterator[Callable[[], Any]]:
        campaign = machine.model.get(machine.campaign_id(0))
        for edit in EDITS:
            edited = attrs.evolve(campaign, **edit)
            yield lambda: machine.both("campaigns.save", edited)  # noqa: B023

    with generating_machine(tenant, 1, config) as machine:
        check_in_every_status(machine, calls)


# Contacts and generation.


def test_failure_23_contacts_change_only_in_the_statuses_that_permit_it(tenant: Tenant) -> None:
    def calls(machine: SteppedMachine, _status: Status) -> Iterator[Callable[[], Any]]:
        id_ = machine.campaign_id(0)
        ids = [*machine.contact_ids, uuid4()]
        for contact_ids in (ids, []):
            for method in ("assign", "remove", "exclude", "include"):
                yield lambda: machine.both(f"contacts.{method}", id_, contact_ids)  # noqa: B023
            for gaps in ((), ("phone",)):
                by_contact = dict.fromkeys(contact_ids, gaps)
                yield lambda: machine.both("contacts.set_readiness", id_, by_contact)  # noqa: B023
            yield lambda: machine.both("contacts.erase", contact_ids)  # noqa: B023
        yield lambda: machine.read(0, "exportable")
        yield lambda: machine.read(0, "contacts")

    with generating_machine(tenant, 8) as machine:
        move_contacts_into_every_status(machine)
        check_in_every_status(machine, calls)


def test_generation_calls_follow_the_permissions_in_every_status(tenant: Tenant) -> None:
    def calls(machine: SteppedMachine, _status: Status) -> Iterator[Callable[[], Any]]:
        id_ = machine.campaign_id(0)
        ids = [*machine.contact_ids, uuid4()]
        yield lambda: machine.claim(0, 9)
        yield lambda: machine.read(0, "progress")
        yield lambda: machine.both("generation.renew", machine.claims, LEASE)
        for contact_ids in (None, ids, []):
            yield lambda: machine.both("generation.retry_failed", id_, contact_ids)  # noqa: B023
            for only_stale in (False, True):
                yield lambda: machine.both(
                    "generation.regenerate",
                    id_,
                    contact_ids,  # noqa: B023
                    only_stale=only_stale,  # noqa: B023
                )
        for claim in machine.model.held(machine.claims):
            yield lambda: machine.both("generation.checkpoint", claim, CENT)  # noqa: B023
            yield lambda: machine.both("generation.record", {claim: Generated(CENT)})  # noqa: B023
            yield lambda: machine.both(
                "generation.record",
                {claim: NotReady(("phone",))},  # noqa: B023
            )

    with generating_machine(tenant, 8) as machine:
        move_contacts_into_every_status(machine)
        check_in_every_status(machine, calls)
