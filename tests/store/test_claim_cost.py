"""Failure 26: claims and reports cost the same, however many contacts a campaign has.

The tests read query plans and count rows and statements, so they depend on the store's SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.claims import Claim, ClaimBatch, Cursor, Failed, Generated
from campaign_model.lifecycle import ContactStatus
from campaign_model.store import CampaignStore, claiming
from campaign_model.store.tables import campaign_contacts, campaign_totals
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from support.tenants import claim_long_ago, contact_rows, execute
from support.transactions import on_postgresql, on_sqlite, statements_of


def analyze(tenant: Tenant) -> None:
    """Refresh the statistics, before there is a campaign that they do not know."""
    execute(tenant, sa.text("ANALYZE campaign_contacts"))


def explain(tenant: Tenant, statement: str, parameters: Any, options: str = "") -> list[Any]:
    """Run a statement, roll it back, and return all nodes of its plan."""
    with tenant.engine.connect() as connection:
        explained: Any = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, {options} FORMAT JSON) {statement}", parameters
        ).scalar_one()
    nodes = [explained[0]["Plan"]]
    for node in nodes:
        nodes += node.get("Plans", [])
    return nodes


def contacts_read(tenant: Tenant, statement: str, parameters: Any) -> int:
    """Count the rows of contacts that a statement reads.

    Rows of other tables do not count: the server may read a small table as a whole.
    """
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in explain(tenant, statement, parameters)
        if node.get("Relation Name") == "campaign_contacts"
    )


def pairs_discarded(tenant: Tenant, statement: str, parameters: Any) -> int:
    """Count the pairs of rows that the joins of a statement compare and then discard."""
    return sum(
        node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"]
        for node in explain(tenant, statement, parameters)
    )


def record_generated(tenant: Tenant, claims: tuple[Claim, ...]) -> None:
    tenant.record(dict.fromkeys(claims, Generated(CENT)))


@on_postgresql
def test_failure_26_a_claim_reads_as_few_blocks_at_the_end_of_a_run(tenant: Tenant) -> None:
    number, step = 1200, 60
    campaign = tenant.campaign("generating", contacts=number)
    cursor = Cursor()

    def claim(store: CampaignStore) -> ClaimBatch:
        return store.generation.claim(campaign.id, 10, LEASE, cursor=cursor)

    def generate(store: CampaignStore) -> Cursor:
        batch = store.generation.claim(campaign.id, step, LEASE, cursor=cursor)
        assert len(batch.claims) == step
        store.generation.record(dict.fromkeys(batch.claims, Generated(CENT)))
        return batch.cursor

    blocks = []
    # An old snapshot keeps the database from removing old row versions.
    one_snapshot = tenant.engine.execution_options(isolation_level="REPEATABLE READ")
    with one_snapshot.connect() as reader, reader.begin():
        reader.execute(sa.select(sa.func.count()).select_from(campaign_contacts))
        for done in range(step, number - step + 1, step):
            cursor = tenant.transact(generate)
            if done not in (step, number - step):
                continue
            analyze(tenant)
            statements = statements_of(tenant, claim)
            (picking,) = (one for one in statements if "campaign_contacts" in one[0])
            (plan,) = (
                node
                for node in explain(tenant, *picking, "BUFFERS,")
                if node.get("Subplan Name") == "CTE waiting"
            )
            blocks.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    first, last = blocks
    assert last <= 2 * first + 10
    assert last < 60


@on_postgresql
@pytest.mark.parametrize(
    ("contacts_per_campaign", "finished"),
    [*((number, True) for number in (0, 1, 3, 5, 8, 30, 1_000)), (15, False)],
)
def test_failure_26_held_contacts_are_found_without_reading_others(
    tenant: Tenant,
    contacts_per_campaign: int,
    finished: bool,  # noqa: FBT001
) -> None:
    # The planner expects of a campaign what the statistics say about earlier ones.
    for _ in range(contacts_per_campaign and 60 // contacts_per_campaign + 2):
        tenant.campaign(contacts=contacts_per_campaign)
    if finished:
        execute(tenant, sa.update(campaign_contacts).values(status=ContactStatus.GENERATED))
    analyze(tenant)
    campaign = tenant.campaign("generating", contacts=2_000)
    claims = tenant.claim(campaign.id, 5)
    calls: list[Callable[[CampaignStore], object]] = [
        lambda store: store.generation.claim(campaign.id, 5, LEASE),
        lambda store: store.generation.renew(claims, LEASE),
        lambda store: store.generation.checkpoint(claims[0], CENT, call_id=campaign.id),
        lambda store: store.generation.record(dict.fromkeys(claims, Generated(CENT))),
    ]
    for call in calls:
        for statement, parameters in statements_of(tenant, call):
            assert contacts_read(tenant, statement, parameters) < 100, statement


@on_postgresql
@pytest.mark.parametrize("contacts_per_campaign", [8, 15])
def test_failure_26_an_export_reads_no_contacts_before_its_cursor(
    tenant: Tenant, contacts_per_campaign: int
) -> None:
    # The planner expects of a campaign what the statistics say about earlier ones.
    for _ in range(60 // contacts_per_campaign + 2):
        tenant.campaign("exported", contacts=contacts_per_campaign)
    execute(tenant, sa.update(campaign_contacts).values(exported_at=sa.func.now()))
    analyze(tenant)
    campaign = tenant.campaign("exported", contacts=600)

    def hand_out(store: CampaignStore, limit: int = 5, cursor: Cursor | None = None) -> ClaimBatch:
        return store.export.claim(campaign.id, limit, LEASE, cursor=cursor)

    batch = tenant.transact(lambda store: hand_out(store, 400))
    tenant.transact(lambda store: store.export.record(batch.claims))
    claims = tenant.transact(lambda store: hand_out(store, 5, batch.cursor)).claims
    calls: list[Callable[[CampaignStore], object]] = [
        lambda store: hand_out(store, 5, batch.cursor),
        lambda store: store.export.renew(claims, LEASE),
        lambda store: store.export.record(claims),
        lambda store: store.export.release(claims),
    ]
    for call in calls:
        for statement, parameters in statements_of(tenant, call):
            assert contacts_read(tenant, statement, parameters) < 100, statement


@on_postgresql
def test_failure_26_a_large_record_does_not_compare_each_contact_with_all(tenant: Tenant) -> None:
    analyze(tenant)
    held = 300
    campaign = tenant.campaign("generating", contacts=5_000)
    claims = tenant.claim(campaign.id, held)
    for statement, parameters in statements_of(
        tenant, lambda store: store.generation.record(dict.fromkeys(claims, Generated(CENT)))
    ):
        assert pairs_discarded(tenant, statement, parameters) <= held**2, statement


@on_sqlite
def test_failure_26_a_claim_uses_the_index_of_ranks(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=3)
    claim_long_ago(tenant, campaign.id, 1)
    statements = statements_of(tenant, lambda store: store.generation.claim(campaign.id, 3, LEASE))
    picking = [one for one in statements if "rank >=" in one[0]]
    assert len(picking) == 3
    index = "USING INDEX ix_campaign_contacts_rank (campaign_id=? AND rank>?"
    with tenant.engine.begin() as connection:
        for statement, parameters in picking:
            explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = " ".join(row.detail for row in explained)
            assert index in plan, statement
            # Only expired leases are sorted: the earliest comes first.
            assert ("TEMP B-TREE" in plan) == ("ORDER BY lease" in statement)


@on_sqlite
def test_contacts_are_found_by_their_ids_in_an_index(tenant: Tenant) -> None:
    ready, exported = (tenant.campaign(status, contacts=2) for status in ("ready", "exported"))
    contact_ids = [row.contact_id for row in contact_rows(tenant, ready.id).values()]

    def work(store: CampaignStore) -> None:
        store.contacts.exclude(ready.id, contact_ids)
        store.export.claim(exported.id, 1, LEASE)
        store.contacts.assign(ready.id, contact_ids, skip_active=True)

    statements = [
        one
        for one in statements_of(tenant, work)
        if one[0].startswith(("UPDATE campaign_contacts", "WITH theirs"))
    ]
    assert len(statements) == 3
    with tenant.engine.begin() as connection:
        for statement, parameters in statements:
            explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = " ".join(row.detail for row in explained)
            assert re.search(r"SEARCH campaign_contacts USING .*\((contact_)?id=\?", plan), plan


def test_failure_26_a_full_claim_uses_contacts_in_one_statement(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=5)
    cursor = tenant.transact(lambda store: store.generation.claim(campaign.id, 1, LEASE)).cursor
    statements = statements_of(
        tenant, lambda store: store.generation.claim(campaign.id, 4, LEASE, cursor=cursor)
    )
    of_contacts = [statement for statement, _ in statements if "campaign_contacts" in statement]
    # RETURNING on SQLite cannot show columns of other tables, so it takes two statements.
    assert len(of_contacts) == (2 if tenant.engine.dialect.name == "sqlite" else 1)


# The low-water mark.


def contacts_above_the_mark(tenant: Tenant, campaign_id: UUID) -> int:
    """Count the contacts that a claim without a cursor has to look at."""
    mark = sa.select(sa.func.max(campaign_totals.c.low_watermark)).where(
        campaign_totals.c.campaign_id == campaign_id
    )
    above = sa.select(sa.func.count()).where(
        campaign_contacts.c.campaign_id == campaign_id,
        campaign_contacts.c.rank >= sa.func.coalesce(mark.scalar_subquery(), -1),
    )
    with tenant.engine.begin() as connection:
        return connection.execute(above).scalar_one()


def test_failure_26_a_claim_without_a_cursor_starts_at_the_low_water_mark(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=40)
    record_generated(tenant, tenant.claim(campaign.id, 30))
    tenant.claim(campaign.id, 1)
    assert contacts_above_the_mark(tenant, campaign.id) == 10
    failed = tenant.claim(campaign.id, 2)
    tenant.record(dict.fromkeys(failed, Failed("no", "no", CENT)))
    for _ in range(7):
        assert len(tenant.claim(campaign.id, 1)) == 1
    # The first of the ten contacts is still in flight.
    assert contacts_above_the_mark(tenant, campaign.id) == 10
    assert tenant.claim(campaign.id, 1) == ()
    # Retried contacts are found, although the mark was above them.
    tenant.transact(lambda store: store.generation.retry_failed(campaign.id))
    retried = {claim.contact_id for claim in tenant.claim(campaign.id, 9)}
    assert retried == {claim.contact_id for claim in failed}


def test_failure_26_claims_with_a_cursor_raise_the_low_water_mark(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    stride = 4
    monkeypatch.setattr(claiming, "_WATERMARK_STRIDE", stride)
    number = 5 * stride
    campaign = tenant.campaign("generating", contacts=number)
    cursor, done, finished_above_the_mark = Cursor(), 0, []
    for size in (1, 2, 3, 3, 2, 1, 1, 3):
        batch = tenant.transact(
            lambda store: store.generation.claim(campaign.id, size, LEASE, cursor=cursor)  # noqa: B023
        )
        above = contacts_above_the_mark(tenant, campaign.id)
        finished_above_the_mark.append(above - (number - done))
        record_generated(tenant, batch.claims)
        cursor, done = batch.cursor, done + size
    # The claims with the 1st, 5th, 9th and 13th contact raise the mark.
    assert finished_above_the_mark == [0, 1, 0, 0, 3, 5, 0, 1]


@on_postgresql
def test_failure_26_the_low_water_mark_is_raised_in_one_pass(tenant: Tenant) -> None:
    analyze(tenant)
    done = 900
    campaign = tenant.campaign("generating", contacts=done + 100)
    record_generated(tenant, tenant.claim(campaign.id, done))

    def contacts_passed_over() -> int:
        statements = statements_of(
            tenant, lambda store: store.generation.claim(campaign.id, 1, LEASE)
        )
        return sum(contacts_read(tenant, *one) for one in statements)

    # The claim passes over the finished contacts, and so does the raising of the mark.
    assert done < contacts_passed_over() < 2 * done + 200
    tenant.claim(campaign.id, 1)
    assert contacts_passed_over() < 200


def test_failure_26_progress_is_one_query_without_contacts(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=5)
    ((statement, _),) = statements_of(tenant, lambda store: store.generation.progress(campaign.id))
    assert "campaign_contacts" not in statement
