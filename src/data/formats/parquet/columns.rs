//! The columns of a data set: which one holds the images, which one the labels, and what the classes are called.

use serde_json::{Map, Value};

use super::footer::{Column, Footer, Physical};
use super::thrift::Parsed;

/// Names of columns of images and of labels, in the order in which they are looked for.
const IMAGES: [&str; 2] = ["image", "img"];
const LABELS: [&str; 3] = ["label", "labels", "fine_label"];

/// The columns of one file that are read, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub image: usize,
    /// The path beside the bytes of an image.
    pub path: Option<usize>,
    pub label: Option<usize>,
    /// The classes in the order of their labels, where the file says.
    pub class_names: Option<Vec<String>>,
}

impl Columns {
    /// Chooses the columns; `asked` is the kind of labels that the user chose.
    pub fn choose(footer: &Footer, asked: Option<&str>) -> Parsed<Columns> {
        let features = Features::of(footer);
        let (image, path) = choose_image(footer, &features)?;
        let label = choose_label(footer, &features, asked)?;
        let class_names = label.and_then(|label| features.class_names(&footer.columns[label].path));
        Ok(Columns { image, path, label, class_names })
    }
}

/// The notes of `datasets` on the columns.
struct Features(Map<String, Value>);

impl Features {
    fn of(footer: &Footer) -> Features {
        let note = footer.features.as_deref().and_then(|note| serde_json::from_str::<Value>(note).ok());
        let features = note.and_then(|mut note| match note["info"]["features"].take() {
            Value::Object(features) => Some(features),
            _ => None,
        });
        Features(features.unwrap_or_default())
    }

    /// The columns of a type, such as `Image`.
    fn of_type<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(_, feature)| feature["_type"] == name).map(|(column, _)| column.as_str())
    }

    fn class_names(&self, column: &str) -> Option<Vec<String>> {
        let names = self.0.get(column)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(String::from)).collect()
    }
}

/// Finds the bytes of the images, and their paths where there are some.
fn choose_image(footer: &Footer, features: &Features) -> Parsed<(usize, Option<usize>)> {
    let place = |path: &str| footer.columns.iter().position(|column| column.path == path);
    let noted: Vec<&str> = features.of_type("Image").collect();
    for name in IMAGES.into_iter().chain(noted) {
        let is_bytes = |place: &usize| {
            let column = &footer.columns[*place];
            column.physical == Physical::Bytes && !column.is_list
        };
        if let Some(image) = place(&format!("{name}.bytes")).or_else(|| place(name)).filter(is_bytes) {
            return Ok((image, place(&format!("{name}.path"))));
        }
        let inside = |column: &&Column| column.path.split('.').next() == Some(name);
        if let Some(column) = footer.columns.iter().find(inside) {
            let path = &column.path;
            let remedy = format!("ds.cast_column(\"{name}\", datasets.Image())");
            return Err(format!("column {path} holds no encoded images (PNG, JPEG): store them so with {remedy}"));
        }
    }
    let plain =
        |(_, column): &(usize, &Column)| column.physical == Physical::Bytes && !column.is_text && !column.is_list;
    let binary: Vec<(usize, &Column)> = footer.columns.iter().enumerate().filter(plain).collect();
    match binary[..] {
        [(image, column)] => {
            let beside = column.path.strip_suffix(".bytes").and_then(|name| place(&format!("{name}.path")));
            Ok((image, beside))
        }
        [] => Err(format!("no column of images: its columns are {}", names(&footer.columns))),
        _ => Err(format!(
            "several columns may hold the images, and none is called image or img: {}",
            names(binary.iter().map(|(_, column)| *column))
        )),
    }
}

fn choose_label(footer: &Footer, features: &Features, asked: Option<&str>) -> Parsed<Option<usize>> {
    let place = |path: &str| footer.columns.iter().position(|column| column.path == path);
    let found = match asked {
        Some(asked) => place(asked).or_else(|| place(&format!("{asked}_label"))),
        None => {
            let classes: Vec<&str> = features.of_type("ClassLabel").collect();
            let only = if let [only] = classes[..] { place(only) } else { None };
            LABELS.into_iter().find_map(place).or(only)
        }
    };
    let may_be = |column: &&Column| {
        let is_label =
            matches!(column.physical, Physical::Boolean | Physical::Int32 | Physical::Int64) || column.is_text;
        is_label && !column.is_list && !column.path.contains('.')
    };
    match (found, asked) {
        (Some(label), _) if may_be(&&footer.columns[label]) => Ok(Some(label)),
        (Some(label), _) => Err(format!("column {}: labels are whole numbers or names", footer.columns[label].path)),
        (None, None) => Ok(None),
        (None, Some(asked)) => {
            let kinds: Vec<&Column> = footer.columns.iter().filter(may_be).collect();
            let has = if kinds.is_empty() { "none".into() } else { names(kinds) };
            Err(format!("no labels called \"{asked}\": it has {has}"))
        }
    }
}

/// The names of columns, for messages.
fn names<'a>(columns: impl IntoIterator<Item = &'a Column>) -> String {
    columns.into_iter().map(|column| column.path.as_str()).collect::<Vec<_>>().join(", ")
}
