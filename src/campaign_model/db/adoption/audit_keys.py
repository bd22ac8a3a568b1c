"""The part of the audit that finds rows which break a key of the plan.

The queries read whole tables, because the rows concerned have no owner by which the batches of the
other audits could find them. A query is left out if the catalog proves that it finds nothing. Their
columns are those of :func:`legacy_database.write_audit`, and the reason.
"""

from __future__ import annotations

from collections.abc import Iterator

from campaign_model.db.adoption.catalog import Table
from campaign_model.db.adoption.legacy_database import LegacyDatabase
from campaign_model.db.adoption.plan import MARKERS
from campaign_model.db.adoption.repair_contacts import write_in_use


def write_key_audits(database: LegacyDatabase) -> Iterator[str]:
    """Yield a query for each key that rows may break: ids, and keys of campaign contacts."""
    tables = database.inspection.tables
    for name in MARKERS:
        if name in tables and not (
            _is_unique(tables[name], {"id"}) and tables[name].columns["id"].not_null
        ):
            yield _audit_ids(name)
    if "campaign_contacts" in tables:
        yield _audit_campaigns_of_contacts(database)
        if not _is_unique(tables["campaign_contacts"], {"campaign_id", "contact_id"}):
            yield _AUDIT_DUPLICATE_CONTACTS


def _is_unique(table: Table, columns: set[str]) -> bool:
    """Return True if no two rows of the table have the same values in all ``columns``."""
    return any(
        index.is_key and index.valid and {*index.columns} <= columns
        for index in table.indexes.values()
    )


def _audit_ids(table: str) -> str:
    """Write a query for the rows whose id is NULL or not unique. It gives the whole rows."""
    return f"""
SELECT
    '{table}', coalesce(CAST(source.id AS text), CAST(to_jsonb(source) AS text)), 'id',
    'duplicate_id', CAST(to_jsonb(source) AS text), CAST(NULL AS text), true, CAST(NULL AS text)
FROM {table} AS source
-- A join, because the planner would not hash the many groups that it expects in a subquery.
LEFT JOIN (
    SELECT id
    FROM {table}
    GROUP BY id
    HAVING count(*) > 1
) AS duplicated ON duplicated.id = source.id
WHERE source.id IS NULL OR duplicated.id IS NOT NULL
ORDER BY 2"""


def _audit_campaigns_of_contacts(database: LegacyDatabase) -> str:
    """Write a query for the campaign contacts whose campaign is NULL or does not exist."""
    condition = "true"
    if database.has_column("campaigns", "id"):
        condition = """NOT EXISTS (
    SELECT
    FROM campaigns
    WHERE campaigns.id = contact.campaign_id
)"""
    return f"""
SELECT
    'campaign_contacts', CAST(id AS text), 'campaign_id', 'no_campaign' || {write_in_use(database)},
    CAST(to_jsonb(campaign_id) AS text), CAST(NULL AS text), true, CAST(NULL AS text)
FROM campaign_contacts AS contact
WHERE {condition}
ORDER BY 2"""


# Each row after the first one of a contact in a campaign, with the id of the first one.
_AUDIT_DUPLICATE_CONTACTS = """
SELECT
    'campaign_contacts', CAST(id AS text), 'contact_id', 'duplicate_contact',
    CAST(to_jsonb(contact_id) AS text), CAST(NULL AS text), true,
    'the row ' || first_id || ' has the same campaign and contact: delete one of the two rows'
FROM (
    SELECT campaign_id, contact_id, min(CAST(id AS text)) AS first_id
    FROM campaign_contacts
    GROUP BY campaign_id, contact_id
    HAVING count(*) > 1
) AS duplicated
JOIN campaign_contacts USING (campaign_id, contact_id)
WHERE CAST(id AS text) <> first_id
ORDER BY 2"""
