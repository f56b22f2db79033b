//! Distances of samples from a data set that are measured again and again while a model is trained: of images the
//! Fréchet and the kernel distance of features, of points the energy distance.
//!
//! The reference is a part of the data, drawn at random, whose features are computed once. Distances compare
//! within a run; those that papers report need all of the data and more samples, which `ddpm eval` takes.

use super::energy::energy_distance;
use super::features::Features;
use super::frechet::frechet_distance;
use super::kid::{Subsets, kid};
use super::moments::Moments;
use super::set::Set;
use crate::data::{Dataset, shuffled};
use crate::sample::Samples;
use crate::train::evaluation::Evaluator;
use crate::{Error, Result, SampleKind};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most samples of the data that are compared with.
const REFERENCE: usize = 10_000;
/// Images whose features are computed together.
const CHUNK: usize = 100;
/// Subsets of the kernel distance, and most samples of each.
const SUBSETS: (usize, usize) = (50, 1000);

/// Measures the distances of samples from a data set.
pub enum Distances {
    /// Points `[n, 2]`.
    Points(Vec<f32>),
    /// Networks with the features of the data. The first decides.
    Images(Vec<Reference>),
}

/// A network, and the features of the data.
pub struct Reference {
    network: Box<dyn Features>,
    features: Vec<f32>,
    moments: Moments,
}

impl Distances {
    /// Prepares the distances from points.
    ///
    /// # Errors
    /// Points that cannot be read.
    pub fn of_points(dataset: &Dataset) -> Result<Distances> {
        let set = drawn(dataset);
        Ok(Distances::Points(set.read(0..set.len())?))
    }

    /// Prepares the distances from images, by the features of these networks; `progress` receives the number of images
    /// that were looked at, and their total.
    ///
    /// # Errors
    /// Images that a network does not take, too few of them, or a failure of the device.
    pub fn of_images(
        dataset: &Dataset,
        networks: Vec<Box<dyn Features>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Distances> {
        let (set, count) = (drawn(dataset), networks.len());
        let total = count * set.len();
        let mut done = 0;
        let reference = |mut network: Box<dyn Features>| {
            let features = set.features(&mut *network, &mut |images| {
                done += images;
                progress(done, total);
            })?;
            let moments = Moments::of(&features, network.dims())?;
            Ok(Reference { network, features, moments })
        };
        networks.into_iter().map(reference).collect::<Result<_>>().map(Distances::Images)
    }
}

/// A part of a data set, drawn: every so many of its samples could be those of a few classes, which take turns.
fn drawn(dataset: &Dataset) -> Set<'_> {
    let n = dataset.len().min(REFERENCE);
    let mut indices = shuffled(dataset.len(), 0);
    indices.truncate(n);
    indices.sort_unstable();
    Set::data(dataset, indices)
}

impl Reference {
    /// Names of the Fréchet and the kernel distance: those of Inception's features have a name of their own.
    fn names(&self) -> [&'static str; 2] {
        if self.network.name() == "inception" { ["fid", "kid"] } else { ["frechet_distance", "kernel_distance"] }
    }

    fn distances(&mut self, samples: &Set, stop: &AtomicBool) -> Result<[(String, f64); 2]> {
        let (dims, [h, w, c]) = (self.network.dims(), samples.dims());
        let mut features = Vec::with_capacity(samples.len() * dims);
        for first in (0..samples.len()).step_by(CHUNK) {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let range = first..samples.len().min(first + CHUNK);
            let shape = [range.len(), h, w, c];
            features.extend(self.network.features(&samples.read(range)?, shape)?);
        }
        let fewest = samples.len().min(self.features.len() / dims);
        let (count, most) = SUBSETS;
        let subsets = Subsets { count, samples: (fewest / 2).clamp(2, most), seed: 0 };
        let kernel = kid(&features, &self.features, dims, subsets)?.mean;
        let frechet = frechet_distance(&Moments::of(&features, dims)?, &self.moments)?;
        let [frechet_name, kernel_name] = self.names().map(String::from);
        Ok([(frechet_name, frechet), (kernel_name, kernel)])
    }
}

