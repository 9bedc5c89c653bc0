//! Files that clients of SMB have open, row by row of the table in ARCHITECTURE.md.

use super::*;
use crate::handle::FileHandle;
use crate::openstate::{
    Access as Rights, Break, Caching, CachingRequest, Client as Opener, FileKey, Holder, OpenRequest,
    Opening, Owner, Protocol, Touch,
};
use parking_lot::Mutex;

/// What a client of SMB does when it is told of a break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Answers,
    Closes,
    Sleeps,
}

#[derive(Debug)]
struct Smb {
    vserver: Arc<Vserver>,
    file: FileKey,
    owner: Owner,
    manner: Manner,
    heard: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Ear(Arc<Smb>);

impl Holder for Ear {
    fn tell(&self, news: Break) {
        self.0.heard.lock().push(format!("{:?}", news.to));
        let smb = Arc::clone(&self.0);
        std::thread::spawn(move || match smb.manner {
            Manner::Answers => drop(smb.vserver.locks.answer_oplock(smb.file, &smb.owner, news.to)),
            Manner::Closes => drop(smb.vserver.locks.close(smb.file, &smb.owner)),
            Manner::Sleeps => {}
        });
    }
}

/// Opens a file as a client of SMB does: with a batch oplock if `caches`, and denying others what `deny` says.
fn open(vserver: &Arc<Vserver>, file: &NfsFh3, manner: Manner, caches: bool, deny: &str) -> Arc<Smb> {
    let handle = FileHandle::open(&file.0, vserver.uuid, vserver.handle_key()).unwrap();
    let file = FileKey { volume: handle.volume, file: handle.file };
    let client = Opener { protocol: Protocol::Smb2, address: [127, 0, 0, 9].into(), name: Box::from([]) };
    let owner = Owner { client: Arc::new(client), id: Box::from([1]) };
    let smb = Arc::new(Smb {
        vserver: Arc::clone(vserver),
        file,
        owner: owner.clone(),
        manner,
        heard: Mutex::default(),
    });
    let holder: Arc<dyn Holder> = Arc::new(Ear(Arc::clone(&smb)));
    let opening = vserver.locks.open(OpenRequest {
        file,
        owner,
        access: Rights { read: true, write: true, delete: false },
        deny: Rights { read: deny.contains('r'), write: deny.contains('w'), delete: true },
        now_s: 0,
        touch: Touch::Contents,
        overwrites: false,
        again: false,
        caching: caches.then_some(CachingRequest { lease: None, wanted: Caching::ALL, epoch: None, holder }),
    });
    assert!(matches!(opening, Ok(Opening::Opened(_))), "{opening:?}");
    smb
}

impl Smb {
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock())
    }
}

async fn write(client: &Client, file: &NfsFh3) -> Result<Write3ResOk, ClientError> {
    client.write(file, 0, text("data"), StableHow::Unstable).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_of_smb_keeps_to_itself_it_gives_up_first() {
    let (fixture, _served, client, root) = all().await;
    let vserver = &fixture.vserver;
    for name in ["read", "write", "size", "remove", "from"] {
        let file = make(&client, &root, name).await;
        let smb = open(vserver, &file, Manner::Answers, true, "");
        match name {
            "read" => drop(client.read(&file, 0, 4).await.unwrap()),
            "write" => drop(write(&client, &file).await.unwrap()),
            "size" => {
                let size = SAttr3 { size: Some(1), ..SAttr3::default() };
                client.setattr(&file, size, None).await.unwrap();
            }
            "remove" => drop(client.remove(&root, name).await.unwrap()),
            _ => drop(client.rename(&root, name, &root, "to").await.unwrap()),
        }
        let left = if matches!(name, "write" | "size") { "-" } else { "R" };
        assert_eq!(smb.heard(), [left], "{name}");
        vserver.locks.close(smb.file, &smb.owner);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_give_it_up_is_waited_for_a_little_and_then_the_client_is_to_come_again() {
    let (fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "file").await;
    let smb = open(&fixture.vserver, &file, Manner::Sleeps, true, "");
    let late = tokio::spawn({
        let smb = Arc::clone(&smb);
        async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert_eq!(smb.vserver.gate.in_flight(), 0);
            smb.vserver.locks.answer_oplock(smb.file, &smb.owner, Caching::NONE)
        }
    });
    // It hears NFS3ERR_JUKEBOX and tries again.
    write(&client, &file).await.unwrap();
    late.await.unwrap().unwrap();
    assert_eq!(smb.heard(), ["-"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_of_smb_denies_is_denied_unless_it_only_keeps_the_handle() {
    let (fixture, _served, client, root) = all().await;
    let vserver = &fixture.vserver;
    let file = make(&client, &root, "file").await;
    let smb = open(vserver, &file, Manner::Answers, false, "w");
    assert_eq!(status(write(&client, &file).await), NfsStat3::Acces);
    client.read(&file, 0, 4).await.unwrap();
    vserver.locks.close(smb.file, &smb.owner);
    let smb = open(vserver, &file, Manner::Answers, false, "r");
    assert_eq!(status(client.read(&file, 0, 4).await), NfsStat3::Acces);
    write(&client, &file).await.unwrap();
    vserver.locks.close(smb.file, &smb.owner);
    open(vserver, &file, Manner::Closes, true, "rw");
    write(&client, &file).await.unwrap();
    // As on any UNIX, the file goes while somebody has it open.
    open(vserver, &file, Manner::Answers, false, "rw");
    client.remove(&root, "file").await.unwrap();
}
