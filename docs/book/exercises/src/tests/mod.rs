//! Tests of the exercises, a file for each, named as it is.

mod ch4_ddim_step;
