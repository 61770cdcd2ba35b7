//! HTTPS GET of a large file: resumed where it stopped, checked, and only then given its name.
//!
//! Beside `FILE.part` lies `FILE.part.json` with the URL, entity tag and size of what it is part of. A later request
//! asks for the rest only when the server still has the same; otherwise it begins again. Redirects are followed here
//! and not by the HTTP crate, because a hub names the file's tag and size in the redirect, and because the token may
//! not follow it.

use super::cache::{self, with_suffix};
use super::content::{Content, HEAD};
use super::hf::HfName;
use super::progress::Progress;
use super::{Hub, HubError};
use crate::pieces::Pieces;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{Response, Uri, header};
use ureq::{Agent, Body};

/// Attempts in a row that bring no new byte before it is given up.
const MAX_ATTEMPTS: u32 = 5;
const MAX_REDIRECTS: u32 = 10;
/// Longest silence of a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why an attempt ended early.
enum Stop {
    /// The server has no such file.
    Absent(HubError),
    /// Trying again may help.
    Again(String),
    /// It will not.
    Fail(HubError),
}

type Attempt<T> = Result<T, Stop>;

fn fail<T>(message: String) -> Attempt<T> {
    Err(Stop::Fail(HubError::fetch(message)))
}

/// What is known of the file on the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Remote {
    etag: Option<String>,
    size: Option<u64>,
}

struct Download<'a> {
    hub: &'a Hub,
    name: String,
    content: Content,
    url: String,
    part: PathBuf,
    meta: PathBuf,
    progress: &'a dyn Progress,
    agent: Agent,
}

/// Fetches `name` to `path`. The caller holds the lock.
pub(super) fn fetch(hub: &Hub, name: &HfName, path: &Path, progress: &dyn Progress) -> Result<(), HubError> {
    fetch_if_there(hub, name, path, progress)?
}

