"""What MkDocs does not know of the book: listings from the sources, links into the repository, formulas, plots.

Whatever a page names and the repository has not ends the build, with the page's file and line.
"""

import atexit
import functools
import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
import listings  # noqa: E402

FENCE = re.compile(r"^([ \t]*)(```+)(.*)$")
LISTING = re.compile(r"^[ \t]*\{\{ listing (.+) \}\}[ \t]*$")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")
# Long names in code are those of tests.
TEST = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)
def on_files(files, config):
    """What the pages need travels with them: styles, fonts, and a script by which search works without a server."""
    modules = Path(os.environ["BOOK_NODE_MODULES"])
    katex = modules / "katex/dist"
    shipped = [katex / "katex.min.css", *sorted((katex / "fonts").glob("*.woff2"))]
    if len(shipped) < 10:
        raise PluginError(f"no fonts in {katex}")
    for path in shipped:
        files.append(File.generated(config, f"katex/{path.relative_to(katex)}", abs_src_path=str(path)))
    files.append(File.generated(config, "book.css", abs_src_path=str(HERE / "book.css")))
    for path in sorted((ROOT / "docs/images").glob("*.png")):
        files.append(File.generated(config, f"docs-images/{path.name}", abs_src_path=str(path)))
    files.append(File.generated(config, "assets/iframe-worker.js", abs_src_path=str(modules / "iframe-worker/shim/index.js")))
    return files


def on_page_markdown(markdown, page, config, files):
    folder = Path(page.file.abs_src_path).parent
    at = lambda number: f"{Path(page.file.abs_src_path).relative_to(ROOT)}:{number}"
    out, fence, block, captions = [], None, 0, []
    for number, line in enumerate(markdown.split("\n"), 1):
        found = FENCE.match(line)
        if found and fence is None:
            # Words behind the language are for scripts/book/commands.py.
            fence, block, captions = found[2], number, []
            indent, line = found[1], found[1] + found[2] + found[3].strip().split(" ")[0]
        elif found and found[2] == fence and not found[3].strip():
            fence = None
            line = "\n".join([line] + ["", indent + " · ".join(captions), ""] * bool(captions))
        elif fence is not None and "{{" in line:
            words = LISTING.match(line)
            if words is None:
                raise PluginError(f"{at(number)}: not a listing: {line.strip()}")
            try:
                source, path, first, last = listings.listing(ROOT, words[1])
            except listings.Missing as error:
                raise PluginError(f"{at(number)}: {error}") from error
            line = "\n".join(([""] if captions else []) + [indent + text for text in source.split("\n")])
            captions.append(f'<a class="source" href="{of_repository(ROOT / path)}">{path}</a>, lines {first}–{last}')
        elif fence is None:
            line = links(line.replace("](../images/", "](docs-images/"), folder, at(number))
            for name in TEST.findall(line):
                if name not in functions():
                    raise PluginError(f"{at(number)}: no test {name}")
            if line.startswith("#") and "$" in line:
                raise PluginError(f"{at(number)}: a heading with a formula, which the table of contents cannot show")
        out.append(line)
    if fence is not None:
        raise PluginError(f"{at(block)}: a block of code that does not end")
    return "\n".join(out)


@functools.cache
def functions():
    """Names of all Rust functions of the repository."""
    files = [path for folder in ("src", "tests", "crates", "docs/book") for path in (ROOT / folder).rglob("*.rs")]
    return {name for path in files for name in re.findall(r"\bfn (\w+)", path.read_text(encoding="utf-8"))}


def of_repository(file):
    """The way from a page in target/book to a file of the repository."""
    return "../../" + html.escape(file.relative_to(ROOT).as_posix())


def links(line, folder, place):
    """Links out of the book lead to files of the repository, from target/book as from docs/book."""

    def link(found):
        text, target = found.groups()
        path, _, anchor = target.partition("#")
        file = (folder / path).resolve()
        if not file.exists() or not file.is_relative_to(ROOT):
            raise PluginError(f"{place}: no file {target}")
        if file.suffix == ".md" and file.parent == folder:
            return found[0]
        return f'<a class="source" href="{of_repository(file)}">{text}</a>'

    # What stands in code holds no link; a link's text may hold code.
    code = [found.span() for found in re.finditer(r"`[^`]+`", line)]
    keep = lambda found: any(start < found.start() and found.end() <= end for start, end in code)
    return LINK.sub(lambda found: found[0] if keep(found) else link(found), line)


class Formulas:
    """A process that turns formulas into HTML."""

    process = None

    def render(self, tex, display):
        if self.process is None:
            self.process = subprocess.Popen(
                ["node", str(HERE / "math.mjs"), os.environ["BOOK_NODE_MODULES"]],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            )
            atexit.register(self.process.kill)
        self.process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


formulas = Formulas()


def on_page_content(content, page, config, files):
    source = Path(page.file.abs_src_path)

    def render(found):
        tex = html.unescape(found[3])
        answer = formulas.render(tex, found[2] == "[")
        if "error" in answer:
            text = source.read_text(encoding="utf-8")
            line = text.count("\n", 0, max(text.find(tex.strip().split("\n")[0]), 0)) + 1
            raise PluginError(f"{source.relative_to(ROOT)}:{line}: {answer['error']}")
        return f'<{found[1]} class="formula" data-search-exclude>{answer["html"]}</{found[1]}>'

    def plot(found):
        """Plots become part of the page, so that their colours follow its switch and not the system's."""
        try:
            svg = (source.parent / found[2]).read_text(encoding="utf-8")
        except OSError as error:
            raise PluginError(f"{source.relative_to(ROOT)}: no picture {found[2]}") from error
        dark = re.search(r"@media\(prefers-color-scheme:dark\)\{((?:[^{}]*\{[^{}]*\})*)\}", svg)
        if dark is None:
            raise PluginError(f"{source.relative_to(ROOT)}: {found[2]} has no colours for the dark")
        rules = re.sub(r"(^|\})(?=[^}])", r"\1[data-md-color-scheme=slate] ", dark[1])
        svg = svg[svg.index("<svg") :].replace(dark[0], rules)
        return f'<div class="plot-of-page" title="{found[1]}">{svg}</div>'

    content = FORMULA.sub(render, content)
    content = re.sub(r'<img alt="([^"]*)" src="([^"]+\.svg)" ?/?>', plot, content)
    return content
