//! Which registers an instruction reads and writes.

use super::op::Op;
use super::types::{AtomicOp, BinaryOp, Kind, Slot, TernaryOp, UnaryOp};

/// Calls `visit(first slot, slots, writes)` for the registers of an instruction: all that it reads, then all that it
/// writes. Instructions of sm_90 are left out: those that read registers read addresses and numbers.
pub(crate) fn slots_of<E>(op: &Op, mut visit: impl FnMut(Slot, u32, bool) -> Result<(), E>) -> Result<(), E> {
    let wide = |wide: bool| if wide { 2 } else { 1 };
    let mut reads = |slots: &[Slot], n: u32, d: Option<(Slot, u32)>| {
        for &slot in slots {
            visit(slot, n, false)?;
        }
        d.map_or(Ok(()), |(d, n)| visit(d, n, true))
    };
    match op {
        Op::Move32 { d, a } => reads(&[*a], 1, Some((*d, 1))),
        Op::Move64 { d, a } => reads(&[*a], 2, Some((*d, 2))),
        Op::MoveMany(moves) => {
            moves.iter().try_for_each(|(_, a)| reads(&[*a], 1, None))?;
            moves.iter().try_for_each(|(d, _)| reads(&[], 1, Some((*d, 1))))
        }
        Op::Pack16 { d, low, high } => reads(&[*low, *high], 1, Some((*d, 1))),
        Op::Unpack16 { low, high, a } => {
            reads(&[*a], 1, Some((*low, 1)))?;
            reads(&[], 1, Some((*high, 1)))
        }
        Op::Special { d, wide: is_wide, .. } => reads(&[], 1, Some((*d, wide(*is_wide)))),
        Op::Unary { op, kind, d, a, .. } => {
            let counts = matches!(op, UnaryOp::Popc | UnaryOp::Clz | UnaryOp::Bfind);
            reads(&[*a], kind.slots(), Some((*d, if counts { 1 } else { kind.slots() })))
        }
        Op::Binary { op, kind, d, a, b, .. } => {
            let result = wide((*op == BinaryOp::MulWide && kind.bits() == 32) || kind.slots() == 2);
            reads(&[*a, *b], kind.slots(), Some((*d, result)))
        }
        Op::Ternary { op, kind, d, a, b, c, .. } => {
            let result = wide((*op == TernaryOp::MadWide && kind.bits() == 32) || kind.slots() == 2);
            reads(&[*a, *b], kind.slots(), None)?;
            reads(&[*c], result, Some((*d, result)))
        }
        Op::Bfi { wide: is_wide, d, a, b, start, length } => {
            reads(&[*start, *length], 1, None)?;
            reads(&[*a, *b], wide(*is_wide), Some((*d, wide(*is_wide))))
        }
        Op::Compare { kind, a, b, .. } => reads(&[*a, *b], kind.slots(), None),
        Op::Select { wide: is_wide, d, a, b, .. } => reads(&[*a, *b], wide(*is_wide), Some((*d, wide(*is_wide)))),
        Op::Convert { from, d, d_slots, a, low, .. } => {
            low.map_or(Ok(()), |low| reads(&[low], 1, None))?;
            reads(&[*a], from.slots(), Some((*d, (*d_slots).into())))
        }
        Op::Load(access) => {
            reads(&[access.address.base], wide(access.address.wide), None)?;
            let registers = &access.registers[..usize::from(access.count)];
            let used = registers.iter().filter(|slot| **slot != u32::MAX);
            { used }.try_for_each(|d| reads(&[], 1, Some((*d, access.register_slots.into()))))
        }
        Op::Store(access) => {
            reads(&[access.address.base], wide(access.address.wide), None)?;
            reads(&access.registers[..usize::from(access.count)], access.register_slots.into(), None)
        }
        Op::Atomic { op, kind, d, address, a, b, .. } => {
            reads(&[address.base], wide(address.wide), None)?;
            let operands = [*a, *b];
            let operands = &operands[..if *op == AtomicOp::Cas { 2 } else { 1 }];
            reads(operands, kind.slots(), d.map(|d| (d, kind.slots())))
        }
        Op::Shuffle { d, a, b, c, members, .. } => reads(&[*a, *b, *c, *members], 1, Some((*d, 1))),
        Op::Vote { op, d, .. } => reads(&[], 1, (*op == super::VoteOp::Ballot).then_some((*d, 1))),
        Op::ActiveMask { d } => reads(&[], 1, Some((*d, 1))),
        Op::Elect { d, .. } => reads(&[], 1, d.map(|d| (d, 1))),
        Op::Matrices { store, count, registers, address, .. } => {
            reads(&[address.base], wide(address.wide), None)?;
            let registers = &registers[..usize::from(*count)];
            registers.iter().try_for_each(|slot| match store {
                true => reads(&[*slot], 1, None),
                false => reads(&[], 1, Some((*slot, 1))),
            })
        }
        Op::CopyAsync { destination, source, read, .. } => {
            for address in [destination, source] {
                reads(&[address.base], wide(address.wide), None)?;
            }
            read.map_or(Ok(()), |read| reads(&[read], Kind::U32.slots(), None))
        }
        Op::Mma { k, d, a, b, c, .. } => {
            let k = usize::from(*k);
            reads(&a[..k / 4], 1, None)?;
            reads(&b[..k / 8], 1, None)?;
            reads(c, 1, None)?;
            d.iter().try_for_each(|d| reads(&[], 1, Some((*d, 1))))
        }
        Op::Nothing
        | Op::Fence(_)
        | Op::Aligned
        | Op::Logic { .. }
        | Op::Branch { .. }
        | Op::Return
        | Op::Trap
        | Op::Barrier { .. }
        | Op::WarpBarrier { .. }
        | Op::CopyAsyncCommit
        | Op::CopyAsyncWait { .. }
        | Op::Hopper(_) => Ok(()),
    }
}
