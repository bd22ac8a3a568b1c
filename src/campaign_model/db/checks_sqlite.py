"""The conditions of the CHECK constraints on SQLite: JSON functions, and GLOB for patterns.

:mod:`campaign_model.db.checks` says which column has which condition.

SQLite stores a value of any type in any column. So each column has a condition on the type of its
values and on how they are written, such as the digits of an id. STRICT tables would check some
types, but they have no type for booleans, ids and times.

A CHECK allows no subquery. So each condition on a step is repeated for every position.
"""

from __future__ import annotations

import sqlalchemy as sa

from campaign_model._values import MAX_GAPS, MONEY_PATTERN
from campaign_model.db.checks_shared import WHITESPACE, one_of
from campaign_model.fields import Schema
from campaign_model.forms import SHORTENED
from campaign_model.generation_config import GENERATION_FIELDS, LANGUAGE_PATTERN
from campaign_model.steps import KEY_PATTERN, MAX_DAY_OFFSET, MAX_STEPS, STEP_FIELDS
from campaign_model.store.types import FIRST_MOMENT, LAST_MOMENT, UtcDateTime, Uuid
from campaign_model.vocabulary import CHANNEL_PATTERN, MAX_IDENTIFIER

_TIME = "-".join(("[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2))
_TIME += " " + ":".join(("[0-9]" * 2,) * 3) + "." + "[0-9]" * 6


def check_types(table: sa.Table) -> dict[str, str]:
    """Return a condition on the type of each column of the table, by the column's name."""
    return {column.name: _check_type(column) for column in table.c}


def _check_type(column: sa.Column[object]) -> str:
    """Return the condition that a value has the column's type, and is written as by the library."""
    name = column.name
    # The length of a text ends at a NUL character, the length of a blob does not.
    characters = f"length(CAST({name} AS BLOB))"
    match column.type:
        case Uuid():
            condition = (
                f"typeof({name}) = 'text' AND {characters} = 32 AND {name} NOT GLOB '*[^0-9a-f]*'"
            )
        case UtcDateTime():
            first, last = (
                f"'{moment.replace(tzinfo=None).isoformat(' ', 'microseconds')}'"
                for moment in (FIRST_MOMENT, LAST_MOMENT)
            )
            # The modifier '+0 days' turns February 30 into March 2, so that the texts differ. The
            # fraction is left out: SQLite would round 0.9995 seconds up to the next second.
            seconds = f"substr({name}, 1, 19)"
            condition = (
                f"CASE WHEN typeof({name}) = 'text' AND {characters} = 26 "
                f"AND {name} GLOB '{_TIME}' AND {name} BETWEEN {first} AND {last} "
                f"THEN coalesce(datetime({seconds}, '+0 days') = {seconds}, 0) "
                "ELSE 0 END"
            )
        case sa.Boolean():
            condition = f"{name} IN (0, 1)"
        case sa.Integer():
            condition = f"typeof({name}) = 'integer'"
        case _:
            condition = _check_text_type(name)
    return f"{name} IS NULL OR ({condition})" if column.nullable else condition


def _check_text_type(column: str) -> str:
    return f"typeof({column}) = 'text' AND instr({column}, char(0)) = 0"


def check_amount(column: str, *, signed: bool) -> str:
    """Return the condition that an amount is a whole number. Unless ``signed``, not negative."""
    return f"typeof({column}) = 'integer'" + ("" if signed else f" AND {column} >= 0")


def check_text(column: sa.Column[object], longest: int) -> str:
    """Return the condition that a text is not too long and, in a NOT NULL column, not blank."""
    name = column.name
    condition = f"{_check_text_type(name)} AND length({name}) <= {longest}"
    if column.nullable:
        return f"{name} IS NULL OR ({condition})"
    whitespace = ", ".join(map(str, WHITESPACE))
    return f"{condition} AND trim({name}, char({whitespace})) <> ''"


_LETTER, _ALPHANUMERIC, _DIGIT = "[A-Za-z]", "[A-Za-z0-9]", "[0-9]"
_IDENTIFIER_LENGTH = f"length({{0}}) BETWEEN 1 AND {MAX_IDENTIFIER}"
_PATTERNS: dict[str, tuple[str, ...]] = {
    CHANNEL_PATTERN: (_IDENTIFIER_LENGTH, "{0} GLOB '[a-z]*'", "{0} NOT GLOB '*[^a-z0-9_]*'"),
    KEY_PATTERN: (_IDENTIFIER_LENGTH, "{0} NOT GLOB '*[^A-Za-z0-9_-]*'"),
    LANGUAGE_PATTERN: (
        f"{{0}} GLOB '{_LETTER * 2}*'",
        "{0} NOT GLOB '*[^A-Za-z0-9-]*'",
        f"{{0}} NOT GLOB '*{_ALPHANUMERIC * 9}*'",
        "{0} NOT GLOB '*-'",
        "{0} NOT GLOB '*--*'",
        "{0} NOT GLOB '*-*-*-*-*'",
        *(f"{{0}} NOT GLOB '{_LETTER * count}{_DIGIT}*'" for count in range(2, 8)),
    ),
    MONEY_PATTERN: (
        f"{{0}} GLOB '{_DIGIT}*'",
        "{0} NOT GLOB '*[^0-9.]*'",
        f"{{0}} NOT GLOB '0{_DIGIT}*'",
        f"{{0}} NOT GLOB '*{_DIGIT * 10}*'",
        "{0} NOT GLOB '*.'",
        "{0} NOT GLOB '*.*.*'",
    ),
}
"""For each pattern, equivalent conditions on ``{0}``. Tests compare them with the pattern."""


def check_steps(column: str) -> str:
    """Return the condition that a value is the text of a JSON list of well-formed steps."""

    def step(index: int) -> str:
        """Return the condition that there is no step at ``index``, or a well-formed one."""
        path = f"$[{index}]"
        conditions = (
            f"coalesce(json_type({column}, '{path}'), '') = 'object'",
            f"coalesce(json_type({column}, '{path}.channel'), '') = 'text'",
            _check_member(column, f"{path}.channel", STEP_FIELDS["channel"]),
            *(
                _check_optional_member(column, path, name, schema)
                for name, schema in STEP_FIELDS.items()
                if name != "channel"
            ),
        )
        return f"(json_array_length({column}) <= {index} OR ({' AND '.join(conditions)}))"

    every_step = " AND ".join(step(index) for index in range(MAX_STEPS))
    return (
        f"CASE WHEN NOT json_valid({column}) THEN 0 WHEN json_type({column}) <> 'array' THEN 0 "
        f"WHEN json_array_length({column}) > {MAX_STEPS} THEN 0 "
        f"WHEN NOT ({_check_exact_text(column)} AND {every_step}) THEN 0 "
        f"ELSE {_check_between_steps(column)} END"
    )


def _check_between_steps(column: str) -> str:
    """Return the condition that no two steps have the same key, and that days do not decrease.

    The effective key of a step without a key is ``s`` and its position.
    """
    # The effective key for every index. A missing step gets a key that no step can have: its point
    # is not allowed in keys.
    keys = [
        f"CASE WHEN json_array_length({column}) <= {index} THEN '.{index}' ELSE "
        f"coalesce(nullif(json_extract({column}, '$[{index}].key'), ''), 's{index + 1}') END"
        for index in range(MAX_STEPS)
    ]
    # If a key occurs twice, json_set replaces the first member, but json_object writes both. So
    # the two objects have the same length only if all keys differ.
    all_members = ", ".join(f"{key}, 0" for key in keys)
    set_members = ", ".join(f"""'$."' || {key} || '"', 0""" for key in keys)
    no_key_twice = f"length(json_set('{{}}', {set_members})) = length(json_object({all_members}))"

    def day(index: int, absent: int) -> str:
        value = f"json_extract({column}, '$[{index}].day_offset')"
        return f"coalesce(nullif({value}, ''), {absent})"

    never_decreases = (
        f"{day(index, MAX_DAY_OFFSET)} >= max(0, {', '.join(day(one, 0) for one in range(index))})"
        for index in range(1, MAX_STEPS)
    )
    return " AND ".join((no_key_twice, *never_decreases))


def check_settings(column: str) -> str:
    """Return the condition that every known field is absent, null, "" or correct."""
    conditions = " AND ".join(
        _check_optional_member(column, "$", name, schema)
        for name, schema in GENERATION_FIELDS.items()
    )
    return (
        f"CASE WHEN NOT json_valid({column}) THEN 0 WHEN json_type({column}) <> 'object' THEN 0 "
        f"ELSE {_check_exact_text(column)} AND {conditions} END"
    )


def _check_optional_member(column: str, parent: str, name: str, schema: Schema) -> str:
    """Return the condition that a member of an object is absent, null, "" or correct.

    ``parent`` is the path of the object, and ``name`` the name of the member.
    """
    path = f"{parent}.{name}"
    if name in SHORTENED:  # A stored text of any length is correct.
        return f"coalesce(json_type({column}, '{path}'), 'null') IN ('null', 'text')"
    condition = _check_member(column, path, schema)
    # json_extract returns NULL for an absent member and for null.
    return f"(coalesce(json_extract({column}, '{path}'), '') = '' OR ({condition}))"


def _check_member(column: str, path: str, schema: Schema) -> str:
    """Return the condition that the JSON value at ``path`` matches ``schema``."""
    found_type, value = f"json_type({column}, '{path}')", f"json_extract({column}, '{path}')"
    if schema["type"] == "boolean":
        return f"{found_type} IN ('true', 'false')"
    json_type = {"string": "text"}.get(schema["type"], schema["type"])
    conditions = [f"{found_type} = '{json_type}'"]
    if "enum" in schema:
        conditions.append(one_of(value, schema["enum"]))
    elif "pattern" in schema:
        pattern = schema["pattern"].removeprefix("^").removesuffix("$")
        conditions += (condition.format(value) for condition in _PATTERNS[pattern])
    elif json_type == "text":
        shortest = schema.get("minLength", 0)
        conditions.append(f"length({value}) BETWEEN {shortest} AND {schema['maxLength']}")
    elif "maximum" in schema:
        conditions.append(f"{value} BETWEEN {schema['minimum']} AND {schema['maximum']}")
    elif "minimum" in schema:
        conditions.append(f"{value} >= {schema['minimum']}")
    return " AND ".join(conditions)


def check_list(column: str, *conditions: str) -> str:
    """Return the condition that a value is the text of a JSON list that meets ``conditions``."""
    return (
        f"CASE WHEN NOT json_valid({column}) THEN 0 WHEN json_type({column}) <> 'array' THEN 0 "
        f"ELSE {' AND '.join((_check_exact_text(column), *conditions))} END"
    )


def check_gaps(column: str) -> str:
    """Return the condition that a value is the text of a list of the names of missing fields.

    The condition needs no function that lists the elements, because a CHECK allows no subquery.
    ``json`` removes the spaces, and escapes become slashes. Then a list of texts begins and ends
    with a quote, and every other quote belongs to a separator ``","``. Two quotes in a row would
    be an empty text.
    """
    names = f"replace(replace(json({column}), '\\\\', '//'), '\\\"', '//')"
    between = f"substr({names}, 3, length({names}) - 4)"
    return check_list(
        column,
        f"json_array_length({column}) <= {MAX_GAPS}",
        f"""({names} = '[]' OR ({names} GLOB '[[]"*"]' AND {names} NOT GLOB '*""*' """
        f"""AND instr(replace({between}, '","', ''), '"') = 0))""",
    )


def _check_exact_text(column: str) -> str:
    """Return the condition that SQLite reads the JSON text as every other reader does.

    SQLite ends a text at a NUL character and keeps half of a surrogate pair. Before version 3.45,
    it also does not find a member whose name contains an escaped letter.
    """
    # Replace escaped backslashes, so that every backslash begins an escape. Some patterns need
    # characters before an escape: the slashes in front provide them at the start of the text.
    text = f"replace('//////' || {column}, '\\\\', '//')"
    no_escapes = " AND ".join(f"{text} NOT GLOB '*{escapes}*'" for escapes in _INEXACT_ESCAPES)
    return f"{_check_text_type(column)} AND {no_escapes}"


_INEXACT_ESCAPES = (
    r"\u0000",
    # Lower-case letters and the underscore: member names consist of them.
    *(r"\u005[fF]", r"\u006[1-9a-fA-F]", r"\u007[0-9aA]"),
    # The first half of a surrogate pair, followed by anything but a second half.
    *(r"\u[dD][89abAB]??[^\]", r"\u[dD][89abAB]??\[^u]"),
    *(r"\u[dD][89abAB]??\u[^dD]", r"\u[dD][89abAB]??\u[dD][^c-fC-F]"),
    # The second half, after anything but a first half.
    *(r"[^\]?????\u[dD][c-fC-F]", r"\[^u]????\u[dD][c-fC-F]"),
    *(r"\u[^dD]???\u[dD][c-fC-F]", r"\u[dD][^89abAB]??\u[dD][c-fC-F]"),
)
