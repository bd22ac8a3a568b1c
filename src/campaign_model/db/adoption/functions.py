"""Helper functions in SQL that the repairs call, in the schema ``pg_temp`` of the session.

``decode_json``, ``remove_members`` and ``fill_steps`` compute new documents in the database, so
that numbers and unknown fields stay exactly as they are. ``readable_time`` replaces a time that
Python does not have, such as ``infinity``, by the nearest one that the library reads.
``disable_triggers`` and ``enable_triggers`` begin and end a repair. In between, the host's triggers
do not run: a trigger that sets ``updated_at`` would make every row look changed.
"""

from __future__ import annotations

import json

from campaign_model.forms import STEP_DEFAULTS
from campaign_model.store.types import FIRST_MOMENT, LAST_MOMENT


def write_decode_json(name: str) -> str:
    """Write a function that decodes JSON inside JSON strings, however deep.

    JSON's null becomes NULL. A string that holds no JSON stays as it is.
    """
    return f"""
CREATE OR REPLACE FUNCTION {name}(document jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS
$function$
DECLARE
    inner_document jsonb := document;
BEGIN
    WHILE jsonb_typeof(inner_document) = 'string' LOOP
        inner_document := CAST(inner_document #>> '{{}}' AS jsonb);
    END LOOP;
    RETURN nullif(inner_document, 'null');
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN document;
END
$function$
"""


# Remove the members at these paths, a JSON array of arrays, one after the other. Of two elements of
# an array, the path of the later one must come first.
_REMOVE_MEMBERS = """
CREATE FUNCTION pg_temp.remove_members(document jsonb, paths jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS
$function$
DECLARE
    _path jsonb;
BEGIN
    FOR _path IN SELECT jsonb_array_elements(paths) LOOP
        document := document #- ARRAY(SELECT jsonb_array_elements_text(_path));
    END LOOP;
    RETURN document;
END
$function$
"""

# Add the missing fields of steps: the position, a label from the channel, and the defaults. Fields
# that are there stay as they are.
_FILL_STEPS = f"""
CREATE FUNCTION pg_temp.fill_steps(steps jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$function$
SELECT coalesce(
    jsonb_agg(
        CAST('{json.dumps(STEP_DEFAULTS)}' AS jsonb)
            || jsonb_build_object(
                'step', position,
                'label', upper(left(step ->> 'channel', 1))
                    || replace(substr(step ->> 'channel', 2), '_', ' ')
            )
            || step
        ORDER BY position
    ),
    '[]'
)
FROM jsonb_array_elements(steps) WITH ORDINALITY AS element (step, position)
$function$
"""

_READABLE_TIME = f"""
CREATE FUNCTION pg_temp.readable_time(moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS
$function$
SELECT CASE
    WHEN moment < '{FIRST_MOMENT}' THEN '{FIRST_MOMENT}'
    WHEN moment > '{LAST_MOMENT}' THEN '{LAST_MOMENT}'
    ELSE moment
END
$function$
"""

# Disable the host's triggers that run when a row of the table is updated or deleted. Return the
# statements that enable them again.
_DISABLE_TRIGGERS = """
CREATE FUNCTION pg_temp.disable_triggers(of_table regclass) RETURNS text[] LANGUAGE plpgsql AS
$function$
DECLARE
    _trigger record;
    _statements text[] := '{}';
BEGIN
    FOR _trigger IN
        SELECT
            tgname AS name,
            CASE tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END AS enable
        FROM pg_trigger
        WHERE tgrelid = of_table AND NOT tgisinternal AND tgenabled IN ('O', 'A')
            AND tgtype & (16 | 8) > 0  -- It runs on UPDATE or on DELETE.
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', of_table, _trigger.name);
        _statements := _statements
            || format('ALTER TABLE %s %s TRIGGER %I', of_table, _trigger.enable, _trigger.name);
    END LOOP;
    RETURN _statements;
END
$function$
"""

# Enable the triggers again. PostgreSQL refuses that while deferred constraint triggers are pending,
# so these run first.
_ENABLE_TRIGGERS = """
CREATE FUNCTION pg_temp.enable_triggers(statements text[]) RETURNS void LANGUAGE plpgsql AS
$function$
DECLARE
    _statement text;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    FOREACH _statement IN ARRAY statements LOOP
        EXECUTE _statement;
    END LOOP;
END
$function$
"""

CREATE_FUNCTIONS = (
    write_decode_json("pg_temp.decode_json"),
    *(_REMOVE_MEMBERS, _FILL_STEPS, _READABLE_TIME, _DISABLE_TRIGGERS, _ENABLE_TRIGGERS),
)

DROP_FUNCTIONS = """
DROP FUNCTION IF EXISTS
    pg_temp.decode_json, pg_temp.remove_members, pg_temp.fill_steps, pg_temp.readable_time,
    pg_temp.disable_triggers, pg_temp.enable_triggers"""
