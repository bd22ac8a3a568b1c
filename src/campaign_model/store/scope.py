"""What every part of the store shares: the connection, the tenant, the clock and the row locks.

Locks are taken in one order everywhere: the campaign, its contacts by id, the claims of erased
contacts by id, its totals, and last the rows that the host writes in the same transaction.

* ``claim``, ``renew``, ``checkpoint``, ``record`` and ``release`` share the campaign's row: they
  run side by side, and none commits into a campaign that was moved meanwhile. A claim waits for no
  contact, so that it alone may take contacts after totals.
* Whatever else changes a campaign or its contacts has the campaign's row alone, and so does
  ``exportable``. It meets nobody below that row and may take what is there in any order.
  ``erase`` goes through several campaigns, by id.
* Whatever only looks locks nothing.

A transaction that calls several methods keeps to this order if it does not move or edit a campaign
after sharing it, reports on a campaign once, takes several campaigns by id, and changes no message
before it has the campaign: by a report, in ``erase(..., delete_messages=)``, or by
``campaigns.get(..., lock=True)``. Two that do otherwise may wait for each other, until the
database ends one; ``transact`` tries it again.

PostgreSQL lets sharers of a row pass those who wait for it alone: a cancel would wait until the
last contact is done. So everybody passes a gate first, an advisory lock, at which they queue.
On SQLite the transaction itself, ``BEGIN IMMEDIATE``, is the lock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from campaign_model._values import optional_text, utc
from campaign_model.errors import NotFound
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Permission, Status, check_permission
from campaign_model.steps import StepSequence
from campaign_model.store.prepared import Prepared
from campaign_model.store.tables import ZERO, HostTables, campaigns, written_out
from campaign_model.store.types import UtcDateTime, checked_id, database_clock
from campaign_model.wire import Codec

__all__ = [
    "PREPARED",
    "SHARDS",
    "Clock",
    "Scope",
    "Shared",
    "all_of",
    "check_connection",
    "checked_ids",
    "chunks",
    "database_time",
    "insert_into",
    "is_known",
    "known",
    "locked_below",
    "refused_by_database",
    "shared_and_below",
    "shared_unless",
    "sqlstate",
]

PREPARED = "campaign_model.prepared"
"""Set in ``Connection.info`` of SQLite connections that ``db.prepare_engine`` has seen to."""

SHARDS = 8
"""Rows of totals per campaign, so that workers do not queue on one."""

_CHUNK = 10_000
_FOREIGN_KEY_VIOLATION = "23503"
_UNIQUE_VIOLATION = "23505"
_SQLITE_CODES = {
    "SQLITE_CONSTRAINT_FOREIGNKEY": _FOREIGN_KEY_VIOLATION,
    "SQLITE_CONSTRAINT_UNIQUE": _UNIQUE_VIOLATION,
    "SQLITE_CONSTRAINT_PRIMARYKEY": _UNIQUE_VIOLATION,
}

T = TypeVar("T")

Clock = Callable[[sa.Connection], datetime]

_CLOCK = sa.select(database_clock())


def database_time(connection: sa.Connection) -> datetime:
    """What time the database has. Every lease is measured by this one clock."""
    now: datetime = connection.execute(_CLOCK).scalar_one()
    return now


def check_connection(connection: sa.Connection) -> None:
    """Raise ``ValueError`` for a connection on which the store could not keep its promises."""
    name = connection.dialect.name
    if name == "sqlite":
        if not connection.info.get(PREPARED):
            raise ValueError(
                "this SQLite engine is not prepared; call campaign_model.db.prepare_engine(engine) "
                "before its first connection"
            )
        autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    elif name == "postgresql":
        # However it came about: an engine can be made so, without any execution option.
        driver: Any = connection.connection.dbapi_connection
        autocommit = connection.dialect.detect_autocommit_setting(driver)
    else:
        raise ValueError(f"the store works on SQLite and PostgreSQL, not on {name}")
    if autocommit:
        raise ValueError("the store needs a transaction; this connection is in AUTOCOMMIT")


def insert_into(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that knows ``ON CONFLICT``, in the dialect of ``connection``."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def sqlstate(error: sa.exc.DBAPIError) -> str | None:
    """The SQLSTATE of a database error, also for SQLite and for drivers that call it pgcode."""
    state: str | None = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state or _SQLITE_CODES.get(getattr(error.orig, "sqlite_errorname", ""))


class refused_by_database:  # noqa: N801 - a context manager that reads as a clause
    """Run statements in a savepoint; note a refused key instead of raising.

    Afterwards ``missing`` says that a foreign key has no row to refer to (or a row is still
    referred to), and ``taken`` that a unique value exists already. Nothing of the block is left
    then. Any other error passes through.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._state: str | None = None

    @property
    def missing(self) -> bool:
        """Whether a foreign key was violated."""
        return self._state == _FOREIGN_KEY_VIOLATION

    @property
    def taken(self) -> bool:
        """Whether a unique key was violated."""
        return self._state == _UNIQUE_VIOLATION

    def __enter__(self) -> Self:
        self._savepoint = self._connection.begin_nested()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if error is None:
            self._savepoint.commit()
            return False
        self._savepoint.rollback()
        if isinstance(error, sa.exc.IntegrityError):
            self._state = sqlstate(error)
        return self.missing or self.taken


