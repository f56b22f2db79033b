//! Small programs with a race, which is reported with both of its lines, and the same programs mended, which are silent.
//!
//! In a program, a line that begins with `+` stands in the mended one alone, a line that begins with `-` in the other alone.
//! `// 1` and `// 2` mark the two accesses that the report names.

mod support;

use ptx_machine::{Argument, Error, Launch, Machine, Options, TensorMap};
use support::program::text;

const WORDS: usize = 4096;

/// Runs a kernel of two parameters, memory and a tensor map of [1, 32] floats in it. Returns what is reported.
fn run(text: &str, launch: &Launch) -> Result<(), Error> {
    let text = text.replace("(.param .u64 out)", "(.param .u64 out, .param .align 64 .b8 map[128])");
    let mut machine = Machine::default();
    let module = machine.load("test.ptx", &text)?;
    let out = machine.memory.allocate(4 * WORDS);
    let map = TensorMap {
        address: machine.memory.allocate(128),
        element_bytes: 4,
        dims: vec![32, 1],
        strides_bytes: vec![128],
        box_dims: vec![32, 1],
        element_strides: vec![1, 1],
        swizzle_128: false,
    };
    let launch = Launch { arguments: vec![Argument::from(out), Argument(map.encode())], ..launch.clone() };
    let mut found = [1, 2, 5].map(|threads| {
        machine.memory.write(out, &[0; 4 * WORDS]).expect("it was allocated");
        let options = Options { races: true, threads, warp_instructions: 100_000, ..Options::default() };
        machine.launch(&module, "test", &launch, &options).map(drop)
    });
    assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
    std::mem::replace(&mut found[0], Ok(()))
}

fn variant(body: &str, mended: bool) -> String {
    let (keep, drop) = if mended { ('+', '-') } else { ('-', '+') };
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with(drop));
    lines.map(|line| line.trim_start_matches(keep)).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(body: &str, launch: &Launch, reason: &str) {
    let faulty = text(&variant(body, false));
    let marked = |mark: &str| faulty.lines().position(|line| line.ends_with(mark)).map(|line| line as u32 + 1);
    match run(&faulty, launch) {
        Err(Error::Race(race)) => {
            assert!(race.reason.contains(reason), "{race}\n{body}");
            let lines = [race.first.as_ref().map(|party| party.ptx_line), Some(race.second.ptx_line)];
            assert_eq!(lines, [marked("// 1"), marked("// 2")], "{race}\n{body}");
        }
        other => panic!("{other:?}\n{body}"),
    }
    if let Err(error) = run(&text(&variant(body, true)), launch) {
        panic!("mended: {error}\n{body}");
    }
}

fn warps(n: u32) -> Launch {
    Launch::new(1, 32 * n, vec![])
}

/// A warpgroup's product of fragments in %r20 to %r23 and of b at `dynamic`, into %f1 to %f4.
fn product(body: &str) -> String {
    let body = body.replace(
        "PRODUCT",
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f1,%f2,%f3,%f4}, {%r20,%r21,%r22,%r23}, %rd1, %p1, 1, 1, 0;",
    );
    let zeros = (20..24).map(|i| format!("mov.u32 %r{i}, 0;\n")).collect::<String>();
    let sums = (1..17).map(|i| format!("mov.f32 %f{i}, 0f00000000;\n")).collect::<String>();
    format!(
        "mov.u32 %r10, dynamic;
        shl.b32 %r3, %r0, 4;
        add.s32 %r3, %r3, %r10;
        mov.u64 %rd9, 0;
        st.shared.v2.u64 [%r3], {{%rd9, %rd9}};
        fence.proxy.async;
        bar.sync 0;
        shr.u32 %r4, %r10, 4;
        cvt.u64.u32 %rd1, %r4;
        or.b64 %rd1, %rd1, {};
        setp.eq.u32 %p1, %r10, %r10;
        {zeros}{sums}{body}",
        (1i64 << 62) | (64 << 32) | (1 << 16)
    )
}

#[track_caller]
fn check_product(body: &str, reason: &str) {
    check(&product(body), &Launch { dynamic_shared_bytes: 2048, ..warps(4) }, reason);
}

