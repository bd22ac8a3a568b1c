"""Long arrays for PostgreSQL, packed here in the form in which the server receives them.

Psycopg writes an array value by value, and the server reads it so: together as long as a good part
of the insert that they are for. Other drivers get lists and do as they see fit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.store.prepared import takes_drivers_values

__all__ = ["integers", "numbers", "uuids"]

# Of the types and of arrays of them, as pg_type has them on every server.
_UUID, _UUIDS = 2950, 2951
_BIGINT, _BIGINTS = 20, 1016
_HEAD = struct.Struct("!5i")
_LENGTH = struct.Struct("!i")

_TOLD = "campaign_model.arrays"
"""Set in ``Connection.info`` of connections whose driver knows packed arrays."""


class _Uuids(bytes):
    """A ``uuid[]``."""


class _Integers(bytes):
    """A ``bigint[]``."""


def uuids(connection: sa.Connection, values: Sequence[bytes]) -> Any:
    """A parameter of type ``uuid[]``; each of ``values``, at least one, is 16 bytes."""
    if _takes_packed(connection):
        return _Uuids(_packed(_UUID, 16, values))
    return [UUID(bytes=value) for value in values]


def integers(connection: sa.Connection, values: Sequence[int]) -> Any:
    """A parameter of type ``bigint[]``, of at least one value."""
    if _takes_packed(connection):
        eights = struct.pack(f"!{len(values)}q", *values)
        return _Integers(
            _packed(_BIGINT, 8, [eights[at : at + 8] for at in range(0, len(eights), 8)])
        )
    return [*values]


def numbers(connection: sa.Connection, values: Iterable[Decimal | None]) -> Any:
    """A parameter of type ``numeric[]``."""
    if _takes_packed(connection):
        written = ",".join(["NULL" if value is None else str(value) for value in values])
        return f"{{{written}}}"
    return [*values]


def _packed(item: int, size: int, values: Sequence[bytes]) -> bytes:
    """One dimension that counts from 1, no NULL, and the size in front of each value."""
    length = _LENGTH.pack(size)
    return _HEAD.pack(1, 0, item, len(values), 1) + length + length.join(values)


def _takes_packed(connection: sa.Connection) -> bool:
    """Whether the driver can be told to send bytes as they are; it is told when it can."""
    if not takes_drivers_values(connection):
        return False
    if _TOLD not in connection.info:
        driver: Any = connection.connection.dbapi_connection
        for kind, dumper in _dumpers():
            driver.adapters.register_dumper(kind, dumper)
        connection.info[_TOLD] = True
    return True


@cache
def _dumpers() -> tuple[tuple[type[bytes], type[Any]], ...]:
    from psycopg.adapt import Dumper  # noqa: PLC0415 - an extra
    from psycopg.pq import Format  # noqa: PLC0415

    class Whole(Dumper):
        format = Format.BINARY

        def dump(self, obj: bytes) -> bytes:
            return obj

    class Uuids(Whole):
        oid = _UUIDS

    class Integers(Whole):
        oid = _BIGINTS

    return (_Uuids, Uuids), (_Integers, Integers)
