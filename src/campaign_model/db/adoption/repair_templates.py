"""The audit and the repair of templates.

Both use the same CTEs, so that a dry run tells what the repair does. ``template`` has the old and,
as ``new_...``, the repaired values of each row; ``template_finding`` lists the differences.
"""

from __future__ import annotations

from campaign_model.campaign import MAX_NAME
from campaign_model.db.adoption.legacy_database import LegacyDatabase, join_documents
from campaign_model.db.adoption.quarantine import move_values

__all__ = ["audit_templates", "repair_templates"]

_COLUMNS = (
    *("id", "tenant_id", "name", "description", "steps", "default_config", "is_system"),
    *("created_at", "updated_at"),
)


def audit_templates(database: LegacyDatabase) -> str:
    """Write a query that lists the findings of the templates of ``:ids``.

    Its columns are table, row id, column, kind, old value, new value, and whether it needs a
    decision.
    """
    return f"""{_template_ctes(database)}
SELECT
    'campaign_templates',
    id, column_name, kind, CAST(before AS text), CAST(after AS text), undecided
FROM template_finding
ORDER BY id, column_name"""


def repair_templates(database: LegacyDatabase) -> str:
    """Write a statement that repairs the templates of ``:ids``.

    It returns the number of rows that need a decision. If there are any, and no quarantine, its
    transaction must be rolled back.
    """
    return f"""{_template_ctes(database)}{
        move_values(database, "campaign_templates", "template_finding")
    },
repaired AS (
    UPDATE campaign_templates AS present
    SET
        name = template.new_name,
        description = template.new_description,
        steps = template.new_steps,
        default_config = template.new_settings,
        is_system = template.new_is_system,
        created_at = template.new_created_at,
        updated_at = template.new_updated_at,
        version = coalesce(present.version, 1)
    FROM template
    WHERE present.id = template.id
)
SELECT count(*)
FROM template
WHERE undecided"""


def _template_ctes(database: LegacyDatabase) -> str:
    """Write the CTEs, from ``template_row`` to ``template_finding``."""
    return f"""WITH
template_row AS (
{database.select_own("campaign_templates", _COLUMNS, "id = ANY(CAST(:ids AS uuid[]))")}
),
-- What each template says, and whether its values are valid.
template_judged AS (
    SELECT
        template_row.*,
        judgement.*,
        repaired_document.*,
        EXISTS (
            SELECT
            FROM campaign_templates AS earlier
            WHERE earlier.tenant_id = template_row.tenant_id AND earlier.name = template_row.name
                AND earlier.id < template_row.id
        ) AS has_same_name
    FROM template_row
{join_documents("campaign_templates")}
),
-- The old values, and as new_... the values after the repair.
template AS (
    SELECT
        *,
        CASE
            WHEN NOT name_is_valid THEN 'Template ' || id
            WHEN has_same_name THEN left(name, {MAX_NAME - 40}) || ' (' || id || ')'
            ELSE name
        END AS new_name,
        tenant_id IS NULL AS new_is_system,
        coalesce(created_at, updated_at, now()) AS new_created_at,
        coalesce(updated_at, created_at, now()) AS new_updated_at,
        NOT name_is_valid
            OR has_same_name
            OR NOT description_is_valid
            OR NOT steps_are_valid
            OR NOT settings_are_valid
            OR (is_system IS NOT NULL AND is_system <> (tenant_id IS NULL)) AS undecided
    FROM template_judged
),
-- One row for each value that changes or needs a decision.
template_finding AS (
    SELECT template.id, finding.*
    FROM template
    CROSS JOIN LATERAL (
        VALUES
            ('name',
                CASE WHEN name_is_valid THEN 'duplicate_name' ELSE 'bad_name' END,
                to_jsonb(name), to_jsonb(new_name), has_same_name OR NOT name_is_valid),
            ('description', 'bad_description',
                to_jsonb(description), to_jsonb(new_description), NOT description_is_valid),
            ('steps', steps_kind, steps, new_steps, NOT steps_are_valid),
            ('default_config', settings_kind,
                default_config, new_settings, NOT settings_are_valid),
            ('is_system',
                CASE WHEN is_system IS NULL THEN 'absent' ELSE 'system' END,
                to_jsonb(is_system), to_jsonb(new_is_system),
                is_system IS NOT NULL AND is_system <> new_is_system),
            ('created_at', 'absent', to_jsonb(created_at), to_jsonb(new_created_at), false),
            ('updated_at', 'absent', to_jsonb(updated_at), to_jsonb(new_updated_at), false)
    ) AS finding (column_name, kind, before, after, undecided)
    WHERE finding.undecided
        OR finding.before IS DISTINCT FROM finding.after
)"""
