//! What connections of every protocol have in common: what clients may take of a listener, and the way out for replies.
//! Knows no protocol.

pub(crate) mod inflow;
pub mod limits;
pub mod outgoing;
pub(crate) mod outlet;
pub(crate) mod places;
