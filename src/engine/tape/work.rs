//! Operations and bytes of the launches of a program, counted from their operands before anything runs.

use super::{Arg, Launch, Launches, Op, Tape};
use crate::engine::device::Backend;
use crate::engine::tensor::Tensor;
use std::sync::Arc;

/// The part of a training step to which a launch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    Backward,
    /// The optimiser, and what else follows the reverse pass.
    Update,
}

impl Pass {
    /// Its name in profiles.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Update => "update",
        }
    }
}

/// One kernel launch; on the CPU, one op.
#[derive(Clone, Debug)]
pub struct Work {
    pub pass: Pass,
    /// Name of the op.
    pub op: &'static str,
    /// The layer that recorded it, or whose gradient it computes.
    pub layer: Arc<str>,
    /// Dimensions of the op's main operands and of its result: `2x8x8x4, 6x3x3x4 -> 2x8x8x6`; or [`Op::shape`].
    pub shape: String,
    /// Floating-point operations, a multiply-add as two.
    pub flops: u64,
    /// Bytes of its operands, each once, twice where it is updated in place: the least that any implementation moves.
    pub bytes: u64,
    /// Absent on the CPU.
    pub launch: Option<Launch>,
}

/// How many nodes of a tape belong to the forward pass, and to that and the reverse pass.
#[derive(Clone, Copy, Debug)]
pub struct Passes {
    pub forward: usize,
    pub differentiated: usize,
}

impl Passes {
    fn of(self, node: usize) -> Pass {
        match node {
            node if node < self.forward => Pass::Forward,
            node if node < self.differentiated => Pass::Backward,
            _ => Pass::Update,
        }
    }
}

impl Tape {
    /// Work of each launch (on the CPU: of each node), in order.
    pub fn work(&self) -> Vec<Work> {
        work(&self.nodes, &self.layers, self.passes(), self.backend)
    }

    pub(super) fn passes(&self) -> Passes {
        Passes { forward: self.forward_nodes(), differentiated: self.differentiated_nodes.unwrap_or(self.nodes.len()) }
    }
}

/// Work of each launch (on the CPU: of each node), in order.
pub(super) fn work(nodes: &[Box<dyn Op>], layers: &[Arc<str>], passes: Passes, backend: Backend) -> Vec<Work> {
    let mut list = Vec::new();
    for (i, (node, layer)) in nodes.iter().zip(layers).enumerate() {
        let (outputs, inputs) = (node.outputs(), node.inputs());
        let whole = Work {
            pass: passes.of(i),
            op: node.name(),
            layer: layer.clone(),
            shape: node.shape().unwrap_or_else(|| shape(&outputs, &inputs)),
            flops: node.flops(),
            bytes: bytes(node.as_ref(), &[&outputs[..], &inputs].concat()),
            launch: None,
        };
        let Backend::Gpu(capability) = backend else {
            list.push(whole);
            continue;
        };
        let mut launches = Launches::new(capability);
        node.launch(&mut launches);
        let flops = node.launch_flops().into_iter().chain(std::iter::repeat(0));
        for (launch, flops) in launches.list.into_iter().zip(flops) {
            let operands: Vec<Tensor> = launch.args.iter().flat_map(operands).collect();
            let bytes = bytes(node.as_ref(), &operands);
            list.push(Work { flops, bytes, launch: Some(launch), ..whole.clone() });
        }
    }
    list
}

fn operands(arg: &Arg) -> Vec<Tensor> {
    match arg {
        Arg::Tensor(tensor) | Arg::TensorMap(tensor, _) => vec![*tensor],
        Arg::Struct(fields) => fields.iter().flat_map(operands).collect(),
        _ => Vec::new(),
    }
}

/// Bytes that a launch of `node` with these operands moves.
fn bytes(node: &dyn Op, operands: &[Tensor]) -> u64 {
    let (outputs, inputs) = (node.outputs(), node.inputs());
    let within = |list: &[Tensor], t: &Tensor| list.iter().any(|other| other.place == t.place);
    let new = operands.iter().enumerate().filter(|&(i, t)| !t.is_empty() && !within(&operands[..i], t));
    let touched = |t: &Tensor| match node.columns(*t) {
        Some(columns) => t.bytes() / t.last_dim() * columns.len(),
        None => t.bytes(),
    };
    let moved = |t: &Tensor| touched(t) as u64 * if within(&outputs, t) && within(&inputs, t) { 2 } else { 1 };
    new.map(|(_, t)| moved(t)).sum()
}

