//! A small hub on 127.0.0.1: the paths, headers and redirects of the real one, and faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const ID: &str = "team/tiny-reranker";

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A status instead of an answer, with these headers.
    Status(u16, &'static str),
    /// The connection closes after so many bytes of the body.
    Cut(usize),
    /// The header announces so many bytes more (or fewer) than the hub said, and as many are sent.
    Longer(isize),
    /// `Range` is ignored, as some proxies do.
    WholeFile,
    /// The connection closes after so many bytes of the body, and `Range` is ignored.
    WholeFileCut(usize),
    /// The bytes are not the right ones.
    Damaged,
    /// A page that no hub sends, with status 200.
    LoginPage,
    /// The connection closes without an answer.
    HangUp,
    /// Nothing is sent, and the connection stays open until the client closes it.
    Silence,
    /// The answer is the status 307 to this location.
    Redirect(String),
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Whether it came to the storage server.
    pub(crate) storage: bool,
}

struct Rule {
    method: &'static str,
    path_end: String,
    storage: bool,
    left: usize,
    fault: Fault,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, (Vec<u8>, bool)>,
    rules: VecDeque<Rule>,
    seen: Vec<Seen>,
    commit: String,
    hub: Option<SocketAddr>,
    storage: Option<SocketAddr>,
}

/// The hub and, on another port, the storage that large files are redirected to. Ends with the process.
#[derive(Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
}

impl Server {
    /// A hub with the one repository [`ID`], still empty.
    pub(crate) fn start() -> Self {
        let server = Server { state: Arc::default() };
        let hub = server.listen(false);
        let storage = server.listen(true);
        let mut state = server.state.lock().unwrap();
        (state.hub, state.storage) = (Some(hub), Some(storage));
        state.commit = COMMIT.to_string();
        drop(state);
        server
    }

    /// A hub with a small complete model; its weights are a large file.
    pub(crate) fn with_model() -> Self {
        let server = Server::start();
        for (name, large) in [
            ("config.json", false),
            ("tokenizer.json", true),
            ("vocab.txt", false),
            ("model.safetensors", true),
        ] {
            server.file(
                name,
                content(name, if name == "model.safetensors" { 300_000 } else { 500 }),
                large,
            );
        }
        server
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.state.lock().unwrap().hub.unwrap())
    }

    pub(crate) fn storage(&self) -> String {
        format!("http://{}", self.state.lock().unwrap().storage.unwrap())
    }

    /// Adds a file; `large` ones have a SHA-256 as ETag and lie in the storage.
    pub(crate) fn file(&self, name: &str, content: Vec<u8>, large: bool) {
        self.state.lock().unwrap().files.insert(name.to_string(), (content, large));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.state.lock().unwrap().files.remove(name);
    }

    pub(crate) fn commit(&self, commit: &str) {
        self.state.lock().unwrap().commit = commit.to_string();
    }

    /// The next `times` requests to the hub with this method whose path ends so get `fault`.
    pub(crate) fn fault(&self, method: &'static str, path_end: &str, times: usize, fault: Fault) {
        let rule =
            Rule { method, path_end: path_end.to_string(), storage: false, left: times, fault };
        self.state.lock().unwrap().rules.push_back(rule);
    }

    /// The next `times` downloads of `file` from the storage get `fault`.
    pub(crate) fn storage_fault(&self, file: &str, times: usize, fault: Fault) {
        let rule =
            Rule { method: "GET", path_end: file.to_string(), storage: true, left: times, fault };
        self.state.lock().unwrap().rules.push_back(rule);
    }

    /// The requests since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    fn listen(&self, storage: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                // A client that hangs up is no error here.
                std::thread::spawn(move || server.serve(stream, storage).unwrap_or_default());
            }
        });
        address
    }

    fn serve(&self, stream: TcpStream, storage: bool) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let (method, path) =
            (words.next().unwrap_or("").to_string(), words.next().unwrap_or("").to_string());
        let mut request = Seen { method, path, range: None, authorization: None, storage };
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(value.to_string()),
                "authorization" => request.authorization = Some(value.to_string()),
                _ => {}
            }
        }
        self.answer(stream, request)
    }

    fn take_fault(&self, request: &Seen) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.seen.push(request.clone());
        let rule = state.rules.iter_mut().find(|rule| {
            rule.left > 0
                && rule.method == request.method
                && rule.storage == request.storage
                && request.path.ends_with(&rule.path_end)
        })?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }

    fn answer(&self, mut stream: TcpStream, request: Seen) -> std::io::Result<()> {
        let fault = self.take_fault(&request);
        match &fault {
            Some(Fault::Status(status, headers)) => {
                return write!(
                    stream,
                    "HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
            Some(Fault::Redirect(to)) => {
                return write!(
                    stream,
                    "HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
            Some(Fault::LoginPage) => {
                return write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
                );
            }
            Some(Fault::HangUp) => return Ok(()),
            // A client sends nothing more after its request: what is read next is its end.
            Some(Fault::Silence) => return stream.read(&mut [0]).map(|_| ()),
            _ => {}
        }
        let state = self.state.lock().unwrap();
        let reply = route(&state, &request);
        drop(state);
        send(stream, &request, reply, fault)
    }
}

/// Bytes that depend on the name.
pub(crate) fn content(name: &str, length: usize) -> Vec<u8> {
    let seed = name.bytes().fold(7u32, |a, b| a.wrapping_mul(31).wrapping_add(u32::from(b)));
    (0..length as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8)
        .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As the hub, but for the algorithm: 40 hex digits for a small file.
pub(crate) fn etag(bytes: &[u8], large: bool) -> String {
    let mut etag = sha256(bytes);
    if !large {
        etag.truncate(40);
    }
    etag
}

struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    ranges: bool,
}

impl Reply {
    fn not_found(code: &str) -> Self {
        Reply {
            status: 404,
            headers: format!("X-Error-Code: {code}\r\n"),
            body: Vec::new(),
            ranges: false,
        }
    }
}

fn route(state: &State, request: &Seen) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    if request.storage {
        let file = path.trim_start_matches("/bucket/");
        return match state.files.get(file) {
            Some((body, _)) => {
                Reply { status: 200, headers: String::new(), body: body.clone(), ranges: true }
            }
            None => Reply::not_found("NoSuchKey"),
        };
    }
    let tree = format!("/api/models/{ID}/tree/");
    if path.starts_with(&tree) {
        return json(tree_listing(state));
    }
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{ID}/revision/")) {
        return match revision {
            "main" | "refs%2Fpr%2F1" => json(listing(state)),
            revision if revision == state.commit => json(listing(state)),
            _ => Reply::not_found("RevisionNotFound"),
        };
    }
    let Some(rest) = path.strip_prefix(&format!("/{ID}/resolve/")) else {
        return Reply::not_found("RepoNotFound");
    };
    let Some((revision, file)) = rest.split_once('/') else {
        return Reply::not_found("RevisionNotFound");
    };
    if revision != state.commit && revision != "main" {
        return Reply::not_found("RevisionNotFound");
    }
    match state.files.get(file) {
        Some((body, large)) => resolve(state, file, body, *large),
        None => Reply::not_found("EntryNotFound"),
    }
}

