"""The store: one tenant, one connection, the caller's transaction."""

from __future__ import annotations

from typing import TypedDict
from uuid import UUID

import sqlalchemy as sa

from campaign_model._values import checked_id
from campaign_model.store.campaigns import Campaigns
from campaign_model.store.connection import Clock, check_connection, database_time
from campaign_model.store.contacts import Contacts
from campaign_model.store.export import Export
from campaign_model.store.generation import Generation
from campaign_model.store.scope import Scope
from campaign_model.store.tables import HostTables
from campaign_model.store.templates import Templates
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.wire import DEFAULT, Codec


class StoreOptions(TypedDict, total=False):
    """Options that ``transact`` and the workers pass on to :class:`CampaignStore`."""

    clock: Clock
    codec: Codec
    host: HostTables


class CampaignStore:
    """Campaigns, templates, contacts, generation and export of one tenant.

    The caller begins and ends the transaction of ``connection``: the store never commits or rolls
    back, so that a service can write its own rows in the same transaction. Use one store per
    transaction. A method that raises one of the library's errors has written nothing, except that
    it may have corrected totals that did not fit the contacts. The transaction can be continued.

    * ``tenant_id``: the store reads and changes only rows of this tenant.
    * ``actor``: who changes the status of campaigns, for their history; up to 500 characters.
    * ``clock``: returns the time. By default it is the database's; tests pass another clock.
    * ``codec``: knows the channels and tones that documents may contain; by default, the standard
      ones.
    * ``host``: the names of the host's tables.

    Raises ``ValueError`` for a connection on which the store cannot keep its promises: SQLite
    without ``db.prepare_engine``, another database, a driver that it does not know, a
    ``client_encoding`` or ``DateStyle`` that the driver cannot use (docs/drivers.md), AUTOCOMMIT,
    a ``schema_translate_map``, or on PostgreSQL the option ``stream_results`` or ``yield_per``.
    This and every method raises :class:`InvalidArgument` for a value that it cannot use, such as
    text that is no id, and ``TypeError`` for a value of a wrong type.
    """

    campaigns: Campaigns
    templates: Templates
    contacts: Contacts
    generation: Generation
    export: Export

    def __init__(
        self,
        connection: sa.Connection,
        tenant_id: UUID,
        *,
        actor: str | None = None,
        clock: Clock = database_time,
        codec: Codec = DEFAULT,
        host: HostTables = HostTables(),  # noqa: B008 - immutable
    ) -> None:
        check_connection(connection)
        checked_id(tenant_id, "tenant_id")
        choose_tenant(connection, tenant_id)
        scope = Scope(connection, tenant_id, actor, clock, codec, host)
        self.connection = connection
        self.tenant_id = tenant_id
        self.campaigns = Campaigns(scope)
        self.templates = Templates(scope)
        self.contacts = Contacts(scope)
        self.generation = Generation(scope)
        self.export = Export(scope)
