//! What an auditor trusts, from a text file of their own.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::{MeshId, SiteId},
    keys::PublicKey,
    limits::NAME_CHARS_MAX,
    note::{SignatureType, VerifierKey},
};

/// Sites, meshes and witnesses that the auditor trusts. One a line; empty lines and lines that begin
/// with `#` say nothing:
///
/// ```text
/// site <SiteId, 64 hex digits> [name for the report]
/// mesh <MeshId, 64 hex digits>
/// witness <verifier key, name+hash+key>
/// quorum <how many of the witnesses must agree, from 1>
/// ```
///
/// Without a `quorum` line one witness is enough to say when something was seen, and none is required. With it, a
/// verdict waits for so many.
///
/// The file must come from the auditor, never with the evidence: who writes it decides what is true.
#[derive(Debug, Clone, Default)]
pub struct TrustAnchors {
    sites: BTreeMap<SiteId, Option<String>>,
    meshes: BTreeSet<MeshId>,
    witnesses: Vec<VerifierKey>,
    quorum: Option<usize>,
}

/// Why a file of trust anchors is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// A line that cannot be read.
    #[error("trust anchors, line {line}: {what}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong and what to write instead.
        what: String,
    },
    /// The whole file.
    #[error("trust anchors: {0}")]
    File(String),
}

impl TrustAnchors {
    /// Longest file that is read, in bytes: room for some thousand lines. A longer one is refused.
    pub const BYTES_MAX: usize = 1024 * 1024;

    /// Reads the text. A word it does not know, an id that is cut short, or anything named twice
    /// refuses the whole file: half a list of trust is worse than none.
    pub fn parse(text: &[u8]) -> Result<Self, AnchorError> {
        if text.len() > Self::BYTES_MAX {
            let what = format!("longer than {} bytes", Self::BYTES_MAX);
            return Err(AnchorError::File(what));
        }
        let text = std::str::from_utf8(text)
            .map_err(|_| AnchorError::File("not UTF-8; save the file as UTF-8 text".into()))?;
        let mut anchors = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let at = |what| AnchorError::Line {
                    line: index + 1,
                    what,
                };
                anchors.add(line).map_err(at)?;
            }
        }
        if let Some(quorum) = anchors.quorum
            && quorum > anchors.witnesses.len()
        {
            let what = format!(
                "the quorum of {quorum} can never be reached with {} witnesses; lower it, or name more witnesses",
                anchors.witnesses.len()
            );
            return Err(AnchorError::File(what));
        }
        if anchors.sites.is_empty() {
            let what =
                "no site is named, so nothing could be proven; write: site <64 hex digits> [name]";
            return Err(AnchorError::File(what.into()));
        }
        Ok(anchors)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match word {
            "site" => self.add_site(rest),
            "mesh" => {
                let mesh: MeshId = rest.parse().map_err(|why| format!("{why}"))?;
                once(self.meshes.insert(mesh), "mesh")
            }
            "witness" => self.add_witness(rest),
            "quorum" => {
                let quorum = rest.parse().ok().filter(|quorum| *quorum > 0);
                let quorum = quorum
                    .ok_or_else(|| format!("{:?} is not a number from 1", shortened(rest)))?;
                once(self.quorum.replace(quorum).is_none(), "quorum")
            }
            _ => Err(format!(
                "{:?} is none of: site, mesh, witness, quorum, #",
                shortened(word)
            )),
        }
    }

    fn add_site(&mut self, rest: &str) -> Result<(), String> {
        let (id, name) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let id: SiteId = id.parse().map_err(|why| format!("{why}"))?;
        PublicKey::from_bytes(id.as_bytes())
            .map_err(|why| format!("no site has this id: {why}"))?;
        let name = name.trim();
        if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(format!(
                "a name has at most {NAME_CHARS_MAX} characters and no control characters"
            ));
        }
        let name = (!name.is_empty()).then(|| name.to_owned());
        once(self.sites.insert(id, name).is_none(), "site")
    }

    fn add_witness(&mut self, rest: &str) -> Result<(), String> {
        let key = VerifierKey::parse(rest)
            .map_err(|why| format!("{:?} is not a witness key: {why}", shortened(rest)))?;
        if key.kind() != SignatureType::Cosignature {
            return Err("this verifier key is a log's; a witness key has type 0x04".into());
        }
        // One public key is one witness, whatever names it has.
        let new = self.witnesses.iter().all(|other| other.key() != key.key());
        self.witnesses.push(key);
        once(new, "witness key")
    }

    /// Whether the auditor trusts `site`.
    #[must_use]
    pub fn trusts(&self, site: &SiteId) -> bool {
        self.sites.contains_key(site)
    }

    /// The name that the auditor gave to `site`.
    #[must_use]
    pub fn name_of(&self, site: &SiteId) -> Option<&str> {
        self.sites.get(site)?.as_deref()
    }

    /// Trusted sites with the names given to them.
    pub fn sites(&self) -> impl Iterator<Item = (&SiteId, Option<&str>)> {
        self.sites
            .iter()
            .map(|(site, name)| (site, name.as_deref()))
    }

    /// Trusted meshes; empty if the auditor does not care.
    #[must_use]
    pub fn meshes(&self) -> &BTreeSet<MeshId> {
        &self.meshes
    }

    /// How many of the witnesses must agree, if the auditor said so.
    #[must_use]
    pub fn quorum(&self) -> Option<usize> {
        self.quorum
    }

    /// Trusted witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }
}

fn once(new: bool, what: &str) -> Result<(), String> {
    if new {
        Ok(())
    } else {
        Err(format!("this {what} is named twice; keep one of the lines"))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
