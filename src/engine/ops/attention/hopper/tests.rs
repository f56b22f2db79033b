//! The plans; and the kernels against the CPU implementation on the same bf16 values, no less accurate than `attention.cu`:
//! under the emulator as compute capability 9.0 bitwise the same in every schedule, and on a GPU of that capability.

use super::backward::Queries;
use super::groups::BOX;
use super::*;
use crate::engine::device::{Capability, EmuOptions};
use crate::engine::ops::attention::{cpu, record};
use crate::engine::ops::check::{Input, NO_HOPPER, Target, compare, emulator, few, hopper_devices, is_wanted};
use crate::engine::ops::conv2d::hopper::SHARED_BYTES;
use crate::engine::tape::{Launches, Session, Tape};
use crate::engine::tensor::{Store, Tensor};

fn shape(n: usize, l: usize, heads: usize, d: usize) -> Shape {
    Shape { n, l, heads, dk: d, dv: d }
}

/// Operands in bf16, and what the CPU makes of them.
struct Case {
    shape: Shape,
    qkv: Vec<f32>,
    dout: Vec<f32>,
    wanted: [Vec<f64>; 3],
}

impl Case {
    fn new(s: Shape) -> Case {
        Case::of(s, Input::activation(&[s.n, s.l, s.width()]))
    }

    fn of(s: Shape, qkv: Input) -> Case {
        let qkv = qkv.in_bf16();
        let dout = Input::activation(&[s.n, s.l, s.heads * s.dv]).in_bf16();
        let (mut out, mut lse) = (vec![0.0; dout.len()], vec![0.0; s.n * s.heads * s.l]);
        let mut dqkv = vec![0.0; qkv.len()];
        cpu::forward(&mut out, &mut lse, &qkv, s);
        cpu::backward(&mut dqkv, &dout, &qkv, &out, &lse, s);
        let wanted = [out, lse, dqkv].map(|values| values.iter().map(|&v| v as f64).collect());
        Case { shape: s, qkv, dout, wanted }
    }

    /// The result, its log-sum-exps and the gradient, computed as planned.
    fn run(&self, plans: Plans, target: &Target) -> [Vec<f32>; 3] {
        let s = self.shape;
        let mut store = Store::new();
        let qkv = store.tensor(&[s.n, s.l, s.width()], DType::Bf16);
        let dout = store.tensor(&[s.n, s.l, s.heads * s.dv], DType::Bf16);
        let mut session = Session::new(target.open(), &store).unwrap();
        let mut tape = Tape::new(session.backend(), DType::Bf16);
        tape.watch(qkv);
        let (out, lse) = record(&mut tape, qkv, s, plans);
        tape.keep(out);
        tape.keep(lse);
        tape.seed_grad(out, dout);
        tape.backward();
        let dqkv = tape.grad(qkv);
        tape.keep(dqkv);
        session.write(qkv, &self.qkv).unwrap();
        session.write(dout, &self.dout).unwrap();
        let mut program = session.load(tape).unwrap();
        let planned = [plans.fwd.map(|p| p.kernel), plans.bwd.map(|p| p.dkv_kernel), plans.bwd.map(|p| p.dq_kernel)];
        for kernel in planned.into_iter().flatten() {
            assert!(program.kernels().any(|k| k == kernel), "{kernel} runs");
        }
        session.run(&mut program).unwrap_or_else(|e| panic!("{plans:?} on {}: {e}", target.name));
        [out, lse, dqkv].map(|t| session.read_in(&program, t).unwrap())
    }

