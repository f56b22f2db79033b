//! Summaries of data sets: what can be opened, and the size, classes and statistics of a set.

use std::fmt;

use rayon::prelude::*;

use super::dataset::{Dataset, Split};
use super::formats::FORMATS;
use super::open::open;
use super::options::DataOptions;
use super::points::Standardisation;
use crate::{Result, SampleKind};

/// A source that can be named.
#[derive(Clone, Debug)]
pub struct Known {
    /// The name or path to write after `--data`.
    pub source: String,
    /// The contents, and how they are recognised.
    pub description: String,
}

/// Everything that [`open`] understands.
pub fn list() -> Vec<Known> {
    let known = |source: &str, description: &str| Known { source: source.into(), description: description.into() };
    let drawn = [
        known("glyphs", "digits 0-9 drawn by the program itself: 50,000 train, 10,000 test, any size"),
        known("clusters", "points of the plane: four Gaussians at the corners of a square"),
        known("rings", "points: two circular bands that overlap"),
        known("swiss-roll", "points: a spiral of one and a half turns, without classes"),
        known("waves", "points: two sinusoids, one above the other; of each set 40,000 + 10,000"),
    ];
    let formats = FORMATS.map(|format| format.describe());
    let folders = formats.iter().map(|format| known(format.source, format.contents));
    let single = known("FILE", &or(&formats.map(|format| format.file)));
    drawn.into_iter().chain(folders).chain([single]).collect()
}

/// The phrases as one: "a, b, or c".
fn or(phrases: &[&str]) -> String {
    let (last, others) = phrases.split_last().expect("a list has phrases");
    format!("{}, or {last}", others.join(", "))
}

/// A summary of a data set, made for printing.
#[derive(Clone, Debug)]
pub struct Info {
    pub name: String,
    pub format: String,
    pub split: Split,
    /// Samples, height, width, channels; of points, 1, 1, 2 after their number.
    pub dims: [usize; 4],
    /// The classes in the order of their labels, with the number of images of each.
    pub classes: Vec<(String, usize)>,
    /// One per channel.
    pub statistics: Vec<ChannelStatistics>,
    /// Remarks on how the data set was read.
    pub notes: Vec<String>,
}

/// Mean and standard deviation of a channel, in the units that a model sees: [-1, 1] for images.
#[derive(Clone, Copy, Debug)]
pub struct ChannelStatistics {
    pub mean: f64,
    pub std: f64,
}

/// Opens `source` and summarises it.
///
/// # Errors
/// The errors of [`open`].
pub fn info(source: &str, split: Split, options: &DataOptions) -> Result<Info> {
    let dataset = open(source, split, options)?;
    let [height, width, channels] = dataset.image_dims();
    let mut counts = vec![0; dataset.class_names().len()];
    dataset.labels().unwrap_or_default().iter().for_each(|&label| counts[label as usize] += 1);
    Ok(Info {
        name: dataset.name().into(),
        format: dataset.format().into(),
        split,
        dims: [dataset.len(), height, width, channels],
        classes: dataset.class_names().iter().cloned().zip(counts).collect(),
        statistics: statistics(&dataset)?,
        notes: dataset.notes().to_vec(),
    })
}

/// For images exact sums of bytes and their squares, hence the same at any thread count.
fn statistics(dataset: &Dataset) -> Result<Vec<ChannelStatistics>> {
    /// Images that are looked at together.
    const TOGETHER: usize = 4096;
    if let Some(values) = dataset.points() {
        let points: Vec<[f64; 2]> = values.chunks_exact(2).map(|p| [f64::from(p[0]), f64::from(p[1])]).collect();
        let Standardisation { mean, std } = Standardisation::of(&points);
        return Ok([0, 1].map(|k| ChannelStatistics { mean: mean[k], std: std[k] }).to_vec());
    }
    let [height, width, channels] = dataset.image_dims();
    let add = |a: Vec<[u64; 2]>, b: Vec<[u64; 2]>| a.iter().zip(b).map(|(x, y)| [x[0] + y[0], x[1] + y[1]]).collect();
    let none = || vec![[0; 2]; channels];
    let of_image = |image: &[u8]| {
        let mut sums = none();
        for pixel in image.chunks_exact(channels) {
            for (sum, &byte) in sums.iter_mut().zip(pixel) {
                sum[0] += u64::from(byte);
                sum[1] += u64::from(byte) * u64::from(byte);
            }
        }
        sums
    };
    let mut sums = none();
    for first in (0..dataset.len()).step_by(TOGETHER) {
        let indices: Vec<usize> = (first..dataset.len().min(first + TOGETHER)).collect();
        let images = dataset.images_u8(&indices)?;
        sums = add(sums, images.par_chunks_exact(height * width * channels).map(of_image).reduce(none, add));
    }
    let pixels = (dataset.len() * height * width) as f64;
    let statistics = sums.iter().map(|&[sum, squares]| {
        let mean = sum as f64 / pixels;
        let variance = squares as f64 / pixels - mean * mean;
        ChannelStatistics { mean: mean / 127.5 - 1.0, std: variance.max(0.0).sqrt() / 127.5 }
    });
    Ok(statistics.collect())
}

/// The positions of up to `n` images that show what a data set holds: its classes in turn, or the first images where
/// there are no labels.
pub fn spread(dataset: &Dataset, n: usize) -> Vec<usize> {
    let Some(labels) = dataset.labels() else { return (0..n.min(dataset.len())).collect() };
    let mut of_class = vec![Vec::new(); dataset.class_names().len()];
    labels.iter().enumerate().for_each(|(i, &label)| of_class[label as usize].push(i));
    let rounds = of_class.iter().map(Vec::len).max().unwrap_or(0);
    (0..rounds).flat_map(|round| of_class.iter().filter_map(move |class| class.get(round))).copied().take(n).collect()
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [samples, height, width, channels] = self.dims;
        let points = SampleKind::of([height, width, channels]) == SampleKind::Points;
        writeln!(f, "name      {}", self.name)?;
        writeln!(f, "format    {}", self.format)?;
        writeln!(f, "split     {}", self.split)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note      {note}"))?;
        if points {
            writeln!(f, "points    {samples}")?;
        } else {
            writeln!(f, "images    {samples}")?;
            writeln!(f, "size      {width}x{height}, {}", if channels == 1 { "grey" } else { "RGB" })?;
        }
        let row = |of: fn(&ChannelStatistics) -> f64| {
            self.statistics.iter().map(|s| format!("{:+.4}", of(s))).collect::<Vec<_>>().join("  ")
        };
        let note = if points { "x and y" } else { "of pixels scaled to [-1, 1]" };
        writeln!(f, "mean      {}   ({note})", row(|s| s.mean))?;
        writeln!(f, "std       {}", row(|s| s.std))?;
        if self.classes.is_empty() {
            return write!(f, "classes   none");
        }
        write!(f, "classes   {}", self.classes.len())?;
        let name_width = self.classes.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (label, (name, count)) in self.classes.iter().enumerate() {
            write!(f, "\n  {label:>3}     {name:<name_width$}  {count:>7}")?;
        }
        Ok(())
    }
}
