//! Streams and events, and the work that is enqueued: it runs when something waits for it.

use super::{Capture, Machine};
use crate::codes::{Code, Result};
use crate::options::Run;
use kernel_emulator::{Argument, Launch};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A stream: a queue. What is done is no longer in it.
pub struct Stream {
    pub context: u64,
    /// It and the legacy stream wait for each other.
    is_blocking: bool,
    /// How many the program had made before; none for a legacy stream.
    nth: Option<u64>,
    queue: VecDeque<Op>,
    /// How many have been enqueued, and have run.
    issued: u64,
    done: u64,
    pub capture: Option<Capture>,
}

impl Stream {
    pub fn new(context: u64, is_blocking: bool, nth: Option<u64>) -> Stream {
        Stream { context, is_blocking, nth, queue: VecDeque::new(), issued: 0, done: 0, capture: None }
    }
}

/// An event.
pub struct Event {
    pub context: u64,
    has_time: bool,
    /// The stream in which it was last recorded, and what was enqueued there by then.
    recorded: Option<(u64, u64)>,
    /// When that was done.
    time: Option<Instant>,
    /// Its last recording was captured.
    is_captured: bool,
}

/// Entry of a queue.
pub enum Op {
    Work(Work),
    Graph(Arc<[Work]>),
    Record(u64),
    /// Waits until so much of another stream is done.
    Wait {
        stream: u64,
        until: u64,
    },
    Nothing,
}

/// One operation, which can be repeated: node of a graph.
#[derive(Clone)]
pub struct Work {
    /// The memory that it may touch.
    pub references: Vec<Reference>,
    pub action: Action,
}

/// An allocation of a device, or of the pinned memory.
#[derive(Clone, PartialEq)]
pub struct Reference {
    pub ordinal: Option<usize>,
    pub base: u64,
    pub id: u64,
}

/// Effect of an operation.
#[derive(Clone)]
pub enum Action {
    Launch {
        function: u64,
        kernel: &'static str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: usize,
        arguments: Vec<Argument>,
    },
    Fill {
        address: u64,
        bytes: usize,
        value: u8,
    },
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    Upload {
        to: u64,
        from: Host,
        bytes: usize,
    },
    Download {
        to: u64,
        from: u64,
        bytes: usize,
    },
    /// An error that a device would find when it runs.
    Fault(Code, String),
}

/// Source of an upload.
#[derive(Clone)]
pub enum Host {
    /// Address of pinned memory, read when the copy runs.
    Pinned(u64),
    Copied(Vec<u8>),
}

/// `CU_EVENT_DISABLE_TIMING`, and all flags.
const NO_TIME: u32 = 2;
const EVENT_FLAGS: u32 = 7;

impl Machine {
    pub fn create_stream(&mut self, flags: u32) -> Result<u64> {
        let context = self.current()?;
        if flags > 1 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let handle = self.handle();
        self.streams.insert(handle, Stream::new(context, flags == 0, Some(self.streams_made)));
        self.streams_made += 1;
        Ok(handle)
    }

    /// Destroys a stream. Its work is done all the same.
    pub fn destroy_stream(&mut self, stream: u64) -> Result<()> {
        if stream == 0 || stream >> 60 == super::FIRST_CONTEXT >> 60 {
            return Err(Code::ERROR_INVALID_HANDLE);
        }
        let context = self.streams.get(&stream).ok_or(Code::ERROR_INVALID_HANDLE)?.context;
        self.run_all_of(stream);
        self.streams.remove(&stream);
        self.usable(context).map(drop)
    }

