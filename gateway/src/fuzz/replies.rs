//! What replies are made of where the server has no type of its own for it, and which results are those of a success.

use crate::nfs3::mount::MountRes3;
use crate::nfs3::procedures::{Procedure, Res3};
use crate::nlm::types::{Nlm4Res, Nlm4ShareRes, Nlm4Stat, Nlm4TestRes, SmStatRes};
use crate::portmap::Mapping;
use crate::xdr::{Decoder, Encoder, Result, Xdr};
use bytes::Bytes;

/// Results that say how the call went.
pub(super) trait Outcome {
    fn is_success(&self) -> bool;
}

impl Outcome for () {
    fn is_success(&self) -> bool {
        true
    }
}

impl Outcome for bool {
    fn is_success(&self) -> bool {
        *self
    }
}

/// A port, or a status monitor's state.
impl Outcome for u32 {
    fn is_success(&self) -> bool {
        *self != 0
    }
}

impl<P: Procedure> Outcome for Res3<P> {
    fn is_success(&self) -> bool {
        matches!(self, Res3::Ok(_))
    }
}

impl Outcome for MountRes3 {
    fn is_success(&self) -> bool {
        self.0.is_ok()
    }
}

impl Outcome for Nlm4Stat {
    fn is_success(&self) -> bool {
        matches!(self, Nlm4Stat::Granted | Nlm4Stat::Blocked)
    }
}

impl Outcome for Nlm4Res {
    fn is_success(&self) -> bool {
        self.stat.is_success()
    }
}

impl Outcome for Nlm4ShareRes {
    fn is_success(&self) -> bool {
        self.stat.is_success()
    }
}

impl Outcome for Nlm4TestRes {
    fn is_success(&self) -> bool {
        matches!(self.stat, Ok(Nlm4Stat::Granted))
    }
}

impl Outcome for SmStatRes {
    fn is_success(&self) -> bool {
        self.res_stat == 0
    }
}

/// Text of any length.
pub(super) struct Text(Bytes);

impl Xdr for Text {
    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.0);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.opaque(usize::MAX).map(Text)
    }
}

impl Outcome for Text {
    fn is_success(&self) -> bool {
        !self.0.is_empty()
    }
}

/// A list as programs before NFS have it: «and another one», or «no more».
pub(super) struct List<T>(Vec<T>);

impl<T: Xdr> Xdr for List<T> {
    fn encode(&self, out: &mut Encoder) {
        for one in &self.0 {
            out.bool(true);
            out.put(one);
        }
        out.bool(false);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        let mut all = Vec::new();
        while let Some(one) = input.option()? {
            all.push(one);
        }
        Ok(List(all))
    }
}

impl<T> Outcome for List<T> {
    fn is_success(&self) -> bool {
        true
    }
}

/// Two values, one after the other.
pub(super) struct Both<A, B>(A, B);

impl<A: Xdr, B: Xdr> Xdr for Both<A, B> {
    fn encode(&self, out: &mut Encoder) {
        out.put(&self.0);
        out.put(&self.1);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        Ok(Both(input.take()?, input.take()?))
    }
}

/// `mountlist`, RFC 1813 §5.2.2.
pub(super) type Mounts = List<Both<Text, Text>>;
/// `exports`, RFC 1813 §5.2.5.
pub(super) type Exports = List<Both<Text, List<Text>>>;
/// `pmaplist`, RFC 1833 §3.1.
pub(super) type Mappings = List<Mapping>;
/// `rpcblist`, RFC 1833 §2.1: program and version as one number.
pub(super) type Rpcbs = List<Both<u64, Both<Text, Both<Text, Text>>>>;
