//! The clients: one set a region, twice. Reads retry what was throttled; effects are tried once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region as RegionName, SdkConfig};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use crate::calls::{Calls, Service, Watched};
use crate::error::ReadError;
use crate::pace::Paces;

/// To a TCP connection. AWS's endpoints answer within milliseconds; three seconds is a lost packet and its two repeats.
const CONNECT: Duration = Duration::from_secs(3);
/// To one answer. The slowest call that we make (`CreateAutoScalingGroup`) answers within a few seconds.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Attempts of a read: the SDK's standard mode, with its back-off and its token bucket.
const READ_ATTEMPTS: u32 = 3;

/// AWS, as one stack sees it. Cheap to clone.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

struct Inner {
    stack: String,
    home: String,
    regions: BTreeMap<String, Region>,
    /// Where signed STS requests of nodes are sent instead of their own host, when set.
    sts_endpoint: Option<String>,
    /// What sends them: made once, for it reads the host's roots.
    forwarder: OnceLock<reqwest::Client>,
    /// What clients are made from.
    config: SdkConfig,
    /// Ours, asked once.
    account: OnceCell<String>,
    /// Versions of files that this process deleted.
    deleted: AtomicU64,
    wiring: Wiring,
}

/// What every client of the process has in common.
#[derive(Clone)]
struct Wiring {
    calls: Arc<Calls>,
    paces: Paces,
}

impl Wiring {
    /// What the client of one service is made from.
    fn config(&self, config: &SdkConfig, service: Service) -> SdkConfig {
        let http = self.paces.client(service);
        config.to_builder().http_client(http).build()
    }

    fn watched(&self, service: Service, acts: bool) -> Watched {
        Watched {
            service,
            acts,
            calls: Arc::clone(&self.calls),
        }
    }
}

/// One region's clients.
pub(crate) struct Region {
    /// For reads: throttled and failed ones are repeated.
    pub(crate) look: Services,
    /// For effects: one attempt.
    pub(crate) act: Services,
}

/// One client a service.
pub(crate) struct Services {
    pub(crate) acm: aws_sdk_acm::Client,
    pub(crate) autoscaling: aws_sdk_autoscaling::Client,
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) elb: aws_sdk_elasticloadbalancingv2::Client,
    pub(crate) kms: aws_sdk_kms::Client,
    pub(crate) rds: aws_sdk_rds::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) sts: aws_sdk_sts::Client,
}

/// Keys for [`Cloud::connect_with`].
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: SecretString,
    /// For temporary credentials.
    pub session_token: Option<SecretString>,
}

impl Cloud {
    /// With AWS's default chain of settings and credentials: environment, profile, container, instance
    /// role. `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` count. Nothing is sent before the first call.
    pub async fn connect(stack: &str, home_region: &str, regions: &[String]) -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(RegionName::new(home_region.to_owned()))
            .timeout_config(timeouts())
            .load()
            .await;
        let sts_endpoint = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        Self::new(stack, home_region, regions, &config, sts_endpoint, true)
    }

    /// With this endpoint for every service and these credentials, whatever the environment says: for
    /// tests and tools against a local region, which calls as fast as it likes.
    pub fn connect_with(
        stack: &str,
        home_region: &str,
        regions: &[String],
        endpoint: &str,
        credentials: &Credentials,
    ) -> Self {
        let provider = aws_credential_types::Credentials::new(
            &credentials.access_key_id,
            credentials.secret_access_key.expose_secret(),
            credentials
                .session_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned()),
            None,
            "given",
        );
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(RegionName::new(home_region.to_owned()))
            .timeout_config(timeouts())
            .endpoint_url(endpoint)
            .credentials_provider(
                aws_credential_types::provider::SharedCredentialsProvider::new(provider),
            )
            .build();
        Self::new(
            stack,
            home_region,
            regions,
            &config,
            Some(endpoint.to_owned()),
            false,
        )
    }

    fn new(
        stack: &str,
        home: &str,
        regions: &[String],
        config: &SdkConfig,
        sts_endpoint: Option<String>,
        paced: bool,
    ) -> Self {
        let wiring = Wiring {
            calls: Arc::default(),
            paces: Paces::new(paced),
        };
        let clients = |name: &str| {
            // Reads and effects of one service in one region take from one bucket.
            let config = config.to_builder();
            let config = config.region(RegionName::new(name.to_owned())).build();
            Region::new(&config, &wiring)
        };
        let regions = regions
            .iter()
            .map(String::as_str)
            .chain([home])
            .map(|name| (name.to_owned(), clients(name)))
            .collect();
        Self(Arc::new(Inner {
            stack: stack.to_owned(),
            home: home.to_owned(),
            regions,
            sts_endpoint,
            forwarder: OnceLock::new(),
            config: config
                .to_builder()
                .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS))
                .build(),
            account: OnceCell::new(),
            deleted: AtomicU64::new(0),
            wiring,
        }))
    }

    /// The stack whose tag counts.
    pub fn stack(&self) -> &str {
        &self.0.stack
    }

    /// The region of database and fleet.
    pub fn home_region(&self) -> &str {
        &self.0.home
    }

    /// All regions, the home among them.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.0.regions.keys().map(String::as_str)
    }

    /// Clients for reads in the home region.
    pub(crate) fn look(&self) -> &Services {
        &self.home().look
    }

    /// Clients for effects in the home region.
    pub(crate) fn act(&self) -> &Services {
        &self.home().act
    }

    /// One region's clients.
    pub(crate) fn region(&self, name: &str) -> Option<&Region> {
        self.0.regions.get(name)
    }

    /// What clients are made from.
    pub(crate) fn config(&self) -> &SdkConfig {
        &self.0.config
    }

    /// Our own account, asked once.
    pub(crate) async fn account(&self) -> Result<String, ReadError> {
        self.0
            .account
            .get_or_try_init(|| async {
                let identity = self.caller_identity().await?;
                Ok(identity.account)
            })
            .await
            .cloned()
    }

    /// How often each action of each service was called by this process, repeats among them.
    pub fn calls(&self) -> BTreeMap<(&'static str, String), u64> {
        self.0.wiring.calls.counts()
    }

    /// The counts themselves, with what was changed when.
    pub(crate) fn counted(&self) -> &Calls {
        &self.0.wiring.calls
    }

    /// Bursts may take half of a bucket of tokens from now on, or a quarter only.
    pub(crate) fn widen(&self, wide: bool) {
        self.0.wiring.paces.widen(wide);
    }

    /// A client for reads in a region that need be none of the stack's.
    pub(crate) fn kms_elsewhere(&self, region: &str) -> aws_sdk_kms::Client {
        let (config, wiring) = (self.config_in(region), &self.0.wiring);
        kms_client(&config, wiring, false)
    }

    /// A client for reads in a region that need be none of the stack's.
    pub(crate) fn s3_elsewhere(&self, region: &str) -> aws_sdk_s3::Client {
        let (config, wiring) = (self.config_in(region), &self.0.wiring);
        s3_client(&config, wiring, false)
    }

    fn config_in(&self, region: &str) -> SdkConfig {
        let config = self.0.config.to_builder();
        config.region(RegionName::new(region.to_owned())).build()
    }

    /// Versions of files that this process deleted, all in all.
    pub(crate) fn deleted_versions(&self) -> u64 {
        self.0.deleted.load(Ordering::Relaxed)
    }

    /// So many more; all in all.
    pub(crate) fn count_deleted(&self, more: u64) -> u64 {
        self.0.deleted.fetch_add(more, Ordering::Relaxed) + more
    }

    /// Where nodes' signed STS requests go instead of their own host.
    pub(crate) fn sts_endpoint(&self) -> Option<&str> {
        self.0.sts_endpoint.as_deref()
    }

    /// The client that sends them, made by `make` when it is needed first.
    pub(crate) fn forwarder<E>(
        &self,
        make: impl FnOnce() -> Result<reqwest::Client, E>,
    ) -> Result<&reqwest::Client, E> {
        match self.0.forwarder.get() {
            Some(client) => Ok(client),
            None => make().map(|client| self.0.forwarder.get_or_init(|| client)),
        }
    }

    fn home(&self) -> &Region {
        self.region(&self.0.home)
            .expect("the home region was put in at construction")
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud")
            .field("stack", &self.0.stack)
            .field("home", &self.0.home)
            .field("regions", &self.0.regions.keys())
            .finish_non_exhaustive()
    }
}

