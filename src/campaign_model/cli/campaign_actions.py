"""The commands ``campaigns cancel``, ``retry-failed`` and ``export``.

The library is imported within the functions, so that ``--help`` is fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from campaign_model.cli.console import (
    Interruption,
    UserError,
    format_count,
    open_console,
    print_json,
)
from campaign_model.cli.database import open_database, parse_url, require_table
from campaign_model.cli.options import (
    Actor,
    CampaignId,
    ContactsTable,
    Json,
    MessagesTable,
    Tenant,
    Url,
)
from campaign_model.cli.output_files import open_output
from campaign_model.lifecycle import Action, ContactStatus, Status

if TYPE_CHECKING:
    from campaign_model.campaign import Changed
    from campaign_model.store import CampaignStore

_HOW_TO_GENERATE = {
    Status.GENERATING: "Workers will claim them.",
    Status.READY: "Start the generation to generate them.",
    Status.REVIEW: "Request changes and start the generation to generate them.",
}
"""What has to be done in each status in which failed contacts can be retried."""


def cancel(
    id_: CampaignId,
    *,
    url: Url,
    tenant: Tenant,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, for the history.")
    ] = None,
    actor: Actor = "operator",
    as_json: Json = False,
) -> None:
    """Cancel the generation of a campaign, which is ready then and can be started again.

    Contacts that workers hold are finished, and their costs are booked.

    Example:  campaign-model campaigns cancel ID --reason "wrong steps"
    """
    from campaign_model.store import transact

    with open_database(parse_url(url)) as engine:
        campaign, progress = transact(
            engine,
            tenant,
            lambda store: (
                store.campaigns.apply(id_, Action.CANCEL_GENERATION, reason=reason),
                store.generation.progress(id_),
            ),
            actor=actor,
        )
    if as_json:
        print_json({"campaign": campaign, "progress": progress})
        return
    counts = progress.by_status
    waiting = counts[ContactStatus.PENDING] + counts[ContactStatus.ENRICHMENT_OK]
    console = open_console()
    console.print(
        f"The campaign is {campaign.status}. Contacts: {counts[ContactStatus.GENERATED]} "
        f"generated, {counts[ContactStatus.FAILED]} failed, {waiting} waiting."
    )
    held = counts[ContactStatus.GENERATING]
    if held:
        console.print(
            f"Workers still hold {format_count(held, 'contact')}. The outcomes and costs will be "
            "recorded."
        )


def retry_failed(
    id_: CampaignId,
    *,
    url: Url,
    tenant: Tenant,
    contacts: Annotated[
        list[UUID] | None,
        typer.Option(
            "--contact",
            metavar="UUID",
            help="Only this contact. Repeat it for several. Default: every failed contact.",
        ),
    ] = None,
    actor: Actor = "operator",
    as_json: Json = False,
) -> None:
    """Let the failed contacts of a campaign wait again, so that workers generate them.

    Look at the errors first, with  contacts list ID --status failed.

    Example:  campaign-model campaigns retry-failed ID
    """
    from campaign_model.store import transact

    def retry(store: CampaignStore) -> tuple[Changed, Status]:
        changed = store.generation.retry_failed(id_, contacts)
        return changed, store.campaigns.get(id_).status

    with open_database(parse_url(url)) as engine:
        changed, status = transact(engine, tenant, retry, actor=actor)
    if as_json:
        print_json(changed)
        return
    console = open_console()
    if changed.changed:
        console.print(
            f"Waiting again: {format_count(changed.changed, 'contact')}. {_HOW_TO_GENERATE[status]}"
        )
    else:
        console.print("No contact has failed.")
    for contact_id in changed.skipped:
        console.print(f"{contact_id} is no failed contact of this campaign.")


def export(
    id_: CampaignId,
    *,
    url: Url,
    tenant: Tenant,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="New file for the messages, as JSON Lines.")
    ],
    contacts: ContactsTable = "contacts",
    messages: MessagesTable = "messages",
    actor: Actor = "operator",
    as_json: Json = False,
) -> None:
    """Export the approved messages of an approved campaign to a file, and mark their contacts.

    The next export has only contacts that are not marked yet, so keep the file. The tables need the
    columns of those that  db init --with-host-tables  creates. If yours are others, export with
    run_export in a program of your own.

    Example:  campaign-model campaigns export ID --out messages.jsonl
    """
    from campaign_model import db
    from campaign_model.cli.message_lines import MessageFile
    from campaign_model.worker import run_export

    host = db.MinimalHost(db.HostTables(contacts=contacts), messages)
    with open_database(parse_url(url)) as engine:
        for table, option in ((host.contacts, "--contacts"), (host.messages, "--messages")):
            require_table(
                engine,
                table.name,
                option,
                columns=table.c.keys(),
                otherwise="export with run_export in a program of your own, or name another table",
            )
        with open_output(out, must_be_new=True) as file:
            receiver = MessageFile(engine, tenant, host.contacts, host.messages, file)
            try:
                report = run_export(
                    engine, tenant, id_, receiver.push, max_equal_failures=1, actor=actor
                )
            except KeyboardInterrupt:
                raise Interruption(
                    f"interrupted; export the remaining contacts to another file than {out}"
                ) from None
            finally:
                if file.tell() == 0:
                    out.unlink()
        lines = len(out.read_text(encoding="utf-8").splitlines()) if out.exists() else 0
    if isinstance(receiver.error, OSError):
        raise UserError(
            f"cannot write {out}: {receiver.error.strerror}; not exported: "
            f"{format_count(report.remaining, 'contact')}; name another file in the next export"
        )
    if receiver.error is not None:
        raise receiver.error
    if as_json:
        print_json({"file": str(out) if lines else None, "messages": lines, "report": report})
    elif lines:
        open_console().print(
            f"{out} has {format_count(lines, 'message')} of "
            f"{format_count(report.exported, 'contact')}."
        )
    else:
        open_console().print("No contact with an approved message was left to export.")
