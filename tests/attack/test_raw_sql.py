"""Row-level security holds against plain SQL, and changes nothing for the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from attack.attack import METHODS, Attack
from attack.raw_sql import STATEMENTS, RawAttack
from attack.role import service_role
from campaign_model import db
from support import servers


@pytest.fixture(params=servers.postgresql())
def owner(request: pytest.FixtureRequest, schema: Callable[[str], str]) -> Iterator[sa.Engine]:
    """An engine of the owner of a new database."""
    engine = db.prepare_engine(sa.create_engine(schema(request.param)))
    yield engine
    engine.dispose()


@pytest.mark.long
def test_plain_sql_of_a_service_reaches_no_row_of_another_tenant(
    owner: sa.Engine, seed: int
) -> None:
    with service_role(owner) as service:
        report = RawAttack(owner, seed, service).run(4 * len(STATEMENTS))
        assert report.leaks == []
        # The attack would find a table without policies.
        with owner.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE campaigns DISABLE ROW LEVEL SECURITY")
        assert RawAttack(owner, seed, service).run(2 * len(STATEMENTS)).leaks


def test_the_store_under_row_level_security_leaks_nothing(owner: sa.Engine, seed: int) -> None:
    with service_role(owner) as service:
        report = Attack(owner, seed, attacker_engine=service).run(2 * len(METHODS))
        assert report.leaks == []
