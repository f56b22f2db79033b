//! Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011), and uniform and normal variates from its words.
//!
//! ```text
//! key     = (seed_lo, seed_hi)
//! counter = (element / 4, image, step, stream)
//! ```
//! A value depends on these and on nothing else: not on the device, the batch split or the number of threads. To keep
//! that true of the normals to the last bit, they are built only from correctly rounded operations (multiply, add,
//! square root), in the order in which `kernels/common/philox.cuh` has them.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::geometry::{image_len, images};
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Store, Tensor};
use rayon::prelude::*;

/// What a random number is for. Two streams never share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Diffusion times of a batch.
    Timestep,
    /// The noise eps of training.
    Noise,
    /// Where a sample starts, z_T.
    SampleInit,
    /// The noise of a reverse step.
    SampleStep,
    /// Horizontal flips.
    Flip,
    /// Initial weights.
    Init,
    /// The order of the data.
    Shuffle,
    /// Labels that become the null label.
    LabelDrop,
    /// The shapes of the embedded data set.
    Glyphs,
    /// The embedded sets of points of the plane.
    Points,
    /// The mask of a dropout layer, numbered.
    Dropout(u32),
}

impl Stream {
    /// The last word of the counter.
    pub fn id(self) -> u32 {
        match self {
            Stream::Timestep => 0,
            Stream::Noise => 1,
            Stream::SampleInit => 2,
            Stream::SampleStep => 3,
            Stream::Flip => 4,
            Stream::Init => 5,
            Stream::Shuffle => 6,
            Stream::LabelDrop => 7,
            Stream::Glyphs => 8,
            Stream::Points => 9,
            Stream::Dropout(layer) => 256 + layer,
        }
    }
}

/// The state that ops read: which run, which step, and which image of the run is the batch's first. It lies in a
/// tensor of four integers, so that a recorded step replays with new numbers.
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
    /// Reserves the tensor `u32[4]`.
    pub fn tensor(store: &mut Store) -> Tensor {
        store.tensor(&[4], DType::I32)
    }

    /// The tensor's contents: seed (low, high), step, first image.
    pub fn words(self) -> [i32; 4] {
        [self.seed as i32, (self.seed >> 32) as i32, self.step as i32, self.first_image as i32]
    }

    fn from_view(words: &[f32]) -> RngState {
        let word = |i: usize| words[i].to_bits();
        RngState { seed: (word(1) as u64) << 32 | word(0) as u64, step: word(2), first_image: word(3) }
    }
}

/// Philox4x32-10: the four words of one counter.
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

/// Counters that are worked on at a time: a vector or two of every instruction set.
const LANES: usize = 16;
/// Numbers that one block of counters gives.
const BLOCK: usize = 4 * LANES;

impl Philox {
    /// The numbers of `stream` in `state`.
    pub fn new(state: RngState, stream: Stream) -> Philox {
        Philox { state, stream: stream.id() }
    }

    /// As an op sees them: the state tensor's words.
    pub(super) fn from_view(rng: &[f32], stream: Stream) -> Philox {
        Philox::new(RngState::from_view(rng), stream)
    }

    /// The random word of one element of an image.
    pub fn word(&self, image: u32, element: usize) -> u32 {
        let image = self.state.first_image.wrapping_add(image);
        philox4x32([(element / 4) as u32, image, self.state.step, self.stream], self.key())[element % 4]
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

/// (word / 256 + 1/2) 2^-24, in (0, 1): the one value that would round up to 1 is kept below it.
#[inline(always)]
fn uniform_open(word: u32) -> f32 {
    (((word >> 8) as i32 as f32 + 0.5) * (1.0 / 16_777_216.0)).min(1.0 - f32::EPSILON / 2.0)
}

/// `c[0] x^(N-1) + ... + c[N-1]`
#[inline(always)]
fn horner<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    c[1..].iter().fold(c[0], |y, &c| y * x + c)
}

/// ln x for normal x > 0, to 1 ulp: x = 2^e (1 + f), |f| < sqrt(2) - 1, and Cephes' polynomial for ln(1 + f).
#[inline(always)]
#[allow(clippy::excessive_precision)] // the digits of the kernel's source
fn natural_log(x: f32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    const C: [f32; 9] = [
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ];
    let bits = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let e = (bits as i32 >> 23) as f32;
    let f = f32::from_bits((bits & 0x7f_ffff) + SQRT_HALF_BITS) - 1.0;
    let f2 = f * f;
    let y = f * f2 * horner(f, C);
    let y = y + e * -2.12194440e-4; // ln 2 = 0.693359375 - 2.12194440e-4
    let y = y + f2 * -0.5;
    (f + y) + e * 0.693359375
}

/// sin and cos of 2 pi u for u in [0, 1]. The reduction to a quarter turn around 0 is exact.
#[inline(always)]
#[allow(clippy::excessive_precision)] // the digits of the kernel's source
fn sin_cos_turns(u: f32) -> [f32; 2] {
    let quarters = u * 4.0;
    let quadrant = (quarters + 0.5) as i32;
    let x = (quarters - quadrant as f32) * std::f32::consts::FRAC_PI_2;
    let x2 = x * x;
    let s = x * x2 * horner(x2, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]) + x;
    let c = x2 * x2 * horner(x2, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]) + x2 * -0.5 + 1.0;
    let (sine, cosine) = if quadrant & 1 == 0 { (s, c) } else { (c, s) };
    [if quadrant & 2 == 0 { sine } else { -sine }, if (quadrant + 1) & 2 == 0 { cosine } else { -cosine }]
}

