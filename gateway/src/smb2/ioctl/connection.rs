//! Controls that are about the connection.

use super::super::dispatch::Asked;
use super::super::negotiate;
use super::super::wire::fsctl::{NetworkInterface, put_interfaces};
use super::super::wire::ioctl::IoctlRequest;
use super::super::wire::negotiate::CAP_MULTI_CHANNEL;
use super::super::wire::status::NtStatus;
use super::{Said, success};
use crate::net::interface::Interface;
use bytes::BytesMut;

/// Whether what was agreed on is what both had said (§3.3.5.15.12). `None`: it is not, so somebody was in between.
pub(super) fn validate(asked: &Asked, request: &IoctlRequest) -> Option<Said> {
    let agreed = asked.agreed()?;
    let output = negotiate::validate(&asked.connection.listener, agreed, &request.input)?;
    (request.max_output_response as usize >= output.len()).then(|| success(output))
}

/// The addresses at which the vserver can be reached (§3.3.5.15.11), for clients that may have several connections.
pub(super) fn interfaces(asked: &Asked, request: &IoctlRequest) -> Said {
    if asked.agreed().is_none_or(|agreed| agreed.capabilities & CAP_MULTI_CHANNEL == 0) {
        return Err(NtStatus::NOT_SUPPORTED.into());
    }
    if !request.input.is_empty() {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let told = |interface: Interface| NetworkInterface {
        index: interface.index,
        // Several connections to one address are served by several processors.
        rss_capable: true,
        link_speed_bits_per_second: interface.speed_mbits.saturating_mul(1_000_000),
        address: interface.address,
    };
    let all: Vec<_> = asked.connection.listener.state.interfaces().into_iter().map(told).collect();
    let mut output = BytesMut::new();
    put_interfaces(&all, &mut output);
    success(output)
}
