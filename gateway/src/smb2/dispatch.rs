//! From a frame to the handlers of its requests and back: decryption, message ids, signatures, sessions, trees, the gate, in
//! this order (MS-SMB2 §3.3.5.2). Knows no volume.

use super::connection::{Channel, Connection, Outcome, Waits};
use super::negotiate::Agreed;
use super::reply::{Answered, Body, Failure, Protection, Reply, Response, SendKeys, frame};
use super::session::Session;
use super::tree::{self, Root, Tree};
use super::wire::FileId;
use super::wire::Malformed;
use super::wire::frame::{FrameKind, Messages, Smb1Negotiate, TRANSFORM_LEN, TransformHeader};
use super::wire::header::{Command, FLAG_REPLAY, FLAG_RESPONSE, HEADER_LEN, Header, Id};
use super::wire::io::{ReadRequest, WriteRequest};
use super::wire::negotiate::{DIALECT_2_ANY, Dialect, NegotiateRequest};
use super::wire::plain::{EchoResponse, LogoffResponse, TreeDisconnectResponse};
use super::wire::status::NtStatus;
use super::{caching, close, create, directory, io, ioctl, locking, login, negotiate, notify, pipe, query};
use crate::vserver::{Cost, GatePass};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

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
    /// Cancelled when the client takes the request back, or is gone.
    pub(super) give_up: CancellationToken,
    /// The client has sent it before, and doesn't know what became of it (`SMB2_FLAGS_REPLAY_OPERATION`).
    pub(super) replayed: bool,
    /// How many times the client had lost a connection when it sent this.
    pub(super) channel_sequence: u16,
}

/// What became of a request.
pub(super) struct Done {
    pub(super) reply: Reply,
    /// What it opened or used, for those that are related to it.
    pub(super) file: Option<Result<FileId, NtStatus>>,
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Self {
        Done { reply, file: None }
    }
}

/// What a handler gives.
pub(super) enum Answer {
    Now(Done),
    /// It waits for others, outside of the gate, until [`Asked::give_up`] is cancelled; the client is told so at once.
    Later(BoxFuture<'static, Done>),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Answer::Now(reply.into())
    }
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
        Ok(FrameKind::Sealed) => match open(&connection, received) {
            Some((session, plain)) => run_all(connection, plain, Some(session)).await,
            None => Outcome::Close,
        },
        Err(_) => Outcome::Close,
    }
}

/// An SMB1 frame may ask for SMB 2, once.
fn greet(connection: &Arc<Connection>, received: &[u8]) -> Outcome {
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
    let body = negotiate::answer_smb1(&connection.listener, dialect);
    if dialect == Dialect::Smb202 as u16 {
        let _ = connection.agreed.set(Agreed::smb_202());
    }
    let question = Question {
        connection: Arc::clone(connection),
        header: negotiate::smb1_header(),
        session_id: 0,
        tree_id: 0,
        credits,
        protection: Protection::None,
    };
    Outcome::Reply(frame(vec![question.respond(Ok(body))]))
}

/// Decrypts a frame. `None`: nobody here sealed it, or not so.
fn open(connection: &Connection, received: Bytes) -> Option<(Arc<Session>, Bytes)> {
    let transform = TransformHeader::decode(&received).ok()?;
    let session = connection.session(transform.session_id)?;
    let key = session.keys.as_ref()?.opening.as_ref()?;
    // Where it is, unless others' frames are beside it.
    let mut message = BytesMut::from(received);
    let header = message.split_to(TRANSFORM_LEN);
    key.open(header.first_chunk()?, &mut message).ok()?;
    Some((session, message.freeze()))
}

/// What the requests of one compound hand on to those behind them that are related (§3.3.5.2.7.2).
#[derive(Default)]
struct Chain {
    session_id: u64,
    tree_id: u32,
    file: Option<Result<FileId, NtStatus>>,
    /// There is no request before that one could be related to, or none of a session that is there.
    broken: bool,
}

