//! From a frame to the handlers of its requests and back: decryption, message ids, signatures, sessions, trees, the gate, in
//! this order (MS-SMB2 §3.3.5.2). Knows no volume.

use super::connection::{Connection, Outcome};
use super::negotiate::Agreed;
use super::reply::{Answered, Body, Failure, Protection, Reply, Response, frame};
use super::session::Session;
use super::tree::{self, Root, Tree};
use super::wire::FileId;
use super::wire::frame::{FrameKind, Messages, Smb1Negotiate, TRANSFORM_LEN, TransformHeader};
use super::wire::header::{Command, FLAG_RESPONSE, HEADER_LEN, Header};
use super::wire::io::{ReadRequest, WriteRequest};
use super::wire::negotiate::{DIALECT_2_ANY, Dialect, NegotiateRequest};
use super::wire::plain::{EchoResponse, LogoffResponse, TreeDisconnectResponse};
use super::wire::status::NtStatus;
use super::{close, create, directory, io, ioctl, locking, login, negotiate, pipe, query, set};
use crate::vserver::{Cost, GatePass};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Requests in one frame.
const COMPOUND_MAX: usize = 64;

/// Bytes that the reply to a frame may have beyond a small number. What is encrypted does not show.
pub(super) fn reply_len_max(frame: &Bytes) -> usize {
    let Ok(header) = Header::decode(frame) else { return 0 };
    match header.command() {
        Some(Command::Read) => {
            ReadRequest::decode(frame).map_or(0, |read| read.length.min(negotiate::TRANSFER_MAX) as usize)
        }
        _ => 0,
    }
}

/// One request and what it is about.
pub(super) struct Asked {
    pub(super) connection: Arc<Connection>,
    pub(super) session: Arc<Session>,
    pub(super) tree: Arc<Tree>,
    /// Header and body.
    pub(super) message: Bytes,
    /// What the request before it in the compound opened or used.
    pub(super) previous: Option<Result<FileId, NtStatus>>,
}

impl Asked {
    pub(super) fn agreed(&self) -> Option<&Agreed> {
        self.connection.agreed.get()
    }

    /// The open that a request names, which may be that of the request before.
    pub(super) fn id(&self, id: FileId) -> Result<FileId, NtStatus> {
        match self.previous {
            Some(previous) if id == FileId::PREVIOUS => previous,
            _ => Ok(id),
        }
    }
}

/// Runs what a frame asks for.
pub(super) async fn run(connection: Arc<Connection>, received: Bytes) -> Outcome {
    match FrameKind::of(&received) {
        Ok(FrameKind::Smb1) => greet(&connection, &received),
        Ok(FrameKind::Plain) => run_all(connection, received, None).await,
        Ok(FrameKind::Sealed) => match open(&connection, &received) {
            Some((session, plain)) => run_all(connection, plain, Some(session)).await,
            None => Outcome::Close,
        },
        Err(_) => Outcome::Close,
    }
}

/// An SMB1 frame may ask for SMB 2, once.
fn greet(connection: &Connection, received: &[u8]) -> Outcome {
    let Ok(offer) = Smb1Negotiate::decode(received) else { return Outcome::Close };
    let dialect = match offer {
        Smb1Negotiate { offers_2_any: true, .. } => DIALECT_2_ANY,
        Smb1Negotiate { offers_2_002: true, .. } => Dialect::Smb202 as u16,
        _ => return Outcome::Close,
    };
    if connection.agreed.get().is_some() || connection.window.lock().take(0, 1).is_err() {
        return Outcome::Close;
    }
    let credits = connection.window.lock().grant(1);
    let header = negotiate::smb1_header();
    let body = negotiate::answer_smb1(&connection.listener, dialect);
    if dialect == Dialect::Smb202 as u16 {
        let _ = connection.agreed.set(Agreed::smb_202());
    }
    Outcome::Reply(frame(vec![respond(connection, &header, 0, 0, credits, Protection::None, Ok(body))]))
}

