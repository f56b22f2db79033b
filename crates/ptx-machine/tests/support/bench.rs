//! Kernels of the tree on a machine, and their tensors.

use ptx_machine::{Counters, Launch, Machine, Module, Options, TensorMap};
use std::path::Path;

/// The storage type of a kernel's tensors.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Type {
    F32,
    Bf16,
}

impl Type {
    pub fn mangled(self) -> &'static str {
        if self == Type::F32 { "f" } else { "13__nv_bfloat16" }
    }

    pub fn bytes(self) -> usize {
        if self == Type::F32 { 4 } else { 2 }
    }

    pub fn encode(self, values: &[f64]) -> Vec<u8> {
        match self {
            Type::F32 => values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
            Type::Bf16 => {
                values.iter().flat_map(|&x| ((x as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec()).collect()
            }
        }
    }

    pub fn decode(self, bytes: &[u8]) -> Vec<f64> {
        match self {
            Type::F32 => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            Type::Bf16 => {
                let value = |b: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
                bytes.chunks(2).map(|b| value(b).into()).collect()
            }
        }
    }

    /// The values as they are stored.
    pub fn stored(self, values: &[f64]) -> Vec<f64> {
        self.decode(&self.encode(values))
    }

    /// Half a unit in the last place, relative.
    pub fn rounding(self) -> f64 {
        if self == Type::F32 { 6e-8 } else { 2.0f64.powi(-8) }
    }
}

pub fn random(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A dense tensor; `dims` and `box_dims` with the innermost dimension first.
pub fn dense(address: u64, kind: Type, dims: &[u32], box_dims: &[u32], swizzle_128: bool) -> TensorMap {
    let mut strides_bytes = Vec::new();
    let mut stride = kind.bytes() as u64;
    for dim in &dims[..dims.len() - 1] {
        stride *= u64::from(*dim);
        strides_bytes.push(stride);
    }
    TensorMap {
        address,
        element_bytes: kind.bytes() as u32,
        dims: dims.to_vec(),
        strides_bytes,
        box_dims: box_dims.to_vec(),
        element_strides: vec![1; dims.len()],
        swizzle_128,
    }
}

/// A machine with one module.
pub struct Bench {
    pub machine: Machine,
    pub module: Module,
}

impl Bench {
    pub fn new(file: &str) -> Option<Bench> {
        Bench::changed(file, |text| text)
    }

    /// The same, after a change of the PTX.
    pub fn changed(file: &str, change: impl FnOnce(String) -> String) -> Option<Bench> {
        let text = change(super::ptx(&super::nvcc()?, Path::new("../../kernels").join(file).as_path()));
        let mut machine = Machine::default();
        let module = machine.load(file, &text).unwrap_or_else(|error| panic!("{error}"));
        Some(Bench { machine, module })
    }

    pub fn upload(&mut self, kind: Type, values: &[f64]) -> u64 {
        let address = self.empty(kind, values.len());
        self.machine.memory.write(address, &kind.encode(values)).unwrap();
        address
    }

    /// Memory that nobody has written.
    pub fn empty(&mut self, kind: Type, count: usize) -> u64 {
        self.machine.memory.allocate(kind.bytes() * count)
    }

    pub fn read(&self, kind: Type, address: u64, count: usize) -> Vec<f64> {
        kind.decode(&self.machine.memory.read(address, kind.bytes() * count).unwrap())
    }

    /// Launches the kernel whose mangled name contains this part.
    pub fn launch(&mut self, part: &str, launch: &Launch) -> Counters {
        let names: Vec<String> = self.module.kernels().filter(|name| name.contains(part)).map(str::to_owned).collect();
        let [name] = &names[..] else { panic!("{part}: {names:?}") };
        let options = Options { counters: true, races: true, ..Options::default() };
        let result = self.machine.launch(&self.module, name, launch, &options);
        result.unwrap_or_else(|error| panic!("{error}"))
    }
}

pub fn close(name: &str, out: &[f64], exact: &[f64], relative: f64, absolute: f64) {
    assert_eq!(out.len(), exact.len());
    for (i, (out, exact)) in out.iter().zip(exact).enumerate() {
        let err = (out - exact).abs();
        assert!(err <= relative * exact.abs() + absolute, "{name}[{i}]: {out} for {exact}, {err:e} off");
    }
}

/// A bench of a kernel file; skips the test where there is no nvcc.
#[macro_export]
macro_rules! bench {
    ($file:expr) => {
        match support::bench::Bench::new($file) {
            Some(bench) => bench,
            None => skip!("no nvcc (scripts/cuda-toolkit.sh)"),
        }
    };
}
