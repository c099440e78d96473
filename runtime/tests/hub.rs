//! Downloads from a hub on loopback, with every fault on the way.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "support/test_hub.rs"]
mod test_hub;

use runtime::hub::{Format, Hub, ModelId, Progress, PullError, Pulled, RequestError};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;
use test_hub::{COMMIT, Fault, Special, TestHub, hash};

const MODEL: &str = "owner/model";

/// A hub with one small model, and an empty cache.
struct Scene {
    hub: TestHub,
    directory: tempfile::TempDir,
    weights: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        Self::with(Special::default())
    }

    fn with(special: Special) -> Self {
        let scene =
            Self { hub: TestHub::start(), directory: tempfile::tempdir().unwrap(), weights: bytes(300_000) };
        scene.hub.add(MODEL, special, &scene.files());
        scene
    }

    fn files(&self) -> Vec<(&str, &[u8])> {
        vec![
            ("1_Pooling/config.json", b"{\"pooling\": 1}"),
            ("README.md", b"not needed"),
            ("config.json", b"{\"architectures\": [\"BertModel\"]}"),
            ("model.safetensors", &self.weights),
            ("pytorch_model.bin", b"not needed either"),
            ("tokenizer.json", b"{}"),
        ]
    }

    fn tool(&self) -> Hub {
        self.tool_with(&[])
    }

    fn tool_with(&self, more: &[(&str, &str)]) -> Hub {
        let own = [
            ("HF_HOME", self.directory.path().to_str().unwrap().to_owned()),
            ("HF_ENDPOINT", self.hub.endpoint()),
        ];
        let mut hub = Hub::from_environment(|name| {
            let given = more.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
            given.or_else(|| own.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        })
        .unwrap();
        hub.retry_backoff = Duration::from_millis(1);
        hub.stall_timeout = Duration::from_millis(300);
        hub
    }

    fn pull(&self) -> Result<Pulled, PullError> {
        pull(&self.tool(), MODEL)
    }

    fn repository(&self) -> PathBuf {
        self.directory.path().join("hub/models--owner--model")
    }

    fn blob(&self) -> PathBuf {
        self.repository().join("blobs").join(hash("model.safetensors", &self.weights))
    }

    fn incomplete(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }
}

fn pull(hub: &Hub, id: &str) -> Result<Pulled, PullError> {
    hub.pull(&id.parse().unwrap(), |_| ControlFlow::Continue(()))
}

/// Bytes without a pattern that could hide a fault.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Reads a model by the documented rules, as any other tool would.
fn read_by_the_rules(cache: &Path, repository: &str, revision: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = cache.join(format!("models--{}", repository.replace('/', "--")));
    let commit = fs::read_to_string(folder.join("refs").join(revision)).unwrap();
    assert!(commit.len() == 40 && !commit.ends_with('\n'), "{commit:?}");
    let snapshot = folder.join("snapshots").join(commit);
    let mut found = BTreeMap::new();
    let mut directories = vec![snapshot.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                directories.push(path);
                continue;
            }
            let target = fs::read_link(&path).unwrap();
            assert!(target.is_relative(), "{target:?}");
            let content = fs::read(&path).unwrap();
            let name = path.strip_prefix(&snapshot).unwrap().to_str().unwrap().to_owned();
            let resolved = fs::canonicalize(&path).unwrap();
            assert_eq!(resolved.parent().unwrap(), fs::canonicalize(folder.join("blobs")).unwrap());
            assert_eq!(resolved.file_name().unwrap().to_str().unwrap(), hash(&name, &content));
            found.insert(name, content);
        }
    }
    found
}

#[test]
fn a_model_is_pulled_once_and_any_tool_finds_it() {
    let scene = Scene::new();
    let mut told = Vec::new();
    let hub = scene.tool_with(&[("HF_TOKEN", "hf_secret")]);
    let id: ModelId = MODEL.parse().unwrap();
    let pulled = hub.pull(&id, |progress| {
        told.push(format!("{progress:?}"));
        ControlFlow::Continue(())
    });
    let present = pulled.unwrap().present;
    assert_eq!((present.id, present.format), (id.clone(), Format::Safetensors));
    assert_eq!(present.architecture.as_deref(), Some("BertModel"));
    assert_eq!(told[0], "Begin { files: 4, bytes: 300048 }");
    assert_eq!(told.last().unwrap(), "Bytes { done: 300048 }");

    let found = read_by_the_rules(&scene.directory.path().join("hub"), MODEL, "main");
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(found["model.safetensors"], scene.weights);
    assert!(!scene.incomplete().exists());

    let requests = scene.hub.requests();
    let storage: Vec<&String> = requests.iter().filter(|request| request.contains("/storage/")).collect();
    assert_eq!(storage, ["GET /storage/owner/model/model.safetensors"], "the token goes to the hub alone");
    let to_hub = requests.iter().filter(|request| !request.contains("/storage/"));
    assert!(to_hub.clone().count() == 5 && to_hub.clone().all(|request| request.ends_with(" with token")));

    assert_eq!(pull(&hub, MODEL).unwrap().bytes_fetched, 0);
    assert_eq!(scene.hub.requests().len(), 1, "only the list is read again");
    assert_eq!(hub.list().unwrap(), [pull(&hub, MODEL).unwrap().present]);
}

