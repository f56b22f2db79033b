//! The environment variable `CUDA_STAND_IN`: which machine to act as, and what shall go wrong.

use crate::codes::Code;
use kernel_emulator::Options as Emulator;

/// Settings of the library: words separated by blanks.
///
/// | word | |
/// |---|---|
/// | `cc=9.0` | compute capability |
/// | `multiprocessors=N`, `devices=N`, `version=13000` | as they say |
/// | `memory=8G` | bytes of each device, with `K`, `M` or `G`; without it, what the machine has free |
/// | `fail=NAME:N:CODE` | the N-th call of this function (of any function: `*`) does nothing and returns this number, 999 if there is none. May stand several times |
/// | `run=late`, `early`, `ahead:1`, `ahead:2` or `coin:SEED` | the moment at which enqueued work runs: as late as is allowed, at once, at once on the first or second of each two streams and late on the other, or as a coin decides |
/// | `emulator=skew,async=late` | options of the emulator that runs the kernels |
/// | `counts=FILE` | where the number of calls of each function is written when the process ends |
/// | `trace=FILE` | the same calls in their order, one a line, written as they are made |
#[derive(Clone, Debug)]
pub struct Options {
    pub version: i32,
    pub devices: usize,
    /// Capability, multiprocessors and memory of each device, and how kernels run.
    pub emulator: Emulator,
    /// The true capability: the emulator knows 8.0 and 9.0 alone.
    pub capability: (u32, u32),
    pub failures: Vec<Failure>,
    pub run: Run,
    pub counts: Option<String>,
    pub trace: Option<String>,
}

/// A call that fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// `*` for any.
    pub function: String,
    /// Counted from 1.
    pub call: u64,
    pub code: Code,
}

/// The moment at which enqueued work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Late,
    Early,
    /// At once on the first (0) or second (1) of each two streams, in the order in which they were made, and late on all others.
    Ahead(u64),
    /// A random part of it after each call; the state of the generator.
    Coin(u64),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            version: 13_000,
            devices: 1,
            emulator: Emulator::default(),
            capability: (8, 0),
            failures: Vec::new(),
            run: Run::Late,
            counts: None,
            trace: None,
        }
    }
}

impl Options {
    /// Reads the words.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn read(text: &str) -> Result<Options, String> {
        let mut options = Options::default();
        for word in text.split_whitespace() {
            options.set(word).ok_or_else(|| format!("CUDA_STAND_IN: `{word}` is not understood"))?;
        }
        Ok(options)
    }

    /// The same machine, as far as `CUDA_VISIBLE_DEVICES` shows its devices: those before the first number that is none.
    pub fn seen_through(mut self, visible: Option<&str>) -> Options {
        if let Some(list) = visible {
            let is_device = |number: &&str| number.trim().parse().is_ok_and(|n: usize| n < self.devices);
            self.devices = list.split(',').take_while(is_device).count();
        }
        self
    }

    fn set(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        match name {
            "cc" => {
                let (major, minor) = value.split_once('.')?;
                self.capability = (major.parse().ok()?, minor.parse().ok()?);
                // Kernels for Hopper run on Hopper alone; all others run alike everywhere.
                self.emulator.compute_capability = if self.capability == (9, 0) { (9, 0) } else { (8, 0) };
            }
            "multiprocessors" => self.emulator.multiprocessors = value.parse().ok().filter(|&n| n > 0)?,
            "devices" => self.devices = value.parse().ok()?,
            "version" => self.version = value.parse().ok()?,
            "memory" => self.emulator.memory_bytes = Some(bytes(value)?),
            "emulator" => self.emulator = self.emulator.overridden(value).ok()?,
            "counts" => self.counts = Some(value.into()),
            "trace" => self.trace = Some(value.into()),
            "run" => {
                self.run = match value.split_once(':').unwrap_or((value, "")) {
                    ("late", "") => Run::Late,
                    ("early", "") => Run::Early,
                    ("ahead", "1") => Run::Ahead(0),
                    ("ahead", "2") => Run::Ahead(1),
                    ("coin", seed) => Run::Coin(seed.parse().ok()?),
                    _ => return None,
                }
            }
            "fail" => {
                let mut parts = value.split(':');
                let function = parts.next()?.to_string();
                let call = parts.next()?.parse().ok().filter(|&n| n > 0)?;
                let code = Code(parts.next().map_or(Some(Code::ERROR_UNKNOWN.0), |n| n.parse().ok())?);
                self.failures.push(Failure { function, call, code });
            }
            _ => return None,
        }
        Some(())
    }
}

fn bytes(text: &str) -> Option<u64> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let unit = units.iter().find_map(|&(name, shift)| Some((text.strip_suffix(name)?, shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    number.parse::<u64>().ok()?.checked_shl(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_set_what_they_name_and_others_are_refused() {
        let text =
            "cc=8.6 multiprocessors=40 devices=2 version=12040 memory=3G run=coin:7 fail=cuMemAlloc_v2:7:2 fail=*:9";
        let options = Options::read(text).unwrap();
        assert_eq!((options.capability, options.emulator.compute_capability), ((8, 6), (8, 0)));
        assert_eq!((options.devices, options.version, options.run), (2, 12_040, Run::Coin(7)));
        assert_eq!(Options::read("run=ahead:2").unwrap().run, Run::Ahead(1));
        assert_eq!((options.emulator.multiprocessors, options.emulator.memory_bytes), (40, Some(3 << 30)));
        let seen = |visible| Options::read("devices=3").unwrap().seen_through(visible).devices;
        assert_eq!([None, Some("2"), Some("0, 2"), Some("1,7,0"), Some("")].map(seen), [3, 1, 2, 1, 0]);
        let failures: Vec<_> = options.failures.iter().map(|f| (f.function.as_str(), f.call, f.code.0)).collect();
        assert_eq!(failures, [("cuMemAlloc_v2", 7, 2), ("*", 9, 999)]);
        for word in [
            "cc=9",
            "devices",
            "fast=1",
            "fail=cuInit",
            "fail=cuInit:0",
            "memory=much",
            "run=often",
            "run=ahead",
            "run=ahead:3",
        ] {
            assert!(Options::read(word).unwrap_err().contains(word), "{word}");
        }
    }
}
