"""Reads that users make while campaigns run: progress, and the list of campaigns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import psycopg
import sqlalchemy as sa

from benchmarks.assign import host_contacts
from benchmarks.generation import processes
from benchmarks.harness import Bench, Pair, Row, in_turns, seconds
from campaign_model.campaign import CampaignSummary
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore
from campaign_model.store.scope import SHARDS
from campaign_model.store.tables import campaigns
from campaign_model.testing.sample_campaigns import make_campaign
from support import servers
from support.tenants import new_tenant

WORKERS = 2


def call_by_call(
    ours: Callable[[], Any], yardstick: Callable[[], Any], number: int
) -> Iterator[Pair]:
    """Yield ``number`` pairs of medians, each of 100 calls. The two functions take turns."""
    for work in (ours, yardstick):
        for _ in range(20):
            work()  # Until the driver has prepared the statements.
    for _ in range(number):
        turns = [*in_turns(partial(seconds, ours), partial(seconds, yardstick), 100)]
        yield median(one for one, _ in turns), median(other for _, other in turns)


def progress(bench: Bench, *, contacts: int) -> Iterator[Pair]:
    """Yield the seconds of ``progress`` and of SELECT 1, while workers claim and record."""
    contacts = min(contacts, 20_000) if bench.quick else contacts
    engine = sa.create_engine(bench.database())
    tenant = new_tenant(engine)
    ids = host_contacts(tenant, contacts)
    campaign = tenant.transact(lambda store: make_campaign(store, ids, Status.GENERATING))
    url = engine.url.render_as_string(hide_password=False)
    with processes(WORKERS, url, tenant.id) as pipes, engine.connect() as connection:
        store = CampaignStore(connection, tenant.id)

        def ours() -> object:
            return store.generation.progress(campaign.id)

        def select() -> object:
            return connection.execute(sa.text("SELECT 1")).scalar_one()

        for pipe in pipes:
            pipe.send(("ours", campaign.id, 1))
        yield from call_by_call(ours, select, 5 if bench.quick else 25)
        now = store.generation.progress(campaign.id)
        assert now.by_status[ContactStatus.PENDING], "the workers have finished"
        connection.rollback()
        tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        for pipe in pipes:
            pipe.recv()
    engine.dispose()


CAMPAIGNS = """
INSERT INTO campaigns (id, tenant_id, name, status, total_contacts, next_position, created_at)
SELECT gen_random_uuid(), :tenant, 'Campaign ' || number,
    CASE WHEN number % 10 = 0 THEN 'generating' ELSE 'ready' END,
    :contacts, :contacts, now() - number * interval '1 minute'
FROM generate_series(1, :campaigns) AS number
"""
CONTACTS = """
INSERT INTO campaign_contacts (id, tenant_id, campaign_id, contact_id, rank, added_at)
SELECT gen_random_uuid(), tenant_id, campaign.id, contact.id, number, now()
FROM campaigns AS campaign
JOIN (
    SELECT tenant_id, id, row_number() OVER () AS number FROM contacts
) AS contact USING (tenant_id)
"""
TOTALS = """
INSERT INTO campaign_totals (tenant_id, campaign_id, shard, pending)
SELECT tenant_id, id, shard, :contacts / CASE status WHEN 'generating' THEN :shards ELSE 1 END
FROM campaigns, generate_series(0, :shards - 1) AS shard
WHERE status = 'generating' OR shard = 0
"""
PAGE = 50


def many_campaigns(engine: sa.Engine, number: int, contacts: int) -> None:
    """Insert ``number`` campaigns with the same contacts. Every tenth campaign is generating."""
    tenant = new_tenant(engine)
    host_contacts(tenant, contacts)
    values = {
        "tenant": tenant.id,
        "contacts": contacts,
        "campaigns": number,
        "shards": SHARDS,
    }
    with engine.begin() as connection:
        # Skip the foreign keys, which would take minutes: the rows are right.
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in (CAMPAIGNS, CONTACTS, TOTALS):
            names = sa.text(statement).compile().params
            connection.execute(sa.text(statement), {name: values[name] for name in names})


COLUMNS = tuple(
    campaigns.c[name]
    for name in (
        *("id", "name", "status", "is_active", "owner_id", "template_id", "total_contacts"),
        *("generated_count", "generation_cost", "version", "created_at", "updated_at"),
    )
)
BY_CORE = (
    sa.select(*COLUMNS)
    .where(
        campaigns.c.tenant_id == sa.bindparam("tenant"),
        campaigns.c.is_active,
        sa.tuple_(campaigns.c.created_at, campaigns.c.id)
        < sa.tuple_(sa.bindparam("moment"), sa.bindparam("last")),
    )
    .order_by(campaigns.c.created_at.desc(), campaigns.c.id.desc())
    .limit(PAGE + 1)
)
BY_PSYCOPG = f"""
SELECT {", ".join(column.name for column in COLUMNS)} FROM campaigns
WHERE tenant_id = %(tenant)s AND is_active AND (created_at, id) < (%(moment)s, %(last)s)
ORDER BY created_at DESC, id DESC LIMIT {PAGE + 1}
"""  # noqa: S608 - our own names


def listed(bench: Bench, *, by: str) -> Iterator[Pair]:
    """Yield the seconds to read a page from the middle. The query by hand reads no totals."""
    # The list reads totals, not contacts: more contacts do not change the ratio.
    number, contacts = (500 if bench.quick else 5_000), 10 * SHARDS
    url = bench.database(
        "many campaigns", partial(many_campaigns, number=number, contacts=contacts)
    )
    engine = sa.create_engine(url)
    plain = servers.plain(engine.url)
    with engine.connect() as connection, psycopg.connect(plain) as other:
        tenant_id = connection.execute(sa.select(campaigns.c.tenant_id).limit(1)).scalar_one()
        store = CampaignStore(connection, tenant_id)
        before = store.campaigns.list(limit=200)
        last = before.items[-1]
        place = {"tenant": tenant_id, "moment": last.created_at, "last": last.id}

        def ours() -> object:
            return store.campaigns.list(limit=PAGE, after=before.next)

        def by_hand() -> object:
            if by == "psycopg":
                return other.execute(BY_PSYCOPG, place).fetchall()
            rows = connection.execute(BY_CORE, place).all()
            if by == "rows":
                return rows
            return [CampaignSummary(*(*row[:9], 0, *row[9:])) for row in rows[:PAGE]]

        yield from call_by_call(ours, by_hand, 5 if bench.quick else 25)
    engine.dispose()


ROWS = [
    *(
        Row(
            f"progress at {contacts:,} contacts, while {WORKERS} workers record",
            "SELECT 1 on the same SQLAlchemy connection",
            partial(progress, contacts=contacts),
            at_most=2,
            long=contacts > 10_000,
        )
        for contacts in (10_000, 100_000, 1_000_000)
    ),
    *(
        Row(
            f"list of {PAGE} campaigns with totals, of 5,000",
            f"a keyset page of one table, by hand {how}",
            partial(listed, by=by),
            at_most=1.5 if by == "rows" else None,
            long=by != "rows",
        )
        for by, how in (
            ("rows", "on the same SQLAlchemy connection, as rows"),
            ("values", "on the same SQLAlchemy connection, as the same values"),
            ("psycopg", "in psycopg, as rows"),
        )
    ),
]
