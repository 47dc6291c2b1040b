"""Charts as inline SVG, without script. The page's CSS colours them, in light and dark mode."""

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 24, 24  # Margins.
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_FEW_POINTS = 40  # A line of fewer points shows each of them as a dot.

Points = Sequence[tuple[float, float]]


def curves(
    title: str, series: Mapping[str, Points], x_label: str, *, logarithmic: bool = False
) -> str:
    """Draw lines over a common x.

    Args:
        title: Heads the chart.
        series: Name of a line -> its (x, y) points; at most three lines. Points whose y is not
            finite are left out, and so is a line without points.
        x_label: Unit of x, beside the last x.
        logarithmic: Draw y on a logarithmic scale; y must then be above 0.

    Returns:
        A `figure` element, or an empty string when there is no point.
    """
    series = {
        name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    scale = math.log if logarithmic else float
    xs = [x for points in series.values() for x, _ in points]
    ys = [scale(y) for points in series.values() for _, y in points]
    low, high = min(ys), max(ys)
    if low == high:
        low, high = low - 0.5, high + 0.5
    first, last = min(xs), max(max(xs), min(xs) + 1)

    def place(x: float, y: float) -> tuple[str, str]:
        across = _LEFT + _PLOT_WIDTH * (x - first) / (last - first)
        down = _HEIGHT - _BOTTOM - _PLOT_HEIGHT * (scale(y) - low) / (high - low)
        return f"{across:.1f}", f"{down:.1f}"

    elements = []
    for k in range(4):
        value = low + (high - low) * k / 3
        elements.append(_rule(k / 3, _number(math.exp(value) if logarithmic else value)))
    elements.append(_text(_LEFT, _HEIGHT - 6, _number(first), "start"))
    elements.append(_text(_WIDTH - _RIGHT, _HEIGHT - 6, f"{x_label} {_number(last)}", "end"))
    for k, points in enumerate(series.values()):
        elements += _line(k, [place(x, y) for x, y in points])
    last_values = ", ".join(
        f"{name} ends at {_number(points[-1][1])}" for name, points in series.items()
    )
    legend = list(series) if len(series) > 1 else []
    return _figure(title, f"{title}: {last_values}", elements, legend)


def _line(number: int, places: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line through places of the chart, with dots when there are few of them."""
    joined = " ".join(f"{x},{y}" for x, y in places)
    line = f'<polyline class="line c{number}" points="{joined}"/>'
    dots = [f'<circle class="dot c{number}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in places]
    return [line, *(dots if len(places) < _FEW_POINTS else ())]


def histogram(title: str, shares: Mapping[str, Mapping[int, float]], x_label: str) -> str:
    """Draw bars side by side over whole numbers.

    Args:
        title: Heads the chart.
        shares: Name of a kind of bar -> number -> its share; at most three kinds, at least one
            number.
        x_label: What the numbers are.

    Returns:
        A `figure` element.
    """
    present = sorted({number for kind in shares.values() for number in kind})
    numbers = range(present[0], present[-1] + 1)
    highest = max(share for kind in shares.values() for share in kind.values())
    step = _PLOT_WIDTH / len(numbers)
    elements = [_rule(k / 3, f"{highest * k / 3:.0%}") for k in range(4)]
    labelled = math.ceil(len(numbers) / 10)  # Every n-th number has its label.
    for place, number in enumerate(numbers):
        if place % labelled == 0:
            centre = _LEFT + (place + 0.5) * step
            elements.append(_text(centre, _HEIGHT - 8, str(number), "middle"))
        for k, kind in enumerate(shares.values()):
            height = _PLOT_HEIGHT * kind.get(number, 0) / highest
            x = _LEFT + (place + 0.1 + 0.8 * k / len(shares)) * step
            elements.append(
                f'<rect class="bar c{k}" x="{x:.1f}" y="{_HEIGHT - _BOTTOM - height:.1f}"'
                f' width="{0.8 * step / len(shares):.1f}" height="{height:.1f}"/>'
            )
    peaks = ", ".join(
        f"{name} most often {max(kind, key=kind.__getitem__)}" for name, kind in shares.items()
    )
    return _figure(f"{title} ({x_label})", f"{title}, {x_label}: {peaks}", elements, list(shares))


def _figure(title: str, description: str, elements: Sequence[str], legend: Sequence[str]) -> str:
    """Return the chart with its title, its legend and a description for screen readers."""
    keys = "".join(f'<span class="key c{k}">{escape(name)}</span>' for k, name in enumerate(legend))
    return (
        f'<figure class="chart"><figcaption>{escape(title)} {keys}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(description)}">'
        f"{''.join(elements)}</svg></figure>"
    )


def _rule(height: float, label: str) -> str:
    """Return a horizontal line at a share of the plot's height, with its label."""
    y = _HEIGHT - _BOTTOM - _PLOT_HEIGHT * height
    line = f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(_LEFT - 5, y + 4, label, "end")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
