//! Parses Rust files into tokens, and separates their tests.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// One Rust file.
#[derive(Debug)]
pub(super) struct Source {
    /// The path from the root of the repository, with `/`.
    pub(super) path: String,
    pub(super) lines: usize,
    /// The number of lines that are test code.
    pub(super) test_lines: usize,
    /// All tokens, including tests.
    pub(super) tokens: TokenStream,
    /// The tokens without tests.
    pub(super) code: TokenStream,
    /// Paths, without `.rs`, of the modules that this file declares for tests only.
    test_modules: Vec<String>,
}

impl Source {
    /// Parses `text` into tokens.
    pub(super) fn parse(path: &str, text: &str) -> Result<Source, String> {
        let tokens = TokenStream::from_str(text)
            .map_err(|error| format!("{path}:{}: not Rust: {error}", error.span().start().line))?;
        let mut source = Source {
            path: path.to_owned(),
            lines: text.lines().count(),
            test_lines: 0,
            code: TokenStream::new(),
            tokens: tokens.clone(),
            test_modules: Vec::new(),
        };
        source.code = source.without_tests(tokens);
        if path
            .split('/')
            .any(|part| part == "tests" || part == "benches")
        {
            source.mark_as_test();
        }
        Ok(source)
    }

    /// Treats the whole file as test code.
    fn mark_as_test(&mut self) {
        self.test_lines = self.lines;
        self.code = TokenStream::new();
    }

    /// The path of this module inside its crate; `None` for a file outside `src`.
    pub(super) fn modules(&self) -> Option<Vec<&str>> {
        let (_, inside) = self.path.split_once("src/")?;
        let mut names: Vec<&str> = inside.strip_suffix(".rs")?.split('/').collect();
        if matches!(names.last(), Some(&("mod" | "lib" | "main"))) {
            names.pop();
        }
        Some(names)
    }

    fn without_tests(&mut self, stream: TokenStream) -> TokenStream {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut kept = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let item = at + attributes(&tokens[at..]);
            if tokens[at..item].iter().any(is_test_attribute) {
                let end = item_end(&tokens, item);
                self.note_module(&tokens[item..end]);
                if let (Some(first), Some(last)) = (tokens.get(at), tokens.get(end - 1)) {
                    self.test_lines += last.span().end().line + 1 - first.span().start().line;
                }
                at = end;
                continue;
            }
            // Keep the attributes and the first token of their item.
            for token in &tokens[at..tokens.len().min(item + 1)] {
                kept.push(self.kept(token));
            }
            at = item + 1;
        }
        kept.into_iter().collect()
    }

    fn kept(&mut self, token: &TokenTree) -> TokenTree {
        let TokenTree::Group(group) = token else {
            return token.clone();
        };
        let mut inner = Group::new(group.delimiter(), self.without_tests(group.stream()));
        inner.set_span(group.span());
        TokenTree::Group(inner)
    }

    /// Remembers the file of a test-only `mod name;`, because all of that file is test code.
    fn note_module(&mut self, item: &[TokenTree]) {
        let words: Vec<String> = item.iter().map(ToString::to_string).collect();
        let [.., keyword, name, end] = words.as_slice() else {
            return;
        };
        if keyword == "mod" && end == ";" {
            let folder = self
                .path
                .strip_suffix("mod.rs")
                .or(self.path.strip_suffix("lib.rs"));
            let folder = folder
                .or(self.path.strip_suffix("main.rs"))
                .map(str::to_owned);
            let folder =
                folder.unwrap_or_else(|| format!("{}/", self.path.trim_end_matches(".rs")));
            self.test_modules.push(format!("{folder}{name}"));
        }
    }
}

/// Parses all Rust files, and marks those as tests that their parent declares only for tests.
pub(super) fn parse_all(files: &[(String, String)]) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        sources.push(Source::parse(path, text)?);
    }
    let stems: Vec<String> = sources
        .iter()
        .flat_map(|source| source.test_modules.iter().cloned())
        .collect();
    for source in &mut sources {
        let is_test = |stem: &String| {
            source
                .path
                .strip_prefix(stem)
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if stems.iter().any(is_test) {
            source.mark_as_test();
        }
    }
    Ok(sources)
}

/// The number of leading tokens that form attributes, outer or inner.
fn attributes(tokens: &[TokenTree]) -> usize {
    let mut at = 0;
    while is_punct(tokens.get(at), '#') {
        let bang = usize::from(is_punct(tokens.get(at + 1), '!'));
        match tokens.get(at + 1 + bang) {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
                at += 2 + bang;
            }
            _ => break,
        }
    }
    at
}

