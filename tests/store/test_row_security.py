"""The whole store works under row-level security, with the privileges of ``db grants`` only.

The database also has the transition guard and the outbox.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from campaign_model import db
from campaign_model.claims import Generated, Recorded
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action, ReviewTally, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tenant_setting import TENANT_SETTING
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from campaign_model.testing.store_machine import StoreMachine
from campaign_model.worker import run_export
from support import contract, servers
from support.drivers import DRIVERS, call_with_engine
from support.pooler import pooled
from support.row_security import SecuredDatabase, secured_database
from support.tenants import new_tenant
from support.workers import FORMS, campaign_status, stopped_after_patience, succeed

NEWEST = servers.available()[-1]


@pytest.fixture(scope="module")
def secured(
    databases: servers.Databases, template_url: Callable[[str], str]
) -> Iterator[SecuredDatabase]:
    url = databases.create(NEWEST, template_url(NEWEST))
    with secured_database(url) as database:
        with database.owner.begin() as connection:
            db.install_guard(connection)
        yield database
    databases.drop(url)


@pytest.fixture
def served(secured: SecuredDatabase) -> Tenant:
    """A tenant of the service."""
    return new_tenant(secured.service)


def test_the_whole_store_contract_holds(secured: SecuredDatabase, tmp_path: Path) -> None:
    url = secured.service.url.render_as_string()
    done = contract.run(tmp_path, url)
    failed = contract.failures(done.stdout)
    # These tests read the rows of all tenants, so the policies bind them.
    assert failed["FAILED"] == set(), done.stdout
    assert done.stdout.count("row-level security hides rows") >= len(failed["ERROR"]) > 0
    operator = secured.operator.url.render_as_string()
    done = contract.run(tmp_path, operator, "--campaign-model-read-only")
    assert done.returncode == 0, done.stdout


def test_any_calls_in_any_order_give_what_the_model_says(
    secured: SecuredDatabase, served: Tenant
) -> None:
    with secured.superuser.begin() as connection:  # The machine deletes its campaigns.
        tables = "campaigns, campaign_history"
        connection.exec_driver_sql(f"GRANT DELETE ON {tables} TO {secured.service_role}")
    machine_type = StoreMachine.on(served.engine, served.id, served.contacts(4))
    run_state_machine_as_test(
        machine_type,
        settings=settings(
            machine_type.TestCase.settings,
            max_examples=max(1, settings().max_examples // 10),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )


@pytest.mark.parametrize("form", FORMS)
def test_workers_and_exporters_finish_a_campaign(served: Tenant, form: str) -> None:
    campaign = served.campaign(Status.GENERATING, contacts=9)
    stop = threading.Event()
    with stopped_after_patience(stop):
        report = FORMS[form](
            served.engine, served.id, campaign.id, succeed, stop=stop, concurrency=3
        )
    assert report.answers == {Recorded.APPLIED: 9}
    assert campaign_status(served, campaign) is Status.REVIEW
    served.apply(campaign.id, Action.APPROVE, review=ReviewTally(9, 0, 0))
    served.apply(campaign.id, Action.EXPORT)
    exported = run_export(served.engine, served.id, campaign.id, lambda _task: None)
    assert exported.exported == 9
    served.check_totals(campaign.id)


@pytest.mark.parametrize("driver", DRIVERS)
def test_stores_of_two_tenants_share_a_connection_and_a_transaction(
    secured: SecuredDatabase, driver: str
) -> None:
    one, other = (new_tenant(secured.service) for _ in range(2))
    campaigns = {one.id: one.campaign("generating"), other.id: other.campaign("generating")}

    def work(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            for _ in range(2):
                with connection.begin():
                    stores = [CampaignStore(connection, id_) for id_ in campaigns]
                    for store, stranger in zip(stores, reversed(stores), strict=True):
                        own = campaigns[store.tenant_id].id
                        with connection.begin_nested() as savepoint:
                            with pytest.raises(NotFound):
                                stranger.campaigns.get(own)
                            savepoint.rollback()
                        (claim,) = store.generation.claim(own, 1, LEASE).claims
                        answers = store.generation.record({claim: Generated(CENT)})
                        assert answers == {claim: Recorded.APPLIED}

    call_with_engine(secured.service.url, driver, work)
    for tenant in (one, other):
        tenant.check_totals(campaigns[tenant.id].id)


def test_a_pooler_passes_no_tenant_on(secured: SecuredDatabase, tmp_path: Path) -> None:
    tenants = [new_tenant(secured.service) for _ in range(3)]
    with pooled(str(secured.service.url), tmp_path, takes_turns=True) as url:
        engine = sa.create_engine(url, connect_args={"prepare_threshold": None}, pool_size=5)
        for _ in range(3):
            for tenant in tenants:
                served = Tenant(engine, tenant.id, tenant.contacts)
                served.campaign("ready")
        for tenant in tenants:
            served = Tenant(engine, tenant.id, tenant.contacts)
            assert len(served.transact(lambda store: store.campaigns.list()).items) == 3
        for _ in range(5):
            with engine.begin() as connection, pytest.raises(sa.exc.DBAPIError):
                connection.exec_driver_sql("SELECT count(*) FROM campaigns")
        engine.dispose()


def test_the_guard_looks_for_the_history_of_every_tenant(secured: SecuredDatabase) -> None:
    one, other = (new_tenant(secured.service) for _ in range(2))
    campaign = one.campaign("ready")
    move = sa.text("UPDATE campaigns SET status = 'draft', version = version + 1 WHERE id = :id")
    with secured.service.connect() as connection:
        CampaignStore(connection, one.id)
        connection.execute(move, {"id": campaign.id})
        CampaignStore(connection, other.id).campaigns.list()
        with pytest.raises(sa.exc.IntegrityError, match="its history does not say so"):
            connection.commit()
    with secured.service.begin() as connection:
        CampaignStore(connection, one.id).campaigns.apply(campaign.id, Action.RETURN_TO_DRAFT)
        CampaignStore(connection, other.id).campaigns.list()
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        tenant = connection.exec_driver_sql(f"SHOW {TENANT_SETTING}").scalar_one()
        assert tenant == str(other.id)


def test_a_service_fills_the_outbox_of_an_owner_that_the_policies_bind(
    secured: SecuredDatabase,
) -> None:
    served = new_tenant(secured.service)
    campaign = served.campaign("ready")
    with secured.operator.begin() as connection:
        moves = [move for move in db.take_moves(connection, 10_000) if move.tenant_id == served.id]
    assert [(move.campaign_id, move.action) for move in moves] == [(campaign.id, Action.MARK_READY)]