    /// Root mean square of the errors of the result, and of the gradients of queries, keys and values.
    fn errors(&self, result: &[Vec<f32>; 3]) -> [f64; 4] {
        let (width, columns) = (self.shape.width(), self.shape.heads * self.shape.dk);
        let of = |got: &[f32], wanted: &[f64], part: Option<usize>| {
            let pairs = got.iter().zip(wanted).enumerate();
            let chosen = pairs.filter(|(i, _)| part.is_none_or(|part| i % width / columns == part));
            let squares: Vec<f64> = chosen.map(|(_, (&got, &wanted))| (got as f64 - wanted).powi(2)).collect();
            (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
        };
        let of_gradient = |part| of(&result[2], &self.wanted[2], Some(part));
        [of(&result[0], &self.wanted[0], None), of_gradient(0), of_gradient(1), of_gradient(2)]
    }
}

/// Plans for one shape, in `blocks` persistent blocks at most, with the keys shared by two blocks if there are several
/// tiles, and with two stages: so that the rings go round. One for each way to the gradient of the queries.
fn plans(s: &Shape, blocks: usize) -> Vec<Plans> {
    let fwd =
        ForwardPlan::new(s, DType::Bf16).map(|plan| ForwardPlan { blocks: plan.tiles.min(blocks), stages: 2, ..plan });
    assert!(fwd.is_some(), "{s:?}");
    let ways = [Queries::FromScores, Queries::Again].map(|queries| BackwardPlan::by(queries, s, DType::Bf16));
    let plans = ways.into_iter().flatten().map(|plan| {
        let bwd = Some(BackwardPlan {
            splits: 2.min(s.l.div_ceil(BOX)),
            dkv_stages: 2,
            dq_stages: 2,
            dq_blocks: if plan.queries == Queries::Again { plan.dq_tiles } else { plan.dq_tiles.min(blocks) },
            ..plan
        });
        Plans { fwd, bwd }
    });
    plans.collect()
}

fn check(s: Shape, blocks: usize, devices: &[Vec<Target>]) {
    let case = Case::new(s);
    for orders in devices {
        let others = case.errors(&case.run(Plans::default(), &orders[0]));
        for plans in plans(&s, blocks) {
            let results: Vec<_> = orders.iter().map(|order| case.run(plans, order)).collect();
            for (result, order) in results.iter().zip(orders) {
                assert_eq!(result, &results[0], "the same bits in every order: {plans:?} on {}", order.name);
            }
            let place = format!("by {plans:?} on {}", orders[0].name);
            for (i, (what, tolerance)) in [("out", 1e-2), ("lse", 1e-5), ("dqkv", 2e-2)].into_iter().enumerate() {
                compare(&format!("{what} {place}"), &results[0][i], &case.wanted[i], tolerance);
            }
            let errors = case.errors(&results[0]).into_iter().zip(others);
            for ((error, other), what) in errors.zip(["out", "dq", "dk", "dv"]) {
                assert!(error <= 2.0 * other + 1e-6, "{what} {place}: off by {error:.2e}, attention.cu by {other:.2e}");
            }
        }
    }
}

/// Heads as the benchmark models have them, few images.
#[test]
fn benchmark_layers_match_the_cpu() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    few([(1, 256, 1, 256), (1, 256, 4, 32), (1, 256, 1, 128), (3, 16, 1, 256), (2, 64, 8, 32)])
        .for_each(|(n, l, heads, d)| check(shape(n, l, heads, d), 2, &devices));
}

#[test]
fn tokens_and_heads_that_fill_no_tile_match_the_cpu() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    few([(2, 65, 3, 32), (1, 200, 2, 128), (2, 100, 2, 64), (1, 63, 2, 256), (3, 5, 3, 64), (2, 1, 1, 32)])
        .for_each(|(n, l, heads, d)| check(shape(n, l, heads, d), 3, &devices));
}

/// Random scores of hundreds; and queries opposed to every key, whose log-sum-exps are hundreds below zero, as those of keys
/// that do not exist are not.
#[test]
fn large_scores_do_not_overflow() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    let s = shape(1, 90, 2, 32);
    let qkv = Input::activation(&[s.n, s.l, s.width()]);
    let opposed = |i: usize| [6.0, -6.0, 0.0][i % s.width() / (s.heads * s.dk)];
    let shifted: Vec<f32> = qkv.in_bf16().iter().enumerate().map(|(i, v)| v + opposed(i)).collect();
    for qkv in [qkv.clone().scaled(8.0), qkv.filled(|i| shifted[i])] {
        let case = Case::of(s, qkv);
        for queries in [Queries::FromScores, Queries::Again] {
            let plans = Plans { bwd: BackwardPlan::by(queries, &s, DType::Bf16), ..Plans::new(&s, DType::Bf16) };
            for target in devices.iter().map(|orders| &orders[0]) {
                let result = case.run(plans, target);
                compare(&format!("out on {}", target.name), &result[0], &case.wanted[0], 2e-2);
                compare(&format!("lse on {}", target.name), &result[1], &case.wanted[1], 1e-5);
                assert!(result[2].iter().all(|v| v.is_finite()), "{plans:?} on {}", target.name);
            }
        }
    }
}

/// Persistent blocks are as many as a device runs at once; the results are the same.
#[test]
fn the_number_of_multiprocessors_changes_no_bit() {
    if !is_wanted("emu") || hopper_devices().is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    let case = Case::new(shape(2, 130, 3, 32));
    for plans in plans(&case.shape, usize::MAX) {
        let run = |multiprocessors| {
            let options = EmuOptions { compute_capability: (9, 0), multiprocessors, ..EmuOptions::default() };
            case.run(plans, &emulator(DType::Bf16, options))
        };
        let whole = run(132);
        assert!([1, 2, 5].into_iter().all(|multiprocessors| run(multiprocessors) == whole), "{plans:?}");
    }
}

