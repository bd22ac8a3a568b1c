"""The commands ``campaign-model tenants``, for operators."""

from __future__ import annotations

import typer

from campaign_model.cli.console import open_console, print_json, print_table
from campaign_model.cli.database import open_database, parse_url, require_table
from campaign_model.cli.options import GROUP_SETTINGS, Json, TenantsTable, Url
from campaign_model.lifecycle import Status

tenants_app: typer.Typer = typer.Typer(**GROUP_SETTINGS, help="List the tenants of a database.")


@tenants_app.callback()
def _tenants() -> None:
    """List the tenants of a database."""  # With a callback, one command is a group too.


@tenants_app.command("list")
def list_tenants(
    *,
    url: Url,
    tenants: TenantsTable = "tenants",
    as_json: Json = False,
) -> None:
    """List every tenant, with its id and the numbers of its campaigns.

    Pass the id to other commands as --tenant. Deleted campaigns do not count.

    Example:  campaign-model tenants list --url sqlite:///campaigns.db
    """
    import sqlalchemy as sa

    from campaign_model.db.schema import quote
    from campaign_model.store import HostTables
    from campaign_model.store.types import Uuid

    table = HostTables(tenants=tenants).tenants
    with open_database(parse_url(url)) as engine:
        has_names = "name" in require_table(engine, table, "--tenants")
        name = "CAST(tenant.name AS text)" if has_names else "''"
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
