//! Ranks that are threads of one process, for tests: the messages go through channels.

use super::{Link, Ranks};
use crate::{Error, Result};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// The link of one thread.
pub struct Threads {
    rank: usize,
    /// To and from every rank.
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

/// The links of so many threads.
pub fn links(size: usize) -> Vec<Threads> {
    let mut links: Vec<Threads> = (0..size).map(|rank| Threads { rank, to: vec![], from: vec![] }).collect();
    for from in 0..size {
        for to in 0..size {
            let (sender, receiver) = channel();
            links[from].to.push(sender);
            links[to].from.push(receiver);
        }
    }
    links
}

/// Runs something on so many ranks, and returns their results in order.
pub fn on_ranks<T: Send>(size: usize, run: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let run = &run;
    thread::scope(|scope| {
        let start = |link: Threads| scope.spawn(move || run(Ranks::new(Rc::new(link)).unwrap()));
        let threads: Vec<_> = links(size).into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

impl Link for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn host(&self) -> String {
        format!("machine-{}", self.rank / 2)
    }

    fn exchange(&self, partner: usize, send: &[u8], receive: &mut [u8]) -> Result<()> {
        let gone = || Error::Config(format!("rank {partner} is gone"));
        if !send.is_empty() {
            self.to[partner].send(send.to_vec()).map_err(|_| gone())?;
        }
        if !receive.is_empty() {
            receive.copy_from_slice(&self.from[partner].recv().map_err(|_| gone())?);
        }
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        panic!("rank {} ends the job with code {code}", self.rank)
    }
}
