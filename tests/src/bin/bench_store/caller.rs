//! A client that costs little, as a kernel's does: one thread, one connection, as many WRITEs in flight as are asked for.
//! With the project's own client half of the two processors' time was the client's, and the row measured that.

use crate::peers::RANDOM_BYTES;
use anyhow::{Context as _, Result, ensure};
use bytes::{Buf, Bytes};
use gateway::nfs3::procedures::{Procedure, Res3, Write, Write3Args};
use gateway::nfs3::types::{NFS_PROGRAM, NFS_V3, NfsFh3, Payload, StableHow};
use gateway::rpc::auth::OpaqueAuth;
use gateway::rpc::call::{Call, ReplyHeader, ReplyStatus};
use gateway::xdr::{Decoder, Encoder};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const BLOCK: u64 = 4096;
const LAST_FRAGMENT: u32 = 0x8000_0000;

/// Durable WRITEs of 4 KiB at random places of a file.
pub(crate) struct Caller {
    stream: TcpStream,
    file: NfsFh3,
    cred: OpaqueAuth,
    data: Bytes,
    random: Xoshiro256PlusPlus,
    xid: u32,
    out: Vec<u8>,
}

impl Caller {
    pub(crate) fn connect(server: SocketAddr, file: NfsFh3, cred: OpaqueAuth) -> Result<Caller> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let data = Bytes::from(vec![9; usize::try_from(BLOCK)?]);
        let random = Xoshiro256PlusPlus::seed_from_u64(1);
        Ok(Caller { stream, file, cred, data, random, xid: 0, out: Vec::new() })
    }

    /// Keeps `in_flight` calls under way for `time`: WRITEs answered in each second.
    pub(crate) fn run(&mut self, in_flight: u64, time: Duration) -> Result<f64> {
        let begun = Instant::now();
        let mut waiting = in_flight;
        (0..in_flight).for_each(|_| self.call());
        let mut done = 0_u64;
        let mut took = Duration::ZERO;
        let mut input = Vec::with_capacity(64 << 10);
        while waiting > 0 {
            self.stream.write_all(&self.out)?;
            self.out.clear();
            let answered = self.take_replies(&mut input)?;
            waiting -= answered;
            if begun.elapsed() < time {
                done += answered;
                took = begun.elapsed();
                (0..answered).for_each(|_| self.call());
                waiting += answered;
            }
        }
        Ok(done as f64 / took.as_secs_f64())
    }

    /// Appends a call to what is sent next.
    fn call(&mut self) {
        self.xid += 1;
        let call = Call {
            xid: self.xid,
            prog: NFS_PROGRAM,
            vers: NFS_V3,
            proc: Write::NUMBER,
            cred: self.cred.clone(),
            verf: OpaqueAuth::NONE,
        };
        let offset = self.random.random_range(0..RANDOM_BYTES / BLOCK) * BLOCK;
        let data = Payload(self.data.clone());
        let count = u32::try_from(BLOCK).unwrap_or(0);
        let mut message = Encoder::with_capacity(256);
        call.encode(&mut message);
        message.put(&Write3Args {
            file: self.file.clone(),
            offset,
            count,
            stable: StableHow::FileSync,
            data,
        });
        let message = message.finish();
        let mark = LAST_FRAGMENT | u32::try_from(message.len()).unwrap_or(0);
        self.out.extend_from_slice(&mark.to_be_bytes());
        message.each_slice(|part| self.out.extend_from_slice(part));
    }

    /// Waits for bytes and takes the whole replies off `input`: how many.
    fn take_replies(&mut self, input: &mut Vec<u8>) -> Result<u64> {
        let held = input.len();
        input.resize(held + (32 << 10), 0);
        let read = self.stream.read(&mut input[held..])?;
        ensure!(read > 0, "the server closed the connection");
        input.truncate(held + read);
        let (mut rest, mut answered) = (&input[..], 0);
        while let Some(mark) = rest.first_chunk::<4>() {
            let len = (u32::from_be_bytes(*mark) & !LAST_FRAGMENT) as usize;
            let Some(reply) = rest.get(4..4 + len) else { break };
            check(reply)?;
            rest.advance(4 + len);
            answered += 1;
        }
        let left = rest.len();
        input.drain(..input.len() - left);
        Ok(answered)
    }
}

/// Fails unless the reply says that all is written and durable.
fn check(reply: &[u8]) -> Result<()> {
    let mut reply = Decoder::new(Bytes::copy_from_slice(reply));
    let header = ReplyHeader::decode(&mut reply)?;
    ensure!(matches!(header.status, ReplyStatus::Success), "refused: {:?}", header.status);
    match reply.take::<Res3<Write>>().context("a WRITE's result")? {
        Res3::Ok(ok) => {
            ensure!(ok.committed == StableHow::FileSync && u64::from(ok.count) == BLOCK, "not durable")
        }
        Res3::Fail(status, _) => anyhow::bail!("WRITE: {status:?}"),
    }
    Ok(())
}
