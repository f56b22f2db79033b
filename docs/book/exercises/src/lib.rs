//! Exercises of the book. Each is a file with a hole, named after its chapter, and a file of tests beside it in `tests/`.
//!
//! ```sh
//! cargo test --release -p exercises ch4                        # yours
//! cargo test --release -p exercises --features solutions ch4   # the book's, docs/book/solutions
//! ```

#[cfg_attr(feature = "solutions", path = "../../solutions/ch4_ddim_step.rs")]
pub mod ch4_ddim_step;

#[cfg(test)]
mod tests;
