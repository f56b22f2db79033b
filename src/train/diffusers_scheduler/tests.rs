use super::*;

fn with(settings: &[&str]) -> Config {
    Config::default().with_settings(&settings.iter().map(|s| (*s).into()).collect::<Vec<_>>()).unwrap()
}

#[test]
fn written_configurations_are_read_back() {
    for settings in [
        &[][..],
        &["diffusion.schedule=cosine", "diffusion.timesteps=200", "diffusion.target=v", "sample.sampler=ddim"],
        &["diffusion.schedule=scaled-linear", "diffusion.target=x0", "sample.sampler=dpm-solver"],
        &["diffusion.schedule=sigmoid", "diffusion.target=score-scaled", "sample.sampler=heun", "sample.steps=9"],
        &["diffusion.schedule=betas", "diffusion.betas=[0.1, 0.2, 0.4]", "sample.clip_range=0.5"],
    ] {
        let config = with(settings);
        let scheduler = from_json(&to_json(&config).unwrap()).unwrap();
        assert_eq!((scheduler.diffusion, scheduler.sample, scheduler.notes), (config.diffusion, config.sample, vec![]));
    }
}

#[test]
fn the_keys_of_diffusers_alone_give_schedule_target_and_sampler() {
    let config = with(&["diffusion.schedule=cosine", "diffusion.target=v", "sample.sampler=ddim", "sample.n=3"]);
    let mut keys: Map<String, Value> = serde_json::from_str(&to_json(&config).unwrap()).unwrap();
    keys.remove(OWN);
    let Scheduler { diffusion, sample, notes } = from_json(&Value::from(keys.clone()).to_string()).unwrap();
    assert_eq!((&diffusion, sample.sampler), (&config.diffusion, config.sample.sampler));
    assert!(notes.is_empty() && sample.diffusers.is_some(), "{notes:?}");
    // What they say as they are written again, they say.
    let again = to_json(&Config { diffusion, sample, ..Config::default() }).unwrap();
    assert_eq!(serde_json::from_str::<Map<String, Value>>(&again).unwrap(), keys);
}

#[test]
fn a_changed_key_outweighs_our_own_sections() {
    let text = to_json(&Config::default()).unwrap().replace("\"epsilon\",\n  \"steps", "\"v_prediction\",\n  \"steps");
    assert_eq!(from_json(&text).unwrap().diffusion.target, PredictionTarget::V);
}

#[test]
fn saved_schedulers_are_read_without_a_note() {
    let ddpm = r#"{
        "_class_name": "DDPMScheduler", "_diffusers_version": "0.42.1", "beta_end": 0.02, "beta_schedule": "linear",
        "beta_start": 0.0001, "clip_sample": true, "clip_sample_range": 1.0, "dynamic_thresholding_ratio": 0.995,
        "num_train_timesteps": 1000, "prediction_type": "epsilon", "rescale_betas_zero_snr": false,
        "sample_max_value": 1.0, "steps_offset": 0, "thresholding": false, "timestep_spacing": "leading",
        "trained_betas": null, "variance_type": "fixed_small"
    }"#;
    let dpm = r#"{
        "_class_name": "DPMSolverMultistepScheduler", "_diffusers_version": "0.42.1", "algorithm_type": "dpmsolver++",
        "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001, "dynamic_thresholding_ratio": 0.995,
        "euler_at_final": false, "final_sigmas_type": "zero", "flow_shift": 1.0, "lambda_min_clipped": -Infinity,
        "lower_order_final": true, "num_train_timesteps": 1000, "prediction_type": "epsilon",
        "rescale_betas_zero_snr": false, "sample_max_value": 1.0, "solver_order": 2, "solver_type": "midpoint",
        "steps_offset": 0, "thresholding": false, "time_shift_type": "exponential", "timestep_spacing": "linspace",
        "trained_betas": null, "use_beta_sigmas": false, "use_dynamic_shifting": false, "use_exponential_sigmas": false,
        "use_flow_sigmas": false, "use_karras_sigmas": false, "use_lu_lambdas": false, "variance_type": null
    }"#;
    for (text, sampler, clip) in [(ddpm, Sampler::default(), Some(1.0)), (dpm, Sampler::DpmSolver, None)] {
        let Scheduler { diffusion, sample, notes } = from_json(text).unwrap();
        assert_eq!((diffusion, sample.sampler, sample.clip()), (DiffusionConfig::default(), sampler, clip));
        assert!(notes.is_empty(), "{notes:?}");
    }
}

#[test]
fn an_unknown_class_means_ddim_and_an_unknown_key_is_named() {
    let Scheduler { sample, notes, .. } =
        from_json(r#"{"_class_name": "PNDMScheduler", "skip_prk_steps": true}"#).unwrap();
    assert_eq!(sample.sampler, Sampler::Ddim { eta: 0.0 });
    assert!(notes[0].starts_with("PNDMScheduler is not supported") && notes[1].contains("skip_prk_steps"), "{notes:?}");
}

#[test]
fn what_diffusers_draws_otherwise_is_said() {
    let notes = |settings: &[&str]| unlike_ours(&with(settings)).join("; ");
    for settings in [
        &["sample.sampler=ddpm"][..],
        &["sample.sampler=ddim", "sample.eta=0", "sample.steps=0"],
        &["sample.sampler=dpm-solver", "sample.clip_x0=false", "sample.steps=0"],
    ] {
        let notes = notes(settings);
        assert!(notes.is_empty(), "{notes}");
    }
    for (settings, words) in [
        (&["sample.sampler=ddim", "sample.eta=0.5"][..], "eta, here 0.5"),
        (&["sample.sampler=dpm-solver"], "does not clip"),
        (&["sample.sampler=ddim", "sample.eta=0", "sample.steps=20"], "20 steps"),
        (&["sample.sampler=heun"], "stands for sample.sampler"),
        (&["model.classes=10", "sample.guidance=2"], "no classes, which this one needs, and does not guide"),
    ] {
        let notes = notes(settings);
        assert!(notes.contains(words) && !notes.contains('\n'), "{settings:?}: {notes}");
    }
}

#[test]
fn unsupported_settings_are_refused_by_key_and_value() {
    for (class, key, value) in [
        (DDPM, "thresholding", "true"),
        (DDPM, "prediction_type", "\"flow_prediction\""),
        (DDPM, "beta_schedule", "\"laplace\""),
        (DDPM, "variance_type", "\"fixed_large_log\""),
        (DDPM, "timestep_spacing", "\"karras\""),
        (DDPM, "num_train_timesteps", "\"many\""),
        (DDIM, "rescale_betas_zero_snr", "true"),
        (DPM_SOLVER, "use_karras_sigmas", "true"),
        (DPM_SOLVER, "algorithm_type", "\"sde-dpmsolver++\""),
        (DPM_SOLVER, "solver_type", "\"heun\""),
        (DPM_SOLVER, "solver_order", "3"),
    ] {
        let message =
            from_json(&format!("{{\"_class_name\": \"{class}\", \"{key}\": {value}}}")).unwrap_err().to_string();
        // Without a signal at the end, the target epsilon is refused.
        let word = if key == "rescale_betas_zero_snr" { "no signal" } else { key };
        assert!(message.contains(word) && !message.contains('\n'), "{key}: {message}");
    }
    for setting in ["diffusion.target=mu", "diffusion.target=score", "diffusion.schedule=vp-cosine"] {
        assert!(to_json(&with(&[setting])).unwrap_err().to_string().contains("diffusers has no"), "{setting}");
    }
}
