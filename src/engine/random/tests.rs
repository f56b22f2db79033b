use super::variates::uniform_open;
use super::*;
use rand::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const STATE: RngState = RngState { seed: 0x0123_4567_89ab_cdef, step: 7, first_image: 5 };
const STREAM: Stream = Stream::new(1);

/// The published known-answer vectors of Philox4x32-10 (Random123, `kat_vectors`).
#[test]
fn words_are_those_of_the_reference() {
    assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox4x32([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344, 0xa409_3822, 0x299f_31d0];
    let words = philox4x32([pi[0], pi[1], pi[2], pi[3]], [pi[4], pi[5]]);
    assert_eq!(words, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

#[test]
fn vectors_of_counters_are_the_counters_one_by_one() {
    let philox = Philox::new(STATE, STREAM);
    let mut words = [0; 301];
    philox.fill_words(2, 0, &mut words);
    assert!(words.iter().enumerate().all(|(i, &word)| word == philox.word(2, i)));
}

#[test]
fn a_value_does_not_depend_on_what_is_drawn_with_it() {
    let philox = Philox::new(STATE, STREAM);
    let mut whole = [0.0; 301];
    philox.fill_normal(2, 0, &mut whole);
    for (first, len) in [(0, 1), (1, 7), (5, 64), (63, 130), (297, 4)] {
        let mut part = vec![0.0; len];
        philox.fill_normal(2, first, &mut part);
        assert_eq!(part, whole[first..first + len]);
    }
    let mut shifted = [0.0; 301];
    Philox::new(RngState { first_image: 6, ..STATE }, STREAM).fill_normal(1, 0, &mut shifted);
    assert_eq!(shifted, whole);
}

#[test]
fn normals_are_box_muller_of_the_words() {
    let philox = Philox::new(STATE, STREAM);
    let (mut words, mut normals) = ([0; 4096], [0.0; 4096]);
    philox.fill_words(0, 0, &mut words);
    philox.fill_normal(0, 0, &mut normals);
    let uniform = |w: u32| uniform_open(w) as f64;
    for (w, z) in words.chunks(2).zip(normals.chunks(2)) {
        let radius = (-2.0 * uniform(w[0]).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * uniform(w[1])).sin_cos();
        for (z, want) in [(z[0], radius * cosine), (z[1], radius * sine)] {
            let err = (z as f64 - want).abs();
            assert!(err <= 4e-7 * radius.max(1.0), "{z} is not {want}");
        }
    }
}

#[test]
fn moments_of_a_million_numbers() {
    let philox = Philox::new(STATE, STREAM);
    let n = 1_000_000;
    let (mut z, mut u) = (vec![0.0; n], vec![0.0; n]);
    philox.fill_normal(0, 0, &mut z);
    philox.fill_uniform(1, 0, &mut u);
    let mean = |x: &[f32], f: fn(f64) -> f64| x.iter().map(|&x| f(x as f64)).sum::<f64>() / x.len() as f64;
    // Five standard errors each.
    let bound = 5.0 / (n as f64).sqrt();
    assert!(mean(&z, |x| x).abs() <= bound);
    assert!((mean(&z, |x| x * x) - 1.0).abs() <= bound * 2f64.sqrt());
    assert!((mean(&z, |x| x.powi(4)) - 3.0).abs() <= bound * 96f64.sqrt());
    assert!((mean(&u, |x| x) - 0.5).abs() <= bound / 12f64.sqrt());
    assert!(u.iter().all(|&u| 0.0 < u && u < 1.0));
}

#[test]
fn uniforms_stay_inside_the_open_interval() {
    assert!(uniform_open(0) > 0.0);
    assert!(uniform_open(u32::MAX) < 1.0);
}

#[test]
fn a_generator_draws_the_words_of_its_position_in_order() {
    let position = 0x0000_0007_0000_0005;
    let philox = Philox::new(STATE, STREAM);
    let mut draws = PhiloxRng::new(STATE.seed, STREAM, position);
    for element in 0..9 {
        assert_eq!(draws.next_u32(), philox.word(0, element));
    }
    let long = draws.next_u64();
    assert_eq!([long as u32, (long >> 32) as u32], [9, 10].map(|element| philox.word(0, element)));
    let mut bytes = [0; 6];
    draws.fill_bytes(&mut bytes);
    assert_eq!(bytes[..4], philox.word(0, 11).to_le_bytes());
    assert_eq!(bytes[4..], philox.word(0, 12).to_le_bytes()[..2]);
}

/// Reads the source: a stream is a constant at the head of the file that draws from it, or belongs to dropout.
#[test]
fn no_two_streams_share_a_number() {
    let mut owners: BTreeMap<u32, String> = BTreeMap::new();
    for (file, text) in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let program = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in program.lines().filter(|line| line.replace("ImageStream", "").contains("Stream::new(")) {
            let declared = line.split_once(": Stream = Stream::new(").and_then(|(_, rest)| rest.strip_suffix(");"));
            match declared.map(str::parse) {
                Some(Ok(id)) => {
                    assert!(id < 256, "{file}: numbers from 256 on belong to dropout: {line}");
                    let other = owners.insert(id, file.clone());
                    assert!(other.is_none(), "{file} draws from the stream {id} of {}", other.unwrap_or_default());
                }
                _ => assert!(file.ends_with("ops/dropout.rs"), "{file} does not declare its stream: {line}"),
            }
        }
    }
    assert!(owners.len() >= 8, "{owners:?}");
}

/// The program's source files without those of tests, by their paths.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let source = |path: PathBuf| {
        let name = path.to_string_lossy().replace('\\', "/");
        match path.is_dir() {
            true if name.ends_with("/tests") => Vec::new(),
            true => sources(&path),
            false if !name.ends_with(".rs") || name.ends_with("/tests.rs") => Vec::new(),
            false => vec![(name, fs::read_to_string(path).unwrap())],
        }
    };
    entries.flat_map(source).collect()
}
