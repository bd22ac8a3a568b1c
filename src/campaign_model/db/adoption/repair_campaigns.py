"""The audit of campaigns and their contacts, and the repair of campaigns.

Both use the same CTEs, so that a dry run tells what the repair does. ``campaign`` has the old and,
as ``new_...``, the repaired values of each campaign of ``:ids``; ``campaign_finding`` lists the
differences; ``total`` counts the repaired contacts. A campaign whose ``version`` is NULL has not
been repaired yet.
"""

from __future__ import annotations

from campaign_model.campaign import ADOPTED
from campaign_model.db.adoption.findings import RUN_TIME_KEYS
from campaign_model.db.adoption.legacy_database import LegacyDatabase, join_documents, quote_texts
from campaign_model.db.adoption.quarantine import move_values
from campaign_model.db.adoption.recount import TOTALS, write_totals
from campaign_model.db.adoption.repair_contacts import contact_ctes
from campaign_model.db.adoption.repair_messages import INSERT_MESSAGE_CONTACTS, message_ctes
from campaign_model.db.schema import quote
from campaign_model.lifecycle import Action, ContactStatus, Status, target

__all__ = ["audit_campaigns", "insert_message_contacts", "repair_campaigns"]

_COLUMNS = (
    *("id", "tenant_id", "owner_id", "name", "description", "status", "is_active"),
    *("template_config", "generation_config", "total_contacts", "generated_count"),
    *("generation_cost", "version", "created_at", "updated_at"),
)

_SENT = quote_texts(("sent", "delivered", "replied"))
"""The statuses of messages that a contact has got."""

_RUN_TIME_KEYS = quote_texts(RUN_TIME_KEYS)
_ARCHIVED = target(Action.DELETE)
_RELEASED = target(Action.CANCEL_GENERATION)


def audit_campaigns(database: LegacyDatabase) -> str:
    """Write a query that lists the findings of the campaigns of ``:ids`` and of their contacts.

    Its columns are table, row id, column, kind, old value, new value, and whether it needs a
    decision.
    """
    return f"""{_campaign_ctes(database)}
SELECT table_name, id, column_name, kind, CAST(before AS text), CAST(after AS text), undecided
FROM (
    SELECT 'campaigns' AS table_name, * FROM campaign_finding
    UNION ALL
    SELECT 'campaign_contacts', * FROM contact_finding
    UNION ALL
    SELECT 'campaign_contacts', * FROM message_contact_finding
    UNION ALL
    SELECT {quote_texts([database.messages])}, * FROM message_finding
) AS finding
ORDER BY table_name, id, column_name"""


def insert_message_contacts(database: LegacyDatabase) -> str:
    """Write a statement that creates the contacts that only messages know, in ``:ids``."""
    return f"""WITH{_campaign_row(database)},{message_ctes(database)}
{INSERT_MESSAGE_CONTACTS}"""


def repair_campaigns(database: LegacyDatabase) -> str:
    """Write a statement that repairs the campaigns of ``:ids``, after their contacts.

    It also writes their totals and begins their history with an entry that keeps the old values.
    It returns the number of rows that need a decision. If there are any, and no quarantine, its
    transaction must be rolled back.
    """
    return f"""{_campaign_ctes(database)}{move_values(database, "campaigns", "campaign_finding")},{
        write_totals(recount=database.recount)
    },
-- For each campaign, the values that the repair changes. Of the documents, only what it removes.
old_values AS (
    SELECT
        campaign_finding.id,
        jsonb_object_agg(column_name, kept.value) AS reason
    FROM campaign_finding
    JOIN campaign ON campaign.id = campaign_finding.id
    CROSS JOIN LATERAL (
        SELECT
            CASE column_name
                WHEN 'template_config' THEN NULL
                WHEN 'generation_config' THEN campaign.run_time_values
                ELSE coalesce(before, 'null')
            END AS value
    ) AS kept
    WHERE kept.value IS NOT NULL
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
        coalesce(campaign.updated_at, campaign.created_at, now())
    FROM campaign
    LEFT JOIN old_values ON old_values.id = campaign.id
    WHERE campaign.version IS NULL
    ON CONFLICT (tenant_id, campaign_id, version) DO NOTHING
),
repaired AS (
    UPDATE campaigns AS present
    SET
        owner_id = campaign.new_owner_id,
        name = campaign.new_name,
        description = campaign.new_description,
        status = campaign.new_status,
        is_active = campaign.new_is_active,
        template_config = campaign.new_steps,
        generation_config = campaign.new_generation_config,
        total_contacts = campaign.new_total_contacts,
        generated_count = campaign.new_generated_count,
        generation_cost = campaign.new_generation_cost,
        created_at = campaign.new_created_at,
        updated_at = campaign.new_updated_at,
        version = coalesce(present.version, 1),
        next_position = greatest(present.next_position, campaign.new_next_position)
    FROM campaign
    WHERE present.id = campaign.id
        AND (campaign.version IS NULL OR campaign.id IN (SELECT id FROM campaign_finding))
)
SELECT count(*)
FROM campaign
WHERE undecided"""


