//! One kernel on fixed data, and what arithmetic says of it.

use super::launch::{Launch, bf16_pairs};
use ddpm::engine::device::Driver;

/// Expected result of a kernel.
enum Want {
    Bits(Vec<u32>),
    /// Floats: values and how far from them is allowed.
    Near(Vec<(f64, f64)>),
}

/// Runs a kernel and returns what it wrote.
type Run = dyn Fn(&dyn Driver) -> ddpm::Result<Vec<u32>> + Send;

/// One kernel on fixed data.
pub struct Case {
    pub name: String,
    pub run: Box<Run>,
    want: Want,
    /// True if every device gives the same bits.
    pub exact: bool,
}

impl Case {
    pub fn bits(
        name: impl Into<String>,
        want: Vec<u32>,
        run: impl Fn(&dyn Driver) -> ddpm::Result<Vec<u32>> + Send + 'static,
    ) -> Case {
        Case { name: name.into(), run: Box::new(run), want: Want::Bits(want), exact: true }
    }

    pub fn near(
        name: impl Into<String>,
        want: Vec<(f64, f64)>,
        run: impl Fn(&dyn Driver) -> ddpm::Result<Vec<u32>> + Send + 'static,
    ) -> Case {
        Case { name: name.into(), run: Box::new(run), want: Want::Near(want), exact: false }
    }

    /// The same, with the same bits on every device.
    pub fn exact(self) -> Case {
        Case { exact: true, ..self }
    }

    /// Compares words with what arithmetic says: how many differ, and the first of them.
    pub fn mismatch(&self, words: &[u32]) -> Option<String> {
        let (count, wrong): (usize, Vec<String>) = match &self.want {
            Want::Bits(want) => {
                let differ = words.iter().zip(want).enumerate().filter(|(_, (got, want))| got != want);
                (want.len(), differ.map(|(i, (got, want))| format!("[{i}] is {got:x} instead of {want:x}")).collect())
            }
            Want::Near(want) => {
                let error = |(word, (want, _)): (&u32, &(f64, f64))| (f64::from(f32::from_bits(*word)) - want).abs();
                let pairs = words.iter().zip(want).enumerate();
                // A NaN is not near anything.
                let far =
                    pairs.filter(|&(_, pair)| error(pair).partial_cmp(&pair.1.1).is_none_or(|order| order.is_gt()));
                let text = |(i, (&word, (want, bound))): (usize, (&u32, &(f64, f64)))| {
                    format!("[{i}] is {} instead of {want} +- {bound:.1e}", f32::from_bits(word))
                };
                (want.len(), far.map(text).collect())
            }
        };
        if words.len() != count {
            return Some(format!("{} words instead of {count}", words.len()));
        }
        let first = wrong.first()?;
        Some(format!("{} of {count} words are wrong: {first}", wrong.len()))
    }
}

/// One launch of a kernel whose first operand is its only output.
pub fn words_of(driver: &dyn Driver, launch: Launch) -> ddpm::Result<Vec<u32>> {
    Ok(launch.run_on(driver)?.swap_remove(0))
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Two bf16 values as one word, the first in its low half.
pub fn pair(low: f32, high: f32) -> u32 {
    bf16_pairs(&[low, high])[0]
}
