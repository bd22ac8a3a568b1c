"""The conditions of the CHECK constraints on PostgreSQL: jsonpath for the steps, SQL for the rest.

:mod:`campaign_model.db.checks` says which column has which condition.
"""

from __future__ import annotations

import sqlalchemy as sa

from campaign_model._json import MAX_DEPTH
from campaign_model._values import MAX_GAP_NAME, MAX_GAPS, MONEY_DECIMALS
from campaign_model.db.checks_shared import WHITESPACE, one_of
from campaign_model.fields import Schema
from campaign_model.forms import SHORTENED
from campaign_model.generation_config import GENERATION_FIELDS
from campaign_model.steps import MAX_STEPS, STEP_FIELDS
from campaign_model.store.types import FIRST_MOMENT, LAST_MOMENT, UtcDateTime


def check_amount(column: str, *, signed: bool) -> str:
    """Return the condition that an amount is finite and has at most nine decimals.

    Unless ``signed``, it must not be negative.
    """
    least = "> '-Infinity'" if signed else ">= 0"
    return (
        f"{column} < 'Infinity' AND {column} {least} "
        f"AND scale(trim_scale({column})) <= {MONEY_DECIMALS}"
    )


def check_text(column: sa.Column[object], longest: int) -> str:
    """Return the condition that a text is not too long and, in a NOT NULL column, not blank."""
    name = column.name
    if column.nullable:
        return f"(char_length({name}) > {longest}) IS NOT TRUE"
    whitespace = "".join(f"\\u{character:04X}" for character in WHITESPACE)
    return f"char_length({name}) <= {longest} AND btrim({name}, E'{whitespace}') <> ''"


def check_types(table: sa.Table) -> dict[str, str]:
    """Return the condition that Python can represent every time in a row, under its name.

    It is one condition for all columns, because each CHECK costs time whenever a row is written.
    """
    times = [column for column in table.c if isinstance(column.type, UtcDateTime)]
    if not times:
        return {}
    names = ", ".join(column.name for column in times)
    condition = f"least({names}) >= '{FIRST_MOMENT}' AND greatest({names}) <= '{LAST_MOMENT}'"
    if all(column.nullable for column in times):
        # If all times are NULL, the condition would be NULL.
        condition = f"coalesce({names}) IS NULL OR ({condition})"
    return {"times": condition}


def check_list(column: str) -> str:
    """Return the condition that a document is a list."""
    return f"jsonb_typeof({column}) = 'array'"


def check_steps(column: str) -> str:
    """Return the condition that all elements are objects, and all are well-formed steps.

    A field that may be absent may also be null or "", because other programs write these for a
    field without a value. The condition compares two counts with the length of the array: the count
    of objects, and the count of well-formed steps. The first count uses strict mode, because lax
    mode would unwrap an element that is an array itself, and count the objects in it.
    """
    well_formed = " && ".join(
        (
            _jsonpath("channel", STEP_FIELDS["channel"]),
            *(
                _optional_jsonpath(name, schema)
                for name, schema in STEP_FIELDS.items()
                if name != "channel"
            ),
        )
    )
    # jsonpath accepts 1.0 as a whole number, the value types do not. jsonb keeps the decimals.
    no_decimals = " AND ".join(
        f"jsonb_path_query_array({column}, '$[*].{name}')::text !~ '[.]'"
        for name, schema in STEP_FIELDS.items()
        if schema["type"] == "integer"
    )
    length = f"jsonb_array_length({column})"
    objects = f"""jsonb_path_query_array({column}, 'strict $[*] ? (@.type() == "object")')"""
    steps = f"jsonb_path_query_array({column}, '$[*] ? ({well_formed})')"
    return (
        f"CASE WHEN jsonb_typeof({column}) = 'array' THEN {length} <= {MAX_STEPS} "
        f"AND jsonb_array_length({objects}) = {length} "
        f"AND jsonb_array_length({steps}) = {length} AND {no_decimals} "
        f"AND {_check_between_steps(column)} AND {_check_readable(column)} "
        "ELSE false END"
    )


def _check_between_steps(column: str) -> str:
    """Return the condition that no two steps have the same key, and that days do not decrease.

    The effective key of a step without a key is ``s`` and its position.
    """
    # The array of the keys that are written in the steps. Its text is like ["a", "b"].
    own_keys = (
        f"""jsonb_path_query_array({column}, '$[*].key ? (@.type() == "string" && @ != "")')"""
    )
    # chr(92) is the backslash of \1. PostgreSQL prints a backslash in a constant in two ways, which
    # depend on a setting of the session. Then the definitions of two CHECKs could not be compared.
    no_key_twice = f"""{own_keys}::text !~ ('("[A-Za-z0-9_-]+").*' || chr(92) || '1')"""
    # Another step has the effective key of a step without a key. This is a predicate on the whole
    # list: a filter on the steps could not compare two of them.
    other_has_implied_key = " || ".join(
        f'($[*].key == "s{index + 1}" && exists($[{index}] ? '
        '(!exists(@.key) || @.key == null || @.key == "")))'
        for index in range(MAX_STEPS)
    )
    days = f"""jsonb_path_query_array({column}, '$[*].day_offset ? (@.type() == "number")')"""
    decreases = " || ".join(f"$[{index}] > $[{index + 1}]" for index in range(MAX_STEPS - 1))
    return (
        f"{no_key_twice} AND NOT coalesce({column} @@ '{other_has_implied_key}', false) "
        f"AND NOT coalesce({days} @@ '{decreases}', false)"
    )


