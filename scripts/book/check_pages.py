#!/usr/bin/env python3
"""Checks built pages: every file and anchor that they name is there, and they ask nothing of a network.

    check_pages.py FOLDER
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.update(filter(None, (attributes.get("id"), attributes.get("name"))))
        for name in ("href", "src"):
            if attributes.get(name):
                self.links.append((tag, attributes[name]))


def main():
    folder = Path(sys.argv[1]).resolve()
    paths = sorted(folder.glob("*.html"))
    pages = {path: Page(path) for path in paths}
    faults, count = [], 0
    for path, page in pages.items():
        for tag, link in page.links:
            parts = urlsplit(link)
            count += 1
            if parts.scheme in ("http", "https") or link.startswith("//"):
                if tag != "a":
                    faults.append(f"{path.name}: <{tag}> asks for {link}")
                continue
            if parts.scheme in ("data", "mailto", "javascript"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                faults.append(f"{path.name}: no file {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                if not parts.fragment.startswith("__"):
                    faults.append(f"{path.name}: no anchor {link}")
    print("\n".join(faults), file=sys.stderr, end="\n" * bool(faults))
    print(f"{len(pages)} pages, {count} links, {len(faults)} faults")
    sys.exit(bool(faults) or not pages)


if __name__ == "__main__":
    main()
