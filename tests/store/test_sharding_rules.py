"""The statements of the store keep the rules that a sharded PostgreSQL needs.

Every statement names the tenant for every table, and no writing statement asks the database for
the time, an id or a random number.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Failed, Generated, NotReady, Outcome, Unfinished
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.store.tables import campaign_totals, metadata
from campaign_model.testing._store_internals import SHARDS
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from support.tenants import HOST, new_owner
from support.transactions import CLAIM_TIME, on_postgresql, open_store, recorded_statements

TABLES = "|".join(metadata.tables)
FORBIDDEN_WHEN_WRITING = re.compile(
    r"\bnow\(|clock_timestamp|CURRENT_TIME|CURRENT_DATE|LOCALTIME|gen_random_uuid|randomblob"
    r"|strftime|nextval|\brandom\(|\bset_config\(",
    re.IGNORECASE,
)


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
    approved = tenant.campaign("approved", contacts=2)
    with open_store(tenant) as store:
        list(store.contacts.exportable(approved.id))
        store.campaigns.review_tally(
            approved.id, HOST.messages, is_approved=sa.true(), is_rejected=sa.false()
        )
        store.campaigns.apply(approved.id, Action.EXPORT)
        pushed, failed = store.export.claim(approved.id, 5, LEASE).claims
        store.export.renew([pushed, failed], LEASE)
        store.export.record([pushed])
        store.export.release([failed])


@pytest.fixture
def statements(tenant: Tenant) -> list[str]:
    """Every statement of the store on the library's tables, in one line."""
    with recorded_statements(tenant.engine) as recorded:
        call_every_method(tenant)
    lines = dict.fromkeys(" ".join(statement.split()) for statement, _ in recorded)
    return [line for line in lines if re.search(rf"\b({TABLES})\b", line)]


def is_writing(statement: str) -> bool:
    without_locks = statement.replace("FOR NO KEY UPDATE", "")
    return re.search(r"\b(INSERT|UPDATE|DELETE)\b", without_locks) is not None


def test_every_statement_names_the_tenant_for_every_table(statements: list[str]) -> None:
    assert len(statements) > 40
    used_tables = {name for statement in statements for name in re.findall(TABLES, statement)}
    assert used_tables == {*metadata.tables}
    for statement in statements:
        assert "MERGE" not in statement, statement
        # A table is restricted by a parameter, by the tenant of another table, or to rows without
        # a tenant (system templates).
        used = re.findall(rf"\b(?:FROM|JOIN|UPDATE) (?:{TABLES})\b", statement)
        inserted_columns = re.findall(rf"\bINTO (?:{TABLES}) \(([^)]*)\)", statement)
        assert used or inserted_columns, statement
        assert all("tenant_id" in columns for columns in inserted_columns), statement
        restrictions = re.findall(r"tenant_id (?:= |IS NULL)", statement)
        assert len(restrictions) >= len(used), statement


def test_no_writing_statement_asks_the_database_for_values(statements: list[str]) -> None:
    writing = [statement for statement in statements if is_writing(statement)]
    assert len(writing) > 20
    for statement in writing:
        assert not FORBIDDEN_WHEN_WRITING.search(CLAIM_TIME.sub("", statement)), statement
    # Defaults of columns would do so as well, so every INSERT names these columns.
    for table in metadata.tables.values():
        inserts = [one for one in writing if one.startswith(f"INSERT INTO {table.name} ")]
        assert inserts, table.name
        with_default = {"id", "created_at", "updated_at", "added_at", "at"} & {*table.c.keys()}
        for statement in inserts:
            columns = re.split(r"[(), ]+", statement[: statement.index(")")])
            assert with_default <= {*columns}, statement


@on_postgresql
def test_claims_skip_locked_rows_and_take_weak_locks(statements: list[str]) -> None:
    # Fresh contacts, contacts whose lease has expired, and contacts to export.
    parts = ("waiting AS", "expired AS", "exported_at IS NULL")
    claims = [one for part in parts for one in statements if part in one and "LIMIT" in one]
    assert len(claims) == 3
    assert all(claim.count("FOR NO KEY UPDATE SKIP LOCKED") == 1 for claim in claims)
    # FOR UPDATE on a campaign or a contact would delay inserts of the host's messages.
    strong_locks = [one for one in statements if re.search(r"FOR UPDATE\b", one)]
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
