"""Adoption on SQLite, whose ALTER TABLE adds no constraints: tables are made anew and copied into.

It is one transaction, with nobody else beside it: a dry run, and a refusal, take it back. What
PostgreSQL does in SQL is done here row by row. There is no quarantine and nothing is made out of
messages; who needs that puts the rows right by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from campaign_model import lifecycle
from campaign_model._values import money
from campaign_model.campaign import ADOPTED
from campaign_model.db import revisions, schema
from campaign_model.db.engine import prepare_engine
from campaign_model.db.report import AdoptionRefused, AdoptReport, Finding, Tally, Verdict, faults
from campaign_model.db.revisions import SetupError
from campaign_model.db.rules import DOCUMENTS, RUN_TIME_KEYS, SENT, STEP_DEFAULTS, Rules
from campaign_model.db.system_templates import sync_presets
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import totals
from campaign_model.store.connection import database_time
from campaign_model.store.tables import (
    COUNTED,
    HostTables,
    campaign_history,
    campaign_totals,
    campaigns,
    metadata,
)
from campaign_model.store.types import UtcDateTime

__all__ = ["adopt", "verify"]

_OLD = "campaign_model_old_"
_TABLES = ("campaign_templates", "campaigns", "campaign_contacts")
"""Those that a legacy database may have, each after those that it refers to."""


def verify(engine: sa.Engine, host: HostTables) -> Verdict:
    """As ``db.verify``."""
    with engine.connect() as connection:
        shape = _shape(connection)
        pending = {
            "current": (),
            "newer": ("a newer version of this library has set this database up",),
            "outdated": ("the newer revisions of this library: db.init",),
        }.get(shape, (*_obstacles(connection, host), *_missing(host)))
    return Verdict(shape, pending, ())


def adopt(
    engine: sa.Engine, host: HostTables, messages: str, rules: Rules, tally: Tally, *, dry_run: bool
) -> AdoptReport:
    """As ``db.adopt``."""
    if rules.quarantine or rules.contacts_from_messages:
        raise SetupError(
            "on SQLite nothing is moved into a quarantine, and no contacts are made out of "
            "messages; put such rows right by hand"
        )
    with _without_foreign_keys(engine) as connection, connection.begin() as transaction:
        shape = _shape(connection)
        if shape in {"current", "outdated", "newer"}:
            report = tally.report(shape, (), ())
            if dry_run:
                return report
            revisions.upgrade(connection, attrs.asdict(host))
            return attrs.evolve(report, presets=sync_presets(connection))
        if obstacles := tuple(_obstacles(connection, host)):
            raise SetupError("; ".join(obstacles))
        added = _missing(host)
        _rebuild(connection, host, messages, rules, tally)
        report = tally.report(shape, added, ())
        if dry_run or report.refused:
            transaction.rollback()
            if dry_run:
                return report
            raise AdoptionRefused(report)
        revisions.stamp(connection)
        return attrs.evolve(report, presets=sync_presets(connection))


@contextmanager
def _without_foreign_keys(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection on which a table may be replaced that others refer to."""
    with prepare_engine(engine).connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA foreign_keys = OFF")
        # Else a renamed table takes the keys, triggers and views of others along.
        driver.execute("PRAGMA legacy_alter_table = ON")
        try:
            yield connection
        finally:
            driver.execute("PRAGMA legacy_alter_table = OFF")
            driver.execute("PRAGMA foreign_keys = ON")


# What there is.


def _shape(connection: sa.Connection) -> str:
    if (standing := revisions.standing(connection)) is not None:
        return standing
    ours = {*metadata.tables} & {*sa.inspect(connection).get_table_names()}
    if ours != {"campaigns"}:
        return "extended" if ours else "empty"
    columns = {column["name"] for column in sa.inspect(connection).get_columns("campaigns")}
    return "extended" if "status" in columns else "bare"


def _obstacles(connection: sa.Connection, host: HostTables) -> Iterator[str]:
    tables = {*sa.inspect(connection).get_table_names()}
    for name in attrs.astuple(host):
        if name not in tables:
            yield f"there is no table {name}; name your own with HostTables"
    for name in tables & {*attrs.astuple(host), *_TABLES}:
        written = f'SELECT id FROM "{name}" WHERE length(id) <> 36 OR id <> lower(id) LIMIT 1'
        for row in connection.exec_driver_sql(written):
            yield f"{name}.id {row[0]!r} is not 36 characters in lower case, as this library writes"


