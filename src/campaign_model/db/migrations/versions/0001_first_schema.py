"""The first schema: campaigns, their contacts, totals, history and templates.

This file is frozen: it imports nothing of the library, so that later changes of the library cannot
change what it builds. The tables are written for PostgreSQL. ``SQLITE`` says what replaces their types
and defaults on SQLite, and ``CHECKS`` has the conditions that ``@kind(column)@`` stands for. On SQLite,
``add_type_checks`` adds a CHECK of the type of each other column.
``@tenants@``, ``@owners@`` and ``@contacts@`` stand for the host's tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import Connection

revision = "0001"
down_revision = None

STEPS_CHECK_POSTGRESQL = r"""CASE WHEN jsonb_typeof(COLUMN) = 'array' THEN jsonb_array_length(COLUMN) <= 20
    AND jsonb_array_length(jsonb_path_query_array(COLUMN, 'strict $[*] ? (@.type() == "object")')) = jsonb_array_length(COLUMN)
    AND jsonb_array_length(jsonb_path_query_array(COLUMN, '$[*] ? (@.channel.type() == "string" && @.channel like_regex "^[a-z][a-z0-9_]{0,39}$" flag "s"
    && (!exists(@.step) || @.step.type() == "null" || (@.step.type() == "string" && @.step == "") || (@.step.type() == "number" && @.step >= 1))
    && (!exists(@.label) || @.label.type() == "null" || @.label.type() == "string")
    && (!exists(@.enabled) || @.enabled.type() == "null" || (@.enabled.type() == "string" && @.enabled == "") || (@.enabled.type() == "boolean"))
    && (!exists(@.needs_pdf) || @.needs_pdf.type() == "null" || (@.needs_pdf.type() == "string" && @.needs_pdf == "") || (@.needs_pdf.type() == "boolean"))
    && (!exists(@.variant_count) || @.variant_count.type() == "null" || (@.variant_count.type() == "string" && @.variant_count == "") || (@.variant_count.type() == "number" && @.variant_count >= 1 && @.variant_count <= 3))
    && (!exists(@.key) || @.key.type() == "null" || (@.key.type() == "string" && @.key == "") || (@.key.type() == "string" && @.key like_regex "^[A-Za-z0-9_-]{1,40}$" flag "s"))
    && (!exists(@.day_offset) || @.day_offset.type() == "null" || (@.day_offset.type() == "string" && @.day_offset == "") || (@.day_offset.type() == "number" && @.day_offset >= 0 && @.day_offset <= 365))
    && (!exists(@.condition) || @.condition.type() == "null" || (@.condition.type() == "string" && @.condition == "") || (@.condition.type() == "string"
    && (@.condition == "always" || @.condition == "no_response" || @.condition == "opened_not_replied")))
    && (!exists(@.config) || @.config.type() == "null" || (@.config.type() == "string" && @.config == "") || (@.config.type() == "object")))')) = jsonb_array_length(COLUMN)
    AND jsonb_path_query_array(COLUMN, '$[*].step')::text !~ '[.]'
    AND jsonb_path_query_array(COLUMN, '$[*].variant_count')::text !~ '[.]'
    AND jsonb_path_query_array(COLUMN, '$[*].day_offset')::text !~ '[.]'
    AND jsonb_path_query_array(COLUMN, '$[*].key ? (@.type() == "string" && @ != "")')::text !~ ('("[A-Za-z0-9_-]+").*' || chr(92) || '1')
    AND NOT coalesce(COLUMN @@ '($[*].key == "s1" && exists($[0] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s2" && exists($[1] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s3" && exists($[2] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s4" && exists($[3] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s5" && exists($[4] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s6" && exists($[5] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s7" && exists($[6] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s8" && exists($[7] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s9" && exists($[8] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s10" && exists($[9] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s11" && exists($[10] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s12" && exists($[11] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s13" && exists($[12] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s14" && exists($[13] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s15" && exists($[14] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s16" && exists($[15] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s17" && exists($[16] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s18" && exists($[17] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s19" && exists($[18] ? (!exists(@.key) || @.key == null || @.key == ""))) ||
    ($[*].key == "s20" && exists($[19] ? (!exists(@.key) || @.key == null || @.key == "")))', false)
    AND NOT coalesce(jsonb_path_query_array(COLUMN, '$[*].day_offset ? (@.type() == "number")') @@ '$[0] > $[1] || $[1] > $[2] || $[2] > $[3] || $[3] > $[4] || $[4] > $[5] || $[5] > $[6] || $[6] > $[7] || $[7] > $[8] || $[8] > $[9] || $[9] > $[10] || $[10] > $[11] || $[11] > $[12] || $[12] > $[13] || $[13] > $[14] || $[14] > $[15] || $[15] > $[16] || $[16] > $[17] || $[17] > $[18] || $[18] > $[19]', false)
    AND NOT jsonb_path_exists(COLUMN, 'strict $.** ? (@.type() == "number" && (@ > 1 || @ < -1) && (@.double() == 0) is unknown)')
    AND NOT jsonb_path_exists(COLUMN, 'strict $.**{64 to last}')
    ELSE false END"""

SETTINGS_CHECK_POSTGRESQL = """\
CASE WHEN jsonb_typeof(COLUMN) = 'object' THEN coalesce(jsonb_typeof(COLUMN->'tone'), 'null') IN ('null', 'string')
    AND (coalesce(COLUMN->>'language', '') = '' OR (jsonb_typeof(COLUMN->'language') = 'string' AND COLUMN->>'language' ~ '^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$'))
    AND (coalesce(COLUMN->>'custom_instructions', '') = '' OR (jsonb_typeof(COLUMN->'custom_instructions') = 'string' AND char_length(COLUMN->>'custom_instructions') BETWEEN 0 AND 10000))
    AND (coalesce(COLUMN->>'default_variant_count', '') = '' OR (jsonb_typeof(COLUMN->'default_variant_count') = 'number' AND COLUMN->>'default_variant_count' IN ('1', '2', '3')))
    AND (coalesce(COLUMN->>'budget', '') = '' OR (jsonb_typeof(COLUMN->'budget') = 'string' AND COLUMN->>'budget' ~ '^(0|[1-9][0-9]{0,8})([.][0-9]{1,9})?$'))
    AND NOT jsonb_path_exists(COLUMN, 'strict $.** ? (@.type() == "number" && (@ > 1 || @ < -1) && (@.double() == 0) is unknown)')
    AND NOT jsonb_path_exists(COLUMN, 'strict $.**{64 to last}')
    ELSE false END"""

# JSON texts that SQLite reads differently from other JSON readers, or stores although no other
# reader accepts them.
EXACT_TEXT_SQLITE = r"""typeof(COLUMN) = 'text' AND instr(COLUMN, char(0)) = 0 AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u0000*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u005[fF]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u006[1-9a-fA-F]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u007[0-9aA]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u[dD][89abAB]??[^\]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\[^u]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[^dD]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[dD][^c-fC-F]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*[^\]?????\u[dD][c-fC-F]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\[^u]????\u[dD][c-fC-F]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u[^dD]???\u[dD][c-fC-F]*' AND
    replace('//////' || COLUMN, '\\', '//') NOT GLOB '*\u[dD][^89abAB]??\u[dD][c-fC-F]*'"""

# SQLite allows no subquery in a CHECK: the condition on one step is repeated for all twenty.
STEP_CHECK_SQLITE = """\
(json_array_length(COLUMN) <= INDEX OR (coalesce(json_type(COLUMN, '$[INDEX]'), '') = 'object' AND
    coalesce(json_type(COLUMN, '$[INDEX].channel'), '') = 'text' AND
    json_type(COLUMN, '$[INDEX].channel') = 'text' AND length(json_extract(COLUMN, '$[INDEX].channel')) BETWEEN 1 AND 40 AND json_extract(COLUMN, '$[INDEX].channel') GLOB '[a-z]*' AND json_extract(COLUMN, '$[INDEX].channel') NOT GLOB '*[^a-z0-9_]*' AND
    (coalesce(json_extract(COLUMN, '$[INDEX].step'), '') = '' OR (json_type(COLUMN, '$[INDEX].step') = 'integer' AND json_extract(COLUMN, '$[INDEX].step') >= 1)) AND
    coalesce(json_type(COLUMN, '$[INDEX].label'), 'null') IN ('null', 'text') AND
    (coalesce(json_extract(COLUMN, '$[INDEX].enabled'), '') = '' OR (json_type(COLUMN, '$[INDEX].enabled') IN ('true', 'false'))) AND
    (coalesce(json_extract(COLUMN, '$[INDEX].needs_pdf'), '') = '' OR (json_type(COLUMN, '$[INDEX].needs_pdf') IN ('true', 'false'))) AND
    (coalesce(json_extract(COLUMN, '$[INDEX].variant_count'), '') = '' OR (json_type(COLUMN, '$[INDEX].variant_count') = 'integer' AND json_extract(COLUMN, '$[INDEX].variant_count') BETWEEN 1 AND 3)) AND
    (coalesce(json_extract(COLUMN, '$[INDEX].key'), '') = '' OR (json_type(COLUMN, '$[INDEX].key') = 'text' AND length(json_extract(COLUMN, '$[INDEX].key')) BETWEEN 1 AND 40 AND json_extract(COLUMN, '$[INDEX].key') NOT GLOB '*[^A-Za-z0-9_-]*')) AND
    (coalesce(json_extract(COLUMN, '$[INDEX].day_offset'), '') = '' OR (json_type(COLUMN, '$[INDEX].day_offset') = 'integer' AND json_extract(COLUMN, '$[INDEX].day_offset') BETWEEN 0 AND 365)) AND
    (coalesce(json_extract(COLUMN, '$[INDEX].condition'), '') = '' OR (json_type(COLUMN, '$[INDEX].condition') = 'text' AND json_extract(COLUMN, '$[INDEX].condition') IN ('always', 'no_response', 'opened_not_replied'))) AND
    (coalesce(json_extract(COLUMN, '$[INDEX].config'), '') = '' OR (json_type(COLUMN, '$[INDEX].config') = 'object'))))"""
STEP_KEYS_SQLITE = [
    f"CASE WHEN json_array_length(COLUMN) <= {index} THEN '.{index}' ELSE coalesce(nullif(json_extract(COLUMN, '$[{index}].key'), ''), 's{index + 1}') END"
    for index in range(20)
]
# json_set replaces a member that an object has already; json_object adds it a second time.
SET_KEYS_SQLITE = ", ".join("'$.\"' || " + key + " || '\"', 0" for key in STEP_KEYS_SQLITE)
ADD_KEYS_SQLITE = ", ".join(f"{key}, 0" for key in STEP_KEYS_SQLITE)
DAY_SQLITE = "coalesce(nullif(json_extract(COLUMN, '$[{}].day_offset'), ''), {})"
DAYS_SQLITE = " AND ".join(
    f"{DAY_SQLITE.format(index, 365)} >= max(0, {', '.join(DAY_SQLITE.format(one, 0) for one in range(index))})"
    for index in range(1, 20)
)
STEPS_CHECK_SQLITE = (
    "CASE WHEN NOT json_valid(COLUMN) THEN 0 WHEN json_type(COLUMN) <> 'array' THEN 0 WHEN json_array_length(COLUMN) > 20 THEN 0 WHEN NOT ("
    + " AND ".join(
        (
            EXACT_TEXT_SQLITE,
            *(STEP_CHECK_SQLITE.replace("INDEX", str(index)) for index in range(20)),
        )
    )
    + f") THEN 0 ELSE length(json_set('{{}}', {SET_KEYS_SQLITE})) = length(json_object({ADD_KEYS_SQLITE})) AND {DAYS_SQLITE} END"
)

SETTINGS_CHECK_SQLITE = (
    """\
CASE WHEN NOT json_valid(COLUMN) THEN 0 WHEN json_type(COLUMN) <> 'object' THEN 0 ELSE """
    + EXACT_TEXT_SQLITE
    + """
    AND coalesce(json_type(COLUMN, '$.tone'), 'null') IN ('null', 'text')
    AND (coalesce(json_extract(COLUMN, '$.language'), '') = '' OR (json_type(COLUMN, '$.language') = 'text' AND json_extract(COLUMN, '$.language') GLOB '[A-Za-z][A-Za-z]*' AND json_extract(COLUMN, '$.language') NOT GLOB '*[^A-Za-z0-9-]*' AND json_extract(COLUMN, '$.language') NOT GLOB '*[A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9]*' AND json_extract(COLUMN, '$.language') NOT GLOB '*-' AND json_extract(COLUMN, '$.language') NOT GLOB '*--*' AND json_extract(COLUMN, '$.language') NOT GLOB '*-*-*-*-*' AND json_extract(COLUMN, '$.language') NOT GLOB '[A-Za-z][A-Za-z][0-9]*' AND json_extract(COLUMN, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][0-9]*' AND json_extract(COLUMN, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*' AND json_extract(COLUMN, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*' AND json_extract(COLUMN, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*' AND json_extract(COLUMN, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'))
    AND (coalesce(json_extract(COLUMN, '$.custom_instructions'), '') = '' OR (json_type(COLUMN, '$.custom_instructions') = 'text' AND length(json_extract(COLUMN, '$.custom_instructions')) BETWEEN 0 AND 10000))
    AND (coalesce(json_extract(COLUMN, '$.default_variant_count'), '') = '' OR (json_type(COLUMN, '$.default_variant_count') = 'integer' AND json_extract(COLUMN, '$.default_variant_count') BETWEEN 1 AND 3))
    AND (coalesce(json_extract(COLUMN, '$.budget'), '') = '' OR (json_type(COLUMN, '$.budget') = 'text' AND json_extract(COLUMN, '$.budget') GLOB '[0-9]*' AND json_extract(COLUMN, '$.budget') NOT GLOB '*[^0-9.]*' AND json_extract(COLUMN, '$.budget') NOT GLOB '0[0-9]*' AND json_extract(COLUMN, '$.budget') NOT GLOB '*[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]*' AND json_extract(COLUMN, '$.budget') NOT GLOB '*.' AND json_extract(COLUMN, '$.budget') NOT GLOB '*.*.*')) END"""
)

ARRAY_CHECK_SQLITE = (
    "CASE WHEN NOT json_valid(COLUMN) THEN 0 WHEN json_type(COLUMN) <> 'array' THEN 0 ELSE "
    + EXACT_TEXT_SQLITE
)
NAMES_SQLITE = r"""replace(replace(json(COLUMN), '\\', '//'), '\"', '//')"""
GAPS_CHECK_SQLITE = f"""\
COLUMN IS NULL OR {ARRAY_CHECK_SQLITE} AND json_array_length(COLUMN) <= 1000
    AND ({NAMES_SQLITE} = '[]' OR ({NAMES_SQLITE} GLOB '[[]"*"]' AND {NAMES_SQLITE} NOT GLOB '*""*'
    AND instr(replace(substr({NAMES_SQLITE}, 3, length({NAMES_SQLITE}) - 4), '","', ''), '"') = 0)) END"""

CHECKS = {
    "postgresql": {
        "steps": STEPS_CHECK_POSTGRESQL,
        "settings": SETTINGS_CHECK_POSTGRESQL,
        "array": "jsonb_typeof(COLUMN) = 'array'",
        "gaps": """\
COLUMN IS NULL OR COLUMN @? 'strict $ ? (@.type() == "array" && @.size() <= 1000
    && !exists(@[*] ? (@.type() != "string" || !(@ like_regex "^.{1,200}$" flag "s"))))'""",
        "amount": "COLUMN < 'Infinity' AND COLUMN >= 0 AND scale(trim_scale(COLUMN)) <= 9",
        "signed_amount": "COLUMN < 'Infinity' AND COLUMN > '-Infinity' AND scale(trim_scale(COLUMN)) <= 9",
        "active": "COLUMN OR status = 'archived'",
        "name": r"char_length(COLUMN) <= 500 AND btrim(COLUMN, E'\u0009\u000A\u000B\u000C\u000D\u001C\u001D\u001E\u001F\u0020\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000') <> ''",
        "text_500": "(char_length(COLUMN) > 500) IS NOT TRUE",
        "text_10000": "(char_length(COLUMN) > 10000) IS NOT TRUE",
        "times": "least(COLUMN) >= '0001-01-02 00:00:00+00:00' AND greatest(COLUMN) <= '9999-12-30 00:00:00+00:00'",
    },
    "sqlite": {
        "steps": STEPS_CHECK_SQLITE,
        "settings": SETTINGS_CHECK_SQLITE,
        "array": f"{ARRAY_CHECK_SQLITE} END",
        "gaps": GAPS_CHECK_SQLITE,
        "amount": "typeof(COLUMN) = 'integer' AND COLUMN >= 0",
        "signed_amount": "typeof(COLUMN) = 'integer'",
        "active": "COLUMN IN (0, 1) AND (COLUMN OR status = 'archived')",
        "name": "typeof(COLUMN) = 'text' AND instr(COLUMN, char(0)) = 0 AND length(COLUMN) <= 500 AND trim(COLUMN, char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) <> ''",
        "text_500": "COLUMN IS NULL OR (typeof(COLUMN) = 'text' AND instr(COLUMN, char(0)) = 0 AND length(COLUMN) <= 500)",
        "text_10000": "COLUMN IS NULL OR (typeof(COLUMN) = 'text' AND instr(COLUMN, char(0)) = 0 AND length(COLUMN) <= 10000)",
    },
}

# On SQLite, each column without another CHECK has one for its type.
TYPES_SQLITE = {
    "UUID": "typeof(COLUMN) = 'text' AND length(CAST(COLUMN AS BLOB)) = 32 AND COLUMN NOT GLOB '*[^0-9a-f]*'",
    "TIMESTAMP": """\
CASE WHEN typeof(COLUMN) = 'text' AND length(CAST(COLUMN AS BLOB)) = 26
    AND COLUMN GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
    AND COLUMN BETWEEN '0001-01-02 00:00:00.000000' AND '9999-12-30 00:00:00.000000'
    THEN coalesce(datetime(substr(COLUMN, 1, 19), '+0 days') = substr(COLUMN, 1, 19), 0) ELSE 0 END""",
    "TEXT": "typeof(COLUMN) = 'text' AND instr(COLUMN, char(0)) = 0",
    "INTEGER": "typeof(COLUMN) = 'integer'",
    "BIGINT": "typeof(COLUMN) = 'integer'",
    "SMALLINT": "typeof(COLUMN) = 'integer'",
}

SQLITE = {
    "UUID": "CHAR(32)",
    "JSONB": "TEXT",
    "NUMERIC": "BIGINT",
    "TIMESTAMP WITH TIME ZONE": "TEXT",
    "clock_timestamp()": "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
    "gen_random_uuid()": "(lower(hex(randomblob(6)) || '4' || substr(hex(randomblob(2)), 2) || '8' || substr(hex(randomblob(2)), 2) || hex(randomblob(6))))",
    " WITH (fillfactor = 50)": "",
}

TABLES = (
    """
CREATE TABLE campaign_templates (
    id UUID NOT NULL,
    tenant_id UUID,
    name TEXT NOT NULL,
    description TEXT,
    steps JSONB DEFAULT '[]' NOT NULL,
    default_config JSONB DEFAULT '{}' NOT NULL,
    is_system BOOLEAN DEFAULT false NOT NULL,
    shipped_digest TEXT,
    version BIGINT DEFAULT '1' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_campaign_templates PRIMARY KEY (id),
    CONSTRAINT uq_campaign_templates_tenant_id_name UNIQUE (tenant_id, name),
    CONSTRAINT fk_campaign_templates_tenant_id FOREIGN KEY(tenant_id) REFERENCES @tenants@ (id),
    CONSTRAINT ck_campaign_templates_is_system CHECK (is_system = (tenant_id IS NULL)),
    CONSTRAINT ck_campaign_templates_steps CHECK (@steps(steps)@),
    CONSTRAINT ck_campaign_templates_default_config CHECK (@settings(default_config)@),
    CONSTRAINT ck_campaign_templates_name CHECK (@name(name)@),
    CONSTRAINT ck_campaign_templates_description CHECK (@text_10000(description)@),
    CONSTRAINT ck_campaign_templates_times CHECK (@times(created_at, updated_at)@)
)
""",
    """
CREATE TABLE campaigns (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id UUID NOT NULL,
    owner_id UUID,
    name TEXT NOT NULL,
    description TEXT,
    status TEXT DEFAULT 'draft' NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    template_id UUID,
    template_config JSONB DEFAULT '[]' NOT NULL,
    generation_config JSONB DEFAULT '{}' NOT NULL,
    total_contacts INTEGER DEFAULT '0' NOT NULL,
    generated_count INTEGER DEFAULT '0' NOT NULL,
    generation_cost NUMERIC DEFAULT '0' NOT NULL,
    generation_started_at TIMESTAMP WITH TIME ZONE,
    generation_completed_at TIMESTAMP WITH TIME ZONE,
    finished_before_start BIGINT DEFAULT '0' NOT NULL,
    next_position BIGINT DEFAULT '0' NOT NULL,
    clone_count BIGINT DEFAULT '0' NOT NULL,
    version BIGINT DEFAULT '1' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_campaigns PRIMARY KEY (id),
    CONSTRAINT uq_campaigns_tenant_id_id UNIQUE (tenant_id, id),
    CONSTRAINT fk_campaigns_tenant_id FOREIGN KEY(tenant_id) REFERENCES @tenants@ (id),
    CONSTRAINT fk_campaigns_tenant_id_owner_id FOREIGN KEY(tenant_id, owner_id) REFERENCES @owners@ (tenant_id, id),
    CONSTRAINT ck_campaigns_status CHECK (status IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')),
    CONSTRAINT ck_campaigns_is_active CHECK (@active(is_active)@),
    CONSTRAINT ck_campaigns_template_config CHECK (@steps(template_config)@),
    CONSTRAINT ck_campaigns_generation_config CHECK (@settings(generation_config)@),
    CONSTRAINT ck_campaigns_generation_cost CHECK (@amount(generation_cost)@),
    CONSTRAINT ck_campaigns_name CHECK (@name(name)@),
    CONSTRAINT ck_campaigns_description CHECK (@text_10000(description)@),
    CONSTRAINT ck_campaigns_times CHECK (@times(generation_started_at, generation_completed_at, created_at, updated_at)@)
)
""",
    """
CREATE INDEX ix_campaigns_running ON campaigns (tenant_id, id) WHERE status = 'generating'
""",
    """
CREATE INDEX ix_campaigns_page ON campaigns (tenant_id, created_at, id)
""",
    """
CREATE TABLE campaign_contacts (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    campaign_id UUID NOT NULL,
    contact_id UUID NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    enrichment_gaps JSONB,
    rank BIGINT DEFAULT '0' NOT NULL,
    attempts BIGINT DEFAULT '0' NOT NULL,
    revision BIGINT DEFAULT '0' NOT NULL,
    claim_token UUID,
    claimed_at TIMESTAMP WITH TIME ZONE,
    lease_expires_at TIMESTAMP WITH TIME ZONE,
    retry_at TIMESTAMP WITH TIME ZONE,
    reported_tokens JSONB DEFAULT '[]' NOT NULL,
    generation_cost NUMERIC DEFAULT '0' NOT NULL,
    unknown_costs BIGINT DEFAULT '0' NOT NULL,
    reserved NUMERIC DEFAULT '0' NOT NULL,
    steps_fingerprint TEXT,
    error_code TEXT,
    error TEXT,
    added_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    generated_at TIMESTAMP WITH TIME ZONE,
    exported_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_campaign_contacts PRIMARY KEY (id),
    CONSTRAINT fk_campaign_contacts_tenant_id_campaign_id FOREIGN KEY(tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CONSTRAINT uq_campaign_contacts_id_tenant_id UNIQUE (id, tenant_id),
    CONSTRAINT uq_campaign_contacts_contact_id_campaign_id_tenant_id UNIQUE (contact_id, campaign_id, tenant_id),
    CONSTRAINT fk_campaign_contacts_tenant_id_contact_id FOREIGN KEY(tenant_id, contact_id) REFERENCES @contacts@ (tenant_id, id),
    CONSTRAINT ck_campaign_contacts_status CHECK (status IN ('pending', 'enrichment_ok', 'enrichment_needed', 'generating', 'generated', 'failed', 'excluded')),
    CONSTRAINT ck_campaign_contacts_reported_tokens CHECK (@array(reported_tokens)@),
    CONSTRAINT ck_campaign_contacts_enrichment_gaps CHECK (@gaps(enrichment_gaps)@),
    CONSTRAINT ck_campaign_contacts_generation_cost CHECK (@amount(generation_cost)@),
    CONSTRAINT ck_campaign_contacts_reserved CHECK (@amount(reserved)@),
    CONSTRAINT ck_campaign_contacts_claim CHECK ((claim_token IS NOT NULL OR lease_expires_at IS NULL) AND (lease_expires_at IS NOT NULL OR status <> 'generating')),
    CONSTRAINT ck_campaign_contacts_error_code CHECK (@text_500(error_code)@),
    CONSTRAINT ck_campaign_contacts_error CHECK (@text_500(error)@),
    CONSTRAINT ck_campaign_contacts_times CHECK (@times(claimed_at, lease_expires_at, retry_at, added_at, generated_at, exported_at)@)
) WITH (fillfactor = 50)
""",
    """
CREATE INDEX ix_campaign_contacts_rank ON campaign_contacts (campaign_id, rank, tenant_id)
""",
    """
CREATE TABLE campaign_erased_claims (
    tenant_id UUID NOT NULL,
    campaign_contact_id UUID NOT NULL,
    campaign_id UUID NOT NULL,
    token UUID NOT NULL,
    reserved NUMERIC DEFAULT '0' NOT NULL,
    lease_expires_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_campaign_erased_claims PRIMARY KEY (tenant_id, campaign_contact_id),
    CONSTRAINT fk_campaign_erased_claims_tenant_id_campaign_id FOREIGN KEY(tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CONSTRAINT ck_campaign_erased_claims_reserved CHECK (@amount(reserved)@),
    CONSTRAINT ck_campaign_erased_claims_times CHECK (coalesce(lease_expires_at) IS NULL OR (@times(lease_expires_at)@))
)
""",
    """
CREATE TABLE campaign_history (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    campaign_id UUID NOT NULL,
    version BIGINT NOT NULL,
    action TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    actor TEXT,
    reason TEXT,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_campaign_history PRIMARY KEY (id),
    CONSTRAINT uq_campaign_history_tenant_id_campaign_id_version UNIQUE (tenant_id, campaign_id, version),
    CONSTRAINT fk_campaign_history_tenant_id_campaign_id FOREIGN KEY(tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CONSTRAINT ck_campaign_history_action CHECK (action IN ('mark_ready', 'return_to_draft', 'start_generation', 'submit_for_review', 'complete_generation', 'cancel_generation', 'request_changes', 'approve', 'reopen_review', 'export', 'archive', 'delete', 'adopted')),
    CONSTRAINT ck_campaign_history_source CHECK (source IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')),
    CONSTRAINT ck_campaign_history_target CHECK (target IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')),
    CONSTRAINT ck_campaign_history_actor CHECK (@text_500(actor)@),
    CONSTRAINT ck_campaign_history_reason CHECK (action = 'adopted' OR @text_10000(reason)@),
    CONSTRAINT ck_campaign_history_times CHECK (@times(at)@)
)
""",
    """
CREATE TABLE campaign_totals (
    tenant_id UUID NOT NULL,
    campaign_id UUID NOT NULL,
    shard SMALLINT NOT NULL,
    pending BIGINT DEFAULT '0' NOT NULL,
    enrichment_ok BIGINT DEFAULT '0' NOT NULL,
    enrichment_needed BIGINT DEFAULT '0' NOT NULL,
    generating BIGINT DEFAULT '0' NOT NULL,
    generated BIGINT DEFAULT '0' NOT NULL,
    failed BIGINT DEFAULT '0' NOT NULL,
    excluded BIGINT DEFAULT '0' NOT NULL,
    exported BIGINT DEFAULT '0' NOT NULL,
    cost NUMERIC DEFAULT '0' NOT NULL,
    unknown_costs BIGINT DEFAULT '0' NOT NULL,
    erased_cost NUMERIC DEFAULT '0' NOT NULL,
    erased_unknown_costs BIGINT DEFAULT '0' NOT NULL,
    reserved NUMERIC DEFAULT '0' NOT NULL,
    unit_reserve NUMERIC DEFAULT '0' NOT NULL,
    low_watermark BIGINT,
    CONSTRAINT pk_campaign_totals PRIMARY KEY (tenant_id, campaign_id, shard),
    CONSTRAINT fk_campaign_totals_tenant_id_campaign_id FOREIGN KEY(tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CONSTRAINT ck_campaign_totals_cost CHECK (@signed_amount(cost)@),
    CONSTRAINT ck_campaign_totals_erased_cost CHECK (@signed_amount(erased_cost)@),
    CONSTRAINT ck_campaign_totals_reserved CHECK (@signed_amount(reserved)@),
    CONSTRAINT ck_campaign_totals_unit_reserve CHECK (@signed_amount(unit_reserve)@)
)
""",
)


def upgrade(connection: Connection, host: Mapping[str, str]) -> None:
    """Build the schema; ``host`` maps tenants, owners and contacts to the host's table names."""
    engine = connection.dialect.name
    quote = connection.dialect.identifier_preparer.quote

    def expand(placeholder: re.Match[str]) -> str:
        name, column = placeholder.groups()
        return CHECKS[engine][name].replace("COLUMN", column) if column else quote(host[name])

    for text in TABLES:
        statement = text
        if engine == "sqlite":
            statement = add_type_checks(statement)
            for word, replacement in SQLITE.items():
                statement = statement.replace(word, replacement)
        connection.exec_driver_sql(re.sub(r"@(\w+)(?:\(([\w, ]+)\))?@", expand, statement))


def add_type_checks(statement: str) -> str:
    """Add a CHECK of the type of each column that has no other CHECK, in place of that of times."""
    statement = re.sub(r",\n    CONSTRAINT ck_\w+_times CHECK .*(?=\n\))", "", statement)
    table = statement.split()[2]
    for name, type_name, rest in re.findall(
        r"^    ([a-z_]+) ([A-Z]+)(.*),$", statement, re.MULTILINE
    ):
        if type_name in TYPES_SQLITE and f" ck_{table}_{name} " not in statement:
            condition = TYPES_SQLITE[type_name].replace("COLUMN", name)
            if "NOT NULL" not in rest:
                condition = f"{name} IS NULL OR ({condition})"
            constraint = f",\n    CONSTRAINT ck_{table}_{name} CHECK ({condition})\n)"
            statement = constraint.join(statement.rsplit("\n)", 1))
    return statement
