//! Rules for all text: no paths of one machine, no broken relative paths, no banners and no emojis.

use std::path::Path;

use super::Breach;

/// Top-level folders that most systems have. An absolute path below any other folder is private to one machine.
const COMMON_ROOTS: &[&str] = &[
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib64",
    "no",
    "nonexistent",
    "opt",
    "proc",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
];

/// Text names no path of one machine, and no relative path that leads out of the repository or does not exist.
pub(super) fn private_paths(path: &str, text: &str, root: &Path) -> Vec<Breach> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in line.split(|character: char| !is_path_character(character)) {
            if is_private(word) {
                found.push(Breach::new(
                    number + 1,
                    format!("`{word}` is a path of one machine"),
                ));
            }
            // A string in code may be any path. In comments and documents, a relative path names a file of ours.
            let is_code = path.ends_with(".rs") && !line.trim_start().starts_with("//");
            if word.starts_with("../") && !is_code && !leads_somewhere(path, word, root) {
                found.push(Breach::new(
                    number + 1,
                    format!("`{word}` is no path in the repository"),
                ));
            }
        }
    }
    found
}

fn is_path_character(character: char) -> bool {
    character.is_alphanumeric() || "/._-:…".contains(character)
}

/// Whether a path is private, or one in a list separated by colons is.
fn is_private(word: &str) -> bool {
    word.split(':').any(is_private_path)
}

/// Whether an absolute path has two components or more, and the first is not a common folder.
fn is_private_path(path: &str) -> bool {
    let mut parts = path.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(""), Some(root), Some(next)) => {
            let name = |part: &str| part.chars().any(char::is_alphanumeric);
            name(root) && name(next) && !COMMON_ROOTS.contains(&root)
        }
        _ => false,
    }
}

/// Whether a relative path names a file or folder inside the repository.
fn leads_somewhere(path: &str, word: &str, root: &Path) -> bool {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in word.trim_end_matches(['.', ':']).split('/') {
        match part {
            ".." if parts.pop().is_none() => return false,
            ".." | "." | "" => {}
            name => parts.push(name),
        }
    }
    root.join(parts.join("/")).exists()
}

/// Comments have no banners, and text has no emojis.
pub(super) fn decoration(text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let banner = line.trim_start().strip_prefix("//").is_some_and(|comment| {
            let rules = |character: &char| "=-*#~".contains(*character);
            comment.trim_start().chars().take_while(rules).count() >= 4
        });
        if banner {
            found.push(Breach::new(
                number + 1,
                "a banner: structure the code instead",
            ));
        }
        if line
            .chars()
            .any(|character| matches!(character, '\u{2600}'..='\u{27bf}' | '\u{1f000}'..))
        {
            found.push(Breach::new(number + 1, "an emoji"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask is in the repository")
    }

    #[test]
    fn paths_of_one_machine_are_refused() {
        let good = "see https://example.org/a/b, /usr/bin/env, and/or/not, `/metrics`, // a/b/c";
        assert_eq!(private_paths("README.md", good, root()), []);
        assert_eq!(private_paths("README.md", "PATH=/bin:/usr/bin", root()), []);
        let bad = format!("see `/{}/notes.md`", "elsewhere");
        assert_eq!(private_paths("README.md", &bad, root()).len(), 1);
        let bad = format!("PATH=/bin:/{}/bin", "elsewhere");
        assert_eq!(private_paths("README.md", &bad, root()).len(), 1);
    }

    #[test]
    fn relative_paths_must_exist_in_the_repository() {
        let path = "xtask/src/main.rs";
        assert_eq!(
            private_paths(path, "// see ../windows/bcryptprimitives.c.", root()),
            []
        );
        assert_eq!(
            private_paths(path, "run(\"../no/such/program\")", root()),
            []
        );
        let nowhere = format!("// see {}/design.md", "../shared");
        assert_eq!(private_paths(path, &nowhere, root()).len(), 1);
        let outside = format!("see {}/x", "..");
        assert_eq!(private_paths("README.md", &outside, root()).len(), 1);
    }

    #[test]
    fn banners_and_emojis_are_refused() {
        assert_eq!(
            decoration("// A list:\n// - one\n/// | a | b |\nlet a = b; // why\n"),
            []
        );
        assert_eq!(decoration(&format!("// {}\n", "=".repeat(20))).len(), 1);
        assert_eq!(decoration("done \u{1f389}\n").len(), 1);
    }
}
