"""The statements of the store keep the rules of a sharded PostgreSQL (``support/sharding.py``)."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from types import ModuleType

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import store
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Failed, Generated, NotReady, Outcome, Unfinished
from campaign_model.db import tenants
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.store import postgresql
from campaign_model.store.scope import SHARDS
from campaign_model.store.statements import _sharded
from campaign_model.store.tables import campaign_contacts, campaign_totals
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from support.sharding import IMMUTABLE, NOT_VOLATILE, Rule, StoreStatements, broken_rules
from support.tenants import HOST, execute, new_owner
from support.transactions import on_postgresql, open_store


def call_every_method(tenant: Tenant) -> None:
    """Call each method of the store in every way that has SQL of its own."""
    owner_id = new_owner(tenant)
    contacts = tenant.contacts(12)
    own = CampaignTemplate("Mine", STEPS)
    budgeted = tenant.campaign("ready", contacts=6, budget=Decimal(1))
    clock = FrozenClock()
    with open_store(tenant, clock=clock) as store:
        store.templates.add(own)
        store.templates.list()
        store.templates.rename(own.id, "Still mine")
        store.templates.replace_steps(own.id, STEPS)
        campaign = store.campaigns.add(
            attrs.evolve(Campaign.from_template(own, name="Mine"), owner_id=owner_id)
        )
        campaign = store.campaigns.save(attrs.evolve(campaign, description="words"))
        store.contacts.assign(campaign.id, contacts[:6])
        by_query = sa.select(HOST.contacts.c.id, sa.literal(3))
        store.contacts.assign(campaign.id, by_query.where(HOST.contacts.c.id.in_(contacts)))
        store.contacts.assign(campaign.id, [owner_id])
        store.contacts.assign(campaign.id, contacts, skip_active=True, cooldown=LEASE)
        store.contacts.remove(campaign.id, contacts[:1])
        store.contacts.set_readiness(campaign.id, {contacts[1]: ["email"], contacts[2]: []})
        store.contacts.exclude(campaign.id, contacts[3:4])
        store.contacts.include(campaign.id, contacts[3:4])
        store.contacts.list(campaign.id, status=[ContactStatus.PENDING], error_code="no", limit=2)
        contact_page = store.contacts.list(campaign.id, limit=2)
        store.contacts.list(campaign.id, limit=2, after=contact_page.next)
        store.contacts.overlaps(campaign.id)
        store.campaigns.clone(campaign.id)
        store.campaigns.list(status=[Status.DRAFT], owner_id=owner_id, template_id=own.id, limit=1)
        campaign_page = store.campaigns.list(limit=1)
        store.campaigns.list(limit=1, after=campaign_page.next, deleted=True)
        store.campaigns.get(campaign.id, lock=True)
        store.campaigns.get(campaign.id, lock="share")
        store.campaigns.count_by_status(owner_id=owner_id, search="x")
        store.campaigns.actions(campaign.id, review=ReviewTally(1, 0, 0))
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        for id_ in (campaign.id, budgeted.id):
            store.campaigns.apply(id_, Action.START_GENERATION)
            generation = store.generation
            first = generation.claim(id_, 2, LEASE, reserve=Decimal("0.01"))
            generation.renew(first.claims, LEASE)
            generation.checkpoint(first.claims[0], Decimal("0.001"))
            clock.forward(2 * LEASE)
            second = generation.claim(id_, 100, LEASE, reserve=Decimal("0.2"), cursor=first.cursor)
            outcomes: list[Outcome] = [
                Generated(Decimal("0.01")),
                Failed("no", "no", None),
                NotReady(("email",)),
                Unfinished(timedelta(seconds=1)),
            ]
            generation.record(dict(zip(second.claims, outcomes, strict=False)))
            stale = dict.fromkeys(first.claims, Generated(Decimal("0.01")))
            generation.record(stale, on_lost="book")
            generation.release(second.claims)
            for claim in generation.claim(id_, 1, LEASE, reserve=Decimal("0.01")).claims:
                store.contacts.erase([claim.contact_id])
                generation.record({claim: Unfinished()}, on_lost="book")
            generation.claim(id_, 1, LEASE, reserve=Decimal(2))
            generation.retry_failed(id_)
            generation.retry_failed(id_, contacts)
            generation.regenerate(id_, contacts)
            generation.regenerate(id_, only_stale=True)
            generation.progress(id_)
            generation.estimate(id_)
        store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)
        store.contacts.erase(contacts[4:6])
        store.campaigns.history(campaign.id)
        store.campaigns.apply(campaign.id, Action.RETURN_TO_DRAFT)
        store.campaigns.apply(campaign.id, Action.DELETE, reason="because")
        store.templates.remove(own.id)
    # Contacts that were excluded in flight, or claimed too often, or that a legacy writer changed.
    rare = tenant.campaign("generating", contacts=4, budget=Decimal(4))
    with open_store(tenant, clock=clock) as store:
        claims = store.generation.claim(rare.id, 2, LEASE, reserve=Decimal(1)).claims
        store.contacts.exclude(rare.id, [claims[0].contact_id])
        clock.forward(2 * LEASE)
        store.generation.claim(rare.id, 4, LEASE, reserve=Decimal(2), max_attempts=1)
    is_mine = campaign_contacts.c.tenant_id == tenant.id
    without_lease = {"status": ContactStatus.GENERATING, "lease_expires_at": None}
    execute(tenant, sa.update(campaign_contacts).where(is_mine).values(without_lease))
    tenant.apply(rare.id, Action.CANCEL_GENERATION)
    # Late results: of a campaign that this transaction has not locked, and has locked.
    late = tenant.campaign("generating", contacts=3)
    claims = tenant.claim(late.id)
    tenant.apply(late.id, Action.CANCEL_GENERATION)
    tenant.record({claims[0]: Generated(None)})
    with open_store(tenant) as store:
        store.generation.record({claims[1]: Generated(None)})
        store.generation.record({claims[2]: Generated(None)})
    reviewed = tenant.campaign("review", contacts=1)
    approved = tenant.campaign("approved", contacts=2)
    with open_store(tenant) as store:
        store.campaigns.actions(reviewed.id)
        list(store.contacts.exportable(approved.id))
        store.campaigns.review_tally(
            approved.id, HOST.messages, is_approved=sa.true(), is_rejected=sa.false()
        )
        store.campaigns.apply(approved.id, Action.EXPORT)
        pushed, failed = store.export.claim(approved.id, 5, LEASE).claims
        store.export.renew([pushed, failed], LEASE)
        store.export.record([pushed])
        store.export.release([failed])
        with pytest.raises(NotFound):
            store.campaigns.add(Campaign("Of nobody", owner_id=approved.id))
    with tenant.engine.begin() as connection:
        tenants.remove_tenant(connection, tenant.id)


@pytest.fixture
def statements(unchecked_tenant: Tenant) -> StoreStatements:
    """Every statement that the store sends for a tenant, the first one of an engine included."""
    _sharded.clear()
    with StoreStatements() as statements:
        call_every_method(unchecked_tenant)
    return statements


@on_postgresql
def test_every_statement_keeps_the_rules(statements: StoreStatements) -> None:
    assert statements.broken == []


@on_postgresql
def test_no_statement_was_missed(unchecked_tenant: Tenant, statements: StoreStatements) -> None:
    modules = [
        import_module(f"campaign_model.store.{one.name}")
        for one in pkgutil.iter_modules(store.__path__)
        # On PostgreSQL, `deleting` sends only settings.
        if one.name not in {"sqlite", "deleting"}
    ]
    texts = {
        str(value.compile(dialect=unchecked_tenant.engine.dialect)): name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, sa.TextClause | sa.TextualSelect)
        and not name.endswith("_ON_SQLITE")
        and value is not postgresql._CLAIM  # A sharded database gets the other form of it.
    }
    assert [name for text, name in texts.items() if text not in statements.sent] == []
    assert [
        f"{module.__name__}:{call.lineno}"
        for module in modules
        for call in calls_of_connections(module)
        if not any(
            (module.__file__, line) in statements.sites
            for line in range(call.lineno, (call.end_lineno or 0) + 1)
        )
    ] == []


def calls_of_connections(module: ModuleType) -> Iterator[ast.Call]:
    """Yield each call in a module that sends a statement."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        match node:
            case ast.Call(func=ast.Attribute(value, "execute" | "scalar" | "scalars")):
                if ast.unparse(value).endswith("connection"):
                    yield node