#[test]
fn plans_are_possible() {
    for d in [32, 64, 128, 256] {
        for l in [1, 5, 16, 63, 64, 65, 100, 200, 256, 500, 1024] {
            for (n, heads) in [(1, 1), (128, 1), (32, 6), (3, 5)] {
                let Plans { fwd, bwd } = Plans::new(&shape(n, l, heads, d), DType::Bf16);
                let fwd = fwd.unwrap();
                assert!(fwd.stages >= 2 && fwd.smem_bytes <= SHARED_BYTES, "{fwd:?}");
                assert!((1..=fwd.tiles).contains(&fwd.blocks), "{fwd:?}");
                let bwd = bwd.unwrap();
                assert_eq!(bwd.queries == Queries::FromScores, l <= 8 * d, "{bwd:?}");
                assert!(bwd.dkv_stages >= 2 && bwd.dkv_smem_bytes <= SHARED_BYTES, "{bwd:?}");
                assert!(bwd.dq_stages >= 2 && bwd.dq_smem_bytes <= SHARED_BYTES, "{bwd:?}");
                assert!((1..=l.div_ceil(BOX)).contains(&bwd.splits), "{bwd:?}");
            }
        }
    }
}

/// Persistent blocks: at most those that run at once. Splits of the keys stay: the result depends on them.
#[test]
fn a_device_with_fewer_multiprocessors_is_given_fewer_blocks() {
    let Plans { fwd, bwd } = Plans::new(&shape(128, 256, 1, 256), DType::Bf16);
    let (fwd, bwd) = (fwd.unwrap(), bwd.unwrap());
    let blocks = |multiprocessors| {
        let mut q = Launches::new(Capability::Hopper).on(multiprocessors);
        fwd.launch(&mut q, Tensor::EMPTY, Tensor::EMPTY, Tensor::EMPTY);
        bwd.launch(&mut q, [Tensor::EMPTY; 2], [Tensor::EMPTY; 4]);
        q.list.iter().map(|launch| launch.grid[0] as usize).collect::<Vec<_>>()
    };
    let dkv = 128 * bwd.splits;
    assert_eq!(blocks(132), [132, dkv, 132]);
    assert_eq!(blocks(114), [114, dkv, 114]);
    assert_eq!(blocks(78), [78, dkv, 78]);
}

#[test]
fn what_the_kernels_do_not_take() {
    let taken = |s: Shape, dtype| {
        let Plans { fwd, bwd } = Plans::new(&s, dtype);
        (fwd.is_some(), bwd.is_some())
    };
    let s = shape(2, 256, 4, 64);
    assert_eq!(taken(s, DType::Bf16), (true, true));
    assert_eq!(taken(s, DType::F32), (false, false));
    assert_eq!(taken(Shape { dv: 128, ..s }, DType::Bf16), (false, false));
    assert_eq!(taken(shape(2, 16, 1, 512), DType::Bf16), (false, false));
    assert_eq!(taken(shape(2, 1025, 1, 256), DType::Bf16), (true, false));
    assert_eq!(BackwardPlan::by(Queries::Again, &shape(2, 256, 1, 256), DType::Bf16), None);
}

/// Five products, of which two are split where both launches compute them.
#[test]
fn flops_of_the_launches_add_up() {
    let s = shape(3, 100, 4, 32);
    for queries in [Queries::FromScores, Queries::Again] {
        let plan = BackwardPlan::by(queries, &s, DType::Bf16).unwrap();
        assert_eq!(plan.flops().iter().sum::<u64>(), s.product_flops(5 * 32), "{plan:?}");
    }
}

/// 128 images fill 132 multiprocessors; 32 leave room for the keys of each to be shared out.
#[test]
fn keys_are_split_where_multiprocessors_are_idle() {
    let splits = |n| BackwardPlan::new(&shape(n, 256, 1, 256), DType::Bf16).unwrap().splits;
    assert_eq!((splits(128), splits(32)), (1, 4));
    let tiles = ForwardPlan::new(&shape(128, 256, 1, 256), DType::Bf16).unwrap().tiles;
    assert!((Launches::new(Capability::Hopper).wave_efficiency(tiles) - 256.0 / 264.0).abs() < 1e-12);
}