    /// A stream's key and its usable context; 0 is the legacy stream of the current context.
    pub(super) fn stream(&self, stream: u64) -> Result<(u64, u64)> {
        let stream = if stream == 0 { self.current()? } else { stream };
        let context = self.streams.get(&stream).ok_or(Code::ERROR_INVALID_HANDLE)?.context;
        self.usable(context)?;
        if self.streams[&stream].capture.as_ref().is_some_and(|capture| capture.is_invalid) {
            return Err(Code::ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        Ok((stream, context))
    }

    pub fn synchronize_stream(&mut self, stream: u64) -> Result<()> {
        let (stream, context) = self.stream(stream)?;
        self.not_captured(stream)?;
        self.run_all_of(stream);
        self.usable(context).map(drop)
    }

    pub fn create_event(&mut self, flags: u32) -> Result<u64> {
        let context = self.current()?;
        if flags > EVENT_FLAGS {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let handle = self.handle();
        let has_time = flags & NO_TIME == 0;
        self.events.insert(handle, Event { context, has_time, recorded: None, time: None, is_captured: false });
        Ok(handle)
    }

    pub fn destroy_event(&mut self, event: u64) -> Result<()> {
        let context = self.events.remove(&event).ok_or(Code::ERROR_INVALID_HANDLE)?.context;
        self.usable(context).map(drop)
    }

    fn event(&self, event: u64) -> Result<&Event> {
        let found = self.events.get(&event).ok_or(Code::ERROR_INVALID_HANDLE)?;
        self.usable(found.context)?;
        Ok(found)
    }

    pub fn record(&mut self, event: u64, stream: u64) -> Result<()> {
        let (stream, context) = self.stream(stream)?;
        if self.event(event)?.context != context {
            return Err(Code::ERROR_INVALID_HANDLE);
        }
        let is_captured = self.is_capturing(stream);
        if !is_captured {
            self.enqueue(stream, Op::Record(event))?;
        }
        let issued = self.streams[&stream].issued;
        let event = self.events.get_mut(&event).expect("found above");
        event.is_captured = is_captured;
        event.recorded = (!is_captured).then_some((stream, issued));
        // Where the work ran at once, so did this.
        event.time = event.time.filter(|_| self.streams[&stream].done == issued);
        Ok(())
    }

    pub fn wait(&mut self, stream: u64, event: u64, flags: u32) -> Result<()> {
        let (stream, _) = self.stream(stream)?;
        let found = self.event(event)?;
        if flags > 1 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        match (self.is_capturing(stream), found.is_captured, found.recorded) {
            (true, true, _) => Ok(()),
            (true, false, _) => Err(self.invalidate(stream, Code::ERROR_STREAM_CAPTURE_ISOLATION)),
            // It would join the capture, which nothing here does.
            (false, true, _) => Err(Code::ERROR_NOT_SUPPORTED),
            (false, false, None) => Ok(()),
            (false, false, Some((other, until))) => self.enqueue(stream, Op::Wait { stream: other, until }),
        }
    }

    pub fn synchronize_event(&mut self, event: u64) -> Result<()> {
        let found = self.event(event)?;
        let context = found.context;
        if found.is_captured {
            return Err(Code::ERROR_CAPTURED_EVENT);
        }
        let recorded = found.recorded;
        self.not_in_a_capture()?;
        if let Some((stream, until)) = recorded {
            self.run(stream, until);
        }
        self.usable(context).map(drop)
    }

    /// Milliseconds between two events.
    pub fn elapsed_ms(&self, start: u64, end: u64) -> Result<f32> {
        let (start, end) = (self.event(start)?, self.event(end)?);
        if !start.has_time || !end.has_time || start.recorded.is_none() || end.recorded.is_none() {
            return Err(Code::ERROR_INVALID_HANDLE);
        }
        match (start.time, end.time) {
            (Some(start), Some(end)) => Ok(end.saturating_duration_since(start).as_secs_f32() * 1e3),
            _ => Err(Code::ERROR_NOT_READY),
        }
    }

    /// Puts an operation on a stream, or into the graph that it captures.
    pub(super) fn enqueue(&mut self, stream: u64, op: Op) -> Result<()> {
        let context = self.streams[&stream].context;
        let is_legacy = stream == context;
        if is_legacy && self.streams.values().any(|s| s.context == context && s.is_blocking && s.capture.is_some()) {
            return Err(Code::ERROR_STREAM_CAPTURE_IMPLICIT);
        }
        if let Some(capture) = &mut self.streams.get_mut(&stream).expect("it exists").capture {
            match op {
                Op::Work(work) => capture.nodes.push(work),
                Op::Graph(nodes) => capture.nodes.extend(nodes.iter().cloned()),
                Op::Record(_) | Op::Wait { .. } | Op::Nothing => {}
            }
            return Ok(());
        }
        // The legacy stream and the blocking ones wait for each other.
        let others: Vec<(u64, u64)> = match is_legacy {
            true => self.streams.iter().filter(|(_, s)| s.context == context && s.is_blocking).collect::<Vec<_>>(),
            false if self.streams[&stream].is_blocking => self.streams.get_key_value(&context).into_iter().collect(),
            false => Vec::new(),
        }
        .into_iter()
        .filter(|&(&other, s)| other != stream && s.done < s.issued)
        .map(|(&other, s)| (other, s.issued))
        .collect();
        let queue = self.streams.get_mut(&stream).expect("it exists");
        for (other, until) in others {
            queue.queue.push_back(Op::Wait { stream: other, until });
            queue.issued += 1;
        }
        queue.queue.push_back(op);
        queue.issued += 1;
        match self.options.run {
            Run::Late => {}
            Run::Early => self.run_all_of(stream),
            Run::Ahead(of_two) => {
                if self.streams[&stream].nth.is_some_and(|nth| nth % 2 == of_two) {
                    self.run_all_of(stream);
                }
            }
            Run::Coin(state) => {
                // A linear congruential generator (Knuth's MMIX): its high bits choose a stream and how much of it runs.
                let state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                self.options.run = Run::Coin(state);
                let chosen = (state >> 40) as usize % self.streams.len();
                let (&stream, queue) = self.streams.iter().nth(chosen).expect("fewer than all");
                let part = (state >> 33) % (queue.issued - queue.done + 1);
                let until = queue.done + part;
                self.run(stream, until);
            }
        }
        Ok(())
    }

    pub(super) fn run_all_of(&mut self, stream: u64) {
        self.run(stream, u64::MAX);
    }

    /// Runs all work of a context.
    pub(super) fn drain(&mut self, context: u64) {
        let streams: Vec<u64> =
            self.streams.iter().filter(|(_, s)| s.context == context).map(|(&stream, _)| stream).collect();
        streams.into_iter().for_each(|stream| self.run_all_of(stream));
    }

    /// Runs a stream's work until so much of it is done.
    fn run(&mut self, stream: u64, until: u64) {
        while let Some(queue) = self.streams.get_mut(&stream).filter(|queue| queue.done < until) {
            let Some(op) = queue.queue.pop_front() else { return };
            queue.done += 1;
            let (context, done) = (queue.context, queue.done);
            match op {
                Op::Work(work) => self.execute(context, &work),
                Op::Graph(nodes) => nodes.iter().for_each(|work| self.execute(context, work)),
                Op::Wait { stream, until } => self.run(stream, until),
                Op::Record(event) => {
                    if let Some(event) = self.events.get_mut(&event) {
                        // An event that was recorded anew since has no time yet.
                        if event.recorded.is_none_or(|(at, issued)| (at, issued) == (stream, done) || issued < done) {
                            event.time = Some(Instant::now());
                        }
                    }
                }
                Op::Nothing => {}
            }
        }
    }

    pub(super) fn pending_work_refers_to(&self, id: u64) -> bool {
        let refers = |work: &Work| work.references.iter().any(|reference| reference.id == id);
        self.streams.values().flat_map(|stream| &stream.queue).any(|op| match op {
            Op::Work(work) => refers(work),
            Op::Graph(nodes) => nodes.iter().any(refers),
            _ => false,
        })
    }

    /// Does one operation, unless the context is unusable; it is if this fails.
    fn execute(&mut self, context: u64, work: &Work) {
        if let Ok(ordinal) = self.usable(context)
            && let Err((code, text)) = self.attempt(ordinal, work)
        {
            crate::note(&text);
            self.break_context(context, code);
        }
    }

    fn attempt(&mut self, ordinal: usize, work: &Work) -> std::result::Result<(), (Code, String)> {
        if !work.references.iter().all(|reference| self.is_alive(reference)) {
            return Err((Code::ERROR_ILLEGAL_ADDRESS, "work refers to memory that was freed".into()));
        }
        let illegal = |e: kernel_emulator::Error| (Code::ERROR_ILLEGAL_ADDRESS, e.to_string());
        let options = &self.options.emulator;
        let (memory, host) = (&mut self.devices[ordinal].memory, &mut self.host);
        match &work.action {
            Action::Launch { kernel, grid, block, shared_bytes, arguments, .. } => {
                let launch = Launch { kernel, grid: *grid, block: *block, shared_bytes: *shared_bytes, arguments };
                memory.launch(&launch, options).map_err(|e| {
                    let text = format!("kernel {kernel}: {e}");
                    let is_misaligned = text.contains("misaligned") || text.contains("aligned to");
                    (if is_misaligned { Code::ERROR_MISALIGNED_ADDRESS } else { Code::ERROR_LAUNCH_FAILED }, text)
                })
            }
            &Action::Fill { address, bytes, value } => {
                memory.bytes_at(address, bytes).map_err(illegal)?.fill(value);
                Ok(())
            }
            &Action::Copy { to, from, bytes } => {
                let source = memory.bytes_at(from, bytes).map_err(illegal)?.to_vec();
                memory.bytes_at(to, bytes).map_err(illegal)?.copy_from_slice(&source);
                Ok(())
            }
            Action::Upload { to, from, bytes } => {
                let source = match from {
                    Host::Pinned(address) => &*host.bytes_at(*address, *bytes).map_err(illegal)?,
                    Host::Copied(bytes) => bytes,
                };
                memory.bytes_at(*to, *bytes).map_err(illegal)?.copy_from_slice(source);
                Ok(())
            }
            &Action::Download { to, from, bytes } => {
                let source = memory.bytes_at(from, bytes).map_err(illegal)?;
                host.bytes_at(to, bytes).map_err(illegal)?.copy_from_slice(source);
                Ok(())
            }
            Action::Fault(code, text) => Err((*code, text.clone())),
        }
    }
}
