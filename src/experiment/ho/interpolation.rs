//! `ho-interpolation`: two images mixed at several noise levels and decoded.

use super::model::{config, test_images};
use crate::diffusion::SamplePlan;
use crate::diffusion::interpolation::interpolate;
use crate::engine::random::RngState;
use crate::experiment::context::Context;
use crate::experiment::definition::Experiment;
use crate::experiment::images::load;
use crate::experiment::page::Page;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::grid;
use crate::sample::Request;
use anyhow::Result;

/// Two images mixed at several noise levels and decoded.
pub const INTERPOLATION: Experiment = Experiment {
    name: "ho-interpolation",
    about: "Two images mixed at several noise levels and decoded",
    source: "notes on Ho et al. (2020), interpolation",
    needs: &[],
    quick: "digits of 16x16, a run of ens-table-1 (needs MNIST), and a minute",
    full: Some("CIFAR-10 (needs it); a GPU, a day"),
    run: run,
};

/// Mixtures of a pair of images.
const MIXTURES: usize = 9;
/// The times at which images are mixed.
const TIMES: [f64; 5] = [125.0, 250.0, 500.0, 750.0, 1000.0];

/// The part of the way from noise that begins at time `t`.
fn from_time(plan: &SamplePlan, t: f64) -> SamplePlan {
    let first = plan.times.iter().position(|&time| time <= t).unwrap_or(plan.times.len());
    SamplePlan { steps: plan.steps[first..].to_vec(), times: plan.times[first..].to_vec(), ..plan.clone() }
}

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    let config = config(context)?;
    let mut loaded = load(context, &config)?;
    let plan = loaded.plan()?;
    let [h, w, c] = config.model.sample_dims();
    let values = h * w * c;
    let originals = test_images(&config, 2)?;
    let (one, other) = originals.split_at(values);
    let mut rows: Vec<f32> = Vec::new();
    let mut moved = [0.0; TIMES.len()];
    for (t, moved) in TIMES.into_iter().zip(&mut moved) {
        context.note(&format!("interpolation at t = {t}"));
        let rng = RngState { seed: context.settings().seed, step: 0, first_image: 0 };
        let z = loaded.ask(&originals, &[t, t], &[0, 0], rng)?.z;
        let mixtures: Vec<f32> = (0..MIXTURES)
            .flat_map(|k| interpolate(&z[..values], &z[values..], k as f32 / (MIXTURES - 1) as f32))
            .collect();
        let part = from_time(&plan, t);
        let request = Request { start: Some(&mixtures), ..Request::new(&part, MIXTURES, context.settings().seed) };
        let decoded = loaded.sample(request, &mut |done, total| context.progress(done as u64, total as u64))?.images;
        let squared: f32 = decoded[..values].iter().zip(one).map(|(a, b)| (a - b).powi(2)).sum();
        *moved = (squared / values as f32).sqrt();
        rows.extend([one, &decoded, other].concat());
    }
    let sheet = grid(&rows, [TIMES.len() * (MIXTURES + 2), h, w, c], Some(MIXTURES + 2));
    let caption = "Left and right: two images. Between them: both are noised to t, mixed there with κ from 0 to 1, and \
                   decoded. Rows from the top: t = 125, 250, 500, 750, 1000.";
    page.picture("interpolation", caption, &sheet);
    page.claims([judge(&moved)]);
    Ok(())
}

/// Judges the distances of the decoded first image from itself, one for each of [`TIMES`].
fn judge(moved: &[f32; TIMES.len()]) -> Claim {
    let [t125, t250, late @ ..] = moved;
    Claim::new(
        "notes on Ho et al., interpolation",
        "The later the mixture is made, the further the result may be from the images.",
        Verdict::of(t125 < t250 && late.iter().all(|late| t250 < late)),
        format!(
            "root mean squared distance of the decoded first image from itself, t = 125 to 1000: {moved:.3?}; from about 500 on \
             nothing is left of it to be near to"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_must_rise_until_nothing_is_left() {
        let verdict = |moved: [f32; 5]| judge(&moved).verdict;
        assert_eq!(verdict([0.1, 0.2, 0.5, 0.4, 0.5]), Verdict::Confirmed);
        assert_eq!(verdict([0.2, 0.2, 0.5, 0.5, 0.5]), Verdict::Refuted);
        assert_eq!(verdict([0.1, 0.2, 0.5, 0.5, 0.19]), Verdict::Refuted);
        assert_eq!(verdict([f32::NAN, 0.2, 0.5, 0.5, 0.5]), Verdict::Refuted);
    }

    #[test]
    fn the_way_back_begins_at_the_time_of_the_mixture() {
        let config = crate::train::Config::default();
        let plan = config.sample_plan().unwrap();
        for (t, steps) in [(1000.0, 1000), (125.0, 125), (1.0, 1), (0.5, 0)] {
            let part = from_time(&plan, t);
            assert_eq!([part.times.len(), part.steps.len()], [steps; 2]);
            assert!(part.times.first().is_none_or(|first| *first == t) && part.times.iter().all(|time| *time <= t));
            assert!(part.steps.first().is_none_or(|step| *step == plan.steps[plan.steps.len() - steps]));
        }
    }
}
