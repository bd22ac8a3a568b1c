"""The audit of campaigns and their contacts, and the repair of campaigns with their totals.

``campaign`` has the old and, as ``new_...``, the repaired values of each campaign of ``ids``;
``campaign_finding`` lists the differences; ``total`` counts the repaired contacts. A campaign whose
``version`` is NULL has not been repaired yet.

Totals are only written while no worker of this library runs, so they all go into shard 0.
"""

from __future__ import annotations

from campaign_model.campaign import ADOPTED
from campaign_model.db.adoption.legacy_database import (
    QUARANTINE,
    LegacyDatabase,
    Rule,
    default_rule,
    has_no_tenant,
    quote_texts,
    time_rule,
    write_audit,
    write_ctes,
    write_repair,
)
from campaign_model.db.adoption.repair_contacts import contact_ctes
from campaign_model.db.adoption.repair_documents import document_rules, join_documents
from campaign_model.db.adoption.repair_messages import (
    campaign_row_ctes,
    message_ctes,
    time_of_export,
)
from campaign_model.db.adoption.report import RUN_TIME_KEYS
from campaign_model.db.schema import quote, quote_text
from campaign_model.lifecycle import ContactStatus

_RUN_TIME_KEYS = quote_texts(RUN_TIME_KEYS)

_TOTALS = {
    **{status.value: f"count(*) FILTER (WHERE status = '{status}')" for status in ContactStatus},
    "exported": "count(exported_at)",
    "cost": "sum(generation_cost)",
    "unknown_costs": "sum(unknown_costs)",
}
"""The columns of ``campaign_totals`` that follow from the contacts, each with its aggregate over
rows with status, exported_at, generation_cost and unknown_costs."""

_COUNT_TOTALS = ",\n        ".join(f"{sql} AS {name}" for name, sql in _TOTALS.items())

# A condition on campaigns: their totals differ from the sums over their contacts.
HAS_DRIFTED = f"""id IN (
    SELECT campaign_id
    FROM (
        SELECT campaign_id, {_COUNT_TOTALS}
        FROM campaign_contacts
        GROUP BY campaign_id
        UNION ALL
        SELECT campaign_id, {", ".join(f"-{name}" for name in _TOTALS)}
        FROM campaign_totals
    ) AS difference
    GROUP BY campaign_id
    HAVING {" OR ".join(f"sum({name}) <> 0" for name in _TOTALS)}
)"""

# A CTE that writes the totals of a batch. A campaign gets a row if it has contacts, or has a row
# already.
_WRITE_TOTALS = f"""
written_total AS (
    INSERT INTO campaign_totals (tenant_id, campaign_id, shard, {", ".join(_TOTALS)})
    SELECT
        campaign.tenant_id, campaign.id, 0,
        {", ".join(f"coalesce(campaign.{name}, 0)" for name in _TOTALS)}
    FROM campaign
    WHERE campaign.campaign_id IS NOT NULL
        OR EXISTS (
            SELECT
            FROM campaign_totals AS recorded
            WHERE recorded.tenant_id = campaign.tenant_id AND recorded.campaign_id = campaign.id
        )
    ON CONFLICT (tenant_id, campaign_id, shard) DO UPDATE
    SET
        {", ".join(f"{name} = excluded.{name}" for name in _TOTALS)},
        low_watermark = NULL
)"""


def has_foreign_template(database: LegacyDatabase, row: str) -> str:
    """Write the condition that the campaign ``row`` names a template of another tenant.

    A template that does not exist any more belongs to no tenant.
    """
    if not (
        database.has_column("campaigns", "template_id")
        and database.has_column("campaign_templates", "id")
    ):
        return "false"
    return f"""EXISTS (
            SELECT
            FROM campaign_templates AS template
            WHERE template.id = {row}.template_id AND template.tenant_id <> {row}.tenant_id
        )"""


def audit_campaigns(database: LegacyDatabase) -> str:
    """Write a query that lists the findings of the campaigns of ``ids`` and of their contacts."""
    return write_audit(
        _campaign_ctes(database),
        {
            "campaign_finding": "campaigns",
            "contact_finding": "campaign_contacts",
            "message_contact_finding": "campaign_contacts",
            "message_finding": database.inspection.messages,
        },
    )


