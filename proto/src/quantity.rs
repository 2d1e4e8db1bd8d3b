//! Quantities: decimal strings with at most three decimals, held as integer thousandths, and units.
//!
//! A number that is signed must read the same everywhere, so there is no floating point: a quantity is an
//! `i64` of thousandths and a JSON string (`"37.5"`). Reading accepts signs, leading zeros and exponents
//! (`1E+3`), as spreadsheets and ERP exports write them; writing has exactly one form. What cannot be held
//! exactly is refused, never rounded.
//!
//! Units are codes of UN/ECE Recommendation 20, in one table here. A quantity does not know its unit: the
//! record names it once for a whole series. Nothing here converts between units.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of thousandths; never a float. Displays without trailing zeros ("37.5"), serialises as that string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity(i64);

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// Not a decimal number.
    #[error("not a decimal number like 37.5: {0:?}")]
    NotANumber(String),
    /// More than three decimals that are not zero.
    #[error("more than three decimals, round it first: {0:?}")]
    TooFine(String),
    /// Outside ±9 quadrillion.
    #[error("too large, the limit is 9 quadrillion: {0:?}")]
    TooLarge(String),
}

impl Quantity {
    /// Zero: a value, not "unknown".
    pub const ZERO: Self = Self(0);
    /// From thousandths.
    #[must_use]
    pub const fn from_thousandths(thousandths: i64) -> Self {
        Self(thousandths)
    }
    /// From whole units; `None` on overflow.
    #[must_use]
    pub fn from_units(units: i64) -> Option<Self> {
        units.checked_mul(1000).map(Self)
    }
    /// As thousandths.
    #[must_use]
    pub const fn thousandths(self) -> i64 {
        self.0
    }
    /// True below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
    /// Sum; `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
    /// Difference; `None` on overflow.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;
    /// Reads `12`, `-3.5`, `1E+3`; canonical output has no exponent.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_scaled(text, 3).map(Self).map_err(|why| {
            let shown = text.chars().take(TEXT_CHARS_SHOWN).collect();
            match why {
                Refused::NotANumber => QuantityError::NotANumber(shown),
                Refused::TooFine => QuantityError::TooFine(shown),
                Refused::TooLarge => QuantityError::TooLarge(shown),
            }
        })
    }
}
impl fmt::Display for Quantity {
    /// Canonical form. Width and alignment of the format string apply, so it can stand in a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format_scaled(self.0, 3))
    }
}
impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        deserialize_text(d, "a decimal number as a string, like \"37.5\"")
    }
}

/// A UN/ECE Recommendation 20 unit code that this protocol knows (`HUR`, `H87`, `TNE`, ...): one table in this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(&'static str);

/// The code is not in the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown unit code {0:?}: use a UN/ECE Rec 20 code such as HUR (hour), H87 (piece), KGM, TNE"
)]
pub struct UnitError(pub String);

impl Unit {
    /// Hours.
    pub const HOUR: Self = Self("HUR");
    /// Tonnes.
    pub const TONNE: Self = Self("TNE");
    /// Every unit of the table, by topic.
    pub fn all() -> impl Iterator<Item = Self> {
        UNITS.iter().map(|(code, ..)| Self(code))
    }
    /// The code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0
    }
    /// How people write it next to a number ("h", "t", "pcs").
    #[must_use]
    pub fn symbol(self) -> &'static str {
        self.row().1
    }
    /// English name ("hour").
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }
    fn row(self) -> &'static (&'static str, &'static str, &'static str) {
        UNITS
            .iter()
            .find(|(code, ..)| *code == self.0)
            .expect("a Unit is only made from a code of the table")
    }
}
impl FromStr for Unit {
    type Err = UnitError;
    /// Codes are upper case; symbols are not read, because `m` or `t` mean different things to different people.
    fn from_str(code: &str) -> Result<Self, UnitError> {
        Self::all()
            .find(|unit| unit.0 == code)
            .ok_or_else(|| UnitError(code.chars().take(TEXT_CHARS_SHOWN).collect()))
    }
}
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}
impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0)
    }
}
impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        deserialize_text(d, "a UN/ECE Rec 20 unit code")
    }
}

