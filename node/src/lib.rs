//! One factory's node: stores, signs, shares, finds.
//!
//! ```text
//! local change (CLI, API, import) -> writer: circles and slots -> sign -> append to own log
//!   -> one transaction, flush -> publication -> gossip
//! publication in -> decode, stateless check -> verdict -> writer: open boxes, verify records
//!   -> one transaction, flush -> index -> search
//! gap noticed (heads, feed tails) -> sync -> the same writer
//! ```
//!
//! - [`config`], [`keystore`]: what the operator wrote, and the site's secrets.
//! - [`store`]: the only place that names sled. [`writer`]: the only place that writes to it.
//! - [`net`]: the only place that names libp2p. [`node`]: the loop between machine, writer and net.
//! - [`service`]: what a person or program may ask of the node; [`api`] speaks HTTP, [`cli`] speaks terminal.
//! - [`bundle`]: audit bundles as files.
//! - [`import`], [`search`], [`demo`]: spreadsheets and calendars in, answers out, and the whole in a minute.

pub mod api;
pub mod bundle;
pub mod cli;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod import;
pub mod keystore;
pub mod net;
pub mod node;
pub mod search;
pub mod service;
pub mod store;
pub mod writer;
