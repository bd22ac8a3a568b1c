"""Row-level security: PostgreSQL itself keeps the rows of tenants apart (``db rls``).

:func:`install_row_security` adds policies (conditions on rows) to every table of the library,
:func:`remove_row_security` drops them, and :func:`read_row_security` says for each table what is
missing. The tables of the host are not changed.

The policies compare ``tenant_id`` with the setting ``campaign_model.tenant_id`` of the transaction,
which :mod:`campaign_model.store.tenant_setting` sets. Invariant: without a valid setting, a role
that the policies bind reads no row and writes none. The policies also bind the tables' owner
(``FORCE ROW LEVEL SECURITY``). They do not bind superusers and roles with BYPASSRLS.

Under such a role, a function that acts across tenants would see only a part of the rows. It calls
:func:`campaign_model.db.setup.require_all_rows` first, which refuses a role that policies bind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import attrs
import sqlalchemy as sa

from campaign_model._answer import Answer
from campaign_model.db.adoption.legacy_database import QUARANTINE
from campaign_model.db.adoption.tolerance import TOLERATED_WRITES_TABLE
from campaign_model.db.engine import begin_setup
from campaign_model.db.revisions import VERSION_TABLE
from campaign_model.db.schema import OUTBOX, quote
from campaign_model.db.setup import (
    SetupError,
    change_tables,
    require_tables,
    require_usable_options,
    write_plain_names,
)
from campaign_model.store.tables import campaign_templates, metadata
from campaign_model.store.tenant_setting import TENANT_SETTING

_PREFIX = "campaign_model_"
"""The prefix of the names of the library's policies."""

# The expressions are written as PostgreSQL prints them, so that `_read_tables` can compare them.
# The setting is read without a default: a transaction without a tenant gets an error, and not an
# empty answer. The expressions contain no subquery and no function of the library: a sharded
# PostgreSQL refuses both.
_TENANT = f"(current_setting('{TENANT_SETTING}'::text))::uuid"
_OWN_ROW = f"(tenant_id = {_TENANT})"
_SYSTEM_ROW = f"((tenant_id IS NULL) AND ({_TENANT} IS NOT NULL))"


@attrs.frozen
class _Policy:
    """A policy of a table.

    ``command`` is the kind of statement that the policy is about, or ALL. ``using`` is the
    condition on the rows that such a statement finds, ``check`` the one on the rows that it writes.
    The library's policies are permissive and for all roles.
    """

    name: str
    command: str
    using: str | None
    check: str | None = None
    is_permissive: bool = True
    is_for_all_roles: bool = True

    def create(self, table: str) -> str:
        """Write the statement that creates the policy."""
        using = f" USING ({self.using})" if self.using else ""
        check = f" WITH CHECK ({self.check})" if self.check else ""
        return f"CREATE POLICY {self.name} ON {quote(table)} FOR {self.command}{using}{check}"


_OF_TENANT = _Policy(f"{_PREFIX}tenant", "ALL", _OWN_ROW, _OWN_ROW)

_POLICIES: dict[str, tuple[_Policy, ...]] = {
    **dict.fromkeys(metadata.tables, (_OF_TENANT,)),
    campaign_templates.name: (_OF_TENANT, _Policy(f"{_PREFIX}system", "SELECT", _SYSTEM_ROW)),
    # The outbox's trigger writes with the rights of the owner, in the transaction of a tenant.
    OUTBOX: (_OF_TENANT,),
    # Triggers insert a row for each tolerated write, in a transaction of any tenant. The rows
    # contain no data of tenants.
    TOLERATED_WRITES_TABLE: (_Policy(f"{_PREFIX}count", "INSERT", None, "true"),),
    # The quarantine has values of all tenants and no column tenant_id. Only operators need it.
    QUARANTINE: (_Policy(f"{_PREFIX}operators", "ALL", "false", "false"),),
    # Everybody may read which version the schema has.
    VERSION_TABLE: (_Policy(f"{_PREFIX}version", "SELECT", "true"),),
}
"""The policies of each table of the library. The last four tables exist only in some databases."""