/// Why [`parse_scaled`] refuses a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    NotANumber,
    TooFine,
    TooLarge,
}

/// Reads a decimal number as an integer of `10^-decimals`, exactly.
///
/// Grammar: `[+-] digits [. digits] [(e|E) [+-] digits]`.
pub(crate) fn parse_scaled(text: &str, decimals: u32) -> Result<i64, Refused> {
    match parse_plain(text, decimals) {
        Some(value) => Ok(value),
        None => parse_any(text, decimals.cast_signed()),
    }
}

/// The short way for what nearly every number looks like: a few digits, perhaps a point and `decimals` more.
fn parse_plain(text: &str, decimals: u32) -> Option<i64> {
    if text.len() > PLAIN_CHARS_MAX {
        return None;
    }
    let mut value = 0_i64;
    let mut digits = 0;
    let mut before_point = None;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                value = value * 10 + i64::from(byte - b'0');
                digits += 1;
            }
            b'.' if before_point.is_none() && digits > 0 => before_point = Some(digits),
            _ => return None,
        }
    }
    let fraction = match before_point {
        None if digits > 0 => 0,
        Some(before) if digits > before => digits - before,
        _ => return None,
    };
    value.checked_mul(10_i64.pow(decimals.checked_sub(fraction)?))
}

fn parse_any(text: &str, decimals: i32) -> Result<i64, Refused> {
    if text.len() > NUMBER_CHARS_MAX {
        return Err(Refused::NotANumber);
    }
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
        Some(_) => return Err(Refused::NotANumber),
        None => (mantissa, ""),
    };
    if !is_digits(whole) {
        return Err(Refused::NotANumber);
    }
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let dropped = digits.len() - digits.trim_end_matches('0').len();
    let small = |count: usize| {
        i32::try_from(count).expect("the text has at most NUMBER_CHARS_MAX characters")
    };
    let zeros = exponent - small(fraction.len()) + small(dropped) + decimals;
    let Ok(zeros) = u32::try_from(zeros) else {
        return Err(Refused::TooFine);
    };
    // 19 digits hold every i64 and fit into i128 with room to spare.
    if significant.len() + zeros as usize > 19 {
        return Err(Refused::TooLarge);
    }
    let value: i128 = significant.parse().map_err(|_| Refused::NotANumber)?;
    let value = value * 10_i128.pow(zeros);
    i64::try_from(if negative { -value } else { value }).map_err(|_| Refused::TooLarge)
}

/// Writes an integer of `10^-decimals` in its one canonical form: no exponent, no trailing zeros, no `-0`.
pub(crate) fn format_scaled(value: i64, decimals: u32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let scale = 10_u64.pow(decimals);
    let (whole, rest) = (value.unsigned_abs() / scale, value.unsigned_abs() % scale);
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{rest:0width$}", width = decimals as usize);
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

/// Deserialises what is written as a string through its `FromStr`, without copying the string.
pub(crate) fn deserialize_text<'de, D, T>(
    deserializer: D,
    expected: &'static str,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(&'static str, PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(expected, PhantomData))
}

/// At most five digits, so that no exponent can overflow the sums above.
fn parse_exponent(text: &str) -> Result<i32, Refused> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !is_digits(digits) {
        return Err(Refused::NotANumber);
    }
    if digits.trim_start_matches('0').len() > 5 {
        return Err(if text.starts_with('-') {
            Refused::TooFine
        } else {
            Refused::TooLarge
        });
    }
    text.parse().map_err(|_| Refused::NotANumber)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Longest text that is read the short way: no overflow while its digits are read.
const PLAIN_CHARS_MAX: usize = 16;
/// Longest text that is tried as a number; the longest useful one has about 25 characters.
const NUMBER_CHARS_MAX: usize = 64;
/// How much of a refused text an error repeats.
const TEXT_CHARS_SHOWN: usize = 80;

