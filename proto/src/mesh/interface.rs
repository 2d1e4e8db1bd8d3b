//! What the machine is told, and what it says: all that a node has to speak with it.

use std::sync::Arc;

use super::{AskOwn, OwnLog, follow::Incoming, witness::Cosigned};
use crate::{
    id::{CircleId, Digest, MeshId, SiteId},
    membership::{Held, Membership},
    note::Checkpoint,
    wire,
};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A member's first connection is up.
    Connected {
        /// Who.
        site: SiteId,
    },
    /// A member's last connection is gone.
    Disconnected {
        /// Who.
        site: SiteId,
    },
    /// A dial failed.
    DialFailed {
        /// Whom we tried to reach.
        site: SiteId,
    },
    /// A gossip message, from the member that forwarded it.
    Gossip {
        /// Who forwarded it.
        from: SiteId,
        /// Names the message in [`Output::Verdict`].
        token: u64,
        /// An encoded `wire::Gossip`.
        bytes: Vec<u8>,
    },
    /// A call from a member.
    Request {
        /// Who asks.
        from: SiteId,
        /// Names the call in the answer.
        token: u64,
        /// The call.
        request: wire::Request,
    },
    /// The answer to a call of ours.
    Response {
        /// Who answers.
        from: SiteId,
        /// Our id of the call.
        id: u64,
        /// The answer, or why there is none.
        result: Result<wire::Response, String>,
    },
    /// The node has finished an [`Output::Serve`].
    Served {
        /// Who was served.
        to: SiteId,
    },
    /// An [`Output::Take`] is on disk (or was refused as a whole).
    Taken(Progress),
    /// Own records are on disk: pass them on.
    Issued {
        /// Encoded publications, in order.
        publications: Vec<Vec<u8>>,
        /// Own log after them.
        head: Box<Checkpoint>,
    },
    /// Members changed (own act, or somebody's record).
    Membership(Arc<Membership>),
    /// gossipsub could not deliver to everybody.
    GossipLost,
    /// A member now receives gossip from us.
    Subscribed {
        /// Who.
        site: SiteId,
    },
    /// Own addresses changed: the record to tell from now on.
    OwnAddresses(Box<wire::AddressRecord>),
    /// Only time passed.
    Tick,
}

/// What the node should do.
#[derive(Debug)]
pub enum Output {
    /// Tell gossipsub, once for each token.
    Verdict {
        /// Of the message.
        token: u64,
        /// What to do with it.
        verdict: Verdict,
    },
    /// Gossip these bytes.
    Publish(Vec<u8>),
    /// Call a member.
    Request {
        /// Whom.
        to: SiteId,
        /// Id that the answer repeats.
        id: u64,
        /// The call.
        request: wire::Request,
    },
    /// Answer a call at once.
    Respond {
        /// Of the call.
        token: u64,
        /// The answer.
        response: wire::Response,
    },
    /// Read the answer to a member's call from the store and answer it; then report [`Input::Served`].
    Serve {
        /// Who asks: decides what may be answered.
        to: SiteId,
        /// Of the call.
        token: u64,
        /// What is asked.
        ask: Ask,
    },
    /// Take this in: open, verify, store; then report [`Input::Taken`] with the same `work`.
    Take {
        /// Names it.
        work: u64,
        /// What came.
        incoming: Incoming,
    },
    /// Connect.
    Dial {
        /// Whom.
        site: SiteId,
        /// Where it may be.
        addresses: Vec<String>,
    },
    /// Close every connection to a member.
    Disconnect {
        /// Whom.
        site: SiteId,
    },
    /// Durable acknowledgement of a reader of ours.
    Acknowledged {
        /// Who reads.
        reader: SiteId,
        /// Which circle's feed.
        circle: CircleId,
        /// Up to where it is on their disk.
        feed_seq: u64,
    },
    /// Where a member says that it can be reached.
    Learned {
        /// Signed and checked; also our own.
        record: wire::AddressRecord,
    },
    /// How it stands with our own log: whether it may be signed.
    OwnLog(OwnLog),
    /// Somebody misbehaved: counted and shown.
    Misbehaved {
        /// Who.
        site: SiteId,
        /// How, in words.
        what: String,
    },
}

