//! Points of the plane: four distributions on which a diffusion model is small enough to be looked through, and of
//! some of which the optimal denoiser is known.
//!
//! A point is a function of (seed, index), so a set can be continued without end: a data set is the first
//! [`POINTS`] points of one seed, fresh points for an evaluation are those of another.

use rayon::prelude::*;

use super::classes::ClassFilter;
use super::dataset::{Dataset, Samples, Split};
use super::options::DataOptions;
use crate::engine::random::{PhiloxRng, Stream};
use crate::{Error, Result};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal, UnitCircle};
use std::f64::consts::PI;

/// Points of a set, training and test together.
pub const POINTS: usize = 50_000;
/// The first four fifths are learnt from.
const TRAIN_POINTS: usize = POINTS / 5 * 4;
/// The seed of the points that are learnt from and tested on.
pub const DATA_SEED: u64 = 0;
/// The points of every set.
const DRAWS: Stream = Stream::new(9);
/// Points that are drawn from one generator, one after the other.
const BLOCK: u64 = 1024;

/// The spread of a cluster around its corner.
pub const CLUSTER_STD: f64 = 0.2;
/// Half the distance of the two rings' centres; their radius is 1.
pub const RING_OFFSET: f64 = 0.5;
/// The spread of a ring's radius.
pub const RING_STD: f64 = 0.05;
/// The spread around the Swiss roll, which is 14 wide.
pub const ROLL_STD: f64 = 0.55;
/// Half the distance of the two waves; their amplitude is 1.
pub const WAVE_OFFSET: f64 = 0.5;
/// The spread around a wave, upwards and downwards.
pub const WAVE_STD: f64 = 0.2;

/// A distribution of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointSet {
    /// Four Gaussians at the corners of a square.
    Clusters,
    /// Two circular bands that overlap.
    Rings,
    /// A spiral of one and a half turns.
    SwissRoll,
    /// Two sinusoids, one above the other.
    Waves,
}

impl PointSet {
    /// All of them, in the order in which they are named together.
    pub const ALL: [PointSet; 4] = [PointSet::Clusters, PointSet::Rings, PointSet::SwissRoll, PointSet::Waves];

