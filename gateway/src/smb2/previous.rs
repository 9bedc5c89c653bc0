//! Previous versions (MS-SMB2 §2.2.13.2.7, §2.2.32.2): a volume's snapshots, by the second in which they were taken.

use super::wire::filetime;
use fsstore::{SnapshotId, Volume};

const SECS_PER_DAY: i64 = 86_400;
const PREFIX: &str = "@GMT-";

/// The names of a volume's snapshots as clients write them, newest first.
pub(super) fn tokens(volume: &Volume) -> Vec<String> {
    let mut secs: Vec<i64> = seconds(volume).map(|(secs, _)| secs).collect();
    secs.sort_unstable();
    secs.dedup();
    secs.into_iter().rev().map(token).collect()
}

/// The snapshot of a second, the newest if there are several.
pub(super) fn snapshot_of(volume: &Volume, secs: i64) -> Option<SnapshotId> {
    seconds(volume).filter(|(taken, _)| *taken == secs).map(|(_, id)| id).last()
}

/// The second that a FILETIME is in.
pub(super) fn of_filetime(time: u64) -> i64 {
    filetime::to_unix(time).0
}

fn seconds(volume: &Volume) -> impl Iterator<Item = (i64, SnapshotId)> {
    let shown = volume.shows_snapshots();
    volume.snapshots().into_iter().filter(move |_| shown).map(|snapshot| (snapshot.created.secs, snapshot.id))
}

/// A time as `@GMT-2026.01.31-12.00.00`.
fn token(secs: i64) -> String {
    let (days, rest) = (secs.div_euclid(SECS_PER_DAY), secs.rem_euclid(SECS_PER_DAY));
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{PREFIX}{year:04}.{month:02}.{day:02}-{hour:02}.{minute:02}.{second:02}")
}

/// The time of such a name; `None` for any other.
pub(super) fn of_token(name: &str) -> Option<i64> {
    let rest = name.strip_prefix(PREFIX)?;
    let numbers: Option<Vec<i64>> = rest.split(['.', '-']).map(|part| part.parse().ok()).collect();
    let &[year, month, day, hour, minute, second] = numbers?.as_slice() else { return None };
    // Also refuses numbers that no date has: they would be written otherwise.
    let in_range = (0..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let secs = in_range.then(|| days_of(year, month, day) * SECS_PER_DAY)?;
    let secs = secs + hour.clamp(0, 23) * 3600 + minute.clamp(0, 59) * 60 + second.clamp(0, 59);
    (token(secs) == name).then_some(secs)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, which is counted from the 1st of March: so a leap day is a year's last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The other way round: year, month, day.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times_stand_for_one_another() {
        for (secs, name) in [
            (0, "@GMT-1970.01.01-00.00.00"),
            (951_782_399, "@GMT-2000.02.28-23.59.59"),
            (951_782_400, "@GMT-2000.02.29-00.00.00"),
            (1_767_225_599, "@GMT-2025.12.31-23.59.59"),
            (4_107_542_400, "@GMT-2100.03.01-00.00.00"),
            (-1, "@GMT-1969.12.31-23.59.59"),
        ] {
            assert_eq!((token(secs).as_str(), of_token(name)), (name, Some(secs)));
        }
        for days in (-200_000..200_000).step_by(7) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn other_names_are_names() {
        for name in [
            "",
            "@GMT-",
            "@GMT-2026.02.29-00.00.00",
            "@GMT-2026.1.31-12.00.00",
            "@GMT-2026.01.31-24.00.00",
            "@GMT-2026.01.31-12.00.00.00",
            "@GMT-2026-01-31-12.00.00",
            "@GMT-+026.01.31-12.00.00",
            "@GMT-99999999999999.01.31-12.00.00",
            "@gmt-2026.01.31-12.00.00",
            "x@GMT-2026.01.31-12.00.00",
        ] {
            assert_eq!(of_token(name), None, "{name}");
        }
    }
}
