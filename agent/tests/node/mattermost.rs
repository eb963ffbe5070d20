//! A server for the agent to run: this test binary, started again by the script in the tarball. It
//! answers the ping as Mattermost does and dies or sickens on demand, by files in its directory; what it
//! says of its licence is the word in MM_LICENSE.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// The script at `bin/mattermost` of a release. As the real one, `db migrate` opens MM_CONFIG without
/// writing to it; the server writes the first row, unless one is there.
pub fn script(version: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "#!/bin/sh\n\
         sql() {{ psql -q \"$1\" -v ON_ERROR_STOP=1 -c \"SET client_min_messages = warning; $2\"; }}\n\
         tables='CREATE TABLE IF NOT EXISTS configurations (id varchar(26) PRIMARY KEY, \
               value text NOT NULL, createat bigint NOT NULL, active boolean NULL UNIQUE)'\n\
         case \"$1\" in\n\
         version) echo 'Version: {version}'; echo 'Build Number: 1'; exit 0;;\n\
         db) [ -z \"$MM_CONFIG\" ] || sql \"$MM_CONFIG\" \"$tables\" || exit 1\n\
             sql \"$MM_SQLSETTINGS_DATASOURCE\" \"\
               CREATE TABLE IF NOT EXISTS db_migrations (version bigint PRIMARY KEY, name text); \
               INSERT INTO db_migrations VALUES (1, 'create_teams'), (2, 'create_users') \
               ON CONFLICT DO NOTHING\"; exit;;\n\
         esac\n\
         [ -z \"$MM_CONFIG\" ] || [ -e config/forget-configuration ] || sql \"$MM_CONFIG\" \
               \"$tables; INSERT INTO configurations VALUES ('first', '{{}}', 1, true) ON CONFLICT DO NOTHING\" \
               || exit 1\n\
         FAKE_VERSION={version} exec '{}' --exact mattermost::server --ignored --nocapture\n",
        program.display()
    )
}

/// A script that dies at once, saying why.
pub fn crashing(version: &str) -> String {
    format!(
        "#!/bin/sh\n\
         [ \"$1\" = version ] && echo 'Version: {version}' && exit 0\n\
         echo 'panic: cannot read the licence' >&2\n\
         exit 3\n"
    )
}

/// What the server was started with.
struct Started {
    version: String,
    /// Of its site URL.
    path: String,
    licence: String,
}

#[test]
#[ignore = "the server that the other tests run"]
fn server() {
    let Ok(version) = std::env::var("FAKE_VERSION") else {
        return;
    };
    let setting = |name: &str| std::env::var(name).unwrap_or_default();
    let path = url::Url::parse(&setting("MM_SERVICESETTINGS_SITEURL"))
        .map_or(String::new(), |url| {
            url.path().trim_end_matches('/').to_owned()
        });
    let started = std::sync::Arc::new(Started {
        version,
        path,
        licence: setting("MM_LICENSE"),
    });
    let listen = std::env::var("MM_SERVICESETTINGS_LISTENADDRESS").unwrap();
    let listener = TcpListener::bind(&listen).unwrap();
    println!("listening on {listen}");
    if started.licence == "damaged" {
        println!("error: failed to read the licence");
    }
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).unwrap();
    for stream in listener.incoming() {
        // A client that says nothing keeps nobody else waiting.
        let started = std::sync::Arc::clone(&started);
        std::thread::spawn(move || answer(&started, stream.unwrap()));
    }
}

fn answer(started: &Started, mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    let _ = reader.read_line(&mut first);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        line.clear();
    }
    // The shared configuration folder, which a test can reach.
    if Path::new("config/crash").exists() {
        std::fs::remove_file("config/crash").unwrap();
        println!("panic: asked to crash");
        std::process::exit(2);
    }
    let asked = first.split_whitespace().nth(1).unwrap_or_default();
    let (status, body) = match asked.strip_prefix(started.path.as_str()) {
        Some("/api/v4/system/ping?get_server_status=true") => ping(),
        Some("/api/v4/license/client?format=old") => licence(&started.licence),
        Some(_) => ("404 Not Found", String::new()),
        None => ("302 Found", String::new()),
    };
    let (version, path) = (&started.version, &started.path);
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-version-id: {version}.1.abc.false\r\n\
         location: {path}{asked}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn ping() -> (&'static str, String) {
    let well = |name: &str| {
        let sick = Path::new(name).exists();
        if sick { "UNHEALTHY" } else { "OK" }
    };
    let (database, files) = (well("config/sick"), well("config/files-sick"));
    let status = if database == "OK" && files == "OK" {
        "200 OK"
    } else {
        "500 Internal Server Error"
    };
    let body =
        format!(r#"{{"status":"OK","database_status":"{database}","filestore_status":"{files}"}}"#);
    (status, body)
}

/// Without an administrator's session: texts, and nothing of who and until when.
fn licence(word: &str) -> (&'static str, String) {
    let body = match word {
        "cluster" => r#"{"IsLicensed":"true","Cluster":"true","LDAP":"true"}"#,
        "single" => r#"{"IsLicensed":"true","Cluster":"false","LDAP":"true"}"#,
        "broken" => return ("500 Internal Server Error", String::new()),
        _ => r#"{"IsLicensed":"false"}"#,
    };
    ("200 OK", body.to_owned())
}
