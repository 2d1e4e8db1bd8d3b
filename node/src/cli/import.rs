//! Files in, rows out: the thin step between [`crate::import`], which reads spreadsheets and calendars, and the API.

use std::path::PathBuf;

use fmesh_proto::{
    quantity::{Quantity, Unit},
    week::WeekSpan,
};
use jiff::tz::TimeZone;

use super::{
    Context,
    client::Client,
    failure::Failure,
    words::{count, printable},
};
use crate::{
    api::view::{CapacityFields, Exit, Import, ResourceFields, Site},
    import::{self, Decimal, ImportError, Measure, Options, Rows},
};

/// Options of `resource import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// csv or xlsx
    file: PathBuf,
    /// Sheet of a workbook [default: the first visible one]
    #[arg(long)]
    sheet: Option<String>,
    /// Decimal mark, if the file leaves it open
    #[arg(long, value_enum)]
    decimal: Option<Mark>,
    /// Check every row and show what would change
    #[arg(long)]
    dry_run: bool,
}

/// Options of `capacity import`.
#[derive(Debug, clap::Args)]
pub(crate) struct CapacityArgs {
    #[command(flatten)]
    file: Args,
    /// Resource that all rows are about, if the file does not say
    #[arg(long)]
    resource: Option<String>,
    /// Only these weeks, like 2026-W49..2027-W10; a shift calendar (ics) needs it
    #[arg(long)]
    weeks: Option<WeekSpan>,
    /// Shift calendar: machines that work at the same time
    #[arg(long, default_value = "1")]
    parallel: Quantity,
    /// Shift calendar: output per hour, in --unit
    #[arg(long, default_value = "1")]
    rate: Quantity,
    /// UN/ECE Rec 20 code of numbers for which the file names none
    #[arg(long)]
    unit: Option<Unit>,
    /// What the numbers are, if a wide table does not say
    #[arg(long, value_enum)]
    measure: Option<Columns>,
    /// IANA time zone of a shift calendar [default: the site's]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    zone: Option<TimeZone>,
}

/// What separates whole units from thousandths.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Mark {
    Point,
    Comma,
}

/// Columns of a capacity.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Columns {
    Total,
    Committed,
    Available,
    Unattainable,
    Maximum,
    Reason,
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "no such time zone; write it like Europe/Vienna".to_owned())
}

impl Args {
    fn options(&self) -> Options {
        Options {
            sheet: self.sheet.clone(),
            decimal: self.decimal.map(|mark| match mark {
                Mark::Point => Decimal::Point,
                Mark::Comma => Decimal::Comma,
            }),
            ..Options::default()
        }
    }
}

/// Rows of resources, as the API takes them.
pub(crate) fn resources(context: &Context, args: &Args) -> Result<Import<ResourceFields>, Failure> {
    let reading = context.out.spinner("Reading");
    let rows = import::resources(&args.file, &args.options());
    reading.finish_and_clear();
    taken(context, rows, args.dry_run)
}

/// Rows of capacities, as the API takes them.
pub(crate) async fn capacities(
    context: &Context,
    client: &Client,
    args: CapacityArgs,
) -> Result<Import<CapacityFields>, Failure> {
    let zone = match args.zone {
        None => own_zone(client).await?,
        given => given,
    };
    let options = Options {
        zone,
        weeks: args.weeks,
        resource: args.resource,
        rate: args.rate,
        parallel: args.parallel,
        unit: args.unit,
        measure: args.measure.map(|column| match column {
            Columns::Total => Measure::Total,
            Columns::Committed => Measure::Committed,
            Columns::Available => Measure::Available,
            Columns::Unattainable => Measure::Unattainable,
            Columns::Maximum => Measure::Maximum,
            Columns::Reason => Measure::Reason,
        }),
        ..args.file.options()
    };
    let reading = context.out.spinner("Reading");
    let rows = import::capacities(&args.file.file, &options);
    reading.finish_and_clear();
    taken(context, rows, args.file.dry_run)
}

/// The site's time zone, if it says one.
async fn own_zone(client: &Client) -> Result<Option<TimeZone>, Failure> {
    let site: Site = client.get(&["site"], &[]).await?.read()?;
    Ok(site
        .fields
        .timezone
        .known()
        .and_then(|name| TimeZone::get(name).ok()))
}

fn taken<F>(
    context: &Context,
    rows: Result<Rows<F>, ImportError>,
    dry_run: bool,
) -> Result<Import<F>, Failure> {
    let Rows {
        rows,
        format,
        warnings,
    } = rows?;
    context.out.say(&format!(
        "Read {}: {}.",
        count(rows.len() as u64, "object"),
        printable(&format)
    ));
    for warning in &warnings {
        context.out.say(&format!("warning: {warning}"));
    }
    Ok(Import { dry_run, rows })
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let hint = error.hint().to_owned();
        match error {
            ImportError::Io { path, source } => {
                let mut failure = Self::file(path.as_ref(), "read", &source);
                if failure.exit != Exit::NotFound {
                    failure.exit = Exit::InputErrors;
                }
                failure
            }
            ImportError::Rows { errors, more } => {
                let mut failure = Self::input("the file has errors; nothing was imported")
                    .why(count((errors.len() + more) as u64, "error"))
                    .hint(hint);
                failure.rows = errors.into();
                failure
            }
            other => Self::input("the file cannot be imported")
                .why(other.to_string())
                .hint(hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::view::RowError;

    #[test]
    fn errors_of_a_file_are_input_errors_with_their_rows() {
        let row = RowError {
            row: 7,
            column: Some("week".into()),
            what: "no such week".into(),
            why: "2026 has 53".into(),
            hint: "mend it".into(),
        };
        let failure = Failure::from(ImportError::Rows {
            errors: vec![row],
            more: 2,
        });
        assert_eq!(
            (failure.exit as u8, failure.why.as_deref()),
            (8, Some("3 errors"))
        );
        assert!(
            failure
                .render(false, false)
                .contains("row 7, week: no such week (2026 has 53); mend it")
        );
        let empty = ImportError::File {
            what: "it is empty".into(),
            hint: "export it again".into(),
        };
        let failure = Failure::from(empty);
        assert_eq!(
            (failure.exit as u8, failure.hint.as_deref()),
            (8, Some("export it again"))
        );
        let missing = ImportError::Io {
            path: "x.csv".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        assert_eq!(Failure::from(missing).exit as u8, 3);
    }

    #[test]
    fn zones_are_names() {
        assert!(zone("Europe/Vienna").is_ok());
        assert!(zone("Vienna").is_err());
    }
}
