//! Hopper's instructions under emulation: tensor copies against index arithmetic, warpgroup products against f64, and
//! planted bugs.

use super::{Boxes, EmuOptions, Int, Launch, Operand, Out, OutBoxes, TensorMap, Words, bf16, schedules};
use ddpm::tensor::DType;
use std::ops::Range;

pub fn hopper(options: EmuOptions) -> EmuOptions {
    EmuOptions { compute_capability: (9, 0), ..options }
}

/// A tensor of 16-bit or 32-bit elements, each its own index, and a box of it at `corner`.
struct Case {
    map: TensorMap,
    corner: [i64; 5],
    elements: usize,
}

impl Case {
    fn new(map: TensorMap, corner: &[i64]) -> Case {
        let mut all = [0; 5];
        all[..corner.len()].copy_from_slice(corner);
        let last: usize = (0..5).map(|i| (map.dims[i] - 1) * map.strides[i]).sum();
        Case { map, corner: all, elements: (last + 1).next_multiple_of(2) }
    }

    fn kernel(&self, name: &str) -> String {
        format!("{name}_{}d", self.map.rank)
    }

    fn words(&self, elements: &[u32]) -> Vec<u32> {
        match self.map.dtype {
            DType::Bf16 => elements.chunks(2).map(|p| p[0] | p[1] << 16).collect(),
            _ => elements.to_vec(),
        }
    }

    fn elements_of(&self, words: &[u32]) -> Vec<u32> {
        match self.map.dtype {
            DType::Bf16 => words.iter().flat_map(|w| [w & 0xffff, w >> 16]).collect(),
            _ => words.to_vec(),
        }
    }

    fn box_words(&self) -> usize {
        self.map.box_bytes() / 4
    }

    /// For each element of the box in shared memory, which element of the tensor it is, if any.
    fn sources(&self) -> Vec<Option<usize>> {
        let map = &self.map;
        let extent: Vec<usize> = (0..5).map(|i| map.box_dims[i].div_ceil(map.element_strides[i])).collect();
        let per_chunk = 16 / map.dtype.bytes();
        let mut sources = vec![None; extent.iter().product()];
        for i in 0..sources.len() {
            let mut rest = i;
            let mut source = Some(0);
            for (dim, n) in extent.iter().enumerate() {
                let at = self.corner[dim] + (rest % n * map.element_strides[dim]) as i64;
                rest /= n;
                let inside = (0..map.dims[dim] as i64).contains(&at);
                source = source.filter(|_| inside).map(|s| s + at as usize * map.strides[dim]);
            }
            let (chunk, row) = (i / per_chunk, i * map.dtype.bytes() / 128);
            let swizzled = if map.swizzle_128 { chunk ^ (row % 8) } else { chunk };
            sources[swizzled * per_chunk + i % per_chunk] = source;
        }
        sources
    }
}

fn cases() -> Vec<Case> {
    let images = TensorMap::new(DType::Bf16, &[64, 5, 4, 2], &[64, 8, 8, 1]).swizzle_128();
    let flat = |dims: &[usize], box_dims: &[usize]| TensorMap::new(DType::F32, dims, box_dims);
    vec![
        Case::new(TensorMap::new(DType::Bf16, &[72, 16], &[64, 16]).swizzle_128(), &[8, -3]),
        Case::new(TensorMap::new(DType::Bf16, &[24, 40], &[32, 16]).swizzle_128(), &[0, 30]),
        Case::new(images, &[0, -1, -1, 1]),
        Case::new(images.element_strides(&[1, 2, 2, 1]), &[0, -1, -2, 0]),
        Case::new(images.strides(&[128, 640, 2560]), &[32, 2, 1, 0]),
        Case::new(flat(&[12, 5, 3], &[8, 4, 2]), &[8, -1, 2]),
        Case::new(flat(&[12, 5, 3], &[8, 4, 2]), &[-4, 3, -1]),
        Case::new(flat(&[8, 3, 2, 2, 3], &[4, 3, 2, 1, 2]), &[4, 1, 0, 1, 2]),
        Case::new(flat(&[8, 7, 2], &[8, 8, 1]).element_strides(&[1, 3, 1]), &[0, 0, 1]),
    ]
}

