//! Process and material paths, from general to special: a prefix is a generalisation.
//!
//! `separating/milling` generalises `separating/milling/5-axis`. Whole segments decide, never parts of a word.
//! People rarely type the whole path, so a search text is looked for anywhere in it ([`Path::covers_query`]).
//! The top level of a process is fixed ([`PROCESS_GROUPS`]); materials are free, because no list of materials
//! fits every plant. Nothing here knows synonyms.

use serde::{Deserialize, Serialize};

/// Top level of every process path: the main groups of DIN 8580, then what plants also do with parts.
pub const PROCESS_GROUPS: [&str; 9] = [
    "primary-shaping",
    "forming",
    "separating",
    "joining",
    "coating",
    "property-change",
    "assembly",
    "inspection",
    "logistics",
];

/// A slash path such as `separating/milling/5-axis`: 1..=8 segments of `[a-z0-9.-]`, 1..=64 characters each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(String);

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a path like separating/milling/5-axis: {0}")]
pub struct PathError(pub String);

impl Path {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// From general to special.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
    /// True if `self` is `general` or a special case of it: whole segments decide.
    #[must_use]
    pub fn is_within(&self, general: &Self) -> bool {
        self.0
            .strip_prefix(general.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
    /// The first segment is one of [`PROCESS_GROUPS`].
    pub fn process(text: &str) -> Result<Self, PathError> {
        let path: Self = text.parse()?;
        path.check_process()?;
        Ok(path)
    }
    /// The rule of [`Self::process`] for a path that is read already.
    pub(crate) fn check_process(&self) -> Result<(), PathError> {
        let top = self.segments().next().unwrap_or_default();
        if PROCESS_GROUPS.contains(&top) {
            return Ok(());
        }
        Err(PathError(format!(
            "{:?} is not a process group; begin with one of {}",
            self.0,
            PROCESS_GROUPS.join(", ")
        )))
    }
    /// True if the segments of `query` stand in this path one after another, beginning anywhere.
    ///
    /// So `milling/5-axis` and `milling` find `separating/milling/5-axis`, and `en-aw-7075` finds
    /// `metal/aluminium/en-aw-7075`. Case and slashes at the ends of the query do not matter. An empty query,
    /// or one with an empty segment inside, names nothing and finds nothing.
    #[must_use]
    pub fn covers_query(&self, query: &str) -> bool {
        let query: Vec<&str> = query_segments(query).collect();
        let path: Vec<&str> = self.segments().collect();
        path.windows(query.len().max(1))
            .any(|window| same(window, &query))
    }
    /// True if this path says less than `query` asks, in the same direction: its end is a beginning of the query.
    ///
    /// `separating/milling` is open about `milling/5-axis`: it may or may not be meant. It is not open about
    /// `5-axis` alone, nor about `turning`.
    #[must_use]
    pub fn is_open_about(&self, query: &str) -> bool {
        let query: Vec<&str> = query_segments(query).collect();
        let path: Vec<&str> = self.segments().collect();
        (1..query.len().min(path.len() + 1)).any(|n| same(&path[path.len() - n..], &query[..n]))
    }
}
impl std::str::FromStr for Path {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        let refused = |why: &str| {
            Err(PathError(format!(
                "{:?} {why}",
                text.chars().take(80).collect::<String>()
            )))
        };
        let mut segments = 0;
        for segment in text.split('/') {
            segments += 1;
            if segments > SEGMENTS_MAX {
                return refused("has more than 8 segments");
            }
            if segment.is_empty() {
                return refused("has an empty segment");
            }
            if segment.len() > SEGMENT_CHARS_MAX {
                return refused("has a segment of more than 64 characters");
            }
            if !segment
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
            {
                return refused("may use only a-z, 0-9, '.' and '-' between slashes");
            }
        }
        Ok(Self(text.to_owned()))
    }
}
impl TryFrom<String> for Path {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}
impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0
    }
}
impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

fn query_segments(query: &str) -> impl Iterator<Item = &str> {
    query
        .trim()
        .trim_matches('/')
        .split('/')
        .take(SEGMENTS_MAX + 1)
}

