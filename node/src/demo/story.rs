//! What happens in the demo, in order, and the words around it.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::factory::Factory;
use crate::keystore;

/// How long something may take to arrive before the demo gives up. It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Weeks of the planned order.
const WEEKS: &str = "2026-W49..W51";

/// One factory's files, as they stand in `examples/factories`.
macro_rules! files {
    ($folder:literal: $($file:literal),+) => {
        &[$(($file, include_bytes!(concat!("../../../examples/factories/", $folder, "/", $file)))),+]
    };
}

pub(super) async fn tell(base: &Path, once: bool) -> Result<()> {
    let begun = Instant::now();
    let screen = Screen::new();
    screen.line("Three factories, three nodes, nobody in between.");

    screen.title("1  Each factory sets up its own node and reads its own files");
    let mut traunfels = screen
        .busy(
            "Traunfels",
            Factory::create(
                base,
                "traunfels",
                "Traunfels Zerspanung",
                files!("traunfels": "site.toml", "resources.csv", "capacity.csv", "shifts.ics"),
            ),
        )
        .await?;
    let mut isenfels = screen
        .busy(
            "Isenfels",
            Factory::create(
                base,
                "isenfels",
                "Isenfels Gerätebau",
                files!("isenfels": "site.toml", "anlagen.csv", "kapazitaet.csv", "schichten.ics"),
            ),
        )
        .await?;
    let mut trebenov = screen
        .busy(
            "Trebenov",
            Factory::create(
                base,
                "trebenov",
                "Trebenov Obrábění",
                files!("trebenov": "site.toml", "stroje.xlsx", "kapacita.xlsx", "smeny.ics"),
            ),
        )
        .await?;
    for (factory, resources, capacity, how) in [
        (
            &mut traunfels,
            "resources.csv",
            "capacity.csv",
            "CSV in UTF-8",
        ),
        (
            &mut isenfels,
            "anlagen.csv",
            "kapazitaet.csv",
            "a German ERP's CSV: Windows-1252, ; and decimal comma",
        ),
        (
            &mut trebenov,
            "stroje.xlsx",
            "kapacita.xlsx",
            "Excel, a column a week",
        ),
    ] {
        screen.busy(factory.name, factory.start()).await?;
        let file = |name: &str| format!("{}/{name}", factory.dir);
        factory
            .run(&["site", "set", "--file", &file("site.toml")])
            .await?;
        let machines = changes(
            &factory
                .json(&["resource", "import", &file(resources)])
                .await?,
        );
        let hours = changes(
            &factory
                .json(&["capacity", "import", &file(capacity)])
                .await?,
        );
        screen.done(
            factory.name,
            &format!("{machines} resources, {hours} capacities from {how}"),
        );
    }
    let shifts = traunfels
        .json(&[
            "capacity",
            "import",
            "traunfels/shifts.ics",
            "--resource",
            "DMU-80",
            "--weeks",
            "2026-W49..2027-W02",
            "--dry-run",
        ])
        .await?;
    screen.done(
        "shifts.ics",
        &format!(
            "planned hours of {} machine read from the shift calendar, as a check",
            changes(&shifts)
        ),
    );

    screen.title("2  Two factories join the first with one pasted line");
    let invited = traunfels
        .json(&["invite", "create", "--uses", "2", "--auto-approve"])
        .await?;
    let ticket = text(&invited, "/ticket")?;
    screen.command("traunfels", "invite create --uses 2 --auto-approve");
    screen.quote(&format!(
        "{}…{}",
        &ticket[..34.min(ticket.len())],
        &ticket[ticket.len().saturating_sub(12)..]
    ));
    for factory in [&isenfels, &trebenov] {
        let from = Instant::now();
        screen.command(factory.dir, "join fmesh1…");
        screen
            .busy(factory.name, factory.run(&["join", &ticket]))
            .await?;
        screen.done(
            factory.name,
            &format!("is a member after {}", span(from.elapsed())),
        );
    }
    for (one, others) in [(&traunfels, 2), (&isenfels, 2), (&trebenov, 2)] {
        wait(&screen, "all three know each other", async || {
            let status = one.json(&["status"]).await?;
            let partners = status["partners"].as_array().map_or(0, |list| {
                list.iter().filter(|p| !p["address"].is_null()).count()
            });
            Ok(partners >= others)
        })
        .await?;
    }
    screen.done(
        "direct",
        "all three are connected to each other, encrypted, QUIC or TCP",
    );

    screen.title("3  Each decides who sees what. The default is nothing");
    let show = async |factory: &Factory, arguments: &str| -> Result<()> {
        screen.command(factory.dir, arguments);
        factory.run(&words(arguments)).await.map(|_| ())
    };
    show(&traunfels, "circle set partners --mesh --kind site,resource --slots name,location,certificates,level,capabilities").await?;
    show(&traunfels, "circle set isenfels --to isenfels --kind capacity --slots name,resources,process,unit,bucket,start,available").await?;
    show(&trebenov, "circle set partners --mesh --kind site,resource --slots name,location,certificates,level,capabilities").await?;
    show(&trebenov, "circle set buyers --group isenfels --kind capacity --slots name,resources,process,unit,bucket,start,available").await?;
    wait(&screen, "the buyer has both partners' hours", async || {
        Ok(count(
            &isenfels
                .json(&["capacity", "list", "--partner", "traunfels"])
                .await?,
        ) > 0
            && count(
                &isenfels
                    .json(&["capacity", "list", "--partner", "trebenov"])
                    .await?,
            ) > 0)
    })
    .await?;
    screen.line("  The same signed records of Traunfels, as two partners see them:");
    for partner in ["isenfels", "trebenov"] {
        let preview = traunfels
            .json(&["circle", "preview", "--as", partner])
            .await?;
        for line in seen_by(partner, &preview) {
            screen.quote(&line);
        }
    }
    screen.command("traunfels", "circle explain trebenov capacity:DMU-80");
    screen.quote_all(
        &traunfels
            .run(&["circle", "explain", "trebenov", "capacity:DMU-80"])
            .await?,
    );

    screen.title(
        "4  The buyer searches: who mills EN AW-7075 on five axes, 36 free hours before Christmas?",
    );
    let query = format!(
        "find milling/5-axis --material en-aw-7075 --hours 36 --weeks {WEEKS} --within 300km"
    );
    screen.command("isenfels", &query);
    let from = Instant::now();
    let found = isenfels.run(&words(&query)).await?;
    screen.quote_all(&found);
    screen.done(
        "answered",
        &format!(
            "from the buyer's own store in {}, also if both partners were offline",
            span(from.elapsed())
        ),
    );

    screen.title("5  A planner books hours; the buyer knows");
    let (arrival, edit) = change(&screen, &traunfels, &isenfels).await?;
    screen.done(
        "arrived",
        &format!(
            "{edit}: signed, stored, sent, checked and visible at Isenfels after {}",
            span(arrival)
        ),
    );

    screen.title(
        "6  An auditor checks what the buyer received: offline, trusting two ids and nobody else",
    );
    verify(&screen, base, &traunfels, &isenfels).await?;

    screen.line("");
    screen.line(&format!(
        "Done in {}. Nothing left the three nodes but what their circles selected.",
        span(begun.elapsed())
    ));
    let factories = [&mut traunfels, &mut isenfels, &mut trebenov];
    if !once {
        screen.line("The nodes run until Ctrl-C. Try, in another window:");
        let program =
            std::env::current_exe().map_or_else(|_| "fmesh".into(), |p| p.display().to_string());
        for (factory, command) in
            factories
                .iter()
                .zip(["status", "find turning", "circle preview --as isenfels"])
        {
            screen.line(&format!(
                "  {program} --dir {} {command}",
                factory.path().display()
            ));
        }
        for factory in &factories {
            if let Ok(access) = keystore::load_access(&factory.path().join("data")) {
                screen.line(&format!(
                    "  {}: API at http://{}/api/v1, token in {}",
                    factory.name,
                    access.address,
                    factory.path().join("data/api-token").display()
                ));
            }
        }
        let _ = tokio::signal::ctrl_c().await;
    }
    for factory in factories {
        factory.stop().await;
    }
    Ok(())
}

