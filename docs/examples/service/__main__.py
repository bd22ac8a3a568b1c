"""Start the service, its workers, and a sample campaign: ``python docs/examples/service``."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
from pathlib import Path

import sqlalchemy as sa
import uvicorn

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaign_model import Campaign, db
from campaign_model.store import CampaignStore, transact_async
from service.app import create_app
from service.tables import HOST, SAMPLE_CONTACTS, TENANT, read_contacts, save_contacts
from service.workers import make_engine, run_worker_process


async def set_up(url: str) -> None:
    """Create the tables; in a new database, also a campaign with sample contacts."""
    engine = make_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(
            lambda connection: db.init(connection.engine, with_host_tables=True)
        )
    await transact_async(engine, TENANT, add_samples)
    await engine.dispose()


def add_samples(store: CampaignStore) -> None:
    """Add the tenant, contacts, and a campaign, if the tenant does not exist."""
    tenants = HOST.tenants
    if store.connection.scalar(sa.select(tenants.c.id).where(tenants.c.id == TENANT)):
        return
    store.connection.execute(sa.insert(tenants).values(id=TENANT, name="Sample company"))
    contacts = read_contacts(SAMPLE_CONTACTS.read_bytes())
    save_contacts(store.connection, contacts)
    template = store.templates.list()[0]
    campaign = store.campaigns.add(Campaign.from_template(template, "Spring outreach"))
    store.contacts.assign(campaign.id, contacts)


def main() -> None:
    """Run the service until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="service", description="Start the service, its workers, and a sample campaign."
    )
    parser.add_argument(
        "--url",
        default="sqlite:///campaign-service.db",
        help="the database: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE "
        "(default: %(default)s)",
    )
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes; default: %(default)s")
    options = parser.parse_args()
    asyncio.run(set_up(options.url))
    spawn = multiprocessing.get_context("spawn")  # A fork would share the connections.
    workers = [
        spawn.Process(
            target=run_worker_process, args=(options.url, f"worker-{number}"), daemon=True
        )
        for number in range(1, options.workers + 1)
    ]
    for worker in workers:
        worker.start()
    # At the end, multiprocessing sends SIGTERM to the workers. They finish what they write.
    uvicorn.run(create_app(make_engine(options.url)), port=options.port, access_log=False)


if __name__ == "__main__":
    main()
