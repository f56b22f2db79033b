//! Ranks that MPI connects.
//!
//! No rank waits for ever on one that does not live any more. A process that dies is noticed by its launcher, which ends the
//! others; one that is stopped, or whose machine stands still, by its neighbour: a thread of every rank sends a sign of life
//! to the next one each second, also while the rank computes, draws samples or writes. Silence beyond the limit ends the job.
//! Time in which the listener itself stood still does not count, so a job that is suspended as a whole goes on afterwards.
//! A computation that does not return is not noticed, as the thread that sends the signs lives on.

use super::Ranks;
use super::launcher::Launched;
use super::link::Link;
use crate::{Error, Result};
use ::mpi::environment::{self, Universe};
use ::mpi::request::{Request, scope};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::*;
use ::mpi::{Tag, Threading};
use std::env;
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes of a message: MPI counts them in 31 bits.
const MESSAGE_BYTES: usize = 1 << 24;
/// Tag of the messages of [`Link::exchange`].
const DATA: Tag = 1;
/// Tag of the signs of life.
const LIFE: Tag = 2;
/// Pause between two looks for a sign of life.
const TICK: Duration = Duration::from_millis(50);
/// Looks from one sign to the next that is sent.
const TICKS_PER_SIGN: u32 = 20;
/// Seconds of silence after which the job is ended, and the variable that sets others.
const LIMIT_S: u32 = 20;
const LIMIT: &str = "DDPM_RANK_LIMIT_S";
/// Time that MPI has to connect the processes, before there are signs of life.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Time between the last line and the end of the job.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Exit code of a job that hung.
const HUNG: u8 = 1;
/// Looks for a message without a pause, while it is likely to come soon, and the pause afterwards.
const EAGER_LOOKS: u32 = 10_000;
const PAUSE: Duration = Duration::from_micros(50);

/// Signs of life: one more, and the last.
const ALIVE: u8 = 1;
const LAST: u8 = 2;

struct Mpi {
    world: SimpleCommunicator,
    ended: Arc<AtomicBool>,
    watch: Option<JoinHandle<()>>,
    /// Ends MPI when it is dropped, last of all.
    _universe: Universe,
}

/// Connects the ranks of the world.
///
/// # Errors
/// A world that is not as large as the launcher says, or an MPI that cannot serve several threads.
pub fn open(launched: Option<Launched>, report: fn(&str)) -> Result<Ranks> {
    let wrong = |text: String| Err(Error::Config(text));
    let (connected, is_connected) = mpsc::channel::<()>();
    thread::spawn(move || {
        if is_connected.recv_timeout(START_LIMIT) == Err(RecvTimeoutError::Timeout) {
            let seconds = START_LIMIT.as_secs();
            report(&format!("MPI has not connected the processes of this job within {seconds} s; the job ends"));
            process::exit(HUNG.into());
        }
    });
    let Some((universe, threading)) = environment::initialize_with_threading(Threading::Multiple) else {
        return wrong("MPI is in use already".into());
    };
    drop(connected);
    let world = universe.world();
    let (rank, size) = (world.rank(), world.size() as usize);
    let library = environment::library_version().unwrap_or_default();
    let library = library.lines().next().unwrap_or_default().trim_end_matches(['\0', ',']).trim().to_owned();
    if let Some(launched) = launched.filter(|launched| launched.size != size) {
        return wrong(format!(
            "{launched}, but MPI connects {size}: this program was built for {library}; start it with the mpirun of that, \
             or build it with the launcher's mpicc (MPICC=mpicc.mpich cargo build --release --features mpi)"
        ));
    }
    if size > 1 && threading < Threading::Multiple {
        return wrong(format!("{library} serves one thread at a time: wanted MPI_THREAD_MULTIPLE"));
    }
    let ended = Arc::new(AtomicBool::new(false));
    let watch = (size > 1).then(|| {
        let life = Life { rank, size: size as i32, limit: limit(), ended: ended.clone(), report };
        thread::spawn(move || life.watch())
    });
    Ranks::new(Rc::new(Mpi { world, ended, watch, _universe: universe }))
}

