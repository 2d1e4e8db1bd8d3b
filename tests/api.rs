//! The local API over real HTTP, on real nodes: what it answers, what it refuses, and that nothing changes then.

mod support;

use std::time::Duration;

use fmesh::api;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::Site;

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A site whose API is up.
struct Plant {
    site: Site,
    base: String,
    http: reqwest::Client,
}

impl Plant {
    async fn start(name: &str) -> Self {
        let site = Site::start(name).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let token = TOKEN.to_owned().into();
        tokio::spawn(api::serve(
            listener,
            site.node().clone(),
            token,
            std::future::pending(),
        ));
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        Self { site, base, http }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let url = format!("{}/api/v1/{path}", self.base);
        let mut request = self.http.request(method, url).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        (status, response.json().await.expect("JSON"))
    }

    /// What must succeed.
    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path, None).await;
        assert!(status.is_success(), "{path}: {answer:#}");
        answer
    }
    async fn put(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(Method::PUT, path, Some(body)).await;
        assert!(status.is_success(), "{path}: {answer:#}");
        answer
    }
    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "{path}: {answer:#}");
        answer
    }

    /// What must be refused: status, code and exit code agree, and there is a hint.
    async fn refused(&self, method: Method, path: &str, body: Option<Value>, code: &str) -> Value {
        let (status, problem) = self.call(method, path, body).await;
        assert_eq!(problem["code"], code, "{path}: {problem:#}");
        assert_eq!(problem["status"], status.as_u16());
        assert!(problem["hint"].is_string(), "{problem:#}");
        problem
    }
}

