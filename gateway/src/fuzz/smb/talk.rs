//! Connections of somebody who has logged in, through sockets of loopback addresses: requests of every command, alone and in
//! compounds. The server goes on answering, and keeps nothing when they are gone.

use super::login::{self, utf16};
use super::requests::{self, COMMANDS, Open};
use crate::fuzz::choices::Choices;
use crate::fuzz::world::{CLIENTS, LOCAL, World};
use crate::smb2;
use crate::smb2::wire::header::{Command, HEADER_LEN, Header};
use crate::smb2::wire::status::NtStatus;
use crate::vserver::{Encryption, NtHash, RID_FIRST, Share, Shares, SmbSettings, User, Users};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// Frames of one input.
const FRAMES_MAX: usize = 200;
/// Opens whose ids are kept.
const OPENS_MAX: usize = 16;
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a command was answered.
#[derive(Debug)]
pub struct SmbTally {
    /// Which one, in the specification's words.
    pub command: &'static str,
    /// With what its callers want.
    pub successes: AtomicU64,
    /// With anything else.
    pub errors: AtomicU64,
}

/// Of every command, since the process began.
pub static SMB_TALLIES: std::sync::LazyLock<Vec<SmbTally>> = std::sync::LazyLock::new(|| {
    let tally = |command: &Command| SmbTally {
        command: format!("{command:?}").leak(),
        successes: AtomicU64::new(0),
        errors: AtomicU64::new(0),
    };
    COMMANDS.iter().map(tally).collect()
});

