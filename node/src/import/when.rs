//! Weeks and days as spreadsheets write them.
//!
//! Weeks: `2026-W49`, `2026W49`, `KW 49/2026`, `KW49 2026`, and `49/2026` where the column is known to hold weeks.
//! Days: `2026-11-30` and `30.11.2026`, with or without a midnight behind. `11/30/2026` is refused, since
//! `01/02/2026` is two different days in two countries, and so is a week without a year.

use fmesh_proto::week::{Week, WeekError};
use jiff::civil::Date;

/// Reads a week. `marked`: a letter must say that it is one, as `12/2026` may as well be a month. `None`: no week.
pub(super) fn week(text: &str, marked: bool) -> Option<Result<Week, WeekError>> {
    let mut numbers: Vec<&str> = Vec::new();
    let mut mark = None;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let same = |c: char| c.is_ascii_digit() == first.is_ascii_digit() && c.is_alphanumeric();
        let end = if first.is_alphanumeric() {
            rest.find(|c| !same(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, tail) = rest.split_at(end);
        rest = tail;
        if first.is_ascii_digit() {
            numbers.push(token);
        } else if first.is_alphabetic() {
            if mark.replace(token).is_some() || !is_week_word(token) {
                return None;
            }
        } else if !matches!(first, ' ' | '-' | '/' | '.' | '_') {
            return None;
        }
    }
    let (year, number) = match numbers[..] {
        [year, number] if year.len() == 4 && number.len() <= 2 => (year, number),
        [number, year] if year.len() == 4 && number.len() <= 2 => (year, number),
        _ => return None,
    };
    if mark.is_none() && marked {
        return None;
    }
    Some(Week::new(year.parse().ok()?, number.parse().ok()?))
}

fn is_week_word(word: &str) -> bool {
    ["W", "KW", "CW", "WK", "WEEK", "WOCHE"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

/// Reads a day. `None`: no day, or one that can be read in two ways.
pub(super) fn day(text: &str) -> Option<Date> {
    let day = match text.split_once(['T', ' ']) {
        Some((day, time)) => {
            let is_midnight = !time.is_empty()
                && time
                    .bytes()
                    .all(|byte| matches!(byte, b'0' | b':' | b'.' | b'Z'));
            is_midnight.then_some(day)?
        }
        None => text,
    };
    let (separator, reverse) = if day.contains('.') {
        ('.', true)
    } else {
        ('-', false)
    };
    let parts: Vec<&str> = day.split(separator).collect();
    let [first, month, last] = parts[..] else {
        return None;
    };
    let (year, day) = if reverse {
        (last, first)
    } else {
        (first, last)
    };
    let digits = |text: &str, most: usize| {
        (text.len() <= most && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<i16>().ok())
            .flatten()
    };
    if year.len() != 4 {
        return None;
    }
    let (month, day) = (digits(month, 2)?, digits(day, 2)?);
    Date::new(
        digits(year, 4)?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weeks() {
        for text in [
            "2026-W49",
            "2026W49",
            "2026 W49",
            "KW49/2026",
            "KW 49 2026",
            "kw 49/2026",
            "Woche 49 2026",
            "W49.2026",
            "2026-KW49",
            "2026_49w",
        ] {
            let read = week(text, true).map(|week| week.map(|week| week.to_string()));
            assert_eq!(read, Some(Ok("2026-W49".to_owned())), "{text:?}");
        }
        assert_eq!(
            week("9/2027", false).unwrap().unwrap().to_string(),
            "2027-W09"
        );
        assert_eq!(week("9/2027", true), None);
        let error = week("2026-W54", true).unwrap().unwrap_err().to_string();
        assert!(
            error.contains("2026 has 53 weeks, there is no week 54"),
            "{error}"
        );
        assert!(week("KW0/2026", true).unwrap().is_err());
        for text in [
            "",
            "W49",
            "49",
            "2026",
            "KW49/26",
            "2026-W49-1",
            "2026-Q4",
            "total",
            "2026-W049",
            "W W 49 2026",
            "2026+W49",
        ] {
            assert_eq!(week(text, false), None, "{text:?}");
        }
    }

    #[test]
    fn days() {
        for text in [
            "2026-11-30",
            "30.11.2026",
            "2026-11-30T00:00:00",
            "2026-11-30 00:00",
        ] {
            assert_eq!(day(text), Some(jiff::civil::date(2026, 11, 30)), "{text:?}");
        }
        assert_eq!(day("1.2.2026"), Some(jiff::civil::date(2026, 2, 1)));
        for text in [
            "",
            "11/30/2026",
            "30.11.26",
            "31.11.2026",
            "2026-11-30 06:00",
            "2026-11",
            "46356",
            "2026-W49",
            "30-11-2026",
        ] {
            assert_eq!(day(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_week_is_read_back(year in 1_i16..=9999, number in 1_i8..=52) {
            let expected = Week::new(year, number).unwrap();
            for text in [expected.to_string(), format!("KW {number}/{year:04}"), format!("{number:02}.{year:04}")] {
                prop_assert_eq!(week(&text, false), Some(Ok(expected)));
            }
        }
        #[test]
        fn no_text_panics(text in "\\PC{0,16}|[0-9wkWK./ -]{0,12}") {
            let _ = (week(&text, true), week(&text, false), day(&text));
        }
    }
}
