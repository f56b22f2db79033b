#!/usr/bin/env python3
"""Draws the pictures of tiles in the book's chapters 11 to 13, and the tree of chapter 17. The sizes of tiles are those of
the kernels.

    pictures.py FOLDER
"""

import sys
from pathlib import Path

BLUE, RED, GREEN, PINK, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
TAPS = [BLUE, SKY, GREEN, RED, ORANGE, PINK, "#8c6bb1", "#6b7f00", "#7f7f7f"]
STYLE = (
    ".tiles{font:14px system-ui,sans-serif;color:#222}.tiles text{fill:currentColor}.tiles .page{fill:#fff}"
    ".tiles .title{font-weight:600}.tiles .small{font-size:12px}.tiles .line{fill:none;stroke:currentColor}"
    ".tiles .cell{stroke:#888;stroke-width:.6}.tiles .free{fill:none}"
    "@media(prefers-color-scheme:dark){.tiles{color:#ddd}.tiles .page{fill:#181a1d}}"
)


class Picture:
    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def box(self, x, y, w, h, color=None, opacity=0.55, label=None, small=True):
        fill = f'fill="{color}" fill-opacity="{opacity}"' if color else ""
        self.parts.append(f'<rect class="cell{"" if color else " free"}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" {fill}/>')
        if label is not None:
            self.text(x + w / 2, y + h / 2 + 4.5, label, "middle", "small" if small else "")

    def frame(self, x, y, w, h, color="currentColor", width=2.5, dash=""):
        self.parts.append(
            f'<path fill="none" stroke="{color}" stroke-width="{width}" stroke-dasharray="{dash}" '
            f'd="M{x:g} {y:g}h{w:g}v{h:g}h{-w:g}z"/>'
        )

    def text(self, x, y, text, anchor="start", style="", color=None):
        fill = f' style="fill:{color}"' if color else ""
        self.parts.append(f'<text class="{style}" x="{x:g}" y="{y:g}" text-anchor="{anchor}"{fill}>{text}</text>')

    def arrow(self, x0, y0, x1, y1):
        dx, dy = x1 - x0, y1 - y0
        length = (dx * dx + dy * dy) ** 0.5
        ux, uy = dx / length, dy / length
        wings = " ".join(f"{x1 - 8 * ux + side * 4 * uy:.1f} {y1 - 8 * uy - side * 4 * ux:.1f}" for side in (1, -1))
        left, right = wings.split()[:2], wings.split()[2:]
        self.parts.append(
            f'<path class="line" d="M{x0:g} {y0:g}L{x1:g} {y1:g}M{" ".join(left)}L{x1:g} {y1:g}L{" ".join(right)}"/>'
        )

    def write(self, path, title):
        body = "\n".join(self.parts)
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" class="tiles" viewBox="0 0 {self.width} {self.height}" '
            f'style="min-width:{self.width * 4 // 5}px;max-width:{self.width * 5 // 4}px" role="img"><style>{STYLE}</style>\n'
            f'<title>{title}</title>\n<rect class="page" width="100%" height="100%"/>\n{body}\n</svg>\n'
        )


def patches(folder):
    """Chapter 11: two neighbouring patches, and the rows of A that they are."""
    p, size = Picture(760, 262), 24
    p.text(18, 26, "x: a cell is a pixel", "start", "title")
    for row in range(8):
        for column in range(8):
            tap = (row - 2) * 3 + column - 3 if 2 <= row < 5 and 3 <= column < 6 else None
            p.box(18 + column * size, 44 + row * size, size, size, TAPS[tap] if tap is not None else None)
    p.frame(18 + 3 * size, 44 + 2 * size, 3 * size, 3 * size)
    p.frame(18 + 4 * size, 44 + 2 * size, 3 * size, 3 * size, width=1.5, dash="5 4")
    p.text(286, 26, "A: a row for each pixel, nine taps of c numbers each", "start", "title")
    wide = 50
    for row in range(8):
        for tap in range(9):
            r, q = tap // 3, tap % 3
            if row == 3:
                color = TAPS[tap]
            elif row == 4:  # the patch one pixel to the right: its left columns are the other's right ones
                color = TAPS[r * 3 + q + 1] if q < 2 else None
            else:
                color = None
            p.box(290 + tap * wide, 44 + row * size, wide, size, color, label=f"{r},{q}" if row == 3 else None)
    p.frame(290, 44 + 3 * size, 9 * wide, size)
    p.frame(290, 44 + 4 * size, 9 * wide, size, width=1.5, dash="5 4")
    p.text(282, 44 + 3.7 * size, "m", "end")
    p.text(282, 44 + 4.7 * size, "m+1", "end", "small")
    p.text(290, 254, "k = (tap, channel). Equal colours are equal bytes.", "start", "small")
    p.write(folder / "patch-rows.svg", "A patch of an image and its row of the matrix A")


