//! The structure of CHANGELOG.md: the newest version comes first, and each version has the same four groups.

use super::Breach;

/// The groups in their order. A version leaves out empty groups.
const GROUPS: &[&str] = &["Safety", "Performance", "Features", "Internals"];

const UNRELEASED: &str = "Unreleased";

/// Checks the order of the headings, and that no group is empty.
pub(super) fn shape(text: &str) -> Vec<Breach> {
    let mut state = State::default();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Err(what) = state.read(line) {
            found.push(Breach::new(number + 1, what));
        }
    }
    if state.title.is_none() {
        found.push(Breach::new(1, "the first line is `# Changelog`"));
    }
    if let Err(what) = state.leave_group() {
        found.push(Breach::new(text.lines().count(), what));
    }
    found
}

#[derive(Debug, Default)]
struct State {
    title: Option<()>,
    /// The last version above this line.
    version: Option<Vec<u64>>,
    group: Option<usize>,
    entries: usize,
}

impl State {
    fn read(&mut self, line: &str) -> Result<(), String> {
        if let Some(group) = line.strip_prefix("### ") {
            self.enter_group(group)
        } else if let Some(version) = line.strip_prefix("## ") {
            self.leave_group()?;
            self.group = None;
            self.enter_version(version)
        } else if line.starts_with("# ") {
            self.title = (line == "# Changelog").then_some(());
            Ok(())
        } else if line.starts_with("- ") && self.group.is_none() {
            Err("an entry outside a group".to_owned())
        } else {
            self.entries += usize::from(line.starts_with("- "));
            Ok(())
        }
    }

    fn enter_group(&mut self, name: &str) -> Result<(), String> {
        self.leave_group()?;
        let place = GROUPS.iter().position(|group| *group == name);
        let place = place.ok_or_else(|| format!("`{name}` is not one of {}", GROUPS.join(", ")))?;
        let before = self.group.replace(place);
        self.entries = 0;
        if before.is_some_and(|before| before >= place) {
            return Err(format!("`{name}` is out of order: {}", GROUPS.join(", ")));
        }
        Ok(())
    }

    fn leave_group(&self) -> Result<(), String> {
        match self.group {
            Some(place) if self.entries == 0 => Err(format!("`{}` is empty", GROUPS[place])),
            _ => Ok(()),
        }
    }

    fn enter_version(&mut self, heading: &str) -> Result<(), String> {
        if heading == UNRELEASED {
            return match self.version {
                None => Ok(()),
                Some(_) => Err(format!("`{UNRELEASED}` must come first")),
            };
        }
        let version = released(heading).ok_or_else(|| {
            format!("`{heading}` is not like `1.2.3 (2026-01-31)` or `{UNRELEASED}`")
        })?;
        let before = self.version.replace(version.clone());
        if before.is_some_and(|before| before <= version) {
            return Err(format!("`{heading}`: the newest version must come first"));
        }
        Ok(())
    }
}

/// The version numbers in a heading such as `1.2.3 (2026-01-31)`.
fn released(heading: &str) -> Option<Vec<u64>> {
    let (version, date) = heading.split_once(' ')?;
    let date = date.strip_prefix('(')?.strip_suffix(')')?;
    let lengths: Vec<usize> = date.split('-').map(str::len).collect();
    let digits = date
        .chars()
        .all(|character| character.is_ascii_digit() || character == '-');
    if lengths != [4, 2, 2] || !digits {
        return None;
    }
    let numbers: Vec<u64> = version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    (numbers.len() == 3 && version.split('.').count() == 3).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_changelog_passes() {
        let text = "# Changelog\n\n## Unreleased\n\n### Safety\n\n- a\n  and more\n\n### Features\n\n\
                    - b\n\n## 0.10.0 (2026-11-23)\n\n### Internals\n\n- c\n\n## 0.9.0 (2026-10-01)\n";
        assert_eq!(shape(text), []);
    }

    #[test]
    fn each_fault_is_reported() {
        let version = "# Changelog\n## 0.1.0 (2026-11-23)\n";
        for (fault, text) in [
            ("no title", "## Unreleased\n".to_owned()),
            ("unknown group", format!("{version}### Fixed\n- a\n")),
            (
                "order of groups",
                format!("{version}### Features\n- a\n### Safety\n- b\n"),
            ),
            (
                "twice",
                format!("{version}### Safety\n- a\n### Safety\n- b\n"),
            ),
            ("empty group", format!("{version}### Safety\n")),
            (
                "empty group before another",
                format!("{version}### Safety\n### Features\n- b\n"),
            ),
            ("entry without a group", format!("{version}- a\n")),
            (
                "order of versions",
                format!("{version}## 0.2.0 (2026-12-01)\n"),
            ),
            ("unreleased last", format!("{version}## Unreleased\n")),
            ("no date", "# Changelog\n## 0.1.0\n".to_owned()),
            (
                "odd version",
                "# Changelog\n## 0.1 (2026-11-23)\n".to_owned(),
            ),
        ] {
            assert_ne!(shape(&text), [], "{fault}");
        }
    }
}
