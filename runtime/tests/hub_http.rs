//! `hf:` files, from a server on this machine that misbehaves in every way we could think of.

mod support;
use kinglet::hub::{Hub, HubError, HubErrorKind, Silent};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Folder, files};

const NAME: &str = "hf:owner/repo/dir/a file+1.gguf";
const TARGET: &str = "/owner/repo/resolve/main/dir/a%20file%2B1.gguf";
const PATH: &str = "hf/owner/repo/main/dir/a file+1.gguf";

#[derive(Debug, Clone)]
struct Request {
    target: String,
    /// First byte asked for.
    from: Option<usize>,
    token: Option<String>,
}

/// A server that gives each request, numbered from 0, to a function that says what to send before hanging up.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn new(answer: impl Fn(usize, &Request) -> Vec<u8> + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                let request = read_request(&stream);
                log.lock().unwrap().push(request.clone());
                // A client that has seen enough hangs up first.
                let _ = (&stream).write_all(&answer(n, &request));
            }
        });
        Server { port, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream) -> Request {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let mut request = Request { target, from: None, token: None };
    for line in lines.take_while(|l| !l.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        match name.to_lowercase().as_str() {
            "range" => {
                let from = value.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
                request.from = Some(from.parse().unwrap());
            }
            "authorization" => request.token = Some(value.to_owned()),
            _ => {}
        }
    }
    request
}

fn model() -> Vec<u8> {
    support::noise(400_000)
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut all = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    all.extend(body);
    all
}

/// The whole file, of which only `send` bytes are sent.
fn whole(etag: &str, send: usize) -> Vec<u8> {
    let model = model();
    reply("200 OK", &format!("ETag: \"{etag}\"\r\nContent-Length: {}\r\n", model.len()), &model[..send])
}

/// The rest that was asked for, of which only `send` bytes are sent; the whole file when no range was asked for.
fn rest(etag: &str, request: &Request, send: usize) -> Vec<u8> {
    let model = model();
    let Some(from) = request.from else { return whole(etag, send.min(model.len())) };
    let (rest, len) = (&model[from..], model.len());
    let headers = format!(
        "ETag: \"{etag}\"\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{len}\r\n",
        rest.len(),
        len - 1
    );
    reply("206 Partial Content", &headers, &rest[..send.min(rest.len())])
}

const ALL: usize = usize::MAX;

struct Client {
    folder: Folder,
    hub: Hub,
}

impl Client {
    fn new(name: &str, server: &Server) -> Client {
        let folder = Folder::new(name);
        let hub = Hub {
            home: folder.join("home"),
            python: "/nonexistent".into(),
            catalogue: &[],
            endpoint: format!("http://127.0.0.1:{}/", server.port),
            token: None,
            retry_wait: Duration::from_millis(1),
        };
        Client { folder, hub }
    }

    fn get(&self) -> Result<PathBuf, HubError> {
        self.hub.resolve(NAME, &Silent)
    }

    fn cached(&self) -> Vec<String> {
        files(&self.hub.home).into_iter().filter(|f| !f.starts_with("locks/")).collect()
    }

    #[track_caller]
    fn assert_got(&self) {
        assert_eq!(std::fs::read(self.get().unwrap()).unwrap(), model());
        assert_eq!(self.cached(), [PATH]);
    }

    #[track_caller]
    fn assert_fails(&self, words: &[&str]) {
        let e = self.get().unwrap_err();
        assert_eq!(e.kind, HubErrorKind::Fetch, "{e}");
        assert!(!e.message.contains('\n') && e.message.contains(NAME), "{e}");
        for word in words {
            assert!(e.message.contains(word), "`{word}` is not in: {e}");
        }
        assert!(!self.hub.home.join(PATH).exists());
    }
}

#[test]
fn a_whole_file_is_fetched_once() {
    let server = Server::new(|_, r| rest("v1", r, ALL));
    let client = Client::new("http-whole", &server);
    client.assert_got();
    client.assert_got();
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].target.as_str(), requests[0].from), (TARGET, None));
}

