//! `demo interactive`: runs a demo in this process and reads commands from a prompt.
//!
//! The commands are the verbs of `demo` and print the same. On a terminal, the prompt has a history and completes
//! commands and names of nodes. Without one, it reads commands from standard input, one a line.

mod completion;
mod words;

use super::server::{self, DemoServer};
use super::{connect, fault, heal, kill, memory, partition, record, start, stats, stop, tasks};
use crate::client::Client;
use crate::commands::stop_signals::{StopSignal, StopSignals};
use crate::commands::task::submit::Kind;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::terminal;
use api::NewDemoTasks;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use completion::Completion;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use runtime::home::{Holder, Home};
use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use tokio::sync::mpsc as async_mpsc;

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000), allow_negative_numbers = true, value_name = "N")]
    nodes: u32,
    /// Run each node as a process with sockets, instead of simulating all of them
    #[arg(long)]
    real: bool,
    /// Play this scenario file, with its nodes, network and faults
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "real"])]
    scenario: Option<PathBuf>,
    /// Seed of the simulated network and its faults [default: random]
    #[arg(long, value_name = "N", conflicts_with = "real")]
    seed: Option<u64>,
    /// Port of the page and the API on loopback [default: 8080, or the next free port]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1024..), allow_negative_numbers = true, value_name = "PORT")]
    port: Option<u16>,
}

/// A line at the prompt.
#[derive(Debug, Parser)]
#[command(
    name = "demo",
    no_binary_name = true,
    disable_help_flag = true,
    help_template = "{subcommands}",
    subcommand_help_heading = "Commands"
)]
struct Line {
    #[command(subcommand)]
    command: PromptCommand,
}

#[derive(Debug, Subcommand)]
enum PromptCommand {
    /// Submit a text and show where it ran
    Submit {
        /// Text to process
        #[arg(required = true)]
        text: Vec<String>,
        /// Type of the task
        #[arg(long = "type", value_enum, default_value = "embedding", value_name = "TYPE")]
        kind: Kind,
        /// Submit it to this node
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// Show the nodes, their tasks and the faults in effect
    #[command(alias = "stats")]
    Status,
    /// List the last tasks, or run some with --count N
    Tasks(tasks::Arguments),
    /// Kill a node
    Kill {
        /// Name of the node, or the start of its id
        node: String,
    },
    /// Divide the network: partition amber birch,cedar
    Partition {
        /// Nodes of one group, separated by commas
        #[arg(required = true, num_args = 2.., value_name = "NODE,…")]
        groups: Vec<String>,
    },
    /// Inject a fault: fault inference-slow node=amber add=200ms
    Fault(fault::Arguments),
    /// End all faults and start the stopped nodes again
    Heal,
    /// Write what happened as a scenario
    Record {
        /// File to write, which must not exist
        file: PathBuf,
    },
    /// Stop the demo and print a summary
    #[command(aliases = ["quit", "stop"])]
    Exit,
}

pub(super) fn run(home: &Home, arguments: Arguments) -> Outcome {
    if home.holder() != Holder::Nobody {
        return Err(server::already_running(home));
    }
    let Arguments { nodes, real, scenario, seed, port } = arguments;
    memory::check(nodes, real)?;
    let arguments = start::Arguments {
        nodes,
        real,
        scenario,
        seed,
        port,
        foreground: true,
        detached: false,
        format: Format { json: false },
    };
    // A signal may end the program while the editor has changed the settings of the terminal.
    let settings = tcgetattr(io::stdin()).ok();
    let runtime = start::runtime()?;
    let outcome = runtime.block_on(converse(home, &arguments));
    restore(settings.as_ref());
    // A thread may still read from the terminal.
    runtime.shutdown_background();
    outcome
}

async fn converse(home: &Home, arguments: &start::Arguments) -> Outcome {
    let mut signals = StopSignals::new()?;
    let mut server = tokio::select! {
        started = DemoServer::start(home, arguments) => started?,
        _ = signals.next() => return Ok(ExitCode::FAILURE),
    };
    let client = connect(home)?;
    let demo = start::announce(home, &client).await?;
    output::notice("Type help for the commands; exit or Ctrl-D ends the demo")?;
    let nodes = u32::try_from(demo.nodes.len()).unwrap_or(u32::MAX);
    let mut reader = Reader::start(home, nodes)?;
    loop {
        let line = tokio::select! {
            line = reader.next() => line,
            _ = signals.next() => None,
            () = server.wait() => None,
        };
        let Some(line) = line else { break };
        let command = match parse(&line) {
            Ok(Some(PromptCommand::Exit)) => break,
            Ok(Some(command)) => command,
            Ok(None) => continue,
            Err(said) => {
                output::write_error(said.as_bytes())?;
                continue;
            }
        };
        tokio::select! {
            done = execute(&client, command) => {
                if let Err(failure) = done {
                    failure.report();
                }
            }
            signal = signals.next() => match signal {
                StopSignal::Interrupt => output::notice("Cancelled")?,
                StopSignal::Other => break,
            },
            () = server.wait() => break,
        }
    }
    let summary = server.stop().await;
    reader.stop();
    stop::print(&summary)?;
    Ok(ExitCode::SUCCESS)
}

/// Parses a line; `None` if it is blank, and an explanation if it is no command.
fn parse(line: &str) -> Result<Option<PromptCommand>, String> {
    let words = words::split(line).map_err(|why| format!("error: {why}\n"))?;
    if words.is_empty() || words[0].starts_with('#') {
        return Ok(None);
    }
    Line::try_parse_from(words).map(|line| Some(line.command)).map_err(|error| {
        let said = error.render().to_string();
        if error.kind() == ErrorKind::DisplayHelp || said.ends_with('\n') { said } else { said + "\n" }
    })
}

async fn execute(client: &Client, command: PromptCommand) -> Result<(), Failure> {
    match command {
        PromptCommand::Submit { text, kind, node } => {
            let kind = kind.into();
            let input = Some(text.join(" "));
            let task = NewDemoTasks { count: 1, kind, input, node, model: None };
            tasks::submit(client, &task, Format { json: false }).await.map(drop)
        }
        PromptCommand::Status => stats::run(client, Format { json: false }).await,
        PromptCommand::Tasks(arguments) => tasks::run(client, &arguments).await.map(drop),
        PromptCommand::Kill { node } => kill::run(client, node).await,
        PromptCommand::Partition { groups } => partition::run(client, &groups).await,
        PromptCommand::Fault(arguments) => fault::run(client, &arguments).await,
        PromptCommand::Heal => heal::run(client).await,
        PromptCommand::Record { file } => record::run(client, &file).await,
        PromptCommand::Exit => Ok(()),
    }
}

/// Reads lines in a thread of its own, one when it is asked for.
struct Reader {
    asks: mpsc::Sender<()>,
    lines: async_mpsc::UnboundedReceiver<String>,
}

impl Reader {
    fn start(home: &Home, nodes: u32) -> Result<Self, Failure> {
        let (asks, asked) = mpsc::channel();
        let (sender, lines) = async_mpsc::unbounded_channel();
        let history = home.root().join("history");
        std::thread::Builder::new().name("prompt".to_owned()).spawn(move || {
            if terminal::is_screen() {
                edit_lines(&asked, &sender, &history, nodes);
            } else {
                read_lines(&asked, &sender);
            }
        })?;
        Ok(Self { asks, lines })
    }

