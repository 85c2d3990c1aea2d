//! Where to look for a program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The search path where no `PATH` is set.
const PATH_UNSET: &str = "/bin:/usr/bin";

/// The files to try in turn for `program`, given the child's `PATH`, which is only asked for if it counts.
///
/// A program with a slash in its name is used as given. An empty entry of `PATH` is the working directory, as
/// in POSIX. For an empty name there are no files.
pub(crate) fn candidates(
    program: &OsStr,
    path: impl FnOnce() -> Option<OsString>,
) -> Vec<OsString> {
    let program = program.as_bytes();
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains(&b'/') {
        return vec![OsString::from_vec(program.to_vec())];
    }
    let path = path();
    let path = path
        .as_deref()
        .map_or(PATH_UNSET.as_bytes(), OsStr::as_bytes);
    path.split(|&byte| byte == b':')
        .map(|directory| {
            let directory: &[u8] = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            OsString::from_vec([directory, b"/", program].concat())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(program: &str, path: Option<&str>) -> Vec<String> {
        candidates(program.as_ref(), || path.map(OsString::from))
            .into_iter()
            .map(|file| file.into_string().expect("the tests use UTF-8"))
            .collect()
    }

    #[test]
    fn a_bare_name_is_looked_for_in_every_directory_in_order() {
        assert_eq!(
            found("cat", Some("/opt:/usr/bin")),
            ["/opt/cat", "/usr/bin/cat"]
        );
    }

    #[test]
    fn a_name_with_a_slash_is_not_searched_for() {
        assert_eq!(found("./cat", Some("/opt")), ["./cat"]);
        assert_eq!(found("/usr/cat", Some("/opt")), ["/usr/cat"]);
        assert_eq!(found("x/cat", None), ["x/cat"]);
    }

    #[test]
    fn without_a_path_the_usual_directories_are_searched() {
        assert_eq!(found("cat", None), ["/bin/cat", "/usr/bin/cat"]);
    }

    #[test]
    fn an_empty_entry_is_the_working_directory() {
        assert_eq!(found("cat", Some("/opt:")), ["/opt/cat", "./cat"]);
        assert_eq!(found("cat", Some("")), ["./cat"]);
    }

    #[test]
    fn an_empty_name_is_never_found() {
        assert!(found("", Some("/opt:/usr")).is_empty());
    }
}
