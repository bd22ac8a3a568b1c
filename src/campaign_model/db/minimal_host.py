"""``MinimalHost``: minimal host tables for the demo and for tests, created only on request."""

from __future__ import annotations

import attrs
import sqlalchemy as sa

from campaign_model.errors import InvalidArgument, short_repr
from campaign_model.store.tables import HostTables, campaign_contacts, campaigns
from campaign_model.store.types import Money, UtcDateTime, Uuid, database_clock

_DEFAULT_NAMES = {
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
}
"""The names that PostgreSQL gives to keys by default."""

_CONTACT_TEXTS = (
    *("first_name", "last_name", "company", "job_title"),
    *("email_address", "linkedin_url", "phone"),
)
"""The columns of a contact that contain text."""


class MinimalHost:
    """Has the tables as SQLAlchemy ``Table`` objects: tenants, owners, contacts and messages.

    ``host`` contains the names of the tables of tenants, owners and contacts. ``messages`` is the
    name of the table of messages. Raises :class:`InvalidArgument` if two tables have the same name.
    """

    def __init__(self, host: HostTables, messages: str = "messages") -> None:
        arguments: dict[str, str] = {}
        for argument, name in (*attrs.asdict(host).items(), ("messages", messages)):
            other = arguments.setdefault(name, argument)
            if other != argument:
                raise InvalidArgument(
                    argument,
                    f"{argument} must be another table than {other}; both have the name "
                    f"{short_repr(name)}",
                )
        metadata = sa.MetaData(naming_convention=_DEFAULT_NAMES)
        self.tenants: sa.Table = sa.Table(
            host.tenants,
            metadata,
            sa.Column("id", Uuid, primary_key=True),
            sa.Column("name", sa.Text, nullable=False),
        )

        def refer(column: str, table: sa.Table) -> sa.ForeignKeyConstraint:
            """Make a foreign key to a row of the same tenant."""
            return sa.ForeignKeyConstraint(["tenant_id", column], [table.c.tenant_id, table.c.id])

        def build_tenant_table(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
            """Make a table whose rows belong to tenants, with the usual keys."""
            return sa.Table(
                name,
                metadata,
                sa.Column("id", Uuid, primary_key=True),
                sa.Column("tenant_id", Uuid, sa.ForeignKey(self.tenants.c.id), nullable=False),
                *columns,
                sa.UniqueConstraint("tenant_id", "id"),
            )

        self.owners: sa.Table = build_tenant_table(
            host.owners, sa.Column("name", sa.Text, nullable=False), sa.Column("email", sa.Text)
        )
        self.contacts: sa.Table = build_tenant_table(
            host.contacts,
            sa.Column("owner_id", Uuid),
            *(sa.Column(name, sa.Text) for name in _CONTACT_TEXTS),
            refer("owner_id", self.owners),
        )
        self.messages: sa.Table = build_tenant_table(
            messages,
            sa.Column("campaign_id", Uuid),
            sa.Column("campaign_contact_id", Uuid),
            sa.Column("contact_id", Uuid, nullable=False),
            sa.Column("revision", sa.BigInteger),
            sa.Column("step_key", sa.Text),
            sa.Column("sequence_step", sa.SmallInteger),
            sa.Column("variant", sa.Text),
            sa.Column("channel", sa.Text, nullable=False),
            sa.Column("subject", sa.Text),
            sa.Column("body", sa.Text, nullable=False),
            sa.Column("status", sa.Text, nullable=False, server_default="draft"),
            sa.Column("generation_cost", Money),
            sa.Column("created_at", UtcDateTime, nullable=False, server_default=database_clock()),
            refer("campaign_id", campaigns),
            refer("campaign_contact_id", campaign_contacts),
            refer("contact_id", self.contacts),
            sa.Index(f"ix_{messages}_campaign_contact", "tenant_id", "campaign_contact_id"),
        )

    def create_referred(self, connection: sa.Connection) -> None:
        """Create the tables that the library's tables refer to; leave existing ones alone."""
        for table in (self.tenants, self.owners, self.contacts):
            table.create(connection, checkfirst=True)

    def create_referring(self, connection: sa.Connection) -> None:
        """Create the table that refers to the library's tables; leave an existing one alone."""
        self.messages.create(connection, checkfirst=True)
