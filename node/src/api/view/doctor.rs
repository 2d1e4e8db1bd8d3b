//! `fmesh doctor`.

use serde::{Deserialize, Serialize};

use super::Shape;
use crate::doctor::Check;

/// Every step of reachability, and what is wrong, ranked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// What is wrong, worst first; empty if nothing is known to be.
    pub causes: Vec<Check>,
    /// All steps, in the order in which they depend on each other.
    pub checks: Vec<Check>,
}
impl Shape for Doctor {
    const SCHEMA: &'static str = "fmesh.doctor.v1";
}
