//! A file's bytes in the model: a map of the blocks that are not a hole.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

const CHUNK: usize = 4096;
const CHUNK_U64: u64 = CHUNK as u64;

/// Bytes of a regular file. Clones share their blocks, so that keeping many old states is cheap.
#[derive(Clone, Default)]
pub struct Content {
    chunks: BTreeMap<u64, Arc<[u8; CHUNK]>>,
    len: u64,
}

impl Content {
    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the size is 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Blocks that are no holes.
    pub fn blocks(&self) -> u64 {
        self.chunks.len() as u64
    }

    /// How many of the blocks from `first` to before `end` are holes.
    pub fn holes(&self, first: u64, end: u64) -> u64 {
        end - first - self.chunks.range(first..end).count() as u64
    }

    /// Puts `data` at `offset`; what is skipped is a hole.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let within = within(at);
            let take = (CHUNK - within).min(data.len() - done);
            let chunk = self.chunks.entry(at / CHUNK_U64).or_insert_with(|| Arc::new([0; CHUNK]));
            Arc::make_mut(chunk)[within..within + take].copy_from_slice(&data[done..done + take]);
            done += take;
        }
        if !data.is_empty() {
            self.len = self.len.max(offset + data.len() as u64);
        }
    }

    /// Makes `count` chunks from number `to` those of `source` from number `from`, holes too. The size stays.
    pub fn copy_blocks(&mut self, source: &Content, from: u64, to: u64, count: u64) {
        let mut tail = self.chunks.split_off(&to);
        let mut keep = tail.split_off(&(to + count));
        self.chunks.append(&mut keep);
        let found = source.chunks.range(from..from + count);
        self.chunks.extend(found.map(|(at, chunk)| (at - from + to, chunk.clone())));
    }

    /// Cuts off or grows; what is cut off reads as zeros if the file grows again.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.chunks.split_off(&len.div_ceil(CHUNK_U64));
            if let Some(last) = self.chunks.get_mut(&(len / CHUNK_U64)) {
                Arc::make_mut(last)[within(len)..].fill(0);
            }
        }
        self.len = len;
    }

    /// Makes a hole of what is before the end.
    pub fn punch(&mut self, offset: u64, end: u64) {
        let end = end.min(self.len);
        for number in offset / CHUNK_U64..end.div_ceil(CHUNK_U64).max(offset / CHUNK_U64) {
            let (first, last) = (number * CHUNK_U64, ((number + 1) * CHUNK_U64).min(self.len));
            if offset <= first && last <= end {
                self.chunks.remove(&number);
            } else if let Some(chunk) = self.chunks.get_mut(&number) {
                let to = usize::try_from(end.min(last) - first).expect("within a chunk");
                Arc::make_mut(chunk)[within(offset.max(first))..to].fill(0);
            }
        }
    }

    /// As lseek(2): where data (or a hole) begins at or after `offset`.
    pub fn seek(&self, offset: u64, data: bool) -> Option<u64> {
        if offset >= self.len {
            return None;
        }
        let first = offset / CHUNK_U64;
        if data {
            let (number, _) = self.chunks.range(first..).next()?;
            return Some(offset.max(number * CHUNK_U64));
        }
        let hole = (first..).find(|number| !self.chunks.contains_key(number)).expect("files end");
        Some(offset.max(hole * CHUNK_U64).min(self.len))
    }

    /// The bytes from `offset`, at most `len`, up to the end of the file.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let len = usize::try_from(self.len.saturating_sub(offset).min(len as u64)).expect("at most len");
        let mut out = vec![0; len];
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let within = within(at);
            let take = (CHUNK - within).min(len - done);
            if let Some(chunk) = self.chunks.get(&(at / CHUNK_U64)) {
                out[done..done + take].copy_from_slice(&chunk[within..within + take]);
            }
            done += take;
        }
        out
    }

    /// Byte ranges that hold data, and a little around them: where a comparison has to look.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> =
            vec![self.len.saturating_sub(CHUNK_U64)..self.len, 0..self.len.min(CHUNK_U64)];
        for number in self.chunks.keys() {
            let start = number.saturating_sub(1) * CHUNK_U64;
            ranges.push(start..((number + 2) * CHUNK_U64).min(self.len));
        }
        ranges.sort_by_key(|r| r.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges.into_iter().filter(|r| r.start < r.end) {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }

    /// A hash of size and bytes that does not depend on what is a hole and what is zeros.
    pub fn sum(&self) -> u64 {
        sum_of(self.len, self.chunks.iter().map(|(n, chunk)| (*n, &chunk[..])))
    }
}

/// Hash of a file's content given its 4 KiB pieces (number, bytes); pieces of zeros may be left out.
pub fn sum_of<'a>(len: u64, chunks: impl Iterator<Item = (u64, &'a [u8])>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    len.hash(&mut hasher);
    for (number, bytes) in chunks {
        // Zeros at the end of a piece are left out too: the last piece may be short.
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        if end > 0 {
            number.hash(&mut hasher);
            bytes[..end].hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn within(at: u64) -> usize {
    usize::try_from(at % CHUNK_U64).expect("less than a chunk")
}
