//! A local AWS region with real instances in it.
//!
//! ```text
//!            aws CLI, boto3, Packer, the orchestrator (endpoint_url the only difference)
//!                                   |
//!                       api: sigv4, faults, parameters
//!                                   |
//!                       authorize: the policies of the caller's role
//!                                   |
//!      ec2   asg   elbv2   rds   cloudwatch   sts   iam   secrets   acm   kms   s3   <- one module a service
//!       |     |      |      |        |
//!    runtime  |    proxy  postgres  collector          clock: the only source of progress
//! ```
//!
//! Invariants:
//! * A state machine is advanced by the [`Clock`], never by a describe call.
//! * A service locks its own state only, and never across an await or a call into another service.
//! * What is not implemented is refused with AWS's own error, never answered with an empty success.
//!
//! docs/lab.md lists every behaviour claimed, with the AWS page that it comes from, and what is simplified.

pub mod acm;
pub mod api;
pub mod asg;
mod authorize;
pub mod ca;
pub mod clock;
pub mod cloudwatch;
pub mod control;
pub mod ec2;
pub mod elbv2;
pub mod fault;
pub mod iam;
pub mod iam_api;
pub mod ids;
pub mod imds;
pub mod kms;
pub mod rds;
pub mod runtime;
pub mod s3;
pub mod secrets;
pub mod sts;
pub mod throttle;
mod wildcard;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use api::{ApiError, Call, Reply, Service};
pub use clock::Clock;

/// How a lab is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything lives: instance roots, database clusters, logs. Made if absent.
    pub directory: PathBuf,
    /// The API endpoint; port 0 picks one.
    pub listen: SocketAddr,
    /// Lab seconds per real second.
    pub speed: f64,
    /// For ids, and for what RDS chooses by itself.
    pub seed: u64,
    /// Regions with their zones; the default is us-east-1 and us-west-2 with three zones each.
    pub regions: Vec<Region>,
    /// The `lab` binary, which stands between the lab and each instance's processes so that they end
    /// with it even when it is killed; see [`runtime`]. None starts them without it.
    pub launcher: Option<PathBuf>,
    /// What instances run on.
    pub runtime: runtime::Kind,
    /// Whether calls beyond AWS's token buckets are refused; they are counted either way.
    pub throttling: bool,
}

/// A region and its zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// For example `us-east-1`.
    pub name: String,
    /// For example `us-east-1a`.
    pub zones: Vec<String>,
    /// Second octet of the region's default VPC. It is 127.N.0.0/16 with processes: loopback, so that
    /// every address in it can be bound without privileges. It is 10.N.0.0/16 with machines.
    pub octet: u8,
}

impl Config {
    /// Two regions of three zones, at AWS's own pace, on a free loopback port.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let region = |name: &str, octet| Region {
            name: name.to_owned(),
            zones: ["a", "b", "c"].map(|zone| format!("{name}{zone}")).to_vec(),
            octet,
        };
        Self {
            directory: directory.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            speed: 1.0,
            seed: 1,
            regions: vec![region("us-east-1", 32), region("us-west-2", 33)],
            launcher: None,
            runtime: runtime::Kind::Process,
            throttling: true,
        }
    }

    /// What every address of the lab lies in.
    pub fn addresses(&self) -> Vec<Ipv4Net> {
        match self.runtime {
            runtime::Kind::Process => {
                vec![Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)]
            }
            runtime::Kind::Machine => self.regions.iter().map(|it| self.network(it)).collect(),
        }
    }

    /// The addresses of a region's default VPC.
    pub fn network(&self, region: &Region) -> Ipv4Net {
        let first = match self.runtime {
            runtime::Kind::Process => 127,
            runtime::Kind::Machine => 10,
        };
        Ipv4Net::new_assert(Ipv4Addr::new(first, region.octet, 0, 0), 16)
    }
}

