//! Every public type, trait and function of the libraries has an example.
//!
//! It stands in the documentation of the item or of one of its methods. Or the item's documentation links to a method
//! that has one, such as the call that makes the item. Or an example elsewhere takes the item from the library by its
//! path and uses it: that of a call shows the small types that go into the call.
//!
//! A block that rustdoc does not run, or that has nothing but imports, is no example.
//!
//! The rule reads lines, not tokens: rustfmt puts the items of a file at the beginning of their lines.

use std::collections::BTreeSet;

use super::Breach;

/// The folders of the libraries.
const LIBRARIES: &[&str] = &[
    "crates/tidewaiter/",
    "crates/tidewaiter-hyper/",
    "crates/tidewaiter-process/",
];

/// The beginning of the paths by which examples take items from a library.
const LIBRARY_NAME: &str = "tidewaiter";

const FENCE: &str = "```";

/// The words that the first line of a block may have if rustdoc is to compile the block.
const COMPILED: &[&str] = &["", "rust", "no_run", "should_panic", "compile_fail"];

/// The keywords of the items that need examples.
const ITEMS: &[&str] = &["struct", "enum", "trait", "fn", "type"];

/// The public items without examples, each with its file.
pub(super) fn missing(files: &[(String, String)]) -> Vec<(String, Breach)> {
    let of_libraries = || {
        files.iter().filter_map(|(path, text)| {
            let library = LIBRARIES.iter().find(|folder| path.starts_with(*folder))?;
            Some((*library, path, text))
        })
    };
    let mut shown = BTreeSet::new();
    let mut methods = BTreeSet::new();
    for (_, path, text) in of_libraries() {
        shown.extend(names_in_examples(path, text));
        methods.extend(methods_with_examples(text));
    }
    let has_example = |item: &Item<'_>| {
        let linked = || item.links.iter().any(|name| methods.contains(name));
        item.has_example || shown.contains(item.name) || linked()
    };
    let mut found = Vec::new();
    for library in LIBRARIES {
        let folder = format!("{library}src/");
        let sources = || {
            of_libraries().filter(|(_, path, _)| path.starts_with(&folder) && path.ends_with(".rs"))
        };
        let exported: BTreeSet<&str> = sources()
            .flat_map(|(_, _, text)| names_passed_on(text))
            .collect();
        let is_public = |item: &Item<'_>| exported.contains(item.name);
        for (_, path, text) in sources() {
            let items = items(text).into_iter();
            let without = items.filter(|item| is_public(item) && !has_example(item));
            found.extend(without.map(|item| {
                let what = format!("`{}` is public and has no example", item.name);
                (path.clone(), Breach::new(item.line, what))
            }));
        }
    }
    found
}

/// The names after each `pub use` at the beginning of a line.
fn names_passed_on(text: &str) -> impl Iterator<Item = &str> {
    let statements = text.split("\npub use ").skip(1);
    statements.flat_map(|rest| words(rest.split(';').next().unwrap_or_default()))
}

/// A public item at the top level of a file.
struct Item<'a> {
    name: &'a str,
    line: usize,
    has_example: bool,
    /// The last names of the paths in its documentation.
    links: Vec<&'a str>,
}

/// The public items that a file defines.
fn items(text: &str) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> = Vec::new();
    // The types that have methods with examples.
    let mut with_methods = BTreeSet::new();
    let mut inside = None;
    let mut documentation = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(said) = line.trim_start().strip_prefix("///") {
            documentation.push(said);
            continue;
        }
        if line.trim_start().starts_with("#[") {
            continue;
        }
        let said = std::mem::take(&mut documentation);
        if let Some(name) = defined(line) {
            items.push(Item {
                name,
                line: number + 1,
                has_example: has_example(&said),
                links: said.into_iter().flat_map(last_names).collect(),
            });
            inside = Some(name);
        } else if line.starts_with("impl") {
            inside = implemented(line);
        } else if line.starts_with('}') {
            inside = None;
        } else if line.starts_with("    ") && has_example(&said) {
            with_methods.extend(inside);
        }
    }
    for item in &mut items {
        item.has_example |= with_methods.contains(item.name);
    }
    items
}

/// Whether documentation has an example.
fn has_example(documentation: &[&str]) -> bool {
    examples(&documentation.join("\n")).next().is_some()
}

