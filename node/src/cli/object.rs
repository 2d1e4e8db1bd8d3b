//! What the nouns of own objects share: changes in words, absent values, small readers for options.

use fmesh_proto::{kinds::Kind, quantity::Quantity};
use jiff::Timestamp;

use super::{
    Context,
    client::Reply,
    failure::Failure,
    table::{Table, extra, text},
    words::{age, count, list},
};
use crate::api::view::{ChangeKind, Imported, ObjectHead, Shown};

/// Shows what a put, an import or a retirement did or would do.
pub(crate) fn changed(context: &Context, reply: &Reply) -> Result<(), Failure> {
    let out = &context.out;
    if out.as_json(&reply.0)? {
        return Ok(());
    }
    let imported: Imported = reply.read()?;
    out.table(&changes(&imported), "Nothing to change.")?;
    out.say(&summary(&imported));
    Ok(())
}

fn changes(imported: &Imported) -> Table {
    let mut table = Table::new(&[
        text("CHANGE"),
        text("KIND"),
        text("OBJECT"),
        text("FIELDS"),
        text("SEEN BY CIRCLES"),
        extra("ID"),
    ]);
    for change in &imported.items {
        table.row([
            kind_of_change(change.change).to_owned(),
            change.kind.to_string(),
            change.key.clone(),
            list(&change.slots),
            list(&change.circles),
            change
                .id
                .map_or_else(|| "-".to_owned(), |id| id.to_string()),
        ]);
    }
    table
}

fn summary(imported: &Imported) -> String {
    let Imported {
        new,
        changed,
        same,
        retired,
        signed,
        ..
    } = imported;
    let what = format!("{new} new, {changed} changed, {same} the same, {retired} retired");
    if imported.dry_run {
        format!("Dry run, nothing was changed. It would be: {what}.")
    } else if *signed == 0 {
        format!("{what}. Nothing was signed: no circle shows it.")
    } else {
        format!("{what}. {} signed for partners.", count(*signed, "record"))
    }
}

fn kind_of_change(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::New => "new",
        ChangeKind::Changed => "changed",
        ChangeKind::Same => "same",
        ChangeKind::Retired => "retired",
    }
}

/// Our name for an object, or the partner's id for it.
pub(crate) fn key(head: &ObjectHead) -> String {
    head.key
        .clone()
        .unwrap_or_else(|| head.id.to_string()[..8].to_owned())
}

/// Who says it and how old it is: `signed by Bolt Nord, 6 min ago`; ours is shared or private.
pub(crate) fn origin(head: &ObjectHead, now: Timestamp) -> String {
    let age = age(head.updated, now);
    let mut text = match (head.own, head.rev) {
        (false, _) => format!("signed by {}, {age}", head.site.name),
        (true, Some(rev)) => format!("ours, revision {rev}, {age}"),
        (true, None) => format!("ours, not shared, {age}"),
    };
    if head.retired {
        text += ", retired";
    }
    text
}

/// Lines that every object has, for `show`.
pub(crate) fn head_lines(head: &ObjectHead, now: Timestamp, mut line: impl FnMut(&str, String)) {
    line("origin", origin(head, now));
    line("id", head.id.to_string());
    if let Some(seq) = head.seq {
        line("leaf", seq.to_string());
    }
    if let Some(core) = &head.core {
        line("core", core.hex());
    }
    if head.own {
        line("circles", list(&head.circles));
    }
}

/// A list's `--partner`: theirs, else ours.
#[derive(Debug, clap::Args)]
pub(crate) struct Whose {
    /// A partner's, by name, site id or its beginning [default: our own]
    #[arg(long, value_name = "PARTNER")]
    pub(crate) partner: Option<String>,
}

/// An own slot as it is written: unknown and absent are the same.
pub(crate) fn value<T>(slot: Shown<T>) -> Option<T> {
    match slot {
        Shown::Known(value) => Some(value),
        Shown::Unknown | Shown::Withheld => None,
    }
}

/// `Ok(None)` if there is no such object yet.
pub(crate) fn maybe(reply: Result<Reply, Failure>) -> Result<Option<Reply>, Failure> {
    match reply {
        Err(failure) if failure.exit == crate::api::view::Exit::NotFound => Ok(None),
        reply => reply.map(Some),
    }
}

/// A name that serde knows, such as an ISA-95 level. For clap.
pub(crate) fn named<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// A kind of object that circles can show. For clap.
pub(crate) fn kind(text: &str) -> Result<Kind, String> {
    match Kind::try_from(text.to_lowercase())? {
        kind @ (Kind::Site | Kind::Resource | Kind::Capacity) => Ok(kind),
        other => Err(format!(
            "{other} is not for circles: use site, resource or capacity"
        )),
    }
}

/// `12,?,38`: `?` is unknown, never zero. For clap, one value.
pub(crate) fn cell(text: &str) -> Result<Option<Quantity>, String> {
    match text.trim() {
        "?" => Ok(None),
        number => number
            .parse()
            .map(Some)
            .map_err(|e: fmesh_proto::quantity::QuantityError| {
                format!("{e}; write a number, or ? for unknown")
            }),
    }
}

/// `name,key=value,key=value`, as options write small records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) name: String,
    pub(crate) values: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err("begin with its name".to_owned());
        }
        let value = |part: &'a str| {
            part.split_once('=')
                .ok_or_else(|| format!("{part:?} is not name=value"))
        };
        Ok(Self {
            name,
            values: parts.map(value).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_cell_is_not_zero() {
        assert_eq!(cell("?"), Ok(None));
        assert_eq!(cell("0"), Ok(Some(Quantity::ZERO)));
        assert_eq!(cell(" 37.5"), Ok(Some(Quantity::from_thousandths(37_500))));
        for bad in ["", "x", "1,5", "1.2345", "nan"] {
            assert!(cell(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn small_records() {
        let parts = Parts::parse("ISO 9001, until=2027-01-01,number=4").unwrap();
        assert_eq!(parts.name, "ISO 9001");
        assert_eq!(parts.values, [("until", "2027-01-01"), ("number", "4")]);
        assert!(Parts::parse("").is_err() && Parts::parse("a,b").is_err());
        assert_eq!(kind("Capacity"), Ok(Kind::Capacity));
        assert!(kind("grant").is_err() && kind("nonsense kind").is_err());
    }

    #[test]
    fn a_dry_run_says_that_nothing_changed() {
        let imported = Imported {
            dry_run: true,
            new: 1,
            changed: 0,
            same: 2,
            retired: 0,
            signed: 0,
            items: Vec::new(),
        };
        assert!(summary(&imported).starts_with("Dry run, nothing was changed."));
        let private = Imported {
            dry_run: false,
            ..imported.clone()
        };
        assert!(summary(&private).contains("no circle shows it"));
        let shared = Imported {
            signed: 1,
            ..private
        };
        assert!(summary(&shared).ends_with("1 record signed for partners."));
    }
}
