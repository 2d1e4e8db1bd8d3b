//! Questions and answers.

use std::fmt;

use fmesh_proto::{
    id::{ObjectId, SiteId},
    kinds::Certificate,
    quantity::{Quantity, Unit},
    rules::coverage::{Gap, Requirement},
    taxonomy::Path,
    week::{Week, WeekSpan},
};

use super::Position;

/// A question. Every condition that is given must hold.
#[derive(Debug, Clone)]
pub struct Query {
    /// Process, materials and properties (a tolerance, say) that one capability must cover.
    pub required: Requirement,
    /// Certificate types, all of them, valid on the first day of `weeks`.
    pub certificates: Vec<String>,
    /// ISO 3166-1 codes, one of them.
    pub countries: Vec<String>,
    /// Farthest, in kilometres.
    pub within_km: Option<u32>,
    /// Where distances start; left out: where our own site is.
    pub from: Option<Position>,
    /// How much must be free in `weeks` together, in `unit`.
    pub need: Option<Quantity>,
    /// Only capacities in this unit count; left out: hours if there is a need, else any unit.
    pub unit: Option<Unit>,
    /// When.
    pub weeks: WeekSpan,
    /// Our own site.
    pub own: Option<SiteId>,
    /// Also our own resources.
    pub with_own: bool,
    /// Also what came under grants that have ended.
    pub with_ended: bool,
    /// At most so many answers.
    pub limit: usize,
}

impl Query {
    /// Whatever partners have in `weeks`, at most 50 answers.
    #[must_use]
    pub fn new(weeks: WeekSpan) -> Self {
        Self {
            required: Requirement::default(),
            certificates: Vec::new(),
            countries: Vec::new(),
            within_km: None,
            from: None,
            need: None,
            unit: None,
            weeks,
            own: None,
            with_own: false,
            with_ended: false,
            limit: 50,
        }
    }
}

/// Why a question has no answer at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// A distance is asked, but from nowhere.
    #[error(
        "a distance needs a place to start from, and our own site states no coordinates; set them, or name a place"
    )]
    NoPlace,
}

/// The best answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// Best first.
    pub best: Vec<Answer>,
    /// How many fit in all, shown or not.
    pub total: usize,
}

/// One supply that may meet the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub site: SiteId,
    /// Its name, if shown.
    pub site_name: Option<String>,
    /// Resource, if shown: the one of the capacity's that fits best.
    pub resource: Option<ObjectId>,
    /// Its name, if shown.
    pub resource_name: Option<String>,
    /// Capacity record that counted, the first if several continue each other; none if no capacity names the resource.
    pub capacity: Option<ObjectId>,
    /// Its name, if shown.
    pub capacity_name: Option<String>,
    /// Process that fits, or may fit.
    pub process: Option<Path>,
    /// The factory calls this capability its core.
    pub core: bool,
    /// Unit of the numbers, if shown.
    pub unit: Option<Unit>,
    /// Each week of the span.
    pub weeks: Vec<(Week, Free)>,
    /// Sum of what is known; none if nothing is.
    pub free: Option<Quantity>,
    /// Whether it is enough.
    pub fit: Fit,
    /// Conditions that could not be judged.
    pub missing: Vec<Missing>,
    /// Metres from where the question was asked, if both places are known.
    pub distance_m: Option<u32>,
    /// Country, if shown.
    pub country: Option<String>,
    /// Certificates of the asked types; all that are shown if none was asked.
    pub certificates: Vec<Certificate>,
    /// Leaf of the capacity, or of the resource, in the author's log.
    pub seq: u64,
    /// A grant under which some of it came has ended.
    pub ended: bool,
    /// When the oldest record that counted was signed, as its author says; unix seconds.
    pub signed: u64,
    /// When the oldest record that counted arrived here; unix seconds.
    pub received: u64,
}

/// Whether an answer meets the question, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fit {
    /// All conditions are known to hold, and what is known to be free is enough.
    Full,
    /// All conditions hold and all numbers are known, but they are not enough.
    Partial,
    /// Not all is known.
    Unknown,
}

/// Free capacity of one week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Free {
    /// So much; zero is a value.
    Known(Quantity),
    /// The author does not know or say.
    Unknown,
    /// The author does not show it to us.
    Withheld,
    /// No record speaks of this week.
    None,
}

/// What an answer could not be checked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// Something of the capability.
    Capability(Gap),
    /// The site shows no country.
    Country,
    /// The site shows no place.
    Distance,
    /// The certificates are not shown, or how long this one counts.
    Certificate(String),
    /// Numbers of so many weeks.
    Weeks(usize),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(gap) => gap.fmt(f),
            Self::Country => f.write_str("the country is not shown"),
            Self::Distance => f.write_str("the place is not shown, so the distance is unknown"),
            Self::Certificate(asked) => {
                write!(f, "whether {asked} is valid then is not shown")
            }
            Self::Weeks(1) => f.write_str("the numbers of one week are unknown"),
            Self::Weeks(weeks) => write!(f, "the numbers of {weeks} weeks are unknown"),
        }
    }
}
