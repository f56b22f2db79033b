//! Pickles of Python, read as data.
//!
//! A pickle is a program for a stack machine that may call any function of Python. This reader follows the program and calls
//! nothing: a call becomes an [`Object::Call`] with its function's name and arguments, for the caller to make sense of, and a
//! pickle that calls other functions than those expected is refused by their names.

mod array;
mod machine;
mod object;

pub use array::Array;
pub use object::Object;

/// The objects of a pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    top: usize,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle that calls no functions but the `expected` ones.
    ///
    /// # Errors
    /// The reason, in words: a damaged pickle, an instruction that is not known, or the name of another function.
    pub fn read(bytes: &'a [u8], expected: &[&str]) -> Result<Pickle<'a>, String> {
        let (objects, top) = machine::run(bytes, expected)?;
        Ok(Pickle { objects, top })
    }

    /// The place of the outermost object.
    pub fn top(&self) -> usize {
        self.top
    }

    /// Number of all objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// The object at a place.
    ///
    /// # Panics
    /// At a place that no object of this pickle refers to.
    pub fn object(&self, place: usize) -> &Object<'a> {
        &self.objects[place]
    }

    /// The value of a key in a dict, whether the key is a text or bytes; the last one, where it stands there twice.
    pub fn value(&self, dict: usize, key: &str) -> Option<usize> {
        let Object::Dict(entries) = self.object(dict) else { return None };
        entries.iter().rev().find(|[name, _]| self.bytes(*name) == Some(key.as_bytes())).map(|[_, value]| *value)
    }

    /// The bytes of a text or of bytes.
    pub fn bytes(&self, place: usize) -> Option<&[u8]> {
        match self.object(place) {
            Object::Text(text) => Some(text.as_bytes()),
            Object::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The places in a tuple or list.
    pub fn items(&self, place: usize) -> Option<&[usize]> {
        match self.object(place) {
            Object::Tuple(items) | Object::List(items) => Some(items),
            _ => None,
        }
    }

    /// An integer.
    pub fn int(&self, place: usize) -> Option<i64> {
        match self.object(place) {
            Object::Int(value) => Some(*value),
            Object::Bool(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// The name of the function and the places of the arguments of a call, and of its state.
    pub fn call(&self, place: usize) -> Option<(&str, &[usize], Option<usize>)> {
        let Object::Call { function, arguments, state } = self.object(place) else { return None };
        let Object::Global(name) = self.object(*function) else { return None };
        Some((name, self.items(*arguments)?, *state))
    }
}

#[cfg(test)]
mod tests;
