"""The catalog of a PostgreSQL database (everything but its rows), in a form to compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import sqlalchemy as sa

Key = tuple[str, str, str]
"""Kind of object, its relation (or ``""``), and its name."""

Catalog = Mapping[Key, tuple[Any, ...]]
"""Objects with their properties."""

# Each query gives a relation, a name, and then the properties of the object.
_QUERIES = {
    "relation": """
        SELECT c.relname, '', c.relkind, c.relpersistence, c.relowner::regrole::text,
            c.reloptions::text, c.relacl::text, c.relrowsecurity, c.relforcerowsecurity,
            c.relreplident, c.relispartition, c.reltablespace, obj_description(c.oid, 'pg_class')
        FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND @filter@""",
    "column": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,
            a.attcollation::regcollation::text, a.attacl::text,
            col_description(c.oid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND @filter@""",
    # NOT NULL is a property of the column. Since PostgreSQL 18 it is also a constraint.
    "constraint": """
        SELECT c.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated,
            obj_description(k.oid, 'pg_constraint')
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE k.contype <> 'n' AND @filter@""",
    "index": """
        SELECT c.relname, i.relname, pg_get_indexdef(x.indexrelid), x.indisvalid, x.indisready,
            x.indisclustered, x.indisreplident, i.reloptions::text,
            obj_description(i.oid, 'pg_class')
        FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid
            JOIN pg_class i ON i.oid = x.indexrelid
        WHERE @filter@""",
    "trigger": """
        SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE NOT t.tgisinternal AND @filter@""",
    "policy": """
        SELECT c.relname, p.polname, p.polcmd, p.polpermissive, p.polroles::regrole[]::text,
            pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE @filter@""",
    "rule": """
        SELECT c.relname, r.rulename, pg_get_ruledef(r.oid), r.ev_enabled
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE @filter@""",
    "statistics": """
        SELECT c.relname, s.stxname, pg_get_statisticsobjdef(s.oid)
        FROM pg_statistic_ext s JOIN pg_class c ON c.oid = s.stxrelid WHERE @filter@""",
    "sequence": """
        SELECT '', c.relname, s.seqtypid::regtype::text, s.seqstart, s.seqincrement, s.seqmax,
            s.seqmin, s.seqcache, s.seqcycle, pg_sequence_last_value(c.oid), c.relacl::text,
            (SELECT refobjid::regclass || '.' || refobjsubid FROM pg_depend
                WHERE objid = c.oid AND deptype = 'a')
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE @filter@""",
    "enum": """
        SELECT '', c.typname, array_agg(e.enumlabel ORDER BY e.enumsortorder)::text,
            c.typacl::text, obj_description(c.oid, 'pg_type')
        FROM pg_type c JOIN pg_enum e ON e.enumtypid = c.oid
        GROUP BY c.oid, c.typname, c.typacl::text""",
    "function": """
        SELECT '', p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proacl::text,
            p.proowner::regrole::text, obj_description(p.oid, 'pg_proc')
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.prokind IN ('f', 'p')""",
    "extension": "SELECT '', extname, extversion FROM pg_extension",
    "publication": "SELECT '', pubname, puballtables, pubinsert, pubupdate FROM pg_publication",
    "schema": """
        SELECT '', nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'""",
}
_NOT_SYSTEM = """c.relnamespace NOT IN
    ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)"""


def read_catalog(connection: sa.Connection) -> Catalog:
    """Read every object of the database, except those of PostgreSQL itself."""
    catalog: dict[Key, tuple[Any, ...]] = {}
    for kind, query in _QUERIES.items():
        for relation, name, *properties in connection.exec_driver_sql(
            query.replace("@filter@", _NOT_SYSTEM).replace("%", "%%")
        ):
            key = (kind, relation, name)
            assert key not in catalog, f"two objects with the key {key}"
            catalog[key] = tuple(properties)
    return catalog


def read_file_numbers(connection: sa.Connection) -> dict[str, int]:
    """Read the number of each table's file. A rewrite of the table changes it."""
    query = """SELECT c.relname, pg_relation_filenode(c.oid) AS number FROM pg_class c
        WHERE c.relkind IN ('r', 'p', 'm') AND @filter@"""
    rows = connection.exec_driver_sql(query.replace("@filter@", _NOT_SYSTEM))
    return {row.relname: row.number for row in rows}


@attrs.frozen
class Changes:
    """The differences between two catalogs. ``changed`` has the old and the new properties."""

    added: Catalog
    removed: Catalog
    changed: Mapping[Key, tuple[tuple[Any, ...], tuple[Any, ...]]]


def compare_catalogs(before: Catalog, after: Catalog) -> Changes:
    """Compare two catalogs."""
    return Changes(
        {key: properties for key, properties in after.items() if key not in before},
        {key: properties for key, properties in before.items() if key not in after},
        {
            key: (properties, after[key])
            for key, properties in before.items()
            if key in after and properties != after[key]
        },
    )
