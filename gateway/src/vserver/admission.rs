//! What a call passes before it is run, whatever its protocol: the gate, and the reply cache where running it twice
//! would differ from running it once.

use super::{GatePass, Vserver};
use crate::rpc::call::Call;
use crate::rpc::drc::{Admission, CallKey};
use crate::rpc::server::{Outcome, Request};
use crate::xdr::Message;
use std::future::Future;

impl Vserver {
    /// Passes the gate. During a cutover this waits.
    ///
    /// # Errors
    /// What becomes of the call instead: nothing is answered where the vserver or the client is gone.
    pub async fn pass(&self, request: &Request) -> Result<GatePass, Outcome> {
        request.unless_gone(self.gate.enter()).await?.map_err(|_| Outcome::Close)
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
