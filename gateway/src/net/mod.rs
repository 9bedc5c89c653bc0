//! What connections of every protocol have in common: how they are taken, what clients may take of a listener, the loop from
//! message to reply, and the way out for replies. Knows no protocol.

pub(crate) mod accept;
pub mod conversation;
pub mod ending;
pub(crate) mod inflow;
pub(crate) mod interface;
pub mod limits;
pub mod outgoing;
pub(crate) mod outlet;
pub(crate) mod places;