TABLES = frozenset(_POLICIES)
"""The names of all tables that get policies."""

_COMMANDS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}
"""The name of each command, by its letter in ``pg_policy``."""

# One row for each policy of the tables ``names``, and one row for a table without a policy. Only
# tables that unqualified SQL would find.
_SELECT_POLICIES = sa.text(
    """
    SELECT relname, relrowsecurity, relforcerowsecurity,
           polname, CAST(polcmd AS text) AS command,
           polpermissive AS is_permissive,
           polroles = '{0}' AS is_for_all_roles,
           pg_get_expr(polqual, polrelid) AS using,
           pg_get_expr(polwithcheck, polrelid) AS check
    FROM pg_class
    LEFT JOIN pg_policy ON polrelid = pg_class.oid
    WHERE relname = ANY(CAST(:names AS text[]))
      AND relkind IN ('r', 'p')
      AND pg_table_is_visible(pg_class.oid)
    ORDER BY relname, polname
    """
)


@attrs.frozen
class TableSecurity(Answer):
    """Row-level security of one table of the library.

    ``policies`` are the names of the library's policies that the table has. ``missing`` has a
    sentence for each thing that is missing or that lets more rows through than the library's
    policies do. It is empty if the table is secure.
    """

    table: str
    policies: tuple[str, ...]
    missing: tuple[str, ...]


@attrs.frozen
class RowSecurity(Answer):
    """Row-level security of the library's tables that a database has, sorted by name."""

    tables: tuple[TableSecurity, ...]

    @property
    def is_complete(self) -> bool:
        """Whether each table has row-level security, and nothing is missing."""
        return not any(table.missing for table in self.tables)


