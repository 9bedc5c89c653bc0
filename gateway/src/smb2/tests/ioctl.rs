//! Controls: copies inside of the server, previous versions, links that lead out of a share (MS-SMB2 §3.3.5.15).

use super::Site;
use super::client::Peer;
use super::files::{Id, create};
use crate::smb2::wire::fsctl::code;
use crate::smb2::wire::header::{Command, HEADER_LEN};
use crate::smb2::wire::status::NtStatus;
use bytes::Bytes;
use fsstore::{Context, Op, ROOT, SetAttrs, Time};

const OPEN: u32 = 1;
const CREATE: u32 = 2;
const SHARE_ALL: u32 = 7;
const READ: u32 = 1;
const READ_WRITE: u32 = 3;
const APPEND: u32 = 4;

impl Site {
    /// What a file of the share has.
    fn content(&self, name: &str) -> Bytes {
        let (volume, cx) = (self.volume(), Context::root(Time::default()));
        let file = volume.lookup(&cx, ROOT, name.as_bytes()).unwrap().id;
        volume.read(&cx, file, 0, 1 << 20).unwrap().data
    }
}

impl Peer {
    /// The status and the output of a control.
    async fn control(&mut self, id: Id, code: u32, input: &[u8]) -> (NtStatus, Vec<u8>) {
        let len = u32::try_from(input.len()).unwrap();
        let mut body = [57_u16, 0].map(u16::to_le_bytes).concat();
        body.extend(code.to_le_bytes());
        body.extend(id);
        body.extend([120, len, 0, 120, 0, 4096, 1, 0].map(u32::to_le_bytes).concat());
        body.extend(input);
        let (status, response) = self.call(Command::Ioctl, &body).await;
        let field = |at: usize| u32::from_le_bytes(response[at..at + 4].try_into().unwrap()) as usize;
        if response.len() < 48 || response[0] != 49 {
            return (status, Vec::new());
        }
        let at = field(32) - HEADER_LEN;
        (status, response[at..at + field(36)].to_vec())
    }

    /// Copies chunks: offset in the source, offset in the target, length.
    async fn copy(&mut self, from: Id, to: Id, chunks: &[(u64, u64, u32)]) -> (NtStatus, [u32; 3]) {
        let (status, key) = self.control(from, code::SRV_REQUEST_RESUME_KEY, &[]).await;
        assert_eq!(status, NtStatus::SUCCESS);
        let mut input = key[..24].to_vec();
        input.extend(u32::try_from(chunks.len()).unwrap().to_le_bytes());
        input.extend([0; 4]);
        for (source, target, len) in chunks {
            input.extend([*source, *target].map(u64::to_le_bytes).concat());
            input.extend([*len, 0].map(u32::to_le_bytes).concat());
        }
        let (status, said) = self.control(to, code::SRV_COPYCHUNK_WRITE, &input).await;
        let words = said.as_chunks::<4>().0;
        (status, [0, 1, 2].map(|at| words.get(at).map_or(0, |word| u32::from_le_bytes(*word))))
    }
}

