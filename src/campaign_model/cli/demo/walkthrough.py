"""The demo's steps in order, with what they print.

``run_demo`` checks all input before it writes anything. ``Demo.run`` then:

1. saves the contacts and starts a campaign from a system template, in one transaction;
2. kills one worker in the middle of a contact and lets the other workers finish;
3. tries to approve the unreviewed messages (refused), reviews them and approves;
4. exports the approved messages to a file;
5. compares the campaign's cost with the sum of the costs of its messages.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa
from rich.console import Console

from campaign_model import db, presets
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.cli.console import UserError, format_amount, print_labelled, print_table
from campaign_model.cli.database import open_database
from campaign_model.cli.demo.contacts_csv import ContactFile, read_contacts
from campaign_model.cli.demo.export_file import build_export_lines, write_file_atomically
from campaign_model.cli.demo.host_tables import TENANT, choose_host, create_tables, save_contacts
from campaign_model.cli.demo.message_writer import FIELDS_IN_EVERY_MESSAGE
from campaign_model.cli.demo.messages import (
    ChannelCosts,
    count_decisions,
    load_channel_costs,
    review_all_but_one,
)
from campaign_model.cli.demo.progress_view import ProgressView, open_progress_view
from campaign_model.cli.demo.workers import finish_generation, kill_one_worker
from campaign_model.cli.views import print_contact_counts, print_history
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus
from campaign_model.steps import StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.vocabulary import STANDARD

__all__ = ["Demo", "run_demo"]

Result = TypeVar("Result")


def run_demo(
    console: Console,
    url: sa.URL,
    *,
    contacts_path: Path | None,
    template_name: str | None,
    worker_count: int,
    out: Path | None,
) -> int:
    """Run the demo and return the exit code: 1 if the campaign's cost is wrong.

    ``out`` is the export file. Raise ``UserError`` for input that cannot be used.
    """
    template = _choose_template(template_name)
    required_fields = _list_required_fields(template.steps)
    source: Traversable = contacts_path or files(__package__) / "sample_contacts.csv"
    contact_file = read_contacts(source, required_fields, TENANT)
    if all(contact.gaps(required_fields) for contact in contact_file.contacts.values()):
        raise UserError(
            f"no contact in {source.name} has every field that {template.name!r} needs: "
            f"{', '.join(required_fields)}"
        )
    campaign_id = uuid4()
    out = out or Path(f"campaign-model-demo-{str(campaign_id)[:8]}.jsonl")
    _check_writable(out)
    with open_database(url, may_create=True, needs_schema=False) as engine:
        host = choose_host(engine)
        create_tables(engine, host)
        print_labelled(console, "Database", url.render_as_string())
        print_labelled(
            console, "Contacts", _describe_contacts(source.name, contact_file, required_fields)
        )
        return Demo(
            console, engine, host, contact_file, template, campaign_id, worker_count, out
        ).run()


def _choose_template(name: str | None) -> CampaignTemplate:
    """Return the system template with this name, in any case, or the first one."""
    templates = presets.load()
    for template in templates:
        if name is None or template.name.casefold() == name.strip().casefold():
            return template
    names = ", ".join(repr(template.name) for template in templates)
    raise UserError(f"there is no template {name!r}; choose one of {names}")


def _list_required_fields(steps: StepSequence) -> tuple[str, ...]:
    """List the fields that a contact needs for every message of the enabled steps."""
    channels = (STANDARD.channel(step.channel) for step in steps.enabled)
    by_channel = (field for channel in channels if channel for field in channel.requires)
    return tuple(dict.fromkeys((*FIELDS_IN_EVERY_MESSAGE, *by_channel)))


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"cannot write {out}: it is a directory")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write {out}: the directory {out.parent} does not exist or is read-only"
        )


def _describe_contacts(
    source_name: str, contact_file: ContactFile, required_fields: Sequence[str]
) -> str:
    """Say how many contacts there are, how many are ready, and what the others lack."""
    contacts = contact_file.contacts.values()
    gap_counts = Counter(gap for contact in contacts for gap in contact.gaps(required_fields))
    ready = sum(not contact.gaps(required_fields) for contact in contacts)
    text = f"{len(contacts)} from {source_name}: {ready} ready"
    if gap_counts:
        gaps = ", ".join(f"{count} without {field}" for field, count in gap_counts.items())
        text += f", {len(contacts) - ready} not ready ({gaps})"
    if contact_file.repeated:
        text += f"; ignored {contact_file.repeated} repeated"
    return text


@attrs.frozen
class Demo:
    """One run of the demo, on checked input and a database with the library's tables."""

    console: Console
    engine: sa.Engine
    host: db.MinimalHost
    contact_file: ContactFile
    template: CampaignTemplate
    campaign_id: UUID
    worker_count: int
    out: Path

    def run(self) -> int:
        """Run the campaign from template to export; return 1 if its cost is wrong."""
        campaign, ready = self._transact("demo", self._start_campaign)
        self._print("Campaign", f"{campaign.name} (id {campaign.id})")
        per_contact = len(campaign.steps.slots())
        self._print(
            "Generation",
            f"{self.worker_count} workers, {per_contact} messages for each of {ready} contacts "
            "(sample text; no language model is called)",
        )
        with open_progress_view(self.console, ready) as view:
            self._lose_a_worker(view, fatal_contact=1 + ready // 10)
            self._finish_generation(view)
        self._review()
        exported = self._transact("exporter", self._export)
        self._print("Export", f"{exported} approved messages in {self.out}")
        return self.print_summary()

    def _print(self, label: str, text: str) -> None:
        print_labelled(self.console, label, text)

    def _contact_name(self, contact_id: UUID) -> str:
        return self.contact_file.contacts[contact_id].name

    def _transact(self, actor: str, work: Callable[[CampaignStore], Result]) -> Result:
        return transact(self.engine, TENANT, work, actor=actor)

    def _start_campaign(self, store: CampaignStore) -> tuple[Campaign, int]:
        """Bring a new campaign to generating. Return it and the number of ready contacts."""
        contacts = self.contact_file.contacts
        save_contacts(store.connection, self.host, contacts)
        template = store.templates.get(self.template.id)
        required_fields = _list_required_fields(template.steps)
        gaps = {id_: contact.gaps(required_fields) for id_, contact in contacts.items()}
        store.campaigns.add(
            Campaign.from_template(template, f"Demo of {template.name}", id=self.campaign_id)
        )
        store.contacts.assign(self.campaign_id, gaps)
        store.contacts.set_readiness(self.campaign_id, gaps)
        store.campaigns.apply(self.campaign_id, Action.MARK_READY)
        campaign = store.campaigns.apply(self.campaign_id, Action.START_GENERATION)
        return campaign, sum(not missing for missing in gaps.values())

    def _lose_a_worker(self, view: ProgressView, fatal_contact: int) -> None:
        """Let the first worker be killed, and print which contacts it leaves half written."""
        kill_one_worker(self.engine, self.campaign_id, "worker-1", fatal_contact, view.update)
        unfinished = self._transact(
            "demo",
            lambda store: (
                store.contacts.list(self.campaign_id, status=ContactStatus.GENERATING).items
            ),
        )
        spent = sum((contact.cost for contact in unfinished), Decimal(0))
        names = ", ".join(self._contact_name(contact.contact_id) for contact in unfinished)
        view.print(
            f"worker-1 was killed while it wrote to {names}; "
            f"the {format_amount(spent)} that it had spent on them is booked"
        )

    def _finish_generation(self, view: ProgressView) -> None:
        """Let the other workers do the rest, and print who takes over which contact."""
        actors = [f"worker-{number}" for number in range(2, self.worker_count + 1)]
        finish_generation(
            self.engine,
            self.host,
            self.campaign_id,
            actors,
            view.update,
            lambda actor, contact_id: view.print(
                f"{actor} took over {self._contact_name(contact_id)} when the lease expired"
            ),
        )

    def _review(self) -> None:
        """Approve before the review, which is refused; then review the messages and approve."""

        def approve(store: CampaignStore) -> None:
            store.campaigns.apply(
                self.campaign_id,
                Action.APPROVE,
                review=lambda connection: count_decisions(connection, self.host, self.campaign_id),
            )

        try:
            self._transact("reviewer", approve)
        except TransitionNotAllowed as error:
            for unmet in error.unmet[:1]:
                self._print("Review", f"approval was refused: {unmet.message}")
        self._transact(
            "reviewer",
            lambda store: review_all_but_one(store.connection, self.host, self.campaign_id),
        )
        self._transact("reviewer", approve)
        self._print("", "the reviewer rejected 1 message and approved the others")

    def _export(self, store: CampaignStore) -> int:
        """Write the export file, then mark the campaign as exported; return the message count."""
        campaign = store.campaigns.get(self.campaign_id, lock=True)
        lines = list(build_export_lines(store, self.host, campaign))
        write_file_atomically(self.out, lines)
        store.campaigns.apply(self.campaign_id, Action.EXPORT, reason=self.out.name)
        return len(lines)

    def print_summary(self) -> int:
        """Print the tables at the end; return 1 if the campaign's cost is wrong."""
        campaign, progress, history, costs_by_channel = self._transact(
            "demo",
            lambda store: (
                store.campaigns.get(self.campaign_id),
                store.generation.progress(self.campaign_id),
                store.campaigns.history(self.campaign_id),
                load_channel_costs(store.connection, self.host, self.campaign_id),
            ),
        )
        total = ChannelCosts(
            "all",
            sum(costs.messages for costs in costs_by_channel),
            sum(costs.approved for costs in costs_by_channel),
            sum((costs.cost for costs in costs_by_channel), Decimal(0)),
        )
        self.console.print()
        print_contact_counts(self.console, progress)
        print_table(
            self.console,
            ("channel", "messages", "approved", "cost"),
            [attrs.astuple(costs) for costs in (*costs_by_channel, total)],
            title="Messages",
        )
        print_history(self.console, history)
        if progress.spent != total.cost:
            self.console.print(
                f"The campaign's cost is {format_amount(progress.spent)}, but its messages cost "
                f"{format_amount(total.cost)}."
            )
            return 1
        self.console.print(
            f"The campaign's cost is {format_amount(progress.spent)}, exactly the sum of the "
            f"costs of its messages.\nThe campaign is {campaign.status}."
        )
        return 0
