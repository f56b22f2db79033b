#!/usr/bin/env python3
"""Runs the commands of the book: the blocks ```sh run of every page, and compares what follows with what they print.

    commands.py PROGRAM PAGE...

Words behind `run` are added to every `ddpm` line of the block: settings that make it small. The blocks of a page share an
empty folder, in their order. A block ```text output behind one shows lines that it must print, in this order, spaces aside;
a line `...` stands for what is left out.
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
    add = lambda found: " ".join([found[1].rstrip(), *extra]) + (found[2] or "")
    return re.sub(r"^(ddpm .*?)([ \t]+#.*)?$", add, script, flags=re.M)


def missing(shown, printed):
    """The first line of `shown` that `printed` does not have, in order."""
    printed = iter([" ".join(line.split()) for line in printed])
    for line in shown:
        words = " ".join(line.split())
        if words and words != "..." and words not in printed:
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
                line = missing(lines, printed or [])
                if line is not None:
                    faults.append(f"{place}: not printed: {line}\n" + "\n".join(printed or ["no block was run before"]))
    return count, faults


def main():
    program, *pages = sys.argv[1:]
    results = [run_page(Path(page), program) for page in pages]
    faults = [fault for _, faults in results for fault in faults]
    print("\n".join(faults), file=sys.stderr)
    count = sum(count for count, _ in results)
    print(f"{count} blocks of commands, {len(faults)} faults")
    sys.exit(bool(faults) or count == 0)


if __name__ == "__main__":
    main()
