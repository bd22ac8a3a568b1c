"""``campaigns watch``: what it shows of running campaigns, and when it ends."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from uuid import uuid4

import pytest
from rich.console import Console

from campaign_model.claims import Generated
from campaign_model.cli import watch
from campaign_model.lifecycle import Action, ContactStatus
from campaign_model.store.tables import campaign_contacts
from campaign_model.testing.sample_campaigns import LEASE, Tenant
from support.commands import Command
from support.tenants import claim_long_ago, contact_rows, generate_all, update_row


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """``waiting(*works)`` replaces each wait by the next function; returns the intervals."""

    def replace(*works: Callable[[], object]) -> list[float]:
        intervals: list[float] = []

        def wait(seconds: float) -> None:
            works[len(intervals)]()
            intervals.append(seconds)

        monkeypatch.setattr(watch, "sleep", wait)
        return intervals

    return replace


def test_watch_prints_a_line_per_interval_until_no_campaign_is_generating(
    command: Command, operated_tenant: Tenant, waiting: Callable[..., list[float]]
) -> None:
    first = operated_tenant.campaign("generating", name="First", budget=Decimal(1), failed=1)
    second = operated_tenant.campaign("generating", name="Second", contacts=1)
    operated_tenant.campaign("ready", name="Ready")

    def claim() -> None:
        operated_tenant.claim(first.id, 1, reserve=Decimal("0.02"))

    def cancel_first() -> None:
        operated_tenant.apply(first.id, Action.CANCEL_GENERATION)

    def complete_second() -> None:
        generate_all(operated_tenant, second.id)
        operated_tenant.apply(second.id, Action.COMPLETE_GENERATION)

    intervals = waiting(claim, cancel_first, complete_second)
    answer = command("campaigns", "watch", "--interval", 7)
    assert answer.code == 0
    assert intervals == [7.0] * 3
    lines = [line.partition("  ")[2] for line in answer.out.splitlines()]
    assert [line.partition(";")[0] for line in lines] == [
        *("First: generating", "Second: generating"),
        *("First: generating", "Second: generating"),
        *("First: ready", "Second: generating"),
        *("First: ready", "Second: review"),
    ]
    assert "1 of 3 contacts, 1 failed; " in lines[0]
    assert "0.01 of 1.00 spent" in lines[0]
    assert "0.02 reserved; 1 contact claimed, the first 0:00:0" in lines[2]
    assert "; the next lease ends in 0:0" in lines[2]
    assert "0 of 1 contact; rate not known yet; 0.00 spent" in lines[1]
    assert "1 of 1 contact; 0.01 spent" in lines[-1]


def test_watch_prints_json_lines(
    command: Command, operated_tenant: Tenant, waiting: Callable[..., list[float]]
) -> None:
    campaign = operated_tenant.campaign("generating", contacts=5)
    claims = operated_tenant.claim(campaign.id, 2), operated_tenant.claim(campaign.id, 1)
    waiting(lambda: operated_tenant.apply(campaign.id, Action.CANCEL_GENERATION))
    lines = command("campaigns", "watch", campaign.id, "--json").out.splitlines()
    first, second = map(json.loads, lines)
    (watched,) = first["campaigns"]
    assert first["at"] < second["at"]
    assert watched["id"] == str(campaign.id)
    assert watched["status"] == "generating"
    assert watched["progress"]["by_status"]["generating"] == 3
    assert {(claim["token"], claim["contacts"]) for claim in watched["claims"]} == {
        (str(batch[0].token), len(batch)) for batch in claims
    }
    assert second["campaigns"][0]["status"] == "ready"


def test_watch_names_expired_leases(operated_tenant: Tenant) -> None:
    campaign = operated_tenant.campaign("generating", contacts=3)
    claim_long_ago(operated_tenant, campaign.id, 2)
    operated_tenant.claim(campaign.id, 1)
    reading = operated_tenant.transact(lambda store: watch.read_campaigns(store, [campaign.id]))
    held, expired = watch.describe_claims(reading.campaigns[0], reading.at)
    assert held.startswith("1 contact claimed, the first 0:00:0")
    assert expired == "2 contacts with an expired lease, which another worker may claim"


def test_watch_finds_claims_only_from_the_low_water_mark_on(operated_tenant: Tenant) -> None:
    campaign = operated_tenant.campaign("generating", contacts=6)
    for _ in range(2):  # The second claim without a cursor raises the mark.
        claims = operated_tenant.claim(campaign.id, 2)
        operated_tenant.record(dict.fromkeys(claims, Generated(Decimal(0))))
    (last,) = operated_tenant.claim(campaign.id, 1)
    # Another program changes a contact that is finished. The command does not read it again.
    finished, *_ = contact_rows(operated_tenant, campaign.id).values()
    claim = {"claim_token": uuid4(), "lease_expires_at": last.expires_at}
    update_row(operated_tenant, campaign_contacts, finished.id, status="generating", **claim)
    reading = operated_tenant.transact(lambda store: watch.read_campaigns(store, [campaign.id]))
    assert [claim.token for claim in reading.campaigns[0].claims] == [last.token]
    assert reading.campaigns[0].claims[0].lease_expires_at == last.expires_at
    assert reading.campaigns[0].progress.by_status[ContactStatus.GENERATING] == 1


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_terminal_shows_a_bar_for_each_campaign(
    command: Command,
    operated_tenant: Tenant,
    waiting: Callable[..., list[float]],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=width, markup=False, height=50)
    monkeypatch.setattr(watch, "open_console", lambda: terminal)
    campaign = operated_tenant.campaign(
        "generating", contacts=4, generated=1, name="Spring\x1b[31m [bold]", budget=Decimal("0.5")
    )
    operated_tenant.claim(campaign.id, 1, LEASE, reserve=Decimal("0.02"))
    reading = operated_tenant.transact(lambda store: watch.read_campaigns(store, [campaign.id]))
    terminal.print(watch.render(reading))
    lines = screen.getvalue().splitlines()
    assert all(len(line) <= width + 40 for line in lines)  # With control sequences for colours.
    for words in ("[31m [bold]", " 25 %", "1 of 4 contacts", "0.01 of 0.50 spent", "1 contact cl"):
        assert words in screen.getvalue()
    assert "\x1b[31m [bold]" not in screen.getvalue()
    waiting(lambda: operated_tenant.apply(campaign.id, Action.CANCEL_GENERATION))
    command("campaigns", "watch")
    assert "(ready)" in screen.getvalue()


def test_ctrl_c_ends_only_the_watching(
    command: Command, operated_tenant: Tenant, waiting: Callable[..., list[float]]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    operated_tenant.campaign("generating")
    waiting(interrupt)
    answer = command("campaigns", "watch")
    assert answer.code == 130
    assert answer.out.count("\n") == 1
    assert "the campaigns and their workers go on" in answer.err


def test_watch_says_that_nothing_is_generating(command: Command, operated_tenant: Tenant) -> None:
    campaign = operated_tenant.campaign("review")
    assert "No campaign of this tenant is generating." in command("campaigns", "watch").out
    assert "Campaign: review; 3 of 3 contacts" in command("campaigns", "watch", campaign.id).out
    command("campaigns", "watch", operated_tenant.id).assert_usage_error("no campaign")
