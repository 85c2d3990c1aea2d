//! Addresses of UNIX sockets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{AddressError, Problem};
use super::escape;

pub(super) const PREFIX: &str = "unix:";

/// The most bytes in a path or an abstract name: `sockaddr_un` has room for one byte more.
pub(super) const NAME_BYTES_MAX: usize = if cfg!(any(target_os = "linux", windows)) {
    107
} else {
    103
};

/// The address of a UNIX socket: a path, an abstract name (Linux), or none.
///
/// The methods have the names of [`std::os::unix::net::SocketAddr`]. `Display` writes the forms that
/// [`Address`](super::Address) describes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnixAddress(Name);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    None,
    Path(Arc<Path>),
    Abstract(Arc<[u8]>),
}

impl UnixAddress {
    /// The socket at this path. The path need not exist.
    ///
    /// # Errors
    ///
    /// When the path is empty, contains a NUL, or has more than 107 bytes (103 on macOS and the BSDs). On Windows, also
    /// when it is not Unicode.
    pub fn from_pathname(path: impl AsRef<Path>) -> Result<UnixAddress, AddressError> {
        let path = path.as_ref();
        check_path(path).map_err(|problem| AddressError::new(path.to_string_lossy(), problem))?;
        Ok(UnixAddress(Name::Path(path.into())))
    }

    /// The socket with this name in Linux's abstract namespace: any bytes, without the NUL at the beginning.
    ///
    /// # Errors
    ///
    /// When the name has more than 107 bytes, and on other systems.
    pub fn from_abstract_name(name: impl AsRef<[u8]>) -> Result<UnixAddress, AddressError> {
        let name = name.as_ref();
        check_abstract(name)
            .map_err(|problem| AddressError::new(String::from_utf8_lossy(name), problem))?;
        Ok(UnixAddress(Name::Abstract(name.into())))
    }

    /// The path that the OS reports for a socket. Those of other programs may be a byte longer than ours.
    pub(crate) fn from_reported_path(path: &Path) -> UnixAddress {
        UnixAddress(Name::Path(path.into()))
    }

    /// The address of a socket without a name, such as that of most clients.
    #[must_use]
    pub fn unnamed() -> UnixAddress {
        UnixAddress(Name::None)
    }

    /// Returns the path, if the address is one.
    #[must_use]
    pub fn as_pathname(&self) -> Option<&Path> {
        match &self.0 {
            Name::Path(path) => Some(path),
            Name::None | Name::Abstract(_) => None,
        }
    }

    /// Returns the abstract name, without the NUL at its beginning, if the address is one.
    #[must_use]
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match &self.0 {
            Name::Abstract(name) => Some(name),
            Name::None | Name::Path(_) => None,
        }
    }

    /// Whether the socket has no name.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.0 == Name::None
    }
}

fn check_path(path: &Path) -> Result<(), Problem> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(Problem::PathEmpty);
    }
    if bytes.contains(&0) {
        return Err(Problem::PathNul);
    }
    if cfg!(windows) && path.to_str().is_none() {
        return Err(Problem::PathNotUnicode);
    }
    check_length(bytes)
}

fn check_abstract(name: &[u8]) -> Result<(), Problem> {
    if !cfg!(target_os = "linux") {
        return Err(Problem::AbstractNeedsLinux);
    }
    check_length(name)
}

fn check_length(name: &[u8]) -> Result<(), Problem> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::TooLong {
        length: name.len(),
        limit: NAME_BYTES_MAX,
        unit: "bytes",
    })
}

/// Reads the text after `unix:`.
pub(super) fn parse(text: &str) -> Result<UnixAddress, Problem> {
    if text.is_empty() {
        return Ok(UnixAddress::unnamed());
    }
    if let Some(name) = text.strip_prefix('@') {
        let name = escape::read(name)?;
        check_abstract(&name)?;
        return Ok(UnixAddress(Name::Abstract(name.into())));
    }
    let path = path(escape::read(text)?).ok_or(Problem::PathNotUnicode)?;
    check_path(&path)?;
    Ok(UnixAddress(Name::Path(path.into())))
}

#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "on Windows, not every name is a path"
)]
fn path(name: Vec<u8>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;

    Some(std::ffi::OsString::from_vec(name).into())
}

#[cfg(windows)]
fn path(name: Vec<u8>) -> Option<PathBuf> {
    String::from_utf8(name).ok().map(PathBuf::from)
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match &self.0 {
            Name::None => Ok(()),
            Name::Abstract(name) => {
                f.write_str("@")?;
                escape::write(f, name)
            }
            Name::Path(path) => {
                let bytes = path.as_os_str().as_encoded_bytes();
                match bytes.strip_prefix(b"@") {
                    Some(rest) => {
                        f.write_str("%40")?;
                        escape::write(f, rest)
                    }
                    None => escape::write(f, bytes),
                }
            }
        }
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{NAME_BYTES_MAX, UnixAddress};

    /// Only Linux has such names; the other systems say so at once.
    #[test]
    fn abstract_names_are_any_bytes_on_linux() {
        let name = UnixAddress::from_abstract_name(b"a\0b\xff%");
        if !cfg!(target_os = "linux") {
            let message = name.expect_err("no such names here").to_string();
            assert!(
                message.ends_with("only Linux has abstract names"),
                "{message}"
            );
            return;
        }
        let name = name.expect("a good name");
        assert_eq!(name.as_abstract_name(), Some(&b"a\0b\xff%"[..]));
        assert_eq!((name.as_pathname(), name.is_unnamed()), (None, false));
        assert_eq!(name.to_string(), "unix:@a%00b%FF%25");
        let parsed = "unix:@a%00b%FF%25".parse::<crate::Address>();
        assert_eq!(parsed, Ok(name.into()));

        let longest = "x".repeat(NAME_BYTES_MAX);
        assert!(UnixAddress::from_abstract_name(&longest).is_ok());
        let error = UnixAddress::from_abstract_name(longest + "x").expect_err("too long");
        assert!(
            error
                .to_string()
                .ends_with("too long: 108 bytes, of at most 107")
        );
    }
}
