"""The command groups ``templates`` and ``campaigns``, and the tables that they print.

The library is imported within the functions, so that ``--help`` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from campaign_model.cli import campaign_actions
from campaign_model.cli.console import (
    NARROW,
    format_amount,
    format_time,
    open_console,
    print_json,
    print_labelled,
    print_table,
)
from campaign_model.cli.database import open_database, parse_url
from campaign_model.cli.options import (
    GROUP_SETTINGS,
    After,
    CampaignId,
    Json,
    Tenant,
    Url,
)
from campaign_model.lifecycle import Status

if TYPE_CHECKING:
    from rich.console import Console

    from campaign_model import db
    from campaign_model.campaign import HistoryEntry
    from campaign_model.claims import Progress
    from campaign_model.errors import Unmet

_WIDE_TERMINAL = 110
"""Columns that a list of campaigns needs for all its fields."""

templates_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="List and update the templates of campaigns."
)
campaigns_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Show, watch and export the campaigns of a tenant."
)


@templates_app.command("sync")
def sync_templates(*, url: Url, as_json: Json = False) -> None:
    """Update the system templates in a database to those of this version.

    A system template that was edited in the database stays as it is.
    """
    from campaign_model import db

    with open_database(parse_url(url)) as engine, engine.begin() as connection:
        report = db.sync_presets(connection)
    print_sync_report(report, as_json=as_json)


def print_sync_report(report: db.SyncReport, *, as_json: bool) -> None:
    """Print what a sync did with each system template."""
    if as_json:
        print_json(report)
    else:
        import attrs

        results = [(name, word) for word, names in attrs.asdict(report).items() for name in names]
        print_table(open_console(), ("system template", "result"), results)


@templates_app.command("list")
def list_templates(*, url: Url, tenant: Tenant, as_json: Json = False) -> None:
    """List the system templates and the tenant's own templates."""
    from campaign_model.store import transact

    with open_database(parse_url(url)) as engine:
        templates = transact(engine, tenant, lambda store: store.templates.list())
    if as_json:
        print_json(templates)
        return
    print_table(
        open_console(),
        ("id", "name", "steps", "messages", "owner"),
        [
            (
                template.id,
                template.name,
                len(template.steps.enabled),
                len(template.steps.slots()),
                "system" if template.is_system else "tenant",
            )
            for template in templates
        ],
        wraps="name",
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

    A terminal of 80 to 109 columns leaves out cost and creation time.
    """
    from campaign_model.store import transact

    with open_database(parse_url(url)) as engine:
        page = transact(
            engine,
            tenant,
            lambda store: store.campaigns.list(status=status, limit=limit, after=after),
        )
    if as_json:
        print_json(page)
        return
    console = open_console()
    if not page.items:
        console.print("Found no campaigns.")
        return
    columns: tuple[str, ...] = ("id", "status", "generated", "name", "cost", "created (UTC)")
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
                format_time(summary.created_at),
            )[: len(columns)]
            for summary in page.items
        ],
        wraps="name",
    )
    if page.next is not None:
        console.print(f"For the next page, add  --after {page.next}", soft_wrap=True)


@campaigns_app.command("show")
def show_campaign(
    id_: CampaignId,
    *,
    url: Url,
    tenant: Tenant,
    as_json: Json = False,
) -> None:
    """Show one campaign: steps, progress, history, and the actions that are allowed now."""
    from campaign_model.store import transact

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
                "actions": actions,
                "history": history,
            }
        )
        return
    console = open_console()
    details = {
        "Campaign": campaign.name,
        "Id": campaign.id,
        "Status": campaign.status if campaign.is_active else f"{campaign.status} (deleted)",
        "Description": campaign.description,
        "Owner": campaign.owner_id,
        "Template": campaign.template_id,
        "Created": format_time(campaign.created_at),
        "Updated": format_time(campaign.updated_at),
        "Cost": format_amount(progress.spent),
        "Budget": None if progress.budget is None else format_amount(progress.budget),
        "Exported": f"{progress.exported} contacts" if progress.exported else None,
    }
    for label, value in details.items():
        if value is not None:
            print_labelled(console, label, str(value))
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
                "yes" if step.enabled else "no",
                step.variant_count,
                "" if step.day_offset is None else step.day_offset,
                step.condition or "",
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


campaigns_app.command("cancel")(campaign_actions.cancel)
campaigns_app.command("retry-failed")(campaign_actions.retry_failed)
campaigns_app.command("export")(campaign_actions.export)


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
        [
            (format_time(entry.at), entry.actor or "", entry.action, entry.source, entry.target)
            for entry in history
        ],
        title="History",
    )


def print_contact_counts(console: Console, progress: Progress) -> None:
    """Print how many contacts have each status, without empty statuses."""
    counts = [(status, count) for status, count in progress.by_status.items() if count]
    print_table(console, ("status", "contacts"), counts, title="Contacts")