#[test]
fn a_box_is_loaded_as_the_tensor_map_says() {
    for case in cases() {
        let tensor: Vec<u32> = (1..=case.elements as u32).collect();
        let words = case.words(&tensor);
        let corner = case.corner.map(|c| Int(c as i32));
        let [c0, c1, c2, c3, c4] = corner;
        let n = case.box_words();
        let operands = [Out(n), Boxes(&words, case.map), Int(n as i32), c0, c1, c2, c3, c4];
        let kernel = case.kernel("load_box");
        let smem_bytes = n as u32 * 4;
        for options in schedules().take(4) {
            let launch = Launch { kernel: &kernel, grid: 1, block: 64, smem_bytes, operands: &operands };
            let got = case.elements_of(&launch.run(hopper(options)).unwrap()[0]);
            let want: Vec<u32> = case.sources().iter().map(|s| s.map_or(0, |s| tensor[s])).collect();
            assert_eq!(got, want, "{:?} at {:?}", case.map, case.corner);
        }
    }
}

#[test]
fn a_box_is_stored_inside_the_tensor_and_nowhere_else() {
    for case in cases() {
        if case.map.rank == 5 || case.map.element_strides != [1; 5] {
            continue;
        }
        let n = case.box_words();
        let per_word = 4 / case.map.dtype.bytes();
        let given: Vec<u32> = (1..=(n * per_word) as u32).collect();
        let words = case.words(&given);
        let [c0, c1, c2, c3, _] = case.corner.map(|c| Int(c as i32));
        let operands = [OutBoxes(case.elements / per_word, case.map), Words(&words), Int(n as i32), c0, c1, c2, c3];
        let kernel = case.kernel("store_box");
        for options in schedules().take(4) {
            let launch = Launch { kernel: &kernel, grid: 1, block: 64, smem_bytes: n as u32 * 4, operands: &operands };
            let got = case.elements_of(&launch.run(hopper(options)).unwrap()[0]);
            let untouched = if per_word == 2 { 0xffff } else { 0xffff_ffff };
            let mut want = vec![untouched; case.elements];
            for (source, value) in case.sources().into_iter().zip(&given) {
                source.into_iter().for_each(|s| want[s] = *value);
            }
            assert_eq!(got, want, "{:?} at {:?}", case.map, case.corner);
        }
    }
}

fn a(m: usize, k: usize) -> f32 {
    ((m * 37 + k * 29) % 97) as f32 / 8.0 - 6.0
}
fn b(n: usize, k: usize) -> f32 {
    ((n * 53 + k * 31) % 89) as f32 / 8.0 - 5.0
}
/// a b [64, n] over some of k.
fn product(n: usize, k: Range<usize>) -> Vec<f32> {
    let sum = |i: usize| k.clone().map(|k| f64::from(a(i / n, k)) * f64::from(b(i % n, k))).sum::<f64>() as f32;
    (0..64 * n).map(sum).collect()
}

/// One of the kernels `product_...` on operands whose products and sums are exact in f32.
pub struct Product {
    kernel: &'static str,
    n: usize,
    steps: usize,
    a: Vec<u32>,
    a_rows: Vec<u32>,
    b: Vec<u32>,
    a_map: TensorMap,
    b_map: TensorMap,
    expected: Vec<f32>,
}

impl Product {
    pub fn new(kernel: &'static str, n: usize, a_mn_major: bool, b_mn_major: bool, steps: usize) -> Product {
        let k = 64 * steps;
        // [rows, k], or transposed; boxes hold 64 elements of what is contiguous.
        let operand = |rows: usize, mn_major: bool, value: &dyn Fn(usize, usize) -> f32| {
            let columns = if mn_major { rows } else { k };
            let values: Vec<f32> = (0..rows * k)
                .map(|i| if mn_major { value(i % columns, i / columns) } else { value(i / columns, i % columns) })
                .collect();
            let dims = [columns, rows * k / columns];
            let box_rows = if mn_major { 64 } else { rows };
            (bf16(&values), TensorMap::new(DType::Bf16, &dims, &[64, box_rows]).swizzle_128())
        };
        let ((a_rows, _), (a_words, a_map)) = (operand(64, false, &a), operand(64, a_mn_major, &a));
        let (b_words, b_map) = operand(n, b_mn_major, &b);
        let expected = product(n, 0..k);
        Product { kernel, n, steps, a: a_words, a_rows, b: b_words, a_map, b_map, expected }
    }

