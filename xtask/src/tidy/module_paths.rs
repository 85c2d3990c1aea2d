//! A module's file is found by its name: `a::b` is `a/b.rs`, or `a/b/mod.rs` if it has modules of its own.

use proc_macro2::TokenTree;

use super::Breach;
use super::source::{Source, each_level, is_punct, is_word, line_of, words};

/// Whether the file is the root of a test program. Cargo looks for the modules of such a root beside it, where every
/// other file is a test program of its own, so it names their paths. One in a folder names those of other crates' tests.
fn is_test_root(path: &str) -> bool {
    let path = path.strip_suffix("/main.rs").unwrap_or(path);
    path.rsplit_once('/')
        .is_some_and(|(folder, _)| folder.ends_with("/tests"))
}

/// No module names the path of its file.
pub(super) fn named_paths(source: &Source) -> Vec<Breach> {
    if is_test_root(&source.path) {
        return Vec::new();
    }
    let mut found = Vec::new();
    each_level(&source.tokens, &mut |tokens| {
        for at in 0..tokens.len() {
            let (true, Some(TokenTree::Group(group))) =
                (is_punct(tokens.get(at), '#'), tokens.get(at + 1))
            else {
                continue;
            };
            let attribute: Vec<TokenTree> = group.stream().into_iter().collect();
            let names = words(group.stream());
            let conditional = is_word(attribute.first(), "cfg_attr");
            let path = is_word(attribute.first(), "path")
                || conditional && names.iter().any(|word| word == "path");
            if path {
                let what = "a module names its path: give it the name of its file";
                found.push(Breach::new(line_of(&tokens[at]), what));
            }
        }
    });
    found
}

/// A module with modules of its own is the `mod.rs` of their folder, not a file beside it.
pub(super) fn files_beside_folders(sources: &[Source]) -> Vec<(String, Breach)> {
    let paths = || sources.iter().map(|source| source.path.as_str());
    let has_folder = |path: &str| {
        let folder = format!("{}/", path.trim_end_matches(".rs"));
        paths().any(|other| other.starts_with(&folder))
    };
    paths()
        .filter(|path| !is_test_root(path) && has_folder(path))
        .map(|path| {
            let what = "stands beside the folder of its modules: move it to `mod.rs` there";
            (path.to_owned(), Breach::new(0, what))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::parse(path, text).expect("it is Rust")
    }

    #[test]
    fn a_module_with_a_path_is_reported_unless_it_is_a_test_programs() {
        let count = |path: &str, text: &str| named_paths(&source(path, text)).len();
        let path = "crates/a/src/port/mod.rs";
        assert_eq!(count(path, "#[path = \"b/c.rs\"] mod a;"), 1);
        assert_eq!(
            count(path, "#[cfg_attr(windows, path = \"w.rs\")] mod a;"),
            1
        );
        assert_eq!(count(path, "#[cfg(windows)] mod path;"), 0);
        for root in ["crates/a/tests/on_sim.rs", "crates/a/tests/on_sim/main.rs"] {
            assert_eq!(count(root, "#[path = \"sim/model.rs\"] mod model;"), 0);
        }
        let other = "crates/a/tests/on_sim/model.rs";
        assert_eq!(count(other, "#[path = \"sim/model.rs\"] mod model;"), 1);
    }

    #[test]
    fn a_file_beside_its_folder_is_reported() {
        let told = |paths: &[&str]| {
            let sources: Vec<Source> = paths.iter().map(|path| source(path, "")).collect();
            let told = files_beside_folders(&sources).into_iter();
            told.map(|(path, _)| path).collect::<Vec<String>>()
        };
        let both = ["crates/a/src/b.rs", "crates/a/src/b/c.rs"];
        assert_eq!(told(&both), ["crates/a/src/b.rs"]);
        assert_eq!(
            told(&["crates/a/src/b/mod.rs", "crates/a/src/b/c.rs"]),
            [""; 0]
        );
        assert_eq!(
            told(&["crates/a/tests/b.rs", "crates/a/tests/b/c.rs"]),
            [""; 0]
        );
    }
}
