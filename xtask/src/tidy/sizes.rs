//! Limits of sizes: of functions, files, structs, traits, nesting and type parameters.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::Breach;
use super::source::{Source, each_level, is_path_separator, is_punct, is_word, line_of};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const EXAMPLE_LINES_MAX: usize = 120;
const NESTING_MAX: usize = 3;
const FIELDS_MAX: usize = 16;
const METHODS_MAX: usize = 16;
const TYPE_PARAMETERS_MAX: usize = 2;
/// BENCHMARKS.md is a summary; readers should see all of it at a glance.
const SUMMARY_LINES_MAX: usize = 200;

/// A function's name, the line of its `fn`, and its body.
struct Function {
    name: String,
    line: usize,
    body: Group,
}

fn all_functions(stream: &TokenStream) -> Vec<Function> {
    let mut found = Vec::new();
    each_level(stream, &mut |tokens| {
        for (at, pair) in tokens.windows(2).enumerate() {
            let [TokenTree::Ident(keyword), TokenTree::Ident(name)] = pair else {
                continue;
            };
            if keyword != "fn" {
                continue;
            }
            if let Some(body) = braces_after(&tokens[at..]) {
                let line = line_of(&tokens[at]);
                found.push(Function {
                    name: name.to_string(),
                    line,
                    body,
                });
            }
        }
    });
    found
}

/// The first braces before a semicolon, which are the body; `None` for a declaration without a body.
fn braces_after(tokens: &[TokenTree]) -> Option<Group> {
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                return Some(group.clone());
            }
            _ => {}
        }
    }
    None
}

/// No function is longer than a screen. This applies to tests as well.
pub(super) fn functions(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    for function in all_functions(&source.tokens) {
        let lines = function.body.span_close().end().line + 1 - function.line;
        if lines > FUNCTION_LINES_MAX {
            let name = &function.name;
            let what = format!("`{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}");
            found.push(Breach::new(function.line, what));
        }
    }
    found
}

/// Conditions, loops and matches are not nested too deeply.
pub(super) fn nesting(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    for function in all_functions(&source.code) {
        let depth = depth(&function.body.stream());
        if depth > NESTING_MAX {
            let name = &function.name;
            let what = format!("`{name}` nests {depth} deep, more than {NESTING_MAX}");
            found.push(Breach::new(function.line, what));
        }
    }
    found
}

fn depth(stream: &TokenStream) -> usize {
    let tokens: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut deepest = 0;
    let mut opens = false;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) => {
                let control = ["if", "match", "while", "loop", "for", "else"];
                let bound = word == "for" && is_punct(tokens.get(at + 1), '<');
                opens |= !bound && control.iter().any(|keyword| word == keyword);
            }
            TokenTree::Group(group) => {
                let braces = group.delimiter() == Delimiter::Brace;
                deepest = deepest.max(depth(&group.stream()) + usize::from(braces && opens));
                opens &= !braces;
            }
            // The `if` of a match guard, `pattern if condition =>`, does not open a block.
            TokenTree::Punct(punct) => {
                let arrow = punct.as_char() == '>' && at > 0 && is_punct(tokens.get(at - 1), '=');
                opens &= !arrow && punct.as_char() != ';';
            }
            TokenTree::Literal(_) => {}
        }
    }
    deepest
}

/// BENCHMARKS.md stays short: the full tables belong elsewhere.
pub(super) fn summary(text: &str) -> Vec<Breach> {
    let lines = text.lines().count();
    if lines <= SUMMARY_LINES_MAX {
        return Vec::new();
    }
    let what = format!(
        "has {lines} lines, more than {SUMMARY_LINES_MAX}: full tables belong in docs/benchmarks/"
    );
    vec![Breach::new(0, what)]
}

/// A file without its tests is not too long. A longer one does more than one thing. An example is read at a sitting.
pub(super) fn files(source: &Source) -> Vec<Breach> {
    let lines = source.lines.saturating_sub(source.test_lines);
    let lines_max = match source.path.contains("/examples/") {
        true => EXAMPLE_LINES_MAX,
        false => FILE_LINES_MAX,
    };
    if lines <= lines_max {
        return Vec::new();
    }
    vec![Breach::new(
        0,
        format!("{lines} lines without tests, more than {lines_max}"),
    )]
}

/// A struct has few fields. Group them by the part of the code that changes them.
pub(super) fn structs(source: &Source) -> Vec<Breach> {
    members(source, "struct", "fields", FIELDS_MAX, fields)
}

/// The number of fields: each has one colon that is not part of a `::`.
fn fields(body: &TokenStream) -> usize {
    let tokens: Vec<TokenTree> = body.clone().into_iter().collect();
    let separates = |at: usize| {
        is_path_separator(&tokens, at)
            || at
                .checked_sub(1)
                .is_some_and(|at| is_path_separator(&tokens, at))
    };
    (0..tokens.len())
        .filter(|&at| is_punct(tokens.get(at), ':') && !separates(at))
        .count()
}

/// A trait has few methods. Give one of them an argument that says what to do, as the drivers' `control` has.
pub(super) fn traits(source: &Source) -> Vec<Breach> {
    let methods = |body: &TokenStream| {
        let tokens = body.clone().into_iter();
        tokens.filter(|token| is_word(Some(token), "fn")).count()
    };
    members(source, "trait", "methods", METHODS_MAX, methods)
}