/// Decrypts a frame. `None`: nobody here sealed it, or not so.
fn open(connection: &Connection, received: &Bytes) -> Option<(Arc<Session>, Bytes)> {
    let transform = TransformHeader::decode(received).ok()?;
    let session = connection.session(transform.session_id)?;
    let key = session.keys.as_ref()?.opening.as_ref()?;
    let mut message = BytesMut::from(received.get(TRANSFORM_LEN..)?);
    key.open(received.first_chunk()?, &mut message).ok()?;
    Some((session, message.freeze()))
}

/// What the requests of one compound hand on to those behind them that are related (§3.3.5.2.7.2).
#[derive(Default)]
struct Chain {
    session_id: u64,
    tree_id: u32,
    file: Option<Result<FileId, NtStatus>>,
}

async fn run_all(connection: Arc<Connection>, plain: Bytes, sealed: Option<Arc<Session>>) -> Outcome {
    let mut responses = Vec::new();
    let mut chain = Chain::default();
    for (at, message) in Messages::new(plain).enumerate() {
        let Ok((header, message)) = message else { return Outcome::Close };
        let cancels = header.command() == Some(Command::Cancel);
        if header.flags & FLAG_RESPONSE != 0 || at >= COMPOUND_MAX {
            return Outcome::Close;
        }
        if !cancels
            && connection.window.lock().take(header.message_id, charge_of(&connection, &header)).is_err()
        {
            return Outcome::Close;
        }
        if cancels {
            // Nothing here waits for long yet.
            continue;
        }
        let related = header.is_related() && at > 0;
        if !related {
            chain =
                Chain { session_id: header.session_id, tree_id: header.tree_id().unwrap_or(0), file: None };
        }
        match one(&connection, &header, message, sealed.as_ref(), related, &mut chain).await {
            Some(response) => responses.push(response),
            None => return Outcome::Close,
        }
    }
    if responses.is_empty() { Outcome::Nothing } else { Outcome::Reply(frame(responses)) }
}

fn charge_of(connection: &Connection, header: &Header) -> u16 {
    let single = connection.agreed.get().is_none_or(|agreed| agreed.dialect == Dialect::Smb202);
    if single { 1 } else { header.credit_charge }
}

fn respond(
    connection: &Connection,
    request: &Header,
    session_id: u64,
    tree_id: u32,
    credits: u16,
    protection: Protection,
    reply: Reply,
) -> Response {
    let in_context = connection.agreed.get().is_some_and(|agreed| agreed.dialect == Dialect::Smb311);
    Response::new(Answered { request, session_id, tree_id, credits, in_context, protection }, reply)
}

/// Runs one request. `None`: the connection has to end.
async fn one(
    connection: &Arc<Connection>,
    header: &Header,
    message: Bytes,
    sealed: Option<&Arc<Session>>,
    related: bool,
    chain: &mut Chain,
) -> Option<Response> {
    let credits = connection.window.lock().grant(header.credits);
    let answer = |chain: &Chain, protection, reply| {
        Some(respond(connection, header, chain.session_id, chain.tree_id, credits, protection, reply))
    };
    let Some(command) = header.command() else {
        return answer(chain, Protection::None, Err(NtStatus::INVALID_PARAMETER.into()));
    };
    if command == Command::Negotiate {
        return first(connection, header, &message, credits);
    }
    let agreed = connection.agreed.get()?;
    if command == Command::SessionSetup {
        let done = login::set_up(connection, agreed, header, &message);
        let goes_on = matches!(&done.reply, Ok(body) if body.goes_on());
        let response = respond(connection, header, done.session_id, 0, credits, done.protection, done.reply);
        if goes_on && agreed.dialect == Dialect::Smb311 {
            connection.said(done.session_id, &response.preview());
        }
        return Some(response);
    }
    let (session, protection) = match admit(connection, header, &message, sealed, chain.session_id) {
        Ok(admitted) => admitted,
        Err(Refused::Status(status)) => return answer(chain, Protection::None, Err(status.into())),
        Err(Refused::Ended(protection)) => {
            return answer(chain, protection, Err(NtStatus::USER_SESSION_DELETED.into()));
        }
        Err(Refused::Close) => return None,
    };
    let tree_id = &mut chain.tree_id;
    let reply = match command {
        Command::Echo => Ok(Body::of(|out| EchoResponse.encode(out))),
        Command::Logoff => {
            connection.log_off(session.id);
            Ok(Body::of(|out| LogoffResponse.encode(out)))
        }
        Command::TreeConnect => tree::connect(connection, &session, &message).map(|(tree, body)| {
            *tree_id = tree.id;
            body
        }),
        _ => match session.tree(*tree_id) {
            None => Err(NtStatus::NETWORK_NAME_DELETED.into()),
            Some(tree) if tree.sealing_required && sealed.is_none() => Err(NtStatus::ACCESS_DENIED.into()),
            Some(tree) => {
                let previous = chain.file.filter(|_| related);
                let connection = Arc::clone(connection);
                let asked = Asked { connection, session, tree, message, previous };
                in_tree(asked, command, chain).await?
            }
        },
    };
    answer(chain, protection, reply)
}

