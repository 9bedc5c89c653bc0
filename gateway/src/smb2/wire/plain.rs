//! The messages that say nothing but their command: LOGOFF, TREE_DISCONNECT, CANCEL and ECHO, and their replies
//! (MS-SMB2 §2.2.7, §2.2.8, §2.2.11, §2.2.12, §2.2.28 to §2.2.30); the replies of FLUSH, LOCK and SET_INFO (§2.2.18,
//! §2.2.27, §2.2.40).

use super::Malformed;
use super::cursor::body;
use bytes::{BufMut, Bytes, BytesMut};

macro_rules! plain_requests {
    ($($(#[$meta:meta])* $name:ident is $what:literal),* $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name;

        impl $name {
            /// # Errors
            /// [`Malformed`].
            pub fn decode(message: &Bytes) -> Result<$name, Malformed> {
                body(message, 4, $what).map(|_| $name)
            }
        }
    )*};
}

macro_rules! plain_responses {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name;

        impl $name {
            /// Appends the body.
            pub fn encode(&self, out: &mut BytesMut) {
                out.put_u16_le(4);
                out.put_u16_le(0);
            }
        }
    )*};
}

plain_requests! {
    /// SMB2 LOGOFF Request, MS-SMB2 §2.2.7.
    LogoffRequest is "LOGOFF",
    /// SMB2 TREE_DISCONNECT Request, MS-SMB2 §2.2.11.
    TreeDisconnectRequest is "TREE_DISCONNECT",
    /// SMB2 CANCEL Request, MS-SMB2 §2.2.30. What to cancel is in the header.
    CancelRequest is "CANCEL",
    /// SMB2 ECHO Request, MS-SMB2 §2.2.28.
    EchoRequest is "ECHO",
}

plain_responses! {
    /// SMB2 LOGOFF Response, MS-SMB2 §2.2.8.
    LogoffResponse,
    /// SMB2 TREE_DISCONNECT Response, MS-SMB2 §2.2.12.
    TreeDisconnectResponse,
    /// SMB2 ECHO Response, MS-SMB2 §2.2.29.
    EchoResponse,
    /// SMB2 FLUSH Response, MS-SMB2 §2.2.18.
    FlushResponse,
    /// SMB2 LOCK Response, MS-SMB2 §2.2.27.
    LockResponse,
}

/// SMB2 SET_INFO Response, MS-SMB2 §2.2.40.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetInfoResponse;

impl SetInfoResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(2);
    }
}
