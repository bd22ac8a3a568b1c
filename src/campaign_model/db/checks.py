"""The CHECK constraints of the schema, for PostgreSQL and SQLite.

:func:`checks` generates them from the fields of the value types
(:mod:`campaign_model.fields`), the lifecycle and the columns of money. The migrations contain the
same text, frozen; a test compares.

SQL accepts a row if its CHECK is NULL. So every condition here is written to be true or false.
"""

from __future__ import annotations

from collections.abc import Iterable

from campaign_model._values import MONEY_DECIMALS, MONEY_PATTERN
from campaign_model.fields import Schema
from campaign_model.forms import SHORTENED
from campaign_model.generation_config import GENERATION_FIELDS, LANGUAGE_PATTERN
from campaign_model.lifecycle import Action, ContactStatus, Status, target
from campaign_model.steps import KEY_PATTERN, MAX_STEPS, STEP_FIELDS
from campaign_model.store.tables import metadata
from campaign_model.store.types import Money
from campaign_model.vocabulary import CHANNEL_PATTERN, MAX_IDENTIFIER

DOCUMENT_COLUMNS = {
    "campaigns": ("template_config", "generation_config"),
    "campaign_templates": ("steps", "default_config"),
}
"""For each table, the column with the steps and the column with the settings."""


def checks(dialect: str) -> dict[str, dict[str, str]]:
    """Return every CHECK on ``dialect``: table name -> constraint name -> condition."""
    by_table: dict[str, dict[str, str]] = {table: {} for table in metadata.tables}
    by_table["campaigns"]["status"] = _one_of("status", Status)
    by_table["campaigns"]["is_active"] = f"is_active OR status = '{target(Action.DELETE)}'"
    by_table["campaign_contacts"]["status"] = _one_of("status", ContactStatus)
    by_table["campaign_templates"]["is_system"] = "is_system = (tenant_id IS NULL)"
    if dialect == "postgresql":
        steps, settings = _steps_postgresql, _settings_postgresql
        is_array = "jsonb_typeof({0}) = 'array'"
    else:
        steps, settings = _steps_sqlite, _settings_sqlite
        is_array = "CASE WHEN json_valid({0}) THEN json_type({0}) = 'array' ELSE 0 END"
    for table, (steps_column, settings_column) in DOCUMENT_COLUMNS.items():
        by_table[table][steps_column] = steps(steps_column)
        by_table[table][settings_column] = settings(settings_column)
    contacts = by_table["campaign_contacts"]
    contacts["reported_tokens"] = is_array.format("reported_tokens")
    contacts["enrichment_gaps"] = f"enrichment_gaps IS NULL OR {is_array.format('enrichment_gaps')}"
    for table, columns in metadata.tables.items():
        # A row of the totals holds signed deltas of one shard; only their sum is an amount.
        signed = table == "campaign_totals"
        for amount in columns.c:
            if isinstance(amount.type, Money):
                by_table[table][amount.name] = _money(amount.name, dialect, signed=signed)
    return by_table


def _one_of(value: str, words: Iterable[str]) -> str:
    return f"{value} IN ({', '.join(repr(str(word)) for word in words)})"


def _money(column: str, dialect: str, *, signed: bool) -> str:
    least = "" if signed else f" AND {column} >= 0"
    if dialect == "sqlite":
        return f"typeof({column}) = 'integer'{least}"
    if signed:
        least = f" AND {column} > '-Infinity'"
    return f"{column} < 'Infinity'{least} AND scale(trim_scale({column})) <= {MONEY_DECIMALS}"


# --- PostgreSQL: jsonpath for the steps, SQL for the settings ------------------------------------