fn same(path: &[&str], query: &[&str]) -> bool {
    path.len() == query.len()
        && path
            .iter()
            .zip(query)
            .all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// Deep enough for every catalogue we saw (ECLASS has four levels), and a bound for the work of a match.
const SEGMENTS_MAX: usize = 8;
/// Longest segment.
const SEGMENT_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_of_whole_segments_generalises() {
        let cases = [
            ("separating/milling/5-axis", "separating", true),
            ("separating/milling/5-axis", "separating/milling", true),
            (
                "separating/milling/5-axis",
                "separating/milling/5-axis",
                true,
            ),
            ("separating/milling", "separating/milling/5-axis", false),
            ("separating/milling", "separating/mill", false),
            ("separating/milling", "milling", false),
            ("separating", "separating-x", false),
        ];
        for (special, general, expected) in cases {
            assert_eq!(
                path(special).is_within(&path(general)),
                expected,
                "{special} in {general}"
            );
        }
    }

    #[test]
    fn a_query_is_found_anywhere_in_whole_segments() {
        let milling = path("separating/milling/5-axis");
        let cases = [
            ("milling/5-axis", true, false),
            ("milling", true, false),
            ("5-axis", true, false),
            ("separating/milling/5-axis", true, false),
            (" /Milling/5-Axis/ ", true, false),
            ("separating/5-axis", false, false),
            ("axis", false, false),
            ("mill", false, false),
            ("milling/5-axis/large", false, true),
            ("5-axis/large", false, true),
            ("separating/milling/5-axis/large", false, true),
            ("turning/5-axis", false, false),
            ("", false, false),
            ("/", false, false),
            ("milling//5-axis", false, false),
            ("a/b/c/d/e/f/g/h/i/j", false, false),
        ];
        for (query, covers, open) in cases {
            assert_eq!(
                (milling.covers_query(query), milling.is_open_about(query)),
                (covers, open),
                "{query:?}"
            );
        }
        assert!(path("metal/aluminium/en-aw-7075").covers_query("EN-AW-7075"));
        assert!(path("metal/aluminium").is_open_about("metal/aluminium/en-aw-7075"));
        assert!(!path("metal/aluminium").is_open_about("en-aw-7075"));
    }

    #[test]
    fn refusals_name_the_cause() {
        let long = "a".repeat(65);
        let cases = [
            ("", "\"\" has an empty segment"),
            ("/forming", "\"/forming\" has an empty segment"),
            ("forming/", "\"forming/\" has an empty segment"),
            (
                "Forming",
                "\"Forming\" may use only a-z, 0-9, '.' and '-' between slashes",
            ),
            (
                "forming/ö",
                "\"forming/ö\" may use only a-z, 0-9, '.' and '-' between slashes",
            ),
            (
                "a/b/c/d/e/f/g/h/i",
                "\"a/b/c/d/e/f/g/h/i\" has more than 8 segments",
            ),
            (
                &long,
                &format!("\"{long}\" has a segment of more than 64 characters"),
            ),
        ];
        for (text, why) in cases {
            assert_eq!(
                text.parse::<Path>(),
                Err(PathError(why.to_owned())),
                "{text:?}"
            );
        }
        assert!(Path::process("separating/milling").is_ok());
        let error = Path::process("milling/5-axis").unwrap_err().to_string();
        assert!(
            error.contains("\"milling/5-axis\" is not a process group")
                && error.contains("separating"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn paths_are_read_back_and_cover_their_parts(segments in prop::collection::vec("[a-z0-9.-]{1,12}", 1..=8), cut in 0_usize..8) {
            let text = segments.join("/");
            let whole = path(&text);
            prop_assert_eq!(whole.as_str(), text.as_str());
            let cut = cut.min(segments.len() - 1);
            let head = path(&segments[..=cut].join("/"));
            prop_assert!(whole.is_within(&head));
            prop_assert!(whole.covers_query(head.as_str()));
            prop_assert!(whole.covers_query(&segments[cut..].join("/")));
            prop_assert!(head == whole || head.is_open_about(&text));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}", query in "[a-c/ ]{0,12}") {
            let _ = text.parse::<Path>();
            let _ = path("a/b/c").covers_query(&text);
            prop_assert!(!(path("a/b/c").covers_query(&query) && query.trim().trim_matches('/').is_empty()));
            let _ = path("a/b").is_open_about(&query);
        }
    }
}
