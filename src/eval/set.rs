//! Sets of samples to compare: drawn ones, or a part of a data set.

use super::features::Features;
use crate::data::{Dataset, shuffled};
use crate::{Error, Result, SampleKind, levels};
use std::ops::Range;

/// Number of samples that are read together.
const CHUNK: usize = 1000;

/// Images or points.
pub struct Set<'a> {
    source: Source<'a>,
    dims: [usize; 3],
    binarised: bool,
}

enum Source<'a> {
    Values(Vec<f32>),
    Data { dataset: &'a Dataset, indices: Vec<usize> },
}

impl<'a> Set<'a> {
    /// Drawn samples `[n, h, w, c]`. Images are brought to the 256 levels that a file of them has; points stay as they
    /// are.
    pub fn samples(mut values: Vec<f32>, [_, h, w, c]: [usize; 4]) -> Set<'a> {
        let dims = [h, w, c];
        if SampleKind::of(dims) == SampleKind::Images {
            values.iter_mut().for_each(|v| *v = levels::quantise(*v));
        }
        Set { source: Source::Values(values), dims, binarised: false }
    }

    /// The samples at `indices` of a data set.
    pub fn data(dataset: &'a Dataset, indices: Vec<usize>) -> Set<'a> {
        Set { source: Source::Data { dataset, indices }, dims: dataset.image_dims(), binarised: false }
    }

    /// Two disjoint random halves of a data set.
    ///
    /// # Errors
    /// A data set that is too small for that.
    pub fn halves(dataset: &'a Dataset, seed: u64) -> Result<[Set<'a>; 2]> {
        let n = dataset.len();
        if n < 4 {
            return Err(Error::Config(format!("{} has {n} samples, too few for two halves", dataset.name())));
        }
        let order = shuffled(n, seed);
        let (first, second) = order.split_at(n / 2);
        Ok([first, second].map(|indices| Set::data(dataset, indices.to_vec())))
    }

    /// The same images in black and white, by [`binarise`].
    pub fn binarised(self) -> Set<'a> {
        Set { binarised: true, ..self }
    }

    /// The first `n` of them.
    pub fn first(mut self, n: usize) -> Set<'a> {
        match &mut self.source {
            Source::Values(values) => values.truncate(n * self.dims.iter().product::<usize>()),
            Source::Data { indices, .. } => indices.truncate(n),
        }
        self
    }

    /// The same samples in the order in which they are read fastest: as they lie on the disk, where they are read in blocks.
    pub fn in_reading_order(mut self) -> Set<'a> {
        if let Source::Data { dataset, indices } = &mut self.source
            && dataset.is_in_blocks()
        {
            indices.sort_unstable();
        }
        self
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Values(values) => values.len() / self.dims.iter().product::<usize>(),
            Source::Data { indices, .. } => indices.len(),
        }
    }

    /// True if there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height, width and channels of a sample.
    pub fn dims(&self) -> [usize; 3] {
        self.dims
    }

    /// Images or points of the plane.
    pub fn kind(&self) -> SampleKind {
        SampleKind::of(self.dims)
    }

    /// The labels of samples that come from a labelled data set.
    pub fn labels(&self) -> Option<Vec<usize>> {
        let Source::Data { dataset, indices } = &self.source else { return None };
        let labels = dataset.labels()?;
        Some(indices.iter().map(|&i| labels[i] as usize).collect())
    }

    /// Values `[n, h, w, c]` of some samples.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<f32>> {
        let numbers: usize = self.dims.iter().product();
        let mut values = match &self.source {
            Source::Values(values) => values[range.start * numbers..range.end * numbers].to_vec(),
            Source::Data { dataset, indices } => {
                let mut values = vec![0.0; range.len() * numbers];
                dataset.fill_batch(&indices[range.clone()], &vec![false; range.len()], &mut values)?;
                values
            }
        };
        if self.binarised {
            binarise(&mut values);
        }
        Ok(values)
    }

    /// Calls `f` with the samples in chunks of a fixed size, in order.
    ///
    /// # Errors
    /// The first of `f`, or images that cannot be read.
    pub fn for_chunks(&self, mut f: impl FnMut(&[f32], [usize; 4]) -> Result<()>) -> Result<()> {
        let [h, w, c] = self.dims;
        for first in (0..self.len()).step_by(CHUNK) {
            let range = first..self.len().min(first + CHUNK);
            f(&self.read(range.clone())?, [range.len(), h, w, c])?;
        }
        Ok(())
    }

    /// Features `[n, dims]` of all images; `progress` receives the number of images of each finished chunk.
    ///
    /// # Errors
    /// Images that the network does not take, or a failing device.
    pub fn features(&self, network: &mut dyn Features, progress: &mut dyn FnMut(usize)) -> Result<Vec<f32>> {
        let mut features = Vec::with_capacity(self.len() * network.dims());
        self.for_chunks(|images, dims| {
            features.extend(network.features(images, dims)?);
            progress(dims[0]);
            Ok(())
        })?;
        Ok(features)
    }
}

