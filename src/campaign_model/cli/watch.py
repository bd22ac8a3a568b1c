"""What the command ``campaign-model campaigns watch`` does.

``follow`` reads and shows the campaigns again and again. ``read_campaigns`` reads them in one
transaction, and costs little however many contacts they have: it looks only at contacts from the
low-water mark on (every contact before it is finished), and only until all claimed ones are found.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from campaign_model.claims import Progress
from campaign_model.cli.console import (
    Interruption,
    format_amount,
    format_count,
    format_time,
    make_printable,
    open_console,
    print_json_line,
)
from campaign_model.cli.database import open_database
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.store import CampaignStore, transact
from campaign_model.store.connection import database_time
from campaign_model.store.tables import campaign_contacts, campaign_totals, campaigns
from campaign_model.store.types import UtcDateTime, Uuid, read_status

_PATIENCE = timedelta(minutes=1)
"""How long the command waits for a server that restarts."""


@attrs.frozen
class HeldContacts:
    """The contacts that one call of ``claim`` holds for a worker, by the ``token`` of their rows.

    Rows do not have the names of workers. Without a token, another program has written the row.
    """

    token: UUID | None
    contacts: int
    claimed_at: datetime | None
    lease_expires_at: datetime | None


@attrs.frozen
class WatchedCampaign:
    """What the command shows of one campaign."""

    id: UUID
    name: str
    status: Status
    progress: Progress
    claims: tuple[HeldContacts, ...]

    @property
    def to_generate(self) -> int:
        """The number of contacts that are or will be generated, without those that lack fields."""
        return self.progress.total - self.progress.by_status[ContactStatus.ENRICHMENT_NEEDED]

    @property
    def finished(self) -> int:
        """The number of contacts that are generated or have failed."""
        counts = self.progress.by_status
        return counts[ContactStatus.GENERATED] + counts[ContactStatus.FAILED]


@attrs.frozen
class Reading:
    """The watched campaigns at one time of the database's clock."""

    at: datetime
    campaigns: tuple[WatchedCampaign, ...]


_CONTACT = campaign_contacts.c
_in_flight = (
    sa.select(_CONTACT.claim_token, _CONTACT.claimed_at, _CONTACT.lease_expires_at)
    .where(
        _CONTACT.tenant_id == sa.bindparam("tenant", type_=Uuid),
        _CONTACT.campaign_id == sa.bindparam("campaign", type_=Uuid),
        _CONTACT.status == ContactStatus.GENERATING.value,
        _CONTACT.rank
        >= sa.func.coalesce(
            sa.select(sa.func.max(campaign_totals.c.low_watermark))
            .where(
                campaign_totals.c.tenant_id == sa.bindparam("tenant", type_=Uuid),
                campaign_totals.c.campaign_id == sa.bindparam("campaign", type_=Uuid),
            )
            .scalar_subquery(),
            _CONTACT.rank,
        ),
    )
    .order_by(_CONTACT.rank)
    .limit(sa.bindparam("number", type_=sa.Integer))
    .subquery()
)
_SELECT_CLAIMS = (
    sa.select(
        _in_flight.c.claim_token,
        sa.func.count(),
        sa.func.min(_in_flight.c.claimed_at, type_=UtcDateTime()).label("claimed_at"),
        sa.func.min(_in_flight.c.lease_expires_at, type_=UtcDateTime()),
    )
    .group_by(_in_flight.c.claim_token)
    .order_by(sa.literal_column("claimed_at"))
)
"""The claims that hold contacts of a campaign, the oldest first."""


def watch_campaigns(
    url: str, tenant_id: UUID, ids: Collection[UUID], *, interval: float, as_json: bool
) -> None:
    """Show the campaigns until none is generating. Raise ``Interruption`` after Ctrl-C.

    Without ``ids``, show those that are generating at first.
    """
    console = open_console()
    with open_database(url) as engine:
        watched = [*ids] or transact(engine, tenant_id, list_generating)

        def read() -> Reading:
            return transact(
                engine, tenant_id, lambda store: read_campaigns(store, watched), patience=_PATIENCE
            )

        display: AbstractContextManager[Any] = nullcontext()
        show: Callable[[Reading], None] = print_json_line if as_json else print_lines
        if console.is_terminal and not as_json:
            live = display = Live(console=console, auto_refresh=False)

            def show(reading: Reading) -> None:
                live.update(render(reading), refresh=True)

        try:
            with display:
                follow(read, show, lambda: wait(interval))
        except KeyboardInterrupt:
            raise Interruption("stopped watching; the campaigns and their workers go on") from None
    if not watched and not as_json:
        console.print("No campaign of this tenant is generating.")


def wait(seconds: float) -> None:
    """Wait until the next reading. Tests replace this function."""
    time.sleep(seconds)


def follow(
    read: Callable[[], Reading], show: Callable[[Reading], None], wait: Callable[[], None]
) -> None:
    """Read and show, and wait, until no campaign is generating."""
    while True:
        reading = read()
        show(reading)
        sys.stdout.flush()
        if not any(campaign.status is Status.GENERATING for campaign in reading.campaigns):
            return
        wait()


def list_generating(store: CampaignStore) -> list[UUID]:
    """Return the ids of the tenant's campaigns that are generating, the longest running first."""
    return [
        *store.connection.scalars(
            sa.select(campaigns.c.id)
            .where(
                campaigns.c.tenant_id == store.tenant_id,
                campaigns.c.status == Status.GENERATING.value,
            )
            .order_by(campaigns.c.generation_started_at, campaigns.c.id)
        )
    ]


