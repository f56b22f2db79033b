//! Shards of WebDataset: tar archives in which the files of a sample lie side by side and share a key, the path up to the
//! first dot of the file's name: `000042.jpg` and `000042.cls`.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use super::format::{Classes, Description, Format, Head, Holds, LAST_CLASS, Listing, number};
use super::images;
use crate::data::{
    archive::{Archive, Packing, first_members, is_tar},
    dataset::Dataset,
    decode,
    names::is_hidden,
    options::DataOptions,
    tree::Tree,
};
use crate::{Error, Result};

/// Tar archives of samples with keys; several form one set.
#[derive(Debug)]
pub(super) struct WebDataset;

/// Files of an archive that are looked at to recognise it.
const LOOKED_AT: usize = 200;
/// Fields of a sample's `.json` that hold its class.
const JSON_LABELS: [&str; 3] = ["label", "cls", "class"];
const ORIGIN: &str = "labels of each sample";

impl Format for WebDataset {
    fn describe(&self) -> Description {
        Description {
            source: "DIR with WebDataset",
            contents: "shards x-000000.tar, ... (or .tar.gz) of key.jpg with key.cls, or key.json with a label",
            file: "one WebDataset shard",
            files: "WebDataset shards",
        }
    }

    /// An image and something else share a key: of archives of class folders that is not so.
    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        if !is_tar(&head.bytes) {
            return Ok(None);
        }
        let names = first_members(head.path, head.is_gzip, LOOKED_AT)?;
        let keyed = names.iter().filter_map(|name| key(name));
        let (images, others): (Vec<_>, Vec<_>) = keyed.partition(|(_, extension)| is_image(extension));
        let others: BTreeSet<&str> = others.into_iter().map(|(key, _)| key).collect();
        Ok(images.iter().any(|(key, _)| others.contains(key)).then_some(Holds::Samples))
    }

    fn read(&self, source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
        let (mut images, mut labels, mut archives) = (Vec::new(), Vec::new(), Vec::new());
        for path in &listing.samples {
            let packing = if Head::read(path)?.is_gzip { Packing::TarGz } else { Packing::Tar };
            let archive = Archive::open(path, packing)?;
            for sample in samples(&archive)? {
                labels.push(sample.label(&archive)?);
                images.push(path.join(sample.image));
            }
            archives.push(archive);
        }
        if images.is_empty() {
            return Err(Error::format(source, "holds no images"));
        }
        let tree = Tree::of(archives);
        let classes = classes(&tree, &images, labels)?;
        images::read(source, Listing { classes, tree, samples: images, ..listing }, options)
    }
}

/// The files of a sample, by their paths within the archive.
struct Sample {
    image: PathBuf,
    class: Option<PathBuf>,
    json: Option<PathBuf>,
}

/// A class by its number or by its name.
#[derive(Debug)]
enum Label {
    Number(u32),
    Name(String),
}

/// The key of a sample and the rest of a file's name, as the library splits them; nothing of hidden files and of those that
/// describe the shard.
fn key(name: &str) -> Option<(&str, &str)> {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.')?;
    let describes = file == 0 && name.starts_with("__") && name.ends_with("__");
    (dot > file && !describes).then(|| (&name[..dot], &name[dot + 1..]))
}

/// True of `jpg`, and of the last of several parts: `input.jpg`.
fn is_image(extension: &str) -> bool {
    decode::is_named_image(&extension.rsplit('.').next().unwrap_or_default().to_lowercase())
}

