"""Legacy databases to adopt, each a copy of one that is built once, and what to compare of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model._json import canonical
from support import catalogs, legacy, servers
from support.legacy import Rows, Shape

POSTGRESQL = servers.postgresql()

Contents = Mapping[str, Mapping[str, Mapping[str, str | None]]]
"""Table, row id and column to what stands there, as text."""

Fill = Callable[[Shape], Rows]

JSON = {
    *("template_config", "generation_config", "enrichment_gaps", "steps", "default_config"),
    "reported_tokens",
}
MONEY = {"generation_cost", "reserved", "cost"}
_BEGIN = datetime.now(UTC)


@attrs.frozen
class Found:
    """A finding, in text throughout, to be compared."""

    table: str
    id: str
    column: str | None
    kind: str
    before: str | None
    after: str | None
    undecided: bool


@attrs.define
class Legacies:
    """Makes copies of legacy databases on one engine; those it copies are built when asked for."""

    databases: servers.Databases
    engine_name: str
    templates: dict[tuple[Shape, Fill | None], str] = attrs.field(factory=dict)

    def template(self, shape: Shape, fill: Fill | None = None) -> str:
        """The URL of a database of that shape that nobody is connected to."""
        key = (shape, fill)
        if key not in self.templates:
            self.templates[key] = self.databases.create(self.engine_name)
            engine = sa.create_engine(self.templates[key], poolclass=sa.NullPool)
            with engine.begin() as connection:
                legacy.build(connection, shape)
                if fill is not None:
                    legacy.fill(connection, fill(shape))
            engine.dispose()
        return self.templates[key]

    @contextmanager
    def database(self, shape: Shape, fill: Fill | None = None) -> Iterator[sa.Engine]:
        """An engine on a copy, which is dropped at the end."""
        url = self.databases.create(self.engine_name, self.template(shape, fill))
        engine = db.prepare_engine(sa.create_engine(url))
        try:
            yield engine
        finally:
            engine.dispose()
            self.databases.drop(url)


def contents(engine: sa.Engine) -> Contents:
    """Every row of every table, by its primary key."""
    found = {}
    with engine.begin() as connection:
        inspector = sa.inspect(connection)
        tables = inspector.get_table_names()
        listed = legacy.contents(connection, tables)
        for table in tables:
            key = inspector.get_pk_constraint(table)["constrained_columns"]
            found[table] = {"/".join(row[one] for one in key): row for row in listed[table]}
            assert len(found[table]) == len(listed[table]), table
    return found


def differences(before: Contents, after: Contents) -> dict[tuple[str, str, str], tuple[Any, Any]]:
    """What changed in the rows and columns of ``before``: (table, id, column) to both values.

    A row that is gone, or a column, is an error.
    """
    found = {}
    for table, rows in before.items():
        for id_, row in rows.items():
            for column, value in row.items():
                now = after[table][id_][column]
                said = value_of(column, value), value_of(column, now)
                if now != value and not (column in JSON | MONEY and said[0] == said[1]):
                    found[table, id_, column] = said
    return found


def settled(found: Contents) -> Contents:
    """``found`` without what differs from one adoption to the next: the present, and new ids."""
    return {
        table: {
            id_: {name: _settled(name, value) for name, value in row.items()}
            for id_, row in rows.items()
        }
        for table, rows in found.items()
    }


def _settled(column: str, value: str | None) -> str | None:
    if column != "at" and not column.endswith("_at"):
        return value
    return value_of(column, value)


@attrs.frozen
class State:
    """Everything there is to compare in a database."""

    catalog: catalogs.Catalog
    contents: Contents

    @classmethod
    def of(cls, engine: sa.Engine) -> State:
        """That of a PostgreSQL database."""
        with engine.begin() as connection:
            return cls(catalogs.read(connection), contents(engine))


def value_of(column: str | None, value: Any) -> str | None:
    """A value in a spelling by which equal ones are equal: of text from a row, or of JSON."""
    if value is None or column is None:
        return None
    if column in JSON:
        document = json.loads(value if isinstance(value, str) else json.dumps(value, default=float))
        return None if document is None else canonical(document)
    if column in MONEY:
        return str(Decimal(value).normalize())
    if column == "at" or column.endswith("_at"):
        moment = datetime.fromisoformat(value).astimezone(UTC)
        # What is set to the present is so at another moment in a dry run.
        return str(moment) if moment < _BEGIN else "now"
    return str(value).lower() if isinstance(value, bool) else str(value)


@attrs.frozen
class Run:
    """What an adoption said."""

    report: db.AdoptReport
    findings: tuple[Found, ...]

    @property
    def repairs(self) -> dict[tuple[str, str, str | None], tuple[Any, Any]]:
        """What it says it changes, in the form of :func:`differences`."""
        return {(one.table, one.id, one.column): (one.before, one.after) for one in self.findings}


def adopt(engine: sa.Engine, **options: Any) -> Run:
    """Adopt, and keep what is found; raises what it raises."""
    findings: list[Found] = []
    report = db.adopt(engine, on_finding=lambda one: findings.append(found(one)), **options)
    return Run(report, tuple(findings))


def found(finding: db.Finding) -> Found:
    """A finding of the library's, to compare."""
    before, after = finding.before, finding.after
    if finding.column in JSON:
        # A string that is a document is text within the document.
        before, after = (json.dumps(one, default=float) for one in (before, after))
    return Found(
        finding.table,
        str(finding.row_id),
        finding.column,
        finding.kind,
        value_of(finding.column, before),
        value_of(finding.column, after),
        finding.undecided,
    )
