"""What campaigns look like to people: their history, and generation while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from campaign_model import lifecycle
from campaign_model.campaign import Campaign, HistoryEntry
from campaign_model.claims import Progress
from campaign_model.cli.console import amount, moment, print_table, printable
from campaign_model.lifecycle import ActionState, ContactStatus

__all__ = [
    "GenerationView",
    "generation_view",
    "print_campaign",
    "print_history",
    "print_lifecycle",
    "print_progress",
    "say",
]

_QUARTERS = 4


def say(console: Console, topic: str, text: str) -> None:
    """One sentence of a story, under its topic."""
    line = Table.grid(padding=(0, 1))
    line.add_column(width=10, style="bold")
    line.add_column(overflow="fold")
    line.add_row(topic, printable(text))
    console.print(line)


def print_history(console: Console, history: tuple[HistoryEntry, ...]) -> None:
    """Who moved a campaign, from where to where, and when."""
    print_table(
        console,
        ("when (UTC)", "who", "action", "from", "to"),
        [
            (moment(entry.at), entry.actor or "", entry.action, entry.source, entry.target)
            for entry in history
        ],
        title="History",
    )


def print_progress(console: Console, progress: Progress) -> None:
    """How many contacts stand where; statuses that nobody is in are left out."""
    counts = [(status, number) for status, number in progress.by_status.items() if number]
    print_table(console, ("status", "contacts"), counts, title="Contacts")


def print_campaign(
    console: Console,
    campaign: Campaign,
    progress: Progress,
    actions: tuple[ActionState, ...],
    history: tuple[HistoryEntry, ...],
) -> None:
    """All about one campaign."""
    details = {
        "Campaign": campaign.name,
        "Id": campaign.id,
        "Status": campaign.status if campaign.is_active else f"{campaign.status}, deleted",
        "About": campaign.description,
        "Owner": campaign.owner_id,
        "Template": campaign.template_id,
        "Created": moment(campaign.created_at),
        "Changed": moment(campaign.updated_at),
        "Cost": amount(progress.spent),
        "Budget": None if progress.budget is None else amount(progress.budget),
    }
    for topic, text in details.items():
        if text is not None:
            say(console, topic, str(text))
    for repair in campaign.repairs:
        say(console, "Repaired", repair.message)
    console.print()
    print_table(
        console,
        ("step", "channel", "label", "on", "variants", "day", "condition"),
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
    print_progress(console, progress)
    print_table(
        console,
        ("action", "to", "possible"),
        [(one.action, one.target, _why_not(one)) for one in actions if one.target is not None],
        title="What may happen next",
    )
    print_history(console, history)


def _why_not(state: ActionState) -> str:
    if state.error is None:
        return "yes"
    return f"no: {'; '.join(unmet.message for unmet in state.error.unmet)}"


def print_lifecycle(console: Console) -> None:
    """Both tables, what the guards mean, and what may be changed when."""
    tables = lifecycle.to_dict()
    print_table(
        console,
        ("from", "action", "to", "guards"),
        [
            (
                line["source"],
                line["action"],
                f"{line['target']}, inactive" if line["deletes"] else line["target"],
                ", ".join(line["guards"]),
            )
            for line in tables["transitions"]
        ],
        title="Campaigns",
    )
    print_table(console, ("guard", "holds when"), list(tables["guards"].items()), title="Guards")
    print_table(
        console,
        ("change", "allowed in"),
        [(name, ", ".join(statuses)) for name, statuses in tables["permissions"].items()],
        title="Changes",
    )
    print_table(
        console,
        ("from", "action", "to"),
        [
            (
                line["source"],
                f"{line['action']}, lease run out" if line["expired_lease"] else line["action"],
                line["target"] or "by its enrichment gaps",
            )
            for line in tables["contact_transitions"]
        ],
        title="Contacts",
    )


@attrs.frozen
class GenerationView:
    """Shows a generation: as a bar that moves, or by lines where nothing can move."""

    console: Console
    total: int
    _bar: Bar
    _task: TaskID
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _quarters: list[int] = attrs.field(factory=lambda: [0])

    def update(self, progress: Progress) -> None:
        """Show how far it is. Workers may call this at the same time."""
        counts = progress.by_status
        done = counts[ContactStatus.GENERATED] + counts[ContactStatus.FAILED]
        spent = f"{amount(progress.spent)} spent"
        with self._lock:
            if not self._bar.disable:
                self._bar.update(self._task, completed=done, spent=spent)
            elif (quarter := done * _QUARTERS // self.total) > self._quarters[-1]:
                self._quarters.append(quarter)
                self.say(f"{done} of {self.total} contacts, {spent}")

    def say(self, text: str) -> None:
        """Tell of something that happened meanwhile."""
        say(self.console, "", text)


@contextmanager
def generation_view(console: Console, total: int) -> Iterator[GenerationView]:
    """A view of the generation of ``total`` contacts, while the block lasts."""
    bar = Bar(
        TextColumn(" " * 10),
        SpinnerColumn(finished_text="\N{CHECK MARK}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("contacts, {task.fields[spent]}"),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        yield GenerationView(console, total, bar, bar.add_task("", total=total, spent=""))
