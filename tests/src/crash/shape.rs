//! What kind of run a seed makes: how large the volume is, what is written, whether it is nearly full.

use crate::pair::Pair;
use crate::random::{Limits, Random};
use crate::verify::Wrong;
use bytes::Bytes;
use fsstore::{Context, CreateHow, FsError, Op, ROOT, SetAttrs, VOLUME_BYTES_MIN};

/// The kind of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) bytes: u64,
    pub(super) limits: Limits,
    /// Whether CPs come when the dice say so. If not, they come when the log or the volume is full.
    pub(super) takes_cps: bool,
    full: Option<Full>,
}

/// What fills the volume at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// A file.
    File,
    /// A snapshot of a file that is gone: nothing that is removed makes room.
    Snapshot,
}

impl Shape {
    pub(super) fn of(seed: u64) -> Shape {
        let (limits, takes_cps, full) = match seed % 8 {
            0 | 1 => (Limits::SMALL, true, None),
            2 => (Limits::SMALL, false, None),
            3 => (Limits::DIRECT, false, None),
            4 | 5 => (Limits::DIRECT, true, None),
            6 => (Limits::DIRECT, true, Some(Full::Snapshot)),
            _ => (Limits { total_bytes: 8 << 20, ..Limits::DIRECT }, true, Some(Full::File)),
        };
        Shape { bytes: VOLUME_BYTES_MIN, limits, takes_cps, full }
    }

    /// The volume in which the run begins.
    pub(super) fn begin(self, seed: u64) -> Result<Pair, Wrong> {
        self.prepare(Pair::new(Random::new(seed, self.limits), self.bytes)?)
    }

    /// A parent with a past, and its clone in which the run begins.
    pub(super) fn begin_clone(self, seed: u64) -> Result<(Pair, Pair), Wrong> {
        // Small enough that the clone, which keeps all of it, has room for a life of its own.
        let limits = Limits { total_bytes: 600_000, ..self.limits };
        let mut parent = Pair::new(Random::new(!seed, limits), self.bytes)?;
        parent.may_fill = true;
        for _ in 0..40 {
            parent.mutate()?;
        }
        let clone = parent.make_clone(Random::new(seed, self.limits))?;
        Ok((parent, self.prepare(clone)?))
    }

    fn prepare(self, mut pair: Pair) -> Result<Pair, Wrong> {
        pair.may_fill = true;
        if let Some(full) = self.full {
            fill(&mut pair)?;
            if full == Full::Snapshot {
                pair.snapshot()?;
                let cx = Context::root(pair.random.now());
                pair.run(&cx, Op::Remove { dir: ROOT, name: NAME })?.map_err(|e| e.to_string())?;
            }
        }
        Ok(pair)
    }
}

/// One that no random operation uses.
const NAME: Bytes = Bytes::from_static(b"filler");
/// Left free, for operations to fight over.
const LEFT_BYTES: u64 = 300_000;

fn fill(pair: &mut Pair) -> Result<(), Wrong> {
    let cx = Context::root(pair.random.now());
    let how = CreateHow::Guarded(SetAttrs::default());
    let made = pair.run(&cx, Op::Create { dir: ROOT, name: NAME, how })?;
    let file = made.map_err(|e| format!("filling: {e}"))?.object.after.id;
    let mut offset = 0;
    while pair.volume.statfs().available_bytes > LEFT_BYTES {
        let data = Bytes::from(vec![u8::try_from(offset >> 16 & 0xff).expect("a byte"); 1 << 16]);
        match pair.run(&cx, Op::Write { file, offset, data })? {
            Ok(_) => offset += 1 << 16,
            Err(FsError::NoSpace) => break,
            Err(error) => return Err(format!("filling: {error}")),
        }
    }
    Ok(())
}
