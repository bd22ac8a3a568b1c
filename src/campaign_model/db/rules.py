"""What adoption decides by itself, what it asks for, and the words it speaks of both in."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.lifecycle import Action, Status, target
from campaign_model.steps import Step

__all__ = [
    "CREATE_QUARANTINE",
    "DOCUMENTS",
    "DROP_FUNCTIONS",
    "FUNCTIONS",
    "KINDS",
    "QUARANTINE",
    "RUN_TIME_KEYS",
    "SENT",
    "STATUS_CASES",
    "STEP_DEFAULTS",
    "UNMOVABLE",
    "Reference",
    "Rules",
]

RUN_TIME_KEYS = ("cancelled", "strategy_snapshot")
"""What older engines wrote into generation_config about a run; it goes into the history."""

SENT = ("sent", "delivered", "replied")
"""Statuses of the host's messages that say that somebody has got them."""

KINDS: Mapping[str, str] = {
    "status_inactive": "inactive campaigns become archived",
    "status_sent": "campaigns without a status that have sent messages",
    "status_lemlist": "campaigns without a status that have a Lemlist id",
    "status_otherwise": "all other campaigns without a status",
    "status_mapped": "words translated by the status map",
    "status_absent": "contacts without a status wait",
    "stuck": "generating, but no worker of this library is: free again",
    "double_encoded": "JSON within a JSON string is read",
    "run_time_keys": f"{' and '.join(RUN_TIME_KEYS)} move into the history",
    "absent": "absent values get their defaults",
    "settled": "totals are counted anew from the contacts",
    "from_messages": "contacts that only messages know",
    "unknown_status": "words that are no status: translate them by a status map",
    "not_steps": "documents that are no steps anybody can read",
    "not_settings": "documents that are no settings anybody can read",
    "not_gaps": "enrichment gaps that are no names of fields",
    "bad_name": f"names that are blank or longer than {MAX_NAME} characters",
    "bad_description": f"descriptions longer than {MAX_DESCRIPTION} characters",
    "bad_amount": "amounts below zero, that are no number, or of more than nine decimals",
    "other_tenant": "rows that refer to a row of another tenant",
    "other_tenant_in_use": "such rows that others refer to, so that they cannot be moved aside",
    "duplicate_name": "several templates of a tenant with one name",
    "system": "templates that belong to a tenant and to the system, or to neither",
}
"""Every kind of finding, and what it means."""

UNMOVABLE = frozenset({"other_tenant_in_use"})
"""Kinds that the quarantine cannot take."""

STEP_DEFAULTS = {
    name: attrs.fields_dict(Step)[name].default
    for name in ("enabled", "needs_pdf", "variant_count")
}
"""What a step is filled up with, beside its place and its channel's name as its label."""

FUNCTIONS = (
    """CREATE FUNCTION pg_temp.decoded(document jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS
$function$
DECLARE
    inner_document jsonb := document;
BEGIN
    WHILE jsonb_typeof(inner_document) = 'string' LOOP
        inner_document := CAST(inner_document #>> '{}' AS jsonb);
    END LOOP;
    RETURN nullif(inner_document, 'null');
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN document;
END
$function$""",
    f"""CREATE FUNCTION pg_temp.filled(steps jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$function$
SELECT coalesce(
    jsonb_agg(
        CAST('{json.dumps(STEP_DEFAULTS)}' AS jsonb)
            || jsonb_build_object(
                'step', position,
                'label', upper(left(step->>'channel', 1))
                    || replace(substr(step->>'channel', 2), '_', ' ')
            )
            || step
        ORDER BY position
    ),
    '[]'
)
FROM jsonb_array_elements(steps) WITH ORDINALITY AS element (step, position)
$function$""",
    """CREATE FUNCTION pg_temp.mute(muted regclass) RETURNS text[] LANGUAGE plpgsql AS
$function$
DECLARE
    _trigger record;
    _back text[] := '{}';
BEGIN
    FOR _trigger IN
        SELECT format('%s TRIGGER %I', CASE tgenabled WHEN 'A' THEN ' ALWAYS' ELSE '' END, tgname)
            AS enabled, tgname AS name
        FROM pg_trigger
        WHERE tgrelid = muted AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 16 > 0
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', muted, _trigger.name);
        _back := _back || format('ALTER TABLE %s ENABLE%s', muted, _trigger.enabled);
    END LOOP;
    RETURN _back;
END
$function$""",
    """CREATE FUNCTION pg_temp.unmute(statements text[]) RETURNS void LANGUAGE plpgsql AS
$function$
DECLARE
    _statement text;
BEGIN
    -- No trigger can be enabled while others, of deferred constraints, are still to fire.
    SET CONSTRAINTS ALL IMMEDIATE;
    FOREACH _statement IN ARRAY statements LOOP
        EXECUTE _statement;
    END LOOP;
END
$function$""",
)
"""Helpers that are gone with the session.

They read what is encoded in JSON strings, fill steps up, and keep the host's triggers from hearing
of an UPDATE, until the transaction ends: one that sets updated_at would make every row look
changed. (That takes a lock that keeps writers waiting, where the table has such triggers.)
"""

DROP_FUNCTIONS = (
    "DROP FUNCTION IF EXISTS pg_temp.decoded(jsonb), pg_temp.filled(jsonb), "
    "pg_temp.mute(regclass), pg_temp.unmute(text[])"
)

DOCUMENTS = {
    "campaigns": ("template_config", "generation_config"),
    "campaign_templates": ("steps", "default_config"),
}
"""The columns that hold documents, of steps and of settings."""

QUARANTINE = "campaign_quarantine"

CREATE_QUARANTINE = f"""CREATE TABLE {QUARANTINE} (
    id uuid DEFAULT gen_random_uuid() NOT NULL CONSTRAINT pk_{QUARANTINE} PRIMARY KEY,
    table_name text NOT NULL,
    row_id text NOT NULL,
    column_name text,
    value jsonb NOT NULL,
    kind text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)"""


STATUS_CASES = ("sent", "lemlist", "otherwise")
"""The cases of the rule for active campaigns without a status, in the order of the rule."""


@attrs.frozen
class Rules:
    """What the one who adopts has decided.

    ``status_map`` translates words that are no status. ``sent``, ``lemlist`` and ``otherwise`` are
    the statuses of campaigns that have none.
    """

    status_map: Mapping[str, str] = attrs.field(factory=dict)
    sent: Status = Status.EXPORTED
    lemlist: Status = Status.EXPORTED
    otherwise: Status = Status.DRAFT
    quarantine: bool = False
    contacts_from_messages: bool = False

    @property
    def without_status(self) -> dict[str, str]:
        """What becomes of campaigns that have no status: the first case that holds decides."""
        cases = {case: str(getattr(self, case)) for case in STATUS_CASES}
        return {"inactive": target(Action.DELETE).value, **cases}


@attrs.frozen
class Reference:
    """A column of somebody else's that refers to our campaign contacts."""

    table: str
    column: str
    not_null: bool
