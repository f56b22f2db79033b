//! Small programs against results computed by hand.

mod support;

use support::program::{fault, run};

/// The value that each of 32 lanes stores at its own place.
fn lanes(body: &str) -> Vec<u32> {
    run(body, 32, &[], 32)
}

fn each(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

#[test]
fn special_registers_number_threads() {
    assert_eq!(
        lanes(
            "mov.u32 %r1, %laneid;\nmov.u32 %r2, %ntid.x;\nmad.lo.s32 %r3, %r1, %r2, %r0;\nst.global.u32 [%own], %r3;"
        ),
        each(|i| 33 * i)
    );
}

#[test]
fn integers_wrap() {
    assert_eq!(
        lanes(
            "sub.s32 %r1, %r0, 5;\nmul.lo.s32 %r2, %r1, %r1;\nadd.s32 %r3, %r2, 2147483647;\nst.global.u32 [%own], %r3;"
        ),
        each(|i| i.wrapping_sub(5).wrapping_mul(i.wrapping_sub(5)).wrapping_add(0x7fff_ffff))
    );
}

#[test]
fn shifts_of_the_width_or_more_give_zero_or_the_sign() {
    let body = "shl.b32 %r1, -1, %r0;\nadd.s32 %r2, %r0, 16;\nshr.s32 %r3, -2147483648, %r2;\nxor.b32 %r1, %r1, %r3;\nst.global.u32 [%own], %r1;";
    let shift = |i: u32| (i32::MIN >> (i + 16).min(31)) as u32;
    assert_eq!(lanes(body), each(|i| (u32::MAX << i) ^ shift(i)));
    assert_eq!(lanes("add.s32 %r1, %r0, 32;\nshl.b32 %r2, -1, %r1;\nst.global.u32 [%own], %r2;"), vec![0; 32]);
}

#[test]
fn wide_products_keep_their_sign() {
    let body = "sub.s32 %r1, %r0, 16;\nmul.wide.s32 %rd1, %r1, 1000000000;\nshr.s64 %rd2, %rd1, 7;\ncvt.u32.u64 %r2, %rd2;\nst.global.u32 [%own], %r2;";
    assert_eq!(lanes(body), each(|i| (((i64::from(i) - 16) * 1_000_000_000) >> 7) as u32));
}

#[test]
fn high_halves_of_products() {
    let body = "sub.s32 %r1, %r0, 16;\nmul.hi.s32 %r2, %r1, 1431655766;\nmul.hi.u32 %r3, %r1, 1431655766;\nxor.b32 %r2, %r2, %r3;\nst.global.u32 [%own], %r2;";
    let (signed, unsigned) = (
        |i: u32| (((i64::from(i) - 16) * 1_431_655_766) >> 32) as u32,
        |i: u32| ((u64::from(i.wrapping_sub(16)) * 1_431_655_766) >> 32) as u32,
    );
    assert_eq!(lanes(body), each(|i| signed(i) ^ unsigned(i)));
}

#[test]
fn division_truncates() {
    let body = "sub.s32 %r1, %r0, 16;\ndiv.s32 %r2, %r1, 3;\nrem.s32 %r3, %r1, 3;\nmad.lo.s32 %r4, %r2, 1000, %r3;\nst.global.u32 [%own], %r4;";
    assert_eq!(lanes(body), each(|i| ((i as i32 - 16) / 3 * 1000 + (i as i32 - 16) % 3) as u32));
}

#[test]
fn fields_of_bits() {
    let body = "bfe.s32 %r1, 0x00f8a500, 8, %r0;\nbfi.b32 %r2, %r1, 0x12345678, %r0, 9;\npopc.b32 %r3, %r2;\nclz.b32 %r4, %r2;\nmad.lo.s32 %r3, %r3, 64, %r4;\nst.global.u32 [%own], %r3;";
    let expected = |i: u32| {
        let value = 0x00f8_a500u32 >> 8;
        let field = match i {
            0 => 0,
            i if i >= 24 => value,
            i => ((value << (32 - i)) as i32 >> (32 - i)) as u32,
        };
        let mask = 0x1ffu32.checked_shl(i).unwrap_or(0);
        let new = 0x1234_5678 & !mask | field << i & mask;
        new.count_ones() * 64 + new.leading_zeros()
    };
    assert_eq!(lanes(body), each(expected));
}

#[test]
fn bytes_are_permuted() {
    let body = "mov.b32 %r1, 0x33221180;\nmov.b32 %r2, 0x77665544;\nprmt.b32 %r3, %r1, %r2, 0x8150;\nst.global.u32 [%own], %r3;";
    assert_eq!(lanes(body)[0], 0xff11_5580);
}

#[test]
fn a_table_of_three_inputs() {
    let body = "lop3.b32 %r1, %r0, 12, 10, 0x96;\nlop3.b32 %r2, %r0, 12, 10, 0xe8;\nmad.lo.s32 %r1, %r1, 256, %r2;\nst.global.u32 [%own], %r1;";
    assert_eq!(lanes(body), each(|i| (i ^ 12 ^ 10) * 256 + (i & 12 | i & 10 | 12 & 10)));
}

#[test]
fn a_funnel_shifts_two_words() {
    let body = "shf.l.wrap.b32 %r1, 0x89abcdef, 0x01234567, %r0;\nst.global.u32 [%own], %r1;";
    assert_eq!(lanes(body), each(|i| ((0x0123_4567_89ab_cdefu64 << i) >> 32) as u32));
}

#[test]
fn selection_and_comparison_combine() {
    let body = "setp.lt.s32 %p1, %r0, 20;\nsetp.gt.and.s32 %p2|%p3, %r0, 10, %p1;\nselp.b32 %r1, 7, 9, %p2;\nselp.b32 %r2, 100, 200, %p3;\nadd.s32 %r1, %r1, %r2;\nst.global.u32 [%own], %r1;";
    let expected = |i| {
        let first = if i < 20 && i > 10 { 7 } else { 9 };
        first + if i <= 10 { 100 } else { 200 }
    };
    assert_eq!(lanes(body), each(expected));
}

#[test]
fn guards_leave_other_lanes_alone() {
    let body = "mov.u32 %r1, 5;\nsetp.eq.s32 %p1, %r0, 3;\n@%p1 mov.u32 %r1, 6;\n@!%p1 add.s32 %r1, %r1, %r0;\nst.global.u32 [%own], %r1;";
    assert_eq!(lanes(body), each(|i| if i == 3 { 6 } else { 5 + i }));
}

#[test]
fn lanes_that_part_meet_again() {
    let body = "mov.u32 %r1, 0;\nsetp.lt.u32 %p1, %r0, 8;\n@%p1 bra A;\nadd.s32 %r1, %r1, 100;\nsetp.lt.u32 %p2, %r0, 16;\n@%p2 bra B;\nadd.s32 %r1, %r1, 1000;\nbra.uni B;\nA: add.s32 %r1, %r1, 1;\nB: vote.sync.ballot.b32 %r2, %p1, -1;\nadd.s32 %r1, %r1, %r2;\nst.global.u32 [%own], %r1;";
    let own = |i: u32| {
        if i < 8 {
            1
        } else if i < 16 {
            100
        } else {
            1100
        }
    };
    assert_eq!(lanes(body), each(|i| own(i) + 255));
}

#[test]
fn loops_end_lane_by_lane() {
    // The sum of 0..=i, with a break at 20.
    let body = "mov.u32 %r1, 0;\nmov.u32 %r2, 0;\nL: setp.gt.u32 %p1, %r2, %r0;\n@%p1 bra E;\nsetp.eq.u32 %p2, %r2, 20;\n@%p2 bra E;\nadd.s32 %r1, %r1, %r2;\nadd.s32 %r2, %r2, 1;\nbra.uni L;\nE: bar.warp.sync -1;\nst.global.u32 [%own], %r1;";
    assert_eq!(lanes(body), each(|i| (0..=i.min(19)).sum()));
}

#[test]
fn lanes_that_return_early_are_not_waited_for() {
    let body =
        "setp.lt.u32 %p1, %r0, 40;\n@%p1 bra GO;\nret;\nGO: bar.sync 0;\nmov.u32 %r1, 1;\nst.global.u32 [%own], %r1;";
    assert_eq!(run(body, 128, &[], 128), (0..128).map(|i| u32::from(i < 40)).collect::<Vec<_>>());
}

#[test]
fn labels_and_registers_of_inner_scopes_hide_outer_ones() {
    let part = "{\n.reg .pred p;\n.reg .b32 %r1;\nmov.u32 %r1, 0;\nAGAIN: add.s32 %r1, %r1, 1;\nsetp.lt.u32 p, %r1, 3;\n@p bra AGAIN;\nadd.s32 %r2, %r2, %r1;\n}\n";
    let body =
        format!("mov.u32 %r1, 50;\nmov.u32 %r2, 0;\n{part}{part}add.s32 %r2, %r2, %r1;\nst.global.u32 [%own], %r2;");
    assert_eq!(lanes(&body), vec![56; 32]);
}

#[test]
fn vectors_are_loaded_and_stored() {
    let body = "mul.wide.u32 %rd1, %r0, 16;\nadd.s64 %rd1, %out, %rd1;\nld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];\nst.global.v2.u32 [%rd1], {%r4, %r3};\nmov.b64 %rd2, {%r2, %r1};\nst.global.b64 [%rd1+8], %rd2;";
    let input: Vec<u32> = (0..128).collect();
    let expected: Vec<u32> = (0..32).flat_map(|i| [4 * i + 3, 4 * i + 2, 4 * i + 1, 4 * i]).collect();
    assert_eq!(run(body, 32, &input, 128), expected);
}

#[test]
fn narrow_loads_extend() {
    let body = "cvt.u64.u32 %rd1, %r0;\nadd.s64 %rd1, %out, %rd1;\nld.global.s8 %r1, [%rd1];\nld.global.u8 %h1, [%rd1];\ncvt.u32.u16 %r2, %h1;\nbar.sync 0;\nmad.lo.s32 %r1, %r1, 1000, %r2;\nst.global.u32 [%own], %r1;";
    let input: Vec<u32> = (0..8).map(|i| 0xfe01_8000 + i).collect();
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    let expected: Vec<u32> = bytes.iter().map(|&b| (i32::from(b as i8) * 1000 + i32::from(b)) as u32).collect();
    assert_eq!(run(body, 32, &input, 32), expected);
}

#[test]
fn halves_are_packed_and_unpacked() {
    let body = "mov.b32 {%h1, %h2}, 0x00030004;\nadd.s16 %h3, %h1, %h2;\nsub.s16 %h4, %h2, %h1;\nmov.b32 %r1, {%h3, %h4};\nst.global.u32 [%own], %r1;";
    assert_eq!(lanes(body)[0], 0xffff_0007);
}

#[test]
fn shared_memory_is_seen_after_a_barrier() {
    let body = "mul.lo.s32 %r1, %r0, 4;\nmov.u32 %r2, buffer;\nadd.s32 %r2, %r2, %r1;\nst.shared.u32 [%r2], %r0;\nbar.sync 0;\nmov.u32 %r3, buffer;\nsub.s32 %r4, 1020, %r1;\nadd.s32 %r3, %r3, %r4;\nld.shared.u32 %r5, [%r3];\nst.global.u32 [%own], %r5;";
    assert_eq!(run(body, 256, &[], 256), (0..256).rev().collect::<Vec<u32>>());
}

#[test]
fn generic_addresses_lead_to_their_space() {
    let body = "mov.u64 %rd1, buffer;\ncvta.shared.u64 %rd2, %rd1;\nsetp.lt.u32 %p1, %r0, 16;\nadd.s64 %rd3, %out, 128;\nmul.wide.u32 %rd4, %r0, 4;\nselp.b64 %rd5, %rd2, %rd3, %p1;\nadd.s64 %rd5, %rd5, %rd4;\nst.u32 [%rd5], %r0;\nld.u32 %r1, [%rd5];\nadd.s32 %r1, %r1, 1;\nst.global.u32 [%own], %r1;";
    let words = run(body, 32, &[], 64);
    assert_eq!(words[..32], each(|i| i + 1));
    assert_eq!(words[48..], (16..32).collect::<Vec<u32>>());
    assert_eq!(words[32..48], [0; 16]);
}

#[test]
fn local_memory_belongs_to_a_lane() {
    let body = ".local .align 8 .b8 own_bytes[16];\nmov.u64 %rd1, own_bytes;\nst.local.u32 [%rd1+4], %r0;\ncvta.local.u64 %rd2, %rd1;\nld.u32 %r1, [%rd2+4];\nmul.lo.s32 %r1, %r1, 3;\nst.global.u32 [%own], %r1;";
    assert_eq!(lanes(body), each(|i| 3 * i));
}

#[test]
fn shuffles_move_within_their_segments() {
    let show = |op: &str| {
        lanes(&format!("{op}\nselp.b32 %r3, 100, 0, %p1;\nadd.s32 %r1, %r1, %r3;\nst.global.u32 [%own], %r1;"))
    };
    assert_eq!(show("shfl.sync.bfly.b32 %r1|%p1, %r0, 5, 31, -1;"), each(|i| (i ^ 5) + 100));
    assert_eq!(show("shfl.sync.up.b32 %r1|%p1, %r0, 3, 0, -1;"), each(|i| if i >= 3 { i - 3 + 100 } else { i }));
    assert_eq!(show("shfl.sync.down.b32 %r1|%p1, %r0, 3, 31, -1;"), each(|i| if i < 29 { i + 103 } else { i }));
    // Segments of 8 lanes.
    assert_eq!(show("shfl.sync.idx.b32 %r1|%p1, %r0, 2, 0x181f, -1;"), each(|i| i / 8 * 8 + 2 + 100));
    assert_eq!(show("shfl.sync.down.b32 %r1|%p1, %r0, 3, 0x181f, -1;"), each(|i| if i % 8 < 5 { i + 103 } else { i }));
}

#[test]
fn votes_and_elections() {
    let body = "setp.lt.u32 %p1, %r0, 7;\nvote.sync.any.pred %p2, %p1, -1;\nvote.sync.all.pred %p3, %p1, -1;\nvote.sync.ballot.b32 %r1, %p1, -1;\nelect.sync _|%p4, -1;\n@%p2 add.s32 %r1, %r1, 1000;\n@%p3 add.s32 %r1, %r1, 10000;\n@%p4 add.s32 %r1, %r1, 100000;\nst.global.u32 [%own], %r1;";
    assert_eq!(lanes(body), each(|i| 1127 + if i == 0 { 100_000 } else { 0 }));
}

#[test]
fn atomics_return_what_was_there() {
    let body = "atom.global.add.u32 %r1, [%out+512], 3;\natom.global.max.s32 %r2, [%out+516], %r0;\natom.global.cas.b32 %r3, [%out+520], 0, 77;\nmul.wide.u32 %rd1, %r0, 1;\natom.global.add.u64 %rd2, [%out+528], 4294967295;\nst.global.u32 [%own], %r1;";
    let words = run(body, 64, &[], 134);
    let mut sorted = words[..64].to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..64).map(|i| 3 * i).collect::<Vec<_>>());
    let wide = 64 * 0xffff_ffffu64;
    assert_eq!(words[128..], [192, 63, 77, 0, wide as u32, (wide >> 32) as u32]);
}

