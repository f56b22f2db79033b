//! Ranges, scales and ticks.

#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) log: bool,
    /// Range of values shown; `None`: that of the data.
    pub(super) range: Option<(f64, f64)>,
}

impl Axis {
    pub(super) fn new(label: &str) -> Axis {
        Axis { label: label.into(), log: false, range: None }
    }

    /// Returns true if a value has a place on the axis.
    pub(super) fn shows(&self, value: f64) -> bool {
        let inside = self.range.is_none_or(|(lo, hi)| (lo..=hi).contains(&value));
        value.is_finite() && (!self.log || value > 0.0) && inside
    }

    /// The scale for these values between two places on the page; a y axis, which runs upwards, gets some air.
    pub(super) fn scale(&self, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Scale {
        let of_page = |value: f64| if self.log { value.log10() } else { value };
        let range = match self.range {
            Some((lo, hi)) => (of_page(lo), of_page(hi)),
            None => around(values.map(of_page), self.log, from > to),
        };
        Scale { log: self.log, range, from, to }
    }
}

/// The range of these values, widened where they are all the same.
fn around(values: impl Iterator<Item = f64>, log: bool, air: bool) -> (f64, f64) {
    let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if lo > hi {
        (0.0, 1.0)
    } else if hi - lo <= 1e-9 * lo.abs().max(hi.abs()) {
        let around = if log { 0.5 } else { 0.5 * lo.abs() };
        (lo - around.max(1e-9), hi + around.max(1e-9))
    } else {
        let air = if air { 0.04 * (hi - lo) } else { 0.0 };
        (lo - air, hi + air)
    }
}

/// The way from values to places on the page.
pub(super) struct Scale {
    log: bool,
    /// The range shown; of the logarithms on a logarithmic axis.
    range: (f64, f64),
    from: f64,
    to: f64,
}

impl Scale {
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        self.from + (value - self.range.0) / (self.range.1 - self.range.0) * (self.to - self.from)
    }

    /// A place within the axis, for the ends of bands and bars that reach beyond it.
    pub(super) fn place_within(&self, value: f64) -> f64 {
        let value = if self.log { value.max(1e-300).log10() } else { value };
        let value = value.clamp(self.range.0, self.range.1);
        self.from + (value - self.range.0) / (self.range.1 - self.range.0) * (self.to - self.from)
    }

    /// Round values in the range, with their labels; about one for `spacing` places.
    pub(super) fn ticks(&self, spacing: f64) -> Vec<(f64, String)> {
        let (lo, hi) = self.range;
        let wanted = ((self.to - self.from).abs() / spacing).clamp(3.0, 10.0);
        // Within less than two thirds of a decade few round factors lie: even steps serve a logarithmic axis too.
        if !self.log || hi - lo < 0.65 {
            let [lo, hi] = if self.log { [10f64.powf(lo), 10f64.powf(hi)] } else { [lo, hi] };
            let step = nice_step((hi - lo) / wanted);
            let decimals = (-step.log10().floor()).max(0.0) as usize;
            let first = (lo / step - 1e-9).ceil() as i64;
            let ticks = (first..).map(|i| i as f64 * step).take_while(|&value| value <= hi + 1e-9 * step);
            return ticks.map(|value| (value, number(value, decimals))).collect();
        }
        let within: &[f64] = match wanted / (hi - lo) {
            each if each < 2.4 => &[1.0],
            each if each < 8.6 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        };
        let every = ((hi - lo) / wanted).ceil().max(1.0) as usize;
        let decades = (lo.floor() as i32..=hi.ceil() as i32).filter(|decade| decade.rem_euclid(every as i32) == 0);
        let ticks = decades.flat_map(|decade| within.iter().map(move |factor| factor * 10f64.powi(decade)));
        ticks
            .filter(|value| (lo - 1e-9..=hi + 1e-9).contains(&value.log10()))
            .map(|value| (value, if (1e-3..1e4).contains(&value) { plain(value) } else { format!("{value:.0e}") }))
            .collect()
    }
}

/// The 1, 2 or 5 times a power of ten that is not below `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|&nice| nice * power >= step * (1.0 - 1e-9)).unwrap_or(10.0)
}

fn number(value: f64, decimals: usize) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    if value.abs() >= 1e6 {
        format!("{}M", plain(value / 1e6))
    } else if value.abs() >= 1e4 {
        format!("{}k", plain(value / 1e3))
    } else {
        format!("{value:.decimals$}")
    }
}

/// Up to six decimals, without trailing zeros.
fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(log: bool, lo: f64, hi: f64, places: f64) -> Vec<String> {
        let axis = Axis { log, ..Axis::new("") };
        axis.scale([lo, hi].into_iter(), 0.0, places).ticks(100.0).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(labels(false, 0.0, 2000.0, 600.0), ["0", "500", "1000", "1500", "2000"]);
        assert_eq!(labels(false, 0.0, 1.0, 600.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(false, -3.0, 3.0, 140.0), ["-2", "0", "2"]);
        assert_eq!(labels(false, -0.013, 0.021, 600.0), ["-0.01", "0.00", "0.01", "0.02"]);
        assert_eq!(labels(false, 0.0, 250_000.0, 600.0), ["0", "50k", "100k", "150k", "200k", "250k"]);
        assert_eq!(labels(true, 0.02, 1.0, 600.0), ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(labels(true, 3.1, 6.5, 600.0), ["4", "5", "6"]);
        assert_eq!(labels(true, 2.1, 2.9, 600.0), ["2.2", "2.4", "2.6", "2.8"]);
        assert_eq!(labels(true, 1e-6, 1e2, 800.0).len(), 9);
        assert_eq!(labels(true, 1e-6, 1e2, 400.0), ["1e-6", "1e-4", "0.01", "1", "100"]);
        assert!((2..=12).contains(&labels(false, 3.0, 3.0, 600.0).len()));
    }
}
