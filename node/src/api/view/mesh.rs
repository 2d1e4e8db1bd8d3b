//! Status, invites, joining, partners.

use fmesh_proto::{
    id::{InviteId, MeshId, SiteId},
    membership::Role,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Item, Removal, Shape, Standing, Witnessed};

/// A site as people and programs name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteName {
    /// Full hex.
    pub site: SiteId,
    /// Name it was admitted under; its id's first digits if it is no member.
    pub name: String,
    /// Full hex SHA-256 of the root public key; shown in groups of four.
    pub fingerprint: String,
}

/// `fmesh status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Worst first; empty if all is well.
    pub problems: Vec<Trouble>,
    /// This site.
    pub site: SiteName,
    /// Null until the site founds or joins one.
    pub mesh: Option<MeshView>,
    /// Our own way in.
    pub join: JoinState,
    /// When the node started.
    pub started: Timestamp,
    /// Since then.
    pub uptime_seconds: u64,
    /// Bound addresses.
    pub listening: Vec<String>,
    /// Size of the store.
    pub store_bytes: u64,
    /// Leaves in our log.
    pub log_size: u64,
    /// That an old backup was put back; null if it never was.
    #[serde(default)]
    pub restored: Option<RestoredView>,
    /// Verifier key under which this site cosigns, for auditors' lists of witnesses; null outside a mesh.
    #[serde(default)]
    pub witness_key: Option<String>,
    /// How far our log is cosigned; null as long as nobody has.
    #[serde(default)]
    pub witnessed: Option<Witnessed>,
    /// Own objects.
    pub own: OwnCounts,
    /// Sites that wait for an answer.
    pub pending: u64,
    /// Invites that can still be used.
    pub open_invites: u64,
    /// Connections and requests to join that were refused since start.
    pub refused_connections: u64,
    /// The last of them, newest last.
    pub refused: Vec<RefusedConnection>,
    /// How others reach this node.
    pub reach: Reachable,
    /// Partners by name.
    pub partners: Vec<Partner>,
}
impl Shape for Status {
    const SCHEMA: &'static str = "fmesh.status.v1";
}

/// An old backup was put back, and our log went on behind what it lacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredView {
    /// When the log went on.
    pub at: Timestamp,
    /// The first leaf that the backup lacked.
    pub from: u64,
    /// Leaves that partners gave back.
    pub to: u64,
    /// Records of those leaves that came back, as far as partners were shown them; the others are lost.
    pub returned: u64,
}

/// A connection or a request to join that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedConnection {
    /// When.
    pub at: Timestamp,
    /// libp2p PeerId, if it got so far as to prove one.
    pub peer_id: Option<String>,
    /// From where.
    pub address: String,
    /// Why.
    pub reason: String,
}

/// How others reach this node, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachable {
    /// Addresses at which a partner dialled back.
    pub confirmed: Vec<String>,
    /// Addresses at which partners see this node and cannot dial back.
    pub refuted: Vec<String>,
    /// Addresses through members that relay.
    pub relayed: Vec<String>,
    /// This node relays for members.
    pub relaying: bool,
}

/// Something the operator should see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What and why.
    pub what: String,
    /// Command that helps, if one is known.
    pub hint: Option<String>,
}

/// The mesh that this site is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshView {
    /// Full hex.
    pub mesh: MeshId,
    /// Founder's name.
    pub name: Option<String>,
    /// Our role; null if we are no member any more.
    pub role: Option<Role>,
    /// Members, us included.
    pub members: u64,
    /// Admins among them.
    pub admins: u64,
}

/// How much of our own there is, and how much of it at least one circle sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct OwnCounts {
    pub resources: u64,
    pub resources_shared: u64,
    pub capacities: u64,
    pub capacities_shared: u64,
}

/// Live objects that one side sees of the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Resources.
    pub resources: u64,
    /// Capacities.
    pub capacities: u64,
}

/// A partner: `partner list`, `partner show`, a line of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    /// Full hex.
    pub site: SiteId,
    /// Name it was admitted under.
    pub name: String,
    /// Full hex SHA-256 of the root public key.
    pub fingerprint: String,
    /// Role.
    pub role: Role,
    /// When it was admitted (claimed time).
    pub since: Timestamp,
    /// Who admitted it; null for the founder.
    pub admitted_by: Option<SiteName>,
    /// In one word.
    pub state: PartnerState,
    /// That it was put out; null for a member.
    #[serde(default)]
    pub removed: Option<Removal>,
    /// Remote address of the connection, if connected.
    pub address: Option<String>,
    /// Where it may be reached.
    pub addresses: Vec<String>,
    /// libp2p PeerId.
    pub peer_id: String,
    /// Round-trip time.
    pub rtt_micros: Option<u64>,
    /// Last sign of life since this node started.
    pub last_seen: Option<Timestamp>,
    /// Their clock minus ours.
    pub clock_skew_seconds: Option<i64>,
    /// Why the last dial failed.
    pub last_error: Option<String>,
    /// Records of theirs that we know of and do not have yet.
    pub behind: u64,
    /// Records of ours that they have not acknowledged yet.
    pub they_are_behind: u64,
    /// Live objects of ours that our circles show them.
    pub they_see: Counts,
    /// Live objects of theirs that we hold.
    pub i_see: Counts,
    /// Records of theirs that were refused, with the reason of the newest.
    pub refused_records: u64,
    /// Reason of the newest refusal.
    pub refused_reason: Option<String>,
    /// What is between us because of circles.
    #[serde(default)]
    pub standing: Standing,
    /// How often it misbehaved since this node started: sent what no honest node sends.
    pub misbehaved: u64,
    /// How, the last time.
    pub misbehaved_how: Option<String>,
}
impl Shape for Partner {
    const SCHEMA: &'static str = "fmesh.partner.v1";
}
impl Item for Partner {
    const LIST: &'static str = "fmesh.partners.v1";
}

