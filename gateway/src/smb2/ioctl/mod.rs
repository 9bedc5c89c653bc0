//! IOCTL (MS-SMB2 §3.3.5.15): which control is asked for. What each family of controls does is in a file of its own.

mod attributes;
mod connection;
mod copy;
mod previous;
mod ranges;

use super::dispatch::Asked;
use super::open::Open;
use super::reply::{Body, Failure, Reply};
use super::wire::FileId;
use super::wire::fsctl::code;
use super::wire::ioctl::{IS_FSCTL, IoctlRequest, IoctlResponse};
use super::wire::status::NtStatus;
use crate::vserver::{Cost, Vserver};
use bytes::Bytes;
use std::sync::Arc;

/// What a control says, and with which status.
type Said = Result<(Bytes, NtStatus), Failure>;

/// A control of an open file.
struct Control<'a> {
    asked: &'a Asked,
    request: &'a IoctlRequest,
    open: Arc<Open>,
}

impl Control<'_> {
    fn vserver(&self) -> &Vserver {
        &self.asked.connection.listener.vserver
    }

    /// Bytes that the client takes.
    fn room(&self) -> usize {
        self.request.max_output_response as usize
    }
}

fn success(output: impl Into<Bytes>) -> Said {
    Ok((output.into(), NtStatus::SUCCESS))
}

/// Whether a control is about the connection, or is answered alike wherever it is sent.
pub(super) fn is_about_connection(message: &Bytes) -> bool {
    IoctlRequest::decode(message).is_ok_and(|request| needs_no_open(request.ctl_code))
}

fn needs_no_open(ctl_code: u32) -> bool {
    matches!(
        ctl_code,
        code::VALIDATE_NEGOTIATE_INFO
            | code::DFS_GET_REFERRALS
            | code::DFS_GET_REFERRALS_EX
            | code::QUERY_NETWORK_INTERFACE_INFO
    )
}

/// What a control costs: copies inside of the server are writes, too.
pub(super) fn cost(message: &Bytes) -> Cost {
    let written = match IoctlRequest::decode(message) {
        Ok(request) if matches!(request.ctl_code, code::SRV_COPYCHUNK | code::SRV_COPYCHUNK_WRITE) => {
            copy::bytes_asked(&request.input)
        }
        _ => 0,
    };
    Cost { read: 0, written }
}

/// Answers IOCTL. `None`: the connection has to end.
pub(super) async fn ioctl(asked: &Asked) -> Option<Reply> {
    let request = match IoctlRequest::decode(&asked.message) {
        Ok(request) => request,
        Err(malformed) => return Some(Err(malformed.into())),
    };
    if request.flags & IS_FSCTL == 0 {
        return Some(Err(NtStatus::NOT_SUPPORTED.into()));
    }
    let most = asked.agreed().map_or(0, super::negotiate::Agreed::transfer_max);
    if request.max_output_response > most || request.max_input_response > most {
        return Some(Err(NtStatus::INVALID_PARAMETER.into()));
    }
    let said = match request.ctl_code {
        about if needs_no_open(about) && request.file_id != FileId::PREVIOUS => {
            Err(NtStatus::INVALID_PARAMETER.into())
        }
        code::VALIDATE_NEGOTIATE_INFO => connection::validate(asked, &request)?,
        code::QUERY_NETWORK_INTERFACE_INFO => connection::interfaces(asked, &request),
        code::DFS_GET_REFERRALS | code::DFS_GET_REFERRALS_EX => Err(NtStatus::FS_DRIVER_REQUIRED.into()),
        _ => of_open(asked, &request).await,
    };
    Some(said.and_then(|(output, status)| respond(&request, output, status)))
}

async fn of_open(asked: &Asked, request: &IoctlRequest) -> Said {
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    let control = Control { asked, request, open };
    match request.ctl_code {
        code::SRV_REQUEST_RESUME_KEY => copy::resume_key(&control),
        code::SRV_COPYCHUNK | code::SRV_COPYCHUNK_WRITE => copy::chunks(&control).await,
        code::DUPLICATE_EXTENTS_TO_FILE => copy::extents(&control).await,
        code::SRV_ENUMERATE_SNAPSHOTS => previous::snapshots(&control),
        code::SET_SPARSE => ranges::set_sparse(&control),
        code::SET_ZERO_DATA => ranges::zero(&control).await,
        code::QUERY_ALLOCATED_RANGES => ranges::allocated(&control).await,
        code::GET_COMPRESSION => attributes::compression(&control),
        code::SET_COMPRESSION => attributes::set_compression(&control),
        code::CREATE_OR_GET_OBJECT_ID => attributes::object_id(&control),
        code::GET_REPARSE_POINT => attributes::reparse_point(&control),
        _ => Err(NtStatus::INVALID_DEVICE_REQUEST.into()),
    }
}

fn respond(request: &IoctlRequest, output: Bytes, status: NtStatus) -> Reply {
    if output.len() > request.max_output_response as usize {
        return Err(NtStatus::BUFFER_TOO_SMALL.into());
    }
    let response = IoctlResponse { ctl_code: request.ctl_code, file_id: request.file_id, output };
    Ok(Body::of(|out| response.encode(out)).with_status(status))
}
