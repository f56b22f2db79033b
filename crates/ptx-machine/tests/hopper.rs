//! Instructions of sm_90, in the kernels of the tree that were written to test them and in small programs.

mod support;

use ptx_machine::{Argument, Launch, Options};
use support::bench::{Bench, Type, close, dense, random};
use support::program::{fault, run, run_text, text};

#[test]
fn boxes_are_loaded_with_zeros_outside_the_tensor() {
    let mut bench = bench!("self_test/hopper_sm90.cu");
    let dims = [16, 5, 4, 3, 2];
    let box_dims = [8, 3, 2, 2, 2];
    for rank in 2..=5 {
        let (dims, box_dims) = (&dims[..rank], &box_dims[..rank]);
        let x: Vec<f64> = (1..=dims.iter().product::<u32>()).map(f64::from).collect();
        let x_at = bench.upload(Type::F32, &x);
        let words = box_dims.iter().product::<u32>();
        for corner in [[0i32; 5], [12, 3, -1, 2, 1], [-4, -1, 3, -1, -1]] {
            let out = bench.empty(Type::F32, words as usize);
            let tensor = dense(x_at, Type::F32, dims, box_dims, false);
            let mut arguments = vec![Argument::from(out), Argument(tensor.encode()), Argument::from(words)];
            arguments.extend(corner.map(Argument::from));
            let launch = Launch { dynamic_shared_bytes: 4096, ..Launch::new(1, 64, arguments) };
            let counters = bench.launch(&format!("load_boxILi{rank}E"), &launch);
            assert_eq!(counters.total.tensor_copy_bytes, 4 * u64::from(words));
            let exact: Vec<f64> = (0..words)
                .map(|word| {
                    let (mut rest, mut at, mut step) = (word, 0i64, 1i64);
                    for dim in 0..rank {
                        let index = i64::from(rest % box_dims[dim]) + i64::from(corner[dim]);
                        rest /= box_dims[dim];
                        if !(0..i64::from(dims[dim])).contains(&index) {
                            return 0.0;
                        }
                        at += index * step;
                        step *= i64::from(dims[dim]);
                    }
                    x[at as usize]
                })
                .collect();
            close("box", &bench.read(Type::F32, out, words as usize), &exact, 0.0, 0.0);
        }
    }
}

#[test]
fn boxes_are_stored_only_inside_the_tensor() {
    let mut bench = bench!("self_test/hopper_sm90.cu");
    let (dims, box_dims) = ([16, 5, 4, 3], [8, 3, 2, 2]);
    for rank in 2..=4 {
        let (dims, box_dims) = (&dims[..rank], &box_dims[..rank]);
        let (size, words) = (dims.iter().product::<u32>(), box_dims.iter().product::<u32>());
        let y_at = bench.upload(Type::F32, &vec![-1.0; size as usize]);
        let given: Vec<f64> = (1..=words).map(f64::from).collect();
        let in_at = bench.upload(Type::F32, &given);
        let corner = [12, -1, 3, 1];
        let tensor = dense(y_at, Type::F32, dims, box_dims, false);
        let mut arguments = vec![Argument(tensor.encode()), Argument::from(in_at), Argument::from(words)];
        arguments.extend(corner.map(Argument::from));
        let launch = Launch { dynamic_shared_bytes: 4096, ..Launch::new(1, 64, arguments) };
        bench.launch(&format!("store_boxILi{rank}E"), &launch);
        let exact: Vec<f64> = (0..size)
            .map(|element| {
                let (mut rest, mut word, mut step) = (element, 0i64, 1i64);
                for dim in 0..rank {
                    let index = i64::from(rest % dims[dim]) - i64::from(corner[dim]);
                    rest /= dims[dim];
                    if !(0..i64::from(box_dims[dim])).contains(&index) {
                        return -1.0;
                    }
                    word += index * step;
                    step *= i64::from(box_dims[dim]);
                }
                given[word as usize]
            })
            .collect();
        close("tensor", &bench.read(Type::F32, y_at, size as usize), &exact, 0.0, 0.0);
    }
    let y_at = bench.empty(Type::F32, 256);
    let tensor = dense(y_at, Type::F32, &[32, 8], &[32, 1], false);
    let launch = Launch { dynamic_shared_bytes: 256, ..Launch::new(1, 32, vec![Argument(tensor.encode())]) };
    bench.launch("store_manyILi0E", &launch);
    close("rows", &bench.read(Type::F32, y_at, 256), &(0..256).map(f64::from).collect::<Vec<_>>(), 0.0, 0.0);
}

