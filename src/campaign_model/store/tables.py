"""The library's tables, their column types, and the names of the host's tables that they refer to.

A host may read the tables, refer to them and map them; docs/tables.md describes every column. Only
the store writes to them.

Every foreign key between them includes ``tenant_id``, so that a row of one tenant cannot refer to
a row of another. The foreign keys to the host's tables (:mod:`campaign_model.db.schema`) and the
CHECK constraints (:mod:`campaign_model.db.checks`) are added when a database is set up.
"""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from campaign_model._values import text
from campaign_model.errors import InvalidArgument, short_repr
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.store.types import JsonText, Money, UtcDateTime, Uuid, database_clock, new_id

__all__ = [
    "HostTables",
    "JsonText",
    "Money",
    "UtcDateTime",
    "Uuid",
    "campaign_contacts",
    "campaign_erased_claims",
    "campaign_history",
    "campaign_templates",
    "campaign_totals",
    "campaigns",
    "metadata",
]

Value = TypeVar("Value", bound=attrs.AttrsInstance)


_LONGEST_NAME = 63
"""The most bytes of a name in PostgreSQL, which cuts a longer one."""


def check_table_name(name: Any, argument: str) -> None:
    """Raise :class:`InvalidArgument` for a name that the library cannot use for a host's table."""
    # SQLAlchemy's names of tables are a subclass of str.
    table = text(str(name) if isinstance(name, str) else name, argument)
    if "." in table:
        raise InvalidArgument(
            argument,
            f"{argument} is the name of a table without its schema, not {short_repr(table)}: name "
            "the table alone, and put its schema on the search_path of every connection",
        )
    if len(table.encode()) > _LONGEST_NAME:
        message = f"{argument} is a name of at most {_LONGEST_NAME} bytes, not {short_repr(table)}"
        raise InvalidArgument(argument, message)
    if table in metadata.tables:
        message = f"{argument} is the name of a table of your own: {table} is the library's"
        raise InvalidArgument(argument, message)


def _is_name(_instance: object, attribute: Any, value: Any) -> None:
    check_table_name(value, attribute.name)


@attrs.frozen
class HostTables:
    """The names of the host's tables that the library refers to and does not own.

    Each has columns ``id`` and (all but ``tenants``) ``tenant_id``. A name has no schema: the
    ``search_path`` of the connection finds a table of another schema. Raises
    :class:`InvalidArgument` for a name with a dot, for one that a database cannot have, and for the
    name of a library's table.
    """

    tenants: str = attrs.field(default="tenants", validator=_is_name)
    owners: str = attrs.field(default="owners", validator=_is_name)
    contacts: str = attrs.field(default="contacts", validator=_is_name)


LOWEST_RANK = -(2**63 - 1)
"""No contact's rank is below it."""

metadata: sa.MetaData = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(constraint_name)s",
    }
)


def _id() -> sa.Column[object]:
    return sa.Column("id", Uuid, primary_key=True)


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant_id", Uuid, nullable=False)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, UtcDateTime, nullable=False, server_default=database_clock())


def _count(name: str, default: int = 0) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=str(default))


def _money(name: str) -> sa.Column[object]:
    return sa.Column(name, Money, nullable=False, server_default="0")


def _of_campaign() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "campaign_id"], ["campaigns.tenant_id", "campaigns.id"]
    )


campaigns: sa.Table = sa.Table(
    "campaigns",
    metadata,
    sa.Column("id", Uuid, primary_key=True, server_default=new_id()),
    _tenant(),
    sa.Column("owner_id", Uuid),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("status", sa.Text, nullable=False, server_default=Status.DRAFT.value),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.text("true")),
    sa.Column("template_id", Uuid),
    sa.Column("template_config", JsonText, nullable=False, server_default="[]"),
    sa.Column("generation_config", JsonText, nullable=False, server_default="{}"),
    # Legacy columns, for programs that do not read campaign_totals. Every change of the status or
    # of the set of contacts copies the totals into them, and so does a late result. They are
    # integers as in existing databases; widening them would rewrite the table.
    sa.Column("total_contacts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("generated_count", sa.Integer, nullable=False, server_default="0"),
    _money("generation_cost"),
    sa.Column("generation_started_at", UtcDateTime),
    sa.Column("generation_completed_at", UtcDateTime),
    _count("finished_before_start"),
    _count("next_position"),
    _count("clone_count"),
    _count("version", 1),
    _now("created_at"),
    _now("updated_at"),
    sa.UniqueConstraint("tenant_id", "id"),
    sa.Index("page", "tenant_id", "created_at", "id"),
)

