"""The store side by side with its model, on every engine, whatever befalls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from campaign_model.claims import Generated
from campaign_model.lifecycle import Action, Status
from campaign_model.store.tables import campaign_contacts, campaign_totals, metadata
from campaign_model.testing._interference import close, die
from campaign_model.testing.side_by_side import LEASE, Dies, IsAStrangers, IsLate
from campaign_model.testing.store_machine import StoreMachine
from support import contract
from support.world import HOST, World

# What it asks of the store, the tests of the store ask of every server.
pytestmark = pytest.mark.newest

CENT = Decimal("0.01")

Step = Callable[[StoreMachine], None]


@pytest.fixture
def machine_type(world: World) -> type[StoreMachine]:
    return StoreMachine.on(world.engine, world.tenant_id, world.contacts(4))


@contextmanager
def machine(of_type: type[StoreMachine], budget: Decimal | None = None) -> Iterator[StoreMachine]:
    """A machine at work, with a generating campaign of four contacts, two of them claimed."""
    one = of_type()
    try:
        one.there_is_a_campaign(budget, moves=2, claims=2)
        yield one
    finally:
        one.teardown()


@pytest.fixture
def at_work(machine_type: type[StoreMachine]) -> Iterator[StoreMachine]:
    with machine(machine_type) as one:
        yield one


def test_any_calls_in_any_order_leave_what_the_model_says(
    machine_type: type[StoreMachine],
) -> None:
    # SQLite shows all but the locks, in half the time.
    share = 4 if machine_type.engine.dialect.name == "sqlite" else 6
    run_state_machine_as_test(
        machine_type,
        settings=settings(
            machine_type.TestCase.settings,
            max_examples=settings().max_examples // share,
            # Shrinking takes longer than a test may hang; put it back to look into a failure.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )


# What the machine does, step by step. None of this is drawn.


def claim(machine: StoreMachine) -> None:
    machine.claim(0, 1, LEASE, CENT, 99)


def record(machine: StoreMachine) -> None:
    machine.record_any({0: Generated(CENT)}, "book")


def checkpoint(machine: StoreMachine) -> None:
    machine.checkpoint(0, CENT)


def cancel(machine: StoreMachine) -> None:
    machine.both("campaigns.apply", machine.campaign_id(0), Action.CANCEL_GENERATION)


def exclude(machine: StoreMachine) -> None:
    machine.both("contacts.exclude", machine.campaign_id(0), machine.contact_ids)


def erase(machine: StoreMachine) -> None:
    machine.erase(0)


def regenerate(machine: StoreMachine) -> None:
    machine.both("generation.regenerate", machine.campaign_id(0))


def save(machine: StoreMachine) -> None:
    campaign = machine.model.get(machine.campaign_id(0))
    machine.both("campaigns.save", attrs.evolve(campaign, name=campaign.name.swapcase()))


CALLS: tuple[Step, ...] = (claim, record, checkpoint, cancel, exclude, erase, save)


def name_of(step: object) -> str:
    return getattr(step, "__name__", "")


@pytest.mark.parametrize("call", CALLS, ids=name_of)
def test_a_call_that_dies_leaves_nothing_wherever_it_dies(
    machine_type: type[StoreMachine], call: Step
) -> None:
    with machine(machine_type, budget=5 * CENT) as one:
        before = one.model
        for at in range(14):
            one.next_call(Dies(at, close if at % 2 else die))
            call(one)
            assert one.model is before
        call(one)
        assert one.model is not before


@pytest.mark.parametrize("call", CALLS, ids=name_of)
def test_a_strangers_call_finds_nothing(at_work: StoreMachine, call: Step) -> None:
    before = at_work.model
    at_work.next_call(IsAStrangers())
    call(at_work)
    assert at_work.model is before


def afresh(machine: StoreMachine) -> None:
    """The campaign is generating and somebody works on a contact, whatever came before."""
    id_ = machine.campaign_id(0)
    if machine.model.get(id_).status is Status.READY:
        machine.both("campaigns.apply", id_, Action.START_GENERATION)
    regenerate(machine)
    machine.time_passes(2 * LEASE)
    claim(machine)


@pytest.mark.parametrize("engine_name", ["postgresql-18"], indirect=True)
@pytest.mark.parametrize(
    ("late", "call"),
    [
        (claim, claim),
        (cancel, claim),
        (claim, cancel),
        (cancel, cancel),
        (record, record),
        (record, cancel),
        (erase, record),
        (save, save),
    ],
    ids=name_of,
)
def test_two_calls_overlap_at_any_statement(
    machine_type: type[StoreMachine], late: Step, call: Step
) -> None:
    with machine(machine_type) as one:
        for at in range(10):
            afresh(one)
            one.next_call(IsLate(at))
            late(one)
            call(one)


@pytest.mark.parametrize("engine_name", ["postgresql-18"], indirect=True)
def test_two_claims_never_share_the_last_of_a_budget(machine_type: type[StoreMachine]) -> None:
    for at in range(8):
        with machine(machine_type, budget=3 * CENT) as one:
            one.next_call(IsLate(at))
            claim(one)
            claim(one)


@pytest.mark.parametrize("engine_name", ["postgresql-18"], indirect=True)
def test_a_claim_gets_nobody_who_came_back_after_a_cancel(at_work: StoreMachine) -> None:
    for at in range(8):
        afresh(at_work)
        record(at_work)
        at_work.next_call(IsLate(at, number=2))
        cancel(at_work)
        regenerate(at_work)
        at_work.claim(0, 4, LEASE, CENT, 99)


def test_a_transaction_is_for_good_or_never_was(at_work: StoreMachine) -> None:
    before = at_work.model
    at_work.transaction(commits=False)
    record(at_work)
    claim(at_work)
    assert at_work.model != before
    at_work.transaction(commits=False)
    assert at_work.model == before
    # Whoever was given a claim in it holds nothing, and is told so.
    record(at_work)
    at_work.transaction(commits=False)
    claim(at_work)
    after = at_work.model
    at_work.transaction(commits=True)
    assert at_work.model == after != before


def test_a_death_ends_the_whole_transaction(at_work: StoreMachine) -> None:
    before = at_work.model
    at_work.transaction(commits=False)
    record(at_work)
    at_work.next_call(Dies(3, close))
    claim(at_work)
    assert at_work.model == before
    claim(at_work)


# What the machine says when store and model part.


def test_it_says_where_they_part(at_work: StoreMachine) -> None:
    columns = campaign_contacts.c
    contact_id = at_work.contact_ids[3]
    with at_work.engine.begin() as connection:
        connection.execute(
            sa.update(campaign_contacts)
            .where(columns.tenant_id == at_work.tenant_id, columns.contact_id == contact_id)
            .values(attempts=7)
        )
    with pytest.raises(AssertionError) as caught:
        at_work.check(at_work.model)
    (line,) = str(caught.value).splitlines()
    assert line == (
        f"campaigns, {at_work.campaign_id(0)}, contacts, {contact_id}, attempts: "
        "the store has 7, the model 0"
    )


def test_it_says_which_answer_is_another(at_work: StoreMachine) -> None:
    with pytest.raises(AssertionError, match=r"answer: the store has None, the model 1"):
        at_work.call(lambda _: None, lambda _model, _answer: 1)


def test_totals_that_are_no_sums_are_a_fault_of_the_store(at_work: StoreMachine) -> None:
    with at_work.engine.begin() as connection:
        connection.execute(
            sa.update(campaign_totals)
            .where(campaign_totals.c.tenant_id == at_work.tenant_id, campaign_totals.c.shard == 0)
            .values(failed=1)
        )
    with pytest.raises(AssertionError, match=r"totals of campaign .*, failed: .* 1, the model 0"):
        at_work.check(at_work.model)


@pytest.mark.parametrize("engine_name", ["postgresql-18"], indirect=True)
def test_what_no_order_explains_is_told_in_both(at_work: StoreMachine) -> None:
    at_work.next_call(IsLate(0))
    at_work.call(lambda _: "early", lambda _model, _answer: "early")
    with pytest.raises(AssertionError) as caught:
        at_work.call(lambda _: "a", lambda _model, _answer: "b")
    message = str(caught.value)
    assert "The late ones last:\nanswer: the store has 'a', the model 'b'" in message
    assert "The late ones first:\nanswer: the store has 'a', the model 'b'" in message


def test_it_wants_a_tenant_of_its_own_and_leaves_it_empty(world: World) -> None:
    machine_type = StoreMachine.on(world.engine, world.tenant_id, world.contacts(2))
    with machine(machine_type) as one:
        claim(one)
        erase(one)
        with pytest.raises(ValueError, match="a tenant of its own"):
            machine_type()
    for table in metadata.sorted_tables:
        rows = sa.select(sa.func.count()).where(table.c.tenant_id == world.tenant_id)
        with world.engine.connect() as connection:
            assert connection.scalar(rows) == 0, table.name


# A service's own rules.


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_the_machine_of_the_guide_runs(world: World) -> None:
    names: dict[str, Any] = {
        "engine": world.engine,
        "tenant_id": world.tenant_id,
        "contact_ids": world.contacts(4),
        "messages": HOST.messages,
    }
    exec(contract.documented("import sqlalchemy as sa"), names)  # noqa: S102 - our own guide
    names["test_every_message_is_paid_for"]()
