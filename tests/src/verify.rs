//! Compares a volume with the model, and describes a volume in the words of [`Model::dump`].

use crate::cloned::{Parent, check_options};
use crate::model::content::{Content, sum_of};
use crate::model::quota::{qtree_line, rule_line, usage_line};
use crate::model::{Body, Model, Node, comparable, folded, xattr_sum};
use crate::random::other_case;
use bytes::Bytes;
use fsstore::{
    Attr, Change, CheckEvent, Context, Cookie, Disk, Done, FileId, FileKind, Finding, FsError, Lsn, PreAttr,
    ROOT, SnapshotId, Time, Volume,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What is wrong, for a person to read.
pub type Wrong = String;

/// Fails with the place in words unless `left == right`.
macro_rules! same {
    ($left:expr, $right:expr, $($what:tt)+) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            let what = format!($($what)+);
            return Err(format!("{what}:\n{}", $crate::verify::contrast(&format!("{left:#?}"), &format!("{right:#?}"))));
        }
    }};
}
pub(crate) use same;

/// Two values printed over several lines, as the lines in which they differ.
pub fn contrast(volume: &str, model: &str) -> String {
    let rows = volume.lines().count().max(model.lines().count());
    let (mut left, mut right) = (volume.lines(), model.lines());
    let mut out = String::new();
    for row in 0..rows {
        let (left, right) = (left.next().unwrap_or("-"), right.next().unwrap_or("-"));
        if left != right {
            out += &format!("  line {row}: volume {:<40} model {}\n", left.trim(), right.trim());
        }
    }
    out
}

/// The superuser, for looking around; nothing is stamped by it.
pub fn root() -> Context {
    Context::root(Time::default())
}

/// One directory entry, as owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Cookie after it.
    pub cookie: Cookie,
    /// Its name.
    pub name: Vec<u8>,
    /// What it names.
    pub file: FileId,
    /// Of what kind.
    pub kind: FileKind,
}

/// Reads up to `max` entries after `after`: the entries, and whether the directory ended.
pub fn list(
    volume: &Volume,
    cx: &Context,
    dir: FileId,
    after: Cookie,
    max: usize,
) -> fsstore::Result<(Vec<Entry>, bool)> {
    let mut entries = Vec::new();
    let end = volume.readdir(cx, dir, after, &mut |entry| {
        if entries.len() == max {
            return ControlFlow::Break(());
        }
        let (name, file, kind) = (entry.name.to_vec(), entry.file, entry.kind);
        entries.push(Entry { cookie: entry.cookie, name, file, kind });
        ControlFlow::Continue(())
    })?;
    Ok((entries, end))
}

/// Blanks in a result what the model does not know.
pub fn comparable_done(done: &Done) -> Done {
    let change = |change: Change| Change {
        before: change.before.map(|b| comparable_pre(b, &change.after)),
        after: comparable(change.after),
    };
    Done {
        object: change(done.object),
        dir: done.dir.map(change),
        to_dir: done.to_dir.map(change),
        lsn: Lsn(0),
        ..*done
    }
}

/// Blanks in an error the words that the model does not know.
pub fn comparable_error(error: &FsError) -> FsError {
    match error {
        FsError::QuotaConfig(_) => FsError::QuotaConfig(""),
        other => other.clone(),
    }
}

fn comparable_pre(pre: PreAttr, of: &Attr) -> PreAttr {
    PreAttr { size: if of.kind == FileKind::Dir { 0 } else { pre.size }, ..pre }
}

/// Compares everything that can be seen of every file.
pub fn verify(volume: &Volume, model: &Model) -> Result<(), Wrong> {
    same!(dump_quotas(volume)?, model.dump_quotas(), "quotas");
    verify_within(volume, model, SnapshotId::ACTIVE)
}

/// Usage, rules and qtrees as [`Model::dump_quotas`] would print them.
fn dump_quotas(volume: &Volume) -> Result<Vec<String>, Wrong> {
    let report = volume.quota_report().map_err(|e| format!("quota report: {e}"))?;
    let usage = report.into_iter().map(|used| {
        let (bytes, files) = (used.used_bytes, used.files);
        usage_line(used.target, bytes, files, used.limits, used.disk_over_since, used.files_over_since)
    });
    let rules = volume.quota_rules().into_iter().map(|rule| rule_line(rule.target, &rule.limits, rule.set));
    let qtrees = volume.qtrees().map_err(|e| format!("qtrees: {e}"))?;
    let qtrees = qtrees.into_iter().map(|qtree| qtree_line(qtree.id, qtree.dir.id, &qtree.name));
    Ok(usage.chain(rules).chain(qtrees).collect())
}

/// The same of one image of the volume: the active one, or a snapshot.
pub fn verify_within(volume: &Volume, model: &Model, image: SnapshotId) -> Result<(), Wrong> {
    let place = |node| Place { volume, model, node, id: Node::id(node).within(image) };
    model.files().into_iter().map(place).try_for_each(|place| place.verify())
}

