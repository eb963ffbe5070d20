//! What one pass sees of the load balancer: each call with an age of its own.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use futures_util::{FutureExt, join};
use plan::observed::{Listener, ListenerRules, LoadBalancer, TargetGroup};

use crate::connect::Cloud;
use crate::error::{Failure, ReadError};
use crate::kept::Pass;
use crate::observe::Answers;

/// What was seen.
pub(crate) struct Front {
    pub(crate) load_balancer: Result<Option<LoadBalancer>, ReadError>,
    /// None: where to look for them is not known.
    pub(crate) listeners: Option<Result<BTreeMap<u16, Listener>, ReadError>>,
    /// Of all listeners. None: the listeners are not known.
    pub(crate) rules: Option<Result<ListenerRules, ReadError>>,
    pub(crate) target_groups: Result<BTreeMap<String, TargetGroup>, ReadError>,
}

impl Cloud {
    /// The load balancer of that name with its listeners, and the target groups of these names.
    pub(crate) async fn observe_front(
        &self,
        (pass, kept): (&Pass<'_>, &Answers),
        load_balancer: &str,
        target_groups: &[String],
    ) -> Front {
        let balancer = async {
            let head = self.load_balancer_head(load_balancer).boxed();
            let head = match kept.load_balancer.or(pass, load_balancer, head).await {
                Ok(Some(head)) => head,
                Ok(None) => {
                    return (
                        Ok(None),
                        Some(Ok(BTreeMap::new())),
                        Some(Ok(BTreeMap::new())),
                    );
                }
                Err(failure) => return (Err(failure.into()), None, None),
            };
            let arn = &head.arn;
            let settings = self.load_balancer_settings(arn).boxed();
            let (settings, listeners) = join!(
                kept.load_balancer_settings.or(pass, arn, settings),
                kept.listeners.or(pass, arn, self.listeners(arn).boxed()),
            );
            let rules = match &listeners {
                Ok(listeners) => {
                    let rules = self.rules_of(listeners).boxed();
                    Some(
                        kept.rules
                            .or(pass, arn, rules)
                            .await
                            .map_err(ReadError::from),
                    )
                }
                Err(_) => None,
            };
            let listeners = Some(listeners.map_err(ReadError::from));
            match settings {
                Ok(settings) => (Ok(settings.map(|it| it.of(head))), listeners, rules),
                Err(failure) => (Err(failure.into()), listeners, rules),
            }
        };
        let groups = self.observe_target_groups((pass, kept), target_groups);
        let ((load_balancer, listeners, rules), target_groups) =
            join!(balancer.boxed(), groups.boxed());
        Front {
            load_balancer,
            listeners,
            rules,
            target_groups,
        }
    }

    /// The target groups of these names, whosever they are, with the state of their targets.
    async fn observe_target_groups(
        &self,
        (pass, kept): (&Pass<'_>, &Answers),
        names: &[String],
    ) -> Result<BTreeMap<String, TargetGroup>, ReadError> {
        let found = try_join_all(names.iter().map(|name| async move {
            let group = self.target_group(name).boxed();
            let Some(mut group) = kept.target_groups.or(pass, name, group).await? else {
                return Ok::<_, Failure>(None);
            };
            let targets = self.targets(&group.arn).boxed();
            group.targets = kept.targets.or(pass, &group.arn, targets).await?;
            Ok(Some((name.clone(), group)))
        }))
        .await?;
        Ok(found.into_iter().flatten().collect())
    }
}
