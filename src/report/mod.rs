//! What a run leaves for its reader: sheets of samples, plots, tables, the metrics log, TensorBoard events, a progress
//! bar, and one page that shows it all.

mod grid;
pub mod html;
mod metrics;
mod plot;
mod progress;
mod table;
mod tensorboard;

pub(crate) use crate::files::replace_file;
pub(crate) use grid::level;
pub use grid::{Picture, byte_grid, grid, sample_sheet, strip};
pub use html::{Report, Sheet, write_run_report};
pub use metrics::{MetricsLog, Record, read_metrics};
pub use plot::{Figure, Plot, data_scatter, escape, loss_curve, smooth};
pub use progress::Progress;
pub use table::{Table, digits};
pub use tensorboard::EventWriter;
