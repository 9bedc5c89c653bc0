//! The local security authority (MS-LSAD, MS-LSAT), as far as clients need it to show and to take names where there are SIDs.

mod accounts;
mod lookups;

use super::ndr::{Input, Output};
use super::rpc::Syntax;
use crate::smb2::session::Identity;
use crate::smb2::wire::Malformed;
use crate::smb2::wire::status::NtStatus;
use crate::vserver::Vserver;
use bytes::BytesMut;
use lookups::Answer;

/// The pipe.
pub(super) const NAME: &str = "lsarpc";
/// 12345778-1234-abcd-ef00-0123456789ab, version 0.
pub(super) const INTERFACE: Syntax =
    (*b"\x78\x57\x34\x12\x34\x12\xcd\xab\xef\x00\x01\x23\x45\x67\x89\xab", 0);

/// Numbers of operations: MS-LSAD §3.1.4, MS-LSAT §3.1.4.
mod operation {
    pub(super) const CLOSE: u16 = 0;
    pub(super) const OPEN_POLICY: u16 = 6;
    pub(super) const QUERY_INFORMATION_POLICY: u16 = 7;
    pub(super) const LOOKUP_NAMES: u16 = 14;
    pub(super) const LOOKUP_SIDS: u16 = 15;
    pub(super) const OPEN_POLICY_2: u16 = 44;
    pub(super) const GET_USER_NAME: u16 = 45;
    pub(super) const QUERY_INFORMATION_POLICY_2: u16 = 46;
    pub(super) const LOOKUP_SIDS_2: u16 = 57;
    pub(super) const LOOKUP_NAMES_2: u16 = 58;
    pub(super) const LOOKUP_NAMES_3: u16 = 68;
}

/// The handle of the one policy that there is. It stands for nothing that could be closed.
const HANDLE: [u8; 20] = *b"\0\0\0\0ferry lsa policy";

/// Classes of `POLICY_INFORMATION_CLASS`, MS-LSAD §2.2.4.1.
const PRIMARY_DOMAIN: u16 = 3;
const ACCOUNT_DOMAIN: u16 = 5;

/// Runs an operation. `None`: there is no such one, its arguments are none, or it is not for who asks.
pub(super) fn call(
    vserver: &Vserver,
    identity: &Identity,
    operation: u16,
    arguments: &[u8],
) -> Option<BytesMut> {
    // Who has not logged in is not told who there is.
    let user = identity.user.as_deref()?;
    let input = Input::new(arguments, "lsarpc");
    let result = match operation {
        operation::OPEN_POLICY | operation::OPEN_POLICY_2 => Ok(handle(HANDLE)),
        operation::GET_USER_NAME => user_name(vserver, user, input),
        _ => with_policy(vserver, operation, input)?,
    };
    result.ok()
}

/// What needs the policy to be open. `None`: there is no such operation.
fn with_policy(
    vserver: &Vserver,
    operation: u16,
    mut input: Input<'_>,
) -> Option<Result<BytesMut, Malformed>> {
    if !input.array().is_ok_and(|handle: [u8; 20]| handle == HANDLE) {
        return None;
    }
    Some(match operation {
        operation::CLOSE => Ok(handle([0; 20])),
        operation::QUERY_INFORMATION_POLICY | operation::QUERY_INFORMATION_POLICY_2 => {
            information(vserver, input)
        }
        operation::LOOKUP_SIDS => lookups::sids(vserver, input, Answer::Names { flags: false }),
        operation::LOOKUP_SIDS_2 => lookups::sids(vserver, input, Answer::Names { flags: true }),
        operation::LOOKUP_NAMES => lookups::names(vserver, input, Answer::Rids { flags: false }),
        operation::LOOKUP_NAMES_2 => lookups::names(vserver, input, Answer::Rids { flags: true }),
        operation::LOOKUP_NAMES_3 => lookups::names(vserver, input, Answer::Sids),
        _ => return None,
    })
}

fn handle(handle: [u8; 20]) -> BytesMut {
    let mut out = Output::default();
    out.bytes(&handle);
    out.u32(NtStatus::SUCCESS.0);
    out.finish()
}

/// LsarQueryInformationPolicy and 2 (MS-LSAD §3.1.4.4.3, .4): to which domain the users belong. It is the vserver's own.
fn information(vserver: &Vserver, mut input: Input<'_>) -> Result<BytesMut, Malformed> {
    let class = input.u16()?;
    let mut out = Output::default();
    if !matches!(class, PRIMARY_DOMAIN | ACCOUNT_DOMAIN) {
        out.pointer(false);
        out.u32(NtStatus::INVALID_PARAMETER.0);
        return Ok(out.finish());
    }
    let (name, sid) = accounts::own_domain(vserver);
    out.pointer(true);
    out.u16(class);
    out.unicode_string(&name);
    out.pointer(true);
    out.unicode_text(&name);
    out.sid(&sid);
    out.u32(NtStatus::SUCCESS.0);
    Ok(out.finish())
}

/// LsarGetUserName (MS-LSAT §3.1.4.2).
fn user_name(vserver: &Vserver, user: &str, mut input: Input<'_>) -> Result<BytesMut, Malformed> {
    if input.pointer()? {
        input.string()?;
    }
    // What clients could put into the pointers to be filled has no meaning.
    if input.pointer()? {
        return Err(input.malformed());
    }
    let wants_domain = input.pointer()?;
    let mut out = Output::default();
    let put = |out: &mut Output, text: &str| {
        out.pointer(true);
        out.unicode_string(text);
        out.unicode_text(text);
    };
    put(&mut out, user);
    out.pointer(wants_domain);
    if wants_domain {
        put(&mut out, &accounts::own_domain(vserver).0);
    }
    out.u32(NtStatus::SUCCESS.0);
    Ok(out.finish())
}
