"""The repair of campaign contacts, and the CTEs that the audit of campaigns uses as well.

``contact`` has the old and, as ``new_...``, the repaired values of each contact of the campaigns of
``:ids``; ``contact_finding`` lists the differences. A contact whose ``rank`` is NULL has not been
repaired yet.
"""

from __future__ import annotations

from campaign_model.db.adoption.legacy_database import LegacyDatabase, decode, quote_texts
from campaign_model.db.adoption.quarantine import move_values
from campaign_model.db.checks import checks
from campaign_model.db.schema import quote
from campaign_model.lifecycle import ContactStatus, resting_status

__all__ = ["contact_ctes", "repair_contacts", "select_misplaced"]

_COLUMNS = (
    *("id", "campaign_id", "contact_id", "tenant_id", "status", "enrichment_gaps"),
    *("generation_cost", "unknown_costs", "rank", "claimed_at", "added_at", "generated_at"),
)

_FINISHED = quote_texts((ContactStatus.GENERATED, ContactStatus.FAILED))
_CLAIMED = quote_texts((ContactStatus.GENERATED, ContactStatus.FAILED, ContactStatus.GENERATING))

# The statuses of a waiting contact: with unknown gaps, without gaps, with gaps.
_UNKNOWN, _COMPLETE, _INCOMPLETE = (resting_status(gaps) for gaps in (None, (), ("email",)))

# A batch has up to 20,000 ids. The planner compares each row with every element of an array, but it
# hashes a subquery.
_IS_IN_ROWS = "id IN (SELECT unnest(CAST(:rows AS uuid[])))"


def repair_contacts(database: LegacyDatabase) -> str:
    """Write a statement that repairs the contacts of ``:rows``, in the campaigns of ``:ids``.

    It returns the number of rows that need a decision. If there are any, and no quarantine, its
    transaction must be rolled back.
    """
    return f"""WITH{contact_ctes(database)}{
        move_values(database, "campaign_contacts", "contact_finding", _IS_IN_ROWS)
    },
repaired AS (
    UPDATE campaign_contacts AS present
    SET
        tenant_id = contact.new_tenant_id,
        status = contact.new_status,
        enrichment_gaps = contact.new_enrichment_gaps,
        generation_cost = contact.new_generation_cost,
        unknown_costs = contact.new_unknown_costs,
        rank = contact.new_rank,
        claimed_at = contact.new_claimed_at,
        added_at = contact.new_added_at
    FROM contact
    WHERE present.id = contact.id AND contact.{_IS_IN_ROWS}
)
SELECT count(*)
FROM contact
WHERE undecided AND {_IS_IN_ROWS}"""


def select_misplaced(database: LegacyDatabase) -> str:
    """Write a query for contacts of another tenant in the campaigns of ``:ids``."""
    return f"""WITH{contact_ctes(database)}
SELECT id
FROM contact
WHERE is_misplaced
ORDER BY id"""


