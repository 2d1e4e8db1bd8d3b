//! Numbers, times and names in words, as a person reads them in a table.

use fmesh_proto::id::grouped;
use jiff::Timestamp;

use crate::api::view::{Amount, Shown};

/// How long, in its largest unit: `40 s`, `6 min`, `3 h`, `12 d`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5_400 => format!("{} min", (seconds + 30) / 60),
        5_400..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} d", (seconds + 43_200) / 86_400),
    }
}

/// How long ago: `6 min ago`; what lies ahead is said, too: `in 3 d`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    match seconds {
        -4..5 => "just now".to_owned(),
        5.. => format!("{} ago", duration(seconds.unsigned_abs())),
        _ => format!("in {}", duration(seconds.unsigned_abs())),
    }
}

/// A number with its unit: `37 h`; the unit is missing if its author withholds it.
pub(crate) fn amount(amount: &Amount) -> String {
    match amount.unit {
        Some(unit) => format!("{} {}", amount.value, unit.symbol()),
        None => amount.value.to_string(),
    }
}

/// A value, or the word for its absence. Never a zero.
pub(crate) fn shown<T>(value: &Shown<T>, text: impl FnOnce(&T) -> String) -> String {
    match value {
        Shown::Known(value) => text(value),
        Shown::Unknown => "unknown".to_owned(),
        Shown::Withheld => "withheld".to_owned(),
    }
}

/// The same in narrow columns: `?` unknown, `-` withheld.
pub(crate) fn shown_short<T>(value: &Shown<T>, text: impl FnOnce(&T) -> String) -> String {
    match value {
        Shown::Known(value) => text(value),
        Shown::Unknown => "?".to_owned(),
        Shown::Withheld => "-".to_owned(),
    }
}

/// A fingerprint as people compare it: groups of four.
pub(crate) fn fingerprint(hex: &str) -> String {
    grouped(hex)
}

/// The beginning of a fingerprint, for tables: `a3f1 09bc`.
pub(crate) fn fingerprint_short(hex: &str) -> String {
    grouped(hex.get(..8).unwrap_or(hex))
}

/// `1 record`, `2 records`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// Bytes in the unit that gives two or three digits.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if n < 1_000 {
        return format!("{n} B");
    }
    let mut value = n / 1_000;
    let mut unit = 0;
    while value >= 1_000 && unit + 1 < UNITS.len() {
        value /= 1_000;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

/// A list, or a dash.
pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        return "-".to_owned();
    }
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A text as one line that cannot steer a terminal: names come from partners.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return text.to_owned();
    }
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '\n' | '\t' => out.push(' '),
                c if steers(c) => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ages_read_like_speech() {
        for (seconds, text) in [
            (0, "0 s"),
            (89, "89 s"),
            (90, "2 min"),
            (360, "6 min"),
            (5_399, "90 min"),
            (10_800, "3 h"),
            (172_800, "2 d"),
            (1_036_800, "12 d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |s: i64| Timestamp::from_second(1_000_000 - s).unwrap();
        assert_eq!(age(at(360), now), "6 min ago");
        assert_eq!(age(at(2), now), "just now");
        assert_eq!(age(at(-7_200), now), "in 2 h");
    }

    #[test]
    fn absence_has_words_and_is_never_zero() {
        let known = Shown::Known(0_u8);
        assert_eq!(shown(&known, u8::to_string), "0");
        assert_eq!(shown(&Shown::<u8>::Unknown, u8::to_string), "unknown");
        assert_eq!(shown(&Shown::<u8>::Withheld, u8::to_string), "withheld");
        assert_eq!(shown_short(&Shown::<u8>::Unknown, u8::to_string), "?");
        assert_eq!(list::<u8>(&[]), "-");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("Bolt Nord ä"), "Bolt Nord ä");
        assert_eq!(
            printable("a\x1b]0;x\x07\nb\u{202e}c"),
            "a\\u{1b}]0;x\\u{7} b\\u{202e}c"
        );
    }

    #[test]
    fn sizes() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_500, "1 kB"),
            (212_000_000, "212 MB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(fingerprint_short("a3f109bcdd"), "a3f1 09bc");
        assert_eq!(fingerprint_short("a3"), "a3");
        assert_eq!(
            (count(1, "record"), count(0, "record")),
            ("1 record".into(), "0 records".into())
        );
    }
}
