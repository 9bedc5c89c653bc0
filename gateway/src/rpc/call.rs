//! Call and reply headers of ONC RPC (RFC 5531 §9), both directions. Knows no program.

use super::auth::{AuthStat, OpaqueAuth};
use crate::xdr::{Decoder, Encoder, Result, XdrError};

/// The RPC version of RFC 5531.
pub const RPC_VERSION: u32 = 2;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const MSG_ACCEPTED: u32 = 0;
const MSG_DENIED: u32 = 1;
const SUCCESS: u32 = 0;
const PROG_UNAVAIL: u32 = 1;
const PROG_MISMATCH: u32 = 2;
const PROC_UNAVAIL: u32 = 3;
const GARBAGE_ARGS: u32 = 4;
const SYSTEM_ERR: u32 = 5;
const RPC_MISMATCH: u32 = 0;
const AUTH_ERROR: u32 = 1;

/// `call_body` with its xid, RFC 5531 §9.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Chosen by the client; the reply repeats it.
    pub xid: u32,
    /// Program number.
    pub prog: u32,
    /// Program version.
    pub vers: u32,
    /// Procedure number.
    pub proc: u32,
    /// Credential.
    pub cred: OpaqueAuth,
    /// Verifier.
    pub verf: OpaqueAuth,
}

/// Why a message gets no procedure run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// Not an RPC call at all: there is nothing to answer, the connection is out of step.
    NotACall,
    /// A call of another RPC version: answer with [`Refusal::RpcMismatch`].
    RpcVersion {
        /// The call's xid.
        xid: u32,
    },
    /// The credential or verifier is malformed: answer with this.
    BadAuth {
        /// The call's xid.
        xid: u32,
        /// [`AuthStat::BadCred`] or [`AuthStat::BadVerf`].
        stat: AuthStat,
    },
}

impl Call {
    /// Takes the header off a message; what is left are the procedure's arguments.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn decode(input: &mut Decoder) -> std::result::Result<Call, CallError> {
        let not_a_call = |_| CallError::NotACall;
        let xid = input.u32().map_err(not_a_call)?;
        if input.u32().map_err(not_a_call)? != CALL {
            return Err(CallError::NotACall);
        }
        if input.u32().map_err(not_a_call)? != RPC_VERSION {
            return Err(CallError::RpcVersion { xid });
        }
        let mut word = || input.u32().map_err(not_a_call);
        let (prog, vers, proc) = (word()?, word()?, word()?);
        let mut auth = |stat| input.take().map_err(|_| CallError::BadAuth { xid, stat });
        let (cred, verf) = (auth(AuthStat::BadCred)?, auth(AuthStat::BadVerf)?);
        Ok(Call { xid, prog, vers, proc, cred, verf })
    }

    /// Appends the header; the arguments follow.
    pub fn encode(&self, out: &mut Encoder) {
        for word in [self.xid, CALL, RPC_VERSION, self.prog, self.vers, self.proc] {
            out.u32(word);
        }
        out.put(&self.cred);
        out.put(&self.verf);
    }
}

/// Every answer but success: the bad branches of `accept_stat` and `reject_stat`, RFC 5531 §9.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// `PROG_UNAVAIL`: no such program here.
    ProgUnavail,
    /// `PROG_MISMATCH`: the program has only versions `low` to `high`.
    ProgMismatch {
        /// Lowest version.
        low: u32,
        /// Highest version.
        high: u32,
    },
    /// `PROC_UNAVAIL`: no such procedure.
    ProcUnavail,
    /// `GARBAGE_ARGS`: the arguments can't be decoded.
    GarbageArgs,
    /// `SYSTEM_ERR`: the server failed.
    SystemErr,
    /// `RPC_MISMATCH`: only RPC version 2.
    RpcMismatch,
    /// `AUTH_ERROR`.
    Auth(AuthStat),
}

/// Appends the header of a successful reply; the results follow.
pub fn encode_success(out: &mut Encoder, xid: u32) {
    encode_accepted(out, xid, SUCCESS);
}

/// Appends a whole reply that refuses the call.
pub fn encode_refusal(out: &mut Encoder, xid: u32, refusal: Refusal) {
    match refusal {
        Refusal::ProgUnavail => encode_accepted(out, xid, PROG_UNAVAIL),
        Refusal::ProgMismatch { low, high } => {
            encode_accepted(out, xid, PROG_MISMATCH);
            out.u32(low);
            out.u32(high);
        }
        Refusal::ProcUnavail => encode_accepted(out, xid, PROC_UNAVAIL),
        Refusal::GarbageArgs => encode_accepted(out, xid, GARBAGE_ARGS),
        Refusal::SystemErr => encode_accepted(out, xid, SYSTEM_ERR),
        Refusal::RpcMismatch => {
            for word in [xid, REPLY, MSG_DENIED, RPC_MISMATCH, RPC_VERSION, RPC_VERSION] {
                out.u32(word);
            }
        }
        Refusal::Auth(stat) => {
            for word in [xid, REPLY, MSG_DENIED, AUTH_ERROR, stat as u32] {
                out.u32(word);
            }
        }
    }
}

fn encode_accepted(out: &mut Encoder, xid: u32, accept_stat: u32) {
    for word in [xid, REPLY, MSG_ACCEPTED] {
        out.u32(word);
    }
    out.put(&OpaqueAuth::NONE);
    out.u32(accept_stat);
}

