"""The tables of docs/lifecycle.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from campaign_model import lifecycle

_TABLES = lifecycle.to_dict()
_BY_GAPS = "by_gaps"
_STAYS = "unchanged"


def campaign_table() -> str:
    """Return the table of the campaign lifecycle, with the guards of each move."""
    return _table(
        ("from", "action", "to", "guards"),
        (
            (
                line["source"],
                line["action"],
                f"{line['target']}, inactive" if line["deletes"] else line["target"],
                ", ".join(line["guards"]),
            )
            for line in _TABLES["transitions"]
        ),
    )


def guards() -> str:
    """Return the table of guards."""
    return _table(("guard", "holds when"), _TABLES["guards"].items())


def permissions() -> str:
    """Return the table of changes and the statuses that allow them."""
    statuses = _TABLES["statuses"]
    return _table(
        ("change", *statuses),
        (
            (name, *("yes" if status in granted else "" for status in statuses))
            for name, granted in _TABLES["permissions"].items()
        ),
    )


def contact_table() -> str:
    """Return the table of every move of a contact."""
    return _table(
        ("action", "from", "to"),
        (
            (
                action,
                ", ".join(sources),
                "resting status of its gaps" if target == _BY_GAPS else target,
            )
            for (action, target), sources in contact_moves().items()
        ),
    )


def contact_moves() -> dict[tuple[str, str], list[str]]:
    """Return (action, target) -> sources."""
    moves: dict[tuple[str, str], list[str]] = {}
    for line in _TABLES["contact_transitions"]:
        action, target = line["action"], line["target"] or _BY_GAPS
        if line["expired_lease"]:
            action += " (lease expired)"
        elif target == line["source"]:
            target = _STAYS
        moves.setdefault((action, target), []).append(line["source"])
    return moves


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(
        f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)
    )
