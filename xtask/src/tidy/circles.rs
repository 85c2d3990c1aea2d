//! Files that need each other: a reader of one has to read all of them at once.
//!
//! A file needs another one if it names something that the other one defines, in a `use` or in a path. Names that a
//! module merely passes on (`pub use`) count for the file that defines them. A module and those inside it may name each
//! other: the file at the head of a folder holds what its files share. Test code does not count.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proc_macro2::{Delimiter, TokenTree};

use super::Breach;
use super::source::{Source, each_level, is_path_separator, is_punct, is_word, line_of};

/// The names of a path: `crate`, `super` and `self` at its front, `*` at the end of one that takes everything.
type Path = Vec<String>;

/// Where the crates are whose files are in order.
const IN_ORDER: &[&str] = &["xtask/", "bench/", "crates/"];

/// The keywords that an item's name follows.
const ITEMS: &[&str] = &[
    "struct", "enum", "union", "trait", "fn", "type", "const", "static", "mod",
];

/// One file: the names it defines, those it passes on, and those it uses.
struct Module {
    file: String,
    defined: HashSet<String>,
    /// The name under which something is imported, and where it comes from.
    imported: HashMap<String, Path>,
    /// Modules that everything is imported of.
    opened: Vec<Path>,
    /// The paths that it names, each with its line.
    named: Vec<(Path, usize)>,
}

/// A crate's modules by their paths.
type Modules = BTreeMap<Path, Module>;

/// Every circle of files, told at each file of it.
pub(super) fn breaches(sources: &[Source]) -> Vec<(String, Breach)> {
    let mut crates: BTreeMap<&str, Modules> = BTreeMap::new();
    let in_order = |source: &&Source| {
        IN_ORDER
            .iter()
            .any(|folder| source.path.starts_with(folder))
    };
    let with_code = |source: &&Source| !source.code.is_empty();
    for source in sources.iter().filter(in_order).filter(with_code) {
        let (Some((folder, _)), Some(path)) = (source.path.split_once("src/"), source.modules())
        else {
            continue;
        };
        let path = path.into_iter().map(str::to_owned).collect();
        crates.entry(folder).or_default().insert(path, read(source));
    }
    crates.values().flat_map(in_crate).collect()
}

fn in_crate(modules: &Modules) -> Vec<(String, Breach)> {
    let needs = needs(modules);
    let mut found = Vec::new();
    for (file, needed) in &needs {
        for (other, line) in needed {
            if reaches(&needs, other, file) {
                let what = format!("needs `{other}`, which needs this file in turn");
                found.push(((*file).to_owned(), Breach::new(*line, what)));
            }
        }
    }
    found
}

/// The files that each file needs, each with a line that says so.
fn needs(modules: &Modules) -> BTreeMap<&str, BTreeMap<&str, usize>> {
    let mut needs: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (own, module) in modules {
        let needed = needs.entry(&module.file).or_default();
        for (path, line) in &module.named {
            if let Some(other) = defining_module(modules, own, path, &mut HashSet::new())
                && !other.starts_with(own)
                && !own.starts_with(&other)
            {
                needed.entry(&modules[&other].file).or_insert(*line);
            }
        }
    }
    needs
}