/// Stretches each image of so many values to its own extremes, without clamping it before: as the program of Ambilduke et
/// al. writes its pictures.
pub fn stretch(images: &mut [f32], values: usize) {
    images.chunks_exact_mut(values).for_each(levels::stretch);
}

/// Turns images in [-1, 1] to black (-1) and white (1).
pub fn binarise(images: &mut [f32]) {
    images.iter_mut().for_each(|v| *v = levels::binarise(*v));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, DataOptions, Split};

    #[test]
    fn images_have_the_levels_of_a_file_and_points_do_not() {
        let values = vec![0.3, -7.0, 0.001, -0.001];
        let levels = Set::samples(values.clone(), [1, 2, 2, 1]);
        let want = [166.0, 0.0, 128.0, 127.0].map(|level: f32| level / 127.5 - 1.0);
        assert_eq!(levels.read(0..1).unwrap(), want);
        assert_eq!(levels.binarised().read(0..1).unwrap(), [1.0, -1.0, 1.0, -1.0]);
        let points = Set::samples(values.clone(), [2, 1, 1, 2]);
        assert_eq!((points.kind(), points.len()), (SampleKind::Points, 2));
        assert_eq!(points.read(0..2).unwrap(), values);
    }

    #[test]
    fn halves_are_disjoint_and_complete() {
        let options = DataOptions { size: Some([4; 2]), classes: Some(vec![3, 5]), ..DataOptions::default() };
        let dataset = data::open("glyphs", Split::Test, &options).unwrap();
        let [a, b] = Set::halves(&dataset, 7).unwrap();
        let (Source::Data { indices: left, .. }, Source::Data { indices: right, .. }) = (&a.source, &b.source) else {
            panic!("halves of data")
        };
        let mut all = [&left[..], right].concat();
        all.sort_unstable();
        assert_eq!(all, (0..dataset.len()).collect::<Vec<_>>());
        assert_eq!(a.labels().unwrap()[5], dataset.labels().unwrap()[left[5]] as usize);
        let mut image = vec![0.0; 16];
        dataset.fill_batch(&[left[2]], &[false], &mut image).unwrap();
        assert_eq!(a.first(3).read(2..3).unwrap(), image);
    }
    /// Sets that stay on the disk are read in their order, and are cut into the same halves.
    #[test]
    fn the_reading_order_is_that_of_the_disk() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/fixtures/zstd.parquet");
        let open = |memory_limit| {
            let options = DataOptions { size: Some([400; 2]), memory_limit, ..DataOptions::default() };
            data::open(&path.display().to_string(), Split::Train, &options).unwrap()
        };
        let (disk, memory) = (open(1), open(4096));
        assert!(disk.is_in_blocks() && !memory.is_in_blocks());
        let seed = (0..).find(|&seed| !shuffled(6, seed)[..3].is_sorted()).unwrap();
        let [read, held] = [&disk, &memory].map(|dataset| Set::halves(dataset, seed).unwrap()[0].indices().to_vec());
        assert_eq!(read, held);
        let [half, _] = Set::halves(&disk, seed).unwrap().map(Set::in_reading_order);
        let mut sorted = held;
        sorted.sort_unstable();
        assert_eq!(half.indices(), sorted);
        assert_eq!(half.read(0..3).unwrap(), Set::data(&memory, sorted).read(0..3).unwrap());
        let [kept, _] = Set::halves(&memory, seed).unwrap().map(Set::in_reading_order);
        assert_eq!(kept.indices(), read);
    }

    impl Set<'_> {
        fn indices(&self) -> &[usize] {
            match &self.source {
                Source::Data { indices, .. } => indices,
                Source::Values(_) => panic!("samples of data"),
            }
        }
    }
}
