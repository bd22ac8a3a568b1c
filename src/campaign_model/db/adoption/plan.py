"""The schema statements that an adoption has to run, planned from a catalog.

``plan_statements`` compares a catalog with the expected schema and returns a :class:`Plan`, which
is empty for a complete schema. Every run plans anew, so an interrupted adoption continues where it
ended.

No statement rewrites a table, and no statement holds an ACCESS EXCLUSIVE lock while it reads one:
constraints arrive NOT VALID and are validated later, indexes are built CONCURRENTLY.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import attrs

from campaign_model.db.adoption import catalog
from campaign_model.db.adoption.catalog import Catalog
from campaign_model.db.schema import (
    HOST_KEY,
    ExpectedColumn,
    ExpectedConstraint,
    ExpectedTable,
    expected_tables,
    quote,
)
from campaign_model.store.tables import HostTables

__all__ = [
    "MARKERS",
    "Plan",
    "Statement",
    "catalog_after_expand",
    "plan_statements",
    "value_when_added",
]

MARKERS = {"campaigns": "version", "campaign_contacts": "rank", "campaign_templates": "version"}
"""For each table, a column that adoption adds and that is NULL until a row has been repaired."""

_ADDED_AS_NULL = {*MARKERS.items(), ("campaigns", "status")}
"""Columns that adoption adds without a value, because a repair decides on it row by row."""

_MAX_IDENTIFIER = 63


@attrs.frozen
class Statement:
    """One schema statement.

    A ``concurrent`` one runs outside of a transaction and may wait for other transactions. ``undo``
    removes what a failed statement leaves behind. ``lint_exceptions`` maps rules of the linter
    squawk to the reason why they do not apply.
    """

    sql: str
    concurrent: bool = False
    undo: str | None = None
    lint_exceptions: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Plan:
    """The missing statements, in three phases that run in this order.

    ``expand`` adds tables and columns; old writers notice nothing, and rows can then be repaired.
    ``enforce`` adds the keys and constraints, NOT VALID; from then on no writer can add a row that
    breaks them. ``validate`` checks the old rows, and needs all of them repaired.
    """

    expand: tuple[Statement, ...] = ()
    enforce: tuple[Statement, ...] = ()
    validate: tuple[Statement, ...] = ()

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The statements of all phases, in order."""
        return (*self.expand, *self.enforce, *self.validate)


def plan_statements(
    present: Catalog, host: HostTables, spellings: Mapping[str, str] | None = None
) -> Plan:
    """Plan the statements that turn the tables in ``present`` into the library's schema.

    ``spellings`` gives the server's spelling of the library's constraints and indexes, by name.
    Without it, an index with a name of the library counts as correct.
    """
    table_plans = [
        *(_plan_host_table(name, present[name]) for name in (host.owners, host.contacts)),
        *(
            _plan_table(name, expected, present.get(name), spellings or {})
            for name, expected in expected_tables(host).items()
        ),
    ]

    def gather(*steps: str) -> tuple[Statement, ...]:
        """Collect each step of every table before the next step of any table."""
        return tuple(
            itertools.chain.from_iterable(
                getattr(table_plan, step)() for step in steps for table_plan in table_plans
            )
        )

    return Plan(
        expand=gather(
            "create_table",
            "rename_constraints",
            "widen_columns",
            "add_columns",
            "set_defaults",
            "set_storage_options",
        ),
        enforce=gather("drop_incorrect", "add_unique_keys", "add_foreign_keys_and_checks"),
        validate=gather(
            "validate_constraints",
            "set_not_null",
            "drop_not_null_check",
            "drop_cascading_keys",
            "create_indexes",
        ),
    )


def value_when_added(table: str, name: str, column: ExpectedColumn) -> str | None:
    """Return the SQL of the value that old rows get when the column is added; ``None`` is NULL.

    A constant default costs nothing. A computed one would rewrite the table, so old rows get NULL.
    """
    computed = column.default is None or column.default.endswith("()")
    return None if computed or (table, name) in _ADDED_AS_NULL else column.default


