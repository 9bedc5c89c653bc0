//! Snapshot schedules: what they say, and which snapshots are due or have had their time. Pure: the time comes in, names and
//! numbers go out; nothing here takes or deletes a snapshot.
//!
//! All times are UTC. A period begins on the wall clock's boundary: the hour, midnight, Sunday's midnight, the first
//! of the month, or the minutes of an hour that its length divides.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;
/// Snapshots that all rules of a volume may keep together: below what a volume can have, so that people and migrations
/// find room.
const KEEP_MAX: u32 = 200;

/// How often a rule takes a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// Every so many minutes, a divisor of 60 below 60.
    Minutes(u32),
    /// At each full hour.
    Hourly,
    /// At midnight.
    Daily,
    /// At Sunday's midnight.
    Weekly,
    /// At midnight of the first.
    Monthly,
}

/// One rule of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How often.
    pub period: Period,
    /// How many of its snapshots stay, at least 1.
    pub keep: u32,
}

/// The rules of a volume; as text `hourly 6, daily 7, weekly 4`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    rules: Vec<Rule>,
}

/// What a schedule needs to know of a snapshot that a schedule has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number: newer ones have higher ones.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// When, in seconds since 1970.
    pub created_s: i64,
}

/// A rule whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub period: Period,
    /// The boundary that it is due for, in seconds since 1970.
    pub boundary_s: i64,
    /// What its snapshot is to be called.
    pub name: String,
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::Minutes(minutes) => write!(f, "{minutes}min"),
            Period::Hourly => f.write_str("hourly"),
            Period::Daily => f.write_str("daily"),
            Period::Weekly => f.write_str("weekly"),
            Period::Monthly => f.write_str("monthly"),
        }
    }
}

impl Period {
    fn parse(word: &str) -> Option<Period> {
        Some(match word {
            "hourly" => Period::Hourly,
            "daily" => Period::Daily,
            "weekly" => Period::Weekly,
            "monthly" => Period::Monthly,
            _ => {
                let minutes = word.strip_suffix("min")?;
                // One way to write each, or two rules could take one another's snapshots for their own.
                let plain = !minutes.starts_with(['0', '+']);
                let minutes = minutes.parse().ok().filter(|minutes| (1..60).contains(minutes))?;
                (plain && 60 % minutes == 0).then_some(Period::Minutes(minutes))?
            }
        })
    }

    /// The newest boundary that is not after `now_s`.
    fn boundary_before(self, now_s: i64) -> i64 {
        let floor = |unit: i64| now_s.div_euclid(unit) * unit;
        let day = now_s.div_euclid(DAY_S);
        match self {
            Period::Minutes(minutes) => floor(i64::from(minutes) * MINUTE_S),
            Period::Hourly => floor(HOUR_S),
            Period::Daily => floor(DAY_S),
            // 1970 began on a Thursday, four days after a Sunday.
            Period::Weekly => (day - (day + 4).rem_euclid(7)) * DAY_S,
            Period::Monthly => (day - (civil(day).2 - 1)) * DAY_S,
        }
    }

    /// The first boundary after `now_s`.
    pub fn boundary_after(self, now_s: i64) -> i64 {
        let last = self.boundary_before(now_s);
        match self {
            Period::Minutes(minutes) => last + i64::from(minutes) * MINUTE_S,
            Period::Hourly => last + HOUR_S,
            Period::Daily => last + DAY_S,
            Period::Weekly => last + 7 * DAY_S,
            // No month has fewer than 28 days or more than 31.
            Period::Monthly => self.boundary_before(last + 32 * DAY_S),
        }
    }

