"""What the command ``campaign-model campaigns watch`` does.

``watch_campaigns`` reads and shows the campaigns again and again. ``read_campaigns`` reads them in
one transaction, and costs little however many contacts they have: it looks only at contacts from
the low-water mark on (every contact before it is finished), and only until all claimed ones are
found.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from time import sleep
from uuid import UUID

import attrs
import sqlalchemy as sa
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from campaign_model.claims import Progress
from campaign_model.cli.console import (
    Interruption,
    format_amount,
    format_count,
    format_value,
    make_printable,
    open_console,
    print_json_line,
)
from campaign_model.cli.database import open_database
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.store import CampaignStore, transact
from campaign_model.store.connection import database_time
from campaign_model.store.tables import campaigns
from campaign_model.store.types import LAST_MOMENT, UtcDateTime, Uuid, read_status

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


_SELECT_CLAIMS = (
    sa.text(
        """
        SELECT
            claim_token AS token,
            count(*) AS contacts,
            min(claimed_at) AS claimed_at,
            min(lease_expires_at) AS lease_expires_at
        FROM (
            SELECT claim_token, claimed_at, lease_expires_at
            FROM campaign_contacts
            WHERE tenant_id = :tenant AND campaign_id = :campaign AND status = 'generating'
                AND rank >= coalesce(
                    (
                        SELECT max(low_watermark)
                        FROM campaign_totals
                        WHERE tenant_id = :tenant AND campaign_id = :campaign
                    ),
                    rank
                )
            ORDER BY rank
            LIMIT :number
        ) AS in_flight
        GROUP BY claim_token
        ORDER BY claimed_at
        """
    )
    .bindparams(sa.bindparam("tenant", type_=Uuid), sa.bindparam("campaign", type_=Uuid))
    .columns(token=Uuid, claimed_at=UtcDateTime, lease_expires_at=UtcDateTime)
)
"""The claims that hold contacts of a campaign, the oldest first.

With the number of all claimed contacts as LIMIT, the query ends as soon as it has found them.
"""


def watch_campaigns(
    url: str, tenant_id: UUID, ids: Collection[UUID], *, interval: float, as_json: bool
) -> None:
    """Show the campaigns until none is generating. Raise ``Interruption`` after Ctrl-C.

    Without ``ids``, show those that are generating at first.
    """
    console = open_console()
    live = Live(console=console, auto_refresh=False)
    is_live = console.is_terminal and not as_json
    try:
        with open_database(url) as engine, live if is_live else nullcontext():
            watched = [*ids] or transact(engine, tenant_id, list_generating)
            is_generating = True
            while is_generating:
                reading = transact(
                    engine,
                    tenant_id,
                    lambda store: read_campaigns(store, watched),
                    patience=_PATIENCE,
                )
                if as_json:
                    print_json_line(reading)
                elif is_live:
                    live.update(render(reading), refresh=True)
                else:
                    print_lines(console, reading)
                sys.stdout.flush()
                is_generating = any(
                    campaign.status is Status.GENERATING for campaign in reading.campaigns
                )
                if is_generating:
                    sleep(interval)
    except KeyboardInterrupt:
        raise Interruption("stopped watching; the campaigns and their workers go on") from None
    if not watched and not as_json:
        console.print("No campaign of this tenant is generating.")


def list_generating(store: CampaignStore) -> list[UUID]:
    """Return the ids of the tenant's campaigns that are generating, the longest running first."""
    columns = campaigns.c
    select_ids = (
        sa.select(columns.id)
        .where(columns.tenant_id == store.tenant_id, columns.status == Status.GENERATING.value)
        .order_by(columns.generation_started_at, columns.id)
    )
    return [*store.connection.scalars(select_ids)]


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
        parameters = {"tenant": store.tenant_id, "campaign": id_, "number": in_flight}
        claims = store.connection.execute(_SELECT_CLAIMS, parameters) if in_flight > 0 else ()
        watched.append(
            WatchedCampaign(
                id_,
                name,
                read_status(status),
                progress,
                tuple(HeldContacts(**claim._asdict()) for claim in claims),
            )
        )
    return Reading(database_time(store.connection), tuple(watched))


def print_lines(console: Console, reading: Reading) -> None:
    """Print one line for each campaign."""
    for campaign in reading.campaigns:
        facts = "; ".join((campaign.status, *describe_campaign(campaign, reading.at)))
        console.print(f"{format_value(reading.at)}  {make_printable(campaign.name)}: {facts}")


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
    return Group(title, bar, *map(Text, describe_campaign(campaign, now)), Text(""))


def describe_campaign(campaign: WatchedCampaign, now: datetime) -> list[str]:
    """Say how many contacts are finished and how fast, what it costs, and what is claimed."""
    speed = [_describe_speed(campaign.progress)] if campaign.status is Status.GENERATING else []
    return [
        _describe_contacts(campaign),
        *speed,
        _describe_money(campaign.progress),
        *describe_claims(campaign, now),
    ]


def _describe_contacts(campaign: WatchedCampaign) -> str:
    """Say how many contacts are finished, have failed, and are left out."""
    counts = campaign.progress.by_status
    text = f"{campaign.finished} of {format_count(campaign.to_generate, 'contact')}"
    if counts[ContactStatus.FAILED]:
        text += f", {counts[ContactStatus.FAILED]} failed"
    if counts[ContactStatus.ENRICHMENT_NEEDED]:
        text += f", {counts[ContactStatus.ENRICHMENT_NEEDED]} not ready"
    return text


def _describe_speed(progress: Progress) -> str:
    """Say how many contacts are finished in a second, and how long the others will take."""
    if progress.per_second is None:
        return "rate not known yet"
    speed = f"{progress.per_second:.3g}/s"
    if progress.seconds_left is None:
        return speed
    return f"{speed}, {_format_duration(timedelta(seconds=progress.seconds_left))} left"


def _describe_money(progress: Progress) -> str:
    """Say what was spent of the budget, and what is reserved."""
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
    expired = [claim for claim in campaign.claims if (claim.lease_expires_at or LAST_MOMENT) <= now]
    held = [claim for claim in campaign.claims if claim not in expired]
    sentences = []
    if held:
        times = [claim.claimed_at for claim in held if claim.claimed_at is not None]
        ends = [claim.lease_expires_at for claim in held if claim.lease_expires_at is not None]
        text = f"{_count_contacts(held)} claimed"
        if times:
            text += f", the first {_format_duration(now - min(times))} ago"
        if ends:
            text += f"; the next lease ends in {_format_duration(min(ends) - now)}"
        sentences.append(text)
    if expired:
        sentences.append(
            f"{_count_contacts(expired)} with an expired lease, which another worker may claim"
        )
    return sentences


def _count_contacts(claims: Iterable[HeldContacts]) -> str:
    return format_count(sum(claim.contacts for claim in claims), "contact")


def _format_duration(duration: timedelta) -> str:
    """Format a time as hours, minutes and seconds."""
    return str(timedelta(seconds=max(0, round(duration.total_seconds()))))
