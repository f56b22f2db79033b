//! Branches: their targets, and where the lanes that take them meet the others again.

use crate::program::{Instruction, Op};

/// Stands for the end of the kernel.
pub(crate) const END: u32 = u32::MAX;

/// Turns the targets of branches, which are statements, into instructions, and gives each the immediate post-dominator of
/// its block: the first instruction that all ways from the branch to the end pass.
pub(super) fn finish(instructions: &mut [Instruction], starts: &[u32]) {
    for instruction in instructions.iter_mut() {
        if let Op::Branch { target, .. } = &mut instruction.op {
            *target = starts[*target as usize];
        }
    }
    let graph = Graph::new(instructions);
    let meets = graph.post_dominators();
    for (block, &meet) in meets.iter().enumerate() {
        let last = graph.end(block) - 1;
        if let Op::Branch { reconverge, .. } = &mut instructions[last].op {
            *reconverge = if meet == graph.firsts.len() { END } else { graph.firsts[meet] as u32 };
        }
    }
}

/// Blocks of instructions that run one after the other, and their successors. Block number `firsts.len()` is the end.
struct Graph {
    firsts: Vec<usize>,
    instructions: usize,
    successors: Vec<Vec<usize>>,
}

impl Graph {
    fn new(instructions: &[Instruction]) -> Graph {
        let mut leads = vec![false; instructions.len() + 1];
        leads[0] = true;
        for (i, instruction) in instructions.iter().enumerate() {
            match instruction.op {
                Op::Branch { target, .. } => {
                    leads[target as usize] = true;
                    leads[i + 1] = true;
                }
                Op::Return | Op::Trap => leads[i + 1] = true,
                _ => {}
            }
        }
        let firsts: Vec<usize> = (0..instructions.len()).filter(|&i| leads[i]).collect();
        let mut block_of = vec![firsts.len(); instructions.len() + 1];
        for (block, &first) in firsts.iter().enumerate() {
            let end = firsts.get(block + 1).copied().unwrap_or(instructions.len());
            block_of[first..end].fill(block);
        }
        let successors = (0..firsts.len()).map(|block| {
            let last = firsts.get(block + 1).copied().unwrap_or(instructions.len()) - 1;
            let next = block_of[last + 1];
            let instruction = &instructions[last];
            let mut successors = match instruction.op {
                Op::Branch { target, .. } => vec![block_of[target as usize]],
                Op::Return | Op::Trap => vec![firsts.len()],
                _ => vec![next],
            };
            if instruction.guard.is_some() {
                successors.push(next);
            }
            successors
        });
        let successors = successors.collect();
        Graph { firsts, instructions: instructions.len(), successors }
    }

    fn end(&self, block: usize) -> usize {
        self.firsts.get(block + 1).copied().unwrap_or(self.instructions)
    }

    /// The immediate post-dominator of each block (Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm", on
    /// the graph turned round). Blocks from which no way leads to the end meet there.
    fn post_dominators(&self) -> Vec<usize> {
        let end = self.firsts.len();
        let mut predecessors = vec![Vec::new(); end + 1];
        for (block, successors) in self.successors.iter().enumerate() {
            for &successor in successors {
                predecessors[successor].push(block);
            }
        }
        let order = finishing_order(end, &predecessors);
        let mut number = vec![usize::MAX; end + 1];
        for (i, &block) in order.iter().enumerate() {
            number[block] = i;
        }
        let mut meets = vec![usize::MAX; end + 1];
        meets[end] = end;
        let mut changed = true;
        while changed {
            changed = false;
            for &block in order.iter().rev().skip(1) {
                let mut meet = usize::MAX;
                for &successor in &self.successors[block] {
                    if meets[successor] == usize::MAX {
                        continue;
                    }
                    meet = if meet == usize::MAX { successor } else { common(meet, successor, &meets, &number) };
                }
                if meets[block] != meet {
                    meets[block] = meet;
                    changed = true;
                }
            }
        }
        meets.truncate(end);
        meets.iter().map(|&meet| if meet == usize::MAX { end } else { meet }).collect()
    }
}

/// Nodes in the order in which a depth-first search from `root` leaves them.
fn finishing_order(root: usize, edges: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; edges.len()];
    let mut stack = vec![(root, 0)];
    seen[root] = true;
    while let Some((node, next)) = stack.last_mut() {
        if let Some(&to) = edges[*node].get(*next) {
            *next += 1;
            if !seen[to] {
                seen[to] = true;
                stack.push((to, 0));
            }
        } else {
            order.push(*node);
            stack.pop();
        }
    }
    order
}

fn common(a: usize, b: usize, meets: &[usize], number: &[usize]) -> usize {
    let (mut a, mut b) = (a, b);
    while a != b {
        while number[a] < number[b] {
            a = meets[a];
        }
        while number[b] < number[a] {
            b = meets[b];
        }
    }
    a
}
