//! `won-mnist` and `won-cifar`: samples, losses and distances.

use super::claims::{judge_cifar, judge_mnist};
use super::models::{Outcome, model};
use super::networks::Network;
use crate::experiment::context::Context;
use crate::experiment::definition::Experiment;
use crate::experiment::judge::Judge;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::report::{Table, digits};
use anyhow::Result;

/// Two plain networks on MNIST: samples, losses, distances.
pub const MNIST: Experiment = Experiment {
    name: "won-mnist",
    about: "Two plain networks on MNIST: samples, losses, distances",
    source: "Vu Minh and Won, Figs. 2 to 6",
    needs: &[Need::Mnist],
    quick: "5,000 digits, 600 steps of 32; about 5 minutes on two cores",
    full: Some("50 epochs each; a GPU, an hour"),
    run: mnist,
};
/// Three plain networks of growing size on CIFAR-10.
pub const CIFAR: Experiment = Experiment {
    name: "won-cifar",
    about: "Three plain networks of growing size on CIFAR-10",
    source: "Vu Minh and Won, Figs. 8 to 13",
    needs: &[Need::Cifar10],
    quick: "5,000 images, 300, 300 and 20 steps of 32; about 10 minutes on two cores",
    full: Some("60 epochs each; a GPU, hours"),
    run: cifar,
};
fn table(page: &mut Page, results: &[Outcome]) {
    let mut table = Table::new(&["model", "Fréchet distance", "roughness of samples (white noise: 1)"]);
    for result in results {
        let frechet = result.frechet.map_or(String::new(), |v| digits(v, 3));
        table.row([result.network.name().to_owned(), frechet, digits(result.roughness, 3)]);
    }
    page.table("models", "Distance of samples by our own classifier's features, and how rough samples are.", table);
}

fn mnist(context: &mut Context, page: &mut Page) -> Result<()> {
    let base = Network::Dm1.config(context)?;
    let mut judge = Judge::new(context, &base, Need::Mnist)?;
    let one = model(context, page, Network::Dm1, Some(&mut judge))?;
    let two = model(context, page, Network::Dm2, Some(&mut judge))?;
    table(page, &[one, two]);
    page.claims([judge_mnist(one, two)?]);
    page.text(
        "T = 500 with the β of T = 1000 leaves 8 % of the image in z_T, while samples start from pure noise: part of what \
         these models do wrong is in the schedule.",
    );
    Ok(())
}

fn cifar(context: &mut Context, page: &mut Page) -> Result<()> {
    let base = Network::C1.config(context)?;
    let mut judge = if context.settings().quick { None } else { Some(Judge::new(context, &base, Need::Cifar10)?) };
    let mut outcome = |network| model(context, page, network, judge.as_mut());
    let results = [outcome(Network::C1)?, outcome(Network::C2)?, outcome(Network::C3)?];
    table(page, &results);
    page.claims([judge_cifar(results)]);
    Ok(())
}
