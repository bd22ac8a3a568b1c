"""The first step of an adoption: find out what a database has, and what an adoption has to do.

``inspect_database`` reads the catalog and returns an :class:`Inspection`. It contains the shape (a
word for how much of the library's schema the database has, explained at :class:`report.Verdict`),
the obstacles (what makes an adoption impossible), the planned statements and the warnings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
import sqlalchemy as sa

from campaign_model.db.adoption.catalog import (
    PLAIN_TABLE,
    Catalog,
    Reference,
    Table,
    keys_end_with_tenant,
    read_catalog,
    read_expected,
    read_references,
)
from campaign_model.db.adoption.host_checks import find_refused_statuses, warn_of_checks
from campaign_model.db.adoption.plan import Plan, plan_host_key, plan_statements
from campaign_model.db.adoption.tolerance import TOLERATED_WRITES_TABLE, TRIGGER
from campaign_model.db.revisions import compare_version
from campaign_model.db.schema import HOST_KEY, quote
from campaign_model.db.setup import Access, SetupError, read_access
from campaign_model.steps import MAX_VARIANTS
from campaign_model.store.connection import check_session
from campaign_model.store.tables import HostTables, check_table_name, metadata
from campaign_model.vocabulary import STANDARD

_DEFAULT_MESSAGES = "messages"
"""A database need not have this table. A table with another name was named by the operator."""

LEGACY_COLUMNS = {
    "campaigns": ("id", "tenant_id", "name"),
    "campaign_contacts": ("id", "campaign_id", "contact_id"),
    "campaign_templates": ("id", "tenant_id", "name"),
}
"""Columns that a table must have, because adoption cannot derive their values."""

_NARROWER_TYPES = {"numeric": "numeric(", "text": "character varying"}
"""Types that PostgreSQL can give to a column without rewriting the table.

