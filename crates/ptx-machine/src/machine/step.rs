//! Executes one instruction for the lanes of a mask.

use super::alu;
use super::cluster::{Cluster, Wrong};
use super::warp::{Warp, lanes_of};
use crate::program::{Logic, Op, Special};

impl Cluster<'_> {
    #[inline]
    pub(super) fn step(&mut self, warp: &mut Warp, pc: u32, lanes: u32) -> Result<(), Wrong> {
        let run = self.run;
        let instruction = &run.program.instructions[pc as usize];
        let mut mask = lanes;
        if let Some(guard) = instruction.guard {
            mask &= warp.predicate(guard);
        }
        if run.options.counters {
            let first = pc == 0 || run.program.instructions[pc as usize - 1].statement != instruction.statement;
            if let Some(counts) = self.counts.get_mut(instruction.statement as usize)
                && first
            {
                counts.instructions[instruction.class as usize] += 1;
                counts.lanes += u64::from(mask.count_ones());
            }
        }
        if mask == 0 {
            return Ok(());
        }
        if self.races.is_some() {
            self.watch_registers(warp, mask, instruction)?;
        }
        match &instruction.op {
            Op::Nothing => {}
            Op::Fence(fence) => self.watch_fence(warp, *fence),
            Op::Aligned => aligned(warp, mask)?,
            Op::Move32 { d, a } => {
                let a = *warp.get(*a);
                warp.set(*d, mask, &a);
            }
            Op::Move64 { d, a } => {
                let (low, high) = (*warp.get(*a), *warp.get(*a + 1));
                warp.set(*d, mask, &low);
                warp.set(*d + 1, mask, &high);
            }
            Op::MoveMany(moves) => match moves[..] {
                [(d0, a0), (d1, a1)] => {
                    let (a0, a1) = (*warp.get(a0), *warp.get(a1));
                    warp.set(d0, mask, &a0);
                    warp.set(d1, mask, &a1);
                }
                _ => return Err(Wrong::new("only pairs are moved")),
            },
            Op::Pack16 { d, low, high } => {
                let (low, high) = (warp.get(*low), warp.get(*high));
                let packed = std::array::from_fn(|lane| low[lane] & 0xffff | high[lane] << 16);
                warp.set(*d, mask, &packed);
            }
            Op::Unpack16 { low, high, a } => {
                let a = *warp.get(*a);
                warp.set(*low, mask, &a.map(|a| a & 0xffff));
                warp.set(*high, mask, &a.map(|a| a >> 16));
            }
            Op::Special { d, which, wide } => {
                let values = self.special(warp, *which);
                warp.set_any(*d, if *wide { 2 } else { 1 }, mask, &values);
            }
            Op::Unary { op, kind, mode, d, a } => alu::unary(warp, mask, *op, *kind, *mode, *d, *a),
            Op::Binary { op, kind, mode, d, a, b } => alu::binary(warp, mask, *op, *kind, *mode, *d, *a, *b),
            Op::Ternary { op, kind, mode, d, a, b, c } => {
                alu::ternary(warp, mask, *op, *kind, *mode, *d, [*a, *b, *c]);
            }
            Op::Bfi { wide, d, a, b, start, length } => {
                alu::bfi(warp, mask, *wide, *d, [*a, *b, *start, *length]);
            }
            Op::Compare { comparison, kind, ftz, d, opposite, a, b, with } => {
                let holds = alu::compare(warp, *comparison, *kind, *ftz, *a, *b);
                let both = |holds: u32| match with {
                    None => holds,
                    Some((op, p)) => logic(*op, holds, warp.predicate(*p)),
                };
                let (value, other) = (both(holds), both(!holds));
                warp.set_predicate(*d, mask, value);
                if let Some(opposite) = opposite {
                    warp.set_predicate(*opposite, mask, other);
                }
            }
            Op::Select { wide, d, a, b, p } => {
                let p = warp.predicate(*p);
                for half in 0..if *wide { 2 } else { 1 } {
                    let (a, b) = (warp.get(*a + half), warp.get(*b + half));
                    let picked = std::array::from_fn(|lane| if p >> lane & 1 == 1 { a[lane] } else { b[lane] });
                    warp.set(*d + half, mask, &picked);
                }
            }
            Op::Logic { op, d, a, b } => {
                let value = logic(*op, warp.predicate(*a), warp.predicate(*b));
                warp.set_predicate(*d, mask, value);
            }
            Op::Convert { to, from, mode, d, d_slots, a, low } => {
                alu::convert(warp, mask, (*to, *from, *mode), (*d, (*d_slots).into()), *a, *low);
            }
            Op::Load(access) => self.load(warp, mask, access, instruction.statement)?,
            Op::Store(access) => self.store(warp, mask, access, instruction.statement)?,
            Op::Atomic { op, kind, space, order, d, address, a, b } => {
                if self.races.is_some() {
                    let addresses = warp.addresses(address);
                    let what = (*space, u64::from(kind.bits() / 8), *order);
                    self.watch_atomic(warp, mask, &addresses, what, d.is_some(), instruction.statement)?;
                }
                self.atomic(warp, mask, (*op, *kind, *space), *d, address, *a, *b)?;
            }
            Op::Branch { target, reconverge, uniform } => {
                let parts = warp.branch(mask, *target, *reconverge);
                if parts && *uniform && instruction.guard.is_some() {
                    return Err(Wrong::new("bra.uni goes different ways"));
                }
                if parts && run.options.counters {
                    self.counts[instruction.statement as usize].divergent_branches += 1;
                }
            }
            Op::Return => warp.exit(mask),
            Op::Trap => return Err(Wrong::in_lane(lanes_of(mask).next().unwrap_or(0), "the kernel trapped")),
            Op::Barrier { id, threads, waits, aligned } => {
                self.barrier(warp, mask, *id, *threads, (*waits, *aligned), instruction.statement)?;
            }
            Op::WarpBarrier { members } => self.members(warp, mask, *members)?,
            Op::Shuffle { op, d, valid, a, b, c, members } => {
                self.members(warp, mask, *members)?;
                self.shuffle(warp, mask, *op, (*d, *valid), [*a, *b, *c])?;
            }
            Op::Vote { op, d, p, members } => {
                self.members(warp, mask, *members)?;
                self.vote(warp, mask, *op, *d, *p);
            }
            Op::ActiveMask { d } => warp.set(*d, mask, &[mask; 32]),
            Op::Elect { d, p, members } => {
                self.members(warp, mask, *members)?;
                let leader = mask.trailing_zeros();
                if let Some(d) = d {
                    warp.set(*d, mask, &[leader; 32]);
                }
                warp.set_predicate(*p, mask, 1 << leader);
            }
            Op::Matrices { store, count, transposed, registers, address } => {
                aligned(warp, mask)?;
                let registers = &registers[..usize::from(*count)];
                self.matrices(warp, (*store, *transposed), registers, address, instruction.statement)?;
            }
            Op::CopyAsync { destination, source, bytes, read } => {
                self.copy_async(warp, mask, destination, source, *bytes, *read, instruction.statement)?;
            }
            Op::CopyAsyncCommit => {
                let group = std::mem::take(&mut warp.open_copies);
                warp.copies.push(group);
                self.watch_copies(warp, None);
            }
            Op::CopyAsyncWait { pending } => {
                self.wait_copies(warp, *pending)?;
                self.watch_copies(warp, Some(*pending));
            }
            Op::Mma { fragment, k, d, a, b, c } => {
                aligned(warp, mask)?;
                crate::tensor::mma(warp, *fragment, usize::from(*k), (*d, *a, *b, *c));
                self.count(instruction.statement, |counts| counts.tensor_flops += 2 * 16 * 8 * u64::from(*k));
            }
            Op::Hopper(hopper) => self.hopper(warp, mask, hopper, instruction.statement)?,
        }
        Ok(())
    }

    pub(super) fn count(&mut self, statement: u32, change: impl FnOnce(&mut crate::counters::Counts)) {
        if self.run.options.counters
            && let Some(counts) = self.counts.get_mut(statement as usize)
        {
            change(counts);
        }
    }

    fn special(&self, warp: &Warp, which: Special) -> [u64; 32] {
        let launch = self.run.launch;
        let block = &self.blocks[self.rank];
        let [x, y, _] = launch.block;
        let thread = |lane: usize| warp.number * 32 + lane as u32;
        let of = |value: u32| [u64::from(value); 32];
        let each = |f: &dyn Fn(usize) -> u32| std::array::from_fn(|lane| f(lane).into());
        match which {
            Special::Tid(0) => each(&|lane| thread(lane) % x),
            Special::Tid(1) => each(&|lane| thread(lane) / x % y),
            Special::Tid(_) => each(&|lane| thread(lane) / (x * y)),
            Special::Ntid(axis) => of(launch.block[axis]),
            Special::Ctaid(axis) => of(block.index[axis]),
            Special::Nctaid(axis) => of(launch.grid[axis]),
            Special::Laneid => each(&|lane| lane as u32),
            Special::Warpid => of(warp.number),
            Special::ClusterCtarank => of(self.rank as u32),
            Special::ClusterNctarank => of(self.blocks.len() as u32),
            Special::ClusterCtaid(axis) => of(block.index[axis] % launch.cluster[axis]),
            Special::ClusterNctaid(axis) => of(launch.cluster[axis]),
            Special::Clusterid(axis) => of(block.index[axis] / launch.cluster[axis]),
            Special::LanemaskLt => each(&|lane| (1u32 << lane) - 1),
            Special::LanemaskLe => each(&|lane| u32::MAX >> (31 - lane)),
            Special::LanemaskEq => each(&|lane| 1 << lane),
            Special::DynamicSharedBytes => of(launch.dynamic_shared_bytes),
            // No time passes here.
            Special::Clock => of(0),
        }
    }
}

fn logic(op: Logic, a: u32, b: u32) -> u32 {
    match op {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}

/// An `.aligned` instruction is one of all lanes of a warp that have not returned.
pub(super) fn aligned(warp: &Warp, mask: u32) -> Result<(), Wrong> {
    if mask == warp.live {
        return Ok(());
    }
    Err(Wrong::new(format!("only the lanes {mask:#010x} of {:#010x} run an instruction that all must run", warp.live)))
}
