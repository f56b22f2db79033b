//! The one way in which two ranks exchange bytes.

use crate::Result;

/// A process's connection with the others of its job.
pub trait Link {
    /// Number of this rank.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Name of the machine.
    fn host(&self) -> String;

    /// Sends bytes to another rank and receives as many as it sends; it calls this too. What is empty is not sent.
    ///
    /// # Errors
    /// A connection that fails.
    fn exchange(&self, partner: usize, send: &[u8], receive: &mut [u8]) -> Result<()>;

    /// Ends the processes of all ranks with this exit code.
    fn abort(&self, code: u8) -> !;
}
