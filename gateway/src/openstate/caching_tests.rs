//! Who has to give up what for whom: case by case, with clients that write down what they are told.

use super::*;
use fsstore::{FileId, Generation, InodeNum, SnapshotId};
use parking_lot::Mutex;
use std::sync::Arc;

const R: Caching = Caching::READ;

fn caching(letters: &str) -> Caching {
    letters.bytes().fold(Caching::NONE, |all, letter| {
        all.or(match letter {
            b'R' => Caching::READ,
            b'H' => Caching::HANDLE,
            _ => Caching::WRITE,
        })
    })
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(String, String, bool)>>);

impl Holder for Heard {
    fn tell(&self, news: Break) {
        self.0.lock().push((format!("{:?}", news.from), format!("{:?}", news.to), news.answer));
    }
}

impl Heard {
    /// What was told since last asked.
    fn take(&self) -> Vec<(String, String, bool)> {
        std::mem::take(&mut *self.0.lock())
    }
}

fn broken(from: &str, to: &str, answer: bool) -> Vec<(String, String, bool)> {
    vec![(from.to_owned(), to.to_owned(), answer)]
}

fn file(number: u64) -> FileKey {
    let file = FileId { ino: InodeNum(number), generation: Generation(1), snapshot: SnapshotId(0) };
    FileKey { volume: crate::handle::VolumeId(7), file }
}

fn owner(number: u8) -> Owner {
    let client = Client { protocol: Protocol::Smb2, address: [10, 0, 0, number].into(), name: Box::from([]) };
    Owner { client: Arc::new(client), id: Box::from([number]) }
}

fn lease(number: u8) -> LeaseId {
    LeaseId { client: [number; 16], key: [number; 16] }
}

/// A table and what each of its clients was told.
#[derive(Default)]
struct Site {
    table: LockTable,
    heard: [Arc<Heard>; 4],
}

impl Site {
    fn request(&self, who: u8, wanted: &str, lease: Option<LeaseId>) -> OpenRequest {
        let holder = Arc::clone(&self.heard[usize::from(who)]) as Arc<dyn Holder>;
        OpenRequest {
            file: file(1),
            owner: owner(who),
            access: Access { read: true, write: true, delete: false },
            deny: Access::default(),
            now_s: 5,
            touch: Touch::Contents,
            overwrites: false,
            again: false,
            caching: Some(CachingRequest { lease, wanted: caching(wanted), epoch: Some(0), holder }),
        }
    }

    /// What it may keep; `None`: it has to wait.
    fn open(&self, request: OpenRequest) -> Option<String> {
        match self.table.open(request).unwrap() {
            Opening::Opened(granted) => granted.map(|granted| format!("{:?}", granted.state)),
            Opening::Wait(_) => None,
            other => panic!("{other:?}"),
        }
    }

    fn lease(&self, who: u8, wanted: &str) -> Option<String> {
        self.open(self.request(who, wanted, Some(lease(who))))
    }

    fn oplock(&self, who: u8, wanted: &str) -> Option<String> {
        self.open(self.request(who, wanted, None))
    }

    fn told(&self, who: u8) -> Vec<(String, String, bool)> {
        self.heard[usize::from(who)].take()
    }

    fn answer(&self, who: u8, state: &str) -> Result<(), AnswerError> {
        self.table.answer_lease(lease(who), caching(state))
    }
}

#[test]
fn the_first_has_all_and_shares_reading_with_the_second_when_it_has_written_back() {
    let site = Site::default();
    assert_eq!(site.lease(1, "RWH").unwrap(), "RWH");
    assert!(site.table.is_anything_cached());
    assert_eq!(site.lease(2, "RWH"), None);
    assert_eq!(site.told(1), broken("RWH", "RH", true));
    assert_eq!(site.lease(2, "RWH"), None, "it waits on");
    assert_eq!(site.told(1), [], "told once");
    assert_eq!(site.answer(1, "RWH"), Err(AnswerError::TooMuch));
    site.answer(1, "RH").unwrap();
    assert_eq!(site.answer(1, "RH"), Err(AnswerError::NotAsked));
    assert_eq!(site.lease(2, "RWH").unwrap(), "RH");
    site.table.close(file(1), &owner(1));
    site.table.close(file(1), &owner(2));
    assert!(!site.table.is_anything_cached());
    assert_eq!(site.answer(1, "R"), Err(AnswerError::Unknown));
}

#[test]
fn a_lease_is_shared_by_its_opens_grows_and_is_of_one_file() {
    let site = Site::default();
    assert_eq!(site.lease(1, "R").unwrap(), "R");
    let second = OpenRequest { owner: owner(2), ..site.request(1, "RWH", Some(lease(1))) };
    assert_eq!(site.open(second).unwrap(), "RWH");
    let elsewhere = OpenRequest { file: file(2), owner: owner(3), ..site.request(1, "R", Some(lease(1))) };
    assert!(matches!(site.table.open(elsewhere).unwrap(), Opening::OtherFile));
    site.table.close(file(1), &owner(1));
    assert_eq!(site.table.caching_of(file(1), &owner(2)), Caching::ALL);
    assert_eq!(site.told(1), []);
}