async fn run_all(connection: Arc<Connection>, plain: Bytes, sealed: Option<Arc<Session>>) -> Outcome {
    let mut responses = Vec::new();
    let mut chain = Chain::default();
    let mut messages = Messages::new(plain).enumerate().peekable();
    while let Some((at, message)) = messages.next() {
        let Ok((header, mut message)) = message else { return Outcome::Close };
        if header.flags & FLAG_RESPONSE != 0 || at >= COMPOUND_MAX {
            return Outcome::Close;
        }
        if header.command() == Some(Command::Cancel) {
            cancel(&connection, &header, &mut message, sealed.as_ref());
            continue;
        }
        if connection.window.lock().take(header.message_id, charge_of(&connection, &header)).is_err() {
            return Outcome::Close;
        }
        let related = header.is_related();
        if !related || at == 0 {
            chain = Chain {
                session_id: header.session_id,
                tree_id: header.tree_id().unwrap_or(0),
                file: None,
                broken: related,
            };
        }
        let last = messages.peek().is_none();
        match one(&connection, header, message, sealed.as_ref(), related, &mut chain).await {
            Step::Done(response) => responses.push(response),
            Step::Waits(waits) if last => return waits.later(responses),
            Step::Waits(waits) => responses.push(waits.amid(&mut chain).await),
            Step::Close => return Outcome::Close,
        }
    }
    if responses.is_empty() { Outcome::Drop } else { Outcome::Reply(frame(responses)) }
}

/// CANCEL (§3.3.5.16): has no response of its own.
fn cancel(connection: &Connection, header: &Header, message: &mut Bytes, sealed: Option<&Arc<Session>>) {
    let signed = admit(connection, header, message, sealed, header.session_id);
    if signed.is_ok() {
        // A request is called the same before and after the client is told that it waits.
        connection.give_up(match header.id {
            Id::Async { async_id } => async_id,
            Id::Sync { .. } => header.message_id,
        });
    }
}

fn charge_of(connection: &Connection, header: &Header) -> u16 {
    let single = connection.agreed.get().is_none_or(|agreed| agreed.dialect == Dialect::Smb202);
    if single { 1 } else { header.credit_charge }
}

/// What a response needs of its request.
struct Question {
    connection: Arc<Connection>,
    header: Header,
    session_id: u64,
    tree_id: u32,
    credits: u16,
    protection: Protection,
}

impl Question {
    fn answered(&self) -> Answered<'_> {
        let agreed = self.connection.agreed.get();
        Answered {
            request: &self.header,
            session_id: self.session_id,
            tree_id: self.tree_id,
            credits: self.credits,
            in_context: agreed.is_some_and(|agreed| agreed.dialect == Dialect::Smb311),
            async_id: None,
            protection: self.protection.clone(),
        }
    }

    fn respond(&self, reply: Reply) -> Response {
        Response::new(self.answered(), reply)
    }

    fn async_id(&self) -> Option<u64> {
        Some(self.header.message_id)
    }
}

/// What became of one request of a frame.
enum Step {
    Done(Response),
    Waits(Waiting),
    Close,
}

/// A request that waits.
struct Waiting {
    question: Question,
    /// Amid others it can't wait: those behind it would wait too.
    alone: bool,
    noted: Waits,
    rest: BoxFuture<'static, Done>,
}

impl Waiting {
    /// As the last of its frame: those before it are answered, and that it waits is said.
    fn later(self, mut responses: Vec<Response>) -> Outcome {
        let Waiting { question, noted, rest, .. } = self;
        responses.push(Response::interim(Answered { async_id: question.async_id(), ..question.answered() }));
        let rest = Box::pin(async move {
            let done = rest.await;
            drop(noted);
            // Its credits came with the first answer.
            let answered = Answered { async_id: question.async_id(), credits: 0, ..question.answered() };
            Outcome::Reply(frame(vec![Response::new(answered, done.reply)]))
        });
        Outcome::Later(frame(responses), rest)
    }

    /// With others behind it, which want its outcome.
    async fn amid(self, chain: &mut Chain) -> Response {
        if self.alone {
            return self.question.respond(Err(NtStatus::INTERNAL_ERROR.into()));
        }
        let done = self.rest.await;
        chain.file = done.file;
        self.question.respond(done.reply)
    }
}

