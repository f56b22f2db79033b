//! Checkpoints: all that a run needs to go on, in one safetensors file per kept step.
//!
//! Tensors have the names that diffusers gives them, with a prefix: `weights.`, `ema.` (their moving average; `ema_1.`,
//! `ema_2.`, ... are the further ones of `train.ema`), `adam_m.`, `adam_v.`. The single metadata entry holds the step, the
//! configuration, the CRC-32C of every tensor and one of the entry itself, and nothing that differs between two equal
//! runs: equal runs write equal files.
//!
//! A damaged byte is noticed: the checksums cover tensors and entry, and what else the file's header says (names, types,
//! dimensions, offsets) must agree with the parameters. Files of format 1, which have no checksums, can still be read.
//!
//! A file appears under its name only when it is complete and on the disk ([`files`](crate::files)). Whatever a killed run
//! leaves is either whole or ignored.

use super::config::Config;
use crate::files::{remove_partials, write_whole};
use crate::nn::ParamSet;
use crate::nn::tensor_file::{self, NamedTensor, TensorFile};
use crate::{Error, Result};
use bytemuck::cast_slice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the file's layout.
const FORMAT: u32 = 2;
/// Version without checksums.
const WITHOUT_CHECKSUMS: u32 = 1;
/// The metadata entry.
const KEY: &str = "ddpm";

/// The flat arrays of a run after `step` updates.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Updates made.
    pub step: u64,
    /// The weights.
    pub weights: Vec<f32>,
    /// First moving average of the weights.
    pub ema: Vec<f32>,
    /// The other averages, in the order of `train.ema`.
    pub further: Vec<Vec<f32>>,
    /// Adam's mean of the gradient.
    pub adam_m: Vec<f32>,
    /// Adam's mean of the squared gradient.
    pub adam_v: Vec<f32>,
}

/// Header of a checkpoint: where the run stands, and all of its configuration but where files lie.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    format: u32,
    /// CRC-32C in hexadecimal of this header, in which the value of this key is written as zeros.
    #[serde(default)]
    crc32c: String,
    /// Updates made.
    pub step: u64,
    /// The run's configuration, with the default `data` section.
    pub config: Config,
    /// CRC-32C in hexadecimal of the bytes of each tensor.
    #[serde(default)]
    tensors: BTreeMap<String, String>,
}

impl Header {
    /// Writes the header with its own checksum.
    fn to_json(&self) -> String {
        let header = Header { crc32c: hex(0), ..self.clone() };
        let text = serde_json::to_string(&header).expect("a header is plain data");
        text.replacen(&crc_entry(&hex(0)), &crc_entry(&hex(crc32c::crc32c(text.as_bytes()))), 1)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The reason why it is none, in words.
    fn from_json(text: &str) -> Result<Header, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |e: serde_json::Error| format!("the header of the checkpoint is damaged: {e}");
        let Format { format } = serde_json::from_str(text).map_err(damaged)?;
        if ![WITHOUT_CHECKSUMS, FORMAT].contains(&format) {
            return Err(format!("a checkpoint of format {format}; {WITHOUT_CHECKSUMS} and {FORMAT} are known"));
        }
        let header: Header = serde_json::from_str(text).map_err(damaged)?;
        let signed = text.replacen(&crc_entry(&header.crc32c), &crc_entry(&hex(0)), 1);
        if format == FORMAT && header.crc32c != hex(crc32c::crc32c(signed.as_bytes())) {
            return Err("the header of the checkpoint is damaged: another checksum".into());
        }
        Ok(header)
    }
}

fn hex(crc: u32) -> String {
    format!("{crc:08x}")
}

fn crc_entry(hex: &str) -> String {
    format!("\"crc32c\":\"{hex}\"")
}

/// Prefix of the tensors of a moving average, by its place in `train.ema`.
pub fn average_prefix(place: usize) -> String {
    if place == 0 { "ema".into() } else { format!("ema_{place}") }
}

