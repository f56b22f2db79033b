//! Progress of a training run: a bar on a terminal, a line now and then anywhere else.

use std::{
    fmt,
    io::Write,
    time::{Duration, Instant},
};

use super::terminal::{bar_columns, bar_style, columns, draw_target};
use indicatif::ProgressBar;

/// Share of a new loss in the average that is shown.
const LOSS_WEIGHT: f64 = 0.02;
/// The speed shown is that of about the last ten seconds.
const SPEED_SECONDS: f64 = 10.0;
/// Lines are a tenth of the elapsed time apart, within these bounds in seconds.
const LINE_SECONDS: (f64, f64) = (5.0, 60.0);

/// Shows the progress of a loop of steps.
pub struct Progress {
    total_steps: u64,
    step: u64,
    images_per_step: usize,
    loss: Smoothed,
    clock: Clock,
    output: Output,
}

enum Output {
    /// With its width.
    Bar(ProgressBar, usize),
    Lines {
        out: Box<dyn Write + Send>,
        last: f64,
    },
}

impl Progress {
    /// A bar on standard error, for a terminal.
    pub fn bar(total_steps: u64, first_step: u64, images_per_step: usize) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total_steps), draw_target(10));
        bar.set_position(first_step);
        Progress::new(total_steps, first_step, images_per_step, Output::Bar(bar, usize::MAX))
    }

    /// A line now and then, for a file or a pipe.
    pub fn lines(total_steps: u64, first_step: u64, images_per_step: usize, out: Box<dyn Write + Send>) -> Progress {
        Progress::new(total_steps, first_step, images_per_step, Output::Lines { out, last: 0.0 })
    }

    fn new(total_steps: u64, first_step: u64, images_per_step: usize, output: Output) -> Progress {
        let clock = Clock::start(first_step);
        Progress { total_steps, step: first_step, images_per_step, loss: Smoothed::default(), clock, output }
    }

    /// `step` steps are done; the last had this loss.
    pub fn update(&mut self, step: u64, loss: f32) {
        self.update_at(self.clock.started.elapsed().as_secs_f64(), step, loss);
    }

    fn update_at(&mut self, seconds: f64, step: u64, loss: f32) {
        self.step = step;
        self.loss.add(f64::from(loss));
        self.clock.tick(seconds, step);
        let line = self.to_string();
        match &mut self.output {
            Output::Bar(bar, width) => {
                let columns = columns();
                let line = fitting(&line, columns.saturating_sub(count(step, self.total_steps)));
                // Not wider again for a text that is shorter for a moment.
                let fits = bar_columns(columns, count(step, self.total_steps) + line.chars().count()).min(*width);
                if fits != *width {
                    *width = fits;
                    bar.set_style(bar_style("", "{pos}/{len} {msg}", fits));
                }
                bar.set_message(line);
                bar.set_position(step);
            }
            Output::Lines { out, last } => {
                let wait = (seconds / 10.0).clamp(LINE_SECONDS.0, LINE_SECONDS.1);
                if step == self.total_steps || seconds - *last >= wait {
                    *last = seconds;
                    // Nobody may be listening any more: no reason to stop the run.
                    let _ = writeln!(out, "step {step}/{} {line}", self.total_steps);
                }
            }
        }
    }

    /// Prints a line without disturbing the bar.
    pub fn note(&mut self, text: &str) {
        match &mut self.output {
            Output::Bar(bar, _) => bar.suspend(|| eprintln!("{text}")),
            Output::Lines { out, .. } => drop(writeln!(out, "{text}")),
        }
    }

    /// Leaves the last state on the screen.
    pub fn finish(&mut self) {
        if let Output::Bar(bar, _) = &self.output {
            bar.abandon();
        }
    }

    /// The smoothed loss, if there was a step.
    pub fn loss(&self) -> Option<f64> {
        self.loss.value()
    }

    /// Training speed over the last seconds; 0 before the first step.
    pub fn images_per_second(&self) -> f64 {
        self.clock.steps_per_second() * self.images_per_step as f64
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(loss) = self.loss() {
            write!(f, " loss {loss:.4}")?;
        }
        let speed = self.images_per_second();
        let decimals = if speed < 10.0 { 1 } else { 0 };
        write!(f, "  {speed:.decimals$} images/s  {} elapsed", duration(self.clock.seconds))?;
        let rate = self.clock.steps_per_second();
        if rate > 0.0 {
            write!(f, "  {} left", duration(self.total_steps.saturating_sub(self.step) as f64 / rate))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({}/{})", self.step, self.total_steps)
    }
}