/// Books 8 of the free hours in a week at one factory and measures until the other one sees it.
async fn change(screen: &Screen, at: &Factory, seen_at: &Factory) -> Result<(Duration, String)> {
    let list = at.json(&["capacity", "list"]).await?;
    let capacity = list["items"]
        .as_array()
        .and_then(|items| items.iter().find(|c| c["head"]["key"] == "DMU-80"))
        .context("the demo's capacity is missing")?;
    let id = text(capacity, "/head/id")?;
    let column = |name: &str| -> Vec<Option<String>> {
        let cells = capacity["fields"][name]["value"].as_array();
        cells
            .into_iter()
            .flatten()
            .map(|cell| cell["value"].as_str().map(str::to_owned))
            .collect()
    };
    let (mut committed, mut available) = (column("committed"), column("available"));
    let week = 1;
    let (before, after) = book(&mut committed, &mut available, week)?;
    let cells = |column: &[Option<String>]| {
        let words: Vec<&str> = column
            .iter()
            .map(|cell| cell.as_deref().unwrap_or("?"))
            .collect();
        words.join(",")
    };
    screen.command(at.dir, "capacity set DMU-80 --committed … --available …");
    let watch = Watch::new(&seen_at.path().join("data"), at.dir)?;
    let (promised, free) = (cells(&committed), cells(&available));
    let edit = [
        "capacity",
        "set",
        "DMU-80",
        "--committed",
        &promised,
        "--available",
        &free,
    ];
    let from = Instant::now();
    let (edited, arrived) = tokio::join!(at.run(&edit), watch.until(&id, week, &after));
    edited?;
    let arrived = arrived?.saturating_duration_since(from);
    Ok((
        arrived,
        format!("{before} h free in 2026-W49 became {after} h"),
    ))
}

