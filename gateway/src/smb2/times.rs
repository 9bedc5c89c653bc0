//! Times of an open (MS-FSA §2.1.1.6 and §2.1.5.15.2): those that its user has set, which nothing that is done through it changes
//! any more, and when it gets to see that it has written.

use super::open::Open;
use super::wire::filetime::{self, TimeChange};
use super::wire::info::set::SetBasic;
use crate::vserver::Vserver;
use fsstore::{Attr, Context, Done, FsError, Op, SetAttrs, SetTime, Time, Volume};
use std::time::{Duration, Instant};

/// How long an open does not see that it has written. The volume, and all others, do at once.
const UNSEEN: Duration = Duration::from_secs(2);

/// Per open: `UserSetModificationTime`, `UserSetChangeTime`, and the write time that it sees.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenTimes {
    keeps_write: bool,
    keeps_change: bool,
    written: Option<Written>,
}

/// What an open has written since it last saw the write time as it is.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// The write time that it sees.
    seen: Time,
    /// Up to then; from then on, that of its first writes until it is closed. `None`: it does already.
    until: Option<Instant>,
    /// The write time that its last write left. If the file has another now, somebody else changed it, which is seen.
    left: Time,
    /// There were writes after those that are seen.
    late: bool,
}

impl OpenTimes {
    /// What a change of times says of those to come.
    pub(super) fn hold(&mut self, basic: &SetBasic) {
        let held = |now: bool, change: TimeChange| match change {
            TimeChange::Keep => now,
            TimeChange::Resume => false,
            TimeChange::Suspend | TimeChange::Set(_) => true,
        };
        self.keeps_write = held(self.keeps_write, basic.last_write_time);
        self.keeps_change = held(self.keeps_change, basic.change_time);
    }

    /// That leaves these times alone: of the last write, of the last change.
    pub(super) fn keeping((keeps_write, keeps_change): (bool, bool)) -> OpenTimes {
        OpenTimes { keeps_write, keeps_change, written: None }
    }

    pub(super) fn keeps(&self) -> (bool, bool) {
        (self.keeps_write, self.keeps_change)
    }

    pub(super) fn keeps_change(&self) -> bool {
        self.keeps_change
    }

    /// From now on the write time is seen as it is.
    pub(super) fn reveal(&mut self) {
        self.written = None;
    }

    fn wrote(&mut self, before: Time, left: Time, now: Instant) {
        let first = Written { seen: before, until: Some(now + UNSEEN), left, late: false };
        self.written = Some(match self.written {
            Some(written) if written.left == before => match written.until {
                Some(until) if now < until => Written { left, ..written },
                Some(_) => Written { seen: before, until: None, left, late: true },
                None => Written { left, late: true, ..written },
            },
            _ => first,
        });
    }

    /// The write time to show where the file's is `actual`.
    fn see(&mut self, actual: Time, now: Instant) -> Time {
        let Some(written) = &mut self.written else { return actual };
        if written.left != actual {
            self.written = None;
            return actual;
        }
        if written.until.is_some_and(|until| now >= until) {
            (written.seen, written.until) = (actual, None);
        }
        written.seen
    }

    /// Attributes that give a file back the times that this open keeps.
    fn restore(&self, mtime: Time, ctime: Time) -> SetAttrs {
        let keep = |keeps: bool, time| if keeps { SetTime::To(time) } else { SetTime::Keep };
        SetAttrs {
            mtime: keep(self.keeps_write, mtime),
            ctime: keep(self.keeps_change, ctime),
            ..SetAttrs::default()
        }
    }
}

/// The time that a change sets.
pub(super) fn set_time(change: TimeChange) -> SetTime {
    match change {
        TimeChange::Set(filetime) => {
            let (secs, nanos) = filetime::to_unix(filetime);
            SetTime::To(Time { secs, nanos })
        }
        TimeChange::Keep | TimeChange::Suspend | TimeChange::Resume => SetTime::Keep,
    }
}

impl Open {
    /// Does what changes the content of the file, but for the times that the user has set. A stream has none to show.
    pub(super) fn write(&self, volume: &Volume, cx: &Context, op: Op) -> Result<Done, FsError> {
        let done = volume.execute(cx, op)?;
        let Some(before) = done.object.before.filter(|_| self.stream.is_none()) else { return Ok(done) };
        let mut times = self.times.lock();
        let attrs = times.restore(before.mtime, before.ctime);
        if !times.keeps_write && done.object.after.mtime != before.mtime {
            times.wrote(before.mtime, done.object.after.mtime, Instant::now());
        }
        drop(times);
        if attrs == SetAttrs::default() {
            return Ok(done);
        }
        let back = volume.execute(cx, Op::SetAttr { file: self.key.file, attrs, guard: None });
        // What was written stays written.
        Ok(back.map_or(done, |back| Done { count: done.count, ..back }))
    }

    /// The attributes as this open sees them.
    pub(super) fn sees(&self, attr: Attr) -> Attr {
        Attr { mtime: self.times.lock().see(attr.mtime, Instant::now()), ..attr }
    }

    /// Before it is closed: what it wrote after the time that it sees is as of now (MS-FSA §2.1.5.5).
    pub(super) fn settle_times(&self, vserver: &Vserver) {
        let Some(written) = self.times.lock().written.take() else { return };
        let Ok(volume) = self.volume(vserver) else { return };
        if written.late && volume.getattr(self.key.file).is_ok_and(|attr| attr.mtime == written.left) {
            let attrs = SetAttrs { mtime: SetTime::Now, ..SetAttrs::default() };
            if let Err(error) =
                volume.execute(&self.context(), Op::SetAttr { file: self.key.file, attrs, guard: None })
            {
                tracing::debug!(%error, "a write time stays that of the last write");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(secs: i64) -> Time {
        Time { secs, nanos: 0 }
    }

    #[test]
    fn the_first_writes_are_seen_after_two_seconds_and_later_ones_not_before_the_end() {
        let (mut times, start) = (OpenTimes::default(), Instant::now());
        let after = |secs: u64| start + Duration::from_secs(secs);
        times.wrote(time(10), time(11), start);
        times.wrote(time(11), time(12), after(1));
        assert_eq!(times.see(time(12), after(1)), time(10));
        assert_eq!(times.see(time(12), after(3)), time(12));
        times.wrote(time(12), time(15), after(4));
        assert_eq!(times.see(time(15), after(9)), time(12));
        assert!(times.written.is_some_and(|written| written.late));
        // Somebody else sets it.
        assert_eq!(times.see(time(99), after(9)), time(99));
        assert!(times.written.is_none());
    }

    #[test]
    fn times_that_were_set_are_kept_until_they_are_let_go() {
        let basic = |last_write_time| SetBasic {
            creation_time: TimeChange::Keep,
            last_access_time: TimeChange::Keep,
            last_write_time,
            change_time: TimeChange::Keep,
            file_attributes: 0,
        };
        let mut times = OpenTimes::default();
        times.hold(&basic(TimeChange::Set(1)));
        times.hold(&basic(TimeChange::Keep));
        assert_eq!(times.restore(time(1), time(2)).mtime, SetTime::To(time(1)));
        times.hold(&basic(TimeChange::Resume));
        assert_eq!(times.restore(time(1), time(2)), SetAttrs::default());
    }
}
