"""The repair of campaign contacts, and the CTEs that the audit of campaigns uses as well.

``contact`` has the old and, as ``new_...``, the repaired values of each contact of the campaigns of
``ids``; ``contact_finding`` lists the differences. A contact whose ``rank`` is NULL has not been
repaired yet.
"""

from __future__ import annotations

from campaign_model.claims import MAX_ERROR
from campaign_model.db.adoption.catalog import Reference
from campaign_model.db.adoption.legacy_database import (
    QUARANTINE,
    LegacyDatabase,
    Rule,
    default_rule,
    quote_texts,
    time_rule,
    write_ctes,
    write_repair,
    write_row_id,
)
from campaign_model.db.adoption.repair_documents import decode
from campaign_model.db.adoption.repair_messages import (
    MISPLACED_KIND,
    campaign_row_ctes,
    time_of_export,
)
from campaign_model.db.checks import checks
from campaign_model.db.checks_postgresql import BAD_GAP, check_gaps
from campaign_model.db.schema import quote, quote_text
from campaign_model.lifecycle import ContactStatus, resting_status

_FINISHED = quote_texts((ContactStatus.GENERATED, ContactStatus.FAILED))
_CLAIMED = quote_texts((ContactStatus.GENERATED, ContactStatus.FAILED, ContactStatus.GENERATING))

# The statuses of a waiting contact: with unknown gaps, without gaps, with gaps.
_UNKNOWN, _COMPLETE, _INCOMPLETE = (resting_status(gaps) for gaps in (None, (), ("email",)))


def repair_contacts(database: LegacyDatabase) -> str:
    """Write a statement that repairs the contacts of ``rows``, in the campaigns of ``ids``."""
    ctes, rules = contact_ctes(database), _contact_rules(database)
    return write_repair(database, "campaign_contacts", "contact", ctes, rules)


def is_misplaced(database: LegacyDatabase) -> str:
    """Write the condition for a row of ``campaign_contacts`` that the quarantine takes.

    Its campaign or its contact does not exist, or the contact is of another tenant.
    """
    return f"""NOT EXISTS (
    SELECT
    FROM campaigns
    LEFT JOIN {quote(database.inspection.host.contacts)} AS person
        ON person.id = campaign_contacts.contact_id
    WHERE campaigns.id = campaign_contacts.campaign_id
        AND person.tenant_id = campaigns.tenant_id
)"""


def write_in_use(database: LegacyDatabase) -> str:
    """Write the end of a kind: ``_in_use`` if other rows need the row ``contact``.

    They need it if they refer to it and their column is NOT NULL.
    """
    is_needed = " OR ".join(
        f"contact.id IN (SELECT {quote(reference.column)} FROM {quote(reference.table_name)})"
        for reference in database.inspection.references
        if reference.not_null
    )
    return f"CASE WHEN {is_needed or 'false'} THEN '_in_use' ELSE '' END"


def list_references(database: LegacyDatabase) -> list[Reference]:
    """Return the columns that become NULL if the quarantine takes the contact of their row."""
    return [reference for reference in database.inspection.references if not reference.not_null]


def audit_references(database: LegacyDatabase, reference: Reference) -> str:
    """Write a query for the references that the quarantine would remove: row id and old value."""
    column = quote(reference.column)
    return f"""
SELECT {write_row_id(reference.table, "referring")}, CAST(referring.{column} AS text)
FROM {quote(reference.table_name)} AS referring
WHERE referring.{column} IN (
    SELECT id
    FROM campaign_contacts
    WHERE {is_misplaced(database)}
)
ORDER BY 1"""


