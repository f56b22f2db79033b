//! Uses of a trained model beside drawing samples: mixing images, drawing a part of one, measuring its network. Each is refused
//! before anything is computed, or repeats itself bit for bit.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use tempfile::TempDir;
use tiny::{ddpm, run_in, train};

mod tiny;

struct House {
    folder: TempDir,
    run: String,
}

impl House {
    /// A run of seconds in a folder.
    fn new(settings: &[&str]) -> House {
        let folder = tempfile::tempdir().unwrap();
        let run = run_in(&folder, "run");
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        train(&run, &settings);
        House { run: run.display().to_string(), folder }
    }

    /// A run of points, in continuous time.
    fn of_points() -> House {
        let folder = tempfile::tempdir().unwrap();
        let run = run_in(&folder, "points").display().to_string();
        let args = ["train", "--device", "cpu", "--preset", "points-2d", "--out", &run];
        let settings = ["data.source=rings", "train.steps=300", "sample.n=10", "sample.steps=50"];
        ddpm().args(args).args(settings.iter().flat_map(|setting| ["--set", setting])).assert().success();
        House { folder, run }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a command on the run, and expects success; returns what it prints.
    fn does(&self, command: &str, args: &[&str]) -> String {
        let assert = ddpm().args([command, "--device", "cpu", &self.run]).args(args).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    /// Expects a refusal; returns its line.
    fn refuses(&self, command: &str, args: &[&str]) -> String {
        let assert = ddpm().args([command, "--device", "cpu", &self.run]).args(args).assert().failure();
        let output = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        output.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{output}")).to_owned()
    }
}

fn array(path: &str) -> (Vec<u64>, Vec<f32>) {
    let array = npyz::NpyFile::new(File::open(path).unwrap()).unwrap();
    (array.shape().to_vec(), array.into_vec().unwrap())
}

fn write_png(path: &str, side: u32, pixels: &[u8]) {
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
}

#[test]
fn images_are_mixed_between_their_own_reconstructions() {
    let house = House::new(&[]);
    let mixed = |args: &[&str]| {
        let out = house.at("mixed.npy");
        house.does("interpolate", &[&["--between", "0", "5", "--steps", "4", "--out", &out], args].concat());
        array(&out)
    };
    let (shape, nine) = mixed(&["--times", "500,1000"]);
    assert_eq!(shape, [2 * 11, 8, 8, 1]);
    assert_eq!(mixed(&["--times", "500,1000"]).1, nine, "it repeats itself");
    let (shape, two) = mixed(&["--times", "1000", "--mixtures", "2"]);
    assert_eq!(shape, [4, 8, 8, 1]);
    let cell = |values: &[f32], i: usize| values[64 * i..][..64].to_vec();
    // The two themselves, and what becomes of each alone.
    for (one, other) in [(0, 11), (1, 12), (2, 20), (3, 21)] {
        assert_eq!(cell(&two, one), cell(&nine, other));
    }
    assert_eq!(cell(&nine, 0), cell(&nine, 11), "every row begins with the first");
    assert_ne!(cell(&nine, 1), cell(&nine, 5));
    let said = house.does("interpolate", &["--between", "seed:1", "seed:2", "--steps", "3", "--mixtures", "3"]);
    assert!(said.contains("interpolation-001.png: 3 mixtures between seed:1 and seed:2"), "{said}");
    assert!(Path::new(&house.run).join("interpolation-001.png").exists());
}

#[test]
fn points_are_mixed_as_well() {
    let house = House::of_points();
    let (svg, csv) = (house.at("mixed.svg"), house.at("mixed.csv"));
    house.does("interpolate", &["--between", "0", "1", "--steps", "4", "--out", &svg]);
    house.does("interpolate", &["--between", "0", "seed:4", "--steps", "4", "--times", "0.5", "--out", &csv]);
    let plot = fs::read_to_string(&svg).unwrap();
    assert!(plot.contains(">data<") && plot.contains(">t = 0.5<"), "{plot}");
    assert_eq!(fs::read_to_string(&csv).unwrap().lines().count(), 1 + 11);
    let line = house.refuses("interpolate", &["--between", "0", "a.png"]);
    assert!(line.contains("the model draws points"), "{line}");
    let line = house.refuses("inpaint", &["a.png", "--mask", "b.png"]);
    assert!(line.contains("a model of points"), "{line}");
}

#[test]
fn interpolations_without_sense_are_refused() {
    let house = House::new(&[]);
    let refuses = |args: &[&str]| house.refuses("interpolate", args);
    let out = house.at("mixed.jpg");
    for (args, words) in [
        (&["--between", "0", "no.png"][..], "no.png"),
        (&["--between", "0", "999999"], "numbered from 0"),
        (&["--between", "0", "1", "--times", "0"], "--times 0"),
        (&["--between", "0", "1", "--times", "1001"], "up to 1000"),
        (&["--between", "0", "1", "--mixtures", "1"], "--mixtures 1"),
        (&["--between", "0", "1", "--out", &out], "images are written as .png"),
        (&["--between", "0", "1", "--sampler", "langevin"], "choose another sampler"),
        (&["--between", "0", "1", "--class", "3"], "knows no classes"),
        (&["--between", "0"], "2 values required"),
    ] {
        let line = refuses(args);
        assert!(line.contains(words), "{args:?}: {line}");
    }
}

#[test]
fn a_part_of_an_image_is_drawn_and_the_rest_stays() {
    let house = House::new(&["model.classes=10"]);
    let (image, mask, out) = (house.at("image.png"), house.at("mask.png"), house.at("drawn.npz"));
    let pixels: Vec<u8> = (0..64).map(|i| (i * 37 % 256) as u8).collect();
    let shade: Vec<u8> = (0..64).map(|i| if i % 8 >= 4 { 255 } else { 0 }).collect();
    write_png(&image, 8, &pixels);
    write_png(&mask, 8, &shade);
    let args = [&image, "--mask", &mask, "-n", "3", "--steps", "12", "--jump", "3", "--repeats", "2", "--out", &out];
    let said = house.does("inpaint", &args);
    // Twelve steps, and three of them again at each of three levels.
    assert!(said.contains("3 samples of no class, 32 of 64 pixels drawn in 21 evaluations each"), "{said}");
    let drawn = || {
        let mut archive = zip::ZipArchive::new(File::open(&out).unwrap()).unwrap();
        npyz::NpyFile::new(archive.by_name("arr_0.npy").unwrap()).unwrap().into_vec::<u8>().unwrap()
    };
    let first = drawn();
    assert_eq!(first.len(), 3 * 64);
    for i in 0..first.len() {
        assert!(shade[i % 64] == 255 || first[i] == pixels[i % 64], "pixel {i} is known");
    }
    assert_ne!(first[..64], first[64..128]);
    house.does("inpaint", &args);
    assert_eq!(drawn(), first, "it repeats itself");
}

#[test]
fn inpaintings_without_sense_are_refused() {
    let house = House::new(&[]);
    let (image, mask, large, black) = (house.at("i.png"), house.at("m.png"), house.at("l.png"), house.at("b.png"));
    write_png(&image, 8, &[9; 64]);
    write_png(&mask, 8, &[255; 64]);
    write_png(&large, 9, &[255; 81]);
    write_png(&black, 8, &[0; 64]);
    for (args, words) in [
        (&[image.as_str(), "--mask", &large][..], "a mask of 9x9 pixels for an image of 8x8"),
        (&[&large, "--mask", &mask], "an image of 9x9 pixels; the model draws 8x8"),
        (&[&image, "--mask", &black], "nothing is white"),
        (&[&image, "--mask", "none.png"], "none.png"),
        (&[&image, "--mask", &mask, "--sampler", "heun"], "ddpm or ddim"),
        (&[&image, "--mask", &mask, "--jump", "0"], "at least 1 step"),
        (&[&image, "--mask", &mask, "-n", "0"], "-n 0"),
        (&[&image, "--mask", &mask, "--out", "x.csv"], "images are written as"),
    ] {
        let line = house.refuses("inpaint", args);
        assert!(line.contains(words), "{args:?}: {line}");
    }
}

#[test]
fn strips_show_chosen_times_and_what_the_network_sees() {
    let house = House::new(&[]);
    let (out, strip) = (house.at("s.png"), house.at("strip.png"));
    // Cells of 8 pixels with gaps of one, enlarged to 512 pixels at least.
    let is = |args: &[&str], [columns, rows]: [u32; 2]| {
        house.does("sample", &[&["-n", "2", "--steps", "4", "--out", &out, "--strip", &strip], args].concat());
        let reader = png::Decoder::new(BufReader::new(File::open(&strip).unwrap())).read_info().unwrap();
        let factor = 512u32.div_ceil(9 * columns + 1);
        let [width, height] = [columns, rows].map(|cells| factor * (9 * cells + 1));
        assert_eq!(reader.info().size(), (width, height), "{args:?}");
    };
    is(&[], [5, 2]);
    is(&["--strip-times", "1000,334,0"], [3, 2]);
    is(&["--strip-times", "1000,334,0", "--strip-of", "z,x0"], [3, 4]);
    let line = house.refuses("sample", &["--strip", &strip, "--strip-times", "1200"]);
    assert!(line.contains("--strip-times 1200") && line.contains("from t = 1000 to"), "{line}");
    house.refuses("sample", &["--strip-times", "10"]);
}

#[test]
fn langevin_dynamics_has_options() {
    let house = House::new(&[]);
    let out = house.at("s.png");
    let few = ["--langevin-levels", "3", "--langevin-steps", "2", "--out", &out];
    house.does("sample", &[&["-n", "2", "--sampler", "langevin"][..], &few].concat());
    let line = house.refuses("sample", &few);
    assert!(line.contains("langevin_levels") && line.contains("langevin"), "{line}");
    let line = house.refuses("sample", &["--sampler", "langevin", "--steps", "10"]);
    assert!(line.contains("--langevin-steps"), "{line}");
    let tip = |command: &str, option: &str| {
        let output = ddpm().args([command, option, "3"]).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(tip("train", "--langevin-levels").contains("--set sample.langevin_levels=VALUE"));
    assert!(tip("inpaint", "--clip-range").contains("--set sample.clip_range=VALUE"));
}

#[test]
fn a_network_is_measured_on_test_data() {
    let house = House::new(&[]);
    let json = |args: &[&str]| -> serde_json::Value {
        let args = [&["--json", "--nll-images", "3", "--nll-steps", "2000"], args].concat();
        serde_json::from_str(&house.does("eval", &args)).unwrap()
    };
    let found = json(&["--metrics", "coding,ode", "--ode-tolerance", "1"]);
    let at = |path: &str| {
        found.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path}: {found}"))
    };
    let [coding, bound, ode] = ["/coding/bits", "/nll/bits/loss", "/ode/bits/loss"].map(at);
    // The bound with all its terms is what is sent.
    assert!((coding - bound).abs() <= 1e-9 * coding && ode > 0.0 && ode < 2.0 * bound, "{found}");
    assert_eq!(at("/ode/probes"), 1.0);
    let run = Path::new(&house.run);
    let csv = fs::read_to_string(run.join("coding.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1001);
    assert!(fs::read_to_string(run.join("coding.svg")).unwrap().contains("rate, bits per dimension"));
    assert_eq!(json(&["--metrics", "coding,ode", "--ode-tolerance", "1"]), found, "it repeats itself");
    let table = house.at("own.csv");
    json(&["--metrics", "coding", "--curve", &table]);
    assert_eq!(fs::read_to_string(table).unwrap(), csv);
}

#[test]
fn points_of_continuous_time_are_measured() {
    let house = House::of_points();
    let args = ["--metrics", "nelbo,weighted,rescaled,ode", "--json", "--loss-times", "0.1,0.9", "--nll-images", "20"];
    let found: serde_json::Value = serde_json::from_str(&house.does("eval", &args)).unwrap();
    let at = |path: &str| {
        found.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path}: {found}"))
    };
    assert_eq!((at("/losses/times/0"), at("/losses/times/1"), at("/ode/probes")), (0.1, 0.9, 0.0));
    // Whatever is predicted, the error of the image is at most that of the best and at least that of no guess at all; the
    // likelihood cannot be better than its bound by more than the error of both.
    assert!(at("/losses/rescaled/loss") < 1.0 && at("/losses/nelbo/loss") > 1.0, "{found}");
    assert!(at("/ode/change") <= 0.01 && at("/ode/bits/loss") < at("/nll/bits/loss") + 1.0, "{found}");
    let said = house.does("eval", &["--metrics", "nelbo"]);
    assert!(said.contains("t from 0.001 to 0.999"), "the cut-offs are stated: {said}");
}

#[test]
fn measures_without_sense_are_refused() {
    let (house, points) = (House::new(&[]), House::of_points());
    for (house, args, words) in [
        (&house, &["--metrics", "nelbo"][..], "whose bound is nll"),
        (&house, &["--metrics", "coding", "--curve", "x.png"], "a plot .svg or numbers .csv"),
        (&house, &["--metrics", "ode", "--ode-tolerance", "0"], "--ode-tolerance 0"),
        (&house, &["--metrics", "nll", "--curve", "x.svg"], "--metrics coding"),
        (&house, &["--metrics", "nll", "--nll-images", "0"], "--nll-images 0"),
        (&points, &["--metrics", "coding"], "images of 256 levels"),
        (&points, &["--metrics", "nelbo", "--loss-times", "0.1,1"], "from 0.001 to 0.999"),
    ] {
        let line = house.refuses("eval", args);
        assert!(line.contains(words), "{args:?}: {line}");
    }
}

/// A classifier of the noisy samples of a run guides its samples, which know no classes, to the corner that is asked for: at
/// scale 1 to that cluster as it is.
#[test]
fn a_classifier_guides_samples_of_a_model_without_classes() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "points").display().to_string();
    let settings = ["data.source=clusters", "train.steps=1500", "sample.n=10", "sample.steps=50"];
    let args = ["train", "--device", "cpu", "--preset", "points-2d", "--out", &run];
    ddpm().args(args).args(settings.iter().flat_map(|setting| ["--set", setting])).assert().success();
    let house = House { folder, run };
    let said = house.does("classifier", &["--epochs", "3"]);
    assert!(said.contains("a classifier of 4 classes"), "{said}");
    // Bayes' rule is right with the probability Phi(m / s)^2, where an axis has the means -m and m and the deviation s.
    // Four standard errors of 10,000 samples are 2 % at most.
    let accuracy = said.split_once("right on test samples: ").expect("the accuracy").1.trim().split(", ");
    let accuracy: Vec<(f64, &str)> = accuracy
        .map(|level| level.split_once(" % at t = ").expect("a level"))
        .map(|(share, t)| (share.parse().unwrap(), t))
        .collect();
    let of_bayes = [(99.0, "0.2"), (81.6, "0.4"), (57.7, "0.6"), (39.0, "0.8"), (25.1, "0.999")];
    assert_eq!(accuracy.len(), of_bayes.len(), "{said}");
    let is_near = |((share, t), (best, at)): (&(f64, &str), &(f64, &str))| t == at && (share - best).abs() <= 2.0;
    assert!(accuracy.iter().zip(&of_bayes).all(is_near), "{said}");
    let file = Path::new(&house.run).join("classifier.safetensors").display().to_string();
    let bytes = fs::read(&file).unwrap();
    house.does("classifier", &["--epochs", "3"]);
    assert_eq!(fs::read(&file).unwrap(), bytes, "it repeats itself");

    let out = house.at("points.npy");
    let drawn = |args: &[&str]| {
        house.does("sample", &[&["-n", "200", "--out", &out], args].concat());
        let (shape, points) = array(&out);
        assert_eq!(shape.iter().product::<u64>(), 400);
        points
    };
    let in_corner = |points: &[f32]| points.chunks(2).filter(|point| point[0] > 0.0 && point[1] < 0.0).count();
    let to = ["--classifier", &file, "--class", "lower right"];
    let guided = drawn(&to);
    // The cluster is normal around (0.98, -0.98) with the deviation 0.196; the network, of 1500 steps, is off by a tenth.
    for (axis, mean) in [0.98, -0.98].into_iter().enumerate() {
        let of_axis: Vec<f32> = guided.iter().copied().skip(axis).step_by(2).collect();
        let found = of_axis.iter().sum::<f32>() / 200.0;
        let deviation = (of_axis.iter().map(|x| (x - found).powi(2)).sum::<f32>() / 200.0).sqrt();
        let is_near = (found - mean).abs() <= 0.2 && (deviation - 0.196).abs() <= 0.06;
        assert!(is_near, "axis {axis}: {found}, deviation {deviation}");
    }
    let (free, guided) = (in_corner(&drawn(&[])), in_corner(&guided));
    let [away, ddim] = [&["--classifier-scale", "-2"][..], &["--sampler", "ddim", "--steps", "200"]]
        .map(|more| in_corner(&drawn(&[&to[..], more].concat())));
    assert!(free <= 90 && guided >= 180 && ddim >= 150 && away <= 20, "{free}, {guided}, {ddim}, {away} of 200");

    for (args, words) in [
        (&["--classifier", &file, "--class", "middle"][..], "the classifier knows lower left"),
        (&["--classifier", &file, "--classifier-scale", "nan"], "nan"),
        (&["--classifier", &house.at("none")], "--classifier"),
        (&["--classifier", &file, "--guidance", "1"], "cannot be used with"),
        (&["--classifier-scale", "2"], "required"),
        (&["--class", "lower right"], "knows no classes"),
    ] {
        let line = house.refuses("sample", args);
        assert!(line.to_lowercase().contains(words), "{args:?}: {line}");
    }
}

#[test]
fn samples_may_be_stretched_to_their_own_extremes() {
    let house = House::new(&[]);
    let out = house.at("s.npy");
    let drawn = |args: &[&str]| {
        house.does("sample", &[&["-n", "3", "--steps", "4", "--out", &out], args].concat());
        array(&out).1
    };
    let (plain, stretched) = (drawn(&[]), drawn(&["--stretched"]));
    for (plain, stretched) in plain.chunks(64).zip(stretched.chunks(64)) {
        let extremes = |values: &[f32]| [f32::min, f32::max].map(|of| values.iter().copied().reduce(of).unwrap());
        let [low, high] = extremes(plain);
        assert_eq!(extremes(stretched), [-1.0, 1.0]);
        let is_same = |(x, y): (&f32, &f32)| ((x - low) / (high - low) * 2.0 - 1.0 - y).abs() <= 1e-5;
        assert!(plain.iter().zip(stretched).all(is_same));
    }
    let line = House::of_points().refuses("sample", &["--stretched"]);
    assert!(line.contains("--stretched"), "{line}");
}
