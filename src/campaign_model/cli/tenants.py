"""What the command ``campaign-model tenants list`` does: read the rows of all tenants."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_model.cli.console import UserError, open_console, print_json, print_table
from campaign_model.cli.database import open_database, parse_url
from campaign_model.db.schema import quote
from campaign_model.lifecycle import Status
from campaign_model.store import HostTables
from campaign_model.store.types import Uuid


def print_tenants(url: str, table: str, *, as_json: bool) -> None:
    """Print every tenant with the numbers of its campaigns."""
    table = HostTables(tenants=table).tenants
    with open_database(parse_url(url)) as engine:
        inspector = sa.inspect(engine)
        if not inspector.has_table(table):
            raise UserError(f"there is no table {table}; name yours with  --tenants")
        columns = {column["name"] for column in inspector.get_columns(table)}
        name = "CAST(tenant.name AS text)" if "name" in columns else "''"
        # Every tenant, with and without campaigns, and the numbers of its campaigns.
        select_tenants = sa.text(
            f"""
            SELECT
                tenant.id AS id,
                {name} AS name,
                count(campaign.id) AS campaigns,
                count(CASE WHEN campaign.status = '{Status.GENERATING}' THEN 1 END) AS generating
            FROM {quote(table)} AS tenant
            LEFT JOIN campaigns AS campaign
                ON campaign.tenant_id = tenant.id AND campaign.is_active
            GROUP BY 1, 2
            ORDER BY 2, 1
            """  # noqa: S608 - the name of the table is quoted
        ).columns(id=Uuid)
        with engine.begin() as connection:
            rows = [row._asdict() for row in connection.execute(select_tenants)]
    if as_json:
        print_json(rows)
        return
    print_table(
        open_console(),
        ("id", "campaigns", "generating", "name"),
        [(row["id"], row["campaigns"], row["generating"], row["name"]) for row in rows],
    )
