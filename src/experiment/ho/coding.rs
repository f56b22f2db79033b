//! `ho-progressive-coding`: rate and distortion of sending an image step by step.

use super::model::{config, test_images};
use crate::Error;
use crate::diffusion::likelihood::{Bound, Decoder, RateDistortion};
use crate::diffusion::normal::Cdf;
use crate::diffusion::{Process, Variance};
use crate::eval::coding::{Coding, LEVELS};
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::images::load;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Table, digits};
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

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    let coding = measure(context)?;
    let curve = coding.curve();
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
    let (values, seed) = (test_images(&config, images)?, context.settings().seed);
    let labelled = (&values[..], &vec![0; images][..]);
    Ok(Coding::measure(&mut loaded, (&bound, &times), labelled, seed, &mut |done, total| {
        context.progress(done, total);
        context.check_stop().map_err(|_| Error::Stopped)
    })?)
}

fn show(page: &mut Page, coding: &Coding, curve: &[RateDistortion]) {
    let [rate, distortion, against] = coding.plots().map(|plot| plot.figure());
    page.plot("rate", "What has been sent.", &rate);
    page.plot("distortion", "How far the estimate is from the image.", &distortion);
    page.plot("rate-distortion", "One against the other.", &against);
    let mut table = Table::new(&["images", "prior, bits/dim", "all, bits/dim", "distortion at the end, 0..255"]);
    table.row([
        coding.images.to_string(),
        coding.prior_bits(),
        digits(coding.bits(), 4),
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
