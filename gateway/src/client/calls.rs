//! The procedures of NFSv3 as methods. Nothing but arguments into structures; see [`Client::call`].

use super::{Client, Result};
use crate::nfs3::acl::{GetAcl, GetAcl3Args, GetAcl3ResOk, SecAttr, SetAcl, SetAcl3Args};
use crate::nfs3::procedures::*;
use crate::nfs3::types::*;
use bytes::Bytes;

fn place(dir: &NfsFh3, name: &str) -> DirOpArgs3 {
    DirOpArgs3 { dir: dir.clone(), name: name.into() }
}

/// Bytes that [`Client::list`] asks for at a time.
const LIST_LEN: u32 = 64 << 10;

#[allow(missing_docs, reason = "each is the procedure of its name in RFC 1813 §3.3")]
#[allow(clippy::missing_errors_doc, reason = "those of Client::call")]
impl Client {
    pub async fn getattr(&self, object: &NfsFh3) -> Result<FAttr3> {
        self.call::<GetAttr>(object).await
    }

    pub async fn setattr(
        &self,
        object: &NfsFh3,
        attributes: SAttr3,
        guard: Option<NfsTime3>,
    ) -> Result<WccData> {
        self.call::<SetAttr>(&SetAttr3Args { object: object.clone(), new_attributes: attributes, guard })
            .await
    }

    pub async fn lookup(&self, dir: &NfsFh3, name: &str) -> Result<Lookup3ResOk> {
        self.call::<Lookup>(&place(dir, name)).await
    }

    pub async fn access(&self, object: &NfsFh3, access: u32) -> Result<Access3ResOk> {
        self.call::<Access>(&Access3Args { object: object.clone(), access }).await
    }

    pub async fn readlink(&self, symlink: &NfsFh3) -> Result<ReadLink3ResOk> {
        self.call::<ReadLink>(symlink).await
    }

    pub async fn read(&self, file: &NfsFh3, offset: u64, count: u32) -> Result<Read3ResOk> {
        self.call::<Read>(&Read3Args { file: file.clone(), offset, count }).await
    }

    /// Data of more than `u32::MAX` bytes is the caller's mistake.
    pub async fn write(
        &self,
        file: &NfsFh3,
        offset: u64,
        data: Bytes,
        stable: StableHow,
    ) -> Result<Write3ResOk> {
        let count = u32::try_from(data.len()).expect("a WRITE is at most a few MiB");
        let args = Write3Args { file: file.clone(), offset, count, stable, data: Payload(data) };
        self.call::<Write>(&args).await
    }

    pub async fn create(&self, dir: &NfsFh3, name: &str, how: CreateHow3) -> Result<Create3ResOk> {
        self.call::<Create>(&Create3Args { place: place(dir, name), how }).await
    }

    pub async fn mkdir(&self, dir: &NfsFh3, name: &str, attributes: SAttr3) -> Result<Create3ResOk> {
        self.call::<MkDir>(&MkDir3Args { place: place(dir, name), attributes }).await
    }

    pub async fn symlink(
        &self,
        dir: &NfsFh3,
        name: &str,
        target: &str,
        attributes: SAttr3,
    ) -> Result<Create3ResOk> {
        let symlink_data = NfsPath3(Bytes::copy_from_slice(target.as_bytes()));
        let args = SymLink3Args { place: place(dir, name), symlink_attributes: attributes, symlink_data };
        self.call::<SymLink>(&args).await
    }

    pub async fn mknod(&self, dir: &NfsFh3, name: &str, what: MkNodData3) -> Result<Create3ResOk> {
        self.call::<MkNod>(&MkNod3Args { place: place(dir, name), what }).await
    }

    pub async fn remove(&self, dir: &NfsFh3, name: &str) -> Result<WccData> {
        self.call::<Remove>(&place(dir, name)).await
    }

    pub async fn rmdir(&self, dir: &NfsFh3, name: &str) -> Result<WccData> {
        self.call::<RmDir>(&place(dir, name)).await
    }

    pub async fn rename(
        &self,
        from_dir: &NfsFh3,
        from: &str,
        to_dir: &NfsFh3,
        to: &str,
    ) -> Result<Rename3Res> {
        self.call::<Rename>(&Rename3Args { from: place(from_dir, from), to: place(to_dir, to) }).await
    }

    pub async fn link(&self, file: &NfsFh3, dir: &NfsFh3, name: &str) -> Result<Link3Res> {
        self.call::<Link>(&Link3Args { file: file.clone(), link: place(dir, name) }).await
    }

    pub async fn readdir(
        &self,
        dir: &NfsFh3,
        cookie: u64,
        cookieverf: [u8; 8],
        count: u32,
    ) -> Result<ReadDir3ResOk> {
        self.call::<ReadDir>(&ReadDir3Args { dir: dir.clone(), cookie, cookieverf, count }).await
    }

    pub async fn readdirplus(
        &self,
        dir: &NfsFh3,
        cookie: u64,
        cookieverf: [u8; 8],
        dircount: u32,
        maxcount: u32,
    ) -> Result<ReadDirPlus3ResOk> {
        let args = ReadDirPlus3Args { dir: dir.clone(), cookie, cookieverf, dircount, maxcount };
        self.call::<ReadDirPlus>(&args).await
    }

    /// The whole directory by READDIRPLUS, `.` and `..` too.
    pub async fn list(&self, dir: &NfsFh3) -> Result<Vec<EntryPlus3>> {
        let (mut cookie, mut verifier, mut all) = (0, [0; 8], Vec::new());
        loop {
            let part = self.readdirplus(dir, cookie, verifier, LIST_LEN, LIST_LEN).await?;
            verifier = part.cookieverf;
            let last = part.reply.entries.last().map(|entry| entry.cookie);
            all.extend(part.reply.entries);
            match last {
                Some(last) if !part.reply.eof => cookie = last,
                _ => return Ok(all),
            }
        }
    }

    pub async fn fsstat(&self, root: &NfsFh3) -> Result<FsStat3ResOk> {
        self.call::<FsStat>(root).await
    }

    pub async fn fsinfo(&self, root: &NfsFh3) -> Result<FsInfo3ResOk> {
        self.call::<FsInfo>(root).await
    }

    pub async fn pathconf(&self, object: &NfsFh3) -> Result<PathConf3ResOk> {
        self.call::<PathConf>(object).await
    }

    /// `GETACL` of NFSACL, of the parts that `mask` names.
    pub async fn getacl(&self, object: &NfsFh3, mask: u32) -> Result<GetAcl3ResOk> {
        self.call::<GetAcl>(&GetAcl3Args { fh: object.clone(), mask }).await
    }

    /// `SETACL` of NFSACL.
    pub async fn setacl(&self, object: &NfsFh3, acl: SecAttr) -> Result<PostOpAttr> {
        self.call::<SetAcl>(&SetAcl3Args { fh: object.clone(), acl }).await
    }

    /// Commits from `offset`; `count` 0 is to the end.
    pub async fn commit(&self, file: &NfsFh3, offset: u64, count: u32) -> Result<Commit3ResOk> {
        self.call::<Commit>(&Commit3Args { file: file.clone(), offset, count }).await
    }
}
