"""The schema statements that a step of an adoption has to run.

``plan_statements`` compares the catalog of a database with that of the library's schema and returns
a :class:`Plan`, which is empty for a complete schema. Every run plans anew, so an interrupted
adoption continues where it ended.

There are two steps. The step *expand* plans for relaxed tables, which lack every constraint that
could refuse a write of an old service. The step *enforce* plans for the whole schema.

No statement rewrites a table, and no statement holds an ACCESS EXCLUSIVE lock while it reads one:
constraints arrive NOT VALID and are validated later, indexes are built CONCURRENTLY.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from campaign_model.db.adoption.catalog import (
    CHECK,
    FOREIGN_KEY,
    PRIMARY_KEY,
    UNIQUE_KEY,
    Catalog,
    Column,
    Constraint,
    Table,
)
from campaign_model.db.adoption.tolerance import (
    CREATE_FUNCTION,
    CREATE_TOLERATED_WRITES,
    TOLERANT_TABLES,
    TOLERATED_WRITES_TABLE,
    TRIGGER,
    create_trigger,
    drop_everything,
    drop_trigger,
)
from campaign_model.db.schema import HOST_KEY, create_table_statements, quote
from campaign_model.store.tables import HostTables

MARKERS = {"campaigns": "version", "campaign_contacts": "rank", "campaign_templates": "version"}
"""For each table, a column that adoption adds and that is NULL until a row has been repaired."""

_ADDED_AS_NULL = {
    *MARKERS.items(),
    ("campaigns", "status"),
    ("campaign_templates", "is_system"),
}
"""Columns that adoption adds without a value, because a repair decides on it row by row."""

_ENFORCED_KEYS = {"uq_campaign_templates_tenant_id_name"}
"""Unique keys that old services may break, because no statement of the library needs them."""

_MAX_IDENTIFIER = 63


@attrs.frozen
class Statement:
    """One schema statement.

    A ``concurrent`` statement, such as CREATE INDEX CONCURRENTLY, runs outside of a transaction and
    may wait for other transactions. ``undo`` removes what the statement leaves behind if it fails.
    ``notice`` says what other programs may notice of it.
    """

    sql: str
    notice: str | None = None
    concurrent: bool = False
    undo: str | None = None


@attrs.frozen
class Plan:
    """The missing statements, in three phases that run in this order.

    ``complete`` adds tables and columns; then rows can be repaired. ``constrain`` adds the keys and
    constraints, NOT VALID; from then on no writer can add a row that breaks them. ``validate``
    checks the old rows, and needs all of them repaired.
    """

    complete: tuple[Statement, ...] = ()
    constrain: tuple[Statement, ...] = ()
    validate: tuple[Statement, ...] = ()

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The statements of all phases, in order."""
        return (*self.complete, *self.constrain, *self.validate)


def plan_statements(
    present: Catalog, expected: Catalog, host: HostTables, *, enforce: bool
) -> Plan:
    """Plan the statements that turn the tables in ``present`` into those in ``expected``.

    Without ``enforce``, leave out what could refuse a write of an old service.
    """
    if not present.keys() & TOLERANT_TABLES:
        enforce = True  # There are no tables of an old service.
    creates = create_table_statements(host)
    tables, tolerant = [], []
    for name in creates:
        enforced = expected[name]
        target = enforced if enforce else _relax(name, enforced, present.get(name))
        table = _plan_table(name, target, present.get(name), enforce=enforce)
        tables.append(table)
        if (
            target.columns != enforced.columns
            or target.constraints.keys() != enforced.constraints.keys()
        ):
            tolerant.append(table)

    complete: list[Statement] = []
    for table in tables:
        if table.name in present:
            complete += table.complete()
        else:
            notice = f"{table.name} is new: other roles have no privileges on it (db grants)"
            complete.append(Statement(creates[table.name], notice))
    if tolerant and TOLERATED_WRITES_TABLE not in present:
        # The table is created first and dropped last, so it is there whenever a function is.
        complete.append(Statement(CREATE_TOLERATED_WRITES))

    # A table comes after the tables that its foreign keys refer to.
    constrain: list[Statement] = []
    for name in dict.fromkeys((host.owners, host.contacts)):
        constrain += plan_host_key(name, present[name])
    for table in tables:
        constrain += table.constrain()
    without_trigger = [table for table in tolerant if TRIGGER not in table.present.triggers]
    if without_trigger:
        constrain.append(Statement(CREATE_FUNCTION))
    for table in without_trigger:
        create_function, trigger = create_trigger(table.name, expected[table.name])
        notice = (
            f"{table.name} gets a trigger: it completes rows that the step enforce will "
            f"refuse, and counts them in {TOLERATED_WRITES_TABLE}"
        )
        constrain += [Statement(create_function), Statement(trigger, notice)]

    validate = [statement for table in tables for statement in table.validate()]
    if enforce and TOLERATED_WRITES_TABLE in present:
        for table in tables:
            if TRIGGER in table.present.triggers:
                notice = f"{table.name} loses the trigger that completes rows"
                validate.append(Statement(drop_trigger(table.name), notice))
        validate += map(Statement, drop_everything())
    return Plan(tuple(complete), tuple(constrain), tuple(validate))


