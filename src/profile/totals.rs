//! A step compared with a machine, launch by launch and summed by op, layer and kernel.

use super::machine::{Machine, Occupancy};
use super::step::Step;
use crate::engine::tape::Work;

/// A launch with its floor, its predicted time and, where it ran, its measured time.
#[derive(Clone, Debug)]
pub struct Row {
    pub work: Work,
    pub floor_us: f64,
    pub predicted_us: f64,
    pub measured_us: Option<f64>,
    /// How the blocks fill the multiprocessors, where that is known.
    pub occupancy: Option<Occupancy>,
}

impl Row {
    /// Measured where it ran, else predicted.
    pub fn us(&self) -> f64 {
        self.measured_us.unwrap_or(self.predicted_us)
    }
}

/// A step compared with a machine.
pub struct Profile {
    pub step: Step,
    pub machine: Machine,
    pub rows: Vec<Row>,
}

/// Sums over several launches.
#[derive(Clone, Debug, Default)]
pub struct Total {
    pub name: String,
    /// Where all have the same: that of [`Work::shape`].
    pub shape: String,
    pub launches: usize,
    pub flops: u64,
    pub bytes: u64,
    pub floor_us: f64,
    pub predicted_us: f64,
    /// Measured where the step ran, else predicted.
    pub us: f64,
}

impl Total {
    fn add(&mut self, row: &Row) {
        self.launches += 1;
        self.flops += row.work.flops;
        self.bytes += row.work.bytes;
        self.floor_us += row.floor_us;
        self.predicted_us += row.predicted_us;
        self.us += row.us();
    }
}

impl Profile {
    /// Compares a step with a machine.
    pub fn new(step: Step, machine: Machine) -> Profile {
        let row = |(i, work): (usize, &Work)| Row {
            floor_us: machine.ceilings.floor_us(work),
            predicted_us: machine.rates.predict_us(work),
            measured_us: step.measured_us.as_ref().map(|us| us[i]),
            occupancy: work.launch.as_ref().and_then(|launch| machine.occupancy(launch)),
            work: work.clone(),
        };
        let rows = step.work.iter().enumerate().map(row).collect();
        Profile { step, machine, rows }
    }

    /// The whole step.
    pub fn total(&self) -> Total {
        let mut total = Total { name: "step".into(), ..Total::default() };
        self.rows.iter().for_each(|row| total.add(row));
        total
    }

    /// Totals of each op, the longest first.
    pub fn by_op(&self) -> Vec<Total> {
        self.by(|work| (work.op, ""))
    }

    /// Totals of each block of the network, in the order in which the step comes to them.
    pub fn by_layer(&self) -> Vec<Total> {
        let mut totals = self.by(|work| (block(&work.layer), ""));
        let place = |total: &Total| self.rows.iter().position(|row| block(&row.work.layer) == total.name);
        totals.sort_by_key(place);
        totals
    }

    /// Totals of launches that do the same: the kernel (or op) and its shape.
    pub fn by_kernel(&self) -> Vec<Total> {
        self.by(|work| (work.launch.as_ref().map_or(work.op, |launch| &launch.kernel), &work.shape))
    }

    /// Totals of the launches that have the same name and shape, the longest first.
    fn by(&self, key: impl Fn(&Work) -> (&str, &str)) -> Vec<Total> {
        let mut totals: Vec<Total> = Vec::new();
        for row in &self.rows {
            let (name, shape) = key(&row.work);
            match totals.iter_mut().find(|total| (&*total.name, &*total.shape) == (name, shape)) {
                Some(total) => total.add(row),
                None => {
                    let mut total = Total { name: name.into(), shape: shape.into(), ..Total::default() };
                    total.add(row);
                    totals.push(total);
                }
            }
        }
        totals.sort_by(|a, b| b.us.total_cmp(&a.us));
        totals
    }

    /// Fraction of the product ceiling that the step reaches (model FLOPs utilisation).
    pub fn mfu(&self) -> f64 {
        let total = self.total();
        total.flops as f64 / (total.us * self.machine.ceilings.tflops * 1e6)
    }

    /// Images per second at the step's time.
    pub fn images_per_s(&self) -> f64 {
        self.step.images as f64 / self.total().us * 1e6
    }
}

/// The block to which a layer belongs: its name up to the last number that something follows, e.g. `down_blocks.0.resnets.1`
/// of `down_blocks.0.resnets.1.conv1`. Without a number, its first part.
pub(super) fn block(layer: &str) -> &str {
    let mut ends = layer.match_indices('.').map(|(i, _)| i);
    let is_number = |end: usize| layer[..end].rsplit('.').next().is_some_and(|part| part.parse::<u32>().is_ok());
    let end = ends.rfind(|&end| is_number(end)).or_else(|| layer.find('.'));
    &layer[..end.unwrap_or(layer.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_belong_to_blocks() {
        let cases = [
            ("down_blocks.0.resnets.1.conv1", "down_blocks.0.resnets.1"),
            ("mid_block.attentions.0.to_out.0", "mid_block.attentions.0"),
            ("up_blocks.2.join", "up_blocks.2"),
            ("time_embedding.linear_1", "time_embedding"),
            ("conv_in", "conv_in"),
        ];
        for (layer, want) in cases {
            assert_eq!(block(layer), want);
        }
    }
}
