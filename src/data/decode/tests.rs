use super::{Header, Image, Input};
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/fixtures").join(name)
}

fn open(path: &Path) -> Input {
    Input::open(path).unwrap()
}

fn header(path: &Path) -> Result<Header, String> {
    super::header(&mut open(path))
}

/// The image of a file, which is the same from the disk and from memory.
fn decode(path: &Path) -> Result<Image, String> {
    let image = super::decode(&mut open(path));
    assert_eq!(super::decode(&mut Input::of(fs::read(path).unwrap())), image);
    image
}

fn worst(a: &Image, b: &Image) -> u8 {
    assert_eq!((a.height, a.width, a.channels), (b.height, b.width, b.channels));
    a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn every_codec_shows_the_same_picture() {
    let [colour, grey] = ["colour.png", "grey.png"].map(|name| decode(&fixture(name)).unwrap());
    assert_eq!((colour.height, colour.width, colour.channels, grey.channels), (8, 12, 3, 1));
    for (name, bound) in [
        ("colour.jpg", 4),
        ("progressive.jpg", 4),
        ("lossless.webp", 0),
        ("lossy.webp", 40),
        ("colour.bmp", 0),
        ("colour.gif", 0),
        ("lzw.tiff", 0),
    ] {
        let err = worst(&decode(&fixture(name)).unwrap(), &colour);
        assert!(err <= bound, "{name} differs by {err}");
    }
    for name in ["grey.bmp", "grey.gif", "grey.tiff", "grey16.tiff", "grey32.tiff"] {
        assert_eq!(decode(&fixture(name)).unwrap(), grey, "{name}");
        assert!(header(&fixture(name)).unwrap().grey, "{name}");
    }
}

#[test]
fn photographs_are_turned_upright() {
    let colour = decode(&fixture("colour.png")).unwrap();
    for (name, bound) in [("turned.jpg", 4), ("turned.tiff", 0)] {
        assert_eq!(header(&fixture(name)).unwrap().upright(), [12, 8]);
        let upright = decode(&fixture(name)).unwrap();
        assert_eq!((upright.height, upright.width), (12, 8));
        for (i, pixel) in upright.pixels.chunks_exact(3).enumerate() {
            // Turned clockwise: the top row is the first column, from the bottom up.
            let (row, column) = (7 - i % 8, i / 8);
            let stored = &colour.pixels[3 * (12 * row + column)..][..3];
            assert!(pixel.iter().zip(stored).all(|(a, b)| a.abs_diff(*b) <= bound), "{name}: pixel {i}");
        }
    }
}

/// An image that ends early is refused wherever it is cut, but for what follows its last pixel.
#[test]
fn a_file_cut_short_is_no_image() {
    let folder = tempfile::tempdir().unwrap();
    for (name, needless) in [
        ("colour.png", 16),
        ("colour.jpg", 0),
        ("progressive.jpg", 0),
        ("lossless.webp", 0),
        ("lossy.webp", 0),
        ("colour.bmp", 0),
        ("colour.gif", 3),
        ("lzw.tiff", 0),
    ] {
        let bytes = fs::read(fixture(name)).unwrap();
        let path = folder.path().join(name);
        for length in (0..bytes.len() - needless).rev().step_by(5) {
            fs::write(&path, &bytes[..length]).unwrap();
            let message = decode(&path).map(|_| ()).expect_err(&format!("{name} cut to {length} bytes"));
            assert!(message.contains("unreadable image: ") && !message.contains('\n'), "{message}");
        }
    }
}

/// Wide integers from 0 to 255 are bytes; what floating point means is not known.
#[test]
fn samples_that_are_no_bytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut tiff = fs::read(fixture("grey32.tiff")).unwrap();
    let at = tiff.windows(4).position(|word| word == [210, 0, 0, 0]).unwrap();
    tiff[at + 1] = 1;
    let path = folder.path().join("wide.tiff");
    fs::write(&path, tiff).unwrap();
    let message = decode(&path).unwrap_err();
    assert!(message.contains("a sample of 466: 0 to 255 are read"), "{message}");
    let message = decode(&fixture("float.tiff")).unwrap_err();
    assert!(message.contains("floating point") && message.contains("astype(\"uint8\")"), "{message}");
}

#[test]
fn a_header_cannot_promise_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let mut bmp = fs::read(fixture("colour.bmp")).unwrap();
    bmp[18..26].copy_from_slice(&[0, 0, 1, 0, 0, 0, 1, 0]);
    let path = folder.path().join("huge.bmp");
    fs::write(&path, bmp).unwrap();
    let message = header(&path).unwrap_err();
    assert!(message.contains("65536x65536 pixels"), "{message}");
}

/// A decoder would fill the rest with black, and take its time.
#[test]
fn a_bmp_holds_the_pixels_that_its_header_promises() {
    let sound = fs::read(fixture("colour.bmp")).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut bmp = sound.clone();
        bmp[at..at + bytes.len()].copy_from_slice(bytes);
        super::header(&mut Input::of(bmp)).map(drop)
    };
    with(18, &[]).unwrap();
    let message = with(22, &8000i32.to_le_bytes()).unwrap_err();
    assert!(message.contains("8000 pixels need") && message.contains("bytes, but"), "{message}");
    with(22, &(-8000i32).to_le_bytes()).unwrap_err();
    // Run-length encoding: a byte may stand for many pixels, but not for any number.
    let mut rle = [&8000i32.to_le_bytes()[..], &8000i32.to_le_bytes(), &[1, 0, 8, 0], &1i32.to_le_bytes()].concat();
    rle.truncate(16);
    with(18, &rle).unwrap_err();
}
