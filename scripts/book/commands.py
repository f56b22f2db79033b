#!/usr/bin/env python3
"""Runs the commands of the book: the blocks ```sh run of every page, and compares what follows with what they print.

    commands.py PROGRAM PAGE...

Words behind `run` are added to every `ddpm` line of the block: settings that make it small. An option that the line has
already (but `--set`) takes the place of the line's. The blocks of a page share an empty folder, in their order. A block
```text output behind one shows lines that it must print, in this order, spaces aside; a line `...` stands for what is left
out. In a block ```text output columns lines may leave words out, too. A chapter without any such block is a fault.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def blocks(text):
    """(line, words behind the fence, lines) of each block of code."""
    block = None
    for number, line in enumerate(text.split("\n"), 1):
        fence = re.match(r"[ \t]*```+(.*)$", line)
        if fence and block is None:
            block = (number, fence[1].split(), [])
        elif fence:
            yield block
            block = None
        elif block is not None:
            block[2].append(line)


def reduced(lines, extra):
    """The script of a block, with the extra words behind each of its `ddpm` commands."""
    script = re.sub(r"\\\n\s*", "", "\n".join(lines))
    names = [name for name, value in zip(extra, [*extra[1:], "-"]) if name[0] == "-" and name != "--set" and value[0] != "-"]

    def add(found):
        command = found[1].rstrip()
        for name in names:
            command = re.sub(rf"[ \t]{name}(?:[ \t]+|=)\S+(?=\s|$)", "", command)
        return " ".join([command, *extra]) + (found[2] or "")

    return re.sub(r"^(ddpm .*?)([ \t]+#.*)?$", add, script, flags=re.M)


def shows(line, printed):
    """Tells if a printed line has all the words of another, in their order."""
    words = iter(printed.split())
    return all(word in words for word in line.split())


def missing(shown, printed, same=lambda line, printed: line.split() == printed.split()):
    """The first line of `shown` that `printed` does not have, in order."""
    printed = iter(printed)
    for line in shown:
        if line.strip() not in ("", "...") and not any(same(line, other) for other in printed):
            return line
    return None


def run_page(page, program):
    count, printed, faults = 0, None, []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bin").mkdir()
        (Path(folder) / "bin/ddpm").symlink_to(Path(program).resolve())
        (Path(folder) / "work").mkdir()
        for number, words, lines in blocks(page.read_text(encoding="utf-8")):
            place = f"{page}:{number}"
            if words[:2] == ["sh", "run"]:
                script = reduced(lines, words[2:])
                start = time.monotonic()
                done = subprocess.run(
                    ["bash", "-euc", f'PATH="{folder}/bin:$PATH"; COLUMNS=120; {script}'], cwd=Path(folder) / "work",
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                )
                printed, count = done.stdout.split("\n"), count + 1
                print(f"{place}  {time.monotonic() - start:.1f} s", flush=True)
                if done.returncode != 0:
                    faults.append(f"{place}: ended with {done.returncode}\n{script}\n{done.stdout}")
            elif words[:2] == ["text", "output"]:
                line = missing(lines, printed or [], *[shows] * ("columns" in words))
                if line is not None:
                    faults.append(f"{place}: not printed: {line}\n" + "\n".join(printed or ["no block was run before"]))
    return count, faults


def without_commands(results):
    """The chapters, named `NN-name.md`, of which no block was run. Chapter 9 runs its own program; 90 and on are no chapters."""
    number = lambda page: re.match(r"(\d\d)-", Path(page).name)
    return [page for page, (count, _) in results if count == 0 and number(page) and int(number(page)[1]) not in {9, *range(90, 100)}]


def main():
    program, *pages = sys.argv[1:]
    results = [run_page(Path(page), program) for page in pages]
    faults = [fault for _, faults in results for fault in faults]
    faults += [f"{page}: no command of this chapter is run" for page in without_commands(zip(pages, results))]
    print("\n".join(faults), file=sys.stderr)
    count = sum(count for count, _ in results)
    print(f"{count} blocks of commands, {len(faults)} faults")
    sys.exit(bool(faults) or count == 0)


if __name__ == "__main__":
    main()
