//! `ho-bound`, `ho-interpolation`, `ho-progressive-coding` and `ho-ablation`: what the notes on Ho et al. (2020) say of the
//! variational bound, of latent space and of codes.

use super::ens::{EPSILON, LEARNED, Model, config as digits_config};
use super::images::{Draw, Judge, dataset, draw, every_step_of, likelihood, load, load_as};
use super::{Context, Need, Page, Verdict};
use crate::Result;
use crate::data::Split;
use crate::diffusion::interpolation::interpolate;
use crate::diffusion::likelihood::{Bound, Decoder, Term, bits_per_dim, prior_kl, progressive_coding};
use crate::diffusion::normal::Cdf;
use crate::diffusion::{LossWeighting, PredictionTarget, Process, SamplePlan, Schedule, Variance};
use crate::engine::ops::philox::RngState;
use crate::report::{Plot, Table, digits, grid};
use crate::sample::Request;
use crate::train::sample_config::SampleConfig;
use crate::train::{Config, LoadedModel, presets};

pub(super) fn bound(_: &mut Context, page: &mut Page) -> Result<()> {
    let schedules = [
        ("β from 1e-3, T = 1000", Schedule::linear(1000, 1e-3, 0.02)?),
        ("β from 1e-4, T = 1000", Schedule::linear(1000, 1e-4, 0.02)?),
        ("β from 1e-4, T = 500", Schedule::linear(500, 1e-4, 0.02)?),
        ("cosine, T = 1000", Schedule::cosine(1000)?),
    ];
    let mut table =
        Table::new(&["schedule", "prior, bits/dim at x² = 1", "weight of ε at t = 2", "at t = 10", "at t = T"]);
    let mut plot = Plot::new("", "t / T", "weight of the squared error of ε in the bound").log_y();
    let mut priors = Vec::new();
    for (name, schedule) in schedules {
        let last = schedule.steps();
        let process = Process::Discrete(schedule);
        let prior = bits_per_dim(prior_kl(&[1.0], process.level(last as f64)), 1);
        let weight = |t: usize| LossWeighting::Vlb.weight(PredictionTarget::Epsilon, &process, t as f64);
        table.row([
            name.into(),
            format!("{prior:.2e}"),
            digits(weight(2)?, 3),
            digits(weight(10)?, 3),
            digits(weight(last)?, 3),
        ]);
        let points = (2..=last).map(|t| Ok([t as f64 / last as f64, weight(t)?])).collect::<Result<_>>()?;
        plot = plot.line(name, points);
        priors.push(prior);
    }
    page.plot("weights", "The bound's weight of ε, nats per unit of squared error, against time.", &plot.figure());
    page.table("bound", "What the schedules make of the bound's ends.", table);
    page.claim(
        "notes on Ho et al., step 1",
        "The KL of the last step from the prior is about 1e-5 bits per dimension.",
        Verdict::of(priors[1] < 1e-4),
        format!(
            "{:.1e} at x² = 1 with Ho et al.'s schedule; but {:.1e} when the same β are cut at T = 500",
            priors[1], priors[2]
        ),
    );
    let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02)?);
    let at = |t: f64| LossWeighting::Vlb.weight(PredictionTarget::Epsilon, &process, t);
    page.claim(
        "notes on Ho et al., simplified loss",
        "The bound's weights of ε fall with t, so that leaving them out shifts the effort to large t.",
        Verdict::of(at(2.0)? > at(10.0)? && at(10.0)? > at(100.0)?),
        format!(
            "{} at t = 2, {} at 100, {} at 1000: lowest at middle times, then slowly rising",
            digits(at(2.0)?, 3),
            digits(at(100.0)?, 3),
            digits(at(1000.0)?, 3)
        ),
    );
    Ok(())
}

/// Digits in the quick size, CIFAR-10 in the full one.
fn model(context: &Context) -> Result<Config> {
    if context.settings().quick {
        return digits_config(context, EPSILON);
    }
    let source = context.source(Need::Cifar10)?;
    presets::get("ddpm-cifar10")?.with_settings(&[format!("data.source={source:?}"), "sample.n=0".into()])
}

/// The part of the way from noise that begins at time `t`.
fn from_time(plan: &SamplePlan, t: f64) -> SamplePlan {
    let first = plan.times.iter().position(|&time| time <= t).unwrap_or(plan.times.len());
    SamplePlan { steps: plan.steps[first..].to_vec(), times: plan.times[first..].to_vec(), ..plan.clone() }
}

/// Images of a test set, `[n, h, w, c]`.
fn images(config: &Config, indices: &[usize]) -> Result<Vec<f32>> {
    let test = dataset(config, Split::Test)?;
    let mut images = vec![0.0; indices.len() * config.model.sample_len()];
    test.fill_batch(indices, &vec![false; indices.len()], &mut images);
    Ok(images)
}

