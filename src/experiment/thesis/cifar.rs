//! `thesis-table-4.2`: x, ε and v on CIFAR-10, by the weighted loss and by the bound.

use super::super::images::{Draw, dataset, draw, load};
use super::super::{Context, Need, Page, Verdict};
use super::{BOUND_RANGE, Training};
use crate::Result;
use crate::data::{Dataset, Split};
use crate::diffusion::{LossWeighting, NoiseSchedule, PredictionTarget, Process};
use crate::engine::ops::philox::RngState;
use crate::eval::frechet::frechet_distance;
use crate::eval::inception::Inception;
use crate::eval::{Features, Moments};
use crate::report::{Table, digits, grid};
use crate::train::{Config, LoadedModel, presets};

/// Target, its name, and of the thesis, for either training: NELBO and FID, loss and FID.
type Published = (PredictionTarget, &'static str, [[&'static str; 2]; 2]);

const PUBLISHED: [Published; 3] = [
    (PredictionTarget::X0, "x", [["0.05", "16.96"], ["0.09", "13.54"]]),
    (PredictionTarget::Epsilon, "ε", [["0.06", "13.75"], ["0.84", "24.26"]]),
    (PredictionTarget::V, "v", [["0.12", "18.24"], ["0.86", "18.18"]]),
];

/// The thesis' network; quick: a hundredth of its weights, and minutes of training.
fn config(context: &Context, target: PredictionTarget, training: Training) -> Result<Config> {
    let mut settings = vec![
        format!("data.source={:?}", context.source(Need::Cifar10)?),
        format!("train.seed={}", context.settings().seed),
        "sample.n=0".into(),
        "train.sample_every=0".into(),
    ];
    if context.settings().quick {
        let quick = [
            "model.channels=[16, 16, 32, 32, 32]",
            "model.mid_channels=[32, 32]",
            "model.layers_per_block=1",
            "train.batch_size=32",
            "train.steps=400",
            "train.learning_rate=1e-3",
            "sample.steps=30",
        ];
        settings.extend(quick.map(String::from));
    }
    let mut config = presets::get("cifar-thesis")?.with_settings(&settings)?;
    config.diffusion.target = target;
    if training == Training::Nelbo {
        config.diffusion.loss = LossWeighting::Nelbo;
        let [t_min, t_max] = BOUND_RANGE;
        config.diffusion.schedule = NoiseSchedule::vp_cosine(t_min, t_max);
    }
    Ok(config)
}

/// Test loss of the target, and the bound, of `n` images; both by mean over the dimensions.
fn losses(context: &mut Context, model: &mut LoadedModel, test: &Dataset, n: usize) -> Result<[f64; 2]> {
    let target = model.config().diffusion.target;
    let (dims, channels) = (model.config().model.sample_len(), model.config().model.out_channels());
    let Process::Continuous { schedule, .. } = *model.process() else { unreachable!("the thesis has continuous time") };
    let bound = Process::continuous(schedule, BOUND_RANGE[0], BOUND_RANGE[1])?;
    let length = BOUND_RANGE[1] - BOUND_RANGE[0];
    let mut sums = [0.0; 2];
    for first in (0..n).step_by(model.chunk()) {
        context.check_stop()?;
        let indices: Vec<usize> = (first..n.min(first + model.chunk())).collect();
        let mut x = vec![0.0; indices.len() * dims];
        test.fill_batch(&indices, &vec![false; indices.len()], &mut x);
        let times: Vec<f64> = indices.iter().map(|&i| BOUND_RANGE[0] + length * (i as f64 + 0.5) / n as f64).collect();
        let rng = RngState { seed: 1 << 40, step: 0, first_image: first as u32 };
        let answers = model.ask(&x, &times, &[], rng)?;
        let of_image = x.chunks_exact(dims).zip(answers.eps.chunks_exact(dims)).zip(answers.out.chunks_exact(dims));
        for (&t, ((x, eps), out)) in times.iter().zip(of_image) {
            let own = target.squared_error(&bound.point(t), [x, eps, out], channels);
            sums[0] += own / n as f64;
            sums[1] += length * own * LossWeighting::Nelbo.weight(target, &bound, t)? / n as f64;
        }
    }
    Ok(sums)
}

