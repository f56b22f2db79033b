"""Source of an item of this repository by its name, for the listings of the book.

    {{ listing src/engine/ops/silu.rs silu }}                    an item: function, struct, enum, trait, constant, macro
    {{ listing src/diffusion/level.rs Level::snr }}              an item inside another, or inside an `impl` of a type
    {{ listing src/engine/ops/silu.rs impl Unary for Silu }}     an `impl`, by the words before its brace
    {{ listing kernels/silu.cu silu_fwd }}                       a kernel, function, struct or macro of CUDA
    {{ listing path "first words of a line" .. "first words of another" }}

An item comes with its documentation and attributes. Names of test modules are found only with `tests::` before them.
"""

import re
import textwrap


class Missing(Exception):
    """A listing that the sources do not have, or have more than once."""


RUST_ITEM = re.compile(
    r"""^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?(?:(?:const|async|unsafe|extern[ \t]+"[^"]*")[ \t]+)*
    (?P<kind>fn|struct|enum|trait|const|static|type|mod|union|macro_rules!)[ \t]+(?P<name>\w+)""",
    re.M | re.X,
)
RUST_IMPL = re.compile(r"^[ \t]*(?:unsafe[ \t]+)?(?P<header>impl\b[^{;]*)\{", re.M)
CUDA_STRUCT = re.compile(
    r"\b(struct|enum|union)\s+(?:class\s+)?(?:__align__\s*\([^)]*\)\s*|alignas\s*\([^)]*\)\s*)?(\w+)[^;{}()]*\{"
)
TOKENS = {
    "rust": r'//[^\n]*|/\*.*?\*/|b?r(?P<hashes>#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?\'(?:\\[^\n]*?|[^\\\'\n])\'',
    "cuda": r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\\\'\n])\'',
}


def language(path):
    """The language of a file, for the search of items."""
    return "rust" if path.endswith(".rs") else "cuda"


def without_comments_and_strings(text, lang):
    """Text of the same length and lines in which every brace is one of the code."""
    blank = lambda found: re.sub(r"[^\n]", " ", found[0])
    return re.sub(TOKENS[lang], blank, text, flags=re.S)


