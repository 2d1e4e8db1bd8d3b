//! Circles: who may see what; preview as a partner; explanation of one decision.

use fmesh_proto::{
    circle::{History, Slots},
    id::{CircleId, ObjectId},
    kinds::{Kind, OnEnd},
    taxonomy::Path,
};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Deletion, Delivery, Item, Shape, SiteName};

/// Creates or replaces a circle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CirclePut {
    /// Say what would leave or stop leaving, change nothing.
    pub dry_run: bool,
    /// Who; needed for a new circle, kept if left out.
    pub audience: Option<AudienceRequest>,
    /// Keep the rules that are there and add these; otherwise these replace them.
    pub keep_rules: bool,
    /// Any rule that selects an object shares it; slots add up.
    pub rules: Vec<RuleRequest>,
    /// Why, as grants state it.
    pub purpose: Option<String>,
    /// Last day on which it permits anything.
    pub until: Option<Date>,
    /// What who enters is given of the past; for groups only. Left out: as it was, or `current`.
    pub history: Option<History>,
    /// What who leaves is told to do with what it holds; for groups only. Left out: as it was, or `grey`.
    pub on_end: Option<OnEnd>,
}

/// Who a circle is for, in words: partners by name, site id or unique prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "snake_case",
    deny_unknown_fields
)]
pub enum AudienceRequest {
    /// All members.
    Mesh,
    /// One partner.
    Partner {
        /// Who.
        partner: String,
    },
    /// Several partners.
    Group {
        /// Who.
        members: Vec<String>,
    },
}

/// A rule, in words: every given condition must hold, an empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleRequest {
    /// Kinds it selects; empty selects none.
    pub kinds: Vec<Kind>,
    /// Process prefixes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub process: Vec<Path>,
    /// Resources (and capacities on them), by key, id or unique prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Single objects, by key, id or unique prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// Capacities that begin at most this many weeks ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weeks: Option<u32>,
    /// What is opened; left out: every slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<Vec<String>>,
}

/// All circles as text: exported, kept under version control, applied again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sharing {
    /// By name.
    #[serde(default, rename = "circle")]
    pub circles: Vec<CircleText>,
}
impl Shape for Sharing {
    const SCHEMA: &'static str = "fmesh.sharing.v1";
}

/// One circle in words: partners and objects by the names that this site uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircleText {
    /// Name.
    pub name: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
    /// Of a group: what who enters is given of the past; left out: `current`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// Of a group: what who leaves is told to do; left out: `grey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_end: Option<OnEnd>,
    /// Who.
    pub audience: AudienceRequest,
    /// What.
    #[serde(default, rename = "rule")]
    pub rules: Vec<RuleRequest>,
}

/// Makes the circles what a text says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharingPut {
    /// Say what would leave or stop leaving, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Take away circles that the text does not name.
    #[serde(default)]
    pub prune: bool,
    /// The text.
    pub sharing: Sharing,
}

/// What applying a text did or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharingApplied {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Circles that change, in the order of the text; those taken away last.
    pub changes: Vec<CircleChange>,
    /// Circles that are as the text says already.
    pub same: u64,
    /// Circles that the text does not name and that stay.
    pub unnamed: Vec<String>,
    /// Records that were, or would be, signed.
    pub signed: u64,
}
impl Shape for SharingApplied {
    const SCHEMA: &'static str = "fmesh.sharing-applied.v1";
}

/// Takes a circle away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CircleRemove {
    /// Say what would stop leaving, change nothing.
    pub dry_run: bool,
}

/// Partners to add to a group circle, or to take out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// Say what would leave, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// By name, site id or unique prefix.
    pub partners: Vec<String>,
}

/// A circle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circle {
    /// Name, which never leaves this site.
    pub name: String,
    /// As the wire names it.
    pub id: CircleId,
    /// Who.
    pub audience: AudienceView,
    /// What.
    pub rules: Vec<RuleView>,
    /// Why.
    pub purpose: Option<String>,
    /// Last day.
    pub until: Option<Date>,
    /// What who enters is given of the past; null if it is no group.
    pub history: Option<History>,
    /// What who leaves is told to do with what it holds; null if it is no group.
    pub on_end: Option<OnEnd>,
    /// It permits nothing any more.
    pub ended: bool,
    /// Live objects that it shows today.
    pub objects: u64,
    /// How far each reader is.
    #[serde(default)]
    pub delivery: Vec<Delivery>,
    /// What those who left it were asked to delete.
    #[serde(default)]
    pub deletions: Vec<Deletion>,
}
impl Shape for Circle {
    const SCHEMA: &'static str = "fmesh.circle.v1";
}
impl Item for Circle {
    const LIST: &'static str = "fmesh.circles.v1";
}

