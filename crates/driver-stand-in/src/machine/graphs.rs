//! Captures, and the graphs that they make.

use super::Machine;
use super::queues::{Action, Op, Work};
use crate::codes::{Code, Result};
use std::sync::Arc;
use std::thread::{self, ThreadId};

/// A stream's capture that is under way.
pub struct Capture {
    mode: Mode,
    thread: ThreadId,
    pub nodes: Vec<Work>,
    /// A call that a capture does not allow has ended it, but for `cuStreamEndCapture`.
    pub is_invalid: bool,
}

/// Which threads may make calls that could break a capture: none, others, all.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

/// A graph that can be launched.
pub struct Executable {
    pub context: u64,
    nodes: Arc<[Work]>,
}

impl Machine {
    pub fn begin_capture(&mut self, stream: u64, mode: u32) -> Result<()> {
        let (stream, context) = self.stream(stream)?;
        let mode = match mode {
            0 => Mode::Global,
            1 => Mode::ThreadLocal,
            2 => Mode::Relaxed,
            _ => return Err(Code::ERROR_INVALID_VALUE),
        };
        if stream == context {
            return Err(Code::ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        let queue = self.streams.get_mut(&stream).expect("found above");
        if queue.capture.is_some() {
            return Err(Code::ERROR_ILLEGAL_STATE);
        }
        queue.capture = Some(Capture { mode, thread: thread::current().id(), nodes: Vec::new(), is_invalid: false });
        Ok(())
    }

    /// Ends a capture, also one that a call has made invalid.
    pub fn end_capture(&mut self, stream: u64) -> Result<u64> {
        let queue = self.streams.get_mut(&stream).ok_or(Code::ERROR_INVALID_HANDLE)?;
        let capture = queue.capture.as_ref().ok_or(Code::ERROR_ILLEGAL_STATE)?;
        if capture.mode != Mode::Relaxed && capture.thread != thread::current().id() {
            return Err(Code::ERROR_STREAM_CAPTURE_WRONG_THREAD);
        }
        let context = queue.context;
        let capture = queue.capture.take().expect("seen above");
        self.usable(context)?;
        if capture.is_invalid {
            return Err(Code::ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        let handle = self.handle();
        self.graphs.insert(handle, capture.nodes.into());
        Ok(handle)
    }

    pub(super) fn is_capturing(&self, stream: u64) -> bool {
        self.streams[&stream].capture.is_some()
    }

    /// Refuses a call that a stream's capture does not allow of it.
    pub(super) fn not_captured(&mut self, stream: u64) -> Result<()> {
        match self.is_capturing(stream) {
            true => Err(self.invalidate(stream, Code::ERROR_STREAM_CAPTURE_UNSUPPORTED)),
            false => Ok(()),
        }
    }

    pub(super) fn invalidate(&mut self, stream: u64, code: Code) -> Code {
        if let Some(capture) = self.streams.get_mut(&stream).and_then(|queue| queue.capture.as_mut()) {
            capture.is_invalid = true;
        }
        code
    }

    /// Refuses a call that could break a capture, as the capture's mode says, and makes that capture invalid.
    pub(super) fn not_in_a_capture(&mut self) -> Result<()> {
        let thread = thread::current().id();
        let mut refused = false;
        for capture in self.streams.values_mut().filter_map(|stream| stream.capture.as_mut()) {
            if capture.mode == Mode::Global || capture.mode == Mode::ThreadLocal && capture.thread == thread {
                capture.is_invalid = true;
                refused = true;
            }
        }
        if refused { Err(Code::ERROR_STREAM_CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }

    pub fn instantiate(&mut self, graph: u64, flags: u64) -> Result<u64> {
        let context = self.current()?;
        let nodes = self.graphs.get(&graph).ok_or(Code::ERROR_INVALID_VALUE)?.clone();
        if flags != 0 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let handle = self.handle();
        self.executables.insert(handle, Executable { context, nodes });
        Ok(handle)
    }

    pub fn destroy_graph(&mut self, graph: u64) -> Result<()> {
        self.graphs.remove(&graph).map(drop).ok_or(Code::ERROR_INVALID_VALUE)
    }

    /// Destroys an executable graph; launches of it that are under way go on.
    pub fn destroy_executable(&mut self, executable: u64) -> Result<()> {
        let context = self.executables.remove(&executable).ok_or(Code::ERROR_INVALID_VALUE)?.context;
        self.usable(context).map(drop)
    }

    fn executable(&self, executable: u64, stream: u64) -> Result<(u64, Arc<[Work]>)> {
        let (stream, context) = self.stream(stream)?;
        let found = self.executables.get(&executable).ok_or(Code::ERROR_INVALID_VALUE)?;
        if found.context != context {
            return Err(Code::ERROR_INVALID_CONTEXT);
        }
        Ok((stream, found.nodes.clone()))
    }

    pub fn upload_graph(&mut self, executable: u64, stream: u64) -> Result<()> {
        let (stream, _) = self.executable(executable, stream)?;
        self.not_captured(stream)
    }

    pub fn launch_graph(&mut self, executable: u64, stream: u64) -> Result<()> {
        let (stream, nodes) = self.executable(executable, stream)?;
        let is_loaded = |work: &Work| match work.action {
            Action::Launch { function, .. } => self.functions.contains_key(&function),
            _ => true,
        };
        if !nodes.iter().all(is_loaded) {
            crate::fatal("a graph is launched whose kernel's module was unloaded");
        }
        if !nodes.iter().flat_map(|work| &work.references).all(|reference| self.is_alive(reference)) {
            crate::fatal("a graph is launched that refers to memory which was freed");
        }
        self.enqueue(stream, Op::Graph(nodes))
    }
}