/// Runs one request.
async fn one(
    connection: &Arc<Connection>,
    header: Header,
    mut message: Bytes,
    sealed: Option<&Arc<Session>>,
    related: bool,
    chain: &mut Chain,
) -> Step {
    let mut question = Question {
        connection: Arc::clone(connection),
        credits: connection.window.lock().grant(header.credits),
        header,
        session_id: chain.session_id,
        tree_id: chain.tree_id,
        protection: Protection::None,
    };
    let command = question.header.command();
    if command == Some(Command::Negotiate) {
        return first(question, &message);
    }
    let Some(agreed) = connection.agreed.get() else { return Step::Close };
    if command == Some(Command::SessionSetup) {
        return Step::Done(log_in(question, agreed, &message, sealed));
    }
    if command == Some(Command::Echo) && chain.session_id == 0 && !question.header.is_signed() {
        // It asks whether the connection is there, no more (§3.3.5.17).
        return Step::Done(question.respond(Ok(Body::of(|out| EchoResponse.encode(out)))));
    }
    if command == Some(Command::Echo) && question.header.session_id == 0 && sealed.is_none() {
        // It asks whether anybody is there, not for whom (§3.3.5.17).
        return Step::Done(question.respond(Ok(Body::of(|out| EchoResponse.encode(out)))));
    }
    let session = match admit(connection, &question.header, &mut message, sealed, chain.session_id) {
        Ok((session, protection)) => {
            question.protection = protection;
            session
        }
        Err(Refused::Status(status)) => return Step::Done(question.respond(Err(status.into()))),
        Err(Refused::Ended(protection)) => {
            question.protection = protection;
            let status =
                if chain.broken { NtStatus::INVALID_PARAMETER } else { NtStatus::USER_SESSION_DELETED };
            chain.broken = true;
            return Step::Done(question.respond(Err(status.into())));
        }
        Err(Refused::Close) => return Step::Close,
    };
    let Some(command) = command.filter(|_| !chain.broken) else {
        return Step::Done(question.respond(Err(NtStatus::INVALID_PARAMETER.into())));
    };
    let is_311 = agreed.dialect == Dialect::Smb311;
    let is_bare = sealed.is_none() && !question.header.is_signed();
    let reply = match command {
        Command::Echo => Ok(Body::of(|out| EchoResponse.encode(out))),
        Command::Logoff => {
            connection.log_off(session.id);
            Ok(Body::of(|out| LogoffResponse.encode(out)))
        }
        // In 3.1.1 nobody in between may have changed it (§3.3.5.7).
        Command::TreeConnect if is_311 && session.keys.is_some() && is_bare => {
            Err(NtStatus::ACCESS_DENIED.into())
        }
        Command::TreeConnect => tree::connect(connection, &session, &message).map(|(tree, body)| {
            chain.tree_id = tree.id;
            question.tree_id = tree.id;
            body
        }),
        _ => match session.tree(chain.tree_id) {
            None => Err(NtStatus::NETWORK_NAME_DELETED.into()),
            Some(tree) if tree.sealing_required && sealed.is_none() => Err(NtStatus::ACCESS_DENIED.into()),
            Some(tree) => {
                let previous = chain.file.filter(|_| related);
                return run_in_tree(question, command, session, tree, message, previous, chain).await;
            }
        },
    };
    Step::Done(question.respond(reply))
}

/// A request in a tree, and what it leaves for those that are related to it.
async fn run_in_tree(
    question: Question,
    command: Command,
    session: Arc<Session>,
    tree: Arc<Tree>,
    message: Bytes,
    previous: Option<Result<FileId, NtStatus>>,
    chain: &mut Chain,
) -> Step {
    let connection = Arc::clone(&question.connection);
    let waits = matches!(command, Command::Create | Command::Lock | Command::ChangeNotify | Command::SetInfo);
    let gone = &connection.gone;
    let give_up = if waits { gone.child_token() } else { gone.clone() };
    let named = named(command, &message).map(Ok);
    let asked = Asked {
        connection: Arc::clone(&connection),
        session,
        tree,
        message,
        previous,
        give_up: give_up.clone(),
        replayed: question.header.flags & FLAG_REPLAY != 0,
        channel_sequence: question.header.channel_sequence,
    };
    if let Some(Ok(id)) = named
        && asked.session.is_sequenced(asked.channel_sequence)
        && let Ok(open) = asked.id(id).and_then(|id| asked.session.open(id, &asked.tree))
        && !open.is_current(asked.channel_sequence)
        && matches!(command, Command::Write | Command::SetInfo | Command::Ioctl)
    {
        return Step::Done(question.respond(Err(NtStatus::FILE_NOT_AVAILABLE.into())));
    }
    match in_tree(asked, command).await {
        None => Step::Close,
        Some(Answer::Now(done)) => {
            chain.file = done.file.or(previous).or(named);
            Step::Done(question.respond(done.reply))
        }
        Some(Answer::Later(rest)) => {
            chain.file = previous.or(named);
            let alone = command == Command::ChangeNotify;
            match connection.waits(question.header.message_id, give_up) {
                Ok(noted) => Step::Waits(Waiting { question, alone, noted, rest }),
                Err(status) => Step::Done(question.respond(Err(status.into()))),
            }
        }
    }
}

