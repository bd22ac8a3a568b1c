"""The schema statements that an adoption has to run.

``plan_statements`` compares the catalog of a database with that of the library's schema and returns
a :class:`Plan`, which is empty for a complete schema. Every run plans anew, so an interrupted
adoption continues where it ended.

No statement rewrites a table, and no statement holds an ACCESS EXCLUSIVE lock while it reads one:
constraints arrive NOT VALID and are validated later, indexes are built CONCURRENTLY.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from campaign_model.db.adoption.catalog import Catalog, Column, Constraint, Table
from campaign_model.db.schema import HOST_KEY, create_tables, quote
from campaign_model.store.tables import HostTables

MARKERS = {"campaigns": "version", "campaign_contacts": "rank", "campaign_templates": "version"}
"""For each table, a column that adoption adds and that is NULL until a row has been repaired."""

_ADDED_AS_NULL = {
    *MARKERS.items(),
    ("campaigns", "status"),
    ("campaign_templates", "is_system"),
}
"""Columns that adoption adds without a value, because a repair decides on it row by row."""

_MAX_IDENTIFIER = 63


@attrs.frozen
class Statement:
    """One schema statement.

    A ``concurrent`` statement, such as CREATE INDEX CONCURRENTLY, runs outside of a transaction and
    may wait for other transactions. ``undo`` removes what the statement leaves behind if it fails.
    """

    sql: str
    concurrent: bool = False
    undo: str | None = None


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


def plan_statements(present: Catalog, expected: Catalog, host: HostTables) -> Plan:
    """Plan the statements that turn the tables in ``present`` into those in ``expected``."""
    creates = create_tables(host)
    tables = [_plan_table(name, expected[name], present.get(name)) for name in creates]
    return Plan(
        expand=tuple(
            statement
            for table in tables
            for statement in (
                table.expand() if table.name in present else (Statement(creates[table.name]),)
            )
        ),
        enforce=(
            *plan_host_keys(present, host),
            # A table comes after the tables that its foreign keys refer to.
            *(statement for table in tables for statement in table.enforce()),
        ),
        validate=tuple(statement for table in tables for statement in table.validate()),
    )


def plan_host_keys(present: Catalog, host: HostTables) -> Iterator[Statement]:
    """Plan the unique keys of the host's tables that the library's foreign keys refer to."""
    for name in (host.owners, host.contacts):
        key = f"uq_{name}_{'_'.join(HOST_KEY)}"[:_MAX_IDENTIFIER]
        has_other_index = any(
            index_name != key
            and {*index.columns} == {*HOST_KEY}
            and index.unique
            and index.valid
            and not index.partial
            for index_name, index in present[name].indexes.items()
        )
        if not has_other_index:
            unique = Constraint("u", HOST_KEY, f"UNIQUE ({', '.join(HOST_KEY)})")
            table = Table({}, constraints={key: unique})
            yield from _TablePlan(name, table, present[name]).enforce()


def value_when_added(table: str, name: str, column: Column) -> str | None:
    """Return the SQL of the value that old rows get when the column is added; ``None`` is NULL.

    PostgreSQL adds a column with a constant default without rewriting the table. A computed default
    would rewrite the table, so old rows get NULL.
    """
    computed = column.default is None or column.default.endswith("()")
    return None if computed or (table, name) in _ADDED_AS_NULL else column.default


@attrs.frozen
class _TablePlan:
    """Yields the statements for one table, by phase.

    ``expected`` is the table as it should be, ``present`` as it is in the database. ``present`` has
    renamed constraints under their new names. ``nullable`` are columns that must become NOT NULL.
    ``renamed`` maps old to new names of constraints that are correct but have another name.
    """

    name: str
    expected: Table
    present: Table
    nullable: Sequence[str] = ()
    renamed: Mapping[str, str] = attrs.field(factory=dict)

    def expand(self) -> Iterator[Statement]:
        """Rename constraints, add columns, and change types, defaults and storage options."""
        for old, new in self.renamed.items():
            yield self._alter(f"RENAME CONSTRAINT {quote(old)} TO {quote(new)}")
        changes = []
        for name, column in self.expected.columns.items():
            present = self.present.columns.get(name)
            default = present.default if present else None
            if present is None:
                add_column = f"ADD COLUMN {name} {column.type}"
                if value_when_added(self.name, name, column) is not None:
                    default = column.default
                    add_column += f" DEFAULT {default}{' NOT NULL' if column.not_null else ''}"
                changes.append(add_column)
            elif present.type != column.type:
                yield self._alter(f"ALTER COLUMN {name} TYPE {column.type}")
            if column.default not in (None, default):
                changes.append(f"ALTER COLUMN {name} SET DEFAULT {column.default}")
        if changes:
            yield self._alter(*changes)
        options = sorted({*self.expected.options} - {*self.present.options})
        if options:
            yield self._alter(f"SET ({', '.join(options)})")

    def enforce(self) -> Iterator[Statement]:
        """Add the constraints and the indexes of keys. Constraints apply to new rows only."""
        # 1. Drop what has a name of the library but another definition, and the invalid indexes
        # that an interrupted CREATE INDEX CONCURRENTLY leaves.
        for name in self.expected.constraints:
            if name in self.present.constraints and self._find_constraint(name) is None:
                yield self._alter(f"DROP CONSTRAINT {quote(name)}")
        for name in self.present.indexes:
            is_expected = name in self.expected.indexes or name in self.expected.constraints
            if is_expected and not self._has_index(name):
                yield Statement(_drop_index(name), concurrent=True)

        # 2. Build the index of each key CONCURRENTLY, then make it the key.
        for name, constraint in self.expected.constraints.items():
            if constraint.kind in "pu" and self._find_constraint(name) is None:
                # Step 1 has dropped the index of an incorrect key.
                was_dropped = name in self.present.constraints
                if was_dropped or not self._has_index(name):
                    columns = ", ".join(constraint.columns)
                    yield self._create_index("UNIQUE INDEX", name, f"({columns})")
                kind = "PRIMARY KEY" if constraint.kind == "p" else "UNIQUE"
                yield self._alter(f"ADD CONSTRAINT {quote(name)} {kind} USING INDEX {quote(name)}")

        # 3. Add foreign keys and CHECKs for new rows.
        for name, constraint in self.expected.constraints.items():
            if constraint.kind in "fc" and self._find_constraint(name) is None:
                yield self._alter(f"ADD CONSTRAINT {quote(name)} {constraint.definition} NOT VALID")

    def validate(self) -> Iterator[Statement]:
        """Check the old rows against the constraints, and add the other indexes."""
        # 1. Check the old rows.
        for name, constraint in self.expected.constraints.items():
            present = self._find_constraint(name)
            if constraint.kind in "fc" and not (present and present.valid):
                yield self._alter(f"VALIDATE CONSTRAINT {quote(name)}")

        # 2. Set columns NOT NULL, and drop the CHECK that proves it.
        if self.nullable:
            yield self._alter(*(f"ALTER COLUMN {name} SET NOT NULL" for name in self.nullable))
        not_null_check = _name_not_null_check(self.name)
        if self.nullable or not_null_check in self.present.constraints:
            yield self._alter(f"DROP CONSTRAINT {not_null_check}")

        # 3. Drop foreign keys that delete or change the library's rows. The library's own keys,
        # which refuse the deletion, replace them.
        foreign_keys = [
            {*constraint.columns}
            for constraint in self.expected.constraints.values()
            if constraint.kind == "f"
        ]
        for name, constraint in self.present.constraints.items():
            replaced = any({*constraint.columns} <= columns for columns in foreign_keys)
            if constraint.cascades and replaced and name not in self.expected.constraints:
                yield self._alter(f"DROP CONSTRAINT {quote(name)}")

        # 4. Build the indexes.
        for name, index in self.expected.indexes.items():
            is_of_key = name in self.expected.constraints
            if not is_of_key and not self._has_index(name):
                yield self._create_index("INDEX", name, index.definition)

    def _alter(self, *changes: str) -> Statement:
        lines = ",\n    ".join(changes)
        return Statement(f"ALTER TABLE {quote(self.name)} {lines}")

    def _create_index(self, kind: str, name: str, definition: str) -> Statement:
        return Statement(
            f"CREATE {kind} CONCURRENTLY {quote(name)} ON {quote(self.name)} {definition}",
            concurrent=True,
            undo=_drop_index(name),
        )

    def _find_constraint(self, name: str) -> Constraint | None:
        """Return the constraint of that name if its definition is correct; it may be NOT VALID."""
        constraint = self.present.constraints.get(name)
        definition = self.expected.constraints[name].definition
        return constraint if constraint and constraint.definition == definition else None

    def _has_index(self, name: str) -> bool:
        """Return True if the table has a valid index of this name with the expected definition.

        The definition of a key's index is not compared, because that of its constraint is.
        """
        index = self.present.indexes.get(name)
        if index is None or not index.valid:
            return False
        is_of_key = name in self.expected.constraints
        return is_of_key or index.definition == self.expected.indexes[name].definition


def _plan_table(name: str, expected: Table, present: Table | None) -> _TablePlan:
    """Plan a table of the library; ``present`` is ``None`` if the table is missing."""
    if present is None:
        # CREATE TABLE creates everything except foreign keys and indexes.
        constraints = {
            key: constraint
            for key, constraint in expected.constraints.items()
            if constraint.kind != "f"
        }
        return _TablePlan(
            name, expected, attrs.evolve(expected, constraints=constraints, indexes={})
        )

    # 1. Columns that become NOT NULL get a CHECK first. Once it is valid, SET NOT NULL need not
    # read the table under its lock. The CHECK is in the server's spelling.
    nullable = []
    for column_name, column in expected.columns.items():
        has_no_nulls = value_when_added(name, column_name, column) is not None
        if column_name in present.columns:
            has_no_nulls = present.columns[column_name].not_null
        if column.not_null and not has_no_nulls:
            nullable.append(column_name)
    if nullable:
        condition = " AND ".join(f"({column_name} IS NOT NULL)" for column_name in nullable)
        if len(nullable) > 1:
            condition = f"({condition})"
        not_null_check = Constraint("c", (), f"CHECK ({condition})")
        constraints = {**expected.constraints, _name_not_null_check(name): not_null_check}
        expected = attrs.evolve(expected, constraints=constraints)

    # 2. A constraint with the same definition as one of the library's gets the library's name.
    library_names = {*expected.constraints, *expected.indexes}
    renamed = {}
    for new, constraint in expected.constraints.items():
        for old, old_constraint in present.constraints.items():
            if (
                new not in present.constraints
                and old not in library_names
                and old_constraint.valid
                and old_constraint.definition == constraint.definition
            ):
                renamed[old] = new
                break  # A second constraint of the same definition keeps its name.
    constraints = {
        renamed.get(old, old): constraint for old, constraint in present.constraints.items()
    }
    present = attrs.evolve(present, constraints=constraints)
    return _TablePlan(name, expected, present, nullable, renamed)


def _name_not_null_check(table: str) -> str:
    return f"ck_{table}_not_null"


def _drop_index(name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quote(name)}"
