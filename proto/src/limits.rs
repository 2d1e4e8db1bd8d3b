//! Every bound of the protocol in one place, each with its reason and what happens at it.
//!
//! PROTOCOL section 10. A bound here is part of what nodes agree on: two nodes with different bounds
//! would accept different records. Purely local bounds (queue lengths, cache sizes) live where the
//! queue is.

/// Longest core in bytes. RFC 6962 entries in C2SP tiles end at 65,535; half of that keeps a core
/// below one gossip message. Longer cores are refused when signing and when reading.
pub const CORE_BYTES_MAX: usize = 32 * 1024;
/// Longest view (core with disclosures) in bytes: a full core whose every slot is opened.
pub const VIEW_BYTES_MAX: usize = 96 * 1024;
/// Most slots of one kind. More is refused as malformed.
pub const SLOTS_MAX: usize = 64;
/// Most circles one record can go to. More is refused when signing and reading.
pub const FEEDS_PER_RECORD_MAX: usize = 64;
/// Most buckets of one series: ten years of weeks, or 74 weeks of days. More is refused; publish a
/// record per quarter instead.
pub const SERIES_BUCKETS_MAX: usize = 520;
/// Longest text value in characters.
pub const TEXT_CHARS_MAX: usize = 4_000;
/// Most elements in a list value (certificates, capabilities, properties, resources of a capacity).
pub const LIST_ITEMS_MAX: usize = 256;
/// Deepest nesting of a JSON value from outside.
pub const JSON_DEPTH_MAX: usize = 16;
/// Encoded publication. Gossip messages within 8 KiB of gossipsub's `max_transmit_size` kill links
/// silently, so this stays far below it. Larger changes carry leaf hashes and are pulled.
pub const PUBLICATION_BYTES_MAX: usize = 32 * 1024;
/// Sealed and plain record bytes inside one publication; beyond it boxes are sent empty.
pub const PUBLICATION_CONTENT_BYTES_MAX: usize = 16 * 1024;
/// Leaves in one publication (8 KiB of hashes).
pub const PUBLICATION_LEAVES_MAX: usize = 256;
/// Boxes in one publication.
pub const PUBLICATION_BOXES_MAX: usize = 64;
/// Largest encoded sync message.
pub const SYNC_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Record bytes in one feed answer.
pub const FEED_BATCH_BYTES_MAX: usize = 128 * 1024;
/// Records in one feed answer.
pub const FEED_BATCH_RECORDS_MAX: usize = 512;
/// Runs of withheld positions in one feed answer. More is refused; an honest answer has at most one between two records.
pub const FEED_BATCH_RUNS_MAX: usize = FEED_BATCH_RECORDS_MAX + 1;
/// Encoded join message.
pub const JOIN_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Encoded answer to a join, which carries the mesh's membership records.
pub const JOIN_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// `keys` records of one site that count, the manifest among them: a fork proof carries them all. A rotation beyond is refused; the
/// site joins anew.
pub const KEYS_RECORDS_MAX: usize = 64;
/// Box keys from before rotations that a site keeps, to open what was sealed to them; older ones are forgotten, and what comes
/// sealed to them is pulled from its feed instead.
pub const BOX_KEYS_KEPT_MAX: usize = 8;
/// Membership acts of one site that are kept: room for an admin who lets in a mesh of thousands. More are refused.
pub const ACTS_PER_SITE_MAX: usize = 16 * 1024;
/// Record bytes in one answer about membership.
pub const MEMBERSHIP_BATCH_BYTES_MAX: usize = 128 * 1024;
/// Requests to join that wait for a person; more are refused as busy.
pub const PENDING_JOINS_MAX: usize = 32;
/// Bytes of a checkpoint note. Sixteen signature lines and a body fit in 4 KiB.
pub const CHECKPOINT_BYTES_MAX: usize = 8 * 1024;
/// Signature lines on a note that we read (C2SP asks for at least 16).
pub const NOTE_SIGNATURES_MAX: usize = 16;
/// Hashes in one proof (C2SP: 63).
pub const PROOF_HASHES_MAX: usize = 63;
/// Cosignatures that an issuer collects for one checkpoint: the note's lines without the log's own. It stops asking at this.
pub const COSIGNATURES_MAX: usize = NOTE_SIGNATURES_MAX - 1;
/// Fork proofs against one site that are kept, for ever: the first ones. One is enough to show it; more are ignored.
pub const FORKS_PER_SITE_MAX: usize = 8;
/// Longest fork proof that nodes keep and pass on: two cores, their positions, a manifest with rotations. Longer ones are refused.
pub const FORK_PROOF_BYTES_MAX: usize = 128 * 1024;
/// Largest tree size that is parsed: 2^63 - 1.
pub const TREE_SIZE_MAX: u64 = i64::MAX as u64;
/// Addresses in a ticket or for a member.
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of one address.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Names of sites, circles, resources in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// A site whose clock is this far ahead is shown as such. It decides nothing.
pub const CLOCK_SKEW_SECONDS_SHOWN: u64 = 600;
/// Version of the protocol.
pub const PROTOCOL_VERSION: u32 = 1;
