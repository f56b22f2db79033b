//! Runs the blocks of a cluster: each warp until it has to wait, one after the other, until all have returned.

use super::Run;
use super::block::Block;
use super::warp::{State, Warp};
use crate::counters::Counts;
use crate::error::{Error, Fault, Result};
use crate::races::{Pair, Races};

/// Instructions after which another warp has its turn.
const TURN: u32 = 20_000;

/// The blocks of a cluster while they run.
pub(crate) struct Cluster<'a> {
    pub run: Run<'a>,
    pub blocks: Vec<Block>,
    /// The block whose warp runs.
    pub rank: usize,
    /// Tensor loads that have not arrived.
    pub loads: Vec<PendingLoad>,
    /// Threads that have arrived at the cluster's barrier, and how often it has been passed.
    pub arrived: u32,
    pub phase: u64,
    /// By statement.
    pub counts: &'a mut [Counts],
    /// Where memory was last found.
    pub hint: usize,
    /// The order of all accesses, where races are looked for.
    pub races: Option<Box<Races<'a>>>,
}

/// A tensor load that has been issued: it arrives when somebody cannot go on without it, no earlier.
pub(crate) struct PendingLoad {
    /// The block of the cluster that gets it.
    pub rank: usize,
    pub barrier: u32,
    /// Places in its shared memory, and what they get.
    pub chunks: Vec<(u32, [u8; 16])>,
}

/// An instruction's fault: in one lane, or in the warp; or a race.
pub(crate) struct Wrong {
    pub lane: Option<u32>,
    pub reason: String,
    pub race: Option<Box<Pair>>,
}

impl From<Box<Pair>> for Wrong {
    fn from(pair: Box<Pair>) -> Wrong {
        Wrong { lane: None, reason: String::new(), race: Some(pair) }
    }
}

impl Wrong {
    pub fn new(reason: impl Into<String>) -> Wrong {
        Wrong { lane: None, reason: reason.into(), race: None }
    }

    pub fn in_lane(lane: usize, reason: impl Into<String>) -> Wrong {
        Wrong { lane: Some(lane as u32), reason: reason.into(), race: None }
    }
}

/// How a warp's turn ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Over,
    Waits,
    Done,
}