/// Box-Muller: sqrt(-2 ln u1) (cos, sin)(2 pi u2) of the word pairs (0, 1) and (2, 3).
#[inline(always)]
fn normal4(words: [[u32; LANES]; 4]) -> [[f32; LANES]; 4] {
    let mut z = [[0.0; LANES]; 4];
    for pair in [0, 2] {
        for lane in 0..LANES {
            let radius = (natural_log(uniform_open(words[pair][lane])) * -2.0).sqrt();
            let [sine, cosine] = sin_cos_turns(uniform_open(words[pair + 1][lane]));
            z[pair][lane] = radius * cosine;
            z[pair + 1][lane] = radius * sine;
        }
    }
    z
}

/// Fills a new f32 tensor `[n, ..]` with numbers in (0, 1); `rng` is a tensor of [`RngState::words`].
pub fn philox_uniform(tape: &mut Tape, dims: &[usize], rng: Tensor, stream: Stream) -> Tensor {
    let out = tape.tensor(dims, DType::F32);
    tape.push(PhiloxFill { out, rng, stream, normal: false, name: "philox_uniform" });
    out
}

/// Fills a new f32 tensor `[n, ..]` with standard normals; `rng` is a tensor of [`RngState::words`].
pub fn philox_normal(tape: &mut Tape, dims: &[usize], rng: Tensor, stream: Stream) -> Tensor {
    let out = tape.tensor(dims, DType::F32);
    tape.push(PhiloxFill { out, rng, stream, normal: true, name: "philox_normal" });
    out
}

op! {
    struct PhiloxFill = self.name {
        out out,  // [n, ..] f32
        in rng,   // [4]
        stream: Stream,
        normal: bool,
        name: &'static str,
    }
}

