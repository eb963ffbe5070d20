//! Every call that is sent is counted, repeats among them; and of each service it is known when we changed
//! something in it last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// AWS shows what was changed within seconds, mostly: so long after a change nothing older than the present is
/// taken for an answer.
const SETTLES: Duration = Duration::from_secs(10);

/// A service that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Acm,
    AutoScaling,
    CloudWatch,
    Ec2,
    Elb,
    Kms,
    Rds,
    S3,
    Secrets,
    Sts,
}

impl Service {
    /// Every one.
    pub(crate) const ALL: [Self; 10] = [
        Self::Acm,
        Self::AutoScaling,
        Self::CloudWatch,
        Self::Ec2,
        Self::Elb,
        Self::Kms,
        Self::Rds,
        Self::S3,
        Self::Secrets,
        Self::Sts,
    ];

    /// As IAM and signatures name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Acm => "acm",
            Self::AutoScaling => "autoscaling",
            Self::CloudWatch => "monitoring",
            Self::Ec2 => "ec2",
            Self::Elb => "elasticloadbalancing",
            Self::Kms => "kms",
            Self::Rds => "rds",
            Self::S3 => "s3",
            Self::Secrets => "secretsmanager",
            Self::Sts => "sts",
        }
    }
}

/// When we changed something in a service.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Touched {
    /// Rises with every change that is sent, and once more when it is answered.
    pub(crate) generation: u64,
    at: Option<Instant>,
}

impl Touched {
    /// The service may not show yet what was changed.
    pub(crate) fn is_recent(self, now: Instant) -> bool {
        let since = |at| now.saturating_duration_since(at);
        self.at.is_some_and(|at| since(at) < SETTLES)
    }
}

/// Of one process.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    counts: Mutex<BTreeMap<(Service, String), u64>>,
    touched: Mutex<BTreeMap<Service, Touched>>,
}

impl Calls {
    /// One more of this action.
    pub(crate) fn count(&self, service: Service, action: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((service, action.to_owned())).or_default() += 1;
    }

    /// All of them by service and action.
    pub(crate) fn counts(&self) -> BTreeMap<(&'static str, String), u64> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((service, action), count)| ((service.name(), action.clone()), *count))
            .collect()
    }

    /// When we changed something in it.
    pub(crate) fn touched(&self, service: Service) -> Touched {
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.get(&service).copied().unwrap_or_default()
    }

    /// Something is being changed in it, or was just now.
    pub(crate) fn touch(&self, service: Service, now: Instant) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = touched.entry(service).or_default();
        entry.generation += 1;
        entry.at = Some(now);
    }
}

/// Tells [`Calls`] of one client's calls.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) service: Service,
    /// The client makes effects.
    pub(crate) acts: bool,
    pub(crate) calls: Arc<Calls>,
}

impl Intercept for Watched {
    fn name(&self) -> &'static str {
        "Watched"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let action = cfg.load::<Metadata>().map_or("unknown", Metadata::name);
        self.calls.count(self.service, action);
        if self.acts {
            self.calls.touch(self.service, Instant::now());
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        _: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.acts {
            self.calls.touch(self.service, Instant::now());
        }
        Ok(())
    }
}
