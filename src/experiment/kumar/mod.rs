//! Kumar's thesis: prediction targets and weightings of the loss, on points of the plane and on CIFAR-10.
//!
//! ```text
//! snr_weights.rs   snr-weights: the bound's factors
//! point_sets.rs    thesis-2d-data, thesis-2d-noising: the sets of points
//! cell.rs          the networks of points: what is trained, at which times
//! optima.rs        the least possible losses; bayes.rs has those of the clusters in closed form
//! measure.rs       losses on fresh points, distances of samples
//! table_4_1.rs     thesis-table-4.1; row.rs and published.rs have its rows, table_4_1_claims.rs its verdicts
//! epochs.rs        thesis-loss-curves, thesis-nelbo-curves: losses against epochs (Figs. 4.8, 4.9)
//! times.rs         thesis-loss-by-t, thesis-loss-variance: losses against time (Figs. 4.11, 4.14, app. 1-3)
//! samples.rs       thesis-samples-2d (Fig. 4.12)
//! steps.rs         thesis-steps-sweep (Fig. 4.13, app. 4-6)
//! table_4_2.rs     thesis-table-4.2: CIFAR-10; row_4_2.rs has its rows, table_4_2_claims.rs its verdicts
//! ```
//!
//! The thesis states neither width nor optimiser, batch, cut-offs in time or the sets' parameters. The choices made here
//! are on every page.

pub mod bayes;
mod cell;
pub mod epochs;
mod measure;
mod optima;
pub mod point_sets;
mod published;
mod row;
mod row_4_2;
pub mod samples;
pub mod snr_weights;
pub mod steps;
pub mod table_4_1;
mod table_4_1_claims;
pub mod table_4_2;
mod table_4_2_claims;
mod targets;
pub mod times;
