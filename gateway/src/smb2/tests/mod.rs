//! A server over a real volume on loopback, and a client that can do everything a little wrong.

mod apple;
mod attributes;
mod client;
mod compound;
mod files;
mod ioctl;
mod locks;
mod moving;
mod notify;
mod protection;
mod quota;
mod removal;
mod replay;
mod streams;

use crate::handle::{HandleKey, VolumeId};
use crate::vserver::{
    Encryption, MountedVolume, Namespace, NtHash, RID_FIRST, Share, Shares, SmbHandle, SmbSettings, User,
    Users, Vserver,
};
use client::Peer;
use fsstore::{FileDisk, Time, Tuning, Volume, VolumeSpec};
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// A vserver with a volume, whose share is `data` and whose user is the superuser.
struct Site {
    _dir: Arc<TempDir>,
    vserver: Arc<Vserver>,
    address: SocketAddr,
    _serving: DropGuard,
}

impl Site {
    async fn new() -> Site {
        let dir = TempDir::new().unwrap();
        let disk = Arc::new(FileDisk::create(&dir.path().join("v"), 32 << 20).unwrap());
        let spec = VolumeSpec { uuid: Uuid::new_v4(), size_bytes: 32 << 20 };
        let volume = Volume::create(disk, &spec, Time::default(), Tuning::default()).unwrap();
        let mount = MountedVolume {
            id: VolumeId::of(volume.uuid()),
            name: "root".to_owned(),
            volume,
            junction: "/".to_owned(),
            policy: "default".to_owned(),
        };
        Site::serve(Arc::new(dir), mount, &[]).await
    }

    /// The same volume in the hands of another node, to which these handles came.
    async fn elsewhere(&self, handles: &[u8]) -> Site {
        let namespace = self.vserver.namespace();
        let mount = namespace.mounts().next().unwrap().clone();
        Site::serve(Arc::clone(&self._dir), mount, handles).await
    }

    async fn serve(dir: Arc<TempDir>, mount: MountedVolume, handles: &[u8]) -> Site {
        let vserver = Vserver::new("vs1", Uuid::new_v4(), HandleKey::generate(), *b"verifier");
        vserver.set_namespace(Namespace::build(vec![mount], Time::default()).unwrap());
        let user = User {
            name: "user".to_owned(),
            full_name: String::new(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            rid: RID_FIRST,
            enabled: true,
            secret: NtHash::of_password("Password").unwrap(),
        };
        vserver.set_users(Users::new(vserver.uuid, [user], []));
        super::clients(&vserver).take_in(&vserver, SmbHandle::decode_all(handles).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        tokio::spawn(super::serve(listener, Arc::clone(&vserver), cancel.clone()));
        let site = Site { _dir: dir, vserver, address, _serving: cancel.drop_guard() };
        site.set(Encryption::Off);
        site
    }

    /// Signing is required, encryption is as said.
    fn set(&self, encryption: Encryption) {
        let settings = SmbSettings { signing_required: true, encryption };
        self.vserver.set_shares(Shares::new(settings, [Share::new("data", "/")]));
    }

    async fn connect(&self) -> Peer {
        Peer::connect(self.address).await
    }

    /// A client that has logged in and is in the share.
    async fn login(&self) -> Peer {
        let mut peer = self.connect().await;
        peer.negotiate().await;
        peer.log_in().await;
        peer.tree_connect("data").await;
        peer
    }

    /// The volume behind the share.
    fn volume(&self) -> Arc<Volume> {
        let namespace = self.vserver.namespace();
        let (volume, _) = namespace.resolve("/").unwrap();
        Arc::clone(&namespace.volume(volume).unwrap().volume)
    }

    /// Whether the share has a directory of that name.
    fn has(&self, name: &str) -> bool {
        self.vserver.namespace().resolve(name).is_ok()
    }
}
