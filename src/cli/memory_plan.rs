//! The picture of a memory plan: a box for each intermediate of a training step, as wide as it lives and as high as it is
//! large, at its place in the arena.

use crate::engine::tape::Lifetime;
use crate::report::Plot;
use crate::train::memory::ArenaPlan;

const MB: f64 = 1e6;

/// Draws a plan over the nodes of the step.
pub fn plot(arena: &ArenaPlan) -> Plot {
    let ArenaPlan { plan, forward_nodes } = arena;
    let forward_nodes = *forward_nodes;
    let title = format!(
        "{} tensors of {:.1} MB in an arena of {:.1} MB; at most {:.1} MB are alive at once",
        plan.places().count(),
        plan.places().map(|(life, _)| life.bytes).sum::<u64>() as f64 / MB,
        plan.bytes as f64 / MB,
        plan.lower_bound_bytes as f64 / MB
    );
    let boxes = |kind: fn(Lifetime, usize) -> bool| {
        let of_kind = plan.places().filter(|&(life, _)| kind(life, forward_nodes));
        of_kind.map(|(life, offset)| corners(life, offset)).collect()
    };
    let alive =
        (0..).zip(plan.alive_bytes()).map(|(node, bytes): (u32, u64)| [f64::from(node) + 0.5, bytes as f64 / MB]);
    let turn = forward_nodes as f64;
    Plot::new(&title, "node of the step", "place in the arena, MB")
        .boxes("forward only", boxes(|life, turn| life.last < turn))
        .boxes("kept for the reverse pass", boxes(|life, turn| life.first < turn && life.last >= turn))
        .boxes("made by the reverse pass", boxes(|life, turn| life.first >= turn))
        .dashed_line("the reverse pass begins", vec![[turn, 0.0], [turn, plan.bytes as f64 / MB]])
        .line("alive", alive.collect())
}

/// `[x0, y0, x1, y1]` of an intermediate.
fn corners(life: Lifetime, offset: u64) -> [f64; 4] {
    let top = (offset + life.bytes) as f64 / MB;
    [life.first as f64, offset as f64 / MB, (life.last + 1) as f64, top]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tape::Backend;
    use crate::engine::tensor::DType;
    use crate::train::memory::TrainingMemory;
    use crate::train::model_file::network;
    use crate::train::presets;

    #[test]
    fn a_box_for_each_intermediate() {
        let config = presets::get("quickstart").unwrap();
        let (network, params) = network(&config).unwrap();
        let memory = TrainingMemory::of(&config, (&network, &params), (Backend::Cpu, DType::F32)).unwrap();
        let svg = plot(&memory.arena).svg();
        let drawn: usize =
            svg.lines().filter(|line| line.contains("class=\"boxes\"")).map(|l| l.matches('Z').count()).sum();
        assert_eq!(drawn, memory.arena.plan.places().count());
        assert!(svg.contains(&format!("{drawn} tensors of ")), "{svg}");
        for kind in ["forward only", "kept for the reverse pass", "made by the reverse pass"] {
            assert!(svg.contains(&format!(">{kind}</text>")), "{kind}");
        }
    }
}