#[test]
fn a_lost_connection_resumes_where_it_ended() {
    let scene = Scene::new();
    scene
        .hub
        .fail("model.safetensors", &[Fault::Cut(100_000), Fault::Cut(0), Fault::Status(503), Fault::Cut(1)]);
    scene.pull().unwrap();
    assert_eq!(fs::read(scene.blob()).unwrap(), scene.weights);
    let expected = ["", " from 100000", " from 100000", " from 100000", " from 100001"]
        .map(|range| format!("GET /storage/owner/model/model.safetensors{range}"));
    assert_eq!(scene.hub.transfers(), expected);
}

#[test]
fn repeated_disconnects_are_an_error_and_the_partial_download_is_kept() {
    let scene = Scene::new();
    let mut faults = vec![Fault::Cut(1000)];
    faults.extend([Fault::Cut(0); 5]);
    scene.hub.fail("model.safetensors", &faults);
    let error = scene.pull().unwrap_err();
    assert!(matches!(&error, PullError::Cut { file, .. } if file == "model.safetensors"), "{error:?}");
    assert!(error.hint().unwrap().contains("only the rest is fetched"));
    assert_eq!(fs::read(scene.incomplete()).unwrap(), scene.weights[..1000]);
    assert!(!scene.repository().join("refs/main").exists(), "half a model is none");
    scene.hub.requests();
    scene.pull().unwrap();
    assert_eq!(scene.hub.transfers(), ["GET /storage/owner/model/model.safetensors from 1000"]);
    assert_eq!(fs::read(scene.blob()).unwrap(), scene.weights);
}

#[test]
fn a_stalled_connection_is_replaced_by_a_new_one() {
    let scene = Scene::new();
    scene.hub.fail("model.safetensors", &[Fault::Stall(5000)]);
    let mut reasons = Vec::new();
    let pulled = scene.tool().pull(&MODEL.parse().unwrap(), |progress| {
        if let Progress::Retry { reason, .. } = progress {
            reasons.push(reason.to_owned());
        }
        ControlFlow::Continue(())
    });
    pulled.unwrap();
    assert!(reasons[0].contains("model.safetensors failed"), "{reasons:?}");
    assert_eq!(fs::read(scene.blob()).unwrap(), scene.weights);
    assert_eq!(scene.hub.transfers()[1], "GET /storage/owner/model/model.safetensors from 5000");
}

#[test]
fn a_hub_that_ignores_or_rejects_ranges_gives_the_right_file() {
    let scene = Scene::new();
    for second in [Fault::NoRanges, Fault::OtherRange, Fault::Status(416)] {
        scene.hub.fail("model.safetensors", &[Fault::Cut(100_000), second]);
        scene.pull().unwrap();
        assert_eq!(fs::read(scene.blob()).unwrap(), scene.weights, "{second:?}");
        fs::remove_file(scene.blob()).unwrap();
    }
}

#[test]
fn a_damaged_download_is_removed_and_fetched_by_the_next_pull() {
    let scene = Scene::new();
    scene.hub.fail("model.safetensors", &[Fault::Flip]);
    let error = scene.pull().unwrap_err();
    assert_eq!(
        (error.code(), error.hint()),
        ("wrong_hash", Some("it was removed; run it again to fetch it"))
    );
    assert!(!scene.blob().exists() && !scene.incomplete().exists());
    scene.hub.fail("tokenizer.json", &[Fault::Flip]);
    assert_eq!(scene.pull().unwrap_err().code(), "wrong_hash", "small files have hashes as well");
    scene.pull().unwrap();
    assert_eq!(fs::read(scene.blob()).unwrap(), scene.weights);
}

