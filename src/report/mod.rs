//! Everything a run leaves for its reader: sheets of samples, plots, tables, the metrics log, TensorBoard events, and one
//! page that shows it all.

mod evaluations;
mod grid;
pub mod html;
mod metrics;
mod plot;
mod table;
mod tensorboard;

pub use evaluations::{EvaluationLog, EvaluationRecord, distance_curve, read_evaluations};
pub use grid::{Picture, data_sheet, grid, sample_sheet, strip};
pub use html::{Report, Sheet, write_run_report};
pub use metrics::{MetricsLog, Record, read_metrics};
pub use plot::{Figure, Plot, data_scatter, escape, loss_curve, smooth};
pub use table::{Table, digits};
pub use tensorboard::EventWriter;
