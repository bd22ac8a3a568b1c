"""The commands ``campaign-model campaigns``, and the tables that ``demo`` prints too."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from campaign_model.cli.console import (
    NARROW,
    Interruption,
    format_count,
    open_console,
    print_json,
    print_labelled,
    print_table,
)
from campaign_model.cli.database import open_database, require_table, run_as_tenant
from campaign_model.cli.options import (
    GROUP_SETTINGS,
    Actor,
    After,
    CampaignId,
    ContactsTable,
    Json,
    MessagesTable,
    Tenant,
    Url,
)
from campaign_model.lifecycle import Action, ContactStatus, Status

if TYPE_CHECKING:
    from rich.console import Console

    from campaign_model.campaign import Campaign, HistoryEntry
    from campaign_model.claims import Progress
    from campaign_model.errors import Unmet
    from campaign_model.lifecycle import ActionState
    from campaign_model.store import CampaignStore

_WIDE_TERMINAL = 110
"""Columns that a list of campaigns needs for all its fields."""

_HOW_TO_GENERATE = {
    Status.GENERATING: "Workers will claim them.",
    Status.READY: "Start the generation to generate them.",
    Status.REVIEW: "Request changes and start the generation to generate them.",
}
"""What has to be done in each status in which failed contacts can be retried."""

campaigns_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Show, watch and export the campaigns of a tenant."
)


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
    after: After = None,
    as_json: Json = False,
) -> None:
    """List the campaigns of a tenant, newest first.

    On a terminal of 80 to 109 columns, the table leaves out cost and creation time.
    """
    page = run_as_tenant(
        url, tenant, lambda store: store.campaigns.list(status=status, limit=limit, after=after)
    )
    if as_json:
        print_json(page)
        return
    console = open_console()
    if not page.items:
        console.print("Found no campaigns.")
        return
    columns: tuple[str, ...] = ("id", "status", "generated", "name", "cost", "created (UTC)")
    # On a terminal below NARROW, each value has a line of its own, so there is room for all.
    if NARROW <= console.width < _WIDE_TERMINAL:
        columns = columns[:4]
    print_table(
        console,
        columns,
        [
            (
                summary.id,
                summary.status,
                f"{summary.generated_count}/{summary.total_contacts}",
                summary.name,
                summary.generation_cost,
                summary.created_at,
            )[: len(columns)]
            for summary in page.items
        ],
        wraps="name",
    )
    if page.next is not None:
        console.print(f"For the next page, add  --after {page.next}", soft_wrap=True)


@campaigns_app.command("show")
def show_campaign(id_: CampaignId, *, url: Url, tenant: Tenant, as_json: Json = False) -> None:
    """Show one campaign: steps, progress, history, and the actions that are allowed now."""

    def read(store: CampaignStore) -> dict[str, Any]:
        return {
            "campaign": store.campaigns.get(id_),
            "progress": store.generation.progress(id_),
            "actions": store.campaigns.actions(id_),
            "history": store.campaigns.history(id_),
        }

    shown = run_as_tenant(url, tenant, read)
    if as_json:
        print_json(shown)
    else:
        _print_campaign(open_console(), **shown)


def _print_campaign(
    console: Console,
    campaign: Campaign,
    progress: Progress,
    actions: Iterable[ActionState],
    history: tuple[HistoryEntry, ...],
) -> None:
    """Print one campaign: its fields, steps and contacts, what may be done, and what was done."""
    details = {
        "Campaign": campaign.name,
        "Id": campaign.id,
        "Status": campaign.status if campaign.is_active else f"{campaign.status} (deleted)",
        "Description": campaign.description,
        "Owner": campaign.owner_id,
        "Template": campaign.template_id,
        "Created": campaign.created_at,
        "Updated": campaign.updated_at,
        "Cost": progress.spent,
        "Budget": progress.budget,
        "Exported": f"{progress.exported} contacts" if progress.exported else None,
    }
    for label, value in details.items():
        if value is not None:
            print_labelled(console, label, value)
    for repair in campaign.repairs:
        print_labelled(console, "Repaired", repair.message)
    console.print()
    print_table(
        console,
        ("step", "channel", "label", "enabled", "variants", "day", "condition"),
        [
            (
                position,
                step.channel,
                step.label,
                step.enabled,
                step.variant_count,
                step.day_offset,
                step.condition,
            )
            for position, step in enumerate(campaign.steps, start=1)
        ],
        title="Steps",
        wraps="label",
    )
    print_contact_counts(console, progress)
    print_table(
        console,
        ("action", "to", "allowed"),
        [
            (
                state.action,
                state.target,
                "yes"
                if state.error is None
                else f"no: {'; '.join(map(_explain_unmet, state.error.unmet))}",
            )
            for state in actions
            if state.target is not None
        ],
        title="Actions",
    )
    print_history(console, history)


def _explain_unmet(unmet: Unmet) -> str:
    """Return the sentence of the guard, or what it means for those who call no function."""
    if unmet.guard == "review_counted":
        return "it depends on the messages under review, which your service counts"
    return unmet.message


def print_history(console: Console, history: tuple[HistoryEntry, ...]) -> None:
    """Print every move of a campaign: when, who, from which status to which."""
    print_table(
        console,
        ("when (UTC)", "who", "action", "from", "to"),
        [(entry.at, entry.actor, entry.action, entry.source, entry.target) for entry in history],
        title="History",
    )


def print_contact_counts(console: Console, progress: Progress) -> None:
    """Print how many contacts have each status, without empty statuses."""
    counts = [(status, count) for status, count in progress.by_status.items() if count]
    print_table(console, ("status", "contacts"), counts, title="Contacts")


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
    campaign, progress = run_as_tenant(
        url,
        tenant,
        lambda store: (
            store.campaigns.apply(id_, Action.CANCEL_GENERATION, reason=reason),
            store.generation.progress(id_),
        ),
        actor=actor,
    )
    if as_json:
        print_json({"campaign": campaign, "progress": progress})
        return
    counts = progress.by_status
    waiting = counts[ContactStatus.PENDING] + counts[ContactStatus.ENRICHMENT_OK]
    console = open_console()
    console.print(
        f"The campaign is {campaign.status}. Contacts: {counts[ContactStatus.GENERATED]} "
        f"generated, {counts[ContactStatus.FAILED]} failed, {waiting} waiting."
    )
    held = counts[ContactStatus.GENERATING]
    if held:
        console.print(
            f"Workers still hold {format_count(held, 'contact')}. The outcomes and costs will be "
            "recorded."
        )


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
    changed, campaign = run_as_tenant(
        url,
        tenant,
        lambda store: (store.generation.retry_failed(id_, contacts), store.campaigns.get(id_)),
        actor=actor,
    )
    if as_json:
        print_json(changed)
        return
    console = open_console()
    if changed.changed:
        contacts_text = format_count(changed.changed, "contact")
        console.print(f"Waiting again: {contacts_text}. {_HOW_TO_GENERATE[campaign.status]}")
    else:
        console.print("No contact has failed.")
    for contact_id in changed.skipped:
        console.print(f"{contact_id} is no failed contact of this campaign.")


@campaigns_app.command("export")
def export(
    id_: CampaignId,
    *,
    url: Url,
    tenant: Tenant,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="New file for the messages, as JSON Lines.")
    ],
    contacts: ContactsTable = "contacts",
    messages: MessagesTable = "messages",
    actor: Actor = "operator",
    as_json: Json = False,
) -> None:
    """Export the approved messages of an approved campaign to a file, and mark their contacts.

    The next export has only contacts that are not marked yet, so keep the file. The tables of
    contacts and messages need the columns that  db init --with-host-tables  creates. If your tables
    have other columns, export with run_export in a program of your own.

    Example:  campaign-model campaigns export ID --out messages.jsonl
    """
    from campaign_model import db
    from campaign_model.cli.contact_table import load_contact
    from campaign_model.cli.export_file import export_messages

    host = db.MinimalHost(db.HostTables(contacts=contacts), messages)
    with open_database(url) as engine:
        for table, option in ((host.contacts, "--contacts"), (host.messages, "--messages")):
            require_table(
                engine,
                table.name,
                option,
                columns=table.c.keys(),
                otherwise="export with run_export in a program of your own, or name another table",
            )
        try:
            lines, report = export_messages(
                engine,
                tenant,
                id_,
                host.messages,
                partial(load_contact, host.contacts, tenant),
                out,
                "x",
                actor=actor,
            )
        except KeyboardInterrupt:
            raise Interruption(
                f"interrupted; export the remaining contacts to another file than {out}"
            ) from None
    if as_json:
        print_json({"file": str(out) if lines else None, "messages": lines, "report": report})
    elif lines:
        open_console().print(
            f"{out} has {format_count(lines, 'message')} of "
            f"{format_count(report.exported, 'contact')}."
        )
    else:
        open_console().print("No contact with an approved message was left to export.")
