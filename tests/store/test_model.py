"""The store compared with the model on every engine, and the machine that compares them."""

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
from campaign_model.testing.interference import Crash, OtherTenant, Overlap, close_connection, die
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from campaign_model.testing.store_machine import StoreMachine
from support import contract
from support.tenants import HOST
from support.transactions import on_newest_postgresql, on_sqlite

Step = Callable[[StoreMachine], None]


@pytest.fixture
def machine_type(tenant: Tenant) -> type[StoreMachine]:
    return StoreMachine.on(tenant.engine, tenant.id, tenant.contacts(4))


@contextmanager
def running_machine(
    machine_type: type[StoreMachine], budget: Decimal | None = None
) -> Iterator[StoreMachine]:
    """A machine with a generating campaign of four contacts, two of them claimed."""
    machine = machine_type()
    try:
        machine.set_up_campaign(budget, moves=2, claims=2)
        yield machine
    finally:
        machine.teardown()


@pytest.fixture
def machine(machine_type: type[StoreMachine]) -> Iterator[StoreMachine]:
    with running_machine(machine_type) as machine:
        yield machine


def test_any_calls_in_any_order_give_what_the_model_says(
    machine_type: type[StoreMachine],
) -> None:
    # SQLite finds everything except faults of locks, in half the time.
    divisor = 2 if machine_type.engine.dialect.name == "sqlite" else 4
    run_state_machine_as_test(
        machine_type,
        settings=settings(
            machine_type.TestCase.settings,
            max_examples=settings().max_examples // divisor,
            # Shrinking takes longer than the timeout of a test. Add it to examine a failure.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )


# Calls of the machine, step by step. None of this is random.


def claim(machine: StoreMachine) -> None:
    machine.claim(0, 1, max_attempts=99)


def record(machine: StoreMachine) -> None:
    machine.record({0: Generated(CENT)}, "book")


def checkpoint(machine: StoreMachine) -> None:
    machine.checkpoint(0, CENT)


def release(machine: StoreMachine) -> None:
    machine.release([0])


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


CALLS: tuple[Step, ...] = (claim, record, checkpoint, release, cancel, exclude, erase, save)


def name_of(step: object) -> str:
    return getattr(step, "__name__", "")


@pytest.mark.parametrize("call", CALLS, ids=name_of)
def test_a_call_that_crashes_at_any_statement_changes_nothing(
    machine_type: type[StoreMachine], call: Step
) -> None:
    with running_machine(machine_type, budget=5 * CENT) as machine:
        before = machine.model
        for at in range(14):
            machine.next_call(Crash(at, close_connection if at % 2 else die))
            call(machine)
            assert machine.model is before
        call(machine)
        assert machine.model is not before


@pytest.mark.parametrize("call", CALLS, ids=name_of)
def test_a_call_of_another_tenant_finds_nothing(machine: StoreMachine, call: Step) -> None:
    before = machine.model
    machine.next_call(OtherTenant())
    call(machine)
    assert machine.model is before


def restart(machine: StoreMachine) -> None:
    """Let the campaign generate and let a worker hold a contact, whatever happened before."""
    id_ = machine.campaign_id(0)
    if machine.model.get(id_).status is Status.READY:
        machine.both("campaigns.apply", id_, Action.START_GENERATION)
    regenerate(machine)
    machine.time_passes(2 * LEASE)
    claim(machine)


@on_newest_postgresql
@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (claim, claim),
        (cancel, claim),
        (claim, cancel),
        (cancel, cancel),
        (record, record),
        (record, cancel),
        (exclude, record),
        (erase, record),
        (save, save),
    ],
    ids=name_of,
)
def test_two_calls_overlap_at_any_statement(
    machine_type: type[StoreMachine], inner: Step, outer: Step
) -> None:
    with running_machine(machine_type) as machine:
        for at in range(10):
            restart(machine)
            machine.next_call(Overlap(at))
            inner(machine)
            outer(machine)


@on_newest_postgresql
def test_two_claims_never_share_the_last_of_a_budget(machine_type: type[StoreMachine]) -> None:
    for at in range(8):
        with running_machine(machine_type, budget=3 * CENT) as machine:
            machine.next_call(Overlap(at))
            claim(machine)
            claim(machine)


