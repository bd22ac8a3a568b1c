"""The audit and the repair of templates."""

from __future__ import annotations

from campaign_model.campaign import MAX_NAME
from campaign_model.db.adoption.legacy_database import (
    LegacyDatabase,
    Rule,
    has_no_tenant,
    write_audit,
    write_ctes,
    write_repair,
)
from campaign_model.db.adoption.repair_documents import document_rules, join_documents

_RULES = {
    "name": Rule(
        f"""CASE
            WHEN NOT name_is_valid THEN 'Template ' || id
            WHEN has_same_name THEN left(name, {MAX_NAME - 40}) || ' (' || id || ')'
            ELSE name
        END""",
        kind="CASE WHEN name_is_valid THEN 'duplicate_name' ELSE 'bad_name' END",
        undecided="has_same_name OR NOT name_is_valid",
    ),
    "is_system": Rule(
        "tenant_id IS NULL",
        kind="CASE WHEN is_system IS NULL THEN 'absent' ELSE 'system' END",
        undecided="is_system IS NOT NULL AND is_system <> (tenant_id IS NULL)",
    ),
    "tenant_id": Rule("tenant_id", kind="'no_tenant'", undecided="has_no_tenant"),
    **document_rules("campaign_templates"),
}


def audit_templates(database: LegacyDatabase) -> str:
    """Write a query that lists the findings of the templates of ``ids``."""
    return write_audit(_template_ctes(database), {"template_finding": "campaign_templates"})


def repair_templates(database: LegacyDatabase) -> str:
    """Write a statement that repairs the templates of ``rows``."""
    ctes = _template_ctes(database)
    return write_repair(database, "campaign_templates", "template", ctes, _RULES)


def has_same_name(row: str) -> str:
    """Write the condition that the template ``row`` has the name of another one of its tenant.

    It is false for the first of these templates, which keeps the name.
    """
    return f"""EXISTS (
            SELECT
            FROM campaign_templates AS earlier
            WHERE earlier.tenant_id = {row}.tenant_id AND earlier.name = {row}.name
                AND earlier.id < {row}.id
        )"""


def _template_ctes(database: LegacyDatabase) -> str:
    """Write all CTEs of an audit or a repair, up to ``template`` and ``template_finding``."""
    return f"""
template_row AS (
{database.select_library_rows("campaign_templates", owner="id")}
),
-- The values of each template, and whether they are valid.
template_checked AS (
    SELECT
        template_row.*,
        checked.*,
        {has_same_name("template_row")} AS has_same_name,
        tenant_id IS NOT NULL AND {has_no_tenant(database, "template_row")} AS has_no_tenant
    FROM template_row
{join_documents("campaign_templates")}
),{write_ctes("template", _RULES, "template_checked")}"""
