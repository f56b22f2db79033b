//! The processes that train one network together: the ranks 0, 1, 2, ... of a job, as MPI counts them.
//!
//! Rank 0 leads: it alone decides, prints and writes; the others do what it orders. All that they exchange goes through one
//! operation, [`Link::exchange`] between two of them. What is made of it here is the same on every link, so the order of
//! sums is too.
//!
//! ```text
//! link     two ranks exchange bytes: MPI (`mpi`); threads, in tests
//! sum      gradients of all ranks, added up as a tree
//! seat     which GPU of its machine a rank computes on, and with how many threads
//! launcher what mpirun and srun say of the job
//! ```

mod launcher;
mod link;
#[cfg(feature = "mpi")]
mod mpi;
mod open;
mod seat;
mod sum;
#[cfg(test)]
pub mod threads;

pub use link::Link;
pub use open::open;
pub use seat::Seat;

use crate::{Error, Result};
use bytemuck::{cast_slice, pod_collect_to_vec};
use std::fmt::Display;
use std::rc::Rc;

/// The ranks of a job; of a process that was started alone, itself.
#[derive(Clone, Default)]
pub struct Ranks {
    link: Option<Rc<dyn Link>>,
}

/// An order of rank 0 to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take part in the run.
    Begin,
    /// Make the next step.
    Step,
    /// End.
    End,
}

impl Ranks {
    /// Only this process.
    pub fn alone() -> Ranks {
        Ranks::default()
    }

    /// The ranks of a job.
    ///
    /// # Errors
    /// A number of ranks that is no power of two.
    pub fn new(link: Rc<dyn Link>) -> Result<Ranks> {
        match link.size() {
            1 => Ok(Ranks::alone()),
            size if size.is_power_of_two() => Ok(Ranks { link: Some(link) }),
            size => Err(Error::Config(format!("{size} processes: wanted 1, 2, 4, 8 or another power of two"))),
        }
    }

    /// Number of this rank.
    pub fn rank(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.rank())
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.link.as_ref().map_or(1, |link| link.size())
    }

    /// True for the rank that decides, prints and writes.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Adds up the values of all ranks, in the pairing `((0 + 1) + (2 + 3))`; afterwards all have the sum.
    ///
    /// # Errors
    /// A connection that fails.
    pub fn sum(&self, values: &mut [f32]) -> Result<()> {
        self.link.as_ref().map_or(Ok(()), |link| sum::sum(&**link, values))
    }

    /// Gives all ranks the bytes of rank 0.
    ///
    /// # Errors
    /// A connection that fails.
    pub fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let Some(link) = &self.link else { return Ok(()) };
        let rank = link.rank();
        let mut reached = 1;
        // Rank 0 knows the bytes, then 0 and 1, then 0 to 3, ...
        while reached < link.size() {
            if rank < reached {
                link.exchange(rank + reached, &(bytes.len() as u64).to_le_bytes(), &mut [])?;
                link.exchange(rank + reached, bytes, &mut [])?;
            } else if rank < 2 * reached {
                *bytes = vec![0; receive_length(&**link, rank - reached, &[])?];
                link.exchange(rank - reached, &[], bytes)?;
            }
            reached *= 2;
        }
        Ok(())
    }

    /// Gives all ranks the values of rank 0.
    ///
    /// # Errors
    /// A connection that fails.
    pub fn broadcast_f32(&self, values: &mut Vec<f32>) -> Result<()> {
        let mut bytes = cast_slice(values).to_vec();
        self.broadcast(&mut bytes)?;
        *values = pod_collect_to_vec(&bytes);
        Ok(())
    }

    /// Gives all ranks the bytes of each, in their order.
    ///
    /// # Errors
    /// A connection that fails.
    pub fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut known = vec![bytes.to_vec()];
        let Some(link) = &self.link else { return Ok(known) };
        let rank = link.rank();
        // Pairs know each other's, then fours, ...
        while known.len() < link.size() {
            let partner = rank ^ known.len();
            let mut theirs = Vec::new();
            for mine in &known {
                let mut bytes = vec![0; receive_length(&**link, partner, &(mine.len() as u64).to_le_bytes())?];
                link.exchange(partner, mine, &mut bytes)?;
                theirs.push(bytes);
            }
            known = if partner > rank { [known, theirs] } else { [theirs, known] }.concat();
        }
        Ok(known)
    }

    /// Tells the others what to do; of rank 0 alone. Without others it does nothing.
    ///
    /// # Errors
    /// A connection that fails.
    pub fn order(&self, order: Order) -> Result<()> {
        assert!(self.leads(), "rank 0 gives the orders");
        self.broadcast(&mut vec![order as u8])
    }

    /// Waits for the next order of rank 0.
    ///
    /// # Errors
    /// A connection that fails.
    pub fn next_order(&self) -> Result<Order> {
        let mut bytes = Vec::new();
        self.broadcast(&mut bytes)?;
        let orders = [Order::Begin, Order::Step, Order::End];
        let order = orders.into_iter().find(|&order| bytes == [order as u8]);
        order.ok_or_else(|| Error::Config("rank 0 runs another program".into()))
    }

    /// Waits until all ranks have come to the result of something that each does for itself. Where it failed on some, it
    /// fails on all: on rank 0 with the first error, on the others as [`Error::Elsewhere`], which rank 0 reports.
    ///
    /// # Errors
    /// As said, or a connection that fails.
    pub fn together<T, E: Display + From<Error>>(&self, result: Result<T, E>) -> Result<T, E> {
        if self.size() == 1 {
            return result;
        }
        let mine = result.as_ref().err().map_or(String::new(), |error| format!("{error:#}"));
        let texts = self.gather(mine.as_bytes())?;
        let Some(first) = texts.iter().position(|text| !text.is_empty()) else { return result };
        match result {
            Err(error) if self.leads() => Err(error),
            _ if self.leads() => {
                let text = String::from_utf8_lossy(&texts[first]).into_owned();
                Err(Error::Rank { rank: first, text }.into())
            }
            _ => Err(Error::Elsewhere.into()),
        }
    }

    /// Refuses ranks of which each has something else, where all must have the same: pairs of a name and of text.
    ///
    /// # Errors
    /// The first that differs, with the line that does.
    pub fn agree(&self, facts: &[(&str, String)]) -> Result<()> {
        for (name, mine) in facts {
            let texts = self.gather(mine.as_bytes())?;
            let other = texts.iter().position(|text| *text != texts[0]);
            self.together(other.map_or(Ok(()), |rank| {
                let [there, here] = [rank, 0].map(|rank| String::from_utf8_lossy(&texts[rank]).into_owned());
                let difference = first_difference(&there, &here);
                Err(Error::Config(format!("{name} of rank {rank} is not that of rank 0: {difference}")))
            }))?;
        }
        Ok(())
    }

    /// Ends the processes of all ranks with this exit code; returns if there is only this one.
    pub fn abort(&self, code: u8) {
        if let Some(link) = &self.link {
            link.abort(code);
        }
    }
}

