//! Races planted in the PTX that nvcc emits: a barrier, a wait or a fence taken out, or made weaker. Each is reported with the
//! two lines of the CUDA source that are at odds. Without a change, the kernels are silent.

mod support;

use ptx_machine::{Error, Options, Party};
use support::beds::{
    ATTENTION, Bed, CLUSTER, CONVOLUTION, DOUBLED, FRAGMENTS, KEYS, NORM, PRODUCT, QUERIES, QUERIES_AGAIN, STORES,
    changed, without,
};

type Change = Box<dyn Fn(&str) -> String>;

/// Contents of a report: its reason, and a part of each party's opcode and line of the kernel.
type Expected = (&'static str, [(&'static str, &'static str); 2]);

fn options() -> Options {
    Options { races: true, warp_instructions: 200_000, ..Options::default() }
}

/// The line of the source at which a party stands, and the line at which the kernel calls what has been inlined there.
fn lines(party: &Party) -> Vec<String> {
    let place = |(file, line): &(String, u32)| {
        // Functions of the toolkit's headers are inlined as well.
        let (_, path) = file.rsplit_once("/kernels/")?;
        let text = std::fs::read_to_string(format!("../../kernels/{path}")).expect("a kernel's file");
        text.lines().nth(*line as usize - 1).map(|line| line.trim().to_owned())
    };
    [&party.source, &party.caller].into_iter().flatten().filter_map(place).collect()
}

/// Takes out the instruction number `which` of those that begin so.
fn out(instruction: &'static str, which: usize) -> Change {
    Box::new(move |text| without(text, instruction, Some(which)))
}

/// Makes the wait number `which` one for all but `pending` groups.
fn pending(instruction: &'static str, which: usize, pending: u32) -> Change {
    Box::new(move |text| {
        changed(text, instruction, Some(which), |wait| {
            format!("{} {pending};", wait.trim_end_matches(|c: char| c.is_ascii_digit() || c == ';').trim_end())
        })
    })
}

/// Goes past the wait number `which` for a transaction barrier.
fn unwaited(which: usize) -> Change {
    Box::new(move |text| {
        changed(text, "AGAIN: mbarrier.try_wait", Some(which), |_| "setp.eq.u32 done, 0, 0;\nAGAIN:".to_owned())
    })
}

/// Waits, at wait number `which`, for the other parity.
fn other_phase(which: usize) -> Change {
    Box::new(move |text| {
        changed(text, "AGAIN: mbarrier.try_wait", Some(which), |wait| {
            let (start, parity) = wait.trim_end_matches(';').rsplit_once(' ').expect("an operand");
            format!(".reg .b32 other;\nxor.b32 other, {parity}, 1;\n{start} other;")
        })
    })
}

#[track_caller]
fn check(bed: &Bed, cases: Vec<(&str, Change, Expected)>) {
    match bed.run(str::to_owned, &options()) {
        None => skip!("no nvcc (scripts/cuda-toolkit.sh)"),
        Some(Err(error)) => panic!("unchanged: {error}"),
        Some(Ok(_)) => {}
    }
    for (name, change, (reason, parties)) in cases {
        let found = bed.run(&*change, &options()).expect("there is a compiler");
        let race = match found {
            Err(Error::Race(race)) => race,
            other => panic!("{name}: {:?}", other.map(|_| "silent")),
        };
        assert!(race.reason.contains(reason), "{name}: {race}");
        let found = [race.first.as_ref(), Some(&race.second)];
        for (party, (opcode, text)) in found.into_iter().zip(parties) {
            let Some(party) = party else {
                assert_eq!(opcode, "", "{name}: {race}");
                continue;
            };
            let lines = lines(party);
            assert!(party.opcode.starts_with(opcode) && !opcode.is_empty(), "{name}: {race}");
            assert!(lines.iter().any(|line| line.contains(text)), "{name}: {lines:?}, {race}");
        }
    }
}

const LATE: &str = "may complete before a warp that waits for the phase before has seen that";
const LOAD_A: &str = "tma_load_2d(stage.a";
const MULTIPLY: &str = "wgmma_m64k16_bf16<N, A_MN_MAJOR, B_MN_MAJOR>(d, a_desc, b_desc, accumulate)";

#[test]
fn a_pipeline_of_tensor_loads_and_products() {
    let overwritten = ("is written while a product reads it", [("wgmma", MULTIPLY), ("cp.async.bulk.tensor", LOAD_A)]);
    check(
        &PRODUCT,
        vec![
            ("no wait for products", out("wgmma.wait_group", 0), overwritten),
            ("a wait for all but one group", pending("wgmma.wait_group", 0, 1), overwritten),
            ("products in no group", out("wgmma.commit_group", 0), overwritten),
            (
                "no fence of products",
                out("wgmma.fence", 0),
                ("no wgmma.fence stands before the first product", [("", ""), ("wgmma", MULTIPLY)]),
            ),
            (
                "no meeting after barriers are made",
                out("bar.sync", 0),
                (
                    "is used without being ordered after it was made",
                    [
                        ("mbarrier.init", "mbar_init(&shared->empty[s], 128)"),
                        ("mbarrier.try_wait", "mbar_wait(&shared->empty[s]"),
                    ],
                ),
            ),
            (
                "no fence after barriers are made",
                Box::new(|text| without(&without(text, "fence.proxy.async", None), "fence.mbarrier_init", None)),
                (
                    "is used by a tensor copy without fence",
                    [("mbarrier.init", "mbar_init(&shared->full[s], 1)"), ("cp.async.bulk.tensor", LOAD_A)],
                ),
            ),
            (
                "a stage is loaded before it is left",
                unwaited(3),
                (
                    "is written while a tensor load writes it",
                    [("cp.async.bulk.tensor", LOAD_A), ("cp.async.bulk.tensor", LOAD_A)],
                ),
            ),
            (
                "a stage is multiplied before it is loaded",
                unwaited(6),
                ("is read while a tensor load writes it", [("cp.async.bulk.tensor", LOAD_A), ("wgmma", MULTIPLY)]),
            ),
            (
                "a wait for the wrong phase",
                other_phase(6),
                ("is read while a tensor load writes it", [("cp.async.bulk.tensor", LOAD_A), ("wgmma", MULTIPLY)]),
            ),
            (
                "a stage whose phase goes by unseen",
                unwaited(5),
                (
                    LATE,
                    [
                        ("mbarrier.arrive", "mbar_arrive(&shared->empty[s])"),
                        ("mbarrier.try_wait", "mbar_wait(&shared->empty[s]"),
                    ],
                ),
            ),
        ],
    );
}

#[test]
fn an_operand_that_threads_change_where_it_lies() {
    let doubles = "stage.a[i] = from_float<__nv_bfloat16>(2.f * to_float(stage.a[i]))";
    check(
        &DOUBLED,
        vec![
            (
                "no proxy fence",
                out("fence.proxy.async", 1),
                (
                    "is read by a product without fence.proxy.async after a store",
                    [("st.shared", doubles), ("wgmma", MULTIPLY)],
                ),
            ),
            (
                "no named barrier",
                out("bar.sync", 1),
                ("is written while a product reads it", [("wgmma", MULTIPLY), ("st.shared", doubles)]),
            ),
        ],
    );
}

#[test]
fn fragments_from_registers() {
    let multiply = "wgmma_m64k16_bf16<N, B_MN_MAJOR>(d, fragments[k], b_desc, accumulate)";
    let overwritten = (
        "a fragment of a, which a product that was not waited for reads, is overwritten",
        [("wgmma", multiply), ("ld.global", "&a_rows[")],
    );
    check(
        &FRAGMENTS,
        vec![
            ("no wait for products", out("wgmma.wait_group", 0), overwritten),
            (
                "no fence after fragments are loaded",
                Box::new(|text| {
                    // In the first step the fence comes before the loads.
                    let fence = "wgmma.fence.sync.aligned;";
                    without(text, "wgmma.fence", None).replacen("bar.sync \t0;", &format!("bar.sync 0;\n{fence}"), 1)
                }),
                (
                    "no wgmma.fence stands between a write of a product's register and the product",
                    [("ld.global", "&a_rows["), ("wgmma", multiply)],
                ),
            ),
        ],
    );
}

#[test]
fn boxes_that_are_stored_through_two_buffers() {
    let (fills, stores) = ("boxes[i % 2 * 32 + threadIdx.x] = float(", "tma_store_2d(&y, boxes + i % 2 * 32, 0, i)");
    let overwritten =
        ("is written while a tensor store reads it", [("cp.async.bulk.tensor", stores), ("st.shared", fills)]);
    check(
        &STORES,
        vec![
            ("no wait for a store", out("cp.async.bulk.wait_group", 1), overwritten),
            ("a wait for all but two groups", pending("cp.async.bulk.wait_group.read", 1, 2), overwritten),
            ("a store in no group", out("cp.async.bulk.commit_group", 0), overwritten),
            (
                "no proxy fence",
                out("fence.proxy.async", 3),
                (
                    "is read by a tensor copy without fence.proxy.async after a store",
                    [("st.shared", fills), ("cp.async.bulk.tensor", stores)],
                ),
            ),
        ],
    );
}

#[test]
fn blocks_of_a_cluster_that_load_for_each_other() {
    let (load, sums) = ("tma_load_3d_multicast(row", "sum += (rank + 1) * shared->rows");
    check(
        &CLUSTER,
        vec![
            (
                "rows are added before they are loaded",
                unwaited(5),
                ("is read while a tensor load writes it", [("cp.async.bulk.tensor", load), ("ld.shared", sums)]),
            ),
            (
                "a stage is loaded before it is left",
                unwaited(3),
                (
                    "is written while a tensor load writes it",
                    [("cp.async.bulk.tensor", load), ("cp.async.bulk.tensor", load)],
                ),
            ),
        ],
    );
}

#[test]
fn attention() {
    let (scores, tokens) = ("multiply_scores<D, KEYS>(s", "multiply_tokens<D, KEYS>(d, p");
    let (soften, fade) = ("soften<KEYS>(s, maximum, sum, fade, c)", "d[i] *= fade[i / 2 % 2]");
    let (write, store) = ("write_slabs<D>(q", "tma_store_3d(&out");
    let read = "an accumulator of a product that was not waited for is read";
    let unfenced = "no wgmma.fence stands between a write of a product's register and the product";
    check(
        &ATTENTION,
        vec![
            ("no wait for the first scores", out("wgmma.wait_group", 0), (read, [("wgmma", scores), ("max", soften)])),
            ("no wait for scores", out("wgmma.wait_group", 1), (read, [("wgmma", scores), ("max", soften)])),
            (
                "a wait for scores that lets two run",
                pending("wgmma.wait_group", 1, 2),
                (read, [("wgmma", scores), ("max", soften)]),
            ),
            ("no wait for values", out("wgmma.wait_group", 2), (read, [("wgmma", tokens), ("mul", fade)])),
            (
                "a wait for values that lets one run",
                pending("wgmma.wait_group", 2, 1),
                (read, [("wgmma", tokens), ("mul", fade)]),
            ),
            ("no last wait", out("wgmma.wait_group", 3), (read, [("wgmma", tokens), ("mul", write)])),
            ("no fence before scores", out("wgmma.fence", 1), (unfenced, [("ex2", soften), ("wgmma", scores)])),
            ("no fence before the last values", out("wgmma.fence", 3), (unfenced, [("mul", fade), ("wgmma", tokens)])),
            (
                "the result takes the place of queries that are read",
                out("bar.sync", 1),
                ("is written while a product reads it", [("wgmma", scores), ("stmatrix", write)]),
            ),
            (
                "no meeting before the result is stored",
                out("bar.sync", 2),
                ("is written while a tensor store reads it", [("cp.async.bulk.tensor", store), ("stmatrix", write)]),
            ),
            (
                "no proxy fence before the result is stored",
                out("fence.proxy.async", 1),
                (
                    "is read by a tensor copy without fence.proxy.async after a store",
                    [("stmatrix", write), ("cp.async.bulk.tensor", store)],
                ),
            ),
            (
                "queries are left before the result is read",
                out("cp.async.bulk.wait_group.read", 0),
                (
                    "is written while a tensor store reads it",
                    [("cp.async.bulk.tensor", store), ("cp.async.bulk.tensor", "load_tokens<D>(queries.buffer()")],
                ),
            ),
            (
                "queries are loaded before they are left",
                unwaited(0),
                (
                    "is written while a product reads it",
                    [("wgmma", scores), ("cp.async.bulk.tensor", "load_tokens<D>(queries.buffer()")],
                ),
            ),
            (
                "queries are multiplied before they are loaded",
                unwaited(15),
                (
                    "is read while a tensor load writes it",
                    [("cp.async.bulk.tensor", "load_tokens<D>(queries.buffer()"), ("wgmma", scores)],
                ),
            ),
            (
                "values are multiplied before they are loaded",
                unwaited(18),
                (
                    "is read while a tensor load writes it",
                    [("cp.async.bulk.tensor", "load_tokens<D>(values.buffer()"), ("wgmma", tokens)],
                ),
            ),
        ],
    );
}

#[test]
fn a_convolution_of_sm_80() {
    let (copies, multiplies) = (("cp.async", "pred ? 16 : 0"), ("ldmatrix", "__cvta_generic_to_shared(row)"));
    let (writes, stores) =
        (("st.shared", "shared->c[row][column] = "), ("ld.shared", "reinterpret_cast<const Word*>(p)"));
    check(
        &CONVOLUTION,
        vec![
            (
                "no wait for copies",
                out("cp.async.wait_group", 0),
                ("is read while cp.async writes it", [copies, multiplies]),
            ),
            (
                "a wait for copies that lets three groups run",
                pending("cp.async.wait_group", 0, 3),
                ("is read while cp.async writes it", [copies, multiplies]),
            ),
            (
                "copies in no group",
                out("cp.async.commit_group", 3),
                ("is read while cp.async writes it", [copies, multiplies]),
            ),
            (
                "no barrier in the loop",
                out("bar.sync", 0),
                ("is written without being ordered after a read", [multiplies, copies]),
            ),
            (
                "no barrier after the loop",
                out("bar.sync", 1),
                ("is read without being ordered after a write", [writes, multiplies]),
            ),
            (
                "no barrier before the result is read",
                out("bar.sync", 2),
                ("is written without being ordered after a read", [stores, writes]),
            ),
        ],
    );
}

#[test]
fn a_sum_over_blocks() {
    let parts = (
        "global memory at",
        [("st.global", "grid_sum<256>(sum, partial, counter)"), ("ld.global", "grid_sum<256>(sum, partial, counter)")],
    );
    check(
        &NORM,
        vec![
            ("no fence before the counter moves", out("membar.gl", 0), parts),
            ("no fence after it has moved", out("membar.gl", 1), parts),
            ("a fence for the block alone", Box::new(|text| text.replacen("membar.gl", "membar.cta", 1)), parts),
            (
                "no meeting before the last block is known",
                out("bar.sync", 3),
                (
                    "is read without being ordered after a write",
                    [("st.shared", "grid_sum<256>"), ("ld.shared", "grid_sum<256>")],
                ),
            ),
            (
                "no meeting before warps' sums are added",
                out("bar.sync", 1),
                (
                    "is written without being ordered after a read",
                    [("ld.shared", "x[i] += partial[i][warp]"), ("st.shared", "partial[i][threadIdx.x / 32] = x[i]")],
                ),
            ),
        ],
    );
}

#[test]
fn gradients_of_attention() {
    let (values, upstream) = ("multiply_scores<D, BOX>(s, values.buffer()", "tma_load_3d(upstream.buffer()");
    let (write, store) = ("write_slabs<BOX>(shared->ds", "tma_store_3d(&ds");
    check(
        &KEYS,
        vec![
            (
                "no wait for scores",
                out("wgmma.wait_group", 1),
                ("is written while a product reads it", [("wgmma", values), ("cp.async.bulk.tensor", upstream)]),
            ),
            (
                "no wait for the store of ds",
                out("cp.async.bulk.wait_group", 0),
                ("is written while a tensor store reads it", [("cp.async.bulk.tensor", store), ("stmatrix", write)]),
            ),
            (
                "no proxy fence before the store of ds",
                out("fence.proxy.async", 1),
                ("without fence.proxy.async after a store", [("stmatrix", write), ("cp.async.bulk.tensor", store)]),
            ),
            (
                "no fence before fragments are multiplied",
                out("wgmma.fence", 1),
                (
                    "no wgmma.fence stands between a write of a product's register and the product",
                    [("cvt", "pack<BOX>(a, s)"), ("wgmma", "multiply_tokens<D, BOX>(d[head]")],
                ),
            ),
        ],
    );
    let product = "wgmma_m64k16_bf16<D, true, true>(d, a + k";
    let overwritten = (
        "is written while a product reads it",
        [("wgmma", product), ("cp.async.bulk.tensor", "tma_load_3d(ring.buffer()")],
    );
    check(&QUERIES, vec![("no wait for the product before", out("wgmma.wait_group", 1), overwritten)]);
    check(&QUERIES_AGAIN, vec![]);
}