def _missing(host: HostTables) -> tuple[str, ...]:
    return (*_host_keys(host), *schema.statements("sqlite", host))


def _host_keys(host: HostTables) -> Iterator[str]:
    for name in (host.owners, host.contacts):
        key = f"uq_{name}_{'_'.join(schema.HOST_KEY)}"
        columns = ", ".join(schema.HOST_KEY)
        yield f'CREATE UNIQUE INDEX IF NOT EXISTS "{key}" ON "{name}" ({columns})'


# Doing it.


def _rebuild(
    connection: sa.Connection, host: HostTables, messages: str, rules: Rules, tally: Tally
) -> None:
    inspector = sa.inspect(connection)
    present = [name for name in _TABLES if inspector.has_table(name)]
    extras = {name: _extras(connection, name) for name in present}
    theirs = connection.execute(
        sa.text(
            "SELECT sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL "
            "AND tbl_name IN :names"
        ).bindparams(sa.bindparam("names", present, expanding=True))
    ).scalars()
    again = [*theirs]
    for name in present:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {_OLD}{name}")
    for statement in _host_keys(host):
        connection.exec_driver_sql(statement)
    for statement in schema.statements("sqlite", host):
        made = re.match(r"CREATE TABLE (\w+) \(", statement)
        more = extras.get(made[1], ()) if made else ()
        # Columns stand before the constraints.
        first, constraint, rest = statement.partition(",\n\tCONSTRAINT ")
        connection.exec_driver_sql(
            "".join((first, *(f",\n\t{one}" for one in more), constraint, rest))
        )
    mover = _Mover(connection, host, messages, rules, tally)
    for name in present:
        mover.move(name)
    mover.settle()
    for name in present:
        connection.exec_driver_sql(f"DROP TABLE {_OLD}{name}")
    for statement in again:
        connection.exec_driver_sql(statement)


def _extras(connection: sa.Connection, name: str) -> tuple[str, ...]:
    """What a table says of columns that are not ours, as its CREATE TABLE has it."""
    found = sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name")
    sql: str = connection.execute(found, {"name": name}).scalar_one()
    body = sql[sql.index("(") + 1 : sql.rindex(")")]
    members, depth = [""], 0
    for part in re.findall(r"'[^']*'|\"[^\"]*\"|\s+|.", body):
        depth += {"(": 1, ")": -1}.get(part, 0)
        if part == "," and not depth:
            members.append("")
        else:
            members[-1] += part
    ours = {column.name for column in metadata.tables[name].c}
    theirs = []
    for member in members:
        word = member.split()[0].strip('"').partition("(")[0]
        if word.lower() not in {*ours, "primary", "unique", "foreign", "check", "constraint"}:
            theirs.append(member.strip())
    return tuple(theirs)