/// gossipsub's three verdicts. *Reject* only what no honest node can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// Late, unknown or too much.
    Ignore,
    /// Blame who sent it.
    Reject,
}

/// A call that is answered from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Heads, feed tails for the asker, addresses.
    Heads {
        /// The asker's digest: equal digests need no list.
        digest: Option<Digest>,
        /// The asker's digest of the directory: equal digests need no page of it.
        directory: Option<Digest>,
        /// Where the page begins.
        directory_after: Option<SiteId>,
        /// The asker's digest of how far logs are cosigned.
        witnessed: Option<Digest>,
        /// The asker's digest of whom fork proofs are held against.
        forked: Option<Digest>,
    },
    /// Publications of a log.
    Publications {
        /// Whose log.
        site: SiteId,
        /// From which leaf.
        from: u64,
    },
    /// A feed that we issue.
    Feed {
        /// Which circle.
        circle: CircleId,
        /// After which position.
        after: u64,
    },
    /// A cosignature of the asker's checkpoint, whose own signature was checked: [`super::witness::judge`] says whether.
    Cosign {
        /// The checkpoint.
        checkpoint: Box<Checkpoint>,
    },
    /// Newest checkpoints of a log.
    Checkpoints {
        /// Whose log.
        site: SiteId,
    },
    /// Records of the asker that we hold.
    Returned {
        /// From this leaf on.
        from: u64,
    },
    /// Fork proofs.
    Forks {
        /// Against whom.
        site: SiteId,
    },
    /// Membership records that somebody who holds this much lacks.
    Membership {
        /// What the asker holds.
        held: Vec<Held>,
        /// The last act that it was given before.
        after: Option<(SiteId, u64)>,
    },
}

/// What taking something in did, once durable.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Of the [`Output::Take`].
    pub work: u64,
    /// (site, size, root) of logs that grew.
    pub heads: Vec<(SiteId, u64, Digest)>,
    /// (issuer, circle, position) of feeds that grew, or that we may read from now on.
    pub feeds: Vec<(SiteId, CircleId, u64)>,
    /// Feeds with content for us that did not come along.
    pub pull: Vec<(SiteId, CircleId)>,
    /// Feeds that are read again from their beginning: what came through them was given back.
    pub rewound: Vec<(SiteId, CircleId)>,
    /// Logs of which leaves are missing.
    pub gaps: Vec<SiteId>,
    /// A log contradicts what we hold of it.
    pub contradiction: Option<SiteId>,
    /// (site, leaves, cosignatures) of cosigned checkpoints that are newer than before.
    pub cosigned: Vec<(SiteId, u64, u32)>,
    /// Fork proofs that are held from now on, and against whom.
    pub forks: Vec<(SiteId, Vec<u8>)>,
    /// Nothing was taken: there was no room for it.
    pub lost: bool,
}

/// What the machine is told at start.
#[derive(Debug)]
pub struct Setup {
    /// This site.
    pub me: SiteId,
    /// Its mesh.
    pub mesh: MeshId,
    /// Random for this start of the process.
    pub boot_id: u64,
    /// Seed of all chance.
    pub seed: u64,
    /// Name and version for hellos.
    pub software: String,
    /// Members.
    pub membership: Arc<Membership>,
    /// Durable heads, own included.
    pub heads: Vec<(SiteId, u64, Digest)>,
    /// Whether members are asked for our own log before it is signed.
    pub ask_own: AskOwn,
    /// Our own newest checkpoint.
    pub own_head: Option<Checkpoint>,
    /// Newest cosigned checkpoint of each log, own included.
    pub cosigned: Vec<Cosigned>,
    /// Fork proofs that are held: against whom, and SHA-256 of the text.
    pub forks: Vec<(SiteId, Digest)>,
    /// Durable feed positions.
    pub feeds: Vec<(SiteId, CircleId, u64)>,
    /// Known address records: signed ones, and what a ticket said (number 0).
    pub addresses: Vec<wire::AddressRecord>,
    /// Own address record, to tell others.
    pub own_record: Option<wire::AddressRecord>,
}
