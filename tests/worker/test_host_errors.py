"""What the host's ``generate`` and ``save`` raise fails their own contact and no other."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_model.claims import Failed, Generated, Outcome, Recorded
from campaign_model.lifecycle import Status
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import GENERATE_FAILED, SAVE_FAILED, Task, WorkerStop
from support.tenants import contact_rows
from support.transactions import on_postgresql
from support.workers import (
    COST,
    PRICE,
    SLOTS,
    RunWorker,
    check_all_generated_once,
    count_messages,
    insert_message,
    save_messages,
)


def test_an_exception_of_generate_fails_its_contact_and_no_other(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    ids = list(contact_rows(tenant, campaign.id))

    def generate(task: Task) -> Outcome:
        if task.contact_id == ids[0]:
            raise RuntimeError("GET https://model/?key=secret")
        if task.contact_id == ids[1]:
            return None  # type: ignore[return-value]
        if task.contact_id == ids[2]:
            task.checkpoint(PRICE)
            raise ExceptionGroup("two", [KeyError("later"), ValueError("too")])
        return Generated(COST)

    report = run_worker(tenant, campaign, generate, save=save_messages)
    assert (report.stop, report.answers) == (WorkerStop.DRAINED, {Recorded.APPLIED: 4})
    rows = contact_rows(tenant, campaign.id)
    assert [rows[id_].status for id_ in ids] == ["failed", "failed", "failed", "generated"]
    assert {rows[id_].error_code for id_ in ids[:3]} == {GENERATE_FAILED}
    assert rows[ids[0]].error == "RuntimeError"
    assert "generate returned NoneType" in rows[ids[1]].error
    assert rows[ids[2]].error == "KeyError; ValueError"
    # Only the costs of checkpoints are known of a failed attempt.
    assert [rows[id_].unknown_costs for id_ in ids] == [1, 1, 1, 0]
    assert rows[ids[2]].generation_cost == PRICE
    assert count_messages(tenant, campaign) == {ids[3]: SLOTS}
    tenant.check_totals(campaign.id)


def test_an_exception_of_save_fails_its_contact_and_writes_no_message(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    ids = list(contact_rows(tenant, campaign.id))

    def save_and_fail(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        save_messages(connection, task, outcome)
        if task.contact_id == ids[0]:
            raise RuntimeError("after the messages were written")
        if task.contact_id == ids[1]:
            insert_message(connection, task, task.slots[0])

    report = run_worker(tenant, campaign, save=save_and_fail)
    assert (report.answers, report.cost) == ({Recorded.APPLIED: 3}, 3 * COST)
    rows = contact_rows(tenant, campaign.id)
    assert [rows[id_].status for id_ in ids] == ["failed", "failed", "generated"]
    assert {rows[id_].error_code for id_ in ids[:2]} == {SAVE_FAILED}
    assert rows[ids[0]].error == "RuntimeError"
    assert count_messages(tenant, campaign) == {ids[2]: SLOTS}
    # The costs of the failed contacts are booked too.
    assert tenant.progress(campaign.id).spent == 3 * COST
    tenant.check_totals(campaign.id)


def test_save_is_called_once_for_each_applied_outcome(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    ids = tenant.contacts(3)
    campaign = tenant.campaign(Status.GENERATING, contacts=ids)
    saved = []

    def generate(task: Task) -> Outcome:
        if task.contact_id == ids[0]:
            tenant.transact(lambda store: store.contacts.exclude(campaign.id, ids[:1]))
        return Failed("no", "no", PRICE) if task.contact_id == ids[1] else Generated(COST)

    def note(_connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        saved.append((task.contact_id, type(outcome)))

    report = run_worker(tenant, campaign, generate, save=note)
    assert report.answers == {Recorded.APPLIED: 2, Recorded.EXCLUDED: 1}
    assert saved == [(ids[1], Failed), (ids[2], Generated)]
    tenant.check_totals(campaign.id)


@on_postgresql
def test_a_serialization_failure_in_save_repeats_the_whole_transaction(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    attempts = []

    def save_and_conflict(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        save_messages(connection, task, outcome)
        attempts.append(task)
        if len(attempts) == 1:
            connection.execute(
                sa.text("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$")
            )

    report = run_worker(tenant, campaign, save=save_and_conflict)
    assert report.answers == {Recorded.APPLIED: 1}
    assert len(attempts) == 2
    check_all_generated_once(tenant, campaign)