#[test]
fn accumulators_are_left_alone_until_the_wait_that_covers_their_product() {
    let read = "
        wgmma.fence.sync.aligned;
        PRODUCT // 1
        wgmma.commit_group.sync.aligned;
        WAIT
        add.f32 %f9, %f1, %f1; // 2";
    let is_read = "an accumulator of a product that was not waited for is read";
    check_product(&read.replace("WAIT", "+wgmma.wait_group.sync.aligned 0;"), is_read);
    check_product(
        &read.replace("WAIT", "-wgmma.wait_group.sync.aligned 1;\n+wgmma.wait_group.sync.aligned 0;"),
        is_read,
    );
    check_product(
        "wgmma.fence.sync.aligned;
        PRODUCT // 1
        +wgmma.commit_group.sync.aligned;
        wgmma.wait_group.sync.aligned 0;
        st.global.f32 [%own], %f4; // 2
        -wgmma.commit_group.sync.aligned;",
        is_read,
    );
    check_product(
        "wgmma.fence.sync.aligned;
        PRODUCT // 1
        wgmma.commit_group.sync.aligned;
        +wgmma.wait_group.sync.aligned 0;
        mov.f32 %f3, 0f00000000; // 2
        wgmma.wait_group.sync.aligned 0;",
        "an accumulator of a product that was not waited for is overwritten",
    );
    // The wait for all but the newest group covers the one before.
    check_product(
        "wgmma.fence.sync.aligned;
        PRODUCT
        wgmma.commit_group.sync.aligned;
        wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f5,%f6,%f7,%f8}, {%r20,%r21,%r22,%r23}, %rd1, %p1, 1, 1, 0; // 1
        wgmma.commit_group.sync.aligned;
        wgmma.wait_group.sync.aligned 1;
        add.f32 %f9, %f1, %f2;
        +wgmma.wait_group.sync.aligned 0;
        add.f32 %f9, %f5, %f6; // 2",
        is_read,
    );
}

#[test]
fn products_into_the_same_registers_are_ordered_if_their_shape_is_the_same() {
    check_product(
        "wgmma.fence.sync.aligned;
        PRODUCT // 1
        +PRODUCT
        +wgmma.commit_group.sync.aligned;
        +wgmma.wait_group.sync.aligned 0;
        +wgmma.fence.sync.aligned;
        wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8}, {%r20,%r21,%r22,%r23}, %rd1, %p1, 1, 1, 0; // 2
        wgmma.commit_group.sync.aligned;
        wgmma.wait_group.sync.aligned 0;",
        "is used by one of another shape",
    );
}

#[test]
fn registers_are_fenced_before_a_product_and_fragments_kept_until_it_is_over() {
    check_product(
        "+wgmma.fence.sync.aligned;
        PRODUCT // 2
        wgmma.commit_group.sync.aligned;
        wgmma.wait_group.sync.aligned 0;",
        "no wgmma.fence stands before the first product",
    );
    for write in ["mov.f32 %f2, 0f00000000;", "mov.u32 %r21, 1;", "ld.global.u32 %r22, [%own];"] {
        check_product(
            &format!(
                "wgmma.fence.sync.aligned;
                {write} // 1
                +wgmma.fence.sync.aligned;
                PRODUCT // 2
                wgmma.commit_group.sync.aligned;
                wgmma.wait_group.sync.aligned 0;"
            ),
            "no wgmma.fence stands between a write of a product's register and the product",
        );
    }
    check_product(
        "wgmma.fence.sync.aligned;
        PRODUCT // 1
        wgmma.commit_group.sync.aligned;
        mov.u32 %r30, %r23;
        +wgmma.wait_group.sync.aligned 0;
        mov.u32 %r23, 1; // 2
        wgmma.wait_group.sync.aligned 0;",
        "a fragment of a, which a product that was not waited for reads, is overwritten",
    );
}

