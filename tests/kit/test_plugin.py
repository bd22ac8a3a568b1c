"""The fixtures with which services test their own code."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Generated
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.store import CampaignStore
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import STEPS, CampaignFactory, Tenant
from campaign_model.worker import run_worker
from support import contract
from support.paths import ROOT

pytest_plugins = ["campaign_model.testing.plugin"]

UNSTARTED = {Status.DRAFT, Status.READY, Status.GENERATING}


def counts(store: CampaignStore, campaign: Campaign) -> dict[str, int]:
    by_status = store.generation.progress(campaign.id).by_status
    return {status.value: number for status, number in by_status.items() if number}


@pytest.mark.parametrize("status", Status)
def test_the_factory_makes_campaigns_in_any_status(
    campaign_factory: CampaignFactory, campaign_store: CampaignStore, status: Status
) -> None:
    plain = campaign_factory(status.value)
    assert (plain.status, plain.is_active, plain.steps) == (status, True, STEPS)
    waiting = "pending" if status in UNSTARTED else "generated"
    assert counts(campaign_store, plain) == {waiting: 3}

    part = campaign_factory(
        status, contacts=6, generated=2, failed=1, cost=Decimal("0.25"), budget=Decimal(5)
    )
    assert part.status is status
    assert counts(campaign_store, part) == {"pending": 3, "generated": 2, "failed": 1}
    assert campaign_store.generation.progress(part.id).spent == Decimal("0.75")

    failed = campaign_factory(status, contacts=2, failed=1, name="Named", description="Described")
    assert (failed.status, failed.name, failed.description) == (status, "Named", "Described")
    rest = "pending" if status in UNSTARTED else "generated"
    assert counts(campaign_store, failed) == {rest: 1, "failed": 1}


@pytest.mark.parametrize("numbers", [{"generated": 3}, {"failed": 3}, {"generated": -1}])
def test_the_factory_refuses_more_outcomes_than_contacts(
    campaign_factory: CampaignFactory, numbers: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="of 2 contacts"):
        campaign_factory("review", contacts=2, **numbers)


def test_the_factory_takes_existing_contacts(
    campaign_factory: CampaignFactory, campaign_store: CampaignStore
) -> None:
    ids = campaign_factory.contacts(2)
    campaign = campaign_factory(contacts=ids)
    page = campaign_store.contacts.list(campaign.id)
    assert [one.contact_id for one in page.items] == ids
    assert campaign_factory.contacts(0) == []


def test_lists_show_campaigns_latest_first(
    campaign_factory: CampaignFactory, campaign_store: CampaignStore
) -> None:
    made = [campaign_factory().id for _ in range(5)]
    assert [one.id for one in campaign_store.campaigns.list().items] == made[::-1]


def test_the_clock_of_the_store_stands_still_until_a_test_moves_it(
    campaign_factory: CampaignFactory, campaign_store: CampaignStore, campaign_clock: FrozenClock
) -> None:
    campaign = campaign_factory("generating", contacts=1)
    lease = timedelta(minutes=5)
    (first,) = campaign_store.generation.claim(campaign.id, 1, lease).claims
    assert first.expires_at == campaign_clock.now + lease
    assert campaign_store.generation.claim(campaign.id, 1, lease).claims == ()
    campaign_clock.forward(lease)
    assert len(campaign_store.generation.claim(campaign.id, 1, lease).claims) == 1


@pytest.mark.parametrize("time", ["first", "second"])
def test_every_test_starts_with_an_empty_store(
    campaign_factory: CampaignFactory, campaign_store: CampaignStore, time: str
) -> None:
    assert campaign_store.campaigns.list(deleted=True).items == ()
    assert [one.is_system for one in campaign_store.templates.list()] == [True] * 3
    tenants = sa.select(sa.func.count()).select_from(sa.table("tenants"))
    assert campaign_store.connection.scalar(tenants) == 1
    campaign_factory("archived", name=time)


def test_a_tenant_is_for_code_that_opens_transactions(campaign_tenant: Tenant) -> None:
    campaign = campaign_tenant.campaign("generating", contacts=5)
    ids = campaign_tenant.contacts(2)
    draft = campaign_tenant.campaign(contacts=ids, name="Draft")
    assert campaign_tenant.apply(draft.id) == draft
    run_worker(
        campaign_tenant.engine,
        campaign_tenant.id,
        campaign.id,
        lambda _: Generated(Decimal("0.00144")),
        concurrency=2,
    )

    def work(store: CampaignStore) -> None:
        assert store.campaigns.get(campaign.id).status is Status.REVIEW
        assert store.generation.progress(campaign.id).spent == Decimal("0.0072")
        assert counts(store, draft) == {ContactStatus.PENDING: 2}
        assert len(store.campaigns.list().items) == 2

    campaign_tenant.transact(work)


COMMITTING = """
def test_rows_of_its_own(campaign_factory, campaign_store):
    campaign = campaign_factory("review")
    connection = campaign_store.connection
    connection.exec_driver_sql("CREATE TABLE notes (campaign_id TEXT REFERENCES campaigns (id))")
    connection.exec_driver_sql("INSERT INTO notes VALUES (?)", (campaign.id.hex,))

def test_that_commits(campaign_store):
    campaign_store.connection.commit()

def test_after_it(campaign_store):
    assert not campaign_store.campaigns.list().items
"""

WITHOUT_EXTRAS = """
import sys

# The other extras are not installed.
sys.modules["alembic"] = sys.modules["hypothesis"] = sys.modules["psycopg"] = None
"""


def test_the_tests_in_the_guide_pass_without_other_extras(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(WITHOUT_EXTRAS + contract.documented("pytest_plugins = "))
    (tmp_path / "test_guide.py").write_text(contract.documented("from datetime import timedelta"))
    (tmp_path / "test_committing.py").write_text(COMMITTING)
    done = contract.run_pytest(tmp_path, "-W", "error")
    assert contract.failures(done.stdout) == {"FAILED": set(), "ERROR": {"test_that_commits"}}
    assert "16 passed, 1 error" in done.stdout
    assert "use campaign_tenant instead" in done.stdout


def test_the_plugin_is_loaded_on_request_only() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "pytest11" not in pyproject["project"].get("entry-points", {})
