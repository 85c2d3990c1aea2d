//! Where to look for a program.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, GetFileAttributesW, INVALID_FILE_ATTRIBUTES,
};

/// The files to try in turn for `program`, given the child's search path.
///
/// A program that names a directory or a drive is not searched for. Neither our working directory nor our
/// program's own directory is searched unless the search path contains it.
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

/// Whether the file exists and is not a directory. Does not open it or follow links: programs of packaged
/// applications are links that only the start of a process can follow.
pub(super) fn is_file(file: &Path) -> bool {
    let name: Vec<u16> = file.as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: `name` ends with a zero.
    let attributes = unsafe { GetFileAttributesW(name.as_ptr()) };
    attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY == 0
}

/// Whether the command interpreter runs this file: it splits arguments by rules of its own.
pub(super) fn is_batch_file(file: &Path) -> bool {
    let name = file.as_os_str().to_string_lossy();
    let name = name.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    name.ends_with(".bat") || name.ends_with(".cmd")
}

/// Whether this is a console program, as its header says. False if the header cannot be read.
pub(super) fn is_console_program(file: &Path) -> bool {
    const HEADER_AT: u64 = 0x3c;
    const SUBSYSTEM_AT: u64 = 0x5c;
    const FOR_CONSOLES: u16 = 3;
    let subsystem = || -> io::Result<u16> {
        let mut file = File::open(file)?;
        let mut header = [0; 4];
        file.seek(SeekFrom::Start(HEADER_AT))?;
        file.read_exact(&mut header)?;
        let mut subsystem = [0; 2];
        file.seek(SeekFrom::Start(
            u64::from(u32::from_le_bytes(header)) + SUBSYSTEM_AT,
        ))?;
        file.read_exact(&mut subsystem)?;
        Ok(u16::from_le_bytes(subsystem))
    };
    subsystem().is_ok_and(|subsystem| subsystem == FOR_CONSOLES)
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
    fn programs_are_files_that_exist() {
        let system = Path::new(r"C:\Windows\System32");
        assert!(is_file(&system.join("cmd.exe")));
        assert!(!is_file(system), "a directory");
        assert!(!is_file(&system.join("missing.exe")));
        assert!(!is_file(Path::new("")));
    }

    #[test]
    fn batch_files_are_known_however_they_are_written() {
        for name in ["a.bat", "A.CMD", "a.bat. ."] {
            assert!(is_batch_file(Path::new(name)), "{name}");
        }
        assert!(!is_batch_file(Path::new("bat.exe")));
    }

    #[test]
    fn console_programs_are_recognised() {
        let system = Path::new(r"C:\Windows\System32");
        assert!(is_console_program(&system.join("cmd.exe")));
        for other in ["notepad.exe", "kernel32.dll.missing"] {
            assert!(!is_console_program(&system.join(other)), "{other}");
        }
    }
}