/// Requests of somebody who has logged in, on one connection after the other.
pub fn smb_connections(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime on this thread alone");
    let world = World::new();
    let user = User {
        name: login::USER.to_owned(),
        full_name: String::new(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        rid: RID_FIRST,
        enabled: true,
        secret: NtHash::of_password(login::PASSWORD).expect("a password that will do"),
    };
    let vserver = world.vserver();
    vserver.set_users(Users::new(vserver.uuid, [user], []));
    let settings = SmbSettings { signing_required: false, encryption: Encryption::Off };
    vserver.set_shares(Shares::new(settings, [Share::new("data", "/")]));
    let mut choices = Choices::new(bytes);
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::new(LOCAL, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(smb2::serve(listener, Arc::clone(world.vserver()), cancel.clone()));
        let talk = async {
            let mut frames = 0;
            while frames < FRAMES_MAX && !choices.is_empty() {
                let mut client = Client::log_in(address).await.expect("who is served may log in");
                while frames < FRAMES_MAX && !choices.is_empty() {
                    frames += 1;
                    if client.ask(&mut choices).await.is_none() {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, talk).await.expect("the server does not answer");
        // What connections had open is closed soon after they are.
        let end = Instant::now() + PATIENCE;
        while world.vserver().locks.counts().shares > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cancel.cancel();
        serving.await.expect("the server does not panic");
    });
    drop(runtime);
    assert_eq!(world.vserver().locks.counts().locks, 0, "locks are left");
    world.assert_bounded();
    world.end();
}

/// A connection whose session and tree are there.
struct Client {
    stream: TcpStream,
    message_id: u64,
    session_id: u64,
    tree_id: u32,
    opens: Vec<Open>,
}

/// A response: its header and all of its bytes.
type Answer = (Header, Vec<u8>);

impl Client {
    async fn log_in(server: SocketAddr) -> Option<Client> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::new(CLIENTS[0], 0)).ok()?;
        let stream = socket.connect(server).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let mut client = Client { stream, message_id: 0, session_id: 0, tree_id: 0, opens: Vec::new() };
        // Dialect 3.0.2, whose tree connects need no signature.
        let mut offer = [36_u16, 1, 1, 0, 0x7f, 0].map(u16::to_le_bytes).concat();
        offer.extend([7; 16]);
        offer.extend([0; 8]);
        offer.extend(0x0302_u16.to_le_bytes());
        client.succeed(Command::Negotiate, &offer).await?;
        let (first, challenge) = client.set_up(&login::negotiate()).await?;
        client.session_id = first.session_id;
        let (second, _) = client.set_up(&login::authenticate(&challenge)?).await?;
        assert_eq!(second.status, NtStatus::SUCCESS, "the password is right");
        let path = utf16(r"\\vs1\data");
        let len = u16::try_from(path.len()).ok()?;
        let body = [&[9, 0, 72, len].map(u16::to_le_bytes).concat(), &path[..]].concat();
        let (connected, _) = client.succeed(Command::TreeConnect, &body).await?;
        client.tree_id = connected.tree_id()?;
        Some(client)
    }

    async fn set_up(&mut self, token: &[u8]) -> Option<Answer> {
        let len = u16::try_from(token.len()).ok()?;
        let body = [&[25, 0, 0, 1], &[0; 8][..], &[88, 0], &len.to_le_bytes(), &[0; 8], token].concat();
        let id = self.send(Command::SessionSetup, &body).await?;
        self.answer_to(id).await
    }

    async fn succeed(&mut self, command: Command, body: &[u8]) -> Option<Answer> {
        let id = self.send(command, body).await?;
        let answer = self.answer_to(id).await?;
        assert_eq!(answer.0.status, NtStatus::SUCCESS, "{command:?}");
        Some(answer)
    }

    async fn send(&mut self, command: Command, body: &[u8]) -> Option<u64> {
        let (mut frame, id) = (Vec::new(), self.message_id);
        let to = (self.session_id, self.tree_id);
        requests::put(command, body, id, to, &mut Choices::new(&[]), &mut frame);
        self.message_id += 1;
        self.send_frame(&frame).await?;
        Some(id)
    }

    async fn send_frame(&mut self, frame: &[u8]) -> Option<()> {
        let mark = u32::try_from(frame.len()).ok()?.to_be_bytes();
        self.stream.write_all(&[&mark, frame].concat()).await.ok()
    }

    /// The messages of the next frame; `None`: the connection is closed.
    async fn receive(&mut self) -> Option<Vec<Answer>> {
        let len = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; len as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        let mut answers = Vec::new();
        let mut rest = &frame[..];
        loop {
            let header = Header::decode(rest).expect("the server sends messages");
            assert!(header.is_response(), "{header:?}");
            let next = header.next_command as usize;
            let len = if next == 0 { rest.len() } else { next };
            answers.push((header, rest[..len].to_vec()));
            rest = &rest[len..];
            if next == 0 {
                return Some(answers);
            }
        }
    }

    async fn answer_to(&mut self, id: u64) -> Option<Answer> {
        loop {
            for answer in self.receive().await? {
                if answer.0.message_id == id && answer.0.status != NtStatus::PENDING {
                    return Some(answer);
                }
                self.note(&answer);
            }
        }
    }

    /// Keeps what was opened, and counts.
    fn note(&mut self, (header, message): &Answer) {
        let Some(command) = header.command() else { return };
        if command == Command::Create
            && header.status == NtStatus::SUCCESS
            && let Some(id) = message.get(HEADER_LEN + 64..).and_then(|rest| rest.first_chunk())
        {
            if self.opens.len() >= OPENS_MAX {
                self.opens.remove(0);
            }
            self.opens.push(*id);
        }
        let Some(at) = COMMANDS.iter().position(|one| *one == command) else { return };
        let tally = &SMB_TALLIES[at];
        let counter = if header.status.is_error() { &tally.errors } else { &tally.successes };
        counter.fetch_add(1, Relaxed);
    }

    /// A frame that the choices make, and an ECHO behind it, whose answer is waited for: some requests wait for long. `None`:
    /// the connection or the session is over.
    async fn ask(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let mut frame = Vec::new();
        let mut last = false;
        for _ in 0..choices.pick(&[1, 1, 1, 2, 3]) {
            let command = match choices.below(4) {
                0 => Command::Create,
                _ => choices.pick(&COMMANDS),
            };
            // Else nothing would last.
            let rare = matches!(command, Command::Logoff | Command::TreeDisconnect | Command::SessionSetup);
            if rare && !choices.once_in(16) {
                continue;
            }
            last |= rare;
            let body = requests::body(command, &self.opens, choices);
            let to = (self.session_id, self.tree_id);
            requests::put(command, &body, self.message_id, to, choices, &mut frame);
            self.message_id += u64::from(command != Command::Cancel);
        }
        if frame.is_empty() {
            return Some(());
        }
        if choices.once_in(16) {
            choices.damage(&mut frame);
            last = true;
        }
        self.send_frame(&frame).await?;
        let echo = self.send(Command::Echo, &[4, 0, 0, 0]).await?;
        let answer = self.answer_to(echo).await?;
        (!last && answer.0.status == NtStatus::SUCCESS).then_some(())
    }
}
