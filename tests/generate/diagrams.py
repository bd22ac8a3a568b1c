"""The pictures of docs/: both lifecycles, the tables, and the claim protocol.

The lifecycles are drawn from ``lifecycle.to_dict()``, and the tables from the library's metadata.
A status, move or table that has no place in a picture raises ``KeyError`` or ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from campaign_model import lifecycle
from campaign_model.db.schema import build_tables
from campaign_model.store.tables import HostTables
from generate.markdown import contact_moves
from generate.svg import Box, Picture, Point

__all__ = ["campaign_lifecycle", "claim_protocol", "contact_lifecycle", "library_tables"]


def campaign_lifecycle() -> str:
    """Draw the statuses below each other, with one arrow for each transition.

    An arrow to the next status is straight. The others go along lanes: back on the left side,
    forward on the right side.
    """
    tables = lifecycle.to_dict()
    picture = Picture("The statuses of a campaign, and the actions between them", 800, 645)
    boxes = [
        picture.box(Box(400, 50 + 92 * index, 124, 40), status)
        for index, status in enumerate(tables["statuses"])
    ]
    picture.arrow((400, 8), (400, boxes[0].top))
    for source, target, action in _straight_and_lanes(tables):
        lower, upper = max(source, target), min(source, target)
        if target - source == 1:
            at = (408, (boxes[source].y + boxes[target].y) / 2 + 5)
            ends = ((400, boxes[source].bottom), (400, boxes[target].top))
            picture.arrow(*ends, label=action, at=at, anchor="start")
            continue
        is_back = target < source
        is_short = lower - upper == (1 if is_back else 2)
        lane = (300 if is_short else 150) if is_back else (615 if is_short else 645)
        # Longer arrows leave and enter nearer to the middle, so that no two arrows cross.
        inset = 12 / (lower - upper)
        side = [box.left if is_back else box.right for box in (boxes[source], boxes[target])]
        rows = [boxes[one].y + (inset if one == upper else -inset) for one in (source, target)]
        label = (lane - 8, "end") if is_back or is_short else (lane + 8, "start")
        picture.arrow(
            (side[0], rows[0]),
            (lane, rows[0]),
            (lane, rows[1]),
            (side[1], rows[1]),
            label=action,
            at=(label[0], (rows[0] + rows[1]) / 2 + 5),
            anchor=label[1],
        )
    return picture.render()


def _straight_and_lanes(tables: dict[str, Any]) -> Iterator[tuple[int, int, str]]:
    """Yield the numbers of source and target, and the action, of every transition."""
    number = {status: index for index, status in enumerate(tables["statuses"])}
    for line in tables["transitions"]:
        label = f"{line['action']} (inactive)" if line["deletes"] else line["action"]
        yield number[line["source"]], number[line["target"]], label


_RESTING, _BY_GAPS = "resting", "by_gaps"

CONTACT_BOXES = {
    "pending": Box(130, 100, 100, 40),
    "enrichment_ok": Box(390, 100, 130, 40),
    "enrichment_needed": Box(650, 100, 160, 40),
    "generating": Box(390, 240, 120, 40),
    "generated": Box(240, 360, 110, 40),
    "failed": Box(540, 360, 100, 40),
    "excluded": Box(390, 450, 110, 40),
}
FRAME = Box(390, 88, 744, 136)

CONTACT_ROUTES: dict[tuple[str, str, str], tuple[tuple[Point, ...], Point, str]] = {
    # (action, source, target): the points of the arrow, and where its label is.
    ("mark_ok", "pending", "enrichment_ok"): (((180, 100), (325, 100)), (252, 93), "middle"),
    ("mark_ok", "enrichment_needed", "enrichment_ok"): (
        ((570, 108), (455, 108)),
        (512, 124),
        "middle",
    ),
    ("mark_needed", "enrichment_ok", "enrichment_needed"): (
        ((455, 92), (570, 92)),
        (512, 85),
        "middle",
    ),
    ("mark_needed", "pending", "enrichment_needed"): (
        ((130, 80), (130, 56), (650, 56), (650, 80)),
        (390, 50),
        "middle",
    ),
    ("claim", "pending", "generating"): (
        ((110, 120), (110, 240), (330, 240)),
        (220, 233),
        "middle",
    ),
    ("claim", "enrichment_ok", "generating"): (((390, 120), (390, 220)), (382, 195), "end"),
    ("claim (lease expired)", "generating", "generating"): (
        ((450, 248), (490, 248), (490, 276), (430, 276), (430, 260)),
        (498, 268),
        "start",
    ),
    ("succeed", "generating", "generated"): (
        ((360, 260), (360, 310), (240, 310), (240, 340)),
        (300, 303),
        "middle",
    ),
    ("fail", "generating", "failed"): (
        ((400, 260), (400, 310), (540, 310), (540, 340)),
        (470, 303),
        "middle",
    ),
    ("fail", "pending", "failed"): (
        ((150, 120), (150, 140), (560, 140), (560, 340)),
        (270, 152),
        "middle",
    ),
    ("fail", "enrichment_ok", "failed"): (
        ((430, 120), (430, 180), (575, 180), (575, 340)),
        (455, 195),
        "start",
    ),
    ("release", "generating", _BY_GAPS): (
        ((450, 232), (500, 232), (500, 156)),
        (508, 200),
        "start",
    ),
    ("regenerate", "generated", _BY_GAPS): (((185, 360), (60, 360), (60, 156)), (68, 310), "start"),
    ("retry", "failed", _BY_GAPS): (((590, 360), (680, 360), (680, 156)), (672, 310), "end"),
    ("include", "excluded", _BY_GAPS): (((445, 450), (730, 450), (730, 156)), (722, 400), "end"),
    ("exclude", "any other status", "excluded"): (((190, 450), (335, 450)), (262, 443), "middle"),
}


def contact_lifecycle() -> str:
    """Draw the statuses of a contact; a dashed frame holds those in which it waits."""
    picture = Picture(
        "The statuses of a contact in a campaign, and the actions between them", 780, 490
    )
    statuses = lifecycle.to_dict()["contact_statuses"]
    picture.box(FRAME, kind="frame")
    picture.text((26, 38), "resting status of its gaps", "prose", "start")
    for status in statuses:
        picture.box(CONTACT_BOXES[status], status)
    picture.text((182, 455), "any other status", "prose", "end")
    moves = [*_contact_arrows(statuses)]
    if different := {*moves} ^ {*CONTACT_ROUTES}:
        raise ValueError(f"moves without a route, or the reverse: {different}")
    for action, source, target in moves:
        points, at, anchor = CONTACT_ROUTES[action, source, target]
        picture.arrow(*points, label=action, at=at, anchor=anchor)
    return picture.render()


def _contact_arrows(statuses: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (action, source, target) of every move that changes a status, or renews a claim."""
    for (action, target), sources in contact_moves().items():
        if target == "unchanged":
            continue
        if len(sources) == len(statuses) - 1:
            yield action, "any other status", target
        else:
            yield from ((action, source, target) for source in sources)


