//! What a call passes before it is run, whatever its protocol: its credential, the gate, and the reply cache where running it twice
//! would differ from running it once.

use super::{Caller, GatePass, Vserver};
use crate::rpc::auth::{AUTH_SYS, Credential};
use crate::rpc::call::{Call, Refusal};
use crate::rpc::drc::{Admission, CallKey};
use crate::rpc::server::{Outcome, Request};
use crate::xdr::Message;
use std::future::Future;
use std::sync::Arc;

impl Vserver {
    /// Whom a call runs as before any squashing. To be called before the gate: it may wait for the user database.
    ///
    /// # Errors
    /// What becomes of the call instead.
    pub async fn credential(&self, request: &Request) -> Result<Credential, Outcome> {
        let (xid, auth) = (request.call.xid, &request.call.cred);
        let refused = |stat| Outcome::refused(xid, Refusal::Auth(stat));
        let mut credential = Credential::of(auth).map_err(refused)?;
        if auth.flavor == AUTH_SYS
            && let Some(groups) = request.unless_gone(self.groups.of(credential.uid)).await?
        {
            credential.groups = groups.to_vec();
        }
        Ok(credential)
    }

    /// Passes the gate. During a cutover this waits.
    ///
    /// # Errors
    /// What becomes of the call instead: nothing is answered where the vserver or the client is gone.
    pub async fn pass(&self, request: &Request) -> Result<GatePass, Outcome> {
        request.unless_gone(self.gate.enter()).await?.map_err(|_| Outcome::Close)
    }

    /// All that a call needs which no limit holds back: whom it runs for, and the gate passed.
    ///
    /// # Errors
    /// What becomes of the call instead.
    pub async fn admit(self: &Arc<Self>, request: &Request) -> Result<(Caller, GatePass), Outcome> {
        let credential = self.credential(request).await?;
        let pass = self.pass(request).await?;
        Ok((Caller::new(Arc::clone(self), request, credential), pass))
    }

    /// Runs a call unless it was run before: then the first reply is given once more.
    pub async fn once(&self, request: &Request, run: impl Future<Output = Message>) -> Outcome {
        let Call { xid, prog, vers, proc, .. } = request.call;
        let key = CallKey::new(request.client, xid, prog, vers, proc, &request.args);
        let running = match request.unless_gone(self.reply_cache.admit(key)).await {
            Ok(Admission::New(running)) => running,
            Ok(Admission::Done(reply)) => return Outcome::Reply(reply.into()),
            Err(outcome) => return outcome,
        };
        let reply = run.await.into_bytes();
        running.finish(reply.clone());
        Outcome::Reply(reply.into())
    }
}
