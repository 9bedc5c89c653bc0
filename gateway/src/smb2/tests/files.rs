//! What clients ask about files: the requests that tests need, each whole.

use super::client::Peer;
use crate::smb2::wire::header::{Command, HEADER_LEN};
use crate::smb2::wire::status::NtStatus;

pub(super) type Id = [u8; 16];

pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The body of a CREATE that reads attributes too; `context`: a name of four bytes and data, or nothing.
pub(super) fn create(
    name: &str,
    access: u32,
    share: u32,
    disposition: u32,
    options: u32,
    context: &[u8],
) -> Vec<u8> {
    let contexts = if context.is_empty() { &[][..] } else { &[context] };
    create_with(name, access, share, disposition, options, contexts)
}

/// The same with any number of contexts.
pub(super) fn create_with(
    name: &str,
    access: u32,
    share: u32,
    disposition: u32,
    options: u32,
    contexts: &[&[u8]],
) -> Vec<u8> {
    let name = utf16(name);
    let at = (120 + name.len()).next_multiple_of(8);
    let mut list = Vec::new();
    for (number, context) in contexts.iter().enumerate() {
        let (name, data) = context.split_first_chunk::<4>().unwrap();
        let next = (24 + data.len()).next_multiple_of(8);
        let last = number + 1 == contexts.len();
        let end = list.len() + if last { 24 + data.len() } else { next };
        list.extend(u32::try_from(if last { 0 } else { next }).unwrap().to_le_bytes());
        list.extend([16_u16, 4, 0, 24].map(u16::to_le_bytes).concat());
        list.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        list.extend(name);
        list.extend([0; 4]);
        list.extend(data);
        list.resize(end, 0);
    }
    let len = list.len();
    let mut body = 57_u16.to_le_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(2_u32.to_le_bytes());
    body.extend([0; 16]);
    body.extend([access | 0x80, 0, share, disposition, options].map(u32::to_le_bytes).concat());
    body.extend([120, u16::try_from(name.len()).unwrap()].map(u16::to_le_bytes).concat());
    let place = if len > 0 { at } else { 0 };
    body.extend([place, len].map(|number| u32::try_from(number).unwrap().to_le_bytes()).concat());
    body.extend(name);
    if len > 0 {
        body.resize(at - HEADER_LEN, 0);
        body.extend(list);
    }
    body
}

impl Peer {
    pub(super) async fn open(
        &mut self,
        name: &str,
        access: u32,
        share: u32,
        how: u32,
    ) -> Result<Id, NtStatus> {
        self.open_with(name, access, share, how, 0).await
    }

    pub(super) async fn open_with(
        &mut self,
        name: &str,
        access: u32,
        share: u32,
        disposition: u32,
        options: u32,
    ) -> Result<Id, NtStatus> {
        let body = create(name, access, share, disposition, options, &[]);
        let (status, response) = self.call(Command::Create, &body).await;
        if status == NtStatus::SUCCESS { Ok(response[64..80].try_into().unwrap()) } else { Err(status) }
    }

    /// The status and the body of a response.
    pub(super) async fn call(&mut self, command: Command, body: &[u8]) -> (NtStatus, Vec<u8>) {
        let request = self.signed(command, body);
        let (header, response) = self.ask(&request).await.unwrap();
        (header.status, response[HEADER_LEN..].to_vec())
    }

    pub(super) async fn write(&mut self, id: Id, data: &[u8]) {
        let mut body = [49_u16, 112].map(u16::to_le_bytes).concat();
        body.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        body.extend([0; 8]);
        body.extend(id);
        body.extend([0; 16]);
        body.extend(data);
        assert_eq!(self.call(Command::Write, &body).await.0, NtStatus::SUCCESS);
    }

    pub(super) async fn read(&mut self, id: Id) -> Vec<u8> {
        let mut body = [49_u16, 0].map(u16::to_le_bytes).concat();
        body.extend(100_u32.to_le_bytes());
        body.extend([0; 8]);
        body.extend(id);
        body.extend([0; 17]);
        let (status, response) = self.call(Command::Read, &body).await;
        assert_eq!(status, NtStatus::SUCCESS);
        response[16..].to_vec()
    }

    pub(super) async fn close(&mut self, id: Id) {
        let mut body = [24_u16, 0, 0, 0].map(u16::to_le_bytes).concat();
        body.extend(id);
        assert_eq!(self.call(Command::Close, &body).await.0, NtStatus::SUCCESS);
    }

    /// What QUERY_INFO gives of a file.
    pub(super) async fn query(&mut self, id: Id, class: u8) -> Vec<u8> {
        self.query_info(id, 1, class, &[]).await.unwrap()
    }

    /// What QUERY_INFO gives.
    pub(super) async fn query_info(
        &mut self,
        id: Id,
        kind: u8,
        class: u8,
        input: &[u8],
    ) -> Result<Vec<u8>, NtStatus> {
        let mut body = vec![41, 0, kind, class];
        body.extend(1000_u32.to_le_bytes());
        body.extend([104_u16, 0].map(u16::to_le_bytes).concat());
        body.extend(u32::try_from(input.len()).unwrap().to_le_bytes());
        body.extend([0; 8]);
        body.extend(id);
        body.extend(input);
        body.push(0);
        let (status, response) = self.call(Command::QueryInfo, &body).await;
        if status == NtStatus::SUCCESS { Ok(response[8..].to_vec()) } else { Err(status) }
    }

    /// SET_INFO's status.
    pub(super) async fn set_info(&mut self, id: Id, kind: u8, class: u8, buffer: &[u8]) -> NtStatus {
        let mut body = vec![33, 0, kind, class];
        body.extend(u32::try_from(buffer.len()).unwrap().to_le_bytes());
        body.extend([96_u16, 0].map(u16::to_le_bytes).concat());
        body.extend([0; 4]);
        body.extend(id);
        body.extend(buffer);
        self.call(Command::SetInfo, &body).await.0
    }

    /// The file's streams, as `FileStreamInformation` names them.
    pub(super) async fn streams(&mut self, id: Id) -> Vec<String> {
        let list = self.query(id, 22).await;
        let mut names = Vec::new();
        let mut rest = &list[..];
        loop {
            let next = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            let len = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            let units: Vec<u16> =
                rest[24..24 + len].as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
            names.push(String::from_utf16(&units).unwrap());
            if next == 0 {
                return names;
            }
            rest = &rest[next..];
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_of_the_blocks_that_it_asked_for() {
    let site = super::Site::new().await;
    let mut peer = site.login().await;
    let context = [b"AlSi".as_slice(), &5000_u64.to_le_bytes()].concat();
    let allocated = |response: &[u8]| u64::from_le_bytes(response[40..48].try_into().unwrap());
    let (made, response) = peer.call(Command::Create, &create("f", 3, 7, 2, 0, &context)).await;
    assert_eq!((made, allocated(&response)), (NtStatus::SUCCESS, 8192));
    // The file is there, so nothing more is allocated.
    let (opened, response) = peer.call(Command::Create, &create("f", 3, 7, 1, 0, &context)).await;
    assert_eq!((opened, allocated(&response)), (NtStatus::SUCCESS, 0));
    let absurd = [b"AlSi".as_slice(), &[0xFF; 8]].concat();
    let (made, response) = peer.call(Command::Create, &create("g", 3, 7, 2, 0, &absurd)).await;
    assert_eq!((made, allocated(&response)), (NtStatus::SUCCESS, 0));
}
