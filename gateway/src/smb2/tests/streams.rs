//! Named streams: bytes of their own, share modes of their own, the life of their file (MS-FSCC §2.1.5, MS-FSA §2.1.5.1).

use super::Site;
use crate::smb2::wire::status::NtStatus;

const OPEN: u32 = 1;
const CREATE: u32 = 2;
const OPEN_IF: u32 = 3;
const OVERWRITE: u32 = 4;
const SHARE_ALL: u32 = 7;
const SHARE_NONE: u32 = 0;
const READ_WRITE: u32 = 3;
const DELETE: u32 = 0x0001_0000;
/// `FILE_DELETE_ON_CLOSE`.
const DELETE_ON_CLOSE: u32 = 0x1000;

#[tokio::test]
async fn a_stream_has_bytes_of_its_own_and_a_name_of_any_case() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let stream = peer.open("file:Notes", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(stream, b"of the stream").await;
    let file = peer.open("FILE::$data", READ_WRITE, SHARE_ALL, OPEN).await.unwrap();
    peer.write(file, b"own").await;
    let again = peer.open("file:NOTES:$DATA", READ_WRITE, SHARE_ALL, OPEN_IF).await.unwrap();
    assert_eq!(peer.read(again).await, b"of the stream");
    assert_eq!(peer.read(file).await, b"own");
    // Any character but four, as it is.
    let odd = peer.open("file:a?*\"<b>\u{1}", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    let listed = ["::$DATA", ":Notes:$DATA", ":a?*\"<b>\u{1}:$DATA"];
    for id in [file, stream, odd] {
        assert_eq!(peer.streams(id).await, listed, "whichever of them is asked");
    }
    // FileStandardInformation has the size of the stream, FileInternalInformation the number of the file.
    assert_eq!(peer.query(stream, 5).await[8..16], 13_u64.to_le_bytes());
    assert_eq!(peer.query(stream, 6).await, peer.query(file, 6).await);
    for (name, status) in [
        ("file:none", NtStatus::OBJECT_NAME_NOT_FOUND),
        ("file:Notes:$FOO", NtStatus::OBJECT_NAME_INVALID),
        ("file:", NtStatus::OBJECT_NAME_INVALID),
        ("none:Notes", NtStatus::OBJECT_NAME_NOT_FOUND),
        ("::$DATA", NtStatus::FILE_IS_A_DIRECTORY),
        ("file:x:$INDEX_ALLOCATION", NtStatus::OBJECT_NAME_INVALID),
        ("file:$I30:$INDEX_ALLOCATION", NtStatus::NOT_A_DIRECTORY),
    ] {
        assert_eq!(peer.open(name, READ_WRITE, SHARE_ALL, OPEN).await, Err(status), "{name}");
    }
    // A directory may have streams, the root of a share too.
    let of_root = peer.open(":top", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(of_root, b"top").await;
    assert_eq!(peer.streams(of_root).await, [":top:$DATA"]);
}

#[tokio::test]
async fn who_shares_a_stream_does_not_share_its_file() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let one = peer.open("file:one", READ_WRITE, SHARE_NONE, CREATE).await.unwrap();
    assert_eq!(peer.open("file:ONE", 1, SHARE_ALL, OPEN).await, Err(NtStatus::SHARING_VIOLATION));
    let two = peer.open("file:two", READ_WRITE, SHARE_NONE, CREATE).await.unwrap();
    let file = peer.open("file", READ_WRITE, SHARE_NONE, OPEN).await.unwrap();
    // But nobody may delete the file, or write over it.
    peer.close(file).await;
    for (access, how) in [(DELETE, OPEN), (READ_WRITE, OVERWRITE)] {
        assert_eq!(peer.open("file", access, SHARE_ALL, how).await, Err(NtStatus::SHARING_VIOLATION));
    }
    peer.close(one).await;
    peer.close(two).await;
    let file = peer.open("file", READ_WRITE, SHARE_ALL, OVERWRITE).await.unwrap();
    assert_eq!(peer.streams(file).await, ["::$DATA"], "they went with the content");
}

#[tokio::test]
async fn a_file_that_is_to_go_stays_for_its_streams() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let stream = peer.open("file:s", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(stream, b"bytes").await;
    let file = peer.open_with("file", DELETE, SHARE_ALL, OPEN, DELETE_ON_CLOSE).await.unwrap();
    peer.close(file).await;
    assert_eq!(peer.read(stream).await, b"bytes");
    for name in ["file", "file:s", "file:new"] {
        let opened = peer.open(name, 1, SHARE_ALL, OPEN_IF).await;
        assert_eq!(opened, Err(NtStatus::DELETE_PENDING), "{name}");
    }
    peer.close(stream).await;
    assert_eq!(peer.open("file", 1, SHARE_ALL, OPEN).await, Err(NtStatus::OBJECT_NAME_NOT_FOUND));
    // The other way round, a stream goes alone.
    let stream = peer.open_with("file:s", DELETE, SHARE_ALL, CREATE, DELETE_ON_CLOSE).await.unwrap();
    peer.close(stream).await;
    let file = peer.open("file", 1, SHARE_ALL, OPEN).await.unwrap();
    assert_eq!(peer.streams(file).await, ["::$DATA"]);
    assert_eq!(site.vserver.locks.counts().shares, 1);
}

#[tokio::test]
async fn a_stream_gets_another_name() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let one = peer.open("file:one", READ_WRITE | DELETE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(one, b"1").await;
    for (name, data) in [("empty", &b""[..]), ("full", b"bytes")] {
        let id = peer.open(&format!("file:{name}"), READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
        peer.write(id, data).await;
        peer.close(id).await;
    }
    let rename = |name: &str, replace: u8| {
        let name = super::files::utf16(name);
        let mut buffer = vec![replace, 0, 0, 0, 0, 0, 0, 0];
        buffer.extend([0; 8]);
        buffer.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        buffer.extend(name);
        buffer.resize(buffer.len().max(24), 0);
        buffer
    };
    for (name, replace, status) in [
        (":full", 0, NtStatus::OBJECT_NAME_COLLISION),
        (":full:$DATA", 1, NtStatus::INVALID_PARAMETER),
        ("::$DATA", 1, NtStatus::INVALID_PARAMETER),
        ("file:two", 0, NtStatus::SHARING_VIOLATION),
        (":EMPTY", 1, NtStatus::SUCCESS),
        (":Two", 0, NtStatus::SUCCESS),
        (":TWO", 0, NtStatus::SUCCESS),
    ] {
        assert_eq!(peer.set_info(one, 1, 10, &rename(name, replace)).await, status, "{name}");
    }
    assert_eq!(peer.streams(one).await, ["::$DATA", ":TWO:$DATA", ":full:$DATA"]);
    assert_eq!(peer.read(one).await, b"1");
}