#[test]
fn blocks_of_a_cluster_load_for_each_other() {
    let mut bench = bench!("self_test/hopper_sm90.cu");
    let (steps, blocks) = (5, 4);
    let x = Type::F32.stored(&random(1, 2 * steps * 32));
    let x_at = bench.upload(Type::F32, &x);
    for rank in [3, 4] {
        let dims = [32, 2 * steps as u32, 1, 1];
        let tensor = dense(x_at, Type::F32, &dims[..rank], &[32, 1, 1, 1][..rank], false);
        let out = bench.empty(Type::F32, 32 * blocks);
        let arguments = vec![Argument::from(out), Argument(tensor.encode()), Argument::from(steps as i32)];
        let launch =
            Launch { cluster: [2, 1, 1], dynamic_shared_bytes: 1024, ..Launch::new(blocks as u32, 64, arguments) };
        let counters = bench.launch(&format!("sum_in_clusterILi{rank}ELi0E"), &launch);
        // Each box of 128 bytes goes to two blocks.
        assert_eq!(counters.total.tensor_copy_bytes, (blocks * steps * 256) as u64);
        let exact: Vec<f64> = (0..32 * blocks)
            .map(|i| {
                let (rank, lane) = ((i / 32 % 2 + 1) as f64, i % 32);
                (0..steps).map(|s| rank * x[2 * s * 32 + lane] + x[(2 * s + 1) * 32 + lane]).sum()
            })
            .collect();
        close("sums", &bench.read(Type::F32, out, 32 * blocks), &exact, 1e-6, 1e-6);
    }
}

#[test]
fn pipelines_of_copies_and_products_agree_with_float64() {
    let mut bench = bench!("self_test/hopper_sm90.cu");
    let names: Vec<String> =
        bench.module.kernels().filter(|name| name.contains("7productI")).map(str::to_owned).collect();
    let mut checked = 0;
    for name in names {
        // _Z7productILi64ELb0ELb0ELb0ELi0EE...
        let numbers = name.split("7productIL").nth(1).unwrap().split("EL").map(|part| leading_number(&part[1..]));
        let [n, a_mn, b_mn, _, bug] = numbers.take(5).collect::<Vec<_>>()[..] else { panic!("{name}") };
        product(&mut bench, &name, n, [a_mn == 1, b_mn == 1], bug);
        checked += 1;
    }
    assert!(checked >= 20, "{checked}");
}

