//! Signing, viewing and refusing records, from outside the module.

use std::collections::BTreeSet;

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde_json::json;

use super::*;
use crate::keys::SigningKey;

mod properties;
mod refusals;

const CIRCLE: CircleId = CircleId([0xc1; 16]);
const OTHER_CIRCLE: CircleId = CircleId([0xc2; 16]);

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn claims(kind: Kind) -> Claims {
    Claims {
        mesh: (kind != Kind::Keys).then_some(MeshId([0x11; 32])),
        iss: SiteId(*key().public().as_bytes()),
        log: 1,
        seq: 41,
        kind,
        id: ObjectId::from_random([3; 16]),
        rev: 2,
        prev: Some(Digest([0x22; 32])),
        iat: 1_790_000_000,
        retired: false,
    }
}

fn site_fields() -> Fields {
    fields(json!({
        "name": "Nordbach Frästechnik",
        "location": {"country": "AT", "locality": "Linz"},
        "timezone": "Europe/Vienna",
        "contact": "planung@nordbach.example",
    }))
}

fn capacity_fields() -> Fields {
    fields(json!({
        "name": "5-axis milling",
        "resources": ["7b6ff2cc-3b0e-4f4b-9d4c-0f2d1a4c9e01"],
        "process": "separating/milling/5-axis",
        "unit": "HUR",
        "bucket": "P7D",
        "start": "2026-11-30",
        "total": ["80", "80", null],
        "committed": ["42.5", "80", "12"],
        "available": ["37.5", "0", null],
        "unattainable": ["0", "0", "0"],
        "reason": [null, null, "maintenance"],
        "maximum": ["45", "8", null],
    }))
}

fn fields(object: Value) -> Fields {
    match object {
        Value::Object(members) => members.into_iter().collect(),
        other => panic!("not an object: {other}"),
    }
}

fn issue(kind: Kind, fields: &Fields) -> Issued {
    Issued::sign(
        claims(kind),
        fields,
        &[(CIRCLE, 8), (OTHER_CIRCLE, 9)],
        &key(),
        &mut rng(1),
    )
    .expect("signs")
}

fn names(slots: &[&str]) -> BTreeSet<String> {
    slots.iter().map(|slot| (*slot).to_owned()).collect()
}

/// The road of anyone's bytes.
fn read(text: &[u8]) -> Result<Verified, RecordError> {
    View::decode(text)?.parse()?.verify(&key().public())
}

/// A core with any header and payload, well signed.
fn core(header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(payload));
    let signature = key().sign(signed.as_bytes());
    format!("{signed}.{}", BASE64URL.encode(signature))
}

fn header() -> String {
    format!(
        r#"{{"alg":"EdDSA","typ":"fmesh-record+sd-jwt","kid":"{}"}}"#,
        key().public().fingerprint()
    )
}

fn part(core: &str, n: usize) -> String {
    let part = core.split('.').nth(n).expect("three parts");
    String::from_utf8(BASE64URL.decode(part).expect("base64url")).expect("text")
}

#[test]
fn a_core_has_the_published_form() {
    let issued = issue(Kind::Site, &site_fields());
    assert_eq!(part(issued.core(), 0), header());
    let digest = |slot: &str| issued.slots[slot].digest();
    let feed = |n: usize| issued.feeds[n].2.digest();
    let expected = format!(
        concat!(
            r#"{{"v":1,"mesh":"{mesh}","iss":"{iss}","log":1,"seq":41,"kind":"site","#,
            r#""id":"03030303-0303-4303-8303-030303030303","rev":2,"prev":"{prev}","iat":1790000000,"retired":false,"#,
            r#""_sd_alg":"sha-256","feeds":[{{"...":"{f0}"}},{{"...":"{f1}"}}],"body":{{"name":[{{"...":"{name}"}}],"#,
            r#""identifiers":[{{"...":"{identifiers}"}}],"location":[{{"...":"{location}"}}],"#,
            r#""timezone":[{{"...":"{timezone}"}}],"certificates":[{{"...":"{certificates}"}}],"contact":[{{"...":"{contact}"}}]}}}}"#,
        ),
        mesh = "11".repeat(32),
        iss = SiteId(*key().public().as_bytes()).hex(),
        prev = "22".repeat(32),
        f0 = feed(0),
        f1 = feed(1),
        name = digest("name"),
        identifiers = digest("identifiers"),
        location = digest("location"),
        timezone = digest("timezone"),
        certificates = digest("certificates"),
        contact = digest("contact"),
    );
    assert_eq!(part(issued.core(), 1), expected);
}

/// A change of the format shows here. The file is the author's full view of a capacity record.
#[test]
fn bytes_are_those_of_the_golden_record() {
    let golden = include_str!("../../testdata/record.golden").trim_end();
    let issued = issue(Kind::Capacity, &capacity_fields());
    assert_eq!(issued.full_view().encode(), golden);
    let record = read(golden.as_bytes()).expect("verifies");
    assert_eq!(record.claims(), &claims(Kind::Capacity));
    assert_eq!(record.view().core(), issued.core());
    assert_eq!(record.core_digest(), Digest::of(issued.core().as_bytes()));
}

