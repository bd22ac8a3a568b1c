"""The commands ``campaign-model campaigns`` that operators run during and after a generation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from campaign_model.cli.campaign_commands import campaigns_app
from campaign_model.cli.options import Json, Tenant, Url

CampaignId = Annotated[UUID, typer.Argument(metavar="ID", help="Id of the campaign.")]
Actor = Annotated[
    str,
    typer.Option(
        metavar="NAME", envvar="CAMPAIGN_MODEL_ACTOR", help="Who does it, for the history."
    ),
]


@campaigns_app.command("watch")
def watch(
    ids: Annotated[
        list[UUID] | None,
        typer.Argument(metavar="ID", help="Ids of campaigns. Default: all that are generating."),
    ] = None,
    *,
    url: Url,
    tenant: Tenant,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Time between two readings.")
    ] = 2.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per interval.")
    ] = False,
) -> None:
    """Watch the generation of campaigns until it ends: progress, cost, time left and claims.

    Without a terminal, print one line per campaign and interval. Ctrl-C ends only the watching.

    Example:  campaign-model campaigns watch --interval 5
    """
    from campaign_model.cli.watch import watch_campaigns

    watch_campaigns(url, tenant, ids or (), interval=interval, as_json=as_json)


@campaigns_app.command("cancel")
def cancel(
    id_: CampaignId,
    *,
    url: Url,
    tenant: Tenant,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, for the history.")
    ] = None,
    actor: Actor = "operator",
    as_json: Json = False,
) -> None:
    """Cancel the generation of a campaign, which is ready then and can be started again.

    Contacts that workers hold are finished, and their costs are booked.

    Example:  campaign-model campaigns cancel ID --reason "wrong steps"
    """
    from campaign_model.cli.campaign_actions import cancel_generation

    cancel_generation(url, tenant, id_, reason=reason, actor=actor, as_json=as_json)


@campaigns_app.command("retry-failed")
def retry_failed(
    id_: CampaignId,
    *,
    url: Url,
    tenant: Tenant,
    contacts: Annotated[
        list[UUID] | None,
        typer.Option(
            "--contact",
            metavar="UUID",
            help="Only this contact. Repeat it for several. Default: every failed contact.",
        ),
    ] = None,
    actor: Actor = "operator",
    as_json: Json = False,
) -> None:
    """Let the failed contacts of a campaign wait again, so that workers generate them.

    Look at the errors first, with  contacts list ID --status failed.

    Example:  campaign-model campaigns retry-failed ID
    """
    from campaign_model.cli.campaign_actions import retry_failed_contacts

    retry_failed_contacts(url, tenant, id_, contacts, actor=actor, as_json=as_json)


@campaigns_app.command("export")
def export(
    id_: CampaignId,
    *,
    url: Url,
    tenant: Tenant,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="New file for the messages, as JSON Lines.")
    ],
    contacts: Annotated[
        str, typer.Option("--contacts", metavar="TABLE", help="Your table of contacts.")
    ] = "contacts",
    messages: Annotated[
        str, typer.Option("--messages", metavar="TABLE", help="Your table of messages.")
    ] = "messages",
    actor: Actor = "operator",
    as_json: Json = False,
) -> None:
    """Export the approved messages of an approved campaign to a file, and mark their contacts.

    The next export has only contacts that are not marked yet, so keep the file. The tables need the
    columns of those that  db init --with-host-tables  creates. If yours are others, export with
    run_export in a program of your own.

    Example:  campaign-model campaigns export ID --out messages.jsonl
    """
    from campaign_model.cli.campaign_actions import export_messages

    export_messages(
        url,
        tenant,
        id_,
        out,
        contacts_table=contacts,
        messages_table=messages,
        actor=actor,
        as_json=as_json,
    )