def catalog_after_expand(present: Catalog, host: HostTables) -> Catalog:
    """Return the catalog after the phase ``expand``, as far as the repairs need it."""
    tables = dict(present)
    for name, expected in expected_tables(host).items():
        table = present.get(name, catalog.Table({}))
        added = {
            column_name: catalog.Column(column.type)
            for column_name, column in expected.columns.items()
        }
        tables[name] = attrs.evolve(table, columns={**added, **table.columns})
    return tables


@attrs.frozen
class _TablePlan:
    """The statements for one table. Each public method is a step and yields its statements.

    ``present`` is ``None`` if the table is missing. It has renamed constraints under their new
    names. ``definitions`` are the definitions of constraints and indexes to compare with.
    ``nullable`` are columns that must become NOT NULL. ``renamed`` maps old to new names of
    constraints that are correct but have another name.
    """

    name: str
    expected: ExpectedTable
    present: catalog.Table | None
    definitions: Mapping[str, str]
    nullable: Sequence[str] = ()
    renamed: Mapping[str, str] = attrs.field(factory=dict)

    # Phase: expand.

    def create_table(self) -> Iterator[Statement]:
        if self.present is None:
            yield Statement(self.expected.create)

    def rename_constraints(self) -> Iterator[Statement]:
        for old, new in self.renamed.items():
            yield self._alter(f"RENAME CONSTRAINT {quote(old)} TO {quote(new)}")

    def widen_columns(self) -> Iterator[Statement]:
        for name, expected, present in self._shared_columns():
            if present.type != expected.type:
                yield self._alter(
                    f"ALTER COLUMN {name} TYPE {expected.type}",
                    changing_column_type="dropping a limit neither rewrites nor reads the table",
                )

    def add_columns(self) -> Iterator[Statement]:
        """Add columns with a constant default, or NULL with the default for later rows only."""
        changes = []
        for name, column in self.expected.columns.items():
            if self.present is None or name in self.present.columns:
                continue
            if value_when_added(self.name, name, column) is not None:
                changes.append(f"ADD COLUMN {column.sql}")
                continue
            changes.append(f"ADD COLUMN {name} {column.type}")
            if column.default is not None:
                changes.append(f"ALTER COLUMN {name} SET DEFAULT {column.default}")
        if changes:
            yield self._alter(*changes)

    def set_defaults(self) -> Iterator[Statement]:
        changes = [
            f"ALTER COLUMN {name} SET DEFAULT {expected.default}"
            for name, expected, present in self._shared_columns()
            if expected.default is not None and present.default != expected.default
        ]
        if changes:
            yield self._alter(*changes)

    def set_storage_options(self) -> Iterator[Statement]:
        """Set options such as fillfactor, which apply to pages that are written from now on."""
        if self.present is not None:
            missing = sorted({*self.expected.options} - {*self.present.options})
            if missing:
                yield self._alter(f"SET ({', '.join(missing)})")

    # Phase: enforce.

    def drop_incorrect(self) -> Iterator[Statement]:
        """Drop what has a name of the library but another definition, and invalid indexes.

        An interrupted CREATE INDEX CONCURRENTLY leaves an invalid index.
        """
        if self.present is None:
            return
        for name in self.expected.constraints:
            if name in self.present.constraints and self._correct_constraint(name) is None:
                yield self._drop_constraint(name, "a correct one is added again")
        for name, index in self.present.indexes.items():
            is_other_index = name in self.expected.indexes and not self._has_expected_definition(
                name, index
            )
            if is_other_index or (name in self._library_names() and not index.valid):
                yield Statement(_drop_index(name), concurrent=True)

    def add_unique_keys(self) -> Iterator[Statement]:
        """Build the index of each key CONCURRENTLY, then make it the key."""
        for name, constraint in self._missing_constraints("p", "u"):
            if not self._has_index(name):
                columns = ", ".join(constraint.columns)
                yield _create_index(
                    name,
                    f"CREATE UNIQUE INDEX CONCURRENTLY {quote(name)}"
                    f" ON {quote(self.name)} ({columns})",
                )
            kind = "PRIMARY KEY" if constraint.kind == "p" else "UNIQUE"
            yield self._alter(f"ADD CONSTRAINT {quote(name)} {kind} USING INDEX {quote(name)}")

    def add_foreign_keys_and_checks(self) -> Iterator[Statement]:
        for name, constraint in self._missing_constraints("f", "c"):
            yield self._alter(f"ADD CONSTRAINT {quote(name)} {constraint.sql} NOT VALID")

    # Phase: validate.

    def validate_constraints(self) -> Iterator[Statement]:
        added_not_valid = "f" if self.present is None else "fc"
        for name, constraint in self.expected.constraints.items():
            present = self._correct_constraint(name)
            if constraint.kind in added_not_valid and not (present and present.valid):
                yield self._alter(f"VALIDATE CONSTRAINT {quote(name)}")

    def set_not_null(self) -> Iterator[Statement]:
        changes = [f"ALTER COLUMN {name} SET NOT NULL" for name in self.nullable]
        if changes:
            yield self._alter(*changes)

    def drop_not_null_check(self) -> Iterator[Statement]:
        name = _not_null_check(self.name)
        if self.nullable or (self.present and name in self.present.constraints):
            yield self._drop_constraint(name, "the columns are NOT NULL now")

    def drop_cascading_keys(self) -> Iterator[Statement]:
        """Drop foreign keys that delete or change the library's rows.

        The library's own keys, which refuse the deletion, replace them.
        """
        foreign_keys = [
            {*constraint.columns}
            for constraint in self.expected.constraints.values()
            if constraint.kind == "f"
        ]
        for name, constraint in self.present.constraints.items() if self.present else ():
            replaced = any({*constraint.columns} <= columns for columns in foreign_keys)
            if constraint.cascades and replaced and name not in self.expected.constraints:
                yield self._drop_constraint(name, "a key of the library replaces it")

    def create_indexes(self) -> Iterator[Statement]:
        for name, create in self.expected.indexes.items():
            if not self._has_index(name):
                yield _create_index(name, create)

    # Helpers.

    def _alter(self, *changes: str, **lint_exceptions: str) -> Statement:
        lines = ",\n    ".join(changes)
        return Statement(
            f"ALTER TABLE {quote(self.name)} {lines}",
            lint_exceptions={
                rule.replace("_", "-"): reason for rule, reason in lint_exceptions.items()
            },
        )

    def _drop_constraint(self, name: str, reason: str) -> Statement:
        return self._alter(f"DROP CONSTRAINT {quote(name)}", ban_drop_constraint=reason)

    def _shared_columns(self) -> Iterator[tuple[str, ExpectedColumn, catalog.Column]]:
        """Yield the columns that are both expected and present."""
        for name, expected in self.expected.columns.items():
            if self.present is not None and name in self.present.columns:
                yield name, expected, self.present.columns[name]

    def _library_names(self) -> set[str]:
        return {*self.expected.constraints, *self.expected.indexes}

    def _correct_constraint(self, name: str) -> catalog.Constraint | None:
        """Return the constraint of that name if its definition is correct; it may be NOT VALID."""
        constraint = self.present.constraints.get(name) if self.present else None
        return (
            constraint if constraint and self._has_expected_definition(name, constraint) else None
        )

    def _missing_constraints(self, *kinds: str) -> Iterator[tuple[str, ExpectedConstraint]]:
        for name, constraint in self.expected.constraints.items():
            # CREATE TABLE creates all constraints but the foreign keys.
            created = self.present is None and constraint.kind != "f"
            if constraint.kind in kinds and not created and not self._correct_constraint(name):
                yield name, constraint

    def _has_index(self, name: str) -> bool:
        """Return True if the index of that name, or of that unique key, is there and correct."""
        index = self.present.indexes.get(name) if self.present else None
        if index is None or not index.valid:
            return False
        return name in self.expected.constraints or self._has_expected_definition(name, index)

    def _has_expected_definition(self, name: str, part: catalog.Constraint | catalog.Index) -> bool:
        definition = self.definitions.get(name)
        return definition is None or _is_same_sql(part.definition, definition)


