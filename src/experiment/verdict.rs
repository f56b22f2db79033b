//! Claims of the sources, and the verdicts on them. A verdict is a pure function of measured values, so that a test can
//! give it numbers on either side of the line.

/// The outcome of testing a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Confirmed,
    Refuted,
    /// The measurement does not decide; the evidence names the reason, or the means to decide it.
    NotDecided,
}

impl Verdict {
    /// Confirmed if the condition holds, else refuted.
    pub fn of(holds: bool) -> Verdict {
        if holds { Verdict::Confirmed } else { Verdict::Refuted }
    }

    /// The word for readers.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Confirmed => "confirmed",
            Verdict::Refuted => "refuted",
            Verdict::NotDecided => "not decided",
        }
    }
}

/// A sentence of a source that can be true or false, with the verdict on it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Claim {
    /// The source and the place in it.
    pub source: String,
    /// The claim.
    pub claim: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers behind the verdict, with their spread.
    pub evidence: String,
}

impl Claim {
    /// A claim with its verdict.
    pub fn new(source: &str, claim: impl Into<String>, verdict: Verdict, evidence: impl Into<String>) -> Claim {
        Claim { source: source.into(), claim: claim.into(), verdict, evidence: evidence.into() }
    }
}

/// The verdicts alone, in order.
#[cfg(test)]
pub(super) fn verdicts(claims: &[Claim]) -> Vec<Verdict> {
    claims.iter().map(|claim| claim.verdict).collect()
}
