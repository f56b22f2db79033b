//! Devices and the driver interface; the only home of `unsafe`.

mod map_file;

pub use map_file::map_file;