/// Who a circle is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AudienceView {
    /// All members.
    Mesh,
    /// One partner.
    Partner {
        /// Who.
        partner: SiteName,
    },
    /// Several partners.
    Group {
        /// Who.
        members: Vec<SiteName>,
    },
}

/// A rule, with the keys of the objects that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in RuleRequest")]
pub struct RuleView {
    pub kinds: Vec<Kind>,
    pub process: Vec<Path>,
    /// Keys; ids of objects that are gone.
    pub resources: Vec<String>,
    /// Keys; ids of objects that are gone.
    pub objects: Vec<String>,
    pub weeks: Option<u32>,
    /// Null: every slot.
    pub slots: Option<Vec<String>>,
}
impl RuleView {
    /// Null for "all".
    #[must_use]
    pub fn slots_of(slots: &Slots) -> Option<Vec<String>> {
        match slots {
            Slots::All => None,
            Slots::Only(names) => Some(names.iter().cloned().collect()),
        }
    }
}

/// What a change of a circle did or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircleChange {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The circle as it is afterwards. In a dry run of a new circle its id is all zeros.
    pub circle: Circle,
    /// It did not exist before.
    pub new: bool,
    /// It does not exist any more.
    pub removed: bool,
    /// Partners that enter.
    pub entering: Vec<SiteName>,
    /// Partners that leave.
    pub leaving: Vec<SiteName>,
    /// Objects of which the circle sees more or less than before.
    pub changes: Vec<SharingChange>,
    /// Records that were, or would be, signed for it.
    pub signed: u64,
}
impl Shape for CircleChange {
    const SCHEMA: &'static str = "fmesh.circle-change.v1";
}

/// One object's difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharingChange {
    /// Kind.
    pub kind: Kind,
    /// Our name for it.
    pub key: String,
    /// Id.
    pub id: ObjectId,
    /// Slots seen from now on.
    pub opened: Vec<String>,
    /// Slots not seen any more in later revisions.
    pub closed: Vec<String>,
}

/// What one partner sees of us, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Who looks.
    pub partner: SiteName,
    /// On which day the circles were asked.
    pub today: Date,
    /// Circles that the partner is in, mesh-wide ones included.
    pub circles: Vec<String>,
    /// Objects of which at least one slot is seen.
    pub visible: Vec<PreviewObject>,
    /// Objects of which nothing is seen.
    pub withheld: Vec<PreviewObject>,
}
impl Shape for Preview {
    const SCHEMA: &'static str = "fmesh.preview.v1";
}

/// One of our objects as the partner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewObject {
    /// Kind.
    pub kind: Kind,
    /// Our name for it; the partner does not see it.
    pub key: String,
    /// Id.
    pub id: ObjectId,
    /// Circles that show it to the partner.
    pub circles: Vec<String>,
    /// All slots of the kind, in its order.
    pub slots: Vec<SlotPreview>,
    /// Why nothing is seen, if nothing is.
    pub why: Option<String>,
}

/// One slot as the partner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotPreview {
    /// Name.
    pub slot: String,
    /// The partner sees `value` (null: that it is unknown); otherwise it is withheld.
    pub shown: bool,
    /// The value that is seen; null if withheld.
    pub value: Value,
}

/// Why a partner does or does not see an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explain {
    /// Who looks.
    pub partner: SiteName,
    /// Kind of the object.
    pub kind: Kind,
    /// Our name for it.
    pub key: String,
    /// Id.
    pub id: ObjectId,
    /// At least one slot is seen.
    pub visible: bool,
    /// Slots that are seen.
    pub shown: Vec<String>,
    /// Slots that are withheld.
    pub withheld: Vec<String>,
    /// First rule that decided, or why none did, in words.
    pub because: String,
    /// Circle of that rule.
    pub circle: Option<String>,
    /// Number of that rule in its circle, from 1.
    pub rule: Option<u64>,
    /// Every circle that the partner is in, with its answer in words.
    pub circles: Vec<CircleAnswer>,
    /// Command that would change it.
    pub command: String,
}
impl Shape for Explain {
    const SCHEMA: &'static str = "fmesh.explain.v1";
}

/// One circle's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircleAnswer {
    /// Circle.
    pub circle: String,
    /// It shows something.
    pub visible: bool,
    /// Which rules, or why not.
    pub why: String,
}
