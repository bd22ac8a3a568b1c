"""The tables as a host reads them: with its own models, on every engine (docs/tables.md)."""

from __future__ import annotations

import json
import re
from datetime import UTC
from decimal import Decimal
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

from campaign_model.db.outbox import outbox
from campaign_model.lifecycle import Status
from campaign_model.store import tables
from campaign_model.store.deleting import NOTES
from campaign_model.store.types import is_one_of
from campaign_model.testing.sample_campaigns import Tenant
from support.contract import documented
from support.paths import DOCS
from support.tenants import campaign_row, contact_rows, generate_all, new_message

PAGE = (DOCS / "tables.md").read_text(encoding="utf-8")
TABLES = tables.metadata.sorted_tables


def define_models() -> Any:
    """Execute the page's models in a new module."""
    code = documented("from uuid import UUID\n", "tables.md")
    module = ModuleType("models")
    # Without this module's `from __future__ import annotations`.
    compiled = compile(code, "tables.md", "exec", dont_inherit=True)
    exec(compiled, module.__dict__)  # noqa: S102 - the code of our own page
    return module


def test_the_page_describes_every_column() -> None:
    described = {
        section.split("\n", 1)[0]: re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        for section in PAGE.split("\n### ")[1:]
    }
    columns = {table.name: [column.name for column in table.c] for table in (*TABLES, outbox)}
    assert described == {**columns, NOTES: ["note"]}
    assert {str(getattr(tables, name)) for name in tables.__all__} >= {*tables.metadata.tables}


@pytest.mark.parametrize("table", TABLES, ids=str)
@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (None, ["JSONB", "NUMERIC", "gen_random_uuid()", "clock_timestamp()"]),
        (postgresql, ["id UUID DEFAULT", "JSONB", "NUMERIC", "TIMESTAMP WITH TIME ZONE"]),
        (sqlite, ["id CHAR(32) DEFAULT", "TEXT", "BIGINT", "strftime"]),
    ],
    ids=["no engine", "postgresql", "sqlite"],
)
def test_a_table_can_be_printed(table: sa.Table, engine: Any, words: list[str]) -> None:
    def write(element: sa.ClauseElement | sa.schema.ExecutableDDLElement) -> str:
        return str(element.compile(dialect=engine.dialect()) if engine else element)

    printed = write(sa.schema.CreateTable(table))
    assert all(f"\n\t{column.name} " in printed for column in table.c)
    if table is tables.campaigns:
        assert all(word in printed for word in words)
    for index in table.indexes:
        assert write(sa.schema.CreateIndex(index))
    assert write(sa.select(table).where(is_one_of(table.c.tenant_id, [uuid4()])))


def test_a_host_maps_campaigns_and_refers_to_them(tenant: Tenant) -> None:
    models = define_models()
    other = tenant.campaign(contacts=1)
    campaign = tenant.campaign(Status.GENERATING, contacts=1, name="Spring")
    (contact,) = contact_rows(tenant, campaign.id).values()
    message_id = new_message(tenant, contact)
    generate_all(tenant, campaign.id, Decimal("0.123456789"))
    with Session(tenant.engine) as session:
        texts = session.execute(models.select_texts(tenant.id)).all()
        assert texts == [("Spring", "Hello")]
        message = session.get_one(models.Message, message_id)
        assert message.campaign_id == message.campaign.id == campaign.id
        assert message.campaign.created_at.tzinfo is UTC
        assert json.loads(message.campaign.template_config)
        assert session.scalars(
            sa.select(models.Campaign.id).where(
                models.Campaign.tenant_id == tenant.id, models.Campaign.status == "draft"
            )
        ).all() == [other.id]

        # The mapping refuses to write.
        message.campaign.name = "Summer"
        with pytest.raises(TypeError, match="CampaignStore"):
            session.flush()


def test_a_host_refers_to_a_copy_of_the_table_by_name(tenant: Tenant) -> None:
    class Base(DeclarativeBase):
        pass

    tables.campaigns.to_metadata(Base.metadata)

    class Campaign(Base):
        __table__ = Base.metadata.tables["campaigns"]

    notes = sa.Table(
        "notes",
        Base.metadata,
        sa.Column("campaign_id", sa.Uuid, sa.ForeignKey("campaigns.id")),
        prefixes=["TEMPORARY"],
    )
    assert notes.c.campaign_id.references(Base.metadata.tables["campaigns"].c.id)
    campaign = tenant.campaign()
    with Session(tenant.engine) as session:
        found: Any = session.get_one(Campaign, campaign.id)
        assert found.tenant_id == tenant.id


def test_stock_types_read_the_columns(tenant: Tenant) -> None:
    """As the page's table of types says."""
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    generate_all(tenant, campaign.id, Decimal("0.000000001"))
    on_sqlite = tenant.engine.dialect.name == "sqlite"
    stock = sa.table(
        "campaigns",
        sa.column("id", sa.Uuid),
        sa.column("tenant_id", sa.Uuid),
        sa.column("created_at", sa.DateTime(timezone=True)),
        sa.column("template_config", sa.JSON),
        sa.column("generation_cost", tables.Money if on_sqlite else sa.Numeric),
    )
    ours = campaign_row(tenant, campaign.id)
    with tenant.engine.begin() as connection:
        row = connection.execute(
            sa.select(stock).where(stock.c.tenant_id == tenant.id, stock.c.id == campaign.id)
        ).one()
    assert (row.id, row.tenant_id) == (campaign.id, tenant.id)
    created_at = row.created_at.replace(tzinfo=UTC) if on_sqlite else row.created_at
    assert created_at == ours.created_at
    assert row.template_config == json.loads(ours.template_config)
    assert row.generation_cost == ours.generation_cost