    /// Whether a snapshot of this name is one that a rule with this period takes.
    pub fn names(self, name: &str) -> bool {
        name.strip_prefix(&self.to_string()).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(day: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, so that the leap day is the last of its year; 146,097 days are 400 years.
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day_of_month)
}

/// `hourly.2026-11-23_1405`.
fn name_at(period: Period, now_s: i64) -> String {
    let (year, month, day) = civil(now_s.div_euclid(DAY_S));
    let of_day = now_s.rem_euclid(DAY_S);
    let (hour, minute) = (of_day / HOUR_S, of_day % HOUR_S / MINUTE_S);
    format!("{period}.{year:04}-{month:02}-{day:02}_{hour:02}{minute:02}")
}

impl Schedule {
    /// The rules, most frequent first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Which rules are due at `now_s`. `taken` are the volume's snapshots that schedules took, `since_s` is when the
    /// schedule was set, and `tried` gives the newest boundary for which a rule was tried. However many boundaries were
    /// missed, a rule is due once.
    pub fn due(
        &self,
        taken: &[Taken],
        since_s: i64,
        now_s: i64,
        tried: impl Fn(Period) -> Option<i64>,
    ) -> Vec<Due> {
        let newest = |period: Period| {
            // A clock that was set back leaves snapshots from the future; they say nothing of now.
            let ours = taken.iter().filter(|one| period.names(&one.name) && one.created_s <= now_s);
            ours.map(|one| one.created_s).max()
        };
        let rules = self.rules.iter().filter_map(|rule| {
            let boundary_s = rule.period.boundary_before(now_s);
            let done = newest(rule.period).is_some_and(|at| at >= boundary_s)
                || tried(rule.period).is_some_and(|at| at >= boundary_s)
                || since_s > boundary_s;
            (!done).then(|| Due { period: rule.period, boundary_s, name: name_at(rule.period, now_s) })
        });
        rules.collect()
    }

    /// The snapshots that are more than their rule keeps, oldest first. What a rule has taken that is not in the
    /// schedule any more stays.
    pub fn expired(&self, taken: &[Taken]) -> Vec<u64> {
        let mut expired = Vec::new();
        for rule in &self.rules {
            let ours = taken.iter().filter(|one| rule.period.names(&one.name));
            let mut ids: Vec<u64> = ours.map(|one| one.id).collect();
            ids.sort_unstable();
            ids.truncate(ids.len().saturating_sub(usize::try_from(rule.keep).unwrap_or(usize::MAX)));
            expired.append(&mut ids);
        }
        expired.sort_unstable();
        expired
    }
}

impl FromStr for Schedule {
    type Err = String;

