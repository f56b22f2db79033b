//! `ddpm data`

use super::terminal::say;
use crate::Result;
use crate::data::{self, DataOptions, Split};
use crate::report::data_sheet;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What can be trained on
    List,
    /// Size, classes and statistics of a data set
    Info {
        #[command(flatten)]
        source: Source,
    },
    /// A sheet of images of a data set
    Preview {
        #[command(flatten)]
        source: Source,
        /// Number of images
        #[arg(long, default_value_t = 100)]
        n: usize,
        /// The sheet to write
        #[arg(long, value_name = "FILE.png", default_value = "preview.png")]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
struct Source {
    /// `glyphs`, or the path of a file or folder
    source: String,
    /// train or test
    #[arg(long, default_value = "train")]
    split: Split,
    /// Bring the images to this size
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
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
            classes: self.classes.clone(),
        }
    }
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List => {
            data::list().iter().for_each(|known| say(format!("{:24} {}", known.source, known.description)));
        }
        Command::Info { source } => say(data::info(&source.source, source.split, &source.options())?),
        Command::Preview { source, n, out } => {
            let dataset = data::open(&source.source, source.split, &source.options())?;
            let indices = data::spread(&dataset, n);
            data_sheet(&dataset, &indices, None).write_png(&out)?;
            say(format!("{}: {} of {} images", out.display(), indices.len(), dataset.len()));
        }
    }
    Ok(())
}
