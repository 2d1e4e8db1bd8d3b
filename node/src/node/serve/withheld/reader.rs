//! A partner that keeps everything it was ever sent, and opens whatever it can with every key it ever had.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fmesh_proto::{
    circle::{EpochKey, SealContext, open_group, open_pairwise},
    id::{CircleId, MeshId, SiteId, from_hex},
    keys::OperatingKeys,
    kinds::{Grant, Kind, Typed as _},
    publication::Publication,
    record::{Parsed, Verified, View},
    wire,
};
use prost::Message as _;

/// What a partner holds.
pub(super) struct Reader {
    pub(super) site: SiteId,
    keys: Arc<OperatingKeys>,
    /// Still a member.
    pub(super) is_in: bool,
    /// Marks that it may hold.
    pub(super) permitted: BTreeSet<String>,
    /// Everything it was sent or could open, cut into words.
    pub(super) words: HashSet<String>,
    pub(super) epochs: BTreeSet<[u8; 32]>,
}

impl Reader {
    /// A member that holds nothing yet.
    pub(super) fn new(site: SiteId, keys: Arc<OperatingKeys>) -> Self {
        Self {
            site,
            keys,
            is_in: true,
            permitted: BTreeSet::new(),
            words: HashSet::new(),
            epochs: BTreeSet::new(),
        }
    }

    /// Takes an answer and all that is in it.
    pub(super) fn hear(&mut self, answer: &wire::Response) {
        use wire::response::What;
        self.take_words(&answer.encode_to_vec());
        match &answer.what {
            Some(What::Publications(page)) => {
                for bytes in &page.publication {
                    self.hear_publication(bytes);
                }
            }
            Some(What::Feed(page)) => {
                for bytes in &page.view {
                    self.take_view(std::str::from_utf8(bytes).expect("text"));
                }
            }
            _ => {}
        }
    }

    pub(super) fn hear_publication(&mut self, bytes: &[u8]) {
        self.take_words(bytes);
        for view in Publication::decode(bytes).expect("whole").plain {
            self.take_view(view.as_str());
        }
    }

    fn take_view(&mut self, text: &str) {
        self.take_words(text.as_bytes());
        let record = verified(text);
        if record.claims().kind == Kind::Grant
            && let Ok(grant) = Grant::read(record.fields())
            && let Some(key) = grant.key.known().and_then(|key| from_hex(key))
        {
            self.epochs.extend(<[u8; 32]>::try_from(key));
        }
    }

    /// Takes what it can open of a publication.
    pub(super) fn open(&mut self, publication: &Publication, mesh: &MeshId, theirs: &[u8; 32]) {
        for sealed in &publication.sealed {
            let context = SealContext {
                mesh: *mesh,
                site: publication.site,
                circle: CircleId::from_slice(&sealed.circle).expect("an id"),
                epoch: sealed.epoch,
                from: publication.from(),
                size: publication.size(),
            };
            let pairwise = open_pairwise(&self.keys, theirs, &context, sealed);
            let group = self
                .epochs
                .iter()
                .map(|key| open_group(&EpochKey(*key), &context, sealed));
            let opened: Vec<View> = group
                .chain([pairwise])
                .filter_map(Result::ok)
                .flatten()
                .collect();
            for view in opened {
                self.take_view(view.as_str());
            }
        }
    }

    /// Words of some bytes as they are, and of all in them that may be base64url.
    fn take_words(&mut self, bytes: &[u8]) {
        self.words.extend(words_of(bytes));
        for run in bytes.split(|byte| !is_base64url(*byte)) {
            // What stands before it may look like a part of it.
            for start in 0..4.min(run.len()) {
                let whole = (run.len() - start) / 4 * 4;
                for end in [start + whole, run.len()] {
                    if let Ok(inside) = URL_SAFE_NO_PAD.decode(&run[start..end]) {
                        self.words.extend(words_of(&inside));
                    }
                }
            }
        }
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Words that could be marks: long runs of base64url's letters, and marks within them.
pub(super) fn words_of(bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    for run in bytes.split(|byte| !is_base64url(*byte)) {
        if run.len() < 9 {
            continue;
        }
        words.push(String::from_utf8_lossy(run).into_owned());
        let marks = run
            .windows(10)
            .filter(|w| w.starts_with(b"zq") && w.ends_with(b"qz"));
        words.extend(marks.map(|mark| String::from_utf8_lossy(mark).into_owned()));
    }
    words
}

/// A record that the site signed.
pub(super) fn verified(text: &str) -> Verified {
    let view = View::decode(text.as_bytes()).expect("a view");
    view.parse().map(Parsed::from_store).expect("parses")
}
