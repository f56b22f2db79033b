use crate::ch14_gap::gap;
use ddpm::engine::device::{Backend, Capability};
use ddpm::engine::tensor::DType;
use ddpm::profile::{Machine, Profile, Step};
use ddpm::train::presets;

fn profile(preset: &str, batch: usize, conv_tflops: f64) -> Profile {
    let mut config = presets::get(preset).unwrap();
    config.train.batch_size = batch;
    let step = Step::plan(&config, Backend::Gpu(Capability::Hopper), DType::Bf16).unwrap();
    Profile::new(step, Machine::model("h200", conv_tflops).unwrap())
}

#[test]
fn the_parts_add_up_to_what_is_expected() {
    for (preset, batch, conv_tflops) in [("quickstart", 32, 550.0), ("unet64", 32, 450.0), ("mnist-123", 128, 700.0)] {
        let profile = profile(preset, batch, conv_tflops);
        let (total, gap) = (profile.total(), gap(&profile.step.work, &profile.machine));
        let sum = total.floor_us + gap.launches_us + gap.products_us + gap.bytes_us;
        assert!((sum - total.predicted_us).abs() <= 1e-6 * sum, "{preset}: {sum} us, not {}", total.predicted_us);
        assert_eq!(gap.launches_us, total.launches as f64 * profile.machine.rates.launch_us, "{preset}");
    }
}

#[test]
fn faster_products_leave_the_rest_of_the_gap_as_it_is() {
    let [slow, fast] = [450.0, 700.0].map(|tflops| {
        let profile = profile("unet64", 32, tflops);
        gap(&profile.step.work, &profile.machine)
    });
    assert!(slow.products_us > 2.0 * fast.products_us, "{slow:?} {fast:?}");
    assert_eq!(slow.launches_us, fast.launches_us);
}

/// The table of the chapter, in milliseconds.
#[test]
fn the_numbers_are_those_of_the_page() {
    let profile = profile("ddpm-cifar10", 128, 550.0);
    let gap = gap(&profile.step.work, &profile.machine);
    let parts = [profile.total().floor_us, gap.products_us, gap.bytes_us, gap.launches_us];
    let page = include_str!("../../../14-a-step.md");
    for us in parts.into_iter().chain([profile.total().predicted_us]) {
        let cell = format!("| {:.2} |", us / 1e3);
        assert!(page.contains(&cell), "the table has no {cell}");
    }
}
