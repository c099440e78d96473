//! `node ready`: asks `GET /readyz` and ends with 0 where the node is ready; for probes in containers.

use crate::client::Client;
use crate::error::Failure;
use crate::output;
use runtime::home::Home;
use runtime::http::view::Readiness;

pub(super) async fn run(home: &Home) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    match client.get::<Readiness>("/readyz").await {
        Ok(ready) => output::notice(&ready.status),
        Err(failure) => Err(failure),
    }
}
