//! `ddpm forward` against diffusers: whole model folders in, output and every gradient out, through files alone.
//!
//! The folders under `tests/golden/` are made by `scripts/golden.py`, which computes in float64. They are part of this
//! executable, so that it can run far from the repository.

use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

fn read(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), Dtype::F32, "{name}");
            (name.to_owned(), (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())))
        })
        .collect()
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|v| v * v).sum::<f32>().sqrt()
}

/// The name and contents of each file of a folder of `tests/golden/`.
macro_rules! files {
    ($folder:literal) => {
        files!($folder, "config.json", "diffusion_pytorch_model.safetensors", "expected.safetensors", "input.safetensors")
    };
    ($folder:literal, $($name:literal),+) => {
        &[$(($name, include_bytes!(concat!("golden/", $folder, "/", $name)))),+]
    };
}

fn check(folder: &str, files: &[(&str, &[u8])]) {
    let scratch = tempfile::tempdir().unwrap();
    let golden = scratch.path().join(folder);
    std::fs::create_dir(&golden).unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(golden.join(name), bytes).unwrap());
    let out = scratch.path().join("out.safetensors");
    assert_cmd::Command::cargo_bin("ddpm")
        .unwrap()
        .args(["forward", "--device", "cpu", "--input"])
        .arg(golden.join("input.safetensors"))
        .arg("--out")
        .arg(&out)
        .arg(&golden)
        .assert()
        .success();

    let (got, want) = (read(&out), read(&golden.join("expected.safetensors")));
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    let gradients = want.iter().filter(|(name, _)| *name != "out");
    let largest = gradients.map(|(_, (_, values))| norm(values)).fold(0.0, f32::max);
    for (name, (shape, values)) in &want {
        assert_eq!(&got[name].0, shape, "{name}");
        for (i, (got, want)) in got[name].1.iter().zip(values).enumerate() {
            let bound = if name == "out" { 1e-4 } else { (1e-4 * want.abs()).max(1e-6 * largest) };
            assert!((got - want).abs() <= bound, "{folder}: {name}[{i}] is {got} instead of {want}");
        }
    }
}

#[test]
fn grey_without_attention() {
    check("unet-plain", files!("unet-plain"));
}

#[test]
fn heads_at_every_level_from_a_half_precision_file() {
    check("unet-heads", files!("unet-heads"));
}

#[test]
fn oblong_images_through_a_folder_of_an_old_version() {
    check("unet-legacy", files!("unet-legacy"));
}
