"""The code of docs/alembic.md, in the Alembic history of a host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from campaign_model import db
from campaign_model.db.adoption.tolerance import TOLERATED_WRITES_TABLE
from campaign_model.db.schema import HOST_KEY
from campaign_model.store import tables
from support import legacy
from support.adoption import POSTGRESQL, LegacyDatabases
from support.contract import documented
from support.legacy import SHAPES

ENV = """
import sqlalchemy as sa
from alembic import context

url = context.config.get_main_option("sqlalchemy.url")
engine = sa.create_engine(url, poolclass=sa.NullPool)
target_metadata = sa.MetaData()
with engine.connect() as connection:
    @configure@
    with context.begin_transaction():
        context.run_migrations()
"""

# The host's revisions before and after the library's. The first has the same id as the library's
# own first revision.
BEFORE = """
from alembic import op

from support import legacy

revision = "0001"
down_revision = None


def upgrade() -> None:
    legacy.build(op.get_bind(), legacy.Shape())


def downgrade() -> None:
    op.execute("DROP TABLE campaigns CASCADE")
"""
AFTER = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    key = sa.ForeignKey("campaign_contacts.id", name="messages_campaign_contact_id_fkey")
    op.add_column("messages", sa.Column("campaign_contact_id", sa.Uuid, key))


def downgrade() -> None:
    op.drop_column("messages", "campaign_contact_id")
"""

MAKO = """
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades}
"""


@pytest.fixture
def host(new_database: Callable[..., str], tmp_path: Path) -> Iterator[tuple[Config, sa.Engine]]:
    """A host's Alembic configuration, with the guide's revision, and an empty database."""
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "0001.py").write_text(BEFORE)
    (versions / "0002_campaign_model.py").write_text(
        documented("# versions/0002_campaign_model.py\n", "alembic.md")
    )
    (versions / "0003.py").write_text(AFTER)
    (tmp_path / "script.py.mako").write_text(MAKO)
    configure = documented("# env.py\n", "alembic.md").replace("\n", "\n    ")
    (tmp_path / "env.py").write_text(ENV.replace("@configure@", configure))
    url = new_database(POSTGRESQL[-1])
    config = Config()
    config.set_main_option("script_location", str(tmp_path).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    engine = sa.create_engine(url)
    yield config, engine
    engine.dispose()


def read_versions(engine: sa.Engine, table: str) -> list[str]:
    """Return the versions that are recorded in a version table."""
    with engine.begin() as connection:
        return [*connection.scalars(sa.text(f"SELECT version_num FROM {table}"))]  # noqa: S608


def test_a_revision_of_the_host_builds_the_librarys_schema(host: tuple[Config, sa.Engine]) -> None:
    config, engine = host
    command.upgrade(config, "head")
    assert read_versions(engine, "alembic_version") == ["0003"]
    assert db.verify(engine).shape == "expanded"
    assert read_versions(engine, db.VERSION_TABLE)
    command.upgrade(config, "head")
    # Autogenerate proposes to drop only tables of the host, which has no models here.
    present = {*sa.inspect(engine).get_table_names()}
    assert present > db.TABLES
    command.revision(config, "auto", autogenerate=True, rev_id="0004")
    (made,) = Path(config.get_main_option("script_location") or "").glob("versions/0004*")
    dropped = set(re.findall(r"drop_table\(['\"](\w+)", made.read_text()))
    of_adoption = {TOLERATED_WRITES_TABLE}
    assert dropped == present - db.TABLES - of_adoption - {"alembic_version"}


def test_a_revision_of_the_host_changes_nothing_in_an_adopted_database(
    host: tuple[Config, sa.Engine],
) -> None:
    config, engine = host
    command.upgrade(config, "0001")
    db.adopt(engine, enforce=True)
    before = read_versions(engine, db.VERSION_TABLE)
    command.upgrade(config, "head")
    assert read_versions(engine, db.VERSION_TABLE) == before


def test_a_downgrade_of_the_host_does_not_drop_the_librarys_tables(
    host: tuple[Config, sa.Engine],
) -> None:
    config, engine = host
    command.upgrade(config, "head")
    for _ in range(2):
        with pytest.raises(NotImplementedError, match="restore a backup"):
            command.downgrade(config, "base")
        assert {*sa.inspect(engine).get_table_names()} > db.TABLES
        assert db.verify(engine).shape == "expanded"


# Autogenerate.


def autogenerate(
    connection: sa.Connection,
    models: sa.MetaData,
    include_object: Callable[..., bool] = db.include_object,
) -> set[tuple[str, str]]:
    """Return what autogenerate proposes: the kind of change and the name of the object."""

    def describe(change: tuple[Any, ...]) -> tuple[str, str]:
        kind, *details = change
        if kind.endswith("_column"):
            _, table, column = details
            return kind, f"{table}.{column.name}"
        return kind, str(details[0].name)

    context = MigrationContext.configure(connection, opts={"include_object": include_object})
    return {describe(change) for change in compare_metadata(context, models)}


def reflect(connection: sa.Connection) -> sa.MetaData:
    """Return models that describe the database as it is."""
    models = sa.MetaData()
    models.reflect(connection)
    return models


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[-1]], ids=["bare", "extended"])
def test_autogenerate_proposes_nothing_after_an_adoption(
    legacies: LegacyDatabases, shape: legacy.Shape
) -> None:
    """The host's models still describe the database as it was before."""
    with legacies.database(shape) as engine, engine.connect() as connection:
        models = reflect(connection)
        assert autogenerate(connection, models) == set()
        connection.rollback()
        for enforce in (False, True):
            db.adopt(engine, enforce=enforce, quarantine=True)
            assert autogenerate(connection, models) == set()
            connection.rollback()
        for name in db.TABLES & models.tables.keys():
            models.remove(models.tables[name])
        assert autogenerate(connection, models) == set()
        everything = autogenerate(connection, models, lambda *_: True)
    removed = {name for kind, name in everything if kind == "remove_table"}
    assert removed == {*db.TABLES, "campaign_quarantine"}
    keys = {"uq_contacts_tenant_id_id", "uq_owners_tenant_id_id"}
    assert {name for kind, name in everything if kind == "remove_constraint"} >= keys


