//! The engine: tensors, the tape that records and replays programs on them, the ops they are made of, and the devices
//! that run them. It knows nothing of diffusion, networks or data.

#[allow(unsafe_code)]
pub mod device;
pub mod ops;
pub mod random;
pub mod simd;
pub mod tape;
pub mod tensor;
