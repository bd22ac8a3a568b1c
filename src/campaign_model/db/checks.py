"""The CHECK constraints, generated from the facts they guard, for each engine.

A CHECK whose text comes to NULL passes, so all of them are written to come to true or false.
"""

from __future__ import annotations

from collections.abc import Iterable

from campaign_model._values import MONEY_DECIMALS, MONEY_PATTERN
from campaign_model.generation_config import LANGUAGE_PATTERN, MAX_INSTRUCTIONS
from campaign_model.lifecycle import Action, ContactStatus, Status, target
from campaign_model.steps import KEY_PATTERN, MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS, MAX_VARIANTS
from campaign_model.store.tables import metadata
from campaign_model.store.types import Money
from campaign_model.vocabulary import CHANNEL_PATTERN, MAX_IDENTIFIER, MAX_TONE, Condition

__all__ = ["checks"]


def checks(dialect: str) -> dict[str, dict[str, str]]:
    """Every CHECK of the schema on ``dialect``: table -> constraint name -> condition."""
    found: dict[str, dict[str, str]] = {table: {} for table in metadata.tables}
    archived = f"'{target(Action.DELETE)}'"
    found["campaigns"]["status"] = _one_of("status", Status)
    found["campaigns"]["is_active"] = f"is_active OR status = {archived}"
    found["campaign_contacts"]["status"] = _one_of("status", ContactStatus)
    found["campaign_templates"]["is_system"] = "is_system = (tenant_id IS NULL)"
    if dialect == "postgresql":
        steps, settings, array = (
            _steps_postgresql,
            _settings_postgresql,
            "jsonb_typeof({0}) = 'array'",
        )
    else:
        steps, settings = _steps_sqlite, _settings_sqlite
        array = "CASE WHEN json_valid({0}) THEN json_type({0}) = 'array' ELSE 0 END"
    for table, column in (("campaigns", "template_config"), ("campaign_templates", "steps")):
        found[table][column] = steps(column)
    for table, column in (
        ("campaigns", "generation_config"),
        ("campaign_templates", "default_config"),
    ):
        found[table][column] = settings(column)
    found["campaign_contacts"]["reported_tokens"] = array.format("reported_tokens")
    found["campaign_contacts"]["enrichment_gaps"] = (
        f"enrichment_gaps IS NULL OR {array.format('enrichment_gaps')}"
    )
    for name, columns in metadata.tables.items():
        for amount in columns.c:
            if isinstance(amount.type, Money):
                found[name][amount.name] = _money(
                    amount.name, dialect, signed=name == "campaign_totals"
                )
    return found


def _one_of(column: str, words: Iterable[str]) -> str:
    return f"{column} IN ({', '.join(repr(str(word)) for word in words)})"


def _money(name: str, dialect: str, *, signed: bool) -> str:
    # A shard of the totals holds signed deltas; only their sum is an amount.
    floor = "" if signed else f" AND {name} >= 0"
    if dialect == "sqlite":
        return f"typeof({name}) = 'integer'{floor}"
    if signed:
        floor = f" AND {name} > '-Infinity'"
    return f"{name} < 'Infinity'{floor} AND scale(trim_scale({name})) <= {MONEY_DECIMALS}"


def _settings_postgresql(column: str) -> str:
    def optional(name: str, kind: str, condition: str) -> str:
        typed = f"jsonb_typeof({column}->'{name}') = '{kind}'"
        return f"({column}->'{name}' IS NULL OR ({typed} AND {condition}))"

    # As text, because jsonb holds 1.0 equal to 1, and the types do not read it as one.
    counts = ", ".join(f"'{count}'" for count in range(1, MAX_VARIANTS + 1))
    length = f"char_length({column}->>'{{0}}') BETWEEN {{1}} AND {{2}}"
    matches = f"{column}->>'{{0}}' ~ '^{{1}}$'"
    conditions = (
        optional("tone", "string", length.format("tone", 1, MAX_TONE)),
        optional("language", "string", matches.format("language", LANGUAGE_PATTERN)),
        optional(
            "custom_instructions",
            "string",
            length.format("custom_instructions", 0, MAX_INSTRUCTIONS),
        ),
        optional(
            "default_variant_count", "number", f"{column}->>'default_variant_count' IN ({counts})"
        ),
        # In brackets, a dot needs no backslash, which not every SQL string takes as it stands.
        optional("budget", "string", matches.format("budget", MONEY_PATTERN.replace(r"\.", "[.]"))),
    )
    return (
        f"CASE WHEN jsonb_typeof({column}) = 'object' THEN {' AND '.join(conditions)} "
        "ELSE false END"
    )


