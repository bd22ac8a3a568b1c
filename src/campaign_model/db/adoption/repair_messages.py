"""Contacts from messages: the contacts of campaigns that have messages but no contacts.

They are created only if the operator asks for it (``--contacts-from-messages``). The messages
themselves never change. ``message_ctes`` is a part of the SQL that audits and repairs campaigns.
"""

from __future__ import annotations

from campaign_model.db.adoption.legacy_database import LegacyDatabase, Rule, write_ctes
from campaign_model.db.checks import checks
from campaign_model.db.schema import quote
from campaign_model.lifecycle import ContactStatus

_RULES = {
    "contact_id": Rule("contact_id", kind="'other_tenant'", undecided="is_misplaced"),
    "generation_cost_usd": Rule(
        "generation_cost_usd", kind="'bad_amount'", undecided="NOT cost_is_valid"
    ),
}


def message_ctes(database: LegacyDatabase) -> str:
    """Write the CTEs that come after the CTE ``campaign_row``, the batch of campaigns.

    They define ``message`` (the messages to use), ``message_finding`` (what is wrong with them),
    ``message_contact`` (the contacts to create) and ``message_contact_finding`` (one finding for
    each contact that is created). Without the option, all of them are empty.
    """
    cost_check = checks("postgresql")["campaign_contacts"]["generation_cost"]
    return f"""
-- The messages of campaigns that have not been repaired and have no contacts.
message_checked AS (
    SELECT
        source.*,
        coalesce(pg_temp.readable_time(source.created_at), now()) AS written_at,
        coalesce({cost_check}, true) AS cost_is_valid,
        campaign_row.tenant_id,
        person.tenant_id IS DISTINCT FROM campaign_row.tenant_id AS is_misplaced
    FROM (
{database.select_messages()}
    ) AS source
    -- The CHECK names the column of campaign_contacts.
    CROSS JOIN LATERAL (SELECT source.generation_cost_usd AS generation_cost) AS message_cost
    JOIN (
        SELECT id, tenant_id, version
        FROM campaign_row
    ) AS campaign_row ON campaign_row.id = source.campaign_id
    LEFT JOIN {quote(database.inspection.host.contacts)} AS person ON person.id = source.contact_id
    WHERE {"true" if database.options.contacts_from_messages else "false"}
        AND source.contact_id IS NOT NULL
        AND campaign_row.version IS NULL
        AND source.campaign_id NOT IN (
            -- Read the table once more. PostgreSQL writes a CTE that is used twice to memory, and
            -- contact_row would be all contacts of the batch.
{database.select_library_rows("campaign_contacts", ("campaign_id",), owner="campaign_id")}
        )
),{write_ctes("message", _RULES, "message_checked")},
-- One contact for all messages of a campaign to the same person.
message_contact AS (
    SELECT
        CAST(md5(campaign_id || '/' || contact_id) AS uuid) AS id,
        tenant_id, campaign_id, contact_id,
        coalesce(sum(generation_cost_usd) FILTER (WHERE cost_is_valid), 0) AS generation_cost,
        count(*) FILTER (WHERE generation_cost_usd IS NULL OR NOT cost_is_valid) AS unknown_costs,
        min(written_at) AS added_at,
        max(written_at) AS generated_at,
        row_number() OVER (PARTITION BY campaign_id ORDER BY min(written_at), contact_id) - 1
            AS rank
    FROM message
    WHERE NOT is_misplaced
    GROUP BY tenant_id, campaign_id, contact_id
),
-- One row for each contact that is created.
message_contact_finding AS (
    SELECT
        id,
        CAST(NULL AS text) AS column_name,
        'from_messages' AS kind,
        CAST(NULL AS jsonb) AS before,
        jsonb_build_object(
            'campaign_id', campaign_id,
            'contact_id', contact_id,
            'status', '{ContactStatus.GENERATED}',
            'generation_cost', generation_cost
        ) AS after,
        false AS undecided,
        CAST(NULL AS jsonb) AS paths
    FROM message_contact
)"""
