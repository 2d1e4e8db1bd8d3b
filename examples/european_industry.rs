//! 1,360 factories of Europe in one store: what the machinery does with real places and real sizes.
//!
//! ```text
//! cargo run --release -p fmesh --example european_industry
//! cargo run --release -p fmesh --example european_industry -- --store /tmp/industry   # keep the store
//! ```
//!
//! Each row of the Hotmaps industrial database (see `data/NOTICE.md`) that states a production becomes a site with a
//! log of its own: key manifest, site, resource and capacity, signed, sealed for one circle, and published. A reader then
//! does what every node does with what a partner sends: decode, check the checkpoint against the leaves, open the box,
//! verify each record, store. At the end the store is opened again, everything in it is verified once more, and
//! questions are answered.
//!
//! **What is real and what is not.** Places, names and tonnes per year are the file's. A week's total is a 52nd of the
//! year, rounded to a kilogram. What the file does not say is unknown here: above all what is free, so no
//! answer below counts anything as free. The process of a site is guessed from its subsector ([`SUBSECTORS`]). The
//! keys are made by this program from the number of the row: nobody at these firms has signed anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use fmesh::{
    search::{Answer, Free, Index, Missing, Position, Query},
    store::{Changes, Head, Store},
};
use fmesh_proto::{
    circle::{EpochKey, SealContext, open_group},
    id::{CircleId, MeshId, ObjectId, SiteId},
    keys::{KeyHistory, OperatingKeys, RootKey, sign_manifest},
    kinds::{
        Bucket, Capability, Capacity, Kind, Level, Location, Resource, Site, Slot, Typed as _,
    },
    log::leaf_hash,
    mesh::issue::{Author, Item, Seal},
    publication::Publication,
    quantity::{Quantity, Unit},
    record::{Fields, Verified},
    week::{Week, WeekSpan},
};
use sha2::{Digest as _, Sha256};

/// One number a year in the file, so one number a week here.
const WEEKS: i64 = 52;
/// The circle that the reader is in, and its key.
const CIRCLE: CircleId = CircleId(*b"european-readers");
const EPOCH: u64 = 1;
/// Sites per commit: one flush of the disk each.
const SITES_PER_COMMIT: usize = 64;
/// How often each question is asked to measure it.
const ROUNDS: usize = 1_000;

/// Subsector in the file, process, material. An approximation: a subsector is no process. The groups are those of DIN 8580,
/// where making a solid body from a melt or from fibres is primary shaping, and burning changes a property.
const SUBSECTORS: [(&str, &str, &str); 4] = [
    (
        "Iron and steel",
        "primary-shaping/steelmaking",
        "metal/steel",
    ),
    ("Paper and printing", "primary-shaping/papermaking", "paper"),
    (
        "Cement",
        "property-change/clinker-burning",
        "mineral/cement",
    ),
    ("Glass", "primary-shaping/glass-melting", "mineral/glass"),
];

/// Names in the file and ISO 3166-1 codes.
const COUNTRIES: [(&str, &str); 29] = [
    ("Austria", "AT"),
    ("Belgium", "BE"),
    ("Bulgaria", "BG"),
    ("Cyprus", "CY"),
    ("Czech Republic", "CZ"),
    ("Denmark", "DK"),
    ("Estonia", "EE"),
    ("Finland", "FI"),
    ("France", "FR"),
    ("Germany", "DE"),
    ("Greece", "GR"),
    ("Hungary", "HU"),
    ("Ireland", "IE"),
    ("Italy", "IT"),
    ("Latvia", "LV"),
    ("Liechtenstein", "LI"),
    ("Lithuania", "LT"),
    ("Luxembourg", "LU"),
    ("Netherland", "NL"),
    ("Norway", "NO"),
    ("Poland", "PL"),
    ("Portugal", "PT"),
    ("Romania", "RO"),
    ("Slovakia", "SK"),
    ("Slovenia", "SI"),
    ("Spain", "ES"),
    ("Sweden", "SE"),
    ("Switzerland", "CH"),
    ("United Kingdom", "GB"),
];

