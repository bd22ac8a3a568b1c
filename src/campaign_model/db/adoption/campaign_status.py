"""The status of campaigns after their repair. The repairs of campaigns and of contacts need it."""

from __future__ import annotations

from campaign_model.db.adoption.legacy_database import LegacyDatabase, quote_texts
from campaign_model.lifecycle import Action, Status, target

_COLUMNS = ("id", "status", "is_active", "version", "updated_at")

_SENT = quote_texts(("sent", "delivered", "opened", "clicked", "replied", "bounced"))
"""The statuses of messages that were sent to a contact, in lower case."""

_ARCHIVED = target(Action.DELETE)
_RELEASED = target(Action.CANCEL_GENERATION)
_EXPORTED = quote_texts((target(Action.EXPORT), target(Action.ARCHIVE)))


def campaign_status_ctes(database: LegacyDatabase) -> str:
    """Write the CTE ``campaign_status``, with a row for each campaign of ``ids``.

    ``repaired_status`` is the status after the repair, ``known_status`` the one that the column
    means or NULL, ``has_sent_messages`` and ``has_lemlist_id`` decide about campaigns without one.
    """
    rule = database.options.status_rule
    return f"""
-- Messages that were sent to a contact.
sent_message AS (
    SELECT campaign_id
    FROM (
{database.select_messages()}
    ) AS source
    WHERE lower(status) IN ({_SENT}) OR sent_at IS NOT NULL
),
-- The status of each campaign after its repair, and what decides about it.
campaign_status AS (
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
        SELECT
            id AS campaign_id,
            is_active,
            version,
            updated_at,
            {database.translate_status(Status)} AS known_status,
            id IN (SELECT campaign_id FROM sent_message) AS has_sent_messages,
            -- Not every legacy table has this column. JSON reads a missing one as NULL.
            EXISTS (
                SELECT
                FROM campaigns
                WHERE campaigns.id = source.id
                    AND btrim(to_jsonb(campaigns) ->> 'lemlist_campaign_id') <> ''
            ) AS has_lemlist_id
        FROM (
{database.select_library_rows("campaigns", _COLUMNS, owner="id")}
        ) AS source
    ) AS checked
)"""


def time_of_export(campaign: str, contact: str) -> str:
    """Write an expression for when a generated contact was exported; NULL if it was not.

    Every generated contact of an exported or archived campaign counts as exported, so that nobody
    sends its messages again. The best known time is that of the campaign's last change.
    ``campaign`` is a row of ``campaign_status``, ``contact`` one with ``generated_at`` and
    ``added_at``.
    """
    times = f"{campaign}.updated_at, {contact}.generated_at, {contact}.added_at, now()"
    return f"""CASE
            WHEN {campaign}.repaired_status IN ({_EXPORTED})
                THEN pg_temp.readable_time(coalesce({times}))
        END"""
