"""The schemas of legacy databases, and functions that build and fill them.

``build`` creates the tables of a :class:`Shape`. ``fill`` inserts rows (:mod:`legacy_rows` has
some), ``fill_bulk`` very many. ``read_tables`` reads rows as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import sqlalchemy as sa

Row = Mapping[str, Any]
Rows = Mapping[str, tuple[Row, ...]]


@attrs.frozen
class Shape:
    """A legacy shape and its variant."""

    extended: bool = False
    tags: bool = False
    """Tables and columns say "tag" instead of "batch". The names of keys still say "batch"."""
    full_name: bool = False
    """Contacts have one column for the name, not two."""
    service: bool = False
    """A service has added its own columns, tables, a view and privileges."""

    @property
    def batches(self) -> str:
        """Return the name of the table of batches."""
        return "tags" if self.tags else "batches"

    @property
    def batch_id(self) -> str:
        """Return the name of the column that refers to a batch."""
        return "tag_id" if self.tags else "batch_id"


SHAPES = tuple(
    Shape(extended, tags, full_name=tags, service=service)
    for extended in (False, True)
    for tags in (False, True)
    for service in (False, True)
)

_TYPES = (
    "CREATE TYPE campaign_channel AS ENUM ('linkedin', 'email', 'multi')",
    """CREATE TYPE message_channel AS ENUM
    ('linkedin_connect', 'linkedin_message', 'email', 'call_script')""",
    "CREATE TYPE message_variant AS ENUM ('a', 'b')",
    """CREATE TYPE message_status AS ENUM
    ('draft', 'approved', 'rejected', 'sent', 'delivered', 'replied')""",
)

_ID = "id uuid PRIMARY KEY DEFAULT uuid_generate_v4()"
_TENANT = "tenant_id uuid NOT NULL REFERENCES tenants(id)"
_TIMES = "created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now()"

_BARE = (
    f"""CREATE TABLE tenants ({_ID}, name text NOT NULL, slug text UNIQUE NOT NULL,
    settings jsonb DEFAULT '{{}}', is_active boolean DEFAULT true, {_TIMES})""",
    f"CREATE TABLE owners ({_ID}, {_TENANT}, name text NOT NULL, email text, {_TIMES})",
    f"CREATE TABLE batches ({_ID}, {_TENANT}, name text NOT NULL, {_TIMES})",
    f"""CREATE TABLE contacts ({_ID}, {_TENANT}, owner_id uuid REFERENCES owners(id),
    batch_id uuid REFERENCES batches(id), @names@, email_address text, linkedin_url text,
    company text, airtable_record_id text, {_TIMES})""",
    f"""CREATE TABLE campaigns ({_ID}, {_TENANT}, owner_id uuid REFERENCES owners(id),
    name text NOT NULL, lemlist_campaign_id text, channel campaign_channel,
    batch_id uuid REFERENCES batches(id), is_active boolean DEFAULT true, {_TIMES},
    airtable_record_id text)""",
    "CREATE INDEX idx_campaigns_tenant ON campaigns (tenant_id)",
    f"""CREATE TABLE messages ({_ID}, {_TENANT}, contact_id uuid REFERENCES contacts(id),
    owner_id uuid REFERENCES owners(id), campaign_id uuid REFERENCES campaigns(id),
    channel message_channel, sequence_step smallint, variant message_variant, subject text,
    body text NOT NULL, status message_status DEFAULT 'draft',
    generation_cost_usd numeric(10,4), sent_at timestamptz, {_TIMES})""",
    "CREATE INDEX idx_messages_campaign ON messages (campaign_id)",
)

_EXTENDED = (
    "ALTER TABLE campaigns ADD COLUMN status text DEFAULT 'draft'",
    "ALTER TABLE campaigns ADD COLUMN description text",
    "ALTER TABLE campaigns ADD COLUMN template_config jsonb DEFAULT '[]'",
    "ALTER TABLE campaigns ADD COLUMN generation_config jsonb DEFAULT '{}'",
    "ALTER TABLE campaigns ADD COLUMN total_contacts int DEFAULT 0",
    "ALTER TABLE campaigns ADD COLUMN generated_count int DEFAULT 0",
    "ALTER TABLE campaigns ADD COLUMN generation_cost numeric(10,4) DEFAULT 0",
    "ALTER TABLE campaigns ADD COLUMN generation_started_at timestamptz",
    "ALTER TABLE campaigns ADD COLUMN generation_completed_at timestamptz",
    f"""CREATE TABLE campaign_contacts ({_ID},
    campaign_id uuid NOT NULL REFERENCES campaigns(id) ON DELETE CASCADE,
    contact_id uuid NOT NULL REFERENCES contacts(id) ON DELETE CASCADE,
    tenant_id uuid REFERENCES tenants(id), status text DEFAULT 'pending',
    enrichment_gaps jsonb, generation_cost numeric(10,4), error text,
    added_at timestamptz DEFAULT now(), generated_at timestamptz,
    UNIQUE (campaign_id, contact_id))""",
    "CREATE INDEX idx_campaign_contacts_campaign ON campaign_contacts (campaign_id)",
    f"""CREATE TABLE campaign_templates ({_ID}, tenant_id uuid REFERENCES tenants(id),
    name text NOT NULL, description text, steps jsonb, default_config jsonb,
    is_system boolean DEFAULT false, {_TIMES})""",
    "ALTER TABLE messages ADD COLUMN campaign_contact_id uuid REFERENCES campaign_contacts(id)",
)

_TAGS = (
    "ALTER TABLE batches RENAME TO tags",
    "ALTER TABLE contacts RENAME COLUMN batch_id TO tag_id",
    "ALTER TABLE campaigns RENAME COLUMN batch_id TO tag_id",
)

_SERVICE = (
    f"CREATE TABLE strategies ({_ID}, {_TENANT}, name text NOT NULL)",
    f"CREATE TABLE linkedin_accounts ({_ID}, {_TENANT}, handle text NOT NULL)",
    "ALTER TABLE campaigns ADD COLUMN strategy_id uuid REFERENCES strategies(id)",
    "ALTER TABLE campaigns ADD COLUMN target_criteria jsonb",
    "ALTER TABLE campaigns ADD COLUMN sender_config jsonb DEFAULT '{}'",
    "ALTER TABLE campaigns ADD COLUMN contact_cooldown_days int DEFAULT 30",
    "ALTER TABLE campaigns ADD COLUMN language text",
    "ALTER TABLE campaigns ADD COLUMN scheduled_launch_at timestamptz",
    "ALTER TABLE campaigns ADD COLUMN linkedin_account_id uuid REFERENCES linkedin_accounts(id)",
    """CREATE TABLE campaign_stats (id bigserial PRIMARY KEY,
    campaign_id uuid UNIQUE NOT NULL REFERENCES campaigns(id) ON DELETE CASCADE,
    opens int NOT NULL DEFAULT 0, rate double precision, raw jsonb)""",
    """CREATE VIEW campaign_overview AS SELECT c.id, c.name, c.is_active, s.opens
    FROM campaigns c LEFT JOIN campaign_stats s ON s.campaign_id = c.id""",
)

_SERVICE_EXTENDED = (
    f"""CREATE TABLE contact_events ({_ID},
    campaign_contact_id uuid NOT NULL REFERENCES campaign_contacts(id), kind text NOT NULL)""",
    f"""CREATE TABLE template_ratings ({_ID},
    template_id uuid NOT NULL REFERENCES campaign_templates(id) ON DELETE CASCADE, stars int)""",
    "ALTER TABLE campaigns ADD COLUMN template_id uuid REFERENCES campaign_templates(id)",
    "CREATE INDEX idx_campaigns_status ON campaigns (tenant_id, status)",
)

_SERVICE_PRIVILEGES = (
    "COMMENT ON TABLE campaigns IS 'From Airtable'",
    "COMMENT ON COLUMN campaigns.strategy_id IS 'Why we do this'",
    "GRANT SELECT ON campaigns, messages, contacts TO pg_monitor",
    "GRANT UPDATE (language) ON campaigns TO pg_monitor",
    "CREATE SEQUENCE campaign_numbers START 1000",
)

# The part of the extension uuid-ossp that these databases use, for servers without it.
_UUID_FUNCTION = """CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql
    AS 'SELECT gen_random_uuid()'"""

_TRIGGER = (
    """CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END $$""",
    """CREATE TRIGGER campaigns_updated_at BEFORE UPDATE ON campaigns
    FOR EACH ROW EXECUTE FUNCTION set_updated_at()""",
)


def statements(shape: Shape) -> Iterator[str]:
    """Yield the statements that build ``shape``."""
    yield from _TYPES
    names = "full_name text" if shape.full_name else "first_name text, last_name text"
    for statement in (
        *_BARE,
        *(_EXTENDED if shape.extended else ()),
        *(_TAGS if shape.tags else ()),
        *(_SERVICE if shape.service else ()),
        *(_SERVICE_EXTENDED if shape.service and shape.extended else ()),
    ):
        yield statement.replace("@names@", names)
    yield from _TRIGGER
    yield from _SERVICE_PRIVILEGES if shape.service else ()


def build(connection: sa.Connection, shape: Shape) -> None:
    """Build the tables of ``shape``, with types, triggers and privileges, in an empty database."""
    has_extension = connection.exec_driver_sql(
        "SELECT count(*) FROM pg_available_extensions WHERE name = 'uuid-ossp'"
    ).scalar_one()
    connection.exec_driver_sql('CREATE EXTENSION "uuid-ossp"' if has_extension else _UUID_FUNCTION)
    for statement in statements(shape):
        connection.exec_driver_sql(statement)


def fill(connection: sa.Connection, rows: Rows) -> None:
    """Insert ``rows``, in their order. A column that is not in a row gets its default.

    Ids and times are text, JSON is JSON text, and amounts are text or ``Decimal``.
    """
    for table, rows_of_table in rows.items():
        for row in rows_of_table:
            columns = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(
                sa.text(f"INSERT INTO {table} ({columns}) VALUES ({values})"),  # noqa: S608
                {name: _bindable(value) for name, value in row.items()},
            )


def read_tables(
    connection: sa.Connection, tables: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """Read every row of ``tables``, ordered by the first column.

    All values are text as PostgreSQL spells it, or ``None``, so that 1.10 differs from 1.1.
    """
    rows_by_table = {}
    for table in tables:
        columns = [column["name"] for column in sa.inspect(connection).get_columns(table)]
        listed = ", ".join(f'CAST("{name}" AS text) AS "{name}"' for name in columns)
        query = f'SELECT {listed} FROM "{table}" ORDER BY 1'  # noqa: S608
        rows = connection.exec_driver_sql(query)
        rows_by_table[table] = [dict(row) for row in rows.mappings()]
    return rows_by_table


def _bindable(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else str(value)


_BULK = (
    """INSERT INTO tenants (id, name, slug)
    SELECT md5('t' || t)::uuid, 'Tenant ' || t, 'tenant-' || t FROM generate_series(1, 10) t""",
    """INSERT INTO owners (id, tenant_id, name)
    SELECT md5('o' || t)::uuid, md5('t' || t)::uuid, 'Owner' FROM generate_series(1, 10) t""",
    """INSERT INTO contacts (id, tenant_id, owner_id, email_address)
    SELECT md5('c' || t || '-' || n)::uuid, md5('t' || t)::uuid, md5('o' || t)::uuid,
        'c' || n || '@example.com'
    FROM generate_series(1, 10) t, generate_series(1, 1000) n""",
    """INSERT INTO campaigns (id, tenant_id, owner_id, name, is_active, lemlist_campaign_id)
    SELECT md5('p' || n)::uuid, md5('t' || n % 10 + 1)::uuid, md5('o' || n % 10 + 1)::uuid,
        'Campaign ' || n / 3, n % 17 <> 0, CASE WHEN n % 13 = 0 THEN 'cam_' || n END
    FROM generate_series(1, :campaigns) n""",
    """INSERT INTO messages (tenant_id, contact_id, owner_id, campaign_id, channel, sequence_step,
        variant, body, status)
    SELECT md5('t' || n % 10 + 1)::uuid, md5('c' || n % 10 + 1 || '-' || n % 1000 + 1)::uuid,
        md5('o' || n % 10 + 1)::uuid, md5('p' || n)::uuid, 'email', 1, 'a', 'Hello',
        CASE WHEN n % 6 = 0 THEN 'sent' ELSE 'draft' END::message_status
    FROM generate_series(1, :campaigns, 3) n""",
)
_BULK_EXTENDED = (
    """UPDATE campaigns SET
        status = (ARRAY[NULL, 'draft', 'ready', 'generating', 'review', 'approved', 'exported',
            'archived'])[n % 8 + 1],
        template_config = CASE n % 4 WHEN 0 THEN to_jsonb(steps::text) WHEN 1 THEN NULL
            ELSE steps END,
        generation_config = CASE n % 5 WHEN 0 THEN settings || '{"cancelled": true}'
            WHEN 1 THEN to_jsonb(settings::text) ELSE settings END,
        total_contacts = n % 7, generated_count = n % 3, generation_cost = 0.0144
    FROM (SELECT md5('p' || n)::uuid AS campaign, n FROM generate_series(1, :campaigns) n) numbered,
        (SELECT '[{"step": 1, "channel": "linkedin", "asset_ids": [1, 2]},
            {"step": 2, "channel": "email", "label": "Intro", "template_subject": "Hi"}]'::jsonb
            AS steps, '{"tone": "casual"}'::jsonb AS settings) said
    WHERE id = campaign""",
    """INSERT INTO campaign_contacts (id, campaign_id, contact_id, tenant_id, status,
        enrichment_gaps, generation_cost)
    SELECT md5('j' || n || '-' || k)::uuid, md5('p' || n)::uuid,
        md5('c' || n % 10 + 1 || '-' || (n * 7 + k) % 1000 + 1)::uuid,
        md5('t' || n % 10 + 1)::uuid,
        (ARRAY['pending', 'generated', 'failed', 'excluded', 'enrichment_ok', 'generating',
            NULL])[(n + k) % 7 + 1],
        CASE k % 3 WHEN 0 THEN '["email"]'::jsonb WHEN 1 THEN '[]'::jsonb END,
        CASE WHEN k % 2 = 0 THEN 0.0012 END
    FROM generate_series(1, :campaigns) n, generate_series(1, :contacts) k""",
)


def fill_bulk(connection: sa.Connection, shape: Shape, *, campaigns: int, contacts: int) -> None:
    """Insert many campaigns, each with that many contacts (1000 at most).

    All of their values can be repaired.
    """
    numbers = {"campaigns": campaigns, "contacts": contacts}
    for statement in (*_BULK, *(_BULK_EXTENDED if shape.extended else ())):
        connection.execute(sa.text(statement), numbers)
