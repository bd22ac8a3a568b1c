"""The code of docs/alembic.md, in the Alembic history of a host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from campaign_model import db
from support.adoption import POSTGRESQL
from support.paths import DOCS

GUIDE = (DOCS / "alembic.md").read_text(encoding="utf-8")

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


def read_code(name: str) -> str:
    """Return the guide's code for that file."""
    (code,) = re.findall(rf"```python\n# {re.escape(name)}\n(.*?)```", GUIDE, re.DOTALL)
    return str(code)


@pytest.fixture
def host(new_database: Callable[..., str], tmp_path: Path) -> Iterator[tuple[Config, sa.Engine]]:
    """A host's Alembic configuration, with the guide's revision, and an empty database."""
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "0001.py").write_text(BEFORE)
    (tmp_path / "versions/0002_campaign_model.py").write_text(
        read_code("versions/0002_campaign_model.py")
    )
    (versions / "0003.py").write_text(AFTER)
    (tmp_path / "script.py.mako").write_text(MAKO)
    configure = read_code("env.py").replace("\n", "\n    ")
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
    tables = {*sa.inspect(engine).get_table_names()}
    assert tables > db.TABLES
    command.revision(config, "auto", autogenerate=True, rev_id="0004")
    (made,) = Path(config.get_main_option("script_location") or "").glob("versions/0004*")
    dropped = set(re.findall(r"drop_table\(['\"](\w+)", made.read_text()))
    assert dropped == tables - db.TABLES - {"alembic_version"}


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
