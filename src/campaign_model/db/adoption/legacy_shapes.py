"""Catalogs of typical legacy databases, for plain SQL without a database to look at.

``build_shape`` builds the catalog of a shape. A real database may have more tables, columns and
constraints; the SQL for the shape leaves them alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from campaign_model.db.adoption.catalog import Catalog, Column, Constraint, Index, Table
from campaign_model.db.schema import quote
from campaign_model.store.tables import HostTables

__all__ = ["SHAPES", "build_shape"]

SHAPES = ("empty", "bare", "extended")

_TIMESTAMP = "timestamp with time zone"
_NOT_NULL = {"id", "campaign_id", "contact_id", "name"}
_BARE = {
    "id": "uuid",
    "tenant_id": "uuid",
    "owner_id": "uuid",
    "name": "text",
    "lemlist_campaign_id": "text",
    "is_active": "boolean",
    "created_at": _TIMESTAMP,
    "updated_at": _TIMESTAMP,
}
_EXTENDED = {
    "description": "text",
    "status": "text",
    "template_config": "jsonb",
    "generation_config": "jsonb",
    "total_contacts": "integer",
    "generated_count": "integer",
    "generation_cost": "numeric(10,4)",
    "generation_started_at": _TIMESTAMP,
    "generation_completed_at": _TIMESTAMP,
}
_CONTACTS = {
    "id": "uuid",
    "campaign_id": "uuid",
    "contact_id": "uuid",
    "tenant_id": "uuid",
    "status": "text",
    "enrichment_gaps": "jsonb",
    "generation_cost": "numeric(10,4)",
    "error": "text",
    "added_at": _TIMESTAMP,
    "generated_at": _TIMESTAMP,
}
_TEMPLATES = {
    "id": "uuid",
    "tenant_id": "uuid",
    "name": "text",
    "description": "text",
    "steps": "jsonb",
    "default_config": "jsonb",
    "is_system": "boolean",
    "created_at": _TIMESTAMP,
    "updated_at": _TIMESTAMP,
}
_MESSAGES = {
    "id": "uuid",
    "contact_id": "uuid",
    "campaign_id": "uuid",
    "status": "message_status",
    "generation_cost_usd": "numeric(10,4)",
    "created_at": _TIMESTAMP,
}
_HOST = {"id": "uuid", "tenant_id": "uuid"}


def build_shape(shape: str, host: HostTables, messages: str) -> Catalog:
    """Build the catalog of a database of that shape, with the least that adoption can rely on.

    Raises ``ValueError`` for a name that is not in :data:`SHAPES`.
    """
    if shape not in SHAPES:
        raise ValueError(f"the shape must be one of {', '.join(SHAPES)}, not {shape!r}")
    tenants, contacts = quote(host.tenants), quote(host.contacts)
    tables = {name: _build_table(name, _HOST) for name in attrs.astuple(host)}
    tables[messages] = _build_table(messages, _MESSAGES)
    tenant_key = {"tenant_id": f"FOREIGN KEY (tenant_id) REFERENCES {tenants}(id)"}
    if shape != "empty":
        columns = _BARE if shape == "bare" else _BARE | _EXTENDED
        tables["campaigns"] = _build_table("campaigns", columns, tenant_key, not_null={"tenant_id"})
    if shape == "extended":
        tables["campaign_templates"] = _build_table("campaign_templates", _TEMPLATES, tenant_key)
        tables["campaign_contacts"] = _build_table(
            "campaign_contacts",
            _CONTACTS,
            {
                "campaign_id": "FOREIGN KEY (campaign_id) REFERENCES campaigns(id) "
                "ON DELETE CASCADE",
                "contact_id": f"FOREIGN KEY (contact_id) REFERENCES {contacts}(id) "
                "ON DELETE CASCADE",
            },
        )
    return tables


def _build_table(
    name: str,
    columns: Mapping[str, str],
    foreign_keys: Mapping[str, str] | None = None,
    not_null: Collection[str] = (),
) -> Table:
    """Build a table with a primary key ``id``, and with constraints named as PostgreSQL does."""
    constraints = {f"{name}_pkey": Constraint("p", ("id",), "PRIMARY KEY (id)")}
    for column, definition in (foreign_keys or {}).items():
        constraints[f"{name}_{column}_fkey"] = Constraint(
            "f", (column,), definition, cascades="CASCADE" in definition
        )
    return Table(
        columns={
            column: Column(type_, not_null=column in {*_NOT_NULL, *not_null})
            for column, type_ in columns.items()
        },
        constraints=constraints,
        indexes={
            f"{name}_pkey": Index("USING btree (id)", ("id",), frozenset({"id"}), unique=True)
        },
    )
