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

    /// The verdict on a conjunction: refuted if a part is, confirmed if all parts are. Nothing is confirmed by no parts.
    pub fn all(parts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let mut whole = None;
        for part in parts {
            whole = match (whole, part) {
                (Some(Verdict::Refuted), _) | (_, Verdict::Refuted) => Some(Verdict::Refuted),
                (Some(Verdict::NotDecided), _) | (_, Verdict::NotDecided) => Some(Verdict::NotDecided),
                _ => Some(Verdict::Confirmed),
            };
        }
        whole.unwrap_or(Verdict::NotDecided)
    }

    /// The verdict on a disjunction: confirmed if a part is, refuted if all parts are.
    pub fn any(parts: impl IntoIterator<Item = Verdict>) -> Verdict {
        Verdict::all(parts.into_iter().map(Verdict::not)).not()
    }

    /// The verdict on the opposite.
    fn not(self) -> Verdict {
        match self {
            Verdict::Confirmed => Verdict::Refuted,
            Verdict::Refuted => Verdict::Confirmed,
            Verdict::NotDecided => Verdict::NotDecided,
        }
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
    /// The measured quantity and its interval, and the result that would have refuted the claim; empty where the claim
    /// says it all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub test: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers behind the verdict, with their spread.
    pub evidence: String,
}

impl Claim {
    /// A claim with its verdict.
    pub fn new(source: &str, claim: impl Into<String>, verdict: Verdict, evidence: impl Into<String>) -> Claim {
        Claim { source: source.into(), claim: claim.into(), test: String::new(), verdict, evidence: evidence.into() }
    }

    /// Adds the description of the test.
    #[must_use]
    pub fn tested(self, test: impl Into<String>) -> Claim {
        Claim { test: test.into(), ..self }
    }
}

/// The verdicts alone, in order.
#[cfg(test)]
pub(super) fn verdicts(claims: &[Claim]) -> Vec<Verdict> {
    claims.iter().map(|claim| claim.verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;

    #[test]
    fn a_conjunction_is_as_weak_as_its_weakest_part() {
        assert_eq!(Verdict::all([Confirmed, Confirmed]), Confirmed);
        assert_eq!(Verdict::all([Confirmed, NotDecided]), NotDecided);
        assert_eq!(Verdict::all([NotDecided, Refuted, Confirmed]), Refuted);
        assert_eq!(Verdict::all([]), NotDecided);
        assert_eq!(Verdict::any([Refuted, NotDecided, Confirmed]), Confirmed);
        assert_eq!(Verdict::any([Refuted, NotDecided]), NotDecided);
        assert_eq!([Verdict::any([Refuted, Refuted]), Verdict::any([])], [Refuted, NotDecided]);
    }
}
