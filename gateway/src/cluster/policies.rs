//! Export policies, QoS and groups of vservers.

use super::{Cluster, ClusterError, Result, blocking, check_name};
use crate::store::{QosRecord, VolumeRecord, VserverRecord};
use crate::vserver::{
    BYTES_LIMIT_MIN, Decision, ExportPolicies, ExportRule, OPS_LIMIT_MIN, POLICY_DEFAULT, RULES_MAX,
    WRITE_LIMIT_MIN,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A change of one rule. Rules are counted from 1.
#[derive(Clone, Debug)]
pub enum RuleEdit {
    /// Add a rule, before the one of this number or as the last.
    Insert(Option<usize>, ExportRule),
    /// Take out the rule of this number.
    Remove(usize),
}

/// What a policy says about a client, and which of its rules decides.
#[derive(Clone, Debug)]
pub struct ExportCheck {
    /// For people, with the number of the rule.
    pub decision: Decision,
    /// The rule that decides.
    pub rule: Option<ExportRule>,
}

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
        self.learn_names(&rules).await;
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

    /// Adds or takes out one rule.
    ///
    /// # Errors
    /// An unknown policy, no rule of that number, too many rules.
    pub async fn edit_export_policy(
        self: &Arc<Self>,
        vserver: &str,
        name: &str,
        edit: RuleEdit,
    ) -> Result<()> {
        if let RuleEdit::Insert(_, rule) = &edit {
            self.learn_names([rule]).await;
        }
        let name = name.to_owned();
        self.change_vserver(vserver, move |record| {
            let rules = record
                .export_policies
                .get_mut(&name)
                .ok_or_else(|| ClusterError::not_found("export policy", &name))?;
            edit_rules(rules, edit.clone())
        })
        .await
    }

    /// Which rule of a policy decides about a client that calls from this port, and why.
    ///
    /// # Errors
    /// Unknown names.
    pub fn check_export(
        &self,
        vserver: &str,
        policy: &str,
        client: IpAddr,
        port: Option<u16>,
    ) -> Result<ExportCheck> {
        let rules = self.export_policy(vserver, policy)?;
        let names = self.names();
        let policies = BTreeMap::from([(policy.to_owned(), rules.clone())]);
        let decision = ExportPolicies::with_names(policies, &names).explain(policy, client, port, &names);
        let rule = decision.rule.and_then(|number| rules.get(number - 1).cloned());
        Ok(ExportCheck { decision, rule })
    }

    /// Deletes a policy that no volume uses.
    ///
    /// # Errors
    /// An unknown one, one in use, and `default`.
    pub async fn delete_export_policy(self: &Arc<Self>, vserver: &str, name: &str) -> Result<()> {
        if name == POLICY_DEFAULT {
            return Err(ClusterError::Conflict(
                "policy `default` stays; change its rules instead".to_owned(),
            ));
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
        for (limit, least, unit) in [
            (qos.write_limit_bytes_per_s, WRITE_LIMIT_MIN, "bytes written"),
            (qos.limit_ops_per_s, OPS_LIMIT_MIN, "calls"),
            (qos.limit_bytes_per_s, BYTES_LIMIT_MIN, "bytes"),
            (qos.client_limit_ops_per_s, OPS_LIMIT_MIN, "calls of a client"),
            (qos.client_limit_bytes_per_s, BYTES_LIMIT_MIN, "bytes of a client"),
        ] {
            if limit.is_some_and(|limit| limit < least) {
                return Err(ClusterError::Invalid(format!(
                    "a limit of {unit} is at least {least} per second"
                )));
            }
        }
        self.change_vserver(vserver, move |record| {
            record.qos = qos;
            Ok(())
        })
        .await
    }

    /// Sets whether calls run with the groups of the node's user database.
    ///
    /// # Errors
    /// An unknown vserver, or one that may not be changed now.
    pub async fn set_extended_groups(self: &Arc<Self>, vserver: &str, extended: bool) -> Result<()> {
        self.change_vserver(vserver, move |record| {
            record.extended_groups = extended;
            Ok(())
        })
        .await
    }

    /// Changes the record of a vserver and puts what is in force in step with it.
    pub(super) async fn change_vserver(
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
            self.apply_smb(&served, &record);
            self.apply_exports(&served, record.export_policies);
            served.set_operator_limits(&record.qos);
            served.vserver.groups.enable(record.extended_groups);
            self.smb_ports(&served).await?;
        }
        Ok(())
    }
}

fn edit_rules(rules: &mut Vec<ExportRule>, edit: RuleEdit) -> Result<()> {
    let no_such = |number: usize, len: usize| {
        ClusterError::Invalid(format!("there is no rule {number}: the policy has {len}, counted from 1"))
    };
    match edit {
        RuleEdit::Insert(..) if rules.len() >= RULES_MAX => {
            return Err(ClusterError::Invalid(format!("a policy has at most {RULES_MAX} rules")));
        }
        RuleEdit::Insert(None, rule) => rules.push(rule),
        RuleEdit::Insert(Some(number), rule) => match number.checked_sub(1) {
            Some(at) if at <= rules.len() => rules.insert(at, rule),
            _ => return Err(no_such(number, rules.len())),
        },
        RuleEdit::Remove(number) => match number.checked_sub(1) {
            Some(at) if at < rules.len() => drop(rules.remove(at)),
            _ => return Err(no_such(number, rules.len())),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vserver::{ClientMatch, Squash};

    #[test]
    fn rules_are_counted_from_one() {
        let rule = |client: &str| ExportRule::new(client.parse::<ClientMatch>().unwrap(), true, Squash::Root);
        let mut rules = vec![rule("a"), rule("b")];
        edit_rules(&mut rules, RuleEdit::Insert(Some(1), rule("first"))).unwrap();
        edit_rules(&mut rules, RuleEdit::Insert(None, rule("last"))).unwrap();
        edit_rules(&mut rules, RuleEdit::Insert(Some(5), rule("after"))).unwrap();
        edit_rules(&mut rules, RuleEdit::Remove(2)).unwrap();
        let names: Vec<String> = rules.iter().map(|rule| rule.client.to_string()).collect();
        assert_eq!(names, ["first", "b", "last", "after"]);
        for bad in [RuleEdit::Remove(0), RuleEdit::Remove(5), RuleEdit::Insert(Some(6), rule("x"))] {
            let error = edit_rules(&mut rules, bad).unwrap_err().to_string();
            assert!(error.contains("the policy has 4"), "{error}");
        }
    }
}
