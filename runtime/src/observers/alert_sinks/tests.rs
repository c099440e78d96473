use super::command::Program;
use super::webhook::Webhook;
use super::*;
use engine::observers::alerts::{AlertRule, Severity};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant as RealInstant;

const RAISED: Event =
    Event::AlertRaised { rule: AlertRule::PeerCount, severity: Severity::Warn, value: 1, threshold: 2 };

fn start(receivers: AlertReceivers) -> AlertSinks {
    AlertSinks::start(&receivers, NodeId([7; 16]), "local".to_owned()).unwrap()
}

fn webhook(listener: &TcpListener) -> AlertReceivers {
    let url = format!("http://{}/hook/secret", listener.local_addr().unwrap());
    AlertReceivers { webhook: Some(url), ..AlertReceivers::default() }
}

#[track_caller]
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = RealInstant::now();
    while !is_true() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads a request, answers it with a status, and returns its first line and its body.
fn answer(listener: &TcpListener, status: &str) -> (String, serde_json::Value) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    (first, serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_webhook_gets_the_notice_again_until_it_takes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sinks = start(webhook(&listener));
    sinks.event(Instant::ZERO, &Event::DiscoveryAvailable);
    sinks.event(Instant::ZERO, &RAISED);
    let (line, first) = answer(&listener, "503 Busy");
    let (_, second) = answer(&listener, "204 Taken");
    assert_eq!((line.trim(), &first), ("POST /hook/secret HTTP/1.1", &second));
    assert_eq!(first["event"], "alert_raised");
    assert_eq!((&first["rule"], &first["severity"]), (&"peer_count".into(), &"WARN".into()));
    assert_eq!(first["message"], "the node has 1 peer, fewer than 2");
    assert_eq!((&first["value"], &first["threshold"]), (&1.into(), &2.into()));
    assert_eq!(first["node_id"], "07".repeat(16));
    until("it is delivered", || sinks.states().all()[0].delivered == 1);
    let state = &sinks.states().all()[0];
    assert_eq!((state.failed, state.dropped, state.waiting), (0, 0, 0));
    assert!(!state.target.contains("secret"), "{state:?}");
    assert_eq!(state.last_error.as_deref(), Some("the webhook answers with status 503"));
}

#[test]
fn a_webhook_that_says_no_is_not_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sinks = start(webhook(&listener));
    sinks.event(Instant::ZERO, &RAISED);
    answer(&listener, "404 Not Found");
    until("it is given up", || sinks.states().all()[0].failed == 1);
}

#[test]
fn a_webhook_that_hangs_delays_neither_the_node_nor_its_stop() {
    // It accepts connections into its backlog, and never reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = RealInstant::now();
    let mut sinks = start(webhook(&listener));
    for _ in 0..1_000 {
        sinks.event(Instant::ZERO, &RAISED);
    }
    let states = sinks.states();
    let state = &states.all()[0];
    assert!(state.dropped >= 1_000 - WAITING_MAX as u64 - 1, "{state:?}");
    assert_eq!(state.dropped + state.waiting, 1_000, "{state:?}");
    drop(sinks);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_try_ends_even_if_the_webhook_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let stop = Stop::default();
    stop.lock().wanted = true;
    let mut errors = Vec::new();
    let mut hook = Webhook::with_timeout(url, Duration::from_millis(100));
    assert!(!hook.deliver(b"{}", &stop, &mut |error| errors.push(error)));
    assert!(errors.len() == 1 && errors[0].contains("timeout"), "{errors:?}");
    drop(TcpStream::connect(listener.local_addr().unwrap()));
}

#[test]
fn a_command_gets_the_notice_and_no_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("got").display().to_string();
    let script = "cat >\"$1.part\"; env >>\"$1.part\"; mv \"$1.part\" \"$1\"";
    let command = ["/bin/sh", "-c", script, "sh", &file].map(str::to_owned).into();
    let mut sinks = start(AlertReceivers { command, ..AlertReceivers::default() });
    sinks.event(Instant::ZERO, &RAISED);
    until("the command ran", || sinks.states().all()[0].delivered == 1);
    let got = std::fs::read_to_string(&file).unwrap();
    let notice: AlertNotice = serde_json::from_str(got.split_inclusive('}').next().unwrap()).unwrap();
    assert_eq!((notice.rule, notice.event.as_str()), (AlertRule::PeerCount, "alert_raised"));
    // Cargo sets this one for tests.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !got.contains("CARGO_"), "{got}");
}

#[test]
fn a_command_that_fails_or_hangs_is_counted_and_killed() {
    let (stop, mut errors) = (Stop::default(), Vec::new());
    let mut run = |script: &str| {
        let arguments = ["-c", script].map(str::to_owned).into();
        let mut program = Program::with_timeout("/bin/sh".to_owned(), arguments, Duration::from_millis(300));
        let begun = RealInstant::now();
        assert!(!program.deliver(b"{}", &stop, &mut |error| errors.push(error)));
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    run("exit 3");
    // The child of the shell is killed too; otherwise it would keep running.
    run("sleep 1000 & wait");
    let mut program = Program::new("/no/such/program".to_owned(), Vec::new());
    assert!(!program.deliver(b"{}", &stop, &mut |error| errors.push(error)));
    assert_eq!(errors.len(), 3);
    assert_eq!(errors[0], "the program ended with exit status: 3");
    assert_eq!(errors[1], "the program did not end within 0 s");
    assert!(errors[2].starts_with("the program does not start: "), "{errors:?}");
    assert_eq!(stop.lock().running, 0);
}

#[test]
fn a_command_that_runs_when_the_node_stops_is_killed() {
    let command = ["/bin/sh", "-c", "sleep 1000"].map(str::to_owned).into();
    let mut sinks = start(AlertReceivers { command, ..AlertReceivers::default() });
    let stop = Arc::clone(&sinks.stop);
    sinks.event(Instant::ZERO, &RAISED);
    until("it runs", || stop.lock().running == 1);
    drop(sinks);
    assert_eq!(stop.lock().running, 0);
}
