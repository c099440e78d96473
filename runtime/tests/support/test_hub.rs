//! A small hub on loopback: the three requests of a pull, storage at another address, and faults on demand.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A hub that runs until it is dropped.
pub(crate) struct TestHub {
    shared: Arc<Shared>,
}

/// A fault in the answer to a file request.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(dead_code, reason = "not every program that includes this has all of them")]
pub(crate) enum Fault {
    /// The connection closes after this many bytes of the body.
    Cut(usize),
    /// One byte in the middle is changed.
    Flip,
    /// The answer starts at another byte than requested.
    OtherRange,
    /// The whole file is sent, whatever range was requested.
    NoRanges,
    /// The transfer stalls after this many bytes.
    Stall(usize),
    /// This status instead of the file.
    Status(u16),
}

/// Special properties of a repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct Special {
    /// Only clients with this token have access.
    pub(crate) token: Option<&'static str>,
    /// The list of files states neither hashes nor sizes.
    pub(crate) terse: bool,
    /// The list of files states this size for each.
    pub(crate) bytes: Option<u64>,
    /// The list of files is this text.
    pub(crate) listing: Option<String>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, (Special, BTreeMap<String, Vec<u8>>)>,
    /// The faults of the next requests, by file.
    faults: BTreeMap<String, Vec<Fault>>,
    requests: Vec<String>,
}

struct Shared {
    hub: SocketAddr,
    storage: SocketAddr,
    state: Mutex<State>,
    over: AtomicBool,
}

impl TestHub {
    /// Starts a hub and its storage.
    pub(crate) fn start() -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [hub, storage] = [0, 1].map(|at: usize| listeners[at].local_addr().unwrap());
        let (state, over) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { hub, storage, state, over });
        for listener in listeners {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if shared.over.load(Ordering::Relaxed) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    // An error of a client ends its thread only.
                    std::thread::spawn(move || drop(shared.serve(stream)));
                }
            });
        }
        Self { shared }
    }

    /// Returns the value for `HF_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.shared.hub)
    }

    /// Adds a repository.
    pub(crate) fn add(&self, repository: &str, special: Special, files: &[(&str, &[u8])]) {
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
        self.shared.state.lock().unwrap().repositories.insert(repository.to_owned(), (special, files));
    }

    /// Makes the next requests for a file fail, one after the other.
    pub(crate) fn fail(&self, file: &str, faults: &[Fault]) {
        self.shared.state.lock().unwrap().faults.insert(file.to_owned(), faults.to_vec());
    }

    /// Returns the requests since the last call: method, path, range, and whether there was a token.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.lock().unwrap().requests)
    }

    /// Returns the requests to the storage since the last call.
    #[allow(dead_code, reason = "not every program that includes this asks")]
    pub(crate) fn transfers(&self) -> Vec<String> {
        self.requests().into_iter().filter(|request| request.contains(" /storage/")).collect()
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for address in [self.shared.hub, self.shared.storage] {
            drop(TcpStream::connect(address));
        }
    }
}

/// A request.
struct Asked {
    head: bool,
    path: String,
    from: usize,
    token: Option<String>,
}