def read_campaigns(store: CampaignStore, ids: Sequence[UUID]) -> Reading:
    """Read the campaigns with these ids. Raise ``NotFound``."""
    watched = []
    for id_ in ids:
        progress = store.generation.progress(id_)
        name, status = store.connection.execute(
            sa.select(campaigns.c.name, campaigns.c.status).where(
                campaigns.c.tenant_id == store.tenant_id, campaigns.c.id == id_
            )
        ).one()
        in_flight = progress.by_status[ContactStatus.GENERATING]
        # With the number as the LIMIT, the query ends as soon as it has found all of them.
        parameters = {"tenant": store.tenant_id, "campaign": id_, "number": in_flight}
        claims = store.connection.execute(_SELECT_CLAIMS, parameters) if in_flight > 0 else ()
        watched.append(
            WatchedCampaign(
                id_,
                name,
                read_status(status),
                progress,
                tuple(HeldContacts(*claim) for claim in claims),
            )
        )
    return Reading(database_time(store.connection), tuple(watched))


def print_lines(reading: Reading) -> None:
    """Print one line for each campaign."""
    console = open_console()
    for campaign in reading.campaigns:
        parts = [campaign.status.value, describe_contacts(campaign), describe_money(campaign)]
        if campaign.status is Status.GENERATING:
            parts.insert(2, describe_speed(campaign))
        parts += describe_claims(campaign, reading.at)
        name = make_printable(campaign.name)
        console.print(f"{format_time(reading.at)}  {name}: {'; '.join(parts)}")


def render(reading: Reading) -> RenderableType:
    """Make the block of lines of each campaign, for a terminal."""
    return Group(*(_render_campaign(campaign, reading.at) for campaign in reading.campaigns))


def _render_campaign(campaign: WatchedCampaign, now: datetime) -> RenderableType:
    title = Text(f"{make_printable(campaign.name)} ", style="bold")
    title.append(f"({campaign.status})", style="not bold")
    bar = Table.grid(padding=(0, 1), expand=False)
    percent = 100 * campaign.finished // campaign.to_generate if campaign.to_generate else 100
    bar.add_row(
        ProgressBar(total=campaign.to_generate or 1, completed=campaign.finished, width=40),
        f"{percent} %",
    )
    facts = [describe_contacts(campaign), describe_money(campaign)]
    if campaign.status is Status.GENERATING:
        facts.insert(1, describe_speed(campaign))
    facts += describe_claims(campaign, now)
    return Group(title, bar, *map(Text, facts), Text(""))


def describe_contacts(campaign: WatchedCampaign) -> str:
    """Say how many contacts are finished, have failed, and are left out."""
    counts = campaign.progress.by_status
    text = f"{campaign.finished} of {format_count(campaign.to_generate, 'contact')}"
    if counts[ContactStatus.FAILED]:
        text += f", {counts[ContactStatus.FAILED]} failed"
    if counts[ContactStatus.ENRICHMENT_NEEDED]:
        text += f", {counts[ContactStatus.ENRICHMENT_NEEDED]} not ready"
    return text


def describe_speed(campaign: WatchedCampaign) -> str:
    """Say how many contacts are finished in a second, and how long the others will take."""
    progress = campaign.progress
    if progress.per_second is None or progress.seconds_left is None:
        return "rate not known yet"
    left = _format_duration(timedelta(seconds=progress.seconds_left))
    return f"{progress.per_second:.3g}/s, {left} left"


def describe_money(campaign: WatchedCampaign) -> str:
    """Say what was spent of the budget, and what is reserved."""
    progress = campaign.progress
    text = format_amount(progress.spent)
    if progress.budget is not None:
        text += f" of {format_amount(progress.budget)}"
    text += " spent"
    if progress.reserved:
        text += f", {format_amount(progress.reserved)} reserved"
    if progress.unknown_costs:
        text += f", {format_count(progress.unknown_costs, 'cost')} unknown"
    return text


def describe_claims(campaign: WatchedCampaign, now: datetime) -> list[str]:
    """Say how many contacts are claimed, since when and until when, and how many leases expired."""
    held = [claim for claim in campaign.claims if not _has_expired(claim, now)]
    expired = sum(claim.contacts for claim in campaign.claims if _has_expired(claim, now))
    sentences = []
    if held:
        times = [claim.claimed_at for claim in held if claim.claimed_at is not None]
        ends = [claim.lease_expires_at for claim in held if claim.lease_expires_at is not None]
        text = f"{format_count(sum(claim.contacts for claim in held), 'contact')} claimed"
        if times:
            text += f", the first {_format_duration(now - min(times))} ago"
        if ends:
            text += f"; the next lease ends in {_format_duration(min(ends) - now)}"
        sentences.append(text)
    if expired:
        contacts = format_count(expired, "contact")
        sentences.append(f"{contacts} with an expired lease, which another worker may claim")
    return sentences


def _has_expired(claim: HeldContacts, now: datetime) -> bool:
    """Tell whether another worker may claim the contacts."""
    return claim.lease_expires_at is not None and claim.lease_expires_at <= now


def _format_duration(duration: timedelta) -> str:
    """Format a time as hours, minutes and seconds."""
    return str(timedelta(seconds=max(0, round(duration.total_seconds()))))