def plan_host_key(name: str, present: Table) -> Iterator[Statement]:
    """Plan the unique key of a host's table that the library's foreign keys refer to."""
    key = f"uq_{name}_{'_'.join(HOST_KEY)}"[:_MAX_IDENTIFIER]
    # An index with the name of the key does not count: an interrupted adoption may have built it,
    # and ``constrain`` makes it the key.
    has_other_index = any(
        index_name != key and {*index.columns} == {*HOST_KEY} and index.is_key and index.valid
        for index_name, index in present.indexes.items()
    )
    if not has_other_index:
        unique = Constraint(UNIQUE_KEY, HOST_KEY, f"UNIQUE ({', '.join(HOST_KEY)})")
        yield from _TablePlan(name, Table({}, {key: unique}), present).constrain()


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
    renamed constraints under their new names; ``renamed`` maps the old to the new names.
    ``enforce`` is false in the step expand.
    """

    name: str
    expected: Table
    present: Table
    renamed: Mapping[str, str] = attrs.field(factory=dict)
    enforce: bool = True

    @property
    def missing_constraints(self) -> Mapping[str, Constraint]:
        """The constraints that the table lacks, or has with another definition."""
        return {
            name: constraint
            for name, constraint in self.expected.constraints.items()
            if not _is_correct(self.present.constraints.get(name), constraint)
        }

    def complete(self) -> Iterator[Statement]:
        """Rename constraints, add columns, and change types, defaults and storage options."""
        for old, new in self.renamed.items():
            notice = f"{self.name}: the constraint {old} is now called {new}"
            yield self._alter(f"RENAME CONSTRAINT {quote(old)} TO {quote(new)}", notice=notice)
        changes, notices = [], []
        for name, column in self.expected.columns.items():
            present = self.present.columns.get(name)
            if present is None:
                default = value_when_added(self.name, name, column)
                add_column = f"ADD COLUMN {quote(name)} {column.type}"
                if default is not None:
                    add_column += f" DEFAULT {default}{' NOT NULL' if column.not_null else ''}"
                changes.append(add_column)
            else:
                default = present.default
                if present.type != column.type:
                    change_type = f"ALTER COLUMN {quote(name)} TYPE {column.type}"
                    notice = (
                        f"{self.name}.{name} changes from {present.type} to {column.type}: "
                        "statements that clients prepared before fail once"
                    )
                    yield self._alter(change_type, notice=notice)
            if column.default not in (None, default):
                changes.append(f"ALTER COLUMN {quote(name)} SET DEFAULT {column.default}")
                if present is not None:
                    old_default = default or "NULL"
                    notices.append(
                        f"{self.name}.{name}: the default changes from {old_default} to "
                        f"{column.default}"
                    )
        if changes:
            yield self._alter(*changes, notice="; ".join(notices) or None)
        options = sorted({*self.expected.options} - {*self.present.options})
        if options:
            yield self._alter(f"SET ({', '.join(options)})")

    def constrain(self) -> Iterator[Statement]:
        """Add the constraints and the indexes of keys. Constraints apply to new rows only."""
        # 1. Drop what has a name of the library but another definition, and the invalid indexes
        # that an interrupted CREATE INDEX CONCURRENTLY leaves.
        for name in self.missing_constraints:
            if name in self.present.constraints:
                yield self._alter(f"DROP CONSTRAINT {quote(name)}")
        for name in self.present.indexes:
            is_expected = name in self.expected.indexes or name in self.expected.constraints
            if is_expected and not self._has_index(name):
                yield Statement(_drop_index(name), concurrent=True)

        # 2. Build the index of each key CONCURRENTLY, then make it the key.
        for name, constraint in self.missing_constraints.items():
            if constraint.kind in {PRIMARY_KEY, UNIQUE_KEY}:
                columns = ", ".join(constraint.columns)
                # Step 1 has dropped the index of an incorrect key.
                was_dropped = name in self.present.constraints
                if was_dropped or not self._has_index(name):
                    yield self._create_index("UNIQUE INDEX", name, f"({columns})")
                kind = "PRIMARY KEY" if constraint.kind == PRIMARY_KEY else "UNIQUE"
                yield self._alter(
                    f"ADD CONSTRAINT {quote(name)} {kind} USING INDEX {quote(name)}",
                    notice=f"{self.name}: no two rows may have the same {columns}",
                )

        # 3. Add foreign keys and CHECKs for new rows.
        for name, constraint in self.missing_constraints.items():
            if constraint.kind in {FOREIGN_KEY, CHECK}:
                yield self._alter(
                    f"ADD CONSTRAINT {quote(name)} {constraint.definition} NOT VALID",
                    notice=self._notice_of(name, constraint),
                )

    def validate(self) -> Iterator[Statement]:
        """Finish the table once its rows are repaired.

        Check the old rows against the constraints, set columns NOT NULL, drop foreign keys of the
        host that would delete or change the library's rows, and build the indexes of no key.
        """
        # 1. Check the old rows.
        for name, constraint in self.expected.constraints.items():
            if constraint.kind in {FOREIGN_KEY, CHECK} and (
                name in self.missing_constraints or not self.present.constraints[name].valid
            ):
                yield self._alter(f"VALIDATE CONSTRAINT {quote(name)}")

        # 2. Set columns NOT NULL, and drop the CHECK that proves it. The method ``constrain`` has
        # added this CHECK. An interrupted run may have left it without any column to set.
        columns = _columns_to_set_not_null(self.name, self.expected, self.present)
        if columns:
            yield self._alter(*(f"ALTER COLUMN {quote(name)} SET NOT NULL" for name in columns))
        not_null_check = _name_not_null_check(self.name)
        if columns or (self.enforce and not_null_check in self.present.constraints):
            yield self._alter(f"DROP CONSTRAINT {quote(not_null_check)}")

        # 3. Drop foreign keys of the host that delete or change the library's rows.
        if self.enforce:
            yield from self._drop_cascading_keys()

        # 4. Build the indexes.
        for name, index in self.expected.indexes.items():
            is_of_key = name in self.expected.constraints
            if not is_of_key and not self._has_index(name):
                yield self._create_index("INDEX", name, index.definition)

    def _drop_cascading_keys(self) -> Iterator[Statement]:
        """Drop each cascading foreign key that a key of the library replaces.

        The library's key has all columns of the dropped one, and refuses the deletion.
        """
        library_key_columns = [
            {*constraint.columns}
            for constraint in self.expected.constraints.values()
            if constraint.kind == FOREIGN_KEY
        ]
        for name, constraint in self.present.constraints.items():
            is_replaced = any({*constraint.columns} <= columns for columns in library_key_columns)
            if constraint.cascades and is_replaced and name not in self.expected.constraints:
                notice = (
                    f"{self.name}: a row of {constraint.refers_to} that is referred to can no "
                    f"longer be deleted ({name} was ON DELETE {constraint.on_delete})"
                )
                yield self._alter(f"DROP CONSTRAINT {quote(name)}", notice=notice)

    def _alter(self, *changes: str, notice: str | None = None) -> Statement:
        lines = ",\n    ".join(changes)
        return Statement(f"ALTER TABLE {quote(self.name)} {lines}", notice)

    def _notice_of(self, name: str, constraint: Constraint) -> str:
        """Say what a new foreign key or CHECK refuses."""
        if name == _name_not_null_check(self.name):
            return f"{self.name}: NULL is refused in {', '.join(constraint.columns)}"
        if constraint.kind == CHECK:
            return f"{self.name}: rows that break {name} are refused"
        columns = ", ".join(constraint.columns)
        notice = f"{self.name}: ({columns}) must be those of a row of {constraint.refers_to}"
        if constraint.on_delete is None:
            notice += ", and that row cannot be deleted"
        return notice

    def _create_index(self, kind: str, name: str, definition: str) -> Statement:
        return Statement(
            f"CREATE {kind} CONCURRENTLY {quote(name)} ON {quote(self.name)} {definition}",
            concurrent=True,
            undo=_drop_index(name),
        )

    def _has_index(self, name: str) -> bool:
        """Return True if the table has a valid index of this name with the expected definition.

        The definition of a key's index is not compared, because that of its constraint is.
        """
        index = self.present.indexes.get(name)
        if index is None or not index.valid:
            return False
        is_of_key = name in self.expected.constraints
        return is_of_key or index.definition == self.expected.indexes[name].definition


def _relax(name: str, expected: Table, present: Table | None) -> Table:
    """Leave out of ``expected`` what could refuse a write of an old service.

    Keys stay. If an old service deletes a row, the library's foreign keys do what the table's own
    foreign keys do. If it deletes a campaign, the database also deletes the campaign's rows in the
    tables that only the library writes.
    """
    constraints = {
        key: _copy_delete_action(constraint, present)
        for key, constraint in expected.constraints.items()
    }
    if present is None or name not in TOLERANT_TABLES:
        return attrs.evolve(expected, constraints=constraints)

    left_out = {
        key
        for key, constraint in constraints.items()
        if (constraint.kind == CHECK or key in _ENFORCED_KEYS)
        and not _is_correct(present.constraints.get(key), constraint)
    }
    may_be_null = _columns_to_set_not_null(name, expected, present)
    return attrs.evolve(
        expected,
        columns={
            key: attrs.evolve(column, not_null=False) if key in may_be_null else column
            for key, column in expected.columns.items()
        },
        constraints={key: constraints[key] for key in constraints if key not in left_out},
        indexes={key: expected.indexes[key] for key in expected.indexes if key not in left_out},
    )


def _copy_delete_action(expected: Constraint, present: Table | None) -> Constraint:
    """Give a foreign key of the library the delete action of the table's own foreign key."""
    if expected.kind != FOREIGN_KEY:
        return expected
    action, columns = None, ""
    if present is None and expected.refers_to == "campaigns":
        action = "CASCADE"
    for constraint in present.constraints.values() if present else ():
        is_same_reference = constraint.refers_to == expected.refers_to and (
            {*constraint.columns} <= {*expected.columns}
        )
        if is_same_reference and constraint.on_delete is not None:
            action = constraint.on_delete
            if action != "CASCADE":
                columns = f" ({', '.join(constraint.columns)})"
    if action is None:
        return expected
    definition = f"{expected.definition} ON DELETE {action}{columns}"
    return attrs.evolve(expected, definition=definition, on_delete=action)