/// Code, symbol, name. `KMT` is kilometre (the older `KTM` is not accepted: one unit, one code).
const UNITS: &[(&str, &str, &str)] = &[
    ("HUR", "h", "hour"),
    ("MIN", "min", "minute"),
    ("SEC", "s", "second"),
    ("C26", "ms", "millisecond"),
    ("DAY", "d", "day"),
    ("WEE", "wk", "week"),
    ("MON", "mo", "month"),
    ("ANN", "a", "year"),
    ("LH", "labour h", "labour hour"),
    ("H87", "pcs", "piece"),
    ("EA", "ea", "each"),
    ("C62", "1", "one"),
    ("PR", "pairs", "pair"),
    ("SET", "sets", "set"),
    ("DZN", "doz", "dozen"),
    ("B7", "cycles", "cycle"),
    ("P1", "%", "percent"),
    ("MGM", "mg", "milligram"),
    ("GRM", "g", "gram"),
    ("KGM", "kg", "kilogram"),
    ("TNE", "t", "tonne"),
    ("4H", "µm", "micrometre"),
    ("MMT", "mm", "millimetre"),
    ("CMT", "cm", "centimetre"),
    ("MTR", "m", "metre"),
    ("KMT", "km", "kilometre"),
    ("MMK", "mm²", "square millimetre"),
    ("CMK", "cm²", "square centimetre"),
    ("MTK", "m²", "square metre"),
    ("CMQ", "cm³", "cubic centimetre"),
    ("MTQ", "m³", "cubic metre"),
    ("MLT", "ml", "millilitre"),
    ("LTR", "l", "litre"),
    ("HLT", "hl", "hectolitre"),
    ("MQH", "m³/h", "cubic metre per hour"),
    ("L2", "l/min", "litre per minute"),
    ("2X", "m/min", "metre per minute"),
    ("MTS", "m/s", "metre per second"),
    ("RPM", "1/min", "revolutions per minute"),
    ("HTZ", "Hz", "hertz"),
    ("KWH", "kWh", "kilowatt hour"),
    ("MWH", "MWh", "megawatt hour"),
    ("GV", "GJ", "gigajoule"),
    ("WTT", "W", "watt"),
    ("KWT", "kW", "kilowatt"),
    ("MAW", "MW", "megawatt"),
    ("CEL", "°C", "degree Celsius"),
    ("KEL", "K", "kelvin"),
    ("BAR", "bar", "bar"),
    ("MPA", "MPa", "megapascal"),
    ("NEW", "N", "newton"),
    ("B47", "kN", "kilonewton"),
    ("NU", "N·m", "newton metre"),
    ("KMQ", "kg/m³", "kilogram per cubic metre"),
    ("DD", "°", "degree of angle"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, &'static str> {
        match text.parse::<Quantity>() {
            Ok(quantity) => Ok(quantity.to_string()),
            Err(QuantityError::NotANumber(_)) => Err("not a number"),
            Err(QuantityError::TooFine(_)) => Err("too fine"),
            Err(QuantityError::TooLarge(_)) => Err("too large"),
        }
    }

    #[test]
    fn texts_and_what_they_become() {
        let cases = [
            ("0", Ok("0")),
            ("-0", Ok("0")),
            ("-0.000", Ok("0")),
            ("0E99999", Ok("0")),
            ("37.5", Ok("37.5")),
            ("037.500", Ok("37.5")),
            ("+1", Ok("1")),
            ("-3.5", Ok("-3.5")),
            ("-0.001", Ok("-0.001")),
            ("1E+3", Ok("1000")),
            ("1.5e2", Ok("150")),
            ("1e-3", Ok("0.001")),
            ("1234500E-5", Ok("12.345")),
            ("0.0010000", Ok("0.001")),
            ("9223372036854775.807", Ok("9223372036854775.807")),
            ("-9223372036854775.808", Ok("-9223372036854775.808")),
            ("9223372036854775.808", Err("too large")),
            ("1E+16", Err("too large")),
            ("1E+2147483648", Err("too large")),
            ("0.0001", Err("too fine")),
            ("1e-4", Err("too fine")),
            ("1e-999999999", Err("too fine")),
            ("", Err("not a number")),
            ("-", Err("not a number")),
            (".5", Err("not a number")),
            ("5.", Err("not a number")),
            ("1,5", Err("not a number")),
            ("1e", Err("not a number")),
            ("1e5.0", Err("not a number")),
            ("1.2.3", Err("not a number")),
            ("--1", Err("not a number")),
            (" 1", Err("not a number")),
            ("0x10", Err("not a number")),
            ("NaN", Err("not a number")),
            ("٣", Err("not a number")),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn errors_repeat_a_bounded_part_of_the_text() {
        let Err(error) = "9x".repeat(5_000).parse::<Quantity>() else {
            panic!("accepted")
        };
        assert!(error.to_string().len() < 200, "{error}");
    }

    #[test]
    fn json_is_a_string_and_a_json_number_is_refused() {
        assert_eq!(
            serde_json::to_string(&Quantity::from_thousandths(37_500))
                .ok()
                .as_deref(),
            Some("\"37.5\"")
        );
        assert_eq!(
            serde_json::from_str::<Quantity>("\"1E+3\"").ok(),
            Quantity::from_units(1000)
        );
        for bad in ["37.5", "37", "null", "[]"] {
            assert!(serde_json::from_str::<Quantity>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sums_overflow_into_none() {
        let most = Quantity::from_thousandths(i64::MAX);
        assert_eq!(most.checked_add(Quantity::from_thousandths(1)), None);
        assert_eq!(
            Quantity::from_thousandths(i64::MIN).checked_sub(Quantity::from_thousandths(1)),
            None
        );
        assert_eq!(Quantity::from_units(i64::MAX / 999), None);
    }

    #[test]
    fn units_have_one_code_each() {
        let codes: std::collections::BTreeSet<_> = Unit::all().map(Unit::code).collect();
        let names: std::collections::BTreeSet<_> = Unit::all().map(Unit::name).collect();
        assert_eq!((codes.len(), names.len()), (UNITS.len(), UNITS.len()));
        for unit in Unit::all() {
            assert_eq!(unit.code().parse(), Ok(unit));
        }
        assert_eq!((Unit::HOUR.symbol(), Unit::TONNE.symbol()), ("h", "t"));
        assert_eq!("KMT".parse().map(Unit::name), Ok("kilometre"));
        for bad in ["", "hur", "KTM", "h", "HUR "] {
            assert_eq!(bad.parse::<Unit>(), Err(UnitError(bad.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn the_short_way_reads_what_the_long_way_reads(text in "[-+]?[0-9]{0,18}[.]?[0-9]{0,8}[e.]?", decimals in 0_u32..8) {
            if let Some(value) = parse_plain(&text, decimals) {
                prop_assert_eq!(parse_any(&text, decimals.cast_signed()).ok(), Some(value));
            }
        }

        #[test]
        fn every_quantity_is_read_back(thousandths: i64) {
            let quantity = Quantity::from_thousandths(thousandths);
            let text = quantity.to_string();
            prop_assert_eq!(text.parse(), Ok(quantity));
            prop_assert!(!text.contains('.') || !text.ends_with('0'));
            let json = serde_json::to_value(quantity).unwrap();
            prop_assert_eq!(serde_json::from_value::<Quantity>(json).unwrap(), quantity);
        }

        #[test]
        fn an_exponent_moves_the_point(thousandths in -1_000_000_000_i64..1_000_000_000, exponent in 0_u32..9) {
            let scale = 10_i64.pow(exponent);
            let up = format!("{}E+{exponent}", Quantity::from_thousandths(thousandths)).parse();
            prop_assert_eq!(up, Ok(Quantity::from_thousandths(thousandths * scale)));
            let down = format!("{}e-{exponent}", Quantity::from_thousandths(thousandths * scale)).parse();
            prop_assert_eq!(down, Ok(Quantity::from_thousandths(thousandths)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}", number in "[-+]?[0-9]{0,30}[.]?[0-9]{0,30}([eE][-+]?[0-9]{0,8})?") {
            let _ = text.parse::<Quantity>();
            let _ = text.parse::<Unit>();
            if let Ok(quantity) = number.parse::<Quantity>() {
                prop_assert_eq!(quantity.to_string().parse(), Ok(quantity));
            }
        }
    }
}
