//! SVHN's cropped digits, as torchvision downloads them: `train_32x32.mat` with images `X [h, w, c, n]` and labels `y [n, 1]`,
//! in which 10 stands for the digit 0.

use std::path::Path;

use rayon::prelude::*;

use super::cifar::numbered;
use super::format::{Description, Format, Head, Holds, Listing};
use super::mat::{self, Kind, Matrix, Number};
use crate::data::{
    dataset::{Dataset, Samples},
    names::{display_name, file_name},
    options::DataOptions,
};
use crate::{Error, Result};

/// MATLAB files of images and labels.
#[derive(Debug)]
pub(super) struct Svhn;

const IMAGES: &str = "X";
const LABELS: &str = "y";
const CLASSES: usize = 10;
const BYTES: Number = Number { width: 1, kind: Kind::Unsigned };

impl Format for Svhn {
    fn describe(&self) -> Description {
        Description {
            source: "DIR with SVHN",
            contents: "train_32x32.mat, test_32x32.mat: images X [h, w, c, n] of bytes, labels y, 10 for the digit 0",
            file: "one .mat of SVHN",
            files: "SVHN's .mat files",
        }
    }

    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        if head.is_gzip || !mat::is_mat(&head.bytes) {
            return Ok(None);
        }
        let names = mat::names(head.path)?;
        Ok([IMAGES, LABELS].iter().all(|wanted| names.iter().any(|name| name == wanted)).then_some(Holds::Samples))
    }

    fn meant(&self, path: &Path) -> Option<Holds> {
        file_name(path).ends_with("_32x32.mat").then_some(Holds::Samples)
    }

    fn read(&self, source: &Path, listing: Listing, _options: &DataOptions) -> Result<Dataset> {
        let [path] = &listing.samples[..] else {
            let names = listing.samples.iter().map(|path| file_name(path)).collect::<Vec<_>>().join(", ");
            return Err(Error::format(
                source,
                format!("holds several .mat files of images ({names}): give the path of one"),
            ));
        };
        let images = mat::read(path, IMAGES)?;
        let wrong = |reason: String| Error::format(path, reason);
        let [height, width, channels @ (1 | 3), len] = images.dims[..] else {
            return Err(wrong(format!(
                "array X: images [h, w, c, n] with 1 or 3 channels are read, not {:?}",
                images.dims
            )));
        };
        if images.number != BYTES || height * width * len == 0 {
            return Err(wrong("array X: bytes are read, of one image and one pixel at least".to_owned()));
        }
        let labels = mat::read(path, LABELS)?;
        let numbers: Vec<Option<i64>> = labels.integers().collect();
        if numbers.len() != len {
            return Err(wrong(format!("array y: {} labels for {len} images", numbers.len())));
        }
        let digit = |(i, &label): (usize, &Option<i64>)| match label {
            Some(label @ 0..=9) => Ok(label as u32),
            Some(10) => Ok(0),
            _ => Err(wrong(format!("array y: label {i} is none of the digits, which are 1 to 9, and 10 for 0"))),
        };
        Ok(Dataset {
            name: display_name(source),
            format: "SVHN, MATLAB".into(),
            len,
            height,
            width,
            channels,
            samples: Samples::in_memory(pixels(&images, [height, width, channels])),
            labels: Some(numbers.iter().enumerate().map(digit).collect::<Result<_>>()?),
            class_names: numbered(CLASSES),
            notes: listing.notes,
        })
    }
}

/// From columns of planes to rows of pixels.
fn pixels(images: &Matrix, [height, width, channels]: [usize; 3]) -> Vec<u8> {
    let mut pixels = vec![0; images.bytes.len()];
    let bytes = height * width * channels;
    pixels.par_chunks_exact_mut(bytes).zip(images.bytes.par_chunks_exact(bytes)).for_each(|(out, image)| {
        for (i, pixel) in out.chunks_exact_mut(channels).enumerate() {
            let (y, x) = (i / width, i % width);
            pixel.iter_mut().enumerate().for_each(|(c, out)| *out = image[(c * width + x) * height + y]);
        }
    });
    pixels
}
