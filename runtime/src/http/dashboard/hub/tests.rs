use super::*;
use engine::request::Answer;
use engine::{Event, TraceContext, TraceId};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A node that answers until it stops, and counts the questions.
struct Node {
    handle: Handle,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

fn node() -> Node {
    let (handle, mut asks) = Handle::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let task = tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = ask.reply.send(answer(&ask.request));
        }
    });
    Node { handle, asked, task }
}

fn answer(request: &Request) -> Answer {
    #[allow(clippy::wildcard_enum_match_arm, reason = "a page asks nothing else")]
    match request {
        Request::Status => Ok(Response::Status(Box::new(engine::testing::status()))),
        Request::Members => Ok(Response::Members(Vec::new())),
        Request::Peers => Ok(Response::Peers(Vec::new())),
        other => panic!("a page asks {other:?}"),
    }
}

fn hub() -> (Arc<Hub>, PageFeed) {
    let feed = PageFeed::default();
    (Arc::new(Hub::new(feed.clone(), Arc::default(), FeedKind::Node)), feed)
}

/// Returns the next event of a page, and moves its cursor.
async fn next(hub: &Hub, after: &mut Option<Cursor>) -> String {
    let mut newest = hub.newest();
    loop {
        newest.borrow_and_update();
        if let Next::Frame(text, number) = hub.next(after.as_ref()) {
            *after = Some(hub.cursor(number));
            return String::from_utf8(text.to_vec()).unwrap();
        }
        newest.changed().await.unwrap();
    }
}

fn observe(feed: &PageFeed, event: &Event) {
    use crate::observers::EventObserver as _;
    feed.observer(NodeId([7; 16])).event(engine::Instant::ZERO, event);
}

fn accept(feed: &PageFeed, number: u8) {
    let event = Event::TaskAccepted {
        task: engine::TaskId([number; 16]),
        kind: engine::task::TaskKind::Embedding,
        model: "m".to_owned(),
        parent: None,
        trace: TraceContext { id: TraceId([3; 16]), sampled: false },
    };
    observe(feed, &event);
}