/// Finds the items with this keyword that have more than `most` members in their braces.
fn members(
    source: &Source,
    keyword: &str,
    kind: &str,
    most: usize,
    count: impl Fn(&TokenStream) -> usize,
) -> Vec<Breach> {
    let mut found = Vec::new();
    each_level(&source.code, &mut |tokens| {
        for (at, pair) in tokens.windows(2).enumerate() {
            let [TokenTree::Ident(word), TokenTree::Ident(name)] = pair else {
                continue;
            };
            if word != keyword {
                continue;
            }
            let number = braces_after(&tokens[at..]).map_or(0, |body| count(&body.stream()));
            if number > most {
                let what = format!("`{name}` has {number} {kind}, more than {most}");
                found.push(Breach::new(line_of(&tokens[at]), what));
            }
        }
    });
    found
}

/// Public types have few type parameters, because every use of the type has to repeat them.
pub(super) fn type_parameters(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    each_level(&source.code, &mut |tokens| {
        for at in 0..tokens.len() {
            let is_type = ["struct", "enum", "trait"]
                .iter()
                .any(|keyword| is_word(tokens.get(at + 1), keyword));
            if !is_type || !is_word(tokens.get(at), "pub") {
                continue;
            }
            let count = tokens.get(at + 3..).map_or(0, count_type_parameters);
            if count > TYPE_PARAMETERS_MAX {
                let what = format!(
                    "`{}` has {count} type parameters, more than {TYPE_PARAMETERS_MAX}",
                    tokens[at + 2]
                );
                found.push(Breach::new(line_of(&tokens[at]), what));
            }
        }
    });
    found
}

/// Counts the parameters in `<'a, T: Bound<U>, const N: usize>` that are neither lifetimes nor constants.
fn count_type_parameters(tokens: &[TokenTree]) -> usize {
    let (mut depth, mut count, mut starts) = (0_usize, 0, false);
    for token in tokens {
        match token {
            TokenTree::Punct(punct) => {
                depth = match punct.as_char() {
                    '<' => depth + 1,
                    '>' => depth.saturating_sub(1),
                    _ => depth,
                };
                // A parameter begins after the first bracket or a comma. After `'` it would be a lifetime.
                starts = depth == 1 && matches!(punct.as_char(), '<' | ',');
            }
            TokenTree::Ident(word) if starts => {
                count += usize::from(word != "const");
                starts = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_short() {
        assert_eq!(summary(&"line\n".repeat(SUMMARY_LINES_MAX)), []);
        assert_eq!(summary(&"line\n".repeat(SUMMARY_LINES_MAX + 1)).len(), 1);
    }

    fn source(text: &str) -> Source {
        Source::parse("crates/tidewaiter/src/reactor/turn.rs", text).expect("it is Rust")
    }

    fn function_of(lines: usize) -> String {
        format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_has_at_most_70_lines() {
        assert_eq!(functions(&source(&function_of(70))), []);
        assert_eq!(functions(&source(&function_of(71))).len(), 1);
        let inside = format!("impl A {{ #[test] {} }}", function_of(71));
        assert_eq!(functions(&source(&inside)).len(), 1);
        assert_eq!(functions(&source("trait A { fn b(); }")), []);
    }

    #[test]
    fn a_brace_in_a_string_does_not_end_a_function() {
        let text = format!("fn a() {{ let _ = \"}}\";\n{}}}", "b();\n".repeat(80));
        assert_eq!(functions(&source(&text)).len(), 1);
    }

    #[test]
    fn code_nests_at_most_three_levels() {
        let good = "fn a() { for b in c { match d { E { f } if g => { if h { i() } } _ => {} } } }";
        assert_eq!(nesting(&source(good)), []);
        let bad = "fn a() { for b in c { if d { while e { if f { g() } } } } }";
        assert_eq!(nesting(&source(bad)).len(), 1);
        let flat = "fn a() { if b {} else if c {} else if d {} else if e {} else {} }";
        assert_eq!(nesting(&source(flat)), []);
        let closure = "fn a() { loop { b(|c| { if d { loop { if e { f() } } } }) } }";
        assert_eq!(nesting(&source(closure)).len(), 1);
    }

    #[test]
    fn an_example_is_shorter_than_other_files() {
        let text = "fn a() {}\n".repeat(121);
        for (path, breaches) in [("examples", 1), ("src", 0)] {
            let path = format!("crates/tidewaiter/{path}/a.rs");
            let source = Source::parse(&path, &text).expect("it is Rust");
            assert_eq!(files(&source).len(), breaches, "{path}");
        }
    }

    #[test]
    fn tests_do_not_make_a_file_long() {
        let code = "fn a() {}\n".repeat(600);
        let tests = format!(
            "#[cfg(test)]\nmod tests {{\n{}}}\n",
            "fn b() {}\n".repeat(50)
        );
        assert_eq!(files(&source(&format!("{code}{tests}"))), []);
        assert_eq!(
            files(&source(&format!("{code}fn c() {{}}\n{tests}"))).len(),
            1
        );
    }

    #[test]
    fn a_struct_has_few_fields() {
        let with = |count| {
            format!(
                "pub struct A {{ {} }}",
                "b: std::vec::Vec<u8>, ".repeat(count)
            )
        };
        assert_eq!(structs(&source(&with(16))), []);
        assert_eq!(structs(&source(&with(17))).len(), 1);
    }

    #[test]
    fn a_trait_has_few_methods() {
        let with = |count| format!("trait A: B {{ {} }}", "fn b(&self) { c() } ".repeat(count));
        assert_eq!(traits(&source(&with(16))), []);
        assert_eq!(traits(&source(&with(17))).len(), 1);
    }

    #[test]
    fn a_public_type_has_few_type_parameters() {
        let good = "pub struct A<'a, T: B<C, D, E>, U, const N: usize> { f: F<T, U> }";
        assert_eq!(type_parameters(&source(good)), []);
        assert_eq!(type_parameters(&source("pub enum A<T, U, V> {}")).len(), 1);
        assert_eq!(
            type_parameters(&source("pub(crate) enum A<T, U, V> {}")),
            []
        );
    }
}
