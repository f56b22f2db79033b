//! Exercises 10.1 and 10.2: fragments and banks.

/// The lane that holds element (row, column) of the result of `mma.sync.m16n8k16`, and which of its values it is.
pub fn holder(row: usize, column: usize) -> (usize, usize) {
    (row % 8 * 4 + column / 2, row / 8 * 2 + column % 2)
}

/// How many times shared memory is asked when 8 threads read 16 bytes each.
pub fn turns(addresses: [usize; 8]) -> usize {
    // Four banks stand for 16 bytes: what two threads read from different chunks of the same four costs a turn more.
    let mut chunks: Vec<usize> = addresses.iter().map(|address| address / 16).collect();
    chunks.sort_unstable();
    chunks.dedup();
    (0..8).map(|banks| chunks.iter().filter(|chunk| *chunk % 8 == banks).count()).max().unwrap_or(0)
}

/// The least distance of two rows for which 8 successive rows are read in one turn.
pub fn pitch(row_bytes: usize) -> usize {
    // 8 rows fall into 8 different groups of four banks if their distance is an odd number of chunks.
    let chunks = row_bytes / 16;
    16 * (chunks + (chunks + 1) % 2)
}