#[test]
fn operands_in_shared_memory_are_kept_until_the_products_of_all_warps_are_over() {
    let body = "
        wgmma.fence.sync.aligned;
        PRODUCT // 1
        wgmma.commit_group.sync.aligned;
        WAIT
        st.shared.u64 [%r3], %rd9; // 2
        wgmma.wait_group.sync.aligned 0;";
    let waits = "+wgmma.wait_group.sync.aligned 0;\nbar.sync 0;";
    check_product(&body.replace("WAIT", waits), "is written while a product reads it");
    // The first warp is through before the others begin.
    let body = body.replace("// 1", "// 3").replace("// 2", "// 1").replace("// 3", "// 2");
    let meets = "wgmma.wait_group.sync.aligned 0;\n+bar.sync 0;";
    check_product(&body.replace("WAIT", meets), "is read without being ordered after a write");
}

#[test]
fn ordinary_stores_are_fenced_before_a_product_reads_them() {
    for (fence, bar) in [("+fence.proxy.async.shared::cta;", "bar.sync 0;"), ("bar.sync 0;", "+fence.proxy.async;")] {
        check_product(
            &format!(
                "st.shared.u64 [%r3], %rd9; // 1
                {fence}
                {bar}
                wgmma.fence.sync.aligned;
                PRODUCT // 2
                wgmma.commit_group.sync.aligned;
                wgmma.wait_group.sync.aligned 0;"
            ),
            "is read by a product without fence.proxy.async after a store",
        );
    }
    // A fence that comes before the store does not help.
    check_product(
        "-fence.proxy.async;
        st.shared.u64 [%r3], %rd9; // 1
        +fence.proxy.async;
        bar.sync 0;
        wgmma.fence.sync.aligned;
        PRODUCT // 2
        wgmma.commit_group.sync.aligned;
        wgmma.wait_group.sync.aligned 0;",
        "without fence.proxy.async",
    );
}

/// Every thread's words of shared memory: its own at %r3, that of the same lane of the next warp at %r4.
const PLACES: &str = "
    mov.u32 %r10, buffer;
    shl.b32 %r3, %r0, 2;
    xor.b32 %r4, %r3, 128;
    add.s32 %r3, %r3, %r10;
    add.s32 %r4, %r4, %r10;
    ";

#[track_caller]
fn check_shared(body: &str, reason: &str) {
    check(&format!("{PLACES}{body}"), &warps(2), reason);
}

#[test]
fn copies_are_seen_after_the_wait_for_their_group_and_by_others_after_a_barrier() {
    let copy = "cp.async.ca.shared.global [%r3], [%own], 4;";
    for wait in ["+cp.async.wait_group 0;", "+cp.async.wait_all;", "-cp.async.wait_group 1;\n+cp.async.wait_group 0;"] {
        check_shared(
            &format!("{copy} // 1\ncp.async.commit_group;\n{wait}\nld.shared.u32 %r5, [%r3]; // 2"),
            "is read while cp.async writes it",
        );
    }
    check_shared(
        &format!(
            "{copy} // 1
            +cp.async.commit_group;
            cp.async.wait_group 0;
            ld.shared.u32 %r5, [%r3]; // 2"
        ),
        "is read while cp.async writes it",
    );
    check_shared(
        &format!(
            "{copy} // 1
            cp.async.commit_group;
            -bar.sync 0;
            cp.async.wait_group 0;
            +bar.sync 0;
            ld.shared.u32 %r5, [%r4]; // 2"
        ),
        "is read while cp.async writes it",
    );
    // Two groups: the first is there, the second is not.
    check_shared(
        &format!(
            "{copy}
            cp.async.commit_group;
            cp.async.ca.shared.global [%r3+1024], [%own], 4; // 1
            cp.async.commit_group;
            cp.async.wait_group 1;
            ld.shared.u32 %r5, [%r3];
            +cp.async.wait_group 0;
            ld.shared.u32 %r5, [%r3+1024]; // 2"
        ),
        "is read while cp.async writes it",
    );
    check_shared(
        &format!(
            "st.shared.u32 [%r3], %r0;
            bar.sync 0;
            ld.shared.u32 %r5, [%r4]; // 2
            +bar.sync 0;
            {copy} // 1
            cp.async.wait_all;"
        ),
        "is read while cp.async writes it",
    );
}

