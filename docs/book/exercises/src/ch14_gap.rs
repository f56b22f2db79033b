//! Exercise 14.2: what lies between the floor of a step and the time that is expected.

use ddpm::engine::tape::Work;
use ddpm::profile::Machine;

/// Microseconds that are expected beyond the floors of all launches, by their reason.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gap {
    /// Of being launched.
    pub launches_us: f64,
    /// Of launches whose floor is one of products.
    pub products_us: f64,
    /// Of launches whose floor is one of bytes.
    pub bytes_us: f64,
}

/// Divides the gap. `machine.ceilings` and `machine.rates` have the numbers of the floor and of the expectation, and the
/// functions that use them.
pub fn gap(work: &[Work], machine: &Machine) -> Gap {
    let _ = (work, machine);
    todo!("exercise 14.2")
}
