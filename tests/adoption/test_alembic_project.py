"""A host project that ``alembic init`` has made: its models and migrations beside the library."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from campaign_model import db
from support import servers
from support.adoption import POSTGRESQL
from support.contract import documented

FIRST_MODELS = """
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from campaign_model.store import tables


class Base(DeclarativeBase):
    pass


class Tenant(Base):
    __tablename__ = "tenants"
    id: Mapped[UUID] = mapped_column(primary_key=True)


class Owner(Base):
    __tablename__ = "owners"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    phone: Mapped[str | None]


class Contact(Base):
    __tablename__ = "contacts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    email: Mapped[str] = mapped_column(sa.Text, index=True)
"""

MODELS_OF_THE_LIBRARYS_TABLES = """

class Campaign(Base):
    __table__ = tables.campaigns


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    campaign_id: Mapped[UUID] = mapped_column(sa.Uuid, ForeignKey(tables.campaigns.c.id))
    campaign_contact_id: Mapped[UUID] = mapped_column(sa.Uuid)
    campaign: Mapped[Campaign] = relationship(viewonly=True)
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["campaign_contact_id", "tenant_id"],
            [tables.campaign_contacts.c.id, tables.campaign_contacts.c.tenant_id],
        ),
    )
"""


@contextmanager
def closing_engine(url: sa.URL) -> Iterator[sa.Engine]:
    """Open an engine for the block."""
    engine = db.prepare_engine(sa.create_engine(url))
    try:
        yield engine
    finally:
        engine.dispose()


RUN = """
import sys
from alembic.config import main

for line in sys.argv[1:]:
    main(line.split())
"""


@attrs.frozen
class Project:
    """A host's project directory, with Alembic's own template of ``env.py``."""

    directory: Path

    def alembic(self, *lines: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Alembic's command with each line of arguments, in one process."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", RUN, *lines],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, done.stderr
        return done

    def edit(self, file: str, *changes: tuple[str, str]) -> None:
        """Replace text in a file of the project."""
        path = self.directory / file
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    def operations(self, revision: str) -> Sequence[str]:
        """Return the beginnings of the calls that autogenerate has written into a revision."""
        script = (self.directory / f"migrations/versions/{revision}_models.py").read_text()
        upgrade = script[script.index("def upgrade") : script.index("def downgrade")]
        return re.findall(r"op\.(\w+\((?:op\.f\()?'\w+'(?:, '\w+')?)", upgrade)


AUTOGENERATE = "revision --autogenerate -m models --rev-id"


def make_project(directory: Path, template: str, url: sa.URL) -> Project:
    """Make a project whose ``env.py`` has the host's models and the library's function."""
    project = Project(directory)
    config = Config(directory / "alembic.ini", stdout=io.StringIO())
    command.init(config, str(directory / "migrations"), template=template)
    database_url = url.render_as_string(hide_password=False).replace("%", "%%")
    project.edit("alembic.ini", ("driver://user:pass@localhost/dbname", database_url))
    project.edit(
        "migrations/env.py",
        ("import context\n", "import context\nfrom campaign_model import db\n"),
        ("target_metadata = None", "from models import Base\ntarget_metadata = Base.metadata"),
        (
            "target_metadata=target_metadata",
            "target_metadata=target_metadata, include_object=db.include_object",
        ),
    )
    (directory / "models.py").write_text(FIRST_MODELS)
    return project


@pytest.mark.parametrize(
    ("template", "engine_name", "driver"),
    [
        ("generic", POSTGRESQL[-1], "postgresql+psycopg"),
        pytest.param("async", POSTGRESQL[0], "postgresql+asyncpg", marks=pytest.mark.long),
        pytest.param("generic", "sqlite", "sqlite", marks=pytest.mark.long),
    ],
    ids=["psycopg", "asyncpg", "sqlite"],
)
def test_a_project_migrates_its_own_tables_beside_the_librarys(
    databases: servers.Databases,
    new_database: Callable[..., str],
    tmp_path: Path,
    template: str,
    engine_name: str,
    driver: str,
) -> None:
    url = sa.make_url(new_database(engine_name))
    project = make_project(tmp_path, template, url.set(drivername=driver))
    revision = documented("# versions/0002_campaign_model.py\n", "alembic.md")
    if engine_name == "sqlite":
        # The guide: on SQLite, `init` instead of `adopt`, and keys in the host's models.
        revision = revision.replace("db.adopt", "db.init")
        for table in ("owners", "contacts"):
            name = f'__tablename__ = "{table}"'
            key = '\n    __table_args__ = (sa.UniqueConstraint("tenant_id", "id", name="key"),)'
            project.edit("models.py", (name, name + key))

    # 1. The host's own tables, then the library's. Autogenerate proposes nothing about the
    # library's tables and keys.
    project.alembic(f"{AUTOGENERATE} 0001")
    (tmp_path / "migrations/versions/0002_campaign_model.py").write_text(revision)
    project.alembic("upgrade head", "check")

    # 2. Autogenerate sees the host's changes, also of its contacts and owners, and the host's next
    # migration runs. Offline, the host's revisions are printed, and the library's says why not.
    with (tmp_path / "models.py").open("a") as models:
        models.write(MODELS_OF_THE_LIBRARYS_TABLES)
    project.edit("models.py", ("    phone: Mapped[str | None]\n", ""), (", index=True", ""))
    offline = ["upgrade 0001 --sql", "stamp 0001:0002 --sql", "upgrade 0002:head --sql"]
    refused = "upgrade 0001:0002 --sql"
    done = project.alembic(
        f"{AUTOGENERATE} 0003", "upgrade head", "check", *offline, refused, succeeds=False
    )
    assert "campaign-model reads the database" in done.stderr.splitlines()[-1]
    assert project.operations("0003") == [
        "create_table('messages'",
        "drop_index(op.f('ix_contacts_email'",
        "drop_column('owners', 'phone'",
    ]
    with closing_engine(url) as engine:
        db.init(engine)  # It finds the current schema.

    # 3. The printed revisions build the same database with the library's script between them.
    assert "CREATE TABLE messages" in done.stdout
    if driver == "postgresql+psycopg":
        sql = done.stdout[done.stdout.index("BEGIN;") : done.stdout.rindex("BEGIN;")]
        before, stamp, after = sql.partition("BEGIN;\n\n-- Running stamp_revision")
        script = before + db.sql() + stamp + after
        other_url = sa.make_url(new_database(engine_name))
        stop_at_errors = ("-v", "ON_ERROR_STOP=1")
        code, _, message = databases.run_psql(engine_name, other_url, script, *stop_at_errors)
        assert code == 0, message
        with closing_engine(other_url) as engine, engine.connect() as connection:
            assert db.verify(engine).shape == "current"
            version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            assert version == "0003"
