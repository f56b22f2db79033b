"""The book's own tools find what they should, and only that."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import check_index  # noqa: E402
import commands  # noqa: E402
import listings  # noqa: E402

RUST = '''//! A file.

/// Braces } in documentation.
#[derive(Clone)]
pub struct Point {
    x: f64, // '{'
}

pub const TABLE: &[[f64; 2]] = &[[1.0, 2.0]];

/// The sum.
pub const fn sum<'a>(text: &'a str, sign: char) -> [usize; 2]
where
    usize: Copy,
{
    let brace = "}"; // }
    if sign == '{' { [text.len(), brace.len()] } else { [1, 2] }
}

impl Point {
    /// Its size.
    fn size(&self) -> f64 {
        self.x
    }
}

impl Clone for Other {
    fn size(&self) -> f64 {
        2.0
    }
}

#[cfg(test)]
mod tests {
    fn sum() {}
}
'''
CUDA = '''#include "common.cuh"
#define SIZE(x) \\
  ((x) * 2)

struct Row {
  float a;
};

// Doubles.
// A thread: an element.
template <class T>
__global__ void __launch_bounds__(256) twice(T* y,  // [n], not {
                                             int n) {
  if (n > 0) { helper(y); }
}

EXPORT(twice)
__device__ float helper(float* x) { return *x; }
float helper(float* x, int n);
'''


class Listings(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        (self.root / "a.rs").write_text(RUST)
        (self.root / "a.cu").write_text(CUDA)

    def tearDown(self):
        self.folder.cleanup()

    def ends(self, words):
        source, _, first, last = listings.listing(self.root, words)
        lines = source.split("\n")
        self.assertEqual(len(lines), last - first + 1)
        return lines[0], lines[-1]

    def test_items_are_whole(self):
        self.assertEqual(self.ends("a.rs Point"), ("/// Braces } in documentation.", "}"))
        self.assertEqual(self.ends("a.rs sum"), ("/// The sum.", "}"))
        self.assertEqual(listings.listing(self.root, "a.rs sum")[2:], (11, 18))
        self.assertEqual(self.ends("a.rs TABLE"), ("pub const TABLE: &[[f64; 2]] = &[[1.0, 2.0]];",) * 2)
        self.assertEqual(self.ends("a.rs Point::size"), ("/// Its size.", "}"))
        self.assertEqual(self.ends("a.rs impl Clone for Other"), ("impl Clone for Other {", "}"))
        self.assertEqual(self.ends("a.rs tests::sum"), ("fn sum() {}",) * 2)
        self.assertEqual(self.ends('a.rs "if sign" .. "if"')[0][:2], "if")
        self.assertEqual(self.ends("a.cu twice"), ("// Doubles.", "}"))
        self.assertEqual(self.ends("a.cu SIZE"), ("#define SIZE(x) \\", "  ((x) * 2)"))
        self.assertEqual(self.ends("a.cu Row"), ("struct Row {", "};"))
        self.assertEqual(self.ends("a.cu helper")[1], "__device__ float helper(float* x) { return *x; }")

    def test_what_is_missing_or_doubtful_is_refused(self):
        for words in ("b.rs sum", "a.rs nothing", "a.rs size", "a.rs impl Clone", 'a.rs "let" .. "nowhere"', 'a.rs "}" .. "x"'):
            with self.assertRaises(listings.Missing):
                listings.listing(self.root, words)


class Commands(unittest.TestCase):
    def test_blocks_are_found_and_made_small(self):
        page = "text\n```sh run --quick\nddpm a \\\n  b  # why\nls\n```\n```text output\nx\n```\n"
        found = list(commands.blocks(page))
        places = [(number, words) for number, words, _ in found]
        self.assertEqual(places, [(2, ["sh", "run", "--quick"]), (7, ["text", "output"])])
        self.assertEqual(commands.reduced(found[0][2], ["--quick"]), "ddpm a b --quick  # why\nls")

    def test_an_option_takes_the_place_of_the_lines(self):
        small = lambda line, *extra: commands.reduced([line], extra)
        self.assertEqual(small("ddpm a -n 500 --seed 1  # why", "-n", "5"), "ddpm a --seed 1 -n 5  # why")
        self.assertEqual(small("ddpm a --nll-images=100", "--nll-images", "5"), "ddpm a --nll-images 5")
        self.assertEqual(small("ddpm a --set x=1", "--set", "y=2"), "ddpm a --set x=1 --set y=2")
        self.assertEqual(small("ddpm a --topline data", "--topline", "-n", "5"), "ddpm a --topline data --topline -n 5")

    def test_a_line_that_is_not_printed_is_missed(self):
        printed = ["first", "a  1.5", "b 2"]
        self.assertIsNone(commands.missing(["first", "...", "b   2"], printed))
        self.assertEqual(commands.missing(["b 2", "first"], printed), "first")
        self.assertEqual(commands.missing(["a 1.4"], printed), "a 1.4")

    def test_columns_may_be_left_out_and_lines_may_not(self):
        printed = ["a  conv  1.5  2.0", "b  norm  3.0"]
        self.assertIsNone(commands.missing(["a 2.0", "b 3.0"], printed, commands.shows))
        self.assertEqual(commands.missing(["a 2.0 1.5"], printed, commands.shows), "a 2.0 1.5")
        self.assertEqual(commands.missing(["b 3.0", "a 2.0"], printed, commands.shows), "a 2.0")

    def test_a_chapter_without_commands_is_a_fault(self):
        results = {"x/08-a.md": (0, []), "x/07-b.md": (2, []), "x/09-c.md": (0, []), "x/90-d.md": (0, []), "x/README.md": (0, [])}
        self.assertEqual(commands.without_commands(results.items()), ["x/08-a.md"])


class Index(unittest.TestCase):
    def setUp(self):
        rows = [f"| {name} | A | [1](01-a.md) |" for name in check_index.SYSTEMS + check_index.SLIPS]
        named = " ".join(f"[{name}](90-sources.md#slips)" for name in check_index.SLIPS)
        self.pages = {check_index.INDEX: "\n".join(rows), "01-a.md": named}

    def planted(self, page, old, new):
        self.assertIn(old, self.pages[page])
        self.pages[page] = self.pages[page].replace(old, new)
        return check_index.faults(self.pages)

    def test_a_whole_index_has_no_fault(self):
        self.assertEqual(check_index.faults(self.pages), [])

    def test_a_row_that_is_missing_or_twice_is_a_fault(self):
        self.assertEqual(self.planted(check_index.INDEX, "| S7 |", "| S8 |"), ["S7: 0 rows", "S8: 2 rows"])

    def test_a_row_that_leads_nowhere_is_a_fault(self):
        self.assertEqual(self.planted(check_index.INDEX, "| S7 | A | [1](01-a.md)", "| S7 | A | -"), ["S7: leads to no chapter"])

    def test_a_slip_that_its_chapter_does_not_name_is_a_fault(self):
        self.assertEqual(self.planted("01-a.md", "[X17]", "[that]"), ["X17: not named in 01-a.md"])

    def test_a_slip_without_a_row_is_a_fault(self):
        self.assertEqual(self.planted("01-a.md", "[X17]", "[X17, X51]"), ["01-a.md: X51 has no row"])


if __name__ == "__main__":
    unittest.main()