    /// The name to write after `--data`.
    pub fn name(self) -> &'static str {
        match self {
            PointSet::Clusters => "clusters",
            PointSet::Rings => "rings",
            PointSet::SwissRoll => "swiss-roll",
            PointSet::Waves => "waves",
        }
    }

    /// The set of this name.
    pub fn from_name(name: &str) -> Option<PointSet> {
        PointSet::ALL.into_iter().find(|set| set.name() == name)
    }

    /// The parts that make up the set, equally likely; empty where it is of one piece.
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            PointSet::Clusters => &["lower left", "lower right", "upper left", "upper right"],
            PointSet::Rings => &["left", "right"],
            PointSet::SwissRoll => &[],
            PointSet::Waves => &["lower", "upper"],
        }
    }

    /// Draws a point and its class.
    fn sample(self, rng: &mut impl Rng) -> ([f64; 2], u32) {
        let class = match self.class_names().len() {
            0 => 0,
            classes => rng.random_range(0..classes as u32),
        };
        let sign = |bit: u32| if bit == 0 { -1.0 } else { 1.0 };
        let point = match self {
            PointSet::Clusters => {
                [sign(class & 1) + CLUSTER_STD * normal(rng), sign(class >> 1) + CLUSTER_STD * normal(rng)]
            }
            PointSet::Rings => {
                let [x, y]: [f64; 2] = UnitCircle.sample(rng);
                let radius = 1.0 + RING_STD * normal(rng);
                [sign(class) * RING_OFFSET + radius * x, radius * y]
            }
            PointSet::SwissRoll => {
                let angle = rng.random_range(1.5 * PI..4.5 * PI);
                [angle * angle.cos() + ROLL_STD * normal(rng), angle * angle.sin() + ROLL_STD * normal(rng)]
            }
            PointSet::Waves => {
                let x = rng.random_range(-PI..PI);
                [x, (2.0 * x).sin() + sign(class) * WAVE_OFFSET + WAVE_STD * normal(rng)]
            }
        };
        (point, class)
    }

    /// The map that gives the data set mean 0 and standard deviation 1 along each axis.
    pub fn standardisation(self) -> Standardisation {
        Standardisation::of(&self.raw(DATA_SEED, 0, POINTS).0)
    }

    /// The points `first .. first + n` of a seed as they come from the generator, and their classes.
    pub fn raw(self, seed: u64, first: u64, n: usize) -> (Vec<[f64; 2]>, Vec<u32>) {
        let mut points = vec![[0.0; 2]; n];
        let mut classes = vec![0; n];
        // Cut where blocks begin, so that a point does not depend on what is drawn with it.
        let head = ((BLOCK - first % BLOCK) as usize).min(n);
        let (first_points, points_left) = points.split_at_mut(head);
        let (first_classes, classes_left) = classes.split_at_mut(head);
        self.fill(seed, first, first_points, first_classes);
        let blocks = points_left.par_chunks_mut(BLOCK as usize).zip(classes_left.par_chunks_mut(BLOCK as usize));
        blocks.enumerate().for_each(|(i, (points, classes))| {
            self.fill(seed, first + head as u64 + i as u64 * BLOCK, points, classes)
        });
        (points, classes)
    }

    /// [`PointSet::raw`] within one block, whose points are drawn one after the other from the block's generator.
    fn fill(self, seed: u64, first: u64, points: &mut [[f64; 2]], classes: &mut [u32]) {
        let mut rng = PhiloxRng::new(seed, DRAWS, first / BLOCK);
        (0..first % BLOCK).for_each(|_| _ = self.sample(&mut rng));
        points.iter_mut().zip(classes).for_each(|(point, class)| (*point, *class) = self.sample(&mut rng));
    }
}

fn normal(rng: &mut impl Rng) -> f64 {
    rng.sample(StandardNormal)
}

/// The affine map of each axis to mean 0 and standard deviation 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standardisation {
    pub mean: [f64; 2],
    pub std: [f64; 2],
}

impl Standardisation {
    /// Measures points; the deviation is that of the points themselves, not an estimate for more of them.
    ///
    /// # Panics
    /// If there are no points.
    pub fn of(points: &[[f64; 2]]) -> Standardisation {
        assert!(!points.is_empty(), "moments of no points");
        let average = |f: &dyn Fn(&[f64; 2]) -> f64| points.iter().map(f).sum::<f64>() / points.len() as f64;
        let mean = [0, 1].map(|k| average(&|p| p[k]));
        let std = [0, 1].map(|k| average(&|p| (p[k] - mean[k]).powi(2)).sqrt());
        Standardisation { mean, std }
    }

    /// A point in standardised coordinates.
    pub fn apply(&self, point: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|k| (point[k] - self.mean[k]) / self.std[k])
    }
}

/// The points `first .. first + n` of a seed, `[n, 2]`, standardised. Seeds other than [`DATA_SEED`] give points that no
/// training has seen.
pub fn draw(set: PointSet, seed: u64, first: u64, n: usize, standardisation: &Standardisation) -> Vec<f32> {
    let (points, _) = set.raw(seed, first, n);
    points.iter().flat_map(|&point| standardisation.apply(point).map(|x| x as f32)).collect()
}

