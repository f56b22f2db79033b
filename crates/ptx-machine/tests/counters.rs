//! Counters of small programs against closed forms.

mod support;

use ptx_machine::{Class, Counters, Launch, Options};
use support::program::{run_text, text, try_run};

fn count(body: &str, threads: u32) -> Counters {
    let options = Options { counters: true, ..Options::default() };
    try_run(body, threads, &[], 1 << 16, options).unwrap_or_else(|error| panic!("{error}")).1
}

/// The words of a tile of 32 x 32 in shared memory, written by rows and read by columns: rows of `row` words.
fn transpose(row: u32) -> Counters {
    count(
        &format!(
            ".shared .align 16 .b8 tile[8192];
            mov.u32 %r1, tile;
            and.b32 %r2, %r0, 31;
            shr.u32 %r3, %r0, 5;
            mad.lo.s32 %r4, %r3, {row}, %r2;
            shl.b32 %r4, %r4, 2;
            add.s32 %r4, %r4, %r1;
            st.shared.u32 [%r4], %r0;
            bar.sync 0;
            mad.lo.s32 %r5, %r2, {row}, %r3;
            shl.b32 %r5, %r5, 2;
            add.s32 %r5, %r5, %r1;
            ld.shared.u32 %r6, [%r5];
            st.global.u32 [%own], %r6;"
        ),
        1024,
    )
}

#[test]
fn a_transposed_tile_conflicts_unless_it_is_padded() {
    for (row, expected) in [(32, 32), (33, 1), (34, 2), (36, 4), (40, 8)] {
        let total = transpose(row).total;
        let (loads, stores) = (total.shared_loads, total.shared_stores);
        assert_eq!((loads.requests, loads.ideal, loads.wavefronts), (32, 32, 32 * expected), "rows of {row}");
        assert_eq!((stores.requests, stores.wavefronts), (32, 32));
        assert_eq!(total.barrier_waits, 32);
    }
}

#[test]
fn strides_of_global_loads_take_their_sectors() {
    for (stride, expected) in [(1, 4), (2, 8), (4, 16), (8, 32), (64, 32)] {
        let body =
            format!("mul.wide.u32 %rd1, %r0, {};\nadd.s64 %rd1, %out, %rd1;\nld.global.u32 %r1, [%rd1];", 4 * stride);
        let loads = count(&body, 64).total.global_loads;
        assert_eq!((loads.requests, loads.sectors, loads.bytes), (2, 2 * expected, 256), "stride {stride}");
    }
    // Vectors of 16 bytes, and an array of structures of 12.
    let body = "mul.wide.u32 %rd1, %r0, 16;\nadd.s64 %rd1, %out, %rd1;\nld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%rd1];";
    assert_eq!(count(body, 32).total.global_loads.sectors, 16);
    let body = "mul.wide.u32 %rd1, %r0, 12;\nadd.s64 %rd1, %out, %rd1;\nld.global.u32 %r1, [%rd1];\nld.global.u32 %r2, [%rd1+4];\nld.global.u32 %r3, [%rd1+8];";
    let loads = count(body, 32).total.global_loads;
    assert_eq!((loads.requests, loads.sectors), (3, 36), "each of the three touches all 12 sectors");
}

#[test]
fn instructions_are_counted_by_class_lane_and_line() {
    let body = "
        mov.u32 %r1, 0;
        L: add.s32 %r1, %r1, 1;
        setp.lt.u32 %p1, %r1, %r0;
        @%p1 bra L;
        add.f32 %f1, %f1, %f1;
        ex2.approx.f32 %f1, %f1;
        @%p1 mul.f32 %f1, %f1, %f1;";
    let counters = count(body, 32);
    // The loop runs until lane 31 is done: 31 times.
    let of = |class: Class| counters.total.instructions[class as usize];
    assert_eq!(of(Class::Predicate), 31);
    // The adds of the loop, and those of the addresses at the start.
    assert_eq!(of(Class::Integer), 31 + 2);
    assert_eq!((of(Class::Single), of(Class::SpecialFunction)), (2, 1));
    // The loop's branch, and the return.
    assert_eq!(of(Class::Control), 31 + 1);
    // Lanes 0 and 1 leave first, at the end lane 31 alone.
    assert_eq!(counters.total.divergent_branches, 30);
    // Lane i runs the body max(i, 1) times.
    let lanes: u64 = (0..32u64).map(|i| i.max(1)).sum();
    let line = counters.lines.iter().find(|((_, line), _)| *line == 23).map(|(_, counts)| counts.lanes);
    assert_eq!(line, Some(lanes), "{:?}", counters.lines.keys());
}

#[test]
fn matrices_of_rows_of_128_bytes_conflict_unless_they_are_swizzled() {
    let load = |address: &str| {
        count(&format!("and.b32 %r1, %r0, 7;\nshr.u32 %r2, %r0, 3;\n{address}\nadd.s32 %r3, %r3, dynamic;\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r4,%r5,%r6,%r7}}, [%r3];").replace("add.s32 %r3, %r3, dynamic", "mov.u32 %r9, buffer;\nadd.s32 %r3, %r3, %r9"), 32)
            .total
            .shared_loads
    };
    // Matrix i is chunk i of eight rows of 128 bytes.
    let plain = load("shl.b32 %r3, %r1, 7;\nshl.b32 %r8, %r2, 4;\nadd.s32 %r3, %r3, %r8;");
    assert_eq!((plain.wavefronts, plain.ideal), (32, 4));
    let swizzled = load("shl.b32 %r3, %r1, 7;\nxor.b32 %r8, %r2, %r1;\nshl.b32 %r8, %r8, 4;\nadd.s32 %r3, %r3, %r8;");
    assert_eq!((swizzled.wavefronts, swizzled.ideal), (4, 4));
}

#[test]
fn tensor_products_count_two_operations_for_each_multiplication() {
    let body = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%f1,%f2,%f3,%f4};";
    let total = count(body, 64).total;
    assert_eq!(total.tensor_flops, 2 * 2 * 16 * 8 * 16);
    assert_eq!(total.instructions[Class::Tensor as usize], 2);
}

#[test]
fn counters_are_the_same_in_every_run() {
    let body = "mul.wide.u32 %rd1, %r0, 40;\nadd.s64 %rd1, %out, %rd1;\natom.global.add.u32 %r1, [%out], 1;\nld.global.u32 %r2, [%rd1];\nbar.sync 0;";
    let launch = Launch::new(40, 96, vec![]);
    let run = |threads| {
        let options = Options { threads, counters: true, ..Options::default() };
        run_text(&text(body), "test", &launch, &[], 4096, options).unwrap()
    };
    let (words, first) = run(1);
    assert_eq!(words[0], 40 * 96);
    for threads in [2, 7] {
        assert_eq!(run(threads).1, first);
    }
}
