"""The command ``campaign-model db doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign_model.cli.database_commands import (
    ContactsTable,
    OwnersTable,
    TenantsTable,
    database_app,
)
from campaign_model.cli.options import Json, Url


@database_app.command("doctor")
def examine_database(
    *,
    url: Url,
    repair: Annotated[
        bool, typer.Option("--repair", help="Correct totals and leases, which loses nothing.")
    ] = False,
    tenants: TenantsTable = "tenants",
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
    as_json: Json = False,
) -> int:
    """Examine the rows of all tenants, and say for each problem what to do.

    Checks: settings of the connection, version of the schema, totals, leases, documents that cannot
    be read, history that the lifecycle does not allow, and rows that refer to nothing. Use a role
    that sees the rows of every tenant. The exit code is 1 if problems are left.

    Example:  campaign-model db doctor --url postgresql://owner@host/name
    """
    from campaign_model.cli.doctor import examine

    return examine(
        url,
        repair=repair,
        tenants=tenants,
        owners=owners,
        contacts=contacts,
        as_json=as_json,
    )
