//! The specification that `init` writes: complete, commented, and itself a test of the reader.

/// What `init` is told; everything else has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Stack.
    pub stack: String,
    /// Zones, home first.
    pub zones: Vec<String>,
    /// Mattermost's version.
    pub version: String,
    /// SHA-256 of the tarball.
    pub sha256: String,
    /// AMI id or name.
    pub image: String,
    /// `host:port` of every orchestrator.
    pub addresses: Vec<String>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            stack: "mattermost".to_owned(),
            zones: vec!["us-east-1a".to_owned(), "us-east-1b".to_owned()],
            version: "11.10.0".to_owned(),
            sha256: "8ae404ed0c0fbab2b01c00c031b9d0f3e17c51007e3bb3401bebaf3e60da0c3e".to_owned(),
            image: "mattermost-base-11.10.0-*".to_owned(),
            addresses: vec!["orchestrator.internal:7443".to_owned()],
        }
    }
}

/// A complete, valid `mattermost.toml`. Lines that begin with `# name =` show the default.
pub fn template(answers: &Answers) -> String {
    let list = |items: &[String]| {
        let quoted: Vec<String> = items.iter().map(|item| quoted(item)).collect();
        format!("[{}]", quoted.join(", "))
    };
    TEXT.replace("@stack@", &quoted(&answers.stack))
        .replace("@zones@", &list(&answers.zones))
        .replace("@version@", &quoted(&answers.version))
        .replace("@sha256@", &quoted(&answers.sha256))
        .replace("@image@", &quoted(&answers.image))
        .replace("@addresses@", &list(&answers.addresses))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

const TEXT: &str = r#"# A Mattermost stack on AWS. `orchestrator plan` shows what it would become, `orchestrator up` makes it.

# Name of the stack: every resource is named and tagged after it.
stack = @stack@

# Availability zones. The first one's region is the home, where database and fleet live (two zones of
# it at least); the image is copied to every other region named here.
zones = @zones@

[mattermost]
version = @version@
# SHA-256 of the release's tarball, from Mattermost's version archive.
sha256 = @sha256@
# Where the tarball lies, when not in Mattermost's own archive; `{version}` stands for the version.
# url = "https://mirror.example/mattermost-{version}-linux-amd64.tar.gz"
# Extra roots for that mirror's certificate.
# trust_file = "mirror-ca.pem"
# Key that must have signed every release, besides the digest above.
# signature = { fingerprint = "<40 hexadecimal digits>", key_file = "mattermost.asc" }
# "enterprise" (free without a licence) or "team".
edition = "enterprise"
# Secrets Manager secret that holds the licence's text.
# licence_secret = "mattermost/licence"
# Whether that licence allows a cluster (Enterprise). Without one: one node, and rollouts have a short pause.
cluster = false
# More than one node without a cluster licence loses messages between nodes. Only for those who know.
accept_unlicensed_nodes = false

# Settings for every node, as Mattermost's documentation names them. No secrets here.
[mattermost.settings]
MM_TEAMSETTINGS_ENABLEOPENSERVER = "false"

# Settings whose values lie in Secrets Manager: the secret's name or ARN, and `#key` of a JSON secret.
[mattermost.secrets]
# MM_EMAILSETTINGS_SMTPPASSWORD = "chat/smtp#password"

# Releases that `orchestrator rollout --mattermost X` may name without `--sha256`.
[mattermost.releases]
# "11.11.0" = "<64 hexadecimal digits>"

# What came out after this build, so that rollouts to it are judged rightly.
[mattermost.versions]
# extended_support = ["12.4"]
# last_minor = ["11.12"]
# oldest_postgresql = { "12" = 15 }

[database]
class = "db.m7g.large"
# PostgreSQL, major or major.minor. Default: the newest major that RDS offers, up to 17.
# engine_version = "16"
storage_gib = 100
# A synchronous standby in a second zone.
multi_az = false
# Read replicas, 0 to 5.
replicas = 1
# Days of automated backups, 1 to 35; a replica needs them.
backup_days = 7
# Default: RDS's own formula by memory.
# max_connections = 1000
# `orchestrator down --delete-database` lifts it.
deletion_protection = true
# Snapshots that rollouts took before their migration: so many of the newest are kept.
rollout_snapshots = 2
# Roots that the server's certificate must chain to.
# trust_file = "/usr/share/mattermost-orchestrator/rds-ca.pem"

# Where what users upload lives: files, avatars, emoji, exports, plugin bundles.
[files]
# "s3": a bucket. "local": the node's disk; every rollout and every replaced node loses the files.
store = "s3"
# A bucket that exists; it is used as it is. Default: the stack makes one in the home region,
# <stack>-files-<account>-<region>: private, encrypted, versioned, TLS only.
# bucket = "example-chat-files"
# Folder in the bucket.
# prefix = "chat"
# Region of the named bucket. Default: the home region.
# region = "us-east-1"
# An S3-compatible store, or an interface endpoint; the scheme decides TLS. Default: AWS's own.
# endpoint = "https://minio.example.com:9000"
# Keys of an S3-compatible store: Secrets Manager secret, and the member of it. On AWS: none, the nodes' role signs.
# access_key = "mattermost/files#access_key"
# secret_key = "mattermost/files#secret_key"
# KMS key that the bucket encrypts with. Default: S3's own keys.
# kms_key = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
# Keys under which older files still lie: nodes may read with them, for as long as such files are to be read.
# former_kms_keys = ["arn:aws:kms:us-east-1:123456789012:key/87654321-4321-4321-4321-210987654321"]
# Only with store = "local", and only with one node.
accept_losing_files = false

[fleet]
# AMI in the home region: an id, or a name whose newest image is taken once and then kept by id.
image = @image@
instance_type = "m7i.large"
min = 1
# More than one node needs a cluster licence (see above).
max = 1
# One node more when the average CPU is above this for so many minutes.
scale_out_cpu_percent = 95
scale_out_minutes = 2
# One node less when it is below this for so many minutes; 0 switches it off.
scale_in_cpu_percent = 20
scale_in_minutes = 15
# Instance profile whose role the nodes have.
instance_profile = "mattermost-node"
# Seconds that a booting node may take before it is given up, and a leaving one before it is cut off.
boot_seconds = 1800
drain_seconds = 900
# Clients that may come back in one second because a node leaves: their connections are closed in batches.
reconnects_per_second = 100
# EC2 key pair of the home region: its owner may log in to nodes, to see why one does not come up. Default: nobody.
# key_pair = "operators"
# Ports of the nodes that others than the load balancer reach, each with who may; security groups by id.
# Mattermost Calls wants 8443, by UDP and by TCP; Prometheus reads 8067.
# [[fleet.ports]]
# protocol = "udp"
# port = 8443
# from = ["0.0.0.0/0"]

[network]
# Default: the region's default VPC, and its subnets in the home zones.
# vpc = "vpc-0123456789abcdef0"
# subnets = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
# public_subnets = ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"]

[load_balancer]
# ACM certificate in the home region: HTTPS on 443, and 80 redirects. Without one: plain HTTP on 80.
# certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
# What users type, with a path where Mattermost is to live below one. Default: the load balancer's own name.
# site_url = "https://chat.example.com"
idle_timeout_seconds = 300
deregistration_delay_seconds = 60
# Who may reach 80 and 443.
allow = ["0.0.0.0/0"]
# "internet-facing" or "internal".
scheme = "internet-facing"

[rollout]
# The new colour's share of the traffic in percent, step by step.
weights = [10, 50, 100]
# How long each step is watched, and how long the new colour serves alone before it counts as proven.
step_seconds = 300
bake_seconds = 1800
# How late CloudWatch has all that the load balancer counted in a minute. Steps and the bake end so much later.
metrics_delay_seconds = 180
# Wait for `orchestrator rollout promote` at the end of that.
manual_promote = false
# Requests to the new colour without which a window is no evidence and stays open. Raise it where many are awake.
min_requests = 10
# Whether a window with fewer requests, or none, is judged all the same.
quiet_is_fine = false
# What turns a rollout back: server errors in hundredths of a percent, and the 95th percentile.
max_error_basis_points = 100
max_p95_ms = 2000
# Reads in a row that make a fact of `available` or `healthy`.
reads_in_a_row = 3
# Deadlines: of a phase, of one node's boot, of a migration.
phase_deadline_seconds = 3600
node_deadline_seconds = 1200
migration_deadline_seconds = 14400
# How long the old colour's template and empty group are kept.
retention_seconds = 604800

[orchestrator]
# `host:port` of every orchestrator, as nodes reach them.
addresses = @addresses@
# Where `serve` listens for nodes. Default: the first address's port, on all interfaces.
# listen = "0.0.0.0:7443"
# Security group or range that orchestrators come from: it may reach the database.
# source = "10.0.0.0/16"
# How long what happened is kept, with its causes.
event_days = 90
# How old what is known of a quiet stack may be: its state, and what only people change. Less costs calls to AWS.
state_age_seconds = 60
settings_age_seconds = 900
"#;
