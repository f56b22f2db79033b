//! Tensor copies, warpgroup products and stmatrix. They run where compute capability 9.0 is, real or emulated.

use super::case::{Case, bits, words_of};
use super::launch::Operand::{Boxes, Int, Out, OutBoxes, Words};
use super::launch::hopper::{Product, SumInCluster, product};
use super::launch::{Launch, Operand};
use ddpm::engine::device::{Driver, TensorMap};
use ddpm::engine::tensor::DType;

/// A tensor of 16-bit or 32-bit elements, each its own index, and a box of it at `corner`.
struct TensorBox {
    map: TensorMap,
    corner: [i64; 5],
    elements: usize,
}

impl TensorBox {
    fn new(map: TensorMap, corner: &[i64]) -> TensorBox {
        let mut all = [0; 5];
        all[..corner.len()].copy_from_slice(corner);
        let last: usize = (0..5).map(|i| (map.dims[i] - 1) * map.strides[i]).sum();
        TensorBox { map, corner: all, elements: (last + 1).next_multiple_of(2) }
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

    fn box_words(&self) -> usize {
        self.map.box_bytes() / 4
    }

    /// Runs `load_box_...` or `store_box_...` with the first operand's kind.
    fn run(&self, driver: &dyn Driver, name: &str, first: [Operand; 2]) -> ddpm::Result<Vec<u32>> {
        let (kernel, n) = (self.kernel(name), self.box_words());
        let [c0, c1, c2, c3, c4] = self.corner.map(|c| Int(c as i32));
        let [out, input] = first;
        let mut operands = vec![out, input, Int(n as i32), c0, c1, c2, c3];
        operands.extend((name == "load_box").then_some(c4));
        words_of(driver, Launch { kernel: &kernel, grid: 1, block: 64, smem_bytes: n as u32 * 4, operands: &operands })
    }

    /// The whole box as it lies in shared memory, from a tensor whose elements are 1, 2, ...
    fn load(self, name: String) -> Case {
        let tensor: Vec<u32> = (1..=self.elements as u32).collect();
        let want: Vec<u32> = self.sources().iter().map(|s| s.map_or(0, |s| tensor[s])).collect();
        let (want, words) = (self.words(&want), self.words(&tensor));
        Case::bits(name, want, move |driver| {
            self.run(driver, "load_box", [Out(self.box_words()), Boxes(&words, self.map)])
        })
    }

    /// The whole tensor, of which only what the box covers is written: with 1, 2, ... in the order of shared memory.
    fn store(self, name: String) -> Case {
        let per_word = 4 / self.map.dtype.bytes();
        let given: Vec<u32> = (1..=(self.box_words() * per_word) as u32).collect();
        let mut want = vec![if per_word == 2 { 0xffff } else { 0xffff_ffff }; self.elements];
        for (source, value) in self.sources().into_iter().zip(&given) {
            source.into_iter().for_each(|s| want[s] = *value);
        }
        let (want, words) = (self.words(&want), self.words(&given));
        Case::bits(name, want, move |driver| {
            let tensor = OutBoxes(self.elements / per_word, self.map);
            self.run(driver, "store_box", [tensor, Words(&words)])
        })
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

fn boxes() -> Vec<TensorBox> {
    let images = TensorMap::new(DType::Bf16, &[64, 5, 4, 2], &[64, 8, 8, 1]).swizzle_128();
    let flat = |dims: &[usize], box_dims: &[usize]| TensorMap::new(DType::F32, dims, box_dims);
    vec![
        TensorBox::new(TensorMap::new(DType::Bf16, &[72, 16], &[64, 16]).swizzle_128(), &[8, -3]),
        TensorBox::new(TensorMap::new(DType::Bf16, &[40, 40], &[64, 16]).swizzle_128(), &[0, 30]),
        TensorBox::new(images, &[0, -1, -1, 1]),
        TensorBox::new(images.element_strides(&[1, 2, 2, 1]), &[0, -1, -2, 0]),
        TensorBox::new(images.strides(&[128, 640, 2560]), &[32, 2, 1, 0]),
        TensorBox::new(flat(&[12, 5, 3], &[8, 4, 2]), &[8, -1, 2]),
        TensorBox::new(flat(&[12, 5, 3], &[8, 4, 2]), &[-4, 3, -1]),
        TensorBox::new(flat(&[8, 3, 2, 2, 3], &[4, 3, 2, 1, 2]), &[4, 1, 0, 1, 2]),
        TensorBox::new(flat(&[8, 7, 2], &[8, 8, 1]).element_strides(&[1, 3, 1]), &[0, 0, 1]),
    ]
}

/// On operands whose products and sums are exact in f32.
fn products() -> impl Iterator<Item = Case> {
    let kernels = [
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
        ("product_registers_32_mn", 32, false, true),
        ("product_registers_256_mn", 256, false, true),
    ];
    kernels.into_iter().map(|(kernel, n, a_mn_major, b_mn_major)| {
        let product = Product::new(kernel, n, a_mn_major, b_mn_major, 3);
        let want = bits(&product.expected);
        Case::bits(kernel, want, move |driver| product.run_on(driver).map(|values| bits(&values)))
    })
}

/// Where threads double what was loaded before it is multiplied, where a product begins its sums anew, and where the columns
/// of b begin amid the rows of a box, of which half of the result is left as it was.
fn changed_products() -> [Case; 3] {
    let doubled = Product::new("product_doubled", 64, false, false, 3);
    let twice: Vec<f32> = doubled.expected.iter().map(|c| 2.0 * c).collect();
    let restarted = Product::new("product_restarted", 64, false, false, 2);
    let half = Product::new("product_second_half", 64, false, true, 3);
    let mut columns: Vec<f32> = half.expected.chunks(64).flat_map(|row| row[32..].to_vec()).collect();
    columns.resize(64 * 64, f32::from_bits(u32::MAX));
    [(doubled, twice), (restarted, product(64, 96..128)), (half, columns)].map(|(product, want)| {
        let name = product.kernel;
        Case::bits(name, bits(&want), move |driver| product.run_on(driver).map(|values| bits(&values)))
    })
}

/// Words that lane `lane` gets of matrix `i` by ldmatrix after stmatrix, plain and transposed, and the lane that is elected.
fn matrix_stores() -> Case {
    let given = |i: usize, lane: usize| [i * 64 + lane * 2, i * 64 + lane * 2 + 1];
    let word = |[low, high]: [usize; 2]| low as u32 | (high as u32) << 16;
    let of_all = |f: &dyn Fn(usize, usize) -> u32| (0..128).map(|at| f(at / 32, at % 32)).collect::<Vec<_>>();
    let plain = of_all(&|i, lane| word(given(i, lane)));
    // Element (g, 2t) of the transposed matrix is element (2t, g) of the one that was given.
    let transposed = of_all(&|i, lane| {
        let (g, t) = (lane / 4, lane % 4);
        let element = |row: usize, column: usize| given(i, row * 4 + column / 2)[column % 2];
        word([element(2 * t, g), element(2 * t + 1, g)])
    });
    Case::bits("stmatrix", [plain, transposed, vec![1]].concat(), |driver| {
        let operands = [Out(256), Out(1)];
        let launch = Launch { kernel: "store_matrices", grid: 1, block: 32, smem_bytes: 512, operands: &operands };
        launch.run_on(driver).map(|arrays| arrays.concat())
    })
}

/// Boxes that pass through two buffers, each written again only when it has been read.
fn many_stores() -> Case {
    Case::bits("tma_store_wait_read", bits(&(0..256).map(|i| i as f32).collect::<Vec<_>>()), |driver| {
        let operands = [OutBoxes(256, TensorMap::new(DType::F32, &[32, 8], &[32, 1]))];
        words_of(driver, Launch { kernel: "store_many", grid: 1, block: 32, smem_bytes: 256, operands: &operands })
    })
}

/// Two clusters of two blocks that load for each other.
fn clusters() -> [Case; 2] {
    ["sum_in_cluster_3d", "sum_in_cluster_4d"].map(|kernel| {
        let sum = SumInCluster::new(kernel, 7);
        let want = bits(&sum.expected);
        Case::bits(kernel, want, move |driver| words_of(driver, sum.launch(&sum.operands())))
    })
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![matrix_stores(), many_stores()];
    cases.extend(clusters());
    cases.extend(boxes().into_iter().enumerate().map(|(i, x)| x.load(format!("tma_load_{i}"))));
    let storable = |x: &TensorBox| x.map.rank < 5 && x.map.element_strides == [1; 5];
    let stores = boxes().into_iter().filter(storable).enumerate();
    cases.extend(stores.map(|(i, x)| x.store(format!("tma_store_{i}"))));
    cases.extend(products());
    cases.extend(changed_products());
    cases
}
