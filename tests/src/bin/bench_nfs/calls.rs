//! The calls of each row, made and checked by the project's own wire types.

use crate::load::Calls;
use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use gateway::nfs3::procedures::{
    Create, Create3Args, CreateHow3, GetAttr, Lookup, Procedure, Read, Read3Args, Remove, Res3, Write,
    Write3Args,
};
use gateway::nfs3::types::{DirOpArgs3, NfsFh3, Payload, SAttr3, StableHow};
use gateway::xdr::{Decoder, Encoder, Xdr};
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes the results of `P` apart.
fn results<P: Procedure>(bytes: Bytes) -> Result<P::Ok> {
    let mut input = Decoder::new(bytes);
    let results = input.take::<Res3<P>>()?;
    input.finish()?;
    match results {
        Res3::Ok(ok) => Ok(ok),
        Res3::Fail(status, _) => bail!("{status:?}"),
    }
}

/// Where in a file the next call goes.
pub(crate) struct Places {
    file: NfsFh3,
    file_len: u64,
    len: u32,
    random: bool,
    next: AtomicU64,
}

impl Places {
    pub(crate) fn sequential(file: NfsFh3, file_len: u64, len: u32) -> Places {
        Places { file, file_len, len, random: false, next: AtomicU64::new(0) }
    }

    pub(crate) fn random(file: NfsFh3, file_len: u64, len: u32) -> Places {
        Places { random: true, ..Places::sequential(file, file_len, len) }
    }

    fn offset(&self) -> u64 {
        let places = self.file_len / u64::from(self.len);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // A multiplicative hash visits places in no order that a server could guess.
        let place = if self.random { (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20 } else { number };
        place % places * u64::from(self.len)
    }
}

/// READ.
pub(crate) struct Reads(pub(crate) Places);

impl Calls for Reads {
    fn next(&self, _: u64, _: u64, out: &mut Encoder) -> u32 {
        let Places { file, len, .. } = &self.0;
        Read3Args { file: file.clone(), offset: self.0.offset(), count: *len }.encode(out);
        Read::NUMBER
    }

    fn check(&self, bytes: Bytes) -> Result<()> {
        let done = results::<Read>(bytes)?;
        ensure!(done.count == self.0.len && done.data.0.len() == self.0.len as usize, "a short READ");
        Ok(())
    }
}

/// WRITE.
pub(crate) struct Writes {
    places: Places,
    stable: StableHow,
    data: Bytes,
}

impl Writes {
    pub(crate) fn new(places: Places, stable: StableHow) -> Writes {
        let data = Bytes::from(vec![7; places.len as usize]);
        Writes { places, stable, data }
    }
}

impl Calls for Writes {
    fn next(&self, _: u64, _: u64, out: &mut Encoder) -> u32 {
        let (file, offset) = (self.places.file.clone(), self.places.offset());
        let data = Payload(self.data.clone());
        Write3Args { file, offset, count: self.places.len, stable: self.stable, data }.encode(out);
        Write::NUMBER
    }

    fn check(&self, bytes: Bytes) -> Result<()> {
        let done = results::<Write>(bytes)?;
        ensure!(done.count == self.places.len, "a short WRITE");
        ensure!(done.committed as u32 >= self.stable as u32, "not as durable as asked for");
        Ok(())
    }
}

/// GETATTR of one file.
pub(crate) struct GetAttrs(pub(crate) NfsFh3);

impl Calls for GetAttrs {
    fn next(&self, _: u64, _: u64, out: &mut Encoder) -> u32 {
        self.0.encode(out);
        GetAttr::NUMBER
    }

    fn check(&self, bytes: Bytes) -> Result<()> {
        results::<GetAttr>(bytes).map(drop)
    }
}

/// LOOKUP of one name after the other.
pub(crate) struct Lookups {
    pub(crate) dir: NfsFh3,
    pub(crate) names: u64,
}

/// The name of a file in the large directory.
pub(crate) fn entry_name(number: u64) -> String {
    format!("entry-{number:07}")
}

impl Calls for Lookups {
    fn next(&self, slot: u64, step: u64, out: &mut Encoder) -> u32 {
        let number = (slot * 7919 + step * 104_729) % self.names;
        DirOpArgs3 { dir: self.dir.clone(), name: entry_name(number).as_str().into() }.encode(out);
        Lookup::NUMBER
    }

    fn check(&self, bytes: Bytes) -> Result<()> {
        results::<Lookup>(bytes).map(drop)
    }
}

/// CREATE of a file and then its REMOVE.
pub(crate) struct CreateRemoves(pub(crate) NfsFh3);

impl Calls for CreateRemoves {
    fn next(&self, slot: u64, step: u64, out: &mut Encoder) -> u32 {
        let name = format!("new-{slot}-{}", step / 2);
        let place = DirOpArgs3 { dir: self.0.clone(), name: name.as_str().into() };
        if step.is_multiple_of(2) {
            let attributes = SAttr3 { mode: Some(0o644), ..SAttr3::default() };
            // Unchecked: a round before may have ended between the two.
            Create3Args { place, how: CreateHow3::Unchecked(attributes) }.encode(out);
            Create::NUMBER
        } else {
            place.encode(out);
            Remove::NUMBER
        }
    }

    /// Which of the two it was is in neither.
    fn check(&self, _: Bytes) -> Result<()> {
        Ok(())
    }
}

/// CREATE of files that stay: for the large directory.
pub(crate) struct Creates {
    pub(crate) dir: NfsFh3,
    pub(crate) next: AtomicU64,
    pub(crate) most: u64,
}

impl Calls for Creates {
    fn next(&self, _: u64, _: u64, out: &mut Encoder) -> u32 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.most;
        let place = DirOpArgs3 { dir: self.dir.clone(), name: entry_name(number).as_str().into() };
        let attributes = SAttr3 { mode: Some(0o644), ..SAttr3::default() };
        Create3Args { place, how: CreateHow3::Unchecked(attributes) }.encode(out);
        Create::NUMBER
    }

    fn check(&self, bytes: Bytes) -> Result<()> {
        results::<Create>(bytes).map(drop)
    }
}
