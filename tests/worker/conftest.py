from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from campaign_model.campaign import Campaign
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import WorkerReport, database_calls
from support.workers import FORMS, RunWorker, stopped_after_patience, succeed


@pytest.fixture(params=["threads", "coroutines", "async-engine"])
def run_worker(request: pytest.FixtureRequest) -> RunWorker:
    """``run_worker(tenant, campaign, generate)``: run a worker in each form in turn."""

    def run(
        tenant: Tenant,
        campaign: Campaign,
        generate: Any = succeed,
        *,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> WorkerReport:
        stop = stop or threading.Event()
        run_form = FORMS[request.param]
        with stopped_after_patience(stop):
            return run_form(tenant.engine, tenant.id, campaign.id, generate, stop=stop, **options)

    return run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker give up soon, for faults that do not pass."""
    monkeypatch.setattr(database_calls, "_ATTEMPTS", 2)
    monkeypatch.setattr(database_calls, "_PATIENCE", timedelta(0))
