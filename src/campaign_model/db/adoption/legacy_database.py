"""The database that the repairs are written for, and the SQL that all repairs share.

The tables of legacy databases differ: columns, or whole tables, are missing until the phase
``expand`` has run, and the audit reads them before that. :class:`LegacyDatabase` hides this: its
``select_...`` methods write a SELECT with every column, whether or not the database has it.

Parameters of the statements, written ``CAST(:name AS type)``:

- ``ids``: the ids of the batch, of campaigns or of templates;
- ``rows``: ids of campaign contacts of these campaigns;
- ``unreadable``: ``id/column`` of values that the library's types cannot read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import attrs

from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.db.adoption.catalog import Catalog, Reference
from campaign_model.db.adoption.findings import DOCUMENT_COLUMNS
from campaign_model.db.adoption.options import Options
from campaign_model.db.adoption.plan import MARKERS, value_when_added
from campaign_model.db.checks import checks
from campaign_model.db.schema import expected_tables, quote
from campaign_model.store.tables import HostTables

__all__ = [
    "LegacyDatabase",
    "decode",
    "join_documents",
    "needs_repair",
    "quote_texts",
    "select_documents",
]


@attrs.frozen
class LegacyDatabase:
    """The database: its tables, the host's names, and the operator's options.

    ``references`` are columns that refer to campaign contacts. ``recount`` is true if totals are
    counted again from the contacts: only while no worker of this library runs.
    """

    tables: Catalog
    host: HostTables
    messages: str
    options: Options
    references: Sequence[Reference] = ()
    recount: bool = True

    def select_own(self, table: str, columns: Iterable[str], where: str) -> str:
        """Write a SELECT from a table of the library.

        A missing column reads as the value that old rows get when it is added. A missing table has
        no rows.
        """
        expected = expected_tables(self.host)[table].columns
        if table not in self.tables:
            return _write_empty_select({name: expected[name].type for name in columns})
        items = []
        for name in columns:
            if self.has_column(table, name):
                items.append(name)
            else:
                value = value_when_added(table, name, expected[name]) or "NULL"
                items.append(f"CAST({value} AS {expected[name].type}) AS {name}")
        return _write_select(items, table, where)

    def select_messages(self, where: str) -> str:
        """Write a SELECT from the host's messages; missing columns are NULL.

        There are no rows if the messages do not refer to campaigns.
        """
        types = {
            "id": "uuid",
            "campaign_id": "uuid",
            "contact_id": "uuid",
            "status": "text",
            "generation_cost": "numeric",
            "created_at": "timestamp with time zone",
        }
        if not self.has_column(self.messages, "campaign_id"):
            return _write_empty_select(types)
        names = {"generation_cost": "generation_cost_usd"}
        items = []
        for name, type_ in types.items():
            column = names.get(name, name)
            value = column if self.has_column(self.messages, column) else "NULL"
            items.append(f"CAST({value} AS {type_}) AS {name}")
        return _write_select(items, quote(self.messages), where)

    def has_column(self, table: str, column: str) -> bool:
        """Return True if the table is there and has the column."""
        return table in self.tables and column in self.tables[table].columns

    def translate_status(self, statuses: Iterable[str]) -> str:
        """Write an expression: the status that the column ``status`` means, or NULL for none."""
        known = [*statuses]
        status_map = {
            word: status
            for word, status in self.options.status_map.items()
            if status in known and word not in known
        }
        is_known = f"status IN ({quote_texts(known)})"
        if not status_map:
            return f"CASE WHEN {is_known} THEN status END"
        return (
            f"CASE WHEN {is_known} THEN status"
            f" ELSE CAST({quote_texts([json.dumps(status_map)])} AS jsonb) ->> status END"
        )


def needs_repair(database: LegacyDatabase, table: str) -> str:
    """Write the condition for a row that has not been repaired, or that breaks a constraint.

    It needs all columns, so it works after the phase ``expand``.
    """
    not_null = [
        f"{name} IS NOT NULL"
        for name, column in expected_tables(database.host)[table].columns.items()
        if column.not_null
    ]
    conditions = [f"({condition})" for condition in checks("postgresql")[table].values()]
    is_correct = "\n    AND ".join([*not_null, *conditions])
    return f"({MARKERS[table]} IS NULL OR NOT coalesce(\n    {is_correct},\n    false\n))"


def select_documents(database: LegacyDatabase, table: str) -> str:
    """Write a SELECT of the values that only the library's types can judge.

    It gives id, name, description, and the steps and settings as text (NULL if there are none).
    """
    steps, settings = DOCUMENT_COLUMNS[table]
    columns = ("id", "name", "description", steps, settings)
    return f"""
