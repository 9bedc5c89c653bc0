//! Sessions (MS-SMB2 §3.3.1.8): who somebody is on a connection, with which keys, and what they have open.

use super::connection::Connection;
use super::crypto::{
    self, Binding, Cipher, OpeningKey, PreauthHash, SealingKey, SessionKeys, SigningAlgorithm, SigningKey,
};
use super::negotiate::Agreed;
use super::open::Open;
use super::pipe::Pipe;
use super::reply::{NO_CIPHER, SendKeys};
use super::tree::Tree;
use super::wire::FileId;
use super::wire::negotiate::Dialect;
use super::wire::status::NtStatus;
use crate::vserver::Users;
use fsstore::Context;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use tokio_util::sync::CancellationToken;

/// Most trees of one session.
const TREES_MAX: usize = 256;
/// Most pipes of one session.
const PIPES_MAX: usize = 64;
/// Most connections of one session.
const CHANNELS_MAX: usize = 32;
/// Most opens of one session.
const OPENS_MAX: usize = 16_384;

/// Who has logged in.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// `None`: nobody in particular.
    pub(super) user: Option<String>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

impl Identity {
    /// A user of the vserver.
    pub(super) fn of(users: &Users, name: &str) -> Option<Identity> {
        let user = users.get(name)?;
        let (uid, gid, groups) = user.context_ids();
        Some(Identity { user: Some(user.name.clone()), uid, gid, groups: groups.to_vec() })
    }

    /// Nobody.
    pub(super) fn nobody() -> Identity {
        let nobody = crate::vserver::ANON_ID_DEFAULT;
        Identity { user: None, uid: nobody, gid: nobody, groups: Vec::new() }
    }

    /// As whom operations run.
    pub(super) fn context(&self) -> Context {
        Context { uid: self.uid, gid: self.gid, groups: self.groups.clone(), now: super::now() }
    }
}

/// The keys of a session on its connection.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) send: Arc<SendKeys>,
    pub(super) opening: Option<OpeningKey>,
}

/// What the first connection of a session agreed on: others that join it must have agreed on the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub(super) dialect: Dialect,
    pub(super) cipher: Option<Cipher>,
    pub(super) signing: SigningAlgorithm,
    pub(super) client_guid: [u8; 16],
}

impl Terms {
    pub(super) fn of(agreed: &Agreed) -> Terms {
        let Agreed { dialect, cipher, signing, client_guid, .. } = *agreed;
        Terms { dialect, cipher, signing, client_guid }
    }
}

/// The key that a connection signs with in a session. `preauth`: over all that was said, for dialect 3.1.1.
pub(super) fn signing_key(agreed: &Agreed, session_key: &[u8; 16], preauth: &PreauthHash) -> SigningKey {
    match binding(agreed, preauth) {
        None => SigningKey::new(SigningAlgorithm::HmacSha256, session_key),
        Some(binding) => SigningKey::new(agreed.signing, &crypto::signing_key(session_key, binding)),
    }
}

fn binding<'a>(agreed: &Agreed, preauth: &'a PreauthHash) -> Option<Binding<'a>> {
    match agreed.dialect {
        Dialect::Smb202 | Dialect::Smb210 => None,
        Dialect::Smb300 | Dialect::Smb302 => Some(Binding::Constant),
        Dialect::Smb311 => Some(Binding::Preauth(preauth)),
    }
}

impl Keys {
    /// Of what the login gave. `preauth`: over all that was said, for dialect 3.1.1.
    pub(super) fn derive(agreed: &Agreed, session_key: &[u8; 16], preauth: &PreauthHash) -> Keys {
        let signing = signing_key(agreed, session_key, preauth);
        let Some(binding) = binding(agreed, preauth) else {
            return Keys { send: Arc::new(SendKeys { signing, sealing: None }), opening: None };
        };
        let keys = SessionKeys::derive(session_key, binding, agreed.cipher.unwrap_or(NO_CIPHER));
        let sealing = agreed.cipher.map(|cipher| Arc::new(SealingKey::new(cipher, &keys.encryption)));
        let opening = agreed.cipher.map(|cipher| OpeningKey::new(cipher, &keys.decryption));
        Keys { send: Arc::new(SendKeys { signing, sealing }), opening }
    }
}

/// A session that is logged in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    identity: RwLock<Arc<Identity>>,
    /// What its connections have agreed on.
    pub(super) terms: Terms,
    /// `None`: nobody logged in, so there is no secret to make keys of.
    pub(super) keys: Option<Keys>,
    /// What comes in has to be signed, or encrypted.
    pub(super) signing_required: bool,
    /// What comes in has to be encrypted, and so is what goes out.
    pub(super) sealing_required: bool,
    /// Its client is a Mac that takes Finder's facts out of listings.
    pub(super) reads_finder: AtomicBool,
    /// Cancelled when it ends.
    pub(super) over: CancellationToken,
    trees: Mutex<HashMap<u32, Arc<Tree>>>,
    opens: Mutex<HashMap<u64, Arc<Open>>>,
    pipes: Mutex<HashMap<u64, Arc<Pipe>>>,
    next_tree: AtomicU32,
    /// Where its client is, the first connection first.
    channels: Mutex<Vec<Weak<Connection>>>,
    /// Some request had a channel sequence number, so all are looked at.
    sequenced: AtomicBool,
}

impl Session {
    pub(super) fn new(
        id: u64,
        connection: Weak<Connection>,
        terms: Terms,
        identity: Identity,
        keys: Option<Keys>,
        signing_required: bool,
        sealing_required: bool,
    ) -> Arc<Session> {
        Arc::new(Session {
            id,
            identity: RwLock::new(Arc::new(identity)),
            terms,
            keys,
            signing_required,
            sealing_required,
            reads_finder: AtomicBool::new(false),
            over: CancellationToken::new(),
            trees: Mutex::default(),
            opens: Mutex::default(),
            pipes: Mutex::default(),
            next_tree: AtomicU32::new(1),
            channels: Mutex::new(vec![connection]),
            sequenced: AtomicBool::new(false),
        })
    }

