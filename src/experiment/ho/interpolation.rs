//! `ho-interpolation`: two images mixed at several noise levels and decoded.

use super::model::{config, test_images};
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::images::load;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::grid;
use crate::sample::{Request, mixtures, noised};
use anyhow::Result;

/// Two images mixed at several noise levels and decoded.
pub const INTERPOLATION: Experiment = Experiment {
    name: "ho-interpolation",
    about: "Two images mixed at several noise levels and decoded",
    source: "notes on Ho et al. (2020), interpolation",
    needs: Needs::BySize { quick: Need::Mnist, full: Need::Cifar10 },
    quick: "digits of 16x16, a run of ens-table-1, and a minute",
    full: Some("CIFAR-10; a GPU, a day"),
    run,
};

/// Mixtures of a pair of images.
const MIXTURES: usize = 9;
/// Images that are noised and decoded; the first two are mixed.
const IMAGES: usize = 8;
/// The times at which images are mixed.
const TIMES: [f64; 5] = [125.0, 250.0, 500.0, 750.0, 1000.0];

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    let config = config(context)?;
    let mut loaded = load(context, &config)?;
    let [h, w, c] = config.model.sample_dims();
    let values = h * w * c;
    let originals = test_images(&config, IMAGES)?;
    let images: Vec<&[f32]> = originals.chunks_exact(values).collect();
    let mut rows: Vec<f32> = Vec::new();
    let mut moved: [Measured; TIMES.len()] = Default::default();
    for (t, moved) in TIMES.into_iter().zip(&mut moved) {
        context.note(&format!("interpolation at t = {t}"));
        let seed = context.settings().seed;
        let z = noised(&originals, values, loaded.process().level(t), seed);
        // The mixtures of the first two images, the first of which is the first image itself; then the others.
        let start = [&mixtures(&z[..values], &z[values..2 * values], MIXTURES), &z[2 * values..]].concat();
        let part = config.sample_plan_from(t)?;
        let request = Request { start: Some(&start), ..Request::new(&part, start.len() / values, seed) };
        let decoded = loaded.sample(request, &mut |done, total| context.progress(done as u64, total as u64))?.images;
        let decoded: Vec<&[f32]> = decoded.chunks_exact(values).collect();
        // Of the second image there is its mixture with nothing of the first.
        let own = std::iter::once(decoded[0]).chain(decoded[MIXTURES - 1..].iter().copied());
        *moved = images.iter().zip(own).map(|(image, decoded)| distance(image, decoded)).collect();
        rows.extend([images[0], &decoded[..MIXTURES].concat(), images[1]].concat());
    }
    let sheet = grid(&rows, [TIMES.len() * (MIXTURES + 2), h, w, c], Some(MIXTURES + 2));
    let caption = "Left and right: two images. Between them: both are noised to t, mixed there with κ from 0 to 1, and \
                   decoded. Rows from the top: t = 125, 250, 500, 750, 1000.";
    page.picture("interpolation", caption, &sheet);
    page.claims([judge(&moved)]);
    Ok(())
}

/// Root mean squared difference of two images.
fn distance(image: &[f32], decoded: &[f32]) -> f64 {
    let squared: f32 = decoded.iter().zip(image).map(|(a, b)| (a - b).powi(2)).sum();
    f64::from((squared / image.len() as f32).sqrt())
}

/// Judges the distances of images from themselves, noised and decoded, for each of [`TIMES`].
fn judge(moved: &[Measured; TIMES.len()]) -> Claim {
    let [t125, t250, late @ ..] = moved;
    let further = |one: &Measured, other: &Measured| other.minus(one).above(0.0);
    let means: Vec<String> = moved.iter().map(|moved| moved.show(3)).collect();
    Claim::new(
        "notes on Ho et al., interpolation",
        "The later the mixture is made, the further the result may be from the images.",
        Verdict::all(std::iter::once(further(t125, t250)).chain(late.iter().map(|late| further(t250, late)))),
        format!(
            "root mean squared distance of {IMAGES} images from themselves, noised and decoded, t = 125 to 1000: {}; from about \
             500 on nothing is left of them to be near to",
            means.join(", ")
        ),
    )
    .tested(
        "differences by image of one network, 95 % interval: t = 250 from 125, and each later time from 250; one below 0 \
         would refute it",
    )
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;

    #[test]
    fn distances_must_rise_until_nothing_is_left() {
        let around = |mean: f64| -> Measured { [0.9, 1.0, 1.1].into_iter().map(|factor| factor * mean).collect() };
        let verdict = |moved: [f64; 5]| judge(&moved.map(around)).verdict;
        assert_eq!(verdict([0.1, 0.2, 0.5, 0.4, 0.5]), Confirmed);
        assert_eq!(verdict([0.3, 0.2, 0.5, 0.5, 0.5]), Refuted);
        assert_eq!(verdict([0.1, 0.2, 0.5, 0.5, 0.15]), Refuted);
        let mut moved = [0.1, 0.2, 0.5, 0.5, 0.5].map(around);
        moved[1] = [0.05, 0.4, 0.1].into_iter().collect();
        assert_eq!(judge(&moved).verdict, NotDecided);
    }
}