fn resolve(state: &State, file: &str, body: &[u8], large: bool) -> Reply {
    let etag = etag(body, large);
    let mut headers = format!("X-Repo-Commit: {}\r\n", state.commit);
    if !large {
        write!(headers, "ETag: \"{etag}\"\r\n").unwrap();
        return Reply { status: 200, headers, body: body.to_vec(), ranges: true };
    }
    let storage = state.storage.unwrap();
    write!(
        headers,
        "ETag: \"of-the-redirect\"\r\nX-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {}\r\n\
         Location: http://{storage}/bucket/{file}\r\n",
        body.len()
    )
    .unwrap();
    Reply { status: 302, headers, body: b"Found".to_vec(), ranges: false }
}

fn json(text: String) -> Reply {
    let headers = "Content-Type: application/json\r\n".to_string();
    Reply { status: 200, headers, body: text.into_bytes(), ranges: false }
}

fn listing(state: &State) -> String {
    let siblings: Vec<_> =
        state.files.keys().map(|f| serde_json::json!({ "rfilename": f })).collect();
    serde_json::json!({ "id": ID, "modelId": ID, "sha": state.commit, "siblings": siblings, "tags": [] }).to_string()
}

/// What Python's `snapshot_download` asks for.
fn tree_listing(state: &State) -> String {
    let entry = |(file, (body, large)): (&String, &(Vec<u8>, bool))| {
        let mut entry = serde_json::json!({ "type": "file", "path": file, "size": body.len(), "oid": etag(body, false) });
        if *large {
            entry["lfs"] =
                serde_json::json!({ "oid": sha256(body), "size": body.len(), "pointerSize": 130 });
        }
        entry
    };
    serde_json::Value::Array(state.files.iter().map(entry).collect()).to_string()
}

fn send(
    mut stream: TcpStream,
    request: &Seen,
    reply: Reply,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let Reply { mut status, mut headers, mut body, ranges } = reply;
    let whole = body.len();
    let ignore_range = matches!(fault, Some(Fault::WholeFile | Fault::WholeFileCut(_)));
    let start = request
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
    if let Some(start) = start.filter(|_| ranges && !ignore_range) {
        let start: usize = start;
        if start >= whole {
            return write!(
                stream,
                "HTTP/1.1 416 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        status = 206;
        body.drain(..start);
        write!(headers, "Content-Range: bytes {start}-{}/{whole}\r\n", whole - 1).unwrap();
    }
    match fault {
        Some(Fault::Damaged) => body[0] ^= 1,
        Some(Fault::Longer(by)) => body.resize(body.len().saturating_add_signed(by), b'x'),
        _ => {}
    }
    write!(
        stream,
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if request.method == "HEAD" {
        return Ok(());
    }
    if let Some(Fault::Cut(length) | Fault::WholeFileCut(length)) = fault {
        body.truncate(length);
    }
    stream.write_all(&body)
}
