"""The CHECK constraints of the schema, for PostgreSQL and SQLite.

:func:`checks` generates them from the fields of the value types
(:mod:`campaign_model.fields`), their limits, the lifecycle and the types of the columns. The
migrations contain a frozen copy of the conditions; a test compares both.

SQL accepts a row if a CHECK is NULL. So every condition here is written to be true or false.
"""

from __future__ import annotations

from campaign_model.campaign import ADOPTED, MAX_ACTOR, MAX_DESCRIPTION, MAX_NAME, MAX_REASON
from campaign_model.claims import MAX_ERROR
from campaign_model.db import checks_postgresql, checks_sqlite
from campaign_model.db.checks_shared import one_of
from campaign_model.lifecycle import Action, ContactStatus, Status, target
from campaign_model.store.tables import metadata
from campaign_model.store.types import Money

DOCUMENT_COLUMNS = {
    "campaigns": ("template_config", "generation_config"),
    "campaign_templates": ("steps", "default_config"),
}
"""For each table, the column with the steps and the column with the settings."""

_LONGEST_TEXTS = {
    "campaigns": {"name": MAX_NAME, "description": MAX_DESCRIPTION},
    "campaign_contacts": {"error_code": MAX_ERROR, "error": MAX_ERROR},
    "campaign_history": {"actor": MAX_ACTOR, "reason": MAX_REASON},
    "campaign_templates": {"name": MAX_NAME, "description": MAX_DESCRIPTION},
}
"""For each table, the columns with text for people, and the maximum number of characters."""


def checks(dialect: str) -> dict[str, dict[str, str]]:
    """Return every CHECK on ``dialect``: table name -> constraint name -> condition."""
    dialect_checks = checks_sqlite if dialect == "sqlite" else checks_postgresql
    by_table: dict[str, dict[str, str]] = {}
    for name, table in metadata.tables.items():
        # 1. The types of the columns, and the limits of texts.
        conditions = by_table[name] = dialect_checks.check_types(table)
        for column in table.c:
            if isinstance(column.type, Money):
                # A row of the totals holds signed deltas of one shard; only their sum is an amount.
                signed = name == "campaign_totals"
                conditions[column.name] = dialect_checks.check_amount(column.name, signed=signed)
        for column_name, longest in _LONGEST_TEXTS.get(name, {}).items():
            conditions[column_name] = dialect_checks.check_text(table.c[column_name], longest)

    # 2. Columns with fixed words, and conditions on several columns of a row.
    by_table["campaigns"]["status"] = one_of("status", Status)
    deleted = f"is_active OR status = '{target(Action.DELETE)}'"
    flag = by_table["campaigns"].get("is_active")  # SQLite has one on the type of the column.
    by_table["campaigns"]["is_active"] = f"{flag} AND ({deleted})" if flag else deleted
    by_table["campaign_templates"]["is_system"] = "is_system = (tenant_id IS NULL)"
    contacts = by_table["campaign_contacts"]
    contacts["status"] = one_of("status", ContactStatus)
    # A generating contact has a token and a lease. Every lease has a token.
    contacts["claim"] = (
        "(claim_token IS NOT NULL OR lease_expires_at IS NULL) "
        f"AND (lease_expires_at IS NOT NULL OR status <> '{ContactStatus.GENERATING}')"
    )
    history = by_table["campaign_history"]
    history["action"] = one_of("action", (*Action, ADOPTED))
    history["source"] = one_of("source", Status)
    history["target"] = one_of("target", Status)
    # Adoption writes the old values of a campaign into the reason. They may be long.
    history["reason"] = f"action = '{ADOPTED}' OR {history['reason']}"

    # 3. Documents and lists.
    for table_name, (steps, settings) in DOCUMENT_COLUMNS.items():
        by_table[table_name][steps] = dialect_checks.check_steps(steps)
        by_table[table_name][settings] = dialect_checks.check_settings(settings)
    contacts["reported_tokens"] = dialect_checks.check_list("reported_tokens")
    gaps = "enrichment_gaps"
    contacts[gaps] = f"{gaps} IS NULL OR {dialect_checks.check_gaps(gaps)}"
    return by_table
