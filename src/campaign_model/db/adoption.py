"""Bringing a database that is older than this library to our schema, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.db import catalog, revisions, schema
from campaign_model.db.advice import advice
from campaign_model.db.engine import prepare_engine
from campaign_model.db.plan import MARKERS, Plan, Statement, completed, obstacles, plan
from campaign_model.db.repairs import Repairs
from campaign_model.db.report import (
    AdoptionRefused,
    AdoptReport,
    Finding,
    OnFinding,
    Tally,
    Verdict,
    faults,
)
from campaign_model.db.revisions import SetupError
from campaign_model.db.rules import (
    CREATE_QUARANTINE,
    QUARANTINE,
    STATUS_CASES,
    Reference,
    Rules,
)
from campaign_model.db.script import script
from campaign_model.db.session import OnProgress, Session, session
from campaign_model.db.shapes import shape
from campaign_model.db.system_templates import SyncReport, sync_presets
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.store.tables import HostTables, metadata
from campaign_model.store.types import read_json

__all__ = ["AdoptReport", "AdoptionRefused", "Finding", "Verdict", "adopt", "sql", "verify"]

_BATCH = 1_000
"""Campaigns (or templates) that are looked at together."""

_BATCH_CONTACTS = 20_000
"""Contacts that are put right together; a batch of campaigns ends when it has so many."""

_DRIFT_ROUNDS = 3


def verify(
    engine: sa.Engine, *, host: HostTables | None = None, messages: str = "messages"
) -> Verdict:
    """Say in which shape a database is, and what it lacks. Nothing is changed.

    ``host`` names the host's tables, ``messages`` the one where it keeps messages. Needs the
    ``migrations`` extra.
    """
    _require_postgresql(engine)
    with engine.connect() as connection:
        situation = _look(connection, host or HostTables(), messages)
    return Verdict(situation.shape, situation.pending, situation.warnings)


def adopt(
    engine: sa.Engine,
    *,
    host: HostTables | None = None,
    messages: str = "messages",
    dry_run: bool = False,
    status_map: Mapping[str, str] | None = None,
    status_rule: Mapping[str, str] | None = None,
    quarantine: bool = False,
    contacts_from_messages: bool = False,
    on_progress: OnProgress | None = None,
    on_finding: OnFinding | None = None,
) -> AdoptReport:
    """Bring a database to our schema in place, keeping every row; safe to repeat at any time.

    First every row is looked at. What needs a decision stops the adoption before any change, with
    :class:`AdoptionRefused`; a ``dry_run`` ends here in any case, and refuses nothing. Then the
    schema is completed and the rows are put right, while others may go on to read and write. An
    interrupted adoption is continued by the next one.

    ``status_map`` translates words that are no status. ``status_rule`` says what campaigns become
    that have none: those that have ``sent`` messages or a ``lemlist`` id (else exported), and
    ``otherwise`` (else draft). ``quarantine`` moves values that need a decision into a table
    ``campaign_quarantine``. ``contacts_from_messages`` makes contacts out of the messages of
    campaigns that have no other. ``on_progress(what, done, total)`` is called as it goes on,
    ``on_finding`` with each :class:`Finding`.

    No worker of an older engine should run meanwhile. Raises :class:`SetupError` for a database
    that cannot be adopted at all, or is too busy. Needs the ``migrations`` extra, and to be the
    owner of the tables.
    """
    rules = Rules(
        status_map=_checked_map(status_map or {}),
        quarantine=quarantine,
        contacts_from_messages=contacts_from_messages,
        **_checked_rule(status_rule or {}),
    )
    _require_postgresql(engine)
    with session(engine, on_progress) as opened:
        adoption = _Adoption(opened, host or HostTables(), messages, rules, on_finding)
        return adoption.run(dry_run=dry_run)


def _require_postgresql(engine: sa.Engine) -> None:
    """Raise :class:`SetupError` for an SQLite engine."""
    if prepare_engine(engine).dialect.name != "postgresql":
        raise SetupError(
            "adoption is for PostgreSQL; db.init (campaign-model db init) builds a fresh SQLite "
            "database"
        )


def _checked_rule(status_rule: Mapping[str, str]) -> dict[str, Any]:
    for case in status_rule:
        if case not in STATUS_CASES:
            raise ValueError(f"status_rule: the cases are {', '.join(STATUS_CASES)}, not {case!r}")
    return {case: Status(status) for case, status in status_rule.items()}


def _checked_map(status_map: Mapping[str, str]) -> Mapping[str, str]:
    known = {*Status, *ContactStatus}
    for word, status in status_map.items():
        if status not in known:
            raise ValueError(f"status_map: {word!r} cannot become {status!r}, which is no status")
    return status_map


def sql(
    source: str | sa.Engine,
    dialect: str = "postgresql",
    *,
    host: HostTables | None = None,
    messages: str = "messages",
) -> str:
    """An adoption as plain SQL for psql.

    ``source`` is the shape that the database has (``empty``, ``bare`` or ``extended``, with keys
    named as PostgreSQL names them), or an engine to see what it has. Raises ``ValueError`` for
    another shape or dialect, and :class:`SetupError` for a database that cannot be adopted. Needs
    the ``migrations`` extra.
    """
    host = host or HostTables()
    if dialect != "postgresql":
        raise ValueError(f"there is plain SQL for postgresql, not for {dialect}")
    settle = True
    if isinstance(source, sa.Engine):
        _require_postgresql(source)
        with source.connect() as connection:
            situation = _look(connection, host, messages)
        if situation.shape in {"newer", "outdated"} or situation.plan is None:
            raise SetupError("; ".join(situation.pending))
        what, present, planned = "as it was found", situation.present, situation.plan
        settle = not situation.stamped
    else:
        present = shape(source, host, messages)
        what, planned = f'of the shape "{source}"', plan(present, host)
    before, after = (
        Repairs(tables, host, messages, Rules(), settle=settle)
        for tables in (present, completed(present, host))
    )
    return script(what, planned, before, after)


# What there is.


@attrs.frozen
class _Situation:
    """The tables of a database, and what follows from them."""

    shape: str
    present: catalog.Catalog
    plan: Plan | None
    obstacles: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def stamped(self) -> bool:
        """Whether the schema's version is noted, so that our workers may be about."""
        return self.shape in {"current", "changed", "outdated", "newer"}

    @property
    def added(self) -> tuple[str, ...]:
        """The statements that are missing."""
        return () if self.plan is None else tuple(one.sql for one in self.plan.statements)

    @property
    def pending(self) -> tuple[str, ...]:
        """What is to be done."""
        if self.shape == "newer":
            return (
                "a newer version of this library has set this database up: upgrade the library",
            )
        if self.plan is None:
            return self.obstacles
        if self.shape == "outdated":
            return ("the newer revisions of this library: db.init",)
        look = "a look at every row: db.adopt, or first its dry run"
        return self.added if self.stamped else (*self.added, look)


