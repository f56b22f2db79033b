//! `ho-ablation`: the bound against the simple loss, μ against ε, learned against fixed variance.

use crate::data::Split;
use crate::diffusion::{LossWeighting, PredictionTarget};
use crate::experiment::ambilduke::networks::Network;
use crate::experiment::context::Context;
use crate::experiment::definition::Experiment;
use crate::experiment::images::{Draw, NllSize, dataset, draw, likelihood, load};
use crate::experiment::judge::Judge;
use crate::experiment::numbers::percent;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Table, digits};
use crate::train::Config;
use crate::train::validation::MeanLoss;
use anyhow::{Context as _, Result};

/// The bound against the simple loss, μ against ε, learned against fixed variance.
pub const ABLATION: Experiment = Experiment {
    name: "ho-ablation",
    about: "The bound against the simple loss, μ against ε, learned against fixed variance",
    source: "notes on Ho et al. (2020), ablation; Ambilduke et al., section 4.1",
    needs: &[Need::Mnist],
    quick: "as ens-table-1, three more runs; about 12 minutes on two cores",
    full: Some("the same, full size; a GPU, hours"),
    run: run,
};

/// A way to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Training {
    Simple,
    Bound,
    MuSimple,
    MuBound,
    Learned,
}

impl Training {
    const ALL: [Training; 5] =
        [Training::Simple, Training::Bound, Training::MuSimple, Training::MuBound, Training::Learned];

    fn name(self) -> &'static str {
        match self {
            Training::Simple => "ε, simple",
            Training::Bound => "ε, bound",
            Training::MuSimple => "μ, simple",
            Training::MuBound => "μ, bound",
            Training::Learned => "ε, simple, learned variance",
        }
    }

    fn config(self, context: &Context) -> Result<Config> {
        let network = if self == Training::Learned { Network::Learned } else { Network::Epsilon };
        let mut config = network.config(context)?;
        if matches!(self, Training::MuSimple | Training::MuBound) {
            config.diffusion.target = PredictionTarget::Mu;
        }
        config.diffusion.loss = match self {
            Training::Bound | Training::MuBound => LossWeighting::Vlb,
            Training::Simple | Training::MuSimple | Training::Learned => LossWeighting::Simple,
        };
        // A step over many times divides the network's μ by a small number: without clipping its errors grow without end.
        config.sample.clip_x0 = true;
        Ok(config)
    }
}

/// The measures of a trained model.
#[derive(Clone, Copy, Debug)]
struct Row {
    training: Training,
    /// Fréchet distance of the samples.
    frechet: f64,
    /// Share of valid samples.
    valid: f64,
    /// Bits per dimension of test images.
    bits: MeanLoss,
}

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    let rows = measure(context)?;
    show(page, &rows);
    page.claims(judge(&rows)?);
    Ok(())
}

fn measure(context: &mut Context) -> Result<Vec<Row>> {
    let base = Network::Epsilon.config(context)?;
    let mut judge = Judge::new(context, &base, Need::Mnist)?;
    let test = dataset(&base, Split::Test)?;
    let n = context.size(600, 5000);
    let size = context.size(NllSize { images: 100, steps: 50 }, NllSize { images: 3177, steps: 999 });
    let mut rows = Vec::new();
    for training in Training::ALL {
        let config = training.config(context)?;
        let mut loaded = load(context, &config)?;
        context.note(&format!("samples of {}", training.name()));
        let samples = draw(context, &mut loaded, Draw { n, ..Draw::default() })?;
        let judgement = judge.judge(&samples, None)?;
        let bits = likelihood(context, &mut loaded, &test, size)?.bits;
        rows.push(Row { training, frechet: judgement.frechet, valid: judgement.valid, bits });
    }
    Ok(rows)
}

