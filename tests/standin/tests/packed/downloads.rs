//! The release server, over HTTPS, through the program that starts it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};
use reqwest::{Certificate, Client, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use standin::scratch_postgres::loopback;

use crate::life::Authority;

struct ReleaseServer(Child);

impl Drop for ReleaseServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_standin-release"))
}

fn pack(out: &Path, releases: &[&str]) -> Vec<Value> {
    let output = program()
        .args([
            "pack",
            "--binary",
            env!("CARGO_BIN_EXE_mattermost"),
            "--out",
        ])
        .arg(out)
        .args(releases)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tarballs_are_served_whole_and_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let packed = pack(folder.path(), &["11.9.0", "11.10.1:unhealthy"]);
    assert_eq!(packed[1]["behaviour"], "unhealthy");
    let authority = Authority::new();
    let address = loopback();
    let issued = authority.issue(&address.to_string());
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, issued.certificate).unwrap();
    std::fs::write(&key, issued.key).unwrap();
    let mut child = program()
        .args(["serve", "--listen", &format!("{address}:0"), "--directory"])
        .arg(folder.path())
        .arg("--certificate")
        .arg(&certificate)
        .arg("--key")
        .arg(&key)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let _server = ReleaseServer(child);
    let ready: Value = serde_json::from_str(&line).unwrap();
    let base = ready["url"].as_str().unwrap();

    let root = Certificate::from_pem(authority.0.pem().as_bytes()).unwrap();
    let client = Client::builder()
        .tls_certs_only([root])
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("{base}/11.9.0/mattermost-11.9.0-linux-amd64.tar.gz");
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(
        head.headers()["content-length"].to_str().unwrap(),
        packed[0]["size"].to_string()
    );
    assert_eq!(head.headers()[ACCEPT_RANGES], "bytes");
    let etag = head.headers()[ETAG].clone();

    let whole = client
        .get(&url)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(
        hex::encode(Sha256::digest(&whole)),
        packed[0]["sha256"].as_str().unwrap()
    );
    let rest = client
        .get(&url)
        .header(RANGE, "bytes=1000-")
        .header(IF_RANGE, &etag)
        .send()
        .await
        .unwrap();
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        rest.headers()[CONTENT_RANGE].to_str().unwrap(),
        format!("bytes 1000-{}/{}", whole.len() - 1, whole.len())
    );
    assert_eq!(rest.bytes().await.unwrap(), whole.slice(1000..));
    let stale = client
        .get(&url)
        .header(RANGE, "bytes=0-0")
        .header(IF_RANGE, "\"other\"")
        .send()
        .await
        .unwrap();
    assert_eq!(
        stale.status(),
        StatusCode::OK,
        "another file than the one begun: from the start"
    );
    let same = client
        .get(&url)
        .header(IF_NONE_MATCH, &etag)
        .send()
        .await
        .unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    let beyond = client
        .get(&url)
        .header(RANGE, "bytes=999999999-")
        .send()
        .await
        .unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    for absent in [
        "/11.9.1/mattermost-11.9.1-linux-amd64.tar.gz",
        "/",
        "/11.9.0",
        "/%2e%2e/etc/passwd",
    ] {
        assert_eq!(
            client
                .get(format!("{base}{absent}"))
                .send()
                .await
                .unwrap()
                .status(),
            StatusCode::NOT_FOUND,
            "{absent}"
        );
    }
    assert!(
        Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(&url)
            .send()
            .await
            .is_err(),
        "an unknown authority"
    );
}

#[test]
fn one_version_has_one_tarball() {
    let folder = tempfile::tempdir().unwrap();
    let output = program()
        .args(["pack", "--out"])
        .arg(folder.path())
        .args(["11.9.0", "11.9.0:unhealthy"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("named twice"));
}
