"""The SQL text of the worker loop: what drivers can send, what PostgreSQL plans once."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

import campaign_model
from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.claims import (
    Claim,
    Cursor,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.lifecycle import Status
from campaign_model.store import CampaignStore, postgresql, sqlite, transact
from campaign_model.store.statements import Statements
from campaign_model.testing.sample_campaigns import LEASE, Tenant
from support.drivers import call_with_engine
from support.tenants import new_tenant
from support.transactions import on_postgresql

MAX_LENGTH_KEPT_PARSED = 4096
"""Characters: psycopg parses longer statements anew each time."""

SQL = [
    (module, name)
    for module in (postgresql, sqlite)
    for name, value in vars(module).items()
    if isinstance(value, sa.TextClause | sa.TextualSelect)
]


def test_both_engines_have_the_same_names() -> None:
    names = {*vars(Statements), *Statements.__annotations__}
    names = {name for name in names if not name.startswith("_")}
    assert names <= {*vars(postgresql)} & {*vars(sqlite)}


@pytest.mark.parametrize(("module", "name"), SQL, ids=lambda one: getattr(one, "__name__", one))
def test_every_parameter_has_a_type(module: ModuleType, name: str) -> None:
    dialect = {postgresql: psycopg.dialect, sqlite: sqlite_dialect}[module]()
    compiled = getattr(module, name).compile(dialect=dialect)
    assert compiled.binds
    assert not [
        bind for bind in compiled.binds.values() if isinstance(bind.type, sa.types.NullType)
    ]


@pytest.mark.parametrize("name", [name for module, name in SQL if module is postgresql])
def test_psycopg_keeps_every_statement_parsed(name: str) -> None:
    dialect = psycopg.dialect()  # type: ignore[no-untyped-call]
    assert len(str(getattr(postgresql, name).compile(dialect=dialect))) <= MAX_LENGTH_KEPT_PARSED


ANALYZE = sa.text("ANALYZE campaign_contacts, campaigns, campaign_totals")


@on_postgresql
@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_claims_and_records_are_planned_once(
    engine: sa.Engine, number: int, *, is_analyzed: bool
) -> None:
    """Whether or not the statistics know the tenant and the campaign."""
    tenant = new_tenant(engine)
    with engine.begin() as connection:
        connection.execute(ANALYZE)
    campaign = tenant.campaign(Status.GENERATING, contacts=2_000)
    if is_analyzed:
        with engine.begin() as connection:
            connection.execute(ANALYZE)
    assert count_custom_plans(tenant, campaign.id, number) == [5, 5]


@on_postgresql
@pytest.mark.parametrize(("campaigns", "contacts"), [(5, 500), (60, 20)])
def test_claims_of_a_new_tenant_are_planned_once(
    schema: Callable[[str], str], engine_name: str, campaigns: int, contacts: int
) -> None:
    """If the statistics know a single tenant, they make plans for another one look cheap."""
    engine = sa.create_engine(schema(engine_name))
    first = new_tenant(engine)
    for _ in range(campaigns):
        first.campaign(Status.GENERATING, contacts=contacts)
    with engine.begin() as connection:
        connection.execute(ANALYZE)
    second = new_tenant(engine)
    campaign = second.campaign(Status.GENERATING, contacts=2_500)
    plans = [count_custom_plans(second, campaign.id, number) for number in (1, 100)]
    engine.dispose()
    assert plans == [[5, 5], [5, 5]]


def count_custom_plans(tenant: Tenant, campaign_id: UUID, number: int) -> list[int]:
    """Claim and record twenty times, on a connection that has not prepared any statement.

    Return how often PostgreSQL planned either statement for the values at hand. It does so five
    times. Then it makes one plan for all values, and keeps it if it is as cheap. Leave out a
    statement that has no such plan.
    """
    engine = sa.create_engine(tenant.engine.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        cursor = Cursor()

        def cycle(store: CampaignStore) -> Cursor:
            batch = store.generation.claim(campaign_id, number, LEASE, cursor=cursor)
            store.generation.record(dict.fromkeys(batch.claims, Generated(None)))
            return batch.cursor

        for _ in range(20):
            cursor = transact(connection, tenant.id, cycle)
        plans = connection.exec_driver_sql(
            "SELECT custom_plans FROM pg_prepared_statements "
            "WHERE statement LIKE 'WITH gate%%' AND generic_plans > 0"
        )
        return [*plans.scalars()]


def test_a_connection_with_another_schema_is_refused(engine: sa.Engine) -> None:
    elsewhere = engine.execution_options(schema_translate_map={None: "elsewhere"})
    with (
        elsewhere.connect() as connection,
        pytest.raises(ValueError, match="schema_translate_map"),
    ):
        CampaignStore(connection, new_tenant(engine).id)


@on_postgresql
@pytest.mark.parametrize("option", [{"stream_results": True}, {"yield_per": 100}])
def test_an_option_that_makes_every_statement_a_cursor_is_refused(
    engine: sa.Engine, option: dict[str, Any]
) -> None:
    (name,) = option
    tenant = new_tenant(engine)
    with engine.begin() as connection:
        CampaignStore(connection, tenant.id).campaigns.list()
        query = sa.text("SELECT 1").execution_options(**option)
        assert connection.execute(query).scalar() == 1
        CampaignStore(connection, tenant.id).campaigns.list()
        connection.execution_options(**option)
        with pytest.raises(ValueError, match=f"the option {name} .* to single statements"):
            CampaignStore(connection, tenant.id)
    streaming = engine.execution_options(**option)
    for call in (db.init, db.generating):
        with pytest.raises(db.SetupError, match=f"the option {name} .* to single statements"):
            call(streaming)


def test_an_id_of_another_type_is_refused_before_it_is_sent(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    (claim,) = tenant.claim(campaign.id)
    text: Any = str(claim.id)
    for name in ("id", "campaign_id", "contact_id", "token"):
        with pytest.raises(TypeError, match=f"{name} is a uuid"):
            attrs.evolve(claim, **{name: text})
    with tenant.engine.begin() as connection:
        store = CampaignStore(connection, tenant.id)
        with pytest.raises(TypeError, match="call_id is a uuid"):
            store.generation.checkpoint(claim, None, call_id=text)
        # Nothing was sent that would have spoiled the transaction.
        assert store.generation.record({claim: Generated(None)}) == {claim: Recorded.APPLIED}


@on_postgresql
@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
def test_other_drivers_can_send_every_statement(engine: sa.Engine, driver: str) -> None:
    tenant = new_tenant(engine)
    contacts = tenant.contacts(6)
    campaign = tenant.campaign(Status.GENERATING, contacts=contacts[:5], budget=Decimal(1))

    def work(connection: sa.Connection) -> list[Recorded]:
        store = CampaignStore(connection, tenant.id)
        cent = Decimal("0.01")
        batch = store.generation.claim(campaign.id, 6, LEASE, reserve=cent)
        assert [claim.contact_id for claim in batch.claims] == contacts[:5]
        assert store.generation.renew(batch.claims, LEASE).lost == ()
        for answer in (Recorded.APPLIED, Recorded.ALREADY):
            booked = store.generation.checkpoint(batch.claims[0], cent, call_id=campaign.id)
            assert booked is answer
        store.contacts.exclude(campaign.id, contacts[4:5])
        outcomes: dict[Claim, Outcome] = dict(
            zip(
                batch.claims,
                [
                    Generated(cent),
                    Failed("odd", "it's odd: ☃", None),
                    NotReady(("email",)),
                    Unfinished(timedelta(seconds=5)),
                    Generated(cent),
                ],
                strict=True,
            )
        )
        answers = store.generation.record(outcomes)
        assert {*store.generation.record(outcomes).values()} == {Recorded.ALREADY}
        again = store.generation.claim(campaign.id, 1, LEASE, reserve=cent, cursor=batch.cursor)
        assert again.stop is StopReason.LEASES_PENDING
        draft = store.campaigns.add(Campaign("Another"))
        assert store.contacts.assign(draft.id, contacts).added == 6
        assert len(store.campaigns.list().items) == 2
        return [*answers.values()]

    def run(engine: sa.Engine) -> list[Recorded]:
        with engine.begin() as connection:
            return work(connection)

    answers = call_with_engine(engine.url, driver, run)
    assert answers == [Recorded.APPLIED] * 4 + [Recorded.EXCLUDED]
    tenant.check_totals(campaign.id)


@on_postgresql
def test_a_shard_that_is_missing_is_made(tenant: Tenant) -> None:
    """As for a campaign that a legacy service has started, without totals."""
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    with tenant.engine.begin() as connection:
        connection.execute(
            sa.text("DELETE FROM campaign_totals WHERE campaign_id = :id AND shard > 0"),
            {"id": campaign.id},
        )
    for _ in range(20):
        claims = tenant.claim(campaign.id, 1)
        tenant.transact(lambda store: store.generation.release(claims))  # noqa: B023
        tenant.check_totals(campaign.id)
    claims = tenant.claim(campaign.id)
    outcomes: dict[Claim, Outcome] = {
        claims[0]: Generated(Decimal("0.000000001")),
        claims[1]: Generated(None),
        claims[2]: Failed("no", "no", Decimal("0.1")),
    }
    tenant.record(outcomes)
    tenant.check_totals(campaign.id)


def attributes(tree: ast.AST) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node


def test_no_private_name_of_another_library_is_used() -> None:
    """An attribute with an underscore is one that this library defines."""
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for path in Path(campaign_model.__file__).parent.rglob("*.py")
    }
    own = {"_asdict", "_fields", "_make"}  # The public names of a NamedTuple.
    for tree in trees.values():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    own.add(name)
                case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                    if isinstance(node.ctx, ast.Store):
                        own.add(name)
                case ast.AnnAssign(target=ast.Name(id=name)):
                    own.add(name)
                case ast.Constant(value=str(name)) if re.fullmatch("_[a-z]+", name):
                    own.add(name)  # In __slots__, or set with object.__setattr__.
    private: list[tuple[str, Any]] = [
        (f"{path.name}:{node.lineno}", node.attr)
        for path, tree in trees.items()
        for node in attributes(tree)
        if re.match("_[^_]", node.attr) and node.attr not in own
    ]
    assert private == []
