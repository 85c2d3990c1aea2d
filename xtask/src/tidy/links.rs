//! Links in documents: what they point at in this repository must exist.

use super::Breach;

/// Checks the links of a Markdown document to files and folders of the repository.
pub(super) fn targets(path: &str, text: &str, files: &[(String, String)]) -> Vec<Breach> {
    if !path.ends_with(".md") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for target in line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
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
    }
    found
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
    fn only_links_of_documents_to_files_count() {
        let text = "[a](https://example.org) [b](#below) [c](crate::Reactor) [d]: e";
        assert!(lines("README.md", text).is_empty());
        assert!(lines("src/tests/b.rs", "[a](missing)").is_empty());
    }

    #[test]
    fn a_part_of_a_name_is_not_the_file() {
        assert_eq!(lines("README.md", "[a](docs/a) [b](src/test)"), [1, 1]);
    }
}
