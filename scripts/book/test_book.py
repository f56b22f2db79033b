"""The book's own tools find what they should, and only that."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
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

    def test_a_line_that_is_not_printed_is_missed(self):
        printed = ["first", "a  1.5", "b 2"]
        self.assertIsNone(commands.missing(["first", "...", "b   2"], printed))
        self.assertEqual(commands.missing(["b 2", "first"], printed), "first")
        self.assertEqual(commands.missing(["a 1.4"], printed), "a 1.4")


if __name__ == "__main__":
    unittest.main()
