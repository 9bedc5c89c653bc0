//! Named pipes, in the tree `IPC$`: one for each service that answers remote procedure calls. They are `srvsvc`, by which clients
//! list shares, and `lsarpc`, by which they learn names of users and groups.

mod lsarpc;
mod ndr;
mod rpc;
mod srvsvc;

use super::dispatch::Asked;
use super::reply::{Body, Reply};
use super::wire::FileId;
use super::wire::create::{
    CloseRequest, CloseResponse, CreateRequest, CreateResponse, FileFacts, action, attribute, oplock,
};
use super::wire::fsctl::code;
use super::wire::header::Command;
use super::wire::info::file::{FileInfo, fixed_len};
use super::wire::info::{QueryInfoRequest, info_type};
use super::wire::io::{ReadRequest, ReadResponse, WriteRequest, WriteResponse};
use super::wire::ioctl::{IS_FSCTL, IoctlRequest, IoctlResponse};
use super::wire::output::encode_output;
use super::wire::plain::FlushResponse;
use super::wire::status::NtStatus;
use crate::xdr::Tail;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Who answers at the other end of a pipe.
#[derive(Clone, Copy, Debug)]
enum Service {
    Shares,
    Security,
}

impl Service {
    fn of_name(name: &str) -> Option<Service> {
        let all = [Service::Shares, Service::Security];
        all.into_iter().find(|service| service.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Service::Shares => srvsvc::NAME,
            Service::Security => lsarpc::NAME,
        }
    }

    fn interface(self) -> rpc::Syntax {
        match self {
            Service::Shares => srvsvc::INTERFACE,
            Service::Security => lsarpc::INTERFACE,
        }
    }

    /// Runs an operation. `None`: there is no such one.
    fn call(self, asked: &Asked, operation: u16, arguments: &[u8]) -> Option<BytesMut> {
        let vserver = &asked.connection.listener.vserver;
        match self {
            Service::Shares => srvsvc::call(vserver, operation, arguments),
            Service::Security => lsarpc::call(vserver, &asked.session.identity, operation, arguments),
        }
    }
}

/// An open pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    service: Service,
    /// What the service said and the client has not read, a fragment each.
    answers: Mutex<VecDeque<Bytes>>,
}

/// What all pipes look like.
const FACTS: FileFacts = FileFacts {
    creation_time: 0,
    last_access_time: 0,
    last_write_time: 0,
    change_time: 0,
    allocation_size: 4096,
    end_of_file: 0,
    file_attributes: attribute::NORMAL,
};

/// Runs a request in `IPC$`. Gives the id of the pipe that a CREATE opened, too.
pub(super) fn run(asked: &Asked, command: Command) -> (Option<FileId>, Reply) {
    let reply = match command {
        Command::Create => match open(asked) {
            Ok((id, body)) => return (Some(id), Ok(body)),
            Err(failure) => Err(failure),
        },
        Command::Close => close(asked),
        Command::Read => read(asked),
        Command::Write => write(asked),
        Command::Ioctl => ioctl(asked),
        Command::QueryInfo => query(asked),
        Command::Flush => Ok(Body::of(|out| FlushResponse.encode(out))),
        _ => Err(NtStatus::INVALID_DEVICE_REQUEST.into()),
    };
    (None, reply)
}

fn open(asked: &Asked) -> Result<(FileId, Body), super::reply::Failure> {
    let request = CreateRequest::decode(&asked.message)?;
    let service = Service::of_name(request.name.trim_start_matches('\\'));
    let service = service.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
    let number = asked.connection.listener.state.open_number()?;
    asked.session.keep_pipe(number, Arc::new(Pipe { service, answers: Mutex::default() }))?;
    let file_id = FileId { persistent: number, volatile: number };
    let response = CreateResponse {
        oplock_level: oplock::NONE,
        flags: 0,
        action: action::OPENED,
        file: FACTS,
        file_id,
        contexts: Vec::new(),
    };
    Ok((file_id, Body::of(|out| response.encode(out))))
}