Each is mapped to the beginning of the old type of such a column, such as ``numeric(10,2)``.
"""

_MESSAGE_VALUES = {
    "variant": tuple("abc"[:MAX_VARIANTS]),
    "channel": tuple(channel.name for channel in STANDARD.channels),
}
"""The values that the host may want to write into columns of its table of messages."""

_OFTEN_UPDATED = {"campaigns", "campaign_contacts", "campaign_totals"}
"""The tables that generation updates."""

_SELDOM_UPDATED = {
    *("id", "tenant_id", "campaign_id", "contact_id", "owner_id", "template_id", "shard", "rank"),
    *("name", "description", "is_active", "template_config", "generation_config"),
    *("created_at", "added_at"),
}
"""Columns that generation does not update. An index on one of the others prevents HOT updates."""

_SHAPES_WITH_VERSION = {"current", "expanded", "changed", "outdated", "newer", "unknown"}


@attrs.frozen
class Inspection:
    """What a database has, and what the library expects of it.

    ``tables`` are the tables that the database has, ``expected`` the library's tables as they
    should be. ``messages`` is the name of the host's table of messages. ``references`` are the
    columns that refer to campaign contacts. ``shape`` is explained at :class:`Verdict`. ``plan`` is
    that of one step; it is empty if ``obstacles`` make an adoption impossible. ``pending`` says
    what the database lacks, as SQL statements or sentences that say what to do.
    """

    host: HostTables
    messages: str
    shape: str
    tables: Catalog
    references: tuple[Reference, ...]
    expected: Catalog = attrs.field(factory=dict)
    plan: Plan = attrs.field(factory=Plan)
    pending: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def has_version(self) -> bool:
        """Whether an adoption or ``db.init`` has recorded a version of the library's schema.

        Without a version, no worker of this library can be running, so an adoption may count the
        totals again.
        """
        return self.shape in _SHAPES_WITH_VERSION

    @property
    def is_done(self) -> bool:
        """Whether the step has nothing to do: no statement, and no row to repair.

        An outdated database needs only the newer revisions.
        """
        return self.shape == "outdated" or (self.has_version and not self.plan.statements)

    def with_all_columns(self) -> Inspection:
        """Return an inspection whose tables have all of the library's columns.

        It is for the SQL of repairs, which runs after the phase ``complete`` of the plan. It shows
        the library's tables as they should be, so it is not for a new plan.
        """
        return attrs.evolve(self, tables={**self.tables, **self.expected})

    def require_adoptable(self) -> None:
        """Raise :class:`SetupError` if the database cannot be adopted."""
        if self.shape == "newer" or self.obstacles:
            raise SetupError("; ".join(self.pending))


def inspect_database(
    connection: sa.Connection, host: HostTables, messages: str, *, enforce: bool = False
) -> Inspection:
    """Inspect the database, and plan the step ``enforce`` or the step expand.

    ``messages`` is the name of the host's table of messages. The connection must have no open
    transaction, and has none afterwards. Raise :class:`InvalidArgument` for a name that no table
    can have, and ``ValueError`` for a driver, client encoding or date format with which texts or
    times would be misread.
    """
    check_session(connection)
    check_table_name(messages, "messages")

    # 1. Read what the database has. This function needs transactions, because ``read_expected``
    #    creates temporary tables and rolls them back.
    connection = connection.execution_options(isolation_level="READ COMMITTED")
    with connection.begin():
        access = read_access(connection)
        names = {*metadata.tables, *attrs.astuple(host), messages, TOLERATED_WRITES_TABLE}
        tables = read_catalog(connection, names)
        references = read_references(connection)
        shape = compare_version(connection) or _classify_legacy(tables)
        # The revisions of an outdated database replace its CHECKs.
        refused_statuses = (
            () if shape in {"outdated", "newer"} else (*find_refused_statuses(connection, tables),)
        )
    inspection = Inspection(host, messages, shape, tables, references)
    expand = enforced = Plan()
    if access.temporary_tables_obstacle:
        # Nothing can be compared, so the database is "current" by its recorded version only.
        shape = "unknown" if shape == "current" else shape
        obstacles: tuple[str, ...] = (access.temporary_tables_obstacle,)
        pending = _list_pending(shape, obstacles, expand, enforced)
        return attrs.evolve(inspection, shape=shape, obstacles=obstacles, pending=pending)

    # 2. Plan both steps, and see whether the schema is what its recorded version promises.
    expected = read_expected(connection, host, for_citus=keys_end_with_tenant(tables))
    obstacles = (*_find_obstacles(tables, expected, host, messages), *refused_statuses)
    if not obstacles:
        expand = plan_statements(tables, expected, host, enforce=False)
        enforced = plan_statements(tables, expected, host, enforce=True)
    if shape == "current" and (obstacles or enforced.statements):
        shape = "changed" if obstacles or expand.statements else "expanded"

    # 3. Privileges matter only if something is left to do.
    if shape not in {"current", "newer"}:
        obstacles += tuple(_find_privilege_obstacles(tables, references, host, access))
        if obstacles:
            expand = enforced = Plan()
    return attrs.evolve(
        inspection,
        shape=shape,
        expected=expected,
        plan=enforced if enforce else expand,
        pending=_list_pending(shape, obstacles, expand, enforced),
        obstacles=obstacles,
        warnings=tuple(_find_warnings(tables, expected, messages, adopting=shape != "current")),
    )


def _list_pending(
    shape: str, obstacles: tuple[str, ...], expand: Plan, enforced: Plan
) -> tuple[str, ...]:
    """List what a database lacks. The plan ``enforced`` contains all that ``expand`` does."""
    if shape == "newer":
        return ("a newer version of this library has set up this database: upgrade the library",)
    if obstacles:
        return obstacles
    if shape == "outdated":
        return ("run the newer revisions of this library: db.init",)
    if shape in _SHAPES_WITH_VERSION:
        return tuple(statement.sql for statement in enforced.statements)
    missing = (statement.sql for statement in expand.statements)
    return (*missing, "check every row: db.adopt, or first its dry run")


def _classify_legacy(tables: Catalog) -> str:
    """Return the shape of a database without a recorded version."""
    names = tables.keys() & metadata.tables.keys()
    if not names:
        return "empty"
    # No legacy database has these tables; an adoption creates them first.
    if names & {"campaign_totals", "campaign_history", "campaign_erased_claims"}:
        return "unfinished"
    if names == {"campaigns"} and "status" not in tables["campaigns"].columns:
        return "bare"
    return "extended"


def _find_obstacles(
    tables: Catalog, expected: Catalog, host: HostTables, messages: str
) -> Iterator[str]:
    """Yield a sentence for everything that makes an adoption impossible."""
    yield from find_host_obstacles(tables, host)
    if messages != _DEFAULT_MESSAGES and messages not in tables:
        yield f"there is no table {messages}; name your own table of messages with --messages"
    for name, table in tables.items():
        if name not in expected:
            continue
        if table.kind != PLAIN_TABLE:
            yield f"{name} must be a plain table, and it is not"
        for column in LEGACY_COLUMNS.get(name, ()):
            if column not in table.columns:
                yield f"{name} has no column {column}, which adoption cannot fill in"
        yield from _find_type_obstacles(name, table, expected[name])


def _find_privilege_obstacles(
    tables: Catalog, references: Iterable[Reference], host: HostTables, access: Access
) -> Iterator[str]:
    """Yield a sentence for everything that this session may not do, or does not find."""
    if access.create_obstacle:
        yield access.create_obstacle
    for name, table in tables.items():
        is_library_table = name in metadata.tables
        gets_key = name in (host.owners, host.contacts) and any(plan_host_key(name, table))
        if (is_library_table or gets_key) and not table.owned:
            yield f"the table {name} has another owner; adopt as its owner"
        if name in attrs.astuple(host) and not table.may_refer:
            yield f"foreign keys cannot refer to {name}: GRANT REFERENCES ON {quote(name)} first"
        if not table.may_read:
            yield (
                f"this role cannot read every row of {name}: GRANT SELECT ON {quote(name)}, or "
                "adopt with a role that bypasses its row-level security"
            )
        if is_library_table and table.schema != access.schema and access.schema is not None:
            yield (
                f"{name} is in the schema {table.schema}, but new tables would be created in "
                f"{access.schema}: let the search_path begin with {table.schema}"
            )
    for name in sorted({one.table_name for one in references if not one.table.columns}):
        yield (
            f"{name} refers to campaign_contacts, and adoption does not find the table: add its "
            "schema to the search_path"
        )


def find_host_obstacles(tables: Catalog, host: HostTables) -> Iterator[str]:
    """Yield a sentence for each reason why foreign keys cannot refer to the host's tables."""
    for use, name in attrs.asdict(host).items():
        table = tables.get(name)
        if table is None:
            yield f"there is no table {name}; name your own table with --{use} (HostTables)"
            continue
        if table.kind != PLAIN_TABLE:
            yield f"{name} is not a plain table, so foreign keys cannot refer to it"
        for column in ("id",) if name == host.tenants else HOST_KEY:
            if column not in table.columns:
                yield f"{name} has no column {column}, which the library's keys refer to"
            elif table.columns[column].type != "uuid":
                yield f"{name}.{column} is of type {table.columns[column].type}, not uuid"
        unique_keys = [{"id"}]
        if name != host.tenants and keys_end_with_tenant(tables):
            unique_keys.append({*HOST_KEY})
        if not any(
            index.is_key and {*index.columns} in unique_keys for index in table.indexes.values()
        ):
            yield f"{name}.id is not unique, so foreign keys cannot refer to it"