/// The examples among the blocks between fences: those that rustdoc compiles and that do something.
fn examples(documentation: &str) -> impl Iterator<Item = Example> {
    let blocks = documentation.split(FENCE).skip(1).step_by(2);
    blocks.filter_map(|block| {
        let (head, code) = block.split_once('\n')?;
        let is_compiled = head.split(',').all(|word| COMPILED.contains(&word.trim()));
        let example = Example::read(code);
        (is_compiled && !example.body.is_empty()).then_some(example)
    })
}

/// The part of an example that readers see: no hidden lines, and no comments.
struct Example {
    imports: String,
    body: String,
}

impl Example {
    fn read(code: &str) -> Example {
        let mut example = Example {
            imports: String::new(),
            body: String::new(),
        };
        let mut is_import = false;
        for line in code.lines().map(str::trim) {
            let is_hidden = line == "#" || line.starts_with("# ");
            if line.is_empty() || is_hidden || line.starts_with("//") {
                continue;
            }
            is_import |= line.starts_with("use ");
            let part = if is_import {
                &mut example.imports
            } else {
                &mut example.body
            };
            part.push_str(line);
            part.push('\n');
            is_import &= !line.ends_with(';');
        }
        example
    }

    /// The names that it takes from the libraries by paths and uses.
    fn names(&self) -> BTreeSet<&str> {
        let used: BTreeSet<&str> = words(&self.body).collect();
        let imported = paths_of_libraries(&self.imports).filter(|name| used.contains(name));
        imported.chain(paths_of_libraries(&self.body)).collect()
    }
}

/// The names in the paths that begin with a library's name.
fn paths_of_libraries(code: &str) -> impl Iterator<Item = &str> {
    let ends = [';', '(', ')', '='];
    let paths = code.split(LIBRARY_NAME).skip(1);
    let paths = paths.map(move |after| after.split(ends).next().unwrap_or_default());
    paths.filter(|path| path.contains("::")).flat_map(words)
}

/// The name at the end of each path in a line of documentation.
fn last_names(line: &str) -> impl Iterator<Item = &str> {
    let paths = line.split(|one: char| !is_of_name(one) && one != ':');
    paths.filter_map(|path| Some(path.rsplit_once("::")?.1))
}

/// The names of the functions whose documentation has an example.
fn methods_with_examples(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut documentation = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some(said) = line.strip_prefix("///") {
            documentation.push(said);
        } else if !line.starts_with("#[") {
            let said = std::mem::take(&mut documentation);
            if let Some((_, rest)) = line.split_once("fn ")
                && has_example(&said)
            {
                names.extend(words(rest).next());
            }
        }
    }
    names
}

/// The name of the public item that begins on this line.
fn defined(line: &str) -> Option<&str> {
    let mut words = words(line.strip_prefix("pub ")?);
    let keyword = words.find(|word| !["async", "unsafe", "const"].contains(word))?;
    words.next().filter(|_| ITEMS.contains(&keyword))
}

/// The type whose `impl` begins on this line.
fn implemented(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    let of_trait = rest.split_once(" for ").map(|(_, rest)| rest);
    words(of_trait.unwrap_or_else(|| after_parameters(rest))).next()
}

/// The rest of a line behind the parameters of an `impl` between angle brackets.
fn after_parameters(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, one) in text.char_indices() {
        match one {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => return &text[at..],
            _ => {}
        }
    }
    ""
}

/// The names that examples take from the libraries by paths, in code or in a document.
fn names_in_examples(path: &str, text: &str) -> BTreeSet<String> {
    let documentation: String = if path.ends_with(".rs") {
        let lines = text.lines().map(str::trim_start);
        let lines = lines.filter_map(|line| {
            line.strip_prefix("///")
                .or_else(|| line.strip_prefix("//!"))
        });
        lines.fold(String::new(), |all, line| all + line + "\n")
    } else if path.ends_with(".md") {
        text.to_owned()
    } else {
        String::new()
    };
    let names = examples(&documentation).flat_map(|example| {
        let names = example.names().into_iter();
        names.map(str::to_owned).collect::<Vec<String>>()
    });
    names.collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|one| !is_of_name(one))
        .filter(|word| !word.is_empty())
}

