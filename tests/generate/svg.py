"""Drawing of diagrams as SVG: boxes, arrows with labels, and one style for all of them.

A picture is readable on a light and on a dark page: a reader's setting decides its colours when it
is shown as a file, and the documentation site replaces the colours by its own.
"""

from __future__ import annotations

from html import escape

import attrs

__all__ = ["Box", "Picture"]

Point = tuple[float, float]

_STYLE = """
svg:root { --ink: #1f2328; --line: #59636e; --paper: #ffffff; --box: #f0f3f6; --accent: #0757b5 }
@media (prefers-color-scheme: dark) {
  svg:root { --ink: #e6edf3; --line: #9aa4ae; --paper: #0d1117; --box: #21262d; --accent: #79b8ff }
}
.diagram text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: var(--ink) }
.diagram text.prose { font-family: system-ui, sans-serif }
.diagram text.small { font-size: 12px }
.diagram text.strong { font-weight: 600 }
.diagram text.label { fill: var(--accent) }
.diagram .paper { fill: var(--paper) }
.diagram .box { fill: var(--box); stroke: var(--line) }
.diagram .frame { fill: none; stroke: var(--line); stroke-dasharray: 5 4 }
.diagram .arrow { fill: none; stroke: var(--line); stroke-width: 1.4 }
.diagram .head { fill: var(--line) }
"""

LINE = 18
"""The height of a line of text, in pixels."""


@attrs.frozen
class Box:
    """A rectangle with centred text. ``x`` and ``y`` are its centre."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


@attrs.define
class Picture:
    """A picture that is built shape by shape. ``title`` is what it shows, for screen readers."""

    title: str
    width: float
    height: float
    _shapes: list[str] = attrs.field(factory=list)

    def box(self, box: Box, *lines: str, kind: str = "box") -> Box:
        """Draw a box with lines of text; the first of several lines is bold."""
        self._shapes.append(
            f'<rect class="{kind}" x="{box.left:g}" y="{box.top:g}" width="{box.width:g}" '
            f'height="{box.height:g}" rx="6"/>'
        )
        first_y = box.y - (len(lines) - 1) * LINE / 2 + 5
        for index, line in enumerate(lines):
            is_title = index == 0 and len(lines) > 1
            self.text((box.x, first_y + index * LINE), line, "strong" if is_title else "")
        return box

    def text(self, at: Point, text: str, kind: str = "", anchor: str = "middle") -> None:
        """Write one line of text. ``at`` is on its base line."""
        self._shapes.append(
            f'<text class="{kind}" x="{at[0]:g}" y="{at[1]:g}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def arrow(
        self,
        *points: Point,
        label: str = "",
        at: Point | None = None,
        anchor: str = "middle",
        head: bool = True,
    ) -> None:
        """Draw straight lines with round corners through ``points``, and a head at the last."""
        path = [f"M{points[0][0]:g} {points[0][1]:g}"]
        for before, corner, after in zip(points, points[1:], points[2:], strict=False):
            start, end = _toward(corner, before, 8), _toward(corner, after, 8)
            path += [
                f"L{start[0]:g} {start[1]:g}",
                f"Q{corner[0]:g} {corner[1]:g} {end[0]:g} {end[1]:g}",
            ]
        path.append(f"L{points[-1][0]:g} {points[-1][1]:g}")
        marker = ' marker-end="url(#head)"' if head else ""
        self._shapes.append(f'<path class="arrow" d="{" ".join(path)}"{marker}/>')
        if label and at is not None:
            self.text(at, label, "label", anchor)

    def render(self) -> str:
        """Return the text of the file."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}"'
        marker = 'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram" {size} role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{_STYLE}</style>",
                f'<defs><marker id="head" {marker} orient="auto">',
                '<path class="head" d="M0 0L10 5L0 10z"/></marker></defs>',
                '<rect class="paper" width="100%" height="100%"/>',
                *self._shapes,
                "</svg>\n",
            ]
        )


def _toward(start: Point, end: Point, distance: float) -> Point:
    """Return the point at ``distance`` from ``start`` on the way to ``end``."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))  # Lines are straight or upright.
    part = min(1, distance / length) if length else 0
    return (start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part)
