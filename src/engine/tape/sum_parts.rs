//! Sums of parts that blocks have written apart, in order: `total[i] = (parts[0, i] + parts[1, i]) + parts[2, i] + ...`,
//! for several tensors in one launch.

use crate::engine::device::Memory;
use crate::engine::tape::{Arg, Launches, Op, PartSum, Tape, op};
use crate::engine::tensor::{DType, Tensor};

/// Records these sums. They have no gradient: what they make is one.
pub fn sum_parts(tape: &mut Tape, sums: Vec<PartSum>) {
    for PartSum { total, parts } in &sums {
        let fits = parts.rank() == 2 && parts.dim(1) == total.numel();
        let is_f32 = total.dtype() == DType::F32 && parts.dtype() == DType::F32;
        assert!(fits && is_f32, "the sum {total:?} of {parts:?}");
    }
    let (totals, parts) = sums.into_iter().map(|sum| (sum.total, sum.parts)).unzip();
    tape.push(SumParts { totals, parts });
}

op! {
    struct SumParts = "sum_parts" {
        out totals: Vec<Tensor>,  // f32, of any shapes
        in parts: Vec<Tensor>,    // [count, numel of the total] f32
    }
}

impl SumParts {
    fn sums(&self) -> impl Iterator<Item = (Tensor, Tensor)> {
        self.totals.iter().copied().zip(self.parts.iter().copied())
    }
}

impl Op for SumParts {
    fn shape(&self) -> Option<String> {
        let values: usize = self.totals.iter().map(Tensor::numel).sum();
        Some(format!("{} sums, {values} values", self.totals.len()))
    }
    fn cpu(&self, mem: &mut Memory) {
        for (total, parts) in self.sums() {
            let ([total], [parts]) = mem.views([total], [parts]);
            forward_cpu(total, parts);
        }
    }
    fn launch(&self, q: &mut Launches) {
        for sums in self.sums().collect::<Vec<_>>().chunks(MAX_SUMS) {
            let (mut table, mut blocks) = (Vec::new(), 0);
            for &(total, parts) in sums {
                table.extend([total, parts].map(Arg::from));
                table.extend([total.numel(), parts.dim(0), blocks].map(Arg::from));
                blocks += total.numel().div_ceil(SUM_BLOCK);
            }
            // An entry that is not used: as many bytes of zeros.
            table.extend(vec![Arg::U64(0); 4 * (MAX_SUMS - sums.len())]);
            q.kernel_named("sum_parts").grid([blocks, 1, 1]).with([Arg::Struct(table)]).with([sums.len()]);
        }
    }
}

/// Entries of the kernel's table, and elements of a block: as `kernels/sum_parts.cu` has them.
const MAX_SUMS: usize = 64;
const SUM_BLOCK: usize = 1024;

fn forward_cpu(total: &mut [f32], parts: &[f32]) {
    let (first, others) = parts.split_at(total.len());
    total.copy_from_slice(first);
    for part in others.chunks_exact(total.len()) {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::targets;
    use crate::engine::tape::Session;
    use crate::engine::tensor::Store;

    /// More sums than a table holds, of every kind: fewer elements than a vector, lengths that no vector divides, several
    /// blocks.
    #[test]
    fn parts_are_added_in_order() {
        let kinds = [(1, 2), (27, 64), (1024, 3), (1028, 5), (2051, 2), (3076, 1), (4, 19)];
        let shapes: Vec<(usize, usize)> = kinds.into_iter().cycle().take(2 * MAX_SUMS + 3).collect();
        for target in targets() {
            let mut store = Store::new();
            let sums: Vec<PartSum> = shapes
                .iter()
                .map(|&(len, count)| PartSum {
                    total: store.tensor(&[len], DType::F32),
                    parts: store.tensor(&[count, len], DType::F32),
                })
                .collect();
            let mut session = Session::new(target.open(), &store).unwrap();
            let mut tape = Tape::new(session.backend(), target.dtype);
            sum_parts(&mut tape, sums.clone());
            let mut program = session.load(tape).unwrap();
            // Of many magnitudes, so that another order would round to another sum.
            let values = |i: usize, sum: &PartSum| -> Vec<f32> {
                let value = |e: usize| ((i + e) as f32).sin() * 2f32.powi((e * 7 % 31) as i32);
                (0..sum.parts.numel()).map(value).collect()
            };
            for (i, sum) in sums.iter().enumerate() {
                session.write(sum.parts, &values(i, sum)).unwrap();
            }
            session.run(&mut program).unwrap();
            for (i, sum) in sums.iter().enumerate() {
                let (len, parts) = (sum.total.numel(), values(i, sum));
                let ordered =
                    |e: usize| parts[len..].iter().skip(e).step_by(len).fold(parts[e], |sum, part| sum + part);
                let want: Vec<f32> = (0..len).map(ordered).collect();
                assert_eq!(session.read(sum.total).unwrap(), want, "sum {i} {sum:?} on {}", target.name);
            }
        }
    }
}