/// Weekly columns of three weeks.
fn hours(free: &str) -> Value {
    json!({"name": "DMU-80 hours", "resources": ["DMU-80"], "process": "separating/milling/5-axis",
        "unit": "HUR", "bucket": "P7D", "start": "2026-11-30",
        "available": [free, null, "0"]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sites_meet_share_find_and_prove_over_the_api() {
    let a = Plant::start("Alu Ost").await;
    let b = Plant::start("Bolt Nord").await;

    // An invite founds the mesh; a person lets the newcomer in.
    assert_eq!(a.get("join").await["step"], "alone");
    let made = a
        .post("invites", json!({"note": "for Bolt", "uses": 1}))
        .await;
    assert_eq!(
        (&made["founded"], &made["invite"]["state"]),
        (&json!(true), &json!("open"))
    );
    let ticket = made["ticket"].as_str().expect("a ticket");
    assert_eq!(
        b.post("join", json!({"ticket": ticket})).await["step"],
        "trying"
    );
    until_async(|| async { a.get("pending").await["items"][0]["name"] == "Bolt Nord" }).await;
    let print = a.get("pending").await["items"][0]["fingerprint"].clone();
    assert_eq!(
        print,
        b.get("status").await["site"]["fingerprint"],
        "what people compare"
    );
    let partner = a.post("pending/bolt-nord/approve", json!({})).await;
    assert_eq!(partner["name"], "Bolt Nord");
    until_async(|| async { b.get("join").await["step"] == "member" }).await;
    a.site.meets(&b.site).await;
    let invite = &a.get("invites").await["items"][0];
    assert_eq!(
        (&invite["state"], &invite["used_by"][0]["by"]["name"]),
        (&json!("used_up"), &json!("Bolt Nord"))
    );
    assert!(
        invite.get("secret").is_none() && invite.get("ticket").is_none(),
        "shown once"
    );

    // Own data, then a circle; what leaves is seen before.
    a.put("site", json!({"fields": {"name": "Alu Ost", "location": {"country": "AT", "lat": "48.3", "lon": "14.29"},
        "certificates": [{"type": "ISO 9001", "valid_until": "2030-01-01"}]}})).await;
    a.put("resources/DMU-80", json!({"fields": {"name": "DMU 80", "nameplate": {"manufacturer": "Secret Maker"},
        "capabilities": [{"process": "separating/milling/5-axis", "core": true, "materials": ["metal/aluminium"]}]}})).await;
    let put = a
        .put("capacities/HOURS", json!({"fields": hours("36")}))
        .await;
    assert_eq!(
        (&put["new"], &put["signed"], &put["items"][0]["circles"]),
        (&json!(1), &json!(0), &json!([]))
    );
    let rule = json!({"kinds": ["site", "resource", "capacity"],
        "slots": ["name", "location", "capabilities", "unit", "bucket", "start", "available", "resources", "process", "certificates"]});
    let circle = json!({"audience": {"type": "group", "members": ["bolt"]}, "rules": [rule], "dry_run": true});
    let dry = a.put("circles/buyers", circle.clone()).await;
    assert_eq!(
        (&dry["new"], dry["changes"].as_array().map(Vec::len)),
        (&json!(true), Some(3))
    );
    a.refused(Method::GET, "circles/buyers", None, "not_found")
        .await;
    let mut circle = circle;
    circle["dry_run"] = json!(false);
    let real = a.put("circles/buyers", circle).await;
    assert_eq!(
        real["changes"], dry["changes"],
        "a dry run says what happens"
    );
    assert_eq!(real["signed"], dry["signed"]);
    assert_ne!(
        real["circle"]["id"], dry["circle"]["id"],
        "no id before it is there"
    );

    // The preview is what the partner then holds.
    until_async(|| async {
        !b.get("capacities?of=alu-ost").await["items"]
            .as_array()
            .unwrap()
            .is_empty()
    })
    .await;
    let preview = a.get("preview?as=bolt-nord").await;
    assert!(!preview.to_string().contains("Secret Maker"));
    let seen = b.get("resources/dmu-80?of=alu-ost").await;
    let seen_by_name = b
        .refused(Method::GET, "resources/lathe?of=alu-ost", None, "not_found")
        .await;
    assert!(seen_by_name["detail"].as_str().unwrap().contains("lathe"));
    assert_eq!(seen["fields"]["nameplate"], json!({"state": "withheld"}));
    assert_eq!(seen["fields"]["calendar"], json!({"state": "withheld"}));
    let resource = preview["visible"]
        .as_array()
        .unwrap()
        .iter()
        .find(|o| o["kind"] == "resource")
        .unwrap();
    for slot in resource["slots"].as_array().unwrap() {
        let state = &seen["fields"][slot["slot"].as_str().unwrap()]["state"];
        assert_eq!(*state == "withheld", slot["shown"] == false, "{slot}");
    }
    let capacity = &b.get("capacities?of=alu-ost").await["items"][0]["fields"];
    assert_eq!(
        capacity["available"],
        json!({"state": "known", "value":
        [{"value": "36", "unit": "HUR"}, null, {"value": "0", "unit": "HUR"}]})
    );
    assert_eq!(capacity["total"], json!({"state": "withheld"}));

    // Why, and what would change it.
    let why = a.get("explain?partner=bolt&object=capacity:HOURS").await;
    assert_eq!(
        (&why["visible"], &why["circle"], &why["rule"]),
        (&json!(true), &json!("buyers"), &json!(1))
    );
    assert_eq!(
        a.get("partners/bolt").await["they_see"],
        json!({"resources": 1, "capacities": 1})
    );
    assert_eq!(
        b.get("partners/alu").await["i_see"],
        json!({"resources": 1, "capacities": 1})
    );

    // Found, with a number that carries unit, age and signer.
    let found = b
        .post(
            "find",
            json!({"process": "milling/5-axis", "weeks": "2026-W49..W51",
        "need": {"value": "30", "unit": "HUR"}, "certificates": ["ISO 9001"], "countries": ["AT"],
        "from": {"lat": "48.2", "lon": "16.37"}, "within_km": 300}),
        )
        .await;
    let hit = &found["items"][0];
    assert_eq!(
        (&hit["site"]["name"], &hit["km"]),
        (&json!("Alu Ost"), &json!(154)),
        "{found:#}"
    );
    assert_eq!(hit["free"], json!({"value": "36", "unit": "HUR"}));
    assert_eq!(
        hit["weeks"][1]["free"],
        json!({"state": "unknown"}),
        "unknown is never free"
    );
    let none = b.post("find", json!({"process": "turning"})).await;
    assert_eq!(none["items"], json!([]));

    // The record, its bytes, and the proof of it, from the reader's side.
    let records = b.get("records?of=alu-ost&kind=capacity&current=true").await;
    let seq = records["items"][0]["seq"].as_u64().unwrap();
    let record = b.get(&format!("records/alu-ost/{seq}")).await;
    assert_eq!(record["slots"]["total"], json!({"state": "withheld"}));
    let core = b.get(&format!("records/alu-ost/{seq}/core")).await;
    assert_eq!(core["core"].as_str().unwrap().split('.').count(), 3);
    assert_proven(&b.get(&format!("records/alu-ost/{seq}/export")).await, seq);
    assert_proven(&a.get(&format!("records/self/{seq}/export")).await, seq);

    // A retirement reaches the partner's answers.
    a.refused(
        Method::POST,
        "resources/DMU-80/retire",
        Some(json!({})),
        "conflict",
    )
    .await;
    a.post("capacities/HOURS/retire", json!({})).await;
    until_async(|| async { b.get("partners/alu").await["i_see"]["capacities"] == 0 }).await;
    assert_eq!(a.get("capacities").await["items"], json!([]));
    assert_eq!(
        a.get("capacities?retired=true").await["items"][0]["head"]["retired"],
        true
    );
    let status = a.get("status").await;
    assert_eq!(
        (
            &status["own"]["resources_shared"],
            &status["own"]["capacities"]
        ),
        (&json!(1), &json!(0))
    );
    assert_eq!(status["partners"][0]["name"], "Bolt Nord");
}

/// An export verifies with the protocol crate alone.
fn assert_proven(export: &Value, seq: u64) {
    use fmesh_proto::{keys::KeyHistory, log, note::ProofFile, record::View};
    let text = |name: &str| export[name].as_str().expect("a text").as_bytes().to_vec();
    let manifest = View::decode(&text("manifest")).expect("a view");
    let (keys, _) = KeyHistory::from_manifest(&manifest).expect("a manifest");
    let record = View::decode(&text("record")).expect("a view");
    let record = keys.verify(record).expect("signed by the site");
    let proof = ProofFile::decode(&text("proof")).expect("a proof");
    assert_eq!((proof.index, record.claims().seq), (seq, seq));
    proof
        .checkpoint
        .verify(&keys.current().log)
        .expect("signed by the log");
    let (size, root) = (proof.checkpoint.size(), proof.checkpoint.root());
    log::verify_inclusion(seq, size, &record.leaf_hash(), &proof.path, &root).expect("in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_gives_roles_pings_and_puts_a_partner_out() {
    let a = Plant::start("Alu Ost").await;
    let b = Plant::start("Bolt Nord").await;
    let c = Plant::start("Carbo SA").await;
    let ticket = a.site.open_door(true).await;
    for plant in [&b, &c] {
        plant.site.join(&ticket).await;
        a.site.meets(&plant.site).await;
    }
    b.site.meets(&c.site).await;
    let problem = |status: &Value, words: &str| -> Option<Value> {
        let problems = status["problems"].as_array().expect("a list");
        let is_it = |p: &&Value| p["what"].as_str().is_some_and(|what| what.contains(words));
        problems.iter().find(is_it).cloned()
    };
    let lonely = problem(&a.get("status").await, "only admin").expect("is a problem");
    assert_eq!(lonely["hint"], "fmesh partner role 'Bolt Nord' admin");

    let pong = a.post("partners/bolt-nord/ping", json!({})).await;
    assert!(
        pong["micros"].as_u64().is_some_and(|micros| micros > 0),
        "{pong:#}"
    );
    assert!(
        pong["software"]
            .as_str()
            .is_some_and(|text| text.starts_with("fmesh "))
    );
    assert_eq!(pong["partner"]["name"], "Bolt Nord");
    let partner = a
        .post("partners/bolt-nord/role", json!({"role": "admin"}))
        .await;
    assert_eq!(partner["role"], "admin");
    assert_eq!(problem(&a.get("status").await, "only admin"), None);
    until_async(|| async { b.get("status").await["mesh"]["role"] == "admin" }).await;

    a.put("circles/all", json!({"audience": {"type": "group", "members": ["bolt-nord", "carbo"]}, "rules": [{"kinds": ["resource"]}]})).await;
    a.put("resources/press", json!({"fields": {"name": "Press"}}))
        .await;
    until_async(|| async {
        let seen = c.get("resources?of=alu-ost").await;
        seen["items"]
            .as_array()
            .is_some_and(|items| items.len() == 1)
    })
    .await;

    // Refusals, each with its reason and what to do; nothing changes.
    for (plant, path, body, status, words) in [
        (
            &c,
            "partners/bolt-nord/remove",
            json!({}),
            403,
            "only an admin",
        ),
        (&a, "partners/nobody/remove", json!({}), 404, "no partner"),
        (&a, "partners/self/remove", json!({}), 409, "another admin"),
        (
            &a,
            "partners/carbo/remove",
            json!({"last_good": 1_000_000}),
            422,
            "1000000",
        ),
        (
            &a,
            "partners/carbo/remove",
            json!({"reason": "a\nb"}),
            422,
            "one line",
        ),
        (&a, "partners/carbo/remove", json!({"when": 1}), 422, "when"),
        (
            &a,
            "partners/carbo/role",
            json!({"role": "member"}),
            409,
            "already",
        ),
        (
            &a,
            "partners/carbo/role",
            json!({"role": "king"}),
            422,
            "king",
        ),
        (&a, "partners/nobody/ping", json!({}), 404, "no partner"),
    ] {
        let (is, answer) = plant.call(Method::POST, path, Some(body)).await;
        let told = answer["detail"].as_str().unwrap_or_default();
        assert!(
            is == status && told.contains(words) && answer["hint"].is_string(),
            "{path}: {answer:#}"
        );
    }
    let dry = a
        .post("partners/carbo/remove", json!({"dry_run": true}))
        .await;
    assert_eq!(
        (&dry["dry_run"], &dry["circles"][0]["fate"]),
        (&json!(true), &json!("new_key"))
    );
    assert_eq!(dry["circles"][0]["objects"], json!(["press"]));
    assert_eq!(a.get("status").await["mesh"]["members"], 3);

    let done = b
        .post("partners/carbo/remove", json!({"reason": "contract ended"}))
        .await;
    assert_eq!(
        (&done["dry_run"], &done["partner"]["name"]),
        (&json!(false), &json!("Carbo SA"))
    );
    until_async(|| async { a.get("status").await["mesh"]["members"] == 2 }).await;
    let gone = a.get("partners/carbo").await;
    assert_eq!(
        (&gone["state"], &gone["removed"]["by"]["name"]),
        (&json!("removed"), &json!("Bolt Nord"))
    );
    assert_eq!(gone["removed"]["reason"], "contract ended");
    let listed = a.get("partners").await;
    let names = |list: &Value| -> Vec<Value> {
        list["items"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|p| p["name"].clone())
            .collect()
    };
    assert_eq!(names(&listed), ["Bolt Nord", "Carbo SA"]);
    assert_eq!(
        a.get("status").await["partners"].as_array().map(Vec::len),
        Some(1)
    );
    let circle = a.get("circles/all").await;
    assert_eq!(
        circle["audience"]["members"].as_array().map(Vec::len),
        Some(1),
        "{circle:#}"
    );
    let (is, again) = a
        .call(Method::POST, "partners/carbo/remove", Some(json!({})))
        .await;
    assert!(
        is == 409
            && again["detail"]
                .as_str()
                .is_some_and(|told| told.contains("removed before")),
        "{again:#}"
    );
    let (is, _) = a
        .call(Method::POST, "partners/carbo/ping", Some(json!({})))
        .await;
    assert_eq!(is, 404);
    // What it signed before can still be looked at.
    let records = a.get("records?of=carbo").await;
    assert!(
        records["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty()),
        "{records:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let a = Plant::start("Alu Ost").await;
    a.post("invites", json!({})).await;
    a.put("resources/DMU-80", json!({"fields": {"name": "mill"}}))
        .await;

    // An import is all or nothing, and every row's error is told.
    let rows = json!([
        {"row": 2, "key": "GOOD", "fields": hours("1")},
        {"row": 3, "key": "BAD", "fields": {"unit": "HUR", "bucket": "P7D", "start": "2026-11-30",
            "total": ["10"], "committed": ["5"], "available": ["4"], "unattainable": ["0"]}},
        {"row": 4, "key": "GOOD", "fields": {}},
        {"row": 5, "key": "NOWHERE", "fields": {"resources": ["LATHE"]}}]);
    for dry_run in [true, false] {
        let body = json!({"dry_run": dry_run, "rows": rows});
        let problem = a
            .refused(
                Method::POST,
                "imports/capacities",
                Some(body),
                "invalid_input",
            )
            .await;
        let told: Vec<u64> = problem["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["row"].as_u64().unwrap())
            .collect();
        assert_eq!((told, &problem["exit"]), (vec![3, 4, 5], &json!(8)));
    }
    assert_eq!(a.get("capacities").await["items"], json!([]));
    let dry = a
        .post(
            "imports/capacities",
            json!({"dry_run": true, "rows": [rows[0]]}),
        )
        .await;
    assert_eq!((&dry["new"], &dry["dry_run"]), (&json!(1), &json!(true)));
    assert_eq!(a.get("capacities").await["items"], json!([]));
    a.post("imports/capacities", json!({"rows": [rows[0]]}))
        .await;
    let again = a
        .post("imports/capacities", json!({"rows": [rows[0]]}))
        .await;
    assert_eq!((&again["same"], &again["signed"]), (&json!(1), &json!(0)));

    // Requests that nobody can mean.
    let put = |fields: Value| Some(json!({"fields": fields}));
    for (method, path, body, code) in [
        (Method::GET, "nothing", None, "not_found"),
        (Method::DELETE, "status", None, "method_not_allowed"),
        (Method::GET, "partners/bolt", None, "not_found"),
        (Method::GET, "resources/lathe", None, "not_found"),
        (Method::GET, "resources?off=bolt", None, "bad_request"),
        (Method::GET, "records/self/99", None, "not_found"),
        (Method::GET, "records/self/x", None, "bad_request"),
        (Method::GET, "preview", None, "bad_request"),
        (
            Method::PUT,
            "resources/X",
            put(json!({"nmae": "X"})),
            "invalid_input",
        ),
        (
            Method::PUT,
            "resources/X",
            put(json!({"level": "Machine"})),
            "invalid_input",
        ),
        (Method::PUT, "resources/X", None, "unsupported_media_type"),
        (
            Method::PUT,
            "capacities/X",
            put(json!({"unit": "hours"})),
            "invalid_input",
        ),
        (
            Method::PUT,
            "capacities/X",
            put(json!({"total": [1.5]})),
            "invalid_input",
        ),
        (
            Method::PUT,
            "site",
            put(json!({"location": {"country": "Austria"}})),
            "invalid_input",
        ),
        (Method::PUT, "circles/x", Some(json!({})), "bad_request"),
        (
            Method::PUT,
            "circles/x",
            Some(json!({"audience": {"type": "partner", "partner": "bolt"}})),
            "not_found",
        ),
        (
            Method::POST,
            "invites",
            Some(json!({"uses": 0})),
            "bad_request",
        ),
        (
            Method::POST,
            "invites",
            Some(json!({"circles": ["x"]})),
            "not_found",
        ),
        (
            Method::POST,
            "invites/ff/revoke",
            Some(json!({})),
            "not_found",
        ),
        (
            Method::POST,
            "join",
            Some(json!({"ticket": "fmesh1oops"})),
            "bad_request",
        ),
        (
            Method::POST,
            "pending/bolt/approve",
            Some(json!({})),
            "not_found",
        ),
        (
            Method::POST,
            "find",
            Some(json!({"weeks": "2026-W54"})),
            "bad_request",
        ),
        (
            Method::POST,
            "find",
            Some(json!({"within_km": 10})),
            "conflict",
        ),
    ] {
        a.refused(method, path, body, code).await;
    }
    let big = json!({"fields": {"name": "x".repeat(2 * 1024 * 1024)}});
    // The problem is read, whatever was still on its way when it was found.
    for _ in 0..5 {
        a.refused(Method::PUT, "resources/X", Some(big.clone()), "too_large")
            .await;
        a.refused(Method::PUT, "nothing", Some(big.clone()), "not_found")
            .await;
        a.refused(
            Method::DELETE,
            "status",
            Some(big.clone()),
            "method_not_allowed",
        )
        .await;
    }
    assert_eq!(
        a.get("resources").await["items"].as_array().map(Vec::len),
        Some(1)
    );

    // Without the token, or under another name, nothing is answered.
    let status = format!("{}/api/v1/status", a.base);
    let bare = a.http.get(&status).send().await.expect("an answer");
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    let foreign = a
        .http
        .get(&status)
        .bearer_auth(TOKEN)
        .header("host", "evil.example");
    assert_eq!(
        foreign.send().await.expect("an answer").status(),
        StatusCode::FORBIDDEN
    );
    let wrong = a.http.delete(&status).bearer_auth(TOKEN).send().await;
    assert_eq!(wrong.expect("an answer").headers()["allow"], "GET,HEAD");
    for path in ["live", "ready"] {
        let health = a.http.get(format!("{}/health/{path}", a.base)).send().await;
        assert_eq!(health.expect("an answer").status(), StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_listens_on_the_loopback_only_and_stops_when_told() {
    let site = Site::start("Alu Ost").await;
    let open = tokio::net::TcpListener::bind("0.0.0.0:0")
        .await
        .expect("a free port");
    let token = || TOKEN.to_owned().into();
    let refused = api::serve(open, site.node().clone(), token(), async {}).await;
    assert!(refused.unwrap_err().to_string().contains("loopback"));
    let local = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let stopped = api::serve(local, site.node().clone(), token(), async {});
    let stopped = tokio::time::timeout(support::PATIENCE, stopped).await;
    assert!(stopped.expect("it ends").is_ok());
}

/// As `until`, for what must be asked.
async fn until_async<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let start = std::time::Instant::now();
    while !holds().await {
        assert!(start.elapsed() < support::PATIENCE, "timed out");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_the_step_that_fails() {
    let a = Plant::start("Alu Ost").await;
    let alone = a.get("doctor").await;
    assert_eq!(alone["causes"][0]["step"], "mesh", "{alone:#}");
    let mut b = Site::start("Bolt Nord").await;
    let ticket = a.site.open_door(true).await;
    b.join(&ticket).await;
    a.site.meets(&b).await;
    until_async(|| async {
        let doctor = a.get("doctor?partner=Bolt+Nord").await;
        let checks = doctor["checks"].as_array().expect("checks");
        let ok = |step: &str| {
            checks
                .iter()
                .any(|c| c["step"] == step && c["state"] == "ok" && c["subject"] == "Bolt Nord")
        };
        ok("dial") && ok("connection") && ok("hello") && ok("records")
    })
    .await;
    b.stop().await;
    until_async(|| async {
        let doctor = a.get("doctor?partner=Bolt+Nord").await;
        let cause = &doctor["causes"][0];
        cause["subject"] == "Bolt Nord" && cause["state"] == "failed" && cause["fix"].is_string()
    })
    .await;
    a.refused(Method::GET, "doctor?partner=Nobody", None, "not_found")
        .await;
    a.refused(Method::GET, "doctor?who=Nobody", None, "bad_request")
        .await;
}
