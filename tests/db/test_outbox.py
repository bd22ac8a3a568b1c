"""The outbox: every committed move of a campaign reaches a consumer, at least once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.db.schema import OUTBOX
from campaign_model.errors import InvalidArgument
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import Tenant
from support.tenants import new_tenant
from support.transactions import on_postgresql, open_store


@pytest.fixture
def tenant(engine_name: str, schema: Callable[[str], str]) -> Iterator[Tenant]:
    """A tenant in a database of its own, which has an outbox."""
    engine = db.prepare_engine(sa.create_engine(schema(engine_name)))
    with engine.begin() as connection:
        db.create_outbox(connection)
        db.create_outbox(connection)
    yield new_tenant(engine)
    engine.dispose()


def take(tenant: Tenant, limit: int = 100) -> list[tuple[UUID, Action]]:
    with tenant.engine.begin() as connection:
        moves = db.take_moves(connection, limit)
    return [(move.campaign_id, move.action) for move in moves]


def test_a_move_is_taken_once_with_everything_that_the_history_says(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    tenant.transact(
        lambda store: store.campaigns.apply(campaign.id, Action.MARK_READY, reason="why not"),
        actor="ada",
    )
    with tenant.engine.begin() as connection:
        (move,) = db.take_moves(connection)
    (entry,) = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert (move.tenant_id, move.campaign_id, move.version) == (tenant.id, campaign.id, 2)
    assert (move.action, move.source, move.target) == (
        Action.MARK_READY,
        Status.DRAFT,
        Status.READY,
    )
    assert (move.actor, move.reason, move.at) == ("ada", "why not", entry.at)
    assert move.to_dict() == {
        "id": str(move.id),
        "tenant_id": str(tenant.id),
        "campaign_id": str(campaign.id),
        "version": 2,
        "action": "mark_ready",
        "source": "draft",
        "target": "ready",
        "actor": "ada",
        "reason": "why not",
        "at": entry.at.isoformat(),
    }
    assert take(tenant) == []


def test_neither_a_move_nor_a_delivery_that_is_rolled_back_counts(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    with tenant.engine.connect() as connection:
        transaction = connection.begin()
        CampaignStore(connection, tenant.id).campaigns.apply(campaign.id, Action.MARK_READY)
        transaction.rollback()
    assert take(tenant) == []
    tenant.apply(campaign.id, Action.MARK_READY, Action.START_GENERATION)
    for _ in range(2):
        with tenant.engine.connect() as connection:
            assert len(db.take_moves(connection)) == 2  # The delivery fails: no commit.
    assert take(tenant, 1) == [(campaign.id, Action.MARK_READY)]
    assert take(tenant, 1) == [(campaign.id, Action.START_GENERATION)]
    assert take(tenant) == []


def test_a_clock_that_goes_back_does_not_change_the_order_of_moves(tenant: Tenant) -> None:
    """As after a failover to a server whose clock is slow."""
    campaign, clock = tenant.campaign(contacts=1), FrozenClock()
    actions = [Action.MARK_READY, Action.START_GENERATION, Action.CANCEL_GENERATION]
    for action in actions:
        tenant.apply(campaign.id, action, clock=clock)
        clock.forward(timedelta(days=-1))
    taken = [take(tenant, 1) for _ in actions]
    assert taken == [[(campaign.id, action)] for action in actions]


@on_postgresql
def test_consumers_skip_what_others_have_taken_and_late_commits_are_not_lost(
    tenant: Tenant,
) -> None:
    first, second, third = (tenant.campaign(contacts=1).id for _ in range(3))
    with ExitStack() as stack:
        # The first move begins before the others, and commits after them.
        late = stack.enter_context(open_store(tenant))
        late.campaigns.apply(first, Action.MARK_READY)
        for id_ in (second, third):
            tenant.apply(id_, Action.MARK_READY)
        with tenant.engine.begin() as connection:
            (move,) = db.take_moves(connection, 1)
            taken = [move.campaign_id, *(id_ for id_, _ in take(tenant))]
    assert taken == [second, third]
    assert take(tenant) == [(first, Action.MARK_READY)]


@on_postgresql
def test_a_service_fills_the_outbox_without_a_right_on_it(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    role = f"service_{uuid4().hex}"
    with tenant.engine.connect() as connection:
        transaction = connection.begin()
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        for statement in db.grants(role):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {OUTBOX} (id uuid)")
        CampaignStore(connection, tenant.id).campaigns.apply(campaign.id, Action.MARK_READY)
        connection.exec_driver_sql(f"DROP TABLE pg_temp.{OUTBOX}")
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            db.take_moves(connection)
        transaction.rollback()


def test_the_schema_is_still_that_of_the_library_and_the_outbox_can_be_removed(
    tenant: Tenant,
) -> None:
    if tenant.engine.dialect.name == "postgresql":
        assert db.verify(tenant.engine).shape == "current"
    db.init(tenant.engine)
    campaign = tenant.campaign(contacts=1)
    tenant.apply(campaign.id, Action.MARK_READY)
    with tenant.engine.begin() as connection:
        db.drop_outbox(connection)
        db.drop_outbox(connection)
        assert not sa.inspect(connection).has_table(OUTBOX)
    tenant.apply(campaign.id, Action.START_GENERATION)


def test_the_moves_of_a_removed_tenant_leave_the_outbox(tenant: Tenant) -> None:
    other = new_tenant(tenant.engine)
    ids = [one.campaign("ready", contacts=1).id for one in (tenant, other)]
    with tenant.engine.begin() as connection:
        db.remove_tenant(connection, tenant.id)
    assert take(tenant) == [(ids[1], Action.MARK_READY)]


def test_the_outbox_refuses_a_wrong_limit_and_a_database_without_the_library(
    tenant: Tenant, engine_name: str, new_database: Callable[[str], str]
) -> None:
    with tenant.engine.begin() as connection:
        for limit in (0, -1, 10_001, True, "1"):
            with pytest.raises(InvalidArgument, match="limit is a whole number"):
                db.take_moves(connection, limit)  # type: ignore[arg-type]
    engine = db.prepare_engine(sa.create_engine(new_database(engine_name)))
    with (
        engine.begin() as connection,
        pytest.raises(db.SetupError, match="has no table campaign_history"),
    ):
        db.create_outbox(connection)
    engine.dispose()
