"""``adopt``, ``enforce``, ``verify`` and ``sql``: the steps of an adoption, in their order.

The package's docstring tells the whole protocol.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import sqlalchemy as sa

from campaign_model.db.adoption.audit import audit_rows, read_tolerated_writes
from campaign_model.db.adoption.catalog import read_distributed_tables
from campaign_model.db.adoption.inspection import Inspection, inspect_database
from campaign_model.db.adoption.legacy_database import (
    CREATE_QUARANTINE,
    QUARANTINE,
    STATUS_RULE,
    LegacyDatabase,
    Options,
)
from campaign_model.db.adoption.plan import Statement
from campaign_model.db.adoption.repair import UndecidedError, repair_rows
from campaign_model.db.adoption.repair_messages import has_contact_ids
from campaign_model.db.adoption.report import AdoptionRefused, AdoptReport, OnFinding, Verdict
from campaign_model.db.adoption.script import write_empty_script, write_script
from campaign_model.db.adoption.session import OnProgress, Session, open_session
from campaign_model.db.adoption.tolerance import TOLERATED_WRITES_TABLE
from campaign_model.db.distribute import distribute_table
from campaign_model.db.engine import require_synchronous
from campaign_model.db.revisions import VERSION_TABLE, stamp, upgrade
from campaign_model.db.setup import SetupError, require_all_rows
from campaign_model.db.system_templates import SyncReport, sync_presets
from campaign_model.store.tables import HostTables, metadata


def verify(
    engine: sa.Engine, *, host: HostTables | None = None, messages: str = "messages"
) -> Verdict:
    """Say how much of the library's schema a PostgreSQL database has. Change nothing.

    ``host`` names the host's tables, ``messages`` the table of its messages. Needs the extra
    ``migrations``. Raises :class:`SetupError` for an SQLite database, and if row-level security
    hides the counts of tolerated writes from the role.
    """
    _require_postgresql(engine)
    with engine.connect() as connection:
        inspection = inspect_database(connection, host or HostTables(), messages)
        require_all_rows(connection, (TOLERATED_WRITES_TABLE,))
        tolerated = read_tolerated_writes(connection, inspection)
        distributed = read_distributed_tables(connection)
    # If Citus spreads some of the library's tables, it must spread all.
    undistributed = inspection.tables.keys() - distributed if distributed else ()
    distribute = [
        distribute_table(table) for table in metadata.sorted_tables if table.name in undistributed
    ]
    return Verdict(
        inspection.shape,
        (*inspection.pending, *distribute),
        inspection.warnings,
        tolerated,
        bool(distributed),
    )


def adopt(
    engine: sa.Engine,
    *,
    host: HostTables | None = None,
    messages: str = "messages",
    dry_run: bool = False,
    enforce: bool = False,
    status_map: Mapping[str, str] | None = None,
    status_rule: Mapping[str, str] | None = None,
    quarantine: bool = False,
    contacts_from_messages: bool = False,
    on_progress: OnProgress | None = None,
    on_finding: OnFinding | None = None,
) -> AdoptReport:
    """Bring a PostgreSQL database to the library's schema in place; keep every row.

    First read every row. If values need a decision, raise :class:`AdoptionRefused` before any
    change. A ``dry_run`` ends here, and returns the report instead of raising. Then complete the
    schema and repair the rows while other programs read and write. If an adoption is interrupted,
    the next one continues it. A finished adoption may be repeated.

    Afterwards, services without this library can go on writing: no write is refused that was not
    refused before, unless it breaks a key. :func:`enforce` ends this.

    * ``enforce`` also does what :func:`enforce` does.
    * ``host`` names the host's tables, ``messages`` the host's table of messages.
    * ``status_map`` translates unknown status words.
    * ``status_rule`` says what campaigns without a status become: those with ``sent`` messages (by
      default exported), those with a ``lemlist`` id (exported) and all others, ``otherwise``
      (draft).
    * ``quarantine`` moves values that need a decision into the table ``campaign_quarantine``.
    * ``contacts_from_messages`` creates the contacts of campaigns that have messages but no
      contacts.
    * ``on_progress(step, done, total)`` is called as the adoption goes on, and
      ``on_finding(finding)`` for each value that it repairs or that needs a decision.

    Before an adoption, stop all workers that generate messages with other code than this library.
    Raises :class:`SetupError` if the database cannot be adopted or stays busy, and
    :class:`InvalidArgument` for an unknown status. Needs the extra ``migrations``, and the rights
    of the tables' owner.
    """
    options = Options(
        status_map or {},
        {**STATUS_RULE, **(status_rule or {})},
        quarantine,
        contacts_from_messages,
    )
    _require_postgresql(engine)
    with open_session(engine, on_progress, dry_run=dry_run) as session:
        adoption = _Adoption(session, host or HostTables(), messages, options, enforce)
        return adoption.run(on_finding, dry_run=dry_run)


def enforce(
    engine: sa.Engine,
    *,
    host: HostTables | None = None,
    messages: str = "messages",
    dry_run: bool = False,
    status_map: Mapping[str, str] | None = None,
    quarantine: bool = False,
    on_progress: OnProgress | None = None,
    on_finding: OnFinding | None = None,
) -> AdoptReport:
    """Add the constraints that :func:`adopt` leaves out; repair the rows that break them.

    Call it once no service without this library writes into the tables any more. ``tolerated`` of
    the report of a ``dry_run`` counts, by table and day, the writes since the adoption that would
    have been refused. The workers of this library may run meanwhile.

    The arguments, errors and the report are those of :func:`adopt`. Raises :class:`SetupError` if
    the database has not been adopted.
    """
    options = Options(status_map or {}, quarantine=quarantine)
    _require_postgresql(engine)
    with open_session(engine, on_progress, dry_run=dry_run) as session:
        adoption = _Adoption(session, host or HostTables(), messages, options, enforce=True)
        return adoption.run(on_finding, dry_run=dry_run, must_be_adopted=True)


def sql(
    engine: sa.Engine | None = None,
    *,
    host: HostTables | None = None,
    messages: str = "messages",
    enforce: bool = False,
) -> str:
    """Write an adoption as plain SQL for psql.

    The SQL is for the database of ``engine``, which this call inspects: that of :func:`adopt`, or
    with ``enforce`` that of :func:`enforce`, too. Without ``engine``, it is for a database that has
    only the host's tables. ``host`` names these tables, ``messages`` the host's table of messages.
    Raises :class:`SetupError` for a database that cannot be adopted. Needs the extra
    ``migrations``.
    """
    host = host or HostTables()
    if engine is None:
        return write_empty_script(host)
    _require_postgresql(engine)
    with engine.connect() as connection:
        inspection = inspect_database(connection, host, messages, enforce=enforce)
    if inspection.shape == "outdated":
        raise SetupError("; ".join(inspection.pending))
    inspection.require_adoptable()
    return write_script(LegacyDatabase(inspection, Options()))


def _require_postgresql(engine: sa.Engine) -> None:
    """Raise :class:`SetupError` for SQLite, an async driver or a ``schema_translate_map``."""
    require_synchronous(engine)
    if engine.dialect.name != "postgresql":
        raise SetupError(
            "adoption is for PostgreSQL; db.init (campaign-model db init) builds a fresh SQLite "
            "database, and campaign-model db doctor examines one"
        )


@attrs.frozen
class _Adoption:
    """One adoption, from the inspection to the recorded version."""

    session: Session
    host: HostTables
    messages: str
    options: Options
    enforce: bool

    def run(
        self, on_finding: OnFinding | None, *, dry_run: bool, must_be_adopted: bool = False
    ) -> AdoptReport:
        """Read every row. Complete the schema and repair the rows, unless something is refused.

        Return the report. A dry run ends after the rows were read. ``must_be_adopted`` refuses a
        database without a recorded version of the schema.
        """
        inspection = self._inspect()
        if must_be_adopted and not inspection.has_version:
            raise SetupError(
                f"there is nothing to enforce yet in a database of the shape {inspection.shape}; "
                "adopt it first (campaign-model db adopt)"
            )
        report = self._audit(inspection, on_finding)
        if dry_run:
            return report
        if report.refused:
            raise AdoptionRefused(report)
        if not inspection.is_done:
            try:
                self._adopt(inspection)
            except sa.exc.IntegrityError as error:
                database_message = " ".join(str(error.orig).split())
                raise SetupError(
                    f"a constraint prevents the adoption ({database_message}); change the row, or "
                    "a constraint of your own, and adopt again, which continues from here"
                ) from error
        return attrs.evolve(report, presets=self._record_version(inspection))

    def _adopt(self, inspection: Inspection) -> None:
        """Complete the schema and repair the rows: everything but recording the version."""
        # 1. Add tables and columns. Old readers and writers notice nothing.
        quarantine = (Statement(CREATE_QUARANTINE),) if self.options.quarantine else ()
        self.session.run_statements("schema", (*quarantine, *inspection.plan.complete))

        database = LegacyDatabase(inspection.with_all_columns(), self.options)
        try:
            # 2. Repair every row whose marker column is NULL or that breaks a constraint.
            repair_rows(self.session, database, "rows")

            # 3. Constrain: from now on no writer can add a row that breaks a constraint of this
            # step. Then repair the rows that writers have added in the meantime.
            self.session.run_statements("keys", inspection.plan.constrain)
            repair_rows(self.session, database, "late rows")

            # 4. Validate all rows: run what a new plan still has.
            self.session.run_statements("checks", self._inspect().plan.statements)

            # 5. Count the totals again of campaigns whose contacts have changed since their repair.
            if not inspection.has_version:
                repair_rows(self.session, database, "totals")
        except (UndecidedError, sa.exc.IntegrityError):
            # A writer may have added a value that needs a decision.
            report = self._audit(self._inspect())
            if report.refused:
                raise AdoptionRefused(report) from None
            raise

    def _inspect(self) -> Inspection:
        """Inspect the database. Raise :class:`SetupError` if it cannot be adopted."""
        # The inspection says it of other tables.
        unseen_tables = (VERSION_TABLE, TOLERATED_WRITES_TABLE, QUARANTINE)
        require_all_rows(self.session.use_transactions(), unseen_tables)
        inspection = inspect_database(
            self.session.use_transactions(), self.host, self.messages, enforce=self.enforce
        )
        inspection.require_adoptable()
        messages = inspection.tables.get(self.messages)
        if self.options.contacts_from_messages and not has_contact_ids(messages):
            raise SetupError(
                f"contacts cannot be created from messages: the table {self.messages} needs a "
                "column contact_id with the ids of contacts, of the type uuid or text"
            )
        return inspection

    def _audit(self, inspection: Inspection, on_finding: OnFinding | None = None) -> AdoptReport:
        return audit_rows(self.session, inspection, self.options, on_finding)

    def _record_version(self, inspection: Inspection) -> SyncReport:
        """Upgrade the schema, or record its version, and sync the system templates.

        All this is one transaction. Return what changed in the system templates.
        """
        connection = self.session.connection

        def work() -> SyncReport:
            if inspection.shape == "outdated":
                upgrade(connection, attrs.asdict(self.host))
            elif not inspection.has_version:
                stamp(connection)
            return sync_presets(connection)

        return self.session.run_in_transaction(work)