campaign_contacts: sa.Table = sa.Table(
    "campaign_contacts",
    metadata,
    _id(),
    _tenant(),
    sa.Column("campaign_id", Uuid, nullable=False),
    sa.Column("contact_id", Uuid, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default=ContactStatus.PENDING.value),
    sa.Column("enrichment_gaps", JsonText),
    # The order of generation: higher priority first, then earlier assignment (store.assignment).
    _count("rank"),
    _count("attempts"),
    _count("revision"),
    sa.Column("claim_token", Uuid),
    sa.Column("claimed_at", UtcDateTime),
    sa.Column("lease_expires_at", UtcDateTime),
    sa.Column("retry_at", UtcDateTime),
    # The tokens of the claims whose outcomes were recorded, so that an outcome that is recorded a
    # second time is recognised.
    sa.Column("reported_tokens", JsonText, nullable=False, server_default="[]"),
    _money("generation_cost"),
    _count("unknown_costs"),
    _money("reserved"),
    sa.Column("steps_fingerprint", sa.Text),
    sa.Column("error_code", sa.Text),
    sa.Column("error", sa.Text),
    _now("added_at"),
    sa.Column("generated_at", UtcDateTime),
    # When an exporter recorded that it has pushed the contact's messages.
    sa.Column("exported_at", UtcDateTime),
    # The tenant is the last column of these keys. If it were the first one, PostgreSQL would use
    # the index for a tenant that its statistics do not contain yet, and read all of its contacts.
    sa.UniqueConstraint("id", "tenant_id"),
    # Only the index of ranks begins with the campaign, so that PostgreSQL plans claims with it.
    sa.UniqueConstraint("contact_id", "campaign_id", "tenant_id"),
    _of_campaign(),
    sa.Index("rank", "campaign_id", "rank", "tenant_id"),
)

# SQLAlchemy 2.0 has no argument of Table for them.
STORAGE_PARAMETERS = {
    # Claiming a contact and recording its outcome change no indexed column, and each page has room
    # for new row versions. So PostgreSQL updates no index then (HOT updates).
    "campaign_contacts": "fillfactor = 50",
}
"""The storage parameters of tables on PostgreSQL, as in ``CREATE TABLE ... WITH (...)``."""


is_running: sa.ColumnElement[bool] = campaigns.c.status == sa.literal_column(
    f"'{Status.GENERATING}'", sa.Text
)
"""The condition that a campaign is generating.

The status is a literal and no parameter, so that PostgreSQL can use the partial index below.
"""

# For `db.generating`, which a pool of workers calls often: the running campaigns of all tenants.
sa.Index(
    "running",
    campaigns.c.tenant_id,
    campaigns.c.id,
    postgresql_where=is_running,
    sqlite_where=is_running,
)

# Claims of contacts that were erased in flight. Their cost can still be booked, once. The money
# that was reserved for a contact stays reserved until then, or until the lease expires.
campaign_erased_claims: sa.Table = sa.Table(
    "campaign_erased_claims",
    metadata,
    sa.Column("tenant_id", Uuid, primary_key=True),
    sa.Column("campaign_contact_id", Uuid, primary_key=True),
    sa.Column("campaign_id", Uuid, nullable=False),
    sa.Column("token", Uuid, nullable=False),
    _money("reserved"),
    sa.Column("lease_expires_at", UtcDateTime),
    _of_campaign(),
)

campaign_totals: sa.Table = sa.Table(
    "campaign_totals",
    metadata,
    sa.Column("tenant_id", Uuid, primary_key=True),
    sa.Column("campaign_id", Uuid, primary_key=True),
    sa.Column("shard", sa.SmallInteger, primary_key=True),
    *(_count(status.value) for status in ContactStatus),
    _count("exported"),
    _money("cost"),
    _count("unknown_costs"),
    _money("erased_cost"),
    _count("erased_unknown_costs"),
    _money("reserved"),
    # What the last claim of this run asked to reserve. The budget is spent if it does not fit.
    _money("unit_reserve"),
    # The low-water mark: every contact with a lower rank is finished. The highest value of all
    # shards is the campaign's mark.
    sa.Column("low_watermark", sa.BigInteger),
    _of_campaign(),
)

campaign_history: sa.Table = sa.Table(
    "campaign_history",
    metadata,
    _id(),
    _tenant(),
    sa.Column("campaign_id", Uuid, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("actor", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("tenant_id", "campaign_id", "version"),
    _of_campaign(),
)

campaign_templates: sa.Table = sa.Table(
    "campaign_templates",
    metadata,
    _id(),
    # NULL for a system template, which every tenant sees.
    sa.Column("tenant_id", Uuid),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("steps", JsonText, nullable=False, server_default="[]"),
    sa.Column("default_config", JsonText, nullable=False, server_default="{}"),
    sa.Column("is_system", sa.Boolean, nullable=False, server_default=sa.text("false")),
    # Digest of the preset file that was synced last, to tell an edited row from an outdated one.
    sa.Column("shipped_digest", sa.Text),
    _count("version", 1),
    _now("created_at"),
    _now("updated_at"),
    sa.UniqueConstraint("tenant_id", "name"),
)


def host_table(name: str) -> sa.TableClause:
    """Return the columns of a host's table that the library reads."""
    return sa.table(name, sa.column("id", Uuid), sa.column("tenant_id", Uuid))


def value_from_row(value_type: type[Value], row: sa.Row[Any], **others: Any) -> Value:
    """Make a value from a row. ``others`` are its fields that are not equal to a column."""
    names = (field.name for field in attrs.fields(value_type))
    return value_type(
        **{name: getattr(row, name) for name in names if name not in others}, **others
    )
