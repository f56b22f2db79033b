//! Settings of the emulator.

use crate::error::{Error, Result};

/// The order in which the emulated threads of a block run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Schedule {
    /// Threads take turns.
    Fifo = 0,
    /// Warps have random priorities: one runs as far ahead as barriers allow, which exposes a missing barrier.
    Skew = 1,
}

/// The moment at which asynchronous copies take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AsyncCopies {
    /// When they are issued.
    Early = 0,
    /// When they are waited for.
    Late = 1,
    /// One or the other, as a coin decides for each.
    Coin = 2,
}

/// Settings of the emulator. A correct kernel gives the same result under all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Order of threads.
    pub schedule: Schedule,
    /// Moment at which asynchronous copies take effect.
    pub async_copies: AsyncCopies,
    /// Seed of the random choices that `schedule` and `async_copies` make.
    pub seed: u64,
    /// Processor threads that share the blocks of a launch.
    pub os_threads: u32,
    /// Compute capability to act as.
    pub compute_capability: (u32, u32),
    /// Multiprocessors to act as having.
    pub multiprocessors: u32,
    /// Bytes of memory to act as having; without them, all that the machine has free.
    pub memory_bytes: Option<u64>,
}

impl Default for Options {
    /// The fastest: first in, first out, early copies, as many threads as `RAYON_NUM_THREADS` or the processor has.
    fn default() -> Options {
        let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
        Options {
            schedule: Schedule::Fifo,
            async_copies: AsyncCopies::Early,
            seed: 0,
            os_threads: threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u32)),
            compute_capability: (8, 0),
            multiprocessors: 132,
            memory_bytes: None,
        }
    }
}

impl Options {
    /// Changes the options that `text` names: words separated by commas, `fifo` or `skew`, `async=early|late|coin`,
    /// `seed=N`, `threads=N`, `cc=9.0`, `multiprocessors=N`, `memory=BYTES`.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn overridden(mut self, text: &str) -> Result<Options> {
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let unknown = || {
                let known =
                    "fifo, skew, async=early|late|coin, seed=N, threads=N, cc=8.0|9.0, multiprocessors=N, memory=BYTES";
                Error::failed(format!("`{word}` is none of: {known}"))
            };
            match word.split_once('=').unwrap_or((word, "")) {
                ("fifo", "") => self.schedule = Schedule::Fifo,
                ("skew", "") => self.schedule = Schedule::Skew,
                ("async", "early") => self.async_copies = AsyncCopies::Early,
                ("async", "late") => self.async_copies = AsyncCopies::Late,
                ("async", "coin") => self.async_copies = AsyncCopies::Coin,
                ("seed", n) => self.seed = n.parse().map_err(|_| unknown())?,
                ("threads", n) => self.os_threads = n.parse().ok().filter(|&n| n > 0).ok_or_else(unknown)?,
                ("cc", "8.0") => self.compute_capability = (8, 0),
                ("cc", "9.0") => self.compute_capability = (9, 0),
                ("multiprocessors", n) => {
                    self.multiprocessors = n.parse().ok().filter(|&n| n > 0).ok_or_else(unknown)?;
                }
                ("memory", n) => self.memory_bytes = Some(n.parse().map_err(|_| unknown())?),
                _ => return Err(unknown()),
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_change_the_options_that_they_name() {
        let options = Options::default()
            .overridden("skew, async=coin,seed=7,threads=3,cc=9.0,multiprocessors=78,memory=1000")
            .unwrap();
        let expected = Options {
            schedule: Schedule::Skew,
            async_copies: AsyncCopies::Coin,
            seed: 7,
            os_threads: 3,
            compute_capability: (9, 0),
            multiprocessors: 78,
            memory_bytes: Some(1000),
        };
        assert_eq!(options, expected);
        assert_eq!(options.overridden("").unwrap(), options);
        assert_eq!(options.overridden("fifo,async=late").unwrap().async_copies, AsyncCopies::Late);
    }

    #[test]
    fn unknown_words_are_refused_with_the_known_ones() {
        for word in
            ["slow", "async=never", "seed=", "threads=0", "cc=7.5", "multiprocessors=0", "memory=much", "fifo=1"]
        {
            let message = Options::default().overridden(word).expect_err(word).to_string();
            assert!(message.starts_with(&format!("`{word}` is none of: fifo, skew,")), "{message}");
        }
    }
}