pub(in crate::experiment) fn table_4_2(context: &mut Context, page: &mut Page) -> Result<()> {
    let mut inception = match context.settings().inception.clone() {
        Some(weights) => Some(Inception::open(&weights, context.device()?, 16)?),
        None => None,
    };
    let (tested, drawn) = (context.size(1000, 10_000), context.size(100, 50_000));
    let base = config(context, PredictionTarget::X0, Training::Weighted)?;
    let test = dataset(&base, Split::Test)?;
    let real = inception.as_mut().map(|network| real_moments(network, &base)).transpose()?;
    let header = ["target", "training", "loss of the target", "NELBO", "FID", "thesis: loss or NELBO", "thesis: FID"];
    let mut table = Table::new(&header);
    let mut own = Vec::new();
    for (t, training) in [Training::Weighted, Training::Nelbo].into_iter().enumerate() {
        for (target, name, published) in PUBLISHED {
            let config = config(context, target, training)?;
            context.note(&format!("{name}, {}", training.name()));
            let mut model = load(context, &config, false)?;
            let [loss, nelbo] = losses(context, &mut model, &test, tested)?;
            let samples = draw(context, &mut model, Draw { n: drawn, ..Draw::default() })?;
            let [_, h, w, c] = samples.dims;
            let stem = format!("samples-{name}-{}", training.name());
            let caption = format!("{name}, {}: samples.", training.name());
            page.picture(&stem, &caption, &grid(&samples.images[..100 * h * w * c], [100, h, w, c], Some(10)));
            let fid = match (&mut inception, &real) {
                (Some(network), Some(real)) => {
                    let features = network.features(&samples.images, samples.dims)?;
                    digits(frechet_distance(real, &Moments::of(&features, network.dims())?)?, 4)
                }
                _ => String::new(),
            };
            let cells = [name.into(), training.name().to_owned(), digits(loss, 3), digits(nelbo, 3), fid];
            table.row(cells.into_iter().chain(published[t].map(String::from)));
            if training == Training::Weighted {
                own.push(loss);
            }
        }
    }
    page.table("4.2", "CIFAR-10, test images; losses over t in [0.05, 0.95], the mean over the dimensions.", table);
    let [x, epsilon, v] = own[..] else { unreachable!("three targets") };
    page.claim(
        "Kumar, Table 4.2",
        "The weighted losses of x and ε add up to that of v, as they do for one and the same denoiser.",
        Verdict::of((v - x - epsilon).abs() <= 0.15 * v),
        format!(
            "{} + {} against {}; the thesis: 0.05 + 0.06 against 0.12",
            digits(x, 3),
            digits(epsilon, 3),
            digits(v, 3)
        ),
    );
    page.claim(
        "Kumar, Table 4.2",
        "Weighted ε has the best FID of the weighted trainings, x by the bound the best of all.",
        Verdict::NotDecided,
        "needs --inception FILE, 50,000 samples of each of six networks of 58 M weights, and a GPU for some days",
    );
    page.text(
        "The thesis' NELBO of x, 0.09 beside 0.84 for ε, cannot stand on one footing with the others: with the exact weights \
         all targets have one optimum, and the weight of ε is at least 2π at every time.",
    );
    Ok(())
}

fn real_moments(network: &mut Inception, config: &Config) -> Result<Moments> {
    let train = dataset(config, Split::Train)?;
    let [h, w, c] = train.image_dims();
    let mut features = Vec::new();
    for first in (0..train.len()).step_by(1000) {
        let indices: Vec<usize> = (first..train.len().min(first + 1000)).collect();
        let mut images = vec![0.0; indices.len() * h * w * c];
        train.fill_batch(&indices, &vec![false; indices.len()], &mut images);
        features.extend(network.features(&images, [indices.len(), h, w, c])?);
    }
    Moments::of(&features, network.dims())
}
