//! Arrays of NumPy in a pickle.

use std::borrow::Cow;

use super::{Object, Pickle};

/// An array in row-major order.
#[derive(Debug, PartialEq)]
pub struct Array<'a> {
    pub dims: Vec<usize>,
    /// NumPy's name of the element type without its byte order, such as `u1`.
    pub kind: String,
    pub bytes: Cow<'a, [u8]>,
}

impl Array<'_> {
    /// The functions that a pickled array calls, in all versions of NumPy and of the protocol.
    pub const CALLS: [&'static str; 6] = [
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.numeric._frombuffer",
        "numpy._core.numeric._frombuffer",
        "numpy.dtype",
        "_codecs.encode",
    ];
}

impl<'a> Pickle<'a> {
    /// The array at a place; nothing if there is none, or one in column-major order.
    pub fn array(&self, place: usize) -> Option<Array<'a>> {
        let (function, arguments, state) = self.call(place)?;
        let (data, kind, dims) = if function.ends_with("._frombuffer") {
            let &[data, kind, dims, order] = arguments else { return None };
            (self.bytes(order) == Some(b"C")).then_some((data, kind, dims))?
        } else if function.ends_with("._reconstruct") {
            let &[_, dims, kind, by_column, data] = self.items(state?)? else { return None };
            (self.int(by_column) == Some(0)).then_some((data, kind, dims))?
        } else {
            return None;
        };
        let dims = self.items(dims)?.iter().map(|&dim| usize::try_from(self.int(dim)?).ok()).collect::<Option<_>>()?;
        let (name, kind, _) = self.call(kind)?;
        let kind = std::str::from_utf8(self.bytes(*kind.first()?)?).ok().filter(|_| name == "numpy.dtype")?;
        Some(Array { dims, kind: kind.trim_start_matches(['<', '>', '|', '=']).into(), bytes: self.raw(data)? })
    }

    /// Bytes, which Python 3 writes in the protocols of Python 2 as a text whose characters are the bytes.
    fn raw(&self, place: usize) -> Option<Cow<'a, [u8]>> {
        if let Object::Bytes(bytes) = self.object(place) {
            return Some(Cow::Borrowed(bytes));
        }
        let ("_codecs.encode", &[text, encoding], _) = self.call(place)? else { return None };
        let Object::Text(text) = self.object(text) else { return None };
        let latin = self.bytes(encoding) == Some(b"latin1");
        let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>();
        bytes.filter(|_| latin).map(Cow::Owned)
    }
}
