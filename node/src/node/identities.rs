//! Under which transport key each member speaks, while rotations are on their way.
//!
//! A site that rotated goes on with the PeerId of before until all members can know the new one, and changes at a start (see
//! `writer::keys`). So nobody can say from the `keys` record alone under which of its keys a member speaks now. The rule here: a member
//! may speak with its newest key and with older ones, down to the newest that was *seen*: with which it signed the address record that is
//! held, or spoke to us. So once a member was seen under a key, all older keys are refused, also after a restart, as the address
//! record is stored. It is dialled under the seen one first, and under newer ones in turn as dials fail.
//!
//! Of two connections under two keys the newer one counts, and the other is closed: it is the site before its restart, or a thief.
//! What this does not know: whether a connection under the seen key is the site or who stole that key.

use std::collections::BTreeMap;

use fmesh_proto::{
    directory,
    id::{MeshId, PeerKey, SiteId},
    membership::{Member, Membership},
    wire::AddressRecord,
};

/// One entry a member that was ever seen: bounded by the members.
#[derive(Debug, Default)]
pub(super) struct Identities {
    known: BTreeMap<SiteId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Generation of the newest key that was seen.
    seen: usize,
    /// Generation under which it is connected.
    connected: Option<usize>,
    /// Dials that failed.
    failed: usize,
}

/// What a new connection of a member means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the one that counts.
    Counts,
    /// It counts instead of the one under this key, which is to be closed.
    Instead(PeerKey),
    /// Another one, under a newer key, counts: this one is to be closed.
    Stale,
}

impl Identities {
    /// Keys under which a member may speak, oldest first.
    pub(super) fn accepted<'a>(&self, member: &'a Member) -> impl Iterator<Item = PeerKey> + 'a {
        let seen = self.seen(member);
        member.keys.all().skip(seen).map(|set| set.transport)
    }

    /// Who speaks under this key.
    pub(super) fn site(&self, membership: &Membership, peer: &PeerKey) -> Option<SiteId> {
        let member = membership.by_transport(peer)?;
        let generation = member.keys.transport_generation(peer)?;
        (generation >= self.seen(member)).then_some(member.site)
    }

    /// The key under which a member is connected, or is to be dialled next.
    pub(super) fn peer(&self, member: &Member) -> PeerKey {
        let known = self.known.get(&member.site);
        let keys: Vec<PeerKey> = member.keys.all().map(|set| set.transport).collect();
        let connected = known.and_then(|known| keys.get(known.connected?));
        connected.copied().unwrap_or_else(|| {
            let accepted: Vec<PeerKey> = self.accepted(member).collect();
            let turn = known.map_or(0, |known| known.failed) % accepted.len().max(1);
            accepted.get(turn).copied().unwrap_or(member.transport())
        })
    }

    /// An address record of a member is held.
    pub(super) fn learned(&mut self, mesh: &MeshId, member: &Member, record: &AddressRecord) {
        // Most members have never rotated.
        if member.keys.all().nth(1).is_some()
            && let Some(by) = directory::signed_by(record, mesh, &member.keys)
        {
            self.see(&member.site, by);
        }
    }

    /// A member is connected under this key.
    pub(super) fn connected(&mut self, member: &Member, peer: &PeerKey) -> Arrival {
        let Some(now) = member.keys.transport_generation(peer) else {
            return Arrival::Stale;
        };
        let before = self.known.entry(member.site).or_default().connected;
        match before {
            Some(before) if before > now => return Arrival::Stale,
            _ => {}
        }
        self.see(&member.site, now);
        if let Some(known) = self.known.get_mut(&member.site) {
            (known.connected, known.failed) = (Some(now), 0);
        }
        let other = before.filter(|before| *before < now);
        match other.and_then(|before| member.keys.all().nth(before)) {
            Some(set) => Arrival::Instead(set.transport),
            None => Arrival::Counts,
        }
    }

    /// A connection under this key has ended; true if it was the one that counts.
    pub(super) fn disconnected(&mut self, member: &Member, peer: &PeerKey) -> bool {
        let ended = member.keys.transport_generation(peer);
        let Some(known) = self.known.get_mut(&member.site) else {
            return false;
        };
        let counts = ended.is_some() && known.connected == ended;
        if counts {
            known.connected = None;
        }
        counts
    }

    /// A dial failed: the next one tries the next key, if there is a choice.
    pub(super) fn dial_failed(&mut self, site: &SiteId) {
        let known = self.known.entry(*site).or_default();
        known.failed = known.failed.wrapping_add(1);
    }

    /// Who is no member is forgotten.
    pub(super) fn retain(&mut self, membership: &Membership) {
        self.known
            .retain(|site, _| membership.member(site).is_some());
    }

    fn seen(&self, member: &Member) -> usize {
        let newest = member.keys.all().count() - 1;
        let known = self.known.get(&member.site);
        known.map_or(0, |known| known.seen).min(newest)
    }

    fn see(&mut self, site: &SiteId, generation: usize) {
        let known = self.known.entry(*site).or_default();
        known.seen = known.seen.max(generation);
    }
}