/// A running lab. Services hold their own state behind their own lock.
#[derive(Debug)]
pub struct Lab {
    /// As started.
    pub config: Config,
    /// Time.
    pub clock: Clock,
    /// Ids, and what is chosen at random, by seed.
    pub ids: ids::Ids,
    /// Keys and roles.
    pub iam: iam::Iam,
    /// Roles and instance profiles.
    pub directory: iam_api::Directory,
    /// The instances' role credentials.
    pub sessions: iam_api::Sessions,
    /// Faults that wait.
    pub faults: fault::Faults,
    /// Calls counted, and the buckets that they take from.
    pub throttle: throttle::Throttle,
    /// The lab's certificate authority: RDS, ACM, the release server.
    pub ca: ca::Ca,
    /// EC2.
    pub ec2: ec2::Ec2,
    /// Auto Scaling.
    pub asg: asg::Asg,
    /// Elastic Load Balancing v2.
    pub elbv2: elbv2::Elbv2,
    /// RDS.
    pub rds: rds::Rds,
    /// CloudWatch.
    pub cloudwatch: cloudwatch::CloudWatch,
    /// Secrets Manager.
    pub secrets: secrets::Secrets,
    /// Certificate Manager.
    pub acm: acm::Acm,
    /// Key Management Service.
    pub kms: kms::Kms,
    /// S3.
    pub s3: s3::S3Store,
    /// Cancelled when the lab ends; every task listens.
    pub shutdown: CancellationToken,
    /// Every background task, so that the end can be awaited.
    pub tasks: TaskTracker,
}

impl Lab {
    /// Starts a lab; returns it with the address of its API endpoint.
    pub async fn start(config: Config) -> anyhow::Result<(Arc<Self>, SocketAddr)> {
        std::fs::create_dir_all(&config.directory)?;
        let runtime = runtime::build(&config).await?;
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let lab = Arc::new(Self {
            clock: Clock::new(config.speed),
            ids: ids::Ids::new(config.seed),
            iam: iam::Iam::new(),
            directory: iam_api::Directory::default(),
            sessions: iam_api::Sessions::default(),
            faults: fault::Faults::default(),
            throttle: throttle::Throttle::default(),
            ca: ca::Ca::create(&config.directory)?,
            ec2: ec2::Ec2::new(&config, runtime),
            asg: asg::Asg::default(),
            elbv2: elbv2::Elbv2::default(),
            rds: rds::Rds::default(),
            cloudwatch: cloudwatch::CloudWatch::default(),
            secrets: secrets::Secrets::default(),
            acm: acm::Acm::default(),
            kms: kms::Kms::default(),
            s3: s3::S3Store::new(&config.directory)?,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        lab.spawn(api::serve(Arc::clone(&lab), listener));
        ec2::start(&lab);
        asg::start(&lab);
        elbv2::start(&lab);
        rds::start(&lab);
        cloudwatch::start(&lab);
        s3::start(&lab);
        Ok((lab, address))
    }

    /// Counts a call and takes its token; fails as AWS does when its bucket is empty.
    pub(crate) fn admit(&self, asked: throttle::Asked<'_>) -> Result<(), ApiError> {
        let now = throttle::Moment {
            lab: self.clock.lab_time(),
            wall: self.clock.real_time(),
        };
        self.throttle.take(asked, now, self.config.throttling)
    }

    /// Runs a task until it ends or the lab does.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// Ends everything: instances, databases, proxies; returns when they are gone.
    pub async fn stop(self: &Arc<Self>) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        ec2::stop_all(self).await;
        rds::stop_all(self).await;
    }

    /// Whether the region exists.
    pub fn has_region(&self, name: &str) -> bool {
        self.region(name).is_some()
    }

    /// A region by name.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.config
            .regions
            .iter()
            .find(|region| region.name == name)
    }
}

/// Sends a call to its service, when its caller may make it.
pub(crate) async fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    authorize::check(lab, call)?;
    let reply = match call.service {
        Service::Ec2 => ec2::dispatch(lab, call).await,
        Service::AutoScaling => asg::dispatch(lab, call).await,
        Service::Elbv2 => elbv2::dispatch(lab, call).await,
        Service::Rds => rds::dispatch(lab, call).await,
        Service::CloudWatch => cloudwatch::dispatch(lab, call).await,
        Service::Sts => sts::dispatch(lab, call),
        Service::Iam => iam_api::dispatch(lab, call),
        Service::SecretsManager => secrets::dispatch(lab, call).await,
        Service::Acm => acm::dispatch(lab, call).await,
        Service::Kms => kms::dispatch(lab, call),
    }?;
    iam_api::linked::made(lab, call);
    Ok(reply)
}
