"""The shapes in which databases are found that are older than this library, as catalogs.

For plain SQL without a database to look at: what one of them has beyond this, its SQL leaves alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from campaign_model.db.catalog import Catalog, Column, Constraint, Index, Table
from campaign_model.db.schema import quoted
from campaign_model.store.tables import HostTables

__all__ = ["SHAPES", "shape"]

SHAPES = ("empty", "bare", "extended")

_MOMENT = "timestamp with time zone"
_NOT_NULL = {"id", "campaign_id", "contact_id", "name"}
_BARE = {
    "id": "uuid",
    "tenant_id": "uuid",
    "owner_id": "uuid",
    "name": "text",
    "lemlist_campaign_id": "text",
    "is_active": "boolean",
    "created_at": _MOMENT,
    "updated_at": _MOMENT,
}
_EXTENDED = {
    "description": "text",
    "status": "text",
    "template_config": "jsonb",
    "generation_config": "jsonb",
    "total_contacts": "integer",
    "generated_count": "integer",
    "generation_cost": "numeric(10,4)",
    "generation_started_at": _MOMENT,
    "generation_completed_at": _MOMENT,
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
    "added_at": _MOMENT,
    "generated_at": _MOMENT,
}
_TEMPLATES = {
    "id": "uuid",
    "tenant_id": "uuid",
    "name": "text",
    "description": "text",
    "steps": "jsonb",
    "default_config": "jsonb",
    "is_system": "boolean",
    "created_at": _MOMENT,
    "updated_at": _MOMENT,
}
_MESSAGES = {
    "id": "uuid",
    "contact_id": "uuid",
    "campaign_id": "uuid",
    "status": "message_status",
    "generation_cost_usd": "numeric(10,4)",
    "created_at": _MOMENT,
}
_HOST = {"id": "uuid", "tenant_id": "uuid"}


def shape(name: str, host: HostTables, messages: str) -> Catalog:
    """The catalog of a database in that shape, as loose as any of them may be.

    Raises ``ValueError`` for a name that is none of :data:`SHAPES`.
    """
    if name not in SHAPES:
        raise ValueError(f"a shape is one of {', '.join(SHAPES)}, not {name!r}")
    tenants, contacts = quoted(host.tenants), quoted(host.contacts)
    found = {one: _table(one, _HOST) for one in attrs.astuple(host)}
    found[messages] = _table(messages, _MESSAGES)
    of_tenant = {"tenant_id": f"FOREIGN KEY (tenant_id) REFERENCES {tenants}(id)"}
    if name != "empty":
        columns = _BARE if name == "bare" else _BARE | _EXTENDED
        found["campaigns"] = _table("campaigns", columns, of_tenant, not_null={"tenant_id"})
    if name == "extended":
        found["campaign_templates"] = _table("campaign_templates", _TEMPLATES, of_tenant)
        found["campaign_contacts"] = _table(
            "campaign_contacts",
            _CONTACTS,
            {
                "campaign_id": "FOREIGN KEY (campaign_id) REFERENCES campaigns(id) "
                "ON DELETE CASCADE",
                "contact_id": f"FOREIGN KEY (contact_id) REFERENCES {contacts}(id) "
                "ON DELETE CASCADE",
            },
        )
    return found


def _table(
    name: str,
    columns: Mapping[str, str],
    keys: Mapping[str, str] | None = None,
    not_null: Collection[str] = (),
) -> Table:
    constraints = {f"{name}_pkey": Constraint("p", ("id",), "PRIMARY KEY (id)")}
    for column, definition in (keys or {}).items():
        constraints[f"{name}_{column}_fkey"] = Constraint(
            "f", (column,), definition, cascades="CASCADE" in definition
        )
    return Table(
        columns={
            one: Column(type_, not_null=one in {*_NOT_NULL, *not_null})
            for one, type_ in columns.items()
        },
        constraints=constraints,
        indexes={
            f"{name}_pkey": Index("USING btree (id)", ("id",), frozenset({"id"}), unique=True)
        },
    )
