//! `fmesh site`: what the factory says about itself, and its keys (`rotate`).

use std::{collections::BTreeMap, path::PathBuf};

use fmesh_proto::kinds::Degrees;
use jiff::Timestamp;

use super::{
    Context,
    failure::Failure,
    input,
    object::{Parts, changed, head_lines, value},
    table::{Table, text},
    words::{list, shown},
};
use crate::api::view::{Certificate, Location, Site, SiteFields, SitePut, SiteSlots};

mod rotate;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// What is said now
    Show,
    /// Change some of it; what is not named stays as it is
    Set(Box<Set>),
    /// New operating keys, signed by the recovery words: after a theft, or when people leave
    RotateKeys(rotate::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// Name
    #[arg(long)]
    name: Option<String>,
    /// ISO 3166-1 code, like AT
    #[arg(long)]
    country: Option<String>,
    /// Region
    #[arg(long)]
    region: Option<String>,
    /// Town
    #[arg(long)]
    locality: Option<String>,
    /// Degrees north, up to six decimals
    #[arg(
        long,
        requires = "lon",
        allow_hyphen_values = true,
        value_name = "DEGREES"
    )]
    lat: Option<Degrees>,
    /// Degrees east, up to six decimals
    #[arg(
        long,
        requires = "lat",
        allow_hyphen_values = true,
        value_name = "DEGREES"
    )]
    lon: Option<Degrees>,
    /// IANA name, like Europe/Vienna
    #[arg(long)]
    timezone: Option<String>,
    /// How to reach a person
    #[arg(long)]
    contact: Option<String>,
    /// bpnl=…, bpns=…, vat=…, duns=…, lei=… (repeat)
    #[arg(long = "identifier", value_name = "NAME=VALUE")]
    identifiers: Vec<String>,
    /// Like "ISO 9001,until=2027-06-30,number=123,issuer=TUV"; replaces one of the same type (repeat)
    #[arg(long = "certificate", value_name = "CERTIFICATE", value_parser = certificate)]
    certificates: Vec<Certificate>,
    /// Forget these fields (they become unknown)
    #[arg(long, value_name = "FIELD", value_delimiter = ',', value_parser = ["identifiers", "location", "timezone", "certificates", "contact"])]
    unset: Vec<String>,
    /// All fields as JSON or TOML, instead of the ones before; - is JSON on stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Check and show what would change
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    if let Command::RotateKeys(args) = &command {
        return rotate::run(context, args).await;
    }
    let client = context.client()?;
    let reply = client.get(&["site"], &[]).await?;
    match command {
        Command::RotateKeys(_) => Ok(()),
        Command::Show => {
            if context.out.as_json(&reply.0)? {
                return Ok(());
            }
            context
                .out
                .table(&show(&reply.read()?, Timestamp::now()), "")
        }
        Command::Set(set) => {
            let dry_run = set.dry_run;
            let before = match &set.file {
                Some(path) => input::json(path, 1024 * 1024)?,
                None => written(reply.read::<Site>()?.fields),
            };
            let fields = set.apply(before)?;
            changed(
                context,
                &client.put(&["site"], &SitePut { dry_run, fields }).await?,
            )
        }
    }
}

/// What is read, as it is written.
fn written(slots: SiteSlots) -> SiteFields {
    SiteFields {
        name: value(slots.name),
        identifiers: value(slots.identifiers),
        location: value(slots.location),
        timezone: value(slots.timezone),
        certificates: value(slots.certificates),
        contact: value(slots.contact),
    }
}

impl Set {
    fn apply(self, mut fields: SiteFields) -> Result<SiteFields, Failure> {
        for field in &self.unset {
            match field.as_str() {
                "identifiers" => fields.identifiers = None,
                "location" => fields.location = None,
                "timezone" => fields.timezone = None,
                "certificates" => fields.certificates = None,
                _ => fields.contact = None,
            }
        }
        fields.name = self.name.or(fields.name);
        fields.timezone = self.timezone.or(fields.timezone);
        fields.contact = self.contact.or(fields.contact);
        if self.country.is_some()
            || self.region.is_some()
            || self.locality.is_some()
            || self.lat.is_some()
        {
            let old = fields.location.take();
            let old = old.as_ref();
            let country = self
                .country
                .or_else(|| Some(old?.country.clone()))
                .ok_or_else(|| {
                    Failure::usage("a location needs a country")
                        .hint("add --country with its ISO 3166-1 code, like AT")
                })?;
            fields.location = Some(Location {
                country,
                region: self.region.or_else(|| old?.region.clone()),
                locality: self.locality.or_else(|| old?.locality.clone()),
                lat: self.lat.or_else(|| old?.lat),
                lon: self.lon.or_else(|| old?.lon),
            });
        }
        for text in &self.identifiers {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::usage(format!("{text:?} is not NAME=VALUE"))
                    .hint("write it like --identifier vat=ATU12345678")
            })?;
            let all = fields.identifiers.get_or_insert_with(BTreeMap::new);
            all.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
        for certificate in self.certificates {
            let all = fields.certificates.get_or_insert_with(Vec::new);
            all.retain(|c| c.r#type != certificate.r#type);
            all.push(certificate);
        }
        Ok(fields)
    }
}

