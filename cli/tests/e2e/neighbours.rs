//! A model from other nodes: verified piece by piece, from several nodes in parallel, and resumed after a crash.

use crate::harness::{Node, Sandbox, run, until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Creates a folder with the files of a model, the same each time.
fn model(sandbox: &Sandbox, name: &str, megabytes: usize) -> PathBuf {
    let folder = sandbox.path(name);
    fs::create_dir_all(folder.join("onnx")).unwrap();
    let mut state = 1_u32;
    let mut words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()
    });
    let weights: Vec<u8> = words.by_ref().take(megabytes << 18).flatten().collect();
    fs::write(folder.join("onnx/weights.bin"), weights).unwrap();
    fs::write(folder.join("config.json"), "{\"hidden_size\": 384}").unwrap();
    fs::write(folder.join("empty.txt"), "").unwrap();
    folder
}

fn share(node: &Node<'_>, folder: &Path, list: &Path) -> String {
    let text = node.run(&["model", "share", folder.to_str().unwrap()]).good();
    crate::harness::write(list, &text);
    text
}

fn pull<'a>(list: &'a Path, to: &'a Path) -> [&'a str; 6] {
    ["model", "pull", "--manifest", list.to_str().unwrap(), "--to", to.to_str().unwrap()]
}

fn assert_same(one: &Path, other: &Path) {
    for name in ["onnx/weights.bin", "config.json", "empty.txt"] {
        assert!(fs::read(one.join(name)).unwrap() == fs::read(other.join(name)).unwrap(), "{name}");
    }
}

/// Pulls, and kills the node once a part of the weights has arrived. Returns whether that interrupted the fetch.
fn kill_midway(node: &Node<'_>, list: &Path, to: &Path) -> bool {
    let mut pulling =
        node.command(&pull(list, to)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let files = node.home.root().join("data/files");
    let some = || {
        fs::read_dir(&files).into_iter().flatten().flatten().any(|entry| {
            let large = entry.metadata().is_ok_and(|found| found.len() > 32);
            large && entry.path().extension().is_some_and(|extension| extension == "leaves")
        })
    };
    // Polls more often than `until`, because the whole fetch takes less than a second.
    until("a piece has come", || (0..1000).any(|_| some()).then_some(()));
    node.kill();
    let code = pulling.wait().unwrap();
    !code.success()
        && fs::read_dir(&files)
            .unwrap()
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|extension| extension == "part"))
}

#[test]
fn a_model_comes_from_two_neighbours_and_goes_on_after_a_crash() {
    let sandbox = Sandbox::new();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| sandbox.node(name));
    let ids = [a.start_bare(), b.start_bare(), c.start_bare()];
    c.await_peers(&[&ids[0], &ids[1]]);
    let (mine, copy, list) =
        (model(&sandbox, "tiny", 48), model(&sandbox, "copy/tiny", 48), sandbox.path("model.json"));
    let text = share(&a, &mine, &list);
    assert_eq!(share(&b, &copy, &list), text, "a list says what is in the files, not where they lie");
    assert!(text.contains("\"name\": \"tiny\"") && text.contains("\"path\": \"onnx/weights.bin\""), "{text}");
    let to = sandbox.path("fetched");
    assert!(kill_midway(&c, &list, &to), "it was here before it could be interrupted");
    assert!(!to.join("onnx/weights.bin").exists(), "nothing shows before all of it is there");
    c.start_bare();
    c.await_peers(&[&ids[0], &ids[1]]);
    let said = c.run(&pull(&list, &to)).good();
    assert!(said.starts_with("Fetched 50.3 MB from 2 nodes in "), "{said}");
    assert_same(&mine, &to);
    until("the log tells that what had come before is not fetched again", || {
        let resumed = |line: &str| line.contains("fetch begun") && !line.contains("\"present\":0");
        c.log().lines().any(resumed).then_some(())
    });
    let said = c.run(&pull(&list, &to)).good();
    assert!(said.starts_with("All files are already here: "), "{said}");
    // A node that has fetched it also provides it.
    a.run(&["node", "stop"]).good();
    b.run(&["node", "stop"]).good();
    d.start_bare();
    until("the two have met", || {
        let peers = d.json(&["node", "peers", "--json"]);
        (peers["peers"].as_array()?.len() == 1).then_some(())
    });
    let said = d.run(&["model", "pull", "--manifest", list.to_str().unwrap()]).good();
    assert!(said.contains("from 1 node in "), "{said}");
    assert_same(&mine, &d.home.root().join("models/tiny"));
}