/// SESSION_SETUP: one step of a login.
fn log_in(
    mut question: Question,
    agreed: &Agreed,
    message: &Bytes,
    sealed: Option<&Arc<Session>>,
) -> Response {
    let connection = Arc::clone(&question.connection);
    let done = login::set_up(&connection, agreed, &question.header, message, sealed);
    let goes_on = matches!(&done.reply, Ok(body) if body.goes_on());
    question.session_id = done.session_id;
    question.tree_id = 0;
    question.protection = done.protection;
    let response = question.respond(done.reply);
    if goes_on && agreed.dialect == Dialect::Smb311 {
        connection.said(done.session_id, &response.preview());
    }
    response
}

/// NEGOTIATE: once on a connection (§3.3.5.4).
fn first(mut question: Question, message: &Bytes) -> Step {
    let connection = Arc::clone(&question.connection);
    if connection.agreed.get().is_some() {
        return Step::Close;
    }
    (question.session_id, question.tree_id) = (0, 0);
    let negotiated = NegotiateRequest::decode(message)
        .map_err(Failure::from)
        .and_then(|request| negotiate::negotiate(&connection.listener, request));
    let (mut agreed, body) = match negotiated {
        Ok(negotiated) => negotiated,
        Err(failure) => return Step::Done(question.respond(Err(failure))),
    };
    let response = question.respond(Ok(body));
    if agreed.dialect == Dialect::Smb311 {
        agreed.preauth.extend(&[message]);
        agreed.preauth.extend(&[&response.preview()]);
    }
    if connection.agreed.set(agreed).is_err() { Step::Close } else { Step::Done(response) }
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
    message: &mut Bytes,
    sealed: Option<&Arc<Session>>,
    session_id: u64,
) -> Result<(Arc<Session>, Protection), Refused> {
    let ended = || {
        let keys = connection.ended_keys(session_id).filter(|_| header.is_signed());
        Refused::Ended(keys.map_or(Protection::None, Protection::Signed))
    };
    let Channel { session, send } = connection.channel(session_id).ok_or_else(ended)?;
    let Some(send) = send else { return Ok((session, Protection::None)) };
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
        verify_in_place(&send, header, message).map_err(Refused::Status)?;
        return Ok((session, Protection::Signed(send)));
    }
    if session.signing_required {
        return Err(Refused::Status(NtStatus::ACCESS_DENIED));
    }
    Ok((session, Protection::None))
}

/// Whether a message was signed with these keys.
pub(super) fn verify(keys: &SendKeys, header: &Header, message: &[u8]) -> Result<(), NtStatus> {
    let mut first = [0; HEADER_LEN];
    let (head, rest) = message.split_at_checked(HEADER_LEN).ok_or(NtStatus::ACCESS_DENIED)?;
    first.copy_from_slice(head);
    first[48..].fill(0);
    let good = keys.signing.verify(&[&first, rest], &header.signature);
    good.map_err(|_| NtStatus::ACCESS_DENIED)
}