/// Moves 8 hours (or what is there) from free to promised in one bucket: the sum stays.
fn book(
    committed: &mut [Option<String>],
    available: &mut [Option<String>],
    week: usize,
) -> Result<(String, String)> {
    use fmesh_proto::quantity::Quantity;
    let (Some(Some(promised)), Some(Some(free))) =
        (committed.get(week).cloned(), available.get(week).cloned())
    else {
        bail!("the demo's week is unknown");
    };
    let (old_promised, old_free): (Quantity, Quantity) = (promised.parse()?, free.parse()?);
    let hours = Quantity::from_thousandths(8_000).min(old_free);
    let new_free = old_free.checked_sub(hours).context("too large")?;
    committed[week] = Some(
        old_promised
            .checked_add(hours)
            .context("too large")?
            .to_string(),
    );
    available[week] = Some(new_free.to_string());
    Ok((free, new_free.to_string()))
}

/// Looks at a node through its local API every millisecond.
struct Watch {
    client: reqwest::Client,
    url: String,
    token: zeroize::Zeroizing<String>,
}

impl Watch {
    fn new(data: &Path, partner: &str) -> Result<Self> {
        let access = keystore::load_access(data)?;
        Ok(Self {
            client: reqwest::Client::new(),
            url: format!("http://{}/api/v1/capacities?of={partner}", access.address),
            token: access.token,
        })
    }

