"""Charts as inline SVG: no script, no network; the page's CSS colours them, in light and dark."""

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 24, 24  # margins

Points = Sequence[tuple[float, float]]


def curves(title: str, series: Mapping[str, Points], x_label: str, *, logarithmic=False) -> str:
    """Lines over a common x, at most three; those without a point are left out.

    Call arguments:
        series: what a line is called -> its (x, y).
        logarithmic: of y, which must then be above 0.
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

    def place(x: float, y: float) -> str:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (x - first) / (last - first)
        up = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (scale(y) - low) / (high - low)
        return f"{across:.1f},{up:.1f}"

    parts = []
    for k in range(4):
        value = low + (high - low) * k / 3
        parts.append(_rule(k / 3, _number(math.exp(value) if logarithmic else value)))
    parts.append(_text(_LEFT, _HEIGHT - 6, _number(first), "start"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 6, f"{x_label} {_number(last)}", "end"))
    for k, points in enumerate(series.values()):
        line = " ".join(place(x, y) for x, y in points)
        parts.append(f'<polyline class="line c{k}" points="{line}"/>')
        parts += [
            f'<circle class="dot c{k}" cx="{at.split(",")[0]}" cy="{at.split(",")[1]}" r="2.5"/>'
            for at in (line.split(" ") if len(points) < 40 else ())
        ]
    last_values = ", ".join(f"{name} ends at {_number(p[-1][1])}" for name, p in series.items())
    return _figure(title, f"{title}: {last_values}", parts, list(series) if len(series) > 1 else [])


def histogram(title: str, shares: Mapping[str, Mapping[int, float]], x_label: str) -> str:
    """Bars side by side over whole numbers.

    Call arguments:
        shares: what a kind of bar is called -> number -> its share.
    """
    numbers = sorted({number for kind in shares.values() for number in kind})
    numbers = list(range(numbers[0], numbers[-1] + 1))
    highest = max(share for kind in shares.values() for share in kind.values())
    step = (_WIDTH - _LEFT - _RIGHT) / len(numbers)
    parts = [_rule(k / 3, f"{highest * k / 3:.0%}") for k in range(4)]
    every = math.ceil(len(numbers) / 10)
    for place, number in enumerate(numbers):
        if place % every == 0:
            at = _LEFT + (place + 0.5) * step
            parts.append(_text(at, _HEIGHT - 8, str(number), "middle"))
        for k, kind in enumerate(shares.values()):
            height = (_HEIGHT - _TOP - _BOTTOM) * kind.get(number, 0) / highest
            x = _LEFT + (place + 0.1 + 0.8 * k / len(shares)) * step
            parts.append(
                f'<rect class="bar c{k}" x="{x:.1f}" y="{_HEIGHT - _BOTTOM - height:.1f}"'
                f' width="{0.8 * step / len(shares):.1f}" height="{height:.1f}"/>'
            )
    peaks = ", ".join(f"{name} most often {max(k, key=k.get)}" for name, k in shares.items())
    return _figure(f"{title} ({x_label})", f"{title}, {x_label}: {peaks}", parts, list(shares))


def _figure(title: str, said: str, parts: Sequence[str], legend: Sequence[str]) -> str:
    keys = "".join(f'<span class="key c{k}">{escape(name)}</span>' for k, name in enumerate(legend))
    return (
        f'<figure class="chart"><figcaption>{escape(title)} {keys}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _rule(height: float, label: str) -> str:
    """A horizontal line at a share of the height, and what it stands for."""
    y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * height
    line = f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(_LEFT - 5, y + 4, label, "end")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
