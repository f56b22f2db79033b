//! Small plots as SVG, readable on light and dark pages: a [`Plot`] is one panel of curves or points, a [`Figure`] a
//! grid of them.
//!
//! ```text
//! panel.rs   axes and series of a panel
//! axis.rs    ranges, scales, ticks
//! marks.rs   lines, bands, boxes, dots, clouds of points
//! figure.rs  where panels, titles, tick labels and the legend lie
//! curves.rs  the plots of a run and of its data
//! svg.rs     text, colours, escaping
//! ```

mod axis;
mod curves;
mod figure;
mod marks;
mod panel;
mod svg;

pub use curves::{LossCurve, SCATTER, broad_and_narrow, data_scatter, path_scatter, sample_scatter, smooth};
pub use figure::Figure;
pub use panel::Plot;
pub use svg::escape;
