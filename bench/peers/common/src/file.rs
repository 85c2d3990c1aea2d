//! The file that servers send, and the little of HTTP that this needs.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// The length of the file.
pub const FILE_BYTES: u64 = 1 << 30;

/// The header before the file.
pub const HEADER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";

/// Whether the received bytes are a request. The load program sends each in one piece.
#[must_use]
pub fn is_request(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

/// The path of the file, which stands beside this program, and is in the page cache now.
///
/// # Errors
///
/// Errors of the OS.
pub fn path() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("bench-file");
    if path.metadata().is_ok_and(|file| file.len() == FILE_BYTES) {
        io::copy(&mut File::open(&path)?, &mut io::sink())?;
        return Ok(path);
    }
    let mut file = File::create(&path)?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(path)
}
