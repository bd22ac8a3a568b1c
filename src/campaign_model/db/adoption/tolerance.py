"""Tolerance: how an expanded database treats the writes of old services.

Between the two steps of an adoption, services without this library still write into the tables.
Their rows may break constraints that only the step ``enforce`` adds. A trigger on each table
(:data:`TRIGGER`) lets every write pass:

1. It finds the columns and constraints that the row breaks. If there are none, it ends here.
2. It adds a row with their names to :data:`TOLERATED_WRITES_TABLE`, so that ``db.verify`` and
   ``db.enforce`` can tell what ``enforce`` will refuse.
3. It completes the row where the value is beyond doubt: NULL becomes the default, a contact gets
   the tenant of its campaign, an inactive campaign is archived, JSON inside JSON strings is
   decoded, an amount is rounded to nine decimals, and one that is no amount becomes 0 (in a
   contact, an unknown cost). Other values stay as they were written.

Invariant: after the step expand, no write is refused that was accepted before, unless it breaks a
key.

The functions run with the rights of their owner, because the role of an old service has no
privileges on the table of tolerated writes. The step enforce removes the triggers, the functions
and the table.
"""

from __future__ import annotations

from collections.abc import Iterator

from campaign_model._values import MONEY_DECIMALS
from campaign_model.db.adoption.catalog import Table
from campaign_model.db.adoption.functions import write_decode_json
from campaign_model.db.checks import DOCUMENT_COLUMNS, checks
from campaign_model.lifecycle import Action, ContactStatus, target

TRIGGER = "tolerate_old_writes"
"""The name of the trigger."""

TOLERATED_WRITES_TABLE = "campaign_tolerated_writes"
"""The table of the writes that ``enforce`` would have refused: one row for each."""

_DECODE_JSON = "campaign_model_decode_json"

CREATE_TOLERATED_WRITES = f"""
CREATE TABLE IF NOT EXISTS {TOLERATED_WRITES_TABLE} (
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    table_name text NOT NULL,
    broken text[] NOT NULL
)"""

CREATE_FUNCTION = write_decode_json(_DECODE_JSON).strip()

# The writes of each day that broke a column or constraint.
COUNT_TOLERATED_WRITES = f"""
SELECT table_name, name, CAST(at AS date) AS day, count(*)
FROM {TOLERATED_WRITES_TABLE}
CROSS JOIN LATERAL unnest(broken) AS broken (name)
GROUP BY table_name, name, day
ORDER BY table_name, name, day"""

_IS_AMOUNT = "{0} >= 0 AND {0} < 'Infinity'"

_COMPLETIONS = {
    "campaigns": f"""
    IF NOT NEW.is_active THEN
        NEW.status := '{target(Action.DELETE)}';
    END IF;""",
    "campaign_contacts": f"""
    NEW.tenant_id := coalesce(
        NEW.tenant_id, (SELECT tenant_id FROM campaigns WHERE id = NEW.campaign_id)
    );
    NEW.enrichment_gaps := {_DECODE_JSON}(NEW.enrichment_gaps);
    IF NEW.status IN ('{ContactStatus.GENERATED}', '{ContactStatus.FAILED}')
        AND ({_IS_AMOUNT.format("NEW.generation_cost")}) IS NOT TRUE
    THEN
        NEW.unknown_costs := NEW.unknown_costs + 1;
    END IF;""",
    "campaign_templates": """
    NEW.is_system := NEW.tenant_id IS NULL;""",
}
"""For each table of old services, what completes a row besides the default of each column."""

TOLERANT_TABLES = frozenset(_COMPLETIONS)


def create_trigger(name: str, table: Table) -> tuple[str, str]:
    """Write the statements that create the trigger of a table; ``table`` is as it should be."""
    broken, completions = [], []
    for column_name, column in table.columns.items():
        value = f"NEW.{column_name}"
        if column.not_null:
            broken.append(f"CASE WHEN {column_name} IS NULL THEN '{column_name}' END")
        if column_name in DOCUMENT_COLUMNS.get(name, ()):
            completions.append(f"{value} := {_DECODE_JSON}({value});")
        if column.type == "numeric":
            completions.append(
                f"{value} := CASE WHEN {_IS_AMOUNT.format(value)} "
                f"THEN round({value}, {MONEY_DECIMALS}) ELSE 0 END;"
            )
        elif column.not_null and column.default is not None:
            completions.append(f"{value} := coalesce({value}, {column.default});")
    for constraint, condition in checks("postgresql")[name].items():
        broken.append(f"CASE WHEN ({condition}) IS FALSE THEN 'ck_{name}_{constraint}' END")
    broken_list = ",\n            ".join(broken)
    complete_row = "\n    ".join(completions)
    create_function = f"""\
CREATE OR REPLACE FUNCTION {_function(name)}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS
$function$
DECLARE
    _broken text[];
BEGIN
    -- 1. Find the columns and constraints that the row breaks.
    SELECT array_remove(
        ARRAY[
            {broken_list}
        ],
        NULL
    )
    INTO _broken
    FROM (SELECT NEW.*) AS written;
    IF _broken = '{{}}' THEN
        RETURN NEW;
    END IF;

    -- 2. Count the write.
    INSERT INTO {TOLERATED_WRITES_TABLE} (table_name, broken) VALUES ('{name}', _broken);

    -- 3. Complete the row.{_COMPLETIONS[name]}
    {complete_row}
    RETURN NEW;
END
$function$"""
    create = f"""\
CREATE OR REPLACE TRIGGER {TRIGGER} BEFORE INSERT OR UPDATE ON {name}
FOR EACH ROW EXECUTE FUNCTION {_function(name)}()"""
    return create_function, create


def drop_trigger(name: str) -> str:
    """Write the statement that drops the trigger of a table."""
    return f"DROP TRIGGER IF EXISTS {TRIGGER} ON {name}"


def drop_everything() -> Iterator[str]:
    """Write the statements that drop the functions and the table, once no trigger uses them."""
    functions = ", ".join((_DECODE_JSON, *map(_function, sorted(TOLERANT_TABLES))))
    yield f"DROP FUNCTION IF EXISTS {functions}"
    yield f"DROP TABLE IF EXISTS {TOLERATED_WRITES_TABLE}"


def _function(table: str) -> str:
    return f"campaign_model_tolerate_{table}"