def _find_type_obstacles(name: str, table: Table, expected: Table) -> Iterator[str]:
    """Yield a sentence for each generated column, and for each type that adoption cannot change.

    It cannot change a type if PostgreSQL would rewrite the table, or if a view shows the column.
    """
    for column_name, expected_column in expected.columns.items():
        column = table.columns.get(column_name)
        if column is not None and column.generated:
            yield (
                f"{name}.{column_name} is a generated column, and this library writes it: make it "
                "a plain column, or give it another name"
            )
        type_ = expected_column.type
        if column is None or column.type == type_:
            continue
        narrower_type = _NARROWER_TYPES.get(type_)
        is_narrower = narrower_type is not None and column.type.startswith(narrower_type)
        if not is_narrower or column.type.endswith("[]"):
            yield (
                f"{name}.{column_name} is of type {column.type}; change it to {type_} first (that "
                "rewrites the table, which adoption never does)"
            )
        elif column.in_view:
            yield (
                f"a view shows {name}.{column_name}, whose type {column.type} must become "
                f"{type_}; drop the view first, and create it again afterwards"
            )


def _find_warnings(
    tables: Catalog, expected: Catalog, messages: str, *, adopting: bool
) -> Iterator[str]:
    """Yield a sentence for everything that adoption does not change but that may cause trouble.

    ``adopting`` is true if rows are still to be repaired.
    """
    if messages in tables:
        yield from _warn_of_narrow_enums(messages, tables[messages])
    if adopting and "campaigns" in tables:
        yield from _warn_of_unrecognised_sent_campaigns(messages, tables)
    yield from warn_of_checks(tables, expected)
    for name in sorted(expected.keys() & tables.keys()):
        yield from _warn_of_table(name, tables[name], expected[name], adopting=adopting)


