//! From a file to text: size, kind by content, encoding.
//!
//! The end of a file's name is not asked: exports are called `.txt`, `.csv` and `.xls` as it pleases. Text without
//! a byte order mark is UTF-8 if it is valid UTF-8, UTF-16 if every other byte is zero, and else Windows-1252, which
//! is what Excel and ERP systems write in western and central Europe. Bytes that Windows-1252 does not have, and
//! control characters, say that it is no text, or text in an encoding that cannot be guessed.

use std::{fs::File, io::Read as _, path::Path};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::{FILE_BYTES_MAX, ImportError};

/// Decoded text and what it was encoded in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) encoding: &'static str,
}

/// What a file is, by its first bytes.
#[derive(Debug)]
pub(super) enum Content {
    Text(Text),
    Calendar(Text),
    Workbook,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, ImportError> {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(too_large(bytes.len() as u64));
        }
        if bytes.starts_with(b"PK\x03\x04") {
            return Ok(Self::Workbook);
        }
        if bytes.starts_with(b"\xd0\xcf\x11\xe0") {
            return Err(ImportError::file(
                "this is a workbook of Excel 97 to 2003, or one with a password",
                "open it and save it as .xlsx without a password, or as .csv",
            ));
        }
        let text = decode(bytes)?;
        let start = text.text.trim_start();
        if start.is_empty() {
            return Err(ImportError::file(
                "the file is empty",
                "check that the export was finished and that this is the right file",
            ));
        }
        let is_calendar = start
            .get(..15)
            .is_some_and(|begin| begin.eq_ignore_ascii_case("BEGIN:VCALENDAR"));
        Ok(match is_calendar {
            true => Self::Calendar(text),
            false => Self::Text(text),
        })
    }
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, ImportError> {
    let io = |source| ImportError::Io {
        path: path.display().to_string(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let announced = file.metadata().map_err(io)?.len();
    if announced > FILE_BYTES_MAX {
        return Err(too_large(announced));
    }
    // A pipe announces nothing, and a file may grow while it is read.
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

fn too_large(bytes: u64) -> ImportError {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    ImportError::file(
        format!(
            "the file has {} MiB, the limit is {} MiB",
            mib(bytes),
            mib(FILE_BYTES_MAX)
        ),
        "check that this is the right file, or split it",
    )
}

fn decode(bytes: &[u8]) -> Result<Text, ImportError> {
    let (encoding, rest) = match Encoding::for_bom(bytes) {
        Some((encoding, length)) => (encoding, &bytes[length..]),
        None => (guess(bytes), bytes),
    };
    let (text, broken) = encoding.decode_without_bom_handling(rest);
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if broken || text.chars().any(is_control) {
        return Err(ImportError::file(
            format!(
                "this is no spreadsheet, calendar or text: read as {}, it has characters that no text has",
                encoding.name()
            ),
            "give a .csv, .xlsx or .ics file; save text as UTF-8",
        ));
    }
    Ok(Text {
        text: text.into_owned(),
        encoding: encoding.name(),
    })
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let head = &bytes[..bytes.len().min(256) & !1];
    let zeros = |odd| {
        head.iter()
            .skip(odd)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let most = head.len() / 4 + 1;
    if zeros(1) >= most && zeros(0) == 0 {
        UTF_16LE
    } else if zeros(0) >= most && zeros(1) == 0 {
        UTF_16BE
    } else if std::str::from_utf8(bytes).is_ok() {
        UTF_8
    } else {
        WINDOWS_1252
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(String, &'static str), String> {
        match Content::of(bytes) {
            Ok(Content::Text(text) | Content::Calendar(text)) => Ok((text.text, text.encoding)),
            Ok(Content::Workbook) => Ok((String::new(), "xlsx")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn encodings_are_told_apart() {
        let text = "Anlage;Verfügbar\nFräse;37,5 €\n";
        let utf16 =
            |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<_>>();
        let with = |bom: &[u8], rest: &[u8]| [bom, rest].concat();
        let (cp1252, _, _) = WINDOWS_1252.encode(text);
        let cases = [
            (text.as_bytes().to_vec(), "UTF-8"),
            (with(b"\xef\xbb\xbf", text.as_bytes()), "UTF-8"),
            (cp1252.to_vec(), "windows-1252"),
            (with(b"\xff\xfe", &utf16(u16::to_le_bytes)), "UTF-16LE"),
            (with(b"\xfe\xff", &utf16(u16::to_be_bytes)), "UTF-16BE"),
            (utf16(u16::to_le_bytes), "UTF-16LE"),
            (utf16(u16::to_be_bytes), "UTF-16BE"),
        ];
        for (bytes, encoding) in cases {
            assert_eq!(read(&bytes), Ok((text.to_owned(), encoding)));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for bytes in [
            &b""[..],
            b" \r\n\t\n",
            b"\xef\xbb\xbf",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            b"%PDF-1.7\n\x00\x01",
            b"Anlage;\x81\n",
            b"\xff\xfeA\x00\x00\xd8",
            b"\x7fELF\x02\x01\x01",
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
        assert!(read(b"").unwrap_err().contains("empty"));
        assert_eq!(read(b"PK\x03\x04").map(|(_, kind)| kind), Ok("xlsx"));
        assert!(matches!(
            Content::of(b"\n begin:vcalendar\n"),
            Ok(Content::Calendar(_))
        ));
    }

    #[test]
    fn a_large_file_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.csv");
        let file = File::create(&path).unwrap();
        file.set_len(200 << 20).unwrap();
        // Reading ends behind the limit, so only its announced size can say 200.
        let error = read_file(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the file has 200 MiB, the limit is 32 MiB"
        );
        file.set_len(FILE_BYTES_MAX).unwrap();
        assert_eq!(read_file(&path).unwrap().len() as u64, FILE_BYTES_MAX);
        assert!(matches!(
            read_file(&dir.path().join("none")),
            Err(ImportError::Io { .. })
        ));
        assert!(read_file(dir.path()).is_err());
    }
}