    /// Adds a tree that `make` builds with its number.
    pub(super) fn connect(&self, make: impl FnOnce(u32) -> Tree) -> Result<Arc<Tree>, NtStatus> {
        let mut trees = self.trees.lock();
        if trees.len() >= TREES_MAX {
            return Err(NtStatus::INSUFFICIENT_RESOURCES);
        }
        let tree = Arc::new(make(self.next_tree.fetch_add(1, Ordering::Relaxed)));
        trees.insert(tree.id, Arc::clone(&tree));
        Ok(tree)
    }

    pub(super) fn tree(&self, id: u32) -> Option<Arc<Tree>> {
        self.trees.lock().get(&id).cloned()
    }

    /// Ends a tree and gives what was open in it.
    pub(super) fn disconnect(&self, id: u32) -> Option<Vec<Arc<Open>>> {
        self.trees.lock().remove(&id)?;
        let mut opens = self.opens.lock();
        let gone: Vec<u64> =
            opens.iter().filter(|(_, open)| open.tree.id == id).map(|(number, _)| *number).collect();
        Some(gone.into_iter().filter_map(|number| opens.remove(&number)).collect())
    }

    /// Whether there is room for one more open.
    pub(super) fn has_room(&self) -> Result<(), NtStatus> {
        if self.opens.lock().len() < OPENS_MAX { Ok(()) } else { Err(NtStatus::TOO_MANY_OPENED_FILES) }
    }

    /// Who has logged in, now.
    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read())
    }

    /// The client has logged in again, perhaps as somebody else.
    pub(super) fn set_identity(&self, identity: Identity) {
        *self.identity.write() = Arc::new(identity);
    }

    /// A connection that the client is on.
    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.channels
            .lock()
            .iter()
            .find_map(|channel| channel.upgrade().filter(|one| !one.gone.is_cancelled()))
    }

    /// One more connection.
    pub(super) fn join(&self, connection: &Arc<Connection>) -> Result<(), NtStatus> {
        let mut channels = self.channels.lock();
        if channels.len() >= CHANNELS_MAX {
            return Err(NtStatus::INSUFFICIENT_RESOURCES);
        }
        channels.push(Arc::downgrade(connection));
        Ok(())
    }

    /// A connection is gone. Says whether it was the last.
    pub(super) fn leave(&self, connection: &Connection) -> bool {
        let mut channels = self.channels.lock();
        channels.retain(|channel| !std::ptr::eq(channel.as_ptr(), connection));
        channels.is_empty()
    }

    /// Whether requests have to be looked at for what was sent on a connection that is lost (§3.3.5.2.10).
    pub(super) fn is_sequenced(&self, channel_sequence: u16) -> bool {
        if channel_sequence != 0 {
            self.sequenced.store(true, Ordering::Relaxed);
        }
        self.sequenced.load(Ordering::Relaxed)
    }

    pub(super) fn keep(&self, open: Arc<Open>) {
        self.opens.lock().insert(open.id.volatile, open);
    }

    /// What `id` names in a tree. A client that uses it has had the response to its CREATE.
    pub(super) fn open(&self, id: FileId, tree: &Tree) -> Result<Arc<Open>, NtStatus> {
        let open = self.open_in_any_tree(id)?;
        if open.tree.id != tree.id {
            return Err(NtStatus::FILE_CLOSED);
        }
        open.replays.lock().take();
        Ok(open)
    }

    /// The same, of whichever tree.
    pub(super) fn open_in_any_tree(&self, id: FileId) -> Result<Arc<Open>, NtStatus> {
        let open = self.opens.lock().get(&id.volatile).cloned();
        open.filter(|open| open.id == id).ok_or(NtStatus::FILE_CLOSED)
    }

    /// Takes an open out, to be closed.
    pub(super) fn remove(&self, id: FileId, tree: &Tree) -> Result<Arc<Open>, NtStatus> {
        let open = self.open(id, tree)?;
        self.opens.lock().remove(&id.volatile).ok_or(NtStatus::FILE_CLOSED)?;
        Ok(open)
    }

    /// Adds a pipe.
    pub(super) fn keep_pipe(&self, number: u64, pipe: Arc<Pipe>) -> Result<(), NtStatus> {
        let mut pipes = self.pipes.lock();
        if pipes.len() >= PIPES_MAX {
            return Err(NtStatus::PIPE_NOT_AVAILABLE);
        }
        pipes.insert(number, pipe);
        Ok(())
    }

    pub(super) fn pipe(&self, id: FileId) -> Result<Arc<Pipe>, NtStatus> {
        self.pipes.lock().get(&id.volatile).cloned().ok_or(NtStatus::FILE_CLOSED)
    }

    pub(super) fn remove_pipe(&self, id: FileId) -> Result<(), NtStatus> {
        self.pipes.lock().remove(&id.volatile).map(drop).ok_or(NtStatus::FILE_CLOSED)
    }

    /// All that it has open.
    pub(super) fn opens(&self) -> Vec<Arc<Open>> {
        self.opens.lock().values().cloned().collect()
    }

    /// Whether nobody is logged in here any more.
    pub(super) fn has_ended(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Ends everything and gives what was open.
    pub(super) fn end(&self) -> Vec<Arc<Open>> {
        self.over.cancel();
        self.trees.lock().clear();
        self.pipes.lock().clear();
        self.opens.lock().drain().map(|(_, open)| open).collect()
    }
}
