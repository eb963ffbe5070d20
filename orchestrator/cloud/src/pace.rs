//! Calls are spread so that no burst takes more than a quarter of a service's bucket of tokens, or half of it
//! while a rollout is under way: the account's other tools take from the same bucket.
//!
//! Only where a pass could take as much: EC2 has a bucket of 100 a call, and S3, Secrets Manager, KMS, STS and ACM
//! allow far more than is ever asked of them (docs/lab/calls.md, "Buckets").

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, ConnectorBuilder, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use tokio::time::Instant;

use crate::calls::Service;

/// What we take of a bucket.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// A quarter of the bucket.
    quarter: f64,
    /// Calls a second after a burst: less than AWS puts back.
    refill: f64,
}

impl Service {
    /// None: never near its bucket.
    fn share(self) -> Option<Share> {
        let (size, refill) = match self {
            // ELB: all `Describe*` share 40, refilled by 10 a second. Auto Scaling: AWS names no number, ours.
            Self::Elb | Self::AutoScaling => (40.0, 8.0),
            Self::Rds => (300.0, 9.0),
            // 9 or 10 of each of the reads, refilled by as many a second.
            Self::CloudWatch => (9.0, 4.0),
            Self::Acm | Self::Ec2 | Self::Kms | Self::S3 | Self::Secrets | Self::Sts => {
                return None;
            }
        };
        Some(Share {
            quarter: size / 4.0,
            refill,
        })
    }
}

/// What was taken and is not back yet.
#[derive(Clone, Copy, Debug)]
struct Spent {
    calls: f64,
    at: Instant,
}

impl Spent {
    /// One more call, at `now`: how long it waits so that no more than `most` are taken at once.
    fn take(&mut self, share: Share, most: f64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.calls = (self.calls - passed * share.refill).max(0.0) + 1.0;
        self.at = now;
        let over = (self.calls - most).max(0.0);
        Duration::from_secs_f64(over / share.refill)
    }
}

/// The pace of one service in one region.
#[derive(Debug)]
struct Pace {
    share: Share,
    spent: Mutex<Spent>,
    wide: Arc<AtomicBool>,
}

impl Pace {
    fn new(share: Share, wide: &Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self {
            share,
            spent: Mutex::new(Spent {
                calls: 0.0,
                at: Instant::now(),
            }),
            wide: Arc::clone(wide),
        })
    }

    /// Waits for a call's turn.
    async fn turn(&self) {
        let quarters = if self.wide.load(Ordering::Relaxed) {
            2.0
        } else {
            1.0
        };
        let most = (self.share.quarter * quarters).floor().max(1.0);
        let wait = {
            let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            spent.take(self.share, most, Instant::now())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// What all clients of a process send with.
#[derive(Clone, Debug)]
pub(crate) struct Paces {
    http: SharedHttpClient,
    /// Half of a bucket may be taken.
    wide: Arc<AtomicBool>,
    /// Calls are spread.
    paced: bool,
}

impl Paces {
    /// With one pool of connections.
    pub(crate) fn new(paced: bool) -> Self {
        Self {
            http: client(),
            wide: Arc::default(),
            paced,
        }
    }

    /// From now on bursts may take half of a bucket, or a quarter only.
    pub(crate) fn widen(&self, wide: bool) {
        self.wide.store(wide, Ordering::Relaxed);
    }

    /// What the clients of this service send with, in one region.
    pub(crate) fn client(&self, service: Service) -> SharedHttpClient {
        match service.share().filter(|_| self.paced) {
            None => self.http.clone(),
            Some(share) => SharedHttpClient::new(Paced {
                http: self.http.clone(),
                pace: Pace::new(share, &self.wide),
            }),
        }
    }
}

/// The SDK's own default, made here because it cannot be asked for one to wrap.
fn client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        let mut builder = ConnectorBuilder::default().tls_provider(provider);
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.set_proxy_config(Some(ProxyConfig::from_env()));
        builder.build()
    })
}

#[derive(Debug)]
struct Paced {
    http: SharedHttpClient,
    pace: Arc<Pace>,
}

impl HttpClient for Paced {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(PacedConnector {
            connector: self.http.http_connector(settings, components),
            pace: Arc::clone(&self.pace),
        })
    }
}

struct PacedConnector {
    connector: SharedHttpConnector,
    pace: Arc<Pace>,
}

impl fmt::Debug for PacedConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacedConnector").finish_non_exhaustive()
    }
}

impl HttpConnector for PacedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (connector, pace) = (self.connector.clone(), Arc::clone(&self.pace));
        HttpConnectorFuture::new(async move {
            pace.turn().await;
            connector.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long calls that are made at these moments wait, in milliseconds.
    fn waits(most: f64, moments: &[u64]) -> Vec<u128> {
        let share = Service::Elb.share().expect("paced");
        let began = Instant::now();
        let mut spent = Spent {
            calls: 0.0,
            at: began,
        };
        let wait = |moment: &u64| {
            let now = began + Duration::from_millis(*moment);
            spent.take(share, most, now).as_millis()
        };
        moments.iter().map(wait).collect()
    }

    #[test]
    fn a_quarter_goes_at_once_or_half_and_the_rest_follows() {
        assert_eq!(waits(10.0, &[0; 10]), [0; 10]);
        assert_eq!(waits(10.0, &[0; 12])[10..], [125, 250]);
        assert_eq!(waits(20.0, &[0; 20]), [0; 20]);
        assert_eq!(waits(20.0, &[0; 22])[20..], [125, 250]);
    }

    #[test]
    fn what_was_taken_comes_back() {
        let mut moments = [0; 20];
        moments[10..].fill(2000);
        assert_eq!(waits(10.0, &moments), [0; 20]);
        moments[10..].fill(1000);
        assert_eq!(
            waits(10.0, &moments)[10..],
            [0, 0, 0, 0, 0, 0, 0, 0, 125, 250]
        );
    }

    /// AWS fills faster than we take, so what is taken at once is never more than the share.
    #[test]
    fn we_take_less_than_is_put_back() {
        for (service, puts_back) in [
            (Service::Elb, 10.0),
            (Service::Rds, 12.0),
            (Service::AutoScaling, 10.0),
            (Service::CloudWatch, 9.0),
        ] {
            let share = service.share().expect("paced");
            assert!(share.refill < puts_back, "{service:?}");
        }
    }
}
