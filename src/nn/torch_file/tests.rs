use super::*;

const GOLDEN: &str = "tests/golden/state-dict.bin";

#[test]
fn tensors_of_every_type_and_layout_are_read() {
    let file = TorchFile::open(Path::new(GOLDEN)).unwrap();
    let numbers: Vec<f32> = (0..12u8).map(f32::from).collect();
    let turned = [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11u8].map(f32::from);
    let expected: [(&str, &[usize], &[f32]); 8] = [
        ("plain.weight", &[3, 4], &numbers),
        ("turned", &[4, 3], &turned),
        ("second_row", &[4], &[4.0, 5.0, 6.0, 7.0]),
        ("half", &[2], &[0.5, -2.0]),
        ("brain", &[1], &[1.5]),
        ("double", &[1, 1], &[3.25]),
        ("scalar", &[], &[7.0]),
        ("count", &[2], &[3.0, -4.0]),
    ];
    for (name, dims, values) in expected {
        assert_eq!(file.read(name, dims).unwrap(), values, "{name}");
    }
    assert!(file.read("half", &[3]).unwrap_err().to_string().contains("wanted [3], found [2]"));
    assert!(file.read("none", &[3]).unwrap_err().to_string().contains("\"none\" [3] is missing"));
}

fn refusal(pickle: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evil.bin");
    std::fs::write(&path, fixture::archive(pickle, &[])).unwrap();
    TorchFile::open(&path).err().expect("it is refused").to_string()
}

#[test]
fn code_is_refused_by_its_name() {
    let message = refusal(b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.");
    assert!(message.contains("evil.bin") && message.contains("the pickle calls os.system"), "{message}");
    // An instruction that makes an instance of any class.
    assert!(refusal(b"(ios\nsystem\n.").contains("instruction 0x69"));
}

#[test]
fn damaged_files_are_refused_in_one_line() {
    for pickle in
        [&b""[..], b".", b"t.", b"K\x01.", b"}.", b"R.", b"Q.", b"h\x05.", b"\x87.", b"\x8a\xff.", b"K\x01K\x02K\x03s."]
    {
        let message = refusal(pickle);
        assert!(!message.contains('\n'), "{message}");
    }
    let (whole, folder) = (std::fs::read(GOLDEN).unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join("state.bin");
    for length in (0..whole.len()).step_by(37) {
        std::fs::write(&path, &whole[..length]).unwrap();
        TorchFile::open(&path).err().expect("a truncated file is refused");
    }
    // A changed byte is refused, or changes numbers: never a panic.
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        let _ = TorchFile::open(&path).map(|file| {
            file.names().iter().for_each(|name| {
                let dims = file.dims(name).unwrap().to_vec();
                let _ = file.read(name, &dims);
            })
        });
    }
}

/// A state dict within a dict, as training loops save it.
#[test]
fn dicts_in_dicts_are_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model-10.pt");
    let tensors = [("a".to_owned(), vec![2], vec![1.5, -2.0]), ("b.c".to_owned(), vec![1, 2], vec![3.0, 4.0])];
    for within in [None, Some("ema")] {
        std::fs::write(&path, fixture::state_dict(&tensors, within)).unwrap();
        let file = TorchFile::open(&path).unwrap();
        let prefix = within.map(|name| format!("{name}.")).unwrap_or_default();
        assert_eq!(file.names(), [format!("{prefix}a"), format!("{prefix}b.c")]);
        assert_eq!(file.read(&format!("{prefix}b.c"), &[1, 2]).unwrap(), [3.0, 4.0]);
    }
}

/// A flipped bit of a weight, which PyTorch would not notice: it writes checksums but does not read them.
#[test]
fn damaged_numbers_are_noticed_and_files_without_checksums_read() {
    let mut bytes = std::fs::read(GOLDEN).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.bin");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        TorchFile::open(&path).and_then(|file| file.read("plain.weight", &[3, 4]))
    };
    let at = bytes.windows(4).position(|four| four == 7f32.to_le_bytes()).unwrap();
    bytes[at] ^= 1;
    let message = read(&bytes).unwrap_err().to_string();
    assert!(message.contains("data/0 is damaged: another checksum"), "{message}");
    // The archive's index holds the checksums at byte 16 of each entry.
    let index: Vec<usize> = (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(b"PK\x01\x02")).collect();
    index.iter().for_each(|at| bytes[at + 16..at + 20].fill(0));
    assert_ne!(read(&bytes).unwrap()[7], 7.0);
}
