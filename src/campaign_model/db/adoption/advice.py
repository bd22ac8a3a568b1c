"""Warnings: what adoption leaves as it is although the operator will notice it."""

from __future__ import annotations

from collections.abc import Iterator

from campaign_model.db.adoption.catalog import Catalog, Table
from campaign_model.db.schema import storage_options
from campaign_model.steps import MAX_VARIANTS
from campaign_model.store.tables import metadata
from campaign_model.vocabulary import STANDARD

__all__ = ["give_advice"]

_MESSAGE_VALUES = {
    "variant": tuple("abc"[:MAX_VARIANTS]),
    "channel": tuple(channel.name for channel in STANDARD.channels),
}
"""The values that the host will want to write into columns of its messages."""

_OFTEN_UPDATED = {
    "campaigns": {
        *("status", "version", "updated_at", "total_contacts", "generated_count"),
        *("generation_cost", "generation_started_at", "generation_completed_at"),
        *("finished_before_start", "next_position", "clone_count"),
    },
    "campaign_contacts": {
        *("status", "attempts", "claim_token", "claimed_at", "lease_expires_at", "retry_at"),
        *("reported_tokens", "generation_cost", "unknown_costs", "reserved", "generated_at"),
        *("error_code", "error", "enrichment_gaps", "steps_fingerprint", "revision"),
    },
    "campaign_totals": {
        *metadata.tables["campaign_totals"].columns.keys(),
    }
    - {"tenant_id", "campaign_id", "shard"},
}
"""Columns that generation updates. An index on one of them prevents HOT updates."""


def give_advice(catalog: Catalog, messages: str, *, adopting: bool) -> Iterator[str]:
    """Yield a sentence for each warning. ``adopting`` is true if rows are still to be repaired."""
    if messages in catalog:
        yield from _warn_of_narrow_enums(messages, catalog[messages])
    for name in sorted(metadata.tables.keys() & catalog.keys()):
        table = catalog[name]
        yield from _warn_of_required_columns(name, table)
        for trigger in table.triggers if adopting else ():
            yield (
                f"the trigger {trigger} on {name} does not run for repaired rows, so that "
                "updated_at stays as it was; writers wait while a batch of rows is repaired"
            )
        for option in table.options:
            is_expected = option in storage_options(metadata.tables[name])
            if option.startswith("fillfactor=") and not is_expected:
                yield f"{name} has {option}; it applies only to pages written from now on"
        yield from _warn_of_indexes(name, table)


def _warn_of_narrow_enums(messages: str, table: Table) -> Iterator[str]:
    for name, values in _MESSAGE_VALUES.items():
        column = table.columns.get(name)
        if column is None or not column.labels:
            continue
        missing = [value for value in values if value not in column.labels]
        if missing:
            fixes = "; ".join(f"ALTER TYPE {column.type} ADD VALUE '{value}'" for value in missing)
            yield f"the enum of {messages}.{name} lacks {', '.join(missing)}: {fixes}"


def _warn_of_required_columns(name: str, table: Table) -> Iterator[str]:
    library_columns = metadata.tables[name].columns
    for column_name, column in table.columns.items():
        is_unset = column_name not in library_columns or library_columns[column_name].nullable
        if column.not_null and column.default is None and is_unset:
            yield (
                f"{name}.{column_name} is NOT NULL and has no default: this library cannot insert "
                "rows"
            )


def _warn_of_indexes(name: str, table: Table) -> Iterator[str]:
    library_indexes = {str(index.name) for index in metadata.tables[name].indexes}
    for index_name, index in table.indexes.items():
        updated = sorted(index.used_columns & _OFTEN_UPDATED.get(name, set()))
        if updated and index_name not in library_indexes:
            yield (
                f"the index {index_name} on {name} changes with every update of "
                f"{', '.join(updated)} (no HOT updates): drop it unless a query needs it"
            )