#[test]
fn a_model_from_a_neighbour_does_its_work_when_the_neighbour_is_gone() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let id = a.start_bare();
    b.start_bare();
    b.await_peers(&[&id]);
    let (list, to) = (sandbox.path("model.json"), sandbox.path("fetched"));
    share(&a, Path::new(CROSS_ENCODER), &list);
    let said = b.run(&pull(&list, &to)).good();
    assert!(said.contains(&format!("To run it, add {} to models", to.display())), "{said}");
    // In the node's own directory it is a model like any other.
    b.run(&["node", "stop"]).good();
    b.start();
    b.await_peers(&[&id]);
    let pull = ["model", "pull", "--manifest", list.to_str().unwrap()];
    let offered = "\nThe node offers it as cross-encoder for classification, reranking\n";
    let said = b.run(&pull).good();
    assert!(said.contains(offered), "{said}");
    let said = b.run(&["model", "info", "cross-encoder"]).good();
    assert!(said.contains("BertForSequenceClassification"), "{said}");
    let submit = ["task", "submit", "--type", "reranking", "--query", "who sleeps?", "--wait", "--json"];
    let ranked = b.json(&[submit.as_slice(), &["--input", "the cat sleeps\na ship sails"]].concat());
    assert_eq!(ranked["model"], "cross-encoder", "{ranked}");
    let said = b.run(&["model", "rm", "cross-encoder"]).good();
    assert!(said.starts_with("Removed cross-encoder ("), "{said}");
    assert!(!b.run(&["model", "list"]).good().contains("cross-encoder"));
    let said = b.run(&pull).good();
    assert!(said.starts_with("Fetched ") && said.contains(offered), "{said}");
    a.run(&["node", "stop"]).good();
    b.run(&["node", "stop"]).good();
    run(with_models(&b, to.to_str().unwrap(), &["node", "start"]), b"").good();
    let submit = ["task", "submit", "--type", "reranking", "--query", "who sleeps?", "--wait", "--input"];
    let said = b.run(&[submit.as_slice(), &["the cat sleeps on the sofa\na ship sails"]].concat()).good();
    assert!(said.contains("Status:     COMPLETED") && said.contains("text 0 0.0"), "{said}");
    b.run(&["node", "stop"]).good();
}

fn with_models(node: &Node<'_>, models: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = node.command(arguments);
    command.env("P2P_AI_MODELS", models);
    command
}

const CROSS_ENCODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/data/cross-encoder");

#[test]
fn what_nobody_has_or_is_no_list_is_told_apart() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let (list, to) = (sandbox.path("model.json"), sandbox.path("fetched"));
    let said = b.run(&pull(&list, &to)).bad(1);
    assert!(said.contains("is not a model manifest") && said.contains("hint: create one"), "{said}");
    let id = a.start_bare();
    b.start_bare();
    b.await_peers(&[&id]);
    let mine = model(&sandbox, "tiny", 1);
    share(&a, &mine, &list);
    let text = fs::read_to_string(&list).unwrap();
    crate::harness::write(&list, &text.replace("onnx/weights.bin", "../weights.bin"));
    let said = b.run(&pull(&list, &to)).bad(1);
    assert!(said.contains("\"../weights.bin\" is not a name within one folder"), "{said}");
    crate::harness::write(&list, &text);
    // The content no longer matches the hash.
    let mut weights = fs::read(mine.join("onnx/weights.bin")).unwrap();
    weights[300_000] ^= 1;
    fs::write(mine.join("onnx/weights.bin"), weights).unwrap();
    let said = b.run(&pull(&list, &to)).bad(1);
    assert!(said.contains("cannot fetch onnx/weights.bin: "), "{said}");
    assert!(to.join("config.json").exists() && !to.join("onnx/weights.bin").exists());
    // No file of the user is overwritten.
    fs::create_dir_all(to.join("onnx")).unwrap();
    fs::write(to.join("onnx/weights.bin"), "mine").unwrap();
    let said = b.run(&pull(&list, &to)).bad(1);
    assert!(said.contains("exists and is another file"), "{said}");
    assert_eq!(fs::read(to.join("onnx/weights.bin")).unwrap(), b"mine");
    let said = a.run(&["model", "share", sandbox.path("nowhere").to_str().unwrap()]).bad(1);
    assert!(said.contains("cannot share") && said.contains("No such file"), "{said}");
}
