//! What a run leaves for its reader: sheets of samples, plots, tables, the metrics log, TensorBoard events, a progress
//! bar, and one page that shows it all.

mod grid;
pub mod html;
mod metrics;
mod plot;
mod progress;
mod table;
mod tensorboard;

use std::{fs, path::Path};

pub use grid::{Picture, data_sheet, grid, sample_sheet, strip};
pub use html::{Report, Sheet, write_run_report};
pub use metrics::{MetricsLog, Record, read_metrics};
pub use plot::{Figure, Plot, data_scatter, escape, loss_curve, smooth};
pub use progress::Progress;
pub use table::{Table, digits};
pub use tensorboard::EventWriter;

use crate::{Error, Result};

/// Writes a file that a reader may have open: under another name first, then renamed, so that it is never half there.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    fs::write(&temporary, bytes).map_err(Error::io(&temporary))?;
    fs::rename(&temporary, path).map_err(Error::io(path))
}