impl Region {
    fn new(config: &SdkConfig, wiring: &Wiring) -> Self {
        let of = |service| wiring.config(config, service);
        let configs = Service::ALL.map(|service| (service, of(service)));
        let services = |retry: &RetryConfig, acts| {
            let of = |wanted| {
                let (_, config) = configs
                    .iter()
                    .find(|(service, _)| *service == wanted)
                    .expect("of every service");
                let config = config.to_builder().retry_config(retry.clone());
                config.build()
            };
            Services::new(&of, wiring, acts)
        };
        let reads = RetryConfig::standard().with_max_attempts(READ_ATTEMPTS);
        Self {
            look: services(&reads, false),
            act: services(&RetryConfig::disabled(), true),
        }
    }
}

/// One client, watched.
macro_rules! client {
    ($sdk:ident, $config:expr, $watched:expr) => {
        $sdk::Client::from_conf(
            $sdk::config::Builder::from(&$config.clone())
                .interceptor($watched)
                .build(),
        )
    };
}

impl Services {
    fn new(of: &impl Fn(Service) -> SdkConfig, wiring: &Wiring, acts: bool) -> Self {
        use Service::{Acm, AutoScaling, CloudWatch, Ec2, Elb, Kms, Rds, S3, Secrets, Sts};
        let watched = |service| wiring.watched(service, acts);
        Self {
            acm: client!(aws_sdk_acm, of(Acm), watched(Acm)),
            autoscaling: client!(aws_sdk_autoscaling, of(AutoScaling), watched(AutoScaling)),
            cloudwatch: client!(aws_sdk_cloudwatch, of(CloudWatch), watched(CloudWatch)),
            ec2: client!(aws_sdk_ec2, of(Ec2), watched(Ec2)),
            elb: client!(aws_sdk_elasticloadbalancingv2, of(Elb), watched(Elb)),
            kms: kms_client(&of(Kms), wiring, acts),
            rds: client!(aws_sdk_rds, of(Rds), watched(Rds)),
            s3: s3_client(&of(S3), wiring, acts),
            secrets: client!(aws_sdk_secretsmanager, of(Secrets), watched(Secrets)),
            sts: client!(aws_sdk_sts, of(Sts), watched(Sts)),
        }
    }
}

fn kms_client(config: &SdkConfig, wiring: &Wiring, acts: bool) -> aws_sdk_kms::Client {
    client!(aws_sdk_kms, config, wiring.watched(Service::Kms, acts))
}

/// S3 in the configuration's region.
fn s3_client(config: &SdkConfig, wiring: &Wiring, acts: bool) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(config)
            .force_path_style(path_style(config))
            .interceptor(wiring.watched(Service::S3, acts))
            .build(),
    )
}

/// Behind an endpoint that is not AWS's own, a bucket's name before the host's need not resolve.
fn path_style(config: &SdkConfig) -> bool {
    let for_s3 = std::env::var_os("AWS_ENDPOINT_URL_S3").is_some_and(|value| !value.is_empty());
    config.endpoint_url().is_some() || for_s3
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .build()
}