/// What a reply's header says, as a client sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyStatus {
    /// The results follow.
    Success,
    /// The call was accepted but not run: `accept_stat`.
    NotRun(u32),
    /// The call was denied: `reject_stat`.
    Denied(u32),
}

/// A reply's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    /// Of the call that it answers.
    pub xid: u32,
    /// How the call went.
    pub status: ReplyStatus,
}

impl ReplyHeader {
    /// Takes the header off a message; what is left are the procedure's results.
    ///
    /// # Errors
    /// [`XdrError`] where the message is not a reply.
    pub fn decode(input: &mut Decoder) -> Result<ReplyHeader> {
        let xid = input.u32()?;
        match input.u32()? {
            REPLY => {}
            value => return Err(XdrError::BadValue { what: "msg_type of a reply", value }),
        }
        let status = match input.u32()? {
            MSG_ACCEPTED => {
                input.take::<OpaqueAuth>()?;
                match input.u32()? {
                    SUCCESS => ReplyStatus::Success,
                    other => ReplyStatus::NotRun(other),
                }
            }
            MSG_DENIED => ReplyStatus::Denied(input.u32()?),
            value => return Err(XdrError::BadValue { what: "reply_stat", value }),
        };
        Ok(ReplyHeader { xid, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    // RFC 5531 §9, by hand: xid 0x11223344, CALL, RPC 2, NFS 3 NULL, AUTH_NONE twice.
    const NULL_CALL: [u8; 40] = [
        0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0x86, 0xa3, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    fn decode(bytes: &[u8]) -> std::result::Result<Call, CallError> {
        Call::decode(&mut Decoder::new(Bytes::copy_from_slice(bytes)))
    }

    #[test]
    fn a_call_on_the_wire() {
        let call = decode(&NULL_CALL).unwrap();
        let none = OpaqueAuth::NONE;
        let expected =
            Call { xid: 0x1122_3344, prog: 100_003, vers: 3, proc: 0, cred: none.clone(), verf: none };
        assert_eq!(call, expected);
        let mut out = Encoder::default();
        call.encode(&mut out);
        assert_eq!(&out.finish().into_bytes()[..], NULL_CALL);
    }

    #[test]
    fn a_reply_is_not_a_call() {
        let mut bytes = NULL_CALL;
        bytes[7] = 1;
        assert_eq!(decode(&bytes), Err(CallError::NotACall));
        assert_eq!(decode(&NULL_CALL[..6]), Err(CallError::NotACall));
        assert_eq!(decode(&[]), Err(CallError::NotACall));
    }

    #[test]
    fn version_and_credential_are_checked() {
        let mut bytes = NULL_CALL;
        bytes[11] = 3;
        assert_eq!(decode(&bytes), Err(CallError::RpcVersion { xid: 0x1122_3344 }));
        let mut bytes = NULL_CALL;
        bytes[28..32].copy_from_slice(&401u32.to_be_bytes());
        let bad = |stat| Err(CallError::BadAuth { xid: 0x1122_3344, stat });
        assert_eq!(decode(&bytes), bad(AuthStat::BadCred));
        let mut bytes = NULL_CALL;
        bytes[36..].copy_from_slice(&401u32.to_be_bytes());
        assert_eq!(decode(&bytes), bad(AuthStat::BadVerf));
    }

    fn refused(refusal: Refusal) -> Vec<u8> {
        let mut out = Encoder::default();
        encode_refusal(&mut out, 1, refusal);
        out.finish().into_bytes().into()
    }

    #[test]
    fn refusals_on_the_wire() {
        // RFC 5531 §9: xid, REPLY, MSG_ACCEPTED, verifier AUTH_NONE of no bytes, accept_stat.
        let accepted = |rest: &[u8]| {
            let mut all = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            all.extend_from_slice(rest);
            all
        };
        assert_eq!(refused(Refusal::ProgUnavail), accepted(&[0, 0, 0, 1]));
        assert_eq!(
            refused(Refusal::ProgMismatch { low: 2, high: 4 }),
            accepted(&[0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 4])
        );
        assert_eq!(refused(Refusal::ProcUnavail), accepted(&[0, 0, 0, 3]));
        assert_eq!(refused(Refusal::GarbageArgs), accepted(&[0, 0, 0, 4]));
        assert_eq!(refused(Refusal::SystemErr), accepted(&[0, 0, 0, 5]));
        let denied = |rest: &[u8]| [&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], rest].concat();
        assert_eq!(refused(Refusal::RpcMismatch), denied(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2]));
        assert_eq!(refused(Refusal::Auth(AuthStat::TooWeak)), denied(&[0, 0, 0, 1, 0, 0, 0, 5]));
    }

    #[test]
    fn a_client_reads_replies() {
        let status = |bytes: Vec<u8>| ReplyHeader::decode(&mut Decoder::new(bytes.into())).unwrap().status;
        assert_eq!(status(refused(Refusal::GarbageArgs)), ReplyStatus::NotRun(4));
        assert_eq!(status(refused(Refusal::Auth(AuthStat::BadCred))), ReplyStatus::Denied(1));
        let mut out = Encoder::default();
        encode_success(&mut out, 1);
        assert_eq!(status(out.finish().into_bytes().into()), ReplyStatus::Success);
        assert!(ReplyHeader::decode(&mut Decoder::new(Bytes::from_static(&NULL_CALL))).is_err());
    }
}
