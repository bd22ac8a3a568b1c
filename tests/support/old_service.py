"""An old service: it writes campaigns with plain SQL and knows nothing of the library.

Its habits are those of real services: JSON inside JSON strings, columns that it leaves out or sets
to NULL, its own counters, amounts with too many decimals, soft deletes, and deletes that rely on
ON DELETE CASCADE. It writes into the tables of the shape ``SERVICE`` (:mod:`support.adoption`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa


@attrs.frozen
class OldService:
    """Writes rows of one tenant. Every method is a transaction, and raises the database's error."""

    engine: sa.Engine
    tenant_id: UUID

    def create(self, steps: Sequence[Any], *, layers: int = 1, **columns: Any) -> UUID:
        """Insert a campaign whose steps are encoded as JSON strings, ``layers`` times."""
        document = json.dumps(steps)
        for _ in range(layers):
            document = json.dumps(document)
        return self._insert("campaigns", template_config=document, **columns)

    def clone(self, campaign_id: UUID) -> UUID:
        """Copy a campaign with its documents, as they are."""
        rows = self._execute(
            """
            INSERT INTO campaigns (tenant_id, owner_id, name, status, template_config,
                generation_config, total_contacts, generated_count)
            SELECT tenant_id, owner_id, left('Copy of ' || name, 200), NULL, template_config,
                to_jsonb(CAST(generation_config AS text)), 0, NULL
            FROM campaigns
            WHERE id = :campaign
            RETURNING id
            """,
            campaign=campaign_id,
        )
        return UUID(str(rows[0][0]))

    def update(self, campaign_id: UUID, **columns: Any) -> None:
        """Set columns of a campaign."""
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        statement = f"UPDATE campaigns SET {assignments} WHERE id = :campaign"  # noqa: S608
        self._execute(statement, campaign=campaign_id, **columns)

    def assign(self, campaign_id: UUID, contacts: Iterable[UUID]) -> None:
        """Insert campaign contacts without a tenant, and count them."""
        for contact_id in contacts:
            self._execute(
                """
                WITH added AS (
                    INSERT INTO campaign_contacts (campaign_id, contact_id, status, generation_cost)
                    VALUES (:campaign, :contact, NULL, NULL)
                    ON CONFLICT DO NOTHING
                    RETURNING id
                )
                UPDATE campaigns
                SET total_contacts = total_contacts + (SELECT count(*) FROM added)
                WHERE id = :campaign
                """,
                campaign=campaign_id,
                contact=contact_id,
            )

    def generate(self, campaign_id: UUID, cost: str) -> None:
        """Write a message for each waiting contact, and set the counters."""
        self._execute(
            """
            INSERT INTO messages (tenant_id, contact_id, campaign_id, campaign_contact_id, body)
            SELECT :tenant, contact_id, campaign_id, id, 'Hello'
            FROM campaign_contacts
            WHERE campaign_id = :campaign AND status = 'pending'
            """,
            campaign=campaign_id,
        )
        self._execute(
            """
            UPDATE campaign_contacts
            SET status = 'generated', generation_cost = CAST(:cost AS numeric), generated_at = now()
            WHERE campaign_id = :campaign AND status = 'pending'
            """,
            campaign=campaign_id,
            cost=cost,
        )
        self._execute(
            """
            UPDATE campaigns
            SET
                status = 'review',
                generated_count = 1000,
                generation_cost = generation_cost + CAST(:cost AS numeric)
            WHERE id = :campaign
            """,
            campaign=campaign_id,
            cost=cost,
        )

    def send(self, campaign_id: UUID) -> None:
        """Give every contact of the campaign a status that the library does not know."""
        self._execute(
            "UPDATE campaign_contacts SET status = 'sent' WHERE campaign_id = :campaign",
            campaign=campaign_id,
        )

    def delete(self, campaign_id: UUID) -> None:
        """Delete a campaign; its contacts follow by ON DELETE CASCADE."""
        self._execute("DELETE FROM messages WHERE campaign_id = :campaign", campaign=campaign_id)
        self._execute("DELETE FROM campaigns WHERE id = :campaign", campaign=campaign_id)

    def delete_contact(self, contact_id: UUID) -> None:
        """Delete a contact; its places in campaigns follow by ON DELETE CASCADE."""
        self._execute("DELETE FROM messages WHERE contact_id = :contact", contact=contact_id)
        self._execute("DELETE FROM contacts WHERE id = :contact", contact=contact_id)

    def add_template(self, name: str) -> UUID:
        """Insert a template with documents inside JSON strings."""
        steps = json.dumps(json.dumps([{"channel": "email"}]))
        return self._insert("campaign_templates", name=name, steps=steps, default_config=None)

    def _insert(self, table: str, **columns: Any) -> UUID:
        names = ", ".join(columns)
        values = ", ".join(f":{name}" for name in columns)
        rows = self._execute(
            f"INSERT INTO {table} (tenant_id, {names}) VALUES (:tenant, {values}) RETURNING id",  # noqa: S608
            **columns,
        )
        return UUID(str(rows[0][0]))

    def _execute(self, statement: str, **parameters: Any) -> Sequence[sa.Row[Any]]:
        with self.engine.begin() as connection:
            result = connection.execute(
                sa.text(statement), {"tenant": self.tenant_id, **parameters}
            )
            return result.all() if result.returns_rows else []