    /// The moment at which a capacity of the partner shows a number.
    async fn until(&self, id: &str, week: usize, value: &str) -> Result<Instant> {
        let begun = Instant::now();
        loop {
            let answer: Value = self
                .client
                .get(&self.url)
                .bearer_auth(self.token.as_str())
                .send()
                .await?
                .json()
                .await?;
            let shown = answer["items"].as_array().into_iter().flatten().any(|c| {
                c["head"]["id"] == id && c["fields"]["available"]["value"][week]["value"] == value
            });
            if shown {
                return Ok(Instant::now());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the change did not arrive");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Exports a record at the buyer and verifies it without any node; then with one bit flipped.
async fn verify(screen: &Screen, base: &Path, author: &Factory, holder: &Factory) -> Result<()> {
    let records = holder
        .json(&[
            "record",
            "list",
            "--partner",
            author.dir,
            "--kind",
            "capacity",
            "--current",
        ])
        .await?;
    let seq = records["items"]
        .as_array()
        .and_then(|items| items.iter().filter_map(|r| r["seq"].as_u64()).max())
        .context("no record of the partner is here")?;
    let status = author.json(&["status"]).await?;
    let (site, mesh) = (text(&status, "/site/site")?, text(&status, "/mesh/mesh")?);
    let audit = base.join("audit");
    std::fs::create_dir_all(&audit)?;
    let export = format!("record export {}/{seq} --out audit --force", author.dir);
    screen.command(holder.dir, &export);
    holder.run(&words(&export)).await?;
    std::fs::write(
        audit.join("anchors.txt"),
        format!(
            "# Whom the auditor trusts, and how they know: read out by telephone.\nmesh {mesh}\nsite {site} {}\n",
            author.name
        ),
    )?;
    let record = std::fs::read_dir(&audit)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            path.extension().is_some_and(|end| end == "sdjwt")
                && !path.to_string_lossy().ends_with(".keys.sdjwt")
        })
        .context("the export is missing")?;
    let shown = format!(
        "audit/{}",
        record.file_name().unwrap_or_default().to_string_lossy()
    );
    let command = format!("audit verify {shown} --trust audit/anchors.txt");
    screen.command(holder.dir, &command);
    let (code, out, err) = holder.try_run(&words(&command)).await?;
    screen.quote_all(&out);
    if code != Some(0) {
        bail!("the exported record does not verify ({code:?})\n{out}{err}");
    }
    let mut bytes = std::fs::read(&record)?;
    let signature = bytes.iter().rposition(|b| *b == b'.').unwrap_or(0) + 10;
    bytes[signature] = if bytes[signature] == b'A' { b'B' } else { b'A' };
    std::fs::write(&record, bytes)?;
    let (code, out, _) = holder.try_run(&words(&command)).await?;
    if code != Some(10) {
        bail!("a forged record was not refuted ({code:?})\n{out}");
    }
    let first = out
        .lines()
        .find(|line| line.trim_start().starts_with("refuted"))
        .unwrap_or("refuted");
    screen.done(
        "forged",
        &format!("one character changed: exit code 10, {}", first.trim()),
    );
    Ok(())
}

/// Lines that say what one partner sees, from a preview.
fn seen_by(partner: &str, preview: &Value) -> Vec<String> {
    let objects = |list: &str, kind: &str| {
        let of_kind = |o: &&Value| o["kind"] == kind;
        preview[list]
            .as_array()
            .into_iter()
            .flatten()
            .filter(of_kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    ["resource", "capacity"]
        .into_iter()
        .map(|kind| {
            let seen = objects("visible", kind);
            let names = |shown: bool| {
                let slots = seen.first().and_then(|o| o["slots"].as_array());
                let slots = slots.into_iter().flatten().filter(|s| s["shown"] == shown);
                slots
                    .filter_map(|s| s["slot"].as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let all = seen.len() + objects("withheld", kind).len();
            match seen.len() {
                0 => format!("{partner:<9} {kind:<9} 0 of {all}"),
                n => format!(
                    "{partner:<9} {kind:<9} {n} of {all}: {}   without {}",
                    names(true),
                    names(false)
                ),
            }
        })
        .collect()
}

async fn wait(
    screen: &Screen,
    what: &str,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    let _spinner = screen.spinner(what);
    while !holds().await? {
        if begun.elapsed() > PATIENCE {
            bail!("timed out: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn changes(answer: &Value) -> usize {
    answer["items"].as_array().map_or(0, Vec::len)
}

fn count(list: &Value) -> usize {
    list["items"].as_array().map_or(0, Vec::len)
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .with_context(|| format!("{pointer} is missing in an answer"))
}

/// Splits a shown command at blanks; none of the demo's arguments holds one.
fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().collect()
}

fn span(duration: Duration) -> String {
    match duration.as_millis() {
        0..10_000 => format!("{} ms", duration.as_millis()),
        _ => format!("{} s", duration.as_secs()),
    }
}

/// What is shown: data on stdout, spinners on stderr and only on a terminal.
struct Screen {
    colour: bool,
}

impl Screen {
    fn new() -> Self {
        Self {
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn line(&self, text: &str) {
        // A closed pipe is the reader's choice.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    fn title(&self, text: &str) {
        self.line("");
        self.line(&self.styled("1", text));
    }

    fn done(&self, who: &str, what: &str) {
        self.line(&format!(
            "  {} {}  {what}",
            self.styled("32", "✓"),
            self.styled("1", who)
        ));
    }

    fn command(&self, dir: &str, arguments: &str) {
        self.line(&self.styled("36", &format!("  $ fmesh --dir {dir} {arguments}")));
    }

    fn quote(&self, text: &str) {
        self.line(&format!("    {text}"));
    }

    fn quote_all(&self, text: &str) {
        for line in text.lines() {
            self.quote(line);
        }
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn spinner(&self, what: &str) -> Spinner {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(80));
        Spinner(bar)
    }

    async fn busy<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let _spinner = self.spinner(what);
        work.await
    }
}

/// Goes away with its scope.
struct Spinner(ProgressBar);

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
