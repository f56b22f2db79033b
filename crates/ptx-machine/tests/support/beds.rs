//! Kernels of the tree in which faults are planted: each launched after a change of its PTX.

use super::bench::{Bench, Type, dense, random};
use ptx_machine::{Argument, Counters, Error, Launch, Options};

/// A kernel and its launch.
pub struct Bed {
    pub file: &'static str,
    /// The beginning of its mangled name.
    pub kernel: &'static str,
    /// Allocates what it needs.
    pub launch: fn(&mut Bench) -> Launch,
}

impl Bed {
    /// Runs the kernel after a change of its text alone, with everything that stands before the first kernel. `None`: there
    /// is no compiler.
    pub fn run(&self, change: impl FnOnce(&str) -> String, options: &Options) -> Option<Result<Counters, Error>> {
        let mut bench = Bench::changed(self.file, |text| {
            let head = text.find(".visible .entry").expect("a kernel");
            let start = text.find(&format!(".visible .entry {}", self.kernel)).expect("the kernel");
            let end = text[start + 1..].find(".visible .entry").map_or(text.len(), |end| end + start + 1);
            // The table of source files stands at the end.
            let files: String =
                text.split_inclusive('\n').filter(|line| line.trim_start().starts_with(".file")).collect();
            format!("{}{}{files}", &text[..head], change(&text[start..end]))
        })?;
        let launch = (self.launch)(&mut bench);
        let name = bench.module.kernels().next().expect("the kernel").to_owned();
        Some(bench.machine.launch(&bench.module, &name, &launch, options))
    }
}

/// The map of a dense tensor, as an argument.
fn map(address: u64, kind: Type, dims: &[u32], box_dims: &[u32], swizzle_128: bool) -> Argument {
    Argument(dense(address, kind, dims, box_dims, swizzle_128).encode())
}

fn product(bench: &mut Bench) -> Launch {
    let k = 256;
    let (a, b) = (bench.upload(Type::Bf16, &random(2, 64 * k)), bench.upload(Type::Bf16, &random(3, 64 * k)));
    let c = bench.empty(Type::F32, 64 * 64);
    let tensor = |address| map(address, Type::Bf16, &[k as u32, 64], &[64, 64], true);
    let arguments = vec![c.into(), tensor(a), tensor(b), a.into(), Argument::from(k as i32 / 64)];
    Launch { dynamic_shared_bytes: 40 << 10, ..Launch::new(1, 160, arguments) }
}

/// A pipeline of tensor loads and products, two stages deep.
pub const PRODUCT: Bed =
    Bed { file: "self_test/hopper_sm90.cu", kernel: "_Z7productILi64ELb0ELb0ELb0ELi0EE", launch: product };

/// The same, in which threads double a where it lies before it is multiplied.
pub const DOUBLED: Bed = Bed { kernel: "_Z7productILi64ELb0ELb0ELb0ELi15EE", ..PRODUCT };

/// The same with fragments of a from registers.
pub const FRAGMENTS: Bed = Bed { kernel: "_Z7productILi64ELb0ELb0ELb1ELi0EE", ..PRODUCT };

/// Eight boxes, stored through two buffers.
pub const STORES: Bed = Bed {
    kernel: "_Z10store_manyILi0EE",
    launch: |bench| {
        let y = bench.empty(Type::F32, 256);
        let arguments = vec![map(y, Type::F32, &[32, 8], &[32, 1], false)];
        Launch { dynamic_shared_bytes: 256, ..Launch::new(1, 32, arguments) }
    },
    ..PRODUCT
};

/// Blocks of a cluster that load for each other.
pub const CLUSTER: Bed = Bed {
    kernel: "_Z14sum_in_clusterILi3ELi0EE",
    launch: |bench| {
        let x = bench.upload(Type::F32, &random(1, 320));
        let out = bench.empty(Type::F32, 64);
        let arguments = vec![out.into(), map(x, Type::F32, &[32, 10, 1], &[32, 1, 1], false), Argument::from(5i32)];
        Launch { cluster: [2, 1, 1], dynamic_shared_bytes: 1024, ..Launch::new(2, 64, arguments) }
    },
    ..PRODUCT
};

/// Attention in part tiles, with more tiles than blocks.
pub const ATTENTION: Bed = Bed {
    file: "attention/forward_sm90.cu",
    kernel: "_Z18attention_fwd_sm90ILi64ELi64EE",
    launch: |bench| {
        let (n, l, heads) = (2, 150, 1);
        let width = 64 * heads;
        let qkv = bench.upload(Type::Bf16, &random(7, (n * l * 3 * width) as usize));
        let out = bench.empty(Type::Bf16, (n * l * width) as usize);
        let lse = bench.empty(Type::F32, (n * heads * l) as usize);
        let mut arguments = vec![
            map(out, Type::Bf16, &[width, l, n], &[64, 64, 1], true),
            lse.into(),
            map(qkv, Type::Bf16, &[width, 3, l, n], &[64, 1, 64, 1], true),
        ];
        arguments.extend([n as i32, l as i32, heads as i32, 2].map(Argument::from));
        Launch { dynamic_shared_bytes: 100 << 10, ..Launch::new(1, 384, arguments) }
    },
};