#[cfg(test)]
mod tests {
    use fmesh_proto::keys::{Kept, KeyHistory, OperatingKeys, RootKey, Rotation};
    use fmesh_proto::{id::Digest, keys, membership::Role, record::View};

    use super::*;

    const MESH: MeshId = MeshId([5; 32]);

    fn random() -> rand_core::UnwrapErr<getrandom::SysRng> {
        rand_core::UnwrapErr(getrandom::SysRng)
    }

    /// A member with so many rotations, and its keys at each time, all transport keys in use.
    fn member(rotations: u8) -> (Member, Vec<OperatingKeys>) {
        let root = RootKey::from_bytes(&[9; 32]);
        let mut all = vec![OperatingKeys::from_seed(&[1; 32])];
        let manifest = keys::sign_manifest(&root, &all[0].public(), 1, &mut random());
        let (mut history, _) = KeyHistory::from_manifest(&manifest).unwrap();
        let mut kept = Kept::default();
        for n in 1..=rotations {
            kept = kept.after(&[n; 32]);
            kept.transport = None;
            let next = OperatingKeys::renewed(&[n + 1; 32], &kept);
            let (rev, prev): (u64, Digest) = history.newest_revision();
            let rotation = Rotation {
                seq: u64::from(n) * 10,
                rev: rev + 1,
                prev,
                position: u64::from(n) + 1,
                keys: next.public(),
            };
            let view: View = keys::sign_rotation(&root, &rotation, 1, &mut random()).unwrap();
            let record = history.verify(view).unwrap();
            history.rotate(&record).unwrap();
            all.push(next);
        }
        let member = Member {
            site: root.site(),
            name: "Plant".into(),
            role: Role::Member,
            keys: history,
            admitted_by: None,
            depth: 0,
            since: 1,
        };
        (member, all)
    }

    fn record(member: &Member, keys: &OperatingKeys) -> AddressRecord {
        directory::sign(keys, &MESH, &member.site, 1, vec!["/memory/1".into()])
    }

    #[test]
    fn old_keys_are_accepted_until_a_newer_one_was_seen_and_never_after() {
        let (member, keys) = member(2);
        let mut identities = Identities::default();
        let all: Vec<PeerKey> = keys.iter().map(OperatingKeys::transport).collect();
        let accepted = |i: &Identities| i.accepted(&member).collect::<Vec<_>>();
        assert_eq!(accepted(&identities), all, "nothing was seen yet");
        identities.learned(&MESH, &member, &record(&member, &keys[1]));
        assert_eq!(accepted(&identities), all[1..]);
        // An older record changes nothing, and neither does one that nobody signed.
        identities.learned(&MESH, &member, &record(&member, &keys[0]));
        identities.learned(&MESH, &member, &directory::hint(&member.site, Vec::new()));
        assert_eq!(accepted(&identities), all[1..]);
        assert_eq!(identities.connected(&member, &all[2]), Arrival::Counts);
        assert_eq!(accepted(&identities), all[2..]);
    }

    #[test]
    fn a_member_is_dialled_under_the_key_it_was_seen_with_then_under_newer_ones() {
        let (member, keys) = member(2);
        let all: Vec<PeerKey> = keys.iter().map(OperatingKeys::transport).collect();
        let mut identities = Identities::default();
        identities.learned(&MESH, &member, &record(&member, &keys[1]));
        assert_eq!(identities.peer(&member), all[1]);
        identities.dial_failed(&member.site);
        assert_eq!(identities.peer(&member), all[2]);
        identities.dial_failed(&member.site);
        assert_eq!(identities.peer(&member), all[1], "in turn");
        // Connected, it is spoken to as it is connected.
        identities.connected(&member, &all[2]);
        assert_eq!(identities.peer(&member), all[2]);
    }

    #[test]
    fn of_two_connections_the_newer_key_counts() {
        let (member, keys) = member(1);
        let [old, new] = [keys[0].transport(), keys[1].transport()];
        let mut identities = Identities::default();
        assert_eq!(identities.connected(&member, &old), Arrival::Counts);
        assert_eq!(identities.connected(&member, &old), Arrival::Counts);
        assert_eq!(identities.connected(&member, &new), Arrival::Instead(old));
        assert_eq!(identities.connected(&member, &old), Arrival::Stale);
        assert!(!identities.disconnected(&member, &old), "it did not count");
        assert!(identities.disconnected(&member, &new));
        assert!(!identities.disconnected(&member, &new), "once");
    }
}