class _Mover:
    """Copies rows from the old tables into the new ones, each put right."""

    def __init__(
        self,
        connection: sa.Connection,
        host: HostTables,
        messages: str,
        rules: Rules,
        tally: Tally,
    ) -> None:
        self.connection = connection
        self.rules = rules
        self.tally = tally
        self.now = database_time(connection)
        self.owners = self._pairs(host.owners)
        self.contacts = self._pairs(host.contacts)
        self.sent = self._sent(messages)
        self.campaigns: dict[str, _Kept] = {}
        self.names: set[tuple[str, str]] = set()

    def _pairs(self, table: str) -> dict[str, str]:
        rows = self.connection.exec_driver_sql(f'SELECT id, tenant_id FROM "{table}"')
        return {row.id: row.tenant_id for row in rows}

    def _sent(self, messages: str) -> set[str]:
        inspector = sa.inspect(self.connection)
        if not inspector.has_table(messages):
            return set()
        if not {"campaign_id", "status"} <= {c["name"] for c in inspector.get_columns(messages)}:
            return set()
        words = ", ".join(f"'{word}'" for word in SENT)
        query = f'SELECT campaign_id FROM "{messages}" WHERE status IN ({words})'
        return {row[0] for row in self.connection.exec_driver_sql(query)}

    def move(self, table: str) -> None:
        """Copy a table. Of campaigns and their contacts, the campaigns come first."""
        order = " ORDER BY campaign_id, added_at, id" if table == "campaign_contacts" else ""
        rows = self.connection.exec_driver_sql(f"SELECT * FROM {_OLD}{table}{order}").mappings()
        put_right = {
            "campaign_templates": self._template,
            "campaigns": self._campaign,
            "campaign_contacts": self._contact,
        }[table]
        for found in rows:
            row: dict[str, Any] = {**found}
            new = row | put_right(_Old(self.tally, table, row))
            columns = ", ".join(f'"{name}"' for name in new)
            values = ", ".join("?" for _ in new)
            self.connection.exec_driver_sql(
                f"INSERT INTO {table} ({columns}) VALUES ({values})",
                tuple(new.values()),
            )

    def _template(self, old: _Old) -> dict[str, Any]:
        wrong = faults("campaign_templates", old["name"], old["description"], *old.documents())
        name = old["name"]
        key = (old["tenant_id"], name)
        doubled = old["tenant_id"] is not None and key in self.names
        self.names.add(key)
        if "name" in wrong or doubled:
            kind = "bad_name" if "name" in wrong else "duplicate_name"
            name = old.refuse("name", kind, wrong.get("name"), f"Template {old.id}")
        is_system = old["tenant_id"] is None
        if old["is_system"] is None:
            old.tell("is_system", "absent", None, is_system)
        elif bool(old["is_system"]) != is_system:
            old.refuse("is_system", "system", None, is_system)
        return {
            "name": name,
            "is_system": int(is_system),
            **old.description(wrong),
            **old.document("steps", "not_steps", wrong, []),
            **old.document("default_config", "not_settings", wrong, {}),
            **old.moments(self.now),
        }

    def _campaign(self, old: _Old) -> dict[str, Any]:
        wrong = faults("campaigns", old["name"], old["description"], *old.documents())
        new: dict[str, Any] = {
            **old.description(wrong),
            **old.document("template_config", "not_steps", wrong, []),
            **old.document("generation_config", "not_settings", wrong, {}, RUN_TIME_KEYS),
        }
        if "name" in wrong:
            new["name"] = old.refuse("name", "bad_name", wrong["name"], f"Campaign {old.id}")
        owner = old["owner_id"]
        if owner is not None and self.owners.get(owner) != old["tenant_id"]:
            new["owner_id"] = old.refuse("owner_id", "other_tenant", None, None)
        active = old["is_active"] is None or bool(old["is_active"])
        if old["is_active"] is None:
            old.tell("is_active", "absent", None, active)
        new |= {"is_active": int(active), "status": self._status(old, active=active)}
        at = old.moment("updated_at") or old.moment("created_at") or self.now
        new |= old.moments(self.now)
        for name in ("generation_started_at", "generation_completed_at"):
            new[name] = _text(old.moment(name))
        # Counted when the contacts are there.
        new |= {"total_contacts": 0, "generated_count": 0, "generation_cost": 0}
        self.campaigns[old["id"]] = _Kept(old["tenant_id"], new["status"], at, old)
        return new

    def _status(self, old: _Old, *, active: bool) -> str:
        found = old["status"] if "status" in old.row else None
        word = self._word(found, Status)
        rule = self.rules
        if found is not None and word is None:
            old.refuse("status", "unknown_status", None, None)
        if not active:
            kind, status = "status_inactive", lifecycle.target(Action.DELETE)
        elif word is None and old["id"] in self.sent:
            kind, status = "status_sent", rule.sent
        elif word is None and (old["lemlist_campaign_id"] or "").strip():
            kind, status = "status_lemlist", rule.lemlist
        elif word is None:
            kind, status = "status_otherwise", rule.otherwise
        elif word == Status.GENERATING:
            kind, status = "stuck", lifecycle.target(Action.CANCEL_GENERATION)
        else:
            kind, status = "status_mapped", Status(word)
        if found is None or word is not None:
            old.tell("status", kind, found, str(status))
        return str(status)

    def _word(self, found: str | None, known: type[Status | ContactStatus]) -> str | None:
        if found in {*known}:
            return found
        mapped = self.rules.status_map.get(found or "")
        return mapped if mapped in {*known} else None

    def _contact(self, old: _Old) -> dict[str, Any]:
        campaign = self.campaigns[old["campaign_id"]]
        if self.contacts.get(old["contact_id"]) != campaign.tenant_id:
            old.refuse("contact_id", "other_tenant", None, None)
        if old["tenant_id"] is None:
            old.tell("tenant_id", "absent", None, campaign.tenant_id)
        elif old["tenant_id"] != campaign.tenant_id:
            old.refuse("tenant_id", "other_tenant", None, campaign.tenant_id)
        gaps = old.gaps()
        cost = old.cost()
        word = self._word(old["status"], ContactStatus)
        if old["status"] is not None and word is None:
            old.refuse("status", "unknown_status", None, None)
        status = word or lifecycle.resting_status(None)
        kind = "status_mapped" if old["status"] is not None else "status_absent"
        if word == ContactStatus.GENERATING:
            kind, status = "stuck", lifecycle.resting_status(gaps)
        if old["status"] is None or word is not None:
            old.tell("status", kind, old["status"], str(status))
        ended = word in (ContactStatus.GENERATED, ContactStatus.FAILED)
        added_at = old.moment("added_at") or old.moment("generated_at")
        if added_at is None:
            old.tell("added_at", "absent", None, self.now.isoformat())
            added_at = self.now
        begun = ended or word == ContactStatus.GENERATING or old["generated_at"] or cost
        claimed_at = (old.moment("generated_at") or added_at) if begun else None
        new = {
            "tenant_id": campaign.tenant_id,
            "status": str(status),
            "enrichment_gaps": None if gaps is None else json.dumps(gaps, ensure_ascii=False),
            "generation_cost": int((cost or 0) * 10**9),
            "unknown_costs": int(cost is None and ended),
            "rank": campaign.position,
            "claimed_at": _text(claimed_at),
            "added_at": _text(added_at),
            "generated_at": _text(old.moment("generated_at")),
        }
        campaign.position += 1
        return new

    def settle(self) -> None:
        """Count the totals, and begin the histories."""
        counts = ", ".join(f"sum(status = '{status}')" for status in COUNTED)
        names = ", ".join(COUNTED)
        self.connection.exec_driver_sql(
            "INSERT INTO campaign_totals "
            f"(tenant_id, campaign_id, shard, {names}, cost, unknown_costs) "
            f"SELECT tenant_id, campaign_id, 0, {counts}, sum(generation_cost), "
            "sum(unknown_costs) FROM campaign_contacts GROUP BY tenant_id, campaign_id"
        )
        table = campaign_totals.c
        for id_, kept in self.campaigns.items():
            found = self.connection.execute(
                sa.select(*totals.sum_columns()).where(table.campaign_id == UUID(id_))
            ).mappings()
            settled = totals.legacy_columns(totals.Totals.from_columns(found.one()))
            for name, value in settled.items():
                if name in kept.old.row:
                    before, after = kept.old.amount(name), value
                    kept.old.tell(name, "settled", before, after)
            self.connection.execute(
                sa.update(campaigns)
                .where(campaigns.c.id == UUID(id_))
                .values(next_position=kept.position, **settled)
            )
            self.connection.execute(
                sa.insert(campaign_history).values(
                    id=uuid5(NAMESPACE_OID, f"{ADOPTED}/{id_}"),
                    tenant_id=UUID(kept.tenant_id),
                    campaign_id=UUID(id_),
                    version=1,
                    action=ADOPTED,
                    source=kept.status,
                    target=kept.status,
                    reason=json.dumps(kept.old.notes, default=str) if kept.old.notes else None,
                    at=kept.at,
                )
            )


