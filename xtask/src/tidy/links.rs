//! Links in documents: what they point at in this repository must exist.

use super::Breach;

/// Checks the links of a Markdown document to files and folders of the repository, and to definitions below it.
pub(super) fn targets(path: &str, text: &str, files: &[(String, String)]) -> Vec<Breach> {
    if !path.ends_with(".md") {
        return Vec::new();
    }
    let definitions: Vec<_> = text.lines().filter_map(definition).collect();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let defined = definition(line).map(|(_, target)| target);
        for target in ends(line, "](", ')').chain(defined) {
            let file = target.split('#').next().unwrap_or_default();
            // Other sites, other headings of the document, and items of Rust.
            let elsewhere = file.is_empty() || file.contains(':');
            if !elsewhere && !exists(&resolve(path, file), files) {
                found.push(Breach::new(
                    number + 1,
                    format!("`{target}` does not exist"),
                ));
            }
        }
        let is_name = |name: &&str| name.chars().all(|one| one.is_alphanumeric() || one == '-');
        for name in ends(line, "][", ']').filter(is_name) {
            if !definitions.iter().any(|(other, _)| *other == name) {
                let what = format!("nothing defines the link `[{name}]`");
                found.push(Breach::new(number + 1, what));
            }
        }
    }
    found
}

/// Returns the texts from `start` to `end`.
fn ends<'a>(line: &'a str, start: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    let rests = line.split(start).skip(1);
    rests.filter_map(move |rest| Some(rest.split_once(end)?.0))
}

/// Returns the name and the target of a link that this line defines, as `[name]: target`.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

/// Returns the path from the root of the repository for a link in the document at `path`.
fn resolve(path: &str, target: &str) -> String {
    let mut parts: Vec<_> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether there is such a file, or a folder with files in it.
fn exists(path: &str, files: &[(String, String)]) -> bool {
    let is_it = |other: &str| {
        let rest = other.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    files.iter().any(|(other, _)| is_it(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let files = ["README.md", "docs/a.md", "src/tests/b.rs"];
        let files = files.map(|file| (file.to_owned(), String::new()));
        let breaches = targets(path, text, &files);
        breaches.iter().map(|breach| breach.line).collect()
    }

    #[test]
    fn files_and_folders_that_exist_can_be_linked() {
        let text = "[a](docs/a.md), [b](src/tests)\n[c](src/tests/b.rs#here)\n[d](docs/b.md)";
        assert_eq!(lines("README.md", text), [3]);
        let text = "[a](../README.md) [b](./a.md)\n[c](README.md)";
        assert_eq!(lines("docs/a.md", text), [2]);
    }

    #[test]
    fn links_can_be_defined_below() {
        let text = "[x][a] [y][b]\n[z][c]\n[a]: docs/a.md\n[b]: https://example.org";
        assert_eq!(lines("README.md", text), [2]);
        assert_eq!(lines("README.md", "[a]: docs/b.md"), [1]);
    }

    #[test]
    fn only_links_of_documents_to_files_count() {
        let text = "[a](https://example.org) [b](#below) [c](crate::Reactor)";
        assert!(lines("README.md", text).is_empty());
        assert!(lines("README.md", "`a[b][\"c\"]`").is_empty());
        assert!(lines("src/tests/b.rs", "[a](missing) [a][b]").is_empty());
    }

    #[test]
    fn a_part_of_a_name_is_not_the_file() {
        assert_eq!(lines("README.md", "[a](docs/a) [b](src/test)"), [1, 1]);
    }
}