/// Path in a folder of the checkpoint of a step.
pub fn path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:08}.safetensors"))
}

/// Writes a checkpoint.
///
/// # Errors
/// When the file cannot be written; earlier checkpoints are untouched then.
pub fn save(path: &Path, config: &Config, params: &ParamSet, state: &State) -> Result<()> {
    let mut config = Config { data: Default::default(), ..config.clone() };
    config.train.evaluate_inception.clear();
    let first =
        [("weights", &state.weights), ("ema", &state.ema), ("adam_m", &state.adam_m), ("adam_v", &state.adam_v)];
    let further = state.further.iter().enumerate().map(|(i, flat)| (average_prefix(i + 1), flat));
    let arrays = first.into_iter().map(|(prefix, flat)| (prefix.to_owned(), flat)).chain(further);
    let prefixed = |(prefix, flat): (String, &Vec<f32>)| {
        params.to_files(flat).into_iter().map(move |(name, dims, values)| (format!("{prefix}.{name}"), dims, values))
    };
    let tensors: Vec<NamedTensor> = arrays.flat_map(prefixed).collect();
    let checksum = |(name, _, values): &NamedTensor| (name.clone(), hex(crc32c::crc32c(cast_slice(values))));
    let tensor_checksums = tensors.iter().map(checksum).collect();
    let header = Header { format: FORMAT, crc32c: String::new(), step: state.step, config, tensors: tensor_checksums };
    write_whole(path, |out| tensor_file::write(out, &tensors, (KEY, &header.to_json())))
}

/// Lists the checkpoints of a folder, oldest first; empty where there is no such folder.
///
/// # Errors
/// When the folder cannot be listed.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let step = name.strip_prefix("step-").and_then(|n| n.strip_suffix(".safetensors")).and_then(|n| n.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// A checkpoint that could be read, and those before it that could not.
pub struct Whole<T> {
    /// Value that was read from it.
    pub value: T,
    /// Paths of the damaged ones, with the reason.
    pub damaged: Vec<(PathBuf, Error)>,
}

/// Reads the first of several checkpoints that is not damaged; `None` where there are none.
///
/// # Errors
/// The error of the first checkpoint, if none can be read.
pub fn first_whole<T>(
    paths: impl IntoIterator<Item = PathBuf>,
    read: impl Fn(&Checkpoint) -> Result<T>,
) -> Result<Option<Whole<T>>> {
    let mut damaged = Vec::new();
    for path in paths {
        match Checkpoint::open(&path).and_then(|checkpoint| read(&checkpoint)) {
            Ok(value) => return Ok(Some(Whole { value, damaged })),
            Err(error @ Error::Format { .. }) => damaged.push((path, error)),
            Err(error) => return Err(error),
        }
    }
    damaged.into_iter().next().map_or(Ok(None), |(_, error)| Err(error))
}

/// Sets a damaged checkpoint aside: it keeps its place under a name that is no checkpoint's.
///
/// # Errors
/// A folder that cannot be changed.
pub fn set_aside(path: &Path) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    fs::rename(path, aside).map_err(Error::io(path))
}

/// Removes what a killed run was writing, and all checkpoints but the last `keep`; 0 keeps all.
///
/// # Errors
/// When the folder cannot be changed.
pub fn tidy(folder: &Path, keep: usize) -> Result<()> {
    remove_partials(folder)?;
    let all = list(folder)?;
    let superfluous = if keep == 0 { 0 } else { all.len().saturating_sub(keep) };
    all[..superfluous].iter().try_for_each(|(_, path)| fs::remove_file(path).map_err(Error::io(path)))
}

/// An open checkpoint.
pub struct Checkpoint {
    file: TensorFile,
    /// Step and configuration of the run.
    pub header: Header,
}

