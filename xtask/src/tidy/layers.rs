//! The library's layers, in the order in which data passes them from the OS to the user.

use proc_macro2::TokenTree;

use super::Breach;
use super::source::{Source, each_level, is_path_separator, is_punct, is_word, line_of};

const LIBRARY: &str = "crates/tidewaiter/src/";

/// The layers, lowest first. A module may name modules of its own layer and of lower ones. To call a higher layer, it
/// defines a trait that the higher layer implements.
const LAYERS: &[&[&str]] = &[
    &["panics"],
    &["os"],
    &["endpoint"],
    &["process"],
    &["port"],
    &["error"],
    &["spans"],
    &["reactor"],
    &["transport"],
    &["io"],
    &["frames"],
    &["broadcast"],
    &["simulate"],
    &["guide"],
];

/// File names that say nothing about the contents.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "misc", "tools",
];

const MACROS_MAX: usize = 3;

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

/// A module names only modules of its own layer and of lower ones.
pub(super) fn order(source: &Source) -> Vec<Breach> {
    let Some(own) = source
        .path
        .starts_with(LIBRARY)
        .then(|| source.modules())
        .flatten()
    else {
        return Vec::new();
    };
    let Some(module) = own.first() else {
        return Vec::new();
    };
    let Some(own_layer) = layer(module) else {
        return vec![Breach::new(
            0,
            format!("module `{module}` is missing in the table of layers in xtask"),
        )];
    };
    let mut found = Vec::new();
    each_level(&source.code, &mut |tokens| {
        for at in 0..tokens.len() {
            let Some(path) = root_at(tokens, at, own.len()) else {
                continue;
            };
            for name in names_at(tokens, path) {
                let what = match layer(&name) {
                    None => format!("`crate::{name}` is no module: use the path of its module"),
                    Some(other) if other > own_layer => {
                        format!("`{module}` names `{name}`, which is a higher layer")
                    }
                    Some(_) => continue,
                };
                found.push(Breach::new(line_of(&tokens[at]), what));
            }
        }
    });
    found
}

/// The position after `crate::`, or after as many `super::` as lead to the root of the crate.
fn root_at(tokens: &[TokenTree], at: usize, depth: usize) -> Option<usize> {
    if is_word(tokens.get(at), "crate") && is_path_separator(tokens, at + 1) {
        return Some(at + 3);
    }
    let follows = at > 1 && is_path_separator(tokens, at - 2);
    let climbs = |step: usize| {
        is_word(tokens.get(at + 3 * step), "super") && is_path_separator(tokens, at + 3 * step + 1)
    };
    (depth > 0 && !follows && (0..depth).all(climbs)).then_some(at + 3 * depth)
}

/// The first name of a path, or those of `{a::b, c}`.
fn names_at(tokens: &[TokenTree], at: usize) -> Vec<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(name)) => vec![name.to_string()],
        Some(TokenTree::Group(group)) => {
            let inside: Vec<TokenTree> = group.stream().into_iter().collect();
            let first_of_path = |&at: &usize| at == 0 || is_punct(inside.get(at - 1), ',');
            (0..inside.len())
                .filter(first_of_path)
                .flat_map(|at| names_at(&inside, at))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// `lib.rs` contains only declarations and re-exports.
pub(super) fn no_logic_at_the_top(source: &Source) -> Vec<Breach> {
    if source.path != format!("{LIBRARY}lib.rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    each_level(&source.code, &mut |tokens| {
        for token in tokens {
            let logic = ["fn", "impl", "macro_rules"]
                .iter()
                .any(|word| is_word(Some(token), word));
            if logic {
                found.push(Breach::new(line_of(token), format!("`{token}` in lib.rs")));
            }
        }
    });
    found
}

/// The name of a file says what is in it.
pub(super) fn telling_names(source: &Source) -> Vec<Breach> {
    let modules = source.modules().unwrap_or_default();
    let empty = modules
        .into_iter()
        .filter(|name| EMPTY_NAMES.contains(name));
    empty
        .map(|name| Breach::new(0, format!("`{name}` says nothing about the contents")))
        .collect()
}

/// The library has few macros, because macros hide where names come from.
pub(super) fn macro_count(sources: &[Source]) -> Vec<Breach> {
    let mut count = 0;
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with(LIBRARY))
    {
        each_level(&source.code, &mut |tokens| {
            let is_macro = |token: &&TokenTree| is_word(Some(token), "macro_rules");
            count += tokens.iter().filter(is_macro).count();
        });
    }
    if count <= MACROS_MAX {
        return Vec::new();
    }
    vec![Breach::new(
        0,
        format!("the library has {count} macros, more than {MACROS_MAX}"),
    )]
}

