//! A known agent beside ours. Debian's package is unpacked and not installed: nothing is started, and
//! nobody needs to be root.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::agent::IDLE;
use super::proc::{MB, cpu_seconds, memory_mb};
use super::table::{Table, progress};

const PACKAGE: &str = "prometheus-node-exporter";

/// Size, memory and idle CPU of the exporter, after one scrape.
pub async fn measure(cache: &Path, table: &mut Table) -> anyhow::Result<()> {
    progress("a known agent: prometheus-node-exporter");
    let binary = unpacked(&cache.join(PACKAGE)).await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let mut exporter = Command::new(&binary)
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let pid = exporter.id().context("it ended at once")?;
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    let url = format!("http://127.0.0.1:{port}/metrics");
    while reqwest::get(&url).await.is_err() {
        ensure!(tokio::time::Instant::now() < until, "it does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let cpu = cpu_seconds(pid)?;
    tokio::time::sleep(IDLE).await;
    let cpu = cpu_seconds(pid)? - cpu;
    let size = std::fs::metadata(&binary)?.len() as f64 / MB;
    table.value("prometheus-node-exporter: binary", "MB", size);
    let resident = memory_mb(pid, "VmRSS")?;
    table.value("prometheus-node-exporter: resident memory", "MB", resident);
    table.value(
        "prometheus-node-exporter: CPU while nobody asks, over a minute",
        "% of a core",
        cpu / IDLE.as_secs_f64() * 100.0,
    );
    exporter.kill().await?;
    Ok(())
}

/// The program, fetched once.
async fn unpacked(folder: &Path) -> anyhow::Result<PathBuf> {
    let binary = folder.join("usr/bin").join(PACKAGE);
    if binary.exists() {
        return Ok(binary);
    }
    std::fs::create_dir_all(folder)?;
    let run = async |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("running `{program}`"))?;
        let talk = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "`{program}`: {talk}");
        anyhow::Ok(())
    };
    run("apt-get", &["download", "-q", PACKAGE]).await?;
    let files = std::fs::read_dir(folder)?.flatten();
    let package = files
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package.context("apt-get left no package")?;
    run("dpkg-deb", &["-x", &package.to_string_lossy(), "."]).await?;
    ensure!(
        binary.exists(),
        "the package holds no `{}`",
        binary.display()
    );
    Ok(binary)
}
