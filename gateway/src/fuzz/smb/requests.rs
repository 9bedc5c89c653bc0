//! Requests (MS-SMB2 §2.2) whose fields a fuzzer chooses.

use super::login::utf16;
use crate::fuzz::choices::Choices;
use crate::smb2::wire::fsctl::code;
use crate::smb2::wire::header::{Command, FLAG_RELATED, HEADER_LEN, Header, Id};
use crate::smb2::wire::status::NtStatus;
use bytes::BytesMut;

/// The id of an open, as it came.
pub(super) type Open = [u8; 16];

/// All that come after a login.
pub(super) const COMMANDS: [Command; 18] = [
    Command::SessionSetup,
    Command::Logoff,
    Command::TreeConnect,
    Command::TreeDisconnect,
    Command::Create,
    Command::Close,
    Command::Flush,
    Command::Read,
    Command::Write,
    Command::Lock,
    Command::Ioctl,
    Command::Cancel,
    Command::Echo,
    Command::QueryDirectory,
    Command::ChangeNotify,
    Command::QueryInfo,
    Command::SetInfo,
    Command::OplockBreak,
];

const NAMES: [&str; 24] = [
    "",
    "a",
    "b",
    "dir",
    "DIR\\A",
    "dir\\b",
    "dir\\c",
    "file",
    "File",
    "link",
    "sub",
    "sub\\a",
    "dir\\link\\x",
    "a:s",
    "file::$DATA",
    "file:s:$DATA",
    "dir:s:$INDEX_ALLOCATION",
    "srvsvc",
    ".snapshot",
    "..",
    "a\\",
    "x*",
    "con\u{f021}",
    "\u{131}",
];
const PATTERNS: [&str; 8] = ["*", "*.*", "a", "<.>", "??", "*a*a*a*", "\"", ""];
const CODES: [u32; 28] = [
    code::DFS_GET_REFERRALS,
    code::DFS_GET_REFERRALS_EX,
    code::SET_COMPRESSION,
    code::GET_COMPRESSION,
    code::GET_OBJECT_ID,
    code::SET_REPARSE_POINT,
    code::GET_REPARSE_POINT,
    code::DELETE_REPARSE_POINT,
    code::CREATE_OR_GET_OBJECT_ID,
    code::SET_SPARSE,
    code::QUERY_ALLOCATED_RANGES,
    code::SET_ZERO_DATA,
    code::FILE_LEVEL_TRIM,
    code::GET_INTEGRITY_INFORMATION,
    code::OFFLOAD_READ,
    code::DUPLICATE_EXTENTS_TO_FILE,
    code::DUPLICATE_EXTENTS_TO_FILE_EX,
    code::PIPE_WAIT,
    code::PIPE_PEEK,
    code::PIPE_TRANSCEIVE,
    code::SRV_ENUMERATE_SNAPSHOTS,
    code::SRV_REQUEST_RESUME_KEY,
    code::SRV_COPYCHUNK,
    code::SRV_COPYCHUNK_WRITE,
    code::SRV_READ_HASH,
    code::LMR_REQUEST_RESILIENCY,
    code::QUERY_NETWORK_INTERFACE_INFO,
    code::VALIDATE_NEGOTIATE_INFO,
];
/// Numbers of what QUERY_INFO and SET_INFO are about, with some that nobody knows.
const CLASSES: [u8; 28] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 28, 34, 35, 39, 48, 64, 65];
const LISTINGS: [u8; 8] = [1, 2, 3, 12, 37, 38, 60, 99];
/// No request for a durable handle: it would outlive its connection, and what connections leave behind is looked at.
const CONTEXTS: [&[u8]; 10] =
    [b"ExtA", b"SecD", b"MxAc", b"QFid", b"DHnC", b"DH2C", b"RqLs", b"AlSi", b"TWrp", b"AAPL"];

/// Little-endian bytes, one field after the other.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn u8(mut self, value: u8) -> Body {
        self.0.push(value);
        self
    }
    fn u16(self, value: u16) -> Body {
        self.bytes(&value.to_le_bytes())
    }
    fn u32(self, value: u32) -> Body {
        self.bytes(&value.to_le_bytes())
    }
    fn u64(self, value: u64) -> Body {
        self.bytes(&value.to_le_bytes())
    }
    fn bytes(mut self, bytes: &[u8]) -> Body {
        self.0.extend(bytes);
        self
    }
    /// The length of what is appended as a whole later.
    fn len16(self, bytes: &[u8]) -> Body {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX))
    }
    fn len32(self, bytes: &[u8]) -> Body {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
    }
}

