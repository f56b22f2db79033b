//! Registers of products that are under way.

/// Tells which registers of a warp belong to products that nobody has waited for, and which were written since the last
/// `wgmma.fence`.
#[derive(Debug)]
pub(super) struct Registers {
    /// By slot.
    slots: Vec<Register>,
    /// Fences that have been passed.
    fences: u32,
    /// The newest group that may be under way, and the newest that is complete.
    newest: u32,
    complete: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Register {
    /// The last group that accumulates here, the shape of its product, and the product's statement.
    accumulates: (u32, u32, u32),
    /// The last group that reads it as a fragment of a, and the product's statement.
    fragment: (u32, u32),
    /// Fences that had been passed when it was last written, plus one, and by which statement.
    written: (u32, u32),
}

const READ: &str = "an accumulator of a product that was not waited for is read";
const OVERWRITTEN: &str = "an accumulator of a product that was not waited for is overwritten";
const OTHER_SHAPE: &str = "an accumulator of a product that was not waited for is used by one of another shape";
const FRAGMENT_OVERWRITTEN: &str = "a fragment of a, which a product that was not waited for reads, is overwritten";
const NEVER_FENCED: &str = "no wgmma.fence stands before the first product";
const NOT_FENCED: &str = "no wgmma.fence stands between a write of a product's register and the product";

/// A register that is used at the wrong time: what is wrong, and the statement it is at odds with.
pub(super) type Misuse = (&'static str, u32);

impl Registers {
    pub fn new(slots: usize) -> Registers {
        Registers { slots: vec![Register::default(); slots], fences: 0, newest: 0, complete: 0 }
    }

    /// An ordinary instruction reads or writes a register.
    #[inline]
    pub fn use_slot(&mut self, slot: u32, writes: bool, statement: u32) -> Result<(), Misuse> {
        let register = &mut self.slots[slot as usize];
        if self.newest > self.complete {
            if register.accumulates.0 > self.complete {
                return Err((if writes { OVERWRITTEN } else { READ }, register.accumulates.2));
            }
            if writes && register.fragment.0 > self.complete {
                return Err((FRAGMENT_OVERWRITTEN, register.fragment.1));
            }
        }
        if writes {
            register.written = (self.fences + 1, statement);
        }
        Ok(())
    }

    pub fn fence(&mut self) {
        self.fences += 1;
    }

    /// A product of a group, of such a shape, into some registers and from others.
    pub fn product(&mut self, group: u32, shape: u32, d: &[u32], a: &[u32], statement: u32) -> Result<(), Misuse> {
        if self.fences == 0 {
            return Err((NEVER_FENCED, statement));
        }
        self.newest = self.newest.max(group);
        for &slot in d.iter().chain(a) {
            let (fences, written) = self.slots[slot as usize].written;
            if fences > self.fences {
                return Err((NOT_FENCED, written));
            }
        }
        for &slot in d {
            let register = &mut self.slots[slot as usize];
            let (before, other, by) = register.accumulates;
            if before > self.complete && other != shape {
                return Err((OTHER_SHAPE, by));
            }
            if register.fragment.0 > self.complete {
                return Err((FRAGMENT_OVERWRITTEN, register.fragment.1));
            }
            register.accumulates = (group, shape, statement);
        }
        for &slot in a {
            let register = &mut self.slots[slot as usize];
            if register.accumulates.0 > self.complete {
                return Err((READ, register.accumulates.2));
            }
            register.fragment = (group, statement);
        }
        Ok(())
    }

    /// Groups up to this one are complete.
    pub fn wait(&mut self, group: u32) {
        self.complete = self.complete.max(group);
    }
}
