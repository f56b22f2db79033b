//! Philox4x32-10 (Salmon et al. 2011): words of single counters, and of many at a time.

use super::state::{RngState, Stream};
use super::variates::{normal4, uniform_open};

/// The four words of one counter.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        counter = round(counter, key);
        key = next_key(key);
    }
    counter
}

/// Multiplies two counter words by odd constants and mixes the high halves with the key.
#[inline(always)]
fn round(c: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (product0, product1) = (0xD251_1F53 * c[0] as u64, 0xCD9E_8D57 * c[2] as u64);
    [(product1 >> 32) as u32 ^ c[1] ^ key[0], product1 as u32, (product0 >> 32) as u32 ^ c[3] ^ key[1], product0 as u32]
}

#[inline(always)]
fn next_key(key: [u32; 2]) -> [u32; 2] {
    [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)]
}

/// The random numbers of one step and stream.
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    state: RngState,
    stream: u32,
}

/// Counters of one block: a vector or two of every instruction set.
const LANES: usize = 16;
/// Numbers of one block of counters.
const BLOCK: usize = 4 * LANES;

impl Philox {
    /// The numbers of `stream` in `state`.
    pub fn new(state: RngState, stream: Stream) -> Philox {
        Philox { state, stream: stream.id() }
    }

    /// The numbers of `stream` in the state that an op reads from its tensor.
    pub fn from_view(rng: &[f32], stream: Stream) -> Philox {
        Philox::new(RngState::from_view(rng), stream)
    }

    /// The random word of one element of an image.
    pub fn word(&self, image: u32, element: usize) -> u32 {
        self.block(image, (element / 4) as u32)[element % 4]
    }

    /// The words of four elements of an image, from element `4 quad` on.
    pub(super) fn block(&self, image: u32, quad: u32) -> [u32; 4] {
        let image = self.state.first_image.wrapping_add(image);
        philox4x32([quad, image, self.state.step, self.stream], self.key())
    }

    /// A number in (0, 1).
    pub fn uniform(&self, image: u32, element: usize) -> f32 {
        uniform_open(self.word(image, element))
    }

    /// Numbers in (0, 1) for the elements `first ..` of an image.
    #[inline(always)]
    pub fn fill_uniform(&self, image: u32, first: usize, out: &mut [f32]) {
        self.fill(image, first, out, |words| words.map(|w| w.map(uniform_open)));
    }

    /// Standard normals for the elements `first ..` of an image.
    #[inline(always)]
    pub fn fill_normal(&self, image: u32, first: usize, out: &mut [f32]) {
        self.fill(image, first, out, normal4);
    }

    /// Random words for the elements `first ..` of an image.
    #[inline(always)]
    pub fn fill_words(&self, image: u32, first: usize, out: &mut [u32]) {
        self.fill(image, first, out, |words| words);
    }

    #[inline(always)]
    fn key(&self) -> [u32; 2] {
        [self.state.seed as u32, (self.state.seed >> 32) as u32]
    }

    #[inline(always)]
    fn fill<T: Copy + Default>(
        &self,
        image: u32,
        first: usize,
        out: &mut [T],
        transform: impl Fn([[u32; LANES]; 4]) -> [[T; LANES]; 4],
    ) {
        let mut done = 0;
        while done < out.len() {
            let (quad, skip) = ((first + done) / 4, (first + done) % 4);
            let values = transform(self.words(image, quad as u32));
            let mut block = [T::default(); BLOCK];
            for lane in 0..LANES {
                for j in 0..4 {
                    block[4 * lane + j] = values[j][lane];
                }
            }
            let count = (BLOCK - skip).min(out.len() - done);
            out[done..done + count].copy_from_slice(&block[skip..skip + count]);
            done += count;
        }
    }

    /// The words of the counters `quad .. quad + LANES` of an image: `[j][lane]` belongs to element
    /// `4 (quad + lane) + j`.
    #[inline(always)]
    fn words(&self, image: u32, quad: u32) -> [[u32; LANES]; 4] {
        let mut key = self.key();
        let first_lane: [u32; LANES] = std::array::from_fn(|lane| quad.wrapping_add(lane as u32));
        let image = self.state.first_image.wrapping_add(image);
        let mut c = [first_lane, [image; LANES], [self.state.step; LANES], [self.stream; LANES]];
        for _ in 0..10 {
            let [c0, c1, c2, c3] = c.each_mut();
            for (((c0, c1), c2), c3) in c0.iter_mut().zip(c1).zip(c2).zip(c3) {
                [*c0, *c1, *c2, *c3] = round([*c0, *c1, *c2, *c3], key);
            }
            key = next_key(key);
        }
        c
    }
}