@attrs.define
class _Kept:
    """What is needed of a campaign when its contacts come."""

    tenant_id: str
    status: str
    at: datetime
    old: _Old
    position: int = 0


@attrs.define
class _Old:
    """A row as it was found. ``notes`` are for the history."""

    tally: Tally
    table: str
    row: Mapping[str, Any]
    notes: dict[str, Any] = attrs.field(factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.row.get(name)

    @property
    def id(self) -> UUID:
        """Whatever way it is written."""
        return UUID(self.row["id"])

    def tell(self, column: str, kind: str, before: Any, after: Any) -> None:
        """Count a repair, if it is one."""
        if before != after:
            self.notes[column] = before
            self.tally.add(Finding(self.table, self.id, column, kind, before, after, False))

    def refuse(self, column: str, kind: str, reason: str | None, after: Any) -> Any:
        """Count what needs a decision; ``after``, which stands in until all is taken back."""
        before = self.row[column]
        found = Finding(self.table, self.id, column, kind, before, after, True, reason)
        self.tally.add(found)
        return after

    def documents(self) -> list[str | None]:
        """The texts for :func:`faults`."""
        texts = [self[column] for column in DOCUMENTS[self.table]]
        return [None if _decoded(text) is None else text for text in texts]

    def document(
        self,
        column: str,
        bad: str,
        wrong: Mapping[str, str],
        empty: Any,
        run_time: Sequence[str] = (),
    ) -> dict[str, Any]:
        """A document as it should be, as JSON text."""
        if column not in self.row:
            return {}
        if column in wrong:
            return {column: json.dumps(self.refuse(column, bad, wrong[column], empty))}
        text = self.row[column]
        found = None if text is None else json.loads(text)
        read, kind = _decoded(text), "absent"
        if isinstance(found, str) and read is not None:
            kind = "double_encoded"
        new = empty if read is None else read
        if isinstance(new, list):
            new = [_filled(step, position) for position, step in enumerate(new, 1)]
        elif taken := {name: new[name] for name in run_time if name in new}:
            kind = "run_time_keys"
            new = {name: value for name, value in new.items() if name not in taken}
            self.notes[column] = taken
        if found == new:
            return {}
        self.tally.add(Finding(self.table, self.id, column, kind, found, new, False))
        return {column: json.dumps(new, ensure_ascii=False)}

    def description(self, wrong: Mapping[str, str]) -> dict[str, Any]:
        """The description, if anybody can read it."""
        if "description" not in wrong:
            return {}
        reason = wrong["description"]
        return {"description": self.refuse("description", "bad_description", reason, None)}

    def moment(self, column: str) -> datetime | None:
        """A point in time, UTC where it says nothing."""
        text = self[column]
        if text is None:
            return None
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)

    def moments(self, now: datetime) -> dict[str, Any]:
        """When the row was made and changed."""
        created, updated = self.moment("created_at"), self.moment("updated_at")
        found = {"created_at": created or updated or now, "updated_at": updated or created or now}
        for name, value in found.items():
            if self[name] is None:
                self.tell(name, "absent", None, value.isoformat())
        return {name: _text(value) for name, value in found.items()}

    def amount(self, column: str) -> Decimal | None:
        """A number as it is written."""
        try:
            return None if self[column] is None else Decimal(str(self[column]))
        except InvalidOperation:
            return Decimal("NaN")

    def cost(self) -> Decimal | None:
        """The cost of a contact."""
        found = self.amount("generation_cost")
        if found is None:
            self.tell("generation_cost", "absent", None, Decimal(0))
            return None
        try:
            return money(found)
        except ValueError as error:
            self.refuse("generation_cost", "bad_amount", str(error), None)
            return None

    def gaps(self) -> tuple[str, ...] | None:
        """The enrichment gaps of a contact."""
        text = self["enrichment_gaps"]
        found = _decoded(text)
        if found is None:
            if text is not None:
                self.tell("enrichment_gaps", "double_encoded", json.loads(text), None)
            return None
        if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
            self.refuse("enrichment_gaps", "not_gaps", None, None)
            return None
        self.tell("enrichment_gaps", "double_encoded", json.loads(text), found)
        return tuple(found)


def _decoded(text: str | None) -> Any:
    """The JSON value that is in a text, however often it was encoded; or that text."""
    found: Any = text
    while isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            break
    return found


def _filled(step: Mapping[str, Any], position: int) -> dict[str, Any]:
    label = step["channel"].replace("_", " ").capitalize()
    return {**STEP_DEFAULTS, "step": position, "label": label, **step}


def _text(moment: datetime | None) -> str | None:
    return UtcDateTime().process_bind_param(moment, sqlite.dialect()) if moment else None
