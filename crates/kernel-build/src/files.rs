//! Finding source files and the headers that they include.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Lists every file below a folder, sorted.
///
/// # Errors
/// A folder that cannot be read.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                walk(&path, files)?;
            } else {
                files.push(path);
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(folder, &mut files).map_err(|e| format!("{}: {e}", folder.display()))?;
    files.sort();
    Ok(files)
}

/// Lists the files below a folder that have this extension, sorted.
///
/// # Errors
/// A folder that cannot be read.
pub fn with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut files = below(folder)?;
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    Ok(files)
}

/// Lists the headers that a file includes, directly or through others: those found beside the includer or below one of
/// the `includes` folders.
///
/// # Errors
/// A file that cannot be read.
pub fn headers_of(file: &Path, includes: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![file.to_path_buf()];
    let mut read = 0;
    while let Some(includer) = found.get(read).cloned() {
        read += 1;
        let text = fs::read_to_string(&includer).map_err(|e| format!("{}: {e}", includer.display()))?;
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("#include \"")?.split('"').next());
        for name in names {
            let places = includer.parent().into_iter().chain(includes.iter().map(PathBuf::as_path));
            let header = places.map(|folder| folder.join(name)).find_map(|place| place.canonicalize().ok());
            found.extend(header.filter(|header| !found.contains(header)));
        }
    }
    Ok(found.split_off(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_beside_the_includer_and_below_the_folders() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("common/parts")).unwrap();
        fs::write(root.join("a.cu"), "#include \"common/all.cuh\"\n#include <cmath>\n#include \"missing.h\"\n")
            .unwrap();
        fs::write(root.join("common/all.cuh"), "  #include \"parts/one.cuh\"\n#include \"common/all.cuh\"\n").unwrap();
        fs::write(root.join("common/parts/one.cuh"), "").unwrap();
        let headers = headers_of(&root.join("a.cu"), std::slice::from_ref(&root)).unwrap();
        assert_eq!(headers, [root.join("common/all.cuh"), root.join("common/parts/one.cuh")]);
        assert_eq!(with_extension(&root, "cu").unwrap(), [root.join("a.cu")]);
        assert_eq!(below(&root).unwrap().len(), 3);
    }
}
