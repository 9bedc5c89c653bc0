//! Controls that are about the connection.

use super::super::dispatch::Asked;
use super::super::negotiate;
use super::super::wire::ioctl::IoctlRequest;
use super::super::wire::status::NtStatus;
use super::{Said, success};

/// Whether what was agreed on is what both had said (§3.3.5.15.12). `None`: it is not, so somebody was in between.
pub(super) fn validate(asked: &Asked, request: &IoctlRequest) -> Option<Said> {
    let agreed = asked.agreed()?;
    let output = negotiate::validate(&asked.connection.listener, agreed, &request.input)?;
    (request.max_output_response as usize >= output.len()).then(|| success(output))
}

/// The addresses at which the vserver can be reached (§3.3.5.15.11).
pub(super) fn interfaces(_asked: &Asked, _request: &IoctlRequest) -> Said {
    Err(NtStatus::INVALID_DEVICE_REQUEST.into())
}
