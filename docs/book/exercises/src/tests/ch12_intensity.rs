use crate::ch12_intensity::{Block, intensity, weight_stages};

const TILE: Block = Block { channels: 128, rows: 32, columns: 8, columns_once: false, cluster: 1 };

#[test]
fn operations_are_counted_against_what_is_loaded() {
    let versions = [
        (Block { channels: 64, rows: 8, ..TILE }, 32.0),
        (Block { rows: 16, ..TILE }, 64.0),
        (TILE, 85.3),
        (Block { columns_once: true, ..TILE }, 149.9),
        (Block { columns_once: true, cluster: 2, ..TILE }, 211.9),
    ];
    for (block, want) in versions {
        assert!((intensity(block) - want).abs() < 0.05, "{block:?}: {} not {want}", intensity(block));
    }
    // Only the halo of rows is loaded twice, so of two tiles of 256 pixels the tall one is the better.
    let tall = Block { columns_once: true, ..TILE };
    assert!(intensity(tall) > intensity(Block { rows: 8, columns: 32, ..tall }));
    // With many blocks the weights cost nothing, and what is left is the pixels.
    let pixels_only = 2.0 * 9.0 * 128.0 / (9.0 * 2.0);
    assert!((intensity(Block { cluster: 1 << 20, ..TILE }) / pixels_only - 1.0).abs() < 1e-3);
}

#[test]
fn stages_fit_into_shared_memory() {
    let once = Block { columns_once: true, ..TILE };
    assert_eq!(weight_stages(once, 227 * 1024), 7);
    assert_eq!(weight_stages(TILE, 227 * 1024), 8);
    assert_eq!(weight_stages(Block { channels: 64, rows: 64, ..once }, 227 * 1024), 3);
    assert_eq!(weight_stages(Block { rows: 128, ..once }, 227 * 1024), 0);
}
