//! The word that was probably meant.

/// The candidate with the fewest single-letter edits from `word`, if it is near enough to be a slip of the pen.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // words are keys from a bounded file, but one key may still be a megabyte
    if word.chars().count() > 64 {
        return None;
    }
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(edits, candidate)| {
            *edits <= (candidate.len() / 2).max(2) || word.starts_with(candidate)
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance: insertions, deletions, replacements.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, edits) in [
            ("", "abc", 3),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn far_words_have_no_match() {
        let keys = ["listen", "announce", "data_dir"];
        assert_eq!(nearest("lsiten", &keys), Some("listen"));
        assert_eq!(nearest("listen_addr", &keys), Some("listen"));
        assert_eq!(nearest("datadir", &keys), Some("data_dir"));
        assert_eq!(nearest("password", &keys), None);
        assert_eq!(nearest(&"x".repeat(1000), &keys), None);
    }
}
