//! `attestation`: what a site declares about records, its own or another's.
//!
//! The one that nodes write by themselves is the deletion receipt: a grant ended with `delete`, and its reader says in the
//! issuer's pairwise circle that the values are gone, of how many records, and up to which position of the feed. It
//! is a signed statement, not a proof: nobody can see into another's store.

use serde::{Deserialize, Serialize};

use super::{
    Slot,
    form::{objects, words},
    slots, text,
};
use crate::id::{CircleId, Digest, SiteId};

/// `attestation`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Attestation {
    /// The site whose records it is about.
    pub subject: Slot<SiteId>,
    pub claim: Slot<Claim>,
    /// SHA-256 of the cores that it is about. Of a deletion: the core of the grant's end.
    pub targets: Slot<Vec<Digest>>,
    pub result: Slot<Outcome>,
    pub at: Slot<jiff::Timestamp>,
}
slots!(Attestation {
    subject: "subject",
    claim: "claim",
    targets: "targets",
    result: "result",
    at: "at",
});

words! {
    /// What is declared.
    #[allow(missing_docs, reason = "words of RECORDS.md")]
    pub enum Claim {
        Verified = "verified",
        Certified = "certified",
        Deleted = "deleted",
        Acknowledged = "acknowledged",
        Disputed = "disputed",
    }
}

/// With what result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Outcome {
    /// The circle through which the records came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<CircleId>,
    /// How many records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Up to which position of the circle's feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_seq: Option<u64>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}
objects!(Outcome);

impl Attestation {
    fn rules(&self) -> Result<(), String> {
        if let Slot::Known(targets) = &self.targets {
            text::list("targets", targets)?;
        }
        if let Slot::Known(Outcome {
            text: Some(words), ..
        }) = &self.result
        {
            text::block("result.text", words)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::{
        Kind, Typed,
        tests::{refusal, shown},
    };

    fn full() -> Value {
        json!({
            "subject": "ab".repeat(32), "claim": "deleted", "targets": ["cd".repeat(32)],
            "result": {"circle": "00112233445566778899aabbccddeeff", "records": 12, "feedSeq": 41, "text": "all of it"},
            "at": "2026-11-22T10:00:00Z",
        })
    }

    #[test]
    fn a_receipt_is_read_and_written_back() {
        assert_eq!(refusal(&Kind::Attestation, &full()), None);
        let receipt = Attestation::read(&shown(&Kind::Attestation, &full())).unwrap();
        assert_eq!(Value::Object(receipt.write().into_iter().collect()), full());
        assert_eq!(receipt.claim, Slot::Known(Claim::Deleted));
        let result = receipt.result.known().unwrap();
        assert_eq!((result.records, result.feed_seq), (Some(12), Some(41)));
    }

    #[test]
    fn refusals() {
        for (place, value, why) in [
            (
                "/targets",
                json!(vec!["cd".repeat(32); 257]),
                "targets has 257 elements, the limit is 256",
            ),
            (
                "/result/text",
                json!("\u{7}"),
                "result.text contains a control character",
            ),
        ] {
            let mut body = full();
            *body.pointer_mut(place).unwrap() = value;
            assert_eq!(refusal(&Kind::Attestation, &body).as_deref(), Some(why));
        }
        for (place, value) in [
            ("/claim", json!("burnt")),
            ("/targets/0", json!("cd")),
            ("/result", json!([1])),
            ("/result/records", json!(-1)),
            ("/at", json!("yesterday")),
        ] {
            let mut body = full();
            *body.pointer_mut(place).unwrap() = value;
            assert!(refusal(&Kind::Attestation, &body).is_some(), "{place}");
        }
    }
}
