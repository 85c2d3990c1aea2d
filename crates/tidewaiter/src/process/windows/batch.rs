//! Joins arguments into a command line by which the command interpreter, `cmd.exe`, runs a batch file.
//!
//! `cmd.exe` reads such a line by rules of its own before anything splits it into arguments: it replaces what stands
//! between two `%`, and characters such as `&` and `|` begin another command unless they stand between quotation marks.
//! A program that leaves this to `CreateProcessW` lets an argument run commands (CVE-2024-24576 and its like). Here an
//! argument arrives as it was given, or is refused:
//!
//! - Whatever is not known to be harmless stands between quotation marks. A quotation mark is doubled: for `cmd.exe` the
//!   quoted part ends and begins again at once, and the C runtime reads the two as one mark.
//! - `%` becomes `%%cd:~,%`: the first `%` stays, because the second follows it at once, and the rest is replaced by
//!   nothing, the first zero characters of the current directory.
//! - No quoting keeps together an argument with a line break, and a line of more than 8191 characters is not run.
//!
//! What the batch file then does with its arguments is up to it: `call`, for one, reads a line twice.

use std::io;

use super::invalid;

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;
const PERCENT: u16 = b'%' as u16;
const SPACE: u16 = b' ' as u16;

/// Without commands from the registry, with the extensions that [`PERCENT_SIGN`] needs, without `!` as another `%`; all
/// between the first and last quotation mark of what follows is the command.
const INTERPRETER: &str = r#"cmd.exe /d /e:on /v:off /s /c ""#;

/// Becomes `%`.
const PERCENT_SIGN: &str = "%%cd:~,%";

/// The characters beside letters and digits that neither `cmd.exe` nor a C runtime treats specially.
const HARMLESS: &[u8] = br"+-./:\_@#$";

/// The most that `cmd.exe` takes, in UTF-16 units.
const LINE_MAX: usize = 8191;

/// Returns the command line for a batch file, given by its whole path, without a final NUL.
///
/// # Errors
///
/// `InvalidInput` if the path or an argument cannot be passed safely.
pub(super) fn command_line(file: &[u16], arguments: &[Vec<u16>]) -> io::Result<Vec<u16>> {
    if file.contains(&QUOTE) {
        return Err(invalid("the path of a batch file has a quotation mark"));
    }
    if file.starts_with(&[BACKSLASH, BACKSLASH, u16::from(b'?')]) {
        return Err(invalid(r"cmd.exe runs no batch file at a path with \\?\"));
    }
    let mut line: Vec<u16> = INTERPRETER.encode_utf16().collect();
    line.push(QUOTE);
    append(&mut line, file)?;
    line.push(QUOTE);
    for argument in arguments {
        line.push(SPACE);
        append_argument(&mut line, argument)?;
    }
    line.push(QUOTE);
    if line.len() > LINE_MAX {
        let message =
            format!("the arguments are too long for a batch file: cmd.exe takes {LINE_MAX}");
        return Err(invalid(&message));
    }
    Ok(line)
}

fn append_argument(line: &mut Vec<u16>, argument: &[u16]) -> io::Result<()> {
    // Batch files put `%~1` between quotation marks of their own: a backslash at the end would escape the closing one.
    let harmless = argument.iter().all(|&unit| is_harmless(unit));
    if harmless && !argument.is_empty() && !argument.ends_with(&[BACKSLASH]) {
        line.extend_from_slice(argument);
        return Ok(());
    }
    line.push(QUOTE);
    append(line, argument)?;
    // A C runtime reads half of the backslashes before a quotation mark.
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes_at_end(argument)));
    line.push(QUOTE);
    Ok(())
}

/// Appends what stands between two quotation marks.
fn append(line: &mut Vec<u16>, text: &[u16]) -> io::Result<()> {
    for (at, &unit) in text.iter().enumerate() {
        match unit {
            QUOTE => {
                let backslashes = backslashes_at_end(&text[..at]);
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
                line.extend([QUOTE, QUOTE]);
            }
            PERCENT => line.extend(PERCENT_SIGN.encode_utf16()),
            // A line break, or the end of a text file.
            0x0a | 0x0d | 0x1a => {
                let text = String::from_utf16_lossy(text);
                let message = format!("it cannot be passed safely to a batch file: {text:?}");
                return Err(invalid(&message));
            }
            _ => line.push(unit),
        }
    }
    Ok(())
}

fn is_harmless(unit: u16) -> bool {
    u8::try_from(unit).is_ok_and(|byte| byte.is_ascii_alphanumeric() || HARMLESS.contains(&byte))
}

