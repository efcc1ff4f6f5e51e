//! haproxy in front of a search server: users, API keys and TLS, none of which Elasticsearch 7.10 has without X-Pack.

use super::{end, free_port};
use anyhow::{Context, bail};
use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// An authority and a certificate for 127.0.0.1 that it has signed, made by openssl.
#[derive(Debug)]
pub struct Certificate {
    directory: TempDir,
}

impl Certificate {
    /// New ones.
    ///
    /// # Errors
    /// openssl is missing or fails.
    pub fn new() -> anyhow::Result<Self> {
        let certificate = Self {
            directory: tempfile::tempdir()?,
        };
        certificate.openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        )?;
        certificate
            .openssl("req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr")?;
        fs::write(certificate.path("extensions"), "subjectAltName=IP:127.0.0.1\n")?;
        certificate.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem",
        )?;
        let both = fs::read_to_string(certificate.path("server.pem"))?
            + &fs::read_to_string(certificate.path("server.key"))?;
        fs::write(certificate.path("both.pem"), both)?;
        Ok(certificate)
    }

    /// The authority's certificate, for `ca_file`.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, arguments: &str) -> anyhow::Result<()> {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.directory.path())
            .output()
            .context("cannot run openssl")?;
        if !output.status.success() {
            bail!("openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// A haproxy; ended when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    child: Child,
    directory: TempDir,
}

impl Proxy {
    /// Passes on to a server what carries this `Authorization` header, and answers anything else 401.
    ///
    /// # Errors
    /// haproxy is missing or does not start.
    pub fn start(
        server: u16,
        authorization: &str,
        certificate: Option<&Certificate>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let tls = certificate.map_or(String::new(), |it| {
            format!(" ssl crt {}", it.path("both.pem").display())
        });
        let file = directory.path().join("haproxy.cfg");
        fs::write(
            &file,
            format!(
                "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
                 frontend front\n bind 127.0.0.1:{port}{tls}\n\
                 http-request return status 401 unless {{ req.hdr(authorization) -m str '{authorization}' }}\n\
                 default_backend back\n\
                 backend back\n server one 127.0.0.1:{server}\n"
            ),
        )?;
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("output.log"))?)
            .spawn()
            .context("cannot start haproxy")?;
        let mut proxy = Self {
            port,
            child,
            directory,
        };
        proxy.wait_until_ready()?;
        Ok(proxy)
    }

    /// Its address after the scheme.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let limit = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if !matches!(self.child.try_wait(), Ok(None)) || Instant::now() > limit {
                let log = fs::read_to_string(self.directory.path().join("output.log"))?;
                bail!("haproxy did not start: {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