fn leading_number(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn product(bench: &mut Bench, name: &str, n: usize, [a_mn, b_mn]: [bool; 2], bug: usize) {
    let steps = 3;
    let k = 64 * steps;
    let (a, b) = (Type::Bf16.stored(&random(2, 64 * k)), Type::Bf16.stored(&random(3, n * k)));
    // The second half of rows of 64 columns is what one kernel reads of b.
    let columns = if bug == 17 { 64 } else { n };
    let transposed =
        |values: &[f64], rows: usize| -> Vec<f64> { (0..k * rows).map(|i| values[i % rows * k + i / rows]).collect() };
    let a_at = bench.upload(Type::Bf16, &if a_mn { transposed(&a, 64) } else { a.clone() });
    let b_stored = if bug == 17 {
        (0..k * 64).map(|i| if i % 64 < 32 { 9.0 } else { b[(i % 64 - 32) * k + i / 64] }).collect()
    } else if b_mn {
        transposed(&b, n)
    } else {
        b.clone()
    };
    let b_at = bench.upload(Type::Bf16, &b_stored);
    let rows_at = bench.upload(Type::Bf16, &a);
    let tensor = |at, rows: u32, mn: bool| {
        let (dims, box_dims) = if mn { ([rows, k as u32], [64, 64]) } else { ([k as u32, rows], [64, rows]) };
        Argument(dense(at, Type::Bf16, &dims, &box_dims, true).encode())
    };
    let c_at = bench.empty(Type::F32, 64 * n);
    let arguments = vec![
        Argument::from(c_at),
        tensor(a_at, 64, a_mn),
        tensor(b_at, columns as u32, b_mn),
        Argument::from(rows_at),
        Argument::from(steps as i32),
    ];
    let launch = Launch { dynamic_shared_bytes: 100 << 10, ..Launch::new(1, 160, arguments) };
    let counters = bench.launch(name, &launch);
    assert_eq!(counters.total.tensor_flops, (2 * 64 * n * k) as u64, "{name}");
    let out = bench.read(Type::F32, c_at, 64 * n);
    let exact: Vec<f64> = (0..64 * n)
        .map(|i| {
            let (row, column) = (i / n, i % n);
            let scale = if bug == 15 { 2.0 } else { 1.0 };
            // Restarted: in each step, what stands before the third product of 16 is forgotten.
            let first = if bug == 16 { k - 32 } else { 0 };
            (first..k).map(|j| scale * a[row * k + j] * b[column * k + j]).sum()
        })
        .collect();
    close(name, &out, &exact, 1e-5, 1e-5);
}

#[test]
fn matrices_go_to_shared_memory_and_back() {
    let mut bench = bench!("self_test/hopper_sm90.cu");
    let (out, elected) = (bench.empty(Type::F32, 256), bench.upload(Type::F32, &[0.0]));
    let arguments = vec![Argument::from(out), Argument::from(elected)];
    let launch = Launch { dynamic_shared_bytes: 512, ..Launch::new(1, 32, arguments) };
    bench.launch("store_matrices", &launch);
    let words = bench.machine.memory.read(out, 1024).unwrap();
    for (i, word) in words.chunks(4).enumerate() {
        let (transposed, matrix, lane) = (i >= 128, i / 32 % 4, i % 32);
        // Element (row, column) of a matrix holds its number; transposed, that of (column, row).
        let element = |column: usize| {
            let row = lane / 4;
            matrix * 64 + if transposed { column * 8 + row } else { row * 8 + column }
        };
        let expected = element(2 * (lane % 4)) | element(2 * (lane % 4) + 1) << 16;
        assert_eq!(u32::from_le_bytes(word.try_into().unwrap()), expected as u32, "{i}");
    }
    assert_eq!(bench.machine.memory.read(elected, 4).unwrap(), [1, 0, 0, 0]);
}

#[test]
fn transaction_barriers_count_arrivals_by_phase() {
    // Warp 1 waits for 32 arrivals of warp 0, twice; between the phases it takes what warp 0 wrote.
    let body = "
        setp.ne.u32 %p1, %r0, 0;
        mov.u32 %r5, buffer;
        @%p1 bra MADE;
        mbarrier.init.shared::cta.b64 [%r5], 32;
        mbarrier.init.shared::cta.b64 [%r5+8], 32;
        MADE: bar.sync 0;
        mov.u32 %r1, 0;
        setp.lt.u32 %p2, %r0, 32;
        and.b32 %r6, %r0, 31;
        shl.b32 %r6, %r6, 2;
        add.s32 %r6, %r6, %r5;
        mov.u32 %r9, 0;
        LOOP: @%p2 bra GIVE;
        TAKE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r5], %r1;
        @!%p3 bra TAKE;
        ld.shared.u32 %r7, [%r6+64];
        mad.lo.s32 %r9, %r9, 1000, %r7;
        mbarrier.arrive.shared::cta.b64 _, [%r5+8];
        bra.uni NEXT;
        GIVE: mad.lo.s32 %r7, %r1, 500, %r0;
        st.shared.u32 [%r6+64], %r7;
        mbarrier.arrive.shared::cta.b64 _, [%r5];
        FREE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r5+8], %r1;
        @!%p3 bra FREE;
        NEXT: add.s32 %r1, %r1, 1;
        setp.lt.u32 %p4, %r1, 2;
        @%p4 bra LOOP;
        st.global.u32 [%own], %r9;";
    let words = run(body, 64, &[], 64);
    assert_eq!(words[32..], (0..32).map(|i| i * 1000 + 500 + i).collect::<Vec<u32>>());
}

