//! The place of a rank on its machine.

use super::Ranks;
use crate::Result;
use std::fs;
use std::thread::available_parallelism;

/// The place of a rank on its machine: ranks of one machine share its GPUs and cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Number among the ranks of the machine: the GPU that it computes on.
    pub local_rank: usize,
    /// Threads to compute with. The launcher may have given each rank cores of its own, or all of them the same.
    pub threads: usize,
}

impl Ranks {
    /// Finds the place of this rank.
    ///
    /// # Errors
    /// A connection that fails.
    pub fn seat(&self) -> Result<Seat> {
        let cores = available_parallelism().map_or(1, usize::from);
        let Some(link) = &self.link else { return Ok(Seat { local_rank: 0, threads: cores }) };
        let all = self.gather(format!("{}\n{}", link.host(), allowed_cores()).as_bytes())?;
        Ok(seat(&all, link.rank(), cores))
    }
}

/// The place of a rank, from the machine and the cores of each.
fn seat(all: &[Vec<u8>], rank: usize, cores: usize) -> Seat {
    let host = |rank: usize| all[rank].split(|&byte| byte == b'\n').next();
    let sharing = all.iter().filter(|other| **other == all[rank]).count();
    Seat { local_rank: (0..rank).filter(|&other| host(other) == host(rank)).count(), threads: (cores / sharing).max(1) }
}

/// The cores that this process may use, as Linux writes them; elsewhere nothing.
fn allowed_cores() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or_default().trim().into()
}

#[cfg(test)]
mod tests {
    use super::super::threads::on_ranks;
    use super::*;

    #[test]
    fn ranks_of_a_machine_share_it() {
        let seats = on_ranks(4, |ranks| ranks.seat().unwrap());
        let cores = available_parallelism().map_or(1, usize::from);
        let threads = (cores / 2).max(1);
        assert_eq!(seats, [0, 1, 0, 1].map(|local_rank| Seat { local_rank, threads }));
        assert_eq!(Ranks::alone().seat().unwrap(), Seat { local_rank: 0, threads: cores });
        // Cores of their own are not shared.
        let all: Vec<Vec<u8>> = ["a\n0-3", "a\n4-7", "b\n0-3"].map(|text| text.as_bytes().to_vec()).into();
        assert_eq!(seat(&all, 1, 4), Seat { local_rank: 1, threads: 4 });
        assert_eq!(seat(&all, 2, 4), Seat { local_rank: 0, threads: 4 });
    }
}