pub(super) fn interpolation(context: &mut Context, page: &mut Page) -> Result<()> {
    const MIXTURES: usize = 9;
    let config = model(context)?;
    let mut loaded = load(context, &config, false)?;
    let plan = every_step_of(&loaded)?;
    let [h, w, c] = config.model.sample_dims();
    let values = h * w * c;
    let originals = images(&config, &[0, 1])?;
    let (one, other) = originals.split_at(values);
    let mut rows: Vec<f32> = Vec::new();
    let mut moved = Vec::new();
    let times = [125.0, 250.0, 500.0, 750.0, 1000.0];
    for t in times {
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
        moved.push((squared / values as f32).sqrt());
        rows.extend([one, &decoded, other].concat());
    }
    let sheet = grid(&rows, [times.len() * (MIXTURES + 2), h, w, c], Some(MIXTURES + 2));
    let caption = "Left and right: two images. Between them: both are noised to t, mixed there with κ from 0 to 1, and \
                   decoded. Rows from the top: t = 125, 250, 500, 750, 1000.";
    page.picture("interpolation", caption, &sheet);
    page.claim(
        "notes on Ho et al., interpolation",
        "The later the mixture is made, the further the result may be from the images.",
        Verdict::of(moved[0] < moved[1] && moved[2..].iter().all(|&late| moved[1] < late)),
        format!(
            "root mean squared distance of the decoded first image from itself, t = 125 to 1000: {moved:.3?}; from about 500 on \
             nothing is left of it to be near to"
        ),
    );
    Ok(())
}

pub(super) fn coding(context: &mut Context, page: &mut Page) -> Result<()> {
    let config = model(context)?;
    let mut loaded = load(context, &config, false)?;
    let Process::Discrete(schedule) = loaded.process().clone() else { unreachable!("both models have a table") };
    let times: Vec<f64> = (1..=schedule.steps()).map(|t| t as f64).collect();
    let bound = Bound::new(
        loaded.process(),
        &times,
        config.diffusion.target,
        Variance::FixedSmall,
        Decoder::Discretised(Cdf::Exact),
        Some(1.0),
    )?;
    let (n, dims) = (context.size(8, 256), config.model.sample_len());
    let x = images(&config, &(0..n).collect::<Vec<_>>())?;
    let (terms, prior) = mean_terms(context, &mut loaded, &bound, &times, &x, dims)?;
    let curve = progressive_coding(prior, &terms, dims);
    let by_time = |of: fn(&crate::diffusion::likelihood::RateDistortion) -> f64| -> Vec<[f64; 2]> {
        curve.iter().map(|point| [(times.len() - point.term) as f64, of(point)]).collect()
    };
    let steps = "reverse steps received, T - t";
    let rate = Plot::new("", steps, "rate, bits per dimension").line("rate", by_time(|p| p.rate));
    let distortion =
        Plot::new("", steps, "distortion, RMSE on 0..255").line("distortion", by_time(|p| 127.5 * p.distortion));
    let both = curve.iter().map(|p| [p.rate, 127.5 * p.distortion]).collect();
    let against =
        Plot::new("", "rate, bits per dimension", "distortion, RMSE on 0..255").line("progressive coding", both);
    page.plot("rate", "What has been sent.", &rate.figure());
    page.plot("distortion", "How far the estimate is from the image.", &distortion.figure());
    page.plot("rate-distortion", "One against the other.", &against.figure());
    let total = bits_per_dim(prior + terms.iter().map(|t| t.nats).sum::<f64>(), dims);
    let mut table = Table::new(&["images", "prior, bits/dim", "all, bits/dim", "distortion at the end, 0..255"]);
    let last = curve.last().expect("a schedule has steps");
    table.row([
        n.to_string(),
        format!("{:.1e}", bits_per_dim(prior, dims)),
        digits(total, 4),
        digits(127.5 * last.distortion, 3),
    ]);
    page.table("coding", "The ends of the curve.", table);
    let rises = curve.is_sorted_by(|a, b| a.rate <= b.rate + 1e-9);
    let falls = curve.iter().step_by(50).is_sorted_by(|a, b| a.distortion >= b.distortion * 0.98);
    page.claim(
        "notes on Ho et al., progressive coding",
        "Rate rises and distortion falls as t goes to 1, and most of the rate is spent on detail that is hardly visible.",
        Verdict::of(rises && falls),
        format!("rate to {} bits/dim, distortion to {}", digits(last.rate, 3), digits(127.5 * last.distortion, 3)),
    );
    Ok(())
}