fn id(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_page_gets_the_topology_then_updates_and_continues_where_it_was() {
    let (node, (hub, feed)) = (node(), hub());
    let _page = hub.open_page(&node.handle).unwrap();
    let mut after = None;
    let first = next(&hub, &mut after).await;
    assert!(first.starts_with("event: topology\nid: "), "{first}");
    assert!(first.ends_with("\n\n") && first.contains(r#""self":"0707"#), "{first}");
    let lost_after = after.clone();
    accept(&feed, 1);
    let with_task = loop {
        let event = next(&hub, &mut after).await;
        assert!(event.starts_with("event: update\n"), "{event}");
        if event.contains("\"tasks\"") {
            break event;
        }
    };
    assert!(with_task.contains(&"01".repeat(4)), "{with_task}");
    // The page lost its connection after the topology, and continues with the events that it missed.
    let mut again = lost_after;
    while next(&hub, &mut again).await != with_task {}
    assert_eq!(Cursor::parse(id(&with_task)), again);
    for foreign in ["0-1", "x", "", "0-99999999999999999999", &format!("{}9", id(&with_task))] {
        let restarted = next(&hub, &mut Cursor::parse(foreign)).await;
        assert!(restarted.starts_with("event: topology\n"), "{foreign}: {restarted}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_together_at_most_ten_times_a_second() {
    let (node, (hub, feed)) = (node(), hub());
    let _page = hub.open_page(&node.handle).unwrap();
    let mut after = None;
    next(&hub, &mut after).await;
    let begin = Instant::now();
    let mut updates = 0;
    for number in 0..200 {
        accept(&feed, number);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while let Next::Frame(_, number) = hub.next(after.as_ref()) {
        after = Some(hub.cursor(number));
        updates += 1;
    }
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
    assert!((5..=11).contains(&updates), "{updates}");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_pages_is_asked_nothing() {
    let (node, (hub, feed)) = (node(), hub());
    let page = hub.open_page(&node.handle).unwrap();
    next(&hub, &mut None).await;
    drop(page);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let before = node.asked.load(Ordering::Relaxed);
    accept(&feed, 1);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(node.asked.load(Ordering::Relaxed), before);
    assert!(feed.take_changes().is_empty());
    let _page = hub.open_page(&node.handle).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(node.asked.load(Ordering::Relaxed) > before, "a new page starts it again");
}

#[tokio::test(start_paused = true)]
async fn pages_are_bounded() {
    let (node, (hub, _)) = (node(), hub());
    let mut pages: Vec<_> = (0..PAGES_MAX).map(|_| hub.open_page(&node.handle).unwrap()).collect();
    assert!(hub.open_page(&node.handle).is_none());
    pages.pop();
    assert!(hub.open_page(&node.handle).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_page_learns_that_its_node_is_gone() {
    let (node, (hub, _)) = (node(), hub());
    let _page = hub.open_page(&node.handle).unwrap();
    let mut after = None;
    next(&hub, &mut after).await;
    node.task.abort();
    let event = loop {
        let event = next(&hub, &mut after).await;
        if !event.starts_with("event: update\n") {
            break event;
        }
    };
    assert!(event.starts_with("event: state\ndata: {\"state\":\"stopping\""), "{event}");
    assert_eq!(hub.topology(&node.handle).await.unwrap_err().state, FeedPhase::Stopping);
    let _second = hub.open_page(&node.handle).unwrap();
    for cursor in [None, Cursor::parse("foreign-7")] {
        let first = next(&hub, &mut cursor.clone()).await;
        assert!(first.starts_with("event: state\n"), "a new page learns it at once: {first}");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(matches!(hub.next(after.as_ref()), Next::Wait), "it is told once");
}

#[tokio::test(start_paused = true)]
async fn the_stopped_nodes_of_a_demo_are_only_unreachable() {
    let node = node();
    let hub = Arc::new(Hub::new(PageFeed::default(), Arc::default(), FeedKind::Demo));
    node.task.abort();
    assert_eq!(hub.topology(&node.handle).await.unwrap_err().state, FeedPhase::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn there_is_a_sample_each_second_while_tasks_change_all_the_time() {
    let (node, (hub, feed)) = (node(), hub());
    let _page = hub.open_page(&node.handle).unwrap();
    let mut after = None;
    next(&hub, &mut after).await;
    let begin = Instant::now();
    for number in 0..200 {
        accept(&feed, number);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
    let mut samples = 0;
    while let Next::Frame(text, number) = hub.next(after.as_ref()) {
        after = Some(hub.cursor(number));
        samples += usize::from(String::from_utf8_lossy(&text).contains("\"sample\""));
    }
    assert!((9..=11).contains(&samples), "{samples}");
}

#[tokio::test(start_paused = true)]
async fn pages_are_not_woken_without_an_event() {
    let (node, (hub, feed)) = (node(), hub());
    let _page = hub.open_page(&node.handle).unwrap();
    next(&hub, &mut None).await;
    let asked = node.asked.load(Ordering::Relaxed);
    let mut newest = hub.newest();
    newest.borrow_and_update();
    // The node is asked, and its answers show nothing new.
    observe(&feed, &Event::MemberLeft { member: NodeId([9; 16]) });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(node.asked.load(Ordering::Relaxed) > asked);
    assert!(!newest.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_comes_back_after_a_pause_gets_the_whole_picture() {
    let (node, (hub, _)) = (node(), hub());
    let page = hub.open_page(&node.handle).unwrap();
    let mut after = None;
    for _ in 0..5 {
        next(&hub, &mut after).await;
    }
    drop(page);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(hub.lock().runs, "a page that reloads finds all ready");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let newest = {
        let state = hub.lock();
        assert!(!state.runs && state.frames.is_empty());
        assert_eq!(state.frames_bytes, 0);
        Cursor { epoch: state.epoch.clone(), number: state.number - 1 }
    };
    let _page = hub.open_page(&node.handle).unwrap();
    for cursor in [after, Some(newest)] {
        let first = next(&hub, &mut cursor.clone()).await;
        assert!(first.starts_with("event: topology\n"), "{cursor:?}: {first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_topology_is_compared_with_nothing_old() {
    let (node, (hub, _)) = (node(), hub());
    let first = hub.topology(&node.handle).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let second = hub.topology(&node.handle).await.unwrap();
    assert_ne!(first.cursor, second.cursor);
    assert_eq!(hub.lock().frames.len(), 1, "the frames before the pause are gone");
}

#[tokio::test]
async fn the_history_has_counts_of_the_past_and_gauges_while_a_page_is_open() {
    let (node, (hub, feed)) = (node(), hub());
    accept(&feed, 1);
    let page = hub.open_page(&node.handle).unwrap();
    next(&hub, &mut None).await;
    let begin = clock::wall();
    while clock::wall().0 / 1000 == begin.0 / 1000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(page);
    let history = hub.history(SECONDS_MAX);
    let column = |name: &str| history.columns[name].iter().map(|value| value.map(|value| value.as_f64()));
    assert_eq!(column("tasks_submitted").flatten().sum::<f64>(), 1.0);
    assert!(history.length >= 1 && history.columns.values().all(|column| column.len() == history.length));
    assert!(column("members").flatten().all(|members| members == 1.0));
    assert_eq!(hub.history(1).length, 1);
}