/// NEGOTIATE: once on a connection (§3.3.5.4).
fn first(connection: &Connection, header: &Header, message: &Bytes, credits: u16) -> Option<Response> {
    if connection.agreed.get().is_some() {
        return None;
    }
    let negotiated = NegotiateRequest::decode(message)
        .map_err(Failure::from)
        .and_then(|request| negotiate::negotiate(&connection.listener, request));
    let (mut agreed, body) = match negotiated {
        Ok(negotiated) => negotiated,
        Err(failure) => {
            return Some(respond(connection, header, 0, 0, credits, Protection::None, Err(failure)));
        }
    };
    let response = respond(connection, header, 0, 0, credits, Protection::None, Ok(body));
    if agreed.dialect == Dialect::Smb311 {
        agreed.preauth.extend(&[message]);
        agreed.preauth.extend(&[&response.preview()]);
    }
    connection.agreed.set(agreed).ok()?;
    Some(response)
}

enum Refused {
    Status(NtStatus),
    /// The session is over.
    Ended(Protection),
    Close,
}

/// Who asks, and how the answer is protected.
fn admit(
    connection: &Connection,
    header: &Header,
    message: &[u8],
    sealed: Option<&Arc<Session>>,
    session_id: u64,
) -> Result<(Arc<Session>, Protection), Refused> {
    let ended = || {
        let keys = connection.ended_keys(session_id).filter(|_| header.is_signed());
        Refused::Ended(keys.map_or(Protection::None, Protection::Signed))
    };
    let session = connection.session(session_id).ok_or_else(ended)?;
    let Some(keys) = &session.keys else { return Ok((session, Protection::None)) };
    let send = Arc::clone(&keys.send);
    if let Some(by) = sealed {
        // Sealed with one session's keys, a frame speaks for no other.
        return if by.id == session.id {
            Ok((session, Protection::Sealed(send)))
        } else {
            Err(Refused::Close)
        };
    }
    if session.sealing_required {
        return Err(Refused::Status(NtStatus::ACCESS_DENIED));
    }
    if header.is_signed() {
        let mut first = [0; HEADER_LEN];
        let (head, rest) = message.split_at_checked(HEADER_LEN).ok_or(Refused::Close)?;
        first.copy_from_slice(head);
        first[48..].fill(0);
        let good = keys.send.signing.verify(&[&first, rest], &header.signature);
        good.map_err(|_| Refused::Status(NtStatus::ACCESS_DENIED))?;
        return Ok((session, Protection::Signed(send)));
    }
    if session.signing_required {
        return Err(Refused::Status(NtStatus::ACCESS_DENIED));
    }
    Ok((session, Protection::None))
}