fn backslashes_at_end(text: &[u16]) -> usize {
    text.iter()
        .rev()
        .take_while(|&&unit| unit == BACKSLASH)
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::windows::quote::tests::parse;

    const FILE: &str = r"C:\a b\x.bat";

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn line_of(file: &str, arguments: &[&str]) -> io::Result<String> {
        let arguments: Vec<_> = arguments.iter().map(|argument| wide(argument)).collect();
        let line = command_line(&wide(file), &arguments)?;
        Ok(String::from_utf16(&line).expect("the tests use whole characters"))
    }

    /// The arguments' part of the line.
    fn quoted(arguments: &[&str]) -> String {
        let line = line_of(FILE, arguments).expect("they can be passed");
        let rest = line.strip_prefix(&format!(r#"{INTERPRETER}"{FILE}" "#));
        let rest = rest.and_then(|rest| rest.strip_suffix('"'));
        rest.expect("the line begins with the file").to_owned()
    }

    #[test]
    fn the_published_attacks_stay_arguments() {
        // What the argument is, and how it is written.
        let table = [
            ("plain-1.txt", "plain-1.txt"),
            (r"C:\dir\file", r"C:\dir\file"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("&calc.exe", r#""&calc.exe""#),
            (r#""&calc.exe"#, r#""""&calc.exe""#),
            (r#"a"b"#, r#""a""b""#),
            (r#"\"&calc"#, r#""\\""&calc""#),
            ("%PATH%", r#""%%cd:~,%PATH%%cd:~,%""#),
            (
                "%CMDCMDLINE:~-1%&calc.exe",
                r#""%%cd:~,%CMDCMDLINE:~-1%%cd:~,%&calc.exe""#,
            ),
            ("100%", r#""100%%cd:~,%""#),
            ("!PATH!", r#""!PATH!""#),
            ("^&x", r#""^&x""#),
            ("x|y", r#""x|y""#),
            ("x>y<z", r#""x>y<z""#),
            ("(x)", r#""(x)""#),
            ("a,b;c=d", r#""a,b;c=d""#),
            ("*.?", r#""*.?""#),
            (r"dir\", r#""dir\\""#),
            ("\u{b}\u{c}\u{a0}", "\"\u{b}\u{c}\u{a0}\""),
            ("＂ä", "\"＂ä\""),
        ];
        for (argument, written) in table {
            assert_eq!(quoted(&[argument]), written, "{argument}");
        }
        assert_eq!(quoted(&["a", "b c"]), r#"a "b c""#);
    }

    #[test]
    fn what_cannot_be_passed_is_refused() {
        for argument in ["a\nb", "a\rb", "\u{1a}"] {
            let error = line_of(FILE, &[argument]).expect_err("it cannot be passed");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{argument:?}");
        }
        for file in ["C:\\a\".bat", "C:\\a\n.bat", r"\\?\C:\a.bat"] {
            line_of(file, &[]).expect_err("it cannot be run");
        }
        let room = LINE_MAX - line_of(FILE, &["x"]).expect("it is short").len();
        line_of(FILE, &[&"x".repeat(room + 1)]).expect("it just fits");
        line_of(FILE, &[&"x".repeat(room + 2)]).expect_err("it is too long");
    }

    #[test]
    fn the_name_of_the_file_is_quoted_too() {
        let line = line_of(r"C:\100%\a&b.bat", &[]).expect("it can be run");
        assert_eq!(line, format!(r#"{INTERPRETER}"C:\100%%cd:~,%\a&b.bat"""#));
    }

    /// What `cmd.exe` makes of the command between the outer quotation marks, by its documented rules: replaces
    /// variables, and finds no character that begins another command outside quotation marks.
    fn interpreted(line: &[u16]) -> Vec<u16> {
        let line = String::from_utf16(line).expect("the tests use whole characters");
        let command = line.strip_prefix(INTERPRETER).expect("it begins so");
        let command = command.strip_suffix('"').expect("it ends so");
        // The only variable there is: what stands between all other pairs of `%` would be one.
        let command = command.replace("%%cd:~,%", "\u{1}");
        assert!(!command.contains('%'), "{command}");
        let mut quoted = false;
        for character in command.chars() {
            quoted ^= character == '"';
            assert!(
                quoted || !"&|<>^()!,;=\u{1}".contains(character),
                "{command}"
            );
        }
        assert!(!quoted, "{command}");
        wide(&command.replace('\u{1}', "%"))
    }

    proptest! {
        #[test]
        fn no_argument_breaks_out(arguments in proptest::collection::vec("[a\"\\\\ %^&|<>!(,=ä𝄞]{0,8}", 0..6)) {
            let wide_arguments: Vec<_> = arguments.iter().map(|argument| wide(argument)).collect();
            let line = command_line(&wide(FILE), &wide_arguments).expect("they can be passed");
            let parsed = parse(&interpreted(&line));
            prop_assert_eq!(&parsed[0], &wide(FILE));
            prop_assert_eq!(&parsed[1..], &wide_arguments[..]);
        }
    }
}