_COLUMNS = (120, 400, 680)
"""The x of the host's tables, of the tables that refer to them, and of all others."""


def library_tables() -> str:
    """Draw the tables with their keys, and one arrow for each foreign key.

    The host's tables are on the left, those that refer to them in the middle, and the rest on the
    right. An arrow points at the table that a foreign key refers to.
    """
    host = HostTables()
    left = (host.tenants, host.owners, host.contacts)
    tables = build_tables("postgresql", host)
    refers_to = {
        table.name: sorted({key.column.table.name for key in table.foreign_keys})
        for table in tables
    }
    middle = [name for name, others in refers_to.items() if {*others} & {*left}]
    right = [name for name in refers_to if name not in middle]
    height = 30 + 132 * max(len(left), len(middle), len(right))
    picture = Picture(
        "The tables of the library and of the host, and their foreign keys", 810, height
    )
    boxes: dict[str, Box] = {}
    for x, names in zip(_COLUMNS, (left, middle, right), strict=True):
        for index, name in enumerate(names):
            y = height / 2 + 132 * (index - (len(names) - 1) / 2) + 10
            boxes[name] = Box(x, y, 210, 108)
    for name, others in refers_to.items():
        for other in others:
            picture.arrow(*_between(boxes[name], boxes[other]))
    for table in tables:
        keys = [one.name for one in table.columns if one.primary_key or one.foreign_keys]
        picture.box(boxes[table.name], table.name, *keys)
    for name in left:
        picture.box(boxes[name], name, *(["id"] if name == host.tenants else ["tenant_id", "id"]))
    picture.text((_COLUMNS[0], 24), "of the host", "prose")
    return picture.render()


def _between(start: Box, end: Box) -> tuple[Point, ...]:
    """Return the points of an arrow from one box to another, with corners between two columns."""
    if start.x == end.x:
        up = start.y > end.y
        return (
            (start.x, start.top if up else start.bottom),
            (end.x, end.bottom if up else end.top),
        )
    turn = (start.left + end.right) / 2
    return ((start.left, start.y), (turn, start.y), (turn, end.y), (end.right, end.y))


_X = {"worker A": 120, "database": 400, "worker B": 680}

_STEPS = (
    # Who, to whom, the label of the arrow or the box, and the note beside it.
    ("worker A", "database", "claim", "writes token A and a lease into the row"),
    ("worker A", "worker A", "generate", "no transaction is open"),
    ("worker A", "database", "checkpoint", "message 1 and its cost, in one transaction"),
    ("worker A", "", "is cut off", "its lease ends"),
    ("worker B", "database", "claim", "takes over, writes token B"),
    ("worker B", "worker B", "generate", "finds message 1 by its id"),
    ("worker B", "database", "checkpoint", "message 2 and its cost"),
    ("worker B", "database", "record (token B)", "the contact is generated"),
    ("worker A", "database", "record (token A)", "LeaseLost: another token won"),
)


def claim_protocol() -> str:
    """Draw how a worker loses its contact to another one, and reports too late."""
    height = 80 + 58 * len(_STEPS)
    picture = Picture("A worker is cut off, and another one takes its contact over", 800, height)
    for name, x in _X.items():
        picture.arrow((x, 50), (x, height - 14), head=False)
        picture.box(Box(x, 30, 130, 36), name)
    for index, (source, target, label, note) in enumerate(_STEPS):
        y = 96 + 58 * index
        start = _X[source]
        side = 1 if start < _X["database"] else -1
        if target == "database":
            picture.arrow((start, y), (_X[target], y))
            picture.text(((start + _X[target]) / 2, y - 7), label, "label")
            picture.text(((start + _X[target]) / 2, y + 17), note, "prose small")
        else:
            picture.box(Box(start, y, 92, 30), label)
            anchor = "start" if side > 0 else "end"
            picture.text((start + side * 56, y + 5), note, "prose small", anchor)
    return picture.render()