/// A request in a tree: limits, gate, handler. `None`: the vserver or the client is gone.
async fn in_tree(asked: Asked, command: Command, chain: &mut Chain) -> Option<Reply> {
    let vserver = Arc::clone(&asked.connection.listener.vserver);
    let cost = match command {
        Command::Read => {
            let read = ReadRequest::decode(&asked.message).map_or(0, |read| read.length);
            Cost { read: read.min(negotiate::TRANSFER_MAX), written: 0 }
        }
        Command::Write => {
            let written = WriteRequest::decode(&asked.message).map_or(0, |write| write.data.len());
            Cost { read: 0, written: u32::try_from(written).unwrap_or(u32::MAX) }
        }
        Command::Ioctl => ioctl::cost(&asked.message),
        _ => Cost::default(),
    };
    let gone = asked.connection.gone.clone();
    // Before the gate: a request that waits for a limit must not hold up a freeze.
    gone.run_until_cancelled(vserver.qos.admit(asked.connection.client, cost)).await?;
    let mut pass = gone.run_until_cancelled(vserver.gate.enter()).await?.ok()?;
    if let Some(Err(status)) = asked.previous {
        // The request that this one builds on has failed (§3.3.5.2.7.2).
        return Some(Err(status.into()));
    }
    let mut file = asked.previous;
    let in_pipes = matches!(asked.tree.root, Root::Pipes);
    let reply = match command {
        // What needs no open, and pipes.
        Command::Ioctl if in_pipes && ioctl::is_about_connection(&asked.message) => {
            ioctl::ioctl(&asked).await?
        }
        Command::TreeDisconnect if in_pipes => disconnect(&asked, &pass),
        _ if in_pipes => {
            let (opened, reply) = pipe::run(&asked, command);
            if command == Command::Create {
                file = Some(opened.ok_or_else(|| {
                    reply.as_ref().err().map_or(NtStatus::FILE_CLOSED, |failure| failure.status)
                }));
            }
            reply
        }
        Command::TreeDisconnect => disconnect(&asked, &pass),
        Command::Create => {
            let made = create::create(&asked, &pass).await;
            file = Some(made.as_ref().map(|(id, _)| *id).map_err(|failure| failure.status));
            made.map(|(_, body)| body)
        }
        Command::Close => close::close(&asked, &pass),
        Command::Flush => io::flush(&asked).await,
        Command::Read => io::read(&asked).await,
        Command::Write => io::write(&asked).await,
        Command::Lock => loop {
            let reply = locking::lock(&asked);
            if !locking::waits(&asked, &reply) {
                break reply;
            }
            drop(pass);
            gone.run_until_cancelled(tokio::time::sleep(locking::RETRY)).await?;
            pass = gone.run_until_cancelled(vserver.gate.enter()).await?.ok()?;
        },
        Command::Ioctl => ioctl::ioctl(&asked).await?,
        Command::QueryDirectory => directory::query(&asked),
        Command::QueryInfo => query::query(&asked),
        Command::SetInfo => set::set(&asked).await,
        Command::ChangeNotify | Command::OplockBreak => Err(NtStatus::NOT_SUPPORTED.into()),
        Command::Negotiate
        | Command::SessionSetup
        | Command::Logoff
        | Command::TreeConnect
        | Command::Cancel
        | Command::Echo => Err(NtStatus::INVALID_PARAMETER.into()),
    };
    drop(pass);
    if file.is_none() {
        file = named(command, &asked.message).map(Ok);
    }
    chain.file = file;
    Some(reply)
}

/// The open that a request names itself, for those that are related to it.
fn named(command: Command, message: &[u8]) -> Option<FileId> {
    let at = match command {
        Command::Close | Command::Flush | Command::Lock | Command::Ioctl | Command::QueryDirectory => 8,
        Command::Read | Command::Write | Command::SetInfo => 16,
        Command::QueryInfo => 24,
        _ => return None,
    };
    let id = message.get(HEADER_LEN + at..)?;
    let (persistent, rest) = id.split_first_chunk()?;
    let volatile = rest.first_chunk()?;
    Some(FileId { persistent: u64::from_le_bytes(*persistent), volatile: u64::from_le_bytes(*volatile) })
}

fn disconnect(asked: &Asked, inside: &GatePass) -> Reply {
    let opens = asked.session.disconnect(asked.tree.id).ok_or(NtStatus::NETWORK_NAME_DELETED)?;
    opens.iter().for_each(|open| open.close(&asked.connection.listener.vserver, inside));
    Ok(Body::of(|out| TreeDisconnectResponse.encode(out)))
}