/// As [`fetch`]; the inner result is an error when the server has no such file, and only then.
pub(super) fn fetch_if_there(
    hub: &Hub,
    name: &HfName,
    path: &Path,
    progress: &dyn Progress,
) -> Result<Result<(), HubError>, HubError> {
    if cache::size(path).is_some() {
        return Ok(Ok(()));
    }
    cache::create_dir(path.parent().unwrap_or(&hub.home))?;
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .accept_encoding("identity")
        .user_agent(concat!("kinglet/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE));
    if hub.endpoint.parse::<Uri>().is_ok_and(|uri| is_here(&uri)) {
        config = config.proxy(None);
    }
    let download = Download {
        hub,
        name: name.to_string(),
        content: Content::of(name),
        url: name.url(&hub.endpoint),
        part: with_suffix(path, ".part"),
        meta: with_suffix(path, ".part.json"),
        progress,
        agent: config.build().new_agent(),
    };
    let result = download.run(path);
    progress.end();
    result
}

impl Download<'_> {
    fn run(&self, path: &Path) -> Result<Result<(), HubError>, HubError> {
        let (mut best, mut idle) = (cache::size(&self.part).unwrap_or(0), 0);
        loop {
            let why = match self.attempt() {
                Ok(remote) => return self.finish(&remote, path).map(Ok),
                Err(Stop::Absent(e)) => return Ok(Err(e)),
                Err(Stop::Fail(e)) => return Err(e),
                Err(Stop::Again(why)) => why,
            };
            let have = cache::size(&self.part).unwrap_or(0);
            idle = if have > best { 0 } else { idle + 1 };
            best = best.max(have);
            if idle >= MAX_ATTEMPTS {
                return Err(HubError::fetch(format!(
                    "cannot fetch {}: {why}; check the network and the proxy (HTTPS_PROXY), then try again: what has \
                     arrived is kept",
                    self.name
                )));
            }
            self.progress.note(&format!("{}: {why}; trying again", self.name));
            std::thread::sleep(self.hub.retry_wait * (1 << idle.min(6)) / 2);
        }
    }

    /// One request for what is missing. `Ok` when the part is complete.
    fn attempt(&self) -> Attempt<Remote> {
        let (known, have) = self.kept();
        let (mut response, linked) = self.open(have)?;
        let status = response.status().as_u16();
        let tag = header_text(&response, header::ETAG.as_str());
        let (start, size) = match status {
            206 => match content_range(&response) {
                Some((start, size)) => (start, size),
                None => return fail(format!("{}: the server's Content-Range makes no sense", self.name)),
            },
            200 => {
                let length = header_text(&response, header::CONTENT_LENGTH.as_str());
                (0, length.and_then(|l| l.trim().parse().ok()))
            }
            416 => {
                self.forget()?;
                return Err(Stop::Again("the file on the server has changed".to_owned()));
            }
            _ => return self.refused(&response),
        };
        let remote = Remote { etag: linked.etag.or(tag), size: linked.size.or(size) };
        let chunked = header_text(&response, header::TRANSFER_ENCODING.as_str()).is_some();
        if size.is_none() && !chunked {
            return fail(format!("{}: the server does not say how long the file is", self.name));
        }
        if let (Some(linked), Some(size)) = (linked.size, size)
            && linked != size
        {
            return fail(format!(
                "{}: it should have {linked} bytes, and the server sends {size}",
                self.name
            ));
        }
        if status == 206 && (start != have || remote != known) {
            self.forget()?;
            return Err(Stop::Again("the file on the server has changed".to_owned()));
        }
        let mut file = Pieces::new(self.start_at(start, &remote)?, start);
        self.progress.begin(&format!("fetching {}", self.name), remote.size);
        let copied = self.copy(&mut response, &mut file, start, remote.size);
        // What has arrived before a connection dropped is where the next attempt goes on.
        file.finish().map_err(|e| self.cannot_write(&e))?;
        let at = copied?;
        match remote.size {
            Some(size) if at < size => {
                Err(Stop::Again(format!("the connection dropped after {at} of {size} bytes")))
            }
            Some(size) if at > size => {
                self.forget()?;
                fail(format!("{}: the server sent more than the {size} bytes it announced", self.name))
            }
            _ => Ok(remote),
        }
    }

    fn cannot_write(&self, e: &std::io::Error) -> Stop {
        Stop::Fail(HubError::io("write", &self.part, e))
    }

    /// Writes what arrives, and says where it ends: just behind `size` when that is known and there is more.
    fn copy(
        &self,
        response: &mut Response<Body>,
        file: &mut impl Write,
        start: u64,
        size: Option<u64>,
    ) -> Attempt<u64> {
        let mut at = start;
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut head = Vec::new();
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => return Ok(at),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Stop::Again(format!("the connection dropped after {at} bytes ({e})"))),
            };
            let bytes = buffer.get(..n).unwrap_or_default();
            if start == 0 && head.len() < HEAD {
                // A log-in page or a pointer file ends here and not after gigabytes.
                head.extend(bytes.iter().take(HEAD - head.len()));
                if !self.content.may_begin(&head) {
                    self.forget()?;
                    return fail(format!(
                        "{}: what the server sends is not a {}; check the name",
                        self.name,
                        self.content.name()
                    ));
                }
            }
            file.write_all(bytes).map_err(|e| self.cannot_write(&e))?;
            at += n as u64;
            self.progress.at(at);
            // Chunks need not end, and the disk does.
            if size.is_some_and(|size| at > size) {
                return Ok(at);
            }
        }
    }

    /// What an earlier attempt kept, and its length; nothing when it is not part of this URL's file.
    fn kept(&self) -> (Remote, u64) {
        let read = || {
            let text = fs::read(&self.meta).ok()?;
            let meta: Value = serde_json::from_slice(&text).ok()?;
            if meta.get("url")?.as_str()? != self.url {
                return None;
            }
            let etag = meta.get("etag").and_then(Value::as_str).map(str::to_owned);
            let size = meta.get("size").and_then(Value::as_u64);
            // With neither there would be no telling whether the rest belongs to it.
            etag.as_ref().map(|_| ()).or(size.map(|_| ()))?;
            let have = cache::size(&self.part)?;
            // A complete part asks for its last byte again, so that the server confirms what it is.
            let have = if size.is_some_and(|s| have >= s) { size?.saturating_sub(1) } else { have };
            Some((Remote { etag, size }, have))
        };
        read().unwrap_or_default()
    }

    fn forget(&self) -> Attempt<()> {
        let removed = cache::remove(&self.part).and(cache::remove(&self.meta));
        removed.map(|_| ()).map_err(Stop::Fail)
    }

    /// The part, cut to `start` bytes and ready for more.
    fn start_at(&self, start: u64, remote: &Remote) -> Attempt<File> {
        let io = |e: &std::io::Error| self.cannot_write(e);
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&self.part);
        let mut file = file.map_err(|e| io(&e))?;
        // Cut first and describe afterwards: a crash in between leaves nothing that could be taken for something else.
        if start == 0 {
            // A device or pipe in its place cannot be cut, and its writes will tell.
            if file.metadata().is_ok_and(|m| m.is_file()) {
                file.set_len(0).map_err(|e| io(&e))?;
            }
            let meta = json!({ "url": self.url, "etag": remote.etag, "size": remote.size });
            fs::write(&self.meta, meta.to_string())
                .map_err(|e| Stop::Fail(HubError::io("write", &self.meta, &e)))?;
        } else {
            file.set_len(start).map_err(|e| io(&e))?;
            file.seek(SeekFrom::Start(start)).map_err(|e| io(&e))?;
        }
        Ok(file)
    }

    /// Sends the request from byte `have` on, through redirects. Also what the hub said about the file on the way.
    fn open(&self, have: u64) -> Attempt<(Response<Body>, Remote)> {
        let endpoint: Uri = match self.url.parse() {
            Ok(uri) => uri,
            Err(e) => return fail(format!("HF_ENDPOINT `{}` is not a URL: {e}", self.hub.endpoint)),
        };
        if !matches!(endpoint.scheme_str(), Some("https" | "http")) || endpoint.host().is_none() {
            return fail(format!("HF_ENDPOINT `{}` is not an https:// address", self.hub.endpoint));
        }
        let mut uri = endpoint.clone();
        let mut linked = Remote::default();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(uri.clone());
            if have > 0 {
                request = request.header(header::RANGE, format!("bytes={have}-"));
            }
            if let Some(token) = self.hub.token.as_ref().filter(|_| may_have_token(&uri, &endpoint)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|e| explain(&self.name, &uri, &e))?;
            // Only the hub itself is asked what the file is; wherever it points to has tags of its own.
            if same_origin(&uri, &endpoint) {
                linked.etag = header_text(&response, "x-linked-etag").or(linked.etag);
                linked.size =
                    header_text(&response, "x-linked-size").and_then(|s| s.parse().ok()).or(linked.size);
            }
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, linked));
            }
            let target = header_text(&response, header::LOCATION.as_str());
            let target = target.and_then(|t| redirected(&uri, &t));
            uri = match target {
                Some(t) if t.scheme_str() == Some("https") || uri.scheme_str() == Some("http") => t,
                Some(t) => return fail(format!("{}: the server redirects to `{t}`, not https", self.name)),
                None => return fail(format!("{}: the server redirects to nowhere", self.name)),
            };
        }
        fail(format!("{}: more than {MAX_REDIRECTS} redirects", self.name))
    }

    fn refused<T>(&self, response: &Response<Body>) -> Attempt<T> {
        let (name, status) = (&self.name, response.status());
        match status.as_u16() {
            401 | 403 if self.hub.token.is_none() => fail(format!(
                "{name}: the server wants to know who you are ({status}); accept the licence on the model's page, and set \
                 HF_TOKEN to an access token"
            )),
            401 | 403 => fail(format!(
                "{name}: the server refuses this HF_TOKEN ({status}); check it, and accept the licence on the model's page"
            )),
            404 | 410 => Err(Stop::Absent(HubError::fetch(format!(
                "{name}: the server has no such file ({status}); check the owner, the repository, the revision and the \
                 file, upper and lower case too"
            )))),
            408 | 425 | 429 | 500..=599 => Err(Stop::Again(format!("the server answered {status}"))),
            _ => fail(format!("{name}: the server answered {status}")),
        }
    }

    fn finish(&self, remote: &Remote, path: &Path) -> Result<(), HubError> {
        // A hub's tag of a large file is its SHA-256.
        let tag = remote.etag.as_deref().map(|t| t.trim_start_matches("W/").trim_matches('"')).unwrap_or("");
        if tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit()) {
            let sum = cache::sha256(&self.part)?;
            if !sum.eq_ignore_ascii_case(tag) {
                cache::remove(&self.part)?;
                cache::remove(&self.meta)?;
                return Err(HubError::fetch(format!(
                    "{}: the checksum is wrong (SHA-256 {sum}, the hub says {tag}); nothing was kept, try again",
                    self.name
                )));
            }
        }
        let file = File::open(&self.part).map_err(|e| HubError::io("read", &self.part, &e))?;
        let mut head = Vec::new();
        let read = (&file).take(HEAD as u64).read_to_end(&mut head);
        if read.is_err() || head.len() < self.content.least() || !self.content.may_begin(&head) {
            cache::remove(&self.part)?;
            cache::remove(&self.meta)?;
            return Err(HubError::fetch(format!(
                "{}: what arrived is not a {}",
                self.name,
                self.content.name()
            )));
        }
        cache::publish(&file, &self.part, path)?;
        cache::remove(&self.meta).map(|_| ())
    }
}