BROKEN = [
    (Rule.TENANT, "SELECT name FROM campaigns WHERE id = %(id)s::UUID"),
    # Not plain: a subquery, the tenant of another table, an outer join's condition.
    (Rule.TENANT, "SELECT name FROM campaigns WHERE tenant_id = (SELECT %(tenant)s::UUID)"),
    (Rule.TENANT, "SELECT name FROM campaigns WHERE tenant_id = %(tenant)s OR is_active"),
    (
        Rule.TENANT,
        (
            "SELECT FROM campaigns JOIN campaign_totals ON campaigns.tenant_id = %(tenant)s "
            "AND campaign_totals.tenant_id = campaigns.tenant_id"
        ),
    ),
    (
        Rule.TENANT,
        (
            "SELECT FROM campaigns LEFT JOIN campaign_totals ON campaigns.tenant_id = %(tenant)s "
            "AND campaign_totals.tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.TENANT,
        (
            "SELECT FROM campaigns, LATERAL (SELECT FROM campaign_totals "
            "WHERE campaign_id = campaigns.id) AS total WHERE campaigns.tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.TENANT,
        (
            "SELECT (SELECT max(low_watermark) FROM campaign_totals) "
            "FROM campaigns WHERE tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.TENANT,
        (
            "WITH one AS (SELECT id FROM campaigns WHERE tenant_id = %(tenant)s) "
            "UPDATE campaign_contacts SET rank = 1 FROM one WHERE campaign_id = one.id"
        ),
    ),
    # Two tables: the column says of which table it is.
    (
        Rule.TENANT,
        "DELETE FROM campaign_contacts USING campaigns WHERE tenant_id = %(tenant)s",
    ),
    (
        Rule.INSERT_IN_WITH,
        (
            "WITH total AS (INSERT INTO campaign_totals (tenant_id, campaign_id, shard) "
            "VALUES (%(tenant)s, %(campaign)s, 0) ON CONFLICT DO NOTHING RETURNING 1) "
            "SELECT count(*) FROM total"
        ),
    ),
    (
        Rule.TENANT_OF_INSERT,
        (
            "INSERT INTO campaign_totals (tenant_id, campaign_id, shard) "
            "SELECT %(tenant)s::UUID, id, 0 FROM campaigns WHERE tenant_id = %(tenant)s::UUID"
        ),
    ),
    (
        Rule.SUBQUERY_IN_INSERT,
        (
            "INSERT INTO campaign_totals (tenant_id, campaign_id, shard) "
            "SELECT tenant_id, id, (SELECT %(shard)s) FROM campaigns WHERE tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.SUBQUERY_IN_INSERT,
        (
            "INSERT INTO campaign_totals (tenant_id, campaign_id, shard) "
            "VALUES ((SELECT %(tenant)s::UUID), %(campaign)s::UUID, 0)"
        ),
    ),
    (
        Rule.IMMUTABLE,
        (
            "UPDATE campaign_contacts SET reported_tokens = CASE WHEN rank = 1 "
            "THEN to_jsonb(claim_token) END WHERE tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.IMMUTABLE,
        (
            "UPDATE campaign_contacts SET retry_at = claimed_at + %(pause)s::INTERVAL "
            "WHERE tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.IMMUTABLE,
        (
            "DELETE FROM campaign_contacts WHERE tenant_id = %(tenant)s "
            "AND lease_expires_at < coalesce(claimed_at, CAST(error AS timestamptz))"
        ),
    ),
    (
        Rule.IMMUTABLE,
        (
            "UPDATE campaign_contacts SET rank = 1 WHERE tenant_id = %(tenant)s "
            "RETURNING CAST(claimed_at AS text)"
        ),
    ),
    (
        Rule.IMMUTABLE,
        (
            "INSERT INTO campaign_totals (tenant_id, campaign_id, shard) "
            "VALUES (%(tenant)s, %(campaign)s, 0) "
            "ON CONFLICT (tenant_id, campaign_id, shard) DO UPDATE SET error = to_jsonb(1)"
        ),
    ),
    (
        Rule.SUBQUERY_IN_CHANGE,
        (
            "UPDATE campaign_contacts SET error = (SELECT %(error)s::VARCHAR) "
            "WHERE tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.SUBQUERY_IN_CHANGE,
        (
            "WITH one AS (SELECT max((SELECT %(rank)s)) AS rank) UPDATE campaign_contacts "
            "SET rank = one.rank FROM one WHERE tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.CONDITION,
        (
            "SELECT name FROM campaigns WHERE tenant_id = %(tenant)s "
            "AND (id = %(id)s OR NOT %(is_first)s::BOOLEAN)"
        ),
    ),
    (
        Rule.CONDITION,
        "SELECT name FROM campaigns WHERE tenant_id = %(tenant)s AND (SELECT %(is_first)s)",
    ),
    (
        Rule.SERVER_VALUES,
        "UPDATE campaigns SET updated_at = (SELECT now()) WHERE tenant_id = %(tenant)s",
    ),
    (Rule.SERVER_VALUES, "INSERT INTO campaign_templates (tenant_id) VALUES (%(tenant)s)"),
    (
        Rule.SERVER_VALUES,
        (
            "WITH gate AS (SELECT pg_advisory_xact_lock_shared(%(gate)s) FROM campaigns "
            "WHERE tenant_id = %(tenant)s) "
            "UPDATE campaigns SET version = 2 FROM gate WHERE tenant_id = %(tenant)s"
        ),
    ),
    (
        Rule.MERGE,
        (
            "MERGE INTO campaigns USING one ON campaigns.tenant_id = %(tenant)s "
            "WHEN MATCHED THEN DELETE"
        ),
    ),
]


@pytest.mark.parametrize(("rule", "statement"), BROKEN)
def test_a_statement_that_breaks_a_rule_is_named(rule: Rule, statement: str) -> None:
    assert broken_rules(statement) == [rule]


def test_each_rule_has_a_statement_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN} == {*Rule}


@on_postgresql
def test_the_server_agrees_which_functions_are_immutable(engine: sa.Engine) -> None:
    query = sa.text("SELECT proname, provolatile FROM pg_proc WHERE proname = ANY(:names)")
    with engine.begin() as connection:
        functions = connection.execute(query, {"names": [*NOT_VOLATILE]}).all()
    assert {name for name, _ in functions} == NOT_VOLATILE
    assert {name for name, volatility in functions if volatility == "v"} == set()
    assert IMMUTABLE.isdisjoint(name for name, volatility in functions if volatility != "i")


@on_postgresql
def test_claims_skip_locked_rows_and_take_weak_locks(statements: StoreStatements) -> None:
    # Fresh contacts, contacts whose lease has expired, and contacts to export.
    parts = ("waiting AS", "expired AS", "exported_at IS NULL")
    claims = [one for part in parts for one in statements.sent if part in one and "LIMIT" in one]
    assert len(claims) == 3
    assert all(claim.count("FOR NO KEY UPDATE SKIP LOCKED") == 1 for claim in claims)
    # FOR UPDATE on a campaign or a contact would delay inserts of the host's messages.
    strong_locks = [one for one in statements.sent if re.search(r"FOR UPDATE\b", one)]
    assert all(" campaign_templates" in one for one in strong_locks), strong_locks


def test_workers_without_a_budget_use_all_shards_of_the_totals(tenant: Tenant) -> None:
    # A random shard for each of 150 workers leaves none of the eight unused.
    campaign = tenant.campaign("generating", contacts=150)
    for _ in range(150):
        tenant.claim(campaign.id, 1)
    totals = campaign_totals.c
    used = sa.select(sa.func.count()).where(
        totals.tenant_id == tenant.id, totals.campaign_id == campaign.id, totals.generating > 0
    )
    with tenant.engine.begin() as connection:
        assert connection.scalar(used) == SHARDS
    tenant.check_totals(campaign.id)
