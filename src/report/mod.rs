//! Everything a run leaves for its reader: sheets of samples, plots, tables, the metrics log, TensorBoard events, and one
//! page that shows it all.

mod evaluations;
mod grid;
pub mod html;
mod metrics;
mod plot;
mod run_page;
mod sample_files;
mod table;
mod tensorboard;

pub use evaluations::{EvaluationLog, EvaluationRecord, distance_curve, read_evaluations};
pub use grid::{Picture, data_sheet, grid, sample_sheet, strip};
pub use metrics::{MetricsLog, Record, read_metrics};
pub use plot::{
    Figure, LossCurve, Plot, SCATTER, broad_and_narrow, data_scatter, escape, path_scatter, sample_scatter, smooth,
};
pub use run_page::{Content, RunPage, Sheet, Status, read_sheets};
pub use sample_files::{ClassedSamples, SampleFile, add_array};
pub use table::{Table, digits};
pub use tensorboard::EventWriter;
