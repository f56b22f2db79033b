use super::layers::{MODELS, shapes};
use super::*;
use crate::engine::device::Capability;
use crate::engine::ops::conv2d::hopper::limits::MAX_STAGES;
use crate::engine::ops::conv2d::hopper::pixels::PixelTile;
use crate::engine::tape::Launches;
use crate::engine::tensor::Tensor;

/// The layers of the benchmark models that have the channels and the pixels for tiles.
fn layers() -> Vec<Conv2dShape> {
    let shapes = MODELS.into_iter().flat_map(shapes);
    shapes.filter(|s| s.c_in.min(s.c_out) > 32 && s.out_pixels() >= 128).collect()
}

#[test]
fn every_layer_of_the_benchmark_models_has_a_plan() {
    for s in layers() {
        let plans = Plans::new(&s, DType::Bf16);
        // The weight gradient's tiles are at least three or four blocks of 64 columns wide.
        let is_narrow = s.kh * s.kw * s.c_in <= 64;
        assert!(
            plans.fwd.is_some() && plans.bwd_dx.is_some() && (plans.bwd_dw.is_some() || is_narrow),
            "{s:?}: {plans:?}"
        );
    }
}

/// Every kernel's plan for every layer meets the demands of the kernels and of the hardware.
#[test]
fn plans_are_possible() {
    let odd = [conv3x3(3, 12, [40, 200]), conv3x3(1, 28, [72, 136]), conv(5, [7, 9], [72, 48], [3, 3], 2)];
    let linear = [Conv2dShape::linear(300, 512, 128), conv(2, [9, 5], [48, 64], [1, 7], 1)];
    for s in layers().into_iter().chain(odd).chain(linear) {
        for pass in [Pass::Forward, Pass::InputGradient] {
            let plans = TapsPlan::all(&s, DType::Bf16, pass);
            assert!(!plans.is_empty(), "{s:?}");
            for p in plans {
                let (phases, stride) = if pass == Pass::Forward { (1, s.stride) } else { (s.stride, 1) };
                let [h, w] =
                    if pass == Pass::Forward { [p.shape.out_h(), p.shape.out_w()] } else { [p.shape.h, p.shape.w] };
                assert!(p.smem_bytes <= SHARED_BYTES && p.pixel_stages.min(p.weight_stages) >= 2, "{p:?}");
                assert!(p.pixel_stages.max(p.weight_stages) <= MAX_STAGES, "{p:?}");
                assert!(
                    p.tile.pixels() <= 512 && p.tile.columns * stride <= 256 && p.box_rows * stride <= 256,
                    "{p:?}"
                );
                assert!(s.kh == 1 || p.tile.line() % 8 == 0, "the next tap keeps the swizzle's pattern: {p:?}");
                let pixels = p.shape.n * h.div_ceil(phases) * w.div_ceil(phases) * phases * phases;
                let channels = if pass == Pass::Forward { s.c_out } else { s.c_in };
                assert!(
                    p.tiles * p.tile.pixels() * p.channels >= pixels * channels,
                    "the tiles cover the result: {p:?}"
                );
                assert!(p.macs >= s.flops() / 2 && p.blocks <= p.tiles, "{p:?}");
                assert!(p.tiles % p.cluster + p.blocks % p.cluster == 0, "whole clusters: {p:?}");
            }
        }
        for p in WgradPlan::all(&s, DType::Bf16) {
            assert!(p.smem_bytes <= SHARED_BYTES && (2..=MAX_STAGES).contains(&p.stages), "{p:?}");
            assert!(p.tile.pixels() % (32 * 128 / p.channels) == 0, "whole steps for each warpgroup: {p:?}");
            assert!(
                p.tile.line() % 8 == 0 && p.tile.columns * s.stride <= 256 && p.box_rows * s.stride <= 256,
                "{p:?}"
            );
            assert!(p.splits * p.split_tiles >= p.tiles && (p.splits - 1) * p.split_tiles < p.tiles, "{p:?}");
            assert!(p.tiles * p.tile.pixels() >= s.out_pixels() && p.macs >= s.flops() / 2, "{p:?}");
        }
    }
}

/// The figures of docs/kernels/convolution.md.
#[test]
fn the_largest_layer_is_planned_as_documented() {
    let s = conv3x3(128, 32, [128, 128]);
    let plan = TapsPlan::new(&s, DType::Bf16, Pass::Forward).unwrap();
    assert_eq!(plan.kernel, "conv2d_fwd_sm90_128x256_pair");
    assert_eq!(plan.tile, PixelTile { columns: 8, images: 1, rows: 32 });
    assert_eq!((plan.pixel_stages, plan.weight_stages, plan.smem_bytes), (3, 6, 221_184));
    assert_eq!((plan.tiles, plan.macs), (512, s.flops() / 2), "four waves, nothing computed in vain");
    // For each 64 channels, three copies of 34 rows of 8 pixels and half of nine taps of weights.
    assert_eq!(plan.loaded_bytes, 512 * 2 * (3 * 34 * 8 * 128 + 9 * 128 * 128 / 2));

    let plan = WgradPlan::new(&s, DType::Bf16).unwrap();
    assert_eq!(plan.kernel, "conv2d_bwd_dw_sm90_column_128x128");
    assert_eq!(plan.tile, PixelTile { columns: 8, images: 1, rows: 16 });
    assert_eq!((plan.stages, plan.smem_bytes, plan.splits), (3, 209_920, 43));
}