#[test]
fn a_dropped_connection_is_resumed() {
    let server = Server::new(|n, r| rest("v1", r, if n < 3 { 100_000 } else { ALL }));
    Client::new("http-drop", &server).assert_got();
    let from: Vec<Option<usize>> = server.requests().iter().map(|r| r.from).collect();
    assert_eq!(from, [None, Some(100_000), Some(200_000), Some(300_000)]);
}

#[test]
fn a_later_run_resumes_what_an_earlier_one_kept() {
    // Broken after the first 150,000 bytes, for good; then mended.
    let server = Server::new(|n, r| match n {
        0 => whole("v1", 150_000),
        1..=5 => reply("503 Busy", "Content-Length: 0\r\n", b""),
        _ => rest("v1", r, ALL),
    });
    let client = Client::new("http-later", &server);
    client.assert_fails(&["503", "kept"]);
    assert_eq!(client.cached(), [format!("{PATH}.part"), format!("{PATH}.part.json")]);
    client.assert_got();
    assert_eq!(server.requests().last().unwrap().from, Some(150_000));
}

#[test]
fn a_complete_part_is_confirmed_by_its_last_byte() {
    let server = Server::new(|_, r| rest("v1", r, ALL));
    let client = Client::new("http-complete", &server);
    client.folder.write(&format!("home/{PATH}.part"), &model());
    let url = format!("http://127.0.0.1:{}{TARGET}", server.port);
    let meta = serde_json::json!({ "url": url, "etag": "\"v1\"", "size": model().len() });
    client.folder.write(&format!("home/{PATH}.part.json"), meta.to_string().as_bytes());
    client.assert_got();
    assert_eq!(server.requests()[0].from, Some(model().len() - 1));
}

#[test]
fn a_file_that_changed_begins_again() {
    let server =
        Server::new(|n, r| rest(if n == 0 { "v1" } else { "v2" }, r, if n == 0 { 70_000 } else { ALL }));
    Client::new("http-changed", &server).assert_got();
    let from: Vec<Option<usize>> = server.requests().iter().map(|r| r.from).collect();
    assert_eq!(from, [None, Some(70_000), None]);

    let server = Server::new(|n, r| match n {
        0 => whole("v1", 70_000),
        1 => reply("416 Range Not Satisfiable", "Content-Length: 0\r\n", b""),
        _ => rest("v1", r, ALL),
    });
    Client::new("http-416", &server).assert_got();
}