fn show(page: &mut Page, rows: &[Row]) {
    let mut table = Table::new(&["training", "Fréchet", "valid", "NLL, bits/dim"]);
    for Row { training, frechet, valid, bits } in rows {
        let nll = format!("{:.3} ± {:.3}", bits.loss, bits.standard_error);
        table.row([training.name().to_owned(), digits(*frechet, 3), percent(*valid), nll]);
    }
    page.table("ablation", "Digits 1, 2 and 3: distance of samples and likelihood of test images.", table);
    page.text(
        "The distance is that of our own classifier's features, as in ens-table-1, whose runs are shared; here x_0 is \
         clipped to [-1, 1] in every step.",
    );
}

/// Judges the claims on the bound, on μ and on learned variance.
fn judge(rows: &[Row]) -> Result<[Claim; 3]> {
    let row = |training: Training| {
        let found = rows.iter().find(|row| row.training == training);
        found.with_context(|| format!("the ablation has no row \"{}\"", training.name()))
    };
    let (simple, bound, learned) = (row(Training::Simple)?, row(Training::Bound)?, row(Training::Learned)?);
    let (mu_simple, mu_bound) = (row(Training::MuSimple)?, row(Training::MuBound)?);
    Ok([
        Claim::new(
            "notes on Ho et al., ablation",
            "Trained by the bound a model codes better, trained by the simple loss it draws better.",
            Verdict::of(bound.bits.loss < simple.bits.loss && simple.frechet < bound.frechet),
            format!(
                "NLL {:.3} by the bound, {:.3} simple; distance {} and {}",
                bound.bits.loss,
                simple.bits.loss,
                digits(bound.frechet, 3),
                digits(simple.frechet, 3)
            ),
        ),
        Claim::new(
            "notes on Ho et al., ablation; Ambilduke et al., section 4.1",
            "Predicting μ works with the bound's weights, and worse with plain squared error.",
            Verdict::of(mu_bound.frechet < mu_simple.frechet && simple.frechet < mu_simple.frechet),
            format!(
                "distance {} with the bound, {} without weights; ε: {}",
                digits(mu_bound.frechet, 3),
                digits(mu_simple.frechet, 3),
                digits(simple.frechet, 3)
            ),
        ),
        Claim::new(
            "notes on Ho et al., ablation (Ambilduke et al. disagree)",
            "Learned variance makes training unstable.",
            Verdict::of(learned.valid < 0.5 * simple.valid),
            format!("valid samples: {} with, {} without", percent(learned.valid), percent(simple.valid)),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    /// Rows as the sources claim them.
    fn rows() -> Vec<Row> {
        let row = |training, frechet, valid, bits| Row {
            training,
            frechet,
            valid,
            bits: MeanLoss { loss: bits, standard_error: 0.01 },
        };
        vec![
            row(Training::Simple, 10.0, 0.9, 1.3),
            row(Training::Bound, 20.0, 0.8, 1.2),
            row(Training::MuSimple, 40.0, 0.3, 2.0),
            row(Training::MuBound, 12.0, 0.9, 1.25),
            row(Training::Learned, 90.0, 0.1, 1.4),
        ]
    }

    #[test]
    fn every_claim_is_judged_on_both_sides() {
        assert_eq!(verdicts(&judge(&rows()).unwrap()), [Confirmed; 3]);
        let changes: [(usize, fn(&mut [Row])); 6] = [
            (0, |rows| rows[1].bits.loss = 1.31),
            (0, |rows| rows[1].frechet = 9.0),
            (1, |rows| rows[3].frechet = 41.0),
            (1, |rows| rows[2].frechet = f64::NAN),
            (2, |rows| rows[4].valid = 0.5),
            (2, |rows| rows[4].valid = f64::NAN),
        ];
        for (claim, change) in changes {
            let mut rows = rows();
            change(&mut rows);
            let mut want = [Confirmed; 3];
            want[claim] = Refuted;
            assert_eq!(verdicts(&judge(&rows).unwrap()), want, "claim {claim}");
        }
        assert!(judge(&rows()[1..]).unwrap_err().to_string().contains("ε, simple"));
    }
}
