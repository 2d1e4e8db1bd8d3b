//! What two fmesh nodes, or a node and an auditor, must agree on.
//!
//! No clock, socket, disk, thread or async runtime is in here; `now`, random numbers and stored
//! state come in as arguments. In reading order:
//!
//! - [`limits`], [`id`], [`json`], [`quantity`], [`taxonomy`], [`week`]: the words.
//! - [`keys`]: the roles a site's keys have, and which key counts at which leaf.
//! - [`record`]: one signed revision of an object, and views of it with some slots opened.
//! - [`kinds`]: what records say, and each kind's own rules. [`rules`]: rules over records.
//! - [`log`]: the append-only tree of a site's records; [`note`]: its signed checkpoints.
//! - [`circle`]: who may see what, and how it is sealed. [`publication`]: what gossip carries.
//! - [`membership`], [`invite`]: who is in, and how one gets in.
//! - [`directory`]: where members can be reached.
//! - [`mesh`]: the node's protocol as a state machine. `sim`: a network of them with a seed.
//! - [`audit`]: claims about records and what proves or refutes them.
//! - `fuzzing`: every reader of others' bytes as a function, and what must hold for it.

pub mod audit;
pub mod circle;
pub mod directory;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod id;
pub mod invite;
pub mod json;
pub mod keys;
pub mod kinds;
pub mod limits;
pub mod log;
pub mod membership;
pub mod mesh;
pub mod note;
pub mod publication;
pub mod quantity;
pub mod record;
pub mod rules;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod taxonomy;
pub mod week;
pub mod wire;
