//! Rules over records: pure functions, one file each, over what a reader is shown.
//!
//! All of them keep three things apart: a fact, its opposite, and not knowing. What is withheld or unknown never
//! counts in anyone's favour, and the answer says what it was. Rules know no clock (dates come in), no store,
//! and not whether the records they get are verified.

pub mod certificates;
pub mod coverage;
pub mod distance;
pub mod free;
pub mod planned;
