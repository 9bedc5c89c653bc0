//! Export policies and QoS of vservers.

use super::{Cluster, ClusterError, Result, blocking, check_name};
use crate::store::{QosRecord, VolumeRecord, VserverRecord};
use crate::vserver::{ExportPolicies, ExportRule, POLICY_DEFAULT, RULES_MAX, WRITE_LIMIT_MIN};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Cluster {
    /// The export policies of a vserver.
    ///
    /// # Errors
    /// An unknown vserver.
    pub fn export_policies(&self, vserver: &str) -> Result<BTreeMap<String, Vec<ExportRule>>> {
        Ok(self.record(vserver)?.export_policies)
    }

    /// One policy.
    ///
    /// # Errors
    /// Unknown names.
    pub fn export_policy(&self, vserver: &str, name: &str) -> Result<Vec<ExportRule>> {
        let mut policies = self.export_policies(vserver)?;
        policies.remove(name).ok_or_else(|| ClusterError::not_found("export policy", name))
    }

    pub(super) fn need_policy(&self, vserver: &str, name: &str) -> Result<()> {
        self.export_policy(vserver, name).map(drop)
    }

    /// Makes a policy (`new`) or replaces the rules of one.
    ///
    /// # Errors
    /// A bad or taken name, an unknown one, too many rules.
    pub async fn put_export_policy(
        self: &Arc<Self>,
        vserver: &str,
        name: &str,
        rules: Vec<ExportRule>,
        new: bool,
    ) -> Result<()> {
        check_name("export policy", name)?;
        if rules.len() > RULES_MAX {
            return Err(ClusterError::Invalid(format!("a policy has at most {RULES_MAX} rules")));
        }
        let name = name.to_owned();
        self.change_vserver(vserver, move |record| {
            if new && record.export_policies.contains_key(&name) {
                return Err(ClusterError::exists("export policy", &name));
            }
            if !new && !record.export_policies.contains_key(&name) {
                return Err(ClusterError::not_found("export policy", &name));
            }
            record.export_policies.insert(name.clone(), rules.clone());
            Ok(())
        })
        .await
    }

    /// Deletes a policy that no volume uses.
    ///
    /// # Errors
    /// An unknown one, one in use, and `default`.
    pub async fn delete_export_policy(self: &Arc<Self>, vserver: &str, name: &str) -> Result<()> {
        if name == POLICY_DEFAULT {
            return Err(ClusterError::Conflict("policy `default` stays; change its rules instead".to_owned()));
        }
        let volumes = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        if let Some(user) = volumes.iter().find(|volume| volume.policy == name) {
            return Err(ClusterError::Conflict(format!("volume `{}` uses policy `{name}`", user.name)));
        }
        let name = name.to_owned();
        self.change_vserver(vserver, move |record| {
            let gone = record.export_policies.remove(&name);
            gone.map(drop).ok_or_else(|| ClusterError::not_found("export policy", &name))
        })
        .await
    }

    /// Sets the operator's limits.
    ///
    /// # Errors
    /// A limit below the smallest.
    pub async fn set_qos(self: &Arc<Self>, vserver: &str, qos: QosRecord) -> Result<()> {
        if qos.write_limit_bytes_per_s.is_some_and(|limit| limit < WRITE_LIMIT_MIN) {
            return Err(ClusterError::Invalid(format!("a write limit is at least {WRITE_LIMIT_MIN} bytes/s")));
        }
        self.change_vserver(vserver, move |record| {
            record.qos = qos;
            Ok(())
        })
        .await
    }

    /// Changes the record of a vserver and puts what is in force in step with it.
    async fn change_vserver(
        self: &Arc<Self>,
        vserver: &str,
        change: impl Fn(&mut VserverRecord) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let (this, name) = (Arc::clone(self), vserver.to_owned());
        let record = blocking(move || {
            this.store.update(|tx| {
                let mut record: VserverRecord =
                    tx.get(&name)?.ok_or_else(|| ClusterError::not_found("vserver", &name))?;
                change(&mut record)?;
                tx.put(&record)?;
                Ok::<_, ClusterError>(record)
            })
        })
        .await?;
        if let Some(served) = self.served(vserver) {
            served.vserver.set_exports(ExportPolicies::new(record.export_policies));
            served.set_operator_limit(record.qos.write_limit_bytes_per_s);
        }
        Ok(())
    }
}
