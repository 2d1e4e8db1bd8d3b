//! How fast a partner answers a call: what an operator asks when something is slow.
//!
//! A hello goes to the partner and back, so the time contains both nodes' loops, not only the wire. A partner that is not
//! connected is dialled first. The loop owns the table; whoever asked waits for one answer.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use fmesh_proto::{id::SiteId, wire};
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait for the loop; more wait to be asked.
pub(super) const ASKED_MAX: usize = 16;
/// Questions that the loop may have open; more are refused.
const OPEN_MAX: usize = 64;
/// No answer after this is no answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ids of these calls; those of the state machine count from 1.
const IDS_FROM: u64 = 1 << 63;

/// A partner's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// From the call to its answer.
    pub micros: u64,
    /// What runs there.
    pub software: String,
    /// Its clock, unix seconds.
    pub clock: u64,
}

/// One question.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) site: SiteId,
    reply: oneshot::Sender<Result<Pong, String>>,
}

impl Ask {
    pub(super) fn new(site: SiteId) -> (Self, oneshot::Receiver<Result<Pong, String>>) {
        let (reply, answer) = oneshot::channel();
        (Self { site, reply }, answer)
    }

    pub(super) fn refuse(self, why: &str) {
        // Who asked may have gone.
        let _ = self.reply.send(Err(why.to_owned()));
    }
}

/// Open questions.
#[derive(Debug)]
pub(super) struct Pings {
    asked: mpsc::Receiver<Ask>,
    next: u64,
    /// With the time since when it waits, and whether the call is on its way.
    open: BTreeMap<u64, (Ask, Instant, bool)>,
}

pub(super) fn is_ping(id: u64) -> bool {
    id >= IDS_FROM
}

impl Pings {
    pub(super) fn new(asked: mpsc::Receiver<Ask>) -> Self {
        Self {
            asked,
            next: IDS_FROM,
            open: BTreeMap::new(),
        }
    }

    /// The next question.
    pub(super) async fn asked(&mut self) -> Option<Ask> {
        self.asked.recv().await
    }

    /// Remembers a question until [`Self::begin`].
    pub(super) fn wait(&mut self, ask: Ask) {
        if self.open.len() >= OPEN_MAX {
            ask.refuse("too many such questions at once");
            return;
        }
        self.open.insert(self.next, (ask, Instant::now(), false));
        self.next += 1;
    }

    /// Ids of the calls to make to a partner that is connected; time runs from here.
    pub(super) fn begin(&mut self, site: &SiteId) -> Vec<u64> {
        let mut ids = Vec::new();
        for (id, (ask, since, called)) in &mut self.open {
            if ask.site == *site && !*called {
                (*since, *called) = (Instant::now(), true);
                ids.push(*id);
            }
        }
        ids
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, id: u64, result: Result<wire::Response, String>) {
        let Some((ask, since, _)) = self.open.remove(&id) else {
            return;
        };
        let pong = match result.map(|response| response.what) {
            Ok(Some(wire::response::What::Hello(hello))) => Ok(Pong {
                micros: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
                software: hello.software.chars().take(100).collect(),
                clock: hello.clock,
            }),
            Ok(Some(wire::response::What::Refusal(refusal))) => Err(format!(
                "it refused the call: {}",
                refusal.text.chars().take(400).collect::<String>()
            )),
            Ok(_) => Err("it answered something else than was asked".to_owned()),
            Err(why) => Err(why),
        };
        let _ = ask.reply.send(pong);
    }

    /// A partner cannot be dialled.
    pub(super) fn unreachable(&mut self, site: &SiteId, why: &str) {
        self.end(why, |ask, _, called| ask.site == *site && !called);
    }

    /// Ends what has waited for too long.
    pub(super) fn expire(&mut self) {
        self.end("no answer in time", |_, since, _| {
            since.elapsed() >= PATIENCE
        });
    }

    fn end(&mut self, why: &str, ends: impl Fn(&Ask, &Instant, bool) -> bool) {
        let over = |(id, (ask, since, called)): (&u64, &(Ask, Instant, bool))| {
            ends(ask, since, *called).then_some(*id)
        };
        let over: Vec<u64> = self.open.iter().filter_map(over).collect();
        for id in over {
            if let Some((ask, ..)) = self.open.remove(&id) {
                ask.refuse(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> wire::Response {
        wire::Response {
            what: Some(wire::response::What::Hello(wire::Hello {
                software: "fmesh 1".into(),
                clock: 7,
                ..wire::Hello::default()
            })),
        }
    }

    #[tokio::test]
    async fn each_question_gets_one_answer() {
        let (_tx, asked) = mpsc::channel(1);
        let mut pings = Pings::new(asked);
        let (near, far) = (SiteId([1; 32]), SiteId([2; 32]));
        let (ask, near_answer) = Ask::new(near);
        pings.wait(ask);
        let (ask, far_answer) = Ask::new(far);
        pings.wait(ask);
        let ids = pings.begin(&near);
        assert!(ids.len() == 1 && ids.iter().all(|id| is_ping(*id)) && !is_ping(1));
        assert!(pings.begin(&near).is_empty(), "called once");
        pings.unreachable(&near, "a later dial says nothing about a call under way");
        pings.answered(ids[0], Ok(hello()));
        pings.answered(ids[0], Ok(hello()));
        pings.unreachable(&far, "refused");
        let pong = near_answer.await.unwrap().unwrap();
        assert_eq!((pong.software.as_str(), pong.clock), ("fmesh 1", 7));
        assert_eq!(far_answer.await.unwrap(), Err("refused".to_owned()));
        assert!(pings.open.is_empty());
        let (ask, answer) = Ask::new(far);
        pings.wait(ask);
        let ids = pings.begin(&far);
        pings.answered(ids[0], Ok(wire::Response { what: None }));
        assert!(answer.await.unwrap().is_err());
    }
}
