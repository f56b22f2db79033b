//! The objects that a pickle is made of.

/// An object of a pickle. Objects refer to others by their place in a list, so no depth of nesting costs stack, and a
/// circle is no trouble.
#[derive(Clone, Debug, PartialEq)]
pub enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// Bytes, or a string of Python 2.
    Bytes(&'a [u8]),
    /// The name of a class or function, which is not looked up.
    Global(String),
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Dict(Vec<[usize; 2]>),
    /// A call, which is not made, and the state that the result would be given.
    Call {
        function: usize,
        arguments: usize,
        state: Option<usize>,
    },
    /// An object that lies outside the pickle, by what it is called there.
    Persistent(usize),
}