#[test]
fn a_damaged_partial_download_is_fetched_again_without_an_error() {
    let scene = Scene::new();
    fs::create_dir_all(scene.blob().parent().unwrap()).unwrap();
    for (rest, requests) in [(vec![7; 200_000], 2), (vec![7; 300_000], 1), (vec![7; 400_000], 1)] {
        fs::write(scene.incomplete(), rest).unwrap();
        scene.hub.requests();
        scene.pull().unwrap();
        assert_eq!(fs::read(scene.blob()).unwrap(), scene.weights);
        assert_eq!(scene.hub.transfers().len(), requests);
        fs::remove_file(scene.blob()).unwrap();
    }
}

#[test]
fn a_file_damaged_on_disk_is_fetched_again() {
    let scene = Scene::new();
    scene.pull().unwrap();
    for damaged in [scene.weights[..1000].to_vec(), vec![0; 300_000]] {
        fs::write(scene.blob(), damaged).unwrap();
        assert_eq!(scene.pull().unwrap().bytes_fetched, 300_000);
        assert_eq!(fs::read(scene.blob()).unwrap(), scene.weights);
    }
}

#[test]
fn denied_access_and_missing_models_are_reported() {
    let scene = Scene::new();
    scene.hub.add("owner/gated", Special { token: Some("hf_good"), ..Special::default() }, &scene.files());
    let said = |token: &str, id: &str| {
        let error = pull(&scene.tool_with(&[("HF_TOKEN", token)]), id).unwrap_err();
        (error.code(), error.to_string(), error.hint().unwrap())
    };
    let (code, text, hint) = said("", "owner/none");
    assert_eq!(code, "model_forbidden");
    assert_eq!(text, "the hub denies access to model owner/none: it is private, gated, or does not exist");
    assert!(hint.contains("set HF_TOKEN"));
    let (code, text, _) = said("hf_any", "owner/none");
    assert_eq!((code, text.as_str()), ("model_not_found", "the hub has no model owner/none"));
    let (_, text, _) = said("hf_any", "owner/model@v9");
    assert_eq!(text, "the hub has no model owner/model@v9");
    assert_eq!(said("", "owner/gated").0, "model_forbidden");
    let (code, text, hint) = said("hf_bad", "owner/gated");
    assert_eq!(code, "model_forbidden");
    assert_eq!(text, "the hub denies access to model owner/gated: the token in use may not read it");
    assert!(hint.contains("ask for access"));
    pull(&scene.tool_with(&[("HF_TOKEN", "hf_good")]), "owner/gated").unwrap();
}

#[test]
fn server_errors_are_retried_and_an_unreachable_hub_is_an_error() {
    let scene = Scene::new();
    scene.hub.fail("config.json", &[Fault::Status(500), Fault::Status(429)]);
    scene.pull().unwrap();
    let mut away = scene.tool();
    away.endpoint = "http://127.0.0.1:1".to_owned();
    let error = pull(&away, MODEL).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("hub_unreachable", "cannot reach http://127.0.0.1:1")
    );
}

#[test]
fn a_model_that_does_not_fit_the_disk_is_refused_before_a_byte_is_fetched() {
    let scene = Scene::with(Special { bytes: Some(1 << 39), ..Special::default() });
    let error = scene.pull().unwrap_err();
    assert!(
        matches!(error, PullError::InsufficientDiskSpace { bytes_needed, bytes_free, .. }
            if bytes_needed == 4 << 39 && bytes_free < bytes_needed),
        "{error:?}"
    );
    assert!(error.to_string().starts_with("insufficient_disk_space: 2199023255552 bytes are needed in "));
    assert_eq!(scene.hub.requests().len(), 1);
    let scene = Scene::with(Special { bytes: Some(1 << 62), ..Special::default() });
    assert_eq!(scene.pull().unwrap_err().code(), "model_too_large");
}

#[test]
fn offline_only_complete_models_are_available() {
    let scene = Scene::new();
    let offline = scene.tool_with(&[("HF_HUB_OFFLINE", "1")]);
    assert!(matches!(pull(&offline, MODEL), Err(PullError::Request(RequestError::Offline))));
    scene.pull().unwrap();
    scene.hub.requests();
    assert_eq!(pull(&offline, MODEL).unwrap().bytes_fetched, 0);
    fs::remove_file(scene.blob()).unwrap();
    assert!(matches!(pull(&offline, MODEL), Err(PullError::Request(RequestError::Offline))));
    assert_eq!(scene.hub.requests(), [""; 0]);
}