#[test]
fn named_barriers_count_their_threads() {
    // Warp 1 produces for warp 0, which does not wait for warp 2.
    let body = "setp.ge.u32 %p1, %r0, 64;\n@%p1 bra END;\nsetp.lt.u32 %p2, %r0, 32;\n@%p2 bra GET;\nst.shared.u32 [buffer], %r0;\nbar.arrive 3, 64;\nbra.uni END;\nGET: bar.sync 3, 64;\nld.shared.u32 %r1, [buffer];\nst.global.u32 [%own], %r1;\nEND:";
    assert_eq!(run(body, 96, &[], 32), vec![63; 32]);
}

#[test]
fn asynchronous_copies_arrive_when_they_are_waited_for() {
    let copy = "mul.lo.s32 %r1, %r0, 16;\nmov.u32 %r2, buffer;\nadd.s32 %r2, %r2, %r1;\nmul.wide.u32 %rd1, %r0, 16;\nadd.s64 %rd1, %out, %rd1;\nsetp.lt.u32 %p1, %r0, 31;\nselp.b32 %r3, 16, 0, %p1;\ncp.async.cg.shared.global [%r2], [%rd1], 16, %r3;\ncp.async.commit_group;\n";
    let show = "ld.shared.u32 %r4, [%r2+4];\nst.global.u32 [%own], %r4;";
    let input: Vec<u32> = (0..128).collect();
    let waited = run(&format!("{copy}cp.async.wait_group 0;\n{show}"), 32, &input, 128);
    assert_eq!(waited[..32], each(|i| if i < 31 { 4 * i + 1 } else { 0 }));
    // One group may still be under way: nothing has arrived.
    let early = run(&format!("{copy}cp.async.wait_group 1;\n{show}"), 32, &input, 128);
    assert_eq!(early[..32], [u32::MAX; 32]);
}

