//! C2SP `tlog-proof` files. The specification is an untagged draft: its parser is here only.

use super::{
    Checkpoint, NoteError, digest, malformed,
    signed::{from_base64, push_base64},
    tree_size,
};
use crate::{
    id::Digest,
    limits::{CHECKPOINT_BYTES_MAX, PROOF_HASHES_MAX},
};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Longest `extra` line that is read over. Nothing signs it and we do not use it.
const EXTRA_BYTES_MAX: usize = 4 * 1024;

/// A C2SP `tlog-proof` file: index, inclusion path and checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// Leaf index.
    pub index: u64,
    /// Leaf to root.
    pub path: Vec<Digest>,
    /// The note, verbatim.
    pub checkpoint: Checkpoint,
}

impl ProofFile {
    /// Longest file that is read, in bytes: the longest of each part and the short lines between.
    pub const BYTES_MAX: usize =
        CHECKPOINT_BYTES_MAX + EXTRA_BYTES_MAX + PROOF_HASHES_MAX * 45 + 100;

    /// Text form.
    #[must_use]
    pub fn encode(&self) -> String {
        Self::text(self.index, &self.path, &self.checkpoint)
    }

    /// The text form of these parts.
    pub(crate) fn text<'h>(
        index: u64,
        path: impl IntoIterator<Item = &'h Digest>,
        checkpoint: &Checkpoint,
    ) -> String {
        let mut out = format!("{HEADER}\nindex {index}\n");
        for hash in path {
            push_base64(&hash.0, &mut out);
            out.push('\n');
        }
        out.push('\n');
        out.push_str(checkpoint.note.as_str());
        out
    }

    /// Reads the text form, bounded. Whether the path leads to the root is the matter of
    /// [`crate::log::verify_inclusion`]. An `extra` line is read over: nothing signs it.
    pub fn decode(text: &[u8]) -> Result<Self, NoteError> {
        if text.len() > Self::BYTES_MAX {
            return Err(malformed(format!(
                "proof file is longer than {} bytes",
                Self::BYTES_MAX
            )));
        }
        let text = std::str::from_utf8(text).map_err(|_| malformed("proof file is not UTF-8"))?;
        let (head, note) = text
            .split_once("\n\n")
            .ok_or_else(|| malformed("no blank line before the checkpoint of the proof file"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(malformed(format!(
                "proof file does not begin with {HEADER}"
            )));
        }
        let mut line = lines.next();
        if let Some(extra) = line.and_then(|line| line.strip_prefix("extra ")) {
            if extra.len() > EXTRA_BYTES_MAX || from_base64(extra).is_none() {
                return Err(malformed(
                    "extra line of the proof file is not base64 or too long",
                ));
            }
            line = lines.next();
        }
        let index = line
            .and_then(|line| line.strip_prefix("index "))
            .ok_or_else(|| malformed("proof file has no index line where it must be"))?;
        let index = tree_size(index)?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() == PROOF_HASHES_MAX {
                return Err(malformed(format!(
                    "more than {PROOF_HASHES_MAX} hashes in a proof"
                )));
            }
            path.push(digest(line)?);
        }
        let checkpoint = Checkpoint::parse(note.as_bytes())?;
        if index >= checkpoint.size() {
            return Err(malformed(format!(
                "proof of leaf {index} with a checkpoint of only {} leaves",
                checkpoint.size()
            )));
        }
        Ok(Self {
            index,
            path,
            checkpoint,
        })
    }
}