def _plan_table(
    name: str,
    expected: ExpectedTable,
    present: catalog.Table | None,
    spellings: Mapping[str, str],
) -> _TablePlan:
    """Plan a table of the library."""
    nullable = [
        column_name
        for column_name, column in expected.columns.items()
        if present is not None
        and column.not_null
        and not _is_not_null_after_expand(name, column_name, column, present)
    ]
    if nullable:
        helper = {_not_null_check(name): _not_null_constraint(nullable)}
        expected = attrs.evolve(expected, constraints={**expected.constraints, **helper})
    definitions = {
        constraint_name: constraint.sql
        for constraint_name, constraint in expected.constraints.items()
    }
    library_names = {*expected.constraints, *expected.indexes}
    definitions |= {part: sql for part, sql in spellings.items() if part in library_names}
    if present is None:
        return _TablePlan(name, expected, None, definitions)
    renamed = {}
    for new in expected.constraints.keys() - present.constraints.keys():
        for old, constraint in present.constraints.items():
            is_correct = constraint.valid and _is_same_sql(constraint.definition, definitions[new])
            if is_correct and old not in library_names:
                renamed[old] = new
                break  # A second constraint of the same definition keeps its name.
    constraints = {
        renamed.get(old, old): constraint for old, constraint in present.constraints.items()
    }
    present = attrs.evolve(present, constraints=constraints)
    return _TablePlan(name, expected, present, definitions, nullable, renamed)


