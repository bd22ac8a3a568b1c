"""What the repairs of campaigns and templates share: documents, names and descriptions.

``select_documents`` reads them, to be checked in Python. ``join_documents`` then decodes and checks
them in SQL, with the result of the check in Python as a parameter. ``document_rules`` says what
they become.
"""

from __future__ import annotations

from campaign_model.db.adoption.legacy_database import LegacyDatabase, Rule, time_rule
from campaign_model.db.checks import DOCUMENT_COLUMNS, checks


def select_documents(database: LegacyDatabase, table: str) -> str:
    """Return a SELECT of the values that must be checked in Python, because SQL cannot do it.

    It gives id, name, description, and the steps and settings as text (NULL if there are none).
    """
    # JSON's null is no document either, so the CASE asks for the decoded document. But Python
    # checks the text as it was written: decoding loses a member that stands twice.
    steps, settings = DOCUMENT_COLUMNS[table]
    return f"""
SELECT
    id,
    name,
    description,
    CASE WHEN {decode(steps)} IS NOT NULL THEN CAST({steps} AS text) END,
    CASE WHEN {decode(settings)} IS NOT NULL THEN CAST({settings} AS text) END
FROM (
{database.select_library_rows(table, owner="id")}
) AS source"""


def join_documents(table: str) -> str:
    """Write a join that decodes and checks the documents, name and description of each row.

    It adds ``decoded_steps`` and ``decoded_settings`` (NULL if there are none), and four booleans:
    ``steps_are_valid``, ``settings_are_valid``, ``name_is_valid``, ``description_is_valid``. A
    document is valid if it passes the CHECK of its column and the library's types can read it.
    ``bad_steps`` and ``bad_settings`` are the paths of the members without which the library can
    read the document; NULL if the whole document must go.
    """
    steps, settings = DOCUMENT_COLUMNS[table]
    conditions = checks("postgresql")[table]

    def is_readable(column: str) -> str:
        return f"NOT CAST(:unreadable AS jsonb) ? (id || '/{column}')"

    def bad_members(column: str, json_type: str) -> str:
        return f"""CASE
                WHEN jsonb_typeof({column}) = '{json_type}'
                    THEN nullif(CAST(:unreadable AS jsonb) -> (id || '/{column}'), '[]')
            END"""

    # The CHECKs name their column, so the decoded documents get the names of the columns.
    return f"""
    CROSS JOIN LATERAL (
        SELECT
            {steps} AS decoded_steps,
            {settings} AS decoded_settings,
            {bad_members(steps, "array")} AS bad_steps,
            {bad_members(settings, "object")} AS bad_settings,
            coalesce({steps} IS NULL OR {conditions[steps]}, false)
                AND {is_readable(steps)} AS steps_are_valid,
            coalesce({settings} IS NULL OR {conditions[settings]}, false)
                AND {is_readable(settings)} AS settings_are_valid,
            coalesce({conditions["name"]}, false)
                AND {is_readable("name")} AS name_is_valid,
            ({conditions["description"]})
                AND {is_readable("description")} AS description_is_valid
        FROM (
            SELECT
                {decode(steps)} AS {steps},
                {decode(settings)} AS {settings}
        ) AS decoded
    ) AS checked"""


def document_rules(table: str) -> dict[str, Rule]:
    """Return the rules that campaigns and templates share. They need :func:`join_documents`."""
    steps, settings = DOCUMENT_COLUMNS[table]
    return {
        "description": Rule(
            "CASE WHEN description_is_valid THEN description END",
            kind="'bad_description'",
            undecided="NOT description_is_valid",
        ),
        steps: _document_rule("steps", steps, fill="pg_temp.fill_steps", empty="[]"),
        settings: _document_rule("settings", settings, fill="", empty="{}"),
        "created_at": time_rule("created_at", "updated_at"),
        "updated_at": time_rule("updated_at", "created_at"),
        "version": Rule("coalesce(version, 1)"),
    }


def _document_rule(documents: str, column: str, *, fill: str, empty: str) -> Rule:
    """Return the rule for the column of the steps or settings, which ``documents`` names.

    ``fill`` is the function that adds missing fields, if there is one.
    """
    return Rule(
        f"""CASE
            WHEN {documents}_are_valid AND decoded_{documents} IS NOT NULL
                THEN {fill}(decoded_{documents})
            WHEN bad_{documents} IS NOT NULL
                THEN {fill}(pg_temp.remove_members(decoded_{documents}, bad_{documents}))
            ELSE '{empty}'
        END""",
        kind=f"""CASE
                WHEN NOT {documents}_are_valid THEN 'not_{documents}'
                WHEN decoded_{documents} IS NOT NULL AND jsonb_typeof({column}) = 'string'
                    THEN 'double_encoded'
                ELSE 'absent'
            END""",
        undecided=f"NOT {documents}_are_valid",
        paths=f"bad_{documents}",
    )


def decode(column: str) -> str:
    """Write an expression: a document decoded from JSON strings, NULL for JSON's null.

    Most documents are not strings. The CASE saves them the call of the function.
    """
    return (
        f"CASE jsonb_typeof({column}) WHEN 'string' THEN pg_temp.decode_json({column})"
        f" ELSE nullif({column}, 'null') END"
    )
