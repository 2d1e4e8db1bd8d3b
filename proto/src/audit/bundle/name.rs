//! Names of files in a bundle: what each one is, and how long it may be.
//!
//! A name that is not one of these is refused, so `..`, links to elsewhere and surprises have no place.

use std::fmt::{self, Write as _};

use crate::{
    id::SiteId,
    limits::{CHECKPOINT_BYTES_MAX, TREE_SIZE_MAX, VIEW_BYTES_MAX},
    note::ProofFile,
};

use super::{super::fork::ForkProof, tree::TILE_WIDTH};

/// What a file of a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `forks/0000.fork-proof`.
    Fork(u16),
    /// A file of one site's log.
    Log(SiteId, LogFile),
    /// `manifest.json`.
    Manifest,
    /// `withheld.json`.
    Withheld,
    /// `SHA256SUMS`.
    Sums,
}

/// A file below `logs/<site>/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFile {
    /// `checkpoints/<size>`: an older checkpoint.
    Older(u64),
    /// `keys/<leaf>.sdjwt`: a `keys` record.
    Keys(u64),
    /// `keys/<leaf>.tlog-proof`.
    KeysProof(u64),
    /// `log/checkpoint`: the newest one, with cosignatures.
    Checkpoint,
    /// `log/tile/<L>/<N>[.p/<W>]`.
    Tile(Tile),
    /// `records/<leaf>.sdjwt`.
    Record(u64),
    /// `records/<leaf>.tlog-proof`.
    RecordProof(u64),
}

/// A tile of C2SP tlog-tiles: `width` hashes of perfect subtrees of height `8 * level`, from `index * 256` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Tile level.
    pub level: u8,
    /// Place in its level.
    pub index: u64,
    /// Hashes in it, 1 to 256.
    pub width: u16,
}

impl Name {
    /// Reads a name; `None` if no file of a bundle has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = match text {
            "manifest.json" => Self::Manifest,
            "withheld.json" => Self::Withheld,
            "SHA256SUMS" => Self::Sums,
            _ => {
                if let Some(rest) = text.strip_prefix("forks/") {
                    Self::Fork(rest.strip_suffix(".fork-proof")?.parse().ok()?)
                } else {
                    let (site, rest) = text.strip_prefix("logs/")?.split_once('/')?;
                    Self::Log(site.parse().ok()?, LogFile::parse(rest)?)
                }
            }
        };
        // One spelling of each name: no sign, no other number of zeros.
        name.is_written(text).then_some(name)
    }

    /// Whether `text` is how this name is written.
    fn is_written(&self, text: &str) -> bool {
        struct Rest<'t>(&'t str);
        impl fmt::Write for Rest<'_> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        let mut rest = Rest(text);
        write!(rest, "{self}").is_ok() && rest.0.is_empty()
    }

    /// Longest file of this name that is read, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        match self {
            Self::Manifest => 4 << 20,
            Self::Withheld => super::WITHHELD_BYTES_MAX,
            Self::Sums => super::SUMS_BYTES_MAX,
            Self::Fork(_) => ForkProof::BYTES_MAX,
            Self::Log(_, file) => match file {
                LogFile::Older(_) | LogFile::Checkpoint => CHECKPOINT_BYTES_MAX,
                LogFile::Keys(_) | LogFile::Record(_) => VIEW_BYTES_MAX,
                LogFile::KeysProof(_) | LogFile::RecordProof(_) => ProofFile::BYTES_MAX,
                LogFile::Tile(_) => TILE_WIDTH * 32,
            },
        }
    }
}

impl LogFile {
    fn parse(text: &str) -> Option<Self> {
        let leaf = |rest: &str| {
            let (leaf, end) = rest.split_once('.')?;
            Some((size(leaf)?, end == "tlog-proof"))
        };
        if text == "log/checkpoint" {
            return Some(Self::Checkpoint);
        }
        if let Some(rest) = text.strip_prefix("checkpoints/") {
            return Some(Self::Older(size(rest)?));
        }
        if let Some(rest) = text.strip_prefix("keys/") {
            let (leaf, is_proof) = leaf(rest)?;
            return Some(if is_proof {
                Self::KeysProof(leaf)
            } else {
                Self::Keys(leaf)
            });
        }
        if let Some(rest) = text.strip_prefix("records/") {
            let (leaf, is_proof) = leaf(rest)?;
            return Some(if is_proof {
                Self::RecordProof(leaf)
            } else {
                Self::Record(leaf)
            });
        }
        Tile::parse(text.strip_prefix("log/tile/")?).map(Self::Tile)
    }
}

