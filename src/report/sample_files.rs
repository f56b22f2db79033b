//! Samples as files that other programs read: a sheet, single images, numpy's arrays, or a table of points.

use super::grid::{grid, sample_sheet, single};
use super::plot::sample_scatter;
use crate::files::{check_writable, write_whole};
use crate::{Error, Result, SampleKind, levels::level};
use npyz::{AutoSerialize, WriterBuilder, npz};
use rayon::prelude::*;
use std::fs;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A way to write samples, chosen by the name of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFile {
    /// `.png`: all images on one sheet, or a picture of the points.
    Sheet,
    /// `.svg`: points as a plot with axes.
    Plot,
    /// `.npz`: `arr_0` of the images in 8 bits `[n, h, w, c]`, or of the points `[n, 2]` in f32, and `arr_1` of the classes
    /// `[n]` where there are any, as improved-diffusion writes it.
    Npz,
    /// `.npy`: the numbers as they were drawn, neither clamped nor rounded, f32 `[n, h, w, c]`, or `[n, 2]` of points.
    Npy,
    /// `.csv`: a point a line.
    Csv,
    /// A folder with a `.png` for each image.
    Folder,
}

/// Samples with their classes.
#[derive(Clone, Copy, Debug)]
pub struct ClassedSamples<'a> {
    /// Values, `[n, h, w, c]`; images lie in [-1, 1].
    pub values: &'a [f32],
    /// Dimensions of the values.
    pub dims: [usize; 4],
    /// Class of every sample; of one that was drawn without a class, the number of classes. Empty where a model knows none.
    pub classes: &'a [usize],
    /// Columns of a sheet of images; about as many as rows where that is not said.
    pub columns: Option<usize>,
}

impl SampleFile {
    /// Chooses the kind by the name, and checks that such a file can be written there, before there is anything to write.
    ///
    /// # Errors
    /// An extension that names no kind, or none for these samples, and a place that cannot be written.
    pub fn at(path: &Path, kind: SampleKind) -> Result<SampleFile> {
        let chosen = SampleFile::of(path, kind)?;
        match chosen {
            SampleFile::Folder => check_folder(path)?,
            _ => check_writable(path)?,
        }
        Ok(chosen)
    }

    fn of(path: &Path, kind: SampleKind) -> Result<SampleFile> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let is_folder = path.is_dir() || path.as_os_str().to_string_lossy().ends_with(['/', '\\']);
        match (extension.as_deref(), kind) {
            (Some("png"), _) if !is_folder => Ok(SampleFile::Sheet),
            (Some("npz"), _) if !is_folder => Ok(SampleFile::Npz),
            (Some("npy"), _) if !is_folder => Ok(SampleFile::Npy),
            (Some("svg"), SampleKind::Points) => Ok(SampleFile::Plot),
            (Some("csv"), SampleKind::Points) if !is_folder => Ok(SampleFile::Csv),
            (None, SampleKind::Images) => Ok(SampleFile::Folder),
            (_, SampleKind::Images) if is_folder => Ok(SampleFile::Folder),
            (_, SampleKind::Images) => Err(unknown(path, "images", ".png (a sheet), .npz, .npy, or a folder/ of PNGs")),
            (_, SampleKind::Points) => Err(unknown(path, "points", ".svg (a plot), .png, .csv, .npz or .npy")),
        }
    }

    /// Writes the samples.
    ///
    /// # Errors
    /// A file that cannot be written; what was there before is untouched then.
    pub fn write(self, path: &Path, samples: ClassedSamples) -> Result<()> {
        let [n, h, w, c] = samples.dims;
        let is_points = SampleKind::of([h, w, c]) == SampleKind::Points;
        let shape: Vec<u64> = if is_points { vec![n as u64, 2] } else { samples.dims.map(|dim| dim as u64).into() };
        match self {
            SampleFile::Sheet if is_points => sample_sheet(samples.values, samples.dims).write_png(path),
            SampleFile::Sheet => grid(samples.values, samples.dims, samples.columns).write_png(path),
            SampleFile::Plot => sample_scatter("", samples.values, None).write(path),
            SampleFile::Folder => write_folder(path, samples),
            SampleFile::Npy => write_whole(path, |out| write_array(out, samples.values, &shape)),
            SampleFile::Csv => write_whole(path, |out| {
                writeln!(out, "x,y")?;
                samples.values.chunks_exact(2).try_for_each(|point| writeln!(out, "{},{}", point[0], point[1]))
            }),
            SampleFile::Npz => write_whole(path, |out| {
                let mut archive = ZipWriter::new(out);
                if is_points {
                    add_array(&mut archive, "arr_0", CompressionMethod::Stored, samples.values, &shape)?;
                } else {
                    let bytes: Vec<u8> = samples.values.iter().map(|&value| level(value)).collect();
                    add_array(&mut archive, "arr_0", CompressionMethod::Stored, &bytes, &shape)?;
                }
                if !samples.classes.is_empty() {
                    let classes: Vec<i64> = samples.classes.iter().map(|&class| class as i64).collect();
                    add_array(&mut archive, "arr_1", CompressionMethod::Stored, &classes, &[n as u64])?;
                }
                archive.finish().map(drop).map_err(io::Error::from)
            }),
        }
    }
}

fn unknown(path: &Path, samples: &str, there_are: &str) -> Error {
    Error::Config(format!("--out {}: {samples} are written as {there_are}", path.display()))
}

/// Refuses a folder with something in it, and a place where no folder can be made.
fn check_folder(path: &Path) -> Result<()> {
    if path.exists() {
        let is_empty = fs::read_dir(path).map_err(Error::io(path))?.next().is_none();
        return if is_empty { check_writable(&path.join("000000.png")) } else { Err(occupied(path)) };
    }
    check_writable(path)
}