/// A convolution of sm_80, with a pipeline of `cp.async`.
pub const CONVOLUTION: Bed = Bed {
    file: "conv2d.cu",
    kernel: "_Z10conv2d_fwdI13__nv_bfloat16Li64EE",
    launch: |bench| {
        let (n, h, w, c_in, c_out) = (2, 9, 7, 32, 24);
        let x = bench.upload(Type::Bf16, &random(30, n * h * w * c_in));
        let weights = bench.upload(Type::Bf16, &random(31, c_out * 9 * c_in));
        let y = bench.empty(Type::Bf16, n * h * w * c_out);
        let mut arguments: Vec<Argument> = [y, x, weights, 0, 0].map(Argument::from).into();
        arguments.extend([n, h, w, c_in, c_out, 3, 3, 1, 1, 1, h, w].map(|dim| Argument::from(dim as i32)));
        Launch { grid: [2, 1, 1], dynamic_shared_bytes: 96 << 10, ..Launch::new(1, 128, arguments) }
    },
};

/// A norm whose last block adds what all blocks have written.
pub const NORM: Bed = Bed {
    file: "grad_norm.cu",
    kernel: "_Z9grad_norm",
    launch: |bench| {
        let n = 5000;
        let g = bench.upload(Type::F32, &random(50, n));
        let (outcome, partial) = (bench.upload(Type::F32, &[0.0; 3]), bench.empty(Type::F32, 5));
        let counter = bench.upload(Type::F32, &[0.0]);
        let arguments = [outcome, partial, counter, g, 0, n as u64].map(Argument::from);
        Launch::new(5, 256, arguments.into())
    },
};

/// Removes the instruction number `which` of those whose text begins so, up to its semicolon; all of them if there is no
/// number.
pub fn without(text: &str, instruction: &str, which: Option<usize>) -> String {
    changed(text, instruction, which, |_| String::new())
}

/// Changes those instructions, given from their first letter to the semicolon.
pub fn changed(text: &str, instruction: &str, which: Option<usize>, change: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(instruction);
    let mut out = parts.next().expect("a beginning").to_owned();
    let mut found = 0;
    for (i, part) in parts.enumerate() {
        if which.is_some_and(|which| which != i) {
            out += instruction;
            out += part;
            continue;
        }
        let (rest, after) = part.split_once(';').expect("an end");
        out += &change(&format!("{instruction}{rest};"));
        out += after;
        found += 1;
    }
    assert!(found > 0, "{instruction}");
    out
}

/// Shapes of the gradients of attention: images, tokens, heads. Keys are split among two blocks.
const GRADIENT: [u32; 3] = [1, 200, 2];

/// Arguments that the gradients share: dqkv, ds, dout, qkv; then the rows of dout and of out, and lse.
fn gradient(bench: &mut Bench) -> ([Argument; 4], [Argument; 3]) {
    let [n, l, heads] = GRADIENT;
    let width = 64 * heads;
    let count = (n * l * width) as usize;
    let qkv = bench.upload(Type::Bf16, &random(7, 3 * count));
    let (dout, out) = (bench.upload(Type::Bf16, &random(8, count)), bench.upload(Type::Bf16, &random(9, count)));
    let lse = bench.upload(Type::F32, &random(10, (n * heads * l) as usize));
    let ds = bench.upload(Type::Bf16, &random(11, (n * heads * l * l) as usize));
    let dqkv = bench.empty(Type::Bf16, 3 * count);
    let qkv_dims = [width, 3, l, n];
    let maps = [
        map(dqkv, Type::Bf16, &qkv_dims, &[64, 1, 64, 1], true),
        map(ds, Type::Bf16, &[l, l, n * heads], &[64, 64, 1], true),
        map(dout, Type::Bf16, &[width, l, n], &[64, 64, 1], true),
        map(qkv, Type::Bf16, &qkv_dims, &[64, 1, 64, 1], true),
    ];
    (maps, [dout, out, lse].map(Argument::from))
}

fn hopper(blocks: u32, arguments: Vec<Argument>) -> Launch {
    Launch { dynamic_shared_bytes: 160 << 10, ..Launch::new(blocks, 384, arguments) }
}

/// The gradient of keys and values: two warpgroups that hand tiles to each other.
pub const KEYS: Bed = Bed {
    file: "attention/backward_sm90.cu",
    kernel: "_Z22attention_bwd_dkv_sm90ILi64EE",
    launch: |bench| {
        let (maps, rows) = gradient(bench);
        let [_, l, heads] = GRADIENT.map(|dim| Argument::from(dim as i32));
        let mut arguments = [&maps[..], &rows[..]].concat();
        arguments.extend([l, heads, 1i32.into(), 2i32.into(), 2i32.into()]);
        hopper(4, arguments)
    },
};

/// The gradient of queries from what the one of keys has left.
pub const QUERIES: Bed = Bed {
    kernel: "_Z21attention_bwd_dq_sm90ILi64EE",
    launch: |bench| {
        let ([dqkv, ds, _, qkv], _) = gradient(bench);
        let [n, l, heads] = GRADIENT.map(|dim| Argument::from(dim as i32));
        hopper(2, vec![dqkv, ds, qkv, n, l, heads, 3i32.into()])
    },
    ..KEYS
};

/// The same, with scores computed again.
pub const QUERIES_AGAIN: Bed = Bed {
    file: "attention/dq_sm90.cu",
    kernel: "_Z26attention_bwd_dq_long_sm90ILi64EE",
    launch: |bench| {
        let ([dqkv, _, dout, qkv], rows) = gradient(bench);
        let [_, l, heads] = GRADIENT.map(|dim| Argument::from(dim as i32));
        let mut arguments = vec![dqkv, dout, qkv];
        arguments.extend(rows);
        arguments.extend([l, heads, 2i32.into()]);
        hopper(4, arguments)
    },
};