fn reaches(needs: &BTreeMap<&str, BTreeMap<&str, usize>>, from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
    while let Some(file) = open.pop() {
        if file == to {
            return true;
        }
        for next in needs.get(file).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

/// The module that defines what `path`, named in the module `own`, leads to; `None` if it is not of this crate.
fn defining_module(
    modules: &Modules,
    own: &[String],
    path: &[String],
    seen: &mut HashSet<(Path, String)>,
) -> Option<Path> {
    let (mut at, mut rest) = (own.to_vec(), path);
    while let [first, others @ ..] = rest {
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()?),
            _ => break,
        }
        rest = others;
    }
    loop {
        let module = modules.get(&at)?;
        let [name, others @ ..] = rest else {
            return Some(at);
        };
        if !seen.insert((at.clone(), name.clone())) {
            // A name that is imported by its own name comes from another crate.
            return None;
        }
        at.push(name.clone());
        if modules.contains_key(&at) {
            rest = others;
            continue;
        }
        at.pop();
        if name == "*" || module.defined.contains(name) {
            return Some(at);
        }
        if let Some(origin) = module.imported.get(name) {
            let path: Path = origin.iter().chain(others).cloned().collect();
            return defining_module(modules, &at, &path, seen);
        }
        let opened = module.opened.iter().find_map(|origin| {
            let path: Path = origin.iter().chain(rest).cloned().collect();
            defining_module(modules, &at, &path, seen)
        });
        // A macro may define what is not found in a module of this crate.
        return opened.or_else(|| (rest.len() < path.len()).then_some(at));
    }
}

fn read(source: &Source) -> Module {
    let mut module = Module {
        file: source.path.clone(),
        defined: HashSet::new(),
        imported: HashMap::new(),
        opened: Vec::new(),
        named: Vec::new(),
    };
    let mut children = HashSet::new();
    let mut top = true;
    each_level(&source.code, &mut |tokens| {
        let mut at = 0;
        while at < tokens.len() {
            if let Some(name) = child_at(tokens, at) {
                children.insert(name);
            } else if let Some(name) = item_at(tokens, at) {
                module.defined.insert(name);
            } else if is_word(tokens.get(at), "use") {
                note_use(&mut module, tokens, at, top);
                // Its paths are noted: no other look at them.
                while at + 1 < tokens.len() && !is_punct(tokens.get(at), ';') {
                    at += 1;
                }
            } else if let Some(path) = path_at(tokens, at, &children) {
                module.named.push((path, line_of(&tokens[at])));
            }
            at += 1;
        }
        top = false;
    });
    module
}

/// The name of `mod name;`.
fn child_at(tokens: &[TokenTree], at: usize) -> Option<String> {
    let is_child = is_word(tokens.get(at), "mod") && is_punct(tokens.get(at + 2), ';');
    is_child.then(|| tokens[at + 1].to_string())
}

/// The name of the item whose keyword stands at `at`.
fn item_at(tokens: &[TokenTree], at: usize) -> Option<String> {
    let is_item = ITEMS.iter().any(|word| is_word(tokens.get(at), word));
    match tokens.get(at + 1) {
        Some(TokenTree::Ident(name)) if is_item => Some(name.to_string()),
        _ => None,
    }
}

/// Remembers the paths of a `use`; at the top of the file also the names that they give.
fn note_use(module: &mut Module, tokens: &[TokenTree], at: usize, top: bool) {
    let passed_on = at > 0 && is_visibility(tokens, at - 1);
    for (path, alias) in tree_at(tokens, at + 1) {
        if !passed_on {
            module.named.push((path.clone(), line_of(&tokens[at])));
        }
        match path.split_last() {
            Some((last, modules)) if last == "*" && top => module.opened.push(modules.to_vec()),
            Some(_) if top => drop(module.imported.insert(alias, path)),
            _ => {}
        }
    }
}

/// Whether `pub` or `pub(…)` ends at `at`.
fn is_visibility(tokens: &[TokenTree], at: usize) -> bool {
    let scope = matches!(&tokens[at], TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis);
    is_word(tokens.get(at), "pub") || (scope && at > 0 && is_word(tokens.get(at - 1), "pub"))
}

/// Every path of a `use` tree that begins at `at`, and the name under which it is known.
fn tree_at(tokens: &[TokenTree], mut at: usize) -> Vec<(Path, String)> {
    let mut path = Path::new();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(name)) => path.push(name.to_string()),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => path.push("*".to_owned()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                let branches = inside.split(|token| is_punct(Some(token), ','));
                return branches
                    .flat_map(|branch| tree_at(branch, 0))
                    .map(|(rest, alias)| (below(&path, rest), alias))
                    .collect();
            }
            _ => break,
        }
        at += 1;
        if !is_path_separator(tokens, at) {
            break;
        }
        at += 2;
    }
    let renamed = is_word(tokens.get(at), "as").then(|| tokens.get(at + 1));
    let alias = renamed.flatten().map(ToString::to_string);
    let alias = alias.or_else(|| path.iter().rev().find(|name| *name != "self").cloned());
    alias.map(|alias| (path, alias)).into_iter().collect()
}