def winograd(folder):
    """Chapter 11: overlapping patches, 36 products."""
    p, size = Picture(760, 280), 20
    p.text(18, 24, "patches d of 6 x 6 pixels", "start", "title")
    for row in range(10):
        for column in range(10):
            inside = 1 <= row < 9 and 1 <= column < 9
            colors = {(0, 0): BLUE, (0, 1): RED, (1, 0): GREEN, (1, 1): ORANGE}
            color = colors[(row - 1) // 4, (column - 1) // 4] if inside else None
            p.box(18 + column * size, 40 + row * size, size, size, color, 0.4)
    p.frame(18, 40, 6 * size, 6 * size, BLUE)
    p.frame(18 + 4 * size, 40, 6 * size, 6 * size, RED, 2.5, "6 4")
    p.text(18, 262, "each makes the 4 x 4 pixels of its colour;", "start", "small")
    p.text(18, 277, "neighbours overlap by two", "start", "small")
    p.arrow(230, 140, 288, 140)
    p.text(259, 130, "input", "middle", "small")
    p.text(300, 24, "36 points, a product each", "start", "title")
    for point in range(36):
        x, y = 300 + point % 6 * 34, 40 + point // 6 * 34
        p.box(x, y, 30, 30, BLUE, 0.12 + 0.5 * ((point * 7) % 36) / 36)
        p.text(x + 15, y + 19, str(point), "middle", "small")
    p.text(300, 262, "of each point: [patches, c_in] times", "start", "small")
    p.text(300, 277, "[c_in, c_out], the transformed filters", "start", "small")
    p.arrow(512, 140, 570, 140)
    p.text(541, 130, "output", "middle", "small")
    p.text(584, 24, "4 x 4 pixels of y", "start", "title")
    for row in range(4):
        for column in range(4):
            p.box(584 + column * 36, 68 + row * 36, 36, 36, BLUE, 0.4)
    p.write(folder / "winograd.svg", "Winograd's convolution: overlapping patches, 36 products, tiles of the output")


def swizzle(folder):
    """Chapter 12: eight rows of 128 bytes."""
    p, size, wide = Picture(760, 278), 24, 42
    for left, swizzled, title in ((18, False, "a box in the tensor: rows of 128 bytes"), (404, True, "the same in shared memory")):
        p.text(left, 26, title, "start", "title")
        for row in range(8):
            for place in range(8):
                chunk = place ^ row if swizzled else place
                p.box(left + place * wide, 40 + row * size, wide, size, TAPS[chunk], 0.5, f"{row}.{chunk}")
    p.frame(18 + 2 * wide, 40, wide, 8 * size)
    p.text(404, 252, "chunk c of row r: place c xor r % 8. A place is four", "start", "small")
    p.text(404, 266, "banks; each colour now meets all eight.", "start", "small")
    p.text(18, 252, "row.chunk, 16 bytes each. A column of eight rows is", "start", "small")
    p.text(18, 266, "what a product reads together.", "start", "small")
    p.write(folder / "swizzle.svg", "The 128-byte swizzle of eight rows")


def tap_offsets(folder):
    """Chapter 12: one copy serves the three taps of a column."""
    p, size = Picture(760, 306), 22
    p.text(18, 26, "tile and halo in the image", "start", "title")
    for row in range(10):
        for column in range(10):
            inside = 1 <= row < 9 and 1 <= column < 9
            p.box(18 + column * size, 42 + row * size, size, size, BLUE if inside else None, 0.35)
    p.frame(18, 42, 8 * size, 10 * size, RED, 3)
    p.text(18, 282, "the tile as the left column of taps sees it:", "start", "small", RED)
    p.text(18, 296, "one column to the left, two rows more", "start", "small", RED)
    p.arrow(250, 150, 306, 150)
    p.text(278, 140, "TMA", "middle", "small")
    p.text(320, 26, "the copy in shared memory", "start", "title")
    for row in range(10):
        for column in range(8):
            p.box(320 + column * size, 42 + row * size, size, size, BLUE if 1 <= row < 9 and column else None, 0.35)
        p.text(506, 42 + row * size + 16, f"{row} x 1024", "start", "small")
    for r, color in enumerate((RED, GREEN, ORANGE)):
        x, top = 590 + r * 56, 42 + r * size
        p.box(x, top, 50, 8 * size, color, 0.5)
        p.text(x + 25, top + 4 * size, f"tap {r},0", "middle", "small")
    p.text(320, 282, "a row of 8 pixels is 1024 bytes, where the swizzle begins anew:", "start", "small")
    p.text(320, 296, "each tap's operand is the same bytes from another start on", "start", "small")
    p.write(folder / "tap-offset.svg", "A copy of pixels that serves the three taps of a column")


def versions(folder):
    """Chapter 12: who does what when. Not to scale."""
    p, unit = Picture(760, 476), 25
    p.text(18, 22, "five versions, the same nine taps of 64 channels", "start", "title")
    y = 50

    def lane(name, bars):
        nonlocal y
        p.text(170, y + 15, name, "end", "small")
        for start, length, color, label in bars:
            p.box(180 + start * unit, y, length * unit - 1, 20, color, 0.5, label)
        y += 23

    def version(title):
        nonlocal y
        p.text(18, y + 15, title, "start", "title")

    load, multiply = GREEN, BLUE
    version("1")
    lane("all threads", [(i * 5, 3, ORANGE, "copy") for i in range(4)])
    lane("tensor cores", [(i * 5 + 3, 2, multiply, str(i)) for i in range(4)])
    y += 10
    version("2")
    lane("copy engine", [(i * 4, 2, load, str(i)) for i in range(5)])
    lane("tensor cores", [(i * 4 + 2, 2, multiply, str(i)) for i in range(5)])
    y += 10
    version("3")
    lane("copy engine", [(i * 2, 2, load, str(i)) for i in range(11)])
    lane("warpgroup 0", [(i * 2 + 2, 2, multiply, str(i)) for i in range(10)])
    lane("warpgroup 1", [(i * 2 + 2, 2, multiply, str(i)) for i in range(10)])
    y += 10
    version("4")
    lane("pixels", [(0, 2, SKY, "copy 0"), (3.5, 2, SKY, "copy 1"), (9, 2, SKY, "copy 2")])
    lane("weights", [(2 + (i // 3) * 0.4 + i * 0.75, 0.75, load, str(i)) for i in range(9)])
    lane("warpgroup 0", [(3 + i * 2, 2, multiply, str(i)) for i in range(9)])
    lane("warpgroup 1", [(3 + i * 2, 2, multiply, str(i)) for i in range(9)])
    y += 10
    version("5")
    for block in (0, 1):
        lane(f"weights, block {block}", [(2 + (i // 3) * 0.4 + i * 0.75, 0.36, RED if block else load, "") for i in range(9)])
    for block in (0, 1):
        lane(f"products, block {block}", [(3 + i * 2, 2, multiply, str(i)) for i in range(9)])
    p.arrow(180, y + 6, 740, y + 6)
    p.text(180, y + 24, "time, not to scale. Nothing in this picture was measured.", "start", "small")
    p.write(folder / "versions.svg", "Who does what when in five versions of a convolution")


def attention_tiles(folder):
    """Chapter 13: who owns what of the scores."""
    p, size = Picture(760, 290), 25
    panels = (
        ("forward", "a block owns queries,", "walks over keys: out", True),
        ("backward, first", "a block owns keys,", "walks over queries: dk, dv", False),
        ("backward, second", "a block owns queries,", "walks over keys: dq", True),
    )
    for number, (title, first, second, rows) in enumerate(panels):
        left, top = 40 + number * 246, 44
        p.text(left, 22, title, "start", "title")
        p.text(left + 4 * size, 38, "keys", "middle", "small")
        p.text(left - 8, top + 4 * size, "queries", "middle", "small")
        p.parts[-1] = p.parts[-1].replace("<text ", f'<text transform="rotate(-90 {left - 8} {top + 4 * size})" ')
        for i in range(8):
            for j in range(8):
                step = j if (rows and i == 2) else i if (not rows and j == 2) else None
                color = None if step is None else BLUE if step < 3 else RED if step == 3 else None
                opacity = 0.3 if step is not None and step < 3 else 0.6
                p.box(left + j * size, top + i * size, size, size, color, opacity, str(step) if step is not None else None)
        if rows:
            p.frame(left, top + 2 * size, 8 * size, size)
            p.arrow(left + 4.2 * size, top + 3.5 * size, left + 7.8 * size, top + 3.5 * size)
        else:
            p.frame(left + 2 * size, top, size, 8 * size)
            p.arrow(left + 3.5 * size, top + 4.2 * size, left + 3.5 * size, top + 7.8 * size)
        p.text(left, 264, first, "start", "small")
        p.text(left, 279, second, "start", "small")
    p.write(folder / "attention-tiles.svg", "Which tiles of the scores a block owns and walks over")


def sum_tree(folder):
    """Chapter 17: eight shards, their sums, and where ranks cut the tree."""
    p, wide, high, gap, left = Picture(760, 330), 54, 26, 68, 20
    p.text(left, 24, "eight shards of a batch, added up in pairs; the colours are four ranks", "start", "title")
    colors = (BLUE, GREEN, ORANGE, PINK)
    middles, names, row = [left + 30 + i * 66 for i in range(8)], [str(i) for i in range(8)], 0
    while True:
        y = 44 + row * gap
        for i, (middle, name) in enumerate(zip(middles, names)):
            # Shards and the first sums are a rank's own, where there are four.
            p.box(middle - wide / 2, y, wide, high, colors[i * 4 // len(names)] if row < 2 else None, label=name)
            if len(names) > 1:
                p.arrow(middle, y + high, (middle + middles[i ^ 1]) / 2 + (-8 if i % 2 == 0 else 8), y + gap - 2)
        if len(names) == 1:
            break
        p.frame(left, y + high + 8, 540, 0, RED, 1.2, "5 4")
        p.text(left + 550, y + high + 4, f"{len(names)} ranks: below this line", "start", "small", RED)
        p.text(left + 550, y + high + 19, "the sums are between ranks", "start", "small", RED)
        middles = [(a + b) / 2 for a, b in zip(middles[::2], middles[1::2])]
        names = [f"{a.split('–')[0]}–{b.split('–')[-1]}" for a, b in zip(names[::2], names[1::2])]
        row += 1
    p.text(left, 300, "The line moves with the number of ranks. The tree does not: on 1 rank, 2, 4 or 8 the same", "start", "small")
    p.text(left, 316, "numbers meet at the same places, so the result has the same bits.", "start", "small")
    p.write(folder / "sum-tree.svg", "The sum of eight shards as a binary tree, and where ranks cut it")


def main():
    folder = Path(sys.argv[1])
    for draw in (patches, winograd, swizzle, tap_offsets, versions, attention_tiles, sum_tree):
        draw(folder)


if __name__ == "__main__":
    main()