def _warn_of_narrow_enums(messages: str, table: Table) -> Iterator[str]:
    """Warn of columns of messages whose enum lacks values that the host may want to write."""
    for name, values in _MESSAGE_VALUES.items():
        column = table.columns.get(name)
        if column is None or not column.labels:
            continue
        missing = [value for value in values if value not in column.labels]
        if missing:
            fixes = "; ".join(f"ALTER TYPE {column.type} ADD VALUE '{value}'" for value in missing)
            yield f"the enum of {messages}.{name} lacks {', '.join(missing)}: {fixes}"


def _warn_of_unrecognised_sent_campaigns(messages: str, tables: Catalog) -> Iterator[str]:
    """Warn if the messages do not say which campaigns were sent."""
    if messages not in tables:
        yield (
            f"campaigns without a status count as never sent, because there is no table {messages} "
            "(--messages names another table; --status-rule chooses the status of such campaigns)"
        )
        return
    columns = tables[messages].columns
    refers = any(
        name in columns and columns[name].type == "uuid"
        for name in ("campaign_id", "campaign_contact_id")
    )
    if not (refers and columns.keys() & {"status", "sent_at"}):
        yield (
            f"campaigns without a status count as never sent, because {messages} lacks columns: "
            "campaign_id or campaign_contact_id of the type uuid, and status or sent_at "
            "(--messages names another table; --status-rule chooses the status of such campaigns)"
        )


def _warn_of_table(name: str, table: Table, expected: Table, *, adopting: bool) -> Iterator[str]:
    """Warn of columns, triggers, options and indexes of one of the library's tables."""
    for column_name, column in table.columns.items():
        is_set = column_name in expected.columns and expected.columns[column_name].not_null
        if column.not_null and column.default is None and not is_set:
            yield (
                f"{name}.{column_name} is NOT NULL and has no default: this library cannot insert "
                "rows"
            )
    for trigger in table.triggers:
        if adopting and trigger != TRIGGER:
            yield (
                f"the trigger {trigger} on {name} does not run for repaired rows, so that "
                "updated_at stays as it was; writers wait while a batch of rows is repaired"
            )
    for option in table.options:
        if option.startswith("fillfactor=") and option not in expected.options:
            yield f"{name} has {option}; it applies only to pages written from now on"
    for index_name, index in table.indexes.items():
        updated = sorted((expected.columns.keys() & index.used_columns) - _SELDOM_UPDATED)
        if name in _OFTEN_UPDATED and updated and index_name not in expected.indexes:
            yield (
                f"the index {index_name} on {name} changes with every update of "
                f"{', '.join(updated)} (no HOT updates): drop it unless a query needs it"
            )