def _settings_sqlite(column: str) -> str:
    """SQLite has no regular expressions: what they say is said with GLOB (a test compares)."""

    def optional(name: str, kind: str, *conditions: str) -> str:
        typed = f"json_type({column}, '$.{name}')"
        value = f"json_extract({column}, '$.{name}')"
        held = " AND ".join(f"{value} {condition}" for condition in conditions)
        return f"({typed} IS NULL OR ({typed} = '{kind}' AND {held}))"

    def length(name: str, least: int, most: int) -> str:
        typed = f"json_type({column}, '$.{name}')"
        value = f"length(json_extract({column}, '$.{name}')) BETWEEN {least} AND {most}"
        return f"({typed} IS NULL OR ({typed} = 'text' AND {value}))"

    letter, either, digit = "[A-Za-z]", "[A-Za-z0-9]", "[0-9]"
    conditions = (
        length("tone", 1, MAX_TONE),
        optional(
            "language",
            "text",
            f"GLOB '{letter * 2}*'",
            "NOT GLOB '*[^A-Za-z0-9-]*'",
            f"NOT GLOB '*{either * 9}*'",
            "NOT GLOB '*-'",
            "NOT GLOB '*--*'",
            "NOT GLOB '*-*-*-*-*'",
            *(f"NOT GLOB '{letter * count}{digit}*'" for count in range(2, 8)),
        ),
        length("custom_instructions", 0, MAX_INSTRUCTIONS),
        optional("default_variant_count", "integer", f"BETWEEN 1 AND {MAX_VARIANTS}"),
        optional(
            "budget",
            "text",
            f"GLOB '{digit}*'",
            "NOT GLOB '*[^0-9.]*'",
            f"NOT GLOB '0{digit}*'",
            f"NOT GLOB '*{digit * 10}*'",
            "NOT GLOB '*.'",
            "NOT GLOB '*.*.*'",
        ),
    )
    return (
        f"CASE WHEN NOT json_valid({column}) THEN 0 WHEN json_type({column}) <> 'object' THEN 0 "
        f"ELSE {_exact_text_sqlite(column)} AND {' AND '.join(conditions)} END"
    )


def _steps_postgresql(column: str) -> str:
    """Strict mode counts objects, lax mode counts those of the right shape: both must be all.

    (Lax mode alone would look through an array that stands where a step should.)
    """

    def optional(name: str, condition: str) -> str:
        return f"(!exists(@.{name}) || ({condition}))"

    def text(name: str, pattern: str) -> str:
        return f'@.{name}.type() == "string" && @.{name} like_regex "{pattern}" flag "s"'

    def whole(name: str, least: int, most: int | None) -> str:
        upper = "" if most is None else f" && @.{name} <= {most}"
        return f'@.{name}.type() == "number" && @.{name} >= {least}{upper}'

    words = " || ".join(f'@.condition == "{word}"' for word in Condition)
    well_formed = " && ".join(
        (
            text("channel", f"^{CHANNEL_PATTERN}$"),
            optional("step", whole("step", 1, None)),
            optional("label", text("label", f"^.{{1,{MAX_LABEL}}}$")),
            optional("enabled", '@.enabled.type() == "boolean"'),
            optional("needs_pdf", '@.needs_pdf.type() == "boolean"'),
            optional("variant_count", whole("variant_count", 1, MAX_VARIANTS)),
            optional("key", text("key", f"^{KEY_PATTERN}$")),
            optional("day_offset", whole("day_offset", 0, MAX_DAY_OFFSET)),
            optional("condition", f'@.condition.type() == "string" && ({words})'),
            optional("config", '@.config.type() == "object"'),
        )
    )
    # To jsonpath 1.0 is whole as well as 1, but not to the types. jsonb writes a number with the
    # decimals that it came with.
    decimals = " AND ".join(
        f"jsonb_path_query_array({column}, '$[*].{name}')::text !~ '[.]'"
        for name in ("step", "variant_count", "day_offset")
    )
    length = f"jsonb_array_length({column})"
    objects = f"""jsonb_path_query_array({column}, 'strict $[*] ? (@.type() == "object")')"""
    steps = f"jsonb_path_query_array({column}, '$[*] ? ({well_formed})')"
    return (
        f"CASE WHEN jsonb_typeof({column}) = 'array' THEN {length} <= {MAX_STEPS} "
        f"AND jsonb_array_length({objects}) = {length} "
        f"AND jsonb_array_length({steps}) = {length} AND {decimals} ELSE false END"
    )


