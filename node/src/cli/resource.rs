//! `fmesh resource`: machines, lines, cells, tools.

use std::path::PathBuf;

use fmesh_proto::{kinds::Level, taxonomy::Path};
use jiff::Timestamp;

use super::{
    Context,
    failure::Failure,
    import, input,
    input::confirm,
    object::{Parts, Whose, changed, head_lines, key, maybe, named, origin, value},
    table::{Table, extra, text},
    words::{age, list, shown, shown_short},
};
use crate::api::view::{
    Capability, Nameplate, Property, Resource, ResourceFields, ResourcePut, ResourceSlots, Retire,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Ours, or a partner's as they show it
    List {
        #[command(flatten)]
        whose: Whose,
        /// Also those that were ended
        #[arg(long)]
        retired: bool,
    },
    /// One resource
    Show {
        /// Our name for it, its id or the beginning of one
        resource: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Create or change one; what is not named stays as it is
    Set(Box<Set>),
    /// End one
    Retire {
        /// Our name for it, its id or the beginning of one
        resource: String,
        /// Show what would change
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Create or replace many from a spreadsheet (csv, xlsx): all rows or none
    Import(import::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// Our name for it, like DMU-80
    key: String,
    /// Name that partners read
    #[arg(long)]
    name: Option<String>,
    /// ISA-95 level: Site, Area, WorkCenter, ProductionLine, WorkCell, WorkUnit, StorageUnit, Material, Tool, Personnel
    #[arg(long, value_parser = named::<Level>)]
    level: Option<Level>,
    /// The resource that it belongs to
    #[arg(long)]
    parent: Option<String>,
    /// Manufacturer
    #[arg(long)]
    manufacturer: Option<String>,
    /// Model
    #[arg(long)]
    model: Option<String>,
    /// Serial number
    #[arg(long)]
    serial: Option<String>,
    /// Year of construction
    #[arg(long)]
    year: Option<i16>,
    /// What it can do, like separating/milling/5-axis; replaces what was there (repeat)
    #[arg(long = "process", value_name = "PATH", value_parser = Path::process)]
    processes: Vec<Path>,
    /// Of which material, like metal/aluminium/en-aw-7075, for every --process (repeat)
    #[arg(long = "material", value_name = "PATH", requires = "processes")]
    materials: Vec<Path>,
    /// Like "length,max=800,unit=MMT" or "tolerance,min=0.01,unit=MMT", for every --process (repeat)
    #[arg(long = "property", value_name = "PROPERTY", requires = "processes", value_parser = property)]
    properties: Vec<Property>,
    /// These are core capabilities
    #[arg(long, requires = "processes")]
    core: bool,
    /// Shift calendar, RFC 5545 (.ics)
    #[arg(long, value_name = "FILE")]
    calendar: Option<PathBuf>,
    /// Forget these fields (they become unknown)
    #[arg(long, value_name = "FIELD", value_delimiter = ',', value_parser = ["name", "level", "parent", "nameplate", "capabilities", "calendar", "state"])]
    unset: Vec<String>,
    /// All fields as JSON, instead of the ones before; - is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Check and show what would change
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    let now = Timestamp::now();
    match command {
        Command::List { whose, retired } => {
            let query = [
                ("of", whose.partner.as_deref()),
                ("retired", retired.then_some("true")),
            ];
            let reply = client.list(&["resources"], &query, usize::MAX).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let empty = match whose.partner {
                None => {
                    "No resources yet. Add one: fmesh resource set KEY --process PATH, or import a spreadsheet."
                }
                Some(_) => "They show no resources to us.",
            };
            out.table(&resources(&reply.items()?, now), empty)
        }
        Command::Show { resource, whose } => {
            let reply = client
                .get(
                    &["resources", &resource],
                    &[("of", whose.partner.as_deref())],
                )
                .await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            out.table(&show(&reply.read()?, now), "")
        }
        Command::Set(set) => {
            let path = ["resources", &set.key];
            let before = match &set.file {
                Some(file) => input::json(file, 4 * 1024 * 1024)?,
                None => match maybe(client.get(&path, &[]).await)? {
                    // another object whose id begins like this key is not meant
                    Some(reply) => Some(reply.read::<Resource>()?)
                        .filter(|r| r.head.key.as_deref() == Some(&set.key))
                        .map(|r| written(r.fields))
                        .unwrap_or_default(),
                    None => ResourceFields::default(),
                },
            };
            let (dry_run, key) = (set.dry_run, set.key.clone());
            let fields = set.apply(before)?;
            changed(
                context,
                &client
                    .put(&["resources", &key], &ResourcePut { dry_run, fields })
                    .await?,
            )
        }
        Command::Retire {
            resource,
            dry_run,
            yes,
        } => {
            confirm(&format!("End {resource} for all partners?"), yes || dry_run)?;
            changed(
                context,
                &client
                    .post(&["resources", &resource, "retire"], &Retire { dry_run })
                    .await?,
            )
        }
        Command::Import(args) => {
            let rows = import::resources(context, &args)?;
            changed(
                context,
                &client.post(&["imports", "resources"], &rows).await?,
            )
        }
    }
}

fn written(slots: ResourceSlots) -> ResourceFields {
    ResourceFields {
        name: value(slots.name),
        level: value(slots.level),
        parent: value(slots.parent).map(|id| id.to_string()),
        nameplate: value(slots.nameplate),
        capabilities: value(slots.capabilities),
        calendar: value(slots.calendar),
        state: value(slots.state),
    }
}

impl Set {
    fn apply(self, mut fields: ResourceFields) -> Result<ResourceFields, Failure> {
        for field in &self.unset {
            match field.as_str() {
                "name" => fields.name = None,
                "level" => fields.level = None,
                "parent" => fields.parent = None,
                "nameplate" => fields.nameplate = None,
                "capabilities" => fields.capabilities = None,
                "calendar" => fields.calendar = None,
                _ => fields.state = None,
            }
        }
        fields.name = self.name.or(fields.name);
        fields.level = self.level.or(fields.level);
        fields.parent = self.parent.or(fields.parent);
        if self.manufacturer.is_some()
            || self.model.is_some()
            || self.serial.is_some()
            || self.year.is_some()
        {
            let old = fields.nameplate.take().unwrap_or_default();
            fields.nameplate = Some(Nameplate {
                manufacturer: self.manufacturer.or(old.manufacturer),
                model: self.model.or(old.model),
                serial: self.serial.or(old.serial),
                year: self.year.or(old.year),
            });
        }
        if !self.processes.is_empty() {
            let capability = |process| Capability {
                process,
                core: self.core,
                materials: self.materials.clone(),
                properties: self.properties.clone(),
            };
            fields.capabilities = Some(self.processes.into_iter().map(capability).collect());
        }
        if let Some(path) = &self.calendar {
            fields.calendar = Some(input::file_text(path, 1024 * 1024)?);
        }
        Ok(fields)
    }
}

/// `name,min=…,max=…,value=…,unit=…`. For clap.
pub(crate) fn property(text: &str) -> Result<Property, String> {
    let Parts { name, values } = Parts::parse(text)?;
    let mut p = Property {
        name,
        semantic_id: None,
        min: None,
        max: None,
        value: None,
        unit: None,
    };
    for (name, value) in values {
        let number = || {
            value
                .parse()
                .map(Some)
                .map_err(|e: fmesh_proto::quantity::QuantityError| e.to_string())
        };
        match name {
            "min" => p.min = number()?,
            "max" => p.max = number()?,
            "value" => p.value = Some(value.to_owned()),
            "unit" => {
                p.unit = Some(
                    value
                        .parse()
                        .map_err(|e: fmesh_proto::quantity::UnitError| e.to_string())?,
                )
            }
            "semantic_id" => p.semantic_id = Some(value.to_owned()),
            other => {
                return Err(format!(
                    "{other:?} is none of min, max, value, unit, semantic_id"
                ));
            }
        }
    }
    Ok(p)
}

fn resources(items: &[Resource], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        text("RESOURCE"),
        text("NAME"),
        text("PROCESS"),
        text("SHARED WITH"),
        text("ORIGIN"),
        extra("MATERIAL"),
        extra("LEVEL"),
        extra("FACTORY"),
        extra("ID"),
    ]);
    for r in items {
        let s = &r.fields;
        table.row([
            key(&r.head),
            shown(&s.name, String::clone),
            shown(&s.capabilities, |all| {
                list(&all.iter().map(|c| c.process.as_str()).collect::<Vec<_>>())
            }),
            if r.head.own {
                list(&r.head.circles)
            } else {
                "-".to_owned()
            },
            origin(&r.head, now),
            shown(&s.capabilities, |all| {
                let mut materials: Vec<&str> = all
                    .iter()
                    .flat_map(|c| &c.materials)
                    .map(Path::as_str)
                    .collect();
                materials.sort_unstable();
                materials.dedup();
                list(&materials)
            }),
            shown_short(&s.level, |l| format!("{l:?}")),
            r.head.site.name.clone(),
            r.head.id.to_string(),
        ]);
    }
    table
}

fn show(r: &Resource, now: Timestamp) -> Table {
    let mut table = Table::new(&[text("RESOURCE"), text("")]);
    table.title(1, super::words::printable(&key(&r.head)));
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let s = &r.fields;
    line("name", shown(&s.name, String::clone));
    line("level", shown(&s.level, |l| format!("{l:?}")));
    line("parent", shown(&s.parent, ToString::to_string));
    line("nameplate", shown(&s.nameplate, nameplate));
    match &s.capabilities {
        crate::api::view::Shown::Known(all) if !all.is_empty() => {
            for capability in all {
                line(
                    if capability.core {
                        "core capability"
                    } else {
                        "capability"
                    },
                    capability_words(capability),
                );
            }
        }
        other => line("capabilities", shown(other, |_| "none".to_owned())),
    }
    line(
        "calendar",
        shown(&s.calendar, |text| {
            format!("{} lines, see --json", text.lines().count())
        }),
    );
    line(
        "state",
        shown(&s.state, |m| {
            format!("{:?}, {:?}, since {}", m.item, m.mode, age(m.since, now))
        }),
    );
    head_lines(&r.head, now, line);
    table
}

fn nameplate(n: &Nameplate) -> String {
    let parts = [
        n.manufacturer.clone(),
        n.model.clone(),
        n.serial.as_ref().map(|s| format!("no. {s}")),
        n.year.map(|y| y.to_string()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn capability_words(c: &Capability) -> String {
    let mut text = c.process.to_string();
    if !c.materials.is_empty() {
        text += &format!(" of {}", list(&c.materials));
    }
    for p in &c.properties {
        let unit = p
            .unit
            .map(|u| format!(" {}", u.symbol()))
            .unwrap_or_default();
        let range = match (&p.value, p.min, p.max) {
            (Some(value), _, _) => value.clone(),
            (None, Some(min), Some(max)) => format!("{min} to {max}"),
            (None, Some(min), None) => format!("from {min}"),
            (None, None, Some(max)) => format!("up to {max}"),
            (None, None, None) => "unknown".to_owned(),
        };
        text += &format!("; {} {range}{unit}", p.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read() {
        let p = property("length,min=1,max=800.5,unit=MMT").unwrap();
        assert_eq!(
            (p.name.as_str(), p.max.map(|m| m.to_string()).as_deref()),
            ("length", Some("800.5"))
        );
        for bad in [
            "",
            "length,max=wide",
            "length,unit=furlong",
            "length,most=3",
            "length,3",
        ] {
            assert!(property(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        use clap::{Args as _, FromArgMatches as _};
        let set = |options: &[&str]| {
            let matches = Set::augment_args(clap::Command::new("set"))
                .try_get_matches_from(["set", "DMU-80"].iter().chain(options).copied())
                .map_err(|e| e.to_string())?;
            Set::from_arg_matches(&matches).map_err(|e| e.to_string())
        };
        let first = set(&[
            "--name",
            "Mill",
            "--level",
            "WorkUnit",
            "--model",
            "DMU 80",
            "--process",
            "separating/milling/5-axis",
            "--material",
            "metal/aluminium",
            "--core",
        ])
        .unwrap()
        .apply(ResourceFields::default())
        .unwrap();
        let second = set(&["--year", "2019", "--unset", "name"])
            .unwrap()
            .apply(first)
            .unwrap();
        assert_eq!(
            (second.name.as_deref(), second.level),
            (None, Some(Level::WorkUnit))
        );
        let plate = second.nameplate.unwrap();
        assert_eq!(
            (plate.model.as_deref(), plate.year),
            (Some("DMU 80"), Some(2019))
        );
        let capabilities = second.capabilities.unwrap();
        assert!(capabilities[0].core && capabilities[0].materials.len() == 1);
        assert!(set(&["--material", "metal"]).is_err());
        assert!(set(&["--level", "Machine"]).is_err());
        assert!(set(&["--process", "milling"]).is_err());
    }
}
