"""Column types, and the few SQL expressions that PostgreSQL and SQLite write differently."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler, TypeCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.sql.type_api import TypeEngine

from campaign_model._values import EXACT, MONEY_DECIMALS, checked_id, utc
from campaign_model.lifecycle import ContactStatus, Status

read_json: Callable[[str], Any] = json.JSONDecoder(parse_float=Decimal).decode
"""Read JSON that a database made: numbers with decimals become ``Decimal``, with all digits."""


_Impl = TypeEngine[Any] | type[TypeEngine[Any]]

FIRST_MOMENT = datetime(1, 1, 2, tzinfo=UTC)
LAST_MOMENT = datetime(9999, 12, 30, tzinfo=UTC)
"""A day within the times that Python has, because drivers convert times to local time."""


class Uuid(sa.types.TypeDecorator[UUID]):
    """A UUID, stored as by ``sqlalchemy.Uuid``: native on PostgreSQL, 32 hex digits on SQLite.

    Refuses every value that is not a ``UUID``. Reads every spelling of a UUID.
    """

    impl: _Impl = sa.Uuid
    cache_ok: bool | None = True

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> UUID | None:  # noqa: ARG002
        return None if value is None else checked_id(value)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A point in time: ``timestamptz`` on PostgreSQL, fixed-width UTC text on SQLite.

    Refuses a datetime without a time zone: the engines would read it as different moments. Other
    programs may store times that Python does not have, such as PostgreSQL's ``infinity``. Such a
    time is read as the nearest one of :data:`FIRST_MOMENT` and :data:`LAST_MOMENT`, and a text that
    is no time as the last one, so that one row does not make a whole query fail.
    """

    impl: _Impl = sa.TIMESTAMP(timezone=True).with_variant(sa.TEXT(), "sqlite")
    cache_ok: bool | None = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        moment = utc(value)
        if dialect.name == "postgresql":
            return moment
        # Of one width, so that the order of the texts is the order of the times.
        return moment.replace(tzinfo=None).isoformat(" ", "microseconds")

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return readable_time(column) if isinstance(column, sa.Column) else column

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
            return utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            return LAST_MOMENT


_LARGEST_INTEGER = 2**63 - 1
LARGEST_SQLITE_AMOUNT = EXACT.scaleb(Decimal(_LARGEST_INTEGER), -MONEY_DECIMALS)
"""The largest amount that SQLite stores, about 9.2 billion. Larger sums are stored as this one."""


class Money(sa.types.TypeDecorator[Decimal]):
    """An exact amount: ``numeric`` on PostgreSQL, a whole number of billionths on SQLite.

    Only a sum can be larger than :data:`LARGEST_SQLITE_AMOUNT`.
    """

    impl: _Impl = sa.Numeric().with_variant(sa.BigInteger(), "sqlite")
    cache_ok: bool | None = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        nanos = EXACT.scaleb(Decimal(value), MONEY_DECIMALS)
        if nanos != nanos.to_integral_value():
            raise ValueError(f"money has at most nine decimals: {value}")
        return max(-_LARGEST_INTEGER, min(int(nanos), _LARGEST_INTEGER))

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        if value is None or dialect.name == "postgresql":
            amount: Decimal | None = value
            return amount
        return EXACT.scaleb(Decimal(value), -MONEY_DECIMALS)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        if dialect.name == "postgresql":
            # The driver returns decimals: no call for each value.
            return self.impl_instance.dialect_impl(dialect).result_processor(dialect, coltype)
        return super().result_processor(dialect, coltype)


class JsonText(sa.types.TypeDecorator[str]):
    """A JSON document, ``jsonb`` on PostgreSQL and text on SQLite.

    Python sees text on both. The codec caches documents by their text.
    """

    impl: _Impl = sa.TEXT()
    cache_ok: bool | None = True

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindvalue, self)

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(column, sa.TEXT())


@compiles(JsonText)
def _spell_json(_type: JsonText, compiler: TypeCompiler, **_: Any) -> str:
    return "TEXT" if compiler.dialect.name == "sqlite" else "JSONB"


