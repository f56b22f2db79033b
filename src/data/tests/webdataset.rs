//! Shards of WebDataset.

use super::archives::{grey, tar_of};
use super::*;

/// A folder of shards.
fn shards(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

fn cls(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn several_shards_are_one_set() {
    let first = tar_of(&[
        ("__meta__", cls("about the shard")),
        ("b/7.png", grey(4, 1)),
        ("b/7.cls", cls("3\n")),
        ("a/7.cls", cls("0")),
        ("a/7.seg.PNG", grey(4, 2)),
        ("a/._7.png", vec![0; 30]),
    ]);
    let second = tar_of(&[("c.txt", cls("a caption")), ("c.cls", cls("1")), ("c.png", grey(6, 3))]);
    let test = tar_of(&[("t.png", grey(4, 9)), ("t.cls", cls("2"))]);
    for compress in [false, true] {
        let pack = |bytes: &[u8]| if compress { gzip(bytes) } else { bytes.to_vec() };
        let name = |stem: &str| if compress { format!("{stem}.tar.gz") } else { format!("{stem}.tar") };
        let [one, two, three] = ["set-train-000000", "set-train-000001", "set-val-000000"].map(name);
        let folder = shards(&[(&one, pack(&first)), (&two, pack(&second)), (&three, pack(&test))]);
        let train = load(folder.path());
        assert_eq!((train.len(), train.image_dims(), train.labels().unwrap()), (3, [4, 4, 1], &[3, 0, 1][..]));
        assert_eq!([0, 1, 2].map(|i| train.image_u8(i)[0]), [1, 2, 3], "in the order of the shards");
        assert_eq!(train.class_names(), ["0", "1", "2", "3"]);
        let test = open(folder.path().to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
        assert_eq!((test.len(), test.labels().unwrap()), (1, &[2][..]));
        assert_eq!(load(&folder.path().join(two)).labels().unwrap(), [1]);
    }
}

#[test]
fn labels_may_stand_in_json_as_numbers_or_names() {
    let load_one = |samples: &[(&str, Vec<u8>)]| load(shards(&[("x-000000.tar", tar_of(samples))]).path());
    let json = |text: &str| text.as_bytes().to_vec();
    let numbers = load_one(&[
        ("0.json", json(r#"{"label": 4}"#)),
        ("0.png", grey(4, 1)),
        ("1.png", grey(4, 2)),
        ("1.json", json(r#"{"label": 0}"#)),
    ]);
    assert_eq!(numbers.labels().unwrap(), [4, 0]);
    let names = load_one(&[
        ("0.json", json(r#"{"label": "owl"}"#)),
        ("0.png", grey(4, 1)),
        ("1.png", grey(4, 2)),
        ("1.json", json(r#"{"label": "cat"}"#)),
    ]);
    assert_eq!((names.labels().unwrap(), names.class_names()), (&[1, 0][..], &["cat", "owl"].map(String::from)[..]));
    let captions =
        load_one(&[("0.json", json(r#"{"caption": "an owl"}"#)), ("0.txt", json("an owl")), ("0.png", grey(4, 1))]);
    assert_eq!((captions.len(), captions.labels()), (1, None));
}

#[test]
fn faults_of_a_shard_name_the_sample() {
    let complain = |samples: &[(&str, Vec<u8>)]| complaint(shards(&[("x-000000.tar", tar_of(samples))]).path());
    let good = [("0.png", grey(4, 1)), ("0.cls", cls("3"))];
    let with = |more: &[(&'static str, Vec<u8>)]| [&good[..], more].concat();
    for (more, says) in [
        (&[("1.png", grey(4, 1))][..], &["x-000000.tar: 1.png: has no label", "1 other sample(s) have one"][..]),
        (
            &[("1.png", grey(4, 1)), ("1.cls", cls("cat"))],
            &["x-000000.tar: 1.cls: holds no class number from 0 to 65535"],
        ),
        (&[("1.png", grey(4, 1)), ("1.json", cls("{"))], &["x-000000.tar: 1.json: no JSON: "]),
        (&[("1.png", grey(4, 1)), ("1.json", cls(r#"{"label": [1]}"#))], &["1.json: its label is neither"]),
        (
            &[("1.png", grey(4, 1)), ("1.json", cls(r#"{"label": "cat"}"#))],
            &["0.png: its label is a number, but others are names"],
        ),
        (&[("0.mask.png", grey(4, 1))], &["0.mask.png: sample 0 has a second image, 0.png"]),
        (&[("1.png", b"no".to_vec()), ("1.cls", cls("1"))], &["x-000000.tar: 1.png: unreadable image"]),
    ] {
        assert_says(&complain(&with(more)), says);
    }
}
