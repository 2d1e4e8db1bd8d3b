//! What stands between this node and its partners: each step of reachability judged from facts, causes ranked.
//!
//! A step is *ok*, *failed*, *weak* (it works, not as it should) or *unknown*; unknown is said and never guessed. What failed has a
//! command or an act that mends it. This module only judges: [`crate::service`] gathers the facts, and what it does not know
//! are sockets, stores and clocks.

use fmesh_proto::limits::CLOCK_SKEW_SECONDS_SHOWN;
use serde::{Deserialize, Serialize};

use crate::net::{Probed, Reach};

mod address;
mod own;
mod partner;

pub use address::{Scope, host_name, scope};

/// One step of reachability, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `this node`, or the partner's name.
    pub subject: String,
    /// The step, in a word or two.
    pub step: String,
    /// How it stands.
    pub state: CheckState,
    /// What was seen.
    pub what: String,
    /// What mends it.
    pub fix: Option<String>,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Not known.
    Unknown,
    /// It works, not as it should.
    Weak,
    /// It does not work.
    Failed,
}

/// What is known of this node.
#[derive(Debug, Clone, Default)]
pub struct OwnFacts {
    /// Own addresses, verdicts, relays.
    pub reach: Reach,
    /// What the operator announces.
    pub announce: Vec<String>,
    /// Relays may be used.
    pub use_relays: bool,
    /// In a mesh at all.
    pub in_mesh: bool,
    /// Other members.
    pub partners: usize,
    /// Of these connected.
    pub connected: usize,
    /// Connections refused since start.
    pub refused: u64,
}

/// What is known of one partner.
#[derive(Debug, Clone, Default)]
pub struct PartnerFacts {
    /// Its name.
    pub name: String,
    /// Connected now, over this address.
    pub address: Option<String>,
    /// Round-trip time in microseconds.
    pub rtt_micros: Option<u64>,
    /// Where it says it can be reached, and what came of a trial of each, if one was made.
    pub trials: Vec<(String, Option<Trial>)>,
    /// It signed these addresses; otherwise they come from a ticket.
    pub signed: bool,
    /// It is to be reached directly only if something asks for it: the mesh is large.
    pub optional: bool,
    /// Why the last dial failed.
    pub last_error: Option<String>,
    /// Their clock minus ours, seconds, from their hello: known means that mesh and version agree.
    pub clock_skew: Option<i64>,
    /// A member that is connected with us relays for others.
    pub relay_at_hand: bool,
    /// Records of theirs that we lack.
    pub behind: u64,
    /// Records of ours that they lack.
    pub they_are_behind: u64,
    /// How it misbehaved last, and how often.
    pub misbehaved: Option<(String, u64)>,
}

/// What came of trying one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// The name in it does not resolve: why.
    NoName(String),
    /// It was dialled.
    Dialled(Probed),
}

/// Every step, in the order in which they depend on each other.
#[must_use]
pub fn examine(own: &OwnFacts, partners: &[PartnerFacts]) -> Vec<Check> {
    let mut checks = own::examine(own);
    for facts in partners {
        checks.extend(partner::examine(own, facts));
    }
    checks
}

/// Causes, worst first: what failed before what is weak; of what failed for one subject the step that says most, because the others
/// follow from it or say less (a closed UDP port is silent, the TCP port beside it says that it is closed).
#[must_use]
pub fn causes(checks: &[Check]) -> Vec<Check> {
    let mut causes: Vec<Check> = Vec::new();
    for check in checks
        .iter()
        .filter(|check| check.state >= CheckState::Weak)
    {
        let of_subject =
            |c: &&mut Check| c.subject == check.subject && c.state == CheckState::Failed;
        match causes.iter_mut().find(of_subject) {
            Some(known) if check.state == CheckState::Failed => {
                if telling(&check.step) < telling(&known.step) {
                    known.clone_from(check);
                }
            }
            _ => causes.push(check.clone()),
        }
    }
    causes.sort_by_key(|check| std::cmp::Reverse(check.state));
    causes
}

/// Place of a failed step among those of one subject: the lower, the more it explains.
fn telling(step: &str) -> usize {
    let order = [
        "listening",
        "mesh",
        "addresses",
        "identity",
        "port",
        "name",
        "dial",
        "route",
    ];
    order
        .iter()
        .position(|known| *known == step)
        .unwrap_or(order.len())
}

/// Collects the steps of one subject.
struct Steps {
    subject: String,
    checks: Vec<Check>,
}

impl Steps {
    fn new(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            checks: Vec::new(),
        }
    }

    fn add(&mut self, step: &str, state: CheckState, what: impl Into<String>, fix: Option<String>) {
        self.checks.push(Check {
            subject: self.subject.clone(),
            step: step.to_owned(),
            state,
            what: what.into(),
            fix,
        });
    }

    fn ok(&mut self, step: &str, what: impl Into<String>) {
        self.add(step, CheckState::Ok, what, None);
    }

    fn unknown(&mut self, step: &str, what: impl Into<String>) {
        self.add(step, CheckState::Unknown, what, None);
    }

    fn failed(&mut self, step: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(step, CheckState::Failed, what, Some(fix.into()));
    }

    fn weak(&mut self, step: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(step, CheckState::Weak, what, Some(fix.into()));
    }
}

/// Seconds in words that a person compares.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// Whether a clock difference is worth a word.
const fn is_skewed(seconds: i64) -> bool {
    seconds.unsigned_abs() > CLOCK_SKEW_SECONDS_SHOWN
}

#[cfg(test)]
mod tests;