/// `rest` below `path`; `self` at its end is `path` itself.
fn below(path: &[String], rest: Path) -> Path {
    let rest = rest.into_iter().filter(|name| name != "self");
    path.iter().cloned().chain(rest).collect()
}

/// The path in an expression or a type that begins at `at`, if it leads to a module by itself: from the crate's
/// root, from this module or from its parent, or from a child.
fn path_at(tokens: &[TokenTree], at: usize, children: &HashSet<String>) -> Option<Path> {
    let Some(TokenTree::Ident(first)) = tokens.get(at) else {
        return None;
    };
    let first = first.to_string();
    let begins = ["crate", "super", "self"].contains(&first.as_str()) || children.contains(&first);
    let follows = at > 1 && is_path_separator(tokens, at - 2);
    // `pub(in path)` needs nothing.
    let scope = at == 1 && is_word(tokens.first(), "in");
    if !begins || follows || scope || !is_path_separator(tokens, at + 1) {
        return None;
    }
    let (path, _) = tree_at(tokens, at).into_iter().next()?;
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::parse(&format!("bench/a/src/{path}"), text))
            .collect::<Result<_, _>>()
            .expect("they are Rust");
        let told = breaches(&sources);
        told.into_iter()
            .map(|(file, breach)| format!("{file}:{} {}", breach.line, breach.what))
            .collect()
    }

    #[test]
    fn files_that_need_each_other_are_told_at_both() {
        let told = circles(&[
            ("lib.rs", "mod one; mod two;"),
            ("one.rs", "use crate::two::B;\npub struct A(B);"),
            ("two.rs", "pub struct B;\nfn a() -> crate::one::A { a() }"),
        ]);
        assert_eq!(
            told,
            [
                "bench/a/src/one.rs:1 needs `bench/a/src/two.rs`, which needs this file in turn",
                "bench/a/src/two.rs:2 needs `bench/a/src/one.rs`, which needs this file in turn",
            ]
        );
    }

    #[test]
    fn a_name_counts_for_the_file_that_defines_it() {
        let files = [
            ("lib.rs", "mod port; mod process;"),
            (
                "port/mod.rs",
                "mod request; pub use request::{Handle as Key, Token}; use crate::process::P;",
            ),
            ("port/request.rs", "pub struct Handle; pub struct Token;"),
            ("process.rs", "use crate::port::{Key, Token}; pub struct P;"),
        ];
        assert_eq!(circles(&files), [""; 0]);
        let own = (
            "port/mod.rs",
            "mod request; pub struct Key; use crate::process::P;",
        );
        assert_eq!(circles(&[files[0], own, files[2], files[3]]).len(), 2);
    }

    #[test]
    fn a_circle_may_be_long_and_a_glob_hides_none() {
        let told = circles(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use super::b::*; pub struct A;"),
            ("b.rs", "pub struct B; fn b() { super::c::c() }"),
            ("c.rs", "use crate::a; pub fn c() { a::A; }"),
        ]);
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn tests_may_need_anything_and_a_module_those_inside_it() {
        let told = circles(&[
            ("lib.rs", "mod a; mod c;"),
            ("a/mod.rs", "mod b; use b::b; pub struct A;"),
            (
                "a/b.rs",
                "use super::A; pub fn b() {} #[cfg(test)] mod tests { use crate::c::C; }",
            ),
            ("c.rs", "use super::a::A; pub struct C;"),
        ]);
        assert_eq!(told, [""; 0]);
    }
}
