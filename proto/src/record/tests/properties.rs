//! What holds for any fields, any selection of slots, any damage.

use proptest::{prelude::*, sample::Index};

use super::*;

/// Values of the slots of kind `site`, each with its own marker where it has one.
fn any_site() -> impl Strategy<Value = Fields> {
    let text = || prop::option::of("[a-zA-Z0-9äöü]{12,40}");
    let country = prop::option::of(prop::sample::select(vec!["AT", "DE", "CZ"]));
    (text(), country, text(), text(), any::<bool>()).prop_map(
        |(name, country, locality, contact, keep_nulls)| {
            let mut all = Fields::from([
                ("name".to_owned(), json!(name)),
                (
                    "location".to_owned(),
                    json!(country.map(|country| json!({"country": country, "locality": locality}))),
                ),
                ("contact".to_owned(), json!(contact)),
            ]);
            if let Some(Value::Object(location)) = all.get_mut("location") {
                location.retain(|_, value| !value.is_null());
            }
            all.retain(|_, value| keep_nulls || !value.is_null());
            all
        },
    )
}

fn any_slots() -> impl Strategy<Value = BTreeSet<String>> {
    prop::sample::subsequence(Kind::Site.slots(), 0..=Kind::Site.slots().len())
        .prop_map(|slots| names(&slots))
}

/// Everything that a reader can make of an encoded view without breaking a hash.
fn readable(encoded: &str) -> Vec<u8> {
    let mut bytes = encoded.as_bytes().to_vec();
    for part in encoded.split(['~', '.']) {
        bytes.push(b'\n');
        bytes.extend(BASE64URL.decode(part).unwrap_or_default());
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn views_read_back_as_selected_and_show_nothing_else(
        all in any_site(), first in any_slots(), second in any_slots(), seed: u64, seq in 0..=i64::MAX.unsigned_abs(),
    ) {
        let claims = Claims { seq, ..claims(Kind::Site) };
        let feeds = [(CIRCLE, 8), (OTHER_CIRCLE, 9)];
        let issued = Issued::sign(claims.clone(), &all, &feeds, &key(), &mut rng(seed)).expect("signs");
        prop_assert_eq!(Issued::from_full_view(&issued.full_view()), Ok(issued.clone()));
        for (circle, feed_seq, slots) in [(CIRCLE, 8, first), (OTHER_CIRCLE, 9, second)] {
            let view = issued.view(&circle, &slots).expect("goes there");
            let encoded = view.encode();
            let record = read(encoded.as_bytes()).expect("verifies");
            prop_assert_eq!(record.view(), &view);
            prop_assert_eq!(record.view().core(), issued.core());
            prop_assert_eq!(record.claims(), &claims);
            prop_assert_eq!(record.feeds(), &[(circle, feed_seq)]);
            prop_assert_eq!(record.feeds_total(), 2);
            let expected: BTreeMap<String, Option<Value>> = Kind::Site.slots().iter().map(|slot| {
                let value = all.get(*slot).cloned().unwrap_or(Value::Null);
                ((*slot).to_owned(), slots.contains(*slot).then_some(value))
            }).collect();
            prop_assert_eq!(record.fields(), &expected);

            let seen = readable(&encoded);
            let other = if circle == CIRCLE { OTHER_CIRCLE } else { CIRCLE };
            prop_assert!(!holds(&seen, &other.hex()), "the other circle shows");
            for (slot, disclosure) in &issued.slots {
                let salt_and_value = String::from_utf8(BASE64URL.decode(disclosure.as_str()).expect("ours")).expect("ours");
                prop_assert_eq!(holds(&seen, disclosure.as_str()), slots.contains(slot));
                prop_assert_eq!(holds(&seen, &salt_and_value[2..24]), slots.contains(slot), "the salt of {}", slot);
                let shown = all.get(slot).and_then(|value| value.as_str().or(value["locality"].as_str()));
                if let Some(marker) = shown {
                    prop_assert_eq!(holds(&seen, marker), slots.contains(slot), "{}", slot);
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused(at: Index, bit in 0..8_u32) {
        let text = issue(Kind::Site, &site_fields()).full_view().encode();
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(read(&bytes).is_err(), "byte {} bit {}", at, bit);
    }

    #[test]
    fn a_cut_or_inserted_byte_anywhere_is_refused(at: Index, byte: u8, cut: bool) {
        let mut bytes = issue(Kind::Site, &site_fields()).full_view().encode().into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.remove(at); } else { bytes.insert(at, byte); }
        prop_assert!(read(&bytes).is_err(), "byte {}", at);
    }

    #[test]
    fn another_value_in_a_disclosure_is_refused(slot in prop::sample::select(Kind::Site.slots().to_vec()), seed: u64) {
        let issued = issue(Kind::Site, &site_fields());
        let changed = Disclosure::hide(&json!("another"), &mut rng(seed));
        let text = issued.full_view().encode().replacen(issued.slots[slot].as_str(), changed.as_str(), 1);
        prop_assert!(matches!(read(text.as_bytes()), Err(RecordError::Disclosure(_))));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = View::decode(&bytes).and_then(View::parse);
    }

    #[test]
    fn any_payload_is_answered(change in "[\\[\\]{}\":,.0-9a-z_ ]{0,6}", from: Index, length in 0..6_usize) {
        let payload = part(issue(Kind::Site, &site_fields()).core(), 1);
        let from = from.index(payload.len() - 6);
        let payload = format!("{}{change}{}", &payload[..from], &payload[from + length..]);
        let _ = read(format!("{}~", core(&header(), &payload)).as_bytes());
    }
}