fn main() -> anyhow::Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    let rows = read(&options.data)?;
    let placed = rows.iter().filter(|row| row.place.is_some()).count();
    println!(
        "{} sites with production, {placed} of them with coordinates",
        rows.len()
    );
    for (subsector, process, _) in SUBSECTORS {
        let count = rows.iter().filter(|row| row.subsector == subsector).count();
        println!("  {count:>4} {subsector:<20} taken as {process}");
    }

    let mesh = MeshId::found(&root(&rows[0]).site(), b"european example");
    let begin = Instant::now();
    let sent = rows
        .iter()
        .map(|row| publish(row, mesh, now))
        .collect::<Result<Vec<_>, _>>()?;
    let records: usize = sent
        .iter()
        .flatten()
        .map(|publication| publication.leaf_hashes.len())
        .sum();
    println!("\nOne thread for each step:");
    rate("signed, sealed, published", records, begin.elapsed());

    let wire: Vec<Vec<u8>> = sent
        .into_iter()
        .flatten()
        .map(|p| p.bytes().to_vec())
        .collect();
    let bytes: usize = wire.iter().map(Vec::len).sum();
    let begin = Instant::now();
    let taken = wire
        .iter()
        .map(|bytes| take(bytes, mesh))
        .collect::<Result<Vec<_>, _>>()?;
    rate("decoded, opened, verified", records, begin.elapsed());

    let store = Store::open(&options.store)?;
    let begin = Instant::now();
    for chunk in taken.chunks(SITES_PER_COMMIT) {
        let mut changes = Changes::new();
        chunk.iter().for_each(|log| log.put(&mut changes, now));
        store.commit(changes)?;
    }
    rate("stored and flushed", records, begin.elapsed());
    println!(
        "  {} KiB on the wire, {} KiB on disk",
        bytes >> 10,
        store.size_on_disk()? >> 10
    );

    drop((taken, store));
    let store = Store::open(&options.store)?;
    let begin = Instant::now();
    let (index, found) = fill(&store)?;
    rate("read back, verified, indexed", found, begin.elapsed());
    ensure!(
        found == records,
        "{records} records were stored and {found} are there"
    );

    let origin = Position {
        lat: "48.30694".parse().map_err(anyhow::Error::msg)?,
        lon: "14.28583".parse().map_err(anyhow::Error::msg)?,
    };
    for (title, query) in questions(origin)? {
        ask(&index, &store, title, &query)?;
    }
    println!("\nFree tonnes are unknown everywhere: the file states none, so none is claimed.");
    if let Some(dir) = options.temporary {
        dir.close()?;
    }
    Ok(())
}

struct Options {
    data: PathBuf,
    store: PathBuf,
    /// Removed at the end.
    temporary: Option<tempfile::TempDir>,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut data = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples/data/hotmaps_Industrial_Database.csv");
        let mut store = None;
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--data" => data = value()?.into(),
                "--store" => store = Some(PathBuf::from(value()?)),
                _ => {
                    bail!("unknown option {arg}; there are --data FILE and --store DIR (a new one)")
                }
            }
        }
        if let Some(store) = store {
            ensure!(
                !store.exists(),
                "{} exists; name a new directory",
                store.display()
            );
            return Ok(Self {
                data,
                store,
                temporary: None,
            });
        }
        let dir = tempfile::tempdir()?;
        Ok(Self {
            data,
            store: dir.path().join("store"),
            temporary: Some(dir),
        })
    }
}

/// What a row of the file says.
struct Row {
    id: String,
    name: String,
    city: Option<String>,
    country: &'static str,
    place: Option<Position>,
    subsector: String,
    tonnes_per_year: Quantity,
}

