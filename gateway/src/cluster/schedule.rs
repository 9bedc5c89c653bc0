//! Snapshot schedules of the volumes that run here: setting them, and the clockwork that takes and deletes.
//!
//! What is due is decided by `crate::schedule`, to which the time is handed. Only snapshots that a schedule has taken are
//! ever deleted here. Nothing is taken or deleted while the vserver's gate is frozen for a cutover.

use super::{Cluster, ClusterError, Result, Served, blocking, now};
use crate::schedule::{Due, Period, Schedule, Taken};
use crate::store::{ScheduleRecord, VolumeRecord};
use crate::vserver::MountedVolume;
use fsstore::{FsError, SnapshotId, SnapshotMaker, Time};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How often to look whether something is due.
const TICK: Duration = Duration::from_secs(2);

/// What a schedule is to be.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    /// Rules, as in `hourly 6, daily 7, weekly 4`: a period and how many of its snapshots stay. Also `monthly`, and `5min`
    /// or other minutes that divide an hour. Boundaries are those of UTC.
    pub schedule: String,
}

/// A rule as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RuleView {
    /// Its period; its snapshots are called `PERIOD.DATE_TIME`.
    pub period: String,
    /// How many of its snapshots stay.
    pub keep: u32,
    /// How many there are.
    pub kept: usize,
    /// When it takes the next, in seconds since 1970.
    pub next_s: i64,
}

/// A schedule as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ScheduleView {
    /// Its rules as they were written; `null`: there is none.
    pub schedule: Option<String>,
    /// Since when it is in force, in seconds since 1970.
    pub since_s: Option<i64>,
    /// Its rules, most frequent first.
    pub rules: Vec<RuleView>,
    /// What the schedule could not do when it last tried: a volume that is full, a snapshot in use.
    pub problem: Option<String>,
}

/// What the clockwork remembers of each volume.
#[derive(Debug, Default)]
pub(super) struct Schedules(Mutex<HashMap<Uuid, Progress>>);

#[derive(Debug, Default)]
struct Progress {
    /// The boundary for which each rule was tried last.
    tried: HashMap<String, i64>,
    problem: Option<String>,
}

/// The snapshots of a volume that schedules have taken.
fn taken(mount: &MountedVolume) -> Vec<Taken> {
    let snapshots = mount.volume.snapshots().into_iter();
    let ours = snapshots.filter(|snapshot| snapshot.maker == SnapshotMaker::Schedule);
    ours.map(|one| Taken { id: one.id.0, name: one.name, created_s: one.created.secs }).collect()
}

impl Cluster {
    /// Puts a schedule in force; the first snapshots are taken at the next boundaries. `None` ends it. Snapshots stay.
    ///
    /// # Errors
    /// Unknown names, rules that do not read, a vserver that is migrating.
    pub async fn set_snapshot_schedule(
        self: &Arc<Self>,
        vserver: &str,
        volume: &str,
        new: Option<NewSchedule>,
    ) -> Result<ScheduleView> {
        let rules = new.map(|new| new.schedule.parse::<Schedule>()).transpose();
        let rules = rules.map_err(ClusterError::Invalid)?;
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let mut record = self.volume_record(vserver, volume)?;
        record.snapshots.schedule = rules.map(|rules| ScheduleRecord { rules, since_s: now().secs });
        let this = Arc::clone(self);
        blocking(move || {
            this.store.update(|tx| tx.put(&record))?;
            this.schedules.0.lock().remove(&record.uuid);
            Ok(this.schedule_view(&record))
        })
        .await
    }

    /// The schedule of a volume.
    ///
    /// # Errors
    /// Unknown names.
    pub fn snapshot_schedule(&self, vserver: &str, volume: &str) -> Result<ScheduleView> {
        Ok(self.schedule_view(&self.volume_record(vserver, volume)?))
    }

    fn schedule_view(&self, record: &VolumeRecord) -> ScheduleView {
        let served = self.served(&record.vserver);
        let mount = served.and_then(|served| served.mounts().into_iter().find(|m| m.name == record.name));
        let taken = mount.map(|mount| taken(&mount)).unwrap_or_default();
        let now_s = now().secs;
        let schedule = record.snapshots.schedule.as_ref();
        let rules = schedule.map(|schedule| schedule.rules.rules()).unwrap_or_default().iter();
        let rules = rules.map(|rule| RuleView {
            period: rule.period.to_string(),
            keep: rule.keep,
            kept: taken.iter().filter(|one| rule.period.names(&one.name)).count(),
            next_s: rule.period.boundary_after(now_s),
        });
        ScheduleView {
            schedule: schedule.map(|schedule| schedule.rules.to_string()),
            since_s: schedule.map(|schedule| schedule.since_s),
            rules: rules.collect(),
            problem: self.schedules.0.lock().get(&record.uuid).and_then(|known| known.problem.clone()),
        }
    }