#[test]
fn shared_memory_is_ordered_by_barriers() {
    check_shared(
        "st.shared.u32 [%r3], %r0; // 2
        +bar.sync 0;
        ld.shared.u32 %r5, [%r4]; // 1",
        "is written without being ordered after a read",
    );
    check_shared(
        "st.shared.u32 [%r3], %r0;
        bar.sync 0;
        ld.shared.u32 %r5, [%r4]; // 2
        +bar.sync 0;
        st.shared.u32 [%r3], %r5; // 1",
        "is read without being ordered after a write",
    );
    check_shared(
        "setp.lt.u32 %p1, %r0, 32;
        @%p1 bra FIRST;
        +bar.sync 0;
        st.shared.u32 [%r10], %r0; // 2
        ret;
        FIRST: st.shared.u32 [%r10], %r0; // 1
        +bar.sync 0;",
        "is written without being ordered after a write",
    );
}

#[test]
fn memory_that_nobody_wrote_is_not_read() {
    check_shared(
        "+st.shared.u32 [%r3], 0;
        ld.shared.u32 %r5, [%r3]; // 2",
        "is read, which nobody wrote",
    );
    check_shared(
        "+st.shared.u8 [%r3+3], 0;
        st.shared.u16 [%r3], 0;
        st.shared.u8 [%r3+2], 0;
        ld.shared.u32 %r5, [%r3]; // 2",
        "is read, which nobody wrote",
    );
}

#[test]
fn bytes_of_one_word_belong_to_different_warps() {
    check_shared(
        "shr.u32 %r6, %r0, 5;
        add.s32 %r6, %r6, %r10;
        st.shared.u8 [%r6], %r0;
        bar.sync 0;
        st.shared.u8 [%r6+2], %r0; // 2
        +bar.sync 0;
        ld.shared.u16 %r7, [%r10+2]; // 1",
        "is written without being ordered after a read",
    );
}

#[test]
fn named_barriers_order_those_that_arrive_with_those_that_wait() {
    check_shared(
        "setp.lt.u32 %p1, %r0, 32;
        @%p1 bra GIVE;
        +bar.sync 1, 64;
        ld.shared.u32 %r5, [%r4]; // 2
        -bar.sync 1, 64;
        bra.uni END;
        GIVE: st.shared.u32 [%r3], %r0; // 1
        bar.arrive 1, 64;
        END:",
        "is read without being ordered after a write",
    );
    // Another barrier is no help.
    check_shared(
        "st.shared.u32 [%r3], %r0; // 1
        shr.u32 %r6, %r0, 5;
        add.s32 %r6, %r6, 1;
        -bar.sync %r6, 32;
        +bar.sync 1, 64;
        ld.shared.u32 %r5, [%r4]; // 2",
        "is read without being ordered after a write",
    );
}

/// Two transaction barriers at `buffer` + 2048 and 2056, of 32 arrivals, made by the first warp.
const BARRIERS: &str = "
    setp.ne.u32 %p1, %r0, 0;
    @%p1 bra MADE;
    mbarrier.init.shared::cta.b64 [%r10+2048], 32;
    mbarrier.init.shared::cta.b64 [%r10+2056], 32;
    MADE: bar.sync 0;
    setp.lt.u32 %p2, %r0, 32;
    @%p2 bra GIVE;
    ";

#[test]
fn transaction_barriers_order_those_that_arrive_with_those_that_wait() {
    check_shared(
        &format!(
            "{BARRIERS}
            -ld.shared.u32 %r5, [%r4]; // 2
            TAKE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10+2048], 0;
            @!%p3 bra TAKE;
            +ld.shared.u32 %r5, [%r4];
            ret;
            GIVE: st.shared.u32 [%r3], %r0; // 1
            mbarrier.arrive.shared::cta.b64 _, [%r10+2048];"
        ),
        "is read without being ordered after a write",
    );
    check_shared(
        &format!(
            "{BARRIERS}
            TAKE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10+2048], 0;
            @!%p3 bra TAKE;
            ld.shared.u32 %r5, [%r4]; // 2
            ret;
            GIVE: st.shared.u32 [%r3], %r0; // 1
            -mbarrier.arrive.relaxed.cta.shared::cta.b64 _, [%r10+2048];
            +mbarrier.arrive.release.cta.shared::cta.b64 _, [%r10+2048];"
        ),
        "is read without being ordered after a write",
    );
}

