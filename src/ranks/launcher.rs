//! The job as its launcher describes it in the environment.

use std::fmt;

/// Variables that hold the number of processes, in the order in which they count. `SLURM_NTASKS` is not among them: every
/// shell of a batch job has it, also where nothing was started in parallel.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
/// Variables that a process has which a launcher started, though it may not say how many there are.
#[cfg(feature = "mpi")]
const TRACES: [&str; 2] = ["PMIX_RANK", "PMI_RANK"];

/// A number of processes, and the variable that says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Name of the variable.
    pub variable: &'static str,
    /// Number of processes.
    pub size: usize,
}

impl fmt::Display for Launched {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} = {}: a launcher started so many processes", self.variable, self.size)
    }
}

/// The number of processes that a launcher has started, if one says it.
pub fn launched(variable: impl Fn(&str) -> Option<String>) -> Option<Launched> {
    let size = |name: &str| variable(name)?.trim().parse().ok();
    SIZES.into_iter().find_map(|name| Some(Launched { variable: name, size: size(name)? }))
}

/// True if a launcher started this process.
#[cfg(feature = "mpi")]
pub fn is_launched(variable: impl Fn(&str) -> Option<String>) -> bool {
    SIZES.into_iter().chain(TRACES).any(|name| variable(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_next_to_the_process_counts() {
        let said = |variables: &[(&str, &str)]| {
            let found = launched(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).into()));
            found.map(|launched| (launched.variable, launched.size))
        };
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[("SLURM_NTASKS", "8")]), None);
        assert_eq!(said(&[("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "4")]), Some(("SLURM_STEP_NUM_TASKS", 4)));
        assert_eq!(said(&[("SLURM_STEP_NUM_TASKS", "1"), ("PMI_SIZE", "2")]), Some(("PMI_SIZE", 2)));
        assert_eq!(said(&[("PMI_SIZE", "1"), ("OMPI_COMM_WORLD_SIZE", "8")]), Some(("OMPI_COMM_WORLD_SIZE", 8)));
    }
}
