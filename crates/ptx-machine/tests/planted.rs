//! Faults planted in the PTX that nvcc emits: in strings of assembly, in the layout of parameters, in launch bounds. Each is
//! noticed, by a message or by a wrong result. Races are planted in `planted_races.rs`.

mod support;

use ptx_machine::{Argument, Launch, Options, TensorMap};
use support::bench::{Bench, Type, random};

const KERNEL: &str = "_Z7productILi64ELb0ELb0ELb0ELi0EEvPf9TensorMapS1_PK13__nv_bfloat16i";

/// Removes the instructions whose text begins so, up to their semicolon.
fn without(text: &str, instruction: &str) -> String {
    support::beds::without(text, instruction, None)
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

/// Runs the two-stage pipeline of tensor copies and products after a change of its text: what it says, or `right`, or
/// `wrong`.
fn run(change: &dyn Fn(&str) -> String, races: bool) -> Option<String> {
    let mut bench = Bench::changed("self_test/hopper_sm90.cu", |text| {
        let start = text.find(&format!(".visible .entry {KERNEL}(")).expect("the kernel");
        let end = text[start + 1..].find(".visible .entry").expect("a kernel after it") + start + 1;
        // The kernel alone, with everything that stands before the first.
        let head = text.find(".visible .entry").expect("a kernel");
        format!("{}{}", &text[..head], change(&text[start..end]))
    })?;
    let (n, k) = (64, 192);
    let (a, b) = (Type::Bf16.stored(&random(2, 64 * k)), Type::Bf16.stored(&random(3, n * k)));
    let tensor = |address| {
        let map = TensorMap {
            address,
            element_bytes: 2,
            dims: vec![k as u32, 64],
            strides_bytes: vec![2 * k as u64],
            box_dims: vec![64, 64],
            element_strides: vec![1, 1],
            swizzle_128: true,
        };
        Argument(map.encode())
    };
    let (a_at, b_at, c_at) =
        (bench.upload(Type::Bf16, &a), bench.upload(Type::Bf16, &b), bench.empty(Type::F32, 64 * n));
    let arguments =
        vec![Argument::from(c_at), tensor(a_at), tensor(b_at), Argument::from(a_at), Argument::from(k as i32 / 64)];
    let launch = Launch { dynamic_shared_bytes: 40 << 10, ..Launch::new(1, 160, arguments) };
    let options = Options { warp_instructions: 200_000, races, ..Options::default() };
    if let Err(error) = bench.machine.launch(&bench.module, KERNEL, &launch, &options) {
        return Some(error.to_string());
    }
    let right = bench.read(Type::F32, c_at, 64 * n).iter().enumerate().all(|(i, out)| {
        let (row, column) = (i / n, i % n);
        let exact: f64 = (0..k).map(|j| a[row * k + j] * b[column * k + j]).sum();
        (out - exact).abs() <= 1e-4
    });
    Some(if right { "right".into() } else { "wrong".into() })
}

#[test]
fn faults_in_assembly_parameters_and_launch_bounds_are_noticed() {
    type Change = Box<dyn Fn(&str) -> String>;
    let replace = |from: &'static str, to: &'static str| -> Change { Box::new(move |text| replaced(text, from, to)) };
    let remove = |instruction: &'static str| -> Change { Box::new(move |text| without(text, instruction)) };
    // 2^62 for the swizzle, a stride of 1024 bytes, a leading offset of 16.
    let descriptor = "4611686293305360384";
    let cases: Vec<(&str, Change, &str)> = vec![
        ("nothing", Box::new(str::to_owned), "right"),
        (
            "a is said to be MN-major",
            replace("p, 1, 1, 0, 0;", "p, 1, 1, 1, 0;"),
            "a's rows of 128 bytes start at byte 32",
        ),
        (
            "b is said to be MN-major",
            replace("p, 1, 1, 0, 0;", "p, 1, 1, 0, 1;"),
            "b's rows of 128 bytes start at byte 32",
        ),
        ("a is negated", replace("p, 1, 1, 0, 0;", "p, -1, 1, 0, 0;"), "wrong"),
        ("the stride of the descriptors is halved", replace(descriptor, "4611686155866406912"), "wrong"),
        ("the descriptors have no swizzle", replace(descriptor, "274877972480"), "only the 128-byte swizzle"),
        ("one arrival too many is expected", replace("%r31, 128;", "%r31, 129;"), "lacks 1 arrivals"),
        (
            "bytes are announced without an arrival",
            replace("mbarrier.arrive.expect_tx.shared::cta.b64 _, ", "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 "),
            "deadlock",
        ),
        (
            "bytes are taken for arrivals",
            replace("mbarrier.arrive.expect_tx", "mbarrier.arrive"),
            "arrivals in a phase",
        ),
        ("bytes are not announced", remove("mbarrier.arrive.expect_tx"), "deadlock"),
        ("stages are never left", remove("mbarrier.arrive.shared::cta.b64"), "waits for parity"),
        ("a wait is turned round", replace("@!done bra AGAIN;", "@done bra AGAIN;"), ""),
        (
            "nobody waits",
            Box::new(|text| without(&without(text, "AGAIN: mbarrier.try_wait"), "@!done bra AGAIN")),
            "more than 1 arrivals",
        ),
        ("barriers are not made", remove("mbarrier.init"), "was not initialised"),
        ("fewer threads are allowed", replace(".maxntid 160", ".maxntid 128"), "160 threads in a block"),
        (
            "a parameter is larger",
            replace("i_param_1[128]", "i_param_1[256]"),
            "argument 1 has 128 bytes, it takes 256",
        ),
        (
            "a and b are swapped",
            Box::new(|text| {
                replaced(&replaced(text, "%rd4, _Z", "%rd99, _Z"), "%rd5, _Z", "%rd4, _Z")
                    .replace("%rd99, _Z", "%rd5, _Z")
            }),
            "wrong",
        ),
    ];
    let mut noticed = 0;
    for (name, change, expected) in cases {
        let Some(found) = run(&*change, false) else { skip!("no nvcc (scripts/cuda-toolkit.sh)") };
        assert!(found.contains(expected), "{name}: {found}");
        assert!((found == "right") == (name == "nothing"), "{name}: {found}");
        noticed += usize::from(found != "right");
    }
    assert_eq!(noticed, 16);
}

#[test]
fn what_the_machine_notices_only_where_races_are_looked_for() {
    // Products are complete when they are issued, nothing orders proxies, and warps run in the order of their numbers.
    for instruction in ["wgmma.wait_group", "wgmma.fence", "wgmma.commit_group", "bar.sync"] {
        let runs = |races| run(&|text| without(text, instruction), races);
        let (Some(found), Some(race)) = (runs(false), runs(true)) else { skip!("no nvcc (scripts/cuda-toolkit.sh)") };
        assert_eq!(found, "right", "{instruction}");
        assert!(race.contains("race in _Z7product"), "{instruction}: {race}");
    }
    // Each of the two makes barriers visible to tensor copies: together they are one too many.
    for instruction in ["fence.proxy.async", "fence.mbarrier_init"] {
        let found = run(&|text| without(text, instruction), true);
        assert_eq!(found.as_deref(), Some("right"), "{instruction}");
    }
}