/// Looks without a sign of life after which the job is ended.
fn limit() -> u32 {
    let seconds = env::var(LIMIT).ok().and_then(|text| text.parse().ok()).unwrap_or(LIMIT_S);
    seconds.max(2).saturating_mul(TICKS_PER_SIGN)
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn host(&self) -> String {
        environment::processor_name().unwrap_or_default()
    }

    fn exchange(&self, partner: usize, send: &[u8], receive: &mut [u8]) -> Result<()> {
        let process = self.world.process_at_rank(partner as i32);
        let mut sends = send.chunks(MESSAGE_BYTES);
        let mut receives = receive.chunks_mut(MESSAGE_BYTES);
        loop {
            let (send, receive) = (sends.next(), receives.next());
            if send.is_none() && receive.is_none() {
                return Ok(());
            }
            scope(|scope| {
                let receive = receive.map(|bytes| process.immediate_receive_into_with_tag(scope, bytes, DATA));
                let send = send.map(|bytes| process.immediate_send_with_tag(scope, bytes, DATA));
                [receive, send].into_iter().flatten().for_each(complete);
            });
        }
    }

    fn abort(&self, code: u8) -> ! {
        abort(&self.world, code)
    }
}

/// Ends the job, once its launcher has had the time to pass on what was printed: that of MPICH drops what it has not read.
fn abort(world: &SimpleCommunicator, code: u8) -> ! {
    thread::sleep(LAST_WORDS);
    world.abort(code.into())
}

/// Waits for the end of a request, and leaves the core to others meanwhile: there may be more ranks than cores.
fn complete<'a>(mut request: Request<'a, [u8], &::mpi::request::LocalScope<'a>>) {
    for looks in 0u32.. {
        match request.test() {
            Ok(_) => return,
            Err(pending) => request = pending,
        }
        if looks < EAGER_LOOKS { thread::yield_now() } else { thread::sleep(PAUSE) }
    }
}

impl Drop for Mpi {
    /// Ends MPI together with the others. Not after a panic: the others would wait.
    fn drop(&mut self) {
        if thread::panicking() {
            abort(&self.world, HUNG);
        }
        self.ended.store(true, Ordering::Relaxed);
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
    }
}

/// The thread that sends signs of life to the next rank, and waits for those of the previous one.
struct Life {
    rank: i32,
    size: i32,
    limit: u32,
    ended: Arc<AtomicBool>,
    report: fn(&str),
}

impl Life {
    fn watch(&self) {
        let world = SimpleCommunicator::world();
        let next = world.process_at_rank((self.rank + 1) % self.size);
        let previous = (self.rank + self.size - 1) % self.size;
        let from = world.process_at_rank(previous);
        let (mut tick, mut silence, mut said_last, mut heard_last) = (0u32, 0, false, false);
        while !(said_last && heard_last) {
            let ends = self.ended.load(Ordering::Relaxed);
            if !said_last && (ends || tick.is_multiple_of(TICKS_PER_SIGN)) {
                next.send_with_tag(&[if ends { LAST } else { ALIVE }][..], LIFE);
                said_last = ends;
            }
            while !heard_last && from.immediate_probe_with_tag(LIFE).is_some() {
                let mut sign = [0];
                from.receive_into_with_tag(&mut sign[..], LIFE);
                heard_last = sign == [LAST];
                silence = 0;
            }
            if !heard_last && silence > self.limit {
                let seconds = self.limit / TICKS_PER_SIGN;
                (self.report)(&format!(
                    "rank {previous} gave no sign of life for {seconds} s ({LIMIT} sets another limit); the job ends"
                ));
                abort(&world, HUNG);
            }
            thread::sleep(TICK);
            tick = tick.wrapping_add(1);
            silence += 1;
        }
    }
}