    /// Returns the next line; `None` at the end of the input.
    async fn next(&mut self) -> Option<String> {
        // If the thread has ended, so has the input.
        let _ = self.asks.send(());
        self.lines.recv().await
    }

    /// Stops reading, unless the thread waits for a line.
    fn stop(self) {
        drop(self.asks);
    }
}

/// Reads lines from a terminal, with a history and completion.
fn edit_lines(
    asked: &mpsc::Receiver<()>,
    lines: &async_mpsc::UnboundedSender<String>,
    history: &std::path::Path,
    nodes: u32,
) {
    let config = rustyline::Config::builder().auto_add_history(true).max_history_size(HISTORY_MAX);
    let Ok(config) = config.map(rustyline::config::Builder::build) else { return };
    let Ok(mut editor) = Editor::<Completion, FileHistory>::with_config(config) else { return };
    editor.set_helper(Some(Completion::new(nodes)));
    // There is none before the first demo.
    let _ = editor.load_history(history);
    while asked.recv().is_ok() {
        let line = loop {
            match editor.readline("demo> ") {
                // Such as a change of the terminal's size.
                Err(ReadlineError::Signal(_)) => {}
                line => break line,
            }
        };
        // Ctrl-C, Ctrl-D, or the terminal is gone.
        let Ok(line) = line else { return };
        // A history that cannot be kept is no reason to end the demo.
        let _ = editor.append_history(history);
        if lines.send(line).is_err() {
            return;
        }
    }
}

/// Reads lines from a pipe or a file.
fn read_lines(asked: &mpsc::Receiver<()>, lines: &async_mpsc::UnboundedSender<String>) {
    let mut stdin = io::stdin().lock();
    while asked.recv().is_ok() {
        let mut line = String::new();
        match stdin.by_ref().take(LINE_BYTES_MAX).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if lines.send(line).is_err() => return,
            Ok(_) => {}
        }
    }
}

/// Restores the settings of the terminal.
fn restore(settings: Option<&Termios>) {
    if let Some(settings) = settings {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, settings);
    }
}

const HISTORY_MAX: usize = 1_000;
const LINE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_an_explanation() {
        assert!(parse("  ").unwrap().is_none() && parse("# a comment").unwrap().is_none());
        let Ok(Some(PromptCommand::Submit { text, node, .. })) = parse("submit hello world --node amber")
        else {
            panic!("no submission");
        };
        assert_eq!((text.join(" ").as_str(), node.as_deref()), ("hello world", Some("amber")));
        assert!(matches!(parse("quit"), Ok(Some(PromptCommand::Exit))));
        assert!(matches!(parse("stats"), Ok(Some(PromptCommand::Status))));
        assert!(parse("kil amber").unwrap_err().contains("kill"));
        assert!(parse("submit \"open").unwrap_err().contains("quote"));
        let help = parse("help").unwrap_err();
        for command in ["submit", "status", "tasks", "kill", "partition", "heal", "exit"] {
            assert!(help.contains(command), "{help}");
        }
    }
}
