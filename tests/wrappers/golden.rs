//! The golden file: words that a GPU gave, by the name of the case.

use std::collections::BTreeMap;

/// First lines of the file; `gpu` says which one wrote it.
pub fn header(gpu: &str) -> String {
    format!(
        "# What the kernels of kernels/self_test/ gave on a GPU, as words in hexadecimal. tests/wrappers.rs reads it, and \
         writes it\n# on a GPU when DDPM_WRITE_GOLDEN names the file.\n# {gpu}\n"
    )
}

/// Lines of a case.
pub fn lines(name: &str, words: &[u32]) -> String {
    let line = |words: &[u32]| {
        let words: Vec<String> = words.iter().map(|word| format!("{word:08x}")).collect();
        format!("{name}: {}\n", words.join(" "))
    };
    recorded(words).chunks(8).map(line).collect()
}

/// Results by the name of the case.
pub fn golden(text: &str) -> BTreeMap<&str, Vec<u32>> {
    let mut golden: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, words) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}: wanted `name: words`"));
        let words = words.split(' ').map(|word| u32::from_str_radix(word, 16).unwrap());
        golden.entry(name).or_default().extend(words);
    }
    golden
}

/// Form of a result in the file: all words, or the number and a checksum of many.
pub fn recorded(words: &[u32]) -> Vec<u32> {
    match words.len() {
        0..=1024 => words.to_vec(),
        n => vec![n as u32, crc32c::crc32c(bytemuck::cast_slice(words))],
    }
}