const LATE: &str = "may complete before a warp that waits for the phase before has seen that";

#[test]
fn a_wait_for_the_same_phase_again_runs_away_from_the_other_side() {
    let body = format!(
        "{BARRIERS}
        mov.u32 %r20, 0;
        TAKE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10+2048], %r20;
        @!%p3 bra TAKE;
        ld.shared.u32 %r5, [%r4];
        mbarrier.arrive.shared::cta.b64 _, [%r10+2056]; // 1
        +xor.b32 %r20, %r20, 1;
        add.s32 %r21, %r21, 1;
        setp.lt.u32 %p4, %r21, 2;
        @%p4 bra TAKE;
        ret;
        GIVE: st.shared.u32 [%r3], %r0;
        mbarrier.arrive.shared::cta.b64 _, [%r10+2048];
        LEFT: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10+2056], 0; // 2
        @!%p3 bra LEFT;
        st.shared.u32 [%r3], %r0;
        mbarrier.arrive.shared::cta.b64 _, [%r10+2048];"
    );
    // The taker takes the first phase twice, and leaves it twice before the giver has seen that it left.
    check_shared(&body, LATE);
}

#[test]
fn a_phase_is_seen_before_the_next_may_complete() {
    check_shared(
        &format!(
            "{BARRIERS}
            TAKE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10+2048], 0; // 2
            @!%p3 bra TAKE;
            mbarrier.arrive.shared::cta.b64 _, [%r10+2056];
            ret;
            GIVE: mbarrier.arrive.shared::cta.b64 _, [%r10+2048];
            +FREE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10+2056], 0;
            +@!%p3 bra FREE;
            mbarrier.arrive.shared::cta.b64 _, [%r10+2048]; // 1"
        ),
        LATE,
    );
    // The taker comes in time here, but nothing says that it must.
    check_shared(
        &format!(
            "{BARRIERS}
            TAKE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10+2048], 0; // 1
            @!%p3 bra TAKE;
            mbarrier.arrive.shared::cta.b64 _, [%r10+2056];
            -bar.sync 2, 64;
            ret;
            GIVE: mbarrier.arrive.shared::cta.b64 _, [%r10+2048];
            -bar.arrive 2, 64;
            -bar.sync 3, 32;
            +FREE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10+2056], 0;
            +@!%p3 bra FREE;
            mbarrier.arrive.shared::cta.b64 _, [%r10+2048]; // 2"
        ),
        LATE,
    );
}

#[test]
fn transaction_barriers_are_used_once_they_are_made() {
    check_shared(
        "setp.ne.u32 %p1, %r0, 0;
        @%p1 bra MADE;
        mbarrier.init.shared::cta.b64 [%r10], 64; // 1
        MADE:
        +bar.sync 0;
        mbarrier.arrive.shared::cta.b64 _, [%r10]; // 2
        bar.sync 0;",
        "is used without being ordered after it was made",
    );
}

/// One thread loads the tensor to `buffer` + 1024.
const TENSOR: &str = "
    mov.u32 %r10, buffer;
    mov.b64 %rd1, map;
    cvta.param.u64 %rd1, %rd1;
    mov.u32 %r7, 0;
    mbarrier.init.shared::cta.b64 [%r10], 1; // init
    FENCE
    ";
const LOAD: &str = "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r10+1024], [%rd1, {%r7, %r7}], [%r10];";
const STORE: &str = "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd1, {%r7, %r7}], [%r10+1024];";
const EXPECT: &str = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r10], 128;";
const WAIT: &str = "WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r10], 0;";

