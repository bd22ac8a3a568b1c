"""The checks of ``campaign-model db doctor``, across all tenants.

Each check is a function that gets an :class:`Examination` and yields a :class:`Problem` for each
thing that is wrong, with the sentence that tells the operator what to do. :data:`CHECKS` has
them in the order in which they run. A check changes nothing, and reads from one snapshot.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.campaign import ADOPTED
from campaign_model.cli.console import format_count, format_value
from campaign_model.db.revisions import compare_version
from campaign_model.db.schema import quote
from campaign_model.errors import InvalidDocument, short_repr
from campaign_model.lifecycle import TRANSITIONS, Status
from campaign_model.store import HostTables
from campaign_model.store.connection import database_time
from campaign_model.store.recount import count_contacts
from campaign_model.store.scope import Scope
from campaign_model.store.totals import load_totals
from campaign_model.store.types import UtcDateTime, Uuid
from campaign_model.wire import DEFAULT

LONG_EXPIRED = timedelta(minutes=10)
"""A worker takes contacts over when nothing else is left to claim, so this is no problem before."""

FAR = timedelta(days=1)
"""A lease that ends later than this is no lease of a worker that is at work."""

_RECOUNT = "run  campaign-model db doctor --repair : it counts the contacts again"


@attrs.frozen
class Problem:
    """Something that is wrong, and what to do.

    ``repairable`` says whether ``--repair`` corrects it, by a recount of the campaign.
    """

    check: str
    message: str
    remedy: str
    tenant_id: UUID | None = None
    campaign_id: UUID | None = None
    repairable: bool = False


@attrs.frozen
class Examination:
    """What a check reads: a connection with an open transaction, and the names of host tables."""

    connection: sa.Connection
    host: HostTables

    def select(self, sql: str, **times: datetime) -> Any:
        """Execute a query with these parameters. Columns with names of ids are read as ids."""
        statement = sa.text(sql).columns(tenant_id=Uuid, campaign_id=Uuid, template_id=Uuid)
        parameters = (sa.bindparam(name, time, UtcDateTime) for name, time in times.items())
        return self.connection.execute(statement.bindparams(*parameters))


def check_schema(examination: Examination) -> Iterator[Problem]:
    """Compare the version of the schema with that of the library."""
    version = compare_version(examination.connection)
    if version == "outdated":
        yield Problem("schema", "the schema is older than this version", "run  db init")
    elif version == "newer":
        yield Problem("schema", "a newer version has set up the schema", "upgrade the library")
    elif version is None:
        yield Problem("schema", "no version of the schema is recorded", "finish  db adopt")


POSTGRESQL_SETTINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "fsync": (("on",), "a crash of the server can destroy the database"),
    "full_page_writes": (("on",), "a crash of the server can destroy the database"),
    "synchronous_commit": (
        ("on", "remote_apply", "remote_write", "local"),
        "a crash of the server can lose outcomes and costs that were recorded",
    ),
    "default_transaction_read_only": (("off",), "nothing can be written"),
}
"""Settings of PostgreSQL: the values that work, and what happens with others."""


def check_settings(examination: Examination) -> Iterator[Problem]:
    """Look at the settings of PostgreSQL, or at the file of SQLite."""
    if examination.connection.dialect.name == "sqlite":
        for (fault,) in examination.select("PRAGMA quick_check"):
            if "constraint" in fault or "NULL value" in fault:
                remedy = "correct the rows that break a constraint"
                yield Problem("settings", f"another program has written: {fault}", remedy)
            elif fault != "ok":
                yield Problem("settings", f"the file is damaged: {fault}", "restore a backup")
        return
    for name, setting in examination.select("SELECT name, setting FROM pg_settings"):
        if name not in POSTGRESQL_SETTINGS:
            continue
        allowed, otherwise = POSTGRESQL_SETTINGS[name]
        if setting not in allowed:
            yield Problem(
                "settings",
                f"{name} is {setting}: {otherwise}",
                f"set {name} to {allowed[0]} for the server, the database or this role",
            )


def check_totals(examination: Examination) -> Iterator[Problem]:
    """Compare the totals of every campaign with the sums over its contacts."""
    campaigns = examination.select(
        "SELECT tenant_id, id AS campaign_id FROM campaigns ORDER BY tenant_id, id"
    )
    for row in campaigns.all():
        scope = Scope(examination.connection, row.tenant_id)
        totals = load_totals(scope, row.campaign_id)
        counted = count_contacts(scope, row.campaign_id, totals).columns()
        wrong = [
            f"{name} is {format_value(value)} in the totals, but {format_value(counted[name])} in "
            "the contacts"
            for name, value in totals.columns().items()
            if value != counted[name]
        ]
        if wrong:
            yield Problem(
                "totals",
                f"{'; '.join(wrong)}: another program has changed contacts",
                _RECOUNT,
                row.tenant_id,
                row.campaign_id,
                repairable=True,
            )


def check_leases(examination: Examination) -> Iterator[Problem]:
    """Look for contacts that no worker takes over."""
    now = database_time(examination.connection)
    # Count three groups of contacts for each campaign:
    # - unleased: generating contacts without a lease;
    # - expired: contacts of a running campaign whose lease expired long ago;
    # - far: contacts whose lease ends long from now, so that no worker or exporter can take them
    #   over until then. A generated contact has a lease while an exporter pushes it.
    rows = examination.select(
        """
        SELECT contact.tenant_id, contact.campaign_id,
            count(*) FILTER (
                WHERE contact.status = 'generating' AND contact.lease_expires_at IS NULL
            ) AS unleased,
            count(*) FILTER (
                WHERE contact.status = 'generating' AND contact.lease_expires_at < :long_ago
                    AND campaign.status = 'generating'
            ) AS expired,
            count(*) FILTER (
                WHERE contact.lease_expires_at > :far AND contact.exported_at IS NULL
            ) AS far
        FROM campaign_contacts AS contact
        LEFT JOIN campaigns AS campaign
            ON campaign.tenant_id = contact.tenant_id AND campaign.id = contact.campaign_id
        GROUP BY contact.tenant_id, contact.campaign_id
        ORDER BY contact.tenant_id, contact.campaign_id
        """,
        long_ago=now - LONG_EXPIRED,
        far=now + FAR,
    )
    for row in rows:
        for number, fault, remedy in (
            (row.unleased, "generating without a lease, so that no worker takes over", _RECOUNT),
            (
                row.expired,
                f"leases that expired more than {LONG_EXPIRED} ago",
                "start a worker for this campaign: it takes them over",
            ),
            (
                row.far,
                f"leases that end more than {FAR} from now",
                "if their worker is dead, set lease_expires_at of these contacts to now",
            ),
        ):
            if number:
                yield Problem(
                    "leases",
                    f"{fault}: {format_count(number, 'contact')}",
                    remedy,
                    row.tenant_id,
                    row.campaign_id,
                    repairable=remedy is _RECOUNT,
                )


def check_documents(examination: Examination) -> Iterator[Problem]:
    """Read the documents and statuses of all campaigns and templates."""
    rows = examination.select(
        """
        SELECT tenant_id, id AS campaign_id, status, CAST(template_config AS text) AS steps,
            CAST(generation_config AS text) AS config
        FROM campaigns
        ORDER BY tenant_id, id
        """
    )
    for row in rows:
        ids = {"tenant_id": row.tenant_id, "campaign_id": row.campaign_id}
        for fault in _list_faults(row.steps, row.config):
            remedy = "correct the document in the row, and the program that wrote it"
            yield Problem("documents", fault, remedy, **ids)
        if row.status not in {*Status}:
            yield Problem(
                "documents",
                f"the status {short_repr(row.status)} is unknown, and reads as archived",
                "write the status that it stands for into the row",
                **ids,
            )
    templates = examination.select(
        """
        SELECT tenant_id, id AS template_id, CAST(steps AS text) AS steps,
            CAST(default_config AS text) AS config
        FROM campaign_templates
        ORDER BY tenant_id, id
        """
    )
    for row in templates:
        for fault in _list_faults(row.steps, row.config):
            remedy = "run  templates sync" if row.tenant_id is None else "save the template again"
            message = f"template {row.template_id}: {fault}"
            yield Problem("documents", message, remedy, row.tenant_id)


def _list_faults(steps: str, config: str) -> Iterator[str]:
    """Yield why stored documents cannot be read."""
    for recover, text in (
        (DEFAULT.recover_template_config, steps),
        (DEFAULT.recover_generation_config, config),
    ):
        try:
            recover(text)
        except InvalidDocument as error:
            yield str(error)


def check_history(examination: Examination) -> Iterator[Problem]:
    """Replay the history of every campaign through the lifecycle."""
    rows = examination.select(
        """
        SELECT campaign.tenant_id, campaign.id AS campaign_id, campaign.status,
            campaign.version AS present_version, entry.version, entry.action, entry.source,
            entry.target
        FROM campaigns AS campaign
        LEFT JOIN campaign_history AS entry
            ON entry.tenant_id = campaign.tenant_id AND entry.campaign_id = campaign.id
        ORDER BY campaign.tenant_id, campaign.id, entry.version
        """
    )
    for _, group in itertools.groupby(rows, attrgetter("campaign_id")):
        entries = [*group]
        last = entries[-1]
        fault = replay([entry for entry in entries if entry.version is not None], last.status)
        if fault is None and (last.version or 0) > last.present_version:
            fault = f"it has version {last.version}, but the campaign {last.present_version}"
        if fault is not None:
            yield Problem(
                "history",
                f"the history does not replay: {fault}",
                "find the program that changes the status without the library; it has to use "
                "store.campaigns.apply",
                last.tenant_id,
                last.campaign_id,
            )


_TARGETS = {(line.source.value, line.action.value): line.target.value for line in TRANSITIONS}


def replay(entries: Sequence[Any], status: str) -> str | None:
    """Return why these entries of a history do not lead to ``status``; None if they do."""
    present = Status.DRAFT.value
    for number, entry in enumerate(entries):
        if entry.action == ADOPTED and number == 0:
            present = entry.target
            continue
        if entry.source != present:
            return f"{entry.action} begins in {entry.source}, but the campaign was {present}"
        if _TARGETS.get((entry.source, entry.action)) != entry.target:
            return f"{entry.action} does not lead from {entry.source} to {entry.target}"
        present = entry.target
    return None if present == status else f"it ends in {present}, but the campaign is {status}"


def check_orphans(examination: Examination) -> Iterator[Problem]:
    """Look for rows that refer to rows which do not exist."""
    host = examination.host
    restore = "restore the missing rows from a backup, or delete the rows that refer to them"
    erase = "call store.contacts.erase with the ids of the missing contacts: it keeps their costs"
    for table, column, target, remedy in (
        ("campaigns", "tenant_id", host.tenants, restore),
        ("campaigns", "owner_id", host.owners, "give these campaigns another owner"),
        ("campaign_contacts", "campaign_id", "campaigns", restore),
        ("campaign_contacts", "contact_id", host.contacts, erase),
        ("campaign_totals", "campaign_id", "campaigns", restore),
        ("campaign_history", "campaign_id", "campaigns", restore),
        ("campaign_erased_claims", "campaign_id", "campaigns", restore),
        ("campaign_templates", "tenant_id", host.tenants, restore),
    ):
        of_tenant = "" if column == "tenant_id" else "AND target.tenant_id = orphan.tenant_id"
        # Until the step enforce of an adoption, a campaign contact may have no campaign, and so no
        # tenant: what it lacks is the campaign.
        condition = {
            "campaign_id": "true",
            "contact_id": "orphan.contact_id IS NOT NULL AND orphan.tenant_id IS NOT NULL",
        }.get(column, f"orphan.{column} IS NOT NULL")
        # The rows of the table whose column names no row of the other table.
        orphans = examination.select(
            f"""
            SELECT orphan.tenant_id, count(*) AS number
            FROM {table} AS orphan
            LEFT JOIN {quote(target)} AS target ON target.id = orphan.{column} {of_tenant}
            WHERE {condition} AND target.id IS NULL
            GROUP BY orphan.tenant_id
            """  # noqa: S608 - the names are constants, or quoted
        )
        for row in orphans:
            message = f"{column} is not in {target}: {format_count(row.number, 'row')} of {table}"
            yield Problem("orphans", message, remedy, row.tenant_id)


CHECKS: tuple[tuple[Callable[[Examination], Iterator[Problem]], str], ...] = (
    (check_schema, "the schema is that of this version of the library"),
    (check_settings, "the settings of the database lose nothing"),
    (check_totals, "the totals of every campaign are the sums over its contacts"),
    (check_leases, "no contact is held by a worker that is dead"),
    (check_documents, "all documents can be read"),
    (check_history, "every history leads to the campaign's status"),
    (check_orphans, "every row refers to rows that exist"),
)
"""The checks, and what is true if they find no problem."""