class Array(sa.types.TypeDecorator[list[Any]]):
    """Many values in one parameter: an array on PostgreSQL, JSON text on SQLite."""

    impl: _Impl = sa.TEXT()
    cache_ok: bool | None = True

    def __init__(self, item: type[TypeEngine[Any]]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return postgresql.ARRAY(self.item()) if dialect.name == "postgresql" else sa.TEXT()

    def process_bind_param(self, value: Iterable[Any] | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        values = [checked_id(one) for one in value] if self.item is Uuid else list(value)
        return values if dialect.name == "postgresql" else json_parameter(values)


def json_parameter(value: Any) -> str:
    """Write a JSON parameter: ids as 32 hexadecimal digits; amounts and durations as text.

    SQLite compares ids as text, in the form that :class:`Uuid` stores. PostgreSQL casts them.
    """
    return json.dumps(
        value,
        ensure_ascii=False,
        default=lambda one: one.hex if isinstance(one, UUID) else str(one),
    )


class _Expression(GenericFunction[Any]):
    """A function that each engine writes in its own way.

    ``str(statement)`` has no engine, and prints what PostgreSQL gets.
    """

    on_postgresql: str
    on_sqlite: str
    inherit_cache: bool

    def __init_subclass__(cls) -> None:
        # SQLAlchemy asks every class itself whether its cache key is complete.
        cls.inherit_cache = True
        super().__init_subclass__()


@compiles(_Expression)
def _spell(element: _Expression, compiler: SQLCompiler, **kw: Any) -> str:
    is_sqlite = compiler.dialect.name == "sqlite"
    template = element.on_sqlite if is_sqlite else element.on_postgresql
    return template.format(*(compiler.process(one, **kw) for one in element.clauses))


class any_of(_Expression):  # noqa: N801 - reads as an SQL function in statements
    """``any_of(column, values)``: the column is one of the values in an :class:`Array`.

    The type is not Boolean: on SQLite, SQLAlchemy would write ``= 1`` after it, and SQLite would
    not use an index.
    """

    on_postgresql = "{0} = ANY ({1})"
    on_sqlite = "{0} IN (SELECT value FROM json_each({1}))"


def is_one_of(column: sa.ColumnElement[Any], ids: Iterable[UUID]) -> sa.ColumnElement[bool]:
    """Build the condition that the column is one of the ids, which are sent as one parameter."""
    return any_of(column, sa.literal([*ids], Array(Uuid)))


class database_clock(_Expression):  # noqa: N801
    """The time on the database server at the moment when the expression is evaluated."""

    type: TypeEngine[Any] = UtcDateTime()
    on_postgresql = "clock_timestamp()"
    on_sqlite = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class readable_time(_Expression):  # noqa: N801
    """A time that Python has: the nearest one to the column's."""

    type: TypeEngine[Any] = UtcDateTime()
    on_postgresql: str = (
        f"CASE WHEN {{0}} < '{FIRST_MOMENT}' THEN '{FIRST_MOMENT}' "
        f"WHEN {{0}} > '{LAST_MOMENT}' THEN '{LAST_MOMENT}' ELSE {{0}} END"
    )
    on_sqlite = "{0}"


class total_of(_Expression):  # noqa: N801
    """The sum of a column, zero without a row.

    SQLite's ``sum`` raises an error for a sum of more than 64 bits, and one bad row would make the
    whole query fail. Such a sum is the largest integer instead (:data:`LARGEST_SQLITE_AMOUNT`).
    """

    on_postgresql = "coalesce(sum({0}), 0)"
    # Two sums of parts fit 64 bits. Where their sum does not, it is a float, which the cast makes
    # the largest integer.
    on_sqlite = (
        "CAST(coalesce(sum(({0}) / 1000000000) * 1000000000 + sum(({0}) % 1000000000), 0)"
        " AS INTEGER)"
    )


class new_id(_Expression):  # noqa: N801
    """A random id as a column default, for legacy writers. The library sends ids itself."""

    type: TypeEngine[Any] = Uuid()
    on_postgresql = "gen_random_uuid()"
    on_sqlite = (
        "lower(hex(randomblob(6)) || '4' || substr(hex(randomblob(2)), 2) || "
        "'8' || substr(hex(randomblob(2)), 2) || hex(randomblob(6)))"
    )


_STATUSES = {word.value: word for word in Status}
_CONTACT_STATUSES = {word.value: word for word in ContactStatus}


def read_status(word: str) -> Status:
    """Return the status of a campaign's row. A word of another program reads as archived.

    The lifecycle has no action for an archived campaign. So the library changes no campaign whose
    status it does not know.
    """
    return _STATUSES.get(word, Status.ARCHIVED)


def read_contact_status(word: str) -> ContactStatus:
    """Return the status of a contact's row. A word of another program reads as excluded.

    An excluded contact is neither generated nor exported.
    """
    return _CONTACT_STATUSES.get(word, ContactStatus.EXCLUDED)
