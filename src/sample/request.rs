//! Requests for samples, and what is drawn.

use crate::diffusion::SamplePlan;
use crate::report::{Picture, grid};
use crate::{Error, Result, SampleKind};
use std::sync::atomic::AtomicBool;

/// A view of a sample on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageView {
    /// The sample itself, z.
    Sample,
    /// The image that the network sees in it, the estimate of x_0.
    Estimate,
}

/// Guidance by a classifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByClassifier {
    /// The scale gamma of its gradient.
    pub scale: f64,
    /// The class of all samples, by the classifier's numbers; `None` cycles through the classes.
    pub class: Option<usize>,
}

/// Request for samples.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The way back in time.
    pub plan: &'a SamplePlan,
    /// Strength w of classifier-free guidance; read where the sampler was reserved for it.
    pub guidance: f64,
    /// Guidance by the classifier that the sampler was reserved with; without, it guides nothing.
    pub classifier: Option<ByClassifier>,
    /// Seed of the samples: each is a function of the seed and its own number.
    pub seed: u64,
    /// Number of samples.
    pub n: usize,
    /// Class of all samples of a conditional model; the number of classes means unconditional. `None` cycles through
    /// the classes.
    pub class: Option<usize>,
    /// Start of the samples `[n, h, w, c]`, instead of noise.
    pub start: Option<&'a [f32]>,
    /// Numbers of steps after which a stage is kept, ascending; empty: some, evenly spread, from the start to the end.
    pub stages: &'a [usize],
    /// Views of each sample that are kept at each stage, at least one.
    pub views: &'a [StageView],
    /// Set from outside to end the drawing before all is drawn.
    pub stop: Option<&'a AtomicBool>,
}

impl<'a> Request<'a> {
    /// `n` samples from noise, unguided, of all classes in turn.
    pub fn new(plan: &'a SamplePlan, n: usize, seed: u64) -> Request<'a> {
        Request {
            plan,
            guidance: 0.0,
            classifier: None,
            seed,
            n,
            class: None,
            start: None,
            stages: &[],
            views: &[StageView::Sample],
            stop: None,
        }
    }
}

/// Samples, in [-1, 1] if the sampler clips.
#[derive(Clone, Debug)]
pub struct Samples {
    /// `[n, h, w, c]`
    pub images: Vec<f32>,
    /// The dimensions of `images`.
    pub dims: [usize; 4],
    /// The first samples at some times on their way, a row for every view of each: `[rows * columns, h, w, c]`.
    pub stages: Vec<f32>,
    /// Rows and columns of the stages.
    pub stage_grid: [usize; 2],
}

impl Samples {
    /// Images or points of the plane.
    pub fn kind(&self) -> SampleKind {
        let [_, h, w, c] = self.dims;
        SampleKind::of([h, w, c])
    }

    /// The first of these images, without stages.
    ///
    /// # Errors
    /// Images that are not finite.
    pub(super) fn finished(mut images: Vec<f32>, dims: [usize; 4]) -> Result<Samples> {
        let values = dims[1..].iter().product::<usize>();
        images.truncate(dims[0] * values);
        if let Some(bad) = images.iter().position(|v| !v.is_finite()) {
            return Err(Error::SampleNotFinite { sample: bad / values });
        }
        Ok(Samples { images, dims, stages: Vec::new(), stage_grid: [0, 0] })
    }

    /// The way from noise to images, a row for every view of each sample.
    pub fn strip(&self) -> Picture {
        let [rows, columns] = self.stage_grid;
        let [_, h, w, c] = self.dims;
        grid(&self.stages, [rows * columns, h, w, c], Some(columns))
    }
}