def move_contacts(database: LegacyDatabase) -> tuple[str, ...]:
    """Write the statements that move the contacts of ``is_misplaced`` to the quarantine.

    Their parameter ``rows`` has the ids of the contacts. First, every value that refers to one of
    them is moved and becomes NULL; then the rows are moved.
    """
    contacts = quote(database.inspection.host.contacts)
    statements = []
    for reference in list_references(database):
        table, column = quote(reference.table_name), quote(reference.column)
        statements.append(f"""
WITH quarantined AS (
    INSERT INTO {QUARANTINE} (table_name, row_id, column_name, value, kind)
    SELECT
        {quote_text(reference.table_name)},
        {write_row_id(reference.table, "referring")},
        {quote_text(reference.column)},
        to_jsonb(referring.{column}),
        'reference_removed'
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
SELECT
    'campaign_contacts',
    CAST(id AS text),
    to_jsonb(deleted),
    CASE
        WHEN NOT EXISTS (SELECT FROM campaigns WHERE campaigns.id = deleted.campaign_id)
            THEN 'no_campaign'
        WHEN NOT EXISTS (SELECT FROM {contacts} AS person WHERE person.id = deleted.contact_id)
            THEN 'no_contact'
        ELSE 'other_tenant'
    END
FROM deleted""")
    return tuple(statements)


def contact_ctes(database: LegacyDatabase) -> str:
    """Write the CTEs ``campaign_row``, ``contact_row`` to ``contact``, ``contact_finding``."""
    conditions = checks("postgresql")["campaign_contacts"]
    return f"""{campaign_row_ctes(database)},
-- The contacts of the batch, with the tenant of their campaign.
contact_row AS (
    SELECT
        source.*,
        campaign_row.tenant_id AS campaign_tenant_id,
        {time_of_export("source")} AS legacy_export_at,
        person.id IS NULL AS has_no_person,
        person.tenant_id IS DISTINCT FROM campaign_row.tenant_id AS is_misplaced
    FROM (
{database.select_library_rows("campaign_contacts", owner="campaign_id")}
    ) AS source
    JOIN campaign_row ON campaign_row.id = source.campaign_id
    LEFT JOIN {quote(database.inspection.host.contacts)} AS person ON person.id = source.contact_id
),
-- The values of each contact, and whether they are valid.
contact_checked AS (
    SELECT
        *,
        {database.translate_status(ContactStatus)} AS known_status,
        gaps IS NULL OR {check_gaps("gaps")} AS gaps_are_valid,
        -- The paths of the bad ones. Most contacts have none, and the condition saves the subquery.
        CASE
            WHEN jsonb_typeof(gaps) = 'array' AND jsonb_path_exists(gaps, {BAD_GAP})
                THEN (
                    SELECT jsonb_agg(jsonb_build_array(position - 1) ORDER BY position DESC)
                    FROM jsonb_array_elements(gaps) WITH ORDINALITY AS element (gap, position)
                    WHERE jsonb_path_exists(jsonb_build_array(gap), {BAD_GAP})
                )
        END AS bad_gaps,
        coalesce({conditions["generation_cost"]}, true) AS cost_is_valid,
        coalesce({conditions["reserved"]}, true) AS reserved_is_valid
    FROM contact_row
    CROSS JOIN LATERAL (SELECT {decode("enrichment_gaps")} AS gaps) AS decoded
),{write_ctes("contact", _contact_rules(database), "contact_checked")}"""


