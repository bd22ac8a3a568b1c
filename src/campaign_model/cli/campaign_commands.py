"""The command groups ``templates`` and ``campaigns``."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import attrs
import typer

from campaign_model import db
from campaign_model.cli.console import UserError, open_console, print_json
from campaign_model.cli.database import open_database, parse_url
from campaign_model.cli.options import GROUP_SETTINGS, Json, Tenant, Url
from campaign_model.cli.views import (
    print_campaign,
    print_campaign_page,
    print_sync_report,
    print_templates,
)
from campaign_model.lifecycle import Status
from campaign_model.store import transact

__all__ = ["campaigns_app", "templates_app"]

templates_app = typer.Typer(**GROUP_SETTINGS, help="List and update the templates of campaigns.")
campaigns_app = typer.Typer(**GROUP_SETTINGS, help="Show the campaigns of a tenant.")


@templates_app.command("sync")
def sync_templates(*, url: Url, as_json: Json = False) -> None:
    """Update the system templates in a database to those of this version.

    A system template that was edited in the database stays as it is.
    """
    with open_database(parse_url(url)) as engine, engine.begin() as connection:
        report = db.sync_presets(connection)
    if as_json:
        print_json(report)
    else:
        print_sync_report(open_console(), report)


@templates_app.command("list")
def list_templates(*, url: Url, tenant: Tenant, as_json: Json = False) -> None:
    """List the system templates and the tenant's own templates."""
    with open_database(parse_url(url)) as engine:
        templates = transact(engine, tenant, lambda store: store.templates.list())
    if as_json:
        print_json(templates)
    else:
        print_templates(open_console(), templates)


@campaigns_app.command("list")
def list_campaigns(
    *,
    url: Url,
    tenant: Tenant,
    status: Annotated[
        list[Status] | None,
        typer.Option(
            metavar="STATUS", help="List only campaigns with this status. Repeat it for several."
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=500, help="Campaigns per page.")
    ] = 50,
    after: Annotated[
        str | None,
        typer.Option(metavar="PAGE", help="Page to show, as the page before it printed it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the campaigns of a tenant, newest first."""
    with open_database(parse_url(url)) as engine:
        try:
            page = transact(
                engine,
                tenant,
                lambda store: store.campaigns.list(status=status, limit=limit, after=after),
            )
        except ValueError as error:
            raise UserError(str(error)) from None
    if as_json:
        print_json(page)
    else:
        print_campaign_page(open_console(), page)


@campaigns_app.command("show")
def show_campaign(
    id_: Annotated[UUID, typer.Argument(metavar="ID", help="Id of the campaign.")],
    *,
    url: Url,
    tenant: Tenant,
    as_json: Json = False,
) -> None:
    """Show one campaign: steps, progress, history, and the actions that are allowed now."""
    with open_database(parse_url(url)) as engine:
        campaign, progress, actions, history = transact(
            engine,
            tenant,
            lambda store: (
                store.campaigns.get(id_),
                store.generation.progress(id_),
                store.campaigns.actions(id_),
                store.campaigns.history(id_),
            ),
        )
    if as_json:
        print_json(
            {
                "campaign": campaign,
                "progress": progress,
                "actions": [
                    attrs.asdict(state, recurse=False) | {"allowed": state.allowed}
                    for state in actions
                ],
                "history": history,
            }
        )
    else:
        print_campaign(open_console(), campaign, progress, actions, history)