@attrs.define
class _Table:
    """A table of the library, as the catalog describes it."""

    name: str
    is_enabled: bool
    is_forced: bool
    own_policies: list[_Policy] = attrs.field(factory=list)
    other_policies: list[_Policy] = attrs.field(factory=list)

    def find_faults(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield a sentence for each fault, and the statements that mend it, if the library can."""
        alter = f"ALTER TABLE {quote(self.name)}"
        if not self.is_enabled:
            yield "row-level security is not enabled", (f"{alter} ENABLE ROW LEVEL SECURITY",)
        if not self.is_forced:
            yield (
                "row-level security is not forced, so it does not bind the table's owner",
                (f"{alter} FORCE ROW LEVEL SECURITY",),
            )
        create = {policy.name: policy.create(self.name) for policy in _POLICIES[self.name]}
        present = {policy.name for policy in self.own_policies}
        for name, statement in create.items():
            if name not in present:
                yield f"there is no policy {name}", (statement,)
        for policy in self.own_policies:
            if policy not in _POLICIES[self.name]:
                replacement = (create[policy.name],) if policy.name in create else ()
                yield (
                    f"the policy {policy.name} is not as this version of the library writes it",
                    (self._drop(policy), *replacement),
                )
        for policy in self.other_policies:
            if policy.is_permissive:
                sentence = (
                    f"the policy {policy.name} is not the library's, and may let rows of other "
                    "tenants through; drop it, or make it AS RESTRICTIVE"
                )
                yield sentence, ()

    def plan_install(self) -> Iterator[str]:
        """Yield the statements that add what is missing, and replace policies that are wrong."""
        for _, statements in self.find_faults():
            yield from statements

    def plan_removal(self) -> Iterator[str]:
        """Yield the statements that drop the library's policies.

        A table that has policies of the host keeps row-level security.
        """
        yield from map(self._drop, self.own_policies)
        if self.own_policies and not self.other_policies:
            yield f"ALTER TABLE {quote(self.name)} NO FORCE ROW LEVEL SECURITY"
            yield f"ALTER TABLE {quote(self.name)} DISABLE ROW LEVEL SECURITY"

    def _drop(self, policy: _Policy) -> str:
        return f"DROP POLICY {quote(policy.name)} ON {quote(self.name)}"


def install_row_security(engine: sa.Engine, *, dry_run: bool = False) -> tuple[str, ...]:
    """Add row-level security to every table of the library; return the executed statements.

    With ``dry_run``, execute nothing and return the statements. All statements run in one
    transaction. While another session keeps a table locked, they are rolled back and tried again
    for a minute. A second call changes nothing. Call the function again after an upgrade of the
    library or an adoption, because both may add tables.

    The role needs the rights of the tables' owner. Raises :class:`SetupError` for an SQLite
    database, if a table of the library is missing, and if a table is still locked after a minute.
    """
    return _change(engine, _Table.plan_install, dry_run=dry_run)


def remove_row_security(engine: sa.Engine, *, dry_run: bool = False) -> tuple[str, ...]:
    """Drop the library's policies; return the executed statements.

    A table that has policies of the host keeps row-level security. The arguments and errors are
    those of :func:`install_row_security`.
    """
    return _change(engine, _Table.plan_removal, dry_run=dry_run)


def read_row_security(bind: sa.Engine | sa.Connection) -> RowSecurity:
    """Read which policies each of the library's tables has, and what is missing.

    ``bind`` is an engine or a connection. Any role may call this function. Raises
    :class:`SetupError` for an SQLite database, and if a table of the library is missing.
    """
    require_usable_options(bind)
    _require_postgresql(bind.dialect)
    with nullcontext(bind) if isinstance(bind, sa.Connection) else bind.connect() as connection:
        tables = _read_tables(connection)
    return RowSecurity(
        tuple(
            TableSecurity(
                table.name,
                tuple(policy.name for policy in table.own_policies),
                tuple(sentence for sentence, _ in table.find_faults()),
            )
            for table in tables
        )
    )


def secure_new_table(connection: sa.Connection, name: str) -> None:
    """Add row-level security to a new table, if the other tables of the library have it."""
    tables = {table.name: table for table in _read_tables(connection)}
    if any(table.own_policies for table in tables.values()):
        _execute_all(connection, tables[name].plan_install())


def _change(
    engine: sa.Engine, plan: Callable[[_Table], Iterator[str]], *, dry_run: bool
) -> tuple[str, ...]:
    """Execute the statements that ``plan`` yields for the tables, unless ``dry_run``; return them.

    They run in one transaction.
    """

    def run_plan(connection: sa.Connection) -> tuple[str, ...]:
        statements = tuple(sql for table in _read_tables(connection) for sql in plan(table))
        if not dry_run:
            _execute_all(connection, statements)
        return statements

    _require_postgresql(engine.dialect)
    with begin_setup(engine, only_reads=dry_run) as connection:
        return change_tables(connection, run_plan)


def _execute_all(connection: sa.Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def _read_tables(connection: sa.Connection) -> list[_Table]:
    """Read the library's tables and their policies. Raise :class:`SetupError` if one is missing."""
    require_tables(connection, metadata.tables)
    write_plain_names(connection)
    tables: dict[str, _Table] = {}
    for row in connection.execute(_SELECT_POLICIES, {"names": [*TABLES]}):
        new_table = _Table(row.relname, row.relrowsecurity, row.relforcerowsecurity)
        table = tables.setdefault(row.relname, new_table)
        if row.polname is not None:
            policy = _Policy(
                *(row.polname, _COMMANDS[row.command], row.using, row.check),
                *(row.is_permissive, row.is_for_all_roles),
            )
            is_own = policy.name.startswith(_PREFIX)
            (table.own_policies if is_own else table.other_policies).append(policy)
    return [*tables.values()]


def _require_postgresql(dialect: sa.Dialect) -> None:
    if dialect.name != "postgresql":
        raise SetupError("row-level security is a feature of PostgreSQL; SQLite does not have it")
