"""What adoption does to the schema of the host: it changes nothing else, and warns."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from campaign_model import db
from campaign_model.store.tables import metadata
from support import catalogs
from support.adoption import DatabaseState, LegacyDatabases, adopt, execute
from support.legacy import Shape
from support.legacy_rows import sample_rows

SERVICE = Shape(extended=True, tags=True, full_name=True, service=True)
LIBRARY_COLUMNS = {table.name: {*table.columns.keys()} for table in metadata.sorted_tables}


def read_file_numbers(engine: sa.Engine) -> dict[str, int]:
    with engine.begin() as connection:
        return catalogs.read_file_numbers(connection)


def test_the_librarys_tables_are_those_of_a_fresh_schema_and_the_hosts_do_not_change(
    legacies: LegacyDatabases, new_database: Callable[..., str]
) -> None:
    """There is one revision, so an upgraded schema is a fresh one as well."""
    fresh = sa.create_engine(new_database(legacies.engine_name))
    db.init(fresh, with_host_tables=True)
    expected = library_part(DatabaseState.read(fresh).catalog)
    fresh.dispose()
    for shape in (Shape(service=True), SERVICE):
        with legacies.database(shape, sample_rows) as engine:
            before, file_numbers = DatabaseState.read(engine).catalog, read_file_numbers(engine)
            adopt(engine)
            after = DatabaseState.read(engine).catalog
            # No table was rewritten.
            assert read_file_numbers(engine).items() >= file_numbers.items()
        assert library_part(after) == expected
        assert_only_allowed_changes(catalogs.compare_catalogs(before, after))


def library_part(catalog: catalogs.Catalog) -> catalogs.Catalog:
    """Return the constraints, indexes and columns that a fresh schema has."""
    named_parts = {
        key: properties
        for key, properties in catalog.items()
        if key[0] in {"constraint", "index"}
        and key[1] in LIBRARY_COLUMNS
        and key[2].startswith(("ck_", "fk_", "uq_", "pk_", "ix_"))
    }
    columns = {
        key: properties
        for key, properties in catalog.items()
        if key[0] == "column"
        and key[2] in LIBRARY_COLUMNS.get(key[1], ())
        # Legacy tables keep the default of these ids, because legacy writers may need it.
        and key[1:] not in {("campaign_contacts", "id"), ("campaign_templates", "id")}
    }
    return {**named_parts, **columns}


def assert_only_allowed_changes(changes: catalogs.Changes) -> None:
    # 1. Changed: columns of the library, and the fillfactor of one of its tables.
    for kind, table, column in changes.changed:
        if kind == "relation":
            assert table == "campaign_contacts"
        else:
            assert kind == "column"
            assert column in LIBRARY_COLUMNS[table]

    # 2. Removed: old names of constraints, and keys that delete the library's rows.
    assert {key[0] for key in changes.removed} <= {"constraint", "index"}
    assert {key[1] for key in changes.removed} <= LIBRARY_COLUMNS.keys()
    added_constraints = {
        (table, properties)
        for (kind, table, _), properties in changes.added.items()
        if kind == "constraint"
    }
    cascading_keys = {"campaign_contacts_contact_id_fkey", "campaign_contacts_campaign_id_fkey"}
    for (kind, table, name), properties in changes.removed.items():
        was_renamed = (table, properties) in added_constraints
        assert was_renamed or kind == "index" or name in cascading_keys, name

    # 3. Added: the library's tables and their parts, and one unique key on two host tables.
    host_keys = {"owners": "uq_owners_tenant_id_id", "contacts": "uq_contacts_tenant_id_id"}
    for _, table, name in changes.added:
        is_of_library = table in {*LIBRARY_COLUMNS, db.VERSION_TABLE}
        assert is_of_library or host_keys.get(table) == name, name


def test_verify_warns_of_what_adoption_leaves_as_it_is(legacies: LegacyDatabases) -> None:
    with legacies.database(SERVICE) as engine:
        for statement in (
            "ALTER TABLE campaigns SET (fillfactor = 100)",
            "CREATE INDEX waiting ON campaign_contacts (added_at) WHERE status = 'pending'",
            "ALTER TABLE campaigns ALTER COLUMN language SET NOT NULL",
        ):
            execute(engine, statement)
        before = db.verify(engine).warnings
        adopt(engine)
        after = db.verify(engine).warnings
    for words in (
        ("messages.variant", "c", "ADD VALUE 'c'"),
        ("fillfactor=100", "campaigns"),
        ("waiting", "campaign_contacts", "HOT"),
        ("idx_campaigns_status", "HOT"),
        ("campaigns.language", "NULL"),
    ):
        for warnings in (before, after):
            assert any(all(word in warning for word in words) for warning in warnings), words
    assert any("campaigns_updated_at" in warning for warning in before)