#[test]
fn concurrent_pulls_fetch_each_file_once() {
    let scene = Scene::new();
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| scene.pull().unwrap().present);
        let other = scope.spawn(|| scene.pull().unwrap().present);
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(one, other);
    assert_eq!(scene.hub.transfers(), ["GET /storage/owner/model/model.safetensors"]);
}

#[test]
fn a_cancelled_pull_keeps_its_partial_download() {
    let scene = Scene::new();
    let ended = scene.tool().pull(&MODEL.parse().unwrap(), |progress| {
        let enough = matches!(progress, Progress::Bytes { done } if done > 100_000);
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(ended, Err(PullError::Cancelled)));
    let kept = fs::metadata(scene.incomplete()).unwrap().len();
    assert!(kept > 0, "{kept}");
    scene.hub.requests();
    scene.pull().unwrap();
    assert_eq!(scene.hub.transfers(), [format!("GET /storage/owner/model/model.safetensors from {kept}")]);
}

#[test]
fn hashes_missing_from_the_list_are_requested_for_each_file() {
    let scene = Scene::with(Special { terse: true, ..Special::default() });
    scene.pull().unwrap();
    read_by_the_rules(&scene.directory.path().join("hub"), MODEL, "main");
    let requests = scene.hub.requests();
    assert_eq!(requests.iter().filter(|request| request.starts_with("HEAD ")).count(), 4);
}

#[test]
fn a_hostile_hub_cannot_write_outside_the_cache_or_send_more_than_stated() {
    let scene = Scene::new();
    let evil = |listing: String| {
        scene.hub.add("owner/evil", Special { listing: Some(listing), ..Special::default() }, &[]);
        let error = pull(&scene.tool(), "owner/evil").unwrap_err();
        (error.code(), error.to_string())
    };
    let listing = |name: &str| format!(r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"{name}"}}]}}"#);
    let (code, text) = evil(listing("../../../../config.json"));
    assert_eq!((code, text.contains("leads out of its folder")), ("hub_malformed", true), "{text}");
    assert_eq!(evil(r#"{"sha":"../..","siblings":[]}"#.to_owned()).0, "hub_malformed");
    assert_eq!(evil("<html>a captive portal</html>".to_owned()).0, "hub_malformed");
    assert_eq!(evil(" ".repeat(17 << 20)).0, "hub_malformed");
    assert_eq!(evil(listing("pytorch_model.bin")).0, "model_unsupported");

    // Only as many bytes as stated are accepted.
    let weights = hash("model.safetensors", &scene.weights[..1000]);
    let short = format!(
        r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"m.gguf","lfs":{{"sha256":"{weights}","size":1000}}}}]}}"#
    );
    let special = Special { listing: Some(short), ..Special::default() };
    scene.hub.add("owner/long", special, &[("m.gguf", &scene.weights)]);
    let present = pull(&scene.tool(), "owner/long/m.gguf").unwrap().present;
    assert_eq!((present.format, present.bytes), (Format::Gguf, 1000));
}

#[test]
fn one_gguf_file_of_several_is_pulled_found_and_removed() {
    let scene = Scene::new();
    let files: [(&str, &[u8]); 3] =
        [("README.md", b"x"), ("tiny.Q4_0.gguf", b"GGUF four"), ("tiny.Q8_0.gguf", b"GGUF eight")];
    scene.hub.add("owner/tiny", Special::default(), &files);
    let hub = scene.tool();
    let error = pull(&hub, "owner/tiny").unwrap_err();
    assert!(error.hint().unwrap().contains("owner/name:Q4_0"), "{error:?}");
    let present = pull(&hub, "owner/tiny:q4_0").unwrap().present;
    assert_eq!(present.id.to_string(), "owner/tiny/tiny.Q4_0.gguf");
    assert_eq!(fs::read(&present.path).unwrap(), b"GGUF four");
    pull(&hub, "owner/tiny:Q8_0").unwrap();
    let names = || hub.list().unwrap().iter().map(|model| model.id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(), ["owner/tiny/tiny.Q4_0.gguf", "owner/tiny/tiny.Q8_0.gguf"]);
    assert_eq!(hub.remove(&"owner/tiny:Q4_0".parse().unwrap()).unwrap(), 9);
    assert_eq!(names(), ["owner/tiny/tiny.Q8_0.gguf"]);
    assert_eq!(hub.remove(&"owner/tiny/tiny.Q8_0.gguf".parse().unwrap()).unwrap(), 10);
    assert!(hub.remove(&"owner/tiny:Q8_0".parse().unwrap()).is_err());
    assert!(!scene.directory.path().join("hub/models--owner--tiny").exists());
}