fn occupied(path: &Path) -> Error {
    Error::Config(format!("--out {}: the folder is not empty; choose another", path.display()))
}

/// Writes `000000.png` and so on, with the class before it where there are any (`3_000000.png`, improved-diffusion's way to
/// label files), into a folder that appears when all are there.
fn write_folder(path: &Path, samples: ClassedSamples) -> Result<()> {
    let [_, h, w, c] = samples.dims;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial: PathBuf = path.with_file_name(name);
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir(&partial).map_err(Error::io(&partial))?;
    let images = samples.values.par_chunks_exact(h * w * c).enumerate();
    images.try_for_each(|(i, image)| {
        let class = samples.classes.get(i).map_or(String::new(), |class| format!("{class}_"));
        let file = partial.join(format!("{class}{i:06}.png"));
        fs::write(&file, single(image, [h, w, c]).png()).map_err(Error::io(&file))
    })?;
    if path.is_dir() {
        fs::remove_dir(path).map_err(|_| occupied(path))?;
    }
    fs::rename(&partial, path).map_err(Error::io(path))
}

/// Writes an array as a `.npy` file.
///
/// # Errors
/// Whatever the writer reports.
fn write_array<T: AutoSerialize + Copy>(out: impl Write, values: &[T], shape: &[u64]) -> io::Result<()> {
    let mut array = npyz::WriteOptions::new().default_dtype().shape(shape).writer(out).begin_nd()?;
    array.extend(values.iter().copied())?;
    array.finish()
}

/// Adds an array to a `.npz` file.
///
/// # Errors
/// Whatever the writer reports.
pub fn add_array<T: AutoSerialize + Copy>(
    archive: &mut ZipWriter<impl Write + Seek>,
    name: &str,
    compression: CompressionMethod,
    values: &[T],
    shape: &[u64],
) -> io::Result<()> {
    let options = SimpleFileOptions::default().compression_method(compression).large_file(true);
    archive.start_file(npz::file_name_from_array_name(name), options)?;
    write_array(archive, values, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(path: &Path, kind: SampleKind, words: &str) {
        let message = SampleFile::at(path, kind).unwrap_err().to_string();
        assert!(message.contains(words), "{}: {message}", path.display());
    }

    #[test]
    fn the_name_of_the_output_chooses_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, kind| SampleFile::at(&folder.path().join(name), kind).unwrap();
        let images = [("a.png", SampleFile::Sheet), ("b.NPZ", SampleFile::Npz), ("c", SampleFile::Folder)];
        images.into_iter().for_each(|(name, kind)| assert_eq!(at(name, SampleKind::Images), kind, "{name}"));
        assert_eq!(at("v1.5/", SampleKind::Images), SampleFile::Folder);
        assert_eq!(at("points.csv", SampleKind::Points), SampleFile::Csv);
        assert_eq!(at("points.svg", SampleKind::Points), SampleFile::Plot);
        for (name, words) in
            [("x.jpg", ".png (a sheet), .npz"), ("x.csv", "images are written as"), ("x.webp", "x.webp")]
        {
            is_refused(&folder.path().join(name), SampleKind::Images, words);
        }
        is_refused(&folder.path().join("points"), SampleKind::Points, ".csv");
        is_refused(&folder.path().join("nofolder/x.png"), SampleKind::Images, "nofolder");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "looking leaves nothing");
        fs::write(folder.path().join("own.txt"), "kept").unwrap();
        is_refused(folder.path(), SampleKind::Images, "not empty");
    }

    #[test]
    fn a_folder_holds_each_image_at_its_size_and_its_class_before_the_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let values: Vec<f32> = (0..2 * 3 * 5 * 3).map(|i| i as f32 / 45.0 - 1.0).collect();
        let samples = ClassedSamples { values: &values, dims: [2, 3, 5, 3], classes: &[7, 10], columns: None };
        SampleFile::at(&path, SampleKind::Images).unwrap().write(&path, samples).unwrap();
        let mut names: Vec<String> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["10_000001.png", "7_000000.png"]);
        let mut reader =
            png::Decoder::new(io::Cursor::new(fs::read(path.join("7_000000.png")).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (5, 3));
        assert_eq!(pixels, values[..45].iter().map(|&value| level(value)).collect::<Vec<u8>>());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn arrays_are_what_numpy_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.npz");
        let samples = ClassedSamples {
            values: &[-1.0, 1.0, 0.0, 9.0],
            dims: [4, 1, 1, 1],
            classes: &[0, 1, 2, 3],
            columns: None,
        };
        SampleFile::Npz.write(&path, samples).unwrap();
        let mut archive = zip::ZipArchive::new(fs::File::open(&path).unwrap()).unwrap();
        let images = npyz::NpyFile::new(archive.by_name("arr_0.npy").unwrap()).unwrap();
        assert_eq!(images.shape(), [4, 1, 1, 1]);
        assert_eq!(images.into_vec::<u8>().unwrap(), [0, 255, 128, 255]);
        let classes = npyz::NpyFile::new(archive.by_name("arr_1.npy").unwrap()).unwrap();
        assert_eq!(classes.into_vec::<i64>().unwrap(), [0, 1, 2, 3]);
        let path = folder.path().join("points.npy");
        let points =
            ClassedSamples { values: &[0.25, -7.5, 1.0, 2.0], dims: [2, 1, 1, 2], classes: &[], columns: None };
        SampleFile::Npy.write(&path, points).unwrap();
        let array = npyz::NpyFile::new(fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(array.shape(), [2, 2]);
        assert_eq!(array.into_vec::<f32>().unwrap(), [0.25, -7.5, 1.0, 2.0]);
    }
}