SELECT
    id,
    name,
    description,
    CASE WHEN {decode(steps)} IS NOT NULL THEN CAST({steps} AS text) END,
    CASE WHEN {decode(settings)} IS NOT NULL THEN CAST({settings} AS text) END
FROM (
{database.select_own(table, columns, "id = ANY(CAST(:ids AS uuid[]))")}
) AS source"""


def join_documents(table: str) -> str:
    """Write a join that judges and repairs the documents, name and description of each row.

    It adds ``decoded_steps`` and ``decoded_settings`` (NULL if there are none), four booleans
    (``steps_are_valid``, ``settings_are_valid``, ``name_is_valid``, ``description_is_valid``), the
    repaired values (``new_steps``, ``new_settings``, ``new_description``) and the kinds of the
    findings (``steps_kind``, ``settings_kind``). A document is valid if it passes the CHECK of its
    column and the library's types can read it.
    """
    steps, settings = DOCUMENT_COLUMNS[table]
    conditions = checks("postgresql")[table]

    def is_readable(column: str) -> str:
        return f"id || '/{column}' <> ALL(CAST(:unreadable AS text[]))"

    # The CHECKs name their column, so the decoded documents get the names of the columns.
    return f"""
    CROSS JOIN LATERAL (
        SELECT
            {steps} AS decoded_steps,
            {settings} AS decoded_settings,
            coalesce({steps} IS NULL OR {conditions[steps]}, false)
                AND {is_readable(steps)} AS steps_are_valid,
            coalesce({settings} IS NULL OR {conditions[settings]}, false)
                AND {is_readable(settings)} AS settings_are_valid,
            coalesce(btrim(name) <> '' AND char_length(name) <= {MAX_NAME}, false)
                AND {is_readable("name")} AS name_is_valid,
            char_length(coalesce(description, '')) <= {MAX_DESCRIPTION}
                AND {is_readable("description")} AS description_is_valid
        FROM (
            SELECT
                {decode(steps)} AS {steps},
                {decode(settings)} AS {settings}
        ) AS decoded
    ) AS judgement
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN steps_are_valid AND decoded_steps IS NOT NULL
                    THEN pg_temp.fill_steps(decoded_steps)
                ELSE '[]'
            END AS new_steps,
            CASE
                WHEN settings_are_valid AND decoded_settings IS NOT NULL THEN decoded_settings
                ELSE '{{}}'
            END AS new_settings,
            CASE WHEN description_is_valid THEN description END AS new_description,
            CASE
                WHEN NOT steps_are_valid THEN 'not_steps'
                WHEN decoded_steps IS NOT NULL AND jsonb_typeof({steps}) = 'string'
                    THEN 'double_encoded'
                ELSE 'absent'
            END AS steps_kind,
            CASE
                WHEN NOT settings_are_valid THEN 'not_settings'
                WHEN decoded_settings IS NOT NULL AND jsonb_typeof({settings}) = 'string'
                    THEN 'double_encoded'
                ELSE 'absent'
            END AS settings_kind
    ) AS repaired_document"""


def decode(column: str) -> str:
    """Write an expression: a document decoded from JSON strings, NULL for JSON's null.

    Most documents are no strings; the CASE saves a call of the function for these.
    """
    return (
        f"CASE jsonb_typeof({column}) WHEN 'string' THEN pg_temp.decode_json({column})"
        f" ELSE nullif({column}, 'null') END"
    )


def quote_texts(texts: Iterable[str]) -> str:
    """Write texts as a list of SQL literals."""
    return ", ".join("'" + str(text).replace("'", "''") + "'" for text in texts)


def _write_select(items: Iterable[str], table: str, where: str) -> str:
    select_list = ",\n        ".join(items)
    return f"    SELECT\n        {select_list}\n    FROM {table}\n    WHERE {where}"


def _write_empty_select(types: Mapping[str, str]) -> str:
    select_list = ",\n        ".join(
        f"CAST(NULL AS {type_}) AS {name}" for name, type_ in types.items()
    )
    return f"    SELECT\n        {select_list}\n    WHERE false"
