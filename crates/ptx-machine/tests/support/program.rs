//! Small programs: a body of PTX, run by one block.

use ptx_machine::{Argument, Counters, Error, Launch, Machine, Options};

/// Runs `body` as a kernel of one pointer, `%out`, in blocks of `threads`: memory of `words` words, first those of
/// `input`, and then zeros. Registers `%p<40>`, `%h<40>`, `%r<60>`, `%f<60>`, `%rd<40>`, `%fd<40>` are declared, `%r0` is
/// `%tid.x`. Returns the words.
pub fn try_run(
    body: &str,
    threads: u32,
    input: &[u32],
    words: usize,
    options: Options,
) -> Result<(Vec<u32>, Counters), Error> {
    run_text(&text(body), "test", &Launch::new(1, threads, vec![]), input, words, options)
}

/// The same, given the whole text and how to launch it. The pointer is the first argument, before those of the launch.
pub fn run_text(
    text: &str,
    kernel: &str,
    launch: &Launch,
    input: &[u32],
    words: usize,
    options: Options,
) -> Result<(Vec<u32>, Counters), Error> {
    let mut machine = Machine::default();
    let module = machine.load("test.ptx", text)?;
    let out = machine.memory.allocate(4 * words);
    let mut bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize(4 * words, 0);
    machine.memory.write(out, &bytes)?;
    let mut launch = launch.clone();
    launch.arguments.insert(0, Argument::from(out));
    let counters = machine.launch(&module, kernel, &launch, &options)?;
    let bytes = machine.memory.read(out, 4 * words)?;
    Ok((bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect(), counters))
}

pub fn text(body: &str) -> String {
    format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n\
         .extern .shared .align 1024 .b8 dynamic[];\n\
         .visible .entry test(.param .u64 out)\n{{\n\
         .reg .pred %p<40>;\n.reg .b16 %h<40>;\n.reg .b32 %r<60>;\n.reg .f32 %f<60>;\n\
         .reg .b64 %rd<40>;\n.reg .f64 %fd<40>;\n.reg .b64 %out;\n.reg .b64 %own;\n\
         .shared .align 16 .b8 buffer[4096];\n\
         ld.param.u64 %out, [out];\ncvta.to.global.u64 %out, %out;\nmov.u32 %r0, %tid.x;\n\
         mul.wide.u32 %own, %r0, 4;\nadd.s64 %own, %out, %own;\n{body}\nret;\n}}\n"
    )
}

pub fn run(body: &str, threads: u32, input: &[u32], words: usize) -> Vec<u32> {
    try_run(body, threads, input, words, Options::default()).unwrap_or_else(|error| panic!("{error}")).0
}

/// The reason for which a program fails.
pub fn fault(body: &str, threads: u32) -> String {
    match try_run(body, threads, &[], 4096, Options::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it did not fail"),
    }
}
