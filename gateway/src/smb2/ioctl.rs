//! IOCTL (MS-SMB2 §3.3.5.15): file system controls.

use super::dispatch::Asked;
use super::negotiate;
use super::reply::{Body, Reply};
use super::wire::FileId;
use super::wire::fsctl::code;
use super::wire::ioctl::{IS_FSCTL, IoctlRequest, IoctlResponse};
use super::wire::status::NtStatus;
use bytes::Bytes;

/// Whether a control is about the connection, or is answered alike wherever it is sent.
pub(super) fn is_about_connection(message: &Bytes) -> bool {
    let about = [code::VALIDATE_NEGOTIATE_INFO, code::DFS_GET_REFERRALS, code::DFS_GET_REFERRALS_EX];
    IoctlRequest::decode(message).is_ok_and(|request| about.contains(&request.ctl_code))
}

/// Answers IOCTL. `None`: the connection has to end.
pub(super) fn ioctl(asked: &Asked) -> Option<Reply> {
    let request = match IoctlRequest::decode(&asked.message) {
        Ok(request) => request,
        Err(malformed) => return Some(Err(malformed.into())),
    };
    if request.flags & IS_FSCTL == 0 {
        return Some(Err(NtStatus::NOT_SUPPORTED.into()));
    }
    match request.ctl_code {
        code::VALIDATE_NEGOTIATE_INFO => validate(asked, &request),
        code::DFS_GET_REFERRALS | code::DFS_GET_REFERRALS_EX => {
            Some(Err(NtStatus::FS_DRIVER_REQUIRED.into()))
        }
        _ => Some(Err(NtStatus::INVALID_DEVICE_REQUEST.into())),
    }
}

/// Whether what was agreed on is what both had said (§3.3.5.15.12); if not, somebody was in between.
fn validate(asked: &Asked, request: &IoctlRequest) -> Option<Reply> {
    let agreed = asked.agreed()?;
    let output = negotiate::validate(&asked.connection.listener, agreed, &request.input)?;
    if (request.max_output_response as usize) < output.len() {
        return None;
    }
    let response = IoctlResponse { ctl_code: request.ctl_code, file_id: FileId::PREVIOUS, output };
    Some(Ok(Body::of(|out| response.encode(out))))
}
