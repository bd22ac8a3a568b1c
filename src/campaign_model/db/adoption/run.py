"""``adopt``, ``verify`` and ``sql``: the steps of an adoption, in their order.

The package's docstring tells the whole protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import sqlalchemy as sa

from campaign_model.db.adoption.audit import audit_rows
from campaign_model.db.adoption.findings import OnFinding, Tally
from campaign_model.db.adoption.inspection import Inspection, inspect_database
from campaign_model.db.adoption.legacy_database import LegacyDatabase
from campaign_model.db.adoption.legacy_shapes import build_shape
from campaign_model.db.adoption.options import Options
from campaign_model.db.adoption.plan import Statement, catalog_after_expand, plan_statements
from campaign_model.db.adoption.quarantine import CREATE_QUARANTINE
from campaign_model.db.adoption.repair import Repair, UndecidedError
from campaign_model.db.adoption.report import AdoptionRefused, AdoptReport, Verdict
from campaign_model.db.adoption.script import write_script
from campaign_model.db.adoption.session import OnProgress, Session, open_session
from campaign_model.db.engine import prepare_engine
from campaign_model.db.revisions import stamp, upgrade
from campaign_model.db.setup import SetupError
from campaign_model.db.system_templates import SyncReport, sync_presets
from campaign_model.store.tables import HostTables

__all__ = ["adopt", "sql", "verify"]


def verify(
    engine: sa.Engine, *, host: HostTables | None = None, messages: str = "messages"
) -> Verdict:
    """Say which shape a PostgreSQL database has and what it lacks. Change nothing.

    ``host`` names the host's tables, ``messages`` the table of its messages. Needs the extra
    ``migrations``. Raises :class:`SetupError` for an SQLite database.
    """
    _require_postgresql(engine)
    with engine.connect() as connection:
        inspection = inspect_database(connection, host or HostTables(), messages)
    return Verdict(inspection.shape, inspection.pending, inspection.warnings)


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
    """Bring a PostgreSQL database to the library's schema in place; keep every row.

    First look at every row. If values need a decision, raise :class:`AdoptionRefused` before any
    change. A ``dry_run`` ends here and refuses nothing. Then complete the schema and repair the
    rows while others read and write. An interrupted adoption is continued by the next one, and a
    finished one may be repeated.

    ``status_map`` translates unknown status words. ``status_rule`` says what campaigns without a
    status become: those with ``sent`` messages (by default exported), with a ``lemlist`` id
    (exported) and all others, ``otherwise`` (draft). ``quarantine`` moves values that need a
    decision into the table ``campaign_quarantine``. ``contacts_from_messages`` creates the contacts
    of campaigns that have messages but no contacts. ``on_progress(step, done, total)`` and
    ``on_finding(finding)`` are called as the adoption goes on.

    Stop the workers of an older engine first. Raises :class:`SetupError` if the database cannot be
    adopted or stays busy, and ``ValueError`` for an unknown status. Needs the extra ``migrations``,
    and the rights of the tables' owner.
    """
    options = Options.from_arguments(
        status_map or {},
        status_rule or {},
        quarantine=quarantine,
        contacts_from_messages=contacts_from_messages,
    )
    _require_postgresql(engine)
    with open_session(engine, on_progress) as session:
        adoption = _Adoption(session, host or HostTables(), messages, options)
        return adoption.run(Tally(options, on_finding), dry_run=dry_run)


def sql(
    source: str | sa.Engine, *, host: HostTables | None = None, messages: str = "messages"
) -> str:
    """Write an adoption as plain SQL for psql.

    ``source`` is the shape of the database (``empty``, ``bare`` or ``extended``, with keys named as
    PostgreSQL names them), or an engine to inspect. Raises ``ValueError`` for another shape, and
    :class:`SetupError` for a database that cannot be adopted. Needs the extra ``migrations``.
    """
    host = host or HostTables()
    recount = True
    if isinstance(source, sa.Engine):
        _require_postgresql(source)
        with source.connect() as connection:
            inspection = inspect_database(connection, host, messages)
        if inspection.shape in {"newer", "outdated"} or inspection.obstacles:
            raise SetupError("; ".join(inspection.pending))
        description = "as it was found"
        tables, plan, recount = inspection.tables, inspection.plan, not inspection.is_stamped
    else:
        description = f'of the shape "{source}"'
        tables = build_shape(source, host, messages)
        plan = plan_statements(tables, host)
    before = LegacyDatabase(tables, host, messages, Options(), recount=recount)
    after = attrs.evolve(before, tables=catalog_after_expand(tables, host))
    return write_script(description, plan, before, after)


def _require_postgresql(engine: sa.Engine) -> None:
    """Raise :class:`SetupError` for an SQLite engine."""
    if prepare_engine(engine).dialect.name != "postgresql":
        raise SetupError(
            "adoption is for PostgreSQL; db.init (campaign-model db init) builds a fresh SQLite "
            "database"
        )


class _Adoption:
    """One adoption, from the inspection to the recorded version."""

    def __init__(self, session: Session, host: HostTables, messages: str, options: Options) -> None:
        self.session = session
        self.host = host
        self.messages = messages
        self.options = options

    def run(self, tally: Tally, *, dry_run: bool) -> AdoptReport:
        """Run all steps; a dry run ends after the audit."""
        inspection = self._inspect()
        if inspection.shape not in {"empty", "current", "outdated"}:
            audit_rows(self.session, self._describe(inspection), tally)
        report = _build_report(tally, inspection)
        if dry_run:
            return report
        if report.refused:
            raise AdoptionRefused(report)
        if inspection.shape not in {"current", "outdated"}:
            try:
                self._adopt(inspection)
            except sa.exc.IntegrityError as error:
                database_message = " ".join(str(error.orig).split())
                raise SetupError(
                    f"a constraint of your own prevents the adoption ({database_message}); change "
                    "the constraint or the row and adopt again, which continues from here"
                ) from error
        return attrs.evolve(report, presets=self._record_version(inspection))

    def _adopt(self, inspection: Inspection) -> None:
        """Complete the schema and repair the rows: everything but recording the version."""
        if self.options.quarantine:
            self.session.run_statement(Statement(CREATE_QUARANTINE))

        # 1. Expand: add tables and columns. Old readers and writers notice nothing.
        self._run_statements("schema", inspection.plan.expand)

        inspection = self._inspect()
        database = self._describe(inspection)
        repair = Repair(self.session, database)
        try:
            # 2. Repair every row whose marker column is NULL or that breaks a constraint.
            repair.repair_rows("rows")

            # 3. Enforce: from now on no writer can add a row that breaks a constraint. Then repair
            # the rows that writers have added in the meantime.
            self._run_statements("keys", inspection.plan.enforce)
            repair.repair_rows("late rows")

            # 4. Validate all rows: run what a new plan still has.
            self._run_statements("checks", self._inspect().plan.statements)
        except (UndecidedError, sa.exc.IntegrityError):
            # A writer may have added a value that needs a decision.
            tally = Tally(self.options, None)
            audit_rows(self.session, database, tally)
            report = _build_report(tally, self._inspect())
            if report.refused:
                raise AdoptionRefused(report) from None
            raise

        # 5. Recount the totals of campaigns whose contacts have changed since their repair.
        if database.recount:
            repair.recount_drifted()

    def _inspect(self) -> Inspection:
        """Inspect the database. Raise :class:`SetupError` if it cannot be adopted."""
        inspection = inspect_database(self.session.use_transactions(), self.host, self.messages)
        if inspection.shape == "newer" or inspection.obstacles:
            raise SetupError("; ".join(inspection.pending))
        return inspection

    def _describe(self, inspection: Inspection) -> LegacyDatabase:
        return LegacyDatabase(
            inspection.tables,
            self.host,
            self.messages,
            self.options,
            inspection.references,
            recount=not inspection.is_stamped,
        )

    def _run_statements(self, step: str, statements: Sequence[Statement]) -> None:
        for number, statement in enumerate(statements):
            self.session.report_progress(step, number, len(statements))
            self.session.run_statement(statement)
        if statements:
            self.session.report_progress(step, len(statements), len(statements))

    def _record_version(self, inspection: Inspection) -> SyncReport:
        """Record the version and sync the system templates, in one transaction."""
        connection = self.session.connection

        def work() -> SyncReport:
            if inspection.shape == "outdated":
                upgrade(connection, attrs.asdict(self.host))
            elif not inspection.is_stamped:
                stamp(connection)
            return sync_presets(connection)

        return self.session.run_in_transaction(work)


def _build_report(tally: Tally, inspection: Inspection) -> AdoptReport:
    return AdoptReport.from_tally(
        tally, inspection.shape, inspection.missing_statements, inspection.warnings
    )