/// Sends a length, if there is one, and receives another.
fn receive_length(link: &dyn Link, partner: usize, mine: &[u8]) -> Result<usize> {
    let mut length = [0; 8];
    link.exchange(partner, mine, &mut length)?;
    Ok(u64::from_le_bytes(length) as usize)
}

/// The first line in which two texts differ.
fn first_difference(there: &str, here: &str) -> String {
    let mut lines = there.lines().zip(here.lines());
    match lines.find(|(there, here)| there != here) {
        Some((there, here)) => format!("{there}, not {here}"),
        None => "one is longer".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::threads::on_ranks;
    use super::*;

    #[test]
    fn all_get_what_rank_0_sends_and_what_each_has() {
        for size in [1, 2, 4, 8] {
            let results = on_ranks(size, |ranks| {
                let mut bytes = if ranks.leads() { vec![7; 1000] } else { Vec::new() };
                ranks.broadcast(&mut bytes).unwrap();
                let all = ranks.gather(&vec![ranks.rank() as u8; ranks.rank()]).unwrap();
                let order =
                    if ranks.leads() { ranks.order(Order::Step).map(|()| Order::Step) } else { ranks.next_order() };
                (bytes, all, order.unwrap())
            });
            let all: Vec<Vec<u8>> = (0..size).map(|rank| vec![rank as u8; rank]).collect();
            for result in results {
                assert_eq!(result, (vec![7; 1000], all.clone(), Order::Step), "{size} ranks");
            }
        }
    }

    #[test]
    fn what_fails_on_one_fails_on_all_and_rank_0_says_why() {
        let results = on_ranks(4, |ranks| {
            let wrong = || Err(Error::Config("no such file".into()));
            let result = ranks.together(if ranks.rank() == 2 { wrong() } else { Ok(1) });
            let text = result.map_err(|error| error.to_string());
            (text, ranks.together::<_, Error>(Ok(5)).unwrap())
        });
        assert_eq!(results[0], (Err("rank 2: no such file".into()), 5));
        assert!(results[1..].iter().all(|result| result == &(Err(Error::Elsewhere.to_string()), 5)));
    }

    #[test]
    fn ranks_with_other_facts_are_refused() {
        let agree = |seed_of_3: &'static str| {
            let results = on_ranks(4, move |ranks| {
                let seed = if ranks.rank() == 3 { seed_of_3 } else { "seed = 0" };
                ranks.agree(&[("the program", "a".into()), ("the configuration", format!("steps = 7\n{seed}\n"))])
            });
            results.into_iter().next().unwrap().map_err(|error| error.to_string())
        };
        agree("seed = 0").unwrap();
        let wanted = "the configuration of rank 3 is not that of rank 0: seed = 1, not seed = 0";
        assert_eq!(agree("seed = 1").unwrap_err(), wanted);
    }

    #[test]
    fn the_number_of_ranks_is_a_power_of_two() {
        let refused = on_ranks_unchecked(3).err().unwrap().to_string();
        assert_eq!(refused, "3 processes: wanted 1, 2, 4, 8 or another power of two");
        assert_eq!(on_ranks_unchecked(1).unwrap().size(), 1);
    }

    fn on_ranks_unchecked(size: usize) -> Result<Ranks> {
        Ranks::new(Rc::new(threads::links(size).remove(0)))
    }
}
