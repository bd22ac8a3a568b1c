"""The statements that lead from a catalog to our schema; none where nothing is missing.

Every run plans anew from what it finds, so that an interrupted adoption goes on where it ended.
No statement rewrites a table, and none holds an ACCESS EXCLUSIVE lock while it reads one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import attrs

from campaign_model.db import catalog, schema
from campaign_model.db.schema import HOST_KEY, quoted
from campaign_model.store.tables import HostTables

__all__ = ["MARKERS", "Plan", "Statement", "completed", "obstacles", "plan", "value_when_added"]

MARKERS = {"campaigns": "version", "campaign_contacts": "rank", "campaign_templates": "version"}
"""Columns that are NULL in a row until adoption has seen to it, whatever else the row holds."""

_NULL_FIRST = {*MARKERS.items(), ("campaigns", "status")}
"""Columns that are added without a value, so that a rule decides on it row by row."""

_LEGACY = {
    "campaigns": ("id", "tenant_id", "name"),
    "campaign_contacts": ("id", "campaign_id", "contact_id"),
    "campaign_templates": ("id", "tenant_id", "name"),
}
"""What nobody can make up for a row that has it not."""

_WIDENED = {"numeric": "numeric(", "text": "character varying"}
"""To which types a column can be brought without a rewrite, and from which."""


@attrs.frozen
class Statement:
    """``concurrent`` ones run outside of a transaction, and wait for others as long as it takes.

    ``undo`` takes back what is left of it when it fails. ``why`` answers the linter ``squawk``:
    for each of its rules, why it does not apply here.
    """

    sql: str
    concurrent: bool = False
    undo: str | None = None
    why: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Plan:
    """What is missing, in three parts.

    After ``expand`` there is a place for everything, and rows can be repaired. After ``guard`` no
    writer can bring in new rows that need it. Once all rows are in order, ``validate`` is possible.
    """

    expand: tuple[Statement, ...]
    guard: tuple[Statement, ...]
    validate: tuple[Statement, ...]

    @property
    def statements(self) -> tuple[Statement, ...]:
        """All of them, in order."""
        return (*self.expand, *self.guard, *self.validate)


def plan(
    present: catalog.Catalog, host: HostTables, normal_forms: Mapping[str, str] | None = None
) -> Plan:
    """What leads from ``present`` to our schema on ``host``.

    ``normal_forms`` are how the server spells our constraints and indexes; without them, those of
    our names count as ours whatever they say.
    """
    every = [
        *(_host_table(name, present[name]) for name in (host.owners, host.contacts)),
        *(
            _own_table(name, wanted, present.get(name), normal_forms or {})
            for name, wanted in schema.tables(host).items()
        ),
    ]

    def gather(*parts: str) -> tuple[Statement, ...]:
        """Each part of all tables before the next part of any."""
        return tuple(
            itertools.chain.from_iterable(
                getattr(table, part)() for part in parts for table in every
            )
        )

    return Plan(
        expand=gather("create", "rename", "widen", "add_columns", "set_defaults", "set_options"),
        guard=gather("clear", "unique", "foreign_keys", "checks"),
        validate=gather("validate", "set_not_null", "drop_helper", "drop_cascades", "indexes"),
    )


def value_when_added(table: str, name: str, column: schema.Column) -> str | None:
    """What a column that is added holds in the rows that are there, as SQL; ``None`` for NULL.

    To compute a default for every row would rewrite the table.
    """
    computed = column.default is None or column.default.endswith("()")
    return None if computed or (table, name) in _NULL_FIRST else column.default


def completed(present: catalog.Catalog, host: HostTables) -> catalog.Catalog:
    """The tables as they are after ``expand``, as far as repairs need to know them."""
    tables = dict(present)
    for name, wanted in schema.tables(host).items():
        found = present.get(name, catalog.Table({}))
        added = {one: catalog.Column(column.type) for one, column in wanted.columns.items()}
        tables[name] = attrs.evolve(found, columns={**added, **found.columns})
    return tables


def obstacles(present: catalog.Catalog, host: HostTables) -> Iterator[str]:
    """What keeps every adoption of this database from going on, each in a sentence."""
    wanted = schema.tables(host)
    for name in attrs.astuple(host):
        table = present.get(name)
        if table is None:
            yield f"there is no table {name}; name your own with HostTables"
            continue
        if table.kind != "r":
            yield f"{name} is not a table that foreign keys can point at"
        for column in ("id",) if name == host.tenants else HOST_KEY:
            if column not in table.columns:
                yield f"{name} has no column {column}, which our keys point at"
            elif table.columns[column].type != "uuid":
                yield f"{name}.{column} is of type {table.columns[column].type}, not uuid"
        if not any(one.unique and one.columns == ("id",) for one in table.indexes.values()):
            yield f"{name}.id is not unique, so no key can point at it"
    for name, table in present.items():
        if name in (*wanted, host.owners, host.contacts) and not table.owned:
            yield f"the table {name} belongs to somebody else; adopt as its owner"
        if name not in wanted:
            continue
        if table.kind != "r":
            yield f"{name} is not a plain table, which it has to be"
        for column in _LEGACY.get(name, ()):
            if column not in table.columns:
                yield f"{name} has no column {column}, by which its rows are known"
        for column, needed in wanted[name].columns.items():
            found = table.columns.get(column)
            if found is None or found.type == needed.type:
                continue
            if not found.type.startswith(_WIDENED.get(needed.type, needed.type)):
                yield (
                    f"{name}.{column} is of type {found.type}; make it {needed.type} first (that "
                    "rewrites the table, which adoption never does)"
                )
            elif found.viewed:
                yield (
                    f"a view shows {name}.{column}, whose type {found.type} has to become "
                    f"{needed.type}; drop the view first, and make it again afterwards"
                )


@attrs.frozen
class _Planned:
    """One table: what is wanted of it, and what there is (``None``: nothing yet).

    ``forms`` are the definitions to compare with. ``nullable`` are columns that must not be so.
    ``renamed`` are constraints that are what we want but for their names; ``found`` has them
    under the new ones.
    """

    name: str
    wanted: schema.Table
    found: catalog.Table | None
    forms: Mapping[str, str]
    nullable: Sequence[str] = ()
    renamed: Mapping[str, str] = attrs.field(factory=dict)

    def _alter(self, *changes: str, **why: str) -> Statement:
        reasons = {rule.replace("_", "-"): reason for rule, reason in why.items()}
        parts = ",\n    ".join(changes)
        return Statement(f"ALTER TABLE {quoted(self.name)} {parts}", why=reasons)

    def _constraint(self, name: str) -> catalog.Constraint | None:
        """The constraint of that name, if it says what it should; perhaps not validated yet."""
        present = self.found.constraints.get(name) if self.found else None
        return present if present and _same(present.definition, self.forms[name]) else None

    def _lacks(self, *kinds: str) -> Iterator[tuple[str, schema.Constraint]]:
        for name, constraint in self.wanted.constraints.items():
            # CREATE TABLE brings all but foreign keys along.
            brought = self.found is None and constraint.kind != "f"
            if constraint.kind in kinds and not brought and self._constraint(name) is None:
                yield name, constraint

    # The parts of a plan, in their order.

    def create(self) -> Iterator[Statement]:
        if self.found is None:
            yield Statement(self.wanted.create)

    def rename(self) -> Iterator[Statement]:
        for old, new in self.renamed.items():
            yield self._alter(f"RENAME CONSTRAINT {quoted(old)} TO {quoted(new)}")

    def widen(self) -> Iterator[Statement]:
        for name, column in self.wanted.columns.items():
            present = self.found and self.found.columns.get(name)
            if present and present.type != column.type:
                yield self._alter(
                    f"ALTER COLUMN {name} TYPE {column.type}",
                    changing_column_type="dropping a limit neither rewrites nor reads the table",
                )

    def add_columns(self) -> Iterator[Statement]:
        changes = []
        for name, column in self.wanted.columns.items():
            if self.found is None or name in self.found.columns:
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
        changes = []
        for name, column in self.wanted.columns.items():
            present = self.found and self.found.columns.get(name)
            if present and column.default is not None and present.default != column.default:
                changes.append(f"ALTER COLUMN {name} SET DEFAULT {column.default}")
        if changes:
            yield self._alter(*changes)

    def set_options(self) -> Iterator[Statement]:
        """For the pages that are written from then on: adoption rewrites no table."""
        missing = {*self.wanted.options} - {*(self.found.options if self.found else ())}
        if self.found and missing:
            yield self._alter(f"SET ({', '.join(sorted(missing)).replace('=', ' = ')})")

    def clear(self) -> Iterator[Statement]:
        """What has our names and is not ours, or was left by an interrupted CREATE INDEX."""
        if self.found is None:
            return
        for name in self.wanted.constraints:
            if name in self.found.constraints and self._constraint(name) is None:
                reason = "it is made again as it should be"
                yield self._alter(f"DROP CONSTRAINT {quoted(name)}", ban_drop_constraint=reason)
        for name, index in self.found.indexes.items():
            ours = name in self.wanted.indexes and not _same(index.definition, self.forms[name])
            if ours or (name in self.forms and not index.valid):
                yield Statement(_drop_index(name), concurrent=True)

    def _has_index(self, name: str) -> bool:
        present = self.found.indexes.get(name) if self.found else None
        return (
            present is not None
            and present.valid
            and (name in self.wanted.constraints or _same(present.definition, self.forms[name]))
        )

    def unique(self) -> Iterator[Statement]:
        for name, constraint in self._lacks("p", "u"):
            if not self._has_index(name):
                columns = ", ".join(constraint.columns)
                where = f"{quoted(name)} ON {quoted(self.name)} ({columns})"
                yield _build(name, f"CREATE UNIQUE INDEX CONCURRENTLY {where}")
            kind = "PRIMARY KEY" if constraint.kind == "p" else "UNIQUE"
            yield self._alter(f"ADD CONSTRAINT {quoted(name)} {kind} USING INDEX {quoted(name)}")

    def foreign_keys(self) -> Iterator[Statement]:
        for name, constraint in self._lacks("f"):
            yield self._alter(f"ADD CONSTRAINT {quoted(name)} {constraint.sql} NOT VALID")

    def checks(self) -> Iterator[Statement]:
        for name, constraint in self._lacks("c"):
            yield self._alter(f"ADD CONSTRAINT {quoted(name)} {constraint.sql} NOT VALID")

    def validate(self) -> Iterator[Statement]:
        brought = "f" if self.found is None else "fc"
        for name, constraint in self.wanted.constraints.items():
            present = self._constraint(name)
            if constraint.kind in brought and not (present and present.valid):
                yield self._alter(f"VALIDATE CONSTRAINT {quoted(name)}")

    def set_not_null(self) -> Iterator[Statement]:
        changes = [f"ALTER COLUMN {name} SET NOT NULL" for name in self.nullable]
        if changes:
            yield self._alter(*changes)

    def drop_helper(self) -> Iterator[Statement]:
        helper = _helper(self.name)
        if self.nullable or (self.found and helper in self.found.constraints):
            reason = "the columns say so themselves now"
            yield self._alter(f"DROP CONSTRAINT {helper}", ban_drop_constraint=reason)

    def drop_cascades(self) -> Iterator[Statement]:
        """Keys that change our rows by themselves; ours, which refuse, take their place."""
        ours = [set(one.columns) for one in self.wanted.constraints.values() if one.kind == "f"]
        for name, constraint in self.found.constraints.items() if self.found else ():
            replaced = any(set(constraint.columns) <= columns for columns in ours)
            if constraint.cascades and replaced and name not in self.wanted.constraints:
                reason = "a key of ours says the same and changes no rows"
                yield self._alter(f"DROP CONSTRAINT {quoted(name)}", ban_drop_constraint=reason)

    def indexes(self) -> Iterator[Statement]:
        for name, sql in self.wanted.indexes.items():
            if not self._has_index(name):
                concurrently = sql.replace("CREATE INDEX ", "CREATE INDEX CONCURRENTLY ", 1)
                yield _build(name, concurrently)


def _build(index: str, sql: str) -> Statement:
    return Statement(sql, concurrent=True, undo=_drop_index(index))


def _drop_index(name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}"


def _own_table(
    name: str,
    wanted: schema.Table,
    found: catalog.Table | None,
    normal_forms: Mapping[str, str],
) -> _Planned:
    nullable = [
        one
        for one, column in wanted.columns.items()
        if found is not None and column.not_null and not _is_not_null(name, one, column, found)
    ]
    if nullable:
        condition = " AND ".join(f"({one} IS NOT NULL)" for one in nullable)
        sql = f"CHECK ({f'({condition})' if len(nullable) > 1 else condition})"
        helper = {_helper(name): schema.Constraint("c", (), sql)}
        wanted = attrs.evolve(wanted, constraints={**wanted.constraints, **helper})
    forms = {one: constraint.sql for one, constraint in wanted.constraints.items()}
    forms |= {one: f"USING btree {sql[sql.index('(') :]}" for one, sql in wanted.indexes.items()}
    forms |= {one: form for one, form in normal_forms.items() if one in forms}
    if found is None:
        return _Planned(name, wanted, None, forms)
    renamed = {}
    for new in wanted.constraints:
        for old, constraint in found.constraints.items():
            same = constraint.valid and _same(constraint.definition, forms[new])
            if new not in found.constraints and old not in forms and same:
                renamed[old] = new
    constraints = {renamed.get(one, one): rest for one, rest in found.constraints.items()}
    found = attrs.evolve(found, constraints=constraints)
    return _Planned(name, wanted, found, forms, nullable, renamed)


def _is_not_null(table: str, name: str, column: schema.Column, found: catalog.Table) -> bool:
    if name in found.columns:
        return found.columns[name].not_null
    return value_when_added(table, name, column) is not None


def _helper(table: str) -> str:
    """A CHECK that spares SET NOT NULL reading the table under its lock."""
    return f"ck_{table}_not_null"


def _host_table(name: str, found: catalog.Table) -> _Planned:
    """A table of the host, of which nothing is wanted but the key that ours point at."""
    key = f"uq_{name}_{'_'.join(HOST_KEY)}"[:63]
    constraint = schema.Constraint("u", HOST_KEY, f"UNIQUE ({', '.join(HOST_KEY)})")
    others = (index for other, index in found.indexes.items() if other != key)
    if any(
        set(one.columns) == set(HOST_KEY) and one.unique and one.valid and not one.partial
        for one in others
    ):
        return _Planned(name, schema.Table("", {}, {}, {}), found, {})
    return _Planned(name, schema.Table("", {}, {key: constraint}, {}), found, {key: constraint.sql})


def _same(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())
