//! Progressive coding (Ho et al. 2020, section 4.3): an image is sent as ever less noisy `z_t`, and at any moment the
//! receiver has the network's estimate of it. The bits sent so far are the rate, the error of the estimate is the distortion.

use super::nll::split_channels;
use crate::diffusion::likelihood::{Bound, RateDistortion, Term, bits_per_dim, progressive_coding};
use crate::engine::random::RngState;
use crate::report::{Figure, Plot, digits};
use crate::train::LoadedModel;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt::Write;

/// Half the range of 256 levels, as a factor of distances on [-1, 1].
pub const LEVELS: f64 = 127.5;

/// Every term of the bound, its mean over images.
#[derive(Clone, Debug)]
pub struct Coding {
    /// Images sent.
    pub images: usize,
    /// Values of an image.
    pub dims: usize,
    /// The prior's nats.
    pub prior: f64,
    /// The terms as [`Bound::term`] numbers them, in nats.
    pub terms: Vec<Term>,
    /// The time of each term.
    pub times: Vec<f64>,
}

/// The ends of a curve and its middle, as an evaluation reports them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CodingSummary {
    /// Images sent.
    pub images: usize,
    /// All that is sent, the decoder's term included: bits per dimension.
    pub bits: f64,
    /// The last term's part of it, which makes an image of levels of the last estimate.
    pub last_bits: f64,
    /// Root mean squared error of the last estimate, on 0..255.
    pub last_error: f64,
    /// Root mean squared error of the estimate when half of the bits are sent, on 0..255.
    pub error_at_half: f64,
}

