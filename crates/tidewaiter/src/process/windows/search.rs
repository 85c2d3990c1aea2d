//! Where a program is looked for.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The files to try in turn for `program`, given the child's search path.
///
/// A program that names a directory or a drive is not searched for. Neither our own directory nor the
/// one of our program is searched unless it is in the search path.
pub(super) fn candidates(program: &OsStr, path: &OsStr) -> Vec<PathBuf> {
    if program.is_empty() {
        return Vec::new();
    }
    let mut file = PathBuf::from(program);
    if file.extension().is_none() {
        file.as_mut_os_string().push(".exe");
    }
    let bytes = program.as_encoded_bytes();
    if bytes.iter().any(|byte| br"/\:".contains(byte)) {
        return vec![file];
    }
    std::env::split_paths(path)
        .filter(|directory| !directory.as_os_str().is_empty())
        .map(|directory| directory.join(&file))
        .collect()
}

/// Whether this is run by the command interpreter, which takes its arguments apart by rules of its own.
pub(super) fn is_batch_file(file: &Path) -> bool {
    let name = file.as_os_str().to_string_lossy();
    let name = name.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    name.ends_with(".bat") || name.ends_with(".cmd")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(program: &str) -> Vec<PathBuf> {
        candidates(program.as_ref(), r"C:\a;;D:\b".as_ref())
    }

    #[test]
    fn a_bare_name_is_looked_for_in_every_directory_with_its_extension() {
        assert_eq!(
            found("x"),
            [Path::new(r"C:\a\x.exe"), Path::new(r"D:\b\x.exe")]
        );
        assert_eq!(found("x.com")[0], Path::new(r"C:\a\x.com"));
    }

    #[test]
    fn a_name_with_a_directory_is_not_searched_for() {
        assert_eq!(found(r".\x"), [Path::new(r".\x.exe")]);
        assert_eq!(found("d/x.exe"), [Path::new("d/x.exe")]);
        assert!(found("").is_empty());
    }

    #[test]
    fn batch_files_are_known_however_they_are_written() {
        for name in ["a.bat", "A.CMD", "a.bat. ."] {
            assert!(is_batch_file(Path::new(name)), "{name}");
        }
        assert!(!is_batch_file(Path::new("bat.exe")));
    }
}