/// The inputs that are no mere list of numbers, two of them at most, and the first output; once if all are alike.
fn shape(outputs: &[Tensor], inputs: &[Tensor]) -> String {
    let text = |t: &Tensor| t.dims().iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    let from: Vec<String> = inputs.iter().filter(|t| t.rank() > 1).take(2).map(text).collect();
    let to = outputs.iter().find(|t| !t.is_empty()).map(text).unwrap_or_default();
    if from.iter().all(|shape| *shape == to) { to } else { format!("{} -> {to}", from.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Capability;
    use crate::engine::ops::adam::{AdamTensors, adam};
    use crate::engine::ops::attention::attention;
    use crate::engine::ops::conv2d::{Padding, conv2d};
    use crate::engine::ops::records::AdamRecord;
    use crate::engine::ops::silu::silu;
    use crate::engine::tape::Tape;
    use crate::engine::tensor::{DType, Store};

    /// A convolution of 3x3 and SiLU with gradients: images 2x8x8x4 in bf16, weights 6x3x3x4.
    fn small_step() -> Vec<Work> {
        let mut store = Store::new();
        let [x, dy] = [4, 6].map(|c| store.tensor(&[2, 8, 8, c], DType::Bf16));
        let (w, dw) = (store.tensor(&[6, 3, 3, 4], DType::Bf16), store.tensor(&[6, 3, 3, 4], DType::F32));
        let [b, db] = [(); 2].map(|()| store.tensor(&[6], DType::F32));
        let mut tape = Tape::new(Backend::Gpu(Capability::Ampere), DType::Bf16);
        tape.parameter(w, dw);
        tape.parameter(b, db);
        tape.watch(x);
        tape.enter_layer("conv");
        let h = conv2d(&mut tape, x, w, b, 1, Padding::same(1));
        tape.enter_layer("activation");
        let y = silu(&mut tape, h);
        tape.seed_grad(y, dy);
        tape.backward();
        tape.work()
    }

    #[test]
    fn a_convolution_is_counted_as_by_hand() {
        let work = small_step();
        let found: Vec<_> = work.iter().map(|w| (w.op, &*w.layer, w.pass, w.flops, w.bytes)).collect();
        let (forward, backward) = (Pass::Forward, Pass::Backward);
        let flops = 2 * (2 * 8 * 8) * 6 * (3 * 3 * 4);
        // Bytes of the images with 4 and 6 channels, of the weights in bf16 and f32, of the bias.
        let [images4, images6, weights, weights32, bias] = [1024, 1536, 432, 864, 24];
        let want = [
            ("conv2d_fwd", "conv", forward, flops, images6 + images4 + weights + bias),
            ("silu_fwd", "activation", forward, 0, 2 * images6),
            ("silu_bwd", "activation", backward, 0, 3 * images6),
            ("conv2d_bwd_dw", "conv", backward, flops, weights32 + bias + images6 + images4),
            ("conv2d_bwd_dx", "conv", backward, flops, images4 + images6 + weights),
        ];
        assert_eq!(found, want);
        assert_eq!(work[0].shape, "2x8x8x4, 6x3x3x4 -> 2x8x8x6");
        assert_eq!((&*work[1].shape, &*work[2].shape), ("2x8x8x6", "2x8x8x6"));
    }

    #[test]
    fn tiles_beyond_the_edges_are_in_vain() {
        // 128 pixels and 6 channels in tiles of 64x64.
        let forward = small_step()[0].launch.clone().unwrap();
        assert_eq!((forward.grid, forward.tile_efficiency), ([2, 1, 1], Some(6.0 / 64.0)));
    }

    #[test]
    fn what_is_updated_in_place_moves_twice() {
        let mut store = Store::new();
        let [p, m, v, ema, g] = [(); 5].map(|()| store.tensor(&[1000], DType::F32));
        let (hyper, outcome) = (store.tensor(&[AdamRecord::LEN], DType::F32), store.tensor(&[3], DType::F32));
        let copy = store.tensor(&[1000], DType::Bf16);
        let mut tape = Tape::new(Backend::Gpu(Capability::Ampere), DType::Bf16);
        let (further, decays) = (store.tensor(&[2, 1000], DType::F32), store.tensor(&[2], DType::F32));
        adam(&mut tape, AdamTensors { p, m, v, ema, further, decays, copy, g }, hyper, outcome, 1.0, true);
        let [update] = &tape.work()[..] else { panic!("one launch") };
        assert_eq!(update.bytes, 6 * 2 * 4000 + 2000 + 4000 + 8 * 4 + 3 * 4 + 2 * 4);
    }

    #[test]
    fn the_launches_of_an_op_share_its_operations() {
        let mut store = Store::new();
        let (qkv, dout) = (store.tensor(&[2, 16, 96], DType::Bf16), store.tensor(&[2, 16, 32], DType::Bf16));
        let mut tape = Tape::new(Backend::Gpu(Capability::Ampere), DType::Bf16);
        tape.watch(qkv);
        let out = attention(&mut tape, qkv, 1, 32, 32);
        tape.seed_grad(out, dout);
        tape.backward();
        let product = 2 * 2 * 16 * 16 * 32;
        let flops: Vec<u64> = tape.work().iter().map(|w| w.flops).collect();
        assert_eq!(flops, [2 * product, 0, 2 * product, 3 * product]);
        assert_eq!(flops.iter().sum::<u64>(), tape.nodes().iter().map(|n| n.flops()).sum::<u64>());
    }
}
