use crate::ch17_tree::sum;

/// Numbers whose sum depends on the order.
fn shards(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + seed * 1009) as f32).sin() * 10f32.powi(((i * 5 + seed) % 7) as i32)).collect()
}

/// The sum of the shards of as many ranks.
fn on_ranks(shards: &[f32], ranks: usize) -> f32 {
    sum(&shards.chunks(shards.len() / ranks).map(<[f32]>::to_vec).collect::<Vec<_>>())
}

#[test]
fn any_number_of_ranks_has_the_bits_of_the_tree() {
    let (mut others, seeds) = (0, 200);
    for seed in 0..seeds {
        let shards = shards(8, seed);
        let [a, b, c, d, e, f, g, h]: [f32; 8] = shards[..].try_into().unwrap();
        let tree = ((a + b) + (c + d)) + ((e + f) + (g + h));
        for ranks in [1, 2, 4, 8] {
            let got = on_ranks(&shards, ranks);
            assert_eq!(got.to_bits(), tree.to_bits(), "{got} on {ranks} ranks, not {tree}; the shards are {shards:?}");
        }
        others += usize::from(shards.iter().sum::<f32>() != tree);
    }
    assert!(others > seeds / 4, "one after the other would do as well: the numbers are too easy");
}

#[test]
fn more_shards_and_one_alone() {
    assert_eq!(on_ranks(&[0.1], 1), 0.1);
    let shards = shards(64, 3);
    let wanted = on_ranks(&shards, 64).to_bits();
    for ranks in [1, 2, 4, 8, 16, 32] {
        assert_eq!(on_ranks(&shards, ranks).to_bits(), wanted, "{ranks} ranks");
    }
}

/// Three orders, three sums, and none is exact: the table of the chapter.
#[test]
fn the_example_is_that_of_the_page() {
    let [a, b, c, d] = [16_777_216.0f32, 1.0, 1.0, 1.0];
    let sums = [((a + b) + c) + d, (a + b) + (c + d), a + (b + (c + d))];
    assert_eq!(sums, [16_777_216.0, 16_777_218.0, 16_777_220.0]);
    assert_eq!([1, 2, 4].map(|ranks| on_ranks(&[a, b, c, d], ranks)), [sums[1]; 3]);
    let page = include_str!("../../../17-many-gpus.md");
    for sum in ["16,777,216", "16,777,218", "16,777,220"] {
        assert!(page.contains(&format!("| {sum} |")), "the table has no {sum}");
    }
}