def insert_message_contacts(database: LegacyDatabase) -> str:
    """Write a statement that creates the contacts of the campaigns of ``ids`` without contacts.

    With the quarantine, it also logs the values of messages that it cannot use.
    """
    quarantined = ""
    if database.options.quarantine:
        quarantined = f""",
quarantined AS (
    INSERT INTO {QUARANTINE} (table_name, row_id, column_name, value, kind)
    SELECT {quote_text(database.inspection.messages)}, id, column_name, before, kind
    FROM message_finding
    WHERE undecided
)"""
    return f"""WITH{campaign_row_ctes(database)},{message_ctes(database)}{quarantined}
INSERT INTO campaign_contacts (
    id, tenant_id, campaign_id, contact_id, status, generation_cost, unknown_costs, rank,
    claimed_at, added_at, generated_at, exported_at
)
SELECT
    message_contact.id, message_contact.tenant_id, campaign_id, contact_id,
    '{ContactStatus.GENERATED}', message_contact.generation_cost, unknown_costs, rank,
    generated_at, added_at, generated_at, {time_of_export("message_contact")}
FROM message_contact
JOIN campaign_row ON campaign_row.id = message_contact.campaign_id"""


def repair_campaigns(database: LegacyDatabase) -> str:
    """Write a statement that repairs the campaigns of ``rows``, after their contacts.

    The statement also writes the campaigns' totals, and begins their history with an entry that
    contains the old values.
    """
    write_totals = "" if database.inspection.has_version else f",{_WRITE_TOTALS}"
    other_writes = f"""{write_totals},
-- For each campaign, the values that the repair changes. Of the documents, only what it removes.
old_values AS (
    SELECT
        campaign_finding.id,
        jsonb_object_agg(
            column_name,
            CASE WHEN column_name = 'generation_config' THEN run_time_values ELSE before END
        ) AS reason
    FROM campaign_finding
    JOIN campaign ON campaign.id = campaign_finding.id
    WHERE column_name <> 'template_config'
        AND (column_name <> 'generation_config' OR run_time_values IS NOT NULL)
    GROUP BY campaign_finding.id
),
-- The history of a campaign begins with these values.
history_entry AS (
    INSERT INTO campaign_history
        (id, tenant_id, campaign_id, version, action, source, target, reason, at)
    SELECT
        CAST(md5('{ADOPTED}/' || campaign.id) AS uuid),
        campaign.tenant_id,
        campaign.id,
        1,
        '{ADOPTED}',
        campaign.new_status,
        campaign.new_status,
        CAST(old_values.reason AS text),
        campaign.new_updated_at
    FROM campaign
    LEFT JOIN old_values ON old_values.id = campaign.id
    WHERE campaign.version IS NULL
    ON CONFLICT (tenant_id, campaign_id, version) DO NOTHING
)"""
    return write_repair(
        database,
        "campaigns",
        "campaign",
        _campaign_ctes(database),
        _campaign_rules(database),
        other_writes,
    )