#[test]
fn constants_and_initialised_variables_are_read() {
    let text = support::program::text("ld.const.u32 %r1, [table+8];\nst.global.u32 [%own], %r1;");
    let text = text.replace(".extern", ".const .align 4 .u32 table[4] = {1, 2, 0x30, 4};\n.extern");
    let launch = ptx_machine::Launch::new(1, 32, vec![]);
    let (words, _) = support::program::run_text(&text, "test", &launch, &[], 32, Default::default()).unwrap();
    assert_eq!(words, vec![0x30; 32]);
}

#[test]
fn grids_of_three_dimensions_number_their_blocks() {
    let body = "mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %ctaid.y;\nmov.u32 %r3, %ctaid.z;\nmov.u32 %r4, %tid.y;\nmad.lo.s32 %r5, %r3, 2, %r2;\nmad.lo.s32 %r5, %r5, 3, %r1;\nmad.lo.s32 %r5, %r5, 2, %r4;\nmul.wide.u32 %rd1, %r5, 4;\nadd.s64 %rd1, %out, %rd1;\nst.global.u32 [%rd1], %r5;";
    let launch = ptx_machine::Launch { grid: [3, 2, 2], block: [1, 2, 1], ..ptx_machine::Launch::new(1, 1, vec![]) };
    for threads in [1, 3] {
        let options = ptx_machine::Options { threads, ..Default::default() };
        let text = support::program::text(body);
        let (words, _) = support::program::run_text(&text, "test", &launch, &[], 24, options).unwrap();
        assert_eq!(words, (0..24).collect::<Vec<u32>>());
    }
}

