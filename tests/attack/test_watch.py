"""The attack's watch sees each lock and each change of the victim's rows."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from attack.watch import Watch
from attack.world import Belongings, make_belongings
from campaign_model.store.locking import gate_key
from campaign_model.store.tables import campaign_contacts, campaign_totals, campaigns
from support.transactions import on_newest_postgresql

LOCKS = ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE", "KEY SHARE SKIP LOCKED")


@pytest.fixture(scope="module")
def victim(engine: sa.Engine) -> Belongings:
    return make_belongings(engine, "victim")


@on_newest_postgresql
@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("table", [campaigns, campaign_contacts, campaign_totals], ids=str)
def test_a_lock_of_a_row_is_found_also_after_a_rollback(
    engine: sa.Engine, victim: Belongings, table: sa.Table, lock: str
) -> None:
    watch = Watch(victim, victim)
    with engine.connect() as connection:
        assert watch.find_traces(connection) is None
        connection.exec_driver_sql(
            f"SELECT FROM {table.name} WHERE tenant_id = %(id)s LIMIT 1 FOR {lock}",
            {"id": victim.tenant.id},
        )
        assert watch.find_traces(connection) is not None
        connection.rollback()
        assert watch.find_traces(connection) is not None


@on_newest_postgresql
def test_the_advisory_lock_of_a_campaign_is_found(engine: sa.Engine, victim: Belongings) -> None:
    watch = Watch(victim, victim)
    key = gate_key(victim.tenant.id, victim.ids["campaigns"][0])
    with engine.connect() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(key)))
        assert watch.find_traces(connection) is not None
        connection.rollback()
        assert watch.find_traces(connection) is None


def test_a_change_of_a_row_is_found(engine: sa.Engine, victim: Belongings) -> None:
    watch = Watch(victim, victim)
    is_its = campaigns.c.tenant_id == victim.tenant.id
    with engine.connect() as connection:
        connection.execute(sa.update(campaigns).where(is_its).values(clone_count=7))
        assert watch.find_traces(connection) is not None
        assert watch.find_changes(connection) is not None
        connection.rollback()
        assert watch.find_changes(connection) is None