fn is_of_name(one: char) -> bool {
    one.is_alphanumeric() || one == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_in(library: &str, rest: &[(&str, &str)]) -> Vec<String> {
        let root = (
            "crates/tidewaiter/src/lib.rs",
            "\npub use part::{Thing, call};\n",
        );
        let part = ("crates/tidewaiter/src/part.rs", library);
        let files: Vec<(String, String)> = [root, part]
            .iter()
            .chain(rest)
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        let found = missing(&files).into_iter();
        found
            .map(|(path, breach)| format!("{path}:{}: {}", breach.line, breach.what))
            .collect()
    }

    #[test]
    fn a_public_item_without_an_example_is_found() {
        let text = "/// Says little.\n#[derive(Debug)]\npub struct Thing;\n";
        let told = "crates/tidewaiter/src/part.rs:3: `Thing` is public and has no example";
        assert_eq!(missing_in(text, &[]), [told]);
        let text = "pub struct Thing;\n/// ```\n/// call()\n/// ```\npub async fn call() {}\n";
        assert_eq!(missing_in(text, &[]).len(), 1);
    }

    #[test]
    fn a_block_that_shows_nothing_is_no_example() {
        for block in [
            "```text\n/// a ─▶ b\n",
            "```ignore\n/// a();\n",
            "```\n",
            "```\n/// use tidewaiter::Thing;\n",
            "```\n/// # use tidewaiter::Thing;\n/// // Thing\n/// # drop(Thing);\n",
        ] {
            let text = format!("/// {block}/// ```\npub struct Thing;\n");
            assert_eq!(missing_in(&text, &[]).len(), 1, "{block}");
        }
        let unrun = "/// ```no_run\n/// a();\n/// ```\npub struct Thing;\n";
        assert_eq!(missing_in(unrun, &[]), [""; 0]);
    }

    #[test]
    fn items_that_are_not_passed_on_need_none() {
        let text = "pub struct Inside;\npub(crate) fn call() {}\nstruct Thing;\n";
        assert_eq!(missing_in(text, &[]), [""; 0]);
    }

    #[test]
    fn an_example_may_stand_on_the_item_or_on_a_method() {
        let on_it = "/// ```\n/// Thing\n/// ```\n#[derive(Debug)]\npub struct Thing;\n";
        let on_method = "pub struct Thing<S>;\n\nimpl<S: Into<u8>, T> Thing<S> {\n    /// ```\n    /// a();\n    /// ```\n    pub fn a() {}\n}\n";
        let in_trait =
            "pub trait Thing {\n    /// ```\n    /// a();\n    /// ```\n    fn a() {}\n}\n";
        let of_trait = "pub enum Thing {}\nimpl Drop for Thing {\n    /// ```\n    /// a();\n    /// ```\n    fn a() {}\n}\n";
        for text in [on_it, on_method, in_trait, of_trait] {
            assert_eq!(missing_in(text, &[]), [""; 0], "{text}");
        }
        let of_another = "pub enum Thing {}\nimpl Drop for Other {\n    /// ```\n    /// a();\n    /// ```\n    fn a() {}\n}\n";
        assert_eq!(missing_in(of_another, &[]).len(), 1);
    }

    #[test]
    fn a_link_to_a_method_with_an_example_will_do() {
        let linking = "/// Made by [`call`](Other::call).\npub struct Thing;\n\n";
        let with_example =
            "impl Other {\n    /// ```\n    /// a();\n    /// ```\n    pub fn call() {}\n}\n";
        let without = "impl Other {\n    /// Says little.\n    pub fn call() {}\n}\n";
        assert_eq!(
            missing_in(&format!("{linking}{with_example}"), &[]),
            [""; 0]
        );
        assert_eq!(missing_in(&format!("{linking}{without}"), &[]).len(), 1);
    }

    #[test]
    fn an_example_elsewhere_shows_what_it_takes_by_a_path() {
        let text = "pub struct Thing;\n";
        let guide = "crates/tidewaiter/guide/things.md";
        let imported = "```\nuse tidewaiter::part::{\n    Thing, call,\n};\ncall(Thing);\n```\n";
        let named = "```\nlet a = tidewaiter::Thing::new();\n```\n";
        for shown in [imported, named] {
            assert_eq!(missing_in(text, &[(guide, shown)]), [""; 0], "{shown}");
        }
        let other = "```\nuse std::Thing;\nlet a = Thing;\n```\nuse tidewaiter::Thing;\n";
        let unused = "```\nuse tidewaiter::{Thing, call};\ncall();\n```\n";
        for shown in [other, unused] {
            assert_eq!(missing_in(text, &[(guide, shown)]).len(), 1, "{shown}");
        }
    }
}
