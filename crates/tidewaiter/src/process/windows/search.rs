//! Where to look for a program.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, GetFileAttributesW, INVALID_FILE_ATTRIBUTES,
};

/// What may be added to a program's name where no `PATHEXT` is set.
pub(super) const EXTENSIONS: &str = ".COM;.EXE;.BAT;.CMD";

/// The files to try in turn for `program`, given the child's search path and the extensions that may be added to the
/// name (`PATHEXT`).
///
/// A program that names a directory or a drive is not searched for. Neither our working directory nor our
/// program's own directory is searched unless the search path contains it. A name that has an extension is tried as it
/// is, before others; one that has none only if no other file was found anywhere, because such a file can be a script
/// alone.
pub(super) fn candidates(program: &OsStr, path: &OsStr, extensions: &OsStr) -> Vec<PathBuf> {
    if program.is_empty() {
        return Vec::new();
    }
    let bytes = program.as_encoded_bytes();
    let directories = if bytes.iter().any(|byte| br"/\:".contains(byte)) {
        vec![PathBuf::new()]
    } else {
        std::env::split_paths(path)
            .filter(|directory| !directory.as_os_str().is_empty())
            .collect()
    };
    let extended = std::env::split_paths(extensions).map(|extension| {
        let mut name = program.to_owned();
        name.push(extension);
        name
    });
    let has_extension = Path::new(program).extension().is_some();
    let given = has_extension.then(|| program.to_owned());
    let names: Vec<_> = given.into_iter().chain(extended).collect();
    let mut files = Vec::new();
    for directory in &directories {
        files.extend(names.iter().map(|name| directory.join(name)));
    }
    if !has_extension {
        files.extend(directories.iter().map(|directory| directory.join(program)));
    }
    files
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
        candidates(
            program.as_ref(),
            r"C:\a;;D:\b".as_ref(),
            ".exe;.bat".as_ref(),
        )
    }

    #[test]
    fn a_bare_name_is_looked_for_in_every_directory_with_each_extension() {
        assert_eq!(
            found("x"),
            [
                r"C:\a\x.exe",
                r"C:\a\x.bat",
                r"D:\b\x.exe",
                r"D:\b\x.bat",
                r"C:\a\x",
                r"D:\b\x"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            found("x.com")[..2],
            [r"C:\a\x.com", r"C:\a\x.com.exe"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_name_with_a_directory_is_not_searched_for() {
        assert_eq!(
            found(r".\x"),
            [r".\x.exe", r".\x.bat", r".\x"].map(PathBuf::from)
        );
        assert_eq!(
            found("d/x.exe"),
            ["d/x.exe", "d/x.exe.exe", "d/x.exe.bat"].map(PathBuf::from)
        );
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
