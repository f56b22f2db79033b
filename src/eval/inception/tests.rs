use super::*;
use crate::engine::device::Cuda;
use crate::engine::ops::check::{compare, has_gpu};
use crate::engine::random::{Philox, RngState, Stream};
use safetensors::SafeTensors;

/// Weights by name, as `scripts/golden_inception.py` draws them too.
fn drawn(name: &str, dims: &[usize]) -> Vec<f32> {
    let mut crc = flate2::Crc::new();
    crc.update(name.as_bytes());
    let mut values = vec![0.0; dims.iter().product()];
    let state = RngState { seed: 1, step: crc.sum(), first_image: 0 };
    Philox::new(state, Stream::new(5)).fill_uniform(0, 0, &mut values);
    let [low, high] = match name.rsplit_once(".").expect("a tensor of a layer") {
        (_, "running_mean" | "bias") => [-0.1, 0.1],
        (conv, _) if conv.ends_with(".conv") => {
            let bound = (6.0 / dims[1..].iter().product::<usize>() as f32).sqrt();
            [-bound, bound]
        }
        _ => [0.5, 1.5],
    };
    values.iter_mut().for_each(|v| *v = low + (high - low) * *v);
    values
}

/// Images `[h, w, c]` that are smooth here and noisy there, as in the script.
fn image([_, h, w, c]: [usize; 4]) -> Vec<f32> {
    let byte = |i: usize, j: usize, k: usize| match k {
        0 => i * 255 / (h - 1),
        1 => i * j % 256,
        _ => (i * 89 + j * 57) % 251,
    };
    (0..h * w * c).map(|at| byte(at / c / w, at / c % w, at % c) as f32 / 127.5 - 1.0).collect()
}

/// pytorch-fid's own features of the same images with the same weights.
#[test]
fn features_are_those_of_pytorch_fid() {
    let golden = SafeTensors::deserialize(include_bytes!("../../../tests/golden/inception.safetensors")).unwrap();
    let mut devices = vec![Device::Cpu];
    devices.extend(has_gpu().then(|| Device::Gpu(Box::new(Cuda::new(0).unwrap()))));
    for device in devices {
        let mut inception = Inception::new(device, 1, |name, dims| Ok(drawn(name, dims))).unwrap();
        for (name, dims) in [("rgb", [1, 32, 32, 3]), ("grey", [1, 48, 320, 1])] {
            let want: Vec<f32> = bytemuck::pod_collect_to_vec(golden.tensor(name).unwrap().data());
            let got = inception.features(&image(dims), dims).unwrap();
            let want: Vec<f64> = want.iter().map(|&v| v as f64).collect();
            compare(name, &got, &want, 1e-4);
        }
    }
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let refusal = |change: &dyn Fn(&str) -> Option<Vec<usize>>| {
        let mut params = ParamSet::default();
        network::inception_v3(&mut params);
        let get = |name: &str, dims: &[usize]| match change(name) {
            Some(found) => Err(Error::format("weights", format!("\"{name}\": wanted {dims:?}, found {found:?}"))),
            None => Ok(vec![1.0; dims.iter().product()]),
        };
        params.from_files(|name, dims| network::folded(name, dims, &get)).unwrap_err().to_string()
    };
    let name = "Mixed_6b.branch7x7_2.bn.running_var";
    assert_eq!(refusal(&|n| (n == name).then(|| vec![64])), format!("weights: \"{name}\": wanted [128], found [64]"));
    let name = "Mixed_7c.branch3x3dbl_3a.conv.weight";
    let message = refusal(&|n| (n == name).then(|| vec![1]));
    assert_eq!(message, format!("weights: \"{name}\": wanted [384, 384, 1, 3], found [1]"));
}

#[test]
fn a_batch_may_be_partly_filled() {
    let one = image([1, 8, 8, 1]);
    let images = [&one[..], &one.iter().map(|x| -x).collect::<Vec<_>>(), &one].concat();
    let mut inception = Inception::new(Device::Cpu, 2, |name, dims| Ok(drawn(name, dims))).unwrap();
    let features = inception.features(&images, [3, 8, 8, 1]).unwrap();
    assert_eq!(features.len(), 3 * FEATURES);
    assert_eq!(features[..FEATURES], features[2 * FEATURES..]);
    assert_ne!(features[..FEATURES], features[FEATURES..2 * FEATURES]);
    assert!(inception.features(&images, [3, 8, 4, 2]).is_err());
}
