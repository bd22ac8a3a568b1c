"""``campaigns cancel``, ``retry-failed`` and ``export``, as an operator runs them."""

from __future__ import annotations

import json
import os
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Generated
from campaign_model.cli import export_file
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import Task, run_worker
from support.commands import Command
from support.tenants import HOST, execute


def test_cancel_says_what_is_left_and_is_in_the_history(
    command: Command, operated_tenant: Tenant
) -> None:
    campaign = operated_tenant.campaign("generating", contacts=5, generated=1, failed=1)
    operated_tenant.claim(campaign.id, 1)
    cancelled = command(
        *("campaigns", "cancel", campaign.id, "--reason", "wrong steps", "--actor", "ada")
    )
    assert cancelled.code == 0
    assert "is ready. Contacts: 1 generated, 1 failed, 2 waiting." in cancelled.out
    assert "Workers still hold 1 contact." in cancelled.out
    *_, last = operated_tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert (last.action, last.actor, last.reason) == (
        *(Action.CANCEL_GENERATION, "ada", "wrong steps"),
    )
    command("campaigns", "cancel", campaign.id).assert_usage_error("cancel_generation", "ready")
    other = operated_tenant.campaign("generating", contacts=1)
    answer = command("campaigns", "cancel", other.id, "--json").json
    assert answer["campaign"]["status"] == "ready"
    assert answer["progress"]["by_status"]["pending"] == 1
    *_, last = operated_tenant.transact(lambda store: store.campaigns.history(other.id))
    assert last.actor == "operator"


def test_retry_failed_lets_all_or_some_contacts_wait_again(
    command: Command, operated_tenant: Tenant
) -> None:
    campaign = operated_tenant.campaign("generating", contacts=4, failed=3)
    contacts = operated_tenant.campaign_contacts(campaign.id)
    failed = [id_ for id_, each in contacts.items() if each.status is ContactStatus.FAILED]
    (other,) = contacts.keys() - {*failed}
    one = command(
        *("campaigns", "retry-failed", campaign.id, "--contact", failed[0], "--contact", other)
    )
    assert "Waiting again: 1 contact. Workers will claim them." in one.out
    assert f"{other} is no failed contact" in one.out
    operated_tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    answer = command("campaigns", "retry-failed", campaign.id, "--json").json
    assert answer == {"changed": 2, "skipped": []}
    assert "No contact has failed." in command("campaigns", "retry-failed", campaign.id).out
    reviewed = operated_tenant.campaign("review", failed=1)
    assert "Request changes" in command("campaigns", "retry-failed", reviewed.id).out
    exported = operated_tenant.campaign("exported")
    command("campaigns", "retry-failed", exported.id).assert_usage_error("retry_failed")


def test_show_speaks_of_the_review_without_names_of_arguments(
    command: Command, operated_tenant: Tenant
) -> None:
    campaign = operated_tenant.campaign("review")
    shown = command("campaigns", "show", campaign.id).out
    assert "no: it depends on the messages under review, which your service counts" in shown
    assert "pass it as review" not in shown


def approved_campaign(tenant: Tenant) -> Campaign:
    """Make an approved campaign of two contacts, whose first messages were rejected."""
    campaign = tenant.campaign("generating", contacts=2)

    def generate(task: Task) -> Generated:
        for slot in task.slots:
            message: dict[str, Any] = {
                "id": task.message_id(slot),
                "tenant_id": tenant.id,
                "campaign_id": campaign.id,
                "campaign_contact_id": task.claim.id,
                "contact_id": task.contact_id,
                "revision": task.claim.revision,
                "step_key": slot.step_key,
                "sequence_step": slot.position,
                "variant": slot.variant,
                "channel": slot.channel,
                "body": f"Hello in {slot.channel}",
                "status": "rejected" if slot.position == 1 else "approved",
            }
            execute(tenant, sa.insert(HOST.messages).values(message))
        return Generated(Decimal(0))

    run_worker(tenant.engine, tenant.id, campaign.id, generate)
    return tenant.apply(campaign.id, Action.APPROVE, review=ReviewTally(4, 2, 0))


def test_export_writes_the_approved_messages_once(
    command: Command, operated_tenant: Tenant, tmp_path: Path
) -> None:
    campaign = approved_campaign(operated_tenant)
    export = ("campaigns", "export", campaign.id, "--out")
    file = tmp_path / "out.jsonl"
    assert "out.jsonl has 4 messages of 2 contacts." in command(*export, "out.jsonl").out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {(line["channel"], line["step"]) for line in lines} == {("email", 2)}
    assert sorted({line["contact"]["first_name"] for line in lines}) == ["Contact 0", "Contact 1"]
    assert len({line["message_id"] for line in lines}) == 4
    progress = operated_tenant.progress(campaign.id)
    assert progress.exported == 2
    *_, last = operated_tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert (last.action, last.actor) == (Action.EXPORT, "operator")
    assert "No contact" in command(*export, "second.jsonl").out
    answer = command(*export, "second.jsonl", "--json").json
    assert (answer["file"], answer["messages"]) == (None, 0)
    assert not (tmp_path / "second.jsonl").exists()


def test_export_refuses_files_and_tables_that_it_cannot_use(
    command: Command, operated_tenant: Tenant, tmp_path: Path
) -> None:
    campaign = approved_campaign(operated_tenant)
    export = ("campaigns", "export", campaign.id, "--out")
    (tmp_path / "full.jsonl").write_text("full")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "fifo")
    for name in ("full.jsonl", "link", "fifo"):
        command(*export, name).assert_usage_error("exists already")
    command(*export, "none/x.jsonl").assert_usage_error("none does not exist")
    command(*export, "x.jsonl", "--messages", "mails").assert_usage_error("no table mails")
    command(*export, "x.jsonl", "--messages", "owners").assert_usage_error(
        "--messages", "another table than owners"
    )
    execute(operated_tenant, sa.text("CREATE TABLE notes (body text)"))
    command(*export, "x.jsonl", "--messages", "notes").assert_usage_error(
        "notes has no column campaign_contact_id"
    )
    waiting = operated_tenant.campaign("review")
    command("campaigns", "export", waiting.id, "--out", "x.jsonl").assert_usage_error("export")
    command("campaigns", "export", uuid4(), "--out", "x.jsonl").assert_usage_error("no campaign")
    assert {path.name for path in tmp_path.iterdir()} == {"full.jsonl", "link", "fifo"}
    assert operated_tenant.progress(campaign.id).exported == 0


def test_an_export_that_fails_or_is_interrupted_says_how_to_go_on(
    command: Command, operated_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = approved_campaign(operated_tenant)
    export = ("campaigns", "export", campaign.id, "--out")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        command(*export, "first.jsonl").assert_usage_error(
            "No space left", "2 contacts are not exported", "name another file"
        )
    approved = HOST.messages.c.status == "approved"
    with operated_tenant.engine.begin() as connection:
        key = connection.scalars(sa.select(HOST.messages.c.step_key).where(approved)).first()
    update = sa.update(HOST.messages).where(approved)
    execute(operated_tenant, update.values(step_key="gone"))
    command(*export, "second.jsonl").assert_usage_error("no step has the key 'gone'")
    execute(operated_tenant, update.values(step_key=key))
    assert "4 messages of 2 contacts" in command(*export, "second.jsonl").out

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export_file, "run_export", interrupt)
    answer = command(*export, "third.jsonl")
    assert answer.code == 130
    assert "to another file than third.jsonl" in answer.err