def chunks(values: Iterable[T], size: int = _CHUNK) -> Iterator[list[T]]:
    """Lists of at most ``size`` values, in order."""
    chunk: list[T] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def checked_ids(ids: Iterable[UUID]) -> list[UUID]:
    """The ids without repetition, in order. Raises ``TypeError`` before anything is written."""
    return [checked_id(one) for one in dict.fromkeys(ids)]


_HELD = (
    campaigns.c.status,
    sa.cast(campaigns.c.template_config, sa.Text).label("template_config"),
    sa.cast(campaigns.c.generation_config, sa.Text).label("generation_config"),
)
"""What sharers of a campaign's row look at."""

_GATE = sa.bindparam("gate", type_=sa.BigInteger)
_NOW = database_clock().label("now")


def _row(*columns: Any) -> sa.Select[Any]:
    return sa.select(*columns).where(
        campaigns.c.tenant_id == sa.bindparam("tenant"), campaigns.c.id == sa.bindparam("campaign")
    )


def _behind(gate: Any, row: sa.Select[Any], **lock: bool) -> sa.CTE:
    """``row`` read and locked once through the gate."""
    passed = sa.select(gate.label("passed")).cte("gate")
    both = sa.join(passed, campaigns, sa.true())
    return row.select_from(both).with_for_update(of=campaigns, **lock).cte("held")


_PLAIN = _row(campaigns, _NOW)
_SHARED = _behind(sa.func.pg_advisory_xact_lock_shared(_GATE), _row(*_HELD), read=True)
_EXCLUSIVE = _behind(sa.func.pg_advisory_xact_lock(_GATE), _row(campaigns), key_share=True)
_LOCKED = sa.select(_EXCLUSIVE, _NOW)


known = sa.select(
    _SHARED,
    sa.func.encode(
        sa.func.sha256(
            sa.func.convert_to(
                _SHARED.c.template_config + _SHARED.c.generation_config, written_out("UTF8")
            )
        ),
        written_out("hex"),
    ).label("digest"),
    sa.func.coalesce(sa.bindparam("now", type_=UtcDateTime), database_clock()).label("now"),
).cte("known")
"""For PostgreSQL and :meth:`Scope.sharing`: the campaign's row, shared, with the digest of its
documents, and the time of this, unless the parameter ``now`` is another."""

is_known = known.c.digest == sa.bindparam("digest", type_=sa.Text)
"""Whether the documents are those that the parameter ``digest`` is of."""


def shared_unless(done: sa.ColumnElement[bool]) -> list[sa.ColumnElement[Any]]:
    """The columns of ``known``, as :class:`Shared` has them.

    ``done`` is whether nobody needs the documents.
    """
    column = known.c
    needed = (column.template_config, column.generation_config, column.digest)
    return [column.status, column.now, *(sa.case((sa.not_(done), one)) for one in needed)]


def shared_and_below(rows: sa.Select[Any]) -> Prepared:
    """The campaign's row, shared, and in the same round trip ``rows`` of a table, locked next.

    For PostgreSQL: the columns of :class:`Shared`, and the rows as :func:`all_of` gives them, in
    text.
    """
    column = _SHARED.c
    shared = (column.status, _NOW, column.template_config, column.generation_config, sa.null())
    return Prepared(sa.select(*shared, sa.cast(all_of(locked_below(rows)), sa.Text)))


