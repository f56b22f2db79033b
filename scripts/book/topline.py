#!/usr/bin/env python3
"""Draws the distances of two halves of one set of data, for growing halves: the Fréchet and the kernel distance.

    topline.py FOLDER FILE...     writes topline.svg; each file is one that `ddpm eval --topline --out FILE` wrote, and its
                                  name is `N-SEED.json`
"""

import json
import math
import sys
from pathlib import Path

from roofline import BLUE, ORANGE, svg, text


def panel(left, title, points, low, high, ticks, colour, sizes):
    """Distances over the size of a half. Both axes are logarithmic where the lowest value is positive."""
    right, top, bottom = left + 300, 44, 300
    x = lambda n: left + 20 + (right - left - 40) * math.log(n / sizes[0]) / math.log(sizes[-1] / sizes[0])
    part = (lambda v: math.log(v / low) / math.log(high / low)) if low > 0 else (lambda v: (v - low) / (high - low))
    y = lambda v: bottom - (bottom - top) * part(v)
    parts = [text((left + right) / 2, 26, title), f'<path class="frame" d="M{left} {top}V{bottom}H{right}"/>']
    for v in ticks:
        parts += [f'<path class="{"ridge" if v == 0 else "tick"}" d="M{left} {y(v):.1f}H{right}"/>', text(left - 6, y(v) + 4.5, v, "end")]
    for n in sizes:
        parts += [f'<path class="tick" d="M{x(n):.1f} {top}V{bottom}"/>', text(x(n), bottom + 17, f"{n:,}")]
    parts.append(text((left + right) / 2, bottom + 36, "images in each half"))
    for n, value, error in points:
        if error is not None:
            parts.append(f'<path stroke="{colour}" stroke-width="1.5" d="M{x(n):.1f} {y(value - error):.1f}V{y(value + error):.1f}"/>')
        parts.append(f'<circle cx="{x(n):.1f}" cy="{y(value):.1f}" r="4.5" fill="{colour}"/>')
    return parts, x, y


def main():
    folder, measured = Path(sys.argv[1]), []
    for path in map(Path, sys.argv[2:]):
        n, seed = map(int, path.stem.split("-"))
        measured.append((n * 1.0 + 0.04 * n * (seed - 1), n, json.loads(path.read_text(encoding="utf-8"))))
    sizes = sorted({n for _, n, _ in measured})
    frechet = [(x, found["frechet_distance"], None) for x, _, found in measured]
    parts, x, y = panel(60, "Fréchet distance", frechet, 0.5, 200, (1, 10, 100), BLUE, sizes)
    # The mean of the largest halves, continued in proportion to 1 / n.
    last = [value for _, n, found in measured for value in [found["frechet_distance"]] if n == sizes[-1]]
    ends = [(n, sum(last) / len(last) * sizes[-1] / n) for n in (sizes[0], sizes[-1])]
    parts.append('<path class="ridge" d="M' + "L".join(f"{x(n):.1f} {y(v):.1f}" for n, v in ends) + '"/>')
    kernel = [(x, found["kernel_distance"]["mean"], found["kernel_distance"]["standard_error"]) for x, _, found in measured]
    edge = max(abs(v) + e for _, v, e in kernel) * 1.05
    more, *_ = panel(450, "kernel distance", kernel, -edge, edge, (-200, 0, 200), ORANGE, sizes)
    (folder / "topline.svg").write_text(svg(770, 344, parts + more), encoding="utf-8")


if __name__ == "__main__":
    main()
