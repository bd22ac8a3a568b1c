"""A campaign that no worker can claim from: what is paid for is booked, and others are not harmed.

Another program writes the campaign's row with plain SQL: documents that the library cannot read, or
a budget although the worker reserves nothing.
"""

from __future__ import annotations

import json
import logging
import threading
from itertools import count
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.claims import Generated, Outcome, Recorded
from campaign_model.errors import Conflict, InvalidArgument, InvalidDocument
from campaign_model.lifecycle import Action, Status
from campaign_model.store.tables import campaigns
from campaign_model.testing.parallel import wait_until
from campaign_model.testing.sample_campaigns import CENT, STEPS, Tenant
from campaign_model.wire import DEFAULT
from campaign_model.worker import Task
from support.tenants import update_row
from support.workers import COST, RunWorker, count_messages, save_messages

UNREADABLE_STEPS = '[{"channel": "email", "words": 9007199254740993}]'
"""Steps that every CHECK accepts and no reader: no double holds the number."""

EDITS: dict[str, tuple[dict[str, str], type[Exception]]] = {
    "steps": ({"template_config": UNREADABLE_STEPS}, InvalidDocument),
    "budget": ({"generation_config": '{"budget": "1"}'}, InvalidArgument),
}
"""What the other program writes, and what the worker raises."""


@pytest.mark.parametrize("name", EDITS)
def test_results_in_hand_count_before_a_worker_raises(
    tenant: Tenant, run_worker: RunWorker, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    values, error = EDITS[name]
    campaign = tenant.campaign(Status.GENERATING, contacts=12)
    numbers, paid = count(1), count(1)
    all_started = threading.Barrier(4)

    def generate(task: Task) -> Outcome:
        number = next(numbers)
        if number <= 4:
            all_started.wait(10)
        if number == 4:
            update_row(tenant, campaigns, campaign.id, **values)
        task.checkpoint(CENT)
        next(paid)
        return Generated(COST)

    with caplog.at_level(logging.ERROR, "campaign_model.worker"), pytest.raises(error):
        run_worker(tenant, campaign, generate, concurrency=4, save=save_messages)
    number = next(paid) - 1
    assert number >= 4
    assert tenant.transact(lambda store: store.campaigns.list()).items[0].generated_count == number
    assert sorted(count_messages(tenant, campaign).values()) == [len(STEPS.slots())] * number
    (summary,) = tenant.transact(lambda store: store.campaigns.list()).items
    assert summary.generation_cost == number * (CENT + COST)
    tenant.check_totals(campaign.id)
    (record,) = caplog.records
    extra: Any = record
    assert (extra.tenant_id, extra.campaign_id) == (str(tenant.id), str(campaign.id))
    assert extra.error == error.__name__


def test_a_database_fault_after_a_refused_claim_is_raised(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    """A supervisor starts a worker again after a fault, and gives up after other errors."""
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    numbers = count(1)
    both_started = threading.Barrier(2)

    def generate(task: Task) -> Outcome:
        number = next(numbers)
        both_started.wait(10)
        if number == 1:
            update_row(tenant, campaigns, campaign.id, generation_config='{"budget": "1"}')
            return Generated(COST)
        wait_until(lambda: task.stopping, "the next claim is refused")
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("out of memory"))

    with pytest.raises(sa.exc.OperationalError, match="out of memory"):
        run_worker(tenant, campaign, generate, concurrency=2)


def test_a_worker_of_an_unreadable_campaign_raises(tenant: Tenant, run_worker: RunWorker) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    update_row(tenant, campaigns, campaign.id, template_config=UNREADABLE_STEPS)
    with pytest.raises(InvalidDocument):
        run_worker(tenant, campaign)


@pytest.mark.parametrize("column", ["template_config", "name"])
def test_an_unreadable_campaign_can_be_cancelled_and_deleted(
    unchecked_tenant: Tenant, column: str
) -> None:
    tenant = unchecked_tenant
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    held, late = tenant.claim(campaign.id, 2)
    unreadable = {"template_config": UNREADABLE_STEPS, "name": " "}
    update_row(tenant, campaigns, campaign.id, **{column: unreadable[column]})
    assert tenant.record({held: Generated(CENT)}) == {held: Recorded.APPLIED}
    # An action with guards needs the documents.
    with pytest.raises(InvalidDocument):
        tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    cancelled = tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    assert (cancelled.status, cancelled.version) == (Status.READY, campaign.version + 1)
    assert [repair.code for repair in cancelled.repairs] == ["unreadable"]
    # What was left out of the value is not written.
    with pytest.raises(Conflict):
        tenant.transact(lambda store: store.campaigns.save(attrs.evolve(cancelled, name="New")))
    tenant.transact(lambda store: store.generation.checkpoint(late, CENT))
    deleted = tenant.apply(campaign.id, Action.RETURN_TO_DRAFT, Action.DELETE)
    assert (deleted.status, deleted.is_active) == (Status.ARCHIVED, False)
    assert tenant.record({late: Generated(CENT)}) == {late: Recorded.APPLIED}
    (summary,) = tenant.transact(lambda store: store.campaigns.list(deleted=True)).items
    assert (summary.generated_count, summary.generation_cost) == (2, 3 * CENT)
    tenant.check_totals(campaign.id)


def test_a_corrected_campaign_goes_on(tenant: Tenant, run_worker: RunWorker) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    (claim,) = tenant.claim(campaign.id, 1)
    update_row(tenant, campaigns, campaign.id, template_config=UNREADABLE_STEPS)
    tenant.record({claim: Generated(CENT)})
    steps = json.dumps(DEFAULT.dump_template_config(STEPS))
    update_row(tenant, campaigns, campaign.id, template_config=steps)
    assert run_worker(tenant, campaign).completed
    # The contact that was generated meanwhile is not stale, so it is not generated again.
    contacts = tenant.campaign_contacts(campaign.id).values()
    assert [contact.stale for contact in contacts] == [False] * 3
    assert tenant.progress(campaign.id).spent == CENT + 2 * COST