#[test]
fn a_sharing_violation_takes_the_handle_and_its_closing_lets_the_other_in() {
    let site = Site::default();
    let alone = Access { read: true, write: true, delete: true };
    assert_eq!(site.open(OpenRequest { deny: alone, ..site.request(1, "RWH", None) }).unwrap(), "RWH");
    assert_eq!(site.oplock(2, "RWH"), None);
    assert_eq!(site.told(1), broken("RWH", "R", true));
    site.table.close(file(1), &owner(1));
    assert_eq!(site.oplock(2, "RWH").unwrap(), "RWH");
    // One who keeps its handle open keeps the other out.
    let third = OpenRequest { deny: alone, ..site.request(3, "", None) };
    assert!(matches!(site.table.open(third.clone()).unwrap(), Opening::Wait(_)));
    assert_eq!(site.table.answer_oplock(file(1), &owner(2), R), Ok(R));
    assert!(matches!(site.table.open(third).unwrap(), Opening::Denied(_)));
    assert_eq!(site.table.answer_oplock(file(1), &owner(2), R), Err(AnswerError::NotAsked));
}

#[test]
fn reasons_that_come_meanwhile_are_told_step_by_step() {
    let site = Site::default();
    assert_eq!(site.lease(1, "RWH").unwrap(), "RWH");
    assert_eq!(site.lease(2, "R"), None);
    assert_eq!(site.told(1), broken("RWH", "RH", true));
    let over = OpenRequest { overwrites: true, ..site.request(3, "", None) };
    assert_eq!(site.open(over.clone()), None);
    assert_eq!(site.told(1), []);
    site.answer(1, "RH").unwrap();
    assert_eq!(site.told(1), broken("RH", "R", true));
    site.answer(1, "R").unwrap();
    assert_eq!(site.told(1), broken("R", "-", false));
    assert_eq!(site.open(over).unwrap(), "-");
}

#[test]
fn writing_ends_others_reading_and_level_ii_of_the_writer_too() {
    let site = Site::default();
    assert_eq!(site.lease(1, "RH").unwrap(), "RH");
    assert_eq!(site.lease(2, "R").unwrap(), "R");
    let third = site.request(3, "R", None);
    assert_eq!(site.open(third).unwrap(), "-", "no level II beside others' handles");
    assert!(site.table.contend(file(1), Deed::Change, Some(&owner(1))).is_none());
    assert_eq!((site.told(1), site.told(2)), (vec![], broken("R", "-", false)));
    assert!(site.table.contend(file(1), Deed::Unname, None).is_some());
    assert_eq!(site.told(1), broken("RH", "R", true));

    let site = Site::default();
    assert_eq!(site.oplock(1, "RWH").unwrap(), "RWH");
    assert!(site.table.contend(file(1), Deed::Change, Some(&owner(1))).is_none());
    assert_eq!(site.told(1), [], "it is alone");
    assert!(site.table.contend(file(1), Deed::Read, None).is_some());
    assert_eq!(site.table.answer_oplock(file(1), &owner(1), R), Ok(R));
    assert!(site.table.contend(file(1), Deed::Change, Some(&owner(1))).is_none());
    assert_eq!(site.told(1), [broken("RWH", "R", true), broken("R", "-", false)].concat());
}

#[test]
fn who_only_looks_is_in_nobodys_way() {
    let site = Site::default();
    let looks = OpenRequest {
        access: Access::default(),
        touch: Touch::Attributes,
        caching: None,
        ..site.request(2, "", None)
    };
    assert!(matches!(site.table.open(looks.clone()).unwrap(), Opening::Opened(None)));
    assert_eq!(site.oplock(1, "RWH").unwrap(), "RWH");
    let more = OpenRequest { owner: owner(3), touch: Touch::Permissions, ..looks };
    assert!(matches!(site.table.open(more).unwrap(), Opening::Wait(_)), "an oplock minds");
}

#[test]
fn one_that_does_not_answer_has_given_up() {
    let mut caches = super::caching::Caches::default();
    let site = Site::default();
    let request = site.request(1, "RWH", Some(lease(1))).caching.unwrap();
    let now = std::time::Instant::now();
    let mut news = Vec::new();
    let granted = caches.grant(&Arc::new(owner(1)), &request, &super::shares::Shares::default(), false);
    assert_eq!((granted.state, granted.epoch), (Caching::ALL, Some(1)));
    let until = caches.contend(Deed::Read, None, now, &mut news).unwrap();
    assert!(!caches.expire(now));
    assert!(caches.expire(until));
    assert_eq!(caches.answer_lease(lease(1), R, until, &mut news), Err(AnswerError::NotAsked));
    assert_eq!(caches.of(&owner(1)).unwrap().state(), Caching::NONE);
}

#[tokio::test]
async fn who_waits_is_woken_by_the_answer() {
    let site = Arc::new(Site::default());
    assert_eq!(site.lease(1, "RWH").unwrap(), "RWH");
    let Opening::Wait(wait) = site.table.open(site.request(2, "", None)).unwrap() else { panic!() };
    let waits = tokio::spawn(wait.over());
    site.answer(1, "").unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), waits).await.unwrap().unwrap();
    assert_eq!(site.oplock(2, "RWH").unwrap(), "R");
}