/// Where loads are the limit, and there are two tiles that need the same weights.
#[test]
fn layers_of_the_benchmark_models_share_their_weights() {
    for s in layers() {
        for pass in [Pass::Forward, Pass::InputGradient] {
            let plan = TapsPlan::new(&s, DType::Bf16, pass).unwrap();
            let waves = |plan: &TapsPlan| plan.tiles.div_ceil(MULTIPROCESSORS);
            let kernel = plan.kernel.strip_suffix("_pair").unwrap_or_else(|| panic!("{plan:?}"));
            let all = TapsPlan::all(&s, DType::Bf16, pass);
            let single = all.iter().find(|single| single.kernel == kernel).unwrap();
            assert!(plan.cluster == 2 && plan.cycles < single.cycles && waves(&plan) <= waves(single), "{plan:?}");
        }
    }
    let one_tile = TapsPlan::new(&conv3x3(1, 8, [64, 64]), DType::Bf16, Pass::Forward).unwrap();
    assert_eq!((one_tile.kernel, one_tile.cluster), ("conv2d_fwd_sm90_64x128", 1));
}

/// Persistent blocks: at most those that run at once, in whole clusters.
#[test]
fn a_device_with_fewer_multiprocessors_is_given_fewer_blocks() {
    for (s, pass) in layers().iter().flat_map(|s| [Pass::Forward, Pass::InputGradient].map(|pass| (s, pass))) {
        for plan in TapsPlan::all(s, DType::Bf16, pass) {
            for multiprocessors in [144, MULTIPROCESSORS, 131, 114, 78, 1] {
                let mut q = Launches::new(Capability::Hopper).on(multiprocessors);
                plan.launch(&mut q, Tensor::EMPTY, Tensor::EMPTY.into(), [Tensor::EMPTY; 3]);
                let at_once = (multiprocessors / plan.cluster).max(1) * plan.cluster;
                assert_eq!(q.list[0].grid, [plan.blocks.min(at_once) as u32, 1, 1], "{plan:?} on {multiprocessors}");
            }
        }
    }
}

/// Images whose rows do not fill a line of tiles share one.
#[test]
fn small_images_share_a_tile() {
    let tile = |s: &Conv2dShape| TapsPlan::new(s, DType::Bf16, Pass::Forward).unwrap().tile;
    assert_eq!(tile(&conv3x3(128, 4, [512, 512])), PixelTile { columns: 4, images: 8, rows: 4 });
    assert_eq!(tile(&conv3x3(128, 8, [256, 256])), PixelTile { columns: 8, images: 2, rows: 8 });
    assert_eq!(tile(&Conv2dShape::linear(16384, 256, 256)), PixelTile { columns: 256, images: 1, rows: 1 });
}

/// The batch decides over tiles, not over whether these kernels run.
#[test]
fn one_image_is_planned_as_many_are() {
    let linear = Conv2dShape::linear(1, 512, 256);
    for s in [conv3x3(1, 2, [64, 64]), conv3x3(1, 4, [512, 256]), conv(1, [8, 8], [64, 64], [3, 3], 2), linear] {
        for pass in [Pass::Forward, Pass::InputGradient] {
            for n in [1, 3, 4, 64, 300] {
                assert!(TapsPlan::new(&Conv2dShape { n, ..s }, DType::Bf16, pass).is_some(), "{n} images: {s:?}");
            }
        }
    }
}

#[test]
fn other_kernels_take_the_rest() {
    let none = |s: &Conv2dShape, dtype| assert_eq!(Plans::new(s, dtype), Plans::default(), "{s:?} in {dtype:?}");
    let s = conv3x3(128, 32, [128, 128]);
    none(&s, DType::F32);
    none(&Conv2dShape { c_in: 3, ..s }, DType::Bf16);
    none(&Conv2dShape { c_out: 100, ..s }, DType::Bf16);
    none(&Conv2dShape { stride: 4, ..s }, DType::Bf16);
    none(&conv3x3(128, 4, [24, 24]), DType::Bf16);
    let strided = conv(128, [32, 32], [128, 128], [1, 1], 2);
    assert_eq!(TapsPlan::new(&strided, DType::Bf16, Pass::InputGradient), None, "phases without a tap");
}