def _check_readable(column: str) -> str:
    """Return the condition that a double can hold each number, and that nesting is limited.

    Numbers too close to zero are accepted: readers round them to zero.
    """
    too_large = '@.type() == "number" && (@ > 1 || @ < -1) && (@.double() == 0) is unknown'
    return (
        f"NOT jsonb_path_exists({column}, 'strict $.** ? ({too_large})') "
        f"AND NOT jsonb_path_exists({column}, 'strict $.**{{{MAX_DEPTH} to last}}')"
    )


_BAD_GAP = f"""@.type() != "string" || !(@ like_regex "^.{{1,{MAX_GAP_NAME}}}$" flag "s")"""

BAD_GAP = f"'strict $[*] ? ({_BAD_GAP})'"
"""The jsonpath that finds each element of a list of gaps that is not the name of a field."""


def check_gaps(column: str) -> str:
    """Return the condition that a document is a list of the names of missing fields.

    It is a single jsonpath, because it is evaluated whenever a contact is written.
    """
    return (
        f"""{column} @? 'strict $ ? (@.type() == "array" && @.size() <= {MAX_GAPS} """
        f"""&& !exists(@[*] ? ({_BAD_GAP})))'"""
    )


def _optional_jsonpath(name: str, schema: Schema) -> str:
    """Return the jsonpath condition that member ``name`` is absent, null, "" or correct."""
    is_text = f'@.{name}.type() == "string"'
    if name in SHORTENED:  # A stored text of any length is correct.
        correct = is_text
    else:
        correct = f'({is_text} && @.{name} == "") || ({_jsonpath(name, schema)})'
    return f'(!exists(@.{name}) || @.{name}.type() == "null" || {correct})'


def _jsonpath(name: str, schema: Schema) -> str:
    """Return the jsonpath condition that member ``name`` of a step matches ``schema``.

    It accepts fractions for integers; :func:`check_steps` refuses them.
    """
    value = f"@.{name}"
    json_type = "number" if schema["type"] == "integer" else schema["type"]
    conditions = [f'{value}.type() == "{json_type}"']
    if "enum" in schema:
        words = " || ".join(f'{value} == "{word}"' for word in schema["enum"])
        conditions.append(f"({words})")
    elif json_type == "string":
        pattern = schema.get("pattern")
        if pattern is None:
            pattern = f"^.{{{schema['minLength']},{schema['maxLength']}}}$"
        conditions.append(f'{value} like_regex "{pattern}" flag "s"')
    for keyword, operator in (("minimum", ">="), ("maximum", "<=")):
        if keyword in schema:
            conditions.append(f"{value} {operator} {schema[keyword]}")
    return " && ".join(conditions)


def check_settings(column: str) -> str:
    """Return the condition that the settings are a JSON object that the library can read.

    Every field that the library knows is absent, null, "" or correct.
    """
    conditions = []
    for name, schema in GENERATION_FIELDS.items():
        value, text = f"{column}->'{name}'", f"{column}->>'{name}'"
        if name in SHORTENED:  # The library reads a stored text of any length.
            conditions.append(f"coalesce(jsonb_typeof({value}), 'null') IN ('null', 'string')")
            continue
        json_type = "string"
        if schema["type"] == "integer":
            json_type = "number"
            # Compare texts: as jsonb, 1.0 equals 1, but the library refuses 1.0.
            numbers = range(schema["minimum"], schema["maximum"] + 1)
            condition = one_of(text, map(str, numbers))
        elif "pattern" in schema:
            # [.] and no backslash, whose meaning in SQL strings depends on a setting.
            pattern = schema["pattern"].replace(r"\.", "[.]")
            condition = f"{text} ~ '{pattern}'"
        else:
            shortest = schema.get("minLength", 0)
            condition = f"char_length({text}) BETWEEN {shortest} AND {schema['maxLength']}"
        conditions.append(
            f"(coalesce({text}, '') = '' "
            f"OR (jsonb_typeof({value}) = '{json_type}' AND {condition}))"
        )
    return (
        f"CASE WHEN jsonb_typeof({column}) = 'object' THEN {' AND '.join(conditions)} "
        f"AND {_check_readable(column)} ELSE false END"
    )
