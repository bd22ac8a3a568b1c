"""The demo's steps in order, with what they print.

``run_demo`` checks all input before it writes anything. Then it

1. saves the contacts and starts a campaign from a system template, in one transaction;
2. kills one worker in the middle of a contact and lets the other workers finish;
3. tries to approve the unreviewed messages (refused), reviews them and approves;
4. exports the approved messages to a file, one contact after another;
5. compares the campaign's cost with the sum of the costs of its messages, and prints the commands
   to look at the campaign with.

After Ctrl-C, the campaign keeps its status. With ``continued_id``, ``run_demo`` goes on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import attrs
import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as ProgressBar

from campaign_model import db, presets
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Progress
from campaign_model.cli.campaign_commands import print_contact_counts, print_history
from campaign_model.cli.console import (
    LABEL_WIDTH,
    Interruption,
    UserError,
    format_amount,
    print_labelled,
    print_table,
)
from campaign_model.cli.database import column_names, open_database, show_url
from campaign_model.cli.demo.contacts import TENANT, read_contacts, save_contacts
from campaign_model.cli.demo.messages import FIELDS_IN_EVERY_MESSAGE, CampaignMessages
from campaign_model.cli.demo.next_commands import compose_command, print_commands
from campaign_model.cli.demo.workers import WORKERS, finish_generation, kill_one_worker
from campaign_model.cli.export_file import check_output_path, export_messages
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore, transact

Result = TypeVar("Result")

_STATUSES = (Status.GENERATING, Status.REVIEW, Status.APPROVED, Status.EXPORTED)
"""The statuses from which the demo goes on."""


def run_demo(
    console: Console,
    url: str,
    *,
    contacts_path: Path | None,
    template_name: str | None,
    out: Path | None,
    continued_id: UUID | None = None,
) -> int:
    """Run the demo and return the exit code: 1 if the campaign's cost is wrong.

    ``out`` is the export file. ``continued_id`` is the campaign of a demo that was interrupted; the
    contacts must be the same. Raise ``UserError`` for input that cannot be used, and
    ``Interruption`` after Ctrl-C.
    """
    template = _choose_template(template_name)
    required_fields = [
        *dict.fromkeys((*FIELDS_IN_EVERY_MESSAGE, *template.steps.required_fields()))
    ]
    source: Traversable = contacts_path or files(__package__) / "sample_contacts.csv"
    contacts, repeated = read_contacts(source, required_fields)
    gaps = {
        id_: [field for field in required_fields if getattr(contact, field) is None]
        for id_, contact in contacts.items()
    }
    ready_count = sum(not missing for missing in gaps.values())
    if ready_count == 0:
        raise UserError(
            f"no contact in {source.name} has every field that {template.name!r} needs: "
            f"{', '.join(required_fields)}"
        )
    new_campaign = Campaign.from_template(template, f"Demo of {template.name}")
    campaign_id = continued_id or new_campaign.id
    path = out or Path(f"campaign-model-demo-{str(campaign_id)[:8]}.jsonl")
    check_output_path(path)

    def start(store: CampaignStore) -> None:
        save_contacts(store.connection, contacts)
        store.campaigns.add(new_campaign)
        store.contacts.assign(campaign_id, gaps)
        store.contacts.set_readiness(campaign_id, gaps)
        store.campaigns.apply(campaign_id, Action.MARK_READY)
        store.campaigns.apply(campaign_id, Action.START_GENERATION)

    with open_database(url, may_create=continued_id is None, needs_schema=False) as engine:
        messages = CampaignMessages(create_tables(engine), campaign_id, contacts)
        walkthrough = Walkthrough(console, engine, messages)
        if continued_id is None:
            walkthrough.transact(start, actor="demo")
        campaign = walkthrough.load_campaign()
        if campaign.status not in _STATUSES:
            raise UserError(f"the campaign is {campaign.status}, so the demo cannot continue it")
        say = walkthrough.say
        say("Database", show_url(engine.url))
        say("Tenant", TENANT)
        say("Contacts", f"{len(gaps)} from {source.name}: {_describe_readiness(gaps, repeated)}")
        say("Campaign", f"{campaign.name} (id {campaign_id})")
        try:
            exit_code = walkthrough.finish(campaign, ready_count, path, is_new=continued_id is None)
        except KeyboardInterrupt:
            # The same options continue the demo.
            options = {"--contacts": contacts_path, "--template": template_name, "--out": out}
            words = [word for item in options.items() if item[1] is not None for word in item]
            again = compose_command(engine.url, "demo", "--continue", campaign_id, *words)
            print_commands(console, "Continue the demo", again)
            raise Interruption(walkthrough.describe_interruption()) from None
        options_of_tenant = (campaign_id, "--tenant", TENANT)
        print_commands(
            console,
            "Look at the campaign and at its contacts",
            compose_command(engine.url, "campaigns", "show", *options_of_tenant),
            compose_command(engine.url, "contacts", "list", *options_of_tenant),
        )
        return exit_code


def _choose_template(name: str | None) -> CampaignTemplate:
    """Return the system template with this name, in any case, or the first one."""
    templates = presets.load()
    for template in templates:
        if name is None or template.name.casefold() == name.strip().casefold():
            return template
    names = ", ".join(repr(template.name) for template in templates)
    raise UserError(f"there is no template {name!r}; choose one of {names}")


def _describe_readiness(gaps: Mapping[UUID, Collection[str]], repeated: int) -> str:
    """Say how many contacts are ready, and what the others lack."""
    not_ready = sum(bool(missing) for missing in gaps.values())
    text = f"{len(gaps) - not_ready} ready"
    if not_ready:
        counts = Counter(field for missing in gaps.values() for field in missing)
        lacks = ", ".join(f"{count} without {field}" for field, count in counts.items())
        text += f", {not_ready} not ready ({lacks})"
    return f"{text}; ignored {repeated} repeated" if repeated else text


def create_tables(engine: sa.Engine) -> sa.Table:
    """Create the missing tables of the library and the host; return that of the messages.

    In a service's database, whose ``messages`` have other columns, the demo has a table of its
    own. Raise ``UserError`` if the database has host tables but not the library's.
    """
    host = db.HostTables()
    present = set(sa.inspect(engine).get_table_names())
    host_tables = present.intersection(attrs.astuple(host))
    if host_tables and db.VERSION_TABLE not in present:
        raise UserError(
            f"the database already has {', '.join(sorted(host_tables))}, but not the library's "
            "tables; use an empty database, or run  campaign-model db init  or  db adopt  first"
        )
    db.init(engine, with_host_tables=True)
    messages = db.MinimalHost(host).messages
    if column_names(engine, messages.name) != set(messages.c.keys()):
        messages = db.MinimalHost(host, messages="campaign_model_demo_messages").messages
        messages.create(engine, checkfirst=True)
    return messages


@attrs.frozen
class Walkthrough:
    """The steps of one campaign from generation to export, and what they print."""

    console: Console
    engine: sa.Engine
    messages: CampaignMessages

    def say(self, label: str, value: object) -> None:
        """Print a line with a label."""
        print_labelled(self.console, label, value)

    def transact(self, work: Callable[[CampaignStore], Result], actor: str | None = None) -> Result:
        """Run ``work`` in a transaction of the demo's tenant."""
        return transact(self.engine, TENANT, work, actor=actor)

    def load_campaign(self) -> Campaign:
        """Load the campaign."""
        return self.transact(lambda store: store.campaigns.get(self.messages.campaign_id))

    def load_progress(self) -> Progress:
        """Load how far the campaign is."""
        return self.transact(lambda store: store.generation.progress(self.messages.campaign_id))

    def finish(self, campaign: Campaign, ready_count: int, path: Path, *, is_new: bool) -> int:
        """Take the campaign from its present status to the export, and return the exit code.

        ``ready_count`` is the number of contacts that get messages, and ``path`` the export file.
        A campaign that is not new may have been exported in part.
        """
        status = campaign.status
        if status is Status.GENERATING:
            self.say(
                "Generation",
                f"{WORKERS} workers, {len(campaign.steps.slots())} messages for each of "
                f"{ready_count} contacts (sample text; no language model is called)",
            )
            self.generate(ready_count, kills_worker=is_new)
            status = Status.REVIEW
        if status is Status.REVIEW:
            self.review()
        number, _ = export_messages(
            self.engine,
            TENANT,
            self.messages.campaign_id,
            self.messages.table,
            self.messages.load_contact,
            path,
            "w" if is_new else "a",
        )
        self.say("Export", f"{number} approved messages in {path}")
        return self.print_summary()

    def generate(self, ready_count: int, *, kills_worker: bool) -> None:
        """Let the first worker be killed and the others do the rest, with a progress bar.

        Without ``kills_worker`` there is no first worker.
        """
        bar = ProgressBar(
            TextColumn(" " * LABEL_WIDTH),
            SpinnerColumn(finished_text="\N{CHECK MARK}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
        )
        bar_task = bar.add_task("contacts", total=ready_count)

        def show_progress(progress: Progress) -> None:
            counts = progress.by_status
            done = counts[ContactStatus.GENERATED] + counts[ContactStatus.FAILED]
            spent = format_amount(progress.spent)
            bar.update(bar_task, completed=done, description=f"contacts, {spent} spent")

        with bar:  # What is said is printed above the bar.
            if kills_worker:
                kill_one_worker(
                    self.engine, self.messages, last_contact_number=1 + ready_count // 10
                )
                self.describe_killed_worker()
            finish_generation(self.engine, self.messages, show_progress, partial(self.say, ""))

    def describe_killed_worker(self) -> None:
        """Say which contacts the killed worker held, and what it had spent on them."""
        campaign_id = self.messages.campaign_id
        page = self.transact(
            lambda store: store.contacts.list(campaign_id, status=ContactStatus.GENERATING)
        )
        names = [self.messages.contacts[contact.contact_id].name for contact in page.items]
        spent = format_amount(sum((contact.cost for contact in page.items), Decimal(0)))
        self.say(
            "",
            f"worker-1 was killed while it wrote to {', '.join(names)}; the {spent} that it had "
            "spent on them is booked",
        )

    def review(self) -> None:
        """Show a message of each channel, review all messages and approve the campaign."""
        messages = self.messages
        with self.engine.begin() as connection:
            examples = messages.load_examples(connection)
        for example in examples:
            name = messages.contacts[example.contact_id].name
            lines = [f"{example.channel} to {name}", example.subject, *example.body.splitlines()]
            for number, line in enumerate(filter(None, lines)):
                self.say("" if number else "Message", line)

        def approve(store: CampaignStore) -> None:
            # Counted once the campaign is locked.
            store.campaigns.apply(
                messages.campaign_id,
                Action.APPROVE,
                review=lambda _: messages.count_decisions(store),
            )

        try:
            self.transact(approve, actor="reviewer")
        except TransitionNotAllowed as error:
            self.say("Review", f"approval was refused: {error.unmet[0].message}")
        else:  # The demo was interrupted after the review.
            return
        with self.engine.begin() as connection:
            messages.review_all_but_one(connection)
        self.transact(approve, actor="reviewer")
        self.say("", "the reviewer rejected 1 message and approved the others")

    def print_summary(self) -> int:
        """Print the tables at the end; return 1 if the campaign's cost is wrong."""
        progress = self.load_progress()
        history = self.transact(lambda store: store.campaigns.history(self.messages.campaign_id))
        with self.engine.begin() as connection:
            costs = self.messages.load_costs(connection)
        self.console.print()
        print_contact_counts(self.console, progress)
        print_table(
            self.console, ("channel", "status", "messages", "cost"), costs, title="Messages"
        )
        print_history(self.console, history)
        spent = format_amount(progress.spent)
        total = sum((cost for _, _, _, cost in costs), Decimal(0))
        if progress.spent != total:
            self.console.print(
                f"The campaign's cost is {spent}, but its messages cost {format_amount(total)}."
            )
            return 1
        self.console.print(
            f"The campaign's cost is {spent}, exactly the sum of the costs of its messages.\n"
            f"The campaign is {history[-1].target}."
        )
        return 0

    def describe_interruption(self) -> str:
        """Say how far the campaign is after Ctrl-C."""
        progress = self.load_progress()
        return (
            f"interrupted; the campaign stays {self.load_campaign().status}, with "
            f"{progress.by_status[ContactStatus.GENERATED]} of {progress.total} contacts generated "
            f"and {progress.exported} exported"
        )