def _steps_sqlite(column: str) -> str:
    """SQLite allows no subquery in a CHECK: every possible index is written out."""

    def step(index: int) -> str:
        def kind(name: str) -> str:
            return f"json_type({column}, '$[{index}].{name}')"

        def value(name: str) -> str:
            return f"json_extract({column}, '$[{index}].{name}')"

        def optional(name: str, condition: str) -> str:
            return f"({kind(name)} IS NULL OR ({condition}))"

        def whole(name: str, least: int, most: int | None) -> str:
            upper = "" if most is None else f" AND {value(name)} <= {most}"
            return f"{kind(name)} = 'integer' AND {value(name)} >= {least}{upper}"

        def text(name: str, longest: int, *globs: str) -> str:
            return " AND ".join(
                (
                    f"{kind(name)} = 'text'",
                    f"length({value(name)}) BETWEEN 1 AND {longest}",
                    *(f"{value(name)} {glob}" for glob in globs),
                )
            )

        conditions = (
            f"coalesce(json_type({column}, '$[{index}]'), '') = 'object'",
            f"coalesce({kind('channel')}, '') = 'text'",
            text("channel", MAX_IDENTIFIER, "GLOB '[a-z]*'", "NOT GLOB '*[^a-z0-9_]*'"),
            optional("step", whole("step", 1, None)),
            optional("label", text("label", MAX_LABEL)),
            optional("enabled", f"{kind('enabled')} IN ('true', 'false')"),
            optional("needs_pdf", f"{kind('needs_pdf')} IN ('true', 'false')"),
            optional("variant_count", whole("variant_count", 1, MAX_VARIANTS)),
            optional("key", text("key", MAX_IDENTIFIER, "NOT GLOB '*[^A-Za-z0-9_-]*'")),
            optional("day_offset", whole("day_offset", 0, MAX_DAY_OFFSET)),
            optional(
                "condition",
                f"{kind('condition')} = 'text' AND {_one_of(value('condition'), Condition)}",
            ),
            optional("config", f"{kind('config')} = 'object'"),
        )
        return f"(json_array_length({column}) <= {index} OR ({' AND '.join(conditions)}))"

    every = " AND ".join(step(index) for index in range(MAX_STEPS))
    return (
        f"CASE WHEN NOT json_valid({column}) THEN 0 WHEN json_type({column}) <> 'array' THEN 0 "
        f"WHEN json_array_length({column}) > {MAX_STEPS} THEN 0 "
        f"ELSE {_exact_text_sqlite(column)} AND {every} END"
    )


def _exact_text_sqlite(column: str) -> str:
    """Nothing that SQLite reads otherwise than all others, or keeps although nobody can read it.

    SQLite ends a text at a NUL and keeps half a surrogate pair. Before 3.45 it also doesn't know
    a member by its name if a letter of that is escaped, which nobody who writes JSON does.
    """
    # With those gone that only escape another, every backslash begins an escape; and before the
    # first escape there is something that is none.
    text = f"replace('//////' || {column}, '\\\\', '//')"
    nowhere = " AND ".join(f"{text} NOT GLOB '*{escapes}*'" for escapes in _INEXACT_ESCAPES)
    return f"instr({column}, char(0)) = 0 AND {nowhere}"


_INEXACT_ESCAPES = (
    r"\u0000",
    # Small letters and the underscore, of which the names of our members are made.
    *(r"\u005[fF]", r"\u006[1-9a-fA-F]", r"\u007[0-9aA]"),
    # The first half of a surrogate pair, and then anything but a second one.
    *(r"\u[dD][89abAB]??[^\]", r"\u[dD][89abAB]??\[^u]"),
    *(r"\u[dD][89abAB]??\u[^dD]", r"\u[dD][89abAB]??\u[dD][^c-fC-F]"),
    # The second half, and before it anything but a first one.
    *(r"[^\]?????\u[dD][c-fC-F]", r"\[^u]????\u[dD][c-fC-F]"),
    *(r"\u[^dD]???\u[dD][c-fC-F]", r"\u[dD][^89abAB]??\u[dD][c-fC-F]"),
)
