//! Random numbers of a run that the host draws: the initial weights, the times of every batch, the hidden labels. Each is
//! a function of the seed, the step and an index.

use crate::engine::random::{Philox, RngState, Stream};
use crate::nn::{Init, ParamSet};

/// Diffusion times of a batch.
pub const TIMES: Stream = Stream::new(0);
/// Initial weights.
const INITIAL_WEIGHTS: Stream = Stream::new(5);
/// Labels that become the null label.
const LABEL_DROPS: Stream = Stream::new(7);

/// Draws the weights before training: a function of the seed alone.
pub fn initial_weights(params: &ParamSet, seed: u64) -> Vec<f32> {
    let philox = Philox::new(RngState { seed, step: 0, first_image: 0 }, INITIAL_WEIGHTS);
    params.initial(|p, init, values| match init {
        Init::Uniform(bound) => {
            philox.fill_uniform(p as u32, 0, values);
            values.iter_mut().for_each(|v| *v = (2.0 * *v - 1.0) * bound);
        }
        Init::Normal => philox.fill_normal(p as u32, 0, values),
        Init::Constant(c) => values.fill(c),
    })
}

/// The uniform word that becomes an image's time: a function of the seed, the step and the image's number in its batch,
/// independent of how a batch is split and of the device.
pub fn timestep_word(seed: u64, step: u32, image: u32) -> u32 {
    let mut word = [0];
    Philox::new(RngState { seed, step, first_image: image }, TIMES).fill_words(0, 0, &mut word);
    word[0]
}

/// Returns true if the label of an image of a batch is hidden, which has the given probability.
pub fn hides_label(seed: u64, step: u32, image: u32, probability: f64) -> bool {
    let mut u = [0.0];
    Philox::new(RngState { seed, step, first_image: image }, LABEL_DROPS).fill_uniform(0, 0, &mut u);
    f64::from(u[0]) < probability
}