def _look(connection: sa.Connection, host: HostTables, messages: str) -> _Situation:
    """Look at the catalog. No transaction is open before or after."""
    names = {*metadata.tables, *attrs.astuple(host), messages}
    with connection.begin():
        present = catalog.read(connection, names)
        standing = revisions.standing(connection)
    found = tuple(obstacles(present, host))
    planned = None
    if not found:
        planned = plan(present, host, _normal_forms(connection, host))
    shape = standing or _shape(present)
    if shape == "current" and (planned is None or planned.statements):
        shape = "changed"
    told = advice(present, messages, adopting=shape != "current")
    return _Situation(shape, present, planned, found, tuple(told))


def _normal_forms(connection: sa.Connection, host: HostTables) -> dict[str, str]:
    key = ", ".join(schema.HOST_KEY)
    hosts = [
        f"CREATE TABLE {schema.quoted(name)} (tenant_id uuid, id uuid PRIMARY KEY, UNIQUE ({key}))"
        for name in attrs.astuple(host)
    ]
    return catalog.normal_forms(connection, [*hosts, *schema.statements("postgresql", host)])


def _shape(present: catalog.Catalog) -> str:
    """That of a database whose version nobody has noted."""
    ours = present.keys() & metadata.tables.keys()
    if not ours:
        return "empty"
    # Tables that no legacy database has.
    if ours & {"campaign_totals", "campaign_history", "campaign_erased_claims"}:
        return "unfinished"
    if ours == {"campaigns"} and "status" not in present["campaigns"].columns:
        return "bare"
    return "extended"