impl Checkpoint {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// A file that is missing, truncated, damaged, or no checkpoint of this version.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        Checkpoint::new(TensorFile::open(path)?)
    }

    /// Checks if a safetensors file was written as a checkpoint.
    pub fn is_one(file: &TensorFile) -> bool {
        file.metadata(KEY).is_some()
    }

    /// Reads the header of a file.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn new(file: TensorFile) -> Result<Checkpoint> {
        let Some(text) = file.metadata(KEY) else {
            return Err(Error::format(file.path(), "a safetensors file, but no checkpoint of a run"));
        };
        let header = Header::from_json(text).map_err(|reason| Error::format(file.path(), reason))?;
        Ok(Checkpoint { file, header })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads one flat array: `weights`, `adam_m`, `adam_v`, or that of an [`average_prefix`].
    ///
    /// # Errors
    /// A checkpoint of another model: the first tensor that is missing or has other dimensions. Or a tensor that is
    /// damaged.
    pub fn flat(&self, prefix: &str, params: &ParamSet) -> Result<Vec<f32>> {
        params.from_files(|name, dims| self.read(&format!("{prefix}.{name}"), dims))
    }

    fn read(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let values = self.file.read(name, dims)?;
        let is_whole = self.header.tensors.get(name) == Some(&hex(crc32c::crc32c(cast_slice(&values))));
        if self.header.format == WITHOUT_CHECKSUMS || is_whole {
            Ok(values)
        } else {
            Err(Error::format(self.path(), format!("tensor \"{name}\" is damaged: another checksum")))
        }
    }

    /// Checks every tensor against its checksum.
    ///
    /// # Errors
    /// The first that is damaged.
    pub fn verify(&self) -> Result<()> {
        self.header.tensors.keys().try_for_each(|name| {
            let dims = self.file.dims(name).unwrap_or_default();
            self.read(name, dims).map(drop)
        })
    }

    /// Reads the whole state.
    ///
    /// # Errors
    /// As for [`Checkpoint::flat`].
    pub fn state(&self, params: &ParamSet) -> Result<State> {
        Ok(State {
            step: self.header.step,
            weights: self.flat("weights", params)?,
            ema: self.flat("ema", params)?,
            further: (1..=self.header.config.train.further_averages())
                .map(|place| self.flat(&average_prefix(place), params))
                .collect::<Result<_>>()?,
            adam_m: self.flat("adam_m", params)?,
            adam_v: self.flat("adam_v", params)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, ParamSet};

    fn params(width: usize) -> ParamSet {
        let mut params = ParamSet::default();
        params.add("conv.weight", &[width, 3, 3, 2], Init::Normal);
        params.add("conv.bias", &[width], Init::Normal);
        params
    }

    fn state(params: &ParamSet, step: u64) -> State {
        // Padding between parameters is zero and is not stored.
        let flat = |seed: f32| {
            params.initial(|p, _, values| {
                values.iter_mut().enumerate().for_each(|(i, v)| *v = seed + (p * 1000 + i) as f32);
            })
        };
        State { step, weights: flat(0.0), ema: flat(0.25), further: vec![], adam_m: flat(0.5), adam_v: flat(0.75) }
    }

    #[test]
    fn what_is_saved_is_loaded_and_equal_states_are_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let (params, config) = (params(5), Config::default());
        let state = state(&params, 7);
        let path = path(folder.path(), 7);
        save(&path, &config, &params, &state).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().state(&params).unwrap(), state);
        let mut elsewhere = config.clone();
        elsewhere.data.source = "some/where/else".into();
        save(&path, &elsewhere, &params, &state).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
        assert_eq!(Checkpoint::open(&path).unwrap().header.config, config);
    }

    #[test]
    fn another_model_is_refused_by_tensor_and_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = {
            let path = path(folder.path(), 7);
            save(&path, &Config::default(), &params(5), &state(&params(5), 7)).unwrap();
            path
        };
        let message = Checkpoint::open(&path).unwrap().state(&params(6)).unwrap_err().to_string();
        assert!(message.ends_with("\"weights.conv.weight\": wanted [6, 2, 3, 3], found [5, 2, 3, 3]"), "{message}");
    }

    /// A checkpoint's path and bytes.
    fn saved(folder: &Path, params: &ParamSet, step: u64) -> (PathBuf, Vec<u8>) {
        let path = path(folder, step);
        save(&path, &Config::default(), params, &state(params, step)).unwrap();
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let params = params(1);
        let (path, whole) = saved(folder.path(), &params, 7);
        let original = Checkpoint::open(&path).unwrap().state(&params).unwrap();
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            let read = Checkpoint::open(&path).and_then(|checkpoint| checkpoint.state(&params));
            assert!(matches!(read, Err(Error::Format { .. })), "bit {bit}: {:?}", read.map(|s| s == original));
        }
    }

    #[test]
    fn a_damaged_checkpoint_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let params = params(1);
        for step in [3, 20, 100] {
            saved(folder.path(), &params, step);
        }
        let newest_first = || list(folder.path()).unwrap().into_iter().rev().map(|(_, path)| path);
        let step = || first_whole(newest_first(), |checkpoint| checkpoint.verify().map(|()| checkpoint.header.step));
        let damage = |step: u64| {
            let path = path(folder.path(), step);
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, bytes).unwrap();
        };
        assert_eq!(step().unwrap().unwrap().value, 100);
        damage(100);
        let found = step().unwrap().unwrap();
        assert_eq!((found.value, found.damaged.len()), (20, 1));
        let line = found.damaged[0].1.to_string();
        assert!(line.contains("step-00000100.safetensors: tensor \"weights.conv.weight\" is damaged"), "{line}");
        set_aside(&found.damaged[0].0).unwrap();
        assert_eq!(list(folder.path()).unwrap().len(), 2);
        damage(20);
        damage(3);
        assert!(step().err().unwrap().to_string().contains("step-00000020"));
        assert!(first_whole([], |_| Ok(())).unwrap().is_none());
    }

    #[test]
    fn a_file_of_format_1_is_read_and_one_of_the_future_refused() {
        let folder = tempfile::tempdir().unwrap();
        let params = params(1);
        let (path, _) = saved(folder.path(), &params, 7);
        let state = Checkpoint::open(&path).unwrap().state(&params).unwrap();
        let header = Header {
            format: WITHOUT_CHECKSUMS,
            crc32c: String::new(),
            step: 7,
            config: Config::default(),
            tensors: BTreeMap::new(),
        };
        let mut header = serde_json::to_value(&header).unwrap();
        let keys = header.as_object_mut().unwrap();
        keys.remove("crc32c");
        keys.remove("tensors");
        let rewrite = |header: &serde_json::Value| {
            let file = TensorFile::open(&path).unwrap();
            let tensor = |name: String| {
                let dims = file.dims(&name).unwrap().to_vec();
                let values = file.read(&name, &dims).unwrap();
                (name, dims, values)
            };
            let tensors: Vec<NamedTensor> = file.names().into_iter().map(tensor).collect();
            write_whole(&path, |out| tensor_file::write(out, &tensors, (KEY, &header.to_string()))).unwrap();
        };
        rewrite(&header);
        assert_eq!(Checkpoint::open(&path).unwrap().state(&params).unwrap(), state);
        header["format"] = 3.into();
        rewrite(&header);
        let line = Checkpoint::open(&path).err().unwrap().to_string();
        assert!(line.ends_with("a checkpoint of format 3; 1 and 2 are known"), "{line}");
    }

    #[test]
    fn the_last_checkpoints_and_nothing_half_written_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let params = params(1);
        for step in [100, 20, 3] {
            save(&path(folder.path(), step), &Config::default(), &params, &state(&params, step)).unwrap();
        }
        fs::write(folder.path().join(".step-00000400.safetensors.partial"), "half").unwrap();
        tidy(folder.path(), 2).unwrap();
        let steps: Vec<u64> = list(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [20, 100]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        tidy(folder.path(), 0).unwrap();
        assert_eq!(list(folder.path()).unwrap().len(), 2);
    }
}
