//! Who wrote each word of memory last, and who has read it since.

use super::clock::Clock;
use std::collections::HashMap;

/// How memory is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// Loads, stores and matrices.
    Ordinary,
    /// Atomics, and loads and stores that are volatile, relaxed, acquire or release: they do not race with each other.
    Strong,
    /// `cp.async`
    Copy,
    TensorLoad,
    TensorStore,
    Product,
}

impl Means {
    /// True for what the asynchronous proxy does, which sees ordinary stores only after a proxy fence.
    fn is_of_async_proxy(self) -> bool {
        matches!(self, Means::TensorLoad | Means::TensorStore | Means::Product)
    }
}

/// One access: when and by whom, in the clocks of its cluster, and where it stands in the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub cluster: u32,
    pub actor: u32,
    /// 0 for an access that there was not.
    pub time: u32,
    pub statement: u32,
    /// The warp that ran it, counted through the blocks of the cluster.
    pub warp: u16,
    /// Above 31: all lanes.
    pub lane: u8,
    pub means: Means,
}

impl Access {
    const NONE: Access =
        Access { cluster: 0, actor: 0, time: 0, statement: 0, warp: 0, lane: 0, means: Means::Ordinary };

    #[inline(always)]
    pub(super) fn is_before(&self, cluster: u32, clock: &Clock) -> bool {
        if self.cluster == cluster {
            clock.knows(self.actor, self.time)
        } else {
            clock.knows_of(self.cluster, self.actor, self.time)
        }
    }
}

/// A fault that was found in a word of memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Conflict {
    /// Nothing orders the two.
    Unordered { earlier: Access, wrote: bool },
    /// They are ordered, but nothing makes the first visible to the second's proxy.
    Unfenced { earlier: Access },
}

/// How an access looks at memory: whose clock it goes by, and what is checked.
pub(super) struct View<'c> {
    pub access: Access,
    pub clock: &'c Clock,
    pub writes: bool,
    /// Shared memory: proxies are told apart.
    pub shared: bool,
}

/// Accesses of a word, or of a byte, that are remembered.
#[derive(Clone, Debug)]
struct Cell {
    write: Access,
    read: Access,
    /// Further reads that are not ordered with the first.
    reads: Vec<Access>,
}

/// Reads of one word that are remembered, beside the first.
const MOST_READS: usize = 63;

impl Cell {
    const NEW: Cell = Cell { write: Access::NONE, read: Access::NONE, reads: Vec::new() };

    /// Checks an access and remembers it. True if nobody has written what it reads.
    #[inline(always)]
    fn touch(&mut self, view: &View) -> Result<bool, Conflict> {
        let (access, clock) = (view.access, view.clock);
        let harmless = |other: &Access| {
            other.time == 0
                || other.is_before(access.cluster, clock)
                || (access.means == Means::Strong && other.means == Means::Strong)
        };
        if !harmless(&self.write) {
            return Err(Conflict::Unordered { earlier: self.write, wrote: true });
        }
        if view.shared
            && access.means.is_of_async_proxy()
            && self.write.time != 0
            && !self.write.means.is_of_async_proxy()
            && !clock.knows_fenced(self.write.actor, self.write.time)
        {
            return Err(Conflict::Unfenced { earlier: self.write });
        }
        if view.writes {
            if let Some(earlier) = [self.read].iter().chain(&self.reads).find(|read| !harmless(read)) {
                return Err(Conflict::Unordered { earlier: *earlier, wrote: false });
            }
            self.write = access;
            self.read = Access::NONE;
            self.reads.clear();
            return Ok(false);
        }
        let unwritten = self.write.time == 0;
        // A read that comes after another one of its kind stands for it.
        let replaces =
            |other: &Access| other.time == 0 || (other.means == access.means && other.is_before(access.cluster, clock));
        if replaces(&self.read) {
            self.read = access;
        } else {
            self.remember(access, replaces);
        }
        Ok(unwritten)
    }

    fn remember(&mut self, access: Access, replaces: impl Fn(&Access) -> bool) {
        let same = |other: &Access| {
            (other.cluster, other.actor, other.time) == (access.cluster, access.actor, access.time)
                && other.means == access.means
        };
        if same(&self.read) {
            return;
        }
        let reads = &mut self.reads;
        match reads.iter().position(|read| same(read) || replaces(read)) {
            Some(i) => reads[i] = access,
            None => {
                if reads.len() == MOST_READS {
                    reads.remove(0);
                }
                reads.push(access);
            }
        }
    }
}

/// A word, whose bytes are told apart once one of them is accessed alone.
#[derive(Clone, Debug)]
struct Word {
    whole: Cell,
    bytes: Option<Box<[Cell; 4]>>,
}

const PAGE_WORDS: usize = 256;
const PAGE_BYTES: u64 = 4 * PAGE_WORDS as u64;

/// The shadow of a memory.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    pages: Vec<Box<[Word]>>,
    numbers: HashMap<u64, usize>,
    /// The page that was found last.
    last: Option<(u64, usize)>,
}

impl Shadow {
    /// Checks an access and remembers it. Returns the first address that it reads and nobody has written.
    ///
    /// # Errors
    /// The address that is at fault, and the access that it is at odds with.
    #[inline]
    pub(super) fn touch(&mut self, address: u64, bytes: u64, view: &View) -> Result<Option<u64>, (u64, Conflict)> {
        let mut unwritten = None;
        let end = address + bytes;
        let mut at = address;
        while at < end {
            let page = self.page(at / PAGE_BYTES);
            let page_end = (at / PAGE_BYTES + 1) * PAGE_BYTES;
            while at < end.min(page_end) {
                let word = &mut page[(at % PAGE_BYTES / 4) as usize];
                let next = (at / 4 + 1) * 4;
                if at.is_multiple_of(4) && next <= end && word.bytes.is_none() {
                    if word.whole.touch(view).map_err(|conflict| (at, conflict))? {
                        unwritten.get_or_insert(at);
                    }
                } else {
                    let first = (at % 4) as usize;
                    let count = (end.min(next) - at) as usize;
                    let result = word.touch_bytes(first, count, view);
                    let byte = result.map_err(|(byte, conflict)| (at / 4 * 4 + byte, conflict))?;
                    unwritten = unwritten.or(byte.map(|byte| at / 4 * 4 + byte));
                }
                at = next;
            }
        }
        Ok(unwritten)
    }

    #[inline]
    fn page(&mut self, number: u64) -> &mut [Word] {
        let at = match self.last {
            Some((last, at)) if last == number => at,
            _ => {
                let pages = &mut self.pages;
                let at = *self.numbers.entry(number).or_insert_with(|| {
                    pages.push(vec![Word { whole: Cell::NEW, bytes: None }; PAGE_WORDS].into());
                    pages.len() - 1
                });
                self.last = Some((number, at));
                at
            }
        };
        &mut self.pages[at]
    }
}

impl Word {
    fn touch_bytes(&mut self, first: usize, count: usize, view: &View) -> Result<Option<u64>, (u64, Conflict)> {
        let mut unwritten = None;
        let whole = &self.whole;
        let bytes = self.bytes.get_or_insert_with(|| Box::new(std::array::from_fn(|_| whole.clone())));
        for (i, byte) in bytes[first..first + count].iter_mut().enumerate() {
            if byte.touch(view).map_err(|conflict| ((first + i) as u64, conflict))? {
                unwritten.get_or_insert((first + i) as u64);
            }
        }
        if view.writes && count == 4 {
            self.whole = bytes[0].clone();
            self.bytes = None;
        }
        Ok(unwritten)
    }
}