@on_newest_postgresql
def test_a_claim_behind_a_cancel_gets_no_regenerated_contact(machine: StoreMachine) -> None:
    for at in range(8):
        restart(machine)
        record(machine)
        machine.next_call(Overlap(at, number=2))
        cancel(machine)
        regenerate(machine)
        machine.claim(0, 4, max_attempts=99)


def test_a_transaction_is_committed_or_rolled_back_as_a_whole(machine: StoreMachine) -> None:
    before = machine.model
    machine.transaction(commits=False)
    record(machine)
    claim(machine)
    assert machine.model != before
    machine.transaction(commits=False)
    assert machine.model == before
    # A claim from the rolled-back transaction is lost.
    record(machine)
    machine.transaction(commits=False)
    claim(machine)
    after = machine.model
    machine.transaction(commits=True)
    assert machine.model == after != before


def test_a_crash_rolls_back_the_whole_transaction(machine: StoreMachine) -> None:
    before = machine.model
    machine.transaction(commits=False)
    record(machine)
    machine.next_call(Crash(3, close_connection))
    claim(machine)
    assert machine.model == before
    claim(machine)


# Error messages of the machine.


def test_a_difference_names_the_row_and_the_field(machine: StoreMachine) -> None:
    columns = campaign_contacts.c
    contact_id = machine.contact_ids[3]
    with machine.engine.begin() as connection:
        connection.execute(
            sa.update(campaign_contacts)
            .where(columns.tenant_id == machine.tenant_id, columns.contact_id == contact_id)
            .values(attempts=7)
        )
    with pytest.raises(AssertionError) as caught:
        machine.check(machine.model)
    (line,) = str(caught.value).splitlines()
    assert line == (
        f"campaigns[{machine.campaign_id(0)}].contacts[{contact_id}].attempts: "
        "the store has 7, the model has 0"
    )


def test_a_different_answer_names_the_call(machine: StoreMachine) -> None:
    with pytest.raises(
        AssertionError, match=r"answer of campaigns.get: the store has None, the model has 1"
    ):
        machine.call(lambda _: None, lambda _model, _answer: 1, name="campaigns.get")


def test_wrong_totals_are_reported(machine: StoreMachine) -> None:
    with machine.engine.begin() as connection:
        connection.execute(
            sa.update(campaign_totals)
            .where(campaign_totals.c.tenant_id == machine.tenant_id, campaign_totals.c.shard == 0)
            .values(failed=1)
        )
    with pytest.raises(
        AssertionError, match=r"failed is 1 in campaign_totals, but 0 in campaign_contacts"
    ):
        machine.check(machine.model)


@on_newest_postgresql
def test_an_overlap_without_a_possible_order_reports_both_orders(machine: StoreMachine) -> None:
    machine.next_call(Overlap(0))
    machine.call(lambda _: "early", lambda _model, _answer: "early", name="inner")
    with pytest.raises(AssertionError) as caught:
        machine.call(lambda _: "a", lambda _model, _answer: "b", name="outer")
    message = str(caught.value)
    difference = "answer of outer: the store has 'a', the model has 'b'"
    assert f"With outer first:\n{difference}" in message
    assert f"With outer last:\n{difference}" in message


def test_the_machine_refuses_a_tenant_with_campaigns_and_deletes_its_own(tenant: Tenant) -> None:
    machine_type = StoreMachine.on(tenant.engine, tenant.id, tenant.contacts(2))
    with running_machine(machine_type) as machine:
        claim(machine)
        erase(machine)
        with pytest.raises(ValueError, match="a tenant of its own"):
            machine_type()
    for table in metadata.sorted_tables:
        rows = sa.select(sa.func.count()).where(table.c.tenant_id == tenant.id)
        with tenant.engine.connect() as connection:
            assert connection.scalar(rows) == 0, table.name


@pytest.mark.long
@on_sqlite
def test_the_machine_in_the_guide_runs(tenant: Tenant) -> None:
    names: dict[str, Any] = {
        "engine": tenant.engine,
        "tenant_id": tenant.id,
        "contact_ids": tenant.contacts(4),
        "messages": HOST.messages,
    }
    exec(contract.documented("import sqlalchemy as sa"), names)  # noqa: S102 - our own guide
    names["test_every_message_is_paid_for"]()
