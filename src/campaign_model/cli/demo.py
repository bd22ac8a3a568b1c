"""One campaign from template to export, on a user's contacts and database."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import timedelta
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
from campaign_model.claims import Outcome
from campaign_model.cli import demo_host
from campaign_model.cli.console import UserError, amount, print_table
from campaign_model.cli.contacts_csv import NEEDED_BY_TEXTS, ContactFile, read_contacts
from campaign_model.cli.database import open_database
from campaign_model.cli.demo_host import TENANT
from campaign_model.cli.demo_worker import die_at_work, write_messages
from campaign_model.cli.views import (
    GenerationView,
    generation_view,
    print_history,
    print_progress,
    say,
)
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus
from campaign_model.steps import StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.vocabulary import STANDARD
from campaign_model.worker import Task, run_worker

__all__ = ["Demo", "choose_template", "run_demo"]

_SHORT_LEASE = timedelta(seconds=2)
_LEASE = timedelta(minutes=1)
_GLANCE = 0.1
"""Seconds between two looks at what another process got done."""

Result = TypeVar("Result")


def choose_template(name: str | None) -> CampaignTemplate:
    """The preset of that name, whatever its case; the first without a name."""
    shipped = presets.load()
    for template in shipped:
        if name is None or template.name.casefold() == name.strip().casefold():
            return template
    known = ", ".join(repr(template.name) for template in shipped)
    raise UserError(f"there is no template {name!r}; choose one of {known}")


def run_demo(
    console: Console,
    url: sa.URL,
    *,
    contacts: Path | None,
    template: str | None,
    workers: int,
    out: Path | None,
) -> int:
    """Run the campaign; the exit code. All input is read before anything is written."""
    chosen = choose_template(template)
    needed = _needed(chosen.steps)
    source: Traversable = contacts or files("campaign_model.cli") / "demo_contacts.csv"
    people = read_contacts(source, needed, TENANT)
    if all(person.gaps(needed) for person in people.people.values()):
        raise UserError(
            f"no contact in {source.name} has all that {chosen.name!r} needs: {', '.join(needed)}"
        )
    campaign_id = uuid4()
    out = out or Path(f"campaign-model-demo-{str(campaign_id)[:8]}.jsonl")
    _check_writable(out)
    with open_database(url, create=True, schema=False) as engine:
        host = demo_host.choose_host(engine)
        demo_host.make_tables(engine, host)
        say(console, "Database", url.render_as_string())
        tell_contacts(console, source.name, people, needed)
        return Demo(console, engine, host, people, chosen, campaign_id, workers, out).run()


def _needed(steps: StepSequence) -> tuple[str, ...]:
    """The fields without which a contact can't be sent every message of these steps."""
    channels = (STANDARD.channel(step.channel) for step in steps.enabled)
    required = (field for channel in channels if channel for field in channel.requires)
    return tuple(dict.fromkeys((*NEEDED_BY_TEXTS, *required)))


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"cannot write {out}: it is a directory")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {out}: no directory {out.parent} to write in")