#[test]
fn full_views_are_read_back() {
    let issued = issue(Kind::Capacity, &capacity_fields());
    assert_eq!(
        Issued::from_full_view(&issued.full_view()),
        Ok(issued.clone())
    );
    let full = issued.full_view();
    let mut turned: Vec<_> = full.disclosures().collect();
    turned.reverse();
    let of = |disclosures: &[Disclosure<'_>]| View::assemble(full.core(), disclosures.iter());
    assert_eq!(Issued::from_full_view(&of(&turned)), Ok(issued.clone()));
    assert!(Issued::from_full_view(&of(&turned[1..])).is_err());
    let partial = issued.view(&CIRCLE, &names(&["name"])).expect("goes there");
    assert!(Issued::from_full_view(&partial).is_err());
    turned[0] = turned[1].clone();
    assert!(Issued::from_full_view(&of(&turned)).is_err());
}

#[test]
fn plain_kinds_have_plain_bodies() {
    let body = fields(json!({"act": "found", "nonce": "00".repeat(16), "name": "Nordbach"}));
    let issued = issue(Kind::Membership, &body);
    let view = issued.view(&CIRCLE, &names(&[])).expect("goes there");
    let parsed = View::decode(view.encode().as_bytes())
        .and_then(View::parse)
        .expect("parses");
    assert_eq!(
        parsed.fields(),
        &body
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect::<BTreeMap<_, _>>()
    );
    assert_eq!(
        (parsed.feeds.as_slice(), parsed.feeds_total),
        ([(CIRCLE, 8)].as_slice(), 2)
    );
    assert_eq!(Issued::from_full_view(&issued.full_view()), Ok(issued));
}

#[test]
fn withheld_unknown_and_zero_are_three_things() {
    let issued = issue(
        Kind::Capacity,
        &fields(json!({"available": ["0"], "unit": "HUR", "bucket": "P7D", "start": "2026-11-30"})),
    );
    let view = issued
        .view(&CIRCLE, &names(&["available", "total", "no-such-slot"]))
        .expect("goes there");
    let record = read(view.encode().as_bytes()).expect("verifies");
    assert_eq!(record.fields()["available"], Some(json!(["0"])));
    assert_eq!(record.fields()["total"], Some(Value::Null));
    assert_eq!(record.fields()["committed"], None);
    assert_eq!(record.fields().len(), Kind::Capacity.slots().len());
    assert_eq!(record.feeds(), [(CIRCLE, 8)]);
    assert_eq!(record.feed_seq(&CIRCLE), Some(8));
    assert_eq!(record.feed_seq(&OTHER_CIRCLE), None);
    assert_eq!(record.feeds_total(), 2);
    assert_eq!(
        issued.view(&CircleId([0xc3; 16]), &names(&["available"])),
        None
    );
}

#[test]
fn two_circles_cannot_see_that_their_feeds_were_listed_in_an_order() {
    let mut first = BTreeSet::new();
    for seed in 0..32 {
        let feeds = [(CIRCLE, 8), (OTHER_CIRCLE, 9)];
        let issued = Issued::sign(
            claims(Kind::Site),
            &site_fields(),
            &feeds,
            &key(),
            &mut rng(seed),
        )
        .expect("signs");
        first.insert(issued.feeds[0].0);
    }
    assert_eq!(first.len(), 2);
}

#[test]
fn newer_slots_and_kinds_are_kept() {
    let hide = |value: Value| Disclosure::hide(&value, &mut rng(9));
    let (seen, unseen) = (
        hide(json!({"deep": [1]})),
        Disclosure::hide(&json!(2), &mut rng(10)),
    );
    let issued = issue(Kind::Site, &site_fields());
    let newer = format!(
        r#""body":{{"zz":[{{"...":"{}"}}],"yY":[{{"...":"{}"}}],"#,
        seen.digest(),
        unseen.digest()
    );
    let payload = part(issued.core(), 1).replacen(r#""body":{"#, &newer, 1);
    let text = format!("{}~{}~", core(&header(), &payload), seen.as_str());
    let record = read(text.as_bytes()).expect("a newer record of a known kind");
    assert_eq!(record.fields()["zz"], Some(json!({"deep": [1]})));
    assert_eq!(record.fields()["yY"], None);
    assert_eq!(record.fields().len(), Kind::Site.slots().len() + 2);

    let payload = payload.replacen(r#""kind":"site""#, r#""kind":"event-2""#, 1);
    let text = format!("{}~{}~", core(&header(), &payload), seen.as_str());
    let record = read(text.as_bytes()).expect("a record of a newer kind");
    assert_eq!(record.claims().kind, Kind::Other("event-2".into()));
    assert_eq!(record.fields()["zz"], Some(json!({"deep": [1]})));
}

#[test]
fn whitespace_between_members_does_not_matter() {
    let payload = part(issue(Kind::Site, &site_fields()).core(), 1)
        .replace("\":", "\": ")
        .replace(',', ",\n ");
    assert!(read(format!("{}~", core(&header(), &payload)).as_bytes()).is_ok());
}