/// The commit of all repositories.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let Some(asked) = read(&stream)? else { return Ok(()) };
        let path = asked.path.split('?').next().unwrap().replace("%2F", "/");
        let method = if asked.head { "HEAD" } else { "GET" };
        let range = if asked.from > 0 { format!(" from {}", asked.from) } else { String::new() };
        let token = if asked.token.is_some() { " with token" } else { "" };
        self.state.lock().unwrap().requests.push(format!("{method} {path}{range}{token}"));
        if let Some(rest) = path.strip_prefix("/api/models/") {
            let (repository, revision) = rest.split_once("/revision/").unwrap_or((rest, "main"));
            return match self.admit(repository, &asked) {
                Ok(_) if revision != "main" && revision != COMMIT => {
                    answer(&stream, 404, "X-Error-Code: RevisionNotFound\r\n", b"")
                }
                Ok(special) => answer(&stream, 200, "", self.listing(repository, &special).as_bytes()),
                Err((status, code)) => answer(&stream, status, code, b""),
            };
        }
        if let Some(rest) = path.strip_prefix("/storage/") {
            let (repository, file) = split(rest);
            return self.give(&stream, &asked, &repository, &file);
        }
        let (repository, file) = split(&path[1..].replacen(&format!("/resolve/{COMMIT}"), "", 1));
        if let Err((status, code)) = self.admit(&repository, &asked) {
            return answer(&stream, status, code, b"");
        }
        let Some(content) = self.content(&repository, &file) else { return answer(&stream, 404, "", b"") };
        if is_large(&file) {
            let (storage, hash, size) = (self.storage, hash(&file, &content), content.len());
            let headers = format!(
                "Location: http://{storage}/storage/{repository}/{file}\r\nETag: \"of the redirect\"\r\n\
                 X-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {size}\r\n"
            );
            return answer(&stream, 302, &headers, b"elsewhere");
        }
        self.give(&stream, &asked, &repository, &file)
    }

    fn admit(&self, repository: &str, asked: &Asked) -> Result<Special, (u16, &'static str)> {
        let state = self.state.lock().unwrap();
        let Some((special, _)) = state.repositories.get(repository) else {
            // Without a token, a client does not learn whether the repository exists.
            let status = if asked.token.is_some() { 404 } else { 401 };
            return Err((status, "X-Error-Code: RepoNotFound\r\n"));
        };
        match (&special.token, &asked.token) {
            (Some(wanted), Some(given)) if *given == format!("Bearer {wanted}") => Ok(special.clone()),
            (Some(_), Some(_)) => Err((403, "X-Error-Code: GatedRepo\r\n")),
            (Some(_), None) => Err((401, "X-Error-Code: GatedRepo\r\n")),
            (None, _) => Ok(special.clone()),
        }
    }

    fn content(&self, repository: &str, file: &str) -> Option<Vec<u8>> {
        self.state.lock().unwrap().repositories.get(repository)?.1.get(file).cloned()
    }

    fn listing(&self, repository: &str, special: &Special) -> String {
        if let Some(listing) = &special.listing {
            return listing.clone();
        }
        let state = self.state.lock().unwrap();
        let files = state.repositories[repository].1.iter().map(|(name, content)| {
            let (hash, size) = (hash(name, content), special.bytes.unwrap_or(content.len() as u64));
            if special.terse {
                format!(r#"{{"rfilename":"{name}"}}"#)
            } else if is_large(name) {
                let pointer = "ab".repeat(20);
                format!(
                    r#"{{"rfilename":"{name}","size":{size},"blobId":"{pointer}","lfs":{{"sha256":"{hash}","size":{size}}}}}"#
                )
            } else {
                format!(r#"{{"rfilename":"{name}","size":{size},"blobId":"{hash}"}}"#)
            }
        });
        format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, files.collect::<Vec<_>>().join(","))
    }

    fn give(
        &self,
        mut stream: &TcpStream,
        asked: &Asked,
        repository: &str,
        file: &str,
    ) -> std::io::Result<()> {
        let Some(mut content) = self.content(repository, file) else { return answer(stream, 404, "", b"") };
        let etag = format!("ETag: \"{}\"\r\n", hash(file, &content));
        let fault = if asked.head {
            None
        } else {
            let mut state = self.state.lock().unwrap();
            state.faults.get_mut(file).filter(|faults| !faults.is_empty()).map(|faults| faults.remove(0))
        };
        let mut from = asked.from;
        match fault {
            Some(Fault::Status(status)) => return answer(stream, status, "Retry-After: 0\r\n", b""),
            Some(Fault::Flip) => {
                let middle = content.len() / 2;
                content[middle] ^= 1;
            }
            Some(Fault::NoRanges) => from = 0,
            Some(Fault::OtherRange) => from = from.saturating_sub(1),
            Some(Fault::Cut(_) | Fault::Stall(_)) | None => {}
        }
        if from >= content.len() && from > 0 {
            return answer(stream, 416, "", b"");
        }
        let (size, body) = (content.len(), &content[from..]);
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let range = format!("Content-Range: bytes {from}-{}/{size}\r\n", size.saturating_sub(1));
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
        stream.write_all(format!("{head}{}{etag}\r\n", if from > 0 { &range } else { "" }).as_bytes())?;
        if asked.head {
            return Ok(());
        }
        match fault {
            Some(Fault::Cut(length)) => stream.write_all(&body[..length.min(body.len())]),
            Some(Fault::Stall(length)) => {
                stream.write_all(&body[..length.min(body.len())])?;
                stream.flush()?;
                // The client gives up long before this timeout, which ends the read.
                let mut nothing = [0];
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                std::io::Read::read(&mut stream, &mut nothing).map(|_| ())
            }
            _ => stream.write_all(body),
        }
    }
}

/// Files that a hub keeps in its storage.
fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors") || file.ends_with(".gguf")
}

/// Returns the hash that a hub states: SHA-256 or git's.
pub(crate) fn hash(file: &str, content: &[u8]) -> String {
    let bytes = if is_large(file) {
        Sha256::digest(content).to_vec()
    } else {
        let header = format!("blob {}\0", content.len());
        sha1::Sha1::digest([header.as_bytes(), content].concat()).to_vec()
    };
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Splits `owner/name/a/file` into repository and file.
fn split(path: &str) -> (String, String) {
    let mut pieces = path.splitn(3, '/');
    let mut next = || pieces.next().unwrap_or_default().to_owned();
    (format!("{}/{}", next(), next()), next())
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split(' ');
    let head = words.next() == Some("HEAD");
    let path = words.next().unwrap_or("/").to_owned();
    let mut asked = Asked { head, path, from: 0, token: None };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => asked.token = Some(value.trim().to_owned()),
            "range" => {
                let from = value.trim().trim_start_matches("bytes=").trim_end_matches('-');
                asked.from = from.parse().unwrap_or_default();
            }
            _ => {}
        }
    }
    Ok(Some(asked))
}

fn answer(mut stream: &TcpStream, status: u16, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())
}
