"""Tables for people: campaigns, templates, the lifecycle and the violations of documents."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from rich.console import Console

from campaign_model import lifecycle
from campaign_model.campaign import (
    Campaign,
    CampaignSummary,
    CampaignTemplate,
    HistoryEntry,
    Page,
)
from campaign_model.claims import Progress
from campaign_model.cli.console import (
    format_amount,
    format_time,
    make_printable,
    print_labelled,
    print_table,
)
from campaign_model.cli.document_files import STANDARD_INPUT, CheckedFile
from campaign_model.db import SyncReport
from campaign_model.lifecycle import ActionState

__all__ = [
    "print_campaign",
    "print_campaign_page",
    "print_checked_file",
    "print_contact_counts",
    "print_history",
    "print_lifecycle",
    "print_sync_report",
    "print_templates",
]

_WIDE_TERMINAL = 110
"""Columns that a list of campaigns needs for all its fields."""


def print_checked_file(console: Console, checked: CheckedFile) -> None:
    """Print how many violations a document has, and a table of them."""
    file = "standard input" if checked.file == STANDARD_INPUT else checked.file
    count = len(checked.violations)
    title = make_printable(
        f"{file}: {count or 'no'} violation{'s' * (count != 1)} (as {checked.kind})"
    )
    if not checked.violations:
        console.print(title)
        return
    print_table(
        console,
        ("location", "code", "message"),
        [
            (violation.path or "(document)", violation.code, violation.message)
            for violation in checked.violations
        ],
        title=title,
    )


def print_templates(console: Console, templates: Sequence[CampaignTemplate]) -> None:
    """Print a list of templates."""
    print_table(
        console,
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


def print_sync_report(console: Console, report: SyncReport) -> None:
    """Print what a sync did with each system template."""
    results = [(name, result) for result, names in attrs.asdict(report).items() for name in names]
    print_table(console, ("system template", "result"), results)


def print_campaign_page(console: Console, page: Page[CampaignSummary]) -> None:
    """Print one page of campaigns. A narrow terminal leaves out cost and creation time."""
    columns: tuple[str, ...] = ("id", "status", "generated", "name", "cost", "created (UTC)")
    if console.width < _WIDE_TERMINAL:
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
        console.print(f"For the next page, add  --after {page.next}")


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


def print_campaign(
    console: Console,
    campaign: Campaign,
    progress: Progress,
    actions: tuple[ActionState, ...],
    history: tuple[HistoryEntry, ...],
) -> None:
    """Print a campaign: details, repairs, steps, contact counts, actions and history."""
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
            (state.action, state.target, _describe_permission(state))
            for state in actions
            if state.target is not None
        ],
        title="Actions",
    )
    print_history(console, history)


def _describe_permission(state: ActionState) -> str:
    """Say ``yes``, or ``no`` with every guard that does not hold."""
    if state.error is None:
        return "yes"
    return f"no: {'; '.join(unmet.message for unmet in state.error.unmet)}"


def print_lifecycle(console: Console) -> None:
    """Print the actions of campaigns, their guards, the permissions, and the contact actions."""
    tables = lifecycle.to_dict()
    print_table(
        console,
        ("from", "action", "to", "guards"),
        [
            (
                transition["source"],
                transition["action"],
                f"{transition['target']} (deleted)"
                if transition["deletes"]
                else transition["target"],
                ", ".join(transition["guards"]),
            )
            for transition in tables["transitions"]
        ],
        title="Campaign actions",
    )
    print_table(console, ("guard", "holds when"), list(tables["guards"].items()), title="Guards")
    print_table(
        console,
        ("permission", "granted in"),
        [(name, ", ".join(statuses)) for name, statuses in tables["permissions"].items()],
        title="Permissions",
    )
    print_table(
        console,
        ("from", "action", "to"),
        [
            (
                transition["source"],
                f"{transition['action']} (lease expired)"
                if transition["expired_lease"]
                else transition["action"],
                transition["target"] or "by its gaps",
            )
            for transition in tables["contact_transitions"]
        ],
        title="Contact actions",
    )
    statuses = (
        f"{status} ({gaps.replace('_', ' ')})" for gaps, status in tables["resting_status"].items()
    )
    console.print(f"By its gaps: {', '.join(statuses)}")
