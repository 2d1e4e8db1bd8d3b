//! The text of a fork proof.
//!
//! ```text
//! fmesh.fork-proof/v1
//! kind <kind>
//! [witness <verifier key>]            witness-split, witness-regress
//! [prefix-root <base64>]              prefix
//! [leaf <base64>]                     leaf
//! [hash <base64>]*                    prefix: consistency proof; leaf: inclusion path
//! [keys <bytes>]*                     the manifest, then its rotations
//! a <bytes>
//! b <bytes>
//!                                     an empty line, then the objects in this order, each
//! <objects>                           of the length named above and followed by a line break
//! ```

use super::{ForkError, ForkKind, ForkProof, malformed};
use crate::{
    id::Digest,
    limits::{KEYS_RECORDS_MAX, PROOF_HASHES_MAX},
    note::{VerifierKey, digest_line, digest_text},
};

const HEADER: &str = "fmesh.fork-proof/v1";

impl ForkProof {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = format!("{HEADER}\nkind {}\n", self.kind.as_str());
        if let Some(witness) = &self.witness {
            out.push_str(&format!("witness {witness}\n"));
        }
        if let Some(digest) = &self.digest {
            let word = digest_word(self.kind).unwrap_or("leaf");
            out.push_str(&format!("{word} {}\n", digest_text(digest)));
        }
        for hash in &self.hashes {
            out.push_str(&format!("hash {}\n", digest_text(hash)));
        }
        for keys in &self.keys {
            out.push_str(&format!("keys {}\n", keys.len()));
        }
        out.push_str(&format!("a {}\nb {}\n\n", self.a.len(), self.b.len()));
        for object in self.keys.iter().chain([&self.a, &self.b]) {
            out.push_str(object);
            out.push('\n');
        }
        out
    }

    /// Reads the text, bounded. Says nothing about truth: see [`Self::verify`].
    pub fn decode(text: &[u8]) -> Result<Self, ForkError> {
        if text.len() > Self::BYTES_MAX {
            return Err(malformed(format!("longer than {} bytes", Self::BYTES_MAX)));
        }
        let text = std::str::from_utf8(text).map_err(|_| malformed("not UTF-8"))?;
        let (head, objects) = text
            .split_once("\n\n")
            .ok_or_else(|| malformed("no empty line after its head"))?;
        let mut lines = Lines(head.split('\n').peekable());
        if lines.0.next() != Some(HEADER) {
            return Err(malformed(format!("it does not begin with {HEADER}")));
        }
        let kind = lines.one("kind")?;
        let kind = ForkKind::ALL
            .into_iter()
            .find(|known| known.as_str() == kind)
            .ok_or_else(|| malformed(format!("{kind:?} is not a kind of fork")))?;
        let is_witness = matches!(kind, ForkKind::WitnessSplit | ForkKind::WitnessRegress);
        let witness = match is_witness {
            true => Some(VerifierKey::parse(lines.one("witness")?)?),
            false => None,
        };
        let word = digest_word(kind);
        let digest = word.map(|word| hash(lines.one(word)?)).transpose()?;
        let mut hashes = Vec::new();
        while let (Some(_), Some(text)) = (word, lines.maybe("hash")) {
            bounded(hashes.len(), PROOF_HASHES_MAX, "hashes")?;
            hashes.push(hash(text)?);
        }
        let mut objects = Objects(objects);
        let mut lengths = Vec::new();
        while let Some(length) = lines.maybe("keys") {
            bounded(lengths.len(), KEYS_RECORDS_MAX, "key records")?;
            lengths.push(length);
        }
        let (a, b) = (lines.one("a")?, lines.one("b")?);
        if let Some(more) = lines.0.next() {
            return Err(malformed(format!(
                "a line too many: {:?}",
                more.chars().take(80).collect::<String>()
            )));
        }
        let keys = lengths
            .into_iter()
            .map(|length| objects.take(length))
            .collect::<Result<_, _>>()?;
        let proof = Self {
            kind,
            witness,
            digest,
            hashes,
            keys,
            a: objects.take(a)?,
            b: objects.take(b)?,
        };
        match objects.0 {
            "" => Ok(proof),
            _ => Err(malformed("something follows its last object")),
        }
    }
}

fn digest_word(kind: ForkKind) -> Option<&'static str> {
    match kind {
        ForkKind::Prefix => Some("prefix-root"),
        ForkKind::Leaf => Some("leaf"),
        _ => None,
    }
}

fn hash(text: &str) -> Result<Digest, ForkError> {
    digest_line(text).map_err(|why| malformed(why.to_string()))
}

fn bounded(count: usize, most: usize, what: &str) -> Result<(), ForkError> {
    if count < most {
        Ok(())
    } else {
        Err(malformed(format!("more than {most} {what}")))
    }
}

struct Lines<'t>(std::iter::Peekable<std::str::Split<'t, char>>);

impl<'t> Lines<'t> {
    fn maybe(&mut self, word: &str) -> Option<&'t str> {
        let rest = |line: &&'t str| line.strip_prefix(word)?.strip_prefix(' ');
        let found = self.0.peek().and_then(rest)?;
        self.0.next();
        Some(found)
    }

    fn one(&mut self, word: &str) -> Result<&'t str, ForkError> {
        self.maybe(word)
            .ok_or_else(|| malformed(format!("the line {word:?} is missing or out of place")))
    }
}

struct Objects<'t>(&'t str);

impl Objects<'_> {
    fn take(&mut self, length: &str) -> Result<String, ForkError> {
        let cut = crate::note::decimal_number(length)
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| self.0.split_at_checked(length))
            .and_then(|(object, rest)| Some((object, rest.strip_prefix('\n')?)));
        let (object, rest) =
            cut.ok_or_else(|| malformed("an object is shorter or longer than its head says"))?;
        self.0 = rest;
        Ok(object.to_owned())
    }
}
