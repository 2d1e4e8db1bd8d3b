//! What a malicious member sends in place of what its machine said.
//!
//! Its machine runs as everybody's, so it knows and is known; only its messages are changed on the way out, and now
//! and then it says something unasked. It holds its own keys and no others.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use rand_core::Rng as _;

use super::{Sim, site::Site};
use crate::{
    id::{CircleId, Digest, MeshId, SiteId},
    kinds::Kind,
    membership::{Act, Role},
    mesh::issue::Author,
    publication::Publication,
    record::View,
    wire::{self, response::What},
};

/// Ways to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malice {
    /// Flips a bit in every second gossip message that it sends.
    Flip,
    /// Gossips what was gossiped long ago.
    Replay,
    /// Gossips publications of another mesh and in the name of others, and lets friends in without being an admin.
    Forge,
    /// Answers calls with noise, with another answer than was asked, with altered bytes, or never.
    Garbage,
    /// Gives out empty feeds and takes all records out of what it passes on.
    Withhold,
    /// Claims heads, positions, leaves, members and addresses that do not exist, and a new start with every hello.
    Lie,
    /// Signs two histories, and tells each to one half of its neighbours.
    Equivocate,
    /// Calls and gossips as fast as it can.
    Flood,
    /// Sends what somebody else writes, and else is honest.
    Script,
}

impl Malice {
    /// All that act by themselves.
    pub const ALL: [Self; 8] = [
        Self::Flip,
        Self::Replay,
        Self::Forge,
        Self::Garbage,
        Self::Withhold,
        Self::Lie,
        Self::Equivocate,
        Self::Flood,
    ];
}

impl Sim {
    /// A gossip message as this site sends it.
    pub(super) fn tampered(&mut self, n: usize, bytes: &Arc<Vec<u8>>) -> Arc<Vec<u8>> {
        let malice = self.sites[n].malice;
        match malice {
            Some(Malice::Flip) if self.below(2) == 0 => {
                let mut bytes = bytes.to_vec();
                self.flip(&mut bytes);
                Arc::new(bytes)
            }
            Some(Malice::Withhold) => {
                let message = wire::Gossip::decode(bytes.as_slice()).ok();
                let stripped = message.map(|mut message| {
                    if let Some(wire::gossip::What::Publication(publication)) = &mut message.what {
                        strip(publication);
                    }
                    message.encode_to_vec()
                });
                stripped.map_or_else(|| Arc::clone(bytes), Arc::new)
            }
            _ => Arc::clone(bytes),
        }
    }

    /// An answer as this site gives it; `None` is never.
    pub(super) fn answer_of(
        &mut self,
        n: usize,
        to: usize,
        mut response: wire::Response,
    ) -> Option<Vec<u8>> {
        if let Some(prepared) = self.sites[n].answers.pop_front() {
            return Some(prepared);
        }
        match self.sites[n].malice {
            Some(Malice::Garbage) => return self.garbage(response),
            Some(Malice::Withhold) => withhold(&mut response),
            Some(Malice::Lie) => self.lie(to, &mut response),
            Some(Malice::Forge) => {
                if let Some(What::Membership(members)) = &mut response.what {
                    members
                        .view
                        .insert(0, self.false_admission(n).encode().into_bytes());
                }
            }
            Some(
                Malice::Flip | Malice::Replay | Malice::Equivocate | Malice::Flood | Malice::Script,
            )
            | None => {}
        }
        Some(response.encode_to_vec())
    }

    fn garbage(&mut self, response: wire::Response) -> Option<Vec<u8>> {
        let mut bytes = response.encode_to_vec();
        match self.below(5) {
            0 => None,
            1 => {
                let length = self.below(400) as usize;
                let mut noise = vec![0; length];
                self.rng.fill_bytes(&mut noise);
                Some(noise)
            }
            2 => Some(
                wire::Response {
                    what: Some(What::Feed(wire::FeedResponse {
                        view: vec![bytes],
                        last: u64::MAX,
                        withheld: vec![wire::FeedRun {
                            first: 1,
                            last: u64::MAX - 1,
                        }],
                    })),
                }
                .encode_to_vec(),
            ),
            _ => {
                for _ in 0..=self.below(3) {
                    self.flip(&mut bytes);
                }
                Some(bytes)
            }
        }
    }

