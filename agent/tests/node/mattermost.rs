//! A server for the agent to run: this test binary, started again by the script in the tarball. It
//! answers the ping as Mattermost does and dies or sickens on demand, by files in its directory.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// The script at `bin/mattermost` of a release.
pub fn script(version: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "#!/bin/sh\n\
         case \"$1\" in\n\
         version) echo 'Version: {version}'; echo 'Build Number: 1'; exit 0;;\n\
         db) exec psql -q \"$MM_SQLSETTINGS_DATASOURCE\" -v ON_ERROR_STOP=1 -c \"\
               CREATE TABLE IF NOT EXISTS db_migrations (version bigint PRIMARY KEY, name text); \
               INSERT INTO db_migrations VALUES (1, 'create_teams'), (2, 'create_users') \
               ON CONFLICT DO NOTHING\";;\n\
         esac\n\
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

#[test]
#[ignore = "the server that the other tests run"]
fn server() {
    let Ok(version) = std::env::var("FAKE_VERSION") else {
        return;
    };
    let listen = std::env::var("MM_SERVICESETTINGS_LISTENADDRESS").unwrap();
    let listener = TcpListener::bind(&listen).unwrap();
    println!("listening on {listen}");
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).unwrap();
    for stream in listener.incoming() {
        // A client that says nothing keeps nobody else waiting.
        let version = version.clone();
        std::thread::spawn(move || answer(&version, stream.unwrap()));
    }
}

fn answer(version: &str, mut stream: TcpStream) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        line.clear();
    }
    // The shared configuration folder, which a test can reach.
    if Path::new("config/crash").exists() {
        std::fs::remove_file("config/crash").unwrap();
        println!("panic: asked to crash");
        std::process::exit(2);
    }
    let sick = Path::new("config/sick").exists();
    let (status, database) = if sick {
        ("500 Internal Server Error", "UNHEALTHY")
    } else {
        ("200 OK", "OK")
    };
    let body =
        format!(r#"{{"status":"OK","database_status":"{database}","filestore_status":"OK"}}"#);
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-version-id: {version}.1.abc.false\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
}
