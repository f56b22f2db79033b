#!/usr/bin/env python3
"""Checks the index of the book: that every system and every slip leads to a chapter.

    check_index.py FOLDER     of docs/book

Rows S1 to S38 and X1 to X50 stand in `90-sources.md`, each once, and link to a chapter that exists. The row of a slip links to a
chapter that names it, or the derivation would be lost; what a chapter names has a row.
"""

import re
import sys
from pathlib import Path

INDEX = "90-sources.md"
SYSTEMS, SLIPS = ([f"S{i}" for i in range(1, 39)], [f"X{i}" for i in range(1, 51)])


def faults(pages):
    """Faults of the pages, which are texts by their names."""
    rows = re.findall(r"^\| ([SX]\d+) \|(.*)\|$", pages[INDEX], re.M)
    names = [name for name, _ in rows]
    found = [f"{name}: {names.count(name)} rows" for name in SYSTEMS + SLIPS if names.count(name) != 1]
    found += [f"{name}: not a system or slip that is known" for name in names if name not in SYSTEMS + SLIPS]
    for name, row in rows:
        chapters = [page for page in re.findall(r"\((\d\d-[\w-]+\.md)", row) if page != INDEX]
        missing = [page for page in chapters if page not in pages]
        found += [f"{name}: there is no {page}" for page in missing]
        if not chapters:
            found.append(f"{name}: leads to no chapter")
        elif name[0] == "X" and not missing and not any(re.search(rf"\b{name}\b", pages[page]) for page in chapters):
            found.append(f"{name}: not named in {', '.join(chapters)}")
    for page, text in pages.items():
        named = set(re.findall(r"\bX\d+\b", " ".join(re.findall(r"\[(X[^\]]*)\]\(90-sources", text))))
        found += [f"{page}: {name} has no row" for name in sorted(named - set(names))]
    return found


def main():
    pages = {path.name: path.read_text(encoding="utf-8") for path in Path(sys.argv[1]).glob("*.md")}
    found = faults(pages)
    print("\n".join(found), file=sys.stderr)
    print(f"{len(SYSTEMS)} systems and {len(SLIPS)} slips, {len(found)} faults")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