def locked_below(rows: sa.Select[Any]) -> sa.CTE:
    """``rows`` of a table, locked once the campaign's row is shared."""
    # Counted and not joined: each row that is locked would bring a copy of the campaign's.
    shared = sa.select(sa.func.count()).select_from(_SHARED).scalar_subquery()
    return rows.where(shared > ZERO).with_for_update(key_share=True).cte("below")


def all_of(rows: sa.CTE) -> sa.ScalarSelect[Any]:
    """The rows as one JSON value, of which every value is as JSON has it."""
    return sa.select(sa.func.json_agg(rows.table_valued(), type_=sa.JSON)).scalar_subquery()


class Shared(NamedTuple):
    """A campaign's row as sharers see it, its documents only if they are needed."""

    status: str
    now: datetime
    template_config: str | None
    generation_config: str | None
    digest: str | None


@attrs.frozen
class Scope:
    """One tenant's view through one connection, for as long as one transaction."""

    connection: sa.Connection
    tenant_id: UUID
    actor: str | None = attrs.field(converter=optional_text)
    clock: Clock
    codec: Codec
    host: HostTables
    # By the generator that Hypothesis seeds: who meets whom on a shard happens again.
    shard: int = attrs.field(factory=lambda: random.randrange(SHARDS))  # noqa: S311 - no secret

    def now(self) -> datetime:
        """The time that everything in this statement is measured by."""
        return utc(self.clock(self.connection))

    def of_tenant(self, table: Any) -> sa.ColumnElement[bool]:
        """The clause that keeps a statement within the tenant."""
        clause: sa.ColumnElement[bool] = table.c.tenant_id == self.tenant_id
        return clause

    def place(self, campaign_id: UUID) -> dict[str, Any]:
        """The parameters by which a statement names the campaign."""
        return {"tenant": self.tenant_id, "campaign": campaign_id}

    def campaign_row(self, id: UUID, lock: str = "plain") -> sa.Row[Any]:
        """The campaign's row; ``lock`` is plain or exclusive. Raises :class:`NotFound`.

        See :meth:`time_of` for when it was read.
        """
        locking = self.on_postgresql and lock != "plain"
        row: sa.Row[Any]
        (row,) = self.sharing(id, _LOCKED if locking else _PLAIN, {})
        return row

    def sharing(
        self, id: UUID, statement: Prepared | sa.Select[Any], values: Mapping[str, Any]
    ) -> Sequence[Any]:
        """What a statement gives that begins with the campaign's row: at least one.

        Raises :class:`NotFound`.
        """
        gate = int.from_bytes(checked_id(id).bytes[-8:], signed=True)
        given = self.place(id) | {"gate": gate, **values}
        rows: Sequence[Any]
        if isinstance(statement, Prepared):
            rows = statement.execute(self.connection, given)
        else:
            rows = self.connection.execute(statement, given).all()
        if not rows:
            raise NotFound("campaign", (id,))
        return rows

    @property
    def on_postgresql(self) -> bool:
        """Whether what stands below is PostgreSQL, and not SQLite."""
        return self.connection.dialect.name == "postgresql"

    def fixed_time(self) -> datetime | None:
        """What another clock says than the database's, which has the time of the lock."""
        return None if self.clock is database_time else self.now()

    def time_of(self, row: Any) -> datetime:
        """The time at which :meth:`campaign_row` had the row, and its lock."""
        return self.fixed_time() or utc(row.now)

    def steps(self, row: Any) -> StepSequence:
        """The steps in a row of campaigns."""
        return self.codec.recover_template_config(row.template_config).value

    def config(self, row: Any) -> GenerationConfig:
        """The generation settings in a row of campaigns."""
        return self.codec.recover_generation_config(row.generation_config).value

    def lock_for(self, permission: Permission, id: UUID) -> sa.Row[Any]:
        """Lock the campaign exclusively for a change of its content.

        Raises :class:`NotFound`, and :class:`TransitionNotAllowed` where its status forbids it.
        """
        row = self.campaign_row(id, "exclusive")
        check_permission(permission, Status(row.status))
        return row
