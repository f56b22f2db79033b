//! Ambilduke, Basséras and Vujadinović: one DDPM of the digits 1, 2 and 3 for each prediction target, with learned
//! variance, and with classifier-free guidance.
//!
//! ```text
//! networks.rs  the networks of the paper, and how they are trained
//! table_1.rs   ens-table-1: measures and shows Table 1
//! claims.rs    the verdicts on Table 1 and its discussion
//! figures.rs   ens-figures and ens-strip: samples
//! guidance.rs  ens-guidance: guidance by a classifier beside the classifier-free one; guidance_claims.rs its verdicts
//! ```

mod claims;
pub mod figures;
pub mod guidance;
mod guidance_claims;
pub(super) mod networks;
mod results;
pub mod table_1;
