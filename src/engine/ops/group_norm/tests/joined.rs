//! The norm of two tensors joined against the norm of their concatenation, bit for bit: the channels are shared out among
//! threads alike, so every sum has the same terms in the same order.

use super::*;
use crate::engine::device::Capability;
use crate::engine::ops::check::Target;
use crate::engine::ops::concat::{concat, join};

/// Contributions that reached the gradients before that of the norm.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Earlier {
    Nothing,
    /// Something for the two together.
    Whole,
    /// The whole, and another for the first tensor alone.
    WholeAndFirst,
}

/// A norm of two tensors with so many channels.
#[derive(Clone, Copy, Debug)]
struct Pair {
    dims: [usize; 3],
    channels: [usize; 2],
    groups: usize,
}

/// A group across the boundary, of whole vectors and not; a slab across it; as the first decoder blocks of ddpm-cifar10; no
/// vectors at all; one pixel; a group for each channel; more vectors than threads.
const PAIRS: [Pair; 7] = [
    Pair { dims: [3, 5, 7], channels: [24, 40], groups: 4 },
    Pair { dims: [2, 3, 5], channels: [16, 8], groups: 2 },
    Pair { dims: [2, 4, 4], channels: [256, 128], groups: 32 },
    Pair { dims: [3, 5, 3], channels: [8, 7], groups: 5 },
    Pair { dims: [2, 1, 1], channels: [40, 88], groups: 32 },
    Pair { dims: [1, 5, 7], channels: [8, 16], groups: 24 },
    Pair { dims: [2, 3, 1], channels: [1200, 1040], groups: 2 },
];

impl Pair {
    /// y, the statistics, and the gradients of both tensors, gamma, beta and the bias.
    fn run(&self, joined: bool, with_bias: bool, earlier: Earlier, device: Device, dtype: DType) -> Vec<Vec<u32>> {
        let (Pair { groups, .. }, [ca, cb]) = (*self, self.channels);
        let ([n, h, w], c) = (self.dims, ca + cb);
        let mut store = Store::new();
        let [whole_dims, first_dims, second_dims] = [c, ca, cb].map(|c| [n, h, w, c]);
        let [a, da] = [(); 2].map(|()| store.tensor(&first_dims, dtype));
        let b = store.tensor(&second_dims, dtype);
        let [dy, dwhole] = [(); 2].map(|()| store.tensor(&whole_dims, dtype));
        let [gamma, beta, dgamma, dbeta] = [(); 4].map(|()| store.tensor(&[c], DType::F32));
        let values = store.tensor(&[n, c], dtype);
        let mut tape = Tape::new(device.backend(), dtype);
        tape.parameter(gamma, dgamma);
        tape.parameter(beta, dbeta);
        [a, b, values].into_iter().for_each(|t| tape.watch(t));
        let x = if joined { join(&mut tape, a, b) } else { concat(&mut tape, a, b).into() };
        let (norm, bias) = (Norm { groups, eps: 1e-5, silu: true }, Some(ImageBias { values, first: 0 }));
        let y = group_norm_with(&mut tape, x, gamma, beta, norm, bias.filter(|_| with_bias), None);
        let stats = tape.nodes().last().unwrap().outputs()[1];
        tape.seed_grad(y, dy);
        if earlier != Earlier::Nothing {
            tape.accumulate(x.whole, dwhole);
        }
        if earlier == Earlier::WholeAndFirst {
            tape.accumulate(a, da);
        }
        tape.backward();
        let mut results = vec![y, stats, tape.grad(a), tape.grad(b), dgamma, dbeta];
        results.extend(with_bias.then(|| tape.grad(values)));
        results.iter().for_each(|&t| tape.keep(t));
        let names: Vec<_> = tape.nodes().iter().map(|node| node.name()).collect();
        assert_eq!(names.iter().any(|name| name.starts_with("concat")), !joined, "{names:?}");

        let mut session = Session::new(device, &store).unwrap();
        for (salt, t) in [a, b, dy, dwhole, da, gamma, beta, values].into_iter().enumerate() {
            let value = |i: usize| (((i + 97 * salt) * 2654435761) % 1009) as f32 / 504.5 - 1.0;
            session.write(t, &(0..t.numel()).map(value).collect::<Vec<_>>()).unwrap();
        }
        let mut program = session.load(tape).unwrap();
        session.run(&mut program).unwrap();
        assert!(joined == program.kernels().any(|kernel| kernel.starts_with("group_norm_joined")));
        if earlier == Earlier::WholeAndFirst {
            assert_eq!(session.first_non_finite(&mut program).unwrap(), None, "every node wrote what it says");
        }
        let bits = |t: &Tensor| session.read_in(&program, *t).unwrap().into_iter().map(f32::to_bits).collect();
        results.iter().map(bits).collect()
    }

    fn check(&self, with_bias: bool, earlier: Earlier, target: &Target) {
        let [joined, whole] =
            [true, false].map(|joined| self.run(joined, with_bias, earlier, target.open(), target.dtype));
        for (what, (joined, whole)) in
            ["y", "stats", "da", "db", "dgamma", "dbeta", "dbias"].iter().zip(joined.iter().zip(&whole))
        {
            assert!(joined.iter().all(|&bits| f32::from_bits(bits).is_finite()), "{what} of {self:?}");
            assert!(joined == whole, "{what} of {self:?} with {earlier:?}, bias {with_bias}, on {}", target.name);
        }
    }
}