/// Rows with a production; a row that cannot be understood stops everything, with its number.
fn read(path: &Path) -> anyhow::Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b';')
        .from_path(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let header = reader.headers()?.clone();
    let column = |name: &str| {
        let place = header
            .iter()
            .position(|title| title.trim_start_matches('\u{feff}') == name);
        place.with_context(|| format!("{} has no column {name}", path.display()))
    };
    let [
        id,
        company,
        site,
        city,
        country,
        geom,
        subsector,
        production,
    ] = [
        "SiteID",
        "CompanyName",
        "SiteName",
        "City",
        "Country",
        "geom",
        "Subsector",
        "Production",
    ]
    .map(column);
    let (id, company, site, city) = (id?, company?, site?, city?);
    let (country, geom, subsector, production) = (country?, geom?, subsector?, production?);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let text = |column: usize| Some(record.get(column)?.trim()).filter(|text| !text.is_empty());
        let Some(tonnes) = text(production) else {
            continue;
        };
        let row = || -> anyhow::Result<Row> {
            let country = text(country).unwrap_or_default();
            let code = COUNTRIES.iter().find(|(name, _)| *name == country);
            Ok(Row {
                id: text(id).context("no SiteID")?.to_owned(),
                name: name(text(company), text(site)).context("no name")?,
                city: text(city).map(str::to_owned),
                country: code
                    .with_context(|| format!("country {country:?} is not in the table"))?
                    .1,
                place: text(geom).map(place).transpose()?,
                subsector: text(subsector).unwrap_or_default().to_owned(),
                tonnes_per_year: tonnes.parse()?,
            })
        };
        let line = record.position().map_or(0, csv::Position::line);
        rows.push(row().with_context(|| format!("line {line} of {}", path.display()))?);
    }
    ensure!(
        !rows.is_empty(),
        "{} has no row with a production",
        path.display()
    );
    Ok(rows)
}

fn name(company: Option<&str>, site: Option<&str>) -> Option<String> {
    let name = match (company, site) {
        (Some(company), Some(site)) if site.starts_with(company) => site.to_owned(),
        (Some(company), Some(site)) => format!("{company}, {site}"),
        (company, site) => company.or(site)?.to_owned(),
    };
    Some(
        name.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(200)
            .collect(),
    )
}

/// `SRID=4326;POINT(14.343056 48.281944)`, rounded to six decimals (0.1 m).
fn place(geom: &str) -> anyhow::Result<Position> {
    let point = geom
        .strip_prefix("SRID=4326;POINT(")
        .and_then(|rest| rest.strip_suffix(')'));
    let (lon, lat) = point
        .and_then(|point| point.split_once(' '))
        .with_context(|| format!("no point: {geom:?}"))?;
    let degrees = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{fraction:0<7.7}");
        let up = digits.ends_with(['5', '6', '7', '8', '9']);
        let exact: fmesh_proto::kinds::Degrees = format!("{whole}.{}", &digits[..6])
            .parse()
            .map_err(anyhow::Error::msg)?;
        let step = if whole.starts_with('-') { -1 } else { 1 };
        Ok::<_, anyhow::Error>(fmesh_proto::kinds::Degrees(
            exact.0 + if up { step } else { 0 },
        ))
    };
    Ok(Position {
        lat: degrees(lat)?,
        lon: degrees(lon)?,
    })
}

/// Thirty-two bytes that depend on the row alone.
fn seed(row: &Row, purpose: &str) -> [u8; 32] {
    Sha256::digest(format!("european_industry\n{purpose}\n{}", row.id)).into()
}

fn root(row: &Row) -> RootKey {
    RootKey::from_bytes(&seed(row, "root"))
}

fn epoch_key() -> EpochKey {
    EpochKey(Sha256::digest(b"european_industry\nepoch").into())
}

fn object(row: &Row, kind: &Kind) -> ObjectId {
    let seed = seed(row, kind.as_str());
    ObjectId::from_random(std::array::from_fn(|n| seed[n]))
}

/// Signs what the row says and wraps it, as a node does for its own records.
fn publish(row: &Row, mesh: MeshId, now: u64) -> anyhow::Result<Vec<Publication>> {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let (root, keys) = (root(row), OperatingKeys::from_seed(&seed(row, "operating")));
    let manifest = sign_manifest(&root, &keys.public(), now, &mut rng);
    let author = Author {
        mesh,
        site: root.site(),
        keys: &keys,
        manifest: &manifest,
    };
    let item = |(kind, fields): (Kind, Fields)| Item {
        id: object(row, &kind),
        circles: BTreeMap::from([(
            CIRCLE,
            kind.slots().iter().map(|slot| (*slot).to_owned()).collect(),
        )]),
        kind,
        rev: 1,
        prev: None,
        retired: false,
        fields,
    };
    let items = says(row)?.map(item).to_vec();
    let seals = BTreeMap::from([(CIRCLE, Seal::Group(EPOCH, epoch_key()))]);
    let issuance = author.issue(None, &mut BTreeMap::new(), &seals, items, now, &mut rng)?;
    Ok(issuance.publications)
}