fn name(choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(12) {
        0 => choices.pick_bytes().to_vec(),
        1 => utf16(&"n".repeat(choices.pick(&[1, 254, 255, 256, 5000]))),
        _ => utf16(choices.pick(&NAMES)),
    }
}

fn open(opens: &[Open], choices: &mut Choices<'_>) -> Open {
    match choices.below(16) {
        0 => [0xff; 16],
        1 => [choices.byte(); 16],
        _ if opens.is_empty() => [0xff; 16],
        _ => choices.pick(opens),
    }
}

/// The body of a request, most of whose fields are good ones.
pub(super) fn body(command: Command, opens: &[Open], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut body = good(command, opens, choices).0;
    if choices.once_in(8) {
        choices.damage(&mut body);
    }
    body
}

fn good(command: Command, opens: &[Open], choices: &mut Choices<'_>) -> Body {
    let id = open(opens, choices);
    let new = Body::default();
    match command {
        Command::Negotiate | Command::SessionSetup => {
            let token = choices.pick_bytes();
            new.u16(25).u16(0x100).u64(0).u16(88).len16(token).u64(choices.long()).bytes(token)
        }
        Command::Logoff | Command::TreeDisconnect | Command::Cancel | Command::Echo => new.u32(4),
        Command::TreeConnect => {
            let path = utf16(&format!(r"\\vs1\{}", choices.pick(&["data", "IPC$", "DATA", "none", ""])));
            new.u16(9).u16(0).u16(72).len16(&path).bytes(&path)
        }
        Command::Create => create(choices),
        Command::Close => new.u16(24).u16(u16::from(choices.byte()) & 1).u32(0).bytes(&id),
        Command::Flush => new.u16(24).u16(0).u32(0).bytes(&id),
        Command::Read => {
            let new = new.u16(49).u16(0x50).u32(choices.number()).u64(choices.long()).bytes(&id);
            new.u32(choices.pick(&[0, 0, 1, 5000])).u64(0).u32(0).u8(0)
        }
        Command::Write => {
            let data = choices.pick_bytes().repeat(choices.pick(&[1, 1, 100, 3000]));
            let new = new.u16(49).u16(112).len32(&data).u64(choices.long()).bytes(&id);
            new.u64(0).u32(0).u32(choices.pick(&[0, 0, 1, 2])).bytes(&data)
        }
        Command::Lock => {
            let count = choices.pick(&[1_u16, 1, 1, 2, 5, 64]);
            let new = new.u16(48).u16(count).u32(choices.pick(&[0, 0x11, 0x12])).bytes(&id);
            (0..count).fold(new, |new, _| {
                new.u64(choices.long())
                    .u64(choices.long())
                    .u32(choices.pick(&[0x11, 0x12, 4, 1, 2, 7]))
                    .u32(0)
            })
        }
        Command::Ioctl => ioctl(&id, choices),
        Command::QueryDirectory => {
            let pattern = utf16(choices.pick(&PATTERNS));
            let new = new.u16(33).u8(choices.pick(&LISTINGS)).u8(choices.pick(&[0, 0, 1, 2, 0x10, 4]));
            new.u32(0).bytes(&id).u16(96).len16(&pattern).u32(choices.number()).bytes(&pattern)
        }
        Command::ChangeNotify => new
            .u16(32)
            .u16(choices.pick(&[0, 1]))
            .u32(choices.number())
            .bytes(&id)
            .u32(choices.pick(&[0xfff, 1, 0]))
            .u32(0),
        Command::QueryInfo => {
            let input = if choices.once_in(4) { choices.pick_bytes() } else { &[] };
            let new = new.u16(41).u8(choices.pick(&[1, 1, 2, 3, 4, 0])).u8(choices.pick(&CLASSES));
            let new =
                new.u32(choices.pick(&[65_536, 65_536, 0, 8, 100, u32::MAX])).u16(104).u16(0).len32(input);
            new.u32(choices.pick(&[7, 1, 0xff, 0])).u32(0).bytes(&id).bytes(input)
        }
        Command::SetInfo => {
            let (kind, class) = (choices.pick(&[1, 1, 1, 3, 2]), choices.pick(&CLASSES));
            let carried = if kind == 3 { descriptor(choices) } else { change(class, choices) };
            let new = new.u16(33).u8(kind).u8(class).len32(&carried).u16(96).u16(0);
            new.u32(choices.pick(&[7, 1, 4, 0])).bytes(&id).bytes(&carried)
        }
        Command::OplockBreak if choices.once_in(2) => new.u16(24).u16(0).u32(0).bytes(&id),
        Command::OplockBreak => {
            new.u16(36).u16(0).u32(0).bytes(&[choices.byte() & 3; 16]).u32(choices.pick(&[0, 1, 3, 7])).u64(0)
        }
    }
}

