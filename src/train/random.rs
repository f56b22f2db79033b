//! Random numbers of a run that the host draws: the initial weights and the times of every batch. Each is a function of
//! the seed, the step and an index.

use crate::diffusion::TimestepDraw;
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

/// The times of a run: each a function of the seed, the step and the image's number in its batch.
pub fn timestep_draw(seed: u64) -> TimestepDraw {
    TimestepDraw { philox: timestep_words, seed, stream: TIMES.id() }
}

fn timestep_words(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let seed = u64::from(key[1]) << 32 | u64::from(key[0]);
    let state = RngState { seed, step: counter[2], first_image: counter[1] };
    let mut words = [0; 4];
    Philox::new(state, TIMES).fill_words(0, 4 * counter[0] as usize, &mut words);
    words
}

/// Returns true if the label of an image of a batch is hidden, which has the given probability.
pub fn hides_label(seed: u64, step: u32, image: u32, probability: f64) -> bool {
    let mut u = [0.0];
    Philox::new(RngState { seed, step, first_image: image }, LABEL_DROPS).fill_uniform(0, 0, &mut u);
    f64::from(u[0]) < probability
}