/// Site, resource and capacity. Everything that is left at its default is unknown.
fn says(row: &Row) -> anyhow::Result<[(Kind, Fields); 3]> {
    let site = Site {
        name: Slot::Known(row.name.clone()),
        location: Slot::Known(Location {
            country: row.country.to_owned(),
            region: None,
            locality: row.city.clone(),
            lat: row.place.map(|place| place.lat),
            lon: row.place.map(|place| place.lon),
        }),
        ..Site::default()
    };
    let (_, process, material) = SUBSECTORS
        .into_iter()
        .find(|(subsector, ..)| *subsector == row.subsector)
        .with_context(|| format!("subsector {:?} is not in the table", row.subsector))?;
    let resource = Resource {
        level: Slot::Known(Level::Site),
        name: Slot::Known(row.name.clone()),
        capabilities: Slot::Known(vec![Capability {
            process: process.parse()?,
            core: true,
            materials: vec![material.parse()?],
            properties: Vec::new(),
        }]),
        ..Resource::default()
    };
    let weekly = (row.tonnes_per_year.thousandths() + WEEKS / 2) / WEEKS;
    let total = vec![Some(Quantity::from_thousandths(weekly)); usize::try_from(WEEKS)?];
    let capacity = Capacity {
        resources: Slot::Known(vec![object(row, &Kind::Resource)]),
        unit: Slot::Known(Unit::TONNE),
        bucket: Slot::Known(Bucket::Week),
        start: Slot::Known(first_week()?.monday()),
        total: Slot::Known(total),
        ..Capacity::default()
    };
    Ok([
        (Kind::Site, site.write()),
        (Kind::Resource, resource.write()),
        (Kind::Capacity, capacity.write()),
    ])
}

/// 2027 has 52 weeks.
fn first_week() -> anyhow::Result<Week> {
    Ok(Week::new(2027, 1)?)
}

/// One site's log as a reader holds it after its first publication.
struct Log {
    site: SiteId,
    publication: Publication,
    records: Vec<Verified>,
}

/// From bytes to verified records, believing nothing.
fn take(bytes: &[u8], mesh: MeshId) -> anyhow::Result<Log> {
    let publication = Publication::decode(bytes)?;
    let manifest = publication
        .plain
        .first()
        .context("the manifest is missing")?;
    let (keys, manifest) = KeyHistory::from_manifest(manifest)?;
    ensure!(
        keys.site() == publication.site,
        "the manifest is of another site"
    );
    publication.check(&mesh, &keys.current().log)?;
    let mut records = vec![manifest];
    for sealed in &publication.sealed {
        let context = SealContext {
            mesh,
            site: publication.site,
            circle: CIRCLE,
            epoch: EPOCH,
            from: publication.from(),
            size: publication.size(),
        };
        for view in open_group(&epoch_key(), &context, sealed)? {
            let record = keys.verify(view)?;
            let seq = usize::try_from(record.claims().seq)?;
            let leaf = leaf_hash(record.view().core().as_bytes());
            ensure!(
                publication.leaf_hashes.get(seq) == Some(&leaf),
                "leaf {seq} is another record"
            );
            fmesh_proto::kinds::check(&record.claims().kind, record.fields())?;
            records.push(record);
        }
    }
    ensure!(
        records.len() == publication.leaf_hashes.len(),
        "some records were not in the publication"
    );
    Ok(Log {
        site: keys.site(),
        publication,
        records,
    })
}

impl Log {
    fn put(&self, changes: &mut Changes, now: u64) {
        let mut frontier = self.publication.frontier.clone();
        for leaf in &self.publication.leaf_hashes {
            frontier.append(*leaf, &mut |level, index, hash| {
                changes.put_node(&self.site, level, index, &hash)
            });
        }
        let checkpoint = self.publication.checkpoint.clone();
        changes.put_head(
            &self.site,
            &Head {
                frontier,
                checkpoint,
            },
        );
        changes.put_publication(
            &self.site,
            self.publication.from(),
            self.publication.bytes(),
            now,
        );
        for record in &self.records {
            let claims = record.claims();
            changes.put_record(&self.site, claims.seq, record.view(), now);
            changes.put_current(&self.site, &claims.kind, &claims.id, claims.seq);
            if claims.kind == Kind::Keys {
                changes.put_membership(&self.site, claims.seq);
            }
        }
    }
}