fn close(asked: &Asked) -> Reply {
    let request = CloseRequest::decode(&asked.message)?;
    asked.session.remove_pipe(asked.id(request.file_id)?)?;
    Ok(Body::of(|out| CloseResponse { file: request.wants_attributes().then_some(FACTS) }.encode(out)))
}

fn write(asked: &Asked) -> Reply {
    let request = WriteRequest::decode(&asked.message)?;
    let pipe = asked.session.pipe(asked.id(request.file_id)?)?;
    pipe.tell(asked, &request.data)?;
    let count = u32::try_from(request.data.len()).unwrap_or(u32::MAX);
    Ok(Body::of(|out| WriteResponse { count }.encode(out)))
}

fn read(asked: &Asked) -> Reply {
    let request = ReadRequest::decode(&asked.message)?;
    let pipe = asked.session.pipe(asked.id(request.file_id)?)?;
    let (data, status) = pipe.take(request.length as usize)?;
    let data_length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let body = Body::of(|out| ReadResponse { data_length }.encode(out));
    Ok(body.with_tail(Tail::Bytes(data)).with_status(status))
}

/// FSCTL_PIPE_TRANSCEIVE: a question and its answer.
fn ioctl(asked: &Asked) -> Reply {
    let request = IoctlRequest::decode(&asked.message)?;
    if request.flags & IS_FSCTL == 0 || request.ctl_code != code::PIPE_TRANSCEIVE {
        return Err(NtStatus::INVALID_DEVICE_REQUEST.into());
    }
    let pipe = asked.session.pipe(asked.id(request.file_id)?)?;
    pipe.tell(asked, &request.input)?;
    let (output, status) = pipe.take(request.max_output_response as usize)?;
    let response = IoctlResponse { ctl_code: request.ctl_code, file_id: request.file_id, output };
    Ok(Body::of(|out| response.encode(out)).with_status(status))
}

fn query(asked: &Asked) -> Reply {
    let request = QueryInfoRequest::decode(&asked.message)?;
    asked.session.pipe(asked.id(request.file_id)?)?;
    if request.info_type != info_type::FILE {
        return Err(NtStatus::NOT_SUPPORTED.into());
    }
    let least = fixed_len(request.info_class).ok_or(NtStatus::INVALID_INFO_CLASS)?;
    if (request.output_buffer_length as usize) < least {
        return Err(NtStatus::INFO_LENGTH_MISMATCH.into());
    }
    let mut data = BytesMut::new();
    let info = FileInfo { facts: FACTS, links: 1, delete_pending: true, ..FileInfo::default() };
    info.encode(request.info_class, &mut data)?;
    Ok(Body::of(|out| encode_output(&data, out)))
}

impl Pipe {
    /// Takes what a client says, and keeps the answer for it.
    fn tell(&self, asked: &Asked, message: &[u8]) -> Result<(), NtStatus> {
        let mut answers = self.answers.lock();
        if !answers.is_empty() {
            // It has to listen before it goes on.
            return Err(NtStatus::PIPE_BUSY);
        }
        let service = self.service;
        let answer = rpc::answer(message, service.interface(), service.name(), |operation, arguments| {
            service.call(asked, operation, arguments)
        });
        answers.extend(answer.ok_or(NtStatus::INVALID_PARAMETER)?);
        Ok(())
    }

    /// What is to be read next. A status of its own says that there is more of it.
    fn take(&self, most: usize) -> Result<(Bytes, NtStatus), NtStatus> {
        let mut answers = self.answers.lock();
        let fragment = answers.front_mut().ok_or(NtStatus::PIPE_EMPTY)?;
        let part = fragment.split_to(fragment.len().min(most));
        if !fragment.is_empty() {
            return Ok((part, NtStatus::BUFFER_OVERFLOW));
        }
        answers.pop_front();
        Ok((part, NtStatus::SUCCESS))
    }
}