def test_autogenerate_proposes_nothing_after_init(
    engine_name: str, new_database: Callable[..., str]
) -> None:
    """With the guide's function for other names, which also ignores some tables of the host."""
    guide: dict[str, Any] = {}
    exec(documented("# env.py with other names\n", "alembic.md"), guide)  # noqa: S102
    host, include_object = guide["HOST"], guide["include_object"]
    engine = db.prepare_engine(sa.create_engine(new_database(engine_name)))
    db.init(engine, host=host, with_host_tables=True)
    with engine.begin() as connection:
        models = reflect(connection)
        for name in db.TABLES:
            models.remove(models.tables[name])
        for name in (host.owners, host.contacts):
            models.tables[name].constraints -= {
                key
                for key in models.tables[name].constraints
                if isinstance(key, sa.UniqueConstraint)
            }
        connection.exec_driver_sql("CREATE TABLE tmp_notes (text text)")
        assert autogenerate(connection, models, include_object) == set()
        # Copies of the library's tables are the library's, also if the host names keys otherwise.
        models.naming_convention = {"uq": "key_%(table_name)s", "ix": "index_%(column_0_name)s"}
        for table in tables.metadata.sorted_tables:
            table.to_metadata(models)
        assert autogenerate(connection, models, include_object) == set()
        assert autogenerate(connection, models) >= {("remove_table", "tmp_notes")}
    engine.dispose()


def test_autogenerate_sees_every_change_of_the_host(newest: LegacyDatabases) -> None:
    """Its own columns, keys and indexes, also of the library's tables that its models map."""
    changes = {
        "ALTER TABLE campaigns ADD color text": "column campaigns.color",
        "CREATE INDEX ix_name ON campaigns (name)": "index ix_name",
        "ALTER TABLE campaigns ADD CONSTRAINT x FOREIGN KEY (id) REFERENCES contacts": "fk x",
        "ALTER TABLE campaigns ADD CONSTRAINT y UNIQUE (id, name)": "constraint y",
        "ALTER TABLE owners ADD CONSTRAINT w UNIQUE (tenant_id, name)": "constraint w",
        "CREATE UNIQUE INDEX one_email ON owners (email)": "index one_email",
        "ALTER TABLE contacts ADD color text": "column contacts.color",
        "ALTER TABLE contacts ADD CONSTRAINT z FOREIGN KEY (id) REFERENCES owners": "fk z",
        "ALTER TABLE messages ADD CONSTRAINT own UNIQUE (tenant_id, id)": "constraint own",
        "CREATE TABLE campaign_colors (id uuid PRIMARY KEY)": "table campaign_colors",
    }
    with newest.database(SHAPES[-1]) as engine, engine.connect() as connection:
        # The keys that `init` needs are the host's if they are in its models.
        models = reflect(connection)
        models.tables["owners"].append_constraint(sa.UniqueConstraint(*HOST_KEY, name="key"))
        assert autogenerate(connection, models) == {("add_constraint", "key")}
        connection.rollback()

        db.adopt(engine)
        models = reflect(connection)
        for statement in changes:
            connection.exec_driver_sql(statement)
        proposed = {f"{kind} {name}" for kind, name in autogenerate(connection, models)}
        assert proposed == {f"remove_{change}" for change in changes.values()}
        # The same changes are in the models, and not in the database.
        models = reflect(connection)
        connection.rollback()
        proposed = {f"{kind} {name}" for kind, name in autogenerate(connection, models)}
        assert proposed == {f"add_{change}" for change in changes.values()}