def _plan_table(name: str, expected: Table, present: Table | None, *, enforce: bool) -> _TablePlan:
    """Plan a table of the library; ``present`` is ``None`` if the table is missing."""
    if present is None:
        # CREATE TABLE creates everything except foreign keys and indexes.
        constraints = {
            key: constraint
            for key, constraint in expected.constraints.items()
            if constraint.kind != FOREIGN_KEY
        }
        created = attrs.evolve(expected, constraints=constraints, indexes={})
        return _TablePlan(name, expected, created, enforce=enforce)

    # 1. Columns that become NOT NULL get a CHECK first. Once it is valid, SET NOT NULL need not
    # read the table under its lock. The CHECK is in the server's spelling.
    columns = _columns_to_set_not_null(name, expected, present)
    if columns:
        condition = " AND ".join(f"({column} IS NOT NULL)" for column in columns)
        if len(columns) > 1:
            condition = f"({condition})"
        not_null_check = Constraint(CHECK, columns, f"CHECK ({condition})")
        constraints = {**expected.constraints, _name_not_null_check(name): not_null_check}
        expected = attrs.evolve(expected, constraints=constraints)

    # 2. A constraint with the same definition as one of the library's gets the library's name. A
    # second constraint of the same definition keeps its name.
    library_names = {*expected.constraints, *expected.indexes}
    old_names: dict[str, str] = {}
    for old, constraint in present.constraints.items():
        if constraint.valid and old not in library_names:
            old_names.setdefault(constraint.definition, old)
    renamed = {
        old_names[constraint.definition]: new
        for new, constraint in expected.constraints.items()
        if new not in present.constraints and constraint.definition in old_names
    }
    constraints = {
        renamed.get(old, old): constraint for old, constraint in present.constraints.items()
    }
    present = attrs.evolve(present, constraints=constraints)
    return _TablePlan(name, expected, present, renamed, enforce)


def _columns_to_set_not_null(name: str, expected: Table, present: Table) -> tuple[str, ...]:
    """Return the columns that should be NOT NULL, and are nullable, or are added as NULL."""
    return tuple(
        column_name
        for column_name, column in expected.columns.items()
        if column.not_null
        and not (
            present.columns[column_name].not_null
            if column_name in present.columns
            else value_when_added(name, column_name, column) is not None
        )
    )


def _is_correct(present: Constraint | None, expected: Constraint) -> bool:
    """Return True if the constraint is there and has its definition. It may be NOT VALID."""
    return present is not None and present.definition == expected.definition


def _name_not_null_check(table: str) -> str:
    return f"ck_{table}_not_null"


def _drop_index(name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quote(name)}"
