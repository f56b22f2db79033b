//! Compares all kernels that can compute one convolution.

use super::inputs::normals;
use crate::engine::device::{Capability, Device};
use crate::engine::ops::conv2d::hopper::Plans;
use crate::engine::ops::conv2d::{Conv2dShape, Padding, conv2d_planned};
use crate::engine::tape::{Backend, Session, Tape};
use crate::engine::tensor::{DType, Store};
use crate::{Error, Result};

/// One kernel with its measured time.
#[derive(Debug)]
pub struct Candidate {
    /// The op whose work it does, such as `conv2d_bwd_dw`.
    pub op: &'static str,
    pub kernel: String,
    /// Median of all rounds.
    pub us: f64,
    pub flops: u64,
    /// True if a training step would choose it.
    pub is_chosen: bool,
}

/// Times every kernel that takes a convolution in bf16, in all three passes, on random numbers. Sums of split weight
/// gradients are not among them.
///
/// # Errors
/// On the CPU, which has no kernels; or what the device reports.
pub fn compare(device: Device, shape: &Conv2dShape, rounds: usize) -> Result<Vec<Candidate>> {
    let Backend::Gpu(capability) = device.backend() else {
        return Err(Error::Config("kernels are compared on a GPU: --device cuda, or emu to try it out".into()));
    };
    let s = shape;
    let dtype = DType::Bf16;
    let mut store = Store::new();
    let [x, w] = [[s.n, s.h, s.w, s.c_in], [s.c_out, s.kh, s.kw, s.c_in]].map(|dims| store.tensor(&dims, dtype));
    let dy = store.tensor(&[s.n, s.out_h(), s.out_w(), s.c_out], dtype);
    let dw = store.tensor(&w.dims(), DType::F32);
    let padding = Padding { top: s.pad_top, left: s.pad_left, bottom: s.pad_bottom, right: s.pad_right };

    let mut session = Session::new(device, &store)?;
    for (i, t) in [x, w, dy].into_iter().enumerate() {
        session.write(t, &normals(i as u32, t.numel()))?;
    }
    let (chosen, mut alternatives) = match capability {
        Capability::Hopper => (Plans::new(s, dtype), Plans::all(s, dtype)),
        Capability::Ampere => (Plans::default(), Vec::new()),
    };
    alternatives.push(Plans::default());
    let mut candidates: Vec<Candidate> = Vec::new();
    for plans in alternatives {
        let mut tape = Tape::new(session.backend(), dtype);
        tape.parameter(w, dw);
        tape.watch(x);
        let y = conv2d_planned(&mut tape, x, w, s.stride, padding, plans);
        tape.seed_grad(y, dy);
        tape.backward();
        let mut program = session.load(tape)?;
        session.run(&mut program)?;
        let times = (0..rounds.max(1)).map(|_| session.time_ms(&mut program)).collect::<Result<Vec<_>>>()?;
        for (i, work) in program.work().into_iter().enumerate() {
            let Some(launch) = work.launch.filter(|_| work.op.starts_with("conv2d")) else { continue };
            let mut us: Vec<f64> = times.iter().map(|ms| ms[i] * 1e3).collect();
            us.sort_by(f64::total_cmp);
            if candidates.iter().all(|known| known.kernel != launch.kernel) {
                let is_chosen = false;
                candidates.push(Candidate {
                    op: work.op,
                    kernel: launch.kernel,
                    us: us[us.len() / 2],
                    flops: work.flops,
                    is_chosen,
                });
            }
        }
    }
    let names = [
        ("conv2d_fwd", chosen.fwd.map(|plan| plan.kernel)),
        ("conv2d_bwd_dx", chosen.bwd_dx.map(|plan| plan.kernel)),
        ("conv2d_bwd_dw", chosen.bwd_dw.map(|plan| plan.kernel)),
    ];
    for candidate in &mut candidates {
        candidate.is_chosen = names.iter().any(|(op, name)| match name {
            Some(name) => candidate.kernel == *name,
            None => candidate.op == *op && !candidate.kernel.contains("_sm90"),
        });
    }
    candidates.sort_by(|a, b| (a.op, a.us).partial_cmp(&(b.op, b.us)).expect("times are numbers"));
    Ok(candidates)
}