/// Whether this is the bracket of `#[test]`, `#[cfg(test)]` or of another condition that requires `test`.
fn is_test_attribute(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else {
        return false;
    };
    let words = words(group.stream());
    match words.first().map(String::as_str) {
        Some("test") => words.len() == 1,
        Some("cfg") => {
            let negated = words.windows(2).any(|pair| pair == ["not", "test"]);
            words.iter().any(|word| word == "test") && !negated
        }
        _ => false,
    }
}

/// The position after the item that begins at `start`: after its semicolon or its braces.
fn item_end(tokens: &[TokenTree], start: usize) -> usize {
    let first = tokens[start..].iter().find_map(|token| match token {
        TokenTree::Ident(word) if *word != "pub" => Some(word.to_string()),
        _ => None,
    });
    let is_function = tokens[start..]
        .iter()
        .take(4)
        .any(|token| is_word(Some(token), "fn"));
    let ends_with_semicolon = !is_function
        && matches!(
            first.as_deref(),
            Some("use" | "const" | "static" | "type" | "let")
        );
    for (at, token) in tokens.iter().enumerate().skip(start) {
        let done = match token {
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Group(group) => {
                group.delimiter() == Delimiter::Brace && !ends_with_semicolon
            }
            _ => false,
        };
        if done {
            return at + 1;
        }
    }
    tokens.len()
}

/// All identifiers in a stream, at any depth.
pub(super) fn words(stream: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for token in stream {
        match token {
            TokenTree::Ident(word) => found.push(word.to_string()),
            TokenTree::Group(group) => found.extend(words(group.stream())),
            _ => {}
        }
    }
    found
}

/// Calls `look` with the tokens of each level: those of the file, then those inside each bracket.
pub(super) fn each_level(stream: &TokenStream, look: &mut dyn FnMut(&[TokenTree])) {
    let tokens: Vec<TokenTree> = stream.clone().into_iter().collect();
    look(&tokens);
    for token in &tokens {
        if let TokenTree::Group(group) = token {
            each_level(&group.stream(), look);
        }
    }
}

pub(super) fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

pub(super) fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

/// Whether there is a `::` at position `at`.
pub(super) fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    let first = tokens.get(at);
    is_punct(first, ':')
        && matches!(first, Some(TokenTree::Punct(punct)) if punct.spacing() == Spacing::Joint)
        && is_punct(tokens.get(at + 1), ':')
}

pub(super) fn line_of(token: &TokenTree) -> usize {
    token.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        words(
            Source::parse("crates/a/src/lib.rs", text)
                .expect("it is Rust")
                .code,
        )
    }

    #[test]
    fn tests_and_items_for_tests_are_separated() {
        assert_eq!(
            code("fn a() {} #[cfg(test)] mod tests { fn b() {} } fn c() {}"),
            words_of("fn a fn c")
        );
        assert_eq!(
            code("#[cfg(unix)] #[test] fn a() {} #[cfg(test)] use a::{b, c}; fn d() {}"),
            words_of("fn d")
        );
        assert_eq!(
            code("mod m { #[cfg(all(loom, test))] mod t {} fn a() {} }"),
            words_of("mod m fn a")
        );
        assert_eq!(
            code("#[cfg(test)] const A: B = B { c }; fn d() {}"),
            words_of("fn d")
        );
    }

    #[test]
    fn items_that_are_not_for_tests_are_kept() {
        assert_eq!(
            code("#[cfg(not(test))] fn a() {}"),
            words_of("cfg not test fn a")
        );
        assert_eq!(
            code("#[cfg(feature = \"test\")] fn a() {}"),
            words_of("cfg feature fn a")
        );
    }

    #[test]
    fn test_lines_are_counted() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n\n}\n";
        let source = Source::parse("crates/a/src/lib.rs", text).expect("it is Rust");
        assert_eq!((source.lines, source.test_lines), (6, 4));
    }

    #[test]
    fn a_file_declared_for_tests_is_test_code() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let files = [
            file(
                "crates/a/src/port/mod.rs",
                "#[cfg(test)] mod model; mod real;",
            ),
            file("crates/a/src/port/model.rs", "fn a() {}"),
            file("crates/a/src/port/model/deep.rs", "fn a() {}"),
            file("crates/a/src/port/real.rs", "fn a() {}"),
        ];
        let sources = parse_all(&files).expect("they are Rust");
        let empty = sources
            .iter()
            .map(|source| source.code.is_empty())
            .collect::<Vec<_>>();
        assert_eq!(empty, [false, true, true, false]);
    }

    fn words_of(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }
}
