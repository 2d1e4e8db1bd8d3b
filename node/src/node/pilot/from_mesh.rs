//! What the state machine wants done.

use fmesh_proto::{
    id::SiteId,
    mesh::{Ask, Input, Output, Progress, Verdict},
};

use super::{Done, Job, Pilot};
use crate::net::{self, NetCommand};

impl Pilot {
    pub(super) fn act(&mut self, output: Output) {
        match output {
            Output::Verdict { token, verdict } => {
                if let Some(token) = self.gossips.remove(&token) {
                    let verdict = match verdict {
                        Verdict::Accept => net::Verdict::Accept,
                        Verdict::Ignore => net::Verdict::Ignore,
                        Verdict::Reject => net::Verdict::Reject,
                    };
                    self.outbox
                        .push_back(NetCommand::Verdict { token, verdict });
                }
            }
            Output::Publish(bytes) => self.outbox.push_back(NetCommand::Publish(bytes)),
            Output::Request { to, id, request } => match self.peer(&to) {
                Some(peer) => self
                    .outbox
                    .push_back(NetCommand::Request { peer, id, request }),
                None => self.tell(Input::Response {
                    from: to,
                    id,
                    result: Err("no longer a member".into()),
                }),
            },
            Output::Respond { token, response } => {
                if let Some(token) = self.calls.remove(&token) {
                    self.outbox
                        .push_back(NetCommand::Respond { token, response });
                }
            }
            Output::Serve { to, token, ask } => self.serve(to, token, ask),
            Output::Take { work, incoming } => {
                if self.jobs.try_send(Job::Take { work, incoming }).is_err() {
                    // Nothing is lost: it is still missing, so it will be asked for again.
                    self.tell(Input::Taken(Progress {
                        work,
                        lost: true,
                        ..Progress::default()
                    }));
                }
            }
            Output::Dial { site, addresses } => match self.peer(&site) {
                Some(peer) => self.outbox.push_back(NetCommand::Dial { peer, addresses }),
                None => self.tell(Input::DialFailed { site }),
            },
            Output::Disconnect { site } => {
                // Also of a site that is no member any more.
                if let Some(keys) = self.membership.keys_of(&site) {
                    let peers = keys.all().map(|set| set.transport);
                    self.outbox.extend(peers.map(NetCommand::Disconnect));
                }
            }
            // Both are told again by the next hello or heads if the queue is full now.
            Output::Acknowledged {
                reader,
                circle,
                feed_seq,
            } => {
                let _ = self.jobs.try_send(Job::Acknowledged {
                    reader,
                    circle,
                    feed_seq,
                });
            }
            Output::Learned { record } => {
                self.note_signer(&record);
                let _ = self.jobs.try_send(Job::Learned { record });
            }
            Output::OwnLog(told) => {
                // Nothing else is on its way that would not give room soon, and it must not be lost.
                let jobs = self.jobs.clone();
                tokio::spawn(async move {
                    // The writer may have ended.
                    let _ = jobs.send(Job::OwnLog(told)).await;
                });
            }
            Output::Misbehaved { site, what } => self.blame(site, what),
        }
    }

    fn serve(&mut self, to: SiteId, token: u64, ask: Ask) {
        let (Some(token), Some(mesh)) = (self.calls.remove(&token), self.mesh_id) else {
            return;
        };
        if let Ask::Cosign { checkpoint } = ask {
            // What is cosigned is decided and stored where everything is.
            let (writer, done) = (self.node.writer.clone(), self.done_tx.clone());
            tokio::spawn(async move {
                let response = writer.cosign(to, checkpoint).await.unwrap_or_default();
                // The loop may have ended.
                let _ = done
                    .send(Done::Served {
                        to,
                        token,
                        response,
                    })
                    .await;
            });
            return;
        }
        let server = self.server(mesh);
        let done = self.done_tx.clone();
        tokio::task::spawn_blocking(move || {
            let response = server.answer(&to, &ask);
            // The loop may have ended.
            let _ = done.blocking_send(Done::Served {
                to,
                token,
                response,
            });
        });
    }
}