#[tokio::test]
async fn chunks_are_copied_wherever_they_begin_and_end() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let data: Vec<u8> = (0..20_000_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let from = peer.open("from", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(from, &data).await;
    let to = peer.open("to", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    let done = peer.copy(from, to, &[(0, 0, 8192), (8195, 8192, 100), (19_000, 8292, 1000)]).await;
    assert_eq!(done, (NtStatus::SUCCESS, [3, 0, 9292]));
    assert_eq!(site.content("to"), [&data[..8192], &data[8195..8295], &data[19_000..]].concat());
    // Within a file, also where source and target overlap.
    let done = peer.copy(to, to, &[(0, 4096, 8192)]).await;
    assert_eq!(done, (NtStatus::SUCCESS, [1, 0, 8192]));
    assert_eq!(site.content("to"), [&data[..4096], &data[..8192]].concat());
    // What was copied before a chunk that can't be stays.
    let done = peer.copy(from, to, &[(1, 0, 10), (19_999, 0, 2)]).await;
    assert_eq!(done, (NtStatus::INVALID_VIEW_SIZE, [1, 0, 10]));
    assert_eq!(site.content("to")[..10], data[1..11]);
}

#[tokio::test]
async fn what_may_not_be_copied_is_not() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let from = peer.open("from", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(from, &[7; 4096]).await;
    let to = peer.open("to", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    let limits = (NtStatus::INVALID_PARAMETER, [256, 1 << 20, 16 << 20]);
    for chunks in
        [vec![(0, 0, 0)], vec![(0, 0, (1 << 20) + 1)], vec![(0, 0, 1); 257], vec![(0, 0, 1 << 20); 17]]
    {
        assert_eq!(peer.copy(from, to, &chunks).await, limits);
    }
    let reader = peer.open("to", READ, SHARE_ALL, OPEN).await.unwrap();
    assert_eq!(peer.copy(from, reader, &[(0, 0, 1)]).await.0, NtStatus::ACCESS_DENIED);
    let (status, _) =
        peer.control(to, code::SRV_COPYCHUNK_WRITE, &[[0xff; 24].as_slice(), &[0; 8]].concat()).await;
    assert_eq!(status, NtStatus::OBJECT_NAME_NOT_FOUND);
    assert_eq!(peer.copy(from, to, &[(0, 0, 4096)]).await.0, NtStatus::SUCCESS);
    let appender = peer.open("to", APPEND, SHARE_ALL, OPEN).await.unwrap();
    assert_eq!(peer.copy(from, appender, &[(0, 4095, 10)]).await.0, NtStatus::ACCESS_DENIED);
    assert_eq!(peer.copy(from, appender, &[(0, 4096, 10)]).await.0, NtStatus::SUCCESS);
    assert_eq!(site.content("to"), [7; 4106].as_slice());
}

#[tokio::test]
async fn a_sparse_file_says_where_it_has_bytes() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let file = peer.open("a", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(file, &[7; 20_000]).await;
    let pairs = |pairs: &[u64]| pairs.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let hole = peer.control(file, code::SET_ZERO_DATA, &pairs(&[4000, 12_300])).await;
    assert_eq!(hole, (NtStatus::SUCCESS, Vec::new()));
    let expected = [[7; 4000].as_slice(), &[0; 8300], &[7; 7700]].concat();
    assert_eq!(site.content("a"), expected);
    let all = pairs(&[0, 1 << 40]);
    let whole = peer.control(file, code::QUERY_ALLOCATED_RANGES, &all).await;
    assert_eq!(whole, (NtStatus::SUCCESS, pairs(&[0, 20_000])), "before it is called sparse");
    assert_eq!(peer.control(file, code::SET_SPARSE, &[]).await.0, NtStatus::SUCCESS);
    let parts = peer.control(file, code::QUERY_ALLOCATED_RANGES, &all).await;
    assert_eq!(parts, (NtStatus::SUCCESS, pairs(&[0, 4096, 12_288, 7712])));
    assert_eq!(peer.control(file, code::SET_SPARSE, &[0]).await.0, NtStatus::SUCCESS);
    assert_eq!(peer.control(file, code::QUERY_ALLOCATED_RANGES, &all).await, whole);
}

#[tokio::test]
async fn a_previous_version_can_be_read_and_not_changed() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let file = peer.open("a", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(file, b"old").await;
    let taken = Time { secs: 951_782_400, nanos: 5 };
    site.volume().snapshot_create("one", taken).unwrap();
    peer.write(file, b"new").await;
    let (status, list) = peer.control(file, code::SRV_ENUMERATE_SNAPSHOTS, &[]).await;
    let token = "@GMT-2000.02.29-00.00.00";
    let name: Vec<u8> = token.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!((status, &list[12..12 + name.len()]), (NtStatus::SUCCESS, &name[..]));
    let old = peer.open(&format!("{token}\\a"), READ_WRITE, SHARE_ALL, OPEN).await.unwrap();
    let back = peer.open("back", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    assert_eq!(peer.copy(old, back, &[(0, 0, 3)]).await.0, NtStatus::SUCCESS);
    assert_eq!((&site.content("back")[..], &site.content("a")[..]), (&b"old"[..], &b"new"[..]));
    assert_eq!(peer.copy(file, old, &[(0, 0, 3)]).await.0, NtStatus::MEDIA_WRITE_PROTECTED);
    let made = peer.open(&format!("{token}\\b"), READ_WRITE, SHARE_ALL, CREATE).await;
    assert_eq!(made, Err(NtStatus::MEDIA_WRITE_PROTECTED));
    for missing in ["@GMT-2000.02.29-00.00.01\\a", "@GMT-2000.02.29-00.00.00\\back"] {
        let found = peer.open(missing, READ, SHARE_ALL, OPEN).await;
        assert_eq!(found, Err(NtStatus::OBJECT_NAME_NOT_FOUND), "{missing}");
    }
    site.volume().show_snapshots(fsstore::SnapshotDir::Off);
    let (_, list) = peer.control(file, code::SRV_ENUMERATE_SNAPSHOTS, &[]).await;
    assert_eq!(list[..4], [0; 4]);
}

#[tokio::test]
async fn a_client_follows_links_out_of_the_share_itself() {
    let site = Site::new().await;
    for (name, target) in [("absolute", "/else/where"), ("above", "../up"), ("inside", "absolute/x")] {
        let op = Op::Symlink {
            dir: ROOT,
            name: Bytes::from(name),
            target: Bytes::from(target),
            attrs: SetAttrs::default(),
        };
        site.volume().execute(&Context::root(Time::default()), op).unwrap();
    }
    let mut peer = site.login().await;
    for (name, unparsed, target) in
        [("absolute\\ab\\c", 10, "\\else\\where"), ("above", 0, "..\\up"), ("inside\\d", 4, "absolute\\x")]
    {
        let body = create(name, READ, SHARE_ALL, OPEN, 0, &[]);
        let (status, response) = peer.call(Command::Create, &body).await;
        assert_eq!(status, NtStatus::STOPPED_ON_SYMLINK, "{name}");
        // In an error context (MS-SMB2 §2.2.2.1), the tag, and the reparse data (§2.2.2.2.1).
        let data = &response[16..];
        assert_eq!((&data[4..8], &data[14..16]), (&b"SYML"[..], &[unparsed, 0][..]), "{name}");
        let text: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(&data[28..28 + text.len()], text, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_where_it_can_connect_too() {
    const NOBODY: Id = [0xFF; 16];
    let site = Site::new().await;
    let mut peer = site.login().await;
    let (status, output) = peer.control(NOBODY, code::QUERY_NETWORK_INTERFACE_INFO, &[]).await;
    assert_eq!((status, output.len()), (NtStatus::SUCCESS, 152));
    // The last, RSS, no speed of zero; IPv4, no port, the address of the listener.
    assert_eq!((&output[..4], output[8]), ([0; 4].as_slice(), 1));
    assert_ne!(output[16..24], [0; 8]);
    assert_eq!(output[24..32], [2, 0, 0, 0, 127, 0, 0, 1]);
    let (status, _) = peer.control(NOBODY, code::QUERY_NETWORK_INTERFACE_INFO, &[0; 8]).await;
    assert_eq!(status, NtStatus::INVALID_PARAMETER);
}
