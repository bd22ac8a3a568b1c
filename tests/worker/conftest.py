from __future__ import annotations

import threading
from typing import Any

import pytest

from campaign_model.campaign import Campaign
from campaign_model.worker import WorkerReport
from support.workers import FORMS, RunWorker, stopped_after_patience, succeed
from support.world import World


@pytest.fixture(params=FORMS)
def run_worker(request: pytest.FixtureRequest) -> RunWorker:
    """``run_worker(world, campaign, generate)``: run a worker in each form in turn."""

    def run(
        world: World,
        campaign: Campaign,
        generate: Any = succeed,
        *,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> WorkerReport:
        stop = stop or threading.Event()
        run_form = FORMS[request.param]
        with stopped_after_patience(stop):
            return run_form(
                world.engine, world.tenant_id, campaign.id, generate, stop=stop, **options
            )

    return run
