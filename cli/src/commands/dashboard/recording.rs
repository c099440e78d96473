//! `dashboard start --recording FILE`: plays a recorded node back in real time, with the same page and routes.
//!
//! The recorded node answers the page as the real one did. It cannot be changed: logins can only read.

use crate::commands::sim::replay;
use crate::error::Failure;
use api::dashboard::FeedKind;
use engine::TaskId;
use engine::task::TaskResult;
use runtime::blobs::SharedFiles;
use runtime::catalog::{Catalog, Found, Sources};
use runtime::clock;
use runtime::driver::{Ask, Handle};
use runtime::http::{
    Api, Dashboard, MetricsSource, ResultReadError, ResultSource, Sessions, StartupRouter, Token,
};
use runtime::logging::{Log, LogOptions};
use runtime::metrics::Host;
use runtime::observers::{AlertSinkStates, EventObserver, PageFeed};
use runtime::snapshot::Inspected;
use runtime::store::Damage;
use sim::replay::Playback;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A recorded node that is ready to be played.
pub(super) struct Recording {
    playback: Playback,
    file: PathBuf,
}

impl Recording {
    /// Opens a recording.
    pub(super) fn open(file: &Path) -> Result<Self, Failure> {
        let playback = Playback::open(file).map_err(|error| {
            let failure = Failure::from_error(&error).id(replay::id(&error)).hint(error.hint());
            failure.at(&file.display().to_string())
        })?;
        Ok(Self { playback, file: file.to_owned() })
    }

    /// Returns the file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Starts to play, and serves the page of the recorded node.
    pub(super) fn serve(
        self,
        router: &StartupRouter,
        address: SocketAddr,
        token: Arc<Token>,
        sessions: Arc<Sessions>,
    ) -> Result<(), Failure> {
        let (handle, asks) = Handle::new();
        let feed = PageFeed::default();
        let directory = self.file.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        router.attach(Api {
            handle,
            results: Arc::new(NoResults),
            models: Catalog::new(Sources::default(), None, Found::default()),
            shared_files: Arc::new(SharedFiles::detached(Path::new("/dev/null"))),
            metrics: Arc::new(MetricsSource::new(Host::new(&directory, clock::wall().0, Arc::default()))),
            log: Log::open(Path::new("/dev/null"), LogOptions::default())?,
            profiling: Arc::default(),
            inspected: Arc::new(Inspected::default()),
            alert_sinks: AlertSinkStates::default(),
            dashboard: Dashboard::new(FeedKind::Recording, feed.clone(), Arc::default(), sessions),
            threads: 1,
            trace_sample: 0,
            token,
            address,
        });
        // A node and its journal are not made for a thread that others wait for.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let observer = feed.observer(self.playback.id());
        std::thread::Builder::new()
            .name("playback".to_owned())
            .spawn(move || runtime.block_on(play(self.playback, asks, observer)))?;
        Ok(())
    }
}

/// Plays from the first question until nobody can ask any more. At the end of the recording, the node stays as it was.
async fn play(mut playback: Playback, mut asks: mpsc::Receiver<Ask>, mut observer: impl EventObserver) {
    // Nothing is missed before a page opens.
    let Some(first) = asks.recv().await else { return };
    answer(&mut playback, first);
    let (origin, started) = (tokio::time::Instant::now(), playback.started());
    loop {
        let due = playback.next_at().map(|at| origin + at.since(started));
        tokio::select! {
            biased;
            ask = asks.recv() => {
                let Some(ask) = ask else { return };
                answer(&mut playback, ask);
            }
            () = tokio::time::sleep_until(due.unwrap_or(origin)), if due.is_some() => {
                let at = playback.next_at().unwrap_or(started);
                match playback.step() {
                    Ok(events) => events.iter().for_each(|event| observer.event(at, event)),
                    Err(error) => _ = Failure::from_error(&error).id(replay::id(&error)).report(),
                }
            }
        }
    }
}

/// Answers a question. One that is not answered finds a node that has stopped.
fn answer(playback: &mut Playback, Ask { request, reply }: Ask) {
    if let Some(answer) = playback.ask(request) {
        let _ = reply.send(answer);
    }
}

/// A recording has no outputs of tasks.
struct NoResults;

impl ResultSource for NoResults {
    fn result(&self, _: TaskId) -> Result<Option<TaskResult>, ResultReadError> {
        Ok(None)
    }

    fn damage(&self) -> Damage {
        Damage::default()
    }
}