/// Columns of `12/2000 `.
fn count(step: u64, total: u64) -> usize {
    format!("{step}/{total} ").len()
}

/// The line without the parts between its first and its last, as far as it is too long: loss and time left say most.
fn fitting(line: &str, columns: usize) -> String {
    let mut parts: Vec<&str> = line.split("  ").collect();
    while parts.len() > 2 && parts.join("  ").chars().count() >= columns {
        parts.remove(parts.len() - 2);
    }
    parts.join("  ").chars().take(columns.saturating_sub(1)).collect()
}

/// An exponential average that starts without bias.
#[derive(Debug, Default)]
struct Smoothed {
    sum: f64,
    weight: f64,
}

impl Smoothed {
    fn add(&mut self, value: f64) {
        self.sum += LOSS_WEIGHT * (value - self.sum);
        self.weight += LOSS_WEIGHT * (1.0 - self.weight);
    }

    fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// Steps per second, forgetting what lies more than some seconds back.
#[derive(Debug)]
struct Clock {
    started: Instant,
    seconds: f64,
    step: u64,
    recent_steps: f64,
    recent_seconds: f64,
}

impl Clock {
    fn start(step: u64) -> Clock {
        Clock { started: Instant::now(), seconds: 0.0, step, recent_steps: 0.0, recent_seconds: 0.0 }
    }

    fn tick(&mut self, seconds: f64, step: u64) {
        let (passed, made) = (seconds - self.seconds, step.saturating_sub(self.step) as f64);
        let keep = (-passed / SPEED_SECONDS).exp();
        self.recent_steps = self.recent_steps * keep + made;
        self.recent_seconds = self.recent_seconds * keep + passed;
        (self.seconds, self.step) = (seconds, step);
    }

    fn steps_per_second(&self) -> f64 {
        if self.recent_seconds > 0.0 { self.recent_steps / self.recent_seconds } else { 0.0 }
    }
}

/// `8s`, `3m 20s`, `2h 05m`.
fn duration(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX).as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_tell_loss_speed_and_time_left_and_are_few() {
        let out = Shared::default();
        let mut progress = Progress::lines(10_000, 2_000, 64, Box::new(out.clone()));
        for i in 1..=8_000u64 {
            progress.update_at(i as f64 * 0.25, 2_000 + i, 0.5);
        }
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "step 2020/10000  loss 0.5000  256 images/s  5s elapsed  33m 15s left");
        assert_eq!(*lines.last().unwrap(), "step 10000/10000  loss 0.5000  256 images/s  33m 20s elapsed  0s left");
        assert!((30..=70).contains(&lines.len()), "{} lines", lines.len());
    }

    #[test]
    fn a_narrow_terminal_keeps_what_says_most() {
        let line = " loss 0.0321  1092 images/s  1m 20s elapsed  3m 15s left";
        assert_eq!(fitting(line, 80), line);
        assert_eq!(fitting(line, 45), " loss 0.0321  1092 images/s  3m 15s left");
        assert_eq!(fitting(line, 31), " loss 0.0321  3m 15s left");
        assert_eq!(fitting(line, 12), " loss 0.032");
    }

    #[test]
    fn the_speed_follows_a_change() {
        let mut progress = Progress::lines(1_000_000, 0, 1, Box::new(std::io::sink()));
        (1..=1000).for_each(|i| progress.update_at(f64::from(i) * 0.01, i as u64, 1.0));
        assert!((progress.images_per_second() - 100.0).abs() <= 1.0);
        (1..=300).for_each(|i| progress.update_at(10.0 + f64::from(i) * 0.2, 1000 + i as u64, 1.0));
        assert!((progress.images_per_second() - 5.0).abs() <= 0.5, "{}", progress.images_per_second());
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(0.2), "0s");
        assert_eq!(duration(200.0), "3m 20s");
        assert_eq!(duration(7_530.0), "2h 05m");
        duration(f64::INFINITY);
    }
}
