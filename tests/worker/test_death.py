"""A worker may die at any moment: another one takes its contacts over, and nothing is doubled."""

from __future__ import annotations

import itertools
import signal
from decimal import Decimal

import pytest
import sqlalchemy as sa

from campaign_model.claims import Recorded
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, Status
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.death import Death, dying
from campaign_model.worker import WorkerReport, WorkerStop
from support import worker_process
from support.parallel import PATIENCE
from support.workers import (
    COST,
    PRICE,
    RunWorker,
    an_hour_later,
    campaign_status,
    check_all_generated_once,
    count_messages,
    resuming,
)
from support.world import LEASE, World

pytestmark = pytest.mark.newest


@pytest.mark.parametrize("run_worker", ["threads"], indirect=True)
@pytest.mark.parametrize("budget", [None, Decimal(1)], ids=["no-budget", "budget"])
def test_failure_04_a_contact_of_a_killed_worker_is_taken_over(
    world: World, run_worker: RunWorker, budget: Decimal | None
) -> None:
    campaign = world.campaign(3, Status.GENERATING, budget=budget)
    with worker_process.started(world, campaign, "hangs") as process:
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
    world.check(campaign.id)
    (left_behind,) = (row for row in world.rows(campaign.id).values() if row.status == "generating")
    assert count_messages(world, campaign) == {left_behind.contact_id: 1}
    assert left_behind.generation_cost == PRICE
    with pytest.raises(TransitionNotAllowed):
        world.apply(campaign.id, Action.COMPLETE_GENERATION)
    report = run_worker(world, campaign, resuming(world), reserve=COST, clock=an_hour_later)
    # The message that the killed worker paid for is neither lost nor paid for again.
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 3}, 3 * COST - PRICE, True)
    check_all_generated_once(world, campaign)


@pytest.mark.parametrize("run_worker", ["coroutines"], indirect=True)
@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_failure_04_a_worker_may_die_before_any_of_its_statements(
    world: World, run_worker: RunWorker
) -> None:
    # The example in docs/message_engine proves this for threads, `nox -s chaos` for PostgreSQL.
    clock, survived = FrozenClock(), False
    for moment in itertools.count():
        campaign = world.campaign(1, Status.GENERATING)
        with dying(world.engine, moment):
            report = run_worker(world, campaign, resuming(world), clock=clock, lease=LEASE)
            survived = report.completed
        clock.forward(LEASE)
        run_worker(world, campaign, resuming(world), clock=clock, lease=LEASE)
        assert campaign_status(world, campaign) is Status.REVIEW
        check_all_generated_once(world, campaign)
        if survived:
            break
    assert moment > 20


def test_a_dead_engine_executes_no_statement(world: World) -> None:
    with dying(world.engine, 1) as moment:
        moment()
        for _ in range(2):
            with pytest.raises(Death):
                moment()
        with pytest.raises(Death), world.engine.begin() as connection:
            connection.execute(sa.select(1))
    assert world.contacts(1)
