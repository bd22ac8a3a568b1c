"""Contacts from messages: the contacts of campaigns that have messages but no contacts.

They are created only if the operator asks for it. The messages themselves never change.
``message_ctes`` belongs to the audit and the repair of campaigns: ``message`` has the messages to
use, ``message_contact`` the contacts to create, and ``..._finding`` the findings about them.
"""

from __future__ import annotations

from campaign_model.db.adoption.legacy_database import LegacyDatabase
from campaign_model.db.checks import checks
from campaign_model.db.schema import quote
from campaign_model.lifecycle import ContactStatus

__all__ = ["INSERT_MESSAGE_CONTACTS", "message_ctes"]

# Insert the contacts. The CTE ``campaign_row`` and those of ``message_ctes`` precede it.
INSERT_MESSAGE_CONTACTS = f"""
INSERT INTO campaign_contacts (
    id, tenant_id, campaign_id, contact_id, status, generation_cost, unknown_costs, rank,
    claimed_at, added_at, generated_at
)
SELECT
    id, tenant_id, campaign_id, contact_id, '{ContactStatus.GENERATED}', generation_cost,
    unknown_costs, rank, generated_at, added_at, generated_at
FROM message_contact"""


def message_ctes(database: LegacyDatabase) -> str:
    """Write the CTEs; they need ``campaign_row``."""
    cost_check = checks("postgresql")["campaign_contacts"]["generation_cost"]
    is_in_batch = "campaign_id = ANY(CAST(:ids AS uuid[]))"
    where = "false"
    if database.options.contacts_from_messages:
        where = f"{is_in_batch} AND contact_id IS NOT NULL"
    contacts = database.select_own("campaign_contacts", ("campaign_id",), is_in_batch)
    return f"""
-- The messages of the batch.
message_row AS (
    SELECT *, coalesce({cost_check}, true) AS cost_is_valid
    FROM (
{database.select_messages(where)}
    ) AS source
),
-- The messages of campaigns that have not been repaired and have no contacts.
message AS (
    SELECT
        message_row.*,
        coalesce(message_row.created_at, now()) AS written_at,
        campaign_row.tenant_id,
        person.tenant_id IS DISTINCT FROM campaign_row.tenant_id AS is_misplaced
    FROM message_row
    JOIN campaign_row ON campaign_row.id = message_row.campaign_id
    LEFT JOIN {quote(database.host.contacts)} AS person ON person.id = message_row.contact_id
    WHERE campaign_row.version IS NULL
        AND message_row.campaign_id NOT IN (
            -- Not from contact_row: a second reference would store all contacts of the batch.
{contacts}
        )
),
-- Values of messages that need a decision.
message_finding AS (
    SELECT message.id, finding.*
    FROM message
    CROSS JOIN LATERAL (
        VALUES
            ('contact_id', 'other_tenant',
                to_jsonb(contact_id), to_jsonb(contact_id), is_misplaced),
            ('generation_cost_usd', 'bad_amount',
                to_jsonb(generation_cost), to_jsonb(generation_cost), NOT cost_is_valid)
    ) AS finding (column_name, kind, before, after, undecided)
    WHERE finding.undecided
),
-- One contact for all messages of a campaign to the same person.
message_contact AS (
    SELECT
        CAST(md5(campaign_id || '/' || contact_id) AS uuid) AS id,
        tenant_id, campaign_id, contact_id,
        coalesce(sum(generation_cost) FILTER (WHERE cost_is_valid), 0) AS generation_cost,
        count(*) FILTER (WHERE generation_cost IS NULL OR NOT cost_is_valid) AS unknown_costs,
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
        false AS undecided
    FROM message_contact
)"""
