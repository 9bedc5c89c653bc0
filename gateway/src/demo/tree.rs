//! A small tree of real files, and a walk that tells whether it is still the same after a move, by the old handles too.

use crate::client::{Client, ClientError};
use crate::nfs3::procedures::CreateHow3;
use crate::nfs3::types::{FAttr3, FType3, NfsFh3, SAttr3, StableHow};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Directories, and files in each.
const DIRS: u32 = 8;
const FILES: u32 = 12;

/// What a walk found of one file.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// Its file handle.
    pub handle: NfsFh3,
    /// Its attributes.
    pub attr: FAttr3,
    /// The content of a file, the target of a symbolic link.
    pub content: Bytes,
}

/// By path from the root of the walk.
pub type Tree = BTreeMap<String, Found>;

fn with_mode(mode: u32) -> SAttr3 {
    SAttr3 { mode: Some(mode), ..SAttr3::default() }
}

fn content(dir: u32, file: u32) -> Bytes {
    let len = (dir * 7919 + file * 104_729) % 150_000;
    (0..len)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0] ^ file.to_le_bytes()[0])
        .collect()
}

/// Makes directories, files of many sizes, symbolic and hard links under `root`.
///
/// # Errors
/// The client's.
pub async fn populate(client: &Client, root: &NfsFh3) -> Result<(), ClientError> {
    for dir in 0..DIRS {
        let name = format!("dir-{dir}");
        client.mkdir(root, &name, with_mode(0o755)).await?;
        let handle = client.lookup(root, &name).await?.object;
        for file in 0..FILES {
            let name = format!("file-{file}.dat");
            client.create(&handle, &name, CreateHow3::Guarded(with_mode(0o640))).await?;
            let object = client.lookup(&handle, &name).await?.object;
            client.write(&object, 0, content(dir, file), StableHow::FileSync).await?;
        }
        client.symlink(&handle, "link", "file-1.dat", with_mode(0o777)).await?;
        let first = client.lookup(&handle, "file-0.dat").await?.object;
        client.link(&first, &handle, "hard link").await?;
        client.rename(&handle, "file-2.dat", &handle, "renamed ü.dat").await?;
    }
    Ok(())
}

/// Reads everything under `root`, with names, attributes and contents.
///
/// # Errors
/// The client's.
pub async fn walk(client: &Client, root: &NfsFh3) -> Result<Tree, ClientError> {
    let mut tree = Tree::new();
    let mut dirs = vec![(String::new(), root.clone())];
    while let Some((path, dir)) = dirs.pop() {
        for entry in client.list(&dir).await? {
            let name = String::from_utf8_lossy(&entry.name.0).into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("{path}/{name}");
            let handle = client.lookup(&dir, &name).await?.object;
            let found = look(client, &handle).await?;
            if found.attr.kind == FType3::Dir {
                dirs.push((path.clone(), handle));
            }
            tree.insert(path, found);
        }
    }
    Ok(tree)
}

/// One file, by its handle alone.
///
/// # Errors
/// The client's.
pub async fn look(client: &Client, handle: &NfsFh3) -> Result<Found, ClientError> {
    let attr = client.getattr(handle).await?;
    let content = match attr.kind {
        FType3::Reg => read_all(client, handle, attr.size).await?,
        FType3::Lnk => client.readlink(handle).await?.data.0,
        _ => Bytes::new(),
    };
    Ok(Found { handle: handle.clone(), attr, content })
}

async fn read_all(client: &Client, handle: &NfsFh3, size: u64) -> Result<Bytes, ClientError> {
    let mut all = Vec::new();
    while (all.len() as u64) < size {
        let part = client.read(handle, all.len() as u64, 128 << 10).await?;
        if part.data.bytes().is_empty() {
            break;
        }
        all.extend_from_slice(&part.data.bytes());
    }
    Ok(all.into())
}
