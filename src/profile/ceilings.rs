//! Measures the highest rates of a machine: products and copies.

use super::inputs::normals;
use super::machine::Ceilings;
use crate::Result;
use crate::engine::device::Device;
use crate::engine::device::host_math::{MatRef, matmul};
use crate::engine::ops::add::sum_into;
use crate::engine::ops::linear::linear;
use crate::engine::tape::{Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use rayon::prelude::*;
use std::time::Instant;

/// The best of so many runs counts.
const ROUNDS: usize = 10;

/// Rows and columns of the products that a GPU computes, as many as it computes soon: what stands in for a GPU is slow.
const SIZES: [usize; 4] = [128, 512, 2048, 8192];
const SOON_MS: f64 = 200.0;

/// Measures a matrix product of random numbers and the copying of memory on the device of this name (`cpu`, `cuda:0`). On
/// the CPU: the `gemm` crate in f32 and a copy by all cores. On a GPU, where nothing but our kernels runs: the largest of
/// our products in the storage type `dtype`, and a sum of two arrays; the vendor's product may be faster.
///
/// # Errors
/// A device that is not there, or an error that it reports.
pub fn measure(device: &str, dtype: DType) -> Result<Ceilings> {
    let mut found = Ceilings { tflops: f64::INFINITY, copy_gb_s: f64::INFINITY };
    for n in SIZES {
        // As fast as the one before.
        if flops(n) / (found.tflops * 1e9) > SOON_MS {
            break;
        }
        match Device::open(device)?.0 {
            Device::Cpu => return Ok(Ceilings { tflops: cpu_tflops(1024), copy_gb_s: cpu_copy_gb_s(32 << 20) }),
            gpu => found = measure_gpu(gpu, dtype, n)?,
        }
    }
    Ok(found)
}

/// Measures a device, and takes what is known of such a device where that is more.
///
/// # Errors
/// As [`measure`].
pub fn measure_or_known(device: &str, dtype: DType) -> Result<Ceilings> {
    let name = Device::open(device)?.0.name();
    Ok(measure(device, dtype)?.or_known(&name))
}

/// FLOPs of a product of two `n x n` matrices.
fn flops(n: usize) -> f64 {
    2.0 * (n as f64).powi(3)
}

fn best_seconds(mut run: impl FnMut()) -> f64 {
    let mut seconds = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(|_| seconds()).fold(f64::INFINITY, f64::min)
}

/// A product of two `n x n` matrices, divided into rows over all cores.
fn cpu_tflops(n: usize) -> f64 {
    const ROWS: usize = 128;
    let (a, b) = (normals(0, n * n), normals(0, n * n));
    let mut out = vec![0.0; n * n];
    let seconds = best_seconds(|| {
        out.par_chunks_mut(ROWS * n).zip(a.par_chunks(ROWS * n)).for_each(|(out, a)| {
            matmul(out, n, MatRef::rows(a, a.len() / n, n, n), MatRef::rows(&b, n, n, n));
        });
    });
    flops(n) / seconds / 1e12
}

fn cpu_copy_gb_s(values: usize) -> f64 {
    const CHUNK: usize = 1 << 18;
    let from = vec![1f32; values];
    let mut to = vec![0f32; values];
    let seconds = best_seconds(|| {
        to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    2.0 * 4.0 * values as f64 / seconds / 1e9
}

/// A product of two `n x n` matrices and a sum of two of them in f32.
fn measure_gpu(device: Device, dtype: DType, n: usize) -> Result<Ceilings> {
    let mut store = Store::new();
    let [x, w] = [(); 2].map(|()| store.tensor(&[n, n], dtype));
    let [sum, a, b] = [(); 3].map(|()| store.tensor(&[n * n], DType::F32));
    let backend = device.backend();
    let mut session = Session::new(device, &store)?;
    for matrix in [x, w] {
        session.write(matrix, &normals(0, n * n))?;
    }
    let mut tape = Tape::new(backend, dtype);
    linear(&mut tape, x, w, Tensor::EMPTY);
    sum_into(&mut tape, sum, a, b);
    let mut program = session.load(tape)?;
    let mut best_ms = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        let ms = session.time_ms(&mut program)?;
        best_ms.iter_mut().zip(ms).for_each(|(best, ms)| *best = best.min(ms));
    }
    let work = program.work();
    let [product, copy] = [&work[0], &work[1]];
    Ok(Ceilings { tflops: product.flops as f64 / best_ms[0] / 1e9, copy_gb_s: copy.bytes as f64 / best_ms[1] / 1e6 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::EmuOptions;
    use crate::engine::ops::check::emulated;

    #[test]
    fn a_slow_device_is_measured_too() {
        let mut devices = vec!["cpu"];
        devices.extend(emulated(EmuOptions::default()).is_ok().then_some("emu"));
        for device in devices {
            let Ceilings { tflops, copy_gb_s } = measure(device, DType::F32).unwrap();
            assert!(tflops > 0.0 && tflops.is_finite() && copy_gb_s > 0.0 && copy_gb_s.is_finite(), "{device}");
        }
    }
}
