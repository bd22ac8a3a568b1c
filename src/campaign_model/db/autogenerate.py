"""``include_object``: which objects of a database Alembic's autogenerate compares with the models.

The host's models do not contain the library's tables, or only an old form of them. Without this
function, autogenerate would propose to drop the library's tables, columns and keys.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from campaign_model.db.rls import TABLES
from campaign_model.db.schema import HOST_KEY, build_tables
from campaign_model.store.deleting import NOTES
from campaign_model.store.tables import HostTables, metadata

_TABLES = TABLES | {NOTES}


def include_object(
    object: Any,
    name: str | None,
    type_: str,
    reflected: bool,  # noqa: FBT001 - Alembic passes it by position.
    compare_to: Any,
    *,
    host: HostTables | None = None,
) -> bool:
    """Return False for objects of the library: autogenerate then proposes nothing about them.

    Pass it to Alembic as ``include_object``, or call it from a function of your own with the same
    arguments. ``host`` names the host's tables.

    The library's objects are its tables with their columns, keys and indexes, and the unique keys
    over the tenant and the id of the host's owners and contacts, which the library's foreign keys
    need. All other objects are the host's, also its own columns, keys and indexes of a library
    table that its models map.
    """
    table = object if type_ == "table" else object.table
    if table.schema is None and table.name in _TABLES:
        if type_ == "table":
            # Compare a table that the host's models map, because it may have columns of the host.
            return compare_to is not None and table.name in metadata.tables
        return not _is_of_library(_library_tables()[table.name], object, name)
    names = host or HostTables()
    is_missing_in_models = reflected and compare_to is None
    is_key_of_host_table = (
        type_ == "unique_constraint"
        and table.fullname in {names.owners, names.contacts}
        and {column.name for column in object.columns} == {*HOST_KEY}
    )
    return not (is_missing_in_models and is_key_of_host_table)


def _is_of_library(table: sa.Table, object: Any, name: Any) -> bool:
    """Tell whether the library's ``table`` has this column, constraint or index."""
    if isinstance(object, sa.Column):
        return name in table.c
    names = {key.name for key in table.constraints} | {index.name for index in table.indexes}
    if name in names:
        return True
    # A legacy foreign key that deletes or changes the library's rows. One of the library's replaces
    # it, and adoption drops it.
    cascades = isinstance(object, sa.ForeignKeyConstraint) and (object.ondelete or object.onupdate)
    return bool(cascades) and any(
        {*object.column_keys} <= {*key.column_keys} for key in table.foreign_key_constraints
    )


@cache
def _library_tables() -> dict[str, sa.Table]:
    """Return the library's tables by name, with all constraints under their final names."""
    return {table.name: table for table in build_tables("postgresql", HostTables())}
