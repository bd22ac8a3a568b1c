"""What messages say about campaigns: their status, and the contacts that they lack.

Campaigns without a status get one that depends on whether their messages were sent. Contacts are
created only for campaigns without contacts, and only if the operator asks for it
(``--contacts-from-messages``). The messages themselves never change.
"""

from __future__ import annotations

from campaign_model.db.adoption.catalog import Table
from campaign_model.db.adoption.legacy_database import (
    LegacyDatabase,
    Rule,
    quote_texts,
    write_ctes,
    write_row_id,
    write_select,
)
from campaign_model.db.checks import checks
from campaign_model.db.schema import quote
from campaign_model.lifecycle import Action, ContactStatus, Status, target

_MESSAGE_COLUMNS = {
    "id": "text",
    "campaign_id": "uuid",
    "contact_id": "uuid",
    "status": "text",
    "sent_at": "text",
    "generation_cost_usd": "numeric",
    "created_at": "timestamp with time zone",
}
"""The columns of messages that adoption reads, with the types that it casts them to."""

_SENT = quote_texts(("sent", "delivered", "opened", "clicked", "replied", "bounced"))
"""The statuses of messages that were sent to a contact, in lower case."""

_ARCHIVED = target(Action.DELETE)
_RELEASED = target(Action.CANCEL_GENERATION)
_EXPORTED = quote_texts((target(Action.EXPORT), target(Action.ARCHIVE)))

MISPLACED_KIND = "CASE WHEN has_no_person THEN 'no_contact' ELSE 'other_tenant' END"
"""The kind of a finding about a reference to a contact that the tenant does not have."""

_MESSAGE_RULES = {
    "contact_id": Rule("contact_id", kind=MISPLACED_KIND, undecided="is_misplaced"),
    "generation_cost_usd": Rule(
        "generation_cost_usd", kind="'bad_amount'", undecided="NOT cost_is_valid"
    ),
}


_UUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
"""An id in text. A text that is no id names no contact."""


def has_contact_ids(messages: Table | None) -> bool:
    """Tell whether the messages can name their contacts: by a column of ids, or of texts."""
    column = None if messages is None else messages.columns.get("contact_id")
    return column is not None and column.type.startswith(("uuid", "text", "character varying"))


def select_messages(database: LegacyDatabase) -> str:
    """Write a SELECT of the host's messages of the campaigns in the parameter ``:ids``.

    A message refers to its campaign itself, or to a contact of the campaign. Missing columns, and
    references of another type than uuid, are NULL; the id of a contact may also be text. The ``id``
    is text. There are no rows if the messages refer to neither.
    """
    tables, messages = database.inspection.tables, database.inspection.messages
    columns = tables[messages].columns if messages in tables else {}
    ids = {name for name, column in columns.items() if column.type == "uuid"}
    values = {
        name: f"message.{name}"
        for name, type_ in _MESSAGE_COLUMNS.items()
        if name in (ids if type_ == "uuid" else columns)
    }
    if messages in tables:
        values["id"] = write_row_id(tables[messages], "message")
        if has_contact_ids(tables[messages]) and "contact_id" not in ids:
            values["contact_id"] = f"substring(message.contact_id FROM '^{_UUID}$')"
    selects = []
    if "campaign_id" in ids:
        rows = f"""FROM {quote(messages)} AS message
    WHERE message.campaign_id = ANY(CAST(:ids AS uuid[]))"""
        selects.append(write_select(_MESSAGE_COLUMNS, values, rows))
    if "campaign_contact_id" in ids and "campaign_contacts" in tables:
        rows = f"""FROM {quote(messages)} AS message
    JOIN campaign_contacts AS receiver ON receiver.id = message.campaign_contact_id
    WHERE receiver.campaign_id = ANY(CAST(:ids AS uuid[]))"""
        if "campaign_id" in ids:  # The first SELECT has the other messages.
            rows += " AND message.campaign_id IS NULL"
        values["campaign_id"] = "receiver.campaign_id"
        selects.append(write_select(_MESSAGE_COLUMNS, values, rows))
    no_rows = write_select(_MESSAGE_COLUMNS, {}, "WHERE false")
    return "\n    UNION ALL\n".join(selects or [no_rows])


def campaign_row_ctes(database: LegacyDatabase) -> str:
    """Write the CTE ``campaign_row``, with a row for each campaign of ``ids``.

    Besides the columns of campaigns, ``repaired_status`` is the status after the repair, and
    ``known_status`` the one that the column means, or NULL. ``has_sent_messages`` and
    ``has_lemlist_id`` decide about campaigns without one.
    """
    rule = database.options.status_rule
    return f"""
-- Messages that were sent to a contact.
sent_message AS (
    SELECT campaign_id
    FROM (
{select_messages(database)}
    ) AS source
    WHERE lower(status) IN ({_SENT}) OR sent_at IS NOT NULL
),
-- Each campaign, with its status after the repair and what decides about it.
campaign_row AS (
    SELECT
        *,
        CASE
            WHEN is_active IS FALSE THEN '{_ARCHIVED}'
            WHEN known_status IS NULL AND has_sent_messages THEN '{rule["sent"]}'
            WHEN known_status IS NULL AND has_lemlist_id THEN '{rule["lemlist"]}'
            WHEN known_status IS NULL THEN '{rule["otherwise"]}'
            WHEN known_status = '{Status.GENERATING}' AND version IS NULL THEN '{_RELEASED}'
            ELSE known_status
        END AS repaired_status
    FROM (
{database.select_library_rows("campaigns", owner="id")}
    ) AS source
    CROSS JOIN LATERAL (
        SELECT
            {database.translate_status(Status)} AS known_status,
            id IN (SELECT campaign_id FROM sent_message) AS has_sent_messages,
            -- Not every legacy table has this column. JSON reads a missing one as NULL.
            EXISTS (
                SELECT
                FROM campaigns
                WHERE campaigns.id = source.id
                    AND btrim(to_jsonb(campaigns) ->> 'lemlist_campaign_id') <> ''
            ) AS has_lemlist_id
    ) AS decided
)"""


def time_of_export(contact: str) -> str:
    """Write an expression for when a generated contact was exported; NULL if it was not.

    Every generated contact of an exported or archived campaign counts as exported, so that no
    exporter sends its messages again. The best known time is that of the campaign's last change.
    The expression is for a join of ``campaign_row`` and ``contact``, which has ``generated_at`` and
    ``added_at``.
    """
    times = f"campaign_row.updated_at, {contact}.generated_at, {contact}.added_at, now()"
    return f"""CASE
            WHEN campaign_row.repaired_status IN ({_EXPORTED})
                THEN pg_temp.readable_time(coalesce({times}))
        END"""


def message_ctes(database: LegacyDatabase) -> str:
    """Write the CTEs of messages and contacts. They come after those of the campaigns.

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
        person.id IS NULL AS has_no_person,
        person.tenant_id IS DISTINCT FROM campaign_row.tenant_id AS is_misplaced
    FROM (
{select_messages(database)}
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
            SELECT campaign_id
            FROM (
{database.select_library_rows("campaign_contacts", owner="campaign_id")}
            ) AS present_contact
        )
),{write_ctes("message", _MESSAGE_RULES, "message_checked")},
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
