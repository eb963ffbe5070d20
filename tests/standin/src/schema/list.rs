//! The migrations, oldest first. Tables and columns carry Mattermost's names, as far as the
//! stand-in stores anything in them.

use crate::release::Version;

/// One step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// `db_migrations.version`.
    pub number: i64,
    /// `db_migrations.name`.
    pub name: &'static str,
    /// The first version that has it.
    pub since: Version,
    /// Whether it runs in one transaction with its row in `db_migrations`. One that does not
    /// stays half done when it is interrupted.
    pub transactional: bool,
    /// Statements.
    pub up: &'static [&'static str],
    /// Statements that undo it.
    pub down: &'static [&'static str],
}

const fn step(
    number: i64,
    name: &'static str,
    since: (u16, u16),
    up: &'static [&'static str],
    down: &'static [&'static str],
) -> Migration {
    Migration {
        number,
        name,
        since: Version::new(since.0, since.1, 0),
        transactional: true,
        up,
        down,
    }
}

/// Outside of a transaction.
const fn apart(mut migration: Migration) -> Migration {
    migration.transactional = false;
    migration
}

/// Every migration that any version has.
pub const MIGRATIONS: &[Migration] = &[
    step(
        1,
        "create_teams",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS teams (id VARCHAR(26) PRIMARY KEY, createat BIGINT, updateat BIGINT, deleteat BIGINT, displayname VARCHAR(64), name VARCHAR(64) UNIQUE, description VARCHAR(255), email VARCHAR(128), type VARCHAR(255), companyname VARCHAR(64), alloweddomains VARCHAR(1000), inviteid VARCHAR(32), schemeid VARCHAR(26), allowopeninvite BOOLEAN)",
        ],
        &["DROP TABLE IF EXISTS teams"],
    ),
    step(
        2,
        "create_team_members",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS teammembers (teamid VARCHAR(26) NOT NULL, userid VARCHAR(26) NOT NULL, roles VARCHAR(64), deleteat BIGINT, schemeuser BOOLEAN, schemeadmin BOOLEAN, PRIMARY KEY (teamid, userid))",
        ],
        &["DROP TABLE IF EXISTS teammembers"],
    ),
    step(
        3,
        "create_cluster_discovery",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS clusterdiscovery (id VARCHAR(26) PRIMARY KEY, type VARCHAR(64), clustername VARCHAR(64), hostname VARCHAR(512), gossipport INTEGER, port INTEGER, createat BIGINT, lastpingat BIGINT)",
        ],
        &["DROP TABLE IF EXISTS clusterdiscovery"],
    ),
    step(
        15,
        "create_systems",
        (5, 0),
        &["CREATE TABLE IF NOT EXISTS systems (name VARCHAR(64) PRIMARY KEY, value VARCHAR(1024))"],
        &["DROP TABLE IF EXISTS systems"],
    ),
    step(
        20,
        "create_posts",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS posts (id VARCHAR(26) PRIMARY KEY, createat BIGINT, updateat BIGINT, deleteat BIGINT, userid VARCHAR(26), channelid VARCHAR(26), rootid VARCHAR(26), originalid VARCHAR(26), message VARCHAR(65535), type VARCHAR(26), hashtags VARCHAR(1000), fileids VARCHAR(300))",
            "CREATE INDEX IF NOT EXISTS idx_posts_channel_id_update_at ON posts (channelid, updateat)",
            "CREATE INDEX IF NOT EXISTS idx_posts_create_at ON posts (createat)",
        ],
        &["DROP TABLE IF EXISTS posts"],
    ),
    step(
        22,
        "create_sessions",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS sessions (id VARCHAR(26) PRIMARY KEY, token VARCHAR(26), createat BIGINT, expiresat BIGINT, lastactivityat BIGINT, userid VARCHAR(26), deviceid VARCHAR(512), roles VARCHAR(256), isoauth BOOLEAN)",
            "CREATE INDEX IF NOT EXISTS idx_sessions_token ON sessions (token)",
        ],
        &["DROP TABLE IF EXISTS sessions"],
    ),
    step(
        27,
        "create_status",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS status (userid VARCHAR(26) PRIMARY KEY, status VARCHAR(32), manual BOOLEAN, lastactivityat BIGINT)",
        ],
        &["DROP TABLE IF EXISTS status"],
    ),
    step(
        35,
        "create_channels",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS channels (id VARCHAR(26) PRIMARY KEY, createat BIGINT, updateat BIGINT, deleteat BIGINT, teamid VARCHAR(26), type VARCHAR(1), displayname VARCHAR(64), name VARCHAR(64), header VARCHAR(1024), purpose VARCHAR(250), lastpostat BIGINT, totalmsgcount BIGINT, creatorid VARCHAR(26), UNIQUE (name, teamid))",
        ],
        &["DROP TABLE IF EXISTS channels"],
    ),
    step(
        36,
        "create_channel_members",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS channelmembers (channelid VARCHAR(26) NOT NULL, userid VARCHAR(26) NOT NULL, roles VARCHAR(64), lastviewedat BIGINT, msgcount BIGINT, mentioncount BIGINT, lastupdateat BIGINT, PRIMARY KEY (channelid, userid))",
            "CREATE INDEX IF NOT EXISTS idx_channelmembers_user_id ON channelmembers (userid)",
        ],
        &["DROP TABLE IF EXISTS channelmembers"],
    ),
    step(
        47,
        "create_file_info",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS fileinfo (id VARCHAR(26) PRIMARY KEY, creatorid VARCHAR(26), postid VARCHAR(26), channelid VARCHAR(26), createat BIGINT, updateat BIGINT, deleteat BIGINT, path VARCHAR(512), thumbnailpath VARCHAR(512), previewpath VARCHAR(512), name VARCHAR(256), extension VARCHAR(64), size BIGINT, mimetype VARCHAR(256), width INTEGER, height INTEGER, haspreviewimage BOOLEAN)",
            "CREATE INDEX IF NOT EXISTS idx_fileinfo_postid_at ON fileinfo (postid)",
        ],
        &["DROP TABLE IF EXISTS fileinfo"],
    ),
    step(
        48,
        "create_users",
        (5, 0),
        &[
            "CREATE TABLE IF NOT EXISTS users (id VARCHAR(26) PRIMARY KEY, createat BIGINT, updateat BIGINT, deleteat BIGINT, username VARCHAR(64) UNIQUE, password VARCHAR(128), email VARCHAR(128) UNIQUE, emailverified BOOLEAN, nickname VARCHAR(64), firstname VARCHAR(64), lastname VARCHAR(64), roles VARCHAR(256), locale VARCHAR(5), failedattempts INTEGER)",
        ],
        &["DROP TABLE IF EXISTS users"],
    ),
    step(
        60,
        "create_jobs",
        (5, 20),
        &[
            "CREATE TABLE IF NOT EXISTS jobs (id VARCHAR(26) PRIMARY KEY, type VARCHAR(32), priority BIGINT, createat BIGINT, startat BIGINT, lastactivityat BIGINT, status VARCHAR(32), progress BIGINT)",
        ],
        &["DROP TABLE IF EXISTS jobs"],
    ),
    step(
        68,
        "upgrade_posts_v6.0",
        (6, 0),
        &[
            "ALTER TABLE posts ADD COLUMN IF NOT EXISTS props JSONB",
            "ALTER TABLE posts ADD COLUMN IF NOT EXISTS ispinned BOOLEAN DEFAULT false",
        ],
        &[
            "ALTER TABLE posts DROP COLUMN IF EXISTS ispinned",
            "ALTER TABLE posts DROP COLUMN IF EXISTS props",
        ],
    ),
    step(
        84,
        "create_threads",
        (6, 7),
        &[
            "CREATE TABLE IF NOT EXISTS threads (postid VARCHAR(26) PRIMARY KEY, replycount BIGINT, lastreplyat BIGINT, channelid VARCHAR(26))",
        ],
        &["DROP TABLE IF EXISTS threads"],
    ),
    step(
        110,
        "add_remoteid_to_posts",
        (9, 0),
        &["ALTER TABLE posts ADD COLUMN IF NOT EXISTS remoteid VARCHAR(26)"],
        &["ALTER TABLE posts DROP COLUMN IF EXISTS remoteid"],
    ),
    step(
        126,
        "add_editat_to_posts",
        (10, 5),
        &["ALTER TABLE posts ADD COLUMN IF NOT EXISTS editat BIGINT DEFAULT 0"],
        &["ALTER TABLE posts DROP COLUMN IF EXISTS editat"],
    ),
    step(
        139,
        "widen_users_password",
        (11, 0),
        &["ALTER TABLE users ALTER COLUMN password TYPE VARCHAR(256)"],
        &[],
    ),
    apart(step(
        145,
        "create_index_posts_user_id",
        (11, 7),
        &["CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_posts_user_id ON posts (userid)"],
        &["DROP INDEX CONCURRENTLY IF EXISTS idx_posts_user_id"],
    )),
    step(
        147,
        "add_banner_to_channels",
        (11, 8),
        &["ALTER TABLE channels ADD COLUMN IF NOT EXISTS bannerinfo JSONB"],
        &["ALTER TABLE channels DROP COLUMN IF EXISTS bannerinfo"],
    ),
    step(
        149,
        "create_views",
        (11, 9),
        &[
            "CREATE TABLE IF NOT EXISTS views (id VARCHAR(26) PRIMARY KEY, channelid VARCHAR(26), createat BIGINT, title VARCHAR(64))",
        ],
        &["DROP TABLE IF EXISTS views"],
    ),
    apart(step(
        150,
        "create_index_sessions_expires_at",
        (11, 9),
        &[
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_sessions_expires_at ON sessions (expiresat)",
        ],
        &["DROP INDEX CONCURRENTLY IF EXISTS idx_sessions_expires_at"],
    )),
    step(
        152,
        "add_lastlogin_to_users",
        (11, 10),
        &["ALTER TABLE users ADD COLUMN IF NOT EXISTS lastlogin BIGINT DEFAULT 0"],
        &["ALTER TABLE users DROP COLUMN IF EXISTS lastlogin"],
    ),
    step(
        154,
        "create_drafts_index",
        (11, 11),
        &["CREATE INDEX IF NOT EXISTS idx_jobs_status ON jobs (status)"],
        &["DROP INDEX IF EXISTS idx_jobs_status"],
    ),
];
