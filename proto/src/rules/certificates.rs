//! Does a site hold a certificate on a day? (RECORDS.md, "Search")
//!
//! A certificate that does not say how long it lasts is unknown, not valid. One that does not say since when is
//! taken as begun, because a site lists what it holds. Whether the issuer really issued it is not known here.

use jiff::civil::Date;

use crate::kinds::{Certificate, Slot};

/// The answer for one wanted type on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Valid, up to and including this day.
    Valid {
        /// Its last day.
        until: Date,
    },
    /// One of that type is listed without an end.
    NoEnd,
    /// Certificates are withheld from this reader, or the site does not state them.
    Unknown {
        /// True if the circle does not show them.
        withheld: bool,
    },
    /// One of that type begins later.
    NotYet {
        /// Its first day.
        from: Date,
    },
    /// The last one of that type has ended.
    Expired {
        /// Its last day.
        until: Date,
    },
    /// None of that type is listed.
    Missing,
}
impl Held {
    /// True for what a search may count on.
    #[must_use]
    pub fn is_valid(self) -> bool {
        matches!(self, Self::Valid { .. })
    }
    /// True if it may turn out either way: ask the site.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        matches!(self, Self::NoEnd | Self::Unknown { .. })
    }
    /// Larger is better; among equals the later day is.
    fn rank(self) -> (u8, Option<Date>) {
        match self {
            Self::Valid { until } => (5, Some(until)),
            Self::NoEnd => (4, None),
            Self::Unknown { .. } => (3, None),
            Self::NotYet { .. } => (2, None),
            Self::Expired { until } => (1, Some(until)),
            Self::Missing => (0, None),
        }
    }
}

/// Looks for a certificate of type `wanted` that is valid on `day`; of several the one that lasts longest counts.
///
/// Types are compared word by word, without case and punctuation: `iso9001` finds `DIN EN ISO 9001:2015`, and
/// `ISO 900` does not.
#[must_use]
pub fn held(certificates: &Slot<Vec<Certificate>>, wanted: &str, day: Date) -> Held {
    let certificates = match certificates {
        Slot::Withheld => return Held::Unknown { withheld: true },
        Slot::Unknown => return Held::Unknown { withheld: false },
        Slot::Known(certificates) => certificates,
    };
    certificates
        .iter()
        .filter(|certificate| is_type(&certificate.r#type, wanted))
        .map(|certificate| on(certificate, day))
        .max_by_key(|held| held.rank())
        .unwrap_or(Held::Missing)
}

/// One certificate on one day.
#[must_use]
pub fn on(certificate: &Certificate, day: Date) -> Held {
    match (certificate.valid_from, certificate.valid_until) {
        (_, Some(until)) if until < day => Held::Expired { until },
        (Some(from), _) if from > day => Held::NotYet { from },
        (_, Some(until)) => Held::Valid { until },
        (_, None) => Held::NoEnd,
    }
}

/// True if the words of `wanted` stand in `listed` one after another.
#[must_use]
pub fn is_type(listed: &str, wanted: &str) -> bool {
    let (listed, wanted) = (words(listed), words(wanted));
    !wanted.is_empty() && listed.windows(wanted.len()).any(|window| window == wanted)
}

/// Runs of letters and runs of digits, in lower case.
fn words(text: &str) -> Vec<String> {
    let class = |c: char| (c.is_alphabetic(), c.is_numeric());
    let mut words: Vec<String> = Vec::new();
    let mut last = (false, false);
    for c in text.chars() {
        let now = class(c);
        if now != (false, false) {
            if now != last {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        last = now;
    }
    words
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn certificate(r#type: &str, from: Option<Date>, until: Option<Date>) -> Certificate {
        Certificate {
            r#type: r#type.to_owned(),
            registration_number: None,
            issuer: None,
            valid_from: from,
            valid_until: until,
            area: None,
        }
    }

    #[test]
    fn on_a_day() {
        let (first, last) = (date(2025, 1, 1), date(2027, 6, 30));
        let full = || certificate("ISO 9001", Some(first), Some(last));
        let later = certificate(
            "ISO 9001:2015",
            Some(date(2027, 7, 1)),
            Some(date(2030, 6, 30)),
        );
        let cases = [
            (vec![full()], first, Held::Valid { until: last }),
            (vec![full()], last, Held::Valid { until: last }),
            (
                vec![full()],
                date(2024, 12, 31),
                Held::NotYet { from: first },
            ),
            (
                vec![full()],
                date(2027, 7, 1),
                Held::Expired { until: last },
            ),
            (
                vec![full(), later.clone()],
                date(2027, 7, 1),
                Held::Valid {
                    until: date(2030, 6, 30),
                },
            ),
            (vec![full(), later], last, Held::Valid { until: last }),
            (
                vec![certificate("ISO 9001", None, Some(last))],
                first,
                Held::Valid { until: last },
            ),
            (
                vec![certificate("ISO 9001", Some(first), None)],
                last,
                Held::NoEnd,
            ),
            (
                vec![certificate("ISO 9001", Some(first), None)],
                date(2024, 1, 1),
                Held::NotYet { from: first },
            ),
            (
                vec![certificate("ISO 9001", None, None), full()],
                date(2028, 1, 1),
                Held::NoEnd,
            ),
            (
                vec![certificate("ISO 14001", None, Some(last))],
                first,
                Held::Missing,
            ),
            (vec![], first, Held::Missing),
        ];
        for (certificates, day, expected) in cases {
            let shown = format!("{certificates:?} {day}");
            assert_eq!(
                held(&Slot::Known(certificates), "iso 9001", day),
                expected,
                "{shown}"
            );
        }
        assert_eq!(
            held(&Slot::Withheld, "iso 9001", first),
            Held::Unknown { withheld: true }
        );
        assert_eq!(
            held(&Slot::Unknown, "iso 9001", first),
            Held::Unknown { withheld: false }
        );
    }

    #[test]
    fn types_are_compared_by_words() {
        let cases = [
            ("ISO 9001", "iso9001", true),
            ("DIN EN ISO 9001:2015", "ISO 9001", true),
            ("DIN EN ISO 9001:2015", "9001", true),
            ("EN 9100", "en-9100", true),
            ("ISO 9001", "ISO 900", false),
            ("ISO 9001", "ISO 9001:2015", false),
            ("ISO 14001", "ISO 9001", false),
            ("ISO/TS 9001", "ISO 9001", false),
            ("ISO 9001", "", false),
            ("ISO 9001", "-", false),
        ];
        for (listed, wanted, expected) in cases {
            assert_eq!(is_type(listed, wanted), expected, "{wanted} in {listed}");
        }
    }

    proptest! {
        #[test]
        fn every_type_finds_itself(text in "\\PC{0,30}") {
            prop_assert_eq!(is_type(&text, &text), text.chars().any(|c| c.is_alphabetic() || c.is_numeric()));
        }
    }
}
