//! Who signed a record, with which key, and whether what is shown is what was signed.

use super::{
    Evidence,
    record::{Read, without_newline},
    report::{Claim, SlotSummary, counted},
};
use crate::{
    keys::{KeyHistory, PublicKey},
    kinds::Kind,
    record::{Claims, RecordError, Verified, View},
};

/// The manifest's claim, and the site's keys if it holds.
pub(super) fn key_manifest(evidence: &Evidence, read: &Read) -> (Claim, Option<KeyHistory>) {
    const ID: &str = "key-manifest";
    let site = read.claims.iss;
    let refuted = |text: String| (Claim::refuted(ID, text), None);
    // The first `keys` record is a manifest itself.
    let itself =
        (read.claims.kind == Kind::Keys && read.claims.seq == 0).then_some(&evidence.record);
    let Some(manifest) = evidence.manifest.as_ref().or(itself) else {
        return (
            Claim::not_proven(
                ID,
                "the site's keys are not known",
                "the site's key manifest (its keys record at leaf 0)",
            ),
            None,
        );
    };
    let mut keys = match View::decode(without_newline(manifest))
        .and_then(|view| KeyHistory::from_manifest(&view))
    {
        Ok((keys, _)) => keys,
        Err(why) => return refuted(format!("the key manifest does not hold: {why}")),
    };
    if keys.site() != site {
        return refuted(format!(
            "the key manifest is that of another site, {}",
            keys.site()
        ));
    }
    for (index, rotation) in evidence.rotations.iter().enumerate() {
        let rotated = View::decode(without_newline(rotation))
            .and_then(|view| keys.verify(view))
            .and_then(|verified| keys.rotate(&verified));
        if let Err(why) = rotated {
            return refuted(format!("key rotation {} does not hold: {why}", index + 1));
        }
    }
    let with = match evidence.rotations.len() {
        0 => String::new(),
        n => format!(
            ", with {}",
            counted(n as u64, "later keys record", "later keys records")
        ),
    };
    (
        Claim::proven(
            ID,
            format!("the key manifest is signed by the root key of site {site}{with}"),
        ),
        Some(keys),
    )
}

/// Who signed the record, and whether it keeps its kind's rules.
pub(super) fn signature(
    read: &Read,
    keys: Option<&KeyHistory>,
) -> (Claim, Claim, Option<Verified>) {
    const ID: &str = "author-signature";
    let Claims { iss, seq, kind, .. } = &read.claims;
    let rules_open =
        |missing: &str| Claim::not_proven(RULES, "the kind's own rules are not checked", missing);
    let open = |text: String, missing: String| {
        let rules = rules_open("the author's signature, as above");
        (Claim::not_proven(ID, text, missing), rules, None)
    };
    let refuted = |text: String| {
        (
            Claim::refuted(ID, text),
            rules_open("a valid signature of the author"),
            None,
        )
    };

    let by = match (kind, keys) {
        // The root key is the site's id, so it needs no manifest.
        (Kind::Keys, _) => PublicKey::from_bytes(iss.as_bytes())
            .ok()
            .map(|root| (root, "root key")),
        (_, Some(keys)) => keys
            .record_key_at(*seq)
            .filter(|key| *key != keys.root())
            .map(|key| (key, "record key that counts at this leaf")),
        (_, None) => {
            let text = "the author's signature is not checked, because its keys are not known";
            return open(text.into(), "the site's key manifest".into());
        }
    };
    let Some((key, role)) = by else {
        return refuted(format!(
            "no key of the site may sign a {kind} record at leaf {seq}"
        ));
    };
    let proven = || {
        let key = &key.fingerprint()[..8];
        Claim::proven(
            ID,
            format!("the author signed it with the site's {role} ({key})"),
        )
    };
    let verified = match keys {
        Some(keys) => keys.verify(read.view.clone()),
        None => read
            .view
            .clone()
            .parse()
            .and_then(|parsed| parsed.verify(&key)),
    };
    match verified {
        Ok(verified) => (proven(), rules(read, &verified), Some(verified)),
        Err(why @ RecordError::Rule { .. }) => {
            (proven(), Claim::refuted(RULES, why.to_string()), None)
        }
        Err(RecordError::WrongKey { kid, .. }) if *kind != Kind::Keys => open(
            format!(
                "the record is signed with key {kid}, which the site's keys given here do not list for leaf {seq}"
            ),
            "the site's keys record that lists this key, if there is one".into(),
        ),
        Err(why) => refuted(format!("the author's signature does not hold: {why}")),
    }
}

fn rules(read: &Read, verified: &Verified) -> Claim {
    let kind = &read.claims.kind;
    if read.refused.is_some() {
        let text = "the kind's own rules are not checked";
        return Claim::not_proven(
            RULES,
            text,
            "a view whose disclosures are all those of the record",
        );
    }
    if let Kind::Other(_) = kind {
        let text = format!("the rules of kind {kind} are not known here");
        return Claim::not_proven(RULES, text, "a version of this program that knows the kind");
    }
    let mut text = format!("what is shown keeps the rules of kind {kind}");
    let hidden = withheld_columns(verified);
    if !hidden.is_empty() {
        text.push_str(&format!(
            "; total = committed + available + unattainable could not be added up ({} withheld)",
            hidden.join(", ")
        ));
    }
    Claim::proven(RULES, text)
}

/// The columns of the capacity sum that this view does not show.
fn withheld_columns(verified: &Verified) -> Vec<&'static str> {
    if verified.claims().kind != Kind::Capacity {
        return Vec::new();
    }
    let withheld = |column: &&str| matches!(verified.fields().get(*column), Some(None));
    ["total", "committed", "available", "unattainable"]
        .into_iter()
        .filter(withheld)
        .collect()
}

pub(super) fn disclosures(read: &Read, verified: Option<&Verified>) -> Claim {
    const ID: &str = "disclosures";
    if let Some(why) = &read.refused {
        return Claim::refuted(
            ID,
            format!("the values shown are not those that were signed: {why}"),
        );
    }
    let count = read.disclosures;
    let mut text = match count {
        0 => "no disclosure is given, and none is needed".to_owned(),
        _ => format!("every disclosure opens a place of this record ({count})"),
    };
    match verified.map(slots) {
        Some(slots) if !read.claims.kind.is_plain() => {
            let list = |names: &[String]| {
                if names.is_empty() {
                    "none".into()
                } else {
                    names.join(", ")
                }
            };
            text.push_str(&format!(
                "; shown: {}; unknown to the author: {}; withheld: {}",
                list(&slots.shown),
                list(&slots.unknown),
                list(&slots.withheld)
            ));
        }
        _ => {}
    }
    Claim::proven(ID, text)
}

pub(super) fn slots(verified: &Verified) -> SlotSummary {
    let mut slots = SlotSummary::default();
    for (name, value) in verified.fields() {
        let list = match value {
            None => &mut slots.withheld,
            Some(value) if value.is_null() => &mut slots.unknown,
            Some(_) => &mut slots.shown,
        };
        list.push(name.clone());
    }
    slots
}

const RULES: &str = "rules";