#[test]
fn faults_of_barriers_copies_and_clusters_say_what_is_wrong() {
    let init = "mov.u32 %r5, buffer;\nmbarrier.init.shared::cta.b64 [%r5], 2;\n";
    let wait = "W: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r5], 0;\n@!%p3 bra W;";
    let cases = [
        (wait.replace("[%r5]", "[buffer]"), "was not initialised"),
        (
            format!("{init}mbarrier.arrive.shared::cta.b64 _, [%r5];\n{wait}"),
            "deadlock: warp 0 of block [0, 0, 0] waits for parity 0 of the transaction barrier at 0x400, which lacks 1 arrivals and 0 bytes",
        ),
        (
            format!(
                "{init}mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r5], 64;\nmbarrier.arrive.shared::cta.b64 _, [%r5];\n{wait}"
            ),
            "lacks 0 arrivals and 64 bytes",
        ),
        (format!("{init}mbarrier.arrive.shared::cta.b64 _, [%r5], 3;"), "more than 2 arrivals"),
        (format!("{init}mapa.shared::cluster.u32 %r6, %r5, 1;"), "the cluster has no block 1"),
        (
            format!(
                "{init}cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [buffer+128], [%out, {{%r0, %r0}}], [%r5];"
            ),
            "there is no tensor map",
        ),
        ("add.s32 %r5, %r0, 4;\nmbarrier.init.shared::cta.b64 [%r5], 1;".into(), "no room for a transaction barrier"),
    ];
    for (body, expected) in cases {
        let message = fault(&body, 1);
        assert!(message.contains(expected), "{body}\n{message}");
    }
    let message = fault(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f1,%f2,%f3,%f4}, %rd1, %rd1, %p1, 1, 1, 0, 0;",
        128,
    );
    assert!(message.contains("a's descriptor 0x0000000000000000: only the 128-byte swizzle"), "{message}");
}

#[test]
fn a_block_that_reaches_for_one_that_has_ended_fails() {
    let body = "
        mov.u32 %r1, %cluster_ctarank;
        setp.eq.u32 %p1, %r1, 0;
        @%p1 bra END;
        mov.u32 %r5, buffer;
        mapa.shared::cluster.u32 %r6, %r5, 0;
        ld.shared::cluster.u32 %r7, [%r6];
        END:";
    let launch = Launch { cluster: [2, 1, 1], ..Launch::new(2, 32, vec![]) };
    let error = run_text(&text(body), "test", &launch, &[], 32, Options::default()).expect_err("it has ended");
    assert!(error.to_string().contains("the cluster's block 0 is used, which has ended"), "{error}");
    // With a barrier of the cluster at the end, it has not.
    let together = body.replace(
        "END:",
        "st.shared.u32 [buffer], %r0;\nEND: barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;",
    );
    run_text(&text(&together), "test", &launch, &[], 32, Options::default()).unwrap();
}

