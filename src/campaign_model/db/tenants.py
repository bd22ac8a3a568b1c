"""``remove_tenant``: delete everything that the library stores for one tenant.

The order: lock every campaign, so that no worker writes any more; the host's messages; then tables
before the tables that they refer to. Everything happens in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._values import checked_id
from campaign_model.db.adoption.legacy_database import QUARANTINE
from campaign_model.db.outbox import outbox
from campaign_model.db.rls import TABLES
from campaign_model.db.setup import require_all_rows
from campaign_model.errors import Conflict
from campaign_model.store.connection import check_connection, savepoint
from campaign_model.store.deleting import deleting
from campaign_model.store.locking import read_campaign
from campaign_model.store.scope import Scope
from campaign_model.store.tables import campaigns, metadata


@attrs.frozen
class RemovedTenant:
    """The answer of ``remove_tenant``: the numbers of deleted campaigns, contacts and templates."""

    campaigns: int
    contacts: int
    templates: int


def remove_tenant(
    connection: sa.Connection,
    tenant_id: UUID,
    *,
    delete_messages: Callable[[sa.Connection], object] | None = None,
) -> RemovedTenant:
    """Delete every row of a tenant from the library's tables, in the caller's transaction.

    That includes histories, costs, the outbox, and what adoption has moved to the quarantine. The
    host's own tables are not changed. Messages that refer to the rows must be deleted first:
    ``delete_messages(connection)`` can do that, and is called once the campaigns are locked, so
    that no worker writes another message. A worker that has a contact then gets
    :class:`~campaign_model.errors.NotFound`. System templates stay.

    The call is one transaction, not batches: either everything is deleted or nothing. It is
    idempotent: called again, it finds nothing to delete. Delete the tenant in the host's table
    afterwards, in the same transaction, so that no campaign is added in between.

    It needs the rights of the tables' owner, because a service's role has no right to delete
    campaigns. Raises :class:`Conflict` (``still_referred_to``) while rows of the host refer to the
    tenant's rows; then nothing is deleted. Raises :class:`SetupError` if row-level security hides
    rows from the role.
    """
    check_connection(connection)
    checked_id(tenant_id, "tenant_id")
    require_all_rows(connection, TABLES)
    scope = Scope(connection, tenant_id)
    deleted = {}
    with savepoint(connection) as refusal:
        ids = connection.scalars(
            sa.select(campaigns.c.id).where(scope.of_tenant(campaigns)).order_by(campaigns.c.id)
        ).all()
        for id_ in ids:
            read_campaign(scope, id_, lock=True)
        if delete_messages is not None:
            delete_messages(connection)
        _empty_quarantine(scope)
        if sa.inspect(connection).has_table(outbox.name):
            connection.execute(sa.delete(outbox).where(scope.of_tenant(outbox)))
        with deleting(connection, tenant_id):
            for table in reversed(metadata.sorted_tables):
                delete = sa.delete(table).where(scope.of_tenant(table))
                deleted[table.name] = connection.execute(delete).rowcount
    if refusal.foreign_key_violated:
        raise Conflict(
            "still_referred_to",
            "rows of other tables still refer to campaigns, contacts or templates of this tenant; "
            "delete them in the same transaction, with delete_messages=",
        )
    return RemovedTenant(
        deleted["campaigns"], deleted["campaign_contacts"], deleted["campaign_templates"]
    )


def _empty_quarantine(scope: Scope) -> None:
    """Delete what adoption has moved out of the tenant's rows, and whole rows of the tenant."""
    connection = scope.connection
    if not sa.inspect(connection).has_table(QUARANTINE):
        return
    quarantine = sa.table(QUARANTINE, sa.column("row_id"), sa.column("value"))
    is_of_row = [
        quarantine.c.row_id.in_(
            sa.select(sa.cast(table.c.id, sa.Text)).where(scope.of_tenant(table))
        )
        for table in metadata.sorted_tables
        if "id" in table.c
    ]
    is_own_row = sa.text("value ->> 'tenant_id' = :tenant").bindparams(tenant=str(scope.tenant_id))
    connection.execute(sa.delete(quarantine).where(sa.or_(*is_of_row, is_own_row)))
