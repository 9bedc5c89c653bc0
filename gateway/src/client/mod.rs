//! An NFSv3 client in pure Rust: one TCP connection, many calls in flight. For the demo, the benchmarks and the
//! tests. Like a hard mount it does not give up when the server goes away: it connects again to the same address
//! and repeats what was not answered, with the same xids, until a deadline. Shares the wire types with the server
//! and nothing else.

mod calls;
mod connection;

use crate::nfs3::mount::{DirPath, MNT, MOUNT_PROGRAM, MOUNT_V3, MountRes3, MountStat3};
use crate::nfs3::procedures::{Procedure, Res3};
use crate::nfs3::status::NfsStat3;
use crate::nfs3::types::{NFS_PROGRAM, NFS_V3, NfsFh3};
use crate::rpc::auth::{AUTH_SYS, AuthSys, OpaqueAuth};
use crate::rpc::call::{Call, ReplyHeader, ReplyStatus};
use crate::xdr::{Decoder, Encoder, Xdr, XdrError};
use bytes::Bytes;
use connection::Connection;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// AUTH_SYS user.
    pub uid: u32,
    /// AUTH_SYS group.
    pub gid: u32,
    /// AUTH_SYS supplementary groups, at most 16.
    pub gids: Vec<u32>,
    /// A call fails when it has no answer after this time, however often it was repeated.
    pub deadline: Duration,
    /// A connection on which calls wait and no reply came for this time is given up for a new one.
    pub silence_max: Duration,
    /// Pause before a call that was answered with `NFS3ERR_JUKEBOX` is made again.
    pub jukebox_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            uid: 0,
            gid: 0,
            gids: Vec::new(),
            deadline: Duration::from_secs(180),
            silence_max: Duration::from_secs(15),
            jukebox_pause: Duration::from_millis(100),
        }
    }
}

impl Options {
    /// AUTH_SYS (RFC 5531 §8.2) of this user.
    pub fn credential(&self) -> OpaqueAuth {
        let mut body = Encoder::default();
        body.put(&AuthSys {
            stamp: 0,
            machine_name: Bytes::from_static(b"ferry"),
            uid: self.uid,
            gid: self.gid,
            gids: self.gids.iter().copied().take(16).collect(),
        });
        OpaqueAuth { flavor: AUTH_SYS, body: body.finish().into_bytes() }
    }
}

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The server ran it and said no.
    #[error("NFS status {0:?}")]
    Nfs(NfsStat3),
    /// The mount was refused.
    #[error("MOUNT status {0:?}")]
    Mount(MountStat3),
    /// The server did not run it.
    #[error("RPC call refused: {0:?}")]
    Rpc(ReplyStatus),
    /// The answer makes no sense.
    #[error("malformed reply: {0}")]
    Malformed(#[from] XdrError),
    /// No answer within [`Options::deadline`].
    #[error("no answer from the server before the deadline")]
    Deadline,
}

/// Result of a call.
pub type Result<T> = std::result::Result<T, ClientError>;

/// An NFSv3 client. Clones share the connection, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Connection,
    cred: OpaqueAuth,
    options: Options,
}

impl Client {
    /// A client of the server at `address`, which answers NFS and MOUNT on one port. Connects when it first has to;
    /// needs a tokio runtime.
    pub fn new(address: SocketAddr, options: Options) -> Self {
        let cred = options.credential();
        Client { connection: Connection::new(address, options.silence_max), cred, options }
    }

    /// Connections made so far: more than one means that the server went away in between.
    pub fn connections(&self) -> u64 {
        self.connection.count()
    }

    /// Makes one NFS call.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call<P: Procedure>(&self, args: &P::Args) -> Result<P::Ok> {
        let until = Instant::now() + self.options.deadline;
        loop {
            match self.exchange(P::PROGRAM, NFS_V3, P::NUMBER, args, until).await? {
                Res3::<P>::Ok(ok) => return Ok(ok),
                Res3::<P>::Fail(NfsStat3::JukeBox, _) => tokio::time::sleep(self.options.jukebox_pause).await,
                Res3::<P>::Fail(status, _) => return Err(ClientError::Nfs(status)),
            }
        }
    }

    /// Makes one NFS call and gives the whole result, also that of a failure; does not repeat on JUKEBOX.
    ///
    /// # Errors
    /// [`ClientError`] where there is no such result.
    pub async fn call_raw<P: Procedure>(&self, args: &P::Args) -> Result<Res3<P>> {
        let until = Instant::now() + self.options.deadline;
        self.exchange(P::PROGRAM, NFS_V3, P::NUMBER, args, until).await
    }

    /// `NFSPROC3_NULL`: waits until the server answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn null(&self) -> Result<()> {
        self.exchange(NFS_PROGRAM, NFS_V3, 0, &(), Instant::now() + self.options.deadline).await
    }

    /// `MOUNTPROC3_MNT`: the file handle of the directory `path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mount(&self, path: &str) -> Result<NfsFh3> {
        let path = DirPath(Bytes::copy_from_slice(path.as_bytes()));
        let until = Instant::now() + self.options.deadline;
        let MountRes3(result) = self.exchange(MOUNT_PROGRAM, MOUNT_V3, MNT, &path, until).await?;
        result.map_err(ClientError::Mount)
    }

    async fn exchange<A: Xdr, R: Xdr>(
        &self,
        prog: u32,
        vers: u32,
        proc: u32,
        args: &A,
        until: Instant,
    ) -> Result<R> {
        let xid = self.connection.next_xid();
        let mut out = Encoder::with_capacity(256);
        Call { xid, prog, vers, proc, cred: self.cred.clone(), verf: OpaqueAuth::NONE }.encode(&mut out);
        out.put(args);
        let reply = self.connection.exchange(xid, out.finish());
        let reply =
            tokio::time::timeout_at(until, reply).await.ok().flatten().ok_or(ClientError::Deadline)?;
        let mut input = Decoder::new(reply);
        match ReplyHeader::decode(&mut input)?.status {
            ReplyStatus::Success => {
                let result = input.take()?;
                input.finish()?;
                Ok(result)
            }
            refused => Err(ClientError::Rpc(refused)),
        }
    }
}
