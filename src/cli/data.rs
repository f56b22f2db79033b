//! `ddpm data`

use super::terminal::say;
use crate::Error;
use crate::data::origins::ORIGINS;
use crate::data::{self, DataOptions, Split};
use crate::report::{data_scatter, data_sheet};
use anyhow::{Result, bail};
use clap::Subcommand;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the data sets and formats that can be trained on
    List,
    /// Show size, classes and statistics of a data set
    Info {
        #[command(flatten)]
        source: Source,
    },
    /// Draw a sheet of images of a data set, or a plot of its points
    Preview {
        #[command(flatten)]
        source: Source,
        /// Number of images or points [default: 100 images, 2000 points]
        #[arg(short, long)]
        n: Option<usize>,
        /// The file to write, .png for images, .svg for points [default: preview.png, preview.svg]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct Source {
    /// A name from `ddpm data list`, or the path of a file or folder
    source: String,
    /// train or test
    #[arg(long, default_value = "train")]
    split: Split,
    /// Bring the images to this size: one number for squares, or HEIGHTxWIDTH
    #[arg(long, value_name = "PIXELS", value_parser = super::size::image_size)]
    size: Option<[usize; 2]>,
    /// The labels of a set that has several kinds, e.g. coarse of CIFAR-100; prefix: of images named CLASS_...
    #[arg(long, value_name = "KIND")]
    labels: Option<String>,
    /// Only these classes, e.g. 1,2,3
    #[arg(long, value_delimiter = ',')]
    classes: Option<Vec<u32>>,
    /// Turn colour images to grey
    #[arg(long)]
    grey: bool,
}

impl Source {
    fn options(&self) -> DataOptions {
        DataOptions {
            size: self.size,
            channels: self.grey.then_some(1),
            to_grey: self.grey,
            labels: self.labels.clone(),
            classes: self.classes.clone(),
            ..DataOptions::default()
        }
    }
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List => {
            data::list().iter().for_each(|known| say(format!("{:24} {}", known.source, known.description)));
            say("\npublished at");
            ORIGINS.iter().for_each(|origin| say(format!("{:24} {} ({})", origin.name, origin.address, origin.files)));
        }
        Command::Info { source } => say(data::info(&source.source, source.split, &source.options())?),
        Command::Preview { source, n, out } => {
            let dataset = data::open(&source.source, source.split, &source.options())?;
            dataset.notes().iter().for_each(|note| say(format!("note      {note}")));
            let (default_n, extension, what) = match dataset.points() {
                Some(_) => (2000, "svg", "points"),
                None => (100, "png", "images"),
            };
            let out = out.unwrap_or_else(|| Path::new("preview").with_extension(extension));
            if out.extension().is_none_or(|found| found != extension) {
                let reason = format!("{what} are shown in a file .{extension}, not {}", out.display());
                bail!(Error::Config(format!("{}: {reason}", dataset.name())));
            }
            let indices = data::spread(&dataset, n.unwrap_or(default_n));
            match dataset.points() {
                Some(_) => data_scatter(&dataset, &indices).write(&out)?,
                None => data_sheet(&dataset, &indices, None)?.write_png(&out)?,
            }
            say(format!("{}: {} of {} {what}", out.display(), indices.len(), dataset.len()));
        }
    }
    Ok(())
}