def _contact_rules(database: LegacyDatabase) -> dict[str, Rule]:
    """Return the rule for each column of campaign contacts that the repair sets."""
    return {
        "contact_id": Rule(
            "contact_id",
            # Other tables may be large, so they are searched for misplaced contacts only.
            kind=f"""CASE
                WHEN is_misplaced THEN {MISPLACED_KIND} || {write_in_use(database)}
            END""",
            undecided="is_misplaced",
        ),
        "tenant_id": Rule(
            "campaign_tenant_id",
            kind="CASE WHEN tenant_id IS NULL THEN 'absent' ELSE 'other_tenant' END",
            undecided="tenant_id IS NOT NULL AND tenant_id <> campaign_tenant_id",
        ),
        "status": Rule(
            f"""CASE
            WHEN known_status IS NULL THEN '{_UNKNOWN}'
            WHEN known_status <> '{ContactStatus.GENERATING}'
                OR (rank IS NOT NULL AND claim_token IS NOT NULL AND lease_expires_at IS NOT NULL)
                THEN known_status
            WHEN gaps IS NULL OR NOT gaps_are_valid THEN '{_UNKNOWN}'
            WHEN gaps = '[]' THEN '{_COMPLETE}'
            ELSE '{_INCOMPLETE}'
        END""",
            kind="""CASE
                WHEN status IS NULL THEN 'status_absent'
                WHEN known_status IS NULL THEN 'unknown_status'
                WHEN known_status <> status THEN 'status_mapped'
                ELSE 'stuck'
            END""",
            undecided="status IS NOT NULL AND known_status IS NULL",
        ),
        "enrichment_gaps": Rule(
            # An empty list would mean that nothing is missing.
            """CASE
            WHEN gaps_are_valid THEN gaps
            WHEN bad_gaps IS NOT NULL
                THEN nullif(pg_temp.remove_members(gaps, bad_gaps), '[]')
        END""",
            kind="CASE WHEN gaps_are_valid THEN 'double_encoded' ELSE 'not_gaps' END",
            undecided="NOT gaps_are_valid",
            paths="bad_gaps",
        ),
        "generation_cost": Rule(
            "CASE WHEN cost_is_valid THEN coalesce(generation_cost, 0) ELSE 0 END",
            kind="CASE WHEN cost_is_valid THEN 'absent' ELSE 'bad_amount' END",
            undecided="NOT cost_is_valid",
        ),
        "unknown_costs": Rule(f"""CASE
            WHEN known_status IN ({_FINISHED}) AND (generation_cost IS NULL OR NOT cost_is_valid)
                THEN coalesce(unknown_costs, 0) + 1
            ELSE coalesce(unknown_costs, 0)
        END"""),
        "reserved": Rule(
            "CASE WHEN reserved_is_valid THEN coalesce(reserved, 0) ELSE 0 END",
            kind="CASE WHEN reserved_is_valid THEN 'absent' ELSE 'bad_amount' END",
            undecided="NOT reserved_is_valid",
        ),
        **{name: default_rule(name) for name in ("attempts", "revision")},
        "reported_tokens": default_rule("reported_tokens", "'[]'"),
        "rank": Rule("""CASE
            WHEN rank IS NOT NULL THEN rank
            ELSE row_number() OVER (
                PARTITION BY campaign_id
                ORDER BY coalesce(added_at, generated_at), id
            ) - 1
        END"""),
        "claimed_at": Rule(f"""pg_temp.readable_time(CASE
            WHEN rank IS NULL
                AND claimed_at IS NULL
                AND (
                    known_status IN ({_CLAIMED})
                    OR generated_at IS NOT NULL
                    OR (cost_is_valid AND generation_cost > 0)
                )
                THEN coalesce(generated_at, added_at, now())
            ELSE claimed_at
        END)"""),
        # A lease without the token of a claim belongs to no worker.
        "lease_expires_at": Rule(
            "CASE WHEN claim_token IS NOT NULL THEN pg_temp.readable_time(lease_expires_at) END",
            kind="CASE WHEN claim_token IS NOT NULL THEN 'bad_time' ELSE 'stuck' END",
        ),
        "retry_at": time_rule("retry_at"),
        "added_at": time_rule("added_at", "generated_at"),
        "generated_at": time_rule("generated_at"),
        "exported_at": Rule(
            f"""pg_temp.readable_time(CASE
            WHEN rank IS NULL AND known_status = '{ContactStatus.GENERATED}'
                THEN coalesce(exported_at, legacy_export_at)
            ELSE exported_at
        END)""",
            kind="CASE WHEN exported_at IS NULL THEN 'exported_before' ELSE 'bad_time' END",
        ),
        "error_code": Rule(f"left(error_code, {MAX_ERROR})", kind="'shortened'"),
        "error": Rule(f"left(error, {MAX_ERROR})", kind="'shortened'"),
    }