#[test]
fn faults_say_where_and_why() {
    let cases = [
        ("ld.global.u32 %r1, [%own+1];", 32, "misaligned"),
        ("add.s64 %rd1, %own, 4;\nld.global.v2.u32 {%r1, %r2}, [%rd1];", 32, "misaligned"),
        ("ld.global.u32 %r1, [%own+16384];", 32, "outside every allocation"),
        ("st.shared.u32 [buffer+4096], %r0;", 32, "outside the block's"),
        ("ld.shared.u32 %r1, [0];", 32, "outside"),
        ("setp.lt.u32 %p1, %r0, 9;\n@%p1 bar.sync 0;", 32, "that all must run"),
        (
            "setp.lt.u32 %p1, %r0, 9;\n@%p1 shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;",
            32,
            "names lanes that do not run this",
        ),
        (
            "setp.ge.u32 %p1, %r0, 32;\n@%p1 bra E;\nbar.sync 1, 64;\nE:",
            64,
            "deadlock: warp 0 of block [0, 0, 0] waits at barrier 1, where 32 of 64 threads are",
        ),
        ("trap;", 1, "trapped"),
        ("setp.lt.u32 %p1, %r0, 9;\n@%p1 bra.uni E;\nE:", 32, "different ways"),
    ];
    for (body, threads, expected) in cases {
        let message = fault(body, threads);
        assert!(message.contains(expected), "{body}\n{message}");
    }
    let message = fault("ld.global.u32 %r1, [%own+16384];", 32);
    let expected = "lane 0, at `ld.global.u32` (PTX line 21) of test";
    assert!(message.contains("warp 0") && message.ends_with(expected), "{message}");
}

#[test]
fn what_is_not_executed_is_refused_with_file_line_and_opcode() {
    for (statement, expected) in [
        ("tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1];", "test.ptx:21: `tex.2d.v4.f32.f32` is not executed"),
        ("add.cc.u32 %r1, %r2, %r3;", "test.ptx:21: `add.cc.u32` is not executed"),
        ("div.rz.f32 %f1, %f2, %f3;", "test.ptx:21: `div.rz.f32` is not executed"),
        ("add.s32 %r1, %rd1, %r2;", "test.ptx:21: an operand is no value of the instruction's type"),
        ("bra NOWHERE;", "test.ptx:21: there is no label `NOWHERE`"),
    ] {
        let error = support::program::try_run(statement, 32, &[], 32, Default::default()).expect_err(statement);
        assert_eq!(error.to_string(), expected);
    }
}
