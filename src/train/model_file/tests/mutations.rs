//! Damaged files of every kind that a model consists of: each opens, or gives one line that names it; none panics or takes
//! much memory.

use super::*;
use crate::data::tests::mutations::{INPUTS, MOST_BYTES, mutate, peak_memory};
use crate::engine::random::{PhiloxRng, Stream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A file to be damaged, and the model that it is part of.
struct Part {
    kind: &'static str,
    file: PathBuf,
    model: PathBuf,
    settings: Vec<String>,
}

/// Sound models below a folder, and their files.
fn sound_parts(root: &Path) -> Vec<Part> {
    let part = |kind, model: &Path, file: &str| {
        let file = if file.is_empty() { model.to_path_buf() } else { model.join(file) };
        Part { kind, file, model: model.to_path_buf(), settings: Vec::new() }
    };
    let (sound, pipeline, run) = (model(small()), root.join("pipeline"), root.join("run"));
    sound.export(&pipeline, true).unwrap();
    let tensors = sound.params.to_files(&sound.values);
    let bin = root.join("bin");
    fs::create_dir_all(bin.join("unet")).unwrap();
    fs::copy(pipeline.join("unet/config.json"), bin.join("unet/config.json")).unwrap();
    let state = fixture::state_dict(&tensors, None);
    fs::write(bin.join("unet/diffusion_pytorch_model.bin"), state).unwrap();

    let shards = root.join("shards");
    fs::create_dir_all(&shards).unwrap();
    fs::copy(pipeline.join("unet/config.json"), shards.join("config.json")).unwrap();
    let shard = "diffusion_pytorch_model-00001-of-00001.safetensors";
    fs::copy(pipeline.join("unet").join(model_folder::WEIGHTS), shards.join(shard)).unwrap();
    let map: serde_json::Map<_, _> = tensors.iter().map(|(name, _, _)| (name.clone(), shard.into())).collect();
    let index = "diffusion_pytorch_model.safetensors.index.json";
    fs::write(shards.join(index), json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();

    let path = write_run(&run, &sound);

    let (tensors, settings) = nichol_checkpoint();
    let foreign = |kind, name: &str, bytes: &[u8]| {
        fs::write(root.join(name), bytes).unwrap();
        Part { settings: settings.clone(), ..part(kind, &root.join(name), "") }
    };
    let mut safetensors = Vec::new();
    tensor_file::write(&mut safetensors, &tensors, ("format", "pt")).unwrap();
    vec![
        part("config.json", &pipeline, "unet/config.json"),
        part("safetensors", &pipeline, "unet/diffusion_pytorch_model.safetensors"),
        part("scheduler_config.json", &pipeline, "scheduler/scheduler_config.json"),
        part("model_index.json", &pipeline, "model_index.json"),
        part("state dict .bin", &bin, "unet/diffusion_pytorch_model.bin"),
        part("index of shards", &shards, index),
        part("our checkpoint", &path, ""),
        foreign("improved-diffusion .pt", "ema.pt", &fixture::state_dict(&tensors, None)),
        foreign("its safetensors", "ema.safetensors", &safetensors),
    ]
}

/// Outcome of the damaged files of one kind.
#[derive(Default)]
struct Outcomes {
    opened: usize,
    longest_line: usize,
    panics: Vec<u64>,
}

fn damage(part: &Part, number: u64, folder: &Path) -> Outcomes {
    let (sound, mut outcomes) = (fs::read(&part.file).unwrap(), Outcomes::default());
    for input in 0..INPUTS as u64 {
        let mut bytes = sound.clone();
        mutate(&mut bytes, &mut PhiloxRng::new(number, Stream::new(201), input));
        fs::write(&part.file, &bytes).unwrap();
        let open = || {
            let model = ModelFile::open_with(&part.model, &Which::Average, &part.settings)?;
            model.config.sample_plan().map(drop).map_err(|e| Error::format(&part.file, e.to_string()))
        };
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(())) => outcomes.opened += 1,
            Ok(Err(error)) => {
                let message = error.to_string();
                let is_line = message.contains(&*folder.to_string_lossy()) && !message.contains('\n');
                assert!(is_line && message.len() < 1000, "{} {input}: {message}", part.kind);
                outcomes.longest_line = outcomes.longest_line.max(message.len());
            }
            Err(_) => outcomes.panics.push(input),
        }
    }
    fs::write(&part.file, &sound).unwrap();
    outcomes
}

#[test]
#[ignore = "5,000 damaged files of each kind: some minutes"]
fn damaged_models_give_one_line_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    std::panic::set_hook(Box::new(|_| ()));
    let mut panics = Vec::new();
    for (number, part) in (0..).zip(&sound_parts(folder.path())) {
        let started = Instant::now();
        let Outcomes { opened, longest_line, panics: of_part } = damage(part, number, folder.path());
        let (seconds, megabytes) = (started.elapsed().as_secs_f64(), peak_memory() >> 20);
        println!(
            "{:24} {opened:5} of {INPUTS} opened, {seconds:5.1} s, peak {megabytes} MB, longest line {longest_line}, {} \
             panics",
            part.kind,
            of_part.len()
        );
        panics.extend(of_part.into_iter().map(|input| format!("{} {input}", part.kind)));
    }
    let _ = std::panic::take_hook();
    assert!(panics.is_empty(), "{} panics: {panics:?}", panics.len());
    assert!(peak_memory() <= MOST_BYTES, "{} bytes", peak_memory());
}