/// The mean over images of every term of the bound, and of the prior.
fn mean_terms(
    context: &mut Context,
    model: &mut LoadedModel,
    bound: &Bound,
    times: &[f64],
    images: &[f32],
    dims: usize,
) -> Result<(Vec<Term>, f64)> {
    let n = images.len() / dims;
    let mut terms = vec![Term { nats: 0.0, squared_error: 0.0 }; times.len()];
    let mut prior = 0.0;
    let exact = |values: &[f32]| -> Vec<f64> { values.iter().map(|&v| f64::from(v)).collect() };
    for (image, x) in images.chunks_exact(dims).enumerate() {
        let x0 = exact(x);
        prior += bound.prior(&x0) / n as f64;
        for (part, asked) in times.chunks(model.chunk()).enumerate() {
            context.check_stop()?;
            let first = part * model.chunk();
            let rng = RngState { seed: context.settings().seed, step: image as u32, first_image: first as u32 };
            let answers = model.ask(&x.repeat(asked.len()), asked, &vec![0; asked.len()], rng)?;
            let said = answers.z.chunks_exact(dims).zip(answers.out.chunks_exact(dims));
            for (k, (z, out)) in said.enumerate() {
                let term = bound.term(first + k, &x0, &exact(z), &exact(out), None);
                terms[first + k].nats += term.nats / n as f64;
                terms[first + k].squared_error += term.squared_error / n as f64;
            }
        }
        context.progress(image as u64 + 1, n as u64);
    }
    Ok((terms, prior))
}

pub(super) fn ablation(context: &mut Context, page: &mut Page) -> Result<()> {
    let with = |target, loss| (Model { target, ..EPSILON }, loss);
    let rows = [
        ("ε, simple", with(PredictionTarget::Epsilon, LossWeighting::Simple)),
        ("ε, bound", with(PredictionTarget::Epsilon, LossWeighting::Vlb)),
        ("μ, simple", with(PredictionTarget::Mu, LossWeighting::Simple)),
        ("μ, bound", with(PredictionTarget::Mu, LossWeighting::Vlb)),
        ("ε, simple, learned variance", (LEARNED, LossWeighting::Simple)),
    ];
    let base = digits_config(context, EPSILON)?;
    let mut judge = Judge::new(context, &base, Need::Mnist)?;
    let test = dataset(&base, Split::Test)?;
    let (n, size) = (context.size(600, 5000), context.size([100, 50], [3177, 999]));
    let mut table = Table::new(&["training", "Fréchet", "valid", "NLL, bits/dim"]);
    let mut results = Vec::new();
    for (name, (model, loss)) in rows {
        let mut config = digits_config(context, model)?;
        config.diffusion.loss = loss;
        // Steps over many times divide what a network says of μ by a small number: unclipped, its errors grow without end.
        let clipped = SampleConfig { clip_x0: true, ..config.sample.clone() };
        let mut loaded = load_as(context, &config, &clipped, false)?;
        context.note(&format!("samples of {name}"));
        let samples = draw(context, &mut loaded, Draw { n, ..Draw::default() })?;
        let judgement = judge.judge(&samples, None)?;
        let bits = likelihood(context, &mut loaded, &test, size)?.bits;
        let valid = format!("{:.1} %", 100.0 * judgement.valid);
        let nll = format!("{:.3} ± {:.3}", bits.loss, bits.standard_error);
        table.row([name.to_owned(), digits(judgement.frechet, 3), valid, nll]);
        results.push((judgement.frechet, judgement.valid, bits.loss));
    }
    page.table("ablation", "Digits 1, 2 and 3: distance of samples and likelihood of test images.", table);
    page.text(
        "The distance is that of our own classifier's features, as in ens-table-1, whose runs are shared; here x_0 is \
         clipped to [-1, 1] in every step.",
    );
    let [simple, bound, mu_simple, mu_bound, learned] = results[..] else { unreachable!("five rows") };
    page.claim(
        "notes on Ho et al., ablation",
        "Trained by the bound a model codes better, trained by the simple loss it draws better.",
        Verdict::of(bound.2 < simple.2 && simple.0 < bound.0),
        format!(
            "NLL {:.3} by the bound, {:.3} simple; distance {} and {}",
            bound.2,
            simple.2,
            digits(bound.0, 3),
            digits(simple.0, 3)
        ),
    );
    page.claim(
        "notes on Ho et al., ablation; Ambilduke et al., section 4.1",
        "Predicting μ works with the bound's weights, and worse with plain squared error.",
        Verdict::of(mu_bound.0 < mu_simple.0 && simple.0 < mu_simple.0),
        format!(
            "distance {} with the bound, {} without weights; ε: {}",
            digits(mu_bound.0, 3),
            digits(mu_simple.0, 3),
            digits(simple.0, 3)
        ),
    );
    page.claim(
        "notes on Ho et al., ablation (Ambilduke et al. disagree)",
        "Learned variance makes training unstable.",
        Verdict::of(learned.1 < 0.5 * simple.1),
        format!("valid samples: {:.1} % with, {:.1} % without", 100.0 * learned.1, 100.0 * simple.1),
    );
    Ok(())
}
