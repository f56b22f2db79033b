//! `ho-progressive-coding`: rate and distortion of sending an image step by step.

use super::model::{config, test_images};
use crate::diffusion::likelihood::{Bound, Decoder, RateDistortion, Term, bits_per_dim, progressive_coding};
use crate::diffusion::normal::Cdf;
use crate::diffusion::{Process, Variance};
use crate::engine::random::RngState;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::images::load;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Plot, Table, digits};
use crate::train::LoadedModel;
use anyhow::{Result, bail};

/// Rate and distortion of sending an image step by step.
pub const CODING: Experiment = Experiment {
    name: "ho-progressive-coding",
    about: "Rate and distortion of sending an image step by step",
    source: "notes on Ho et al. (2020), progressive coding",
    needs: Needs::BySize { quick: Need::Mnist, full: Need::Cifar10 },
    quick: "digits of 16x16, a run of ens-table-1, 8 images",
    full: Some("CIFAR-10, 256 images; a GPU, a day"),
    run,
};

/// Half the range of 256 levels, as a factor of distances on [-1, 1].
const LEVELS: f64 = 127.5;

/// The measured bound, its mean over images.
struct Coding {
    images: usize,
    dims: usize,
    /// The prior's nats.
    prior: f64,
    terms: Vec<Term>,
}

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    let coding = measure(context)?;
    let curve = progressive_coding(coding.prior, &coding.terms, coding.dims);
    show(page, &coding, &curve);
    page.claims([judge(&curve)]);
    Ok(())
}

fn measure(context: &mut Context) -> Result<Coding> {
    let config = config(context)?;
    let mut loaded = load(context, &config)?;
    let Process::Discrete(schedule) = loaded.process() else { bail!("progressive coding needs a discrete schedule") };
    let times: Vec<f64> = (1..=schedule.steps()).map(|t| t as f64).collect();
    let bound = Bound::new(
        loaded.process(),
        &times,
        config.diffusion.target,
        Variance::FixedSmall,
        Decoder::Discretised(Cdf::Exact),
        Some(1.0),
    )?;
    let images = context.size(8, 256);
    let values = test_images(&config, images)?;
    mean_terms(context, &mut loaded, &bound, &times, &values, images)
}

/// The mean over images of every term of the bound, and of the prior.
fn mean_terms(
    context: &mut Context,
    model: &mut LoadedModel,
    bound: &Bound,
    times: &[f64],
    values: &[f32],
    images: usize,
) -> Result<Coding> {
    let (n, dims) = (images as f64, values.len() / images);
    let mut terms = vec![Term { nats: 0.0, squared_error: 0.0 }; times.len()];
    let mut prior = 0.0;
    let exact = |values: &[f32]| -> Vec<f64> { values.iter().map(|&v| f64::from(v)).collect() };
    for (image, x) in values.chunks_exact(dims).enumerate() {
        let x0 = exact(x);
        prior += bound.prior(&x0) / n;
        for (part, asked) in times.chunks(model.chunk()).enumerate() {
            context.check_stop()?;
            let first = part * model.chunk();
            let rng = RngState { seed: context.settings().seed, step: image as u32, first_image: first as u32 };
            let answers = model.ask(&x.repeat(asked.len()), asked, &vec![0; asked.len()], rng)?;
            let outputs = answers.z.chunks_exact(dims).zip(answers.out.chunks_exact(dims));
            for (k, (z, out)) in outputs.enumerate() {
                let term = bound.term(first + k, &x0, &exact(z), &exact(out), None);
                terms[first + k].nats += term.nats / n;
                terms[first + k].squared_error += term.squared_error / n;
            }
        }
        context.progress(image as u64 + 1, images as u64);
    }
    Ok(Coding { images, dims, prior, terms })
}

fn show(page: &mut Page, coding: &Coding, curve: &[RateDistortion]) {
    let Coding { images, dims, prior, terms } = coding;
    let by_time = |of: fn(&RateDistortion) -> f64| -> Vec<[f64; 2]> {
        curve.iter().map(|point| [(terms.len() - point.term) as f64, of(point)]).collect()
    };
    let steps = "reverse steps received, T - t";
    let rate = Plot::new("", steps, "rate, bits per dimension").line("rate", by_time(|p| p.rate));
    let distortion =
        Plot::new("", steps, "distortion, RMSE on 0..255").line("distortion", by_time(|p| LEVELS * p.distortion));
    let both = curve.iter().map(|p| [p.rate, LEVELS * p.distortion]).collect();
    let against =
        Plot::new("", "rate, bits per dimension", "distortion, RMSE on 0..255").line("progressive coding", both);
    page.plot("rate", "What has been sent.", &rate.figure());
    page.plot("distortion", "How far the estimate is from the image.", &distortion.figure());
    page.plot("rate-distortion", "One against the other.", &against.figure());
    let total = bits_per_dim(prior + terms.iter().map(|t| t.nats).sum::<f64>(), *dims);
    let mut table = Table::new(&["images", "prior, bits/dim", "all, bits/dim", "distortion at the end, 0..255"]);
    table.row([
        images.to_string(),
        format!("{:.1e}", bits_per_dim(*prior, *dims)),
        digits(total, 4),
        curve.last().map_or(String::new(), |last| digits(LEVELS * last.distortion, 3)),
    ]);
    page.table("coding", "The ends of the curve.", table);
}

/// Judges the curve of rate and distortion.
fn judge(curve: &[RateDistortion]) -> Claim {
    let rises = curve.is_sorted_by(|a, b| a.rate <= b.rate + 1e-9);
    let falls = curve.iter().step_by(50).is_sorted_by(|a, b| a.distortion >= b.distortion * 0.98);
    let end = curve.last().map_or(String::new(), |last| {
        format!("rate to {} bits/dim, distortion to {}", digits(last.rate, 3), digits(LEVELS * last.distortion, 3))
    });
    Claim::new(
        "notes on Ho et al., progressive coding",
        "Rate rises and distortion falls as t goes to 1, and most of the rate is spent on detail that is hardly visible.",
        Verdict::of(rises && falls),
        end,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_must_rise_in_rate_and_fall_in_distortion() {
        let curve = |change: fn(&mut RateDistortion)| -> Vec<RateDistortion> {
            let mut curve: Vec<RateDistortion> = (0..1000)
                .map(|i| RateDistortion { term: 999 - i, rate: i as f64 / 500.0, distortion: 1.0 / (1.0 + i as f64) })
                .collect();
            change(&mut curve[500]);
            curve
        };
        assert_eq!(judge(&curve(|_| ())).verdict, Verdict::Confirmed);
        assert_eq!(judge(&curve(|point| point.rate = 0.9)).verdict, Verdict::Refuted);
        assert_eq!(judge(&curve(|point| point.distortion = 0.5)).verdict, Verdict::Refuted);
        assert_eq!(judge(&curve(|point| point.rate = f64::NAN)).verdict, Verdict::Refuted);
    }
}
