"""The how-to for a host with an Alembic history of its own, run as it is written."""

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

# Theirs, before and after ours; the first has the id that our own first one has.
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
    ours = sa.ForeignKey("campaign_contacts.id", name="messages_campaign_contact_id_fkey")
    op.add_column("messages", sa.Column("campaign_contact_id", sa.Uuid, ours))


def downgrade() -> None:
    op.drop_column("messages", "campaign_contact_id")
"""

MAKO = """
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades}
"""


def block(name: str) -> str:
    """The guide's code for that file."""
    (found,) = re.findall(rf"```python\n# {re.escape(name)}\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


@pytest.fixture
def host(new_database: Callable[..., str], tmp_path: Path) -> Iterator[tuple[Config, sa.Engine]]:
    """A host's migrations, with the guide's revision among them, and an empty database."""
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "0001.py").write_text(BEFORE)
    (tmp_path / "versions/0002_campaign_model.py").write_text(
        block("versions/0002_campaign_model.py")
    )
    (versions / "0003.py").write_text(AFTER)
    (tmp_path / "script.py.mako").write_text(MAKO)
    configure = block("env.py").replace("\n", "\n    ")
    (tmp_path / "env.py").write_text(ENV.replace("@configure@", configure))
    url = new_database(POSTGRESQL[-1])
    config = Config()
    config.set_main_option("script_location", str(tmp_path).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    engine = sa.create_engine(url)
    yield config, engine
    engine.dispose()


def noted(engine: sa.Engine, table: str) -> list[str]:
    with engine.begin() as connection:
        return [*connection.scalars(sa.text(f"SELECT version_num FROM {table}"))]  # noqa: S608


def test_a_hosts_own_history_brings_our_schema_in(host: tuple[Config, sa.Engine]) -> None:
    config, engine = host
    command.upgrade(config, "head")
    assert noted(engine, "alembic_version") == ["0003"]
    assert db.verify(engine).shape == "current"
    assert noted(engine, db.VERSION_TABLE)
    command.upgrade(config, "head")
    # Nothing of ours is proposed for dropping.
    tables = {*sa.inspect(engine).get_table_names()}
    assert tables > db.TABLES
    command.revision(config, "auto", autogenerate=True, rev_id="0004")
    (made,) = Path(config.get_main_option("script_location") or "").glob("versions/0004*")
    dropped = set(re.findall(r"drop_table\(['\"](\w+)", made.read_text()))
    assert dropped == tables - db.TABLES - {"alembic_version"}


def test_a_database_that_was_adopted_before_is_left_as_it_is(
    host: tuple[Config, sa.Engine],
) -> None:
    config, engine = host
    command.upgrade(config, "0001")
    db.adopt(engine)
    before = noted(engine, db.VERSION_TABLE)
    command.upgrade(config, "head")
    assert noted(engine, db.VERSION_TABLE) == before


def test_no_downgrade_takes_our_tables_along(host: tuple[Config, sa.Engine]) -> None:
    config, engine = host
    command.upgrade(config, "head")
    for _ in range(2):
        with pytest.raises(NotImplementedError, match="restore a backup"):
            command.downgrade(config, "base")
        assert {*sa.inspect(engine).get_table_names()} > db.TABLES
        assert db.verify(engine).shape == "current"
