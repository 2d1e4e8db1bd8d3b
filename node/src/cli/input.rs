//! What a command takes in besides its options: confirmations, secrets, files, spans of time.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::Path,
};

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{failure::Failure, words::printable};
use crate::api::view::Exit;

/// Asks a question on a terminal. Elsewhere nothing is asked: `--yes` must have been given.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("this must be confirmed")
            .why("stdin is not a terminal, so nothing is asked")
            .hint("add --yes"));
    }
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{} [y/N] ", printable(question));
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Refused, "refused", "not confirmed").why("nothing was changed"))
    }
}

/// A secret from the command line, from `-` (stdin) or from a file.
pub(crate) fn secret(
    argument: Option<&str>,
    file: Option<&Path>,
    bytes_max: usize,
) -> Result<Zeroizing<String>, Failure> {
    let text = match (argument, file) {
        (Some("-"), None) => stdin_text(bytes_max)?,
        (Some(text), None) => Zeroizing::new(text.to_owned()),
        (None, Some(path)) => Zeroizing::new(file_text(path, bytes_max)?),
        _ => {
            return Err(Failure::usage(
                "give it as an argument, as - for stdin, or with --file FILE",
            ));
        }
    };
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Failure::input("nothing was given").why("the input is empty"));
    }
    Ok(Zeroizing::new(trimmed.to_owned()))
}

/// A JSON file, a TOML file (by its name), or `-` for JSON on stdin.
pub(crate) fn json<T: DeserializeOwned>(path: &Path, bytes_max: usize) -> Result<T, Failure> {
    let text = if path == Path::new("-") {
        stdin_text(bytes_max)?
    } else {
        Zeroizing::new(file_text(path, bytes_max)?)
    };
    let read = if path.extension().is_some_and(|end| end == "toml") {
        toml::from_str(&text).map_err(|error| error.to_string())
    } else {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    read.map_err(|why| {
        Failure::input(format!("{} does not hold what is expected", path.display()))
            .why(why)
            .hint("compare it with what --json prints, or with examples/factories/*/site.toml")
    })
}

/// A file's bytes, refused above a bound.
pub(crate) fn file_bytes(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = bytes_max as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| Failure::file(path, "read", &error))?;
    if bytes.len() > bytes_max {
        return Err(Failure::input(format!("{} is too large", path.display()))
            .why(format!("it has more than {bytes_max} bytes"))
            .hint("check that this is the right file"));
    }
    Ok(bytes)
}

pub(crate) fn file_text(path: &Path, bytes_max: usize) -> Result<String, Failure> {
    String::from_utf8(file_bytes(path, bytes_max)?).map_err(|_| {
        Failure::input(format!("{} is not UTF-8 text", path.display())).hint("save it as UTF-8")
    })
}

fn stdin_text(bytes_max: usize) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    io::stdin()
        .take(bytes_max as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::input("stdin cannot be read").why(error.to_string()))?;
    if text.len() > bytes_max {
        return Err(
            Failure::input("stdin has too much").why(format!("more than {bytes_max} bytes"))
        );
    }
    Ok(text)
}

/// A span of time as people write it: `90s`, `30min`, `12h`, `7d`, `2w`. For clap.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "s" => 1,
        "min" | "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err("write a number and s, min, h, d or w, like 7d".to_owned()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| *n > 0)
        .ok_or_else(|| "write a number above 0 and s, min, h, d or w, like 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (text, n) in [
            ("90s", 90),
            ("30min", 1_800),
            ("12h", 43_200),
            ("7d", 604_800),
            ("2 w", 1_209_600),
        ] {
            assert_eq!(seconds(text), Ok(n), "{text}");
        }
        for bad in [
            "",
            "7",
            "d",
            "0d",
            "-1d",
            "7 years",
            "99999999999999999999d",
            "18446744073709551615w",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_come_from_one_place_and_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ticket");
        std::fs::write(&path, "  fmesh1abc\n").unwrap();
        assert_eq!(
            secret(None, Some(&path), 100).unwrap().as_str(),
            "fmesh1abc"
        );
        assert_eq!(
            secret(Some("fmesh1x"), None, 100).unwrap().as_str(),
            "fmesh1x"
        );
        assert_eq!(secret(None, None, 100).unwrap_err().exit, Exit::Usage);
        assert_eq!(
            secret(None, Some(&path), 5).unwrap_err().exit,
            Exit::InputErrors
        );
        assert_eq!(
            secret(None, Some(&dir.path().join("none")), 5)
                .unwrap_err()
                .exit,
            Exit::NotFound
        );
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(
            secret(None, Some(&path), 5).unwrap_err().exit,
            Exit::InputErrors
        );
    }

    #[test]
    fn without_a_terminal_only_yes_confirms() {
        assert!(confirm("sure?", true).is_ok());
        if !io::stdin().is_terminal() {
            let failure = confirm("sure?", false).unwrap_err();
            assert_eq!(
                (failure.exit, failure.hint.as_deref()),
                (Exit::Usage, Some("add --yes"))
            );
        }
    }
}