/// ARCHITECTURE.md names every top-level module of the library.
pub(super) fn code_map(page: &str, files: &[(String, String)]) -> Vec<Breach> {
    let mut modules: Vec<&str> = files
        .iter()
        .filter_map(|(path, _)| path.strip_prefix(LIBRARY)?.strip_suffix(".rs"))
        .filter_map(|path| path.split('/').next())
        .filter(|name| *name != "lib")
        .collect();
    modules.dedup();
    let named =
        |name: &str| page.contains(&format!("{name}/")) || page.contains(&format!("{name}.rs"));
    modules
        .into_iter()
        .filter(|name| !named(name))
        .map(|name| Breach::new(0, format!("does not mention the module `{name}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> Vec<Breach> {
        order(&Source::parse(path, text).expect("it is Rust"))
    }

    #[test]
    fn a_module_names_only_what_stands_before_it() {
        let path = "crates/tidewaiter/src/reactor/turn.rs";
        assert_eq!(
            breaches(path, "use crate::{port::Port, reactor::Timers};"),
            []
        );
        assert_eq!(breaches(path, "use crate::protocol::Protocol;").len(), 1);
        assert_eq!(
            breaches(path, "use crate::{port::Port, transport::{A, B}};").len(),
            1
        );
        assert_eq!(
            breaches(path, "fn a() { crate::protocol::lost() }").len(),
            1
        );
        assert_eq!(
            breaches(path, "#[cfg(test)] mod tests { use crate::protocol::A; }"),
            []
        );
    }

    #[test]
    fn paths_through_super_are_checked_too() {
        let path = "crates/tidewaiter/src/port/mod.rs";
        assert_eq!(breaches(path, "use super::reactor::Reactor;").len(), 1);
        let path = "crates/tidewaiter/src/port/table.rs";
        assert_eq!(
            breaches(path, "use super::super::reactor::Reactor;").len(),
            1
        );
        assert_eq!(breaches(path, "use super::request::Handle;"), []);
    }

    #[test]
    fn a_module_without_a_layer_is_reported() {
        assert_eq!(breaches("crates/tidewaiter/src/new.rs", "").len(), 1);
        let path = "crates/tidewaiter/src/reactor/mod.rs";
        assert_eq!(breaches(path, "use crate::Port;").len(), 1);
        assert_eq!(
            breaches("crates/tidewaiter/src/lib.rs", "pub use crate::task::A;"),
            []
        );
    }

    #[test]
    fn lib_rs_contains_no_logic() {
        let source =
            |text| Source::parse("crates/tidewaiter/src/lib.rs", text).expect("it is Rust");
        assert_eq!(
            no_logic_at_the_top(&source("pub mod port; pub use port::Port;")),
            []
        );
        assert_eq!(
            no_logic_at_the_top(&source("pub mod port; fn a() {}")).len(),
            1
        );
    }

    #[test]
    fn a_name_that_says_nothing_is_refused() {
        let source = |path| Source::parse(path, "").expect("it is Rust");
        assert_eq!(
            telling_names(&source("crates/tidewaiter/src/port/table.rs")),
            []
        );
        assert_eq!(
            telling_names(&source("crates/tidewaiter/src/port/utils.rs")).len(),
            1
        );
        assert_eq!(
            telling_names(&source("crates/tidewaiter-cli/src/common/mod.rs")).len(),
            1
        );
    }

    #[test]
    fn the_library_has_few_macros() {
        let source = |count| {
            let text = "macro_rules! a { () => {} }\n".repeat(count);
            [Source::parse("crates/tidewaiter/src/port/mod.rs", &text).expect("it is Rust")]
        };
        assert_eq!(macro_count(&source(3)), []);
        assert_eq!(macro_count(&source(4)).len(), 1);
    }

    #[test]
    fn the_code_map_names_every_module() {
        let file = |path: &str| (format!("{LIBRARY}{path}"), String::new());
        let files = [
            file("lib.rs"),
            file("port/mod.rs"),
            file("port/open.rs"),
            file("time.rs"),
        ];
        assert_eq!(code_map("port/ is first, then time.rs", &files), []);
        assert_eq!(code_map("port/ is first", &files).len(), 1);
    }
}
