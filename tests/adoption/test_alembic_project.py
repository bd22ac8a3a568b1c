"""A host project that ``alembic init`` has made: its models and migrations beside the library."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from campaign_model import db
from support.adoption import POSTGRESQL
from support.paths import DOCS

GUIDE = (DOCS / "alembic.md").read_text(encoding="utf-8")

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
    email: Mapped[str] = mapped_column(index=True)
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


def read_code(name: str) -> str:
    """Return the guide's code for that file."""
    (code,) = re.findall(rf"```python\n# {re.escape(name)}\n(.*?)```", GUIDE, re.DOTALL)
    return str(code)


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

    def alembic(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """Run Alembic's command with each line of arguments, in one process."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", RUN, *lines],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )

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


@pytest.mark.parametrize(
    ("template", "driver"), [("generic", "psycopg"), ("async", "asyncpg")], ids=str
)
def test_a_project_migrates_its_own_tables_beside_the_librarys(
    new_database: Callable[..., str], tmp_path: Path, template: str, driver: str
) -> None:
    url = sa.make_url(new_database(POSTGRESQL[-1])).set(drivername=f"postgresql+{driver}")
    project = Project(tmp_path)
    config = Config(tmp_path / "alembic.ini", stdout=io.StringIO())
    command.init(config, str(tmp_path / "migrations"), template=template)
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

    # 1. The host's own tables, then the library's, as the guide says. Autogenerate proposes
    # nothing about the library's tables and keys.
    (tmp_path / "models.py").write_text(FIRST_MODELS)
    done = project.alembic(f"{AUTOGENERATE} 0001")
    assert done.returncode == 0, done.stderr
    (tmp_path / "migrations/versions/0002_campaign_model.py").write_text(
        read_code("versions/0002_campaign_model.py")
    )
    done = project.alembic("upgrade head", "check")
    assert done.returncode == 0, done.stderr

    # 2. Autogenerate sees the host's changes, also of its contacts and owners, and the host's next
    # migration runs.
    with (tmp_path / "models.py").open("a") as models:
        models.write(MODELS_OF_THE_LIBRARYS_TABLES)
    project.edit(
        "models.py",
        ("    phone: Mapped[str | None]\n", ""),
        ("    email: Mapped[str] = mapped_column(index=True)", "    email: Mapped[str | None]"),
    )
    done = project.alembic(f"{AUTOGENERATE} 0003", "upgrade head", "check")
    assert done.returncode == 0, done.stderr
    assert project.operations("0003") == [
        "create_table('messages'",
        "alter_column('contacts', 'email'",
        "drop_index(op.f('ix_contacts_email'",
        "drop_column('owners', 'phone'",
    ]
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"))
    assert db.verify(engine).shape == "current"
    engine.dispose()

    # 3. Offline, the host's own revisions are printed, and the library's says why it is not.
    done = project.alembic("upgrade 0001 --sql", "upgrade 0002:head --sql", "upgrade head --sql")
    for table in ("contacts", "messages"):
        assert f"CREATE TABLE {table}" in done.stdout
    assert "campaign-model reads the database" in done.stderr.splitlines()[-1]
    assert done.returncode != 0