def contact_ctes(database: LegacyDatabase) -> str:
    """Write the CTEs ``contact_row``, ``contact_read``, ``contact`` and ``contact_finding``."""
    cost_check = checks("postgresql")["campaign_contacts"]["generation_cost"]
    is_needed = " OR ".join(
        f"contact.id IN (SELECT {quote(reference.column)} FROM {quote(reference.table)})"
        for reference in database.references
        if reference.not_null
    )
    return f"""
-- The contacts of the batch, with the tenant of their campaign.
contact_row AS (
    SELECT
        source.*,
        campaigns.tenant_id AS new_tenant_id,
        person.tenant_id IS DISTINCT FROM campaigns.tenant_id AS is_misplaced
    FROM (
{database.select_own("campaign_contacts", _COLUMNS, "campaign_id = ANY(CAST(:ids AS uuid[]))")}
    ) AS source
    JOIN campaigns ON campaigns.id = source.campaign_id
    LEFT JOIN {quote(database.host.contacts)} AS person ON person.id = source.contact_id
),
-- What each contact says, and whether its values are valid.
contact_read AS (
    SELECT
        *,
        {database.translate_status(ContactStatus)} AS known_status,
        CASE jsonb_typeof(gaps)
            WHEN 'array' THEN NOT jsonb_path_exists(
                gaps, 'strict $[*] ? (@.type() != "string" || @ == "")'
            )
            ELSE gaps IS NULL
        END AS gaps_are_valid,
        coalesce({cost_check}, true) AS cost_is_valid
    FROM contact_row
    CROSS JOIN LATERAL (SELECT {decode("enrichment_gaps")} AS gaps) AS decoded
),
-- The old values, and as new_... the values after the repair.
contact AS (
    SELECT
        *,
        contact_id AS new_contact_id,
        CASE
            WHEN known_status IS NULL THEN '{_UNKNOWN}'
            WHEN known_status <> '{ContactStatus.GENERATING}' OR rank IS NOT NULL
                THEN known_status
            WHEN gaps IS NULL OR NOT gaps_are_valid THEN '{_UNKNOWN}'
            WHEN gaps = '[]' THEN '{_COMPLETE}'
            ELSE '{_INCOMPLETE}'
        END AS new_status,
        CASE WHEN gaps_are_valid THEN gaps END AS new_enrichment_gaps,
        CASE WHEN cost_is_valid THEN coalesce(generation_cost, 0) ELSE 0 END
            AS new_generation_cost,
        CASE
            WHEN known_status IN ({_FINISHED}) AND (generation_cost IS NULL OR NOT cost_is_valid)
                THEN unknown_costs + 1
            ELSE unknown_costs
        END AS new_unknown_costs,
        CASE
            WHEN rank IS NOT NULL THEN rank
            ELSE row_number() OVER (
                PARTITION BY campaign_id
                ORDER BY coalesce(added_at, generated_at), id
            ) - 1
        END AS new_rank,
        CASE
            WHEN rank IS NULL
                AND claimed_at IS NULL
                AND (
                    known_status IN ({_CLAIMED})
                    OR generated_at IS NOT NULL
                    OR (cost_is_valid AND generation_cost > 0)
                )
                THEN coalesce(generated_at, added_at, now())
            ELSE claimed_at
        END AS new_claimed_at,
        coalesce(added_at, generated_at, now()) AS new_added_at,
        is_misplaced
            OR (tenant_id IS NOT NULL AND tenant_id <> new_tenant_id)
            OR (status IS NOT NULL AND known_status IS NULL)
            OR NOT gaps_are_valid
            OR NOT cost_is_valid AS undecided
    FROM contact_read
),
-- One row for each value that changes or needs a decision.
contact_finding AS (
    SELECT contact.id, finding.*
    FROM contact
    CROSS JOIN LATERAL (
        VALUES
            ('contact_id',
                -- Other tables may be large, so they are searched for misplaced contacts only.
                CASE
                    WHEN NOT is_misplaced THEN NULL
                    WHEN {is_needed or "false"} THEN 'other_tenant_in_use'
                    ELSE 'other_tenant'
                END,
                to_jsonb(contact_id), to_jsonb(new_contact_id), is_misplaced),
            ('tenant_id',
                CASE WHEN tenant_id IS NULL THEN 'absent' ELSE 'other_tenant' END,
                to_jsonb(tenant_id), to_jsonb(new_tenant_id),
                tenant_id IS NOT NULL AND tenant_id <> new_tenant_id),
            ('status',
                CASE
                    WHEN status IS NULL THEN 'status_absent'
                    WHEN known_status IS NULL THEN 'unknown_status'
                    WHEN known_status <> status THEN 'status_mapped'
                    ELSE 'stuck'
                END,
                to_jsonb(status), to_jsonb(new_status),
                status IS NOT NULL AND known_status IS NULL),
            ('enrichment_gaps',
                CASE WHEN gaps_are_valid THEN 'double_encoded' ELSE 'not_gaps' END,
                enrichment_gaps, new_enrichment_gaps, NOT gaps_are_valid),
            ('generation_cost',
                CASE WHEN cost_is_valid THEN 'absent' ELSE 'bad_amount' END,
                to_jsonb(generation_cost), to_jsonb(new_generation_cost), NOT cost_is_valid),
            ('added_at', 'absent', to_jsonb(added_at), to_jsonb(new_added_at), false)
    ) AS finding (column_name, kind, before, after, undecided)
    -- Most rows have no finding. This first condition saves the JSON of their values.
    WHERE (
            contact.undecided
            OR (tenant_id, status, enrichment_gaps, generation_cost, added_at) IS DISTINCT FROM
                (new_tenant_id, new_status, new_enrichment_gaps, new_generation_cost, new_added_at)
        )
        AND (finding.undecided OR finding.before IS DISTINCT FROM finding.after)
)"""
