//! Calls from members: what is answered at once, what from the store, what not at all.

use super::{Ask, FEEDS_PER_ISSUER_MAX, Mesh, Output, SERVES_PER_PEER};
use crate::{
    id::{CircleId, Digest, SiteId},
    membership::Held,
    note::Checkpoint,
    wire,
};

impl Mesh {
    pub(super) fn on_request(&mut self, from: SiteId, token: u64, request: wire::Request) {
        if !self.is_with(&from) {
            self.refuse(token, "not-a-member", "this mesh does not know you");
            return;
        }
        let ask = match request.what {
            Some(wire::request::What::Hello(hello)) => {
                let response = wire::Response {
                    what: Some(wire::response::What::Hello(self.hello())),
                };
                self.out.push_back(Output::Respond { token, response });
                self.on_hello(from, hello);
                return;
            }
            Some(wire::request::What::Heads(heads)) => {
                self.on_set(from, &heads.membership);
                let digest = Digest::from_slice(&heads.digest);
                let (ours, peer) = (self.own_everything(), self.peers.get(&from));
                let compared = peer.and_then(|peer| peer.compared);
                let theirs = self.everything(&heads.digest, &heads.witnessed, &heads.forked);
                if theirs != ours && compared != Some((theirs, ours)) {
                    // Whoever differs may be ahead; who differed in the same way before is not.
                    self.want_heads(&from);
                }
                for ack in heads.feed.into_iter().take(FEEDS_PER_ISSUER_MAX) {
                    if let Some(circle) = CircleId::from_slice(&ack.circle) {
                        self.acknowledge(from, circle, ack.feed_seq);
                    }
                }
                Some(Ask::Heads {
                    digest,
                    directory: Digest::from_slice(&heads.directory),
                    directory_after: SiteId::from_slice(&heads.directory_after),
                    witnessed: Digest::from_slice(&heads.witnessed),
                    forked: Digest::from_slice(&heads.forked),
                })
            }
            Some(wire::request::What::Publications(ask)) => {
                SiteId::from_slice(&ask.site).map(|site| Ask::Publications {
                    site,
                    from: ask.from,
                })
            }
            Some(wire::request::What::Feed(ask)) => {
                CircleId::from_slice(&ask.circle).map(|circle| {
                    self.acknowledge(from, circle, ask.held);
                    Ask::Feed {
                        circle,
                        after: ask.after,
                    }
                })
            }
            Some(wire::request::What::Cosign(ask)) => {
                match self.cosignable(from, &ask.checkpoint) {
                    Ok(checkpoint) => Some(Ask::Cosign { checkpoint }),
                    Err(answer) => {
                        self.out.push_back(Output::Respond {
                            token,
                            response: *answer,
                        });
                        return;
                    }
                }
            }
            Some(wire::request::What::Checkpoints(ask)) => {
                SiteId::from_slice(&ask.site).map(|site| Ask::Checkpoints { site })
            }
            Some(wire::request::What::Returned(ask)) => Some(Ask::Returned { from: ask.from }),
            Some(wire::request::What::Forks(ask)) => {
                SiteId::from_slice(&ask.site).map(|site| Ask::Forks { site })
            }
            Some(wire::request::What::Membership(ask)) => {
                let held = ask.held.into_iter().filter_map(|held| {
                    Some(Held {
                        site: SiteId::from_slice(&held.site)?,
                        size: held.size,
                        digest: Digest::from_slice(&held.digest)?,
                    })
                });
                let after = ask.after.as_ref();
                Some(Ask::Membership {
                    held: held.collect(),
                    after: after.and_then(|act| Some((SiteId::from_slice(&act.site)?, act.size))),
                })
            }
            None => None,
        };
        let Some(ask) = ask else {
            self.refuse(token, "malformed", "unknown or malformed call");
            return;
        };
        let peer = self.peers.entry(from).or_default();
        if peer.serving >= SERVES_PER_PEER {
            // An honest node has fewer open, also when it has just reconnected.
            self.misbehaved(from, "makes more calls at once than an honest node does");
            self.refuse(token, "busy", "too many calls at once");
            return;
        }
        peer.serving += 1;
        self.serve(from, token, ask);
    }

    /// What a member wants cosigned, if that is to be decided by the writer; else the answer at once.
    fn cosignable(
        &mut self,
        from: SiteId,
        note: &[u8],
    ) -> Result<Box<Checkpoint>, Box<wire::Response>> {
        let (now, mesh) = (self.now, self.mesh);
        let Some(keys) = self.membership.keys_of(&from) else {
            return Err(Box::new(refusal(
                "not-a-member",
                "this mesh does not know you",
            )));
        };
        let log_key = keys.current().log;
        let checkpoint = Checkpoint::parse(note).ok().filter(|checkpoint| {
            checkpoint.origin() == Checkpoint::origin_of(&mesh, &from)
                && checkpoint.verify(&log_key).is_ok()
        });
        let Some(checkpoint) = checkpoint else {
            self.misbehaved(
                from,
                "wants a cosignature of what is no checkpoint of its log",
            );
            return Err(Box::new(refusal(
                "malformed",
                "not a checkpoint of your log",
            )));
        };
        if self.forked.contains_key(&from) {
            let text = "a fork proof is held against your log: it is not cosigned any more";
            return Err(Box::new(refusal("forked", text)));
        }
        let log = self.logs.or_default(from);
        if !log.spend_cosign(now) {
            return Err(Box::new(refusal(
                "busy",
                "cosignatures are asked for too often",
            )));
        }
        if checkpoint.size() > log.size {
            let size = log.size;
            self.claimed(from, from, checkpoint.size());
            return Err(Box::new(not_cosigned(size)));
        }
        Ok(Box::new(checkpoint))
    }

    /// A call of `to` has been answered.
    pub(super) fn served(&mut self, to: &SiteId) {
        if let Some(peer) = self.peers.get_mut(to) {
            peer.serving = peer.serving.saturating_sub(1);
        }
    }

    fn acknowledge(&mut self, reader: SiteId, circle: CircleId, feed_seq: u64) {
        if feed_seq > 0 {
            self.out.push_back(Output::Acknowledged {
                reader,
                circle,
                feed_seq,
            });
        }
    }

    pub(super) fn refuse(&mut self, token: u64, code: &str, text: &str) {
        self.out.push_back(Output::Respond {
            token,
            response: refusal(code, text),
        });
    }
}

/// No cosignature: how far the witness is, or what it cosigned before.
#[must_use]
pub fn not_cosigned(size: u64) -> wire::Response {
    wire::Response {
        what: Some(wire::response::What::Cosign(wire::CosignResponse {
            line: Vec::new(),
            size,
        })),
    }
}

/// A refusal as a response.
#[must_use]
pub(crate) fn refusal(code: &str, text: &str) -> wire::Response {
    wire::Response {
        what: Some(wire::response::What::Refusal(wire::Refusal {
            code: code.into(),
            text: text.into(),
        })),
    }
}
