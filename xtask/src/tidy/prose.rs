//! Comments that stop a reader: riddles that open with "What", things called "who", sentences without a subject.

use super::Breach;

/// One line of comments in this many may open with "What".
const WHAT_ONE_IN: usize = 200;

/// A comment that opens with one of these lacks its subject, or hides it.
const BAD_OPENINGS: &[&str] = &[
    "Who", "Whoever", "Whom", "Whose", "Of", "To whom", "For who",
];

/// The words for people that "who" may follow.
const PEOPLE: &[&str] = &[
    "anybody",
    "anyone",
    "author",
    "authors",
    "contributor",
    "contributors",
    "everybody",
    "everyone",
    "maintainer",
    "maintainers",
    "nobody",
    "operator",
    "operators",
    "people",
    "person",
    "reader",
    "readers",
    "reviewer",
    "somebody",
    "someone",
    "user",
    "users",
];

/// One line of a comment: its number in the file, its text, and whether the comment begins with it.
struct Line<'a> {
    number: usize,
    text: &'a str,
    opens: bool,
}

/// Comments call only people "who", and open with a subject.
pub(super) fn sentences(path: &str, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    for line in comments(path, text) {
        let opening = BAD_OPENINGS
            .iter()
            .find(|opening| line.opens && starts_with_word(line.text, opening));
        if let Some(opening) = opening {
            let what = format!("a comment opens with `{opening}`: say who does what");
            found.push(Breach::new(line.number, what));
        }
        if let Some(word) = thing_as_person(line.text) {
            let what = format!("`{word}` is for people: name the thing (\"the caller that …\")");
            found.push(Breach::new(line.number, what));
        }
    }
    found
}

/// Few comments of the whole repository open with "What".
pub(super) fn riddles(files: &[(String, String)]) -> Vec<Breach> {
    let (mut all, mut opened) = (0, Vec::new());
    for (path, text) in files {
        for line in comments(path, text) {
            all += 1;
            if line.opens && starts_with_word(line.text, "What") && !line.text.contains('?') {
                opened.push(format!("{path}:{}", line.number));
            }
        }
    }
    let allowed = all / WHAT_ONE_IN;
    if opened.len() <= allowed {
        return Vec::new();
    }
    let count = opened.len();
    let what = format!(
        "{count} comments open with \"What\", more than {allowed}: begin with the thing itself. {}",
        opened.join(" ")
    );
    vec![Breach::new(0, what)]
}

/// The word for a person, if it stands for a thing.
fn thing_as_person(text: &str) -> Option<String> {
    let plain = without_quotes(text);
    let words: Vec<&str> = plain
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '-')
        .filter(|word| !word.is_empty())
        .collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let lower = word.to_lowercase();
        let before = at.checked_sub(1).map(|at| words[at].to_lowercase());
        let person = before.is_some_and(|before| PEOPLE.contains(&before.as_str()));
        let wrong = match lower.as_str() {
            "whoever" | "whom" => true,
            "who" => !person,
            _ => false,
        };
        wrong.then(|| (*word).to_owned())
    })
}

/// The text without the words that it quotes, which may be any.
fn without_quotes(text: &str) -> String {
    let mut parts = text.split(['`', '"']);
    let mut plain = String::new();
    while let Some(part) = parts.next() {
        plain.push_str(part);
        parts.next();
    }
    plain
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
}

/// The lines of comments in a Rust or Python file.
fn comments<'a>(path: &str, text: &'a str) -> Vec<Line<'a>> {
    let markers: &[&str] = match path.rsplit_once('.') {
        Some((_, "rs")) => &["///", "//!", "//"],
        Some((_, "py" | "pyi")) => &["#", "\"\"\""],
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut goes_on = "";
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let marker = markers.iter().find(|marker| line.starts_with(**marker));
        let Some(marker) = marker else {
            goes_on = "";
            continue;
        };
        let text = line[marker.len()..].trim();
        found.push(Line {
            number: at + 1,
            text,
            opens: goes_on != *marker,
        });
        // A paragraph of its own begins like a comment of its own.
        goes_on = if text.is_empty() { "" } else { marker };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(text: &str) -> usize {
        sentences("crates/a/src/lib.rs", text).len()
    }

    #[test]
    fn who_is_a_person() {
        assert_eq!(
            breaches("// The thread that waits.\n/// Users who wait, and anyone who asks."),
            0
        );
        assert_eq!(breaches("// for who has asked the kernel just now"), 1);
        assert_eq!(breaches("x(); /// No comment line: who cares."), 0);
        assert_eq!(breaches("/// Ends it for whoever waits."), 1);
        assert_eq!(
            breaches("/// Names such as `who` and \"whoever\" are no words of ours."),
            0
        );
    }

    #[test]
    fn a_comment_opens_with_its_subject() {
        assert_eq!(
            breaches("// Of relief, an operation's completion tells."),
            1
        );
        assert_eq!(breaches("// The end\n// Of it, and so on."), 0);
        assert_eq!(breaches("//! One.\n//!\n//! Of another one."), 1);
        assert_eq!(breaches("// Offers it."), 0);
    }

    #[test]
    fn few_comments_open_with_what() {
        let file = |text: String| [("a.py".to_owned(), text)];
        let plain = "# The figure.\n\n".repeat(199);
        assert_eq!(riddles(&file(format!("{plain}# What is told.\n"))), []);
        assert_eq!(
            riddles(&file(format!(
                "{plain}# What is told.\n\"\"\"What it is.\"\"\"\n"
            )))
            .len(),
            1
        );
        assert_eq!(riddles(&file("# What is it for?\n".to_owned())), []);
    }
}