#[test]
fn a_part_of_something_else_is_not_used() {
    let server = Server::new(|_, r| rest("v1", r, ALL));
    let metas: [&[u8]; 4] = [
        b"{}",
        b"not json",
        b"{\"url\":\"http://elsewhere/x.gguf\",\"etag\":\"\\\"v1\\\"\",\"size\":400004}",
        b"[1,2]",
    ];
    for (i, meta) in metas.iter().enumerate() {
        let client = Client::new(&format!("http-other-{i}"), &server);
        client.folder.write(&format!("home/{PATH}.part"), &[1; 500_000]);
        client.folder.write(&format!("home/{PATH}.part.json"), meta);
        client.assert_got();
    }
    assert!(server.requests().iter().all(|r| r.from.is_none()));
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let server = Server::new(|n, _| whole("v1", if n == 0 { 100_000 } else { model().len() }));
    Client::new("http-no-range", &server).assert_got();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_file_that_never_gets_whole_is_given_up() {
    let server = Server::new(|_, _| whole("v1", 100_000));
    let client = Client::new("http-short", &server);
    client.assert_fails(&["connection dropped", "100000", "try again"]);
    assert!(server.requests().len() < 10);
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    let linked = |n: usize| format!("X-Linked-Size: {n}\r\nContent-Length: {}\r\n", model().len());
    let server = Server::new(move |_, _| reply("200 OK", &linked(7), &model()));
    Client::new("http-linked-size", &server).assert_fails(&["should have 7 bytes"]);
    let server = Server::new(|_, _| reply("200 OK", "", &model()));
    Client::new("http-no-length", &server).assert_fails(&["does not say how long"]);
    let server = Server::new(|n, r| match n {
        0 => whole("v1", 1000),
        _ => reply(
            "206 Partial Content",
            "Content-Range: rows 1-2/3\r\nContent-Length: 9\r\n",
            &model()[r.from.unwrap()..],
        ),
    });
    Client::new("http-range-nonsense", &server).assert_fails(&["Content-Range makes no sense"]);
}

#[test]
fn chunks_are_put_together() {
    let chunked = || {
        let mut body = Vec::new();
        for chunk in model().chunks(10_000) {
            body.extend(
                format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"),
            );
        }
        body.extend(b"0\r\n\r\n");
        body
    };
    let server = Server::new(move |n, _| {
        let body = chunked();
        let send = if n == 0 { 50_000 } else { body.len() };
        reply("200 OK", "Transfer-Encoding: chunked\r\n", &body[..send])
    });
    Client::new("http-chunked", &server).assert_got();
}

/// A file of known size is given up as soon as there is more of it, and not when the disk is full.
#[test]
fn chunks_without_end_are_not_followed() {
    const MOST: usize = 256 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server { port: listener.local_addr().unwrap().port(), requests: Arc::default() };
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&stream);
        let headers = format!("X-Linked-Size: {}\r\nTransfer-Encoding: chunked\r\n", model().len());
        stream.write_all(&reply("200 OK", &headers, b"")).unwrap();
        let mut chunk = format!("{:x}\r\n", model().len()).into_bytes();
        chunk.extend(model());
        chunk.extend(b"\r\n");
        let mut sent = 0;
        while sent < MOST && stream.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let client = Client::new("http-endless", &server);
    client.assert_fails(&["more than the 400004 bytes"]);
    let sent = sender.join().unwrap();
    assert!(sent < MOST, "all {sent} bytes were read");
}

#[test]
fn refusals_are_explained() {
    let status = |text: &'static str| Server::new(move |_, _| reply(text, "Content-Length: 0\r\n", b""));
    let missing = status("404 Not Found");
    Client::new("http-404", &missing).assert_fails(&["no such file", "404", "check the owner"]);
    assert_eq!(missing.requests().len(), 1);
    for (text, folder) in [("401 Unauthorized", "http-401"), ("403 Forbidden", "http-403")] {
        let server = status(text);
        let mut client = Client::new(folder, &server);
        client.assert_fails(&["HF_TOKEN", "licence", &text[..3]]);
        client.hub.token = Some("hf_secret".to_owned());
        client.assert_fails(&["refuses this HF_TOKEN"]);
        assert!(!client.get().unwrap_err().message.contains("hf_secret"));
        assert!(!format!("{:?}", client.hub).contains("hf_secret"));
        assert_eq!(server.requests()[1].token.as_deref(), Some("Bearer hf_secret"));
    }
    Client::new("http-418", &status("418 Teapot")).assert_fails(&["418"]);
    let busy =
        Server::new(
            |n, r| if n < 2 { reply("429 Slow", "Content-Length: 0\r\n", b"") } else { rest("v1", r, ALL) },
        );
    Client::new("http-429", &busy).assert_got();
}

#[test]
fn the_token_does_not_follow_a_redirect_to_another_host() {
    let store = Server::new(|_, r| rest("store", r, ALL));
    let port = store.port;
    let sum: String = Sha256::digest(model()).iter().map(|b| format!("{b:02x}")).collect();
    let hub = Server::new(move |_, r| {
        let to = match r.target.as_str() {
            TARGET => "/moved/here".to_owned(),
            _ => format!("http://127.0.0.1:{port}/blob?signature=1"),
        };
        let linked = format!("X-Linked-Size: {}\r\nX-Linked-ETag: \"{sum}\"\r\n", model().len());
        reply("302 Found", &format!("Location: {to}\r\n{linked}Content-Length: 0\r\n"), b"")
    });
    let mut client = Client::new("http-redirect", &hub);
    client.hub.token = Some("t".to_owned());
    client.assert_got();
    let tokens: Vec<bool> = hub.requests().iter().map(|r| r.token.is_some()).collect();
    assert_eq!(tokens, [true, true], "the hub itself gets it, after its own redirect too");
    assert_eq!((store.requests().len(), store.requests()[0].token.clone()), (1, None));
    assert_eq!(store.requests()[0].target, "/blob?signature=1");
}