/// A file in an image of the volume, and what the model says of it.
struct Place<'a> {
    volume: &'a Volume,
    model: &'a Model,
    node: &'a Node,
    id: FileId,
}

impl Place<'_> {
    /// Attributes as the model's image would show them here.
    fn shown(&self, attr: Attr) -> Attr {
        Attr { id: attr.id.within(self.id.snapshot), ..attr }
    }

    fn verify(&self) -> Result<(), Wrong> {
        let id = self.id;
        let attr = self.volume.getattr(id).map_err(|e| format!("getattr {id:?}: {e}"))?;
        same!(comparable(attr), self.shown(self.node.attr), "attributes");
        // What is hidden behind a file of a snapshot can't be asked for yet, but for a stream by its id.
        if self.node.stream_of.is_none() && id.snapshot == SnapshotId::ACTIVE {
            same!(xattrs(self.volume, id)?, self.node.xattrs, "extended attributes of {id:?}");
            let streams = self.volume.streams(id).map_err(|e| format!("streams of {id:?}: {e}"))?;
            let streams: BTreeMap<_, _> = streams.into_iter().map(|s| (s.name, s.attr.id)).collect();
            same!(streams, self.node.streams, "streams of {id:?}");
            same!(self.volume.acl(id), self.model.acl(id), "the list of {id:?}");
        }
        match &self.node.body {
            Body::File(content) => self.verify_content(content)?,
            Body::Dir(entries) => self.verify_dir(entries)?,
            Body::Symlink(target) => {
                let found = self.volume.readlink(&root(), id).map_err(|e| format!("readlink {id:?}: {e}"))?;
                same!(found.0, *target, "target of {id:?}");
            }
            Body::Special => {}
        }
        Ok(())
    }

    fn verify_content(&self, content: &Content) -> Result<(), Wrong> {
        let id = self.id;
        for range in content.ranges() {
            let mut at = range.start;
            while at < range.end {
                let len = usize::try_from((range.end - at).min(1 << 20)).expect("at most a MiB");
                let got = self.volume.read(&root(), id, at, len);
                let got = got.map_err(|e| format!("read {id:?} at {at}: {e}"))?;
                let want = content.read(at, len);
                if got.data[..] != want[..] {
                    let place = got.data.iter().zip(&want).position(|(a, b)| a != b);
                    let lens = (got.data.len(), want.len());
                    return Err(format!("content of {id:?} at {at} + {place:?} (lengths {lens:?})"));
                }
                at += len as u64;
            }
        }
        Ok(())
    }

    fn verify_dir(&self, entries: &BTreeMap<Bytes, FileId>) -> Result<(), Wrong> {
        let id = self.id;
        let listed = list(self.volume, &root(), id, Cookie(0), usize::MAX);
        let (listed, end) = listed.map_err(|e| format!("readdir: {e}"))?;
        same!(end, true, "end of directory {id:?}");
        same!(listed.len(), entries.len() + 2, "number of entries of {id:?}");
        let dots: Vec<_> = listed.iter().take(2).map(|e| (&e.name[..], e.file)).collect();
        // Above the root of a snapshot is the list of snapshots.
        let in_snapshot = id.snapshot != SnapshotId::ACTIVE;
        let above = if in_snapshot && self.node.attr.id == ROOT { SnapshotId::LIST } else { id.snapshot };
        same!(dots, vec![(&b"."[..], id), (&b".."[..], self.node.parent.within(above))], "dots of {id:?}");
        if !listed.windows(2).all(|pair| pair[0].cookie < pair[1].cookie) {
            return Err(format!("cookies of {id:?} are not ascending: {listed:?}"));
        }
        let found: BTreeMap<&[u8], FileId> = listed[2..].iter().map(|e| (&e.name[..], e.file)).collect();
        let want = entries.iter().map(|(name, file)| (&name[..], file.within(id.snapshot))).collect();
        same!(found, want, "entries of {id:?}");
        for entry in listed.iter().filter(|entry| entry.file.snapshot != SnapshotId::LIST) {
            let file = entry.file.within(SnapshotId::ACTIVE);
            let want = self.shown(self.model.node(file).map_err(|e| format!("{e}"))?.attr);
            same!(entry.kind, want.kind, "kind in the entry {:?}", entry.name);
            let found = self.volume.lookup(&root(), id, &entry.name).map_err(|e| format!("lookup: {e}"))?;
            same!(comparable(found), want, "lookup of {:?}", entry.name);
        }
        entries.keys().try_for_each(|name| self.verify_other_case(entries, name))
    }

    /// A name in another case leads to it, or to another that folds alike; to itself before all.
    fn verify_other_case(&self, entries: &BTreeMap<Bytes, FileId>, name: &Bytes) -> Result<(), Wrong> {
        let (id, other) = (self.id, other_case(name));
        let found = self.volume.lookup_folded(&root(), id, &other);
        let (found, real) = found.map_err(|e| format!("folded lookup of {other:?}: {e}"))?;
        let there = entries.get(&real).map(|file| file.within(id.snapshot));
        let exact = !entries.contains_key(&other) || real == other;
        let got = (there, exact, folded(&real));
        same!(got, (Some(found.id), true, folded(name)), "folded lookup of {other:?}");
        Ok(())
    }
}