    fn run(&self, options: EmuOptions) -> ddpm::Result<Vec<f32>> {
        self.launch(&self.operands()).run_floats(hopper(options))
    }

    pub fn operands(&self) -> [Operand<'_>; 5] {
        [
            Out(64 * self.n),
            Boxes(&self.a, self.a_map),
            Boxes(&self.b, self.b_map),
            Words(&self.a_rows),
            Int(self.steps as i32),
        ]
    }

    pub fn launch<'a>(&self, operands: &'a [Operand<'a>]) -> Launch<'a> {
        let stage_bytes = 64 * 128 + self.n.next_multiple_of(64) * 128;
        Launch { kernel: self.kernel, grid: 1, block: 160, smem_bytes: 2 * stage_bytes as u32 + 32, operands }
    }
}

#[test]
fn warpgroup_products_agree_with_f64() {
    let cases = [
        ("product_8", 8, false, false),
        ("product_16_mn_k", 16, true, false),
        ("product_32_k_mn", 32, false, true),
        ("product_64", 64, false, false),
        ("product_64_mn_k", 64, true, false),
        ("product_64_k_mn", 64, false, true),
        ("product_64_mn_mn", 64, true, true),
        ("product_96_mn_mn", 96, true, true),
        ("product_128", 128, false, false),
        ("product_128_mn_mn", 128, true, true),
        ("product_192_k_mn", 192, false, true),
        ("product_256", 256, false, false),
        ("product_256_mn_mn", 256, true, true),
        ("product_registers_64", 64, false, false),
        ("product_registers_64_mn", 64, false, true),
        ("product_registers_128", 128, false, false),
    ];
    for (kernel, n, a_mn_major, b_mn_major) in cases {
        let product = Product::new(kernel, n, a_mn_major, b_mn_major, 3);
        for options in schedules().take(5) {
            assert_eq!(product.run(options).unwrap(), product.expected, "{kernel} {options:?}");
        }
    }
}

/// As an error or as a wrong result.
#[cfg(not(ddpm_emu_sanitize = "thread"))]
#[test]
fn missing_waits_are_caught() {
    for kernel in
        ["product_no_full_wait", "product_no_empty_wait", "product_no_product_wait", "product_late_product_wait"]
    {
        let product = Product::new(kernel, 64, false, false, 6);
        let right = |&options: &EmuOptions| product.run(options).is_ok_and(|c| c == product.expected);
        let caught = schedules().filter(|options| !right(options)).count();
        assert!(caught >= 4, "{kernel} was caught {caught} times");
    }
}

#[test]
fn a_product_can_begin_its_accumulators_anew() {
    let restarted = Product::new("product_restarted", 64, false, false, 2);
    for options in schedules() {
        assert_eq!(restarted.run(options).unwrap(), product(64, 96..128), "{options:?}");
    }
}

#[test]
fn operands_that_threads_wrote_need_a_proxy_fence() {
    let right = Product::new("product_doubled", 64, false, false, 3);
    let wrong = Product { kernel: "product_doubled_without_fence", ..Product::new("", 64, false, false, 3) };
    let doubled: Vec<f32> = right.expected.iter().map(|c| 2.0 * c).collect();
    for options in schedules() {
        assert_eq!(right.run(options).unwrap(), doubled, "{options:?}");
        assert_eq!(wrong.run(options).unwrap(), wrong.expected, "{options:?}: the products see a as it was loaded");
    }
}

fn store_many(kernel: &str, options: EmuOptions) -> ddpm::Result<Vec<f32>> {
    let map = TensorMap::new(DType::F32, &[32, 8], &[32, 1]);
    let operands = [OutBoxes(256, map)];
    Launch { kernel, grid: 1, block: 32, smem_bytes: 256, operands: &operands }.run_floats(hopper(options))
}

#[test]
fn stores_read_their_box_until_they_are_waited_for() {
    let expected: Vec<f32> = (0..256).map(|i| i as f32).collect();
    for options in schedules() {
        assert_eq!(store_many("store_many", options).unwrap(), expected);
        let error = store_many("store_many_never_waited", options).unwrap_err().to_string();
        assert!(error.contains("returned without waiting for tma_store at tests/emu/hopper_sm90.cu:"), "{error}");
    }
    for options in schedules() {
        let stored = store_many("store_many_without_fence", options).unwrap();
        assert!(stored.iter().all(|v| v.is_nan()), "{options:?}");
    }
    let right = |&options: &EmuOptions| store_many("store_many_without_wait", options).unwrap() == expected;
    assert!(schedules().filter(|options| !right(options)).count() >= 2);
}

#[test]
fn misuse_is_an_error_that_names_the_place() {
    let source = "tests/emu/hopper_sm90.cu:";
    let cases: [(&str, &[&str]); 9] = [
        ("product_half_announced", &["more than announced", "mbar_init", source]),
        (
            "product_too_much_announced",
            &["deadlock: 128 threads wait in mbar_wait at", "1 threads wait in mbar_wait at", source],
        ),
        ("product_no_fence", &["no wgmma_fence()", source]),
        ("product_extra_arrival", &["2 of 128 arrivals", "mbar_init", source]),
        ("product_descriptor_overrun", &["a's descriptor reaches", source]),
        ("product_misaligned_box", &["tma_load", "not aligned to 1024", source]),
        ("product_different_descriptors", &["thread 32 gives other descriptors", source]),
        ("product_never_waited", &["returned without waiting for wgmma", source]),
        ("product_not_initialised", &["the mbarrier was not initialised", source]),
    ];
    for (kernel, wanted) in cases {
        let error = Product::new(kernel, 64, false, false, 3).run(EmuOptions::default()).unwrap_err().to_string();
        assert!(error.contains(kernel), "{error}");
        for text in wanted {
            assert!(error.contains(text), "`{error}` does not say `{text}`");
        }
    }
}

#[test]
fn launches_are_refused_where_the_box_leaves_the_tensor_or_the_device_is_no_hopper() {
    let product = Product::new("product_64", 64, false, false, 1);
    let operands =
        [Out(64 * 64), Boxes(&product.a, product.a_map), Boxes(&product.b, product.b_map), Words(&[]), Int(1)];
    let error = product.launch(&operands).run(EmuOptions::default()).unwrap_err().to_string();
    assert!(error.contains("kernel product_64: it is for compute capability 9.0, the device has 8.0"), "{error}");

    let larger = TensorMap { dims: [64, 65, 1, 1, 1], ..product.a_map };
    let operands = [Out(64 * 64), Boxes(&product.a, larger), Boxes(&product.b, product.b_map), Words(&[]), Int(1)];
    let error = product.launch(&operands).run(hopper(EmuOptions::default())).unwrap_err().to_string();
    assert!(error.contains("argument 1: the tensor has only 8192 bytes"), "{error}");
}

#[test]
fn stmatrix_is_the_inverse_of_ldmatrix() {
    let launch = |operands| Launch { kernel: "store_matrices", grid: 1, block: 32, smem_bytes: 512, operands };
    for options in schedules().take(4) {
        let outputs = launch(&[Out(256), Out(1)]).run(hopper(options)).unwrap();
        assert_eq!(outputs[1], [1], "elect_one");
        let given = |i: usize, lane: usize| [i * 64 + lane * 2, i * 64 + lane * 2 + 1];
        for (i, lane) in (0..4).flat_map(|i| (0..32).map(move |lane| (i, lane))) {
            let word = |[low, high]: [usize; 2]| low as u32 | (high as u32) << 16;
            assert_eq!(outputs[0][i * 32 + lane], word(given(i, lane)));
            // Element (g, 2t) of the transposed matrix is element (2t, g) of the one that was given.
            let (g, t) = (lane / 4, lane % 4);
            let element = |row: usize, column: usize| given(i, row * 4 + column / 2)[column % 2];
            assert_eq!(outputs[0][128 + i * 32 + lane], word([element(2 * t, g), element(2 * t + 1, g)]));
        }
    }
}
