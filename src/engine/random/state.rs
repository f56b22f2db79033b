//! The parts of a counter that name a use of random numbers: the stream, the run, the step and the first image.

/// A purpose of random numbers: the last word of the counter. Two streams never share a number.
///
/// Each is a constant beside the code that draws from it; a test finds the constants and compares their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(u32);

impl Stream {
    /// The stream with this number. Numbers from 256 on belong to the layers of dropout.
    pub const fn new(id: u32) -> Stream {
        Stream(id)
    }

    /// The last word of the counter.
    pub const fn id(self) -> u32 {
        self.0
    }
}

/// The state that ops read: the run, the step, and the number of the batch's first image. It lies in a tensor of four
/// integers, so that a recorded step replays with new numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RngState {
    /// Names the run.
    pub seed: u64,
    /// Training step, or step of a sampler.
    pub step: u32,
    /// Index of the batch's first image within the step, or of the first sample.
    pub first_image: u32,
}

impl RngState {
    /// The tensor's contents: seed (low, high), step, first image.
    pub fn words(self) -> [i32; 4] {
        [self.seed as i32, (self.seed >> 32) as i32, self.step as i32, self.first_image as i32]
    }

    /// Reads the state from the tensor, whose integers an op sees as floats of the same bits.
    pub fn from_view(words: &[f32]) -> RngState {
        let word = |i: usize| words[i].to_bits();
        RngState { seed: u64::from(word(1)) << 32 | u64::from(word(0)), step: word(2), first_image: word(3) }
    }
}
