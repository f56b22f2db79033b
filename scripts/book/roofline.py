#!/usr/bin/env python3
"""Draws a predicted training step, as `ddpm profile --model h200 --json` prints it on the standard input.

    roofline.py FOLDER     writes roofline.svg, every launch under the two ceilings, and residual-block.svg, the launches of
                           the first residual block with their floors
"""

import json
import math
import sys
from pathlib import Path

BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
STYLE = """<style>.plot{font:13px system-ui,sans-serif;color:#222}.plot .page{fill:#fff}.plot text{fill:currentColor}\
.plot path{fill:none}.plot .frame,.plot .tick{stroke:currentColor;stroke-width:1}.plot .tick{opacity:.14}\
.plot .roof{stroke:currentColor;stroke-width:2}.plot .ridge{stroke:currentColor;stroke-dasharray:6 4}\
.plot circle{opacity:.6}.plot .rest{opacity:.35}\
@media(prefers-color-scheme:dark){.plot{color:#ddd}.plot .page{fill:#181a1d}.plot circle,.plot rect.bar{filter:brightness(1.3)}}</style>"""


def svg(width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {width} {height}" ' \
           f'style="min-width:{round(width * 0.76)}px;max-width:{round(width * 1.25)}px" role="img">{STYLE}'
    return "\n".join([head, "<title></title>", '<rect class="page" width="100%" height="100%"/>', *parts, "</svg>\n"])


def text(x, y, words, anchor="middle"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def kind(row):
    op = row["op"]
    if op.startswith("attention"):
        return 1
    return 0 if row["flops"] > 0 else 2


KINDS = [("convolutions and linear layers", BLUE), ("attention", ORANGE), ("no products", GREEN)]


def roofline(step):
    """Rate against intensity, both logarithmic. What computes no products stands at the left edge."""
    product, copy = step["ceilings"]["bf16_tflops"], step["ceilings"]["copy_gb_s"] / 1e3
    left, right, top, bottom = 70, 740, 36, 380
    lowest, highest = (1.0, 0.3), (4000.0, 1500.0)
    scale = lambda v, low, high: math.log(v / low) / math.log(high / low)
    x = lambda v: left + 40 + (right - left - 40) * scale(v, lowest[0], highest[0])
    y = lambda v: bottom - (bottom - top) * scale(v, lowest[1], highest[1])
    parts, at = [], 20
    for name, colour in KINDS:
        parts += [f'<circle cx="{at}" cy="16" r="5" fill="{colour}"/>', text(at + 10, 20.5, name, "start")]
        at += 40 + 7 * len(name)
    for v in (1, 10, 100, 1000):
        parts += [f'<path class="tick" d="M{x(v):.1f} {top}V{bottom}"/>', text(x(v), bottom + 17, f"{v:,}")]
    for v in (1, 10, 100, 1000):
        parts += [f'<path class="tick" d="M{left} {y(v):.1f}H{right}"/>', text(left - 6, y(v) + 4.5, f"{v:,}", "end")]
    ridge = product / copy
    parts += [
        f'<path class="frame" d="M{left} {top}V{bottom}H{right}"/>',
        f'<path class="roof" d="M{x(1):.1f} {y(copy):.1f}L{x(ridge):.1f} {y(product):.1f}H{right}"/>',
        f'<path class="ridge" d="M{x(ridge):.1f} {y(product):.1f}V{bottom}"/>',
        text(x(ridge) - 6, bottom - 8, f"{ridge:.0f} FLOP/byte", "end"),
        text(right, y(product) - 8, f"{product:.0f} TFLOP/s", "end"),
        f'<text transform="translate({x(12):.1f} {y(12 * copy) - 10:.1f}) rotate('
        f'{math.degrees(math.atan2(y(10) - y(1), x(10) - x(1))):.1f})" text-anchor="middle">{copy} TB/s</text>',
        text((left + right) / 2, bottom + 36, "FLOP for each byte"),
        f'<text transform="translate(16 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">TFLOP/s, as predicted</text>',
    ]
    seen = set()
    for row in step["rows"]:
        number = kind(row)
        if number == 2:
            continue
        place = (round(x(row["flops"] / row["bytes"]), 1), round(y(max(row["flops"] / row["predicted_us"] / 1e6, 0.3)), 1))
        if (place, number) not in seen:
            seen.add((place, number))
            parts.append(f'<circle cx="{place[0]}" cy="{place[1]}" r="4.5" fill="{KINDS[number][1]}"/>')
    # The others have no rate of products: their bytes per time, as part of the copy ceiling, on the left edge.
    for row in step["rows"]:
        if kind(row) == 2 and row["bytes"] > 1e6:
            rate = row["bytes"] / row["predicted_us"] / 1e6
            place = round(y(max(rate, 0.3)), 1)
            if place not in seen:
                seen.add(place)
                parts.append(f'<circle cx="{left + 12}" cy="{place}" r="4.5" fill="{KINDS[2][1]}"/>')
    parts.append(text(left + 12, bottom + 17, "0"))
    return svg(760, 424, parts)


def residual_block(step):
    """One bar for each launch of the block, in their order: the floor, and behind it what is expected beyond it."""
    layer = "down_blocks.0.resnets.0"
    rows = [row for row in step["rows"] if row["layer"].startswith(layer + ".")]
    left, top, line = 330, 40, 22
    bottom = top + line * len(rows)
    longest = max(row["predicted_us"] for row in rows)
    x = lambda us: left + 380 * us / longest
    parts = [
        f'<rect class="bar" x="20" y="10" width="14" height="12" fill="{BLUE}"/>', text(40, 20.5, "floor of products", "start"),
        f'<rect class="bar" x="170" y="10" width="14" height="12" fill="{GREEN}"/>', text(190, 20.5, "floor of bytes", "start"),
        f'<rect class="bar rest" x="300" y="10" width="14" height="12" fill="{PINK}"/>',
        text(320, 20.5, "expected beyond it", "start"),
    ]
    for us in range(0, int(longest) + 1, 20):
        parts += [f'<path class="tick" d="M{x(us):.1f} {top}V{bottom}"/>', text(x(us), bottom + 17, us)]
    parts.append(text(x(longest), bottom + 34, "µs", "end"))
    product = step["ceilings"]["bf16_tflops"] * 1e6
    for number, row in enumerate(rows):
        y = top + line * number
        by_products = row["flops"] / product >= row["floor_us"] - 1e-9
        name = row["layer"][len(layer) + 1 :]
        parts += [
            text(12, y + 15.5, f'{number + 1}', "start"),
            text(36, y + 15.5, f'{row["pass"]}, {name}', "start"), text(left - 8, y + 15.5, row["op"], "end"),
            f'<rect class="bar" x="{left}" y="{y + 4}" width="{x(row["floor_us"]) - left:.1f}" height="14" '
            f'fill="{BLUE if by_products else GREEN}"/>',
            f'<rect class="bar rest" x="{x(row["floor_us"]):.1f}" y="{y + 4}" '
            f'width="{x(row["predicted_us"]) - x(row["floor_us"]):.1f}" height="14" fill="{PINK}"/>',
        ]
    return svg(760, bottom + 44, parts)


def main():
    folder, step = Path(sys.argv[1]), json.load(sys.stdin)
    (folder / "roofline.svg").write_text(roofline(step), encoding="utf-8")
    (folder / "residual-block.svg").write_text(residual_block(step), encoding="utf-8")


if __name__ == "__main__":
    main()