def _is_not_null_after_expand(
    table: str, name: str, column: ExpectedColumn, present: catalog.Table
) -> bool:
    if name in present.columns:
        return present.columns[name].not_null
    return value_when_added(table, name, column) is not None


def _not_null_check(table: str) -> str:
    """Return the name of a temporary CHECK.

    Once it is valid, SET NOT NULL need not read the table under its lock.
    """
    return f"ck_{table}_not_null"


def _not_null_constraint(columns: Sequence[str]) -> ExpectedConstraint:
    """Return the CHECK in the server's spelling, so that the next run finds it again."""
    condition = " AND ".join(f"({name} IS NOT NULL)" for name in columns)
    if len(columns) > 1:
        condition = f"({condition})"
    return ExpectedConstraint("c", (), f"CHECK ({condition})")


def _plan_host_table(name: str, present: catalog.Table) -> _TablePlan:
    """Plan a table of the host: it needs only the unique key that the library's keys refer to."""
    key = f"uq_{name}_{'_'.join(HOST_KEY)}"[:_MAX_IDENTIFIER]
    has_other_index = any(
        index_name != key
        and {*index.columns} == {*HOST_KEY}
        and index.unique
        and index.valid
        and not index.partial
        for index_name, index in present.indexes.items()
    )
    if has_other_index:
        return _TablePlan(name, ExpectedTable(), present, {})
    constraint = ExpectedConstraint("u", HOST_KEY, f"UNIQUE ({', '.join(HOST_KEY)})")
    expected = ExpectedTable(constraints={key: constraint})
    return _TablePlan(name, expected, present, {key: constraint.sql})


def _create_index(name: str, create: str) -> Statement:
    return Statement(create, concurrent=True, undo=_drop_index(name))


def _drop_index(name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quote(name)}"


def _is_same_sql(one: str, other: str) -> bool:
    """Compare two definitions without their white space."""
    return "".join(one.split()) == "".join(other.split())