    fn lie(&mut self, to: usize, response: &mut wire::Response) {
        let victim = self.sites[to].who.site;
        let mut stranger = [0; 32];
        self.rng.fill_bytes(&mut stranger);
        match &mut response.what {
            Some(What::Hello(hello)) => hello.boot_id = self.rng.next_u64(),
            Some(What::Heads(heads)) => {
                for head in &mut heads.head {
                    head.size = head.size.saturating_add(self.rng.next_u64());
                }
                heads.head.push(wire::Head {
                    site: stranger.to_vec(),
                    size: 7,
                    root: stranger.to_vec(),
                });
                for log in &mut heads.cosigned {
                    log.size = log.size.saturating_add(1);
                }
                heads.fork.push(victim.0.to_vec());
                for tail in &mut heads.feed {
                    tail.feed_seq = u64::MAX;
                }
                heads.feed.push(wire::FeedTail {
                    circle: stranger[..16].to_vec(),
                    feed_seq: u64::MAX,
                });
                for member in &mut heads.address {
                    member.seq = member.seq.saturating_add(1);
                    member.address = vec!["/sim/0".into(), format!("/{victim}")];
                }
            }
            Some(What::Publications(page)) => {
                page.publication.clear();
            }
            Some(What::Feed(page)) => page.last = u64::MAX,
            Some(What::Cosign(answer)) => answer.line.push(b'='),
            Some(What::Checkpoints(answer)) => answer.cosigned.push(b'='),
            Some(What::Returned(answer)) => answer.view.push(stranger.to_vec()),
            Some(What::Forks(answer)) => answer.proof.push(stranger.to_vec()),
            Some(What::Membership(_) | What::Refusal(_)) | None => {}
        }
    }

    /// Says something unasked.
    pub(super) fn mischief(&mut self, n: usize) {
        if self.sites[n].process.is_none() {
            return;
        }
        match self.sites[n].malice {
            Some(Malice::Replay) => {
                let all = self.sites[n].store.publications();
                let at = self.below(all.len() as u64) as usize;
                if let Some(bytes) = all.get(at).cloned() {
                    self.shout(n, &bytes);
                }
            }
            Some(Malice::Forge) => match self.below(8) {
                0 => {
                    let friend = SiteId([0xee; 32]);
                    let act = self.act_for(n, friend);
                    let item = self.membership_item(&act);
                    self.issue(n, vec![item]);
                }
                chance => {
                    let (mesh, victim) = match chance % 2 {
                        0 => (MeshId([0x66; 32]), n),
                        _ => (self.mesh, self.another(n, chance)),
                    };
                    let bytes = self.forged(n, mesh, victim);
                    self.shout(n, &bytes);
                }
            },
            Some(Malice::Equivocate) => self.equivocate(n),
            Some(Malice::Flood) => self.flood(n),
            _ => {}
        }
    }

    /// The next leaf of its log, twice: one that it keeps and tells everybody, and one for every second neighbour.
    fn equivocate(&mut self, n: usize) {
        let circles = BTreeMap::from([(CircleId::MESH_WIDE, ["name".to_owned()].into())]);
        let [kept, other] = ["a machine", "another machine"].map(|name| {
            let fields = [("name".to_owned(), name.into())];
            self.item(Kind::Resource, fields.into(), circles.clone())
        });
        let (mesh, unix) = (self.mesh, self.unix(n));
        let Site { who, store, .. } = &self.sites[n];
        let author = Author {
            mesh,
            site: who.site,
            keys: &who.keys,
            manifest: &who.manifest,
        };
        let (head, mut tails) = (store.heads.get(&who.site), store.tails.clone());
        let issuance = author
            .issue(
                head,
                &mut tails,
                &BTreeMap::new(),
                vec![other],
                unix,
                &mut self.rng,
            )
            .expect("a plain record can be signed");
        for signed in &issuance.records {
            let core = Digest::of(signed.archive.core().as_bytes());
            self.truth.also_signed(n, signed.seq, core);
        }
        for publication in &issuance.publications {
            let Ok(message) = wire::Publication::decode(publication.bytes()) else {
                continue;
            };
            let gossip = wire::Gossip {
                what: Some(wire::gossip::What::Publication(message)),
            };
            let bytes = Arc::new(gossip.encode_to_vec());
            for to in self.subscribed(n).into_iter().step_by(2) {
                self.whisper(n, to, &bytes);
            }
        }
        self.issue(n, vec![kept]);
    }

