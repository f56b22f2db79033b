//! The experiments that need no training, run as a user would.

use super::*;
use std::fs;
use std::sync::atomic::AtomicBool;

fn settings(out: &Path) -> Settings {
    Settings { quick: true, out: out.into(), device: "cpu".into(), ..Settings::default() }
}

/// Runs an experiment and returns its page and its verdicts.
fn run(name: &str) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (stop, mut watch) = (AtomicBool::new(false), |_: Event| ());
    let mut context = Context::new(settings(folder.path()), &stop, &mut watch);
    let path = find(name).unwrap().run(&mut context).unwrap();
    let verdicts = fs::read_to_string(path.with_file_name("verdicts.json")).unwrap();
    let verdicts: Vec<serde_json::Value> = serde_json::from_str(&verdicts).unwrap();
    let verdicts = verdicts.iter().map(|claim| claim["verdict"].as_str().unwrap().to_owned()).collect();
    (fs::read_to_string(path).unwrap(), verdicts)
}

#[test]
fn formulas_hold_and_the_known_slips_of_the_sources_are_found() {
    let (page, verdicts) = run("schedules");
    assert_eq!(verdicts, ["confirmed", "refuted", "confirmed", "confirmed"]);
    for figure in ["0.99900", "2.5652e-5", "0.0063527", "-5.0525", "223", "260", "185", "497", "2.91e-5"] {
        assert!(page.contains(figure), "{figure} is missing");
    }
    let (page, verdicts) = run("snr-weights");
    assert_eq!(verdicts, ["confirmed", "refuted", "refuted", "confirmed"]);
    assert!(page.contains("6485"), "the weight of x at t = 0.05");
}

#[test]
fn points_are_shown_clean_and_noisy() {
    for name in ["thesis-2d-data", "thesis-2d-noising"] {
        let (page, verdicts) = run(name);
        assert_eq!(verdicts, ["confirmed"], "{name}");
        assert!(page.len() <= 600_000, "{name} has {} bytes", page.len());
    }
}

#[test]
fn what_is_missing_is_said_in_one_line() {
    let unknown = find("thesis-table-41").unwrap_err().to_string();
    assert!(unknown.starts_with("unknown experiment \"thesis-table-41\"") && !unknown.contains('\n'), "{unknown}");
    assert!(find("schedule").unwrap_err().to_string().contains("did you mean \"schedules\"?"));
    assert!(find("qqqq").unwrap_err().to_string().contains("ddpm experiment list"));

    let folder = tempfile::tempdir().unwrap();
    let (stop, mut watch) = (AtomicBool::new(false), |_: Event| ());
    let mut context = Context::new(settings(folder.path()), &stop, &mut watch);
    let refused = format!("{:#}", find("ens-strip").unwrap().run(&mut context).unwrap_err());
    assert_eq!(refused, "ens-strip: MNIST is needed: give its folder with --data DIR");
    assert!(context.check(Need::Inception).unwrap_err().to_string().contains("--inception FILE"));
}

#[test]
fn every_missing_input_is_noticed_before_anything_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (stop, mut watch) = (AtomicBool::new(false), |_: Event| ());
    for (quick, input) in [(true, "MNIST"), (false, "CIFAR-10")] {
        let settings = Settings { quick, ..settings(folder.path()) };
        for name in ["ho-interpolation", "ho-progressive-coding"] {
            let experiment = find(name).unwrap();
            let refused = experiment.run(&mut Context::new(settings.clone(), &stop, &mut watch)).unwrap_err();
            assert_eq!(format!("{refused:#}"), format!("{name}: {input} is needed: give its folder with --data DIR"));
            assert!(!folder.path().join(name).exists(), "{name} has begun");
            assert_eq!(experiment.needs.words(), "MNIST with --quick, CIFAR-10 without");
        }
    }
}

#[test]
fn data_are_found_in_the_folder_or_in_the_one_of_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let (stop, mut watch) = (AtomicBool::new(false), |_: Event| ());
    let given = Settings { data: Some(folder.path().into()), ..settings(Path::new("out")) };
    let context = Context::new(given, &stop, &mut watch);
    assert_eq!(context.source(Need::Mnist).unwrap(), folder.path().display().to_string());
    fs::create_dir(folder.path().join("cifar10")).unwrap();
    assert_eq!(context.source(Need::Cifar10).unwrap(), folder.path().join("cifar10").display().to_string());
}

#[test]
fn names_are_unique_and_the_index_gathers_what_is_there() {
    for (i, experiment) in ALL.iter().enumerate() {
        assert!(ALL[..i].iter().all(|other| other.name != experiment.name), "{} twice", experiment.name);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut page = Page::new("schedules", "");
    page.claims([Claim::new("a paper", "a claim", Verdict::Refuted, "numbers")]);
    page.write(&folder.path().join("schedules")).unwrap();
    let index = fs::read_to_string(write_index(folder.path()).unwrap()).unwrap();
    assert!(index.contains("0 confirmed, 1 refuted, 0 not decided") && !index.contains("snr-weights"));
}

#[test]
fn an_experiment_that_ends_early_leaves_its_page() {
    fn stopped(_: &mut Context, page: &mut Page) -> anyhow::Result<()> {
        page.text("The first half.");
        Err(Error::Stopped.into())
    }
    let folder = tempfile::tempdir().unwrap();
    let (stop, mut watch) = (AtomicBool::new(false), |_: Event| ());
    let mut context = Context::new(settings(folder.path()), &stop, &mut watch);
    let experiment =
        Experiment { name: "demo", about: "", source: "", needs: Needs::Nothing, quick: "", full: None, run: stopped };
    let error = experiment.run(&mut context).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Error::Stopped)), "{error:#}");
    let page = fs::read_to_string(folder.path().join("demo/report.md")).unwrap();
    assert!(page.contains("The first half.") && page.contains("This page ends before the experiment did"));
}
