//! The measured rows of Table 1.

use super::networks::Network;
use crate::eval::nll::Nll;
use crate::experiment::judge::{Judgement, Topline};
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

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub key: RowKey,
    pub judgement: Judgement,
    /// The likelihood, of unconditional networks only.
    pub nll: Option<Nll>,
    pub published: Published,
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
        let row = |key| Row { key, judgement: Judgement::default(), nll: None, published: Published::default() };
        let rows = [RowKey::guided(0.5), RowKey::plain(Network::ScoreScaled), RowKey::guided(0.0)].map(row).to_vec();
        let results = Results { topline: Topline { grey: 0.0, binarised: 0.0 }, accuracy: 1.0, rows };
        assert_eq!(results.row(RowKey::guided(0.0)).unwrap().key, RowKey::guided(0.0));
        let missing = results.row(RowKey::plain(Network::Score)).unwrap_err().to_string();
        assert_eq!(missing, "Table 1 has no row \"score\"");
    }
}