#[test]
fn tensor_copies_take_effect_as_late_as_they_may() {
    let tensor = "
        mov.u32 %r5, buffer;
        mbarrier.init.shared::cta.b64 [%r5], 1;
        mov.b64 %rd1, map;
        cvta.param.u64 %rd1, %rd1;
        add.s32 %r6, %r5, 128;
        mov.u32 %r7, 0;
        ";
    let load = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r5], 128;
        cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r6], [%rd1, {%r7, %r7}], [%r5];
        ";
    let wait = "W: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r5], 0;\n@!%p3 bra W;\n";
    let read = "ld.shared.u32 %r8, [%r6+4];\nst.global.u32 [%own], %r8;";
    let run = |body: &str| {
        let mut machine = ptx_machine::Machine::default();
        let text = text(body).replace("(.param .u64 out)", "(.param .u64 out, .param .align 64 .b8 map[128])");
        let module = machine.load("test.ptx", &text).unwrap();
        let (x, out) = (machine.memory.allocate(128), machine.memory.allocate(128));
        machine.memory.write(x, &(1..=32u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        machine.memory.write(out, &[0; 128]).unwrap();
        let tensor = dense(x, Type::F32, &[32, 1], &[32, 1], false);
        let launch = Launch::new(1, 1, vec![Argument::from(out), Argument(tensor.encode())]);
        machine.launch(&module, "test", &launch, &Options::default())?;
        let first = |at| u32::from_le_bytes(machine.memory.read(at, 4).unwrap().try_into().unwrap());
        Ok::<_, ptx_machine::Error>((first(out), first(x)))
    };
    assert_eq!(run(&format!("{tensor}{load}{wait}{read}")), Ok((2, 1)));
    assert_eq!(run(&format!("{tensor}{load}{read}")), Ok((u32::MAX, 1)), "nobody has waited");
    // The buffer is overwritten before the store is waited for, and after.
    let store = "st.shared.u32 [%r6], 7;
        cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd1, {%r7, %r7}], [%r6];
        cp.async.bulk.commit_group;
        ";
    let (waits, overwrites) = ("cp.async.bulk.wait_group.read 0;\n", "st.shared.u32 [%r6], 9;\n");
    assert_eq!(run(&format!("{tensor}{store}{waits}{overwrites}")), Ok((0, 7)));
    assert_eq!(run(&format!("{tensor}{store}{overwrites}{waits}")), Ok((0, 9)), "too early");
    let error = run(&format!("{tensor}{store}")).expect_err("nobody has waited").to_string();
    assert!(error.contains("ends before its tensor stores have read"), "{error}");
}

#[test]
fn attention_agrees_with_float64() {
    let mut bench = bench!("attention/forward_sm90.cu");
    // Queries and keys in part tiles; more tiles than blocks.
    let (n, l, heads, depth) = (2, 150, 2, 64);
    let width = heads * depth;
    let qkv = Type::Bf16.stored(&random(7, n * l * 3 * width).iter().map(|x| 2.0 * x).collect::<Vec<_>>());
    let qkv_at = bench.upload(Type::Bf16, &qkv);
    let (out_at, lse_at) = (bench.empty(Type::Bf16, n * l * width), bench.empty(Type::F32, n * heads * l));
    let dims = [width as u32, 3, l as u32, n as u32];
    let arguments = vec![
        Argument(dense(out_at, Type::Bf16, &[dims[0], dims[2], dims[3]], &[64, 64, 1], true).encode()),
        Argument::from(lse_at),
        Argument(dense(qkv_at, Type::Bf16, &dims, &[64, 1, 64, 1], true).encode()),
        Argument::from(n as i32),
        Argument::from(l as i32),
        Argument::from(heads as i32),
        Argument::from(2i32),
    ];
    let launch = Launch { dynamic_shared_bytes: 100 << 10, ..Launch::new(3, 384, arguments) };
    bench.launch("attention_fwd_sm90ILi64ELi64E", &launch);
    let at = |image: usize, token: usize, matrix: usize, head: usize, i: usize| {
        qkv[((image * l + token) * 3 + matrix) * width + head * depth + i]
    };
    let (mut out, mut lse) = (vec![0.0; n * l * width], vec![0.0; n * heads * l]);
    for (image, head) in (0..n).flat_map(|image| (0..heads).map(move |head| (image, head))) {
        for query in 0..l {
            let score = |key: usize| {
                (0..depth).map(|i| at(image, query, 0, head, i) * at(image, key, 1, head, i)).sum::<f64>()
                    / (depth as f64).sqrt()
            };
            let weights: Vec<f64> = (0..l).map(|key| score(key).exp()).collect();
            let total: f64 = weights.iter().sum();
            lse[(image * heads + head) * l + query] = total.ln();
            for i in 0..depth {
                let sum: f64 = (0..l).map(|key| weights[key] * at(image, key, 2, head, i)).sum();
                out[(image * l + query) * width + head * depth + i] = sum / total;
            }
        }
    }
    close("lse", &bench.read(Type::F32, lse_at, lse.len()), &lse, 1e-5, 1e-5);
    // The weights are rounded to bf16 on their way into the second product, and the result once more.
    close("out", &bench.read(Type::Bf16, out_at, out.len()), &out, 2.0f64.powi(-7), 4e-3);
}