/// The same without a copy, where the message has its memory for itself. Nobody looks at its signature any more.
fn verify_in_place(keys: &SendKeys, header: &Header, message: &mut Bytes) -> Result<(), NtStatus> {
    match std::mem::take(message).try_into_mut() {
        Ok(mut own) if own.len() >= HEADER_LEN => {
            own[48..HEADER_LEN].fill(0);
            let good = keys.signing.verify(&[&own], &header.signature);
            *message = own.freeze();
            good.map_err(|_| NtStatus::ACCESS_DENIED)
        }
        Ok(_) => Err(NtStatus::ACCESS_DENIED),
        Err(shared) => {
            *message = shared;
            verify(keys, header, message)
        }
    }
}

/// READ and WRITE are decoded before anything else: limits count their bytes.
enum Transfer {
    Read(ReadRequest),
    Write(WriteRequest),
    None,
}

impl Transfer {
    fn of(command: Command, message: &Bytes) -> Result<Transfer, Malformed> {
        Ok(match command {
            Command::Read => Transfer::Read(ReadRequest::decode(message)?),
            Command::Write => Transfer::Write(WriteRequest::decode(message)?),
            _ => Transfer::None,
        })
    }

    fn cost(&self, command: Command, message: &Bytes) -> Cost {
        match self {
            Transfer::Read(read) => Cost { read: read.length.min(negotiate::TRANSFER_MAX), written: 0 },
            Transfer::Write(write) => {
                Cost { read: 0, written: u32::try_from(write.data.len()).unwrap_or(u32::MAX) }
            }
            Transfer::None if command == Command::Ioctl => ioctl::cost(message),
            Transfer::None => Cost::default(),
        }
    }
}

/// A request in a tree: limits, gate, handler. `None`: the vserver or the client is gone.
async fn in_tree(asked: Asked, command: Command) -> Option<Answer> {
    let vserver = Arc::clone(&asked.connection.listener.vserver);
    let transfer = match Transfer::of(command, &asked.message) {
        Ok(transfer) => transfer,
        Err(malformed) => return Some(Answer::from(Err(malformed.into()))),
    };
    let cost = transfer.cost(command, &asked.message);
    let gone = asked.connection.gone.clone();
    // Before the gate: a request that waits for a limit must not hold up a freeze.
    gone.run_until_cancelled(vserver.qos.admit(asked.connection.client, cost)).await?;
    let pass = gone.run_until_cancelled(vserver.gate.enter()).await?.ok()?;
    if let Some(Err(status)) = asked.previous {
        // The request that this one builds on has failed (§3.3.5.2.7.2).
        return Some(Answer::from(Err(status.into())));
    }
    if matches!(asked.tree.root, Root::Pipes) {
        return in_pipes(&asked, command, &pass).await;
    }
    let reply = match (command, transfer) {
        (_, Transfer::Read(request)) => io::read(&asked, request).await,
        (_, Transfer::Write(request)) => io::write(&asked, request).await,
        (Command::TreeDisconnect, _) => disconnect(&asked, &pass),
        (Command::Create, _) => return Some(create::create(asked, pass).await),
        (Command::Close, _) => close::close(&asked, &pass),
        (Command::Flush, _) => io::flush(&asked).await,
        (Command::Lock, _) => return Some(locking::lock(asked)),
        (Command::Ioctl, _) => ioctl::ioctl(&asked).await?,
        (Command::QueryDirectory, _) => directory::query(&asked),
        (Command::QueryInfo, _) => query::query(&asked),
        (Command::SetInfo, _) => return Some(caching::set(asked, pass).await),
        (Command::OplockBreak, _) => caching::answer(&asked),
        (Command::ChangeNotify, _) => return Some(notify::notify(&asked)),
        _ => Err(NtStatus::INVALID_PARAMETER.into()),
    };
    Some(Answer::from(reply))
}

/// A request in `IPC$`.
async fn in_pipes(asked: &Asked, command: Command, pass: &GatePass) -> Option<Answer> {
    Some(match command {
        Command::Ioctl if ioctl::is_about_connection(&asked.message) => {
            Answer::from(ioctl::ioctl(asked).await?)
        }
        Command::TreeDisconnect => Answer::from(disconnect(asked, pass)),
        _ => {
            let (id, reply) = pipe::run(asked, command);
            let failed = reply.as_ref().err().map_or(NtStatus::FILE_CLOSED, |failure| failure.status);
            let file = (command == Command::Create).then(|| id.ok_or(failed));
            Answer::Now(Done { reply, file })
        }
    })
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