/// The whole tree as [`Model::dump`] would print it. Also checks that every inode found has a place.
pub fn dump(volume: &Volume) -> Result<Vec<String>, Wrong> {
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    let mut streams = HashSet::new();
    let mut todo = vec![(String::new(), ROOT, ROOT)];
    while let Some((path, file, parent)) = todo.pop() {
        let attr = volume.getattr(file).map_err(|e| format!("getattr {path}: {e}"))?;
        let what = match attr.kind {
            FileKind::File => format!("{:x}", content_sum(volume, &attr)?),
            FileKind::Symlink => {
                let (target, _) =
                    volume.readlink(&root(), file).map_err(|e| format!("readlink {path}: {e}"))?;
                format!("-> {}", target.escape_ascii())
            }
            FileKind::Dir => {
                if !seen.insert(file.ino) {
                    return Err(format!("directory {path} is in the tree twice"));
                }
                let listed = list(volume, &root(), file, Cookie(0), usize::MAX);
                let (listed, _) = listed.map_err(|e| format!("readdir {path}: {e}"))?;
                for entry in listed.into_iter().filter(|e| e.name != b"." && e.name != b"..") {
                    todo.push((format!("{path}/{}", entry.name.escape_ascii()), entry.file, file));
                }
                format!("in {:?}", parent.ino)
            }
            _ => String::new(),
        };
        // A stream has neither; only the file that it is of is asked.
        let mut sum = xattr_sum(&BTreeMap::new());
        if !streams.contains(&file) {
            sum = xattr_sum(&xattrs(volume, file)?);
            for stream in volume.streams(file).map_err(|e| format!("streams of {path}: {e}"))? {
                streams.insert(stream.attr.id);
                todo.push((format!("{path}:{}", stream.name.escape_ascii()), stream.attr.id, file));
            }
        }
        let acl = if streams.contains(&file) { None } else { volume.acl(file).ok() };
        lines.push(format!("{path}/ {:?} {what} {sum:x} {acl:?}", comparable(attr)));
    }
    lines.extend(dump_quotas(volume)?);
    lines.sort();
    Ok(lines)
}

fn content_sum(volume: &Volume, attr: &Attr) -> Result<u64, Wrong> {
    let len = usize::try_from(attr.size.min(64 << 20)).expect("bounded");
    let mut data = Vec::with_capacity(len);
    while data.len() < len {
        let at = data.len() as u64;
        let got = volume.read(&root(), attr.id, at, (len - data.len()).min(1 << 20));
        let got = got.map_err(|e| format!("read {:?} at {at}: {e}", attr.id))?;
        if got.data.is_empty() {
            return Err(format!("read {:?} at {at} of {len}: nothing", attr.id));
        }
        data.extend_from_slice(&got.data);
    }
    Ok(sum_of(attr.size, data.chunks(4096).enumerate().map(|(n, chunk)| (n as u64, chunk))))
}

/// The lines by which two dumps differ, a few of them.
pub fn difference(volume: &[String], model: &[String]) -> String {
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        let b: BTreeSet<&String> = b.iter().collect();
        a.iter().filter(|line| !b.contains(line)).take(6).cloned().collect()
    };
    format!("only in the volume: {:#?}\nonly in the model: {:#?}", only(volume, model), only(model, volume))
}

/// What an offline check finds wrong on a disk; nothing where all is well.
pub fn damage(disk: Arc<dyn Disk>, parent: Option<&Parent>) -> Result<Vec<Finding>, Wrong> {
    let options = check_options(&*disk, parent)?;
    let mut found = Vec::new();
    let mut note = |event| match event {
        CheckEvent::Finding(finding) if finding.kind.is_damage() => found.push(finding),
        CheckEvent::Finding(_) | CheckEvent::Progress(_) => {}
    };
    fsstore::check(disk, &options, &mut note).map_err(|e| format!("check: {e}"))?;
    Ok(found)
}

/// Fails with the findings in words unless an offline check finds nothing wrong.
pub fn check_clean(disk: Arc<dyn Disk>, parent: Option<&Parent>) -> Result<(), Wrong> {
    let found = damage(disk, parent)?;
    let words: Vec<String> = found.iter().take(10).map(|f| format!("{:?}: {f}", f.kind)).collect();
    if found.is_empty() { Ok(()) } else { Err(format!("check: {} findings: {words:#?}", found.len())) }
}

fn xattrs(volume: &Volume, file: FileId) -> Result<BTreeMap<Bytes, Bytes>, Wrong> {
    let names = volume.xattrs(&root(), file).map_err(|e| format!("xattrs of {file:?}: {e}"))?;
    let mut all = BTreeMap::new();
    for name in names {
        let value = volume.xattr(&root(), file, &name).map_err(|e| format!("{name:?} of {file:?}: {e}"))?;
        all.insert(name, value);
    }
    Ok(all)
}