def _campaign_row(database: LegacyDatabase) -> str:
    return f"""
campaign_row AS (
{database.select_own("campaigns", _COLUMNS, "id = ANY(CAST(:ids AS uuid[]))")}
)"""


def _campaign_ctes(database: LegacyDatabase) -> str:
    """Write all CTEs of an audit, from the contacts to ``campaign_finding``."""
    options = database.options
    recount = "true" if database.recount else "false"
    return f"""WITH{contact_ctes(database)},{_campaign_row(database)},{message_ctes(database)},
-- What the contacts come to once they are repaired.
total AS (
    SELECT
        campaign_id,
        {TOTALS},
        count(*) FILTER (WHERE status <> '{ContactStatus.EXCLUDED}') AS contacts,
        max(rank) + 1 AS next_position
    FROM (
        SELECT
            campaign_id,
            new_status AS status,
            new_generation_cost AS generation_cost,
            new_unknown_costs AS unknown_costs,
            new_rank AS rank
        FROM contact
        WHERE NOT is_misplaced
        UNION ALL
        SELECT campaign_id, '{ContactStatus.GENERATED}', generation_cost, unknown_costs, rank
        FROM message_contact
    ) AS repaired_contact
    GROUP BY campaign_id
),
-- Messages that a contact has got.
sent_message AS (
    SELECT campaign_id
    FROM (
{database.select_messages("campaign_id = ANY(CAST(:ids AS uuid[]))")}
    ) AS source
    WHERE status IN ({_SENT})
),
-- What each campaign says, and whether its values are valid.
campaign_judged AS (
    SELECT
        campaign_row.*,
        judgement.*,
        repaired_document.*,
        {database.translate_status(Status)} AS known_status,
        campaign_row.id IN (SELECT campaign_id FROM sent_message) AS has_sent_messages,
        -- Not every legacy table has this column. JSON reads a missing one as NULL.
        EXISTS (
            SELECT
            FROM campaigns
            WHERE campaigns.id = campaign_row.id
                AND btrim(to_jsonb(campaigns) ->> 'lemlist_campaign_id') <> ''
        ) AS has_lemlist_id,
        owner_id IS NOT NULL AND NOT EXISTS (
            SELECT
            FROM {quote(database.host.owners)} AS owner
            WHERE owner.id = campaign_row.owner_id AND owner.tenant_id = campaign_row.tenant_id
        ) AS has_foreign_owner
    FROM campaign_row
{join_documents("campaigns")}
),
-- The old values, and as new_... the values after the repair.
campaign AS (
    SELECT
        campaign_judged.*,
        CASE WHEN NOT has_foreign_owner THEN owner_id END AS new_owner_id,
        CASE WHEN name_is_valid THEN name ELSE 'Campaign ' || id END AS new_name,
        coalesce(is_active, true) AS new_is_active,
        CASE
            WHEN is_active IS FALSE THEN '{_ARCHIVED}'
            WHEN known_status IS NULL AND has_sent_messages THEN '{options.sent}'
            WHEN known_status IS NULL AND has_lemlist_id THEN '{options.lemlist}'
            WHEN known_status IS NULL THEN '{options.otherwise}'
            WHEN known_status = '{Status.GENERATING}' AND version IS NULL THEN '{_RELEASED}'
            ELSE known_status
        END AS new_status,
        new_settings - CAST(ARRAY[{_RUN_TIME_KEYS}] AS text[]) AS new_generation_config,
        CASE
            WHEN jsonb_typeof(decoded_settings) = 'object'
                THEN (
                    SELECT jsonb_object_agg(key, value)
                    FROM jsonb_each(decoded_settings)
                    WHERE key IN ({_RUN_TIME_KEYS})
                )
        END AS run_time_values,
        CASE WHEN {recount} THEN coalesce(total.contacts, 0) ELSE total_contacts END
            AS new_total_contacts,
        CASE WHEN {recount} THEN coalesce(total.generated, 0) ELSE generated_count END
            AS new_generated_count,
        CASE WHEN {recount} THEN coalesce(total.cost, 0) ELSE generation_cost END
            AS new_generation_cost,
        total.next_position AS new_next_position,
        status IS NOT NULL AND known_status IS NULL AS has_unknown_status,
        coalesce(created_at, updated_at, now()) AS new_created_at,
        coalesce(updated_at, created_at, now()) AS new_updated_at,
        has_foreign_owner
            OR NOT name_is_valid
            OR NOT description_is_valid
            OR NOT steps_are_valid
            OR NOT settings_are_valid
            OR (status IS NOT NULL AND known_status IS NULL) AS undecided
    FROM campaign_judged
    LEFT JOIN total ON total.campaign_id = campaign_judged.id
),
-- One row for each value that changes or needs a decision.
campaign_finding AS (
    SELECT campaign.id, finding.*
    FROM campaign
    CROSS JOIN LATERAL (
        VALUES
            ('owner_id', 'other_tenant',
                to_jsonb(owner_id), to_jsonb(new_owner_id), has_foreign_owner),
            ('name', 'bad_name', to_jsonb(name), to_jsonb(new_name), NOT name_is_valid),
            ('description', 'bad_description',
                to_jsonb(description), to_jsonb(new_description), NOT description_is_valid),
            ('is_active', 'absent', to_jsonb(is_active), to_jsonb(new_is_active), false),
            ('status',
                CASE
                    WHEN has_unknown_status THEN 'unknown_status'
                    WHEN NOT new_is_active THEN 'status_inactive'
                    WHEN known_status IS NULL AND has_sent_messages THEN 'status_sent'
                    WHEN known_status IS NULL AND has_lemlist_id THEN 'status_lemlist'
                    WHEN known_status IS NULL THEN 'status_otherwise'
                    WHEN known_status <> status THEN 'status_mapped'
                    ELSE 'stuck'
                END,
                to_jsonb(status), to_jsonb(new_status), has_unknown_status),
            ('template_config', steps_kind, template_config, new_steps, NOT steps_are_valid),
            ('generation_config',
                CASE
                    WHEN settings_are_valid AND run_time_values IS NOT NULL THEN 'run_time_keys'
                    ELSE settings_kind
                END,
                generation_config, new_generation_config, NOT settings_are_valid),
            ('total_contacts', 'recounted',
                to_jsonb(total_contacts), to_jsonb(new_total_contacts), false),
            ('generated_count', 'recounted',
                to_jsonb(generated_count), to_jsonb(new_generated_count), false),
            ('generation_cost', 'recounted',
                to_jsonb(generation_cost), to_jsonb(new_generation_cost), false),
            ('created_at', 'absent', to_jsonb(created_at), to_jsonb(new_created_at), false),
            ('updated_at', 'absent', to_jsonb(updated_at), to_jsonb(new_updated_at), false)
    ) AS finding (column_name, kind, before, after, undecided)
    WHERE finding.undecided
        OR finding.before IS DISTINCT FROM finding.after
)"""