#[track_caller]
fn check_tensor(body: &str, reason: &str) {
    let setup = if body.contains("FENCE") {
        TENSOR.replace("FENCE", "")
    } else {
        TENSOR.replace("FENCE", "fence.proxy.async;")
    };
    let (setup, body) = match body.split_once("FENCE") {
        Some((fence, body)) => (setup.replace("// init", "// 1") + fence, body),
        None => (setup, body),
    };
    let body = body.replace("LOAD", LOAD).replace("STORE", STORE).replace("EXPECT", EXPECT);
    let body = body.replace("WAITS", &format!("{WAIT}\n@!%p3 bra WAIT;"));
    check(&format!("{setup}{body}"), &Launch::new(1, 1, vec![]), reason);
}

#[test]
fn tensor_loads_are_seen_by_those_that_wait_for_their_phase() {
    check_tensor(
        "EXPECT
        LOAD // 1
        -ld.shared.u32 %r8, [%r10+1024]; // 2
        WAITS
        +ld.shared.u32 %r8, [%r10+1024];",
        "is read while a tensor load writes it",
    );
    // Not by those that write, and what an ordinary store wrote is fenced before.
    check_tensor(
        "EXPECT
        LOAD // 1
        -st.shared.u32 [%r10+1028], 1; // 2
        WAITS
        +st.shared.u32 [%r10+1028], 1;",
        "is written while a tensor load writes it",
    );
    check_tensor(
        "st.shared.u32 [%r10+1028], 1; // 1
        +fence.proxy.async.shared::cta;
        EXPECT
        LOAD // 2
        WAITS",
        "is written by a tensor copy without fence.proxy.async",
    );
}

#[test]
fn barriers_are_fenced_before_a_tensor_load_tells_them() {
    for fence in ["+fence.mbarrier_init.release.cluster;", "+fence.proxy.async;"] {
        check_tensor(
            &format!(
                "{fence}
                FENCE
                EXPECT
                LOAD // 2
                WAITS"
            ),
            "is used by a tensor copy without fence.mbarrier_init",
        );
    }
}

#[test]
fn tensor_stores_read_shared_memory_until_the_wait_for_their_group() {
    let store = "
        st.shared.v4.u32 [%r10+1024], {%r7,%r7,%r7,%r7};
        LOOP: add.s32 %r7, %r7, 16;
        add.s32 %r9, %r10, %r7;
        st.shared.v4.u32 [%r9+1024], {%r7,%r7,%r7,%r7};
        setp.lt.u32 %p1, %r7, 112;
        @%p1 bra LOOP;
        mov.u32 %r7, 0;
        ";
    let fence = "fence.proxy.async;\n";
    for wait in ["+cp.async.bulk.wait_group.read 0;", "-cp.async.bulk.wait_group.read 1;\n+cp.async.bulk.wait_group 0;"]
    {
        check_tensor(
            &format!(
                "{store}{fence}STORE // 1
                cp.async.bulk.commit_group;
                {wait}
                st.shared.u32 [%r10+1024], 5; // 2
                cp.async.bulk.wait_group 0;"
            ),
            "is written while a tensor store reads it",
        );
    }
    check_tensor(
        &format!(
            "{}
            +{fence}
            STORE // 2
            cp.async.bulk.commit_group;
            cp.async.bulk.wait_group 0;",
            store.replacen("%r7,%r7};", "%r7,%r7}; // 1", 1)
        ),
        "is read by a tensor copy without fence.proxy.async after a store",
    );
}

#[test]
fn blocks_of_a_cluster_meet_at_its_barrier() {
    let launch = Launch { cluster: [2, 1, 1], ..Launch::new(2, 32, vec![]) };
    check(
        "mov.u32 %r1, %cluster_ctarank;
        xor.b32 %r2, %r1, 1;
        mov.u32 %r5, buffer;
        mapa.shared::cluster.u32 %r6, %r5, %r2;
        st.shared.u32 [%r5], %r0; // 1
        -barrier.cluster.arrive.relaxed;
        +barrier.cluster.arrive.release;
        barrier.cluster.wait.acquire;
        ld.shared::cluster.u32 %r7, [%r6]; // 2
        barrier.cluster.arrive;
        barrier.cluster.wait;",
        &launch,
        "is read without being ordered after a write",
    );
    check(
        "mov.u32 %r1, %cluster_ctarank;
        xor.b32 %r2, %r1, 1;
        mov.u32 %r5, buffer;
        mapa.shared::cluster.u32 %r6, %r5, %r2;
        st.shared.u32 [%r5], %r0; // 2
        +barrier.cluster.arrive.release;
        +barrier.cluster.wait.acquire;
        ld.shared::cluster.u32 %r7, [%r6]; // 1
        barrier.cluster.arrive;
        barrier.cluster.wait;",
        &launch,
        "is written without being ordered after a read",
    );
}

