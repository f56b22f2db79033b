//! The parts of a data set that have a name.

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// A part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    #[default]
    Train,
    Test,
}

impl Split {
    pub(super) const ALL: [Split; 2] = [Split::Train, Split::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Split> {
        match name {
            "train" => Ok(Split::Train),
            "test" => Ok(Split::Test),
            _ => Err(Error::Config(format!("unknown split \"{name}\"; there are \"train\" and \"test\""))),
        }
    }
}
