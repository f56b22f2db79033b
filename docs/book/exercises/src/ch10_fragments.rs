//! Exercises 10.1 and 10.2: fragments and banks.

/// The lane that holds element (row, column) of the result of `mma.sync.m16n8k16`, 16 rows of 8, and which of the lane's
/// four values it is.
pub fn holder(row: usize, column: usize) -> (usize, usize) {
    let _ = (row, column);
    todo!("exercise 10.1")
}

/// How many turns shared memory takes when 8 threads read 16 bytes each, from these byte addresses, which are
/// multiples of 16. Bank b holds the words of 4 bytes whose number has the remainder b by 32; in one turn each bank gives
/// one word, however many threads read that word.
pub fn turns(addresses: [usize; 8]) -> usize {
    let _ = addresses;
    todo!("exercise 10.2")
}

/// The least distance in bytes of two rows of a tile of `row_bytes`, both multiples of 16, such that 16 bytes from each of
/// any 8 successive rows, at the same place of the row, are read in one turn.
pub fn pitch(row_bytes: usize) -> usize {
    let _ = row_bytes;
    todo!("exercise 10.2")
}