def closing(code, at):
    """Behind the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(code)):
        depth += (code[i] in "([{") - (code[i] in ")]}")
        if depth == 0:
            return i + 1
    raise Missing("a bracket is not closed")


def end_of(code, at, ends_at_brace=True):
    """Behind the body in braces or the semicolon that ends an item, read from `at`; or None where neither comes."""
    while at < len(code):
        if code[at] == ";":
            return at + 1
        if code[at] == "{" and ends_at_brace:
            return closing(code, at)
        if code[at] in "([{":
            at = closing(code, at)
        elif code[at] in ")]}":
            return None
        else:
            at += 1
    return None


def line_start(text, at):
    return text.rfind("\n", 0, at) + 1


def with_documentation(text, start, prefixes):
    """The start of the lines above `start` that begin with one of the prefixes, without a gap."""
    while start > 0:
        above = line_start(text, start - 1)
        if not text[above:start].strip().startswith(prefixes):
            break
        start = above
    return start


def rust_items(text):
    """(kind, name, start, end) of all items; an `impl` is named by its words."""
    code, items = without_comments_and_strings(text, "rust"), []
    for found in RUST_ITEM.finditer(code):
        end = end_of(code, found.end(), found["kind"] not in ("const", "static", "type"))
        if end is not None:
            items.append((found["kind"], found["name"], found.start(), end))
    for found in RUST_IMPL.finditer(code):
        items.append(("impl", " ".join(found["header"].split()), found.start(), closing(code, found.end() - 1)))
    return [(kind, name, with_documentation(text, start, ("///", "#[", "//")), end) for kind, name, start, end in items]


def cuda_items(text):
    code, items = without_comments_and_strings(text, "cuda"), []
    macro_text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda found: re.sub(r"[^\n]", " ", found[0]), code, flags=re.M)
    for found in re.finditer(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(?:[^\n]*\\\n)*[^\n]*", code, re.M):
        items.append(("macro", found[1], line_start(text, found.start(1)), found.end()))
    for found in CUDA_STRUCT.finditer(macro_text):
        end = end_of(macro_text, closing(macro_text, found.end() - 1))
        items.append((found[1], found[2], paragraph(text, macro_text, found.start()), end))
    for found in re.finditer(r"\b(\w+)\s*\(", macro_text):
        if found[1] in ("if", "for", "while", "switch", "return", "sizeof", "__launch_bounds__", "__align__", "asm"):
            continue
        after = closing(macro_text, found.end() - 1)
        body = re.compile(r"\s*(?:const\s*|noexcept\s*)*(?:->\s*[\w:<>]+\s*)?\{").match(macro_text, after)
        if body:
            items.append(("fn", found[1], paragraph(text, macro_text, found.start()), closing(macro_text, body.end() - 1)))
    return [(kind, name, with_documentation(text, start, ("//",)), end) for kind, name, start, end in items]


def paragraph(text, code, at):
    """Where the declaration begins that reaches to `at`: behind the statement, brace or empty line before it."""
    before = max(code.rfind(";", 0, at), code.rfind("}", 0, at), code.rfind("{", 0, at)) + 1
    gap = [found.end() for found in re.finditer(r"\n[ \t]*(?=\n)", text[:at])]
    start = max([before] + gap[-1:])
    start += len(code[start:at]) - len(code[start:at].lstrip())
    return line_start(text, start)


def by_name(text, path, wanted):
    items = {"rust": rust_items, "cuda": cuda_items}[language(path)](text)
    tests = [(start, end) for kind, name, start, end in items if kind == "mod" and name in ("tests", "test")]
    within = lambda item, ranges: any(start <= item[2] and item[3] <= end and (start, end) != item[2:] for start, end in ranges)
    if wanted.startswith("impl"):
        found = [item for item in items if item[0] == "impl" and item[1] == " ".join(wanted.split())]
    else:
        *owners, name = wanted.split("::")
        kind = None
        if " " in name:
            kind, name = name.split(None, 1)
        found = [item for item in items if item[1] == name and item[0] != "impl" and kind in (None, item[0])]
        if "tests" not in owners:
            found = [item for item in found if not within(item, tests)]
        for owner in owners:
            word = re.compile(rf"\b{re.escape(owner)}\b")
            found = [item for item in found if within(item, [outer[2:] for outer in items if word.search(outer[1])])]
    if len(found) != 1:
        lines = ", ".join(str(text.count("\n", 0, item[2]) + 1) for item in found)
        raise Missing(f"{path} has no item {wanted}" if not found else f"{path} has several items {wanted}: at lines {lines}")
    return found[0][2:]


def by_lines(text, path, first, last):
    lines = text.splitlines(keepends=True)
    starts = [i for i, line in enumerate(lines) if line.strip().startswith(first)]
    if len(starts) != 1:
        raise Missing(f"{path}: {len(starts)} lines begin with {first!r}")
    end = next((i for i in range(starts[0], len(lines)) if lines[i].strip().startswith(last)), None)
    if end is None:
        raise Missing(f"{path}: no line behind the first begins with {last!r}")
    return len("".join(lines[: starts[0]])), len("".join(lines[: end + 1]))


def listing(root, words):
    """Source, path, first and last line of what `{{ listing words }}` names."""
    path, _, what = words.strip().partition(" ")
    file = root / path
    if not file.is_file():
        raise Missing(f"no file {path}")
    text = file.read_text(encoding="utf-8")
    lines = re.fullmatch(r'"(.+)" \.\. "(.+)"', what.strip())
    start, end = by_lines(text, path, *lines.groups()) if lines else by_name(text, path, what.strip())
    source = textwrap.dedent(text[start:end]).strip("\n")
    return source, path, text.count("\n", 0, start) + 1, text.count("\n", 0, end - text[start:end].endswith("\n")) + 1