/// The samples of a shard that have an image, in the order in which they were packed.
fn samples(archive: &Archive) -> Result<Vec<Sample>> {
    let mut places = HashMap::new();
    let mut samples: Vec<Sample> = Vec::new();
    let names: Vec<(&Path, String)> = archive
        .files()
        .into_iter()
        .filter(|file| !is_hidden(file))
        .map(|file| (file, file.display().to_string()))
        .collect();
    for (file, name) in &names {
        let Some((key, extension)) = key(name).filter(|(_, extension)| is_image(extension)) else { continue };
        if let Some(place) = places.insert(key, samples.len()) {
            let other: &Sample = &samples[place];
            let reason = format!("{name}: sample {key} has a second image, {}", other.image.display());
            return Err(Error::format(archive.path(), format!("{reason} .{extension}; one a sample is read")));
        }
        samples.push(Sample { image: file.to_path_buf(), class: None, json: None });
    }
    for (file, name) in &names {
        let Some((key, extension)) = key(name) else { continue };
        let Some(sample) = places.get(key).map(|&place| &mut samples[place]) else { continue };
        match extension.to_lowercase().as_str() {
            "cls" | "class" => sample.class = Some(file.to_path_buf()),
            "json" => sample.json = Some(file.to_path_buf()),
            _ => {}
        }
    }
    Ok(samples)
}

impl Sample {
    /// The class of a sample, if it has one.
    fn label(&self, archive: &Archive) -> Result<Option<Label>> {
        let wrong = |file: &Path, reason: &str| {
            Error::format(archive.path(), format!("{}: {}", file.display(), reason.replace('\n', " ")))
        };
        let text = |file: &Path| archive.read(file).map_err(|reason| wrong(file, &reason));
        if let Some(file) = &self.class {
            let text = text(file)?;
            let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let number = number.filter(|&number| number <= LAST_CLASS);
            let reason = format!("holds no class number from 0 to {LAST_CLASS}");
            return number.map(|number| Some(Label::Number(number))).ok_or_else(|| wrong(file, &reason));
        }
        let Some(file) = &self.json else { return Ok(None) };
        let value: serde_json::Value =
            serde_json::from_slice(&text(file)?).map_err(|e| wrong(file, &format!("no JSON: {e}")))?;
        let Some(label) = JSON_LABELS.iter().find_map(|field| value.get(field)).filter(|label| !label.is_null()) else {
            return Ok(None);
        };
        let number = label.as_u64().and_then(|label| u32::try_from(label).ok()).filter(|&label| label <= LAST_CLASS);
        match (number, label.as_str()) {
            (Some(number), _) => Ok(Some(Label::Number(number))),
            (None, Some(name)) => Ok(Some(Label::Name(name.into()))),
            (None, None) => {
                let reason = format!("its label is neither a class number from 0 to {LAST_CLASS} nor a name");
                Err(wrong(file, &reason))
            }
        }
    }
}

/// The classes of all samples: by number, or names in their order; nothing where no sample has one.
fn classes(tree: &Tree, images: &[PathBuf], labels: Vec<Option<Label>>) -> Result<Option<Classes>> {
    let labelled = labels.iter().filter(|label| label.is_some()).count();
    if labelled == 0 {
        return Ok(None);
    }
    if let Some(bare) = labels.iter().position(Option::is_none) {
        let reason = format!("has no label (.cls, or a label in .json), but {labelled} other sample(s) have one");
        return Err(tree.error(&images[bare], reason));
    }
    let labels: Vec<Label> = labels.into_iter().flatten().collect();
    let names: BTreeSet<&String> = labels.iter().filter_map(Label::name).collect();
    if names.is_empty() {
        let numbers = labels.iter().filter_map(Label::number).collect();
        let (labels, names) = number(numbers);
        return Ok(Some(Classes { origin: ORIGIN, labels, names }));
    }
    if let Some(mixed) = labels.iter().position(|label| label.name().is_none()) {
        return Err(tree.error(&images[mixed], "its label is a number, but others are names"));
    }
    let places: HashMap<&String, u32> = names.iter().copied().zip(0..).collect();
    let numbers = labels.iter().filter_map(|label| places.get(label.name()?).copied()).collect();
    Ok(Some(Classes { origin: ORIGIN, labels: numbers, names: names.into_iter().cloned().collect() }))
}

impl Label {
    fn name(&self) -> Option<&String> {
        match self {
            Label::Name(name) => Some(name),
            Label::Number(_) => None,
        }
    }

    fn number(&self) -> Option<u32> {
        match self {
            Label::Number(number) => Some(*number),
            Label::Name(_) => None,
        }
    }
}