    /// More calls than anybody answers, and noise.
    fn flood(&mut self, n: usize) {
        for to in self.subscribed(n) {
            let site = self.sites[to].who.site;
            for _ in 0..FLOOD {
                let request = wire::Request {
                    what: Some(wire::request::What::Heads(wire::HeadsRequest::default())),
                };
                let id = self.rng.next_u64() | 1 << 63;
                self.call(n, &site, id, &request);
                let mut noise = vec![0; 1_024];
                self.rng.fill_bytes(&mut noise);
                self.whisper(n, to, &Arc::new(noise));
            }
        }
    }

    /// A site that is not `n`.
    fn another(&self, n: usize, chance: u64) -> usize {
        let sites = self.sites.len();
        (n + 1 + chance as usize % (sites - 1)) % sites
    }

    /// To all neighbours, as the source of a message does.
    fn shout(&mut self, n: usize, publication: &[u8]) {
        if let Ok(message) = wire::Publication::decode(publication) {
            let gossip = wire::Gossip {
                what: Some(wire::gossip::What::Publication(message)),
            };
            self.gossip(n, None, &Arc::new(gossip.encode_to_vec()));
        }
    }

    /// A well-formed publication of `victim`'s log, signed with the wrong keys or for another mesh.
    fn forged(&mut self, n: usize, mesh: MeshId, victim: usize) -> Vec<u8> {
        let circles = BTreeMap::from([(CircleId::MESH_WIDE, ["name".to_owned()].into())]);
        let fields = [("name".to_owned(), "a machine that nobody has".into())];
        let item = self.item(Kind::Resource, fields.into(), circles);
        let (site, who) = (self.sites[victim].who.site, &self.sites[n].who);
        let author = Author {
            mesh,
            site,
            keys: &who.keys,
            manifest: &who.manifest,
        };
        let head = self.sites[n].store.heads.get(&site);
        let seals = BTreeMap::new();
        let mut tails = BTreeMap::new();
        let issuance = author
            .issue(head, &mut tails, &seals, vec![item], 0, &mut self.rng)
            .expect("a plain record can be signed");
        let last = issuance.publications.last();
        last.map_or_else(Vec::new, |publication: &Publication| {
            publication.bytes().to_vec()
        })
    }

    /// An admission in the founder's name, signed by this site.
    fn false_admission(&mut self, n: usize) -> View {
        let act = self.act_for(n, self.sites[n].who.site);
        let item = self.membership_item(&act);
        let founder = self.sites[0].who.site;
        let who = &self.sites[n].who;
        let author = Author {
            mesh: self.mesh,
            site: founder,
            keys: &who.keys,
            manifest: &who.manifest,
        };
        let head = self.sites[n].store.heads.get(&founder);
        let issuance = author.issue(
            head,
            &mut BTreeMap::new(),
            &BTreeMap::new(),
            vec![item],
            0,
            &mut self.rng,
        );
        let signed = issuance
            .expect("a plain record can be signed")
            .records
            .pop();
        signed.expect("one item makes a record").archive
    }

    /// Lets `friend` in under this site's own manifest.
    fn act_for(&self, n: usize, friend: SiteId) -> Act {
        Act::Admit {
            site: friend,
            name: "Friend".into(),
            role: Role::Admin,
            manifest: self.sites[n].who.manifest.clone(),
        }
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        let at = self.below(bytes.len() as u64 * 8) as usize;
        if let Some(byte) = bytes.get_mut(at / 8) {
            *byte ^= 1 << (at % 8);
        }
    }
}

fn strip(publication: &mut wire::Publication) {
    publication.plain.clear();
    publication.sealed.clear();
}

fn withhold(response: &mut wire::Response) {
    match &mut response.what {
        Some(What::Feed(page)) => page.view.clear(),
        Some(What::Publications(page)) => {
            for bytes in &mut page.publication {
                if let Ok(mut message) = wire::Publication::decode(bytes.as_slice()) {
                    strip(&mut message);
                    *bytes = message.encode_to_vec();
                }
            }
        }
        _ => {}
    }
}

/// Calls and messages of a flood, for each neighbour and time.
const FLOOD: usize = 40;