fn gpu_targets() -> impl Iterator<Item = Target> {
    targets().into_iter().filter(|target| target.name != "cpu")
}

#[test]
fn two_tensors_are_normalised_as_one() {
    for target in gpu_targets() {
        few(PAIRS).for_each(|pair| pair.check(false, Earlier::Whole, &target));
    }
}

#[test]
fn with_and_without_bias_and_earlier_gradients() {
    for target in gpu_targets() {
        for earlier in [Earlier::Nothing, Earlier::Whole, Earlier::WholeAndFirst] {
            few(PAIRS).take(2).for_each(|pair| pair.check(earlier == Earlier::Nothing, earlier, &target));
        }
    }
}

/// The gradient of one of the tensors may be nobody's.
#[test]
fn one_gradient_may_be_unwanted() {
    let (mut store, dims) = (Store::new(), [2, 3, 5, 8]);
    let [a, b] = [(); 2].map(|()| store.tensor(&dims, DType::Bf16));
    let dy = store.tensor(&[2, 3, 5, 16], DType::Bf16);
    let [gamma, beta] = [(); 2].map(|()| store.tensor(&[16], DType::F32));
    let mut tape = Tape::new(Backend::Gpu(Capability::Ampere), DType::Bf16);
    tape.watch(b);
    let x = join(&mut tape, a, b);
    let y = group_norm_with(&mut tape, x, gamma, beta, Norm { groups: 4, eps: 1e-5, silu: true }, None, None);
    tape.seed_grad(y, dy);
    tape.backward();
    assert!(!tape.needs_grad(a));
    let written = tape.nodes().last().unwrap().outputs();
    assert_eq!((written[0].dims(), written[1].dims()), (dims.to_vec(), dims.to_vec()));
    assert_eq!(tape.grad(b), written[1]);
}

/// Two launches, which move both tensors and both gradients once and what has arrived before for the whole.
#[test]
fn no_launch_joins_or_parts() {
    let (n, mut store) = (4, Store::new());
    let [a, b, dy] = [24, 40, 64].map(|c| store.tensor(&[n, 8, 8, c], DType::Bf16));
    let [gamma, beta, dgamma, dbeta] = [(); 4].map(|()| store.tensor(&[64], DType::F32));
    let mut tape = Tape::new(Backend::Gpu(Capability::Ampere), DType::Bf16);
    tape.parameter(gamma, dgamma);
    tape.parameter(beta, dbeta);
    tape.watch(a);
    tape.watch(b);
    let x = join(&mut tape, a, b);
    let y = group_norm_with(&mut tape, x, gamma, beta, Norm { groups: 16, eps: 1e-5, silu: true }, None, None);
    tape.seed_grad(y, dy);
    tape.accumulate(x.whole, dy.reshape(&x.whole.dims()));
    tape.backward();
    let work = tape.work();
    let kernels: Vec<_> = work.iter().map(|w| w.launch.as_ref().unwrap().kernel.as_str()).collect();
    assert_eq!(kernels, ["group_norm_joined_fwd_bf16", "group_norm_joined_bwd_bf16"]);
    let (image, channels, stats) = (n * 8 * 8 * 64 * 2, 64 * 4, n * 16 * 2 * 4);
    let slabs = work[1].launch.as_ref().unwrap().grid[0] as usize / n;
    assert_eq!(work[0].bytes, (2 * image + 2 * channels + stats) as u64);
    // x, dy, which is also what has arrived before, and dx.
    assert_eq!(work[1].bytes, (3 * image + 4 * channels + stats + 2 * (n * 64 * 2 * 4 + slabs * 4)) as u64);
    assert!(tape.plan().bytes < 5 * image as u64, "y, two gradients, statistics and sums");
}

/// Tensors that the norm alone reads share no memory with those that it writes.
#[test]
fn both_tensors_live_until_they_are_read() {
    let mut store = Store::new();
    let x = store.tensor(&[2, 4, 4, 32], DType::Bf16);
    let [gamma, beta] = [(); 2].map(|()| store.tensor(&[64], DType::F32));
    for parts in [[0, 1], [1, 0]] {
        let mut tape = Tape::new(Backend::Gpu(Capability::Ampere), DType::Bf16);
        let made = [x, silu(&mut tape, x)];
        let joined = join(&mut tape, made[parts[0]], made[parts[1]]);
        let y = group_norm_with(&mut tape, joined, gamma, beta, Norm { groups: 4, eps: 1e-5, silu: true }, None, None);
        assert!(tape.plan().bytes >= (made[1].bytes() + y.bytes()) as u64);
    }
}

/// A reader that leaves the gradient of the two together to nobody else: it is sliced.
#[test]
fn a_gradient_of_the_whole_is_sliced() {
    let mut store = Store::new();
    let [a, b, dy] = [8, 16, 24].map(|c| store.tensor(&[2, 3, 5, c], DType::Bf16));
    let mut tape = Tape::new(Backend::Gpu(Capability::Ampere), DType::Bf16);
    tape.watch(a);
    tape.watch(b);
    let x = join(&mut tape, a, b);
    tape.seed_grad(x.whole, dy);
    tape.backward();
    let names: Vec<_> = tape.nodes().iter().map(|node| node.name()).collect();
    assert_eq!(names, ["join", "concat_bwd"]);
    assert_eq!((tape.grad(a).dims(), tape.grad(b).dims()), (a.dims(), b.dims()));
}