/// The index from nothing but the store, as at every start of a node; and how many records were verified for it.
fn fill(store: &Store) -> anyhow::Result<(Index, usize)> {
    let mut index = Index::new();
    let mut count = 0;
    for site in store.heads()?.into_keys() {
        let mut keys = None;
        for entry in store.records(&site, 0) {
            let (_, view, received) = entry?;
            match &keys {
                None => keys = Some(KeyHistory::from_manifest(&view)?.0),
                Some(keys) => index.put(&keys.verify(view)?, received),
            }
            count += 1;
        }
    }
    Ok((index, count))
}

fn questions(linz: Position) -> anyhow::Result<[(&'static str, Query); 4]> {
    let weeks = WeekSpan::new(Week::new(2027, 10)?, Week::new(2027, 12)?)?;
    let ask = |process: &str, within_km| {
        let mut query = Query::new(weeks);
        query.required.process = Some(process.to_owned());
        query.unit = Some(Unit::TONNE);
        query.from = Some(linz);
        query.within_km = within_km;
        query
    };
    let mut need = ask("steelmaking", Some(300));
    need.need = Quantity::from_units(10_000);
    let mut french = ask("primary-shaping", None);
    french.countries = vec!["FR".to_owned()];
    french.required.materials = vec!["mineral/glass".to_owned()];
    Ok([
        ("steel within 300 km of Linz", ask("steelmaking", Some(300))),
        (
            "10,000 t of steel free within 300 km of Linz, 2027-W10..W12",
            need,
        ),
        ("paper within 150 km of Linz", ask("papermaking", Some(150))),
        ("glass in France", french),
    ])
}

/// Asks, shows the best answers with what their records say, and measures.
fn ask(index: &Index, store: &Store, title: &str, query: &Query) -> anyhow::Result<()> {
    let answers = index.find(query)?;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let again = index.find(query)?;
        times.push(begin.elapsed());
        ensure!(
            again.total == answers.total,
            "two answers to one question differ"
        );
    }
    times.sort();
    println!(
        "\n{title}: {} sites, p50 {:.3} ms, p99 {:.3} ms",
        answers.total,
        milliseconds(times[ROUNDS / 2]),
        milliseconds(times[ROUNDS * 99 / 100])
    );
    let mut unclear: BTreeSet<String> = BTreeSet::new();
    for answer in answers.best.iter().take(5) {
        ensure!(
            answer.free.is_none() && answer.weeks.iter().all(|(_, free)| *free == Free::Unknown),
            "something was counted as free"
        );
        let total = total(store, answer)?;
        let km = answer.distance_m.map_or_else(
            || "?".to_owned(),
            |metres| ((metres + 500) / 1_000).to_string(),
        );
        let name = answer.site_name.as_deref().unwrap_or("?");
        println!(
            "  {km:>5} km  {total:>12} t/week in all, free unknown  {name}, {}",
            answer.country.as_deref().unwrap_or("?")
        );
        unclear.extend(answer.missing.iter().map(Missing::to_string));
    }
    if !unclear.is_empty() {
        println!(
            "  not judged: {}",
            unclear.into_iter().collect::<Vec<_>>().join("; ")
        );
    }
    Ok(())
}

/// What the answer's capacity record states for a week, from its signed bytes.
fn total(store: &Store, answer: &Answer) -> anyhow::Result<Quantity> {
    let held = |seq| {
        Ok::<_, anyhow::Error>(
            store
                .record(&answer.site, seq)?
                .context("an answer without its record")?
                .0,
        )
    };
    let (keys, _) = KeyHistory::from_manifest(&held(0)?)?;
    let record = keys.verify(held(answer.seq)?)?;
    let capacity = Capacity::read(record.fields())?;
    let total = capacity.total.known().and_then(|total| *total.first()?);
    total.context("a capacity without a total")
}

fn rate(what: &str, records: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "  {records} records {what:<30} {seconds:>6.2} s  {:>7.0} records/s",
        records as f64 / seconds
    );
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
