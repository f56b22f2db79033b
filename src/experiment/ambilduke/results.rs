//! The measured rows of Table 1.

use super::networks::Network;
use crate::eval::nll::Nll;
use crate::experiment::judge::{Judgement, Topline};
use crate::experiment::spread::Measured;
use anyhow::{Context, Result};

/// The identity of a row: a network, and the strength of its guidance where it has labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RowKey {
    pub network: Network,
    pub guidance: Option<f64>,
}

impl RowKey {
    /// The row of an unconditional network.
    pub fn plain(network: Network) -> RowKey {
        RowKey { network, guidance: None }
    }

    /// The row of the conditional network with guidance `w`.
    pub fn guided(w: f64) -> RowKey {
        RowKey { network: Network::Conditional, guidance: Some(w) }
    }

    /// The name in the table.
    pub fn name(self) -> String {
        match self.guidance {
            None => self.network.name().into(),
            Some(w) => format!("{}, w = {w}", self.network.name()),
        }
    }
}

/// The numbers that the paper gives for a row, as it prints them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Published {
    pub fid: Option<&'static str>,
    pub fid_binarised: Option<&'static str>,
    pub bits_per_dim: Option<&'static str>,
}

impl Published {
    /// Numbers for samples alone.
    pub fn fids(fid: &'static str, fid_binarised: &'static str) -> Published {
        Published { fid: Some(fid), fid_binarised: Some(fid_binarised), bits_per_dim: None }
    }

    /// The three cells of a table, empty where the paper has no number.
    pub fn cells(self) -> [String; 3] {
        [self.fid, self.fid_binarised, self.bits_per_dim].map(|number| number.unwrap_or_default().into())
    }
}

/// The likelihood of test images, in bits per dimension.
#[derive(Clone, Debug, Default)]
pub(super) struct Likelihood {
    /// The bound with the discretised decoder.
    pub bits: Measured,
    /// By the paper's formula.
    pub ambilduke: Measured,
}

/// A row of the table: the measures of the networks that differ in their seed.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub key: RowKey,
    pub published: Published,
    /// Fréchet distance of samples from the training data.
    pub frechet: Measured,
    /// The same with both thresholded.
    pub frechet_binarised: Measured,
    /// The distance in grey with each sample stretched to its own extremes, as the paper's program writes them.
    pub frechet_stretched: Measured,
    /// Share of valid samples.
    pub valid: Measured,
    /// Share of samples of the requested class, of conditional networks only.
    pub as_asked: Option<Measured>,
    /// Variance of the features within a class.
    pub diversity: Measured,
    /// The likelihood, of unconditional networks only.
    pub likelihood: Option<Likelihood>,
}

impl Row {
    /// A row without measures.
    pub fn new(key: RowKey, published: Published) -> Row {
        let [frechet, frechet_binarised, frechet_stretched, valid, diversity] =
            std::array::from_fn(|_| Measured::default());
        let (as_asked, likelihood) = match key.guidance {
            Some(_) => (Some(Measured::default()), None),
            None => (None, Some(Likelihood::default())),
        };
        Row { key, published, frechet, frechet_binarised, frechet_stretched, valid, as_asked, diversity, likelihood }
    }

    /// Adds the samples of a further seed.
    pub fn push(&mut self, judgement: &Judgement) {
        self.frechet.push(judgement.frechet);
        self.frechet_binarised.push(judgement.frechet_binarised);
        self.frechet_stretched.push(judgement.frechet_stretched);
        self.valid.push(judgement.valid);
        self.diversity.push(judgement.diversity);
        if let (Some(shares), Some(share)) = (&mut self.as_asked, judgement.as_asked) {
            shares.push(share);
        }
    }

    /// Adds the likelihood of a further seed.
    pub fn push_nll(&mut self, nll: &Nll) {
        if let Some(Likelihood { bits, ambilduke }) = &mut self.likelihood {
            bits.push(nll.bits.loss);
            if let Some(bound) = nll.ambilduke {
                ambilduke.push(bound.loss);
            }
        }
    }
}

/// The measured table.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pub topline: Topline,
    /// Accuracy of the judging classifier on test images.
    pub accuracy: f64,
    pub rows: Vec<Row>,
}

impl Results {
    /// Finds a row.
    ///
    /// # Errors
    /// If it was not measured.
    pub fn row(&self, key: RowKey) -> Result<&Row> {
        let found = self.rows.iter().find(|row| row.key == key);
        found.with_context(|| format!("Table 1 has no row \"{}\"", key.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_whole_identity() {
        let row = |key| Row::new(key, Published::default());
        let rows = [RowKey::guided(0.5), RowKey::plain(Network::ScoreScaled), RowKey::guided(0.0)].map(row).to_vec();
        let results = Results { topline: Topline { grey: 0.0, binarised: 0.0 }, accuracy: 1.0, rows };
        assert_eq!(results.row(RowKey::guided(0.0)).unwrap().key, RowKey::guided(0.0));
        let missing = results.row(RowKey::plain(Network::Score)).unwrap_err().to_string();
        assert_eq!(missing, "Table 1 has no row \"score\"");
    }
}
