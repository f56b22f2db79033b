use super::*;

/// A checkpoint of improved-diffusion in both kinds of files: its network, and what is assumed of the rest.
#[test]
fn a_checkpoint_of_improved_diffusion_is_a_model() {
    let root = tempfile::tempdir().unwrap();
    let (tensors, mut settings) = nichol_checkpoint();
    let (pt, safetensors) = (root.path().join("ema_0.9999_500000.pt"), root.path().join("ema.safetensors"));
    fs::write(&pt, fixture::state_dict(&tensors, None)).unwrap();
    write_safetensors(&safetensors, &tensors);
    let open = |path: &Path, settings: &[String]| ModelFile::open_with(path, &Which::Average, settings);
    let found = open(&pt, &settings).unwrap();
    let wanted = UNetConfig { image_size: 16.into(), heads: 1, time_factor: 0.25, ..nichol() };
    assert_eq!(found.config.model, wanted.clone().into());
    assert!(found.values == model(wanted).values && open(&safetensors, &settings).unwrap().values == found.values);
    let note = &found.notes[0];
    for assumed in ["image_size=16", "schedule=\"cosine\"", "timesteps=4000", "time_factor=0.25"] {
        assert!(note.contains(assumed), "{note}");
    }
    assert!(!note.contains("heads"), "{note}");
    assert_eq!(found.config.sample_plan().unwrap().steps.len(), 4000);
    let message = found.export(&root.path().join("export"), false).unwrap_err().to_string();
    assert!(message.contains("model.time_factor"), "{message}");

    settings.extend(["diffusion.timesteps=1000", "diffusion.schedule=linear", "model.image_size=8"].map(String::from));
    let said = open(&pt, &settings).unwrap();
    assert_eq!(said.config.model, UNetConfig { image_size: 8.into(), heads: 1, ..nichol() }.into());
    said.export(&root.path().join("export"), false).unwrap();
    let exported = super::open(&root.path().join("export")).unwrap();
    assert_eq!((&exported.values, exported.config.diffusion), (&said.values, said.config.diffusion));

    let message = open(&pt, &["model.channels=[8]".into()]).err().unwrap().to_string();
    assert!(message.contains("the weights say this"), "{message}");
    let message = open(&pt, &[]).err().unwrap().to_string();
    assert!(message.contains("model.groups = 32 does not divide"), "{message}");
}

/// A file by name and content.
type NamedFile<'a> = (&'a str, &'a [u8]);

/// A folder with these files.
fn folder(files: &[NamedFile]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

/// Every wrong thing at the path of a model: one line that says what it is and what would do.
#[test]
fn what_is_no_model_is_explained_in_one_line() {
    let lora = fixture::state_dict(&[("unet.to_q.lora_A.weight".to_owned(), vec![1], vec![0.0])], None);
    let lucidrains = fixture::state_dict(
        &["init_conv.weight", "downs.0.0.block1.proj.weight"].map(|name| (name.to_owned(), vec![1], vec![0.0])),
        Some("model"),
    );
    let class = |name: &str| json!({ "_class_name": name }).to_string().into_bytes();
    let stable = json!({ "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"] });
    let flux = json!({ "_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"] });
    let (stable, flux) = (stable.to_string().into_bytes(), flux.to_string().into_bytes());
    let conditional = class("UNet2DConditionModel");
    let (vae, dit, scheduler) = (class("AutoencoderKL"), class("DiTTransformer2DModel"), class("DDPMScheduler"));
    let unet = class("UNet2DModel");
    let transformer = "a FluxPipeline, whose network (transformer)";
    let cases: &[(&[NamedFile], &str, &str)] = &[
        (&[], "", "the folder is empty"),
        (&[("model.ckpt", b"x")], "", "a file of weights; give its path"),
        (&[("model.ckpt", b"x"), ("other.pt", b"x")], "", "2 files of weights; give the path of one"),
        (&[("model.ckpt", b"neither")], "model.ckpt", "no safetensors file"),
        (&[("model.ckpt", b"")], "model.ckpt", "the file is empty"),
        (&[("network.pkl", b"\x80\x04.")], "network.pkl", "a pickle, or written by PyTorch before 1.6"),
        (&[("pytorch_lora_weights.safetensors", b"x")], "", "holds a LoRA"),
        (&[("lora.pt", &lora)], "lora.pt", "a LoRA"),
        (&[("model-10.pt", &lucidrains)], "model-10.pt", "RMSNorm, linear attention"),
        (&[("config.json", &vae)], "", "an autoencoder, which denoises nothing"),
        (&[("config.json", &dit)], "", "a diffusion transformer"),
        (&[("config.json", &scheduler)], "", "a scheduler's configuration"),
        (&[("model_index.json", &stable), ("unet/config.json", &conditional)], "", "takes a text"),
        (&[("model_index.json", &stable)], "", "whose folder unet is missing"),
        (&[("model_index.json", &flux), ("transformer/config.json", b"{}")], "", transformer),
        (&[("model.onnx", b"x")], "", "an ONNX graph"),
        (&[("model.onnx", b"x")], "model.onnx", "an ONNX graph"),
        (&[("diffusion_flax_model.msgpack", b"x")], "", "from_flax=True"),
        (&[("unet/config.json", &unet), ("unet/diffusion_flax_model.msgpack", b"x")], "", "from_flax=True"),
        (&[("optimizer.bin", b"x"), ("random_states_0.pkl", b"x")], "", "the state of a training (optimizer.bin)"),
        (&[("model.safetensors", b"x"), ("optimizer.bin", b"x")], "", "(model.safetensors) has no config.json"),
        (&[("checkpoint-500/unet/config.json", b"{}"), ("checkpoint-1000/a", b"")], "", "checkpoint-1000"),
        (&[("digits-001/config.toml", b""), ("digits-002/config.toml", b"")], "", "holds runs (2)"),
        (&[("config.toml", b"")], "", "has not written a checkpoint yet"),
        (&[("image-1.png", b"x"), ("image-2.png", b"x")], "", "an image; as data it would do"),
        (&[("readme.md", b"x")], "", "no model; a run"),
        (&[("readme.md", b"x")], "elsewhere", "no such file or folder"),
    ];
    for (files, at, wanted) in cases {
        let root = folder(files);
        let path = if at.is_empty() { root.path().to_path_buf() } else { root.path().join(at) };
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        let message = open(&path).err().unwrap_or_else(|| panic!("{names:?} opened")).to_string();
        assert!(message.contains(wanted), "{names:?}: {message}");
        assert!(!message.contains('\n') && message.contains(&*root.path().to_string_lossy()), "{names:?}: {message}");
    }
}
