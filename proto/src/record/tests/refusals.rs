//! What is refused, though most of it is well signed.

use super::*;

#[test]
fn what_partners_would_refuse_is_not_signed() {
    let sign = |claims: Claims, fields: Fields, feeds: &[(CircleId, u64)]| {
        Issued::sign(claims, &fields, feeds, &key(), &mut rng(1))
            .expect_err("refused")
            .to_string()
    };
    let ours = || claims(Kind::Site);
    let one = [(CIRCLE, 1)];
    let long = fields(json!({"name": "x".repeat(VIEW_BYTES_MAX)}));
    let many: Vec<_> = (0..=64).map(|n| (CircleId([n; 16]), 1)).collect();
    let deep = (0..20).fold(Value::Null, |inner, _| json!([inner]));
    for (error, why) in [
        (
            sign(ours(), fields(json!({"nmae": "x"})), &one),
            "no slot nmae",
        ),
        (
            sign(claims(Kind::Other("event".into())), Fields::new(), &one),
            "does not know the kind",
        ),
        (sign(ours(), fields(json!({"name": 1.5})), &one), "1.5"),
        (
            sign(ours(), fields(json!({"name": u64::MAX})), &one),
            "2^63-1",
        ),
        (
            sign(ours(), fields(json!({"name": {"_sd": []}})), &one),
            "reserved",
        ),
        (
            sign(ours(), fields(json!({"name": [{"...": "x"}]})), &one),
            "reserved",
        ),
        (
            sign(ours(), fields(json!({"name": deep})), &one),
            "too deeply",
        ),
        (sign(ours(), long, &one), "a view of"),
        (
            sign(
                claims(Kind::Membership),
                fields(json!({"name": "x".repeat(CORE_BYTES_MAX)})),
                &one,
            ),
            "a core of",
        ),
        (
            sign(claims(Kind::Membership), fields(json!({"...": "x"})), &one),
            "reserved",
        ),
        (
            sign(claims(Kind::Membership), fields(json!({"a b": "x"})), &one),
            "not a name",
        ),
        (
            sign(ours(), site_fields(), &[(CIRCLE, 1), (CIRCLE, 2)]),
            "two feed positions",
        ),
        (sign(ours(), site_fields(), &[(CIRCLE, 0)]), "from 1"),
        (sign(ours(), site_fields(), &many), "more than 64 feeds"),
        (
            sign(Claims { rev: 0, ..ours() }, site_fields(), &one),
            "rev counts from 1",
        ),
        (
            sign(Claims { rev: 1, ..ours() }, site_fields(), &one),
            "prev is null",
        ),
        (
            sign(
                Claims {
                    prev: None,
                    ..ours()
                },
                site_fields(),
                &one,
            ),
            "prev is null",
        ),
        (
            sign(Claims { log: 0, ..ours() }, site_fields(), &one),
            "logs count from 1",
        ),
        (
            sign(
                Claims {
                    seq: 1 << 63,
                    ..ours()
                },
                site_fields(),
                &one,
            ),
            "seq is larger",
        ),
        (
            sign(
                Claims {
                    iat: u64::MAX,
                    ..ours()
                },
                site_fields(),
                &one,
            ),
            "iat is larger",
        ),
        (
            sign(
                Claims {
                    mesh: None,
                    ..ours()
                },
                site_fields(),
                &one,
            ),
            "mesh is null",
        ),
        (
            sign(
                Claims {
                    mesh: Some(MeshId([1; 32])),
                    ..claims(Kind::Keys)
                },
                Fields::new(),
                &one,
            ),
            "mesh is null",
        ),
    ] {
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn another_header_is_refused() {
    let payload = part(issue(Kind::Site, &site_fields()).core(), 1);
    let kid = key().public().fingerprint();
    assert!(read(format!("{}~", core(&header(), &payload)).as_bytes()).is_ok());
    for header in [
        format!(r#"{{"alg":"none","typ":"fmesh-record+sd-jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"Ed25519","typ":"fmesh-record+sd-jwt","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"fmesh-record+sd-jwt","alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"EdDSA","typ":"fmesh-record+sd-jwt","kid":"{kid}" }}"#),
        format!(
            r#"{{"alg":"EdDSA","typ":"fmesh-record+sd-jwt","kid":"{}"}}"#,
            kid.to_uppercase()
        ),
        format!(r#"{{"alg":"EdDSA","typ":"fmesh-record+sd-jwt","kid":"{kid}","jwk":{{}}}}"#),
        format!(
            r#"{{"alg":"EdDSA","typ":"fmesh-record+sd-jwt","kid":"{}"}}"#,
            &kid[..62]
        ),
        format!(r#"{{"alg":"EdDSA","typ":"vc+sd-jwt","kid":"{kid}"}}"#),
        String::new(),
    ] {
        let error = read(format!("{}~", core(&header, &payload)).as_bytes()).expect_err(&header);
        assert_eq!(
            error,
            malformed("the header is not the one that this protocol has"),
            "{header}"
        );
    }
}

#[test]
fn other_payloads_are_refused_though_well_signed() {
    let good = part(issue(Kind::Site, &site_fields()).core(), 1);
    let name = format!(
        r#""name":[{{"...":"{}"}}]"#,
        issue(Kind::Site, &site_fields()).slots["name"].digest()
    );
    let hidden = &name[8..name.len() - 1];
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    for (payload, why) in [
        (with(r#"{"v":1"#, r#"{"v":2"#), "newer version"),
        (
            with(r#"{"v":1"#, r#"{"v":1,"v":1"#),
            "expected member \"mesh\"",
        ),
        (with(r#"{"v":1,"#, "{"), "expected member \"v\""),
        (
            with(r#""log":1,"#, r#""exp":1,"log":1,"#),
            "expected member \"log\"",
        ),
        (
            with(r#""log":1,"seq":41"#, r#""seq":41,"log":1"#),
            "expected member \"log\"",
        ),
        (with(r#""log":1"#, r#""log":0"#), "logs count from 1"),
        (
            with(r#""log":1"#, r#""log":4294967296"#),
            "log is too large",
        ),
        (
            with(r#""seq":41"#, r#""seq":9223372036854775808"#),
            "larger than 2^63-1",
        ),
        (with(r#""seq":41"#, r#""seq":-1"#), "integer"),
        (with(r#""seq":41"#, r#""seq":41.0"#), "floating point"),
        (with(r#""seq":41"#, r#""seq":"41""#), "string"),
        (with(r#""rev":2"#, r#""rev":0"#), "rev counts from 1"),
        (with(r#""rev":2"#, r#""rev":1"#), "prev is null"),
        (
            with(
                &format!(r#""prev":"{}""#, "22".repeat(32)),
                r#""prev":null"#,
            ),
            "prev is null",
        ),
        (with(&"22".repeat(32), &"22".repeat(31)), "digest"),
        (
            with(
                &format!(r#""mesh":"{}""#, "11".repeat(32)),
                r#""mesh":null"#,
            ),
            "mesh is null",
        ),
        (with(r#""kind":"site""#, r#""kind":"keys""#), "reserved"),
        (with(r#""kind":"site""#, r#""kind":"Site""#), "malformed"),
        (
            with(r#""kind":"site""#, r#""kind":"capacity""#),
            "slot resources",
        ),
        (with("03030303-0303-4303", "03030303-0303-430G"), "invalid"),
        (with(r#""retired":false"#, r#""retired":0"#), "boolean"),
        (with("sha-256", "sha-512"), "_sd_alg"),
        (with(r#""_sd_alg":"sha-256","#, ""), "_sd_alg"),
        (
            with(
                &name,
                &name.replacen("[{", "[[{", 1).replacen("}]", "}]]", 1),
            ),
            "hidden element",
        ),
        (with(&name, r#""name":[]"#), "slot name is empty"),
        (
            with(&name, &format!(r#""name":[{hidden},{hidden}]"#)),
            "more than one element",
        ),
        (
            with(&name, &format!(r#""name":[{hidden},1]"#)),
            "more than one element",
        ),
        (with(&name, r#""name":["Nordbach"]"#), "hidden element"),
        (with(&name, r#""name":"Nordbach""#), "one hidden element"),
        (
            with(&name, &name.replacen("...", "....", 1)),
            "expected member \"...\"",
        ),
        (
            with(&name, &name.replacen('}', r#","...":""}"#, 1)),
            "one member only",
        ),
        (
            with(&name, &name.replacen("\"}", "A\"}", 1)),
            "SHA-256 digest",
        ),
        (with(&name, &format!("{name},{name}")), "appears twice"),
        (
            with(&format!("{name},"), ""),
            "slot name of kind site is missing",
        ),
        (
            with(&name, &format!(r#"{name},"_sd":[{hidden}]"#)),
            "not a name",
        ),
        (
            with(&name, &format!(r#"{name},"other":[{hidden}]"#)),
            "two places",
        ),
        (
            with(r#""feeds":["#, &format!(r#""feeds":[{hidden},"#)),
            "two places",
        ),
        (with(r#""feeds":["#, r#""feeds":[1,"#), "hidden element"),
        (
            with(r#""body":{"#, r#""body":[{"#).replace("]}}", "]}]}"),
            "object of slots",
        ),
        (
            format!("{}{}", &good[..good.len() - 1], r#","_sd":[]}"#),
            "unexpected member",
        ),
        (format!("{good}{good}"), "trailing"),
        (format!("[{good}]"), "payload"),
        (good[..good.len() - 1].to_owned(), "EOF"),
        (String::new(), "EOF"),
    ] {
        let error = read(format!("{}~", core(&header(), &payload)).as_bytes())
            .expect_err(why)
            .to_string();
        assert!(
            error.contains(why),
            "expected {why:?}, got {error:?} for {payload}"
        );
    }
    let digits = BASE64URL.encode([0; 32]);
    let many: String = (0..SLOTS_MAX)
        .map(|n| format!(r#""s{n}":[{{"...":"{digits}"}}],"#))
        .collect();
    let payload = with(r#""body":{"#, &format!(r#""body":{{{many}"#));
    let error = read(format!("{}~", core(&header(), &payload)).as_bytes())
        .expect_err("too many")
        .to_string();
    assert!(error.contains("more than 64 slots"), "{error}");
}

#[test]
fn plain_bodies_are_read_strictly() {
    let good = part(
        issue(
            Kind::Membership,
            &fields(json!({"act": "note", "list": [{"a": 1}]})),
        )
        .core(),
        1,
    );
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        let core = core(&header(), &good.replacen(from, to, 1));
        View::decode(format!("{core}~").as_bytes()).and_then(View::parse)
    };
    assert!(with("note", "other").is_ok());
    for (from, to, why) in [
        (r#"{"a":1}"#, r#"{"a":1,"a":1}"#, "appears twice"),
        (
            r#""act":"note""#,
            r#""act":"note","act":"note""#,
            "appears twice",
        ),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, "float"),
        (r#"{"a":1}"#, r#"{"_sd":1}"#, "reserved"),
        (r#"{"a":1}"#, r#"{"...":1}"#, "reserved"),
        (
            r#"{"a":1}"#,
            "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
            "too deeply",
        ),
        (r#""body":{"#, r#""body":[{"#, "expected"),
        (r#""act":"#, r#""":"#, "not a name"),
    ] {
        let error = with(from, to).expect_err(why).to_string();
        assert!(error.contains(why), "expected {why:?}, got {error:?}");
    }
}

#[test]
fn disclosures_open_their_own_place_once() {
    let issued = issue(Kind::Site, &site_fields());
    let view = issued
        .view(&CIRCLE, &names(&["name"]))
        .expect("goes there")
        .encode();
    let name = issued.slots["name"].as_str();
    let foreign = Disclosure::hide(&json!("Nordbach"), &mut rng(2));
    for (text, why) in [
        (format!("{view}{name}~"), "given twice"),
        (
            format!("{view}{}~", foreign.as_str()),
            "no slot and no feed",
        ),
    ] {
        let error = read(text.as_bytes()).expect_err(why);
        assert!(
            matches!(&error, RecordError::Disclosure(what) if what.contains(why)),
            "{error}"
        );
    }
    // A well committed element that is not what its place asks for.
    let feed = issued.feeds[0].2.digest();
    for (value, why) in [
        (json!("x"), "feed position"),
        (json!([CIRCLE.hex(), 0]), "feed position"),
    ] {
        let wrong = Disclosure::hide(&value, &mut rng(3));
        let payload = part(issued.core(), 1).replacen(&feed, &wrong.digest(), 1);
        let error = read(format!("{}~{}~", core(&header(), &payload), wrong.as_str()).as_bytes())
            .expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
    let three = BASE64URL.encode(r#"["AAAAAAAAAAAAAAAAAAAAAA","name","x"]"#);
    let three = Disclosure::from_text(&three);
    let payload =
        part(issued.core(), 1).replacen(&issued.slots["name"].digest(), &three.digest(), 1);
    let error = read(format!("{}~{}~", core(&header(), &payload), three.as_str()).as_bytes())
        .expect_err("arity");
    assert!(error.to_string().contains("two elements"), "{error}");
}

#[test]
fn texts_that_are_not_views_are_refused() {
    let issued = issue(Kind::Site, &site_fields());
    let core = issued.core();
    let cut = &core[..core.len() - 1];
    let long = "A".repeat(VIEW_BYTES_MAX);
    for text in [
        String::new(),
        "~".into(),
        "..~".into(),
        "a.b~".into(),
        core.to_owned(),
        format!("{core}~~"),
        format!("{core}~a b~"),
        format!("{core}~a=~"),
        format!("{core}~a.b~"),
        format!("{core}\n~"),
        format!("{core}.~"),
        format!("{core}.a~"),
        format!("{cut}~"),
        format!("{core}A~"),
        format!("{core}==~"),
        format!("{core}~{}", "A~".repeat(DISCLOSURES_MAX + 1)),
        format!("{core}~{long}~"),
        format!("{}~", "A".repeat(CORE_BYTES_MAX + 1)),
        format!("{core}~eyJ.eyJ.AAA"),
        "ä.ö.ü~".into(),
    ] {
        let answer = View::decode(text.as_bytes()).and_then(View::parse);
        assert!(
            matches!(answer, Err(RecordError::Malformed(_))),
            "{}",
            &text[..text.len().min(200)]
        );
    }
    assert!(View::decode(b"\xff~").is_err());
}

#[test]
fn only_the_named_key_verifies() {
    let view = issue(Kind::Site, &site_fields()).full_view();
    let other = SigningKey::from_bytes(&[8; 32]).public();
    let answer = view
        .clone()
        .parse()
        .and_then(|parsed| parsed.verify(&other));
    assert_eq!(
        answer.err(),
        Some(RecordError::WrongKey {
            kid: key().public().fingerprint(),
            seq: 41
        })
    );
    // The header names `other`, but somebody else signed.
    let header = header().replace(&key().public().fingerprint(), &other.fingerprint());
    let forged = core(&header, &part(view.core(), 1));
    let parsed = View::decode(format!("{forged}~").as_bytes())
        .and_then(View::parse)
        .expect("well formed");
    assert_eq!(parsed.kid(), other.fingerprint());
    assert_eq!(
        parsed.verify(&other).err(),
        Some(RecordError::Signature {
            kid: other.fingerprint()
        })
    );
}

#[test]
fn every_bit_of_a_core_is_signed() {
    let core = issue(Kind::Site, &fields(json!({"name": "Nordbach"})))
        .core()
        .to_owned();
    for at in 0..core.len() {
        let mut bytes = format!("{core}~").into_bytes();
        bytes[at] ^= 1 << (at % 7);
        assert!(read(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn the_kinds_own_rules_bind_the_author_and_every_reader() {
    let mut wrong = capacity_fields();
    wrong.insert("total".into(), json!(["81", "80", null]));
    let refused = Issued::sign(
        claims(Kind::Capacity),
        &wrong,
        &[(CIRCLE, 8)],
        &key(),
        &mut rng(1),
    );
    assert!(
        matches!(refused, Err(RecordError::Rule { .. })),
        "{refused:?}"
    );

    // An author who signs it all the same.
    let issued = issue(Kind::Capacity, &capacity_fields());
    let (good, bad) = (
        &issued.slots["total"],
        Disclosure::hide(&wrong["total"], &mut rng(4)),
    );
    let payload = part(issued.core(), 1).replacen(&good.digest(), &bad.digest(), 1);
    let rest = issued
        .full_view()
        .encode()
        .replacen(good.as_str(), bad.as_str(), 1);
    let rest = rest
        .strip_prefix(issued.core())
        .expect("a view begins with its core");
    let answer = read(format!("{}{rest}", core(&header(), &payload)).as_bytes());
    assert!(
        matches!(answer, Err(RecordError::Rule { .. })),
        "{answer:?}"
    );
}
