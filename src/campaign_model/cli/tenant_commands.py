"""The commands ``campaign-model tenants``, for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from campaign_model.cli.console import open_console, print_json, print_table
from campaign_model.cli.database import require_table, run_in_transaction
from campaign_model.cli.options import GROUP_SETTINGS, Json, TenantsTable, Url
from campaign_model.lifecycle import Status

if TYPE_CHECKING:
    import sqlalchemy as sa

tenants_app: typer.Typer = typer.Typer(**GROUP_SETTINGS, help="List the tenants of a database.")


@tenants_app.command("list")
def list_tenants(*, url: Url, tenants: TenantsTable = "tenants", as_json: Json = False) -> None:
    """List every tenant, with its id and the numbers of its campaigns.

    Pass the id to other commands as --tenant. Deleted campaigns do not count.

    Example:  campaign-model tenants list --url sqlite:///campaigns.db
    """
    from campaign_model.store import HostTables

    table = HostTables(tenants=tenants).tenants
    rows = run_in_transaction(url, lambda connection: _load_tenants(connection, table))
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_table(open_console(), ("id", "campaigns", "generating", "name"), rows)


def _load_tenants(connection: sa.Connection, table: str) -> list[sa.Row[Any]]:
    """Load every tenant, with and without campaigns, and the numbers of its campaigns."""
    import sqlalchemy as sa

    from campaign_model.db.schema import quote
    from campaign_model.store.types import Uuid

    has_names = "name" in require_table(connection, table, "--tenants")
    name = "CAST(tenant.name AS text)" if has_names else "''"
    select_tenants = sa.text(
        f"""
        SELECT
            tenant.id AS id,
            count(campaign.id) AS campaigns,
            count(CASE WHEN campaign.status = '{Status.GENERATING}' THEN 1 END) AS generating,
            {name} AS name
        FROM {quote(table)} AS tenant
        LEFT JOIN campaigns AS campaign
            ON campaign.tenant_id = tenant.id AND campaign.is_active
        GROUP BY 1, 4
        ORDER BY 4, 1
        """  # noqa: S608 - the name of the table is quoted
    ).columns(id=Uuid)
    return [*connection.execute(select_tenants)]
