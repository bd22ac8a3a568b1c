"""The commands ``campaign-model tenants``, for operators."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign_model.cli.options import GROUP_SETTINGS, Json, Url

tenants_app: typer.Typer = typer.Typer(**GROUP_SETTINGS, help="List the tenants of a database.")


@tenants_app.callback()
def _tenants() -> None:
    """List the tenants of a database."""  # With a callback, one command is a group too.


@tenants_app.command("list")
def list_tenants(
    *,
    url: Url,
    tenants: Annotated[
        str, typer.Option("--tenants", metavar="TABLE", help="Your table of tenants.")
    ] = "tenants",
    as_json: Json = False,
) -> None:
    """List every tenant, with the numbers of its campaigns.

    The option --tenant of other commands needs such an id. Deleted campaigns do not count.

    Example:  campaign-model tenants list --url sqlite:///campaigns.db
    """
    from campaign_model.cli.tenants import print_tenants

    print_tenants(url, tenants, as_json=as_json)