@attrs.frozen
class Demo:
    """A run on checked input and a database with our schema."""

    console: Console
    engine: sa.Engine
    host: db.MinimalHost
    contacts: ContactFile
    template: CampaignTemplate
    campaign_id: UUID
    workers: int
    out: Path

    def run(self) -> int:
        """From template to export; 1 if the money does not add up."""
        campaign, ready = self.transact("demo", self.prepare)
        self.say("Campaign", f"{campaign.name}, id {campaign.id}")
        each = len(campaign.steps.slots())
        self.say(
            "Generation", f"{self.workers} workers, {each} messages for each of {ready} contacts"
        )
        with generation_view(self.console, ready) as view:
            self.lose_a_worker(view, fatal=1 + ready // 10)
            self.carry_on(view)
        self.review()
        lines = self.transact("exporter", self.export)
        self.say("Export", f"{lines} approved messages in {self.out}")
        return self.account()

    def say(self, topic: str, text: str) -> None:
        """A sentence of the demo's story."""
        say(self.console, topic, text)

    def name(self, contact_id: UUID) -> str:
        """What a contact is called."""
        return self.contacts.people[contact_id].name

    def transact(self, actor: str, work: Callable[[CampaignStore], Result]) -> Result:
        """Run ``work`` in a transaction of its own, in somebody's name."""
        return transact(self.engine, TENANT, work, actor=actor)

    def prepare(self, store: CampaignStore) -> tuple[Campaign, int]:
        """Bring a campaign to generating, all at once; the campaign and how many are ready."""
        demo_host.save_people(store.connection, self.host, self.contacts.people)
        template = store.templates.get(self.template.id)
        needed = _needed(template.steps)
        gaps = {id_: person.gaps(needed) for id_, person in self.contacts.people.items()}
        store.campaigns.add(
            Campaign.from_template(template, f"Demo of {template.name}", id=self.campaign_id)
        )
        store.contacts.assign(self.campaign_id, gaps)
        store.contacts.set_readiness(self.campaign_id, gaps)
        store.campaigns.apply(self.campaign_id, Action.MARK_READY)
        campaign = store.campaigns.apply(self.campaign_id, Action.START_GENERATION)
        return campaign, sum(not missing for missing in gaps.values())

    def lose_a_worker(self, view: GenerationView, fatal: int) -> None:
        """Let one worker process be killed in the middle of its ``fatal``-th contact."""
        url = self.engine.url.render_as_string(hide_password=False)
        worker = multiprocessing.get_context("spawn").Process(
            target=die_at_work,
            args=(url, self.campaign_id, fatal, _SHORT_LEASE, "worker-1"),
            daemon=True,
        )
        # Inherited by the new process: Ctrl-C is for this one, which ends the other itself.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        worker.start()
        signal.signal(signal.SIGINT, before)
        while worker.is_alive():
            worker.join(_GLANCE)
            view.update(
                self.transact("demo", lambda store: store.generation.progress(self.campaign_id))
            )
        if worker.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"worker-1 was to be killed, but ended with {worker.exitcode}")
        left = self.transact(
            "demo",
            lambda store: (
                store.contacts.list(self.campaign_id, status=ContactStatus.GENERATING).items
            ),
        )
        paid = sum((contact.cost for contact in left), Decimal(0))
        names = ", ".join(self.name(contact.contact_id) for contact in left)
        view.say(f"worker-1 was killed at work on {names}; what it paid, {amount(paid)}, is kept")

    def carry_on(self, view: GenerationView) -> None:
        """The other workers do the rest, also what the dead one's leases still hold."""
        stop = threading.Event()

        def work(actor: str) -> None:
            def generate(task: Task) -> Outcome:
                if task.claim.attempts > 1:
                    view.say(f"{actor} took over {self.name(task.contact_id)}")
                return write_messages(self.engine, self.host, task)

            run_worker(
                self.engine,
                TENANT,
                self.campaign_id,
                generate,
                concurrency=2,
                lease=_LEASE,
                report=view.update,
                stop=stop,
                actor=actor,
            )

        actors = [f"worker-{number}" for number in range(2, self.workers + 1)]
        with ThreadPoolExecutor(len(actors)) as pool:
            try:
                running = [pool.submit(work, actor) for actor in actors]
                wait(running, return_when=FIRST_COMPLETED)
            finally:
                # The first to end found nothing left, or failed: the others need not look again.
                stop.set()
        for worker in running:
            worker.result()

    def review(self) -> None:
        """Approve too early, which is refused; then read the messages and approve."""

        def approve(store: CampaignStore) -> None:
            store.campaigns.apply(
                self.campaign_id,
                Action.APPROVE,
                review=lambda connection: demo_host.tally(connection, self.host, self.campaign_id),
            )

        try:
            self.transact("reviewer", approve)
        except TransitionNotAllowed as error:
            for unmet in error.unmet[:1]:
                self.say("Review", f"approve is refused: {unmet.message}")
        self.transact(
            "reviewer",
            lambda store: demo_host.review_all_but_one(
                store.connection, self.host, self.campaign_id
            ),
        )
        self.transact("reviewer", approve)
        self.say("", "the reviewer reads them, and approves all but one")

    def export(self, store: CampaignStore) -> int:
        """Write what may be sent, and only then call it exported; the number of messages."""
        campaign = store.campaigns.get(self.campaign_id, lock=True)
        lines = list(demo_host.export_lines(store, self.host, campaign))
        demo_host.write_whole(self.out, lines)
        store.campaigns.apply(self.campaign_id, Action.EXPORT, reason=self.out.name)
        return len(lines)

    def account(self) -> int:
        """The tables at the end; 1 if the campaign's cost isn't the sum of its messages'."""
        campaign, progress, history, channels = self.transact(
            "demo",
            lambda store: (
                store.campaigns.get(self.campaign_id),
                store.generation.progress(self.campaign_id),
                store.campaigns.history(self.campaign_id),
                demo_host.costs(store.connection, self.host, self.campaign_id),
            ),
        )
        total = demo_host.ChannelCosts(
            "all",
            sum(one.messages for one in channels),
            sum(one.approved for one in channels),
            sum((one.cost for one in channels), Decimal(0)),
        )
        self.console.print()
        print_progress(self.console, progress)
        print_table(
            self.console,
            ("channel", "messages", "approved", "cost"),
            [attrs.astuple(one) for one in (*channels, total)],
            title="Messages",
        )
        print_history(self.console, history)
        if progress.spent != total.cost:
            self.console.print(
                f"The campaign's cost is {amount(progress.spent)}, not the {amount(total.cost)} "
                "that its messages cost."
            )
            return 1
        self.console.print(
            f"The campaign's cost is {amount(progress.spent)}, which is the exact sum of its "
            f"messages' costs.\nThe campaign is {campaign.status}."
        )
        return 0


def tell_contacts(
    console: Console, source: str, contacts: ContactFile, needed: tuple[str, ...]
) -> None:
    """How many there are, and what they lack."""
    people = contacts.people.values()
    gaps = Counter(gap for person in people for gap in person.gaps(needed))
    ready = sum(not person.gaps(needed) for person in people)
    text = f"{len(people)} from {source}, {ready} of them ready"
    if gaps:
        text += f" ({', '.join(f'{number} without {gap}' for gap, number in gaps.items())})"
    if contacts.repeated:
        text += f"; {contacts.repeated} repeated"
    say(console, "Contacts", text)
