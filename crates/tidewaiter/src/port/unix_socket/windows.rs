//! UNIX sockets as Windows has them: since Windows 10 version 1803, streams at paths.

#![expect(
    unsafe_code,
    reason = "calls of Windows, and addresses as it writes them"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket};
use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_ATTRIBUTE_TAG_INFO, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    FILE_SHARE_DELETE, FileAttributeTagInfo, GetFileInformationByHandle,
    GetFileInformationByHandleEx,
};
use windows_sys::Win32::System::SystemServices::IO_REPARSE_TAG_AF_UNIX;

use super::super::options::SocketFileOptions;
use crate::os::UnixAddress;

/// How long a server may take to answer a client that only asks whether it is there. Windows answers at once.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// The volume and the number of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u32, u64);

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Identity> {
        let file = open_itself(path)?;
        let mut told = BY_HANDLE_FILE_INFORMATION::default();
        // SAFETY: the file is open, and there is room for what the call writes.
        let done = unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut told) };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        let number = u64::from(told.nFileIndexHigh) << 32 | u64::from(told.nFileIndexLow);
        Ok(Identity(told.dwVolumeSerialNumber, number))
    }
}

/// Whether the file is that of a socket.
pub(super) fn is_socket(path: &Path) -> io::Result<bool> {
    let file = open_itself(path)?;
    let mut told = FILE_ATTRIBUTE_TAG_INFO::default();
    let room = u32::try_from(size_of_val(&told)).expect("it is small");
    // SAFETY: the file is open, and the call writes no more than there is room for.
    let done = unsafe {
        GetFileInformationByHandleEx(
            file.as_raw_handle(),
            FileAttributeTagInfo,
            (&raw mut told).cast(),
            room,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let is_special = told.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT != 0;
    Ok(is_special && told.ReparseTag == IO_REPARSE_TAG_AF_UNIX)
}

/// Opens a file, not what it may lead to, without the right to read or to change it.
fn open_itself(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(0)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)
}

/// Refuses a mode and an owner, which these files do not have: as for any file, their folder decides which users may open them.
pub(super) fn prepare(_socket: &Socket, options: &SocketFileOptions) -> io::Result<()> {
    let problem = if options.mode.is_some() {
        "on this OS, the file of a UNIX socket has no permission bits"
    } else if options.owner.is_some() || options.group.is_some() {
        "on this OS, the file of a UNIX socket has no owner and group with numbers"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::Unsupported, problem))
}

/// Does nothing: `prepare` has refused what there would be to do.
#[expect(clippy::unnecessary_wraps, reason = "on Unix, it can fail")]
pub(super) fn give_away(_path: &Path, _options: &SocketFileOptions) -> io::Result<()> {
    Ok(())
}

/// Tries to connect, to find out whether a server is there.
pub(super) fn try_to_connect(caller: &Socket, address: &SockAddr) -> io::Result<()> {
    caller.connect_timeout(address, ANSWER_LIMIT)
}

/// Opens the file so that no other process can; `None` if another process has done that.
pub(super) fn lock_file(path: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        // The file can be removed while it is locked.
        .share_mode(FILE_SHARE_DELETE)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION.cast_signed()) => {
            return Ok(None);
        }
        opened => opened?,
    };
    let attributes = file.metadata()?.file_attributes();
    if attributes & (FILE_ATTRIBUTE_REPARSE_POINT | FILE_ATTRIBUTE_DIRECTORY) != 0 {
        let problem = "it is no regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    Ok(Some(file))
}

/// The address that Windows reports.
pub(in crate::port) fn reported_address(address: &SockAddr) -> Option<UnixAddress> {
    if address.domain() != Domain::UNIX {
        return None;
    }
    let length = usize::try_from(address.len()).ok()?;
    // SAFETY: the address has that many initialised bytes.
    let bytes = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), length) };
    Some(read_path(bytes.get(size_of::<u16>()..).unwrap_or_default()))
}