fn certificate(text: &str) -> Result<Certificate, String> {
    let Parts { name, values } = Parts::parse(text)?;
    let mut c = Certificate {
        r#type: name,
        registration_number: None,
        issuer: None,
        valid_from: None,
        valid_until: None,
        area: None,
    };
    for (name, value) in values {
        let date = || {
            value
                .parse()
                .map(Some)
                .map_err(|_| format!("{value:?} is not a date like 2027-06-30"))
        };
        match name {
            "number" => c.registration_number = Some(value.to_owned()),
            "issuer" => c.issuer = Some(value.to_owned()),
            "from" => c.valid_from = date()?,
            "until" => c.valid_until = date()?,
            "area" => c.area = Some(value.to_owned()),
            other => {
                return Err(format!(
                    "{other:?} is none of number, issuer, from, until, area"
                ));
            }
        }
    }
    Ok(c)
}

/// A certificate in a few words: `ISO 9001 to 2027`.
pub(crate) fn certificate_words(c: &Certificate) -> String {
    match c.valid_until {
        Some(until) => format!("{} to {}", c.r#type, until.year()),
        None => c.r#type.clone(),
    }
}

fn show(site: &Site, now: Timestamp) -> Table {
    let mut table = Table::new(&[text("FIELD"), text("VALUE")]);
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let s = &site.fields;
    line("name", shown(&s.name, String::clone));
    line("location", shown(&s.location, place));
    line("timezone", shown(&s.timezone, String::clone));
    line(
        "certificates",
        shown(&s.certificates, |all| {
            list(&all.iter().map(certificate_words).collect::<Vec<_>>())
        }),
    );
    line(
        "identifiers",
        shown(&s.identifiers, |all| {
            list(
                &all.iter()
                    .map(|(name, value)| format!("{name} {value}"))
                    .collect::<Vec<_>>(),
            )
        }),
    );
    line("contact", shown(&s.contact, String::clone));
    match &site.head {
        Some(head) => head_lines(head, now, line),
        None => line("origin", "not set yet: fmesh site set".to_owned()),
    }
    table
}

fn place(l: &Location) -> String {
    let mut parts: Vec<String> = [
        l.locality.clone(),
        l.region.clone(),
        Some(l.country.clone()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let (Some(lat), Some(lon)) = (l.lat, l.lon) {
        parts.push(format!("{lat} N {lon} E"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(options: &[&str]) -> Result<Set, String> {
        use clap::{Args as _, FromArgMatches as _};
        let command = Set::augment_args(clap::Command::new("set"));
        let matches = command
            .try_get_matches_from(std::iter::once("set").chain(options.iter().copied()))
            .map_err(|e| e.to_string())?;
        Set::from_arg_matches(&matches).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_not_named_stays() {
        let first = set(&[
            "--name",
            "A",
            "--country",
            "AT",
            "--lat",
            "48.303056",
            "--lon",
            "-14.29",
            "--certificate",
            "ISO 9001,until=2027-06-30",
        ])
        .unwrap()
        .apply(SiteFields::default())
        .unwrap();
        let second = set(&[
            "--locality",
            "Linz",
            "--certificate",
            "ISO 9001,number=4",
            "--certificate",
            "EN 9100",
            "--identifier",
            "VAT=ATU1",
        ])
        .unwrap()
        .apply(first)
        .unwrap();
        let location = second.location.clone().unwrap();
        assert_eq!(
            (location.country.as_str(), location.locality.as_deref()),
            ("AT", Some("Linz"))
        );
        assert_eq!(
            location.lon.map(|d| d.to_string()).as_deref(),
            Some("-14.29")
        );
        let types: Vec<_> = second
            .certificates
            .as_ref()
            .unwrap()
            .iter()
            .map(|c| c.r#type.as_str())
            .collect();
        assert_eq!(types, ["ISO 9001", "EN 9100"]);
        assert_eq!(second.certificates.as_ref().unwrap()[0].valid_until, None);
        assert_eq!(second.identifiers.as_ref().unwrap()["vat"], "ATU1");
        let third = set(&["--unset", "location,certificates"])
            .unwrap()
            .apply(second)
            .unwrap();
        assert_eq!(
            (third.location, third.certificates, third.name.as_deref()),
            (None, None, Some("A"))
        );
    }

    #[test]
    fn half_a_place_is_refused() {
        assert!(set(&["--lat", "48"]).is_err());
        let failure = set(&["--locality", "Linz"])
            .unwrap()
            .apply(SiteFields::default())
            .unwrap_err();
        assert!(failure.hint.unwrap().contains("--country"));
        assert!(set(&["--certificate", "ISO 9001,until=soon"]).is_err());
        assert!(set(&["--certificate", "ISO 9001,untill=2027-01-01"]).is_err());
        assert!(
            set(&["--identifier", "vat"])
                .unwrap()
                .apply(SiteFields::default())
                .is_err()
        );
    }
}
