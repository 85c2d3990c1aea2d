//! Rules of the code that no lint covers. Each reports the place and the fault.
//!
//! A rule reads one file. Its limits and tables stand at the top of its module. There is no list of exceptions: if a
//! rule makes the code worse, change the rule.

mod changelog;
mod circles;
mod examples;
mod layers;
mod links;
mod module_paths;
mod places;
mod prose;
mod sizes;
mod source;
mod text;

use std::path::Path;

use crate::context::output;
use source::Source;

/// A fault and its line. Line 0 means the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    line: usize,
    what: String,
}

impl Breach {
    fn new(line: usize, what: impl Into<String>) -> Breach {
        Breach {
            line,
            what: what.into(),
        }
    }
}

type Rule = fn(&Source) -> Vec<Breach>;

/// The rules for Rust code. Rules for text are called in [`run`].
const RULES: &[Rule] = &[
    sizes::functions,
    sizes::nesting,
    sizes::files,
    sizes::structs,
    sizes::traits,
    sizes::type_parameters,
    places::unsafe_code,
    places::os_conditions,
    places::os_crates,
    places::clocks,
    places::macros,
    places::ignored_tests,
    layers::order,
    layers::no_logic_at_the_top,
    layers::telling_names,
    module_paths::named_paths,
];

/// Reads the repository at `root`, prints the breaches, and returns whether there were none.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let files = read_all(root)?;
    let mut count = 0;
    let mut report = |path: &str, breaches: Vec<Breach>| {
        for breach in breaches {
            println!("{path}:{}: {}", breach.line, breach.what);
            count += 1;
        }
    };
    for (path, text) in &files {
        report(path, text::private_paths(path, text, root));
        report(path, text::decoration(text));
        report(path, prose::sentences(path, text));
        report(path, links::targets(path, text, &files));
    }
    let sources = source::parse_all(&files)?;
    for source in &sources {
        for rule in RULES {
            report(&source.path, rule(source));
        }
    }
    report("comments", prose::riddles(&files));
    let of_all = circles::breaches(&sources).into_iter();
    let of_all = of_all.chain(module_paths::files_beside_folders(&sources));
    for (path, breach) in of_all.chain(examples::missing(&files)) {
        report(&path, vec![breach]);
    }
    report(
        "crates/tidewaiter/src/lib.rs",
        layers::macro_count(&sources),
    );
    for (path, rule) in DOCUMENTS {
        match files.iter().find(|(other, _)| other == path) {
            Some((_, text)) => report(path, rule(text, &files)),
            None => report(path, vec![Breach::new(0, "is missing")]),
        }
    }
    println!("{} files, {count} breaches", files.len());
    Ok(count == 0)
}

/// A rule for one document; it gets the text of the document, and all files.
type DocumentRule = fn(&str, &[(String, String)]) -> Vec<Breach>;

const DOCUMENTS: &[(&str, DocumentRule)] = &[
    ("CHANGELOG.md", |text, _| changelog::shape(text)),
    ("ARCHITECTURE.md", layers::code_map),
    ("BENCHMARKS.md", |text, _| sizes::summary(text)),
    ("README.md", |_, _| Vec::new()),
    ("CONTRIBUTING.md", |_, _| Vec::new()),
    ("LICENSE-MIT", |_, _| Vec::new()),
    ("LICENSE-APACHE", |_, _| Vec::new()),
];

/// Paths and texts of all text files that are in the repository, or would be after `git add`.
fn read_all(root: &Path) -> Result<Vec<(String, String)>, String> {
    let folder = root
        .to_str()
        .ok_or("the repository's path is not Unicode")?;
    let list = [
        "-C",
        folder,
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let list = output("git", &list).ok_or("`git ls-files` failed")?;
    let mut files = Vec::new();
    for path in list
        .split('\0')
        .filter(|path| !path.is_empty() && *path != "Cargo.lock")
    {
        // Skip files that cannot be read as text: binary files, and deleted files that git still lists.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            files.push((path.to_owned(), text));
        }
    }
    if files.is_empty() {
        return Err("`git ls-files` lists no file".to_owned());
    }
    Ok(files)
}
