//! Where well-known data sets are published, for whoever has none of them yet.

use std::path::Path;

/// A data set that the program reads as it is published.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Its name.
    pub name: &'static str,
    /// The files to fetch into one folder.
    pub files: &'static str,
    /// The page or folder where they lie.
    pub address: &'static str,
    /// Words of a path that mean this set, in lower case.
    words: &'static [&'static str],
}

/// Sets that are read without a conversion.
pub const ORIGINS: [Origin; 4] = [
    Origin {
        name: "MNIST",
        files: "the four files *-ubyte.gz",
        address: "https://storage.googleapis.com/cvdf-datasets/mnist/",
        words: &["mnist"],
    },
    Origin {
        name: "Fashion-MNIST",
        files: "the four files *-ubyte.gz",
        address: "https://github.com/zalandoresearch/fashion-mnist",
        words: &["fashion"],
    },
    Origin {
        name: "EMNIST",
        files: "gzip.zip, unpacked",
        address: "https://www.nist.gov/itl/products-and-services/emnist-dataset",
        words: &["emnist"],
    },
    Origin {
        name: "CIFAR-10, CIFAR-100",
        files: "the binary version, unpacked",
        address: "https://www.cs.toronto.edu/~kriz/cifar.html",
        words: &["cifar"],
    },
];

/// The set that a path seems to mean, by its last part: the longest word of it that is known.
pub fn meant_by(source: &str) -> Option<Origin> {
    let name = Path::new(source).file_name()?.to_string_lossy().to_lowercase();
    let known = ORIGINS.into_iter().flat_map(|origin| origin.words.iter().map(move |word| (word.len(), origin)));
    let mut known: Vec<(usize, Origin)> = known.collect();
    known.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    known.into_iter().map(|(_, origin)| origin).find(|origin| origin.words.iter().any(|word| name.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_the_set_that_it_is_called_after() {
        let meant = |path: &str| meant_by(path).map(|origin| origin.name);
        assert_eq!(meant("data/mnist"), Some("MNIST"));
        assert_eq!(meant("/tmp/Fashion-MNIST/"), Some("Fashion-MNIST"));
        assert_eq!(meant("EMNIST-letters"), Some("EMNIST"));
        assert_eq!(meant("data/cifar10"), Some("CIFAR-10, CIFAR-100"));
        assert_eq!(meant("mnist/photos"), None);
        assert_eq!(meant(""), None);
    }
}