    /// A volume is gone.
    pub(super) fn forget_schedule(&self, volume: Uuid) {
        self.schedules.0.lock().remove(&volume);
    }

    /// Takes and deletes until the node stops.
    pub(super) async fn run_schedules(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            self.schedules_turn(now()).await;
        }
    }

    /// Does what the schedules of all volumes want done at `now`.
    pub(crate) async fn schedules_turn(self: &Arc<Self>, now: Time) {
        for served in self.all_served() {
            let name = served.vserver.name.clone();
            // Held, so that no clone is made of what is being deleted, and no cutover begins.
            let _guard = self.lock(&name).await;
            let this = Arc::clone(self);
            let turn = blocking(move || this.schedule_vserver(&served, now)).await;
            if let Err(error) = turn {
                tracing::error!(vserver = name, %error, "snapshot schedules");
            }
        }
    }

    fn schedule_vserver(&self, served: &Arc<Served>, now: Time) -> Result<()> {
        let name = &served.vserver.name;
        let serves = self.record(name).is_ok_and(|record| record.ownership.state.serves());
        if !serves || served.vserver.gate.is_frozen() || served.vserver.gate.is_closed() {
            return Ok(());
        }
        let records = self.store.list::<VolumeRecord>(&format!("{name}/"))?;
        for mount in served.mounts() {
            let record = records.iter().find(|record| record.uuid == mount.volume.uuid());
            if let Some(schedule) = record.and_then(|record| record.snapshots.schedule.as_ref()) {
                self.schedule_volume(name, &mount, schedule, now)?;
            }
        }
        Ok(())
    }

    fn schedule_volume(
        &self,
        vserver: &str,
        mount: &MountedVolume,
        schedule: &ScheduleRecord,
        now: Time,
    ) -> Result<()> {
        let uuid = mount.volume.uuid();
        let tried =
            |period: Period| self.schedules.0.lock().get(&uuid)?.tried.get(&period.to_string()).copied();
        let due = schedule.rules.due(&taken(mount), schedule.since_s, now.secs, tried);
        let mut problems = Vec::new();
        for due in &due {
            problems.extend(take(mount, due, now));
            let mut schedules = self.schedules.0.lock();
            schedules.entry(uuid).or_default().tried.insert(due.period.to_string(), due.boundary_s);
        }
        let clones = self.clones_of(vserver, uuid)?;
        for id in schedule.rules.expired(&taken(mount)) {
            let clone = clones.iter().find(|(of, _)| *of == id).map(|(_, clone)| clone.as_str());
            problems.extend(let_go(mount, SnapshotId(id), clone));
        }
        self.note_problem(vserver, mount, due.is_empty(), problems);
        Ok(())
    }

    /// Says what is new of what went wrong: not with every turn the same.
    fn note_problem(&self, vserver: &str, mount: &MountedVolume, nothing_due: bool, problems: Vec<String>) {
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        let mut schedules = self.schedules.0.lock();
        let known = schedules.entry(mount.volume.uuid()).or_default();
        if problem.is_none() && nothing_due {
            // What could not be taken stays known until something was.
            return;
        }
        if let Some(problem) = problem.as_deref().filter(|problem| known.problem.as_deref() != Some(problem))
        {
            tracing::warn!(vserver, volume = mount.name, problem, "snapshot schedule");
        }
        known.problem = problem;
    }
}

/// Takes what is due; what went wrong.
fn take(mount: &MountedVolume, due: &Due, now: Time) -> Option<String> {
    let error = mount.volume.snapshot_create_by(&due.name, now, SnapshotMaker::Schedule).err()?;
    let hint = if error == FsError::NoSpace { ": the volume is full" } else { "" };
    Some(format!("snapshot `{}` could not be taken: {error}{hint}", due.name))
}

/// Lets a snapshot go whose time is over; why not.
fn let_go(mount: &MountedVolume, id: SnapshotId, clone: Option<&str>) -> Option<String> {
    let name = mount.volume.snapshots().into_iter().find(|snapshot| snapshot.id == id)?.name;
    if let Some(clone) = clone {
        return Some(format!("snapshot `{name}` stays: clone `{clone}` needs it"));
    }
    let error = mount.volume.snapshot_delete(id).err()?;
    Some(format!("snapshot `{name}` stays: {error}"))
}