impl Evaluator for Distances {
    fn by(&self) -> &'static str {
        match self {
            Distances::Points(_) => "energy_distance",
            Distances::Images(references) => references.first().map_or("frechet_distance", |first| first.names()[0]),
        }
    }

    fn distances(&mut self, samples: Samples, stop: &AtomicBool) -> Result<BTreeMap<String, f64>> {
        debug_assert_eq!(samples.kind() == SampleKind::Points, matches!(self, Distances::Points(_)));
        match self {
            Distances::Points(reference) => {
                let distance = energy_distance(&samples.images, reference, 2)?;
                Ok([(self.by().to_owned(), distance)].into())
            }
            Distances::Images(references) => {
                let set = Set::samples(samples.images, samples.dims);
                let mut all = BTreeMap::new();
                for reference in references {
                    all.extend(reference.distances(&set, stop)?);
                }
                Ok(all)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, DataOptions, Split};

    /// The mean of the left and of the right half of an image.
    struct Halves(&'static str);

    impl Features for Halves {
        fn name(&self) -> &'static str {
            self.0
        }
        fn dims(&self) -> usize {
            2
        }
        fn features(&mut self, images: &[f32], [_, h, w, c]: [usize; 4]) -> Result<Vec<f32>> {
            let half = |image: &[f32], side: usize| {
                let own = |i: &usize| (i / c % w) * 2 / w == side;
                (0..h * w * c).filter(own).map(|i| image[i]).sum::<f32>() / (h * w * c / 2) as f32
            };
            Ok(images.chunks_exact(h * w * c).flat_map(|image| [half(image, 0), half(image, 1)]).collect())
        }
    }

    fn samples(dataset: &Dataset, n: usize, change: impl Fn(f32) -> f32) -> Samples {
        let [h, w, c] = dataset.image_dims();
        let mut images = vec![0.0; n * h * w * c];
        let indices: Vec<usize> = (0..n).collect();
        dataset.fill_batch(&indices, &vec![false; n], &mut images).unwrap();
        images.iter_mut().for_each(|v| *v = change(*v));
        Samples { images, dims: [n, h, w, c], stages: vec![], stage_grid: [0, 0] }
    }

    #[test]
    fn the_data_are_nearer_to_themselves_than_anything_else() {
        let options = DataOptions { size: Some([8; 2]), ..DataOptions::default() };
        let dataset = data::open("glyphs", Split::Train, &options).unwrap();
        let networks: Vec<Box<dyn Features>> = vec![Box::new(Halves("inception")), Box::new(Halves("halves"))];
        let mut seen = (0, 0);
        let mut distances = Distances::of_images(&dataset, networks, &mut |done, total| seen = (done, total)).unwrap();
        assert_eq!(seen, (2 * REFERENCE, 2 * REFERENCE));
        let goes_on = AtomicBool::new(false);
        let mut measure =
            |change: fn(f32) -> f32| distances.distances(samples(&dataset, 500, change), &goes_on).unwrap();
        let (same, darker) = (measure(|v| v), measure(|v| v - 0.1));
        assert_eq!(same.keys().collect::<Vec<_>>(), ["fid", "frechet_distance", "kernel_distance", "kid"]);
        assert!(same["fid"] == same["frechet_distance"] && same["kid"] == same["kernel_distance"], "one network twice");
        // The reference, a fifth of the data, has every class in its share, though the classes take turns.
        assert!(same["fid"] <= 2e-3 && same["kid"].abs() <= 5e-3, "{same:?}");
        assert!(darker["fid"] > 10.0 * same["fid"], "{same:?}, then {darker:?}");
        assert!(darker["kid"] > 5.0 * same["kid"].abs(), "{same:?}, then {darker:?}");
        assert_eq!(distances.by(), "fid");

        let stopped = distances.distances(samples(&dataset, 500, |v| v), &AtomicBool::new(true));
        assert!(matches!(stopped, Err(Error::Stopped)));
    }

    #[test]
    fn points_are_measured_by_their_energy() {
        let dataset = data::open("clusters", Split::Train, &DataOptions::default()).unwrap();
        let mut distances = Distances::of_points(&dataset).unwrap();
        let mut measure = |change: fn(f32) -> f32| {
            distances.distances(samples(&dataset, 1000, change), &AtomicBool::new(false)).unwrap()["energy_distance"]
        };
        let (same, wider) = (measure(|v| v), measure(|v| 1.3 * v));
        assert!(same.abs() <= 5e-3 && wider > 5.0 * same.abs(), "{same}, then {wider}");
        assert_eq!(distances.by(), "energy_distance");
    }
}
