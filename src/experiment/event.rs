//! Messages from an experiment to its observer.

/// A message from an experiment to its observer.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A part of the work begins or ends.
    Note(&'a str),
    /// `done` of `total` steps of the last note's work are done.
    Progress { done: u64, total: u64 },
}
