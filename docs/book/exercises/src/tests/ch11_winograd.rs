use crate::ch11_winograd::{filter, two_pixels};
use std::cell::Cell;
use std::ops::{Add, Mul, Sub};

thread_local!(static MULTIPLICATIONS: Cell<usize> = const { Cell::new(0) });

/// A number that counts its multiplications.
#[derive(Clone, Copy)]
struct Counted(f64);

impl Add for Counted {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Counted {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Mul for Counted {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        MULTIPLICATIONS.set(MULTIPLICATIONS.get() + 1);
        Self(self.0 * other.0)
    }
}

#[test]
fn two_pixels_are_those_of_the_definition_for_four_multiplications() {
    for seed in 0..50 {
        let number = |i: usize| ((seed * 97 + i * 61) % 113) as f64 / 16.0 - 3.5;
        let (g, d): ([f64; 3], [f64; 4]) = (std::array::from_fn(number), std::array::from_fn(|i| number(i + 3)));
        MULTIPLICATIONS.set(0);
        let y = two_pixels(d.map(Counted), filter(g).map(Counted));
        assert_eq!(MULTIPLICATIONS.get(), 4);
        for (i, y) in y.iter().enumerate() {
            let want: f64 = (0..3).map(|tap| d[i + tap] * g[tap]).sum();
            assert!((y.0 - want).abs() <= 1e-12 * (1.0 + want.abs()), "pixel {i}: {} not {want}", y.0);
        }
    }
}

/// The same four products work along a whole line, two pixels at a time.
#[test]
fn a_line_is_made_of_such_pairs() {
    let (line, g) = ((0..34).map(|i| f64::from(i * i % 23)).collect::<Vec<_>>(), [0.5, -2.0, 1.25]);
    let transformed = filter(g);
    for (pair, d) in line.windows(4).step_by(2).enumerate() {
        let y = two_pixels([d[0], d[1], d[2], d[3]], transformed);
        for (i, y) in y.into_iter().enumerate() {
            let want: f64 = line[2 * pair + i..].iter().zip(g).map(|(d, g)| d * g).sum();
            assert!((y - want).abs() < 1e-12, "pixel {}", 2 * pair + i);
        }
    }
}
