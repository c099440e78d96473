//! One question to every running node of this user. All are asked at once, and one that does not answer hides none of
//! the others.

use crate::client::{Client, block_on};
use crate::error::{Failure, Outcome};
use crate::homes;
use crate::output::{self, Format};
use runtime::home::Home;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::process::ExitCode;

/// A node's home, and what the node says.
pub(super) type Answer<T> = (Home, Result<(Client, T), Failure>);

/// Asks every running node.
pub(super) async fn ask<T>(path: &'static str) -> Result<Vec<Answer<T>>, Failure>
where
    T: DeserializeOwned + Send + 'static,
{
    let ask_one = |home: Home| {
        tokio::spawn(async move {
            let asked = async {
                let client = Client::connect(&home)?;
                let said = client.get(path).await?;
                Ok((client, said))
            };
            (asked.await, home)
        })
    };
    let under_way: Vec<_> = homes::running()?.into_iter().map(ask_one).collect();
    let mut answers = Vec::new();
    for answer in under_way {
        let (said, home) = answer.await.map_err(|error| Failure::from_error(&error).id("internal_error"))?;
        answers.push((home, said));
    }
    Ok(answers)
}

/// Asks every running node and shows what they say, each under its home. Succeeds where all answer and are `well`.
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
        for (home, said) in ask::<T>(path).await? {
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
            return output::json(&all.collect::<Vec<_>>());
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