fn create(choices: &mut Choices<'_>) -> Body {
    if choices.once_in(2) {
        // A good one: the others need something that is open.
        let name = utf16(choices.pick(&["file", "a", "b", "dir\\a", "dir", ""]));
        let new = Body::default().u16(57).u16(0).u32(2).u64(0).u64(0).u32(0x0012_019f).u32(0).u32(7).u32(3);
        return new.u32(0).u16(120).len16(&name).u64(0).bytes(&name);
    }
    let name = name(choices);
    let contexts = contexts(choices);
    let padded = name.len().next_multiple_of(8);
    let access =
        choices.pick(&[0x0012_019f, 0x0013_01ff, 0x0012_0089, 0x8000_0000, 0x0200_0000, 0x1000_0000, 0]);
    let new = Body::default().u16(57).u8(0).u8(choices.pick(&[0, 1, 8, 9, 0xff])).u32(2).u64(0).u64(0);
    let new = new.u32(access).u32(choices.pick(&[0, 0x80, 0x10, 1])).u32(choices.pick(&[7, 7, 7, 0, 1, 3]));
    let new = new.u32(choices.pick(&[3, 3, 1, 2, 0, 4, 5, 6]));
    let new = new.u32(choices.pick(&[0, 0, 0x40, 1, 1, 0x1000, 0x1040, 0x0020_0000, 0x8, u32::MAX]));
    let at = if contexts.is_empty() { 0 } else { u32::try_from(120 + padded).unwrap_or(0) };
    let new = new.u16(120).len16(&name).u32(at).len32(&contexts).bytes(&name);
    new.bytes(&vec![0; padded - name.len()]).bytes(&contexts)
}

fn contexts(choices: &mut Choices<'_>) -> Vec<u8> {
    let count = choices.pick(&[0, 0, 0, 1, 2, 4]);
    let mut all = Vec::new();
    for number in 0..count {
        let kind = choices.pick(&CONTEXTS);
        let data = match kind {
            b"ExtA" => eas(choices),
            b"SecD" => descriptor(choices),
            b"RqLs" => {
                let new =
                    Body::default().bytes(&[choices.byte() & 3; 16]).u32(choices.pick(&[7, 3, 1, 0, 5]));
                let new = new.u32(choices.pick(&[0, 4])).u64(0);
                let second = choices.once_in(2);
                if second { new.bytes(&[1; 16]).u32(u32::from(choices.byte())).0 } else { new.0 }
            }
            b"DHnC" => vec![0; 16],
            b"DH2C" => Body::default().bytes(&[1; 16]).bytes(&[choices.byte() & 3; 16]).u32(0).0,
            b"AlSi" | b"TWrp" => Body::default().u64(choices.long()).0,
            b"AAPL" => Body::default().u32(1).u32(0).u64(choices.long()).u64(0).0,
            _ => choices.pick(&[&[][..], &[0; 8]]).to_vec(),
        };
        let len = 24 + data.len();
        let next = if number + 1 == count { 0 } else { u32::try_from(len.next_multiple_of(8)).unwrap_or(0) };
        let context = Body::default().u32(next).u16(16).u16(4).u16(0).u16(24).len32(&data).bytes(kind).u32(0);
        all.extend(context.bytes(&data).0);
        if next > 0 {
            all.resize(all.len().next_multiple_of(8), 0);
        }
    }
    all
}

fn ioctl(id: &Open, choices: &mut Choices<'_>) -> Body {
    let code = choices.pick(&CODES);
    let input = match code {
        code::SRV_COPYCHUNK | code::SRV_COPYCHUNK_WRITE => {
            let new = Body::default().bytes(choices.take(24)).u32(1).u32(0);
            new.u64(choices.long()).u64(choices.long()).u32(choices.number()).u32(0).0
        }
        code::QUERY_ALLOCATED_RANGES | code::SET_ZERO_DATA => {
            Body::default().u64(choices.long()).u64(choices.long()).0
        }
        _ => choices.pick_bytes().to_vec(),
    };
    let new = Body::default().u16(57).u16(0).u32(code).bytes(id).u32(120).len32(&input).u32(0).u32(0).u32(0);
    new.u32(choices.pick(&[65_536, 0, 100, u32::MAX])).u32(choices.pick(&[1, 1, 0])).u32(0).bytes(&input)
}

