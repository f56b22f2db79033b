//! Fills tensors with uniform and normal random numbers of [`crate::engine::random`].

use crate::engine::device::Memory;
use crate::engine::random::{Philox, Stream};
use crate::engine::simd;
use crate::engine::tape::geometry::{image_len, images};
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Store, Tensor};
use rayon::prelude::*;

/// Reserves the tensor of [`RngState::words`](crate::engine::random::RngState::words), `u32[4]`, that ops draw their random numbers from.
pub fn state_tensor(store: &mut Store) -> Tensor {
    store.tensor(&[4], DType::I32)
}

/// Fills a new f32 tensor `[n, ..]` with numbers in (0, 1); `rng` is a tensor of [`RngState::words`](crate::engine::random::RngState::words).
pub fn philox_uniform(tape: &mut Tape, dims: &[usize], rng: Tensor, stream: Stream) -> Tensor {
    let out = tape.tensor(dims, DType::F32);
    tape.push(PhiloxFill { out, rng, stream, normal: false, name: "philox_uniform" });
    out
}

/// Fills a new f32 tensor `[n, ..]` with standard normals; `rng` is a tensor of [`RngState::words`](crate::engine::random::RngState::words).
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
    use crate::engine::random::RngState;
    use crate::engine::tape::Session;

    const STATE: RngState = RngState { seed: 0x0123_4567_89ab_cdef, step: 7, first_image: 5 };
    const STREAM: Stream = Stream::new(2);

    #[test]
    fn every_device_draws_the_same_bits() {
        for target in targets() {
            for dims in [vec![3, 5, 7, 3], vec![2, 1003], vec![1, 64, 33]] {
                let d: usize = dims[1..].iter().product();
                for normal in [false, true] {
                    let device = target.open();
                    let backend = device.backend();
                    let mut store = Store::new();
                    let rng = state_tensor(&mut store);
                    let mut session = Session::new(device, &store).unwrap();
                    session.write_i32(rng, &STATE.words()).unwrap();
                    let mut tape = Tape::new(backend, target.dtype);
                    let fill = if normal { philox_normal } else { philox_uniform };
                    let out = fill(&mut tape, &dims, rng, STREAM);
                    tape.keep(out);
                    let mut program = session.load(tape).unwrap();
                    session.run(&mut program).unwrap();
                    let got = session.read_in(&program, out).unwrap();

                    let philox = Philox::new(STATE, STREAM);
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
