//! What the store gives back: where logs stand, and the private state that the operator entered.
//!
//! Private state is kept as JSON of these types. It never leaves the site, and it knows nothing of
//! signatures: what was signed is in the records.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::History,
    id::{CircleId, Digest, InviteId, MeshId, ObjectId, PeerKey, SiteId},
    kinds::{Kind, OnEnd},
    membership::Role,
    record::Fields,
};
use serde::{Deserialize, Serialize};

pub use fmesh_proto::mesh::follow::Head;

/// A thing of our own, private until a circle selects it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalObject {
    /// Kind.
    pub kind: Kind,
    /// Id on the wire, drawn at random once.
    pub id: ObjectId,
    /// The operator's name for it, unique within the kind: `DMU-80`.
    pub key: String,
    /// All slots.
    pub fields: Fields,
    /// Ended by the operator.
    pub retired: bool,
    /// Last change, unix seconds.
    pub updated: u64,
}

/// What went out for one own object, per circle: decides whether something new must be signed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Issue {
    /// Leaf of the current revision.
    pub seq: u64,
    /// Its number.
    pub rev: u64,
    /// Digest of its core.
    pub core: Option<Digest>,
    /// Digest of the fields and `retired` that it says.
    pub content: Option<Digest>,
    /// Slots opened per circle.
    pub circles: BTreeMap<CircleId, BTreeSet<String>>,
    /// Revisions after it that may have been signed and are lost: the next one leaves out so many numbers.
    #[serde(default)]
    pub skip: u64,
}

/// One entry of a feed that we issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// Position in the feed.
    pub feed_seq: u64,
    /// Leaf in our log.
    pub seq: u64,
    /// Kind of the record there.
    pub kind: Kind,
    /// Its object.
    pub id: ObjectId,
    /// Slots that were opened for the circle.
    pub slots: BTreeSet<String>,
}

/// A group circle's current secret, ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircleSecret {
    /// Epoch, from 1.
    pub epoch: u64,
    /// Key as hex.
    pub key: String,
    /// Members that hold this epoch's grant, each with the pairwise circle that brought it. With a new box key on either side that
    /// circle is another one.
    pub granted: BTreeMap<SiteId, CircleId>,
    /// Where in the circle's feed each member entered.
    pub entered: BTreeMap<SiteId, Entry>,
}

/// How somebody entered a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What comes after this position is for the newcomer.
    pub after: u64,
    /// What of it is, up to there.
    pub history: History,
}

/// Slots that were opened to us, by the circle through which that was.
pub type Through = BTreeMap<CircleId, BTreeSet<String>>;

/// The end of a grant to us, and how far we have done what it asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Whose circle it was.
    pub issuer: SiteId,
    /// Which.
    pub circle: CircleId,
    /// What the issuer asks.
    pub on_end: OnEnd,
    /// Digest of the core that says so.
    pub grant: Digest,
    /// When it came, unix seconds.
    pub since: u64,
    /// How far we had the circle's feed.
    pub position: u64,
    /// Of a deletion: how far it is. The store before this leaf of the issuer's log is done; `None` when all of it is.
    pub next: Option<u64>,
    /// Records that lost values.
    pub cleared: u64,
    /// Our own object that confirms it, once it is signed.
    pub receipt: Option<ObjectId>,
}

impl Ending {
    /// What came only through the circle is not searched any more.
    #[must_use]
    pub fn hides(&self) -> bool {
        self.on_end != OnEnd::Keep
    }
}

/// Most contradictions that are kept of one site: one is enough to show it, more say how often.
pub const TWO_FACED_MAX: usize = 16;

/// Two records that one site signed for one place of a feed: evidence that it tells its readers different things, kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwoFaced {
    /// Who.
    pub issuer: SiteId,
    /// Of which circle.
    pub circle: CircleId,
    /// At which position.
    pub feed_seq: u64,
    /// Leaves of both.
    pub leaves: [u64; 2],
    /// Both as they were shown to us, `core~disclosure~...~`, with the disclosure of the position.
    pub views: [String; 2],
    /// When the second one came, unix seconds.
    pub at: u64,
}

/// An invite as its maker keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Id.
    pub id: InviteId,
    /// Secret of the ticket, hex.
    pub secret: String,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds.
    pub expires: u64,
    /// How many sites may use it.
    pub uses: u32,
    /// Role it gives.
    pub role: Role,
    /// For the maker.
    pub note: Option<String>,
    /// Circles that the newcomer enters, by name.
    pub circles: Vec<String>,
    /// No person needs to confirm.
    pub auto_approve: bool,
    /// Unix seconds.
    pub revoked: Option<u64>,
    /// Who used it, when.
    pub used_by: Vec<(SiteId, u64)>,
    /// Addresses in the ticket.
    pub addresses: Vec<String>,
}

/// A site that knocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingJoin {
    /// Who.
    pub site: SiteId,
    /// Its transport key.
    pub peer: PeerKey,
    /// With which invite.
    pub invite: InviteId,
    /// How it calls itself.
    pub name: String,
    /// Its key manifest, as a view.
    pub manifest: String,
    /// Where it says it can be reached.
    pub addresses: Vec<String>,
    /// Unix seconds of the first knock.
    pub since: u64,
    /// A person refused it.
    pub refused: bool,
}

/// Our own way into a mesh, while it is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    /// The ticket line.
    pub ticket: String,
    /// Unix seconds.
    pub since: u64,
    /// How far.
    pub phase: JoinPhase,
    /// Last answer in words; `None` until there is one.
    pub answer: Option<String>,
}

/// How far our own way into a mesh is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinPhase {
    /// The inviting side has not judged the ticket: not reached yet, or too busy. Tried again.
    Trying,
    /// The ticket is good; a person there decides. Asked again.
    Waiting,
    /// The answer was no. Not asked again.
    Refused,
}

/// Site-wide facts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// The mesh, once founded or joined.
    pub mesh: Option<MeshId>,
    /// Name of the mesh's founder, for display.
    pub mesh_name: Option<String>,
    /// Way in, while it is not finished, and how it ended if the answer was no.
    pub joining: Option<Joining>,
    /// While our own log is pulled back from partners: it is missing from this leaf on.
    #[serde(default)]
    pub restoring: Option<u64>,
    /// That it was, the last time.
    #[serde(default)]
    pub restored: Option<Restored>,
    /// Positions of feeds up to which some may have been given out that are not known here, by circle...
    #[serde(default)]
    pub floors: BTreeMap<CircleId, u64>,
    /// ... and in every circle that is not named.
    #[serde(default)]
    pub floor: u64,
}

/// An old backup was put back, and the log went on behind what it lacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When, unix seconds.
    pub at: u64,
    /// The first leaf that the backup lacked.
    pub from: u64,
    /// Leaves of the log as partners gave it back.
    pub to: u64,
    /// Records of those leaves that came back, as far as partners were shown them.
    pub returned: u64,
}

impl Meta {
    /// True while a ticket may still let us in.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.joining
            .as_ref()
            .is_some_and(|joining| joining.phase != JoinPhase::Refused)
    }
}

/// Most refusals that are kept, so that a partner that sends rubbish costs a bounded piece of disk; the oldest go first.
pub const REFUSALS_MAX: usize = 1_000;

/// What a partner's record was refused for; counted per site and reason, the newest [`REFUSALS_MAX`] are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Whose record.
    pub site: SiteId,
    /// Claimed leaf, if readable.
    pub seq: Option<u64>,
    /// Reason.
    pub reason: String,
    /// Unix seconds.
    pub at: u64,
    /// How often this came. A commit adds it to the count that is stored for the same site and reason.
    pub count: u64,
}
