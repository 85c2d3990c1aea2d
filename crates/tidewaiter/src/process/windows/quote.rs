//! Joins arguments into one command line, which programs split by the rules of the C runtime.

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;
const SPACE: u16 = b' ' as u16;
const TAB: u16 = b'\t' as u16;

/// Returns the command line for a program's own name and its arguments, without a final NUL. `None` if the name
/// contains a quotation mark, because the name has no escapes.
pub(super) fn command_line(name: &[u16], arguments: &[Vec<u16>]) -> Option<Vec<u16>> {
    if name.contains(&QUOTE) {
        return None;
    }
    let mut line = Vec::with_capacity(name.len() + 2);
    line.push(QUOTE);
    line.extend_from_slice(name);
    line.push(QUOTE);
    for argument in arguments {
        line.push(SPACE);
        append(&mut line, argument);
    }
    Some(line)
}

fn append(line: &mut Vec<u16>, argument: &[u16]) {
    let quoted = argument.is_empty() || argument.iter().any(|unit| [SPACE, TAB].contains(unit));
    if quoted {
        line.push(QUOTE);
    }
    let mut backslashes = 0;
    for &unit in argument {
        if unit == BACKSLASH {
            backslashes += 1;
        } else {
            if unit == QUOTE {
                // Doubles the backslashes before a quotation mark, and escapes the mark with one more.
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
            }
            backslashes = 0;
        }
        line.push(unit);
    }
    if quoted {
        // Doubles the backslashes before the closing mark, too.
        line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
        line.push(QUOTE);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn line(arguments: &[&str]) -> String {
        let arguments: Vec<_> = arguments.iter().map(|argument| wide(argument)).collect();
        let line = command_line(&wide("a b"), &arguments).expect("the name has no quotation mark");
        String::from_utf16(&line).expect("the tests use whole characters")
    }

    /// Splits a command line by the documented rules of `CommandLineToArgvW` and of Microsoft's C runtime.
    pub(in crate::process::windows) fn parse(line: &[u16]) -> Vec<Vec<u16>> {
        let end = 1 + line[1..]
            .iter()
            .position(|&unit| unit == QUOTE)
            .expect("the name is quoted");
        let mut arguments = vec![line[1..end].to_vec()];
        let mut rest = line[end + 1..].iter().copied().peekable();
        loop {
            while rest.next_if(|unit| [SPACE, TAB].contains(unit)).is_some() {}
            if rest.peek().is_none() {
                return arguments;
            }
            let mut argument = Vec::new();
            let mut in_quotes = false;
            while let Some(&unit) = rest.peek() {
                if !in_quotes && [SPACE, TAB].contains(&unit) {
                    break;
                }
                let mut backslashes = 0;
                while rest.next_if_eq(&BACKSLASH).is_some() {
                    backslashes += 1;
                }
                if rest.next_if_eq(&QUOTE).is_none() {
                    argument.extend(std::iter::repeat_n(BACKSLASH, backslashes));
                    if backslashes == 0 {
                        argument.extend(rest.next());
                    }
                    continue;
                }
                argument.extend(std::iter::repeat_n(BACKSLASH, backslashes / 2));
                // An escaped mark, or two of them within quotation marks.
                if backslashes % 2 == 1 || (in_quotes && rest.next_if_eq(&QUOTE).is_some()) {
                    argument.push(QUOTE);
                } else {
                    in_quotes = !in_quotes;
                }
            }
            arguments.push(argument);
        }
    }

    #[test]
    fn only_arguments_that_need_quotes_are_quoted() {
        assert_eq!(line(&["x", "", "a b"]), r#""a b" x "" "a b""#);
        assert_eq!(line(&[r"c:\d\", r"c:\d e\"]), r#""a b" c:\d\ "c:\d e\\""#);
        assert_eq!(line(&[r#"a"b"#, r#"\""#]), r#""a b" a\"b \\\""#);
    }

    #[test]
    fn a_name_with_a_quotation_mark_is_refused() {
        assert_eq!(command_line(&wide("a\"b"), &[]), None);
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_parsed_back(arguments in proptest::collection::vec("[a\"\\\\ \tä𝄞]{0,8}", 0..6)) {
            let wide: Vec<_> = arguments.iter().map(|argument| argument.encode_utf16().collect::<Vec<_>>()).collect();
            let name = "n".encode_utf16().collect::<Vec<_>>();
            let line = command_line(&name, &wide).expect("the name has no quotation mark");
            let parsed = parse(&line);
            prop_assert_eq!(&parsed[0], &name);
            prop_assert_eq!(&parsed[1..], &wide[..]);
        }
    }
}