fn header_text(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

/// `(start, total)` of `Content-Range: bytes start-end/total`.
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let text = header_text(response, header::CONTENT_RANGE.as_str())?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.parse().ok()?, total))
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    a.scheme() == b.scheme() && a.authority() == b.authority()
}

/// The token goes to the endpoint only, and in clear only to this machine.
fn may_have_token(uri: &Uri, endpoint: &Uri) -> bool {
    same_origin(uri, endpoint) && (uri.scheme_str() == Some("https") || is_here(uri))
}

/// Whether this machine serves it. The whole host counts: `127.example.org` is somewhere else.
fn is_here(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Where a `Location` points, seen from `from`.
fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    let origin = format!("{}://{}", from.scheme_str()?, from.authority()?);
    let target = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", from.scheme_str()?)
    } else if location.starts_with('/') {
        format!("{origin}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{origin}{folder}/{location}")
    };
    let target: Uri = target.parse().ok()?;
    let known = matches!(target.scheme_str(), Some("https" | "http")) && target.host().is_some();
    known.then_some(target)
}

fn explain(name: &str, uri: &Uri, e: &ureq::Error) -> Stop {
    let host = uri.host().unwrap_or("the server");
    match e {
        ureq::Error::HostNotFound => Stop::Again(format!("{host} was not found")),
        ureq::Error::ConnectionFailed => Stop::Again(format!("no connection to {host}")),
        ureq::Error::Io(e) => Stop::Again(format!("no connection to {host}: {e}")),
        ureq::Error::Timeout(_) => Stop::Again(format!("{host} does not answer")),
        ureq::Error::Protocol(e) => Stop::Again(format!("{host} answered nonsense: {e}")),
        other => Stop::Fail(HubError::fetch(format!("{name}: cannot ask {host}: {other}"))),
    }
}
