//! Who may see what, and how it is sealed. PROTOCOL section 5.1.
//!
//! A circle is an audience that a site defines. **Default is nothing.** One pure function,
//! [`permits`], decides, and is asked wherever anything leaves the site: publication, feed, preview,
//! export. It names the rule that opened an object, or for every rule the first condition that
//! failed, so that what `explain` says is what was decided.
//!
//! - A rule selects an object when *every* condition it gives holds. A condition that the object's
//!   kind cannot meet fails: a site has no process, a resource has no first week.
//! - Several rules add up; a rule that opens no slot of the object's kind does not select it, because
//!   even an empty record says that the object exists.
//! - Records of the kinds `keys`, `membership`, `grant` and `attestation`, and of kinds this version does not know,
//!   are never selected.
//!
//! What it does not know: who is in the audience (membership decides who is a member at all), what was
//! shared before, and whether the object changed. How boxes are closed is in the second half, `seal`.

mod seal;
mod select;

use std::{collections::BTreeSet, fmt};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::seal::read_box;
#[cfg(test)]
pub(crate) use self::seal::write_box;
pub use self::seal::{
    CircleError, EpochKey, SealContext, open_group, open_pairwise, seal_group, seal_pairwise,
};
use crate::{
    id::{CircleId, ObjectId, SiteId},
    kinds::{Kind, OnEnd},
    record::Fields,
    taxonomy::Path,
};

/// An audience, private to the site that defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circle {
    /// As the wire names it.
    pub id: CircleId,
    /// As people here name it; never leaves the site.
    pub name: String,
    /// Who is in it.
    pub audience: Audience,
    /// Any rule that selects an object shares it; slots add up.
    pub rules: Vec<Rule>,
    /// Why, as grants state it.
    pub purpose: Option<String>,
    /// Last day on which it permits anything.
    pub until: Option<Date>,
    /// What a partner that enters is given of what was published before.
    #[serde(default)]
    pub history: History,
    /// What a partner that leaves is told to do with what it holds.
    #[serde(default)]
    pub on_end: OnEnd,
}

/// What who enters a group is given of its past. All members of the mesh may read what was ever for all of them, and a circle of
/// one partner never changes its reader, so it says nothing about those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// Nothing: only what is published from then on.
    None,
    /// The current state of each object.
    #[default]
    Current,
    /// Every revision that is held.
    All,
}
impl History {
    /// All, for choosing one by its word.
    pub const ALL: [Self; 3] = [Self::None, Self::Current, Self::All];
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Current => "current",
            Self::All => "all",
        }
    }
}
impl std::str::FromStr for History {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|word| word.as_str() == text);
        found.ok_or_else(|| "use one of none, current, all".to_owned())
    }
}
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who a circle is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Audience {
    /// All members, plain.
    MeshWide,
    /// One partner, HPKE.
    Pairwise {
        /// The partner.
        to: SiteId,
    },
    /// Several partners, epoch keys.
    Group {
        /// The partners.
        members: BTreeSet<SiteId>,
    },
}

impl Audience {
    /// True if this member of the mesh is among them.
    #[must_use]
    pub fn includes(&self, member: &SiteId) -> bool {
        match self {
            Self::MeshWide => true,
            Self::Pairwise { to } => to == member,
            Self::Group { members } => members.contains(member),
        }
    }
}

/// One selection rule: every given condition must hold; an empty list is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Kinds it selects; empty selects none (default is nothing).
    pub kinds: Vec<Kind>,
    /// Process prefixes: an object with a process within one of them.
    pub process: Vec<Path>,
    /// Resources, and capacities on them.
    pub resources: Vec<ObjectId>,
    /// Objects by id.
    pub ids: Vec<ObjectId>,
    /// Capacities whose first bucket starts at most this many weeks ahead of the current week.
    pub weeks: Option<u32>,
    /// What is opened.
    pub slots: Slots,
}

/// Slots that a rule opens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slots {
    /// Every slot of the kind.
    #[default]
    All,
    /// These; names that the kind lacks have no effect.
    Only(BTreeSet<String>),
}

/// What `permits` looks at.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    /// Kind.
    pub kind: &'a Kind,
    /// Id.
    pub id: &'a ObjectId,
    /// All slots, as the author holds them.
    pub fields: &'a Fields,
}

/// The answer, with the rule that gave it, so that `explain` and `permits` can never disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// These slots are opened.
    Shared {
        /// Opened slots.
        slots: BTreeSet<String>,
        /// Indices of the rules that selected it.
        rules: Vec<usize>,
    },
    /// Nothing leaves, for this reason.
    Withheld(Withheld),
}
/// Why nothing leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// The circle ended.
    Ended(Date),
    /// No rule at all.
    NoRules,
    /// For each rule, the first condition that failed, in words.
    NoMatch(Vec<String>),
}
impl fmt::Display for Withheld {
    /// A sentence for people; one line a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(last) => write!(f, "the circle ended: its last day was {last}"),
            Self::NoRules => {
                f.write_str("the circle has no rules, and without a rule nothing is shared")
            }
            Self::NoMatch(reasons) => f.write_str(&reasons.join("\n")),
        }
    }
}
impl Decision {
    /// Opened slots, if shared.
    #[must_use]
    pub fn slots(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Shared { slots, .. } => Some(slots),
            Self::Withheld(_) => None,
        }
    }
}

/// Slots that rules ask about; the answer of [`permits`] depends on no others.
pub const ASKED_SLOTS: [&str; 4] = ["resources", "capabilities", "process", "start"];

/// The one decision: what of `object` the circle's members may see on `today`. `grant` records are never selected by
/// rules (they go to their partner only), nor are `attestation` records.
#[must_use]
pub fn permits(circle: &Circle, object: Object<'_>, today: Date) -> Decision {
    if let Some(last) = circle.until.filter(|last| today > *last) {
        return Decision::Withheld(Withheld::Ended(last));
    }
    if circle.rules.is_empty() {
        return Decision::Withheld(Withheld::NoRules);
    }
    let (mut slots, mut rules, mut reasons) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (index, rule) in circle.rules.iter().enumerate() {
        match select::selects(rule, object, today) {
            Ok(opened) => {
                slots.extend(opened);
                rules.push(index);
            }
            Err(reason) => reasons.push(format!("rule {} {reason}", index + 1)),
        }
    }
    if rules.is_empty() {
        Decision::Withheld(Withheld::NoMatch(reasons))
    } else {
        Decision::Shared { slots, rules }
    }
}

#[cfg(test)]
mod tests;
