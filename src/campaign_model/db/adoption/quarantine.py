"""The quarantine: a table that keeps the values that adoption takes out of a row.

The table is made only if the operator asks for it. It names the table, row and column of each value
(no column for a whole row) and the kind of the finding.
"""

from __future__ import annotations

from campaign_model.db.adoption.legacy_database import LegacyDatabase, quote_texts
from campaign_model.db.schema import quote

__all__ = ["CREATE_QUARANTINE", "QUARANTINE", "move_contacts", "move_values"]

QUARANTINE = "campaign_quarantine"

CREATE_QUARANTINE = f"""
CREATE TABLE IF NOT EXISTS {QUARANTINE} (
    id uuid DEFAULT gen_random_uuid() NOT NULL CONSTRAINT pk_{QUARANTINE} PRIMARY KEY,
    table_name text NOT NULL,
    row_id text NOT NULL,
    column_name text,
    value jsonb NOT NULL,
    kind text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)"""


def move_values(database: LegacyDatabase, table: str, findings: str, where: str = "true") -> str:
    """Write a CTE that copies undecided values from the CTE ``findings`` to the quarantine.

    It begins with a comma and is empty unless the operator asked for the quarantine.
    """
    if not database.options.quarantine:
        return ""
    return f""",
quarantined AS (
    INSERT INTO {QUARANTINE} (table_name, row_id, column_name, value, kind)
    SELECT '{table}', CAST(id AS text), column_name, before, kind
    FROM {findings}
    WHERE undecided AND {where}
)"""


def move_contacts(database: LegacyDatabase) -> tuple[str, ...]:
    """Write the statements that move the contacts of ``:rows`` to the quarantine.

    First the columns that refer to these contacts are moved, then the rows.
    """
    statements = []
    for reference in database.references:
        table, column = quote(reference.table), quote(reference.column)
        statements.append(f"""
WITH quarantined AS (
    INSERT INTO {QUARANTINE} (table_name, row_id, column_name, value, kind)
    SELECT
        {quote_texts([reference.table])},
        coalesce(to_jsonb(referring) ->> 'id', ''),
        {quote_texts([reference.column])},
        to_jsonb(referring.{column}),
        'other_tenant'
    FROM {table} AS referring
    WHERE referring.{column} = ANY(CAST(:rows AS uuid[]))
)
UPDATE {table}
SET {column} = NULL
WHERE {column} = ANY(CAST(:rows AS uuid[]))""")
    statements.append(f"""
WITH deleted AS (
    DELETE FROM campaign_contacts
    WHERE id = ANY(CAST(:rows AS uuid[]))
    RETURNING *
)
INSERT INTO {QUARANTINE} (table_name, row_id, value, kind)
SELECT 'campaign_contacts', CAST(id AS text), to_jsonb(deleted), 'other_tenant'
FROM deleted""")
    return tuple(statements)
