//! A warp: registers of 32 lanes, and the lanes' ways through the program.

use crate::lower::END;
use crate::program::{Address, Predicate, Program, Slot};
use crate::tensor::TensorMap;

/// One slot: 32 bits of each lane.
pub(crate) type Lanes = [u32; 32];
pub(crate) type WideLanes = [u64; 32];

/// Lanes that run together. They leave this entry where `pc` comes to `reconverge`.
#[derive(Clone, Copy, Debug)]
struct Way {
    pc: u32,
    reconverge: u32,
    mask: u32,
}

/// Why a warp does not run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// At a barrier of the block.
    Barrier {
        id: u32,
    },
    /// At a transaction barrier: of the cluster's block `rank`.
    Transaction {
        rank: usize,
        address: u32,
        parity: u32,
    },
    Cluster {
        phase: u64,
    },
    Done,
}

/// An asynchronous copy that has been issued: it reaches shared memory when it is waited for, no earlier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingCopy {
    pub lane: u32,
    pub address: u32,
    pub words: [u32; 4],
    pub bytes: u32,
}

/// A tensor store that has been issued: it reads shared memory when it is waited for, no earlier.
#[derive(Clone, Debug)]
pub(crate) struct PendingStore {
    pub lane: usize,
    /// The number of its lane's group.
    pub group: u32,
    pub map: TensorMap,
    pub corner: Vec<i32>,
    /// The block of the cluster, and the address in its shared memory.
    pub rank: usize,
    pub address: u32,
}

#[derive(Debug)]
pub(crate) struct Warp {
    pub number: u32,
    pub registers: Vec<Lanes>,
    pub predicates: Vec<u32>,
    ways: Vec<Way>,
    /// Lanes that have not returned.
    pub live: u32,
    pub state: State,
    /// Local memory of the lanes, one after the other.
    pub local: Vec<u8>,
    /// Groups of copies that are closed, and the one that is open.
    pub copies: Vec<Vec<PendingCopy>>,
    pub open_copies: Vec<PendingCopy>,
    pub stores: Vec<PendingStore>,
    /// Groups of tensor stores that each lane has closed.
    pub store_groups: Lanes,
    pub cluster_phase: u64,
    /// The instruction that was last begun.
    pub at: u32,
}

impl Warp {
    pub fn new(program: &Program, number: u32, live: u32) -> Warp {
        let mut registers = vec![[0; 32]; program.slots as usize];
        for &(slot, value) in &program.constants {
            registers[slot as usize] = [value; 32];
        }
        let mut predicates = vec![0; program.predicates as usize];
        predicates[1] = u32::MAX;
        Warp {
            number,
            registers,
            predicates,
            ways: vec![Way { pc: 0, reconverge: END, mask: live }],
            live,
            state: State::Ready,
            local: vec![0; 32 * program.local_bytes as usize],
            copies: Vec::new(),
            open_copies: Vec::new(),
            stores: Vec::new(),
            store_groups: [0; 32],
            cluster_phase: 0,
            at: 0,
        }
    }

    /// The next instruction and the lanes that run it; moves on to the one after. `None` when all lanes have returned.
    #[inline(always)]
    pub fn next(&mut self) -> Option<(u32, u32)> {
        loop {
            let way = self.ways.last_mut()?;
            if way.pc == way.reconverge || way.mask == 0 {
                self.ways.pop();
                continue;
            }
            let pc = way.pc;
            way.pc += 1;
            self.at = pc;
            return Some((pc, way.mask));
        }
    }

    /// Goes back to the instruction that was begun last: it is tried again.
    pub fn retry(&mut self) {
        if let Some(way) = self.ways.last_mut() {
            way.pc = self.at;
        }
    }

    /// Lanes of `taken` go to `target`; the others of the way go on. Returns true if they part.
    pub fn branch(&mut self, taken: u32, target: u32, reconverge: u32) -> bool {
        let Some(way) = self.ways.last_mut() else { return false };
        if taken == 0 {
            return false;
        }
        if taken == way.mask {
            way.pc = target;
            return false;
        }
        let (next, others) = (way.pc, way.mask & !taken);
        // Those that wait where these meet again: an entry below already does if it is the same place.
        if way.reconverge == reconverge {
            self.ways.pop();
        } else {
            way.pc = reconverge;
        }
        for (pc, mask) in [(target, taken), (next, others)] {
            if pc != reconverge {
                self.ways.push(Way { pc, reconverge, mask });
            }
        }
        true
    }

    pub fn exit(&mut self, lanes: u32) {
        self.live &= !lanes;
        for way in &mut self.ways {
            way.mask &= !lanes;
        }
    }

    #[inline(always)]
    pub fn predicate(&self, p: Predicate) -> u32 {
        let mask = self.predicates[p.slot as usize];
        if p.negated { !mask } else { mask }
    }

    #[inline(always)]
    pub fn set_predicate(&mut self, slot: u32, mask: u32, value: u32) {
        let old = &mut self.predicates[slot as usize];
        *old = *old & !mask | value & mask;
    }

    #[inline(always)]
    pub fn get(&self, slot: Slot) -> &Lanes {
        &self.registers[slot as usize]
    }

    #[inline(always)]
    pub fn set(&mut self, slot: Slot, mask: u32, values: &Lanes) {
        let old = &mut self.registers[slot as usize];
        if mask == u32::MAX {
            *old = *values;
        } else {
            for lane in 0..32 {
                let keep = (mask >> lane & 1).wrapping_sub(1);
                old[lane] = old[lane] & keep | values[lane] & !keep;
            }
        }
    }

    #[inline(always)]
    pub fn get_wide(&self, slot: Slot) -> WideLanes {
        let (low, high) = (self.get(slot), self.get(slot + 1));
        std::array::from_fn(|lane| u64::from(low[lane]) | u64::from(high[lane]) << 32)
    }

    #[inline(always)]
    pub fn set_wide(&mut self, slot: Slot, mask: u32, values: &WideLanes) {
        self.set(slot, mask, &std::array::from_fn(|lane| values[lane] as u32));
        self.set(slot + 1, mask, &std::array::from_fn(|lane| (values[lane] >> 32) as u32));
    }

    /// The operand of one or two slots as 64 bits.
    #[inline(always)]
    pub fn get_any(&self, slot: Slot, slots: u32) -> WideLanes {
        if slots == 2 {
            return self.get_wide(slot);
        }
        let low = self.get(slot);
        std::array::from_fn(|lane| low[lane].into())
    }

    #[inline(always)]
    pub fn set_any(&mut self, slot: Slot, slots: u32, mask: u32, values: &WideLanes) {
        if slots == 2 {
            self.set_wide(slot, mask, values);
        } else {
            self.set(slot, mask, &std::array::from_fn(|lane| values[lane] as u32));
        }
    }

    #[inline(always)]
    pub fn addresses(&self, address: &Address) -> WideLanes {
        if address.wide {
            let base = self.get_wide(address.base);
            std::array::from_fn(|lane| base[lane].wrapping_add(address.offset as u64))
        } else {
            let base = self.get(address.base);
            std::array::from_fn(|lane| base[lane].wrapping_add(address.offset as u32).into())
        }
    }
}

/// The lanes of a mask.
pub(crate) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| mask >> lane & 1 == 1)
}
