use crate::ch8_softplus::softplus;
use ddpm::engine::ops::check::{Check, IMAGES, Input};

/// On the CPU, and on the emulator with your kernels, in f32 and bf16, in several schedules.
#[test]
fn value_and_gradient_are_those_of_the_definition() {
    for dims in IMAGES {
        let inputs = [Input::activation(&dims).scaled(3.0)];
        Check::default().run(
            &inputs,
            |tape, x| softplus(tape, x[0]),
            |x| x[0].iter().map(|x| x.exp().ln_1p()).collect(),
        );
    }
}

/// 100 is not infinity, and -100 gives 0.
#[test]
fn large_values_do_not_overflow() {
    let value = |i: usize| [100.0, -100.0, 89.5, -0.5][i % 4];
    let inputs = [Input::activation(&[2, 4, 4, 8]).filled(value)];
    let definition = |x: &f64| if *x > 50.0 { *x } else { x.exp().ln_1p() };
    Check::default().run(&inputs, |tape, x| softplus(tape, x[0]), |x| x[0].iter().map(definition).collect());
}