def _campaign_ctes(database: LegacyDatabase) -> str:
    """Write all CTEs of an audit, from the contacts to the last one, ``campaign_finding``.

    ``contact_ctes`` writes the CTE ``campaign_row`` too. ``join_documents`` joins ``checked``, the
    documents as values.
    """
    return f"""{contact_ctes(database)},{message_ctes(database)},
-- The sums over the repaired contacts of each campaign.
total AS (
    SELECT
        campaign_id,
        {_COUNT_TOTALS},
        count(*) FILTER (WHERE status <> '{ContactStatus.EXCLUDED}') AS contacts,
        max(rank) + 1 AS following_rank
    FROM (
        SELECT
            campaign_id,
            new_status AS status,
            new_generation_cost AS generation_cost,
            new_unknown_costs AS unknown_costs,
            new_rank AS rank,
            new_exported_at AS exported_at
        FROM contact
        WHERE NOT is_misplaced
        -- The contacts that the repair adds, because they have messages.
        UNION ALL
        SELECT campaign_id, '{ContactStatus.GENERATED}', generation_cost, unknown_costs, rank, NULL
        FROM message_contact
    ) AS repaired_contact
    GROUP BY campaign_id
),
-- The values of each campaign, and whether they are valid.
campaign_checked AS (
    SELECT
        campaign_row.*,
        checked.*,
        total.*,
        {has_no_tenant(database, "campaign_row")} AS has_no_tenant,
        owner_id IS NOT NULL AND NOT EXISTS (
            SELECT
            FROM {quote(database.inspection.host.owners)} AS owner
            WHERE owner.id = campaign_row.owner_id AND owner.tenant_id = campaign_row.tenant_id
        ) AS has_foreign_owner,
        {has_foreign_template(database, "campaign_row")} AS has_foreign_template,
        CASE
            WHEN jsonb_typeof(decoded_settings) = 'object'
                THEN (
                    SELECT jsonb_object_agg(key, value)
                    FROM jsonb_each(decoded_settings)
                    WHERE key IN ({_RUN_TIME_KEYS})
                )
        END AS run_time_values
    FROM campaign_row
{join_documents("campaigns")}
    LEFT JOIN total ON total.campaign_id = campaign_row.id
),{write_ctes("campaign", _campaign_rules(database), "campaign_checked")}"""


def _campaign_rules(database: LegacyDatabase) -> dict[str, Rule]:
    """Return the rule for each column of campaigns that the repair sets."""
    documents = document_rules("campaigns")
    settings = documents.pop("generation_config")

    def recounted(column: str, counted: str) -> Rule:
        new = column if database.inspection.has_version else f"coalesce({counted}, 0)"
        return Rule(new, kind="'recounted'")

    return {
        "tenant_id": Rule("tenant_id", kind="'no_tenant'", undecided="has_no_tenant"),
        "owner_id": Rule(
            "CASE WHEN NOT has_foreign_owner THEN owner_id END",
            kind="'other_tenant'",
            undecided="has_foreign_owner",
        ),
        "template_id": Rule(
            "CASE WHEN NOT has_foreign_template THEN template_id END",
            kind="'other_tenant'",
            undecided="has_foreign_template",
        ),
        "generation_started_at": time_rule("generation_started_at"),
        "generation_completed_at": time_rule("generation_completed_at"),
        "name": Rule(
            "CASE WHEN name_is_valid THEN name ELSE 'Campaign ' || id END",
            kind="'bad_name'",
            undecided="NOT name_is_valid",
        ),
        "is_active": Rule("coalesce(is_active, true)", kind="'absent'"),
        "status": Rule(
            "repaired_status",
            kind="""CASE
                WHEN status IS NOT NULL AND known_status IS NULL THEN 'unknown_status'
                WHEN NOT new_is_active THEN 'status_inactive'
                WHEN known_status IS NULL AND has_sent_messages THEN 'status_sent'
                WHEN known_status IS NULL AND has_lemlist_id THEN 'status_lemlist'
                WHEN known_status IS NULL THEN 'status_otherwise'
                WHEN known_status <> status THEN 'status_mapped'
                ELSE 'stuck'
            END""",
            undecided="status IS NOT NULL AND known_status IS NULL",
        ),
        **documents,
        "generation_config": Rule(
            f"{settings.new} - CAST(ARRAY[{_RUN_TIME_KEYS}] AS text[])",
            kind=f"""CASE
                WHEN settings_are_valid AND run_time_values IS NOT NULL THEN 'run_time_keys'
                ELSE {settings.kind}
            END""",
            undecided=settings.undecided,
            paths=settings.paths,
        ),
        "total_contacts": recounted("total_contacts", "contacts"),
        "generated_count": recounted("generated_count", "generated"),
        "generation_cost": recounted("generation_cost", "cost"),
        "next_position": Rule("coalesce(greatest(next_position, following_rank), 0)"),
        **{name: default_rule(name) for name in ("clone_count", "finished_before_start")},
    }
