//! Files of feature statistics: the `.npz` of pytorch-fid, with the arrays `mu [d]` and `sigma [d, d]`.

use super::moments::Moments;
use crate::files::write_whole;
use crate::report::add_array;
use crate::{Error, Result};
use npyz::{DType, NpyFile, npz};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Numbers of the largest array that is read: the covariance of 16,384 features.
const MOST_NUMBERS: u64 = 1 << 28;

/// Reads statistics.
///
/// # Errors
/// A file that is missing, is no `.npz`, or holds something else.
pub fn read(path: &Path) -> Result<Moments> {
    let refuse = |reason: String| Error::format(path, reason);
    let file = File::open(path).map_err(Error::io(path))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| refuse(format!("no .npz file: {e}")))?;
    let mut array = |name: &str| -> Result<(Vec<u64>, Vec<f64>)> {
        let entry = archive
            .by_name(&npz::file_name_from_array_name(name))
            .map_err(|e| refuse(format!("array \"{name}\" cannot be read: {e}")))?;
        floats(entry).map_err(|e| refuse(format!("array \"{name}\" cannot be read: {e}")))
    };
    let ((mu_shape, mean), (sigma_shape, covariance)) = (array("mu")?, array("sigma")?);
    let d = mean.len() as u64;
    if mu_shape != [d] || sigma_shape != [d, d] || d == 0 {
        return Err(refuse(format!("wanted mu [d] and sigma [d, d], found mu {mu_shape:?}, sigma {sigma_shape:?}")));
    }
    if !mean.iter().chain(&covariance).all(|v| v.is_finite()) {
        return Err(refuse("the statistics are not finite".into()));
    }
    Ok(Moments { mean, covariance })
}

/// Shape and values of an array of floats. Row-major or column-major is the same for a symmetric matrix.
fn floats(entry: impl Read) -> io::Result<(Vec<u64>, Vec<f64>)> {
    // The reader of headers shows where it failed, in several lines.
    let array = NpyFile::new(entry).map_err(|_| io::Error::other("its header is damaged"))?;
    if array.len() > MOST_NUMBERS {
        return Err(io::Error::other(format!("it promises {} numbers; at most {MOST_NUMBERS} are read", array.len())));
    }
    let shape = array.shape().to_vec();
    let single = matches!(&array.dtype(), DType::Plain(kind) if kind.size_field() == 4);
    let values =
        if single { array.into_vec::<f32>()?.into_iter().map(f64::from).collect() } else { array.into_vec::<f64>()? };
    Ok((shape, values))
}

/// Writes statistics.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, moments: &Moments) -> Result<()> {
    let d = moments.dims() as u64;
    let arrays: [Array; 2] = [("mu", &moments.mean, &[d]), ("sigma", &moments.covariance, &[d, d])];
    write_whole(path, |out| write_arrays(out, arrays))
}

/// The name, the values and the shape of an array.
type Array<'a> = (&'a str, &'a [f64], &'a [u64]);

fn write_arrays(out: impl Write + Seek, arrays: [Array; 2]) -> io::Result<()> {
    let mut archive = ZipWriter::new(out);
    for (name, values, shape) in arrays {
        add_array(&mut archive, name, CompressionMethod::Deflated, values, shape)?;
    }
    archive.finish().map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use zip::write::SimpleFileOptions;

    #[test]
    fn numpys_file_is_read() {
        let moments = read(Path::new("tests/golden/statistics.npz")).unwrap();
        assert_eq!(moments, Moments { mean: vec![0.5, -1.25], covariance: vec![2.0, 0.5, 0.5, 1.0] });
    }

    #[test]
    fn statistics_survive_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.npz");
        let d = 37;
        let moments = Moments {
            mean: (0..d).map(|i| f64::from(i).sin()).collect(),
            covariance: (0..d * d).map(|i| f64::from(i % d * (i / d)).cos()).collect(),
        };
        write(&path, &moments).unwrap();
        assert_eq!(read(&path).unwrap(), moments);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_files_are_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.npz");
        let refused = |wanted: &str| {
            let line = read(&path).unwrap_err().to_string();
            assert!(line.contains("stats.npz") && line.contains(wanted) && !line.contains('\n'), "{line}");
        };
        refused("No such file");
        fs::write(&path, "text").unwrap();
        refused("no .npz file");
        let nan = Moments { mean: vec![f64::NAN], covariance: vec![1.0] };
        write(&path, &nan).unwrap();
        refused("not finite");
        // The end of a zip file is its directory: without it, the file is none.
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            refused("no .npz file");
        }
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        archive.start_file("pixels.npy", SimpleFileOptions::default()).unwrap();
        archive.finish().unwrap();
        refused("array \"mu\" cannot be read");
        let out = File::create(&path).unwrap();
        write_arrays(out, [("mu", &[0.0; 2], &[2]), ("sigma", &[1.0; 3], &[3])]).unwrap();
        refused("wanted mu [d] and sigma [d, d], found mu [2], sigma [3]");
    }
}