impl Tile {
    fn parse(text: &str) -> Option<Self> {
        let (level, rest) = text.split_once('/')?;
        let (path, width) = match rest.split_once(".p/") {
            Some((path, width)) => (path, width.parse().ok()?),
            None => (rest, TILE_WIDTH as u16),
        };
        let mut index = 0_u64;
        for group in path.split('/') {
            let group = group.strip_prefix('x').unwrap_or(group);
            index = index
                .checked_mul(1000)?
                .checked_add(group.parse::<u16>().ok()?.into())?;
        }
        Some(Self {
            level: level.parse().ok()?,
            index,
            width,
        })
        .filter(|tile| (1..=TILE_WIDTH as u16).contains(&tile.width))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest.json"),
            Self::Withheld => f.write_str("withheld.json"),
            Self::Sums => f.write_str("SHA256SUMS"),
            Self::Fork(n) => write!(f, "forks/{n:04}.fork-proof"),
            Self::Log(site, file) => write!(f, "logs/{}/{file}", site.hex()),
        }
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Older(size) => write!(f, "checkpoints/{size:010}"),
            Self::Keys(leaf) => write!(f, "keys/{leaf:010}.sdjwt"),
            Self::KeysProof(leaf) => write!(f, "keys/{leaf:010}.tlog-proof"),
            Self::Checkpoint => f.write_str("log/checkpoint"),
            Self::Tile(tile) => write!(f, "log/tile/{tile}"),
            Self::Record(leaf) => write!(f, "records/{leaf:010}.sdjwt"),
            Self::RecordProof(leaf) => write!(f, "records/{leaf:010}.tlog-proof"),
        }
    }
}

/// `<L>/<N>[.p/<W>]`, N in groups of three digits, all but the last with an x.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.index.to_string();
        let width = digits.len().div_ceil(3) * 3;
        let digits = format!("{:0>width$}", digits);
        write!(f, "{}/", self.level)?;
        for at in (0..width).step_by(3) {
            let x = if at + 3 < width { "x" } else { "" };
            let slash = if at + 3 < width { "/" } else { "" };
            write!(f, "{x}{}{slash}", &digits[at..at + 3])?;
        }
        if usize::from(self.width) < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

fn size(text: &str) -> Option<u64> {
    let is_number = text.len() >= 10 && text.bytes().all(|b| b.is_ascii_digit());
    let number = if is_number { text.parse().ok() } else { None };
    number.filter(|number| *number <= TREE_SIZE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_nothing_else_is() {
        let site = "ab".repeat(32);
        for name in [
            "manifest.json".to_owned(),
            "SHA256SUMS".into(),
            "forks/0003.fork-proof".into(),
            format!("logs/{site}/log/checkpoint"),
            format!("logs/{site}/log/tile/0/000"),
            format!("logs/{site}/log/tile/0/x001/x234/067"),
            format!("logs/{site}/log/tile/1/004.p/255"),
            format!("logs/{site}/keys/0000000000.sdjwt"),
            format!("logs/{site}/records/0000000012.tlog-proof"),
            format!("logs/{site}/checkpoints/0000000007"),
        ] {
            let read = Name::parse(&name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(read.to_string(), name);
        }
        for name in [
            "",
            "/manifest.json",
            "./manifest.json",
            "logs",
            "logs/../manifest.json",
            "forks/3.fork-proof",
            "forks/+003.fork-proof",
            &format!("logs/{site}/records/12.sdjwt"),
            &format!("logs/{site}/records/+000000012.sdjwt"),
            &format!("logs/{site}/records/0000000012.txt"),
            &format!("logs/{site}/records/9999999999999999999.sdjwt"),
            &format!("logs/{}/log/checkpoint", site.to_uppercase()),
            &format!("logs/{site}/log/tile/0/0"),
            &format!("logs/{site}/log/tile/0/001/000"),
            &format!("logs/{site}/log/tile/0/000.p/0"),
            &format!("logs/{site}/log/tile/0/000.p/256"),
            &format!("logs/{site}/log/tile/0/x999/x999/x999/x999/x999/x999/x999/999"),
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
