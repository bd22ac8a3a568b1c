"""``grants``: the privileges that a service needs to use the store with a role of its own."""

from __future__ import annotations

from campaign_model.db.schema import quote
from campaign_model.store.tables import HostTables


def list_privileges(host: HostTables) -> dict[str, str]:
    """Return the privileges that the store needs, by table. It only reads the host's tables."""
    return {
        "campaigns": "SELECT, INSERT, UPDATE",
        "campaign_contacts": "SELECT, INSERT, UPDATE, DELETE",
        "campaign_erased_claims": "SELECT, INSERT, UPDATE, DELETE",
        "campaign_totals": "SELECT, INSERT, UPDATE, DELETE",
        "campaign_history": "SELECT, INSERT",
        "campaign_templates": "SELECT, INSERT, UPDATE, DELETE",
        host.contacts: "SELECT",
        host.owners: "SELECT",
    }


def grants(role: str, *, host: HostTables | None = None) -> tuple[str, ...]:
    """Return the GRANT statements that let the PostgreSQL role ``role`` use the store.

    Run them as the owner of the tables. ``host`` names the host's tables.
    """
    return tuple(
        f"GRANT {privileges} ON {quote(table)} TO {quote(role)}"
        for table, privileges in list_privileges(host or HostTables()).items()
    )