/// A split of the data set, `[1, 1, 2]` a point.
///
/// # Errors
/// Options that are for images, or classes that the set does not have.
pub(super) fn dataset(set: PointSet, split: Split, options: &DataOptions) -> Result<Dataset> {
    let dims = (options.size.unwrap_or([1, 1]), options.channels.unwrap_or(2));
    if dims != ([1, 1], 2) || options.to_grey {
        let asked = match options.to_grey {
            true => "grey images".into(),
            false => format!("images of {} x {} pixels with {} channels", dims.0[0], dims.0[1], dims.1),
        };
        return Err(Error::Config(format!(
            "{} holds points of the plane (size 1, 2 channels), but {asked} are asked for",
            set.name()
        )));
    }
    let (first, n) = match split {
        Split::Train => (0, TRAIN_POINTS),
        Split::Test => (TRAIN_POINTS, POINTS - TRAIN_POINTS),
    };
    let (points, classes) = set.raw(DATA_SEED, first as u64, n);
    let standardisation = set.standardisation();
    let dataset = Dataset {
        name: set.name().into(),
        format: "drawn on the fly".into(),
        len: n,
        height: 1,
        width: 1,
        channels: 2,
        samples: Samples::Points(points.iter().flat_map(|&p| standardisation.apply(p).map(|x| x as f32)).collect()),
        labels: (!set.class_names().is_empty()).then_some(classes),
        notes: Vec::new(),
        class_names: set.class_names().iter().map(|&name| name.into()).collect(),
    };
    match &options.classes {
        Some(classes) => dataset.select(&ClassFilter::new(classes)?),
        None => Ok(dataset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::open;

    /// Both splits as one, `[POINTS]`.
    fn whole(set: PointSet) -> Vec<[f64; 2]> {
        let split = |split| open(set.name(), split, &DataOptions::default()).unwrap();
        let values = |data: Dataset| data.points().unwrap().to_vec();
        let all = [values(split(Split::Train)), values(split(Split::Test))].concat();
        all.chunks_exact(2).map(|p| [f64::from(p[0]), f64::from(p[1])]).collect()
    }

    #[test]
    fn sets_are_standardised_over_training_and_test_together() {
        for set in PointSet::ALL {
            let points = whole(set);
            assert_eq!(points.len(), 50_000);
            let moments = Standardisation::of(&points);
            assert!(moments.mean.iter().all(|mean| mean.abs() <= 1e-6), "{set:?}: {moments:?}");
            assert!(moments.std.iter().all(|std| (std - 1.0).abs() <= 1e-6), "{set:?}: {moments:?}");
        }
    }

    /// Exact: rings 1/4 + (1 + 0.05^2)/2 and (1 + 0.05^2)/2, waves pi^2/3 and 1/2 + 1/4 + 0.2^2, clusters 1 + 0.2^2.
    #[test]
    fn spreads_before_standardising_are_those_of_the_formulas() {
        let exact = [(PointSet::Rings, [0.8667, 0.7080]), (PointSet::Waves, [1.8138, 0.8888])];
        for (set, want) in exact.into_iter().chain([(PointSet::Clusters, [1.0198; 2])]) {
            let std = set.standardisation().std;
            assert!((0..2).all(|k| (std[k] / want[k] - 1.0).abs() <= 0.01), "{set:?}: {std:?}, wanted {want:?}");
        }
        let roll = PointSet::SwissRoll.standardisation();
        assert!(roll.std.iter().all(|std| (5.0..8.0).contains(std)), "{roll:?}");
    }

    #[test]
    fn a_point_depends_on_seed_and_index_alone() {
        for set in PointSet::ALL {
            let (points, classes) = set.raw(7, 0, 5000);
            for (first, n) in [(0, 1), (3, 1500), (1023, 2), (1024, 1024), (4000, 1000)] {
                let (part, part_classes) = set.raw(7, first as u64, n);
                assert_eq!(part, points[first..first + n]);
                assert_eq!(part_classes, classes[first..first + n]);
            }
            assert_ne!(set.raw(8, 0, 5000).0, points);
            assert_ne!(set.raw(7, 1 << 42, 5000).0, points);
        }
    }

    #[test]
    fn fresh_points_have_the_moments_of_the_data() {
        for set in PointSet::ALL {
            let n = 200_000;
            let fresh = draw(set, 1, 0, n, &set.standardisation());
            let points: Vec<[f64; 2]> = fresh.chunks_exact(2).map(|p| [f64::from(p[0]), f64::from(p[1])]).collect();
            let moments = Standardisation::of(&points);
            // Five standard errors of the 50,000 points, whose own moments are 0 and 1.
            let bound = 5.0 / (POINTS as f64).sqrt();
            assert!((0..2).all(|k| moments.mean[k].abs() <= bound), "{set:?}: {moments:?}");
            assert!((0..2).all(|k| (moments.std[k] - 1.0).abs() <= bound), "{set:?}: {moments:?}");
        }
    }

    #[test]
    fn labels_say_which_part_a_point_belongs_to() {
        let clusters = open("clusters", Split::Train, &DataOptions::default()).unwrap();
        let points = clusters.points().unwrap().chunks_exact(2);
        for (point, &label) in points.zip(clusters.labels().unwrap()) {
            // Five deviations keep a point in its quadrant, but for a few in a million.
            assert_eq!(u32::from(point[0] > 0.0) + 2 * u32::from(point[1] > 0.0), label, "{point:?}");
        }
        let count = |class| clusters.labels().unwrap().iter().filter(|&&label| label == class).count();
        assert!((0..4).all(|class| count(class).abs_diff(10_000) <= 450));
        assert!(open("swiss-roll", Split::Train, &DataOptions::default()).unwrap().labels().is_none());

        let upper = DataOptions { classes: Some(vec![1]), ..DataOptions::default() };
        let wave = open("waves", Split::Test, &upper).unwrap();
        assert_eq!(wave.class_names(), ["upper"]);
        assert_eq!(wave.points().unwrap().len(), 2 * wave.len());
        let lower_half = wave.points().unwrap().chunks_exact(2).filter(|p| p[1] < 0.0).count();
        assert!((1..wave.len() / 3).contains(&lower_half), "{lower_half} of {}", wave.len());
    }

    #[test]
    fn batches_copy_points_and_what_is_for_images_is_refused() {
        let rings = open("rings", Split::Test, &DataOptions::default()).unwrap();
        assert_eq!((rings.len(), rings.image_dims()), (10_000, [1, 1, 2]));
        let mut batch = [0.0; 4];
        rings.fill_batch(&[9_999, 3], &[false; 2], &mut batch).unwrap();
        let points = rings.points().unwrap();
        assert_eq!(batch, [points[19_998], points[19_999], points[6], points[7]]);
        assert!(rings.check_flip(false).is_ok());
        assert!(rings.check_flip(true).unwrap_err().to_string().contains("no mirror image"));

        let fitting = DataOptions { size: Some([1, 1]), channels: Some(2), ..DataOptions::default() };
        assert!(open("rings", Split::Train, &fitting).is_ok());
        let grey = DataOptions { to_grey: true, ..DataOptions::default() };
        for options in [
            DataOptions { size: Some([32, 32]), ..fitting.clone() },
            DataOptions { channels: Some(3), ..fitting },
            grey,
        ] {
            let message = open("rings", Split::Train, &options).unwrap_err().to_string();
            assert!(message.contains("rings holds points of the plane") && !message.contains('\n'), "{message}");
        }
        let summary = crate::data::info("swiss-roll", Split::Train, &DataOptions::default()).unwrap().to_string();
        assert!(summary.contains("points    40000") && summary.contains("x and y"), "{summary}");
    }

    #[test]
    fn points_never_change() {
        let bytes: Vec<u8> = PointSet::ALL
            .into_iter()
            .flat_map(|set| draw(set, DATA_SEED, 0, 100, &set.standardisation()))
            .flat_map(|x| ((x * 4096.0).round() as i32).to_le_bytes())
            .collect();
        assert_eq!(crc32c::crc32c(&bytes), 1_630_823_712);
    }
}