impl<'a> Cluster<'a> {
    pub fn new(run: Run<'a>, first: [u32; 3], counts: &'a mut [Counts], races: Option<Box<Races<'a>>>) -> Cluster<'a> {
        let [x, y, z] = run.launch.cluster;
        let program = run.program;
        let dynamic = program.shared_end.next_multiple_of(program.dynamic_align_bytes);
        let bytes = if run.launch.dynamic_shared_bytes > 0 || program.uses_dynamic_shared {
            dynamic + run.launch.dynamic_shared_bytes
        } else {
            program.shared_end
        };
        let threads = run.launch.block.iter().product();
        let blocks = (0..x * y * z).map(|rank| {
            let index = [first[0] + rank % x, first[1] + rank / x % y, first[2] + rank / (x * y)];
            Block::new(program, index, threads, bytes)
        });
        let blocks = blocks.collect();
        Cluster { run, blocks, rank: 0, loads: Vec::new(), arrived: 0, phase: 0, counts, hint: 0, races }
    }

    pub fn run(mut self) -> Result<()> {
        let mut steps = vec![0u64; self.blocks.len() * self.blocks[0].warps.len()];
        loop {
            let mut moved = false;
            for rank in 0..self.blocks.len() {
                self.rank = rank;
                for i in 0..self.blocks[rank].warps.len() {
                    let Some(mut warp) = self.blocks[rank].warps[i].take() else { continue };
                    let ready = self.is_ready(&mut warp);
                    let turn = if ready { self.turn(&mut warp) } else { Ok(Turn::Waits) };
                    let turn = match turn {
                        Ok(turn) => turn,
                        Err(wrong) => return Err(self.fault(&warp, wrong)),
                    };
                    if turn == Turn::Done {
                        if !warp.stores.is_empty() {
                            let reason = "the warp ends before its tensor stores have read shared memory";
                            return Err(self.fault(&warp, Wrong::new(reason)));
                        }
                        warp.state = State::Done;
                    }
                    moved |= ready;
                    let spent = &mut steps[rank * self.blocks[0].warps.len() + i];
                    *spent += if turn == Turn::Over { u64::from(TURN) } else { 0 };
                    if *spent > self.run.options.warp_instructions {
                        return Err(self.fault(&warp, Wrong::new(format!("no end after {spent} instructions"))));
                    }
                    self.blocks[rank].warps[i] = Some(warp);
                    if turn != Turn::Over {
                        self.release_block(rank);
                    }
                }
                let warps = self.blocks[rank].warps.iter().flatten();
                self.blocks[rank].done = { warps }.all(|warp| warp.state == State::Done);
            }
            self.release();
            if self.blocks.iter().all(|block| block.done) {
                return self.end_watch();
            }
            if !moved && !self.any_ready() {
                return Err(self.deadlock());
            }
        }
    }

    /// Lets those that wait at the cluster's barrier go on once all threads that have not returned have arrived.
    fn release(&mut self) {
        let warps = self.blocks.iter().flat_map(|block| block.warps.iter().flatten());
        let live: u32 = warps.filter(|warp| warp.state != State::Done).map(|warp| warp.live.count_ones()).sum();
        if self.arrived > 0 && self.arrived >= live {
            self.arrived = 0;
            self.phase += 1;
            if let Some(races) = &mut self.races {
                races.complete_cluster();
            }
        }
    }

    fn any_ready(&mut self) -> bool {
        let states: Vec<State> =
            self.blocks.iter().flat_map(|block| block.warps.iter().flatten().map(|warp| warp.state)).collect();
        states.into_iter().any(|state| self.passes(state))
    }

    fn passes(&mut self, state: State) -> bool {
        match state {
            State::Ready => true,
            State::Barrier { .. } | State::Done => false,
            State::Cluster { phase } => self.phase > phase,
            State::Transaction { rank, address, parity } => self.passes_transaction(rank, address, parity),
        }
    }

    fn is_ready(&mut self, warp: &mut Warp) -> bool {
        let passes = self.passes(warp.state);
        if passes {
            if matches!(warp.state, State::Cluster { .. }) {
                self.watch_cluster(warp);
            }
            warp.state = State::Ready;
        }
        passes
    }

    fn turn(&mut self, warp: &mut Warp) -> std::result::Result<Turn, Wrong> {
        for _ in 0..TURN {
            let Some((pc, mask)) = warp.next() else { return Ok(Turn::Done) };
            self.step(warp, pc, mask)?;
            if warp.state != State::Ready {
                return Ok(Turn::Waits);
            }
        }
        Ok(Turn::Over)
    }

    pub fn block(&mut self) -> &mut Block {
        &mut self.blocks[self.rank]
    }

    fn fault(&mut self, warp: &Warp, wrong: Wrong) -> Error {
        let program = self.run.program;
        // Memory that nobody wrote may well be the reason.
        let race = wrong.race.or_else(|| self.races.as_mut()?.unwritten());
        if let Some(pair) = race {
            return self.race(*pair);
        }
        let statement = program.instructions[warp.at as usize].statement;
        let origin = program.statements.get(statement as usize);
        Error::Fault(Box::new(Fault {
            kernel: program.name.clone(),
            block: self.blocks[self.rank].index,
            warp: warp.number,
            lane: wrong.lane,
            source: self.run.module.source(program, statement),
            ptx_line: origin.map_or(0, |origin| origin.ptx_line),
            opcode: origin.map_or_else(String::new, |origin| origin.opcode.clone()),
            reason: wrong.reason,
        }))
    }

    /// Nobody can go on: says who waits where.
    fn deadlock(&mut self) -> Error {
        if let Some(race) = self.watch_deadlock() {
            return race;
        }
        let mut waits = Vec::new();
        let mut first = None;
        for (rank, block) in self.blocks.iter().enumerate() {
            for (i, warp) in block.warps.iter().flatten().enumerate() {
                let what = match warp.state {
                    State::Done | State::Ready => continue,
                    State::Barrier { id } => {
                        let barrier = block.barriers[id as usize];
                        let expected = barrier.expected.map_or("all".into(), |n| n.to_string());
                        format!("at barrier {id}, where {} of {expected} threads are", barrier.arrived)
                    }
                    State::Cluster { .. } => format!("at the cluster's barrier, where {} threads are", self.arrived),
                    State::Transaction { rank, address, parity } => {
                        let barrier = self.blocks[rank].transactions.get(&address);
                        let missing = barrier.map_or(String::new(), |barrier| {
                            format!(", which lacks {} arrivals and {} bytes", barrier.missing, barrier.bytes)
                        });
                        format!("for parity {parity} of the transaction barrier at {address:#x}{missing}")
                    }
                };
                let program = self.run.program;
                let statement = program.instructions[warp.at as usize].statement;
                let line = match self.run.module.source(program, statement) {
                    Some((file, line)) => format!("{file}:{line}"),
                    None => format!("PTX line {}", program.statements[statement as usize].ptx_line),
                };
                waits.push(format!("warp {i} of block {:?} waits {what} ({line})", block.index));
                first.get_or_insert((rank, i));
            }
        }
        let (rank, i) = first.unwrap_or((0, 0));
        self.rank = rank;
        let reason = format!("deadlock: {}", waits.join("; "));
        let warp = self.blocks[rank].warps[i].take().expect("it waits");
        self.fault(&warp, Wrong::new(reason))
    }
}
