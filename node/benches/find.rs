//! How long a question takes over 100,000 capacity records of 26 weeks.
//!
//! ```text
//! cargo bench -p fmesh --bench find             # 100,000 records
//! cargo bench -p fmesh --bench find -- 1000000
//! ```
//!
//! The records are made from a fixed seed and go in through [`Index::put_content`], as the node fills its index: a thousand
//! factories with machines of 240 kinds in some thousands of sizes, one capacity each. Every question is asked many times,
//! with another span of weeks each time. Without `--bench` (as `cargo test` runs it) a small world shows that it works.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use fmesh::search::{Index, Origin, Position, Query};
use fmesh_proto::{
    id::{ObjectId, SiteId},
    kinds::{Content, Kind, Property},
    quantity::Quantity,
    week::{Week, WeekSpan},
};
use serde_json::{Value, json};

const WEEKS: usize = 26;
const PROCESSES: [&str; 12] = [
    "separating/milling/5-axis",
    "separating/milling/3-axis",
    "separating/turning",
    "separating/turning/long",
    "separating/grinding",
    "separating/laser-cutting",
    "forming/pressing",
    "forming/bending",
    "joining/welding/laser",
    "coating/painting",
    "primary-shaping/casting",
    "inspection/measuring",
];
const MATERIALS: [&str; 5] = [
    "metal/aluminium/en-aw-7075",
    "metal/aluminium/en-aw-6082",
    "metal/steel/1.4301",
    "metal/steel",
    "plastic/pa6",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let measured = args.iter().any(|arg| arg == "--bench");
    let asked = args.iter().find_map(|arg| arg.parse().ok());
    let (records, rounds) = match measured {
        true => (asked.unwrap_or(100_000), 500),
        false => (2_000, 3),
    };
    let begin = Instant::now();
    let index = fill(records);
    let took = begin.elapsed();
    println!(
        "{records} capacity records of {WEEKS} weeks, filled in {:.2} s ({:.0} records/s), {}",
        took.as_secs_f64(),
        records as f64 / took.as_secs_f64(),
        resident()
    );
    println!(
        "{:<44} {:>9} {:>9} {:>9}",
        "question", "answers", "p50 ms", "p99 ms"
    );
    for (name, question) in questions() {
        let mut times = Vec::with_capacity(rounds);
        let mut total = 0;
        for round in 0..rounds {
            let mut query = question.clone();
            let first = week(round as i32 % 20);
            query.weeks = WeekSpan {
                first,
                last: first.plus(3).expect("within this century"),
            };
            let begin = Instant::now();
            let answers = index.find(&query).expect("a place is given");
            times.push(begin.elapsed());
            assert_eq!(answers.best.len(), answers.total.min(query.limit));
            total = total.max(answers.total);
        }
        assert!(total > 0, "{name}: nothing found, so nothing was measured");
        times.sort();
        let at = |percent: usize| {
            milliseconds(times[(times.len() * percent / 100).min(times.len() - 1)])
        };
        println!("{name:<44} {total:>9} {:>9.3} {:>9.3}", at(50), at(99));
    }
}

fn questions() -> Vec<(&'static str, Query)> {
    let mut milling = Query::new(WeekSpan {
        first: week(0),
        last: week(0),
    });
    milling.required.process = Some("milling/5-axis".into());
    milling.required.materials = vec!["en-aw-7075".into()];
    milling.need = Quantity::from_units(36);
    let mut near = milling.clone();
    near.from = Some(Position {
        lat: "48.303056".parse().expect("degrees"),
        lon: "14.290556".parse().expect("degrees"),
    });
    near.within_km = Some(300);
    near.certificates = vec!["ISO 9001".into()];
    let mut sized = milling.clone();
    let travel = json!({"name": "travelX", "value": "500", "unit": "MMT"});
    let travel: Property = serde_json::from_value(travel).expect("a property");
    sized.required.properties = vec![travel];
    let mut all = milling.clone();
    all.required = fmesh_proto::rules::coverage::Requirement::default();
    vec![
        ("process, material, hours", milling),
        ("process, material, hours, distance, cert", near),
        ("process, material, hours, size", sized),
        ("hours alone (every record fits)", all),
    ]
}

fn fill(records: usize) -> Index {
    let mut index = Index::new();
    let mut random = Random(0x5eed);
    let sites = (records / 10).clamp(1, 1_000);
    for n in 0..sites {
        let (lat, lon) = (40_000 + random.below(15_000), random.below(20_000));
        let until = format!("{}-06-30", 2025 + random.below(5));
        let shown = json!({
            "name": format!("Factory {n}"),
            "location": {"country": "AT", "lat": thousandths(lat), "lon": thousandths(lon)},
            "certificates": [{"type": "ISO 9001:2015", "validUntil": until}],
        });
        put(&mut index, n, &Kind::Site, 0, &shown);
    }
    for n in 0..records {
        let site = n % sites;
        let (resource, capacity) = (2 * n as u128 + 1, 2 * n as u128 + 2);
        let size = 100 + 10 * random.below(100);
        let shown = json!({
            "name": format!("Machine {n}"),
            "capabilities": [{
                "process": PROCESSES[random.below(12) as usize],
                "core": random.below(3) == 0,
                "materials": [MATERIALS[random.below(5) as usize], MATERIALS[random.below(5) as usize]],
                "properties": [{"name": "travelX", "min": "0", "max": size.to_string(), "unit": "MMT"}],
            }],
        });
        put(&mut index, site, &Kind::Resource, resource, &shown);
        let available: Vec<Value> = (0..WEEKS)
            .map(|_| match random.below(20) {
                0 => Value::Null,
                _ => thousandths(500 * random.below(100)),
            })
            .collect();
        let shown = json!({
            "resources": [object(resource)],
            "unit": "HUR",
            "bucket": "P7D",
            "start": week(0).monday(),
            "available": available,
        });
        put(&mut index, site, &Kind::Capacity, capacity, &shown);
    }
    index
}

fn put(index: &mut Index, site: usize, kind: &Kind, id: u128, shown: &Value) {
    let fields: BTreeMap<String, Option<Value>> = kind
        .slots()
        .iter()
        .map(|slot| ((*slot).to_owned(), shown.get(slot).cloned()))
        .collect();
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(site as u64).to_be_bytes());
    let origin = Origin {
        site: SiteId(key),
        id: object(id),
        seq: 1,
        iat: 1_790_000_000,
        received: 1_790_000_001,
        shown: true,
        ended: false,
    };
    let content = Content::read(kind, &fields).expect("fields of the kind");
    index.put_content(&origin, &content);
}

fn object(n: u128) -> ObjectId {
    ObjectId::from_random(
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            .to_be_bytes(),
    )
}

/// The n-th week from 2026-W49.
fn week(n: i32) -> Week {
    let first: Week = "2026-W49".parse().expect("a week");
    first.plus(n).expect("within this century")
}

fn thousandths(n: u64) -> Value {
    json!(Quantity::from_thousandths(n as i64))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Memory of this process, where the system tells.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.map_or_else(|| "memory unknown".into(), |line| line.replace('\t', " "))
}

/// A fixed sequence (xorshift64*), so that every run measures the same world.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}