fn sid(choices: &mut Choices<'_>) -> Vec<u8> {
    let count = choices.pick(&[1_u8, 2, 2, 5, 15, 0]);
    let new = Body::default().u8(1).u8(count).bytes(&[0, 0, 0, 0, 0, choices.pick(&[1, 5, 22])]);
    (0..count).fold(new, |new, _| new.u32(choices.pick(&[0, 1, 1000, 513, u32::MAX]))).0
}

/// A security descriptor, MS-DTYP §2.4.6.
pub(super) fn descriptor(choices: &mut Choices<'_>) -> Vec<u8> {
    let (owner, group) = (sid(choices), sid(choices));
    let mut entries = Vec::new();
    let count = choices.pick(&[0_u16, 1, 2, 5]);
    for _ in 0..count {
        let sid = sid(choices);
        let len = u16::try_from(8 + sid.len()).unwrap_or(0);
        let flags = choices.pick(&[0, 3, 0x10, 0xb]);
        let entry = Body::default().u8(choices.pick(&[0, 0, 1, 5])).u8(flags).u16(len).u32(choices.number());
        entries.extend(entry.bytes(&sid).0);
    }
    let at = |len: usize| u32::try_from(len).unwrap_or(0);
    let (first, second) = (20 + owner.len(), 20 + owner.len() + group.len());
    let control = choices.pick(&[0x8004, 0x8004, 0x8000, 0x8014]);
    let new = Body::default().u8(1).u8(0).u16(control).u32(20).u32(at(first)).u32(0);
    let new = new.u32(if choices.once_in(8) { 0 } else { at(second) }).bytes(&owner).bytes(&group);
    let len = u16::try_from(8 + entries.len()).unwrap_or(0);
    new.u8(2).u8(0).u16(len).u16(count).u16(0).bytes(&entries).0
}

fn eas(choices: &mut Choices<'_>) -> Vec<u8> {
    let value = choices.pick_bytes();
    let name = choices.pick(&[&b"a"[..], b"bb", b"user.x", b""]);
    let new = Body::default().u32(0).u8(0).u8(u8::try_from(name.len()).unwrap_or(0)).len16(value);
    new.bytes(name).u8(0).bytes(value).0
}

/// What SET_INFO carries for a class of files.
pub(super) fn change(class: u8, choices: &mut Choices<'_>) -> Vec<u8> {
    match class {
        // FileRenameInformation, FileLinkInformation, FileRenameInformationEx.
        10 | 11 | 65 => {
            let name = name(choices);
            Body::default().u64(u64::from(choices.byte() & 1)).u64(0).len32(&name).bytes(&name).0
        }
        15 => eas(choices),
        4 => {
            let new = (0..4).fold(Body::default(), |new, _| new.u64(choices.long()));
            new.u32(choices.pick(&[0, 0x80, 1, 0x10])).u32(0).0
        }
        13 => vec![choices.byte() & 1],
        _ => Body::default().u64(choices.long()).0,
    }
}

/// Appends a request to a frame, as the next of its compound.
pub(super) fn put(
    command: Command,
    body: &[u8],
    message_id: u64,
    (session_id, tree_id): (u64, u32),
    choices: &mut Choices<'_>,
    frame: &mut Vec<u8>,
) {
    let related = !frame.is_empty() && choices.once_in(2);
    if !frame.is_empty() {
        frame.resize(frame.len().next_multiple_of(8), 0);
        // The one before it says where this one begins.
        let mut start = 0;
        while let Some(next) = frame.get(start + 20..).and_then(|rest| rest.first_chunk()) {
            match u32::from_le_bytes(*next) as usize {
                0 => break,
                next => start += next,
            }
        }
        let next = u32::try_from(frame.len() - start).unwrap_or(0);
        frame[start + 20..start + 24].copy_from_slice(&next.to_le_bytes());
    }
    let mut header = BytesMut::with_capacity(HEADER_LEN);
    Header {
        credit_charge: 1,
        channel_sequence: 0,
        status: NtStatus::SUCCESS,
        command: command as u16,
        credits: 64,
        flags: if related { FLAG_RELATED } else { 0 },
        next_command: 0,
        message_id,
        id: Id::Sync { tree_id },
        session_id,
        signature: [0; 16],
    }
    .encode(&mut header);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(body);
}