/// Reads the path of an address, which ends at its first NUL. The length that Windows reports is not that of the path: on
/// a connected client, for instance, bytes that mean nothing follow the NUL.
fn read_path(bytes: &[u8]) -> UnixAddress {
    let path = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if path.is_empty() {
        return UnixAddress::unnamed();
    }
    UnixAddress::from_reported_path(String::from_utf8_lossy(path).as_ref().as_ref())
}

#[cfg(test)]
mod tests {
    use super::{Identity, SockAddr, is_socket, lock_file, prepare, read_path, reported_address};
    use crate::os::UnixAddress;
    use crate::port::control::os_address;
    use crate::port::options::SocketFileOptions;
    use socket2::{Domain, Socket};
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::PathBuf;

    /// A folder of its own, which is removed in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("tw-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("a folder for temporary files");
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn named(path: &str) -> UnixAddress {
        UnixAddress::from_pathname(path).expect("a good path")
    }

    #[test]
    fn an_address_that_is_written_is_read_again() {
        let longest = "x".repeat(107);
        for path in [r"C:\run\app.sock", "relative", r"ü\a b", &longest] {
            let raw = os_address(&named(path).into()).expect("a good address");
            assert_eq!(raw.domain(), Domain::UNIX);
            // The family, the path and its NUL.
            assert_eq!(usize::try_from(raw.len()), Ok(2 + path.len() + 1), "{path}");
            assert_eq!(reported_address(&raw), Some(named(path)));
        }
    }

    #[test]
    fn only_unix_sockets_have_such_addresses_and_only_named_ones_can_be_bound() {
        let ip = SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 80)));
        assert_eq!(reported_address(&ip), None);
        let error = os_address(&UnixAddress::unnamed().into()).expect_err("it has no name");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_path_ends_at_its_nul_or_with_the_address() {
        for (bytes, path) in [
            (&b"a.sock\0"[..], "a.sock"),
            (b"a.sock\0garbage\0\xff", "a.sock"),
            (b"a.sock", "a.sock"),
            ("ü\0".as_bytes(), "ü"),
        ] {
            assert_eq!(read_path(bytes), named(path));
        }
        for bytes in [&b""[..], b"\0", b"\0garbage"] {
            assert!(read_path(bytes).is_unnamed(), "{bytes:?}");
        }
        let whole = read_path(&[b'x'; 108]);
        assert_eq!(
            whole.as_pathname().map(|path| path.as_os_str().len()),
            Some(108)
        );
    }

    #[test]
    fn files_are_told_apart_and_are_no_sockets() {
        let folder = Folder::new("identity");
        let (one, other) = (folder.0.join("one"), folder.0.join("other"));
        for path in [&one, &other] {
            fs::write(path, "text").expect("there is room");
        }
        let identity = |path| Identity::of(path).expect("it is there");
        assert_eq!(identity(&one), identity(&one));
        assert_ne!(identity(&one), identity(&other));
        for path in [&one, &folder.0] {
            assert!(!is_socket(path).expect("it is there"), "{}", path.display());
        }
        let missing = is_socket(&folder.0.join("missing")).expect_err("it is not there");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_lock_is_held_by_one_and_can_be_removed_while_it_is_held() {
        let folder = Folder::new("lock");
        let path = folder.0.join("a.lock");
        let held = lock_file(&path).expect("it is made");
        assert!(held.is_some());
        assert!(lock_file(&path).expect("it can be told").is_none());
        drop(held);
        let held = lock_file(&path).expect("it is there").expect("it is free");
        fs::remove_file(&path).expect("its holder may remove it");
        drop(held);
        assert!(!fs::exists(&path).expect("it can be told"));
        let error = lock_file(&folder.0).expect_err("a folder is no lock");
        assert_ne!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn modes_and_owners_are_refused_by_name() {
        let socket = Socket::new(Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let (mut mode, mut owner, mut group) = <[SocketFileOptions; 3]>::default().into();
        mode.mode = Some(0o600);
        owner.owner = Some(0);
        group.group = Some(0);
        for (options, name) in [
            (mode, "permission bits"),
            (owner, "owner"),
            (group, "group"),
        ] {
            let error = prepare(&socket, &options).expect_err("they have none");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(name), "{error}");
        }
        prepare(&socket, &SocketFileOptions::default()).expect("nothing is asked for");
    }
}