def _steps_postgresql(column: str) -> str:
    """Return the condition that all elements are objects, and all are well-formed steps.

    A field that may be absent may also be null or "", as other programs write a field without a
    value. The condition compares two counts with the length of the array. The count of objects uses
    strict mode, because lax mode would look into an array in the place of a step.
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
        f"AND jsonb_array_length({steps}) = {length} AND {no_decimals} ELSE false END"
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
    """Return the jsonpath condition that member ``name`` of a step matches ``schema``."""
    value, json_type = f"@.{name}", schema["type"]
    conditions = [f'{value}.type() == "{"number" if json_type == "integer" else json_type}"']
    if "enum" in schema:
        words = " || ".join(f'{value} == "{word}"' for word in schema["enum"])
        conditions.append(f"({words})")
    elif json_type == "string":
        pattern = schema.get("pattern") or f"^.{{{schema['minLength']},{schema['maxLength']}}}$"
        conditions.append(f'{value} like_regex "{pattern}" flag "s"')
    for keyword, operator in (("minimum", ">="), ("maximum", "<=")):
        if keyword in schema:
            conditions.append(f"{value} {operator} {schema[keyword]}")
    return " && ".join(conditions)


def _settings_postgresql(column: str) -> str:
    """Return the condition that every known field is absent, null, "" or correct."""
    conditions = []
    for name, schema in GENERATION_FIELDS.items():
        value, text = f"{column}->'{name}'", f"{column}->>'{name}'"
        if name in SHORTENED:  # A stored text of any length is correct.
            conditions.append(f"coalesce(jsonb_typeof({value}), 'null') IN ('null', 'string')")
            continue
        json_type = "string"
        if schema["type"] == "integer":
            json_type = "number"
            # Compared as text: jsonb holds 1.0 equal to 1, the value types do not.
            numbers = range(schema["minimum"], schema["maximum"] + 1)
            condition = _one_of(text, map(str, numbers))
        elif "pattern" in schema:
            # [.] instead of \\., because SQL strings differ in what a backslash means.
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
        "ELSE false END"
    )


# --- SQLite: JSON functions, and GLOB instead of regular expressions -----------------------------

_LETTER, _ALPHANUMERIC, _DIGIT = "[A-Za-z]", "[A-Za-z0-9]", "[0-9]"
_IDENTIFIER_LENGTH = f"length({{0}}) BETWEEN 1 AND {MAX_IDENTIFIER}"
_SQLITE_PATTERNS: dict[str, tuple[str, ...]] = {
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
"""What each pattern says, as conditions on ``{0}``. Tests compare them with the pattern."""


def _steps_sqlite(column: str) -> str:
    """Return the condition on one step for every index, because a CHECK allows no subquery."""

    def step(index: int) -> str:
        """Return the condition that there is no step at ``index``, or a well-formed one."""
        path = f"$[{index}]"
        conditions = (
            f"coalesce(json_type({column}, '{path}'), '') = 'object'",
            f"coalesce(json_type({column}, '{path}.channel'), '') = 'text'",
            _member_sqlite(column, f"{path}.channel", STEP_FIELDS["channel"]),
            *(
                _optional_member_sqlite(column, path, name, schema)
                for name, schema in STEP_FIELDS.items()
                if name != "channel"
            ),
        )
        return f"(json_array_length({column}) <= {index} OR ({' AND '.join(conditions)}))"

    every_step = " AND ".join(step(index) for index in range(MAX_STEPS))
    return (
        f"CASE WHEN NOT json_valid({column}) THEN 0 WHEN json_type({column}) <> 'array' THEN 0 "
        f"WHEN json_array_length({column}) > {MAX_STEPS} THEN 0 "
        f"ELSE {_exact_text_sqlite(column)} AND {every_step} END"
    )


def _settings_sqlite(column: str) -> str:
    """Return the condition that every known field is absent, null, "" or correct."""
    conditions = " AND ".join(
        _optional_member_sqlite(column, "$", name, schema)
        for name, schema in GENERATION_FIELDS.items()
    )
    return (
        f"CASE WHEN NOT json_valid({column}) THEN 0 WHEN json_type({column}) <> 'object' THEN 0 "
        f"ELSE {_exact_text_sqlite(column)} AND {conditions} END"
    )


def _optional_member_sqlite(column: str, parent: str, name: str, schema: Schema) -> str:
    """Return the condition that a member of an object is absent, null, "" or correct.

    ``parent`` is the path of the object, and ``name`` the name of the member.
    """
    path = f"{parent}.{name}"
    if name in SHORTENED:  # A stored text of any length is correct.
        return f"coalesce(json_type({column}, '{path}'), 'null') IN ('null', 'text')"
    condition = _member_sqlite(column, path, schema)
    # json_extract returns NULL for an absent member and for null.
    return f"(coalesce(json_extract({column}, '{path}'), '') = '' OR ({condition}))"


def _member_sqlite(column: str, path: str, schema: Schema) -> str:
    """Return the condition that the JSON value at ``path`` matches ``schema``."""
    found_type, value = f"json_type({column}, '{path}')", f"json_extract({column}, '{path}')"
    if schema["type"] == "boolean":
        return f"{found_type} IN ('true', 'false')"
    json_type = {"string": "text"}.get(schema["type"], schema["type"])
    conditions = [f"{found_type} = '{json_type}'"]
    if "enum" in schema:
        conditions.append(_one_of(value, schema["enum"]))
    elif "pattern" in schema:
        pattern = schema["pattern"].removeprefix("^").removesuffix("$")
        conditions += (condition.format(value) for condition in _SQLITE_PATTERNS[pattern])
    elif json_type == "text":
        shortest = schema.get("minLength", 0)
        conditions.append(f"length({value}) BETWEEN {shortest} AND {schema['maxLength']}")
    elif "maximum" in schema:
        conditions.append(f"{value} BETWEEN {schema['minimum']} AND {schema['maximum']}")
    elif "minimum" in schema:
        conditions.append(f"{value} >= {schema['minimum']}")
    return " AND ".join(conditions)


def _exact_text_sqlite(column: str) -> str:
    """Return the condition that SQLite reads the text as every other reader of JSON does.

    SQLite ends a text at a NUL character and keeps half of a surrogate pair. Before version 3.45
    it also does not recognise a member name with an escaped letter.
    """
    # Replace escaped backslashes, so that every backslash begins an escape. Some patterns need
    # characters before an escape: the slashes in front provide them at the start of the text.
    text = f"replace('//////' || {column}, '\\\\', '//')"
    no_escapes = " AND ".join(f"{text} NOT GLOB '*{escapes}*'" for escapes in _INEXACT_ESCAPES)
    return f"instr({column}, char(0)) = 0 AND {no_escapes}"


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