# Working on it.


class _Adoption:
    """One adoption, from the first look to the last."""

    def __init__(
        self,
        session: Session,
        host: HostTables,
        messages: str,
        rules: Rules,
        on_finding: OnFinding | None,
    ) -> None:
        self.session = session
        self.host = host
        self.messages = messages
        self.rules = rules
        self.on_finding = on_finding

    def run(self, *, dry_run: bool) -> AdoptReport:
        """Look, and unless that is all, act."""
        situation = self._look()
        if situation.shape == "newer" or situation.plan is None:
            raise SetupError("; ".join(situation.pending))
        repairs = self._repairs(situation)
        tally = Tally(self.rules, self.on_finding)
        if situation.shape not in {"empty", "current", "outdated"}:
            self._audit(repairs, tally)
        report = tally.report(situation.shape, situation.added, situation.warnings)
        if dry_run:
            return report
        if report.refused:
            raise AdoptionRefused(report)
        if situation.shape not in {"current", "outdated"}:
            try:
                self._complete(situation)
            except sa.exc.IntegrityError as error:
                told = " ".join(str(error.orig).split())
                raise SetupError(
                    f"a rule of your own stands against the adoption ({told}); put that right and "
                    "adopt again, which goes on from here"
                ) from error
        return attrs.evolve(report, presets=self._finish(situation))

    def _look(self) -> _Situation:
        self.session.connection.rollback()
        self.session.connection.execution_options(isolation_level="READ COMMITTED")
        return _look(self.session.connection, self.host, self.messages)

    def _repairs(self, situation: _Situation) -> Repairs:
        references = [
            Reference(table, column, not_null)
            for table, column, not_null in self.session.rows(catalog.REFERENCES)
        ]
        return Repairs(
            situation.present,
            self.host,
            self.messages,
            self.rules,
            references,
            settle=not situation.stamped,
        )

    def _complete(self, situation: _Situation) -> None:
        """Everything but the version, in the order in which it is safe to be interrupted."""
        assert situation.plan is not None
        if self.rules.quarantine and not self._has_quarantine():
            self.session.run(Statement(CREATE_QUARANTINE))
        self._run(situation.plan.expand, "schema")
        situation = self._look()
        repairs = self._repairs(situation)
        self._repair(repairs, "rows")
        assert situation.plan is not None
        try:
            self._run(situation.plan.guard, "keys")
            self._repair(repairs, "late rows")
            situation = self._look()
            assert situation.plan is not None
            self._run(situation.plan.statements, "checks")
        except sa.exc.IntegrityError:
            # What a writer has brought in since we looked.
            self._refuse_undecided(repairs)
            raise
        if repairs.settle:
            self._settle(repairs)

    def _has_quarantine(self) -> bool:
        return bool(self.session.rows(f"SELECT to_regclass('{QUARANTINE}')")[0][0])

    def _run(self, statements: Sequence[Statement], what: str) -> None:
        for number, statement in enumerate(statements):
            self.session.progress(what, number, len(statements))
            self.session.run(statement)
        if statements:
            self.session.progress(what, len(statements), len(statements))

    def _finish(self, situation: _Situation) -> SyncReport:
        """Note the version, and bring in the system's templates."""
        connection = self.session.connection

        def work() -> SyncReport:
            if situation.shape == "outdated":
                revisions.upgrade(connection, attrs.asdict(self.host))
            elif not situation.stamped:
                revisions.stamp(connection)
            return sync_presets(connection)

        return self.session.transact(work)

    # Looking at rows.

    def _audit(self, repairs: Repairs, tally: Tally) -> None:
        for table, findings in (
            ("campaign_templates", repairs.template_findings),
            ("campaigns", repairs.campaign_findings),
        ):
            if table not in repairs.present:
                continue
            query, documents = findings(), repairs.documents(table)
            total, done = self._count(table), 0
            for ids in self._batches(repairs, table):
                unreadable = _unreadable(table, self.session.rows(documents, ids=ids))
                for finding in self._findings(query, ids, unreadable):
                    tally.add(finding)
                done += len(ids)
                self.session.progress("audit", done, total)

    def _refuse_undecided(self, repairs: Repairs) -> None:
        tally = Tally(self.rules, None)
        self._audit(repairs, tally)
        situation = self._look()
        report = tally.report(situation.shape, situation.added, situation.warnings)
        if report.refused:
            raise AdoptionRefused(report) from None

    def _count(self, table: str) -> int:
        found: int = self.session.rows(f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608
        return found

    def _findings(
        self, query: str, ids: Sequence[UUID], unreadable: Mapping[str, str]
    ) -> Iterator[Finding]:
        for row in self.session.rows(query, ids=ids, unreadable=[*unreadable]):
            table, id_, column, kind, before, after, undecided = row
            reason = unreadable.get(f"{id_}/{column}") if undecided else None
            yield Finding(table, id_, column, kind, _json(before), _json(after), undecided, reason)

    def _batches(
        self, repairs: Repairs, table: str, condition: str = "true"
    ) -> Iterator[Sequence[UUID]]:
        """Ids of the table's rows in order, so many that their contacts are not too many."""
        size = "1"
        if table == "campaigns" and "campaign_contacts" in repairs.present:
            size = "(SELECT count(*) FROM campaign_contacts WHERE campaign_id = campaigns.id)"
        after = ""
        while True:
            rows = self.session.rows(
                f"SELECT id, {size} FROM {table} WHERE {condition} {after} "  # noqa: S608
                f"ORDER BY id LIMIT {_BATCH}"
            )
            batch: list[UUID] = []
            contacts = 0
            for id_, number in rows:
                batch.append(id_)
                contacts += number
                if contacts > _BATCH_CONTACTS:
                    break
            if not batch:
                return
            yield batch
            after = f"AND id > '{batch[-1]}'"

    # Putting rows right.

    def _repair(self, repairs: Repairs, what: str) -> None:
        unfinished = {table: repairs.unfinished(table) for table in MARKERS}
        for ids in self._batches(repairs, "campaign_templates", unfinished["campaign_templates"]):
            self._repair_templates(repairs, ids)
        total, done = self._count("campaigns"), 0
        for ids in self._batches(repairs, "campaigns", unfinished["campaigns"]):
            self._repair_campaigns(repairs, ids)
            done += len(ids)
            self.session.progress(what, done, total)
        # Contacts that came to campaigns that were seen to already.
        after = ""
        while ids := self._ids(
            f"SELECT DISTINCT campaign_id FROM campaign_contacts "  # noqa: S608
            f"WHERE {unfinished['campaign_contacts']} {after} ORDER BY 1 LIMIT {_BATCH}"
        ):
            self._repair_campaigns(repairs, ids)
            after = f"AND campaign_id > '{ids[-1]}'"

    def _repair_templates(self, repairs: Repairs, ids: Sequence[UUID]) -> None:
        def work() -> None:
            with self._locked("campaign_templates", ids):
                documents = repairs.documents("campaign_templates")
                found = self.session.execute(documents, ids=ids).all()
                unreadable = [*_unreadable("campaign_templates", found)]
                self._change(repairs.repair_templates(), ids=ids, unreadable=unreadable)

        self._or_refuse(repairs, work)

    def _repair_campaigns(self, repairs: Repairs, ids: Sequence[UUID]) -> None:
        if self.rules.quarantine:
            self._move_misplaced(repairs, ids)
        condition = repairs.unfinished("campaign_contacts")
        while rows := self._ids(
            "SELECT id FROM campaign_contacts WHERE campaign_id = ANY(@ids@) "  # noqa: S608
            f"AND {condition} ORDER BY campaign_id, id LIMIT {_BATCH_CONTACTS}",
            ids=ids,
        ):
            self._repair_contacts(repairs, ids, rows)

        def work() -> None:
            with self._locked("campaigns", ids):
                found = self.session.execute(repairs.documents("campaigns"), ids=ids).all()
                unreadable = [*_unreadable("campaigns", found)]
                if (insert := repairs.insert_written()) is not None:
                    self.session.execute(insert, ids=ids, unreadable=unreadable)
                self._change(repairs.repair_campaigns(), ids=ids, unreadable=unreadable)

        self._or_refuse(repairs, work)

    def _repair_contacts(self, repairs: Repairs, ids: Sequence[UUID], rows: Sequence[UUID]) -> None:
        def work() -> None:
            with self._locked("campaign_contacts", rows):
                self._change(repairs.repair_contacts(), ids=ids, rows=rows)

        self._or_refuse(repairs, work)

    def _move_misplaced(self, repairs: Repairs, ids: Sequence[UUID]) -> None:
        rows = self._ids(repairs.misplaced(), ids=ids)

        def work() -> None:
            with self._locked("campaign_contacts", rows):
                for statement in repairs.move_misplaced():
                    self.session.execute(statement, rows=rows)

        if rows:
            self.session.transact(work)

    def _settle(self, repairs: Repairs) -> None:
        """Count totals anew where others have changed contacts meanwhile."""
        for _ in range(_DRIFT_ROUNDS):
            ids = self._ids(repairs.drifted())
            if not ids:
                return
            self._repair_campaigns(repairs, ids)

    def _ids(self, query: str, **parameters: Any) -> Sequence[UUID]:
        return [row[0] for row in self.session.rows(query, **parameters)]

    @contextmanager
    def _locked(self, table: str, ids: Sequence[UUID]) -> Iterator[None]:
        """Hold rows for the transaction at hand; no trigger of the host's hears of their repair."""
        muted = self.session.execute(f"SELECT pg_temp.mute('{table}')").scalar_one()
        # First, so that what is read next is what others have left, and not what they change.
        self.session.execute(
            f"SELECT FROM {table} WHERE id = ANY(@ids@) ORDER BY id FOR NO KEY UPDATE",
            ids=ids,
        )
        yield
        self.session.execute("SELECT pg_temp.unmute(@muted@)", muted=muted)

    def _change(self, sql: str, **parameters: Any) -> None:
        undecided: int = self.session.execute(sql, **parameters).scalar_one()
        if undecided and not self.rules.quarantine:
            raise _UndecidedError

    def _or_refuse(self, repairs: Repairs, work: Callable[[], None]) -> None:
        """Do it, unless a writer has brought in what needs a decision since we looked."""
        try:
            self.session.transact(work)
        except _UndecidedError:
            self._refuse_undecided(repairs)
            raise


class _UndecidedError(Exception):
    """A repair met what needs a decision: the transaction has to go."""


def _unreadable(table: str, documents: Iterable[sa.Row[*tuple[Any, ...]]]) -> dict[str, str]:
    """Which values of a batch of rows nobody can read, as ``id/column``, and why."""
    return {
        f"{id_}/{column}": reason
        for id_, *values in documents
        for column, reason in faults(table, *values).items()
    }


def _json(text: str | None) -> Any:
    return None if text is None else read_json(text)