impl Coding {
    /// Sends images `[n, h, w, c]`, each with its label (read where the model has classes), by the chain of a bound over
    /// `times`. `progress` receives the images that are sent, and their number; its error ends the work.
    ///
    /// # Errors
    /// That of `progress`, or a failure of the device.
    pub fn measure(
        model: &mut LoadedModel,
        (bound, times): (&Bound, &[f64]),
        (images, labels): (&[f32], &[i32]),
        seed: u64,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Coding> {
        let (dims, n) = (model.config().model.sample_len(), labels.len());
        let (channels, c) = (model.config().model.out_channels(), model.config().model.sample_dims()[2]);
        let zero = Term { nats: 0.0, squared_error: 0.0 };
        let mut coding = Coding { images: n, dims, prior: 0.0, terms: vec![zero; times.len()], times: times.to_vec() };
        let exact = |values: &[f32]| -> Vec<f64> { values.iter().map(|&v| f64::from(v)).collect() };
        for (image, (x, &label)) in images.chunks_exact(dims).zip(labels).enumerate() {
            progress(image as u64, n as u64)?;
            let x0 = exact(x);
            coding.prior += bound.prior(&x0) / n as f64;
            for (part, asked) in times.chunks(model.chunk()).enumerate() {
                let first = part * model.chunk();
                let rng = RngState { seed, step: image as u32, first_image: first as u32 };
                let answers = model.ask(&x.repeat(asked.len()), asked, &vec![label; asked.len()], rng)?;
                let outputs = answers.out.chunks_exact(answers.out.len() / asked.len());
                for (k, (z, out)) in answers.z.chunks_exact(dims).zip(outputs).enumerate() {
                    let [out, v] = split_channels(out, channels, c);
                    let v = (!v.is_empty()).then_some(&v[..]);
                    let term = bound.term(first + k, &x0, &exact(z), &out, v);
                    coding.terms[first + k].nats += term.nats / n as f64;
                    coding.terms[first + k].squared_error += term.squared_error / n as f64;
                }
            }
        }
        progress(n as u64, n as u64)?;
        if let Some(term) = coding.terms.iter().position(|term| !term.nats.is_finite()) {
            return Err(Error::Config(format!("coding: the term of t = {} is not finite", coding.times[term])));
        }
        Ok(coding)
    }

    /// Rate and distortion, from the noisiest time to the first.
    pub fn curve(&self) -> Vec<RateDistortion> {
        progressive_coding(self.prior, &self.terms, self.dims)
    }

    /// All that is sent, in bits per dimension.
    pub fn bits(&self) -> f64 {
        bits_per_dim(self.prior + self.terms.iter().map(|term| term.nats).sum::<f64>(), self.dims)
    }

    /// The ends and the middle.
    pub fn summary(&self) -> CodingSummary {
        let (curve, bits) = (self.curve(), self.bits());
        let error = |point: &RateDistortion| LEVELS * point.distortion;
        let half = curve.iter().rfind(|point| point.rate <= 0.5 * bits);
        CodingSummary {
            images: self.images,
            bits,
            last_bits: bits_per_dim(self.terms[0].nats, self.dims),
            last_error: curve.last().map_or(f64::NAN, error),
            error_at_half: half.map_or(f64::NAN, error),
        }
    }

    /// Panels: rate and distortion by the steps received, and one against the other.
    pub fn plots(&self) -> [Plot; 3] {
        let curve = self.curve();
        let by_time = |of: fn(&RateDistortion) -> f64| -> Vec<[f64; 2]> {
            curve.iter().enumerate().map(|(received, point)| [received as f64, of(point)]).collect()
        };
        let (steps, rate, distortion) =
            ("reverse steps received", "rate, bits per dimension", "distortion, RMSE on 0..255");
        let both = curve.iter().map(|point| [point.rate, LEVELS * point.distortion]).collect();
        [
            Plot::new("", steps, rate).line("rate", by_time(|point| point.rate)),
            Plot::new("", steps, distortion).line("distortion", by_time(|point| LEVELS * point.distortion)),
            Plot::new("", rate, distortion).line("progressive coding", both),
        ]
    }

    /// The panels as one figure.
    pub fn figure(&self) -> Figure {
        let panels = Figure::new("", 3).panel_size(300.0, 240.0);
        self.plots().into_iter().fold(panels, Figure::panel)
    }

    /// A line for every time, from the noisiest: the rate before its term, the bits of the term itself, the error of the
    /// estimate that its `z` gives.
    pub fn csv(&self) -> String {
        let mut lines = "t,rate_bits_per_dim,term_bits_per_dim,rmse_0_255\n".to_owned();
        for RateDistortion { term, rate, distortion } in self.curve() {
            let bits = bits_per_dim(self.terms[term].nats, self.dims);
            let line = (self.times[term], rate, bits, LEVELS * distortion);
            writeln!(lines, "{},{},{},{}", line.0, line.1, line.2, line.3).expect("a string takes every write");
        }
        lines
    }

    /// The bits of the prior, in words for a table.
    pub fn prior_bits(&self) -> String {
        format!("{:.1e}", bits_per_dim(self.prior, self.dims))
    }
}

impl CodingSummary {
    /// The results as rows of a table: name and value.
    pub fn rows(&self) -> [(String, String); 4] {
        [
            ("progressive coding, bits per dimension".into(), digits(self.bits, 4)),
            ("of them the last term's".into(), digits(self.last_bits, 4)),
            ("RMSE (0..255) with half of the bits".into(), digits(self.error_at_half, 3)),
            ("RMSE (0..255) before the last term".into(), digits(self.last_error, 3)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding() -> Coding {
        // Two dimensions, three times, from the decoder's on; a nat of each dimension is 1 / ln 2 bits.
        let term = |nats, squared_error| Term { nats, squared_error };
        let terms = vec![term(4.0, 0.02), term(2.0, 0.08), term(1.0, 0.5)];
        Coding { images: 1, dims: 2, prior: 1.0, terms, times: vec![1.0, 2.0, 3.0] }
    }

    #[test]
    fn the_rate_of_a_time_is_what_was_sent_before_it() {
        let (coding, bit) = (coding(), std::f64::consts::LN_2);
        let rates: Vec<f64> = coding.curve().iter().map(|point| point.rate * 2.0 * bit).collect();
        assert!(rates.iter().zip([1.0, 2.0, 4.0]).all(|(rate, want)| (rate - want).abs() <= 1e-12), "{rates:?}");
        let summary = coding.summary();
        assert!(
            (summary.bits * 2.0 * bit - 8.0).abs() <= 1e-12 && (summary.last_bits * 2.0 * bit - 4.0).abs() <= 1e-12
        );
        assert!((summary.last_error - 12.75).abs() <= 1e-9, "{}", summary.last_error);
        // Half of eight nats are sent when the last z arrives.
        assert_eq!(summary.error_at_half, summary.last_error);
    }

    #[test]
    fn the_table_has_a_line_for_every_time() {
        let csv = coding().csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!((lines.len(), lines[0]), (4, "t,rate_bits_per_dim,term_bits_per_dim,rmse_0_255"));
        let numbers = |line: &str| line.split(',').map(|v| v.parse::<f64>().unwrap()).collect::<Vec<f64>>();
        let [first, last] = [numbers(lines[1]), numbers(lines[3])];
        assert_eq!((first[0], last[0]), (3.0, 1.0));
        assert!((first[3] - 63.75).abs() <= 1e-9 && (last[2] - 2.0 / std::f64::consts::LN_2).abs() <= 1e-12, "{csv}");
        let svg = coding().figure().svg();
        for label in ["reverse steps received", "rate, bits per dimension", "distortion, RMSE on 0..255"] {
            assert!(svg.contains(label), "{label}");
        }
    }
}