impl Op for PhiloxFill {
    fn cpu(&self, mem: &mut Memory) {
        let ([out], [rng]) = mem.views([self.out], [self.rng]);
        let philox = Philox::from_view(rng, self.stream);
        out.par_chunks_mut(image_len(self.out)).enumerate().for_each(|(image, out)| {
            simd::vectorized!(|| match self.normal {
                true => philox.fill_normal(image as u32, 0, out),
                false => philox.fill_uniform(image as u32, 0, out),
            })
        });
    }
    fn launch(&self, q: &mut Launches) {
        let launch = q.kernel_named(self.name).operands(self).grid(images(self.out, 4));
        launch.with([image_len(self.out)]).with([self.stream.id()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::targets;
    use crate::engine::tape::Session;

    const STATE: RngState = RngState { seed: 0x0123_4567_89ab_cdef, step: 7, first_image: 5 };

    /// The published known-answer vectors of Philox4x32-10 (Random123, `kat_vectors`).
    #[test]
    fn words_are_those_of_the_reference() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344, 0xa409_3822, 0x299f_31d0];
        let words = philox4x32([pi[0], pi[1], pi[2], pi[3]], [pi[4], pi[5]]);
        assert_eq!(words, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn vectors_of_counters_are_the_counters_one_by_one() {
        let philox = Philox::new(STATE, Stream::Dropout(3));
        let mut words = [0; 301];
        simd::vectorize(|| philox.fill_words(2, 0, &mut words));
        assert!(words.iter().enumerate().all(|(i, &word)| word == philox.word(2, i)));
    }

    #[test]
    fn a_value_does_not_depend_on_what_is_drawn_with_it() {
        let philox = Philox::new(STATE, Stream::Noise);
        let mut whole = [0.0; 301];
        philox.fill_normal(2, 0, &mut whole);
        for (first, len) in [(0, 1), (1, 7), (5, 64), (63, 130), (297, 4)] {
            let mut part = vec![0.0; len];
            philox.fill_normal(2, first, &mut part);
            assert_eq!(part, whole[first..first + len]);
        }
        let mut shifted = [0.0; 301];
        Philox::new(RngState { first_image: 6, ..STATE }, Stream::Noise).fill_normal(1, 0, &mut shifted);
        assert_eq!(shifted, whole);
        let mut vectorised = [0.0; 301];
        simd::vectorize(|| philox.fill_normal(2, 0, &mut vectorised));
        assert_eq!(vectorised, whole);
    }

    #[test]
    fn normals_are_box_muller_of_the_words() {
        let philox = Philox::new(STATE, Stream::SampleStep);
        let (mut words, mut normals) = ([0; 4096], [0.0; 4096]);
        philox.fill_words(0, 0, &mut words);
        philox.fill_normal(0, 0, &mut normals);
        let uniform = |w: u32| uniform_open(w) as f64;
        for (w, z) in words.chunks(2).zip(normals.chunks(2)) {
            let radius = (-2.0 * uniform(w[0]).ln()).sqrt();
            let (sine, cosine) = (std::f64::consts::TAU * uniform(w[1])).sin_cos();
            for (z, want) in [(z[0], radius * cosine), (z[1], radius * sine)] {
                let err = (z as f64 - want).abs();
                assert!(err <= 4e-7 * radius.max(1.0), "{z} is not {want}");
            }
        }
    }

    #[test]
    fn moments_of_a_million_numbers() {
        let philox = Philox::new(STATE, Stream::Noise);
        let n = 1_000_000;
        let (mut z, mut u) = (vec![0.0; n], vec![0.0; n]);
        philox.fill_normal(0, 0, &mut z);
        philox.fill_uniform(1, 0, &mut u);
        let mean = |x: &[f32], f: fn(f64) -> f64| x.iter().map(|&x| f(x as f64)).sum::<f64>() / x.len() as f64;
        // Five standard errors each.
        let bound = 5.0 / (n as f64).sqrt();
        assert!(mean(&z, |x| x).abs() <= bound);
        assert!((mean(&z, |x| x * x) - 1.0).abs() <= bound * 2f64.sqrt());
        assert!((mean(&z, |x| x.powi(4)) - 3.0).abs() <= bound * 96f64.sqrt());
        assert!((mean(&u, |x| x) - 0.5).abs() <= bound / 12f64.sqrt());
        assert!(u.iter().all(|&u| 0.0 < u && u < 1.0));
    }

    #[test]
    fn uniforms_stay_inside_the_open_interval() {
        assert!(uniform_open(0) > 0.0);
        assert!(uniform_open(u32::MAX) < 1.0);
    }

    #[test]
    fn every_device_draws_the_same_bits() {
        for target in targets() {
            for dims in [vec![3, 5, 7, 3], vec![2, 1003], vec![1, 64, 33]] {
                let d: usize = dims[1..].iter().product();
                for normal in [false, true] {
                    let device = target.open();
                    let backend = device.backend();
                    let mut store = Store::new();
                    let rng = RngState::tensor(&mut store);
                    let mut session = Session::new(device, &store).unwrap();
                    session.write_i32(rng, &STATE.words()).unwrap();
                    let mut tape = Tape::new(backend, target.dtype);
                    let fill = if normal { philox_normal } else { philox_uniform };
                    let out = fill(&mut tape, &dims, rng, Stream::SampleInit);
                    tape.keep(out);
                    let mut program = session.load(tape).unwrap();
                    session.run(&mut program).unwrap();
                    let got = session.read_in(&program, out).unwrap();

                    let philox = Philox::new(STATE, Stream::SampleInit);
                    let mut want = vec![0.0; got.len()];
                    want.chunks_mut(d).enumerate().for_each(|(image, want)| match normal {
                        true => philox.fill_normal(image as u32, 0, want),
                        false => philox.fill_uniform(image as u32, 0, want),
                    });
                    let same = got.iter().zip(&want).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{dims:?}, normal: {normal}, on {}", target.name);
                }
            }
        }
    }
}