    /// # Errors
    /// What is wrong, for people.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut rules: Vec<Rule> = Vec::new();
        for part in text.split(',') {
            let mut words = part.split_whitespace();
            let rule = match (words.next(), words.next(), words.next()) {
                (Some(period), Some(keep), None) => Period::parse(period).zip(keep.parse().ok()),
                _ => None,
            };
            let (period, keep) = rule.filter(|(_, keep)| *keep >= 1).ok_or_else(|| {
                format!(
                    "`{}` is no rule: write a period and how many to keep, as in `hourly 6, daily 7, weekly 4`; periods \
                     are monthly, weekly, daily, hourly, and minutes that divide an hour, as in `5min 12`",
                    part.trim()
                )
            })?;
            if rules.iter().any(|rule| rule.period == period) {
                return Err(format!("`{period}` is there twice"));
            }
            rules.push(Rule { period, keep });
        }
        if rules.iter().map(|rule| u64::from(rule.keep)).sum::<u64>() > u64::from(KEEP_MAX) {
            return Err(format!("a schedule can keep {KEEP_MAX} snapshots of a volume, all rules together"));
        }
        rules.sort_by_key(|rule| rule.period);
        Ok(Schedule { rules })
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> String {
        schedule.to_string()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<_> = self.rules.iter().map(|rule| format!("{} {}", rule.period, rule.keep)).collect();
        f.write_str(&rules.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23 14:05 UTC, a Monday.
    const NOW: i64 = 1_795_442_700;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    fn due(text: &str, taken: &[Taken], since_s: i64, now_s: i64) -> Vec<String> {
        schedule(text).due(taken, since_s, now_s, |_| None).into_iter().map(|due| due.name).collect()
    }

    fn one(id: u64, name: &str, created_s: i64) -> Taken {
        Taken { id, name: name.to_owned(), created_s }
    }

    #[test]
    fn schedules_are_read_and_shown() {
        assert_eq!(schedule(" weekly 4,hourly 6 , 5min 12").to_string(), "5min 12, hourly 6, weekly 4");
        for bad in [
            "",
            "hourly",
            "hourly 0",
            "hourly x",
            "7min 1",
            "60min 1",
            "05min 1",
            "+5min 1",
            "hourly 1 2",
            "hourly 1,,daily 1",
            "hourly 1, hourly 2",
            "yearly 1",
            "daily 201",
            "hourly 4294967295, daily 4294967295",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
        let json = serde_json::to_string(&schedule("daily 7")).unwrap();
        assert_eq!(json, "\"daily 7\"");
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule("daily 7"));
    }

    #[test]
    fn boundaries_are_those_of_the_wall_clock() {
        let at = |period: Period| name_at(period, period.boundary_before(NOW));
        assert_eq!(at(Period::Minutes(15)), "15min.2026-11-23_1400");
        assert_eq!(at(Period::Minutes(5)), "5min.2026-11-23_1405");
        assert_eq!(at(Period::Hourly), "hourly.2026-11-23_1400");
        assert_eq!(at(Period::Daily), "daily.2026-11-23_0000");
        assert_eq!(at(Period::Weekly), "weekly.2026-11-22_0000");
        assert_eq!(at(Period::Monthly), "monthly.2026-11-01_0000");
        let next = |period: Period| name_at(period, period.boundary_after(NOW));
        assert_eq!(next(Period::Hourly), "hourly.2026-11-23_1500");
        assert_eq!(next(Period::Weekly), "weekly.2026-11-29_0000");
        assert_eq!(next(Period::Monthly), "monthly.2026-12-01_0000");
        // A leap day, the end of a year, and before 1970.
        assert_eq!(name_at(Period::Daily, 1_709_164_800 + 60), "daily.2024-02-29_0001");
        assert_eq!(name_at(Period::Daily, 1_798_761_599), "daily.2026-12-31_2359");
        assert_eq!(name_at(Period::Monthly, Period::Monthly.boundary_before(-1)), "monthly.1969-12-01_0000");
    }

    #[test]
    fn a_rule_is_due_once_after_each_boundary() {
        let rules = "hourly 6, daily 7";
        assert_eq!(due(rules, &[], NOW - 60, NOW), Vec::<String>::new(), "nothing before the first boundary");
        let both = ["hourly.2026-11-23_1405", "daily.2026-11-23_1405"];
        assert_eq!(due(rules, &[], 0, NOW), both, "one each after a downtime, however long");
        let taken =
            [one(1, "hourly.2026-11-23_1400", NOW - 300), one(2, "daily.2026-11-22_0000", NOW - 2 * DAY_S)];
        assert_eq!(due(rules, &taken, 0, NOW), [both[1]]);
        assert_eq!(due(rules, &taken, 0, NOW + HOUR_S), ["hourly.2026-11-23_1505", "daily.2026-11-23_1505"]);
        // Tried, and failed for want of space or whatever: not again before the next boundary.
        let tried = schedule(rules).due(&[], 0, NOW, |period| Some(period.boundary_before(NOW)));
        assert_eq!(tried, []);
        // The clock was set back by a year: it goes on.
        let ahead = [one(1, "hourly.2027-11-23_1400", NOW + 365 * DAY_S)];
        assert_eq!(due("hourly 1", &ahead, 0, NOW), ["hourly.2026-11-23_1405"]);
    }

    #[test]
    fn only_the_oldest_of_its_own_expire() {
        let taken = [
            one(9, "hourly.c", 3),
            one(4, "hourly.a", 1),
            one(5, "daily.a", 1),
            one(7, "hourly.b", 2),
            one(2, "weekly.a", 1),
            one(3, "weekly.b", 1),
            one(1, "5min.a", 0),
            one(6, "15min.a", 0),
        ];
        assert_eq!(schedule("hourly 2, daily 1, 15min 1").expired(&taken), [4]);
        assert_eq!(schedule("hourly 1, weekly 1").expired(&taken), [2, 4, 7]);
        assert_eq!(schedule("monthly 1").expired(&taken), Vec::<u64>::new());
    }
}
