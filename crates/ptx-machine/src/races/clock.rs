//! Vector clocks: how much of every actor's past is known to be over.
//!
//! Actors are the warps of a cluster, and what runs beside them: a warp's copies, its products, a lane's tensor stores, the
//! tensor loads of one transaction barrier. An actor counts its time by itself: a warp at each release, copies, products
//! and stores by groups, loads by phases.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The clocks of other clusters, as far as they have been released to this one.
pub(super) type Blocks = BTreeMap<u32, Arc<[u32]>>;

/// How much is known: an access of an actor at a time is over if the actor's entry has come to that time.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    all: Vec<u32>,
    /// The part that a proxy fence has made visible to tensor copies and products.
    fenced: Vec<u32>,
    pub blocks: Option<Arc<Blocks>>,
}

impl Clock {
    #[inline(always)]
    pub fn knows(&self, actor: u32, time: u32) -> bool {
        self.all.get(actor as usize).is_some_and(|known| time <= *known)
    }

    pub fn knows_fenced(&self, actor: u32, time: u32) -> bool {
        self.fenced.get(actor as usize).is_some_and(|known| time <= *known)
    }

    /// The same for an access of another cluster.
    pub fn knows_of(&self, cluster: u32, actor: u32, time: u32) -> bool {
        let clock = self.blocks.as_ref().and_then(|blocks| blocks.get(&cluster));
        clock.and_then(|clock| clock.get(actor as usize)).is_some_and(|known| time <= *known)
    }

    pub fn time(&self, actor: u32) -> u32 {
        self.all.get(actor as usize).copied().unwrap_or(0)
    }

    pub fn raise(&mut self, actor: u32, time: u32) {
        raise(&mut self.all, actor as usize, time);
    }

    /// A proxy fence: everything that is known is now visible to tensor copies and products.
    pub fn fence(&mut self) {
        join(&mut self.fenced, &self.all);
    }

    pub fn join(&mut self, other: &Clock) {
        join(&mut self.all, &other.all);
        join(&mut self.fenced, &other.fenced);
        self.join_blocks(other.blocks.as_ref());
    }

    pub fn join_blocks(&mut self, other: Option<&Arc<Blocks>>) {
        let Some(other) = other else { return };
        match &mut self.blocks {
            Some(own) if Arc::ptr_eq(own, other) => {}
            Some(own) => {
                for (cluster, clock) in other.iter() {
                    merge(own, *cluster, clock);
                }
            }
            none => *none = Some(other.clone()),
        }
    }

    /// Adds what is known within a cluster to what others may know of it.
    pub fn publish(&mut self, cluster: u32, clock: &Clock) {
        let own = self.blocks.get_or_insert_default();
        merge(own, cluster, &clock.all.as_slice().into());
    }
}

fn merge(blocks: &mut Arc<Blocks>, cluster: u32, clock: &Arc<[u32]>) {
    match blocks.get(&cluster) {
        Some(known) if Arc::ptr_eq(known, clock) => {}
        Some(known) => {
            let mut both = known.to_vec();
            join(&mut both, clock);
            if both[..] != known[..] {
                Arc::make_mut(blocks).insert(cluster, both.into());
            }
        }
        None => {
            Arc::make_mut(blocks).insert(cluster, clock.clone());
        }
    }
}

fn raise(clock: &mut Vec<u32>, actor: usize, time: u32) {
    if clock.len() <= actor {
        clock.resize(actor + 1, 0);
    }
    clock[actor] = clock[actor].max(time);
}

fn join(clock: &mut Vec<u32>, other: &[u32]) {
    if clock.len() < other.len() {
        clock.resize(other.len(), 0);
    }
    for (known, other) in clock.iter_mut().zip(other) {
        *known = (*known).max(*other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_knows_what_either_knew_and_a_fence_all_of_it() {
        let (mut a, mut b) = (Clock::default(), Clock::default());
        a.raise(0, 3);
        b.raise(5, 2);
        b.fence();
        a.join(&b);
        assert!(a.knows(0, 3) && !a.knows(0, 4) && a.knows(5, 2) && !a.knows(6, 1));
        assert!(!a.knows_fenced(0, 3) && a.knows_fenced(5, 2));
        a.fence();
        assert!(a.knows_fenced(0, 3));
    }

    #[test]
    fn what_is_published_is_known_to_those_that_join_it() {
        let (mut own, mut place, mut other) = (Clock::default(), Clock::default(), Clock::default());
        own.raise(1, 7);
        place.publish(4, &own);
        assert!(!other.knows_of(4, 1, 7));
        other.join_blocks(place.blocks.as_ref());
        assert!(other.knows_of(4, 1, 7) && !other.knows_of(4, 1, 8) && !other.knows_of(3, 1, 1));
        own.raise(2, 1);
        place.publish(4, &own);
        other.join_blocks(place.blocks.as_ref());
        assert!(other.knows_of(4, 1, 7) && other.knows_of(4, 2, 1));
    }
}