#[test]
fn redirects_end() {
    let server = Server::new(|_, _| reply("302 Found", "Location: /again\r\nContent-Length: 0\r\n", b""));
    Client::new("http-loop", &server).assert_fails(&["redirects"]);
    let server = Server::new(|_, _| reply("302 Found", "Location: ftp://x/y\r\nContent-Length: 0\r\n", b""));
    Client::new("http-ftp", &server).assert_fails(&["nowhere"]);
    let server = Server::new(|_, _| reply("302 Found", "Content-Length: 0\r\n", b""));
    Client::new("http-nowhere", &server).assert_fails(&["nowhere"]);
}

#[test]
fn the_hubs_checksum_is_checked() {
    let linked = format!("X-Linked-ETag: \"{}\"\r\nContent-Length: {}\r\n", "0".repeat(64), model().len());
    let server = Server::new(move |_, _| reply("200 OK", &linked, &model()));
    let client = Client::new("http-checksum", &server);
    client.assert_fails(&["checksum is wrong", "nothing was kept"]);
    assert_eq!(client.cached(), Vec::<String>::new());
}

#[test]
fn a_page_is_not_a_model() {
    for body in [b"<!DOCTYPE html><html>log in</html>".as_slice(), b"version https://git-lfs", b"GG", b""] {
        let length = format!("Content-Length: {}\r\n", body.len());
        let server = Server::new(move |_, _| reply("200 OK", &length, body));
        let client = Client::new("http-page", &server);
        client.assert_fails(&["not a GGUF file"]);
        assert_eq!(client.cached(), Vec::<String>::new());
    }
}

#[test]
fn all_files_of_a_split_model_are_fetched() {
    let server = Server::new(|_, r| rest("v1", r, ALL));
    let client = Client::new("http-split", &server);
    let path = client.hub.resolve("hf:o/r@v1.0/m-00001-of-00002.gguf", &Silent).unwrap();
    assert!(path.ends_with("hf/o/r/v1.0/m-00001-of-00002.gguf"));
    let targets: Vec<String> = server.requests().into_iter().map(|r| r.target).collect();
    let base = "/o/r/resolve/v1.0/m-0000";
    assert_eq!(targets, [format!("{base}1-of-00002.gguf"), format!("{base}2-of-00002.gguf")]);
}

#[test]
fn no_server_and_a_wrong_endpoint_are_explained() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut client = Client::new("http-offline", &Server::new(|_, _| Vec::new()));
    client.hub.endpoint = format!("http://127.0.0.1:{free}");
    client.assert_fails(&["no connection", "127.0.0.1", "check the network"]);
    for endpoint in ["nonsense", "ftp://127.0.0.1", "https://", ""] {
        client.hub.endpoint = endpoint.to_owned();
        let e = client.get().unwrap_err();
        assert!(e.message.contains("HF_ENDPOINT"), "{endpoint}: {e}");
    }
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_named() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let server = Server::new(|_, r| rest("v1", r, ALL));
    let client = Client::new("http-full", &server);
    let part = client.folder.write(&format!("home/{PATH}.part"), b"");
    std::fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let e = client.get().unwrap_err();
    assert_eq!(e.kind, HubErrorKind::Cache);
    assert!(e.message.contains("disk is full") && e.message.contains(".part"), "{e}");
    assert!(!client.hub.home.join(PATH).exists());
}
