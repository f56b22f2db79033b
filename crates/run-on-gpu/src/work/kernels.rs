//! The kernels whose values a stage compared: what its tests launched, against the list of all kernels with their tests.

use super::{Done, Stop, Work, output, require};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Lines `FILE KERNEL TEST`.
const KERNELS: &str = include_str!("../../../../tests/kernels.txt");

/// The file to which tests add lines `KERNEL DEVICE TEST`.
pub struct Launched(PathBuf);

impl Launched {
    /// The file of a stage that begins.
    pub fn empty(work: &Work) -> Result<Launched, Stop> {
        let file = work.results.join(format!("parts/launched-{}.txt", work.stage.name));
        fs::write(&file, "")?;
        Ok(Launched(file))
    }

    /// A test that writes down what it launches.
    pub fn written_by(&self, mut test: Command) -> Command {
        test.env("DDPM_LAUNCHED_KERNELS", &self.0);
        test
    }

    /// Fails, on a GPU and with all shapes, if a kernel that it can run was not launched by the test that compares its
    /// values; of kernels whose test is one of these. Adds to the note how many were.
    pub fn check(&self, work: &Work, is_here: impl Fn(&str) -> bool) -> Done {
        if !work.on_gpu() {
            return Ok(());
        }
        let is_hopper = output(&mut work.ddpm(["devices"]))?.lines().any(|line| line.ends_with(" runs sm_90"));
        let here = lines(KERNELS).filter(|[_, _, test]| is_here(test));
        let (wanted, others): (Vec<_>, Vec<_>) = here.partition(|[file, ..]| is_hopper || !file.ends_with("_sm90.cu"));
        let launched = fs::read_to_string(&self.0)?;
        let missing = missing(&wanted, &launched);
        let mut note = format!("{} of {} kernels compared on the GPU", wanted.len() - missing.len(), wanted.len());
        if !others.is_empty() {
            note += &format!(", {} for compute capability 9.0 not", others.len());
        }
        println!("{note}; never launched by their tests: {missing:?}");
        let before = fs::read_to_string(work.note_file()).unwrap_or_default();
        work.note(format!("{before}; {note}"))?;
        // Few shapes do not reach every kernel.
        require(missing.is_empty() || work.few, &format!("never compared on this GPU: {}", missing.join(" ")))
    }
}

fn lines(text: &str) -> impl Iterator<Item = [&str; 3]> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(' ').collect::<Vec<_>>().try_into().ok())
}

/// The kernels that their tests have not launched on a GPU.
fn missing<'a>(wanted: &[[&'a str; 3]], launched: &str) -> Vec<&'a str> {
    let launched: BTreeSet<[&str; 3]> = lines(launched).collect();
    let is_missing = |[_, kernel, test]: &&[&'a str; 3]| !launched.contains(&[*kernel, "cuda", *test]);
    wanted.iter().filter(is_missing).map(|[_, kernel, _]| *kernel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_only_another_test_or_the_emulator_has_launched_is_missing() {
        let wanted = ["a", "b", "c", "d"].map(|kernel| ["x.cu", kernel, "ops::x::right"]);
        let launched = "a cuda ops::x::right\nb emu ops::x::right\nc cuda ops::x::other\nc emu ops::x::right\n";
        assert_eq!(missing(&wanted, launched), ["b", "c", "d"]);
    }

    #[test]
    fn every_line_of_the_list_is_read() {
        let all = KERNELS.lines().filter(|line| !line.starts_with('#')).count();
        assert!(all > 200 && lines(KERNELS).count() == all, "{all}");
    }
}
