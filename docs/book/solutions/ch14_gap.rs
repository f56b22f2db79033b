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

/// Divides the gap.
pub fn gap(work: &[Work], machine: &Machine) -> Gap {
    let (ceilings, rates) = (machine.ceilings, machine.rates);
    let mut gap = Gap::default();
    for work in work {
        let beyond_us = rates.predict_us(work) - rates.launch_us - ceilings.floor_us(work);
        let compute_us = work.flops as f64 / (1e6 * ceilings.tflops);
        let by_products = compute_us >= work.bytes as f64 / (1e3 * ceilings.copy_gb_s);
        gap.launches_us += rates.launch_us;
        *(if by_products { &mut gap.products_us } else { &mut gap.bytes_us }) += beyond_us;
    }
    gap
}