/// How it stands with a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartnerState {
    /// Connected, nothing outstanding.
    Ok,
    /// Connected, records outstanding on one side.
    Behind,
    /// Not connected; was, since this node started.
    Offline,
    /// Not connected since this node started.
    NotSeen,
    /// Put out of the mesh.
    Removed,
}

/// A site that knocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Full hex.
    pub site: SiteId,
    /// How it calls itself.
    pub name: String,
    /// To be compared with what its operator reads out.
    pub fingerprint: String,
    /// libp2p PeerId.
    pub peer_id: String,
    /// With which invite.
    pub invite: InviteId,
    /// Note of that invite.
    pub invite_note: Option<String>,
    /// Where it says it can be reached.
    pub addresses: Vec<String>,
    /// First knock.
    pub since: Timestamp,
    /// A person refused it.
    pub refused: bool,
}
impl Shape for Pending {
    const SCHEMA: &'static str = "fmesh.pending.v1";
}
impl Item for Pending {
    const LIST: &'static str = "fmesh.pendings.v1";
}

/// Makes an invite. If this site is in no mesh yet, it founds one first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InviteRequest {
    /// How long it is good; at most a year.
    pub expires_in_seconds: u64,
    /// How many sites may use it, 1..=1000.
    pub uses: u32,
    /// Role it gives.
    pub role: Role,
    /// For the maker.
    pub note: Option<String>,
    /// Group circles that the newcomer enters, by name.
    pub circles: Vec<String>,
    /// No person needs to confirm.
    pub auto_approve: bool,
    /// Addresses to put into the ticket; empty: the announced or bound ones.
    pub addresses: Vec<String>,
}
impl Default for InviteRequest {
    /// One member, one week, confirmed by a person.
    fn default() -> Self {
        Self {
            expires_in_seconds: 7 * 24 * 3600,
            uses: 1,
            role: Role::Member,
            note: None,
            circles: Vec::new(),
            auto_approve: false,
            addresses: Vec::new(),
        }
    }
}

/// The one time that a ticket is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteCreated {
    /// The line to send.
    pub ticket: String,
    /// The invite.
    pub invite: Invite,
    /// The mesh was founded for it.
    pub founded: bool,
}
impl Shape for InviteCreated {
    const SCHEMA: &'static str = "fmesh.invite-created.v1";
}

/// An invite, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Full hex.
    pub id: InviteId,
    /// In one word.
    pub state: InviteState,
    /// When it was made.
    pub created: Timestamp,
    /// Last moment.
    pub expires: Timestamp,
    /// How many sites may use it.
    pub uses: u32,
    /// Who used it.
    pub used_by: Vec<InviteUse>,
    /// Role it gives.
    pub role: Role,
    /// For the maker.
    pub note: Option<String>,
    /// Circles that the newcomer enters.
    pub circles: Vec<String>,
    /// No person needs to confirm.
    pub auto_approve: bool,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// Addresses in the ticket.
    pub addresses: Vec<String>,
}
impl Shape for Invite {
    const SCHEMA: &'static str = "fmesh.invite.v1";
}
impl Item for Invite {
    const LIST: &'static str = "fmesh.invites.v1";
}

/// Whether an invite lets anyone in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum InviteState {
    Open,
    UsedUp,
    Expired,
    Revoked,
}

/// One use of an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteUse {
    /// Who.
    pub by: SiteName,
    /// When.
    pub at: Timestamp,
}

/// Asks to join with a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The line, `fmesh1...`.
    pub ticket: String,
}

/// Our own way into a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinState {
    /// How far.
    pub step: JoinStep,
    /// The mesh of the ticket, or ours.
    pub mesh: Option<MeshId>,
    /// Who invited us.
    pub inviter: Option<SiteName>,
    /// Since when we try.
    pub since: Option<Timestamp>,
    /// Last answer, in words.
    pub answer: Option<String>,
    /// Our own fingerprint, which the inviting side compares.
    pub fingerprint: String,
}
impl Shape for JoinState {
    const SCHEMA: &'static str = "fmesh.join.v1";
}

/// Steps of joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinStep {
    /// In no mesh, and no ticket was given.
    Alone,
    /// A ticket was given; the inviting side has not judged it yet.
    Trying,
    /// The ticket is good; a person there decides.
    Waiting,
    /// The answer was no.
    Refused,
    /// In a mesh.
    Member,
}
