//! Names of any bytes as one line of text: `%` with two hexadecimal digits stands for a byte.

use std::fmt::{self, Write};

use super::error::Problem;

/// Writes a name. Escapes `%`, control characters, and bytes that are not UTF-8.
pub(super) fn write(f: &mut fmt::Formatter<'_>, name: &[u8]) -> fmt::Result {
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '%' || character.is_control() {
                write_bytes(f, character.encode_utf8(&mut [0; 4]).as_bytes())?;
            } else {
                f.write_char(character)?;
            }
        }
        write_bytes(f, chunk.invalid())?;
    }
    Ok(())
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
}

/// Reads a name: the reverse of [`write`].
pub(super) fn read(text: &str) -> Result<Vec<u8>, Problem> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let byte;
        (byte, rest) = match first {
            b'%' => escaped_byte(after).ok_or(Problem::Escape)?,
            _ => (first, after),
        };
        name.push(byte);
    }
    Ok(name)
}

/// Splits the text after a `%` into the byte that it stands for and the rest.
fn escaped_byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = text.split_first_chunk()?;
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = digit(high)? * 16 + digit(low)?;
    Some((u8::try_from(byte).ok()?, rest))
}
