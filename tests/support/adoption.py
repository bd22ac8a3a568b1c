"""Helpers of the adoption tests: legacy databases to adopt, and what to compare before and after.

``LegacyDatabases`` makes copies of databases that are built once. ``DatabaseState`` is everything
in a database; ``changed_values`` lists what differs in its rows. ``adopt`` runs an adoption and
keeps its findings as text. ``assert_adopted`` compares the result with the oracle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model._json import canonical
from campaign_model.campaign import Repair
from campaign_model.store import CampaignStore, transact
from support import catalogs, legacy, servers
from support.adoption_oracle import Expected
from support.legacy import Rows, Shape

POSTGRESQL = servers.postgresql()

RowsById = Mapping[str, Mapping[str, Mapping[str, str | None]]]
"""Table, row id and column, mapped to the value as text."""

Fill = Callable[[Shape], Rows]

JSON = {
    *("template_config", "generation_config", "enrichment_gaps", "steps", "default_config"),
    "reported_tokens",
}
MONEY = {"generation_cost", "reserved", "cost"}
_TEST_RUN_BEGAN = datetime.now(UTC)

BARE = Shape()
EXTENDED = Shape(extended=True)
SERVICE = Shape(extended=True, service=True)


def describe_shape(shape: Shape) -> str:
    """Name a shape for the id of a test."""
    words = ["extended" if shape.extended else "bare"]
    words += [word for word in ("tags", "service") if getattr(shape, word)]
    return "-".join(words)


# Databases.


@attrs.define
class LegacyDatabases:
    """Makes copies of legacy databases on one engine. Each original is built when first needed."""

    databases: servers.Databases
    engine_name: str
    originals: dict[tuple[Shape, Fill | None], str] = attrs.field(factory=dict)

    def original(self, shape: Shape, fill: Fill | None = None) -> str:
        """Return the URL of the original, which has no connections."""
        key = (shape, fill)
        if key not in self.originals:
            self.originals[key] = self.databases.create(self.engine_name)
            engine = sa.create_engine(self.originals[key], poolclass=sa.NullPool)
            with engine.begin() as connection:
                legacy.build(connection, shape)
                if fill is not None:
                    legacy.fill(connection, fill(shape))
            engine.dispose()
        return self.originals[key]

    @contextmanager
    def database(self, shape: Shape, fill: Fill | None = None) -> Iterator[sa.Engine]:
        """Open an engine on a copy, and drop the copy at the end."""
        url = self.databases.create(self.engine_name, self.original(shape, fill))
        engine = db.prepare_engine(sa.create_engine(url))
        try:
            yield engine
        finally:
            engine.dispose()
            self.databases.drop(url)


def execute(engine: sa.Engine, statement: str, **values: object) -> list[tuple[object, ...]]:
    """Execute one statement in a transaction of its own, and return its rows."""
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def read_rows(engine: sa.Engine) -> RowsById:
    """Read every row of every table, by its primary key."""
    rows_by_id = {}
    with engine.begin() as connection:
        inspector = sa.inspect(connection)
        tables = inspector.get_table_names()
        rows = legacy.read_tables(connection, tables)
        for table in tables:
            key = inspector.get_pk_constraint(table)["constrained_columns"]
            rows_by_id[table] = {"/".join(row[name] for name in key): row for row in rows[table]}
            assert len(rows_by_id[table]) == len(rows[table]), table
    return rows_by_id


@attrs.frozen
class DatabaseState:
    """Everything in a PostgreSQL database: its catalog and its rows."""

    catalog: catalogs.Catalog
    rows: RowsById

    @classmethod
    def read(cls, engine: sa.Engine) -> DatabaseState:
        """Read the state of a database."""
        with engine.begin() as connection:
            return cls(catalogs.read_catalog(connection), read_rows(engine))


# Values.


def normalize(column: str | None, value: Any) -> str | None:
    """Spell a value so that equal values are equal. It is text from a row, or a JSON value.

    Times of this test run become "now": they differ between a dry run and the adoption.
    """
    if value is None or column is None:
        return None
    if column in JSON:
        document = json.loads(value if isinstance(value, str) else json.dumps(value, default=float))
        return None if document is None else canonical(document)
    if column in MONEY:
        return str(Decimal(value).normalize())
    if is_time(column):
        time = datetime.fromisoformat(value).astimezone(UTC)
        return str(time) if time < _TEST_RUN_BEGAN else "now"
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_time(column: str) -> bool:
    """Return True for the name of a column that holds a time."""
    return column == "at" or column.endswith("_at")


def normalize_times(rows: RowsById) -> RowsById:
    """Replace times of this test run by "now", so that two adoptions can be compared."""
    return {
        table: {
            row_id: {
                name: normalize(name, value) if is_time(name) else value
                for name, value in row.items()
            }
            for row_id, row in rows_of_table.items()
        }
        for table, rows_of_table in rows.items()
    }


def changed_values(
    before: RowsById, after: RowsById
) -> dict[tuple[str, str, str], tuple[Any, Any]]:
    """List the values of ``before`` that changed: (table, id, column) to (old, new).

    A row or column that is gone is a KeyError.
    """
    changes = {}
    for table, rows in before.items():
        for row_id, row in rows.items():
            for column, old in row.items():
                new = after[table][row_id][column]
                spellings = normalize(column, old), normalize(column, new)
                only_spelled_differently = column in JSON | MONEY and spellings[0] == spellings[1]
                if new != old and not only_spelled_differently:
                    changes[table, row_id, column] = spellings
    return changes


# Adoptions.


@attrs.frozen
class FindingText:
    """A finding whose values are text, so that it can be compared."""

    table: str
    row_id: str
    column: str | None
    kind: str
    before: str | None
    after: str | None
    undecided: bool

    @classmethod
    def of(cls, finding: db.Finding) -> FindingText:
        """Convert a finding of the library."""
        before, after = finding.before, finding.after
        if finding.column in JSON:
            # A document that is a string is text inside the document.
            before, after = (json.dumps(value, default=float) for value in (before, after))
        return cls(
            finding.table,
            str(finding.row_id),
            finding.column,
            finding.kind,
            normalize(finding.column, before),
            normalize(finding.column, after),
            finding.undecided,
        )


@attrs.frozen
class AdoptionRun:
    """The report and the findings of an adoption."""

    report: db.AdoptReport
    findings: tuple[FindingText, ...]

    @property
    def repairs(self) -> dict[tuple[str, str, str | None], tuple[Any, Any]]:
        """The findings in the form of :func:`changed_values`."""
        return {
            (finding.table, finding.row_id, finding.column): (finding.before, finding.after)
            for finding in self.findings
        }


def adopt(engine: sa.Engine, *, enforce: bool = True, **options: Any) -> AdoptionRun:
    """Adopt a database, with both steps, and keep the findings. Errors pass through."""
    findings: list[FindingText] = []
    report = db.adopt(
        engine,
        on_finding=lambda finding: findings.append(FindingText.of(finding)),
        enforce=enforce,
        **options,
    )
    return AdoptionRun(report, tuple(findings))


def assert_adopted(run: AdoptionRun, before: RowsById, after: RowsById, expected: Expected) -> None:
    """Compare the rows with the oracle, and the findings with what changed."""
    # 1. The rows are those that the oracle expects.
    for table, rows in expected.rows.items():
        assert after.get(table, {}).keys() >= rows.keys()
        for row_id, row in rows.items():
            actual = {name: normalize(name, after[table][row_id][name]) for name in row}
            assert actual == {
                name: normalize(name, json.dumps(value) if name in JSON else value)
                for name, value in row.items()
            }, (table, row_id)

    # 2. Every change was found, and every finding about an old value is a change.
    changes = changed_values(before, after)
    found_changes = {
        (table, row_id, column): values
        for (table, row_id, column), values in run.repairs.items()
        # A finding may be about a new column or row. JSON's null and NULL are the same to it.
        if column in before.get(table, {}).get(row_id, {}) and values != (None, None)
    }
    assert found_changes == changes

    # 3. A time changes only if it was missing. Then it gets the time of its pair.
    pairs = {"created_at": "updated_at", "updated_at": "created_at"}
    for (table, row_id, column), (old, new) in changes.items():
        if column.endswith("_at"):
            pair = pairs.get(column, "generated_at")
            pair_value = normalize(pair, before[table][row_id].get(pair))
            assert (old, new) == (None, pair_value or "now"), (table, row_id, column)

    # 4. Every new value in a finding is in the row.
    for (table_name, id_, changed_column), (_, new_value) in run.repairs.items():
        if changed_column is not None:
            actual_value = after[table_name][id_][changed_column]
            assert normalize(changed_column, actual_value) == new_value


def codes_besides_kept(repairs: Iterable[Repair]) -> set[str]:
    """Return the codes of the repairs of other members than adoption keeps as they are.

    Adoption keeps empty members and long words. Other members have no such repair.
    """
    repairs = tuple(repairs)
    kept_codes = {"null_removed", "empty_removed", "shortened"}
    kept = {repair.path for repair in repairs if repair.code in kept_codes}
    return {repair.code for repair in repairs if repair.path not in kept}


def read_with_store(engine: sa.Engine) -> dict[str, str]:
    """Read every campaign, contact and template with the store. Return campaign statuses by id."""
    statuses = {}

    def read_tenant(store: CampaignStore) -> None:
        for summary in store.campaigns.list(deleted=True, limit=500).items:
            campaign = store.campaigns.get(summary.id)
            # A step keeps a wrong number, because messages may refer to it.
            assert codes_besides_kept(campaign.repairs) <= {"renumbered"}
            history = store.campaigns.history(campaign.id)
            # A campaign that was inserted during the adoption has an empty history.
            assert [entry.action for entry in history] in ([], ["adopted"])
            contacts = store.contacts.list(campaign.id).items
            progress = store.generation.progress(campaign.id)
            assert progress.total == sum(contact.status != "excluded" for contact in contacts)
            assert progress.spent == sum(contact.cost for contact in contacts)
            assert progress.spent == summary.generation_cost
            exported = [contact for contact in contacts if contact.exported_at is not None]
            assert progress.exported == len(exported)
            statuses[str(campaign.id)] = str(campaign.status)
        for template in store.templates.list():
            assert store.templates.get(template.id) == template

    for (tenant_id,) in execute(engine, "SELECT id FROM tenants"):
        transact(engine, UUID(str(tenant_id)), read_tenant)
    return statuses
