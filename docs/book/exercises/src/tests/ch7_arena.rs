use crate::ch7_arena::{most_alive, offsets};
use ddpm::engine::tape::{Backend, Lifetime, Plan};
use ddpm::engine::tensor::DType;
use ddpm::train::memory::TrainingMemory;
use ddpm::train::{model_file, presets};

/// The program's own plan of a training step.
fn plan(preset: &str) -> Plan {
    let config = presets::get(preset).unwrap();
    let (network, params) = model_file::network(&config).unwrap();
    TrainingMemory::of(&config, (&network, &params), (Backend::Cpu, DType::F32)).unwrap().arena.plan
}

fn lives(plan: &Plan) -> Vec<Lifetime> {
    plan.places().map(|(life, _)| life).collect()
}

#[test]
fn most_alive_is_the_programs_lower_bound() {
    for preset in ["points-2d", "quickstart", "mnist-dm1"] {
        let plan = plan(preset);
        assert_eq!(most_alive(&lives(&plan)), plan.lower_bound_bytes, "{preset}");
    }
}

#[test]
fn no_two_overlap_and_the_arena_is_small() {
    for preset in ["points-2d", "quickstart", "mnist-dm1"] {
        let plan = plan(preset);
        let lives = lives(&plan);
        let offsets = offsets(&lives);
        assert_eq!(offsets.len(), lives.len(), "{preset}: an offset for each");
        let end = |i: usize| offsets[i] + lives[i].bytes;
        for (i, a) in lives.iter().enumerate() {
            for (j, b) in lives.iter().enumerate().skip(i + 1) {
                let meet = a.first <= b.last && b.first <= a.last;
                assert!(!meet || end(i) <= offsets[j] || end(j) <= offsets[i], "{preset}: tensors {i} and {j} overlap");
            }
        }
        let arena = (0..lives.len()).map(end).max().unwrap();
        assert!(
            10 * arena <= 11 * plan.lower_bound_bytes,
            "{preset}: {arena} bytes, at most {} are alive",
            plan.lower_bound_bytes
        );
    }
}
