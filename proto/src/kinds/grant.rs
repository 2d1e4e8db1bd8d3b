//! `grant`: an epoch key and its terms for one partner.

use super::{Slot, form::words, slots, text};
use crate::{
    id::{CircleId, SiteId, from_hex},
    limits::SLOTS_MAX,
};

/// `grant`.
#[derive(Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Grant {
    pub circle: Slot<CircleId>,
    pub to: Slot<SiteId>,
    pub epoch: Slot<u64>,
    /// 32 bytes as 64 hex digits, readable by `to` alone. Debug output does not show it.
    pub key: Slot<String>,
    pub select: Slot<String>,
    pub slots: Slot<Vec<String>>,
    pub purpose: Slot<String>,
    pub until: Slot<jiff::civil::Date>,
    pub on_end: Slot<OnEnd>,
}
slots!(Grant {
    circle: "circle",
    to: "to",
    epoch: "epoch",
    key: "key",
    select: "select",
    slots: "slots",
    purpose: "purpose",
    until: "until",
    on_end: "onEnd",
});

words! {
    /// What a reader does with what came through a circle when its grant ends.
    #[derive(Default)]
    pub enum OnEnd {
        /// Nothing.
        Keep = "keep",
        /// Keeps it, marks it as ended, and leaves it out of search.
        #[default]
        Grey = "grey",
        /// Removes the values, and confirms that with an `attestation`.
        Delete = "delete",
    }
}

impl Grant {
    fn rules(&self) -> Result<(), String> {
        if let Slot::Known(key) = &self.key
            && from_hex(key).is_none_or(|bytes| bytes.len() != 32)
        {
            return Err("key is not 64 lower-case hex digits".to_owned());
        }
        if let Slot::Known(select) = &self.select {
            text::block("select", select)?;
        }
        if let Slot::Known(slots) = &self.slots {
            if slots.len() > SLOTS_MAX {
                return Err(format!(
                    "slots has {} names, the limit is {SLOTS_MAX}",
                    slots.len()
                ));
            }
            slots
                .iter()
                .try_for_each(|slot| text::name("slots", slot))?;
        }
        if let Slot::Known(purpose) = &self.purpose {
            text::block("purpose", purpose)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("circle", &self.circle)
            .field("to", &self.to)
            .field("epoch", &self.epoch)
            .field("key", &self.key.as_ref().map(|_| "hidden"))
            .field("select", &self.select)
            .field("slots", &self.slots)
            .field("purpose", &self.purpose)
            .field("until", &self.until)
            .field("on_end", &self.on_end)
            .finish()
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
            "circle": "00112233445566778899aabbccddeeff", "to": "ab".repeat(32), "epoch": 3, "key": "5e".repeat(32),
            "select": "capacity of milling, 26 weeks", "slots": ["name", "available"], "purpose": "planning",
            "until": "2027-12-31", "onEnd": "grey",
        })
    }

    #[test]
    fn a_full_grant_is_read_and_written_back_and_its_key_is_not_printed() {
        assert_eq!(refusal(&Kind::Grant, &full()), None);
        let grant = Grant::read(&shown(&Kind::Grant, &full())).unwrap();
        assert_eq!(Value::Object(grant.write().into_iter().collect()), full());
        assert_eq!(grant.on_end, Slot::Known(OnEnd::Grey));
        let printed = format!("{grant:?}");
        assert!(
            !printed.contains("5e5e") && printed.contains("hidden"),
            "{printed}"
        );
    }

    #[test]
    fn refusals() {
        let cases = [
            (
                "/key",
                json!("5e".repeat(31)),
                "key is not 64 lower-case hex digits",
            ),
            (
                "/key",
                json!("5E".repeat(32)),
                "key is not 64 lower-case hex digits",
            ),
            (
                "/slots",
                json!(vec!["x"; 65]),
                "slots has 65 names, the limit is 64",
            ),
            (
                "/slots/0",
                json!(""),
                "slots is empty: leave it unknown (null) instead",
            ),
            (
                "/purpose",
                json!("\u{7}"),
                "purpose contains a control character",
            ),
        ];
        for (place, value, why) in cases {
            let mut body = full();
            *body.pointer_mut(place).unwrap() = value;
            assert_eq!(
                refusal(&Kind::Grant, &body).as_deref(),
                Some(why),
                "{place}"
            );
        }
    }
}
