//! One request to all running nodes of this user, in parallel. A node that does not answer does not hide the
//! others.

use crate::client::{Client, block_on};
use crate::error::{Failure, Outcome};
use crate::homes;
use crate::output::{self, Format};
use runtime::home::Home;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// The home of a node and its response.
pub(super) type Answer<T> = (Home, Result<(Client, T), Failure>);

/// Sends a request to every running node.
pub(super) async fn request<T>(path: &'static str) -> Result<Vec<Answer<T>>, Failure>
where
    T: DeserializeOwned + Send + 'static,
{
    let request_one = |home: Home| {
        tokio::spawn(async move {
            let requested = async {
                let client = Client::connect(&home)?;
                let said = client.get(path).await?;
                Ok((client, said))
            };
            (requested.await, home)
        })
    };
    let under_way: Vec<_> = homes::running()?.into_iter().map(request_one).collect();
    let mut answers = Vec::new();
    for answer in under_way {
        let (said, home) = answer.await.map_err(|error| Failure::from_error(&error).id("internal_error"))?;
        answers.push((home, said));
    }
    Ok(answers)
}

/// Sends a request to every running node and prints the responses, each under its home. Succeeds if all respond and
/// are `well`.
pub(super) fn show<T>(
    path: &'static str,
    format: Format,
    well: impl Fn(&T) -> bool,
    print: impl Fn(&Home, &Client, T) -> Result<(), Failure>,
) -> Outcome
where
    T: DeserializeOwned + Serialize + Send + 'static,
{
    #[derive(Serialize)]
    struct Of<T> {
        home: PathBuf,
        #[serde(flatten)]
        said: T,
    }
    let mut failed = false;
    block_on(async {
        let (mut found, mut silent) = (Vec::new(), false);
        for (home, said) in request::<T>(path).await? {
            match said {
                Ok((client, said)) => {
                    failed |= !well(&said);
                    found.push((home, client, said));
                }
                Err(failure) => {
                    silent = true;
                    failure.at(&home.root().display().to_string()).report();
                }
            }
        }
        failed |= silent;
        if format.json {
            let all = found.into_iter().map(|(home, _, said)| Of { home: home.root().to_owned(), said });
            return output::json(&json!({ "nodes": all.collect::<Vec<_>>() }));
        }
        if found.is_empty() && !silent {
            return output::line("No running nodes");
        }
        for (number, (home, client, said)) in found.into_iter().enumerate() {
            if number > 0 {
                output::line("")?;
            }
            print(&home, &client, said)?;
        }
        Ok(())
    })?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