/// Block 0 writes a word and sets a flag; block 1 reads the word if it sees the flag.
fn message(release: &str, acquire: &str) -> String {
    format!(
        "mov.u32 %r1, %ctaid.x;
        setp.eq.u32 %p1, %r1, 1;
        @%p1 bra TAKE;
        st.global.u32 [%own], 7; // 1
        bar.sync 0;
        setp.ne.u32 %p2, %r0, 0;
        @%p2 bra END;
        {release}
        bra.uni END;
        TAKE: setp.ne.u32 %p2, %r0, 0;
        @%p2 bra MEET;
        {acquire}
        setp.ne.u32 %p3, %r2, 1;
        MEET: bar.sync 0;
        ld.global.u32 %r3, [%own]; // 2
        END:"
    )
}

#[test]
fn blocks_are_ordered_by_a_fence_and_an_atomic_on_both_sides() {
    let launch = Launch::new(2, 64, vec![]);
    let (fence, add) = ("membar.gl;", "atom.global.add.u32 %r2, [%out+4096], 1;");
    let reason = "global memory at 0x1000000000 is read without being ordered after a write";
    for (release, acquire) in [
        (format!("+{fence}\n{add}"), format!("{add}\n{fence}")),
        (format!("{fence}\n{add}"), format!("{add}\n+{fence}")),
        (format!("-{add}\n+{fence}\n+{add}"), format!("{add}\n{fence}")),
        (format!("-membar.cta;\n+{fence}\n{add}"), format!("{add}\n{fence}")),
        (format!("-{add}\n+atom.release.gpu.global.add.u32 %r2, [%out+4096], 1;"), format!("{add}\n{fence}")),
        (format!("{fence}\n{add}"), format!("-{add}\n+atom.acquire.gpu.global.add.u32 %r2, [%out+4096], 1;")),
        (
            "-st.relaxed.gpu.global.u32 [%out+4096], 1;\n+st.release.gpu.global.u32 [%out+4096], 1;".into(),
            "ld.acquire.gpu.global.u32 %r2, [%out+4096];".into(),
        ),
        (
            format!("{fence}\nst.volatile.global.u32 [%out+4096], 1;"),
            format!("ld.volatile.global.u32 %r2, [%out+4096];\n+{fence}"),
        ),
        // Through another word.
        (format!("{fence}\n{add}"), format!("-{}\n+{add}\n{fence}", add.replace("4096", "8192"))),
    ] {
        check(&message(&release, &acquire), &launch, reason);
    }
    // The fence of one thread covers what its block wrote before a barrier.
    let body = message(&format!("{fence}\n{add}"), &format!("{add}\n{fence}"));
    check(
        &body.replace("bar.sync 0;\n        setp.ne.u32 %p2", "+bar.sync 0;\n        setp.ne.u32 %p2"),
        &launch,
        "is read",
    );
}

#[test]
fn atomics_do_not_race_with_each_other_but_with_ordinary_stores() {
    check(
        "atom.global.add.u32 %r2, [%out], 1; // 2
        -st.global.u32 [%out], 1; // 1
        +red.global.add.u32 [%out], 1;",
        &Launch::new(2, 32, vec![]),
        "global memory at",
    );
    check_shared(
        "setp.ne.u32 %p1, %r0, 0;
        @!%p1 st.shared.u32 [%r10], 0;
        bar.sync 0;
        atom.shared.add.u32 %r2, [%r10], 1; // 2
        +bar.sync 0;
        ld.shared.u32 %r5, [%r10]; // 1",
        "shared memory at",
    );
}
