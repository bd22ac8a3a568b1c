"""Contacts put into a campaign, against COPY of the same rows into the same table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from uuid import UUID

import psycopg
import sqlalchemy as sa

from benchmarks.harness import Bench, Pair, Row, in_turns, seconds
from campaign_model.campaign import Assigned
from campaign_model.store.tables import campaign_contacts
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.testing.totals_check import find_wrong_totals
from support import servers
from support.tenants import HOST, new_tenant

COLUMNS = ("id", "tenant_id", "campaign_id", "contact_id", "rank", "status", "added_at")
COPY = f"COPY campaign_contacts ({', '.join(COLUMNS)}) FROM STDIN"
EMPTY = "TRUNCATE campaign_contacts CASCADE; DELETE FROM campaign_totals"


def host_contacts(tenant: Tenant, number: int) -> list[UUID]:
    """Add ``number`` contacts of the host. Return their ids in random order."""
    with tenant.engine.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO {HOST.contacts.name} (id, tenant_id, first_name)"  # noqa: S608
                " SELECT gen_random_uuid(), :tenant, 'Contact ' || number"
                " FROM generate_series(1, :number) AS number"
            ),
            {"tenant": tenant.id, "number": number},
        )
        ids = sa.select(HOST.contacts.c.id).where(HOST.contacts.c.tenant_id == tenant.id)
        return [
            *connection.scalars(ids.order_by(sa.func.md5(sa.cast(HOST.contacts.c.id, sa.Text))))
        ]


def assign(bench: Bench, *, number: int) -> Iterator[Pair]:
    """Yield the seconds to assign ``number`` contacts to an empty campaign and commit."""
    number = min(number, 20_000) if bench.quick else number
    engine = sa.create_engine(bench.database())
    plain = servers.plain(engine.url)
    tenant = new_tenant(engine)
    ids = host_contacts(tenant, number)
    rows: list[tuple[object, ...]] = []

    def empty() -> UUID:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(EMPTY)
            # Otherwise the server might do this during a measurement.
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")
        return tenant.campaign(contacts=0).id

    def ours() -> float:
        campaign_id = empty()

        def work() -> Assigned:
            return tenant.transact(lambda store: store.contacts.assign(campaign_id, iter(ids)))

        took = seconds(lambda: answers.append(work()))
        assert answers.pop() == Assigned(number, 0, ())
        with engine.connect() as connection:
            assert not find_wrong_totals(connection, [tenant.id], [campaign_id])
            if not rows:
                found = connection.execute(
                    sa.select(*(campaign_contacts.c[one] for one in COLUMNS))
                )
                rows.extend(map(tuple, found))
        return took

    def copy() -> float:
        campaign_id = empty()
        place = COLUMNS.index("campaign_id")
        same = [(*row[:place], campaign_id, *row[place + 1 :]) for row in rows]

        def work() -> None:
            with connection.cursor() as cursor, cursor.copy(COPY) as lines:
                for row in same:
                    lines.write_row(row)
            connection.commit()

        with psycopg.connect(plain) as connection:
            took = seconds(work)
        empty()
        return took

    answers: list[Assigned] = []
    ours()  # What it has written is what COPY writes, in the same order.
    yield from in_turns(ours, copy, 3 if number > 100_000 else 9)
    engine.dispose()


ROWS = [
    Row(
        f"assign {number:,} contacts",
        "COPY of the same rows into the same table with its keys, in the same order",
        partial(assign, number=number),
        at_most=1.15,
        long=number > 100_000,
    )
    for number in (100_000, 1_000_000)
]
